"""The model of pump-probe traces: exponential decays and an offset, begun at t0 and seen through a Gaussian response.

Least squares with the amplitudes eliminated: only what is not linear is searched for.

[G. Golub, V. Pereyra, SIAM J. Numer. Anal. 10, 413 (1973), with both terms of its Jacobian]

Global fit of pump-probe traces: shared lifetimes, an amplitude for each trace, and an instrument response.

Model of each trace: Σ_k a_k exp(−t/τ_k) + offset, begun at t0 and convolved with a Gaussian of standard deviation σ. The
amplitudes enter linearly and are eliminated (``variable_projection``), so only τ, σ and t0 are searched for, in
logarithms where they are positive. Use it for parallel decays; it tells nothing about the reaction scheme behind them. It fails when two
lifetimes are nearly equal or lie outside the delays measured: then a ComputationError says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.kernels.convolution import exponential_gaussian
from perovskite_polaron.measured.scan import Trace

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class KineticModel:
    """What is fitted: the number of decays, a flat offset or none, and which of σ and t0 are free (start values given).

    The searched vector theta holds the logarithms of the lifetimes, then that of σ and t0 where they are free (all in ps).
    """

    components: int
    sigma_ps: float
    offset: bool = True
    sigma_free: bool = False
    t0_ps: float = 0.0
    t0_free: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.components <= 6:
            raise InputError(f"{self.components} components: give from 1 to 6")
        if not (0 < self.sigma_ps < np.inf and np.isfinite(self.t0_ps)):
            raise InputError(f"the instrument response's sigma, {self.sigma_ps:g} ps, must be positive")

    @property
    def searched(self) -> int:
        """How many parameters are searched for."""
        return self.components + self.sigma_free + self.t0_free

    def unpack(self, theta: Array) -> tuple[Array, float, float]:
        """Return lifetimes (ps), σ (ps) and t0 (ps) of the searched vector."""
        k = self.components
        sigma = float(np.exp(theta[k])) if self.sigma_free else self.sigma_ps
        return np.exp(theta[:k]), sigma, float(theta[-1]) if self.t0_free else self.t0_ps

    def bounds(self, traces: Sequence[Trace]) -> tuple[Array, Array]:
        """Bounds of the searched vector, each (searched,).

        A lifetime shorter than a hundredth of σ, or flat over a hundred spans of the delays, is beyond what the data can
        say; σ stays within a factor e⁴, time zero within the delays.
        """
        k, span = self.components, max(float(np.ptp(t.delay_ps)) for t in traces)
        lower = np.full(self.searched, np.log(self.sigma_ps / 100))
        upper = np.full(self.searched, np.log(100 * span))
        if self.sigma_free:
            lower[k], upper[k] = np.log(self.sigma_ps) - 4, np.log(self.sigma_ps) + 4
        if self.t0_free:
            lower[-1] = min(self.t0_ps, *(float(t.delay_ps.min()) for t in traces))
            upper[-1] = max(self.t0_ps, *(float(t.delay_ps.max()) for t in traces))
        return lower, upper

    def columns(self, theta: Array, delay_ps: Array) -> Array:
        """Return the response of each decay and of the offset, (m, k[+1])."""
        lifetimes, sigma, t0 = self.unpack(theta)
        return np.asarray(exponential_gaussian(delay_ps, self._constants(lifetimes), sigma, t0))

    def columns_and_slopes(
        self, theta: Array, delay_ps: Array
    ) -> tuple[Array, list[tuple[NDArray[np.intp], Array]]]:
        """Return the columns, and for each searched parameter (which columns it moves, their derivative)."""
        lifetimes, sigma, t0 = self.unpack(theta)
        constants = self._constants(lifetimes)
        columns, by_lifetime, by_sigma, by_t0 = exponential_gaussian(delay_ps, constants, sigma, t0, gradient=True)
        every = np.arange(len(constants))
        slopes = [(every[j : j + 1], by_lifetime[:, j : j + 1] * lifetimes[j]) for j in range(self.components)]
        if self.sigma_free:
            slopes.append((every, by_sigma * sigma))
        if self.t0_free:
            slopes.append((every, by_t0))
        return np.asarray(columns), slopes

    def _constants(self, lifetimes: Array) -> Array:
        return np.append(lifetimes, np.inf) if self.offset else lifetimes



def search(
    traces: Sequence[Trace], model: KineticModel, theta: Array, lower: Array, upper: Array,
    allowed: Mapping[int, Array] | None = None,
) -> tuple[float, Array] | None:  # fmt: skip
    """Levenberg–Marquardt on the projected problem: χ² and theta at the minimum, or None when it does not converge.

    Parameters whose bounds agree are held there. allowed: for some traces a matrix (amplitudes, fewer) whose columns span
    the amplitudes they may have; without one all are.
    """
    relative = model.components + model.sigma_free
    residual, jacobian = _project(traces, model, theta, allowed or {})
    cost, damping = float(residual @ residual), 1e-3
    if not (np.isfinite(cost) and np.isfinite(jacobian).all()):
        return None
    for _ in range(200):
        normal, slope = jacobian.T @ jacobian, jacobian.T @ residual
        scale = np.maximum(np.diag(normal), 1e-30)
        # A parameter that a bound stops is held, or it would spoil the steps of the others.
        held = ((theta <= lower) & (slope > 0)) | ((theta >= upper) & (slope < 0)) | (lower == upper)
        normal[held], normal[:, held], slope[held] = 0.0, 0.0, 0.0
        step = np.linalg.solve(normal + damping * np.diag(scale), -slope)
        # A step of more than a factor e² in a lifetime leaves the region where the linearisation means anything.
        step[:relative] = np.clip(step[:relative], -2, 2)
        trial = np.clip(theta + step, lower, upper)
        new_residual, new_jacobian = _project(traces, model, trial, allowed or {})
        new_cost = float(new_residual @ new_residual)
        # A comparison with NaN is false: a step to where nothing is finite is one that does not go downhill.
        if new_cost <= cost and np.isfinite(new_jacobian).all():
            moved = np.max(np.abs(trial - theta) / np.maximum(1, np.abs(theta)))
            small = moved < 1e-9 or cost - new_cost <= 1e-14 * cost
            # Less than half of what the linearisation promised is an overshoot: then the damping must grow, or the search
            # swings about the minimum [H. B. Nielsen, IMM-REP-1999-05, Technical University of Denmark].
            promised = -(2 * slope + normal @ (trial - theta)) @ (trial - theta)
            gain = (cost - new_cost) / promised if promised > 0 else 1.0
            damping = max(damping * float(np.clip(1 - (2 * gain - 1) ** 3, 0.1, 4)), 1e-12)
            theta, residual, jacobian, cost = trial, new_residual, new_jacobian, new_cost
            if small:
                return cost, theta
        else:
            damping *= 8
            if damping > 1e12:
                # No downhill step is left at the resolution of the arithmetic.
                return cost, theta
    return None


def _project(
    traces: Sequence[Trace], model: KineticModel, theta: Array, allowed: Mapping[int, Array]
) -> tuple[Array, Array]:
    """Residual with the best amplitudes, and its Jacobian."""
    parts = [_project_one(trace, model, theta, allowed.get(i)) for i, trace in enumerate(traces)]
    return np.concatenate([r for r, _ in parts]), np.concatenate([j for _, j in parts])


def _project_one(trace: Trace, model: KineticModel, theta: Array, allowed: Array | None) -> tuple[Array, Array]:
    # Where every column vanishes the amplitudes overflow: the search then turns back, see there.
    with np.errstate(all="ignore"):
        weight = 1.0 if trace.error is None else 1 / trace.error
        columns, slopes = model.columns_and_slopes(theta, trace.delay_ps)
        if allowed is not None:
            columns = columns @ allowed
        q, r = np.linalg.qr((columns.T * weight).T)
        signal = trace.signal * weight
        inside = q.T @ signal
        residual = signal - q @ inside
        inverse = np.linalg.pinv(r, rcond=1e-12)
        amplitude = inverse @ inside if allowed is None else allowed @ (inverse @ inside)
        change = np.column_stack([(slope @ amplitude[which]) * weight for which, slope in slopes])
        # How the amplitudes follow: without this term the search creeps where residuals are large and columns alike.
        follow = np.zeros((len(amplitude), len(slopes)))
        for j, (which, slope) in enumerate(slopes):
            follow[which, j] = slope.T @ (residual * weight)
        if allowed is not None:
            follow = allowed.T @ follow
        return residual, -(change - q @ (q.T @ change)) - q @ (inverse.T @ follow)



@dataclass(frozen=True, eq=False)
class KineticFit:
    """Result; arrays float64. Errors are standard errors from the covariance, scaled by √χ²_red without given errors.

    lifetimes_ps (k,), rising. theta, theta_err: the searched vector of the model. amplitudes (traces, k or k + 1), the
    offset last; fractions likewise, each trace's amplitudes over their sum. residuals: one array for each trace, in units
    of the errors.
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
        """χ² over degrees of freedom; without measured errors the residual variance in the signal's unit squared."""
        return self.chi2 / self.dof

    @property
    def chi2_p(self) -> float | None:
        """The chance of a larger χ² if the model is right and the errors are; None without measured errors."""
        from scipy.stats import chi2

        return None if self.scaled_errors else float(chi2.sf(self.chi2, self.dof))

    def curve(self, trace: int, delay_ps: Array) -> Array:
        """The fitted curve of one trace at any delays."""
        return np.asarray(self.model.columns(self.theta, delay_ps) @ self.amplitudes[trace])


def fit_kinetics(traces: Sequence[Trace], model: KineticModel, start_ps: Sequence[float] | None = None) -> KineticFit:
    """Fit all traces at once. ``start_ps`` are starting lifetimes; without them several sets are tried and the best kept.

    Raises InputError for too few points, and ComputationError when no start converges, or the best fit has a lifetime at
    the edge of what the delays can show, two that cannot be told apart, or parameters the data do not fix.
    """
    traces = tuple(traces)
    _check(traces, model)
    span = max(float(np.ptp(t.delay_ps)) for t in traces)
    if span < model.sigma_ps / 10:
        raise InputError(
            f"the delays span {span:g} ps, far less than the response's sigma of {model.sigma_ps:g} ps: nothing can be resolved; "
            "check the units"
        )
    lower, upper = model.bounds(traces)
    k, low, high = model.components, lower[0], upper[0]
    starts = [np.array(start_ps, dtype=float)] if start_ps is not None else _starts(model, span)
    if any(len(s) != k or not np.all((s > np.exp(low)) & (s < np.exp(high))) for s in starts):
        raise InputError(f"starting lifetimes: give {k} between {np.exp(low):.3g} and {np.exp(high):.3g} ps")
    others = np.array([np.log(model.sigma_ps), model.t0_ps])[[model.sigma_free, model.t0_free]]
    ends = [search(traces, model, np.append(np.log(np.sort(start)), others), lower, upper) for start in starts]
    found = [end for end in ends if end is not None]
    if not found:
        raise ComputationError("the kinetic fit did not converge; try fewer components, or give starting lifetimes")
    _, theta = min(found, key=lambda end: end[0])
    theta[:k] = np.sort(theta[:k])
    _refuse_bounds(model, theta, lower, upper)
    return _result(traces, model, theta)


def _refuse_bounds(model: KineticModel, theta: Array, lower: Array, upper: Array) -> None:
    k = model.components
    for value in theta[:k]:
        if value < lower[0] + 1e-3 or value > upper[0] - 1e-3:
            raise ComputationError(
                f"the kinetic fit sits on a bound: a lifetime of {np.exp(value):.3g} ps cannot be told from "
                f"{'an instant' if value < lower[0] + 1e-3 else 'an offset'}; fit fewer components"
            )
    names = [name for name, free in (("sigma", model.sigma_free), ("time zero", model.t0_free)) if free]
    for value, name, least, most in zip(theta[k:], names, lower[k:], upper[k:], strict=True):
        if value < least + 1e-3 * (most - least) or value > most - 1e-3 * (most - least):
            raise ComputationError(
                f"the kinetic fit sits on a bound of {name}; give it a better start, or hold it fixed"
            )


def _check(traces: tuple[Trace, ...], model: KineticModel) -> None:
    if not traces:
        raise InputError("no trace to fit: give at least one")
    if len({t.error is None for t in traces}) > 1:
        raise InputError("some traces have errors and some have none: give them for all, or for none")
    columns = model.components + model.offset
    for trace in traces:
        if len(trace.delay_ps) <= columns or np.ptp(trace.delay_ps) == 0:
            raise InputError(
                f"{trace.label or 'trace'}: {len(trace.delay_ps)} points cannot fix {columns} amplitudes; fit fewer components"
            )
    if sum(len(t.delay_ps) for t in traces) <= columns * len(traces) + model.searched:
        raise InputError("fewer points than parameters: fit fewer components")


def _starts(model: KineticModel, span: float) -> list[Array]:
    """Lifetimes spread evenly in the logarithm over the delays that can show them, wide and narrow."""
    low, high = np.log(max(model.sigma_ps, span / 1e4)), np.log(span)
    if high <= low:
        low = high - 2
    k = model.components
    sets = [(0.1, 0.9), (0.1, 0.5), (0.4, 0.9)]
    return [np.exp(low + (high - low) * (np.linspace(a, b, k) if k > 1 else np.array([(a + b) / 2]))) for a, b in sets]


def _result(traces: tuple[Trace, ...], model: KineticModel, theta: Array) -> KineticFit:
    n_theta = len(theta)
    width = model.components + model.offset
    points = sum(len(t.delay_ps) for t in traces)
    full = np.zeros((points, n_theta + width * len(traces)))
    amplitudes, residuals, row = [], [], 0
    for i, trace in enumerate(traces):
        weight = np.ones(len(trace.delay_ps)) if trace.error is None else 1 / trace.error
        columns, slopes = model.columns_and_slopes(theta, trace.delay_ps)
        columns = columns * weight[:, None]
        amplitude = np.linalg.lstsq(columns, trace.signal * weight, rcond=1e-12)[0]
        rows = slice(row, row + len(weight))
        for j, (which, slope) in enumerate(slopes):
            full[rows, j] = (slope @ amplitude[which]) * weight
        full[rows, n_theta + i * width : n_theta + (i + 1) * width] = columns
        amplitudes.append(amplitude)
        residuals.append(trace.signal * weight - columns @ amplitude)
        row += len(weight)
    chi2 = float(sum(r @ r for r in residuals))
    dof = points - full.shape[1]
    norms = np.linalg.norm(full, axis=0)
    singular = np.linalg.svd(full / np.where(norms > 0, norms, 1), compute_uv=False)
    if (norms == 0).any():
        raise ComputationError(
            "the data do not fix all parameters: some move nothing; see that the traces hold a signal, and delays after time zero"
        )
    if singular[-1] < 1e-7 * singular[0]:
        raise ComputationError(
            "the data do not fix all parameters: two lifetimes cannot be told apart; fit fewer components"
        )
    inverse = np.linalg.inv((full / norms).T @ (full / norms)) / np.outer(norms, norms)
    scaled = traces[0].error is None
    covariance = inverse * (chi2 / dof if scaled else 1.0)
    lifetimes, sigma, t0 = model.unpack(theta)
    error = np.sqrt(np.diag(covariance))
    k = model.components
    for value, relative in zip(lifetimes, error[:k], strict=True):
        if relative > 2:
            raise ComputationError(
                f"the data do not fix the lifetime of {value:.3g} ps (its error is {relative:.2g} times itself); fit fewer components"
            )
    fractions, fraction_errors = [], []
    for i, amplitude in enumerate(amplitudes):
        part = slice(n_theta + i * width, n_theta + (i + 1) * width)
        total = amplitude.sum()
        fractions.append(amplitude / total)
        gradient = (np.eye(width) - np.outer(amplitude / total, np.ones(width))) / total
        fraction_errors.append(np.sqrt(np.diag(gradient @ covariance[part, part] @ gradient.T)))
    return KineticFit(
        model, traces, lifetimes, lifetimes * error[:k],
        sigma, sigma * float(error[k]) if model.sigma_free else 0.0, t0, float(error[n_theta - 1]) if model.t0_free else 0.0,
        np.array(amplitudes), np.array(fractions), np.array(fraction_errors), chi2, dof, tuple(residuals),
        theta, error[:n_theta], scaled,
    )  # fmt: skip


@dataclass(frozen=True)
class FTest:
    """Whether the larger model is worth its parameters: p is the chance of such an F if the smaller one were true."""

    f: float
    p: float
    added_parameters: int


def f_test(smaller: KineticFit, larger: KineticFit) -> FTest:
    """Compare two nested fits of the same traces (extra-sum-of-squares F test); approximate for nonlinear parameters."""
    from scipy.stats import f as distribution

    added = smaller.dof - larger.dof
    if added <= 0:
        raise InputError("the F test compares a model with one that has more parameters")
    value = max(0.0, (smaller.chi2 - larger.chi2) / added / larger.chi2_red)
    return FTest(value, float(distribution.sf(value, added, larger.dof)), added)
