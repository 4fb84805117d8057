"""``polaron prepare``: write the inputs of a study, run nothing."""

import argparse

EXAMPLE = (
    "  polaron prepare examples/cspbbr3.toml\n"
    "  sh examples/cspbbr3-results/run-all.sh     # here or on another machine\n"
    "  polaron run examples/cspbbr3.toml          # takes in what was run"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("study", metavar="STUDY.toml", help="study file")


def run(args: argparse.Namespace) -> None:
    """Write one folder per job and a script that runs them in order."""
    import sys

    from perovskite_polaron.workflow.jobs import plan
    from perovskite_polaron.workflow.prepare import record_study, warnings, write_decks
    from perovskite_polaron.workflow.store import Store
    from perovskite_polaron.workflow.study import read_study

    study = read_study(args.study)
    structures = plan(study)
    store = Store(study.store_folder)
    for line in warnings(study, structures):
        print(f"note: {line}", file=sys.stderr)
    record_study(study, structures, store)
    for label in write_decks(structures, store):
        print(label)
    print(f"decks are in {store.jobs_root}; run them with sh {store.root / 'run-all.sh'}", file=sys.stderr)
