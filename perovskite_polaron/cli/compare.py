"""``polaron compare``: which scenario a measured transient supports, and how strongly."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perovskite_polaron.analysis.posterior import Samples, sample
from perovskite_polaron.analysis.scenario_curves import REACH_SHIFT, Priors
from perovskite_polaron.analysis.scenario_fit import Comparison, Problem, ScenarioFit
from perovskite_polaron.analysis.scenarios import (
    ScenarioSet,
    heated_lattice,
    mixtures,
    read_scenarios,
    rigid_shift,
)
from perovskite_polaron.analysis.verdict import statements
from perovskite_polaron.cli.treatment_options import warn, window
from perovskite_polaron.errors import InputError
from perovskite_polaron.measured.readers import read_scans
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.measured.treatment import crop
from perovskite_polaron.units import parse_quantity

EXAMPLE = (
    "  polaron compare transient.csv                 # against the computed CsPbBr3 set that comes with the package\n"
    "  polaron compare transient.xdi --study cspbbr3.toml --window above-edge --figure compare.png\n"
    "  polaron compare transient.csv --mixture lo+cubic --fraction 0.1\n"
    "  polaron compare transient.csv --heated br_25C.csv br_60C.csv br_140C.csv --mixture lo+heated"
)
# Where the first maximum of the measured Br K edge of CsPbBr3 lies (Cannelli et al., J. Am. Chem. Soc. 143, 9048).
FIRST_MAXIMUM_EV = {"Br": 13472.0}
# From here above the first maximum on, the window called above-edge: the first published feature beyond the edge is at
# +13 eV, and the electronic change that is not computed lies within 5 eV.
ABOVE_EDGE_EV = 8.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add = parser.add_argument
    add("transient", metavar="TRANSIENT", help="measured difference spectrum with an error column")
    add(
        "--study", type=Path,
        help="study (TOML), folder of its results, or scenario file (.json) (default: the built-in CsPbBr3 set)",
    )  # fmt: skip
    add("--heated", metavar="FILES", nargs="+", help="spectra at several temperatures: adds the heated lattice")
    add(
        "--edge",
        help="photon energy of the calculated zero (default: 0eV if the axes overlap, else the first maximum is put on the published one)",
    )
    add("--window", metavar="LOW:HIGH", help="energies to fit: all (default), above-edge, or as 13.475keV:13.52keV")
    add("--fraction", type=float, help="excited fraction, if it is known: the amplitude then follows")
    add(
        "--mixture", metavar="A+B", action="append", default=[],
        help="also two scenarios that act together, by name or a part of it, as lo+cubic or lo+heated; may be repeated",
    )  # fmt: skip
    add("--no-mixtures", action="store_true", help="leave out the mixtures with an edge shift that are not asked for")
    add("--shift-sigma", help="prior of the calculated axis' place (default: 0.2eV; 0.5eV without --edge; 0eV: fixed)")
    add(
        "--width-sigma", default="0.3eV", help="prior of the broadening beyond the calculation's, FWHM (default: 0.3eV)"
    )
    add("--scale-sigma", type=float, default=0.0, help="relative prior error of the normalisation (default: 0)")
    add("--sample", action="store_true", help="also sample the posterior of the best scenario (extra emcee)")
    add("--signal", help="column to read, by name or number")
    add("--energy-unit", choices=("eV", "keV"), help="for files that do not say it")
    add("--figure", type=Path, help="draw steady state, transient, fits and residuals (.png or .svg)")
    add("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Read, fit and print."""
    scans = read_scans([args.transient], args.signal, args.energy_unit)
    warn(scans)
    if len(scans) > 1:
        raise InputError(f"{args.transient} holds {len(scans)} spectra: choose one with --signal")
    theory, element = _theory(args.study)
    where = place(scans[0], theory, element, args.edge, args.shift_sigma)
    priors = Priors(where.sigma_eV, parse_quantity(args.width_sigma, "energy"), args.scale_sigma)
    transient = _cut(scans[0], args.window, theory, where.offset_eV, priors)
    single = [*theory.scenarios, rigid_shift(theory)]
    if args.heated:
        heated = read_scans(args.heated, args.signal, args.energy_unit)
        warn(heated)
        single += heated_lattice(heated)
    hypotheses = mixtures(single, args.mixture, not args.no_mixtures)
    problem = Problem(transient, hypotheses, priors, where.offset_eV, args.fraction)
    found = problem.fit(transient.intensity)
    samples = sample(problem, found.best, transient.intensity) if args.sample and found.best is not None else None
    if args.figure is not None:
        from perovskite_polaron.figures.measured import write_scenario_figure

        write_scenario_figure(transient, found, theory, where.offset_eV, args.figure)
    words = [*where.words, *statements(found), *_interpolation(found)]
    words.append(
        "A strength is an excited fraction only when transient and calculation are normalised in the same way."
    )
    print(json.dumps(summary(found, words, where.offset_eV, samples)) if args.json else _table(found, words, samples))
    return 0


@dataclass(frozen=True)
class Place:
    """Where the calculated zero lies on the measured axis, how surely, and what to say about it."""

    offset_eV: float
    sigma_eV: float
    words: tuple[str, ...] = ()


def _theory(path: Path | None) -> tuple[ScenarioSet, str | None]:
    """The scenarios, and the absorbing element where it is known."""
    if path is not None and path.suffix.lower() == ".json" and path.name != "results.json":
        return read_scenarios(path), None
    from perovskite_polaron.workflow.scenarios import BUILT_IN, study_scenarios
    from perovskite_polaron.workflow.spectra import load_results

    results, settings, _ = load_results(BUILT_IN if path is None else path)
    return study_scenarios(results, settings), results.study.element


def place(transient: Scan, theory: ScenarioSet, element: str | None, edge: str | None, sigma: str | None) -> Place:
    """Return the place of the calculated axis: as given, or the first maximum on the published one.

    Raises InputError where the axes differ and no maximum is published for the element.
    """
    given = None if sigma is None else parse_quantity(sigma, "energy")
    if edge is not None:
        return Place(parse_quantity(edge, "energy"), 0.2 if given is None else given)
    middle = (transient.energy_eV[0] + transient.energy_eV[-1]) / 2
    if theory.energy_eV[0] < middle < theory.energy_eV[-1]:
        return Place(0.0, 0.2 if given is None else given)
    if element not in FIRST_MAXIMUM_EV:
        raise InputError("the transient and the calculation have different axes: say with --edge where the zero lies")
    offset = FIRST_MAXIMUM_EV[element] - theory.first_maximum_eV
    said = (
        f"The first maximum of the calculation was put on the published one, {FIRST_MAXIMUM_EV[element]:g} eV: "
        f"its zero is {offset:.2f} eV."
    )
    return Place(offset, 0.5 if given is None else given, (said,))


def _cut(transient: Scan, text: str | None, theory: ScenarioSet, offset_eV: float, priors: Priors) -> Scan:
    if text in (None, "all"):
        return transient
    if text == "above-edge":
        low = offset_eV + theory.first_maximum_eV + ABOVE_EDGE_EV
        high = min(
            float(transient.energy_eV[-1]),
            offset_eV + float(theory.energy_eV[-1]) - REACH_SHIFT * priors.shift_sigma_eV,
        )
    else:
        low, high = window(str(text))
    return crop(transient, from_eV=low, to_eV=high)


def _interpolation(found: Comparison) -> list[str]:
    """How far the interpolation between computed amplitudes can be trusted, for the best scenario."""
    sweep = found.best.parts[0].sweep if found.best is not None else None
    if sweep is None or len(sweep.amplitudes_sqrt_amu_A) < 2:
        return []
    return [
        f"Interpolation between {len(sweep.amplitudes_sqrt_amu_A)} computed amplitudes: left out, one is missed by up to "
        f"{100 * sweep.left_out().max():.2f} % of its largest change."
    ]


def _table(found: Comparison, words: Sequence[str], samples: Samples | None) -> str:
    wide = max(28, *(len(f.name) + 2 for f in found.fits))
    low, odds = found.fits[0], found.odds()
    lines = [
        f"{'scenario':{wide}s}{'chi2':>10s}{'dAIC':>9s}{'dBIC':>9s}{'odds':>9s}{'strength':>12s}{'error':>10s}"
        f"{'shift (eV)':>12s}{'width (eV)':>12s}"
    ]
    bic = min([*(f.bic for f in found.fits), found.chi2_null])
    for f in found.fits:
        lines.append(
            f"{f.name:{wide}s}{_short(f.chi2):>10s}{_short(f.aic - low.aic):>9s}{_short(f.bic - bic):>9s}{odds[f.name]:9.2g}"
            f"{f.strength:12.4g}{f.strength_err:10.2g}{f.shift_eV:+12.2f}{f.width_fwhm_eV:12.2f}"
        )
    null = found.chi2_null
    lines.append(
        f"{'no change':{wide}s}{_short(null):>10s}{_short(null - low.aic):>9s}{_short(null - bic):>9s}{odds['no change']:9.2g}"
    )
    lines += [f"{found.points} points", "", *words]
    for name in () if samples is None else samples.names:
        (a, b), (c, d) = (samples.interval(name, level) for level in (0.6827, 0.95))  # type: ignore[union-attr]
        lines.append(f"sampled {name}: 68 % from {a:.4g} to {b:.4g}, 95 % from {c:.4g} to {d:.4g}")
    return "\n".join(lines)


def _short(value: float) -> str:
    """A χ² or its difference in at most eight characters: a hopeless scenario's may have any size."""
    return f"{value:.1f}" if abs(value) < 1e5 else f"{value:.2g}"


def summary(found: Comparison, words: Sequence[str], offset_eV: float, samples: Samples | None) -> dict[str, Any]:
    """Return the comparison as one object for JSON."""
    odds = found.odds()
    bic = min([*(f.bic for f in found.fits), found.chi2_null])
    return {
        "best": None if found.best is None else found.best.name,
        "scenarios": [
            {**_row(f), "delta_aic": f.aic - found.fits[0].aic, "delta_bic": f.bic - bic, "posterior": odds[f.name]}
            for f in found.fits
        ],
        "chi2_no_change": found.chi2_null,
        "delta_aic_no_change": found.chi2_null - found.fits[0].aic,
        "posterior_no_change": odds["no change"],
        "points": found.points,
        "edge_eV": offset_eV,
        "sampled": None if samples is None else {
            name: {"interval68": samples.interval(name), "interval95": samples.interval(name, 0.95)} for name in samples.names
        },
        "statements": list(words),
    }  # fmt: skip


def _row(fit: ScenarioFit) -> dict[str, Any]:
    a, largest = fit.amplitude, fit.parts[0].amplitude_sqrt_amu_A
    return {
        "name": fit.name,
        "chi2": fit.chi2,
        "strength": fit.strength,
        "strength_err": fit.strength_err,
        "strength_interval68": fit.interval68,
        "strength_interval95": fit.interval95,
        "parts": [
            {"name": p.name, "strength": float(s), "interval68": i68.tolist(), "interval95": i95.tolist(), "per_eV": p.kind == "shift"}
            for p, s, i68, i95 in zip(fit.parts, fit.strengths, fit.intervals68, fit.intervals95, strict=True)
        ],
        "shift_eV": fit.shift_eV,
        "width_fwhm_eV": fit.width_fwhm_eV,
        "f_q2_A2_amu": fit.f_q2,
        "f_q2_interval68_A2_amu": None if largest is None else [e * largest**2 for e in fit.interval68],
        "amplitude_sqrt_amu_A": None if a is None else {"value": a.q, "interval68": a.q68, "interval95": a.q95},
        "fraction": None if a is None else {"value": a.f, "interval68": a.f68, "interval95": a.f95, "given": a.given_fraction},
    }  # fmt: skip
