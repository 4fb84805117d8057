"""``polaron status``: how far a study has come."""

import argparse
import json

EXAMPLE = "  polaron status examples/cspbbr3.toml\n  polaron status examples/cspbbr3.toml --all"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("study", metavar="STUDY.toml", help="study file")
    parser.add_argument("--all", action="store_true", help="list every job (default: at most 40, what is done last)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> None:
    """Print the state of the jobs, from the store alone; Quantum ESPRESSO need not be installed."""
    from perovskite_polaron.workflow.status import study_status
    from perovskite_polaron.workflow.study import read_study

    found = study_status(read_study(args.study))
    if args.json:
        print(
            json.dumps(
                {
                    **found.count,
                    "core_hours": round(found.core_hours, 4),
                    "core_hours_left": None if found.core_hours_left is None else round(found.core_hours_left, 4),
                }
            )
        )
        return
    rows = found.rows if args.all or len(found.rows) <= 40 else [r for r in found.rows if r.state != "done"][:40]
    for row in rows:
        took = f"{row.wall_seconds:8.0f} s" if row.wall_seconds is not None else ""
        print(f"{row.state:8} {row.kind:7} {row.label:30} {took}")
    if len(rows) < len(found.rows):
        print(f"... {len(found.rows) - len(rows)} more; --all lists them")
    left = "" if found.core_hours_left is None else f", about {found.core_hours_left:.2f} left"
    print(
        ", ".join(f"{n} {state}" for state, n in found.count.items())
        + f"; {found.core_hours:.2f} core-hours spent{left}"
    )
