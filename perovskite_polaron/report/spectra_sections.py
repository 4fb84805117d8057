"""Sections of a report: the spectra, what makes the difference, and its Q² law."""

import math
from collections.abc import Mapping

import numpy as np

from perovskite_polaron.analysis.heating import Heating
from perovskite_polaron.analysis.shape_ratio import EDGES
from perovskite_polaron.analysis.verdict import Judgement
from perovskite_polaron.published import PumpProbe
from perovskite_polaron.report import study_charts as charts
from perovskite_polaron.report.blocks import (
    Block, Claims, Fold, Rows, Section, Table, Text, listed, meaning, plain)
from perovskite_polaron.report.claims import (
    AGREES, DISAGREES, OPEN, PLACE_EV, extremum_eV, feature_rows, findings)
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.spectra.amplitude import AmplitudeSpectra, leading_regime
from perovskite_polaron.workflow.engines import ENGINES
from perovskite_polaron.workflow.needed import coarser
from perovskite_polaron.workflow.spectra import calculation_error_percent


def spectra_section(subject: Subject, judged: Judgement | None) -> Section:
    """Return the features judged, the calculation error, and a transient's verdict."""
    blocks: list[Block] = [meaning("spectra"), Text(_calculation_error(subject))]
    blocks += [Text(f"Note: {line}.") for line in coarser(subject.study, {
        s.name: s.lattice_A for s in subject.results.structures})]
    blocks += _judged(subject)
    if judged is not None:
        blocks += [Text(f"Measured transient {judged.transient.name}, as polaron compare judges"
                        " it:"), *map(Text, judged.words)]
    return Section("spectra", "Spectra and differences", blocks)


def beside_section(subject: Subject) -> Section:
    """Return steady states and differences of another edge, and its features judged."""
    study = subject.study
    blocks: list[Block] = [
        Text(f"{listed(subject.names)} at another atom: the {study.element} {study.edge} edge, "
             f"computed with {ENGINES[study.engine.kind]}."),
        charts.difference_chart(subject, name=subject.edge.lower()),
        Text(_calculation_error(subject)), *_judged(subject)]
    if subject.article is not None:
        blocks.append(Claims("Published and ours", findings(subject, "summary")))
    return Section(subject.edge.lower(), f"{study.element} {study.edge} edge", blocks)


def _judged(subject: Subject) -> list[Block]:
    """Return the published features and ours, nothing without an article."""
    blocks: list[Block] = []
    if subject.article is not None:
        at = f"{subject.article.anchor_eV:.0f}"
        blocks += [
            meaning("features", source=subject.article.source,
                    anchor=subject.article.anchor, at=at, place=PLACE_EV),
            Table("Published features and ours", *_features(subject))]
    return blocks


def _calculation_error(subject: Subject) -> str:
    """Return what the settings may still change in each difference, in a sentence."""
    errors = calculation_error_percent(subject.spectra)
    known = [f"{name} ±{e:.2g} %" for name, e in errors.items() if e is not None]
    unknown = [name for name, e in errors.items() if e is None]
    words = []
    if known:
        words.append("Bands are what the settings may still change (1σ), in % of the maximum at "
                     f"most: {listed(known)}.")
    if unknown:
        words.append(f"The calculation error of {listed(unknown)} is not estimated (polaron "
                     "converge does that).")
    return " ".join(words)


def _features(subject: Subject) -> Rows:
    """Return a column for each feature, so that the table fits a page however many structures."""
    marks = {AGREES: "✓", DISAGREES: "✗", OPEN: "○"}
    kinds = {1: "maximum", -1: "minimum", 0: "–"}
    features = subject.features
    own = [extremum_eV(subject, f, subject.lifetime_broadened) for f in features]
    rows = [
        ("from the anchor (eV)", *(f"{f.offset_eV:+.1f}" for f in features)),
        ("steady state there; ours (keV)", *(
            kinds[f.extremum] + ("" if at is None else f"; {at / 1000:.4f}")
            for f, at in zip(features, own, strict=True))),
        ("published transient", *("gains +" if f.sign > 0 else "loses −" for f in features))]
    for name in subject.names:
        cells = []
        for found in feature_rows(subject, name):
            unsure = "" if found.firm else " ~"
            cells.append(f"{_with_error(found.value, found.unconverged)}{unsure} "
                         f"{marks[found.verdict]}")
        rows.append((f"{name} (%)", *cells))
    return ("photon energy (keV)", *(f"{f.energy_eV / 1000:.4f}" for f in features)), rows


def _with_error(value: float, error: float | None) -> str:
    """Return a value and its error with the decimals that tell them apart, two to four."""
    small = min(abs(value), error or abs(value))
    places = 2 if small <= 0 else min(4, max(2, 1 - math.floor(math.log10(small))))
    return f"{value:+.{places}f}" + ("" if error is None else f" ± {error:.{places}f}")


def experiment_section(subject: Subject, pump: PumpProbe,
                       heats: Mapping[str, Heating]) -> Section:
    """Return the article's figures 2 and 3 as far as they can be had without measured curves."""
    windows = EDGES[subject.edge]
    top, bottom = ("–".join(f"{energy / 1000:.3f}" for energy in window)
                   for window in (windows.numerator_eV, windows.denominator_eV))
    decays = [f"{t:g} ± {error:g} ps ({100 * fraction:.0f} %)" for (t, error), fraction
              in zip(pump.lifetimes_ps, pump.fractions, strict=True)]
    return Section("experiment", "Decay, heating and the comparison parameter", [
        meaning("decay", decays=listed(decays), rest=100 * pump.offset, sigma=pump.irf_sigma_ps),
        charts.kinetics_chart(pump, heats),
        Claims("Heating, published and ours", findings(subject, "heating")),
        meaning("shape", top=top, bottom=bottom),
        charts.shape_ratio_chart(subject),
        Claims("C, published and ours", findings(subject, "shape"))])


def parts_section(subject: Subject) -> Section:
    """Return the difference split into sites and polarisations, or why it is not."""
    section = Section("sites", "Which atoms make the signal")
    name = charts.largest_displaced(subject)
    if name is None:
        section.blocks.append(plain("not-split"))
        return section
    sites, total = charts.by_site(subject.parts(name)), subject.percent(name)
    low, high = charts.RANGE_EV
    inside = charts.seen(subject)
    whole = float(total[inside] @ total[inside])
    polarisations = [p.polarisation or "x, y, z together" for p in next(iter(sites.values()))]
    shares = np.array([[100 * float(p.difference[inside] @ total[inside]) / whole for p in found]
                       for found in sites.values()])
    atoms = [found[0].atoms for found in sites.values()]
    titles = [(charts.site_title(subject, name, first), f"{n} of {sum(atoms)}")
              for first, n in zip(sites, atoms, strict=True)]
    rows = [(*title, *(f"{x:.1f}" for x in (*row, row.sum()))) for title, row
            in zip([*titles, ("all", "")], [*shares, shares.sum(axis=0)], strict=True)]
    miss = float(np.abs(sum(p.difference for f in sites.values() for p in f) - total).max())
    section.blocks += [meaning("parts", below=-low, above=high), charts.parts_chart(subject, name),
                       Table(f"Shares of the difference of {name} (%)",
                             ("site", "atoms", *polarisations, "sum"), rows),
                       Text(f"The parts add up to the difference within {miss:.0e} % of the"
                            " maximum: rounding.")]
    if len(polarisations) == 1:
        section.blocks.append(plain("powder-only" if subject.study.engine.kind == "feff"
                                    else "trace-only"))
    if other := [n for n in subject.names if not subject.parts(n)]:
        section.blocks.append(Text(f"Not split: {listed(other)}. Its atoms have no one-to-one "
                                   "partners in the ground state."))
    return section


def amplitude_section(subject: Subject) -> Section:
    """Return the Q² law, the amplitude at which it fails, and the error of interpolation."""
    blocks: list[Block] = [meaning("law")]
    found = subject.sweeps
    if not found:
        blocks.append(plain("no-law"))
    for entry, sweep in found.items():
        amplitudes = sweep.amplitudes_sqrt_amu_A
        blocks += _law(subject, entry, sweep) if len(amplitudes) > 1 else [
            plain("one-amplitude", entry=entry, amplitude=amplitudes[0])]
    return Section("amplitude", "How the difference grows with the amplitude", blocks)


def _law(subject: Subject, entry: str, sweep: AmplitudeSpectra) -> list[Block]:
    regime, amplitudes = leading_regime(sweep), sweep.amplitudes_sqrt_amu_A
    misses = [f"{100 * m:.2f}" for m in sweep.left_out()]
    missed = ["–"] * int(amplitudes[0] < 0) + misses + ["–"]
    # A sweep of the other sign is mirrored.
    points = [(abs(s.amplitude_sqrt_amu_A), s.max_displacement_A or 0.0)
              for s in subject.results.structures
              if s.amplitude_sqrt_amu_A and s.name.split("@")[0] == entry.removesuffix(" (−Q)")]
    sizes_A = [min(points, key=lambda point: abs(point[0] - abs(q)))[1] for q in amplitudes]
    scale = 100 / float(subject.scenarios.steady_state.max())
    rows = [(f"{q:.3f}", f"{size:.3f}", f"{scale * np.abs(curve).max():.2f}",
             f"{100 * deviation:.1f}", miss)
            for q, size, curve, deviation, miss in zip(
                amplitudes, sizes_A, sweep.differences, regime.computed, missed, strict=True)]
    fails, tolerance = regime.fails_at_sqrt_amu_A, f"{100 * regime.tolerance:g} %"
    if fails is None:
        said = f"it holds within {tolerance} up to the largest computed amplitude."
    elif fails <= amplitudes[0]:
        said = f"it fails by more than {tolerance} already at the smallest computed amplitude."
    else:
        displacement_A = fails * sizes_A[-1] / float(amplitudes[-1])
        said = (f"it fails by more than {tolerance} from Q = {fails:.3f} Å√amu on "
                f"(largest displacement {displacement_A:.3f} Å).")
    missing = sweep.left_out()
    trust = "" if not len(missing) else (
        f"; left out, one is missed by at most {100 * missing.max():.2f} % of its largest change")
    return [
        charts.amplitude_chart(subject, entry, sweep, regime),
        Text(f"The {sweep.law} of {entry}: {said} Between computed amplitudes the difference is "
             f"interpolated{trust}."),
        Fold(f"Amplitudes of {entry}", [Table(
            f"Amplitudes of {entry}",
            ("Q (Å√amu)", "largest displacement (Å)", "largest difference (% of maximum)",
             "deviation from the law (%)", "missed when left out (%)"), rows)])]
