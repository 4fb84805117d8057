"""``polaron run``: compute a study."""

import argparse
import os
import sys

EXAMPLE = "  polaron run examples/cspbbr3.toml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("study", metavar="STUDY.toml", help="study file")
    parser.add_argument("--dry-run", action="store_true", help="list the jobs and what is already done, start nothing")
    parser.add_argument(
        "--ranks", type=int, metavar="N", help="MPI processes of one job (default: the study's, else all cores)"
    )
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="jobs at once (default: the study's, else as many as fit)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the jobs that have no result yet; the same command resumes after any interruption."""
    from perovskite_polaron.errors import InputError
    from perovskite_polaron.report.progress import Progress
    from perovskite_polaron.workflow.execute import run_jobs, study_jobs
    from perovskite_polaron.workflow.jobs import plan
    from perovskite_polaron.workflow.prepare import record_study, warnings
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
    cores = len(os.sched_getaffinity(0))
    ranks = args.ranks or study.run.ranks or cores
    at_once = args.jobs or study.run.jobs_at_once or max(1, cores // ranks)
    record_study(study, structures, store)
    progress = Progress(jobs, done)
    print(
        f"{len(jobs)} jobs, {len(done)} done, {at_once} at once on {ranks} rank(s) each; results in {store.root}",
        file=sys.stderr,
    )
    run_jobs(jobs, store, ranks=ranks, jobs_at_once=at_once, report=progress)
    print(f"all {len(jobs)} jobs are done; next: polaron spectra {args.study}", file=sys.stderr)
    return 0
