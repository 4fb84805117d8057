"""Means over snapshots with honest errors, and means that cheap snapshots make better.

The unit of statistics is what is independent of the rest: a snapshot, a pair of opposite ones, or
so many correlated ones as the autocorrelation time says.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from perovskite_polaron.arrays import Array, floats, freeze
from perovskite_polaron.errors import require
from perovskite_polaron.lattice.ensemble import ORDERS, correlation_time

# Fewer independent units say nothing of their scatter.
_FEWEST = 2.0
_ROWS = 6


@dataclass(frozen=True, eq=False)
class SampledError:
    """Standard error of a mean over snapshots.

    Attributes
    ----------
    sigma : (n,) float64
        One standard deviation of the mean at each energy.
    samples : int
        Snapshots in the mean.
    effective : float
        How many independent units they are worth: the error itself is known to 1/√(2(m − 1)).
    paired : bool
        Of a difference: the same snapshots on both sides, so that their scatter cancels.
    rows : (k, n) float64
        The largest principal parts of the covariance over energies, which is the sum of their outer
        products: as ``spectra.budget`` has what is not known.
    """

    sigma: Array
    samples: int
    effective: float
    paired: bool
    rows: Array

    def __post_init__(self) -> None:
        freeze(self, sigma=self.sigma, rows=self.rows)


def units_of(samples: ArrayLike, order: str) -> Array:
    """Return the means (u, n) of each pair, where the samples (s, n) come in pairs; else the
    samples.

    Raises
    ------
    InputError
        For another order than those of ``lattice.ensemble``, or half a pair.
    """
    values = floats(samples, "samples", (None, None))
    require(order in ORDERS, f"{order!r} is no order of snapshots: choose from {', '.join(ORDERS)}")
    if order != "pairs":
        return values
    require(len(values) % 2 == 0, f"{len(values)} snapshots are not made of pairs")
    return np.asarray(values.reshape(-1, 2, values.shape[1]).mean(axis=1))


def standard_error(samples: ArrayLike, order: str, *, paired: bool = False) -> SampledError | None:
    """Return the standard error of the mean of samples (s, n); None for too few to say.

    Independent units: their standard deviation over √u. A series in time: the variance times 2τ/s,
    with the autocorrelation time τ of the samples themselves, all energies together, and the
    variance freed of its bias by the mean, 1 − 2τ/s. For a correlated series this holds where s is
    some twenty times τ or more; below it is a lower bound, and so small a ``effective`` is to be
    distrusted.

    Parameters
    ----------
    samples : (s, n)
        In their order.
    order : str
        One of ``lattice.ensemble.ORDERS``.
    paired : bool
        Kept in the result.
    """
    units = units_of(samples, order)
    count, effective = len(np.asarray(samples)), float(len(units))
    if order == "series":
        effective = len(units) / (2 * correlation_time(units))
    if effective < _FEWEST:
        return None
    apart = (units - units.mean(axis=0)) / np.sqrt(len(units) * (effective - 1))
    return SampledError(np.sqrt((apart**2).sum(axis=0)), count, effective, paired,
                        _principal(apart))


def _principal(rows: Array) -> Array:
    """Return up to _ROWS rows (k, n) with nearly the same sum of outer products."""
    _, sizes, directions = np.linalg.svd(rows, full_matrices=False)
    return np.asarray((sizes[:, None] * directions)[:_ROWS])


def combined(one: SampledError, other: SampledError) -> SampledError:
    """Return the error of the difference of two means whose snapshots have nothing in common."""
    return SampledError(np.hypot(one.sigma, other.sigma), min(one.samples, other.samples),
                        min(one.effective, other.effective), False,
                        _principal(np.concatenate([one.rows, other.rows])))


@dataclass(frozen=True, eq=False)
class ControlledMean:
    """A mean over few expensive snapshots, corrected by many cheap ones.

    Attributes
    ----------
    mean, sigma : (n,) float64
        The estimate, and its standard error.
    plain, plain_sigma : (n,) float64
        The mean of the expensive snapshots alone, with its own.
    coefficient : float
        What the cheap calculation is multiplied with, the mean of the crossed ones.
    saved : float
        By what factor the variance is smaller, all energies together; below one the correction
        does harm.
    """

    mean: Array
    sigma: Array
    plain: Array
    plain_sigma: Array
    coefficient: float
    saved: float


def control_variate(fine: ArrayLike, coarse: ArrayLike, more: ArrayLike,
                    order: str = "single") -> ControlledMean:
    """Return the mean of an expensive calculation with a cheap one as control variate.

    With h the expensive and l the cheap result on the same units, and L the mean of the cheap one
    over other snapshots of the ensemble, the estimate is the mean of h_i − β_i (l_i − L). β_i is
    the optimal coefficient Σ cov(h, l)/Σ var(l) · M/(M + u), summed over energies, from all units
    but the i-th, so that it is independent of what it multiplies: the estimate is unbiased for any
    number of units, and for a cheap calculation that is wrong. Its variance is that of h − βl over
    u, and β² var(l)/M.

    Parameters
    ----------
    fine, coarse : (s, n)
        Expensive and cheap results on the same snapshots; two axes of energy may differ in kind,
        but not in length.
    more : (t, n)
        The cheap one on other snapshots.
    order : str
        ``single`` or ``pairs``: a series in time must first be thinned until it is independent.

    Raises
    ------
    InputError
        For fewer than three units, shapes that differ, or a series.

    References
    ----------
    Ng and Willcox, Int. J. Numer. Methods Eng. 100, 746 (2014); Owen, Monte Carlo theory, methods
    and examples (2013), section 8.9.
    """
    require(order != "series", "a control variate needs independent snapshots: thin the series")
    high, low, rest = (units_of(one, order) for one in (fine, coarse, more))
    u, m = len(high), len(rest)
    require(u >= 3 and m >= 2, f"a control variate needs 3 independent snapshots of both"
            f" calculations and 2 more of the cheap one: there are {u} and {m}")
    require(high.shape == low.shape and low.shape[1] == rest.shape[1], "expensive and cheap results"
            f" have shapes {high.shape}, {low.shape} and {rest.shape}: evaluate all on one grid")
    share = m / (m + u)
    dh, dl = high - high.mean(axis=0), low - low.mean(axis=0)
    covariance, variance = (dh * dl).sum(axis=1), (dl**2).sum(axis=1)
    # Without the i-th unit the sums of squares lose u/(u − 1) of its own.
    lost = u / (u - 1)
    bottom = variance.sum() - lost * variance
    beta = share * np.divide(covariance.sum() - lost * covariance, bottom,
                             out=np.zeros(u), where=bottom > 0)
    residual = high - beta[:, None] * (low - rest.mean(axis=0))
    mean = residual.mean(axis=0)
    cheap = np.concatenate([low, rest]).var(axis=0, ddof=1)
    square = residual.var(axis=0, ddof=1) / u + beta.mean() ** 2 * cheap / m
    plain = high.var(axis=0, ddof=1) / u
    saved = float(plain.sum() / square.sum()) if square.any() else 1.0
    return ControlledMean(mean, np.sqrt(square), high.mean(axis=0), np.sqrt(plain),
                          float(beta.mean()), saved)
