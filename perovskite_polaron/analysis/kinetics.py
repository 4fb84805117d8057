"""Global fit of pump-probe traces: shared lifetimes, an amplitude for each trace, a response.

Model of each trace: Σ_k a_k exp(−t/τ_k) + offset, begun at t0 and convolved with a Gaussian of
standard deviation σ. The amplitudes enter linearly and are eliminated, so only τ, σ and t0 are
searched for, in logarithms where they are positive. Use it for parallel decays; it tells nothing
about the reaction scheme behind them. It fails when two lifetimes are nearly equal or lie outside
the delays measured: then a ComputationError says so.

References
----------
G. Golub, V. Pereyra, SIAM J. Numer. Anal. 10, 413 (1973): elimination of the amplitudes, with both
terms of its Jacobian.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import ComputationError, require
from perovskite_polaron.kernels.convolution import exponential_gaussian
from perovskite_polaron.measured.scan import Trace

FEWER = "fit fewer components"


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
    """

    components: int
    sigma_ps: float
    offset: bool = True
    sigma_free: bool = False
    t0_ps: float = 0.0
    t0_free: bool = False

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
        return self.components + self.offset

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
        upper = np.full(self.searched, np.log(100 * _span(traces)))
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
        columns, by_lifetime, by_sigma, by_t0 = exponential_gaussian(
            delay_ps, constants, sigma, t0, gradient=True)
        slopes = np.zeros((self.searched, *columns.shape))
        slopes[range(k), :, range(k)] = (by_lifetime[:, :k] * lifetimes).T
        if self.sigma_free:
            slopes[k] = by_sigma * sigma
        if self.t0_free:
            slopes[-1] = by_t0
        return np.asarray(columns), slopes


def _span(traces: Sequence[Trace]) -> float:
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
    from scipy.optimize import least_squares

    theta, free, held = theta.copy(), lower < upper, allowed or {}
    last = np.empty(0)

    def residual(x: Array) -> Array:
        nonlocal last
        theta[free] = x
        parts = [_project(t, model, theta, held.get(i)) for i, t in enumerate(traces)]
        last = np.concatenate([jacobian for _, jacobian in parts])[:, free]
        return np.concatenate([found for found, _ in parts])

    def jacobian_there(_: Array) -> Array:
        # It is asked for only where the residual was asked for last.
        return last

    if not free.any():
        return float(np.sum(residual(theta[free]) ** 2)), theta
    try:
        end = least_squares(residual, theta[free], jacobian_there, (lower[free], upper[free]),
                            "dogbox", ftol=1e-13, xtol=1e-9, gtol=None, x_scale="jac", max_nfev=200)
    except ValueError:
        # At the start nothing is finite.
        return None
    theta[free] = end.x
    return (2 * float(end.cost), theta) if end.success else None


def _project(trace: Trace, model: KineticModel, theta: Array,
             allowed: Array | None) -> tuple[Array, Array]:
    """Return the residual of one trace with its best amplitudes, and its Jacobian."""
    # Where every column vanishes the amplitudes overflow: the search then turns back.
    with np.errstate(all="ignore"):
        columns, slopes = model.columns_and_slopes(theta, trace.delay_ps)
        if allowed is None:
            allowed = np.eye(model.width)
        q, r = np.linalg.qr(trace.weight[:, None] * columns @ allowed)
        signal = trace.signal * trace.weight
        inside = q.T @ signal
        residual = signal - q @ inside
        inverse = np.linalg.pinv(r, rcond=1e-12)
        change = ((slopes @ (allowed @ (inverse @ inside))) * trace.weight).T
        # How the amplitudes follow: without this term the search creeps where residuals are large
        # and columns alike.
        follow = allowed.T @ ((residual * trace.weight) @ slopes).T
        return residual, -(change - q @ (q.T @ change)) - q @ (inverse.T @ follow)


@dataclass(frozen=True, eq=False)
class KineticFit:
    """The best fit; arrays are float64.

    Errors are standard errors from the covariance, scaled by √χ²_red without given errors.

    Attributes
    ----------
    model : KineticModel
    traces : tuple of Trace
    lifetimes_ps, lifetimes_err_ps : ndarray, shape (k,)
        Rising.
    sigma_ps, sigma_err_ps, t0_ps, t0_err_ps : float
        Error 0 where it is fixed.
    amplitudes : ndarray, shape (traces, width)
        The offset last.
    fractions, fractions_err : ndarray, shape (traces, width)
        Each trace's amplitudes over their sum.
    chi2, dof
        χ² and the degrees of freedom.
    residuals : tuple of ndarray
        One for each trace, in units of the errors.
    theta, theta_err : ndarray
        The searched vector of the model.
    scaled_errors : bool
        Whether the errors are from the scatter about the fit.
    """

    model: KineticModel
    traces: tuple[Trace, ...]
    lifetimes_ps: Array
    lifetimes_err_ps: Array
    sigma_ps: float
    sigma_err_ps: float
    t0_ps: float
    t0_err_ps: float
    amplitudes: Array
    fractions: Array
    fractions_err: Array
    chi2: float
    dof: int
    residuals: tuple[Array, ...]
    theta: Array
    theta_err: Array
    scaled_errors: bool

    @property
    def chi2_red(self) -> float:
        """χ² over degrees of freedom; without errors the residual variance in signal squared."""
        return self.chi2 / self.dof

    @property
    def chi2_p(self) -> float | None:
        """The chance of a larger χ² if model and errors are right; None without errors."""
        from scipy.stats import chi2

        return None if self.scaled_errors else float(chi2.sf(self.chi2, self.dof))

    def curve(self, trace: int, delay_ps: Array) -> Array:
        """Return the fitted curve of one trace at any delays."""
        columns, _ = self.model.columns_and_slopes(self.theta, delay_ps)
        return np.asarray(columns @ self.amplitudes[trace])


def fit_kinetics(traces: Sequence[Trace], model: KineticModel,
                 start_ps: Sequence[float] | None = None) -> KineticFit:
    """Fit all traces at once.

    Parameters
    ----------
    traces : sequence of Trace
        All with errors, or none.
    model : KineticModel
    start_ps : sequence of float, optional
        Lifetimes to start from; without them several sets are tried and the best end is kept.

    Raises
    ------
    InputError
        For too few points, or starting lifetimes that do not suit.
    ComputationError
        When no start converges, or the best fit has a lifetime at the edge of what the delays can
        show, two that cannot be told apart, or parameters that the data do not fix.
    """
    traces = tuple(traces)
    _check(traces, model)
    span = _span(traces)
    require(span >= model.sigma_ps / 10, f"the delays span {span:g} ps, far less than the "
            f"response's sigma of {model.sigma_ps:g} ps: nothing can be resolved; check the units")
    lower, upper = model.bounds(traces)
    k, (low, high) = model.components, np.exp([lower[0], upper[0]])
    starts = _starts(model, span) if start_ps is None else [np.sort(np.asarray(start_ps, float))]
    require(all(len(s) == k and low < s[0] and s[-1] < high for s in starts),
            f"starting lifetimes: give {k} between {low:.3g} and {high:.3g} ps")
    others = np.array([np.log(model.sigma_ps), model.t0_ps])[[model.sigma_free, model.t0_free]]
    ends = [search(traces, model, np.append(np.log(s), others), lower, upper) for s in starts]
    found = [end for end in ends if end is not None]
    if not found:
        raise ComputationError("the kinetic fit did not converge; try fewer components, or give "
                               "starting lifetimes")
    _, theta = min(found, key=lambda end: end[0])
    theta[:k] = np.sort(theta[:k])
    _refuse_bounds(model, theta, lower, upper)
    return _result(traces, model, theta)


def _refuse_bounds(model: KineticModel, theta: Array, lower: Array, upper: Array) -> None:
    k = model.components
    for value in theta[:k]:
        is_low = value < lower[0] + 1e-3
        if is_low or value > upper[0] - 1e-3:
            raise ComputationError(
                f"the kinetic fit sits on a bound: a lifetime of {np.exp(value):.3g} ps cannot be "
                f"told from {'an instant' if is_low else 'an offset'}; {FEWER}")
    names = [name for name, free in (("sigma", model.sigma_free), ("time zero", model.t0_free))
             if free]
    for value, name, least, most in zip(theta[k:], names, lower[k:], upper[k:], strict=True):
        near = 1e-3 * (most - least)
        if not least + near <= value <= most - near:
            raise ComputationError(f"the kinetic fit sits on a bound of {name}; give it a better "
                                   "start, or hold it fixed")


def _check(traces: tuple[Trace, ...], model: KineticModel) -> None:
    require(traces, "no trace to fit: give at least one")
    require(len({t.error is None for t in traces}) == 1, "some traces have errors and some have "
            "none: give them for all, or for none")
    for trace in traces:
        require(len(trace.delay_ps) > model.width and np.ptp(trace.delay_ps) > 0, f"{trace.name}: "
                f"{len(trace.delay_ps)} points cannot fix {model.width} amplitudes; {FEWER}")
    require(sum(len(t.delay_ps) for t in traces) > model.width * len(traces) + model.searched,
            f"fewer points than parameters: {FEWER}")


def _starts(model: KineticModel, span: float) -> list[Array]:
    """Return lifetimes spread evenly in the logarithm over the delays that can show them."""
    low, high = np.log(max(model.sigma_ps, span / 1e4)), np.log(span)
    if high <= low:
        low = high - 2
    sets = [(0.1, 0.9), (0.1, 0.5), (0.4, 0.9)]
    if model.components == 1:
        sets = [((a + b) / 2, b) for a, b in sets]
    return [np.exp(low + (high - low) * np.linspace(a, b, model.components)) for a, b in sets]


def _result(traces: tuple[Trace, ...], model: KineticModel, theta: Array) -> KineticFit:
    """Return the fit with its errors, from the Jacobian over all parameters, amplitudes too."""
    from scipy.linalg import block_diag

    k, n, width = model.components, len(theta), model.width
    parts = [slice(n + i * width, n + (i + 1) * width) for i in range(len(traces))]
    searched, linear, amplitudes, residuals = [], [], [], []
    for trace in traces:
        columns, slopes = model.columns_and_slopes(theta, trace.delay_ps)
        columns, signal = columns * trace.weight[:, None], trace.signal * trace.weight
        amplitude = np.linalg.lstsq(columns, signal, rcond=1e-12)[0]
        searched.append(((slopes @ amplitude) * trace.weight).T)
        linear.append(columns)
        amplitudes.append(amplitude)
        residuals.append(signal - columns @ amplitude)
    full = np.hstack([np.concatenate(searched), block_diag(*linear)])
    chi2, dof = float(sum(r @ r for r in residuals)), full.shape[0] - full.shape[1]
    scaled = traces[0].error is None
    covariance = _covariance(full) * (chi2 / dof if scaled else 1.0)
    lifetimes, sigma, t0 = model.unpack(theta)
    error = np.sqrt(np.diag(covariance))
    for value, relative in zip(lifetimes, error[:k], strict=True):
        if relative > 2:
            raise ComputationError(f"the data do not fix the lifetime of {value:.3g} ps (its error "
                                   f"is {relative:.2g} times itself); {FEWER}")
    fractions, fraction_errors = [], []
    for amplitude, part in zip(amplitudes, parts, strict=True):
        total = amplitude.sum()
        fractions.append(amplitude / total)
        gradient = (np.eye(width) - np.outer(amplitude / total, np.ones(width))) / total
        fraction_errors.append(np.sqrt(np.diag(gradient @ covariance[part, part] @ gradient.T)))
    return KineticFit(model, traces, lifetimes, lifetimes * error[:k], sigma,
                      sigma * float(error[k]) if model.sigma_free else 0.0, t0,
                      float(error[n - 1]) if model.t0_free else 0.0, np.array(amplitudes),
                      np.array(fractions), np.array(fraction_errors), chi2, dof, tuple(residuals),
                      theta, error[:n], scaled)


def _covariance(full: Array) -> Array:
    """Return the inverse of JᵀJ; ComputationError where parameters are not fixed."""
    norms = np.linalg.norm(full, axis=0)
    if (norms == 0).any():
        raise ComputationError("the data do not fix all parameters: some move nothing; see that "
                               "the traces hold a signal, and delays after time zero")
    unit = full / norms
    singular = np.linalg.svd(unit, compute_uv=False)
    if singular[-1] < 1e-7 * singular[0]:
        raise ComputationError("the data do not fix all parameters: two lifetimes cannot be told "
                               f"apart; {FEWER}")
    return np.asarray(np.linalg.inv(unit.T @ unit) / np.outer(norms, norms))


@dataclass(frozen=True)
class FTest:
    """Whether the larger of two models is worth its parameters.

    Attributes
    ----------
    f : float
        Extra sum of squares for each parameter over the larger model's reduced χ².
    p : float
        The chance of such an F if the smaller model were true.
    """

    f: float
    p: float


def f_test(smaller: KineticFit, larger: KineticFit) -> FTest:
    """Compare two nested fits of the same traces; approximate for nonlinear parameters."""
    from scipy.stats import f as distribution

    added = smaller.dof - larger.dof
    require(added > 0, "the F test compares a model with one that has more parameters")
    value = max(0.0, (smaller.chi2 - larger.chi2) / added / larger.chi2_red)
    return FTest(value, float(distribution.sf(value, added, larger.dof)))
