"""``polaron gc``: free the disk of what no job of a study needs any more."""

import argparse
import json

EXAMPLE = "  polaron gc examples/cspbbr3.toml              # says how much\n  polaron gc examples/cspbbr3.toml --delete"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("study", metavar="STUDY.toml", help="study file")
    parser.add_argument("--delete", action="store_true", help="remove it (default: say what would be removed)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> None:
    """List, and remove when asked, densities that nothing starts from and files that killed runs left."""
    from perovskite_polaron.workflow.jobs import plan, study_jobs
    from perovskite_polaron.workflow.store import Store, find_garbage, remove
    from perovskite_polaron.workflow.study import read_study

    study = read_study(args.study)
    store = Store(study.store_folder)
    garbage = find_garbage(store, study_jobs(plan(study)))
    size = remove(store, garbage) if args.delete else sum(g.size_bytes for g in garbage)
    if args.json:
        print(json.dumps({"deleted": args.delete, "bytes": size, "paths": [str(g.path) for g in garbage]}))
        return
    for one in garbage:
        print(f"{one.size_bytes / 1e6:10.1f} MB  {one.path.relative_to(store.root)}: {one.why}")
    print(f"{size / 1e6:.1f} MB {'freed' if args.delete else 'can be freed: add --delete'}")
