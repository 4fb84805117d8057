"""``polaron run``: compute a study."""

import argparse
import sys

from perovskite_polaron.cli.launch import add_run_options, check_run_options, finished_seconds, launch

EXAMPLE = "  polaron run examples/cspbbr3.toml\n  polaron run examples/cspbbr3.toml --executor slurm.toml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("study", metavar="STUDY.toml", help="study file")
    parser.add_argument("--dry-run", action="store_true", help="list the jobs and what is already done, start nothing")
    add_run_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the jobs that have no result yet; the same command resumes after any interruption."""
    from perovskite_polaron.workflow.jobs import plan, study_jobs
    from perovskite_polaron.workflow.prepare import record_study, warnings
    from perovskite_polaron.workflow.store import Store
    from perovskite_polaron.workflow.study import read_study

    check_run_options(args)
    study = read_study(args.study)
    structures = plan(study)
    store = Store(study.store_folder)
    jobs = study_jobs(structures)
    for line in warnings(study, structures):
        print(f"note: {line}", file=sys.stderr)
    done = finished_seconds(jobs, store)
    if args.dry_run:
        for job in jobs:
            print(f"{'done' if job.digest in done else 'to do':5}  {job.kind:6}  {job.label}")
        return 0
    record_study(study, structures, store)
    launch(args, study.run, jobs, store, done)
    print(f"all {len(jobs)} jobs are done; next: polaron spectra {args.study}", file=sys.stderr)
    return 0
