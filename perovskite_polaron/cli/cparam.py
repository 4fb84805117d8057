"""``polaron cparam``: the comparison parameter C of transients, with errors and a test of constancy."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from perovskite_polaron.errors import InputError
from perovskite_polaron.experiment.comparison import EDGES, Windows, comparison_parameter, constancy
from perovskite_polaron.experiment.readers import read_scans
from perovskite_polaron.experiment.scan import Scan
from perovskite_polaron.units import parse_quantity

EXAMPLE = "  polaron cparam br_100ps.xdi br_10ns.xdi --edge Br-K"


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
    parser.add_argument("--signal", help="column to read, by name or number (default: every signal column)")
    parser.add_argument("--energy-unit", choices=("eV", "keV"), help="for files that do not say it")
    parser.add_argument("--figure", type=Path, help="draw C against delay and temperature (.png or .svg)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Read, compute and print."""
    if (args.numerator is None) != (args.denominator is None) or (args.edge is None) == (args.numerator is None):
        raise InputError("the windows are not clear: give either --edge, or both --numerator and --denominator")
    windows = EDGES[args.edge] if args.edge else Windows(window(args.numerator), window(args.denominator))
    step = None if args.step is None else parse_quantity(args.step, "energy")
    if step is not None and step <= 0:
        raise InputError(f"--step {args.step}: it must be positive")
    scans = read_scans(args.files, args.signal, args.energy_unit)
    warn(scans)
    points = [comparison_parameter(scan, windows, step) for scan in scans]
    test = constancy(points) if len(points) > 1 and all(p.err for p in points) else None
    if args.figure is not None:
        from perovskite_polaron.report.comparison_figure import write_comparison_figure

        write_comparison_figure(points, windows, args.figure)
    if args.json:
        print(
            json.dumps(
                {
                    "points": [vars(p) for p in points],
                    "constant_p": None if test is None else test.p,
                    "constant": None if test is None else test.constant,
                    "mean": None if test is None else test.mean,
                    "mean_err": None if test is None else test.mean_err,
                    "chi2": None if test is None else test.chi2,
                    "shown_times": windows.shown_times,
                }
            )
        )
        return 0
    print(f"{'label':30s}{'delay (ps)':>12s}{'T (C)':>9s}{'C':>12s}{'error':>10s}")
    for p in points:
        delay, temperature, error = (f"{v:.4g}" if v is not None else "-" for v in (p.delay_ps, p.temperature_C, p.err))
        print(f"{p.label[:29]:30s}{delay:>12s}{temperature:>9s}{p.value:12.4f}{error:>10s}")
    if windows.shown_times != 1:
        print(f"(figures show C times {windows.shown_times:g} for this edge, as published)")
    if test is None:
        print("constancy not tested: it needs two or more transients, each with an error column")
    else:
        verdict = "is constant within error" if test.constant else "is NOT constant"
        print(
            f"C {verdict}: chi2 = {test.chi2:.2f} for {test.dof} degrees of freedom, p = {test.p:.3g}; "
            f"mean {test.mean:.4f} ± {test.mean_err:.4f}"
        )
    return 0


def warn(scans: Sequence[Scan]) -> None:
    """Say on stderr, once each, what the readers objected to."""
    for text in dict.fromkeys(w for scan in scans for w in scan.warnings):
        print(f"polaron: warning: {text}", file=sys.stderr)


def window(text: str) -> tuple[float, float]:
    """Return LOW:HIGH, each with its unit, in eV."""
    low, colon, high = text.partition(":")
    if not colon:
        raise InputError(f"{text!r} is no window: write it as 13.471keV:13.472keV")
    return parse_quantity(low, "energy"), parse_quantity(high, "energy")
