"""``polaron status``: how far a study has come."""

import argparse
import json

EXAMPLE = "  polaron status examples/cspbbr3.toml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("study", metavar="STUDY.toml", help="study file")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> None:
    """Print the state of every job, from the store alone."""
    from perovskite_polaron.workflow.execute import study_jobs
    from perovskite_polaron.workflow.jobs import plan
    from perovskite_polaron.workflow.store import Store
    from perovskite_polaron.workflow.study import read_study

    study = read_study(args.study)
    store = Store(study.store_folder)
    rows = [(job, *store.state(job)) for job in study_jobs(plan(study))]
    count = {state: sum(s == state for _, s, _ in rows) for state in ("done", "running", "failed", "todo")}
    core_hours = sum(r["wall_seconds"] * r["ranks"] / 3600 for _, _, r in rows if r and "wall_seconds" in r)
    if args.json:
        print(json.dumps({**count, "core_hours": round(core_hours, 4)}))
        return
    for job, state, record in rows:
        took = f"{record['wall_seconds']:8.0f} s" if record and "wall_seconds" in record else ""
        print(f"{state:8} {job.kind:7} {job.label:30} {took}")
    print(", ".join(f"{n} {state}" for state, n in count.items()) + f"; {core_hours:.2f} core-hours spent")
