"""``polaron converge``: how far the difference moves with cut-off, k points, cell, chains."""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from perovskite_polaron.cli.launch import launch
from perovskite_polaron.cli.options import RUN_OPTIONS, emit, make_folder, share, table
from perovskite_polaron.errors import InputError
from perovskite_polaron.figures.spectra import draw_converge
from perovskite_polaron.figures.style import save
from perovskite_polaron.files import write_csv
from perovskite_polaron.workflow.converge import SETTINGS, converge
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.study import read_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    add = parser.add_argument
    add("study", metavar="STUDY.toml", type=Path,
        help="study file with a reference and a distorted one")
    add("--cutoff", metavar="25Ry,30Ry,...", help="cut-offs of the wave functions, best last")
    add("--kpoints", metavar="1x1x1,2x2x2,...", help="k grids of the density")
    add("--spectrum-kpoints", metavar="1x1x1,2x2x2,...", help="k grids of the spectrum")
    add("--supercell", metavar="1x1x1,2x1x1,...", help="repeats of the cell; k grids are divided")
    add("--absorber-sets", metavar="A.UPF:A-hole.UPF,...", help="pseudopotentials of the absorber,"
        " without and with the hole (such as with other second p projectors)")
    add("--lanczos", type=_steps, default=[], metavar="40,80,...",
        help="Lanczos steps, cut from the chains of the study itself")
    add("--tolerance", type=float, default=2.0, metavar="PERCENT",
        help="allowed change of the difference (default: 2)")
    add("--out", metavar="DIR", type=Path,
        help="folder of table and figure (default: in the results)")
    share(parser, "--json", *RUN_OPTIONS)


def run(args: argparse.Namespace) -> None:
    """Compute what is missing, compare, and write convergence.csv and convergence.png.

    Examples
    --------
    polaron converge study.toml --cutoff 25Ry,30Ry,35Ry --kpoints 1x1x1,2x2x1,3x3x2
    polaron converge study.toml --lanczos 40,80,120  # from the chains there are; computes nothing
    """
    study = read_study(args.study)
    asked = {s: v.split(",") for s in SETTINGS if (v := getattr(args, s.replace("-", "_")))}
    store = Store(study.store_folder)
    moved = converge(study, asked, args.lanczos, store,
                     lambda jobs: launch(args, study.run, jobs, store))
    out = make_folder(args.out or store.root / "convergence")
    files = [write_csv(out / "convergence.csv", moved.table())]
    figure = draw_converge(moved.found, args.tolerance)
    files += [save(figure, out / f"convergence{suffix}") for suffix in (".png", ".svg")]
    advice = moved.recommendations(args.tolerance)
    columns = {"setting": "18s", "value": ">10s", "difference (%)": "16.2f",
               "spectrum (%)": "14.2f", "shift (eV)": "12.4f", "core-hours": "12.3f"}
    rows = [asdict(row) for row in moved.rows]
    record = {"rows": rows, "recommendation": advice, "files": files}
    emit(args, record, [*table(columns, [tuple(row.values()) for row in rows]), *advice])
    print(f"table and figure are in {out}", file=sys.stderr)


def _steps(text: str) -> list[int]:
    try:
        return [int(n) for n in text.split(",")]
    except ValueError:
        raise InputError(
            f"--lanczos {text} is not a list of whole numbers, such as 40,80,120") from None
