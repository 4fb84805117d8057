"""A transient judged by the scenarios: what is claimed, and what the data cannot tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, hypot, log

import numpy as np

from perovskite_polaron.analysis.matched import Matched
from perovskite_polaron.analysis.scenario_curves import Priors
from perovskite_polaron.analysis.scenario_fit import CLAIM_ODDS, Comparison, Problem
from perovskite_polaron.analysis.scenario_found import ScenarioFit
from perovskite_polaron.analysis.scenarios import (
    ScenarioSet, computed, heated_lattice, listed, mixtures)
from perovskite_polaron.analysis.screening import Screening
from perovskite_polaron.arrays import Interval
from perovskite_polaron.errors import InputError
from perovskite_polaron.measured.recipe import FIELD, parse_steps
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.measured.treatment import crop, scale

#: From here above the first maximum on, the window called above-edge.
#:
#: The first published feature beyond the edge is at +13 eV, and the electronic change that is not
#: computed lies within 5 eV.
ABOVE_EDGE_EV = 8.0
#: What is known of the scale of calculated energies: bands of PBE are too narrow, or too wide, by a
#: few per cent.
STRETCH = 0.02
#: Broadening beyond the calculation's, FWHM, where no match says it.
WIDTH_EV = 0.3
SCREENING = Screening()
#: Of the strengths of kinds of scenarios that have one.
_UNITS = {"shift": " eV", "screening": " eV", "carriers": " × 1e19 pairs/cm3"}


@dataclass(frozen=True)
class Place:
    """Where the calculated zero lies on the measured axis.

    Attributes
    ----------
    offset_eV, sigma_eV
        Photon energy of the calculated zero, and its standard deviation.
    words
        A sentence, where the place was not given.
    """

    offset_eV: float
    sigma_eV: float
    words: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Judgement:
    """What ``judge`` found.

    Attributes
    ----------
    transient
        The part of the transient that was fitted.
    theory
        The scenarios it was compared with.
    found
        The fits of all hypotheses.
    place
        Where the calculated axis was put.
    priors
        What was known of it and of the widths.
    unit
        What intensities were divided by before they were fitted.
    words
        Sentences: what is claimed, and what stays undetermined.
    screening
        What was assumed of screening by carriers, where it is among the scenarios.
    """

    transient: Scan
    theory: ScenarioSet
    found: Comparison
    place: Place
    priors: Priors
    unit: float
    words: tuple[str, ...]
    screening: Screening | None = None


def judge(transient: Scan, theory: ScenarioSet, maximum_eV: float | None = None, *,
          edge_eV: float | None = None, window: str | Interval = "all", heated: Sequence[Scan] = (),
          asked: Sequence[str] = (), shifted: bool = True, fraction: float | None = None,
          shift_sigma_eV: float | None = None, width_sigma_eV: float = WIDTH_EV,
          scale_sigma: float = 0.0, stretch_sigma: float = STRETCH,
          matched: Matched | None = None, like_steady: bool = False,
          screening: Screening = SCREENING) -> Judgement:
    """Compare a transient with every scenario.

    Parameters
    ----------
    transient, theory
        Measured difference spectrum with errors; the scenarios.
    maximum_eV
        Published photon energy of the first maximum of the edge, where there is one.
    edge_eV, shift_sigma_eV
        Photon energy of the calculated zero, if known, and how well.
    window
        Energies to fit: ``all``, ``above-edge``, or an interval in eV.
    heated
        Spectra at several temperatures, which add the heated lattice.
    asked, shifted
        Mixtures of scenarios as ``mixtures`` has them, and whether each is also joined with a
        shift.
    fraction
        Excited fraction, if known.
    width_sigma_eV, scale_sigma, stretch_sigma
        Priors of broadening, normalisation and the scale of energies, as ``Priors``.
    matched
        Where the theory has the stretch and the widths of a match: its zero, and its errors and
        their correlation in place of the priors but that of the normalisation.
    like_steady
        Whether the transient, and the heated spectra, are in the unit of the steady state that was
        matched: they are then divided by the scale that the match found, so that a strength is an
        excited fraction. Its error joins scale_sigma.
    screening
        Of the core hole by carriers; left out where the theory has no carriers.

    Raises
    ------
    InputError
        When the axes differ and no place of the edge is known, or the window has too few points;
        when nothing was matched that tells the unit of the steady state.
    """
    said, unit = None, 1.0
    if like_steady:
        unit, scale_sigma, said = _in_fractions(scale_sigma, theory, matched)
        transient, *heated = (scale(one, factor=1 / unit) for one in (transient, *heated))
    if matched is None:
        where = place(transient, theory, maximum_eV, edge_eV, shift_sigma_eV)
        priors = Priors(where.sigma_eV, width_sigma_eV, scale_sigma, stretch_sigma)
    else:
        where, priors = matched_place(matched), matched_priors(matched, theory, scale_sigma)
    part = _cut(transient, window, theory, where.offset_eV, priors)
    also = [screening] if screening.sigma_eV and any(
        s.kind == "carriers" for s in theory.scenarios) else []
    single = [*computed(theory, also), *(heated_lattice(heated) if heated else ())]
    of_fractions, normalised = _normalised(transient, theory.normalisation)
    problem = Problem(part, mixtures(single, asked, shifted), priors, where.offset_eV, fraction,
                      fractions=of_fractions or said is not None)
    found = problem.fit(part.intensity)
    best = found.best
    words = (*where.words, *statements(found), *_interpolation(best),
             said or normalised, *(one.words for one in also))
    return Judgement(part, theory, found, where, priors, unit, words, also[0] if also else None)


def _in_fractions(scale_sigma: float, theory: ScenarioSet,
                  matched: Matched | None) -> tuple[float, float, str]:
    """Return what the matched steady state was in the unit of measured differences, the prior of
    that, and a sentence.
    """
    if matched is None or theory.norm is None:
        raise InputError("the unit of the steady state is not known: a match of this study tells it"
                         " (--match)")
    size = matched.fit.scale * theory.norm
    relative = matched.error("scale") / matched.fit.scale
    said = (f"The transient was divided by {size:.4g}, the {theory.normalisation} of the steady"
            f" state by the scale of the match (± {100 * relative:.2g} %): a strength is an excited"
            " fraction, if the transient is in the unit of that steady state.")
    return size, hypot(scale_sigma, relative), said


def matched_place(matched: Matched) -> Place:
    """Return the place of the calculated axis that a match found."""
    axis = matched.axis
    said = (f"Axis and widths are those of the match with {matched.fit.measured}: zero"
            f" {axis.e0_eV:.2f} ± {matched.error('e0_eV'):.2g} eV, stretch"
            f" {100 * axis.stretch:+.2f} ± {100 * matched.error('stretch'):.2g} %.")
    return Place(axis.e0_eV, matched.pivot_err_eV, (said,))


def matched_priors(matched: Matched, theory: ScenarioSet, scale_sigma: float = 0.0) -> Priors:
    """Return what a match leaves open of a theory with its stretch and its widths."""
    longer = 1 + matched.axis.stretch
    width_eV = 0.0 if theory.wider is None else theory.wider[1]
    return Priors(matched.pivot_err_eV, width_eV, scale_sigma, matched.error("stretch") / longer,
                  matched.pivot_eV * longer, has_match=True)


def place(transient: Scan, theory: ScenarioSet, maximum_eV: float | None,
          edge_eV: float | None = None, sigma_eV: float | None = None) -> Place:
    """Return the place of the calculated axis: as given, or the first maximum on the published one.

    Parameters are those of ``judge``; InputError where the axes differ and no maximum is published.
    """
    middle = (transient.energy_eV[0] + transient.energy_eV[-1]) / 2
    if edge_eV is None and theory.energy_eV[0] < middle < theory.energy_eV[-1]:
        edge_eV = 0.0
    if edge_eV is not None:
        return Place(edge_eV, 0.2 if sigma_eV is None else sigma_eV)
    if maximum_eV is None:
        raise InputError("the transient and the calculation have different axes: say with --edge "
                         "where the zero lies")
    offset_eV = maximum_eV - theory.first_maximum_eV
    said = ("The first maximum of the calculation was put on the published one, "
            f"{maximum_eV:g} eV: its zero is {offset_eV:.2f} eV.")
    return Place(offset_eV, 0.5 if sigma_eV is None else sigma_eV, (said,))


def _cut(transient: Scan, window: str | Interval, theory: ScenarioSet, offset_eV: float,
         priors: Priors) -> Scan:
    if window == "all":
        return transient
    if window == "above-edge":
        low = offset_eV + theory.first_maximum_eV + ABOVE_EDGE_EV
        high = min(float(transient.energy_eV[-1]),
                   offset_eV + priors.last_eV(float(theory.energy_eV[-1])))
    else:
        low, high = float(window[0]), float(window[1])
    return crop(transient, from_eV=low, to_eV=high)


def _normalised(transient: Scan, calculated: str) -> tuple[bool, str]:
    """Return whether a strength is an excited fraction, both being divided by the same, and a
    sentence.
    """
    text = "" if transient.table is None else transient.table.get(FIELD)
    steps = parse_steps(text, transient.name).steps if text else ()
    of_spectrum = True
    for step in steps:
        of_spectrum &= step.name != "subtract"
        by = step.parameters.get("by")
        if step.name == "normalise" and not of_spectrum:
            return False, (f"The difference was divided by its own {by}: strengths compare shapes"
                           " and are no excited fractions.")
        if step.name == "normalise" and calculated and by != calculated:
            return False, (f"The measured spectrum was divided by its {by} and the calculated one"
                           f" by its {calculated}: strengths are no excited fractions; choose the"
                           " same.")
        if step.name == "normalise" and calculated:
            return True, (f"Both steady states were divided by their {by}: a strength is an excited"
                          " fraction, as far as the measured energies span what the calculated ones"
                          " do.")
    of = f"the {calculated} of its steady state" if calculated else "the same as the calculation"
    return False, f"A strength is an excited fraction only when the transient was divided by {of}."


def _interpolation(best: ScenarioFit | None) -> list[str]:
    """Return how far to trust the interpolation between amplitudes, for the best scenario."""
    if best is None or not best.parts[0].is_swept or best.parts[0].sweep is None:
        return []
    sweep = best.parts[0].sweep
    missed = 100 * sweep.left_out()
    return [f"Interpolation between {len(sweep.amplitudes_sqrt_amu_A)} computed amplitudes: left "
            f"out, one is missed by up to {missed.max():.2f} % of its largest change."
            ] if len(missed) else []


def statements(found: Comparison) -> list[str]:
    """Return sentences: what is claimed, how firmly, against which others, what stays open."""
    best = found.best
    if best is None:
        return [f"No scenario is supported: none is {CLAIM_ODDS:g} times as probable as no change "
                "at all.", *_beyond(found), *_collinear(found)]
    words = [_strengths(best), *_beyond(found)]
    near = {f: best.ln_evidence - f.ln_evidence for f in found.fits if f is not best
            and f.possible and best.ln_evidence - f.ln_evidence < log(CLAIM_ODDS)}
    # A mixture that contains the claimed scenario is no rival to it: it says the same and more.
    contained = [f for f in near if set(best.parts) < set(f.parts)]
    words += [f"{f.name} is not excluded: it is {_times(ln)} probable." for f, ln in near.items()
              if f not in contained]
    words += [f"{f.name} is {_times(near[f])} probable: less than the {CLAIM_ODDS:g} times that a "
              "mixture must reach to be claimed." for f in contained if near[f] < 0]
    if not np.isfinite(best.intervals95).all():
        words.append("The calculation error leaves the strength without a limit: make the settings "
                     "better (polaron converge).")
    words.append("Probability among the hypotheses given, all alike before: "
                 f"{100 * found.odds()[best.name]:.3g} %.")
    if best.chi2 > found.points + 4 * np.sqrt(2 * found.points):
        words.append(f"Even the best does not describe the data: chi2 is {best.chi2:.0f} for "
                     f"{found.points} points.")
    words += _amplitude(best) + _made_of(best)
    kinds = {p.kind: float(s) for p, s in zip(best.parts, best.strengths, strict=True)}
    if "shift" in kinds:
        words.append("The strength of the edge shift is excited fraction × shift in eV: the data "
                     "fix only that product.")
    if "carriers" in kinds:
        words.append("The strength of filling is excited fraction × density of pairs, in 1e19 per "
                     "cm3. What one carrier changes is known to an order of magnitude (polaron "
                     "carriers), and so is the density; its place and its signs are what counts.")
    if "screening" in kinds:
        words.append("The strength of screening is excited fraction × shift in eV, with its prior.")
    elif "carriers" in kinds and kinds.get("shift", 0.0) > 0:
        words.append("The shift beside it is to higher energies, as screening of the core hole by "
                     "carriers makes it.")
    return words + _collinear(found)


def _beyond(found: Comparison) -> list[str]:
    """Return which probable hypotheses ask for more than the whole sample."""
    return [f"{fit.name} would need {part.name} in {fit.strengths[i]:.3g} of the sample, more than"
            " there is: it is left out, if the normalisation is right."
            for fit in found.fits[:1] for i, part in enumerate(fit.parts)
            if fit.intervals95[i, 0] >= fit.upper[i]]


def _collinear(found: Comparison) -> list[str]:
    """Return which explanations the window does not tell apart."""
    return [f"{one} and {other} are collinear in this window: their strengths are correlated by "
            f"{value:+.2f}, so that little more than a combination of them is fixed; widen the "
            "window, or read neither alone." for one, other, value in found.collinear()]


def _times(ln_odds: float) -> str:
    """Return how much less probable something is, or more where ln_odds is negative."""
    return f"{exp(abs(ln_odds)):.3g} times {'less' if ln_odds >= 0 else 'more'}"


def _ranges(i68: Sequence[float], i95: Sequence[float]) -> str:
    return f"(68 %: {i68[0]:.3g} to {i68[1]:.3g}, 95 %: {i95[0]:.3g} to {i95[1]:.3g})"


def _strengths(best: ScenarioFit) -> str:
    texts = [f"{part.name} {best.strengths[i]:.3g} {error_words(best, i)}"
             f"{_UNITS.get(part.kind, '')} "
             f"{_ranges(best.intervals68[i], best.intervals95[i])}"
             for i, part in enumerate(best.parts)]
    longer = f" and stretched by {100 * best.stretch:+.1f} %" if best.stretch else ""
    texts.append(f"calculated energies moved by {best.shift_eV:+.2f} eV{longer}")
    wider = (f", broadened further by {best.width_fwhm_eV:.2f} eV FWHM"
             if best.width_fwhm_eV > 0 else "")
    return f"Best: {best.name}. Strength of {'; '.join(texts[:-1])}; {texts[-1]}{wider}."


def _made_of(best: ScenarioFit) -> list[str]:
    """Return what each part of the calculation's error makes of the first strength, or of its
    product with the amplitude where the data fix no more.
    """
    whole = best.strength_err_calculation
    if whole is None or not np.isfinite(whole):
        return []
    unit = 1.0 if best.amplitude is not None else best.per_strength or 1.0
    parts = [f"{name} {unit * value:.2g}" for name, value in best.calculation_parts(0).items()]
    return [f"The calculation error of {best.parts[0].name}, ± {unit * whole:.2g}, is that of"
            f" {listed(parts)}{', added in square' * (len(parts) > 1)}."]


def error_words(best: ScenarioFit, part: int, unit: float = 1.0) -> str:
    """Return the errors of one strength, times a unit, each with its name."""
    statistical, known = unit * best.errors[part], best.errors_calculation[part]
    if known is not None:
        only = best.parts[part].estimated
        said = "calculation" + (f": {only}" if only != "estimated" else "")
        return f"± {statistical:.2g} (statistical) ± {unit * known:.2g} ({said})"
    computed = best.parts[part].kind in ("structure", "carriers", "heat")
    missing = "; calculation error not estimated" if computed else ""
    return f"± {statistical:.2g} (statistical{missing})"


def _amplitude(best: ScenarioFit) -> list[str]:
    largest, found, unit = best.parts[0].amplitude_sqrt_amu_A, best.amplitude, best.per_strength
    if largest is None or unit is None:
        return []
    if found is None:
        low, middle, high = (unit * s for s in (best.interval68[0], best.strength,
                                                best.interval68[1]))
        both = error_words(best, 0, unit)
        if best.parts[0].kind == "heat":
            return [f"The data fix only heated fraction × ΔT: {middle:.3g} {both} K (68 %: "
                    f"{low:.3g} to {high:.3g}). Give --fraction if it is known."]
        if best.parts[0].power == 1:
            return [f"The data fix only excited fraction × Q: {middle:.3g} {both} Å·√amu (68 %: "
                    f"{low:.3g} to {high:.3g}). The difference of a mode whose two signs differ "
                    "begins linear in its amplitude, so a small fraction strongly distorted and a "
                    "large one weakly distorted look the same. Give --fraction if it is known."]
        return [f"The data fix only excited fraction × Q²: {middle:.3g} {both} Å²·amu (68 %: "
                f"{low:.3g} to {high:.3g}). The averaged difference of an odd mode is even in its "
                "amplitude, so a small fraction strongly distorted and a large one weakly "
                "distorted look the same, and so do a static displacement and a hotter mode with "
                "the same mean square. Give --fraction if it is known."]
    sweep = best.parts[0].sweep
    name = "Q = {:.3g} Å√amu" if sweep is None else f"{sweep.symbol} = {{:.3g}} {sweep.unit}"
    q = f"{name.format(found.q)} {_ranges(found.q68, found.q95)}"
    if not found.given_fraction:
        return [f"The change of shape with amplitude tells fraction and amplitude apart: {q}, "
                f"excited fraction {found.f:.3g} {_ranges(found.f68, found.f95)}."]
    words = [f"With the excited fraction {found.f:g} that was given, {q}."]
    if found.q > largest and sweep is not None and not best.parts[0].is_swept:
        words.append(f"That is beyond the one computed amplitude, {largest:.3g} Å√amu: it rests on "
                     f"the {sweep.law}; compute a larger one.")
    return words
