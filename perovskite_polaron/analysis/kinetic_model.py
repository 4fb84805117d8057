"""Decays seen through a response, their amplitudes eliminated: model and search of a kinetic fit.

Model of each trace: Σ_k a_k exp(−t/τ_k) + offset, begun at t0 and convolved with a Gaussian of
standard deviation σ, on a constant baseline. The amplitudes enter linearly and are eliminated, so
only τ, σ and t0 are searched for, in logarithms where they are positive; traces at the same delays
are done together.

References
----------
G. Golub, V. Pereyra, SIAM J. Numer. Anal. 10, 413 (1973): elimination of the amplitudes, with both
terms of its Jacobian.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import require
from perovskite_polaron.kernels.convolution import exponential_gaussian
from perovskite_polaron.measured.scan import Trace


@dataclass(frozen=True, eq=False)
class KineticModel:
    """What is fitted.

    The searched vector theta holds the logarithms of the lifetimes, then that of σ and t0 where
    they are free (all in ps).

    Attributes
    ----------
    components : int
        Number of decays, 1 to 6.
    sigma_ps, t0_ps : float
        Standard deviation of the response, and time zero; start values where they are free.
    offset : bool
        Whether there is a flat offset.
    sigma_free, t0_free : bool
        Whether they are fitted.
    baseline : bool
        Whether there is a constant from before time zero on.
    period_ps : float, optional
        Time between pump pulses: what is left of all earlier ones is then part of each decay. The
        offset has no such rest (it would have grown for ever); the baseline takes it up.
    """

    components: int
    sigma_ps: float
    offset: bool = True
    sigma_free: bool = False
    t0_ps: float = 0.0
    t0_free: bool = False
    baseline: bool = False
    period_ps: float | None = None

    def __post_init__(self) -> None:
        require(1 <= self.components <= 6, f"{self.components} components: give from 1 to 6")
        require(0 < self.sigma_ps < np.inf and np.isfinite(self.t0_ps),
                f"the instrument response's sigma, {self.sigma_ps:g} ps, must be positive")

    @property
    def searched(self) -> int:
        """How many parameters are searched for."""
        return self.components + self.sigma_free + self.t0_free

    @property
    def width(self) -> int:
        """How many amplitudes each trace has."""
        return self.components + self.offset + self.baseline

    def unpack(self, theta: Array) -> tuple[Array, float, float]:
        """Return lifetimes (ps), σ (ps) and t0 (ps) of the searched vector."""
        k = self.components
        sigma = float(np.exp(theta[k])) if self.sigma_free else self.sigma_ps
        return np.exp(theta[:k]), sigma, float(theta[-1]) if self.t0_free else self.t0_ps

    def bounds(self, traces: Sequence[Trace]) -> tuple[Array, Array]:
        """Return the bounds of the searched vector, each (searched,).

        A lifetime shorter than a hundredth of σ, or flat over a hundred spans of the delays, is
        beyond what the data can say; σ stays within a factor e⁴, time zero within the delays.
        """
        k, delays = self.components, np.concatenate([t.delay_ps for t in traces])
        lower = np.full(self.searched, np.log(self.sigma_ps / 100))
        upper = np.full(self.searched, np.log(100 * span_ps(traces)))
        if self.sigma_free:
            lower[k], upper[k] = np.log(self.sigma_ps) - 4, np.log(self.sigma_ps) + 4
        if self.t0_free:
            lower[-1] = min(self.t0_ps, float(delays.min()))
            upper[-1] = max(self.t0_ps, float(delays.max()))
        return lower, upper

    def columns_and_slopes(self, theta: Array, delay_ps: Array) -> tuple[Array, Array]:
        """Return the columns, and their derivative by each searched parameter.

        Shapes are (m, width) and (searched, m, width).
        """
        k, (lifetimes, sigma, t0) = self.components, self.unpack(theta)
        # The offset is a decay that never ends.
        constants = np.append(lifetimes, np.inf) if self.offset else lifetimes
        parts = exponential_gaussian(delay_ps, constants, sigma, t0, gradient=True)
        if self.period_ps is not None:
            rest = exponential_gaussian(delay_ps + self.period_ps, lifetimes, sigma, t0,
                                        gradient=True)
            # The pulses before follow each other by the same factor: a geometric series.
            series = -1 / np.expm1(-self.period_ps / lifetimes)
            grows = series * (series - 1) * self.period_ps / lifetimes**2
            for part, more in zip(parts, rest, strict=True):
                part[:, :k] += more * series
            parts[1][:, :k] += rest[0] * grows
        moving = constants.size
        columns = np.ones((len(delay_ps), self.width))
        columns[:, :moving] = parts[0]
        slopes = np.zeros((self.searched, *columns.shape))
        slopes[range(k), :, range(k)] = (parts[1][:, :k] * lifetimes).T
        if self.sigma_free:
            slopes[k, :, :moving] = parts[2] * sigma
        if self.t0_free:
            slopes[-1, :, :moving] = parts[3]
        return columns, slopes


def span_ps(traces: Sequence[Trace]) -> float:
    """Return how far the delays reach, at most."""
    return max(float(np.ptp(t.delay_ps)) for t in traces)


def search(traces: Sequence[Trace], model: KineticModel, theta: Array, lower: Array, upper: Array,
           allowed: Mapping[int, Array] | None = None) -> tuple[float, Array] | None:
    """Minimise χ² over the searched vector, the amplitudes eliminated.

    Parameters
    ----------
    theta : ndarray, shape (searched,)
        Where to start.
    lower, upper : ndarray, shape (searched,)
        Bounds; a parameter whose bounds agree is held there.
    allowed : mapping, optional
        For some traces a matrix (amplitudes, fewer) whose columns span the amplitudes they may
        have.

    Returns
    -------
    (float, ndarray) or None
        χ² and theta at the minimum, or None when the search does not converge.
    """
    groups = grouped(traces, model, allowed or {})

    def residual(x: Array) -> tuple[Array, Array]:
        parts = [project(group, model, x) for group in groups]
        return (np.concatenate([p.residual.ravel() for p in parts]),
                np.concatenate([p.jacobian.reshape(-1, len(x)) for p in parts]))

    return descend(residual, theta, lower, upper)


def descend(residual: Callable[[Array], tuple[Array, Array]], theta: Array, lower: Array,
            upper: Array) -> tuple[float, Array] | None:
    """Minimise the sum of squares of what residual returns first, (n,), with its Jacobian, (n, s).

    theta, lower, upper and the result are those of search.
    """
    from scipy.optimize import least_squares

    theta, free, last = theta.copy(), lower < upper, np.empty(0)

    def value(x: Array) -> Array:
        nonlocal last
        theta[free] = x
        found, jacobian = residual(theta)
        last = jacobian[:, free]
        return found

    def jacobian_there(_: Array) -> Array:
        # It is asked for only where the residual was asked for last.
        return last

    if not free.any():
        return float(np.sum(value(theta[free]) ** 2)), theta
    try:
        # A slope beyond all numbers ends in a step that is none, and so in no success.
        with np.errstate(over="ignore", invalid="ignore"):
            end = least_squares(value, theta[free], jacobian_there, (lower[free], upper[free]),
                                "dogbox", ftol=1e-13, xtol=1e-9, gtol=None, x_scale="jac",
                                max_nfev=200)
    except ValueError:
        # At the start nothing is finite.
        return None
    theta[free] = end.x
    found = end.success and np.isfinite(end.cost) and np.isfinite(end.x).all()
    return (2 * float(end.cost), theta) if found else None


class Group(NamedTuple):
    """Traces (t) at the same m delays, and a matrix whose p columns span their amplitudes."""

    members: list[int]
    delay_ps: Array
    signal: Array
    weight: Array
    allowed: Array


def grouped(traces: Sequence[Trace], model: KineticModel,
            allowed: Mapping[int, Array]) -> list[Group]:
    """Return the traces by their delays, each with its own ``allowed`` (see search) alone."""
    members: dict[tuple[bytes, int], list[int]] = {}
    for i, trace in enumerate(traces):
        members.setdefault((trace.delay_ps.tobytes(), i if i in allowed else -1), []).append(i)
    return [Group(of, traces[of[0]].delay_ps, np.array([traces[i].signal for i in of]),
                   np.array([traces[i].weight for i in of]),
                   allowed.get(of[0], np.eye(model.width))) for of in members.values()]


class Projection(NamedTuple):
    """A group with its best amplitudes (t, width): weighted residuals (t, m) and their Jacobian
    (t, m, s), weighted columns' norms (t, p), Q (t, m, p) and inverse R (t, p, p), and the change
    (t, m, s) of the curves by each searched parameter at fixed amplitudes.
    """

    amplitudes: Array
    residual: Array
    jacobian: Array
    norms: Array
    q: Array
    inverse: Array
    change: Array


def project(group: Group, model: KineticModel, theta: Array) -> Projection:
    """Return the best amplitudes of a group, and what is left."""
    # Where every column vanishes the amplitudes overflow: the search then turns back.
    with np.errstate(all="ignore"):
        columns, slopes = model.columns_and_slopes(theta, group.delay_ps)
        weight = group.weight[:, :, None]
        weighted = weight * (columns @ group.allowed)
        q, r = np.linalg.qr(weighted)
        signal = group.signal * group.weight
        inside = np.einsum("tmp,tm->tp", q, signal)
        residual = signal - (q @ inside[:, :, None])[:, :, 0]
        inverse = np.linalg.pinv(r, rcond=1e-12)
        amplitudes = (inverse @ inside[:, :, None])[:, :, 0] @ group.allowed.T
        change = np.tensordot(amplitudes, slopes, (1, 2)).transpose(0, 2, 1) * weight
        # How the amplitudes follow: without this term the search creeps where residuals are large
        # and columns alike.
        follow = np.tensordot(residual * group.weight, slopes, (1, 1)) @ group.allowed
        across = change - q @ (q.transpose(0, 2, 1) @ change)
        jacobian = -across - q @ (inverse.transpose(0, 2, 1) @ follow.transpose(0, 2, 1))
    return Projection(amplitudes, residual, jacobian, np.linalg.norm(weighted, axis=1), q, inverse,
                       change)
