"""``polaron cparam``: the comparison parameter C of transients, with errors and a test of constancy."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from perovskite_polaron.analysis.shape_ratio import EDGES, Constancy, ShapeRatio, Windows, compare_repeats, constancy
from perovskite_polaron.cli.treatment_options import (
    add_reading_arguments,
    add_treatment_arguments,
    read_measured,
    window,
)
from perovskite_polaron.errors import InputError
from perovskite_polaron.measured.recipe import format_steps
from perovskite_polaron.units import parse_quantity

EXAMPLE = """  polaron cparam br_delays/*.xdi --edge Br-K --figure c.png
  polaron cparam scans/*.dat --combine --name-pattern 'br_{delay_ps}_*' --edge Br-K"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument(
        "files", metavar="FILES", nargs="+", help="transients (difference spectra): XDI, text, CSV, HDF5, .prj"
    )
    parser.add_argument("--edge", choices=sorted(EDGES), help="windows of the published analysis")
    parser.add_argument(
        "--numerator", metavar="LOW:HIGH", help="window above the fraction line, as 13.471keV:13.472keV"
    )
    parser.add_argument("--denominator", metavar="LOW:HIGH", help="window below it")
    parser.add_argument("--step", help="spacing of the summed points, as 0.25eV (default: as measured)")
    parser.add_argument(
        "--combine", action="store_true", help="scans of one delay and temperature are repeats: average them; "
        "with four or more the error of C is a bootstrap's",
    )  # fmt: skip
    add_reading_arguments(parser)
    parser.add_argument("--figure", type=Path, help="draw C against delay and temperature (.png or .svg)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_treatment_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Read, compute and print."""
    if (args.numerator is None) != (args.denominator is None) or (args.edge is None) == (args.numerator is None):
        raise InputError("the windows are not clear: give either --edge, or both --numerator and --denominator")
    windows = EDGES[args.edge] if args.edge else Windows(window(args.numerator), window(args.denominator))
    step = None if args.step is None else parse_quantity(args.step, "energy")
    if step is not None and step <= 0:
        raise InputError(f"--step {args.step}: it must be positive")
    measured = read_measured(args, args.combine)
    points = [
        point
        for group in measured.groups
        for point in compare_repeats(group, windows, measured.recipe, measured.references, step)
    ]
    tests = {name: _test([p for p in points if p.series == name]) for name in ("pump-probe", "thermal", "other")}
    if args.figure is not None:
        from perovskite_polaron.figures.measured import write_shape_ratio_figure

        write_shape_ratio_figure(points, windows, args.figure)
    if args.json:
        whole = _test(points)
        answer = {
            "points": [asdict(p) for p in points],
            **_said(whole),
            "series": {name: _said(test) for name, test in tests.items() if test is not None},
            "shown_times": windows.shown_times,
            "treatment": json.loads(format_steps(measured.recipe.steps)),
        }
        print(json.dumps(answer))
    else:
        print(table(points, windows, tests))
    return 0


def table(points: Sequence[ShapeRatio], windows: Windows, tests: dict[str, Constancy | None]) -> str:
    """Return the answer for people."""
    lines = [f"{'label':30s}{'delay (ps)':>12s}{'T (C)':>9s}{'C':>12s}{'error':>10s}  {'scans':>5s}  error from"]
    for p in points:
        delay, temperature, error = (f"{v:.4g}" if v is not None else "-" for v in (p.delay_ps, p.temperature_C, p.err))
        origin = "-" if p.err is None else p.err_from
        lines.append(
            f"{p.label[:29]:30s}{delay:>12s}{temperature:>9s}{p.value:12.4f}{error:>10s}  {p.scans:5d}  {origin}"
        )
    if windows.shown_times != 1:
        lines.append(f"(figures show C times {windows.shown_times:g} for this edge, as published)")
    if all(test is None for test in tests.values()):
        lines.append("constancy not tested: it needs two or more points of one series, each with an error")
    for name, test in tests.items():
        if test is not None:
            verdict = "is constant within error" if test.constant else "is NOT constant"
            lines.append(
                f"{'C' if name == 'other' else f'C ({name})'} {verdict}: chi2 = {test.chi2:.2f} for {test.dof} degrees of "
                f"freedom, p = {test.p:.3g}; mean {test.mean:.4f} ± {test.mean_err:.4f}"
            )
    return "\n".join(lines)


def _test(points: Sequence[ShapeRatio]) -> Constancy | None:
    return constancy(points) if len(points) > 1 and all(p.err for p in points) else None


def _said(test: Constancy | None) -> dict[str, Any]:
    names = ("p", "constant", "mean", "mean_err", "chi2")
    values = {name: None if test is None else getattr(test, name) for name in names}
    return {("constant_p" if name == "p" else name): value for name, value in values.items()}
