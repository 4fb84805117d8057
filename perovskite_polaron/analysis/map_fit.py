"""A delay × energy map in one fit: how much of each part there is at each delay, with errors, and
whether the parts follow one time law.

Use it when the shapes of the parts are known up to place, stretch and width of the axis, which are
fitted with their priors. It fails, and says so, where a part is too weak for lifetimes of its own.
Errors are those of the noise: what the calculation may be wrong by multiplies the strength of a
part at all delays alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.analysis.kinetic_model import KineticModel
from perovskite_polaron.analysis.kinetics import FEWER, refuse_bounds, starting_lifetimes
from perovskite_polaron.analysis.map_model import Groups, MapModel, Solved
from perovskite_polaron.analysis.part_shapes import PartShapes
from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import ComputationError, InputError, require
from perovskite_polaron.measured.delay_map import DelayMap
from perovskite_polaron.measured.scan import Trace

#: A lifetime whose relative error is larger is not fixed.
LOOSE = 2.0


@dataclass(frozen=True, eq=False)
class MapFit:
    """The best fit of one grouping of the parts; arrays are float64.

    Attributes
    ----------
    model, theta
        The model, and its searched vector.
    amplitudes
        Of each part's time columns.
    chi2, points, parameters
        χ² with the priors' terms; how many points were fitted; how many parameters were free.
    names, covariance
        Of the free parameters: those searched for, then the linear amplitudes; (n, n).
    gradient
        (n, searched + linear): takes derivatives by all parameters to the free ones.
    """

    model: MapModel
    theta: Array
    amplitudes: tuple[Array, ...]
    chi2: float
    points: int
    parameters: int
    names: tuple[str, ...]
    covariance: Array
    gradient: Array

    @property
    def bic(self) -> float:
        """χ² + parameters · ln points (Schwarz)."""
        return float(self.chi2 + self.parameters * np.log(self.points))

    @property
    def correlation(self) -> Array:
        """Correlations (n, n) of the free parameters."""
        size = np.sqrt(self.covariance.diagonal())
        return np.asarray(self.covariance / np.outer(size, size))

    @property
    def point(self) -> Array:
        """Shift, stretch and width of the shapes, as ``PartShapes`` has them."""
        return self.theta[self.model.times :]

    def errors(self, derivatives: Array) -> Array:
        """Return standard errors of quantities with derivatives (..., searched + linear)."""
        free = derivatives @ self.gradient.T
        return np.asarray(np.sqrt(np.maximum(np.einsum("...i,ij,...j->...", free, self.covariance,
                                                       free), 0)))

    def _place(self, part: int) -> slice:
        """Return where the derivatives hold the linear amplitudes of a part."""
        ends = np.cumsum([self.model.searched, *(len(a) for a in self.amplitudes)])
        return slice(int(ends[part]), int(ends[part + 1]))

    def group(self, part: int) -> int:
        """Return the group of a part."""
        return next(n for n, group in enumerate(self.model.groups) if part in group)

    def lifetimes_ps(self, part: int) -> tuple[Array, Array]:
        """Return the lifetimes (k,) of a part, rising, and their errors."""
        at = self.model.lifetimes_at(self.group(part))
        tau = np.exp(self.theta[at])
        rows = np.zeros((len(tau), self.gradient.shape[1]))
        rows[:, at] = np.diag(tau)
        order = np.argsort(tau)
        return tau[order], self.errors(rows)[order]

    def response_ps(self) -> tuple[Array, Array]:
        """Return σ and time zero, and their errors, 0 where they are held."""
        kinetics, shared = self.model.kinetics, self.model.shared
        own = np.r_[self.theta[self.model.lifetimes_at(0)], self.theta[shared]]
        _, sigma, t0 = kinetics.unpack(own)
        rows = np.zeros((2, self.gradient.shape[1]))
        if kinetics.sigma_free:
            rows[0, shared.start] = sigma
        if kinetics.t0_free:
            rows[1, shared.stop - 1] = 1.0
        return np.array([sigma, t0]), self.errors(rows)

    def strengths(self, delay_ps: Array) -> tuple[Array, Array]:
        """Return the strength of each part (parts, n) at any delays (n,), and the errors."""
        laws = self.model.laws(self.theta, delay_ps)
        values, errors = [], []
        for part, (law, slope) in enumerate(zip(laws.columns, laws.slopes, strict=True)):
            rows = np.zeros((len(delay_ps), self.gradient.shape[1]))
            rows[:, : self.model.times] = (slope @ self.amplitudes[part]).T
            rows[:, self._place(part)] = law
            values.append(law @ self.amplitudes[part])
            errors.append(self.errors(rows))
        return np.array(values), np.array(errors)

    def decays(self, part: int) -> tuple[Array, Array]:
        """Return the amplitudes (k and offset,) of a part's decays, their lifetimes rising, the
        offset last, and derivatives (k and offset, searched + linear).
        """
        model, k = self.model, self.model.kinetics.components
        count = k + model.kinetics.offset
        at, own = model.lifetimes_at(self.group(part)), self.amplitudes[part]
        rows, place = np.zeros((count, self.gradient.shape[1])), self._place(part)
        if len(model.groups[self.group(part)]) == 1:
            values = own[:count]
            rows[range(count), range(place.start, place.start + count)] = 1.0
        else:
            # The slowest is the unit of a shared law, and the shares follow the lifetimes.
            rest = [*range(k - 1), *range(k, count)]
            mixing = np.ones(count)
            mixing[rest] = self.theta[at.stop : at.stop + len(rest)]
            values = own[0] * mixing
            rows[:, place.start] = mixing
            rows[rest, range(at.stop, at.stop + len(rest))] = own[0]
        order = [*np.argsort(self.theta[at]), *range(k, count)]
        return values[order], rows[order]

    def mean_lifetime_ps(self, part: int) -> tuple[float, Array]:
        """Return the mean lifetime of a part, weighed by the amplitudes of its decays, and its
        derivatives; the offset is not in it.
        """
        k = self.model.kinetics.components
        amplitudes, rows = self.decays(part)
        amplitudes, rows, total = amplitudes[:k], rows[:k], amplitudes[:k].sum()
        tau, _ = self.lifetimes_ps(part)
        mean = float(amplitudes @ tau / total)
        at = self.model.lifetimes_at(self.group(part))
        by = (tau - mean) @ rows / total
        order = np.argsort(self.theta[at])
        by[at.start + order] += amplitudes * tau / total
        return mean, by


@dataclass(frozen=True, eq=False)
class Follows:
    """Whether some parts follow one time law: that fit against time laws of their own.

    Attributes
    ----------
    parts
        Their numbers.
    likelihood_ratio, freedom, p
        2 ln of the ratio of the likelihoods, the degrees of freedom, and how often chance alone
        makes it as large (Wilks).
    delta_bic
        BIC of one law minus that of own laws: negative where the data ask for no more than one.
    difference_ps, difference_err_ps
        Mean lifetime of each further part minus that of the first, with own laws, and its error.
    """

    parts: tuple[int, ...]
    likelihood_ratio: float
    freedom: int
    p: float
    delta_bic: float
    difference_ps: Array
    difference_err_ps: Array


@dataclass(frozen=True, eq=False)
class Followed:
    """All fits of a map.

    Attributes
    ----------
    data
        The map.
    best
        The fit with the lowest BIC.
    own, together
        With a time law for each part, None where the data do not fix them; with one for all.
    answers
        Of all parts, and where there are more than two, of the first with each other one.
    strengths, errors
        (parts, t): what each delay alone says of the strengths, with the shapes of the best fit.
    residuals
        (t, m): of the best fit, in units of the errors (white).
    unfixed
        Why there is no fit of own laws, or "".
    """

    data: DelayMap
    best: MapFit
    own: MapFit | None
    together: MapFit
    answers: tuple[Follows, ...]
    strengths: Array
    errors: Array
    residuals: Array
    unfixed: str


def follow(data: DelayMap, shapes: PartShapes, kinetics: KineticModel, point: Array,
           start_ps: Sequence[float] | None = None) -> Followed:
    """Fit a map with one time law for all parts and with own ones, and compare them.

    Parameters
    ----------
    data, shapes
        The map; the shapes of its parts, on its energies.
    kinetics
        Of each time law.
    point
        Of the shapes, (3,), to start from.
    start_ps
        Lifetimes to start from; without them several sets are tried.

    Raises
    ------
    InputError, ComputationError
        As ``fit_map``, for one law for all.
    """
    count = len(shapes.parts)
    together = fit_map(data, shapes, kinetics, (tuple(range(count)),), point, start_ps)
    if count == 1:
        return _followed(data, together, together, (), together, "")
    found = [*together.lifetimes_ps(0)[0]]
    apart = tuple((i,) for i in range(count))
    try:
        own = fit_map(data, shapes, kinetics, apart, together.point, start_ps, [found])
    except ComputationError as error:
        return _followed(data, together, None, (), together, str(error))
    asked = [tuple(range(count)), *((0, i) for i in range(1, count) if count > 2)]
    fits, answers = [together, own], []
    for parts in asked:
        if len(parts) == count:
            tied = together
        else:
            groups = (parts, *((i,) for i in range(count) if i not in parts))
            try:
                tied = fit_map(data, shapes, kinetics, groups, own.point, start_ps, [found])
            except ComputationError:
                continue
            fits.append(tied)
        answers.append(_answer(parts, tied, own))
    return _followed(data, min(fits, key=lambda fit: fit.bic), own, tuple(answers), together, "")


def _answer(parts: tuple[int, ...], tied: MapFit, own: MapFit) -> Follows:
    from scipy.stats import chi2

    freedom = own.parameters - tied.parameters
    ratio = max(0.0, tied.chi2 - own.chi2)
    (first, by_first), *others = (own.mean_lifetime_ps(i) for i in parts)
    return Follows(parts, ratio, freedom, float(chi2.sf(ratio, freedom)), tied.bic - own.bic,
                   np.array([mean - first for mean, _ in others]),
                   own.errors(np.array([by - by_first for _, by in others])))


def _followed(data: DelayMap, best: MapFit, own: MapFit | None, answers: tuple[Follows, ...],
              together: MapFit, unfixed: str) -> Followed:
    model = best.model
    curves = model.white(model.shapes.at(best.point)[0][None])
    inverse = np.linalg.pinv(curves)
    free = np.einsum("tpm,tm->pt", inverse, model.data)
    errors = np.sqrt(np.einsum("tpm,tpm->pt", inverse, inverse))
    laws = model.laws(best.theta, data.delay_ps).columns
    strengths = np.array([law @ a for law, a in zip(laws, best.amplitudes, strict=True)])
    residuals = model.data - np.einsum("tmp,pt->tm", curves, strengths)
    return Followed(data, best, own, together, answers, free, errors, residuals, unfixed)


def fit_map(data: DelayMap, shapes: PartShapes, kinetics: KineticModel, groups: Groups,
            point: Array, start_ps: Sequence[float] | None = None,
            more_starts: Sequence[Sequence[float]] = ()) -> MapFit:
    """Fit one grouping of the parts.

    Parameters
    ----------
    data, shapes, kinetics, point, start_ps
        As ``follow``.
    groups
        Which parts have one time law.
    more_starts
        Further sets of lifetimes to start from.

    Raises
    ------
    InputError
        For too few points, or starting lifetimes that do not suit.
    ComputationError
        When no start converges, a parameter sits on its bound, or the data do not fix all.
    """
    k, parts = kinetics.components, len(shapes.parts)
    delays = data.delay_ps
    trace = Trace(delays, np.zeros(len(delays)))
    require(len(delays) > k + kinetics.width,
            f"{len(delays)} delays cannot fix {k} decays; {FEWER}")
    require(len(data.energy_eV) > parts, f"{len(data.energy_eV)} energies cannot tell {parts} parts"
            " apart; widen the window")
    low, high = kinetics.bounds([trace])
    sets = (starting_lifetimes(kinetics, float(np.ptp(delays))) if start_ps is None
            else [np.sort(np.asarray(start_ps, float))])
    if any(len(s) != k or np.log(s[0]) <= low[0] or np.log(s[-1]) >= high[0] for s in sets):
        raise InputError(f"starting lifetimes: give {k} between {np.exp(low[0]):.3g} and"
                         f" {np.exp(high[0]):.3g} ps")
    model = MapModel(data, shapes, kinetics, groups)
    lower, upper = model.bounds(low, high)
    ends = [model.search(model.start(s, point), lower, upper) for s in (*sets, *more_starts)]
    found = [end for end in ends if end is not None]
    if not found:
        raise ComputationError("the fit of the map did not converge; fit fewer components, or give"
                               " starting lifetimes")
    chi2, theta = min(found, key=lambda end: end[0])
    for n in range(len(groups)):
        own = np.r_[theta[model.lifetimes_at(n)], theta[model.shared]]
        refuse_bounds(kinetics, own, low, high)
    return _result(model, theta, chi2, lower < upper)


def _result(model: MapModel, theta: Array, chi2: float, free: NDArray[np.bool_]) -> MapFit:
    solved: Solved = model.solve(theta)
    linear = sum(map(len, solved.amplitudes))
    kept = np.r_[free, np.ones(linear, bool)]
    design = solved.design[:, kept]
    size = np.linalg.norm(design, axis=0)
    names = [name for name, is_free in zip(model.names(), free, strict=True) if is_free]
    kinetics = model.kinetics
    for part, amplitudes in zip(model.shapes.parts, solved.amplitudes, strict=True):
        kinds = [*(f"amplitude {n + 1}" for n in range(kinetics.components)),
                 *["offset"] * kinetics.offset]
        own = len(amplitudes) - kinetics.baseline
        kinds = (kinds if own == len(kinds) else ["strength"]) + ["baseline"] * kinetics.baseline
        names += [f"{kind} of {part.name}" for kind in kinds]
    if (size == 0).any() or not np.isfinite(size).all():
        raise ComputationError("the data do not fix all parameters of the map: some move nothing;"
                               f" {FEWER}")
    _, values, right = np.linalg.svd(design / size, full_matrices=False)
    if not (solved.alike < 1e7 and values[-1] > 1e-7):
        raise ComputationError("the data do not fix all parameters of the map: two lifetimes, or"
                               f" two shapes, cannot be told apart; {FEWER}, or fewer parts")
    root = right.T / values / size[:, None]
    covariance = root @ root.T
    fit = MapFit(model, theta, solved.amplitudes, chi2, model.data.size, int(kept.sum()),
                 tuple(names), covariance, np.eye(len(kept))[kept])
    for group in model.groups:
        tau, error = fit.lifetimes_ps(group[0])
        if (error > LOOSE * tau).any():
            worst = int(np.argmax(error / tau))
            raise ComputationError(
                f"the data do not fix the lifetime of {tau[worst]:.3g} ps of"
                f" {' and '.join(model.shapes.parts[i].name for i in group)} (its error is"
                f" {error[worst] / tau[worst]:.2g} times itself); {FEWER}, or fewer parts")
    return fit
