"""``polaron cparam``: the comparison parameter C, with errors and a test of constancy."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from perovskite_polaron.analysis.shape_ratio import (
    EDGES, Constancy, Series, ShapeRatio, Windows, compare_repeats, constancy)
from perovskite_polaron.cli.options import (
    add_treatment_arguments, emit, quantity, read_measured, share, window)
from perovskite_polaron.cli.tables import Said, Table
from perovskite_polaron.errors import InputError, require


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add = parser.add_argument
    add("files", metavar="FILES", nargs="+",
        help="transients (difference spectra): XDI, text, CSV, HDF5, .prj")
    add("--edge", choices=sorted(EDGES), help="windows of the published analysis")
    add("--numerator", type=window, metavar="LOW:HIGH",
        help="window above the fraction line, as 13.471keV:13.472keV")
    add("--denominator", type=window, metavar="LOW:HIGH", help="window below it")
    add("--step", type=quantity("energy"),
        help="spacing of the summed points, as 0.25eV (default: as measured)")
    add("--combine", action="store_true", help="scans of one delay and temperature are repeats:"
        " average them; errors are those of their scatter")
    add_treatment_arguments(parser)
    add("--figure", type=Path, help="draw C against delay and temperature (.png or .svg)")
    share(parser, "--json")


def run(args: argparse.Namespace) -> None:
    """Read, compute and print.

    Examples
    --------
    polaron cparam br_delays/*.xdi --edge Br-K --figure c.png
    polaron cparam scans/*.dat --combine --name-pattern 'br_{delay_ps}_*' --edge Br-K
    """
    by_hand = (args.numerator, args.denominator)
    require(by_hand.count(None) == (0 if args.edge is None else 2),
            "the windows are not clear: give either --edge, or both --numerator and --denominator")
    if args.step is not None and args.step <= 0:
        raise InputError(f"--step {args.step:g}eV: it must be positive")
    windows = EDGES[args.edge] if args.edge else Windows(*by_hand)
    measured = read_measured(args, args.combine)
    recipe, references = measured.recipe, measured.references
    found = compare_repeats(measured.groups, windows, recipe, references, args.step)
    points = found.points
    tests = {name: _test(found.only(name)) for name in ("pump-probe", "thermal", "other")}
    if args.figure is not None:
        from perovskite_polaron.figures import measured as figures, style

        style.save(figures.draw_shape_ratios(points, windows, tests["pump-probe"]), args.figure)
    series = {name: _said(test) for name, test in tests.items() if test is not None}
    record = {"points": points, **_said(_test(found)), "series": series,
              "shown_times": windows.shown_times,
              "treatment": [step.as_dict() for step in recipe.steps]}
    emit(args, record, _lines(points, windows, tests))


def _test(found: Series) -> Constancy | None:
    points = found.points
    known = len(points) > 1 and all(p.err for p in points)
    return constancy(points, found.covariance) if known else None


def _said(test: Constancy | None) -> dict[str, Any]:
    names = {"constant_p": "p"} | {n: n for n in ("constant", "mean", "mean_err", "chi2")}
    return {key: getattr(test, name, None) for key, name in names.items()}


def _lines(points: Sequence[ShapeRatio], windows: Windows,
           tests: dict[str, Constancy | None]) -> Iterator[Said]:
    columns = {"label": "30s", "delay (ps)": "12.4g", "T (C)": "9.4g", "C": "12.4f",
               "error": "10.4g", "scans": "7d", "error from": "s"}
    yield Table(columns, [
        (p.label, p.delay_ps, p.temperature_C, p.value, p.err, p.scans,
         None if p.err is None else p.err_from)
        for p in points])
    if windows.shown_times != 1:
        yield f"(figures show C times {windows.shown_times:g} for this edge, as published)"
    if all(test is None for test in tests.values()):
        yield "constancy not tested: it needs two or more points of one series, each with an error"
    for name, test in tests.items():
        if test is not None:
            subject = "C" if name == "other" else f"C ({name})"
            verdict = "is constant within error" if test.constant else "is NOT constant"
            yield (f"{subject} {verdict}: chi2 = {test.chi2:.2f} for {test.dof} degrees of freedom,"
                   f" p = {test.p:.3g}; mean {test.mean:.4f} ± {test.mean_err:.4f}")
    named = [p.reference for p in points if p.reference]
    if len(named) > len(set(named)):
        yield ("The files say that a reference was subtracted from several of them: its noise is"
               " common to their points and not in this test; hand over the raw scans with"
               " --combine and --reference.")
