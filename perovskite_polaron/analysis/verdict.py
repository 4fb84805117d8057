"""A comparison in plain words, with what the data cannot tell."""

import numpy as np

from perovskite_polaron.analysis.scenario_fit import CLAIM_AIC, Comparison, ScenarioFit
from perovskite_polaron.analysis.scenarios import RIGID_SHIFT


def statements(found: Comparison) -> list[str]:
    """Return sentences: what is claimed, how firmly, against which others, and what stays undetermined."""
    best = found.best
    if best is None:
        return ["No scenario is supported: none describes the data better than no change at all by 10 in AIC."]
    words = [_strengths(best)]
    rivals = [f for f in found.fits if f.possible and f is not best and f.aic - best.aic < CLAIM_AIC]
    # A mixture that contains the claimed scenario is no rival to it: it says the same and more.
    contained = [f for f in rivals if set(best.parts) < set(f.parts)]
    for rival in (f for f in rivals if f not in contained):
        difference = rival.aic - best.aic
        words.append(
            f"{rival.name} is not excluded: it is {'worse by only' if difference >= 0 else 'better by'} {abs(difference):.1f} in AIC."
        )
    for rival in (f for f in contained if f.aic < best.aic):
        words.append(
            f"{rival.name} fits better by {best.aic - rival.aic:.1f} in AIC, less than the 10 that a mixture must gain to be claimed."
        )
    odds = found.odds()
    words.append(f"Posterior probability among the hypotheses given: {100 * odds[best.name]:.3g} % (from BIC).")
    if best.chi2 > found.points + 4 * np.sqrt(2 * found.points):
        words.append(f"Even the best does not describe the data: chi2 is {best.chi2:.0f} for {found.points} points.")
    words += _amplitude(best)
    if any(p.name == RIGID_SHIFT for p in best.parts):
        words.append(
            "The strength of the edge shift is excited fraction × shift in eV: the data fix only that product."
        )
    return words


def _strengths(best: ScenarioFit) -> str:
    texts = [
        f"{part.name} {strength:.3g}{' eV' if part.kind == 'shift' else ''} "
        f"(68 %: {i68[0]:.3g} to {i68[1]:.3g}, 95 %: {i95[0]:.3g} to {i95[1]:.3g})"
        for part, strength, i68, i95 in zip(best.parts, best.strengths, best.intervals68, best.intervals95, strict=True)
    ]
    nuisance = [f"calculated energies moved by {best.shift_eV:+.2f} eV"]
    if best.width_fwhm_eV > 0:
        nuisance.append(f"broadened further by {best.width_fwhm_eV:.2f} eV FWHM")
    return f"Best: {best.name}. Strength of {'; '.join(texts)}; {', '.join(nuisance)}."


def _amplitude(best: ScenarioFit) -> list[str]:
    largest, amplitude = best.parts[0].amplitude_sqrt_amu_A, best.amplitude
    if largest is None or best.f_q2 is None:
        return []
    low, high = (end * largest**2 for end in best.interval68)
    if amplitude is not None:
        q = (
            f"Q = {amplitude.q:.3g} Å√amu (68 %: {amplitude.q68[0]:.3g} to {amplitude.q68[1]:.3g}, "
            f"95 %: {amplitude.q95[0]:.3g} to {amplitude.q95[1]:.3g})"
        )
        if amplitude.given_fraction:
            words = [f"With the excited fraction {amplitude.f:g} that was given, {q}."]
            if amplitude.q > largest and not _is_sweep(best):
                words.append(
                    f"That is beyond the one computed amplitude, {largest:.3g} Å√amu: it rests on the Q² law; compute a larger one."
                )
            return words
        return [
            f"The change of shape with amplitude tells fraction and amplitude apart: {q}, excited fraction {amplitude.f:.3g} "
            f"(68 %: {amplitude.f68[0]:.3g} to {amplitude.f68[1]:.3g}, 95 %: {amplitude.f95[0]:.3g} to {amplitude.f95[1]:.3g})."
        ]
    return [
        f"The data fix only excited fraction × Q²: {best.f_q2:.3g} Å²·amu (68 %: {low:.3g} to {high:.3g}). The averaged difference of an "
        "odd mode is even in its amplitude, so a small fraction strongly distorted and a large one weakly distorted look the same, "
        "and so do a static displacement and a hotter mode with the same mean square. Give --fraction if it is known."
    ]


def _is_sweep(fit: ScenarioFit) -> bool:
    sweep = fit.parts[0].sweep
    return sweep is not None and len(sweep.amplitudes_sqrt_amu_A) > 1
