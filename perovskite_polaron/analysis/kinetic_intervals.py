"""Profile-likelihood intervals of a kinetic fit: how far one parameter may go, all others refitted.

Lifetimes, σ and t0 are held in the search. A fraction is held by a linear condition on its trace's
amplitudes, a_c − f Σa = 0, so the same search runs with the amplitudes that obey it. Use these
intervals where an error bar is too simple: a lifetime's or a fraction's likelihood is lopsided.
They fail as the fit does, for lifetimes that merge.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from perovskite_polaron.analysis.kinetic_model import search
from perovskite_polaron.analysis.kinetics import KineticFit
from perovskite_polaron.arrays import Array, Interval
from perovskite_polaron.errors import ComputationError, require

LEVELS = (0.6827, 0.95)
#: A fraction is followed to so many times its trace's whole signal.
#:
#: Beyond, where a slow decay and the offset cancel, the interval is open: only the bounds of the
#: lifetimes would close it.
REACH = 10.0
#: Of more traces than these each fixes its fractions alone, the lifetimes being known from all: the
#: standard errors do, and profiles would take minutes.
FEW = 12


@dataclass(frozen=True, eq=False)
class Profile:
    """χ² of a fit along one parameter.

    Attributes
    ----------
    fit : KineticFit
    best, err : float
        The fit's value and its standard error.
    limits : (float, float)
        How far the parameter is followed.
    refit : callable
        χ² and the searched vector at a value, from a vector to start with; None where the search
        does not converge.
    """

    fit: KineticFit
    best: float
    err: float
    limits: Interval
    refit: Callable[[float, Array], tuple[float, Array] | None]

    def critical(self, level: float) -> float:
        """Return the rise at the ends of an interval.

        The quantile of χ² for one parameter, of F where the errors are estimated.
        """
        from scipy.stats import chi2, f

        dof, scaled = self.fit.freedom, self.fit.scaled_errors
        return float(f.ppf(level, 1, dof) if scaled else chi2.ppf(level, 1))

    def interval(self, level: float = LEVELS[0]) -> Interval:
        """Return where χ² has risen by its critical value; an end where it never does is open."""
        return self._end(0, -1, self.critical(level)), self._end(1, 1, self.critical(level))

    def rise(self, value: float, start: Array | None = None) -> tuple[float, Array]:
        """Return by how much χ², all else refitted, rises at a value, and where it ended.

        The rise is in the errors' variance. It is 0, so that the value is not excluded, where the
        refit does not converge. Raises ComputationError when the refit is better than the fit.

        Parameters
        ----------
        value : float
            Of the parameter.
        start : ndarray, optional
            The searched vector to start from (default: the fit's).
        """
        start = self.fit.theta if start is None else start
        found = self.refit(value, start)
        if found is None:
            return 0.0, start
        unit = self.fit.chi2_red if self.fit.scaled_errors else 1.0
        rise = (found[0] - self.fit.chi2) / unit
        if rise < -1e-3:
            raise ComputationError("the kinetic fit is not the best there is: a profile found a "
                                   "lower chi2; give starting lifetimes, or fit fewer components")
        return rise, found[1]

    def _end(self, side: int, sign: int, critical: float) -> float:
        from scipy.optimize import brentq

        inner, step, limit, theta = self.best, self.err / 2, self.limits[side], self.fit.theta
        while inner != limit:
            outer = inner + sign * step if step < abs(limit - inner) else limit
            # From where the last step ended: from the best fit a distant value may fall into
            # another minimum.
            rise, moved = self.rise(outer, theta)
            if rise > critical:
                def excess(value: float, start: Array = theta) -> float:
                    return self.rise(value, start)[0] - critical

                return float(brentq(excess, inner, outer, xtol=1e-4 * self.err, rtol=1e-12))
            inner, step, theta = outer, 1.3 * step, moved
        return sign * np.inf


def searched_profile(fit: KineticFit, index: int) -> Profile:
    """Return the profile of one parameter of the searched vector.

    That is the logarithm of a lifetime or of σ (ps), or t0 (ps).
    """
    lower, upper = fit.model.bounds(fit.traces)

    def refit(value: float, start: Array) -> tuple[float, Array] | None:
        theta, low, high = start.copy(), lower.copy(), upper.copy()
        theta[index] = low[index] = high[index] = value
        return search(fit.traces, fit.model, theta, low, high)

    limits = float(lower[index]), float(upper[index])
    return Profile(fit, float(fit.theta[index]), float(fit.theta_err[index]), limits, refit)


def fraction_profile(fit: KineticFit, trace: int, part: int) -> Profile:
    """Return the profile of the fraction of one decay, or the last part, the offset, of a trace."""
    width = fit.fractions.shape[1]
    require(width > 1, "the only amplitude of a trace is all of it: its fraction has no interval")
    lower, upper = fit.model.bounds(fit.traces)

    def refit(value: float, start: Array) -> tuple[float, Array] | None:
        # The amplitudes across this direction are those with the fraction wanted.
        across = np.zeros(fit.model.width)
        across[:width] = np.eye(width)[part] - value
        allowed = np.linalg.svd(across[None])[2][1:].T
        return search(fit.traces, fit.model, start, lower, upper, {trace: allowed})

    best, err = float(fit.fractions[trace, part]), float(fit.fractions_err[trace, part])
    return Profile(fit, best, err, (min(best, 0.0) - REACH, max(best, 1.0) + REACH), refit)


@dataclass(frozen=True, eq=False)
class Intervals:
    """Profile intervals of all reported parameters.

    Each is a tuple of (low, high), one for each of ``LEVELS``; open ends are 0 or infinite.

    Attributes
    ----------
    lifetimes_ps : tuple
        One for each lifetime.
    sigma_ps, t0_ps : tuple or None
        None where they are fixed.
    fractions : tuple
        For each trace one for each decay, and the offset last; None where there is a single one,
        where amplitudes have different signs, and for more traces than FEW.
    """

    lifetimes_ps: tuple[tuple[Interval, ...], ...]
    sigma_ps: tuple[Interval, ...] | None
    t0_ps: tuple[Interval, ...] | None
    fractions: tuple[tuple[tuple[Interval, ...] | None, ...], ...]


def profile_intervals(fit: KineticFit) -> Intervals:
    """Return the intervals of every parameter; ComputationError when a profile betters the fit."""
    model, k, parts = fit.model, fit.model.components, fit.fractions.shape[1]

    def at_levels(profile: Profile) -> tuple[Interval, ...]:
        return tuple(profile.interval(level) for level in LEVELS)

    def positive(index: int) -> tuple[Interval, ...]:
        ends = np.exp(at_levels(searched_profile(fit, index)))
        return tuple((float(low), float(high)) for low, high in ends)

    return Intervals(
        tuple(positive(i) for i in range(k)), positive(k) if model.sigma_free else None,
        at_levels(searched_profile(fit, len(fit.theta) - 1)) if model.t0_free else None,
        tuple(tuple(at_levels(fraction_profile(fit, i, j)) if told else None for j in range(parts))
              for i, told in enumerate(~fit.mixed & (parts > 1) & (len(fit.traces) <= FEW))))
