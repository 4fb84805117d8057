"""``polaron plan``: how many scans, at which energies or delays, see what is expected."""

import argparse
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from perovskite_polaron.analysis.beamtime import Counting, SpectrumPlan, plan_delays, plan_spectrum
from perovskite_polaron.analysis.design import Design
from perovskite_polaron.analysis.scenario_curves import Priors
from perovskite_polaron.analysis.scenarios import Scenario, computed
from perovskite_polaron.analysis.verdict import (
    ABOVE_EDGE_EV, STRETCH, WIDTH_EV, Place, matched_place, matched_priors)
from perovskite_polaron.arrays import Array, Interval
from perovskite_polaron.cli.options import count, emit, quantity, share, window
from perovskite_polaron.cli.tables import Said, Table
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.files import write_csv
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.units import parse_quantity, split_quantity
from perovskite_polaron.workflow.scenarios import BUILT_IN

_FLUX = {"1/s": 1.0, "ph/s": 1.0, "Hz": 1.0}
_SCANS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    energy = quantity("energy")
    add = parser.add_argument_group("spectra").add_argument
    add("--study", type=Path, default=BUILT_IN,
        help="study (TOML), or folder of its results (default: the built-in CsPbBr3 set)")
    share(parser, "--match")
    add("--edge", type=energy, help="photon energy of the calculated zero, without --match"
        " (default: the first maximum is put on the published one)")
    add("--scenario", metavar="NAME", help="what is expected, by name or a part of it (default: the"
        " first with an amplitude)")
    add("--no-edge-shift", action="store_true", help="leave out that the edge may shift, too, by"
        " any amount")
    add("--amplitude", metavar="0.05A", help="expected displacement of the atom that moves most, or"
        " Q as 1A*sqrt(amu) (default: the largest computed)")
    add("--fraction", type=float, default=0.1, help="expected excited fraction (default: 0.1)")
    add("--flux", help="photons per second on the sample, as 1e9ph/s")
    add("--yield", dest="counted", type=float, metavar="SHARE", help="detected photons on the edge"
        " step per photon on the sample: solid angle, concentration, fluorescence yield")
    add("--background", type=float, default=0.3, help="counts under the spectrum, in edge steps"
        " (default: 0.3)")
    add("--laser-share", type=float, default=0.5,
        help="share of the X-ray pulses with laser (default: 0.5)")
    add("--scan-time", type=quantity("wall time"), default="10min",
        help="counting time of one scan (default: 10min)")
    add("--window", type=window, metavar="LOW:HIGH", help="energies that may be measured (default:"
        f" from {ABOVE_EDGE_EV:g} eV above the first maximum on)")
    add("--step", type=energy, default="0.5eV", help="their spacing (default: 0.5eV)")
    add("--sigmas", type=float, default=5.0,
        help="without --scans: so many standard errors shall it be (default: 5)")
    add = parser.add_argument_group("delays, instead of spectra").add_argument
    add("--lifetimes", metavar="120ps,900ps", help="expected lifetimes")
    add("--fractions", metavar="0.6,0.2", help="and their shares; the rest does not decay")
    add("--irf-sigma", type=quantity("time"), help="standard deviation of the response")
    add("--noise", type=float,
        help="error of one point in one scan, over the signal right after the pump")
    add("--points", type=lambda t: count(t, "--points"), default=30,
        help="points of a scan (default: 30)")
    add("--last-delay", type=quantity("time"), help="(default: five times the longest lifetime)")
    add = parser.add_argument
    add("--scans", type=lambda t: count(t, "--scans"), help="how many scans there will be")
    add("--out", type=Path, help="file of the energies or delays, with their time (.csv)")
    add("--figure", type=Path, help="draw what to measure, and errors against scans (.png or .svg)")
    share(parser, "--json")


def run(args: argparse.Namespace) -> None:
    """Plan, write and print.

    Examples
    --------
    polaron plan --amplitude 0.05A --fraction 0.1 --flux 1e9ph/s --yield 1e-4 --figure plan.png
    polaron plan --study cspbbr3.toml --match match.toml --flux 1e9ph/s --yield 1e-4 --scans 200
    polaron plan --lifetimes 120ps,900ps --fractions 0.6,0.2 --irf-sigma 45ps --noise 0.05
    """
    if args.lifetimes is not None:
        _delays(args)
    else:
        _spectra(args)


def _spectra(args: argparse.Namespace) -> None:
    require(args.flux is not None and args.counted is not None, "the counts are not known: give"
            " --flux (as 1e9ph/s) and --yield, or --lifetimes for delays")
    plan, place = _plan(args)
    scan_s, scans = args.scan_time, args.scans
    require(scan_s > 0, "--scan-time must be positive")
    if scans is None:
        scans = _enough(plan, scan_s, args.sigmas)
    best = plan.design.best(scans * scan_s)
    even, energy = plan.design.even(), plan.design.points
    counts = sorted({*(n for n in _SCANS if n <= max(10 * scans, 10)), scans})
    unit = plan.per_strength
    errors = [[unit * plan.error(shares, n * scan_s) for shares in (best, even)] for n in counts]
    chosen = np.flatnonzero(best)
    at = counts.index(scans)
    seconds = best[chosen] * scan_s
    if args.figure is not None:
        from perovskite_polaron.figures import planning, style

        style.save(planning.draw_spectrum_plan(plan, best, counts, errors, scans), args.figure)
    if args.out is not None:
        write_csv(args.out, {"energy_eV": energy[chosen], "seconds_per_scan": seconds})
    what = "f_q2" if plan.scenario.power == 2 else "f_q"
    product = unit * plan.strength
    record = {
        "scenario": plan.scenario.name, what: product, f"{what}_err": errors[at][0],
        f"{what}_err_even": errors[at][1], "energies_eV": energy[chosen],
        "seconds_per_scan": seconds, "scans": scans, "scan_time_s": scan_s,
        "edge_eV": place.offset_eV, "errors": [
            {"scans": n, f"{what}_err": one, f"{what}_err_even": other}
            for n, (one, other) in zip(counts, errors, strict=True)], "statements": place.words}
    emit(args, record, _spectrum_lines(plan, place, counts, errors, scans,
                                       list(zip(energy[chosen], seconds, strict=True))))


def _enough(plan: SpectrumPlan, scan_s: float, sigmas: float) -> int:
    """Return how many scans make the strength so many standard errors."""
    require(sigmas > 0, "--sigmas must be positive")
    tried = np.unique(np.geomspace(1, 1e6, 121).astype(int)).tolist()

    def reached(scans: int) -> bool:
        time = scans * scan_s
        return abs(plan.strength) >= sigmas * plan.error(plan.design.best(time), time)

    k = bisect_left(tried, True, key=reached)
    if k < len(tried):
        return int(tried[k])
    raise InputError(f"a million scans of {scan_s:g} s do not make it {sigmas:g} standard errors:"
                     " what is not known of axis and widths is too much (give --match), or the"
                     " signal too small")


def _plan(args: argparse.Namespace) -> tuple[SpectrumPlan, Place]:
    subject = Subject.read(args.study, args.match)
    theory = subject.scenarios
    if subject.matched is not None:
        require(args.edge is None, "--match knows the axis: leave out --edge")
        place, priors = matched_place(subject.matched), matched_priors(subject.matched, theory)
    else:
        place = _place(subject, args.edge)
        priors = Priors(place.sigma_eV, WIDTH_EV, 0.0, STRETCH)
    known = computed(theory)
    scenario = _scenario(known, args.scenario)
    shifts = [] if args.no_edge_shift else [s for s in known if s.kind == "shift"]
    q = _amplitude(subject, scenario, args.amplitude)
    require(0 < args.fraction <= 1, f"--fraction {args.fraction:g}: give a share of 1")
    strength = args.fraction
    if q is not None:
        strength *= (q / float(scenario.amplitude_sqrt_amu_A or q)) ** scenario.power
    flux, unit = split_quantity(args.flux)
    require(unit in _FLUX, f"--flux {args.flux!r}: write it as 1e9ph/s")
    counting = Counting(flux * args.counted, args.background, args.laser_share)
    first = place.offset_eV + theory.first_maximum_eV + ABOVE_EDGE_EV
    last = place.offset_eV + priors.last_eV(float(theory.energy_eV[-1]))
    asked: Interval = args.window or (np.ceil(first), np.floor(last))
    return plan_spectrum(theory, scenario, strength, counting, place.offset_eV, priors, asked,
                         args.step, q, [s for s in shifts if s is not scenario]), place


def _place(subject: Subject, edge_eV: float | None) -> Place:
    """Return the place of the calculated axis: as given, or as published."""
    if edge_eV is not None:
        return Place(edge_eV, 0.2)
    offset_eV = subject.edge_eV
    if offset_eV is None:
        raise InputError("the place of the calculated axis is not known: give --match or --edge")
    return Place(offset_eV, 0.5, ("The first maximum was put on the published one: the zero is"
                                  f" {offset_eV:.2f} eV.",))


def _scenario(found: tuple[Scenario, ...], name: str | None) -> Scenario:
    if name is None:
        return next((s for s in found if s.sweep is not None), found[0])
    fits = [s for s in found if name.casefold() in s.name.casefold()]
    exact = [s for s in fits if s.name.casefold() == name.casefold()] or fits
    require(len(exact) == 1, f"--scenario {name!r} names {len(exact)} of"
            f" {', '.join(repr(s.name) for s in found)}")
    return exact[0]


def _amplitude(subject: Subject, scenario: Scenario, text: str | None) -> float | None:
    """Return Q (Å·√amu) of an amplitude, None for what has none."""
    largest = scenario.amplitude_sqrt_amu_A
    if largest is None:
        require(text is None, f"{scenario.name} has no amplitude: leave out --amplitude")
        return None
    if text is None:
        return largest
    value, unit = split_quantity(text)
    q = parse_quantity(text, "amplitude")
    require(unit != "zp", "--amplitude: give it in A or A*sqrt(amu)")
    if unit != "A*sqrt(amu)":
        entry = scenario.name.removeprefix("polaron ").removesuffix(" (−Q)")
        known = [(abs(s.amplitude_sqrt_amu_A or 0), s.max_displacement_A)
                 for s in subject.results.structures
                 if s.max_displacement_A and s.name.split("@")[0] == entry]
        near = min(known, key=lambda one: abs(one[0] - abs(largest)), default=(0.0, None))
        require(near[1], f"{scenario.name}: its largest displacement is not known: give --amplitude"
                " in A*sqrt(amu)")
        q = q * near[0] / float(near[1] or 1)
    require(0.02 * largest < q <= largest, f"--amplitude {value:g} {unit} is {q:.3g} A*sqrt(amu):"
            f" the study has computed up to {largest:.3g}")
    return q


def _spectrum_lines(plan: SpectrumPlan, place: Place, counts: list[int], errors: list[list[float]],
                    scans: int, chosen: list[tuple[float, float]]) -> Iterator[Said]:
    even = plan.scenario.power == 2
    unit = ("f·Q² (Å²·amu)" if even else "f·Q (Å·√amu)") if plan.scenario.sweep else "strength"
    yield from place.words
    yield (f"Expected: {plan.scenario.name}, strength {plan.strength:.3g}, {unit}"
           f" {plan.strength * plan.per_strength:.3g}. Its error:\n")
    rows = [(f"{n}{' *' if n == scans else ''}", one, other, f"{other / one:.2f}")
            for n, (one, other) in zip(counts, errors, strict=True)]
    yield Table({"scans": "10s", "best energies": "16.3g", "equally spaced": "16.3g",
                 "ratio": ">8s"}, rows)
    yield f"\n* recommended, at these {len(chosen)} energies:"
    yield Table({"energy (eV)": "14.2f", "seconds a scan": "16.1f"}, chosen)
    yield ("A few energies measure one strength best; they cannot tell scenarios apart, nor whether"
           " the calculation is right: measure the whole spectrum, too.")


def _numbers(text: str | None, option: str) -> list[float]:
    require(text, f"{option} is missing")
    try:
        return [float(part) for part in (text or "").split(",")]
    except ValueError:
        raise InputError(f"{option} {text!r}: give numbers with commas between") from None


def _delays(args: argparse.Namespace) -> None:
    lifetimes = [parse_quantity(part, "time") for part in args.lifetimes.split(",")]
    fractions = _numbers(args.fractions, "--fractions")
    require(args.irf_sigma and args.noise, "delays need --irf-sigma and --noise")
    last = args.last_delay or 5 * max(lifetimes)
    first = args.irf_sigma
    require(last > 4 * first, "--last-delay is within the response: give a later one")
    delays = np.unique(np.r_[np.linspace(-3 * first, 3 * first, 25),
                             np.geomspace(3 * first, last, 200)])
    design = plan_delays(delays, lifetimes, fractions, args.irf_sigma, args.noise)
    scans = args.scans or 1
    best = design.best(1.0)
    spread = _spread(delays, first, last, args.points)
    errors = {name: _lifetime_errors(design, shares, args.points, lifetimes)
              for name, shares in (("best", best), ("spread", spread))}
    chosen = np.flatnonzero(best)
    points = best[chosen] * args.points
    if args.figure is not None:
        from perovskite_polaron.figures import planning, style

        figure = planning.draw_delay_plan(design, best, lifetimes, fractions, args.irf_sigma)
        style.save(figure, args.figure)
    if args.out is not None:
        write_csv(args.out, {"delay_ps": delays[chosen], "points_per_scan": points})
    found = {name: (e / np.sqrt(scans)).tolist() for name, e in errors.items()}
    record = {"lifetimes_ps": lifetimes, "lifetimes_err_ps": found["best"],
              "lifetimes_err_spread_ps": found["spread"], "delays_ps": delays[chosen],
              "points_per_scan": points, "scans": scans}
    emit(args, record, _delay_lines(lifetimes, found, delays[chosen], points, scans))


def _spread(delays: Array, first: float, last: float, points: int) -> Array:
    """Return the shares of delays as people choose them: even up to three widths, then logarithmic.
    """
    places = np.r_[np.linspace(-3 * first, 3 * first, points // 3),
                   np.geomspace(3 * first, last, points - points // 3)]
    shares = np.zeros(len(delays))
    np.add.at(shares, [int(np.argmin(np.abs(delays - p))) for p in places], 1 / len(places))
    return shares


def _lifetime_errors(design: Design, shares: Array, points: int, lifetimes: list[float]) -> Array:
    covariance = design.covariance(shares, float(points))
    size = len(lifetimes)
    return np.asarray(np.sqrt(np.diag(covariance)[:size]) * lifetimes)


def _delay_lines(lifetimes: list[float], found: dict[str, list[float]], delays: Array,
                 points: Array, scans: int) -> Iterator[Said]:
    yield f"Expected errors with {scans} scan{'s' * (scans > 1)}:\n"
    yield Table({"lifetime (ps)": "14.5g", "best delays": "14.3g", "usual delays": "14.3g"},
                list(zip(lifetimes, found["best"], found["spread"], strict=True)))
    yield "\nBest delays:"
    yield Table({"delay (ps)": "14.1f", "points a scan": "16.1f"},
                list(zip(delays, points, strict=True)))
    yield ("They are the best for these lifetimes: add delays before time zero for the baseline,"
           " and some between for lifetimes that are not expected.")
