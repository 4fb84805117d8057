"""``polaron run``: compute a study."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from perovskite_polaron.workflow.jobs import Job

EXAMPLE = "  polaron run examples/cspbbr3.toml\n  polaron run examples/cspbbr3.toml --executor slurm.toml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("study", metavar="STUDY.toml", help="study file")
    parser.add_argument("--dry-run", action="store_true", help="list the jobs and what is already done, start nothing")
    parser.add_argument(
        "--ranks", type=int, metavar="N", help="MPI processes of one job (default: the study's, else by its size)"
    )
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="jobs at once (default: the study's, else as many as fit)"
    )
    parser.add_argument(
        "--executor", type=Path, metavar="FILE.toml", help="run through Parsl on the cluster that this file describes"
    )


def run(args: argparse.Namespace) -> int:
    """Run the jobs that have no result yet; the same command resumes after any interruption."""
    from perovskite_polaron.errors import InputError
    from perovskite_polaron.report.progress import Progress
    from perovskite_polaron.workflow.execute import run_jobs
    from perovskite_polaron.workflow.executors import read_executor, start_executor
    from perovskite_polaron.workflow.jobs import plan, study_jobs
    from perovskite_polaron.workflow.prepare import record_study, warnings
    from perovskite_polaron.workflow.sizing import ranks_for
    from perovskite_polaron.workflow.store import Store
    from perovskite_polaron.workflow.study import read_study

    for name in ("ranks", "jobs"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise InputError(f"--{name} {value} is not a positive number: give 1 or more")
    study = read_study(args.study)
    structures = plan(study)
    store = Store(study.store_folder)
    jobs = study_jobs(structures)
    for line in warnings(study, structures):
        print(f"note: {line}", file=sys.stderr)
    results = {job.digest: store.result(job) for job in jobs}
    done = {digest: float(r.get("wall_seconds", 0.0)) for digest, r in results.items() if r is not None}
    if args.dry_run:
        for job in jobs:
            print(f"{'done' if job.digest in done else 'to do':5}  {job.kind:6}  {job.label}")
        return 0
    settings = None if args.executor is None else read_executor(args.executor)
    cores = settings.cores if settings else len(os.sched_getaffinity(0))
    fixed = args.ranks or study.run.ranks
    most = min(fixed or cores, cores)

    def ranks(job: Job) -> int:
        return fixed or ranks_for(job, most)

    record_study(study, structures, store)
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
            at_once = args.jobs or study.run.jobs_at_once or (max(1, cores // fixed) if fixed else cores)
            where = f"up to {at_once} at once on {cores} core(s)"
        print(f"{len(jobs)} jobs, {len(done)} done, {where}; results in {store.root}", file=sys.stderr)
        run_jobs(
            jobs,
            store,
            ranks=ranks,
            jobs_at_once=at_once,
            cores=None if settings or args.jobs or study.run.jobs_at_once else cores,
            report=Progress(jobs, done, jobs_at_once=at_once),
            executor=pool,
            retries=settings.retries if settings else 2,
        )
    print(f"all {len(jobs)} jobs are done; next: polaron spectra {args.study}", file=sys.stderr)
    return 0
