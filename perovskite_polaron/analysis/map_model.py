"""A delay × energy map as a sum of parts: each a shape over energy times a time law.

Parts that follow each other share one time law, and each has one strength; a part by itself has
lifetimes and an amplitude for each decay of its own. The time laws are those of ``kinetic_model``:
decays, an offset, a constant from before time zero on, seen through a Gaussian response that all
parts share. Strengths and amplitudes are linear and eliminated; lifetimes, what a shared law is
made of, response, time zero, and place, stretch and width of the shapes are searched for.

References
----------
G. Golub, V. Pereyra, SIAM J. Numer. Anal. 10, 413 (1973): elimination of what is linear. I. H. M.
van Stokkum, D. S. Larsen, R. van Grondelle, Biochim. Biophys. Acta 1657, 82 (2004): fits of maps
over delay and energy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from perovskite_polaron.analysis.kinetic_model import KineticModel, descend
from perovskite_polaron.analysis.part_shapes import PartShapes
from perovskite_polaron.analysis.weights import noise_whitening
from perovskite_polaron.arrays import Array
from perovskite_polaron.measured.delay_map import DelayMap

#: Parts that have one time law, by their numbers: all numbers once.
Groups = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, eq=False)
class Laws:
    """Time columns (t, n) of each part, and their derivatives (time parameters, t, n)."""

    columns: tuple[Array, ...]
    slopes: tuple[Array, ...]


@dataclass(frozen=True, eq=False)
class Solved:
    """A map model with its best linear amplitudes.

    Attributes
    ----------
    amplitudes : tuple of ndarray
        Of each part's time columns.
    residual, jacobian : ndarray
        (n,), those of the priors last; (n, searched), the amplitudes following. Their sums of
        squares and products are those of all points (see ``MapModel._reduced``).
    design : ndarray
        (n, searched + linear): the derivatives of the model by all parameters.
    alike : float
        How much the linear columns are alike: their condition, of columns of length one.
    """

    amplitudes: tuple[Array, ...]
    residual: Array
    jacobian: Array
    design: Array
    alike: float


class MapModel:
    """Groups of parts for one map.

    The searched vector holds for each group ln of its lifetimes, and for a group of several parts
    the amplitudes of its other decays and its offset over that of its slowest; then ln σ and t0
    where they are free; then shift, stretch and width of the shapes.
    """

    def __init__(self, data: DelayMap, shapes: PartShapes, kinetics: KineticModel,
                 groups: Groups) -> None:
        self.delay_ps, self.shapes, self.kinetics = data.delay_ps, shapes, kinetics
        self.groups = groups
        whiten = [noise_whitening(scan) for scan in data.scans]
        self.whiten = (np.array(whiten) if all(w.ndim == 1 for w in whiten) else
                       np.array([np.diag(w) if w.ndim == 1 else w for w in whiten]))
        self.data = self.white(data.signal[:, :, None])[:, :, 0]
        k, self._shared = kinetics.components, kinetics.searched - kinetics.components
        self._others = k - 1 + kinetics.offset
        sizes = [k + (self._others if len(group) > 1 else 0) for group in groups]
        self._starts = np.cumsum([0, *sizes])
        self.times = int(self._starts[-1]) + self._shared
        self.searched = self.times + 3

    def white(self, curves: Array) -> Array:
        """Return curves (t or 1, m, c) in units of independent errors, (t, m, c)."""
        if self.whiten.ndim == 2:
            return self.whiten[:, :, None] * curves
        return np.asarray(self.whiten @ curves)

    def names(self) -> tuple[str, ...]:
        """Return what the searched parameters are called."""
        kinetics, found = self.kinetics, []
        for group in self.groups:
            of = " = ".join(self.shapes.parts[i].name for i in group)
            found += [f"ln lifetime {n + 1}, {of}" for n in range(kinetics.components)]
            if len(group) > 1:
                found += [f"share of decay {n + 1}, {of}" for n in range(kinetics.components - 1)]
                found += [f"share of the offset, {of}"] * kinetics.offset
        found += ["ln sigma"] * kinetics.sigma_free + ["time zero"] * kinetics.t0_free
        return (*found, *self.shapes.names)

    @property
    def shared(self) -> slice:
        """Where the searched vector holds ln σ and t0."""
        return slice(int(self._starts[-1]), self.times)

    def lifetimes_at(self, group: int) -> slice:
        """Return where the searched vector holds ln of the lifetimes of a group."""
        start = int(self._starts[group])
        return slice(start, start + self.kinetics.components)

    def laws(self, theta: Array, delay_ps: Array) -> Laws:
        """Return the time columns of all parts."""
        kinetics, k, others = self.kinetics, self.kinetics.components, self._others
        columns: list[Array] = [np.empty(0)] * len(self.shapes.parts)
        slopes, shared = list(columns), self.shared
        for (start, end), group in zip(pairwise(self._starts), self.groups, strict=True):
            own = np.r_[theta[start : start + k], theta[shared]]
            found, steep = kinetics.columns_and_slopes(own, delay_ps)
            where = np.r_[start : start + k, shared.start : shared.stop]
            if len(group) > 1:
                # One law: the slowest decay, and the others in proportion to it.
                rest = [*range(k - 1), *([k] if kinetics.offset else [])]
                mixing = np.zeros((kinetics.width, 1 + kinetics.baseline))
                mixing[k - 1, 0] = 1.0
                mixing[rest, 0] = theta[start + k : end]
                if kinetics.baseline:
                    mixing[-1, 1] = 1.0
                law, by_law = found @ mixing, steep @ mixing
                by_share = np.zeros((others, *law.shape))
                by_share[:, :, 0] = found[:, rest].T
                found, steep = law, np.concatenate([by_law, by_share])
                where = np.r_[where, start + k : end]
            whole = np.zeros((self.times, *found.shape))
            whole[where] = steep
            for part in group:
                columns[part], slopes[part] = found, whole
        return Laws(tuple(columns), tuple(slopes))

    def solve(self, theta: Array) -> Solved:
        """Return the best amplitudes at a searched vector, with exact derivatives."""
        with np.errstate(all="ignore"):
            laws = self.laws(theta, self.delay_ps)
            curves, steep = self.shapes.at(theta[self.times :])
            white, moved, y, rest = self._reduced(np.concatenate([curves[None], steep]))
            linear = np.concatenate([white[:, :, i, None] * law[:, None, :]
                                     for i, law in enumerate(laws.columns)], axis=2)
            t, m, count = linear.shape
            linear = linear.reshape(t * m, count)
            q, r = np.linalg.qr(linear)
            inverse = np.linalg.pinv(r, rcond=1e-12)
            along = inverse @ (q.T @ y.ravel())
            ends = np.cumsum([0, *(law.shape[1] for law in laws.columns)])
            amplitudes = tuple(along[a:b] for a, b in pairwise(ends))
            residual = y.ravel() - linear @ along
            left = residual.reshape(t, m)
            change, follow = np.zeros((self.searched, t, m)), np.zeros((self.searched, count))
            for i, (law, slope) in enumerate(zip(laws.columns, laws.slopes, strict=True)):
                here = slice(ends[i], ends[i + 1])
                seen = (white[:, :, i] * left).sum(axis=1)
                change[: self.times] += (slope @ amplitudes[i])[:, :, None] * white[:, :, i]
                follow[: self.times, here] = np.einsum("stn,t->sn", slope, seen)
                for j, rows in enumerate(moved):
                    change[self.times + j] += (law @ amplitudes[i])[:, None] * rows[:, :, i]
                    follow[self.times + j, here] = law.T @ (rows[:, :, i] * left).sum(axis=1)
            flat = change.reshape(self.searched, -1).T
            across = flat - q @ (q.T @ flat)
            jacobian = -across - q @ (inverse.T @ follow.T)
            prior, by_prior = self.shapes.prior(theta[self.times :])
            bottom = np.zeros((len(rest) + 3, self.searched))
            bottom[-3:, self.times :] = by_prior
            size = np.linalg.norm(linear, axis=0)
            alike = float(np.linalg.norm(inverse * size[:, None], 2))
            below = np.hstack([bottom, np.zeros((len(bottom), count))])
        return Solved(amplitudes, np.r_[residual, rest, prior], np.vstack([jacobian, bottom]),
                      np.vstack([np.hstack([flat, linear]), below]), alike)

    def _reduced(self, curves: Array) -> tuple[Array, Array, Array, Array]:
        """Return shapes (4, m, parts), they and their derivatives, and the data in fewer rows.

        At each delay all that parameters can change lies in the span of these curves. In an
        orthonormal basis of it of n curves they are (t, n, parts) and (3, t, n, parts), the data
        (t, n). What the data have beside it is (t,), of which no derivative has a part.
        """
        kinds, m, parts = curves.shape
        white = self.white(curves.transpose(1, 0, 2).reshape(1, m, kinds * parts))
        q, r = np.linalg.qr(white)
        r = np.moveaxis(r.reshape(*r.shape[:2], kinds, parts), 2, 0)
        inside = np.einsum("tmn,tm->tn", q, self.data)
        beside = np.linalg.norm(self.data - np.einsum("tmn,tn->tm", q, inside), axis=1)
        return r[0], r[1:], inside, beside

    def bounds(self, lower: Array, upper: Array) -> tuple[Array, Array]:
        """Return the bounds of the searched vector from those of ``KineticModel.bounds``."""
        k, both = self.kinetics.components, []
        for ends, shape, beyond in ((lower, self.shapes.lower, -np.inf),
                                    (upper, self.shapes.upper, np.inf)):
            whole = np.full(self.searched, beyond)
            for group in range(len(self.groups)):
                whole[self.lifetimes_at(group)] = ends[:k]
            whole[self.shared], whole[self.times :] = ends[k:], shape
            both.append(whole)
        return both[0], both[1]

    def start(self, lifetimes_ps: Sequence[float], point: Array) -> Array:
        """Return a searched vector to start from: one law for all parts, shapes at a point (3,)."""
        theta = np.zeros(self.searched)
        for group, of in enumerate(self.groups):
            theta[self.lifetimes_at(group)] = np.log(lifetimes_ps)
            if len(of) > 1:
                first = self.lifetimes_at(group).stop
                theta[first : first + self.kinetics.components - 1] = 1.0
        kinetics = self.kinetics
        free = np.array([np.log(kinetics.sigma_ps), kinetics.t0_ps])
        theta[self.shared] = free[[kinetics.sigma_free, kinetics.t0_free]]
        theta[self.times :] = np.clip(point, self.shapes.lower, self.shapes.upper)
        return theta

    def search(self, theta: Array, lower: Array, upper: Array) -> tuple[float, Array] | None:
        """Minimise χ² with the priors' terms; None where it does not converge."""
        def residual(x: Array) -> tuple[Array, Array]:
            found = self.solve(x)
            return found.residual, found.jacobian

        return descend(residual, theta, lower, upper)
