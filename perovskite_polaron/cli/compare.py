"""``polaron compare``: which scenario a measured transient supports, and how strongly."""

import argparse
import json
from pathlib import Path
from typing import Any

from perovskite_polaron.errors import InputError
from perovskite_polaron.experiment.fit import Comparison, compare, statements
from perovskite_polaron.experiment.readers import read_scans
from perovskite_polaron.experiment.scenario import ScenarioSet, read_scenarios, with_rigid_shift
from perovskite_polaron.experiment.treatment import crop
from perovskite_polaron.units import parse_quantity

EXAMPLE = "  polaron compare transient.xdi --study cspbbr3.toml --edge 13472eV --figure compare.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("transient", metavar="TRANSIENT", help="measured difference spectrum with an error column")
    parser.add_argument(
        "--study", required=True, type=Path, help="study (TOML), folder of its results, or scenario file (.json)"
    )
    parser.add_argument(
        "--edge", default="0eV", help="photon energy of the calculated zero (default: 0eV, axes already agree)"
    )
    parser.add_argument("--shift-sigma", default="0.2eV", help="prior uncertainty of that number (default: 0.2eV)")
    parser.add_argument("--window", metavar="LOW:HIGH", help="energies to fit, as 13.475keV:13.52keV (default: all)")
    parser.add_argument("--signal", help="column to read, by name or number")
    parser.add_argument("--energy-unit", choices=("eV", "keV"), help="for files that do not say it")
    parser.add_argument("--figure", type=Path, help="draw steady state, transient and fits (.png or .svg)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Read, fit and print."""
    from perovskite_polaron.cli.cparam import warn, window

    offset, sigma = parse_quantity(args.edge, "energy"), parse_quantity(args.shift_sigma, "energy")
    scans = read_scans([args.transient], args.signal, args.energy_unit)
    warn(scans)
    if len(scans) > 1:
        raise InputError(f"{args.transient} holds {len(scans)} spectra: choose one with --signal")
    transient = (
        scans[0]
        if args.window is None
        else crop(scans[0], **dict(zip(("from_eV", "to_eV"), window(args.window), strict=True)))
    )
    theory = with_rigid_shift(_theory(args.study))
    found = compare(transient, theory.scenarios, sigma, offset)
    if args.figure is not None:
        from perovskite_polaron.report.compare_figure import write_compare_figure

        write_compare_figure(transient, found, theory, offset, args.figure)
    if args.json:
        print(json.dumps(summary(found)))
        return 0
    print(f"{'scenario':28s}{'chi2':>10s}{'delta AIC':>11s}{'strength':>12s}{'error':>10s}{'shift (eV)':>12s}")
    for f in found.fits:
        print(
            f"{f.scenario.name[:27]:28s}{f.chi2:10.1f}{f.aic - found.fits[0].aic:11.1f}"
            f"{f.strength:12.4g}{f.strength_err:10.2g}{f.shift_eV:+12.2f}"
        )
    print(f"{'no change':28s}{found.chi2_null:10.1f}{found.chi2_null - found.fits[0].aic:11.1f}\n")
    print("\n".join(statements(found)))
    print("A strength is an excited fraction only when transient and calculation are normalised in the same way.")
    return 0


def _theory(path: Path) -> ScenarioSet:
    if path.suffix.lower() == ".json" and path.name != "results.json":
        return read_scenarios(path)
    from perovskite_polaron.workflow.scenarios import study_scenarios
    from perovskite_polaron.workflow.spectra import load_results

    results, settings, _ = load_results(path)
    return study_scenarios(results, settings)


def summary(found: Comparison) -> dict[str, Any]:
    """Return the comparison as one object for JSON."""
    return {
        "best": None if found.best is None else found.best.scenario.name,
        "scenarios": [
            {
                "name": f.scenario.name,
                "chi2": f.chi2,
                "delta_aic": f.aic - found.fits[0].aic,
                "strength": f.strength,
                "strength_err": f.strength_err,
                "strength_interval68": f.interval68,
                "strength_interval95": f.interval95,
                "shift_eV": f.shift_eV,
                "f_q2_A2_amu": f.f_q2,
            }
            for f in found.fits
        ],
        "chi2_no_change": found.chi2_null,
        "points": found.points,
        "statements": statements(found),
    }
