"""``polaron converge``: how far the difference spectrum moves with cut-off, k points, cell and Lanczos length."""

import argparse
import json
import sys
from pathlib import Path

from perovskite_polaron.cli.launch import add_run_options, check_run_options, finished_seconds, launch

EXAMPLE = (
    "  polaron converge study.toml --cutoff 25Ry,30Ry,35Ry --kpoints 1x1x1,2x2x1,3x3x2\n"
    "  polaron converge study.toml --lanczos 40,80,120      # from the chains there are; computes nothing more"
)
SETTINGS = ("cutoff", "kpoints", "spectrum-kpoints", "supercell", "absorber-sets")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument(
        "study", metavar="STUDY.toml", type=Path, help="study file with a reference and a distorted one"
    )
    parser.add_argument("--cutoff", metavar="25Ry,30Ry,...", help="cut-offs of the wave functions, best last")
    parser.add_argument("--kpoints", metavar="1x1x1,2x2x2,...", help="k grids of the density")
    parser.add_argument("--spectrum-kpoints", metavar="1x1x1,2x2x2,...", help="k grids of the spectrum")
    parser.add_argument("--supercell", metavar="1x1x1,2x1x1,...", help="repeats of the cell; k grids are divided")
    parser.add_argument(
        "--absorber-sets",
        metavar="A.UPF:A-hole.UPF,...",
        help="pseudopotentials of the absorber, without and with the hole (such as with other second p projectors)",
    )
    parser.add_argument("--lanczos", metavar="40,80,...", help="Lanczos steps, cut from the chains of the study itself")
    parser.add_argument(
        "--tolerance", type=float, default=2.0, metavar="PERCENT", help="allowed change of the difference (default: 2)"
    )
    parser.add_argument("--out", metavar="DIR", type=Path, help="folder of table and figure (default: in the results)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_run_options(parser)


def run(args: argparse.Namespace) -> int:
    """Compute what is missing, compare, and write convergence.csv and convergence.png."""
    from perovskite_polaron.errors import InputError
    from perovskite_polaron.figures.spectra import write_converge_figure
    from perovskite_polaron.files import write_atomically
    from perovskite_polaron.workflow.converge import movements, recommendation, truncated, variants
    from perovskite_polaron.workflow.jobs import plan, study_jobs
    from perovskite_polaron.workflow.results import collect
    from perovskite_polaron.workflow.store import Store
    from perovskite_polaron.workflow.study import read_study

    check_run_options(args)
    study = read_study(args.study)
    asked = {s: v.split(",") for s in SETTINGS if (v := getattr(args, s.replace("-", "_")))}
    if not asked and not args.lanczos:
        raise InputError(f"nothing to vary: give --lanczos or at least one of --{', --'.join(SETTINGS)}")
    try:
        steps = [int(n) for n in args.lanczos.split(",")] if args.lanczos else []
    except ValueError:
        raise InputError(f"--lanczos {args.lanczos} is not a list of whole numbers, such as 40,80,120") from None
    if steps and (len(steps) < 2 or min(steps) < 2):
        raise InputError("--lanczos needs at least two numbers of steps, each two or more, the best last")
    store = Store(study.store_folder)
    planned = {
        setting: [(v, plan(v.study)) for v in variants(study, setting, values)] for setting, values in asked.items()
    }
    own = plan(study) if steps else ()
    jobs = study_jobs([s for group in planned.values() for _, structures in group for s in structures] + list(own))
    launch(args, study.run, jobs, store, finished_seconds(jobs, store))

    found = {}
    for setting, group in planned.items():
        results = [collect(v.study, structures, store) for v, structures in group]
        costs = []
        for _, structures in group:
            records = [store.result(job) or {} for job in study_jobs(structures)]
            costs.append(sum(r.get("wall_seconds", 0.0) * r.get("ranks", 1) for r in records) / 3600)
        found[setting] = movements(setting, asked[setting], results, study, costs)
    if steps:
        results = [truncated(collect(study, own, store), n) for n in steps]
        found["lanczos"] = movements("lanczos", [str(n) for n in steps], results, study, [None] * len(steps))

    out = args.out or store.root / "convergence"
    out.mkdir(parents=True, exist_ok=True)
    rows = [row for group, _ in found.values() for row in group]
    head = "setting,value,difference_percent,spectrum_percent,shift_eV,core_hours"
    lines = [
        f"{r.setting},{r.value},{r.difference_percent:.4f},{r.spectrum_percent:.4f},{r.shift_eV:.5f},"
        + ("" if r.core_hours is None else f"{r.core_hours:.5f}")
        for r in rows
    ]
    files = [write_atomically(out / "convergence.csv", "\n".join([head, *lines]) + "\n")]
    files += [write_converge_figure(found, args.tolerance, out / f"convergence{suffix}") for suffix in (".png", ".svg")]
    advice = [recommendation(group, args.tolerance) for group, _ in found.values()]
    if args.json:
        print(json.dumps({"rows": [vars(r) for r in rows], "recommendation": advice, "files": [str(f) for f in files]}))
        return 0
    print(f"{'setting':18}{'value':>10}{'difference (%)':>16}{'spectrum (%)':>14}{'shift (eV)':>12}{'core-hours':>12}")
    for r in rows:
        hours = "" if r.core_hours is None else f"{r.core_hours:.3f}"
        print(
            f"{r.setting:18}{r.value:>10}{r.difference_percent:16.2f}{r.spectrum_percent:14.2f}{r.shift_eV:12.4f}{hours:>12}"
        )
    print("\n".join(advice))
    print(f"table and figure are in {out}", file=sys.stderr)
    return 0
