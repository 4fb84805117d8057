"""Which scenario a transient supports, and how strongly.

Model: a sum of strengths times difference spectra, each moved and broadened by the nuisance
parameters of ``scenario_curves.Priors``; the odd mode of a sweep also has its amplitude Q.
Strengths are linear and solved for; the nuisance parameters and Q are searched for on a grid that
is narrowed until it resolves the posterior. Intervals are profiles: where χ² (with the priors'
terms, all else refitted) rises by 1 or 3.84. What the shape of a sweep, or a given fraction, tells
beyond the product f·Q² is in ``separate``.

AIC and BIC count strengths, free nuisance parameters and Q; no change at all competes as a model
without parameters. A scenario is claimed only when it beats no change by 10 in AIC, and a mixture
only when it beats each of its parts by as much: noise alone then claims none, and a true scenario
is not lost to a mixture that fits its noise. Use it when the scenarios' shapes differ over the
window; it cannot tell apart scenarios whose shapes agree, nor say that none of the given ones is
right (look at χ²).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perovskite_polaron.analysis.scenario_curves import (
    SMALLEST_AMPLITUDE, Curves, Found, Grid, Priors, Template, white)
from perovskite_polaron.analysis.scenarios import Scenario
from perovskite_polaron.arrays import Array, Interval
from perovskite_polaron.errors import ComputationError, InputError, require
from perovskite_polaron.measured.scan import Scan

RISES = (1.0, 3.841)
CLAIM_AIC = 10.0
#: So much does a given fraction cost in χ² when it does not go with the shape.
CONTRADICTION = 9.0
LARGER = "compute larger ones"


@dataclass(frozen=True, eq=False)
class Amplitude:
    """Amplitude and excited fraction, where the data or the user tell them apart.

    Attributes
    ----------
    q, f
        Q (Å·√amu) and the fraction.
    q68, q95, f68, f95
        Their 68 % and 95 % intervals.
    given_fraction
        Whether f is the user's, and Q what follows from it.
    """

    q: float
    q68: Interval
    q95: Interval
    f: float
    f68: Interval
    f95: Interval
    given_fraction: bool


def separate(template: Template, found: Found,
             fraction: float | None) -> tuple[Amplitude | None, str]:
    """Return f and Q where they can be told apart, and what is wrong with Q, if anything is.

    Without a given fraction the profile of χ² over Q must rise by 3.84 (95 %) towards both small
    and large Q.
    """
    largest, strengths = template.largest, found.strengths
    if template.parts[0].sweep is None or strengths[found.best, 0] <= 0:
        return None, ""
    if fraction is not None:
        q, (q68, q95), why = _given(template, found, fraction)
        same = (fraction, fraction)
        return Amplitude(q, q68, q95, fraction, same, same, given_fraction=True), why
    if template.sweep is None:
        return None, ""
    q_all, rise = found.grid.points[:, 2], found.rise
    low_open = bool((rise[q_all <= SMALLEST_AMPLITUDE * largest * (1 + 1e-9)] <= RISES[1]).any())
    high_open = bool((rise[q_all >= largest * (1 - 1e-9)] <= RISES[1]).any())
    if not low_open and q_all[found.best] >= largest * (1 - 1e-6):
        return None, f"its amplitude sits on the largest computed, {largest:.3g} Å√amu; {LARGER}"
    if low_open or high_open:
        return None, ""
    # The strength is that at the largest amplitude: f follows with (Qmax/Q)², or Qmax/Q.
    factor = (largest / q_all[:, None]) ** template.parts[0].power
    f, variance = strengths[:, :1] * factor, found.variance[:, :1] * factor**2
    f68, f95 = (_pair(found.interval(f, variance, limit)[0]) for limit in RISES)
    q68, q95 = (_pair(np.sort(q_all[rise <= limit])[[0, -1]]) for limit in RISES)
    best_q, best_f = float(q_all[found.best]), float(f[found.best, 0])
    return Amplitude(best_q, q68, q95, best_f, f68, f95, given_fraction=False), ""


def _given(template: Template, found: Found, fraction: float) -> tuple[float, list[Interval], str]:
    """Return Q from the product and the fraction, its intervals, and what is wrong with it."""
    strengths, variance, largest = found.strengths[:, 0], found.variance[:, 0], template.largest
    power = template.parts[0].power
    if template.sweep is None:
        ends = [found.interval(strengths[:, None], variance[:, None], rise)[0] for rise in RISES]
        intervals = [_pair(largest * (np.maximum(e, 0) / fraction) ** (1 / power)) for e in ends]
        return largest * float((strengths[found.best] / fraction) ** (1 / power)), intervals, ""
    # In a sweep: the profile of χ² with the strength that each Q asks for.
    axis = found.grid.axes[2]
    fine = np.linspace(axis[0], axis[-1], 4001)

    def along_q(values: Array) -> Array:
        """Values (p,) at every shift and width, interpolated in Q: (shifts × widths, fine)."""
        return np.array([np.interp(fine, axis, row) for row in values.reshape(-1, len(axis))])

    wanted = fraction * (fine / largest) ** power
    miss = (wanted - along_q(strengths)) ** 2 / along_q(variance)
    profile = (along_q(found.rise) + miss).min(axis=0)
    q, least, why = float(fine[int(np.argmin(profile))]), float(profile.min()), ""
    if least > CONTRADICTION:
        why = (f"the fraction {fraction:g} contradicts the shape of the change (chi2 rises by "
               f"{least:.0f}); check the fraction and the normalisation, or compute larger "
               "amplitudes")
    elif q >= largest * (1 - 1e-6):
        why = (f"with the fraction {fraction:g} its amplitude sits on the largest computed, "
               f"{largest:.3g} Å√amu; {LARGER}")
    return q, [_pair(fine[profile <= least + rise][[0, -1]]) for rise in RISES], why


def _pair(ends: Array) -> Interval:
    return float(ends[0]), float(ends[1])


@dataclass(frozen=True, eq=False)
class ScenarioFit:
    """One hypothesis' best fit; arrays are float64.

    Attributes
    ----------
    name, parts
        The hypothesis and its scenarios.
    strengths, intervals68, intervals95
        Shapes (parts,) and (parts, 2). The strength of an odd mode is f·Q²/Qmax², with Qmax its
        largest computed amplitude (f·Q/Qmax where +Q and −Q differ): the excited fraction if the
        amplitude is that one.
    shift_eV, width_fwhm_eV, q_sqrt_amu_A
        The nuisance parameters, and the amplitude of a sweep, else None.
    amplitude
        None where f and Q cannot be told apart.
    chi2
        With the priors' terms.
    parameters, points
        How many of each.
    model
        Shape (m,), at the transient's energies.
    on_bound
        What is wrong with the fit, or "".
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
        return _pair(self.intervals68[0])

    @property
    def interval95(self) -> Interval:
        """95 % profile interval of the first part's strength."""
        return _pair(self.intervals95[0])

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
    def per_strength(self) -> float | None:
        """Excited fraction × Q² (Å²·amu) of a strength of one for an odd mode, fraction × Q
        (Å·√amu) for a mode whose signs differ, else None.
        """
        largest = self.parts[0].amplitude_sqrt_amu_A
        return None if largest is None else largest ** self.parts[0].power

    @property
    def product(self) -> float | None:
        """Excited fraction × Q² (Å²·amu), or × Q (Å·√amu), as ``per_strength``."""
        return None if self.per_strength is None else self.strength * self.per_strength

    @property
    def possible(self) -> bool:
        """Whether every structural strength is positive; an edge may shift either way."""
        return all(strength > 0 or part.kind == "shift"
                   for strength, part in zip(self.strengths, self.parts, strict=True))


@dataclass(frozen=True, eq=False)
class Comparison:
    """All fits against no change.

    Attributes
    ----------
    fits
        Lowest AIC first.
    chi2_null
        χ², AIC and BIC of no change.
    points
        How many were fitted.
    """

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
            more = claimed is not None and len(fit.parts) > len(claimed.parts)
            if claimed is None or fit.aic < claimed.aic - CLAIM_AIC * more:
                claimed = fit
        return claimed

    def odds(self) -> dict[str, float]:
        """Return the posterior probability of each hypothesis and of ``no change``.

        From equal prior ones, ∝ exp(−BIC/2) [G. Schwarz, Ann. Stat. 6, 461 (1978)]; 0 for a
        hypothesis that is not possible.
        """
        bic = {f.name: f.bic if f.possible else np.inf for f in self.fits}
        bic["no change"] = self.chi2_null
        low = min(bic.values())
        weight = {name: float(np.exp(-(value - low) / 2)) for name, value in bic.items()}
        return {name: value / sum(weight.values()) for name, value in weight.items()}


class Problem:
    """Hypotheses prepared for transients on one set of energies with one covariance.

    Parameters
    ----------
    transient
        Gives the energies and the errors; ``fit`` may be called for many intensities.
    hypotheses
        Each a scenario or a tuple of scenarios that act together.
    priors
        Of the nuisance parameters.
    offset_eV
        Added to the calculated energies.
    fraction
        The excited fraction, if it is known from elsewhere.

    Raises
    ------
    InputError
        When errors are missing, names repeat, or a scenario does not span the transient, shifts
        included.
    """

    def __init__(self, transient: Scan, hypotheses: Sequence[Scenario | tuple[Scenario, ...]],
                 priors: Priors | None = None, offset_eV: float = 0.0,
                 fraction: float | None = None) -> None:
        parts = [h if isinstance(h, tuple) else (h,) for h in hypotheses]
        names = [" + ".join(p.name for p in h) for h in parts]
        require(parts and len(set(names)) == len(names),
                "give at least one scenario, each with a name of its own")
        if fraction is not None and not 0 < fraction <= 1:
            raise InputError(f"the excited fraction, {fraction:g}, must lie above 0 and not above "
                             "1")
        self.priors, self.fraction = priors or Priors(), fraction
        self.whiten, self.points = _whitening(transient), len(transient.energy_eV)
        curves = {id(s): Curves(s, transient.energy_eV, offset_eV, self.priors)
                  for h in parts for s in h}
        templates = [Template([curves[id(s)] for s in h]) for h in parts]
        self.grids = {name: Grid(template, self.whiten, self.priors)
                      for name, template in zip(names, templates, strict=True)}

    def fit(self, intensity: Array) -> Comparison:
        """Fit every hypothesis to intensities (m,) at the transient's energies.

        Raises ComputationError when the claimed fit sits on the bound of a parameter or does not
        converge.
        """
        data = self.white(intensity)
        fits = [self._fit(name, data) for name in self.grids]
        found = Comparison(tuple(sorted(fits, key=lambda f: f.aic)), float(data @ data),
                           self.points)
        # A wrong scenario may well run to the end of its range; the one that is claimed must not.
        if found.best is not None and found.best.on_bound:
            raise ComputationError(f"{found.best.name!r} fits best, but {found.best.on_bound}")
        return found

    def white(self, intensity: Array) -> Array:
        """Return intensities (m,) in units of independent errors."""
        return white(np.asarray(intensity, dtype=np.float64)[None, :, None], self.whiten)[0, :, 0]

    def _fit(self, name: str, data: Array) -> ScenarioFit:
        template = self.grids[name].template
        found = self.grids[name].minimise(name, data)
        i68, i95 = (found.interval(found.strengths, found.variance, rise) for rise in RISES)
        amplitude, on_bound = separate(template, found, self.fraction)
        shift, width, q = (float(v) for v in found.grid.points[found.best])
        for value, (low, high), what in ((shift, found.bounds[0], "its shift"),
                                         (width, found.bounds[1], "its broadening")):
            # The width's lower bound, no broadening at all, is a place like any other.
            if high > low and (value >= high - 1e-9 or (low < 0 and value <= low + 1e-9)):
                on_bound = (f"{what} sits on its bound, {value:+.2f} eV; check the calibration or "
                            "widen the prior")
        strengths = found.strengths[found.best]
        parameters = len(template.parts) + sum(len(a) > 1 for a in found.grid.axes)
        columns = template.columns(np.array([shift]), np.array([width]), np.array([q]))
        return ScenarioFit(name, template.parts, strengths, i68, i95, shift, width,
                           q if template.sweep else None, amplitude, found.chi2, parameters,
                           self.points, columns[0] @ strengths, on_bound)


def _whitening(transient: Scan) -> Array:
    variance = transient.variance
    if variance is None:
        raise InputError(f"{transient.name}: the errors of the points are unknown; give an error "
                         "column or repeated scans")
    if variance.ndim == 1:
        require((variance > 0).all(),
                f"{transient.name}: an error is zero; give every point its error")
        return np.asarray(1 / np.sqrt(variance))
    try:
        return np.asarray(np.linalg.inv(np.linalg.cholesky(variance)))
    except np.linalg.LinAlgError:
        raise InputError(f"{transient.name}: the covariance of its points is singular (averaging "
                         "and normalising make it so); fit the transient before averaging, or "
                         "rebin it") from None
