"""Where to measure: the information of a set of points, and the weights that use a time best.

In a time T, of which the share w_j is spent at point j, the parameters have the information M = P +
T Σ_j w_j g_j g_jᵀ/v_j: P is that of the priors, g_j the derivatives of the model and v_j the
variance of one unit of time. What is wanted are variances of some combinations c of parameters, the
others being marginalised over: φ(w) = Σ_c cᵀ M⁻¹ c, convex in w. It is minimised by the
multiplicative algorithm w_j ∝ w_j √d_j, with d_j = −∂φ/∂w_j, which lowers φ in each step (Torsney,
in: Operations Research Proceedings 1983; Yu, Ann. Statist. 38, 1593 (2010)); at the optimum no d_j
exceeds the mean Σ_j w_j d_j (Kiefer and Wolfowitz's equivalence theorem; Atkinson and Donev,
Optimum Experimental Designs, 1992).

It is a linear forecast about the parameters that are assumed: the truth may ask for other points,
and a set that is best for one combination tells nothing of whether the model is right.
"""

from dataclasses import dataclass

import numpy as np

from perovskite_polaron.arrays import Array, freeze
from perovskite_polaron.errors import require

#: The optimum is reached when no point would lower φ by this share more than the mean.
_GAP = 1e-3
#: Points with less than this share of the time, or of that of the largest, are left out; the
#: variance may grow by so much.
_TINY, _LEAST, _LOSS = 1e-3, 2e-3, 1.03


@dataclass(frozen=True, eq=False)
class Design:
    """Candidate points and what is to be known; arrays float64, read-only.

    Attributes
    ----------
    points
        (m,) places of the candidates, rising.
    slopes
        (m, p) derivatives of the model, over the standard deviation of one unit of time.
    prior
        (p, p) information of the priors.
    wanted
        (k, p) the combinations whose variances are to be small.
    """

    points: Array
    slopes: Array
    prior: Array
    wanted: Array

    def __post_init__(self) -> None:
        freeze(self, points=self.points, slopes=self.slopes, prior=self.prior, wanted=self.wanted)

    def covariance(self, shares: Array, time: float) -> Array:
        """Return the covariance (p, p) of the parameters; infinite where points leave one open."""
        information = self.prior + time * (self.slopes * shares[:, None]).T @ self.slopes
        size = np.sqrt(np.maximum(np.diag(information), 1e-300))
        scaled = information / np.outer(size, size)
        if np.linalg.cond(scaled) > 1e12:
            return np.full_like(information, np.inf)
        return np.asarray(np.linalg.inv(scaled) / np.outer(size, size))

    def variance(self, shares: Array, time: float) -> float:
        """Return φ, the sum of the wanted variances, for shares (m,) of a time."""
        covariance = self.covariance(shares, time)
        if not np.isfinite(covariance).all():
            return np.inf
        return float(np.einsum("kp,pq,kq->", self.wanted, covariance, self.wanted))

    def even(self) -> Array:
        """Return equal shares (m,) of all points."""
        return np.full(len(self.points), 1 / len(self.points))

    def best(self, time: float, neighbours: int = 2) -> Array:
        """Return the best shares (m,) of a time, zero for most points.

        Parameters
        ----------
        time
            In the unit of time of the slopes.
        neighbours
            So many candidates to either side of a chosen one become one point with it.

        Raises
        ------
        InputError
            When even all the points leave a wanted combination open.
        """
        shares = self.even()
        require(np.isfinite(self.variance(shares, time)), "the points that can be measured leave a"
                " parameter open: widen the window, or hold a parameter")
        shares = self._settled(shares, time)
        most = _LOSS * self.variance(shares, time)
        for reach in range(neighbours, -1, -1):
            fewer = self._settled(self._joined(shares, reach), time)
            if self.variance(fewer, time) <= most:
                return fewer
        return shares

    def _settled(self, shares: Array, time: float) -> Array:
        """Return the best shares of the points that have one."""
        for _ in range(3000):
            covariance = self.covariance(shares, time)
            gains = ((self.slopes @ (covariance @ self.wanted.T)) ** 2).sum(axis=1)
            gains[shares == 0] = 0.0
            if not np.isfinite(gains).all() or gains.max() <= (1 + _GAP) * (shares @ gains):
                break
            shares = shares * np.sqrt(gains)
            shares /= shares.sum()
        return shares

    def _joined(self, shares: Array, reach: int) -> Array:
        """Return the shares without small ones, neighbours so many candidates apart joined."""
        joined, left = np.zeros_like(shares), np.where(shares > _TINY, shares, 0.0)
        while left.any():
            k = int(np.argmax(left))
            near = slice(max(k - reach, 0), k + reach + 1)
            joined[k] = left[near].sum()
            left[near] = 0.0
        joined[joined < _LEAST * joined.max()] = 0.0
        return joined / joined.sum()
