"""What the verbs that compute have in common: how many at a time, on how many cores, here or on a cluster."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from perovskite_polaron.workflow.jobs import Job
    from perovskite_polaron.workflow.store import Store
    from perovskite_polaron.workflow.study import RunSettings


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Declare --ranks, --jobs and --executor."""
    parser.add_argument(
        "--ranks", type=int, metavar="N", help="MPI processes of one job (default: the study's, else by its size)"
    )
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="jobs at once (default: the study's, else as many as fit)"
    )
    parser.add_argument(
        "--executor", type=Path, metavar="FILE.toml", help="run through Parsl on the cluster that this file describes"
    )


def check_run_options(args: argparse.Namespace) -> None:
    """Refuse numbers below one, before any work. Raises InputError."""
    from perovskite_polaron.errors import InputError

    for name in ("ranks", "jobs"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise InputError(f"--{name} {value} is not a positive number: give 1 or more")


def launch(
    args: argparse.Namespace, run: RunSettings, jobs: Sequence[Job], store: Store, done: dict[str, float]
) -> None:
    """Run the jobs as the options say, with progress on stderr. done: digest -> seconds of those that have a result.

    Raises as run_jobs and start_executor do.
    """
    from perovskite_polaron.workflow.progress import Progress
    from perovskite_polaron.workflow.execute import ranks_for, run_jobs
    from perovskite_polaron.workflow.executors import read_executor, start_executor

    settings = None if args.executor is None else read_executor(args.executor)
    cores = settings.cores if settings else len(os.sched_getaffinity(0))
    fixed = args.ranks or run.ranks
    given = None if settings else args.jobs or run.jobs_at_once or None
    most = max(1, cores // (given or 1))

    def ranks(job: Job) -> int:
        return fixed or ranks_for(job, most)

    with contextlib.ExitStack() as stack:
        pool: Executor | None = None
        if settings is not None:
            todo = [job for job in jobs if job.digest not in done]
            widest = max(map(ranks, todo), default=1)
            at_once = settings.places(widest)
            pool = stack.enter_context(start_executor(settings, widest, store.root)) if todo else None
            where = f"{settings.provider}, up to {at_once} at once"
        else:
            # Without a number of jobs, as many as their ranks fit into the cores.
            at_once = given or (max(1, cores // fixed) if fixed else cores)
            where = f"up to {at_once} at once on {cores} core(s)"
        print(f"{len(jobs)} jobs, {len(done)} done, {where}; results in {store.root}", file=sys.stderr)
        run_jobs(
            jobs,
            store,
            ranks=ranks,
            jobs_at_once=at_once,
            cores=None if settings or given else max(cores, fixed),
            report=Progress(jobs, done, jobs_at_once=at_once),
            executor=pool,
            retries=settings.retries if settings else 2,
            allocation_seconds=settings.allocation_seconds if settings else None,
        )


def finished_seconds(jobs: Sequence[Job], store: Store) -> dict[str, float]:
    """Return digest -> wall seconds of the jobs that have a result (0 where it was not measured)."""
    results = {job.digest: store.result(job) for job in jobs}
    return {digest: float(r.get("wall_seconds", 0.0)) for digest, r in results.items() if r is not None}
