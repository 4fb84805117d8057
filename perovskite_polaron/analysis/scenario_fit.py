"""Which scenario a transient supports, and how strongly.

Model: a sum of strengths times difference spectra, each moved and broadened by the nuisance parameters of
``template.Priors``; the odd mode of a sweep also has its amplitude Q. Strengths are linear and solved for; the nuisance
parameters and Q are searched for on a grid that is narrowed until it resolves the posterior. Intervals are profiles: where
χ² (with the priors' terms, all else refitted) rises by 1 or 3.84.

AIC and BIC count strengths, free nuisance parameters and Q; no change at all competes as a model without parameters. A
scenario is claimed only when it beats no change by 10 in AIC, and a mixture only when it beats each of its parts by as
much: noise alone then claims none, and a true scenario is not lost to a mixture that fits its noise. Use it when the
scenarios' shapes differ over the window; it cannot tell apart scenarios whose shapes agree, nor say that none of the
given ones is right (look at χ²).

Excited fraction and amplitude apart: what the shape of a sweep, or a given fraction, tells beyond their product f·Q².
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.analysis.scenario_curves import (
    SMALLEST_AMPLITUDE,
    Curves,
    Found,
    Grid,
    Interval,
    Priors,
    Template,
    make_grid,
    profile_interval,
    search,
    white,
)
from perovskite_polaron.analysis.scenarios import Scenario
from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.measured.scan import Scan

Array = NDArray[np.float64]
RISES = (1.0, 3.841)
# So much does a given fraction cost in χ² when it does not go with the shape; the grid does not reach beyond.
CONTRADICTION = 9.0


@dataclass(frozen=True, eq=False)
class Amplitude:
    """Q (Å·√amu) and the excited fraction f, each with its 68 % and 95 % interval: where the data or the user tell them apart.

    given_fraction: whether f is the user's, and Q what follows from it.
    """

    q: float
    q68: Interval
    q95: Interval
    f: float
    f68: Interval
    f95: Interval
    given_fraction: bool


def separate(template: Template, found: Found, fraction: float | None) -> tuple[Amplitude | None, str]:
    """Return f and Q where they can be told apart, and what is wrong with Q, if it sits on the largest computed one.

    Without a given fraction the profile of χ² over Q must rise by 3.84 (95 %) towards both small and large Q.
    """
    largest = template.parts[0].amplitude_sqrt_amu_A
    if largest is None or found.strengths[found.best, 0] <= 0:
        return None, ""
    if fraction is not None:
        return _given(template, found, fraction, largest)
    if template.sweep is None:
        return None, ""
    q, room = found.grid.points[:, 2], found.room
    low_q, high_q = SMALLEST_AMPLITUDE * largest, largest
    low_open = bool((room[q <= low_q * (1 + 1e-9)] <= RISES[1]).any())
    high_open = bool((room[q >= high_q * (1 - 1e-9)] <= RISES[1]).any())
    if not low_open and q[found.best] >= high_q * (1 - 1e-6):
        return None, f"its amplitude sits on the largest computed, {largest:.3g} Å√amu; compute larger ones"
    if low_open or high_open:
        return None, ""
    # The strength is that at the largest amplitude: f follows with (Qmax/Q)².
    factor = (largest / q[:, None]) ** 2
    f, f_variance = found.strengths[:, :1] * factor, found.variance[:, :1] * factor**2
    fractions = [profile_interval(room, f, f_variance, rise)[0] for rise in RISES]
    amplitudes = [q[room <= rise] for rise in RISES]
    q68, q95 = ((float(a.min()), float(a.max())) for a in amplitudes)
    best_q, best_f = float(q[found.best]), float(f[found.best, 0])
    return Amplitude(best_q, q68, q95, best_f, _pair(fractions[0]), _pair(fractions[1]), given_fraction=False), ""


def _given(template: Template, found: Found, fraction: float, largest: float) -> tuple[Amplitude, str]:
    """Q from the product and the fraction: in a sweep by the profile of χ² with the strength that Q then asks for."""
    strengths, variance = found.strengths[:, 0], found.variance[:, 0]
    if template.sweep is None:
        ends = [profile_interval(found.room, strengths[:, None], variance[:, None], rise)[0] for rise in RISES]
        q68, q95 = (_pair(largest * np.sqrt(np.maximum(e, 0) / fraction)) for e in ends)
        best = largest * float(np.sqrt(strengths[found.best] / fraction))
        return Amplitude(best, q68, q95, fraction, (fraction,) * 2, (fraction,) * 2, given_fraction=True), ""
    axis = found.grid.axes[2]
    fine = np.linspace(axis[0], axis[-1], 4001)

    def along_q(values: Array) -> Array:
        """Values (p,) at every shift and width, interpolated in Q: (shifts × widths, fine)."""
        rows = values.reshape(-1, len(axis))
        place = np.clip(np.searchsorted(axis, fine, side="right") - 1, 0, len(axis) - 2)
        rest = (fine - axis[place]) / (axis[place + 1] - axis[place])
        return np.asarray(rows[:, place] * (1 - rest) + rows[:, place + 1] * rest)

    wanted = fraction * (fine / largest) ** 2
    profile = (along_q(found.room) + (wanted - along_q(strengths)) ** 2 / along_q(variance)).min(axis=0)
    q = float(fine[int(np.argmin(profile))])
    within = [fine[profile <= profile.min() + rise] for rise in RISES]
    q68, q95 = ((float(w[0]), float(w[-1])) for w in within)
    why = ""
    if profile.min() > CONTRADICTION:
        why = (
            f"the fraction {fraction:g} contradicts the shape of the change (chi2 rises by {profile.min():.0f}); check the fraction "
            "and the normalisation, or compute larger amplitudes"
        )
    elif q >= largest * (1 - 1e-6):
        why = f"with the fraction {fraction:g} its amplitude sits on the largest computed, {largest:.3g} Å√amu; compute larger ones"
    return Amplitude(q, q68, q95, fraction, (fraction,) * 2, (fraction,) * 2, given_fraction=True), why


def _pair(ends: Array) -> Interval:
    return float(ends[0]), float(ends[1])


CLAIM_AIC = 10.0


@dataclass(frozen=True, eq=False)
class ScenarioFit:
    """One hypothesis' best fit. Arrays: strengths (parts,), intervals68 and intervals95 (parts, 2), model (m,), float64.

    chi2 includes the priors' terms. The strength of an odd mode is f·Q²/Qmax², with Qmax its largest computed amplitude:
    the excited fraction if the amplitude is that one. amplitude is None where f and Q cannot be told apart.
    """

    name: str
    parts: tuple[Scenario, ...]
    strengths: Array
    intervals68: Array
    intervals95: Array
    shift_eV: float
    width_fwhm_eV: float
    q_sqrt_amu_A: float | None
    amplitude: Amplitude | None
    chi2: float
    parameters: int
    points: int
    model: Array
    on_bound: str

    @property
    def strength(self) -> float:
        """Strength of the first part."""
        return float(self.strengths[0])

    @property
    def interval68(self) -> Interval:
        """68 % profile interval of the first part's strength."""
        return float(self.intervals68[0, 0]), float(self.intervals68[0, 1])

    @property
    def interval95(self) -> Interval:
        """95 % profile interval of the first part's strength."""
        return float(self.intervals95[0, 0]), float(self.intervals95[0, 1])

    @property
    def strength_err(self) -> float:
        """Half of the 68 % interval."""
        return (self.interval68[1] - self.interval68[0]) / 2

    @property
    def aic(self) -> float:
        """χ² + 2 × parameters."""
        return self.chi2 + 2 * self.parameters

    @property
    def bic(self) -> float:
        """χ² + ln(points) × parameters."""
        return self.chi2 + float(np.log(self.points)) * self.parameters

    @property
    def f_q2(self) -> float | None:
        """Excited fraction × Q² (Å²·amu) for an odd mode, else None."""
        largest = self.parts[0].amplitude_sqrt_amu_A
        return None if largest is None else self.strength * largest**2

    @property
    def possible(self) -> bool:
        """Whether every structural strength is positive; an edge may shift either way."""
        return all(s > 0 or p.kind == "shift" for s, p in zip(self.strengths, self.parts, strict=True))


@dataclass(frozen=True, eq=False)
class Comparison:
    """All fits, lowest AIC first, against no change (chi2_null is its χ², AIC and BIC)."""

    fits: tuple[ScenarioFit, ...]
    chi2_null: float
    points: int

    @property
    def best(self) -> ScenarioFit | None:
        """The fit that is claimed, or None; see the module for the rule."""
        claimed: ScenarioFit | None = None
        for fit in sorted(self.fits, key=lambda f: (len(f.parts), f.aic)):
            if not fit.possible or self.chi2_null - fit.aic <= CLAIM_AIC:
                continue
            if claimed is None or fit.aic < claimed.aic - (CLAIM_AIC if len(fit.parts) > len(claimed.parts) else 0.0):
                claimed = fit
        return claimed

    def odds(self) -> dict[str, float]:
        """Posterior probability of each possible hypothesis and of ``no change``, from equal prior ones: ∝ exp(−BIC/2) [G. Schwarz,
        Ann. Stat. 6, 461 (1978)]."""
        rows = {f.name: f.bic for f in self.fits if f.possible} | {"no change": self.chi2_null}
        low = min(rows.values())
        weight = {name: float(np.exp(-(value - low) / 2)) for name, value in rows.items()}
        total = sum(weight.values())
        return {name: weight.get(name, 0.0) / total for name in [*(f.name for f in self.fits), "no change"]}


class Problem:
    """Hypotheses prepared for transients on one set of energies with one covariance; ``fit`` may be called for many.

    hypotheses: each a scenario or a tuple of scenarios that act together. offset_eV is added to the calculated
    energies. fraction: the excited fraction, if it is known from elsewhere. Raises InputError when errors are missing,
    names repeat, or a scenario does not span the transient, shifts included.
    """

    def __init__(
        self, transient: Scan, hypotheses: Sequence[Scenario | tuple[Scenario, ...]], priors: Priors | None = None,
        offset_eV: float = 0.0, fraction: float | None = None,
    ) -> None:  # fmt: skip
        parts = [h if isinstance(h, tuple) else (h,) for h in hypotheses]
        names = [" + ".join(p.name for p in h) for h in parts]
        if not parts or len(set(names)) < len(names):
            raise InputError("give at least one scenario, each with a name of its own")
        if fraction is not None and not 0 < fraction <= 1:
            raise InputError(f"the excited fraction, {fraction:g}, must lie above 0 and not above 1")
        self.priors = priors or Priors()
        self.fraction = fraction
        self.whiten = _whitening(transient)
        self.points = len(transient.energy_eV)
        curves = {id(s): Curves(s, transient.energy_eV, offset_eV, self.priors) for h in parts for s in h}
        templates = [Template([curves[id(s)] for s in h]) for h in parts]
        self.hypotheses = [
            (name, template, make_grid(template, self.whiten, self.priors))
            for name, template in zip(names, templates, strict=True)
        ]

    def fit(self, intensity: Array) -> Comparison:
        """Fit every hypothesis to intensities (m,) at the transient's energies.

        Raises ComputationError when the claimed fit sits on the bound of a parameter or does not converge.
        """
        data = white(np.asarray(intensity, dtype=np.float64)[None, :, None], self.whiten)[0, :, 0]
        fits = [_fit(self, data, *h) for h in self.hypotheses]
        found = Comparison(tuple(sorted(fits, key=lambda f: f.aic)), float(data @ data), self.points)
        # A wrong scenario may well run to the end of its range; the one that is claimed must not.
        if found.best is not None and found.best.on_bound:
            raise ComputationError(f"{found.best.name!r} fits best, but {found.best.on_bound}")
        return found


def compare(
    transient: Scan, hypotheses: Sequence[Scenario | tuple[Scenario, ...]], priors: Priors | None = None,
    offset_eV: float = 0.0, fraction: float | None = None,
) -> Comparison:  # fmt: skip
    """Fit every hypothesis to one transient: ``Problem`` and its ``fit`` in one call, errors as there."""
    return Problem(transient, hypotheses, priors, offset_eV, fraction).fit(transient.intensity)


def _whitening(transient: Scan) -> Array:
    if transient.variance is None:
        raise InputError(
            f"{transient.name}: the errors of the points are unknown; give an error column or repeated scans"
        )
    if transient.variance.ndim == 1:
        if not (transient.variance > 0).all():
            raise InputError(f"{transient.name}: an error is zero; give every point its error")
        return np.asarray(1 / np.sqrt(transient.variance))
    try:
        return np.asarray(np.linalg.inv(np.linalg.cholesky(transient.variance)))
    except np.linalg.LinAlgError:
        raise InputError(
            f"{transient.name}: the covariance of its points is singular (averaging and normalising make it so); fit the "
            "transient before averaging, or rebin it"
        ) from None


def _fit(problem: Problem, data: Array, name: str, template: Template, grid: Grid) -> ScenarioFit:
    found = search(name, template, grid, problem.whiten, data, problem.priors)
    intervals = [profile_interval(found.room, found.strengths, found.variance, rise) for rise in RISES]
    amplitude, on_bound = separate(template, found, problem.fraction)
    shift, width, q = (float(v) for v in found.grid.points[found.best])
    for value, (low, high), what in ((shift, found.bounds[0], "its shift"), (width, found.bounds[1], "its broadening")):
        # The width's lower bound, no broadening at all, is a place like any other.
        if high > low and (value >= high - 1e-9 or (low < 0 and value <= low + 1e-9)):
            on_bound = f"{what} sits on its bound, {value:+.2f} eV; check the calibration or widen the prior"
    strengths = found.strengths[found.best]
    free = sum(len(a) > 1 for a in found.grid.axes)
    model = template.columns(np.array([shift]), np.array([width]), np.array([q]))[0] @ strengths
    return ScenarioFit(
        name, template.parts, strengths, intervals[0], intervals[1], shift, width, q if template.sweep else None,
        amplitude, found.chi2, len(template.parts) + free, problem.points, model, on_bound,
    )  # fmt: skip
