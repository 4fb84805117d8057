"""Which scenario a transient supports, and how strongly.

Model: strength × difference(E − shift), the strength free, the shift with a Gaussian prior. The fit maximises the
posterior over both; the interval of the strength is where the profile of χ² (shift refitted) rises by 1 or by 3.84.
AIC counts the strength and the shift, and no change at all competes as a model without parameters. A scenario is claimed
only when it beats no change by 10 in AIC: noise alone then claims none. Use it when the scenarios' shapes differ over the
window; it cannot tell apart scenarios whose shapes agree, nor say that none of the given ones is right (look at χ²).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.experiment.scan import Scan
from perovskite_polaron.experiment.scenario import Scenario

Array = NDArray[np.float64]
CLAIM_AIC = 10.0


@dataclass(frozen=True, eq=False)
class ScenarioFit:
    """One scenario's best fit: chi2 includes the prior's term; interval68 and interval95 are profile intervals."""

    scenario: Scenario
    strength: float
    strength_err: float
    interval68: tuple[float, float]
    interval95: tuple[float, float]
    shift_eV: float
    chi2: float
    aic: float
    model: Array

    @property
    def f_q2(self) -> float | None:
        """Excited fraction × Q² (Å²·amu) for the mode of an odd symmetry, else None."""
        amplitude = self.scenario.even_amplitude_sqrt_amu_A
        return None if amplitude is None else self.strength * amplitude**2


@dataclass(frozen=True, eq=False)
class Comparison:
    """All fits, best first, against no change (chi2_null = aic_null)."""

    fits: tuple[ScenarioFit, ...]
    chi2_null: float
    points: int

    @property
    def best(self) -> ScenarioFit | None:
        """The scenario that is claimed, or None: positive strength and 10 in AIC better than no change."""
        able = [f for f in self.fits if f.strength > 0]
        return able[0] if able and self.chi2_null - able[0].aic > CLAIM_AIC else None


def compare(
    transient: Scan, scenarios: Sequence[Scenario], shift_sigma_eV: float = 0.2, offset_eV: float = 0.0
) -> Comparison:
    """Fit every scenario to a transient with known errors; offset_eV is added to the scenarios' energies first.

    Raises InputError when errors are missing, names repeat, or a scenario does not span the transient, shifts included;
    ComputationError when the shift of the claimed scenario sits at the end of its range, five prior widths.
    """
    if transient.variance is None:
        raise InputError(
            f"{transient.name}: the errors of the points are unknown; give an error column or repeated scans"
        )
    if not 0 < shift_sigma_eV < np.inf:
        raise InputError(f"the prior width of the shift, {shift_sigma_eV:g} eV, must be positive")
    if not scenarios or len({s.name for s in scenarios}) < len(scenarios):
        raise InputError("give at least one scenario, each with a name of its own")
    try:
        whiten = np.linalg.inv(np.linalg.cholesky(np.asarray(transient.covariance)))
    except np.linalg.LinAlgError:
        raise InputError(
            f"{transient.name}: the covariance of its points is singular (averaging and normalising make it so); fit the "
            "transient before averaging, or rebin it"
        ) from None
    data = whiten @ transient.intensity
    fits = [_fit(transient, data, whiten, s, shift_sigma_eV, offset_eV) for s in scenarios]
    found = Comparison(tuple(sorted(fits, key=lambda f: f.aic)), float(data @ data), len(data))
    # A wrong scenario may well run to the end of its range; the one that is claimed must not.
    if found.best is not None and abs(found.best.shift_eV) > 4.99 * shift_sigma_eV:
        raise ComputationError(
            f"the shift of {found.best.scenario.name!r} sits on its bound, {found.best.shift_eV:+.2f} eV; check the calibration "
            "or widen the prior"
        )
    return found


def _fit(transient: Scan, data: Array, whiten: Array, scenario: Scenario, sigma: float, offset: float) -> ScenarioFit:
    reach = 5 * sigma
    energy = scenario.energy_eV + offset
    if transient.energy_eV[0] - reach < energy[0] or transient.energy_eV[-1] + reach > energy[-1]:
        raise InputError(
            f"the scenario {scenario.name!r} spans {energy[0]:.1f} to {energy[-1]:.1f} eV and not the transient with its shifts, "
            f"{transient.energy_eV[0] - reach:.1f} to {transient.energy_eV[-1] + reach:.1f} eV; cut the transient, or set the offset"
        )
    shifts = np.linspace(-reach, reach, 401)
    columns = np.array([np.interp(transient.energy_eV - s, energy, scenario.difference) for s in shifts]) @ whiten.T
    along, square = columns @ data, np.einsum("ij,ij->i", columns, columns)
    if not (square > 0).all():
        raise InputError(f"the scenario {scenario.name!r} is zero over the transient's energies; widen the window")
    best_strength = along / square
    prior = (shifts / sigma) ** 2
    chi2 = data @ data - along**2 / square + prior
    at = int(np.argmin(chi2))
    fine = np.linspace(shifts[max(at - 1, 0)], shifts[min(at + 1, len(shifts) - 1)], 41)
    fine_columns = np.array([np.interp(transient.energy_eV - s, energy, scenario.difference) for s in fine]) @ whiten.T
    fine_along, fine_square = fine_columns @ data, np.einsum("ij,ij->i", fine_columns, fine_columns)
    fine_chi2 = data @ data - fine_along**2 / fine_square + (fine / sigma) ** 2
    k = int(np.argmin(fine_chi2))
    strength, lowest = float(fine_along[k] / fine_square[k]), float(fine_chi2[k])
    intervals = []
    for rise in (1.0, 3.841):
        # For each shift the strengths within the rise form an interval; the profile's is their union.
        room = np.concatenate([chi2, fine_chi2]) - lowest
        half = np.sqrt(np.maximum(rise - room, 0) / np.concatenate([square, fine_square]))
        middle = np.concatenate([best_strength, fine_along / fine_square])
        inside = room <= rise
        intervals.append((float((middle - half)[inside].min()), float((middle + half)[inside].max())))
    curve = strength * np.interp(transient.energy_eV - fine[k], energy, scenario.difference)
    err = (intervals[0][1] - intervals[0][0]) / 2
    return ScenarioFit(scenario, strength, err, intervals[0], intervals[1], float(fine[k]), lowest, lowest + 4.0, curve)


def statements(found: Comparison) -> list[str]:
    """The result in plain words, with what the data cannot tell."""
    best = found.best
    if best is None:
        return ["No scenario is claimed: none describes the data better than no change at all by 10 in AIC."]
    able = [f for f in found.fits if f.strength > 0]
    words = [
        f"Best: {best.scenario.name}, strength {best.strength:.3g} ± {best.strength_err:.2g} "
        f"(95 %: {best.interval95[0]:.3g} to {best.interval95[1]:.3g}), energies shifted by {best.shift_eV:+.2f} eV."
    ]
    if len(able) > 1 and able[1].aic - best.aic < CLAIM_AIC:
        words.append(
            f"{able[1].scenario.name} is not excluded: it is worse by only {able[1].aic - best.aic:.1f} in AIC."
        )
    if best.chi2 > found.points + 4 * np.sqrt(2 * found.points):
        words.append(f"Even the best does not describe the data: chi2 is {best.chi2:.0f} for {found.points} points.")
    if best.f_q2 is not None:
        words.append(
            f"The data fix only excited fraction × Q²: {best.f_q2:.3g} Å²·amu. The averaged difference of an odd mode is even in its "
            "amplitude, so a small fraction strongly distorted and a large one weakly distorted look the same, and so do a static "
            "displacement and a hotter mode with the same mean square."
        )
    if best.scenario.name == "rigid edge shift":
        words.append("For a small shift the data fix only excited fraction × shift.")
    return words
