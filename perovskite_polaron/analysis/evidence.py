"""What the data say of a hypothesis, integrated over all that is not known of it.

Errors are normal. Where they come from repeats, their common size is known with so many degrees of
freedom; integrated over it (Jeffreys' prior) the likelihood is Student's, and so are intervals.

The evidence of a hypothesis is its likelihood averaged over the priors: of the nuisance parameters
(``scenario_curves.Priors``), flat in Q where a sweep was computed, and of each strength normal
about zero, for structures and measured changes its positive half. The width of that normal makes
the change, unmoved and unbroadened, as large as the whole transient: hypotheses of one size are
equally probable before the data are seen, however the calculation is normalised, and a small part
of a mixture pays for being unlikely. Where a scenario has a prior of its own (screening) it is that
one, in intervals too. The strengths are integrated in closed form, the nuisance
parameters by trapezoids on the grid, which converge like exp(−2π² σ²/h²) in its step h.

References
----------
R. E. Kass, A. E. Raftery, J. Am. Stat. Assoc. 90, 773 (1995): evidence; D. B. Owen, Ann. Math.
Stat. 27, 1075 (1956): the bivariate normal.
"""

from dataclasses import dataclass
from math import inf, log, pi, sqrt

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.optimize import brentq
from scipy.special import erf, log_ndtr, logsumexp, ndtr, ndtri_exp, owens_t

from perovskite_polaron.analysis.scenario_curves import (
    REACH_SHIFT, REACH_STRETCH, REACH_WIDTH, Grid, Template)
from perovskite_polaron.analysis.weights import white
from perovskite_polaron.arrays import Array, Interval

#: The shares of intervals, and what lies below and above them.
LEVELS = (0.6827, 0.95)
#: What the axes of a grid are called.
_NUISANCE = ("place of the axis", "stretch", "width", "amplitude")
#: Points with less than this share of the largest weight change no interval.
_SMALL = 1e-7
#: Points of the rule by which the chance of three strengths or more to be positive is integrated.
_NODES = 32
#: Below this the closed form of two loses its digits.
_FAR = 1e-9


@dataclass(frozen=True)
class Noise:
    """How many points there are, and the degrees of freedom behind the size of their errors."""

    points: int
    dof: float

    def lost(self, chi2: Array) -> Array:
        """Return −2 ln of the likelihood, without its constant: χ² itself for known errors."""
        if self.dof == inf:
            return chi2
        return np.asarray((self.dof + self.points) * np.log1p(chi2 / self.dof))

    def spread(self, chi2: Array, parameters: int) -> Array:
        """Return by how much a residual χ² widens standard errors of so many parameters."""
        if self.dof == inf:
            return np.ones_like(chi2)
        return np.sqrt((self.dof + chi2) / (self.dof + self.points - parameters))


def strength_sigmas(template: Template, data: Array, whiten: Array) -> Array:
    """Return the widths (parts,) of the priors of the strengths, for white data (m,).

    By the noise alone: what the calculation may be wrong by makes no change more probable.
    """
    unmoved = template.columns(*np.zeros((3, 1)), np.full(1, template.largest))
    size = np.linalg.norm(white(unmoved, whiten)[0], axis=0)
    # The transient is at least as large as its noise.
    wide = np.sqrt(max(float(data @ data), float(len(data)))) / size
    known = [part.prior_sigma for part in template.parts]
    return np.array([w if k is None else k for w, k in zip(wide, known, strict=True)])


def ln_evidence(grid: Grid, data: Array, noise: Noise, sigma: Array) -> float:
    """Return ln of the evidence over the likelihood of a perfect fit to noise.

    data: white (m,), by the weights of the grid; sigma: as ``strength_sigmas``.
    """
    template = grid.template
    count = len(sigma)
    precision = grid.normal * np.outer(sigma, sigma) + np.eye(count)
    along = np.einsum("pmc,m->pc", grid.columns, data) * sigma
    covariance = np.linalg.inv(precision)
    mean = np.einsum("pcd,pd->pc", covariance, along)
    chi2 = np.maximum(data @ data - np.einsum("pc,pc->p", mean, along), 0)
    found = -(noise.lost(chi2) + grid.prior + np.linalg.slogdet(precision)[1]) / 2
    positive = [i for i, part in enumerate(template.parts) if part.kind != "shift"]
    error = np.sqrt(np.einsum("pcc->pc", covariance))
    over_error = mean / error / noise.spread(chi2, 0)[:, None]
    together = covariance / (error[:, :, None] * error[:, None, :])
    found += len(positive) * log(2) + _ln_positive(
        over_error[:, positive], together[:, positive][:, :, positive])
    return float(logsumexp(found + _ln_cells(grid)) - _ln_prior(grid)
                 - grid.weights.ln_determinant / 2)


def _ln_positive(z: Array, correlation: Array) -> Array:
    """Return ln of the probability (p,) that normal variables of means z (p, k) are positive.

    z in units of their standard deviations; correlation (p, k, k). One and two in closed form;
    of more, and in far tails, the least probable is integrated over where it is positive.
    """
    count = z.shape[1]
    if count < 2:
        return np.asarray(log_ndtr(z).sum(axis=1))
    if count > 2:
        return _ln_integrated(z, correlation)
    h, k, r = z[:, 0], z[:, 1], np.clip(correlation[:, 0, 1], -1 + 1e-12, 1 - 1e-12)
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = ((y - r * x) / (x * np.sqrt(1 - r**2)) for x, y in ((h, k), (k, h)))
    both = (ndtr(h) + ndtr(k)) / 2 - owens_t(h, a) - owens_t(k, b) - np.where(h * k < 0, 0.5, 0)
    found, far = np.log(np.maximum(both, _FAR)), both < _FAR
    found[far] = _ln_integrated(z[far], correlation[far])
    return np.asarray(found)


def _ln_integrated(z: Array, correlation: Array) -> Array:
    """Return what _ln_positive does, by Gauss and Legendre's rule in the probability of one
    variable where it is positive: of the least probable, so that the others vary little there.
    """
    order = np.argsort(z, axis=1)
    z = np.take_along_axis(z, order, 1)
    correlation = np.take_along_axis(np.take_along_axis(correlation, order[:, :, None], 1),
                                     order[:, None, :], 2)
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    ln_first = log_ndtr(z[:, :1])
    # How far it is above its mean: where a share of (1 − node) / 2 of its positive part is beyond.
    away = -ndtri_exp(np.log1p(-(nodes + 1) / 2) + ln_first)
    along = correlation[:, 1:, 0]
    left = correlation[:, 1:, 1:] - along[:, :, None] * along[:, None, :]
    spread = np.sqrt(np.maximum(np.einsum("pcc->pc", left), 1e-12))
    rest = (z[:, None, 1:] + along[:, None, :] * away[:, :, None]) / spread[:, None, :]
    left = left / (spread[:, :, None] * spread[:, None, :])
    each = _ln_positive(rest.reshape(-1, z.shape[1] - 1), np.repeat(left, _NODES, axis=0))
    return np.asarray(ln_first[:, 0] + logsumexp(each.reshape(-1, _NODES), axis=1, b=weights / 2))


def _ln_cells(grid: Grid, axes: slice = slice(None)) -> Array:
    """Return ln of the trapezoid weights (p,) of the points, along some of the axes."""
    weights = [np.gradient(axis) if len(axis) > 1 else np.ones(1) for axis in grid.axes]
    for weight, axis in zip(weights, grid.axes, strict=True):
        if len(axis) > 1:
            weight[[0, -1]] /= 2
    chosen = [w if i in range(4)[axes] else np.ones(len(w)) for i, w in enumerate(weights)]
    return np.log(np.prod(np.stack(np.meshgrid(*chosen, indexing="ij"), -1), -1)).ravel()


def _ln_prior(grid: Grid) -> float:
    """Return ln of the integral of exp(−prior/2) over all that the priors allow."""
    priors, axes = grid.priors, grid.axes
    free = ((priors.shift_sigma_eV, REACH_SHIFT, 1.0), (priors.stretch_sigma, REACH_STRETCH, 1.0),
            (priors.width_sigma_eV, REACH_WIDTH, 1.0 if priors.has_match else 0.5))
    total = sum(log(sigma * sqrt(2 * pi) * half * erf(reach / sqrt(2)))
                for (sigma, reach, half), axis in zip(free, axes, strict=False) if len(axis) > 1)
    whole = grid.template.axes()[3]
    return total + (log(whole[-1] - whole[0]) if len(axes[3]) > 1 else 0.0)


class Posterior:
    """Strengths and amplitude on a grid that resolves them, for strengths flat and of any sign.

    An error that multiplies a strength is that of the strength itself, not of the best one (Fieller
    [J. R. Stat. Soc. B 16, 175 (1954)]): intervals reach further up than down, and have no end
    where it is as large as half of the strength.

    Attributes
    ----------
    strengths, spreads : ndarray, shape (p, parts)
        At each point Student's distributions, of noise.dof + points − parts degrees of freedom.
    ln_density : ndarray, shape (p,)
        Of the nuisance parameters.
    """

    def __init__(self, grid: Grid, data: Array, noise: Noise) -> None:
        self.grid, count = grid, grid.normal.shape[1]
        self.freedom = noise.dof + noise.points - count
        self.strengths, chi2 = grid.solve(data)
        shrunk = self.freedom / (self.freedom + count) if self.freedom < inf else 1.0
        self.ln_density = -(noise.lost(chi2) * shrunk + grid.prior
                            - np.linalg.slogdet(grid.inverse)[1]) / 2
        # What the curves of the calculation error do to the strengths, all together and those of
        # each part at its strength one.
        weights = grid.weights
        lift = grid.inverse @ np.swapaxes(grid.columns, 1, 2)
        every = ((lift @ (weights.errors @ weights.strengths).T) ** 2).sum(axis=2)
        own = (np.einsum("pcm,kmc->pkc", lift, weights.errors) ** 2).sum(axis=1)
        noisy = np.maximum(np.einsum("pcc->pc", grid.inverse) - every, 0)
        others = np.maximum(every - own * weights.strengths**2, 0)
        # To first order an uncertain scale adds its share to the variance of every strength.
        self._fixed = np.sqrt(noisy * noise.spread(chi2, count)[:, None] ** 2 + others
                              + (grid.priors.scale_sigma * self.strengths) ** 2)
        self._relative = np.sqrt(own)
        self.spreads = np.hypot(self._fixed, self._relative * self.strengths)

    def intervals(self, part: int) -> list[Interval]:
        """Return the central 68 % and 95 % intervals of the strength of one part."""
        weight = self.ln_density + _ln_cells(self.grid)
        return self._central(weight, self.strengths[:, part], self._fixed[:, part],
                             self._relative[:, part])

    def correlation(self) -> tuple[tuple[str, ...], Array]:
        """Return what is free, parts and nuisance parameters, and their correlations (n, n).

        Those of strengths are the data's: a prior of one does not hide that two are not told apart.
        """
        grid, count = self.grid, self.strengths.shape[1]
        ln_weight = self.ln_density + _ln_cells(grid)
        share = np.exp(ln_weight - logsumexp(ln_weight))
        free = [k for k, axis in enumerate(grid.axes) if len(axis) > 1]
        values = np.column_stack([self.strengths, grid.points[:, free]])
        away = values - share @ values
        covariance = (share[:, None] * away).T @ away
        spread = self.spreads / np.sqrt(np.einsum("pcc->pc", grid.inverse))
        covariance[:count, :count] += np.einsum("p,pc,pd,pcd->cd", share, spread, spread,
                                                grid.by_data)
        size = np.sqrt(np.maximum(covariance.diagonal(), 1e-300))
        names = (*(part.name for part in grid.template.parts), *(_NUISANCE[k] for k in free))
        return names, covariance / np.outer(size, size)

    def along_amplitude(self) -> tuple[Array, Array, Array, Array, Array]:
        """Return Q (n,), and ln density, strength of the first part, its error that does not grow
        with it, and that which does over it, shape (k, n).

        At the shifts, stretches and widths that matter, interpolated in Q: from point to point a
        fraction may move by more than its error.
        """
        axis = self.grid.axes[3]
        fine = np.linspace(axis[0], axis[-1], 121)
        # Infinite where shift and stretch do not go together, whatever Q is.
        weight = (self.ln_density + _ln_cells(self.grid, slice(3))).reshape(-1, len(axis))
        kept = weight.max(axis=1) > weight.max() + log(_SMALL)
        rows = (weight, *(values[:, 0].reshape(weight.shape) for values in (
            self.strengths, np.log(self._fixed), self._relative)))
        ln_density, strength, fixed, relative = (CubicSpline(axis, row[kept], axis=1)(fine)
                                                 for row in rows)
        return fine, ln_density, strength, np.exp(fixed), relative

    def at_points(self) -> tuple[Array, Array, Array, Array]:
        """Return (p,) ln density with the weight of its cell, strength of the first part, its error
        that does not grow with it, and that which does over it, at the points that matter.
        """
        weight = self.ln_density + _ln_cells(self.grid)
        kept = weight > weight.max() + log(_SMALL)
        return (weight[kept], self.strengths[kept, 0], self._fixed[kept, 0],
                self._relative[kept, 0])

    def _central(self, ln_weight: Array, middle: Array, fixed: Array,
                 relative: Array) -> list[Interval]:
        """Return the central intervals of a mixture of Student's distributions.

        The error of a value is fixed and relative × the value; infinite ends where it has no end.
        """
        kept = ln_weight > ln_weight.max() + log(_SMALL)
        share = np.exp(ln_weight[kept] - logsumexp(ln_weight[kept]))
        middle, fixed, relative = middle[kept], fixed[kept], relative[kept]
        spread = np.hypot(fixed, relative * middle)

        def below(value: float) -> float:
            # Student's distribution as a normal one: Abramowitz and Stegun, 26.7.8.
            z = (value - middle) / np.hypot(fixed, relative * value)
            z *= (1 - 0.25 / self.freedom) / np.sqrt(1 + z**2 / (2 * self.freedom))
            return float(share @ ndtr(z))

        low, high = float((middle - 50 * spread).min()), float((middle + 50 * spread).max())

        def quantile(wanted: float) -> float:
            if not below(low) < wanted < below(high):
                return inf if wanted > 0.5 else -inf
            return float(brentq(lambda value: below(value) - wanted, low, high,
                                xtol=1e-5 * float(spread.min())))

        return [(quantile((1 - level) / 2), quantile((1 + level) / 2)) for level in LEVELS]

    def fractions(self, largest: float, power: int) -> tuple[list[Interval], list[Interval]]:
        """Return the central intervals of Q and of the fraction, strength · (Qmax/Q)^power."""
        fine, ln_density, strength, fixed, relative = self.along_amplitude()
        factor = (largest / fine) ** power
        f = self._central(ln_density.ravel(), (strength * factor).ravel(),
                          (fixed * factor).ravel(), relative.ravel())
        return central(fine, logsumexp(ln_density, axis=0)), f


def central(values: Array, ln_density: Array) -> list[Interval]:
    """Return the central intervals of a density on rising values, equally spaced."""
    density = np.exp(ln_density - ln_density.max())
    total = np.append(0, np.cumsum(density[1:] + density[:-1]))
    ends = np.interp([[(1 - level) / 2, (1 + level) / 2] for level in LEVELS], total / total[-1],
                     values)
    return [(float(low), float(high)) for low, high in ends]
