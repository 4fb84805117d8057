"""``polaron compare``: which scenario a measured transient supports, and how strongly."""

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

from perovskite_polaron.analysis.joint_fit import JointFit, joint_fits
from perovskite_polaron.analysis.map_verdict import chosen_fit, follow_parts
from perovskite_polaron.analysis.matched import Matched
from perovskite_polaron.analysis.scenario_fit import Comparison
from perovskite_polaron.analysis.scenario_found import ScenarioFit
from perovskite_polaron.analysis.scenarios import ENGINE, THERMAL, ScenarioSet, read_scenarios
from perovskite_polaron.analysis.screening import Screening
from perovskite_polaron.analysis.verdict import SCREENING, STRETCH, WIDTH_EV, Judgement, judge
from perovskite_polaron.cli.compare_edges import joint_lines, joint_record
from perovskite_polaron.cli.compare_map import map_lines, map_record
from perovskite_polaron.cli.options import (
    MAP, READING, TIME_LAW, emit, pick, quantity, reading_options, share, time_law, warn, window)
from perovskite_polaron.cli.tables import Said, Table
from perovskite_polaron.errors import require
from perovskite_polaron.measured.delay_map import delay_map
from perovskite_polaron.measured.raw import Raw
from perovskite_polaron.measured.readers import read_scans
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.workflow.carried_errors import BUILT_IN_ROWS
from perovskite_polaron.workflow.edges import need_other_edge
from perovskite_polaron.workflow.scenarios import BUILT_IN
from perovskite_polaron.workflow.study import need_edge

#: What a match says instead of the user.
MATCHED = ("edge", "shift_sigma", "width_sigma", "stretch_sigma")
#: Row of the error -> the option that names its study; what that lacks, and what it must have.
_OPTIONS = {THERMAL: "--thermal", ENGINE: "--engine"}
_HAVING = {THERMAL: " both at rest and on an ensemble", ENGINE: ""}
_AS = {THERMAL: ", once with ensemble and minus", ENGINE: ", less the same reference"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add, energy = parser.add_argument, quantity("energy")
    add("transient", metavar="TRANSIENT", nargs="+", help="measured difference spectrum with an"
        " error column; with --irf-sigma several delays, in one file or in one each")
    add("--study", type=Path, default=BUILT_IN, help="study (TOML), folder of its results, or"
        " scenario file (.json) (default: the built-in CsPbBr3 set)")
    add("--thermal", metavar="STUDY.toml|FOLDER", type=Path, help="study with the same displacement"
        " at rest and on top of thermal motion, whose change is a part of the error (default: with"
        " the built-in sets those of their crystal at 25 °C)")
    add("--engine", metavar="STUDY.toml|FOLDER", type=Path, help="study of the same displacements"
        " with the other engine, whose disagreement is a part of the error (default: with the"
        " built-in Br K set that of FEFF10)")
    share(parser, "--match")
    add("--like-steady", action="store_true", help="with --match: the transient is in the unit of"
        " the steady state that was matched; its scale then makes strengths excited fractions")
    add("--heated", metavar="FILES", nargs="+", default=(),
        help="spectra at several temperatures: adds the heated lattice")
    add("--edge", type=energy, help="photon energy of the calculated zero (default: 0eV if the axes"
        " overlap, else the first maximum is put on the published one)")
    add("--window", type=_window, default="all", metavar="LOW:HIGH",
        help="energies to fit: all (default), above-edge, or as 13.475keV:13.52keV")
    add("--fraction", type=float,
        help="excited fraction, if it is known: the amplitude then follows")
    add("--mixture", metavar="A+B", action="append", default=[], help="also two or more"
        " scenarios that act together, by name or a part of it, as lo+cubic or lo+heated; may be"
        " repeated")
    add("--no-mixtures", action="store_true",
        help="leave out the mixtures with an edge shift that are not asked for")
    add("--shift-sigma", type=energy, help="prior of the calculated axis' place (default: 0.2eV;"
        " 0.5eV without --edge; 0eV: fixed)")
    add("--width-sigma", type=energy,
        help="prior of the broadening beyond the calculation's, FWHM (default: 0.3eV)")
    add("--stretch-sigma", type=float, help="prior of a stretch of the calculated"
        f" energies about their zero, relative (default: {STRETCH:g}; 0: none)")
    add("--electronic", action="store_true", help="also what carriers block and open near the edge"
        " (polaron carriers), alone and beside each other scenario and a shift of the edge; needs"
        " the study's pdos.npz")
    add("--screening-sigma", type=energy, default=f"{SCREENING.sigma_eV:g}eV", help="with"
        " --electronic: prior of the shift of the edge to higher energies by screening (default:"
        " %(default)s; 0eV: left out)")
    add("--screening-reach", type=energy, default=f"{SCREENING.reach_eV:g}eV",
        help="how far beyond the first maximum it moves states (default: %(default)s)")
    add("--scale-sigma", type=float, default=0.0,
        help="relative prior error of the normalisation (default: 0)")
    share(parser, "--signal", help="column to read, by name or number")
    share(parser, *READING[1:])
    add("--figure", type=Path,
        help="draw steady state, transient, fits and residuals (.png or .svg)")
    add("--correlation", type=Path, metavar="FILE", help="draw which parameters of the best fit go"
        " together (.png or .svg)")
    add("--beside", nargs=2, metavar=("TRANSIENT", "STUDY"), help="transient of the same sample at"
        " another edge, and the study of the same structures there: one amplitude for both")
    add("--beside-edge", type=energy, help="--edge of that transient")
    add("--beside-match", type=Path, metavar="FILE", help="--match of that transient: a match is of"
        " one edge")
    delays = parser.add_argument_group("several delays: how each part of the best fit of their mean"
                                       " goes with delay, in one fit (needs --irf-sigma)")
    share(delays, "--irf-sigma", *MAP, *TIME_LAW)
    delays.add_argument("--parts", metavar="A+B", help="what is followed, as --mixture names it"
                        " (default: what the mean of the delays claims)")
    share(parser, "--json")


def run(args: argparse.Namespace) -> None:
    """Read, fit and print.

    Examples
    --------
    polaron compare transient.csv  # against the computed CsPbBr3 set that comes with the package
    polaron compare transient.xdi --study cspbbr3.toml --window above-edge --figure compare.png
    polaron compare transient.csv --match match.toml  # zero, stretch and widths from the match
    polaron compare br.csv --beside pb.csv perovskite_polaron/data/cspbbr3-pb-l3  # one amplitude
    polaron compare transient.csv --mixture lo+cubic --fraction 0.1
    polaron compare transient.csv --electronic --correlation correlation.png  # the whole window
    polaron compare map.csv --electronic --irf-sigma 45ps --components 1 --figure map.png
    polaron compare transient.csv --heated br_25C.csv br_60C.csv br_140C.csv --mixture lo+heated
    """
    given = [f"--{name.replace('_', '-')}" for name in MATCHED if getattr(args, name) is not None]
    require(args.match is None or not given, "--match knows the axis and the widths: leave out"
            f" {', '.join(given)}")
    require(args.beside is not None or (args.beside_edge is None and args.beside_match is None),
            "--beside-edge and --beside-match place the transient of --beside: give that too")
    require(args.beside_match is None or args.beside_edge is None,
            "--beside-match knows the axis: leave out --beside-edge")
    require(args.beside is None or not args.like_steady or args.beside_match is not None,
            "--like-steady is for the transients of both edges: give --beside-match too, whose"
            " scale is that of the other")
    if args.irf_sigma is not None:
        require(args.beside is None, "--beside is for single transients: leave out --irf-sigma")
        run_map(args)
        return
    transient = read_transient(args.transient, "choose one with --signal, or follow them with"
                               " --irf-sigma", **reading_options(args))
    found = judged(args, transient)
    if args.correlation is not None:
        from perovskite_polaron.figures import correlation, style

        shown = found.found.best or found.found.fits[0]
        style.save(correlation.draw_correlation(shown.name, shown.correlated, shown.correlation,
                                                len(shown.parts)), args.correlation)
    if args.figure is not None:
        from perovskite_polaron.figures import measured, style

        figure = measured.draw_scenarios(found.transient, found.found, found.theory,
                                         found.place.offset_eV)
        style.save(figure, args.figure)
    if args.beside is None:
        emit(args, record(found), lines(found))
        return
    fits = _joint(args, found)
    emit(args, record(found) | {"joint": joint_record(fits)},
         [*lines(found), "", *joint_lines(fits)])


def _joint(args: argparse.Namespace, found: Judgement) -> tuple[JointFit, ...]:
    """Fit one amplitude to the transient and to that of --beside, of the same sample."""
    name, study = args.beside
    subjects = [Subject.read(path) for path in (args.study, Path(study))]
    need_other_edge(*(one.results for one in subjects))
    own = argparse.Namespace(**vars(args) | {
        "study": Path(study), "edge": args.beside_edge, "match": args.beside_match, "heated": (),
        "thermal": None, "engine": None,
        "window": args.window if isinstance(args.window, str) else "all"})
    beside = judged(own, read_transient([name]))
    return joint_fits({subjects[0].edge: found, subjects[1].edge: beside})


def run_map(args: argparse.Namespace) -> None:
    """Compare the mean of a map, follow what it claims against delay, and print both."""
    raw = Raw(**{name: getattr(args, name) for name in ("map", "delay", "delay_unit")})
    scans = read_scans(args.transient, raw=raw, **reading_options(args))
    warn(scans)
    data = delay_map(scans)
    asked = [args.parts] if args.parts is not None and "+" in args.parts else []
    found = judged(args, data.mean(args.t0), asked)
    fit = chosen_fit(found, args.parts)
    kinetics = time_law(args, [data.delay_ps])
    followed = follow_parts(data, found, fit, kinetics, args.start)
    if args.correlation is not None:
        from perovskite_polaron.figures import correlation, style

        best = followed.best
        style.save(correlation.draw_correlation(fit.name, best.names, best.correlation, 0),
                   args.correlation)
    if args.figure is not None:
        from perovskite_polaron.figures import delays, style

        style.save(delays.draw_delays(followed), args.figure)
    emit(args, record(found) | {"delays": map_record(followed)},
         [*lines(found), "", *map_lines(followed)])


def judged(args: argparse.Namespace, transient: Scan,
           asked: Sequence[str] = ()) -> Judgement:
    """Compare a transient as the options say it; return what was found."""
    theory, maximum_eV, matched = _theory(transient, args.study, args.match, args.electronic,
                                          {THERMAL: args.thermal, ENGINE: args.engine})
    heated = read_scans(args.heated, **reading_options(args))
    warn(heated)
    return judge(
        transient, theory, maximum_eV, edge_eV=args.edge, window=args.window, heated=heated,
        asked=[*args.mixture, *asked], shifted=not args.no_mixtures, fraction=args.fraction,
        shift_sigma_eV=args.shift_sigma,
        width_sigma_eV=WIDTH_EV if args.width_sigma is None else args.width_sigma,
        scale_sigma=args.scale_sigma,
        stretch_sigma=STRETCH if args.stretch_sigma is None else args.stretch_sigma,
        matched=matched, like_steady=args.like_steady,
        screening=Screening(args.screening_sigma, args.screening_reach))


def read_transient(paths: Sequence[str], remedy: str = "give a file with one",
                   **reading: Any) -> Scan:
    """Return the one spectrum of files, read with the options of read_scans, and say what its
    reader objects to; refuse several.
    """
    scans = read_scans(paths, **reading)
    warn(scans)
    require(len(scans) == 1, f"{paths[0]} holds {len(scans)} spectra: {remedy}"
            if len(paths) == 1 else f"{len(paths)} files hold {len(scans)} spectra: {remedy}")
    return scans[0]


def _window(text: str) -> str | tuple[float, float]:
    return text if text in ("all", "above-edge") else window(text)


def _theory(transient: Scan, path: Path, match: Path | None, electronic: bool,
            rows: Mapping[str, Path | None]) -> tuple[ScenarioSet, float | None, Matched | None]:
    """The scenarios for a transient; the first maximum that was published of their compound, and
    the match, if there are such. rows: of the error -> the study that was named for it.
    """
    if path.suffix.lower() == ".json" and path.name != "results.json":
        require(match is None, f"{path}: curves in a scenario file have their widths already:"
                " --match needs a study")
        require(not electronic, f"{path}: --electronic needs a study, whose band edges are known")
        given = [_OPTIONS[row] for row, source in rows.items() if source is not None]
        require(not given, f"{path}: {' and '.join(given)} needs a study, whose displacements are"
                " known")
        return read_scenarios(path), None, None
    subject = Subject.read(path, match)
    need_edge(subject.study, transient)
    for row, source in rows.items():
        known = source or BUILT_IN_ROWS[row].get(path.resolve())
        if known is not None:
            other = Subject.read(known)
            require(row != ENGINE or other.study.engine.kind != subject.study.engine.kind,
                    f"{known} is of the engine {other.study.engine.kind}, as {path} is: give the"
                    " study of the other engine")
            subject = subject.carrying(row, other)
    scenarios = subject.electronic_scenarios if electronic else subject.scenarios
    for row, source in rows.items():
        require(source is None or any(row in s.errors for s in scenarios.scenarios),
                f"{source} has none of the displacements of {path}{_HAVING[row]}: give a study of"
                f" the same edge, crystal and modes{_AS[row]}")
    return scenarios, subject.published_maximum_eV, subject.matched


def _criteria(found: Comparison) -> list[tuple[str, float, float, float, float]]:
    """Name, χ², ΔAIC, ln odds to no change, and probability of each scenario and of no change."""
    odds, null = found.odds(), found.chi2_null
    low = min(f.aic for f in found.fits)
    return [*((f.name, f.chi2, f.aic - low, found.to_null(f), odds[f.name]) for f in found.fits),
            ("no change", null, null - low, 0.0, odds["no change"])]


def lines(judgement: Judgement) -> Iterator[Said]:
    """Return the table of the hypotheses, and the statements."""
    found = judgement.found
    columns = {"scenario": "28s", "chi2": ">10s", "ln odds": ">9s", "probability": "13.2g",
               "strength": "12.4g", "± stat.": "10.2g", "± calc.": ">15s", "shift (eV)": "+12.2f",
               "stretch (%)": "+13.1f", "width (eV)": "12.2f"}
    values = [(f.strength, f.strength_err, _estimated(f), f.shift_eV, 100 * f.stretch,
               f.width_fwhm_eV) for f in found.fits]
    rows = [(name, _short(chi2), _short(ln), odds, *fitted) for (name, chi2, _, ln, odds), fitted
            in zip(_criteria(found), [*values, ("",) * 6], strict=True)]
    yield Table(columns, rows)
    yield f"{found.points} points\n"
    yield from judgement.words


def _short(value: float) -> str:
    """A χ² or its difference in eight characters: a hopeless scenario's may have any size."""
    return f"{value:.1f}" if abs(value) < 1e5 else f"{value:.2g}"


def _estimated(fit: ScenarioFit) -> str:
    """The calculation error of the strength, where there is an error budget."""
    known = fit.strength_err_calculation
    return "not estimated" if known is None else f"{known:.2g}"


def record(judgement: Judgement) -> dict[str, Any]:
    """Return the same as one object for JSON."""
    found = judgement.found
    *criteria, (_, _, null_aic, _, null_odds) = _criteria(found)
    return {
        "best": None if found.best is None else found.best.name,
        "scenarios": [
            {**_row(fit), "delta_aic": aic, "ln_odds_to_no_change": ln, "posterior": odds}
            for fit, (_, _, aic, ln, odds) in zip(found.fits, criteria, strict=True)],
        "chi2_no_change": found.chi2_null, "delta_aic_no_change": null_aic,
        "posterior_no_change": null_odds, "points": found.points,
        "edge_eV": judgement.place.offset_eV,
        "screening": judgement.screening and asdict(judgement.screening),
        "collinear": [{"names": names, "correlation": value}
                      for *names, value in found.collinear()],
        "statements": judgement.words}


def _row(fit: ScenarioFit) -> dict[str, Any]:
    a, heat = fit.amplitude, fit.parts[0].kind == "heat"
    size = None if a is None else {
        "value": a.q, "interval68": _closed(a.q68), "interval95": _closed(a.q95)}
    parts = zip(fit.parts, fit.strengths, fit.intervals68, fit.intervals95, strict=True)
    return {
        **pick(fit, "name", "chi2", "strength", "strength_err", "shift_eV", "stretch",
               "width_fwhm_eV"),
        "strength_err_calculation": _finite(fit.strength_err_calculation),
        "strength_err_calculation_parts": _parts_of(fit, 1.0),
        "calculation_error": fit.parts[0].estimated,
        "strength_interval68": _closed(fit.interval68),
        "strength_interval95": _closed(fit.interval95),
        "parts": [
            {"name": p.name, "strength": s, "interval68": _closed(i68), "interval95": _closed(i95),
             "per_eV": p.kind in ("shift", "screening"), "prior_sigma": p.prior_sigma,
             "per_1e19_pairs_cm3": p.kind == "carriers"}
            for p, s, i68, i95 in parts],
        "correlation": {"names": fit.correlated, "matrix": fit.correlation},
        **_product(fit, "f_q2", "A2_amu", 2), **_product(fit, "f_q", "A_sqrt_amu", 1),
        **_product(fit, "f_delta_T", "K", 1, heat=True),
        "amplitude_sqrt_amu_A": None if heat else size, "delta_T_K": size if heat else None,
        "fraction": None if a is None else {
            "value": a.f, "interval68": _closed(a.f68), "interval95": _closed(a.f95),
            "given": a.given_fraction}}


def _product(fit: ScenarioFit, name: str, unit: str, power: int, *,
             heat: bool = False) -> dict[str, Any]:
    """Excited fraction × a power of Q, or × ΔT, with its errors; nulls for another scenario."""
    alike = fit.parts[0].power == power and (fit.parts[0].kind == "heat") is heat
    factor = fit.per_strength if alike else None

    def of(value: float | None) -> float | None:
        return None if factor is None or value is None else _finite(factor * value)

    interval68 = None if factor is None else [of(end) for end in _closed(fit.interval68)]
    return {f"{name}_{unit}": of(fit.strength), f"{name}_err": of(fit.strength_err),
            f"{name}_err_calculation": of(fit.strength_err_calculation),
            f"{name}_err_calculation_parts": None if factor is None else _parts_of(fit, factor),
            f"{name}_interval68_{unit}": interval68}


def _parts_of(fit: ScenarioFit, unit: float) -> dict[str, float | None] | None:
    """What each part of the calculation's error makes of the first strength, times a unit."""
    if fit.strength_err_calculation is None:
        return None
    return {name: _finite(unit * value) for name, value in fit.calculation_parts(0).items()}


def _closed(ends: Iterable[float]) -> list[float | None]:
    """An interval as JSON has it."""
    return [_finite(end) for end in ends]


def _finite(value: float | None) -> float | None:
    """A number as JSON has it: null where the calculation error leaves no limit."""
    return float(value) if value is not None and isfinite(value) else None
