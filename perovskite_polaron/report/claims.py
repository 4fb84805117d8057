"""Published statements against what was calculated: each with our number and a verdict that is computed, not written."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron import published_cspbbr3 as published
from perovskite_polaron.analysis.heating import Heating
from perovskite_polaron.analysis.shape_ratio import EDGES, window_weights
from perovskite_polaron.published_cspbbr3 import FEATURES, Feature
from perovskite_polaron.report.subject import Subject

Array = NDArray[np.float64]
AGREES, DISAGREES, OPEN = "agrees", "disagrees", "open"
# Calibration and the place of the first maximum are uncertain by about this much.
PLACE_EV = 1.0


@dataclass(frozen=True)
class FeatureRow:
    """One published feature in one calculated difference, in % of the reference's maximum.

    unconverged: change of the value when the chains lose their last steps. firm: the sign is the same within PLACE_EV.
    verdict: agrees or disagrees with the published sign; open where the value is not larger than ``unconverged``, or where
    the feature is made by carriers that are not calculated.
    """

    feature: Feature
    value: float
    unconverged: float
    firm: bool
    verdict: str


@dataclass(frozen=True)
class Claim:
    """A published statement, what was calculated for it, and the verdict."""

    published: str
    ours: str
    verdict: str


def at(subject: Subject, curve: Array, offset_eV: float) -> float:
    """Return a curve's value at an energy counted from the reference's first maximum."""
    return float(np.interp(subject.white_line_eV + offset_eV, subject.energy_eV, curve))


def feature_rows(subject: Subject, name: str) -> tuple[FeatureRow, ...]:
    """Judge every published feature in the difference of one structure."""
    curve, shorter = subject.percent(name), subject.percent(name, subject.shortened)
    rows = []
    for feature in FEATURES:
        value = at(subject, curve, feature.offset_eV)
        unconverged = abs(at(subject, shorter, feature.offset_eV) - value)
        around = np.abs(subject.energy_eV - subject.white_line_eV - feature.offset_eV) <= PLACE_EV + 1e-9
        firm = bool((np.sign(curve[around]) == np.sign(value)).all())
        verdict = AGREES if np.sign(value) == feature.sign else DISAGREES
        if not feature.structural or abs(value) <= unconverged:
            verdict = OPEN
        rows.append(FeatureRow(feature, value, unconverged, firm, verdict))
    return tuple(rows)


def extremum_eV(subject: Subject, feature: Feature, reach_eV: float = 6.0) -> float | None:
    """Return the photon energy of the reference's extremum nearest to a feature that is said to be one; else None."""
    y = subject.spectra.structures[subject.reference].average.intensity * feature.extremum
    peaks = 1 + np.flatnonzero((y[1:-1] >= y[:-2]) & (y[1:-1] > y[2:]))
    place = subject.white_line_eV + feature.offset_eV
    near = peaks[np.abs(subject.energy_eV[peaks] - place) <= reach_eV]
    if not feature.extremum or not len(near):
        return None
    best = near[np.abs(subject.energy_eV[near] - place).argmin()]
    return float(subject.energy_eV[best] + subject.edge_eV)


def signs(rows: Sequence[FeatureRow]) -> str:
    """Return the overall verdict on the structural features: agrees only when every one does."""
    verdicts = [r.verdict for r in rows if r.feature.structural]
    if DISAGREES in verdicts:
        return DISAGREES
    return OPEN if OPEN in verdicts else AGREES


def losing_share(subject: Subject, name: str) -> float:
    """Return the share of the published range of the cubic phase's mismatch in which a difference is negative."""
    low, high = (e - subject.edge_eV for e in published.CUBIC_MISMATCH_EV)
    inside = (subject.energy_eV >= low) & (subject.energy_eV <= high)
    return float((subject.percent(name)[inside] < 0).mean())


def comparison_range(subject: Subject, name: str, shift_eV: float = 0.5) -> tuple[float, float, float]:
    """Return C of a calculated difference, and its lowest and highest value as the edge moves by up to ±shift_eV."""
    windows = EDGES["Br-K"]
    values = []
    for shift in np.linspace(-shift_eV, shift_eV, 11):
        energy = subject.energy_eV + subject.edge_eV + shift
        curve = subject.percent(name)
        top, bottom = (window_weights(energy, w, 0.1) @ curve for w in (windows.numerator_eV, windows.denominator_eV))
        values.append(float(top / bottom) if bottom else float("nan"))
    return values[5], float(np.nanmin(values)), float(np.nanmax(values))


def difference_claims(subject: Subject) -> list[Claim]:
    """Judge the article's figure 4: the displaced structures against the transient, and the other phases against it."""
    claims = []
    for name in subject.names:
        rows = [r for r in feature_rows(subject, name) if r.feature.structural]
        displaced = bool(subject.result(name).amplitude_sqrt_amu_A)
        if displaced:
            text = f"{name}: the displacement explains the post-edge signs −, +, − at 13.485, 13.497, 13.508 keV"
            claims.append(Claim(text, ", ".join(f"{r.value:+.2f} %" for r in rows), signs(rows)))
        else:
            # Published as a mismatch: the claim holds when the sign at the gain in that range is the wrong one.
            gain = next(r for r in rows if r.feature.sign > 0)
            text = (
                f"{name}: this phase mismatches the transient between 13.492 and 13.505 keV, where it gains at 13.497"
            )
            ours = (
                f"{gain.value:+.2f} % at 13.497 keV; loses in {100 * losing_share(subject, name):.0f} % of that range"
            )
            claims.append(Claim(text, ours, {AGREES: DISAGREES, DISAGREES: AGREES}.get(gain.verdict, OPEN)))
    return claims


def comparison_claims(subject: Subject) -> list[Claim]:
    """Judge the article's figure 3 as far as calculated differences can."""
    claims = []
    sweep = [n for n in subject.names if subject.result(n).amplitude_sqrt_amu_A]
    if len(sweep) > 1:
        values = [comparison_range(subject, n)[0] for n in sweep]
        spread = max(values) - min(values)
        ours = f"C from {min(values):+.2f} to {max(values):+.2f} over {len(sweep)} amplitudes"
        mean = abs(float(np.mean(values)))
        claims.append(
            Claim(
                "C of the transient does not change as it decays (within a fifth)",
                ours,
                AGREES if spread < 0.2 * mean else DISAGREES,
            )
        )
    else:
        claims.append(Claim("C of the transient does not change as it decays", "needs two or more amplitudes", OPEN))
    for name in subject.names:
        if not subject.result(name).amplitude_sqrt_amu_A:
            value, low, high = comparison_range(subject, name)
            verdict = OPEN if low < 0 < high else AGREES if value > 0 else DISAGREES
            claims.append(
                Claim(
                    f"C of the heated sample is positive above 60 °C ({name})",
                    f"C = {value:+.2f}, from {low:+.2f} to {high:+.2f} as the edge moves by ±0.5 eV",
                    verdict,
                )
            )
    return claims


def heating_claims(result: Heating) -> list[Claim]:
    """Judge the published upper limit of the heating and the temperature after cooling."""
    inside = result.delta_T_low_K <= published.HEATING_K <= result.delta_T_high_K
    cooled = float(result.temperature_C(np.array([published.COOLED_AT_PS]), published.COOLING_PS)[0])
    return [
        Claim(
            f"upper limit of the temperature rise ≈ {published.HEATING_K:g} K",
            f"{result.delta_T_K:.0f} K, 68 % range {result.delta_T_low_K:.0f} to {result.delta_T_high_K:.0f} K",
            AGREES if inside else DISAGREES,
        ),
        Claim(
            f"≈ {published.COOLED_C:g} °C at {published.COOLED_AT_PS:g} ps with {published.COOLING_PS:g} ps of "
            f"Newton's cooling",
            f"{cooled:.0f} °C",
            AGREES if abs(cooled - published.COOLED_C) < 5 else DISAGREES,
        ),
    ]


def mode_claims(subject: Subject) -> list[Claim]:
    """Judge bond lengths at rest, the mode's energy and who moves how far in it."""
    claims = []
    rest = subject.bonds(subject.reference)
    if rest is not None:
        for word, ours, theirs in (
            ("axial", rest.axial_A, published.PB_AXIAL_A), ("equatorial", rest.equatorial_A, published.PB_EQUATORIAL_A),
        ):  # fmt: skip
            # Half a unit of the last published digit.
            agrees = abs(ours - theirs) <= 0.0005 + 1e-9
            claims.append(
                Claim(f"Pb–Br {word} {theirs:.3f} Å at rest", f"{ours:.4f} Å", AGREES if agrees else DISAGREES)
            )
    name = next((n for n in subject.names if subject.moved(n) is not None), None)
    moved = None if name is None else subject.moved(name)
    if moved is None:
        return claims
    for word, key, theirs in (
        ("equatorial Br", "axial_to_equatorial", published.AXIAL_TO_EQUATORIAL), ("Pb", "axial_to_B", published.AXIAL_TO_PB),
    ):  # fmt: skip
        ratio = moved.ratio[key]
        if ratio is not None:
            agrees = abs(ratio / theirs - 1) <= 0.2
            claims.append(
                Claim(
                    f"axial Br moves {theirs:g} times as far as {word} (within a fifth)",
                    f"{ratio:.2f} times",
                    AGREES if agrees else DISAGREES,
                )
            )
    return claims
