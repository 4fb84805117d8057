"""Global fit of pump-probe traces: shared lifetimes, an amplitude for each trace, and an instrument response.

Model of each trace: Σ_k a_k exp(−t/τ_k) + offset, begun at t0 and convolved with a Gaussian of standard deviation σ. The
amplitudes enter linearly and are eliminated (``variable_projection``), so only τ, σ and t0 are searched for, in
logarithms where they are positive. Use it for parallel decays; it tells nothing about the reaction scheme behind them. It fails when two
lifetimes are nearly equal or lie outside the delays measured: then a ComputationError says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.experiment.kinetic_model import KineticModel
from perovskite_polaron.experiment.scan import Trace
from perovskite_polaron.experiment.variable_projection import search

Array = NDArray[np.float64]


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
