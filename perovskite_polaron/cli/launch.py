"""What the verbs that compute share: how many jobs at a time, on how many cores, and where."""

import argparse
import contextlib
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor

from perovskite_polaron.systems import usable_cores
from perovskite_polaron.workflow.execute import ranks_for, run_jobs
from perovskite_polaron.workflow.executors import read_executor, start_executor
from perovskite_polaron.workflow.jobs import Job
from perovskite_polaron.workflow.progress import Progress
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.study import RunSettings


def launch(args: argparse.Namespace, run: RunSettings, jobs: Sequence[Job], store: Store,
           done: Mapping[str, float] | None = None) -> None:
    """Run the jobs that have no result, with progress on stderr.

    Parameters
    ----------
    args
        With --ranks, --jobs and --executor, which overrule ``run``.
    run
        The study's own settings.
    jobs, store
        What to run, and where results are kept.
    done
        Digest -> seconds of the jobs that have a result, where that is known already.

    Notes
    -----
    Raises what run_jobs and start_executor raise.
    """
    done = dict(finished_seconds(jobs, store) if done is None else done)
    settings = None if args.executor is None else read_executor(args.executor)
    cores = settings.cores if settings else usable_cores()
    fixed = args.ranks or run.ranks
    given = None if settings else args.jobs or run.jobs_at_once or None
    most = max(1, cores // (given or 1))

    def ranks(job: Job) -> int:
        return (not job.runs.one_process and fixed) or ranks_for(job, most)

    with contextlib.ExitStack() as stack:
        pool: Executor | None = None
        if settings is not None:
            todo = [job for job in jobs if job.digest not in done]
            widest = max(map(ranks, todo), default=1)
            at_once = settings.places(widest)
            if todo:
                pool = stack.enter_context(start_executor(settings, widest, store.root))
            where = f"{settings.provider}, up to {at_once} at once"
        else:
            # Without a number of jobs, as many as their ranks fit into the cores.
            at_once = given or (max(1, cores // fixed) if fixed else cores)
            where = f"up to {at_once} at once on {cores} core(s)"
        print(f"{len(jobs)} jobs, {len(done)} done, {where}; results in"
              f" {store.root}", file=sys.stderr)
        run_jobs(jobs, store, ranks=ranks, jobs_at_once=at_once,
                 cores=None if settings or given else max(cores, fixed),
                 report=Progress(jobs, done, jobs_at_once=at_once), executor=pool,
                 retries=settings.retries if settings else 2,
                 allocation_seconds=settings.allocation_seconds if settings else None)


def finished_seconds(jobs: Sequence[Job], store: Store) -> dict[str, float]:
    """Return digest -> wall seconds of the jobs with a result (0 where it was not measured)."""
    results = {job.digest: store.result(job) for job in jobs}
    return {d: float(r.get("wall_seconds", 0.0)) for d, r in results.items() if r is not None}
