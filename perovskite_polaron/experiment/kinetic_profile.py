"""Profile-likelihood intervals of a kinetic fit: how far one parameter may go, all others refitted.

Lifetimes, σ and t0 are held in the search. A fraction is held by a linear condition on its trace's amplitudes,
a_c − f Σa = 0, so the same search runs with the amplitudes that obey it. Use these intervals where an error bar is too
simple: a lifetime's or a fraction's likelihood is lopsided. They fail as the fit does, for lifetimes that merge.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.experiment.kinetics import KineticFit
from perovskite_polaron.experiment.variable_projection import search

Array = NDArray[np.float64]
Interval = tuple[float, float]
LEVELS = (0.6827, 0.95)
# A fraction is followed to so many of its standard errors; beyond, the interval is open.
REACH = 300.0


@dataclass(frozen=True, eq=False)
class Profile:
    """χ² of a fit along one parameter, from its best value with a standard error, between two limits.

    lowest: χ² of the fit. unit: 1, or without measured errors the residual variance, which stands for them; dof is then its
    degrees of freedom, else None. refitted: χ² at a value with all else refitted, or None where that does not converge.
    """

    best: float
    err: float
    limits: Interval
    lowest: float
    unit: float
    dof: int | None
    refitted: Callable[[float], float | None]

    def rise(self, value: float) -> float:
        """Return by how much χ² rises, in units of the errors' variance.

        It is 0, so that the value is not excluded, where the refit does not converge. Raises ComputationError when the
        refit is better than the fit.
        """
        chi2 = self.refitted(value)
        if chi2 is None:
            return 0.0
        rise = (chi2 - self.lowest) / self.unit
        if rise < -1e-3:
            raise ComputationError(
                "the kinetic fit is not the best there is: a profile found a lower chi2; give starting lifetimes, or fit fewer components"
            )
        return rise

    def critical(self, level: float) -> float:
        """The rise at the ends of an interval: the quantile of χ² for one parameter, of F where the errors are estimated."""
        from scipy.stats import chi2, f

        return float(chi2.ppf(level, 1) if self.dof is None else f.ppf(level, 1, self.dof))

    def interval(self, level: float = 0.6827) -> Interval:
        """Return where χ² has risen by its critical value; an end is infinite where it never does within the limits."""
        return self._end(0, -1, self.critical(level)), self._end(1, 1, self.critical(level))

    def _end(self, side: int, sign: int, critical: float) -> float:
        from scipy.optimize import brentq

        inner, step, limit = self.best, self.err, self.limits[side]
        while inner != limit:
            outer = inner + sign * min(step, abs(limit - inner))
            if abs(limit - outer) <= 1e-12 * abs(limit):
                outer = limit
            if self.rise(outer) > critical:
                return float(brentq(lambda value: self.rise(value) - critical, inner, outer, xtol=1e-4 * self.err))
            inner, step = outer, 1.5 * step
        return sign * np.inf


def searched_profile(fit: KineticFit, index: int) -> Profile:
    """Return the profile of one parameter of the searched vector: the logarithm of a lifetime or of σ (ps), or t0 (ps)."""
    lower, upper = fit.model.bounds(fit.traces)

    def refitted(value: float) -> float | None:
        theta, low, high = fit.theta.copy(), lower.copy(), upper.copy()
        theta[index] = low[index] = high[index] = value
        return _chi2(search(fit.traces, fit.model, theta, low, high))

    return _profile(fit, float(fit.theta[index]), float(fit.theta_err[index]), (float(lower[index]), float(upper[index])), refitted)


def fraction_profile(fit: KineticFit, trace: int, part: int) -> Profile:
    """Return the profile of the fraction of one decay, or the last part, the offset, of one trace."""
    width = fit.amplitudes.shape[1]
    if width < 2:
        raise InputError("the only amplitude of a trace is all of it: its fraction has no interval")
    lower, upper = fit.model.bounds(fit.traces)
    best, err = float(fit.fractions[trace, part]), float(fit.fractions_err[trace, part])

    def refitted(value: float) -> float | None:
        # The amplitudes across this direction are those with the fraction wanted.
        across = np.eye(width)[part] - value
        allowed = np.linalg.svd(across[None])[2][1:].T
        return _chi2(search(fit.traces, fit.model, fit.theta, lower, upper, {trace: allowed}))

    return _profile(fit, best, err, (best - REACH * err, best + REACH * err), refitted)


@dataclass(frozen=True, eq=False)
class Intervals:
    """Profile intervals of all reported parameters, each a tuple of (low, high), one for each of ``LEVELS``.

    lifetimes_ps: one for each lifetime; sigma_ps and t0_ps: None where they are fixed; fractions: for each trace one for
    each amplitude, the offset last, or None where a trace has a single amplitude. Open ends are 0 or infinite.
    """

    lifetimes_ps: tuple[tuple[Interval, ...], ...]
    sigma_ps: tuple[Interval, ...] | None
    t0_ps: tuple[Interval, ...] | None
    fractions: tuple[tuple[tuple[Interval, ...] | None, ...], ...]


def profile_intervals(fit: KineticFit) -> Intervals:
    """Return the intervals of every parameter of a fit. Raises ComputationError when a profile betters the fit."""
    k, (traces, width) = fit.model.components, fit.amplitudes.shape

    def positive(index: int) -> tuple[Interval, ...]:
        ends = np.exp(_at_levels(searched_profile(fit, index)))
        return tuple((float(low), float(high)) for low, high in ends)

    return Intervals(
        tuple(positive(i) for i in range(k)),
        positive(k) if fit.model.sigma_free else None,
        _at_levels(searched_profile(fit, len(fit.theta) - 1)) if fit.model.t0_free else None,
        tuple(
            tuple(_at_levels(fraction_profile(fit, i, j)) if width > 1 else None for j in range(width)) for i in range(traces)
        ),
    )


def _at_levels(profile: Profile) -> tuple[Interval, ...]:
    return tuple(profile.interval(level) for level in LEVELS)


def _profile(
    fit: KineticFit, best: float, err: float, limits: Interval, refitted: Callable[[float], float | None]
) -> Profile:
    scaled = fit.scaled_errors
    return Profile(best, err, limits, fit.chi2, fit.chi2_red if scaled else 1.0, fit.dof if scaled else None, refitted)


def _chi2(found: tuple[float, Array] | None) -> float | None:
    return None if found is None else found[0]
