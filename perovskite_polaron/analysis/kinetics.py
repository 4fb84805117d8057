"""Global fit of pump-probe traces: shared lifetimes, an amplitude for each trace, a response.

Use it for parallel decays (the model is in kinetic_model); it tells nothing about the reaction
scheme behind them. It fails when two lifetimes are nearly equal or lie outside the delays measured:
then a ComputationError says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.analysis.kinetic_model import (
    KineticModel, Projection, grouped, project, search, span_ps)
from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import ComputationError, require
from perovskite_polaron.measured.scan import Trace

FEWER = "fit fewer components"
#: The delays must end so many σ before the next pump pulse.
PULSES_APART_SIGMA = 8.0
#: Variances of few repeats are averaged over so many neighbours that they have this many degrees of
#: freedom.
ENOUGH_FREEDOM = 30
#: Unequal scatter of traces without errors is believed below this probability.
UNEQUAL_P = 0.01


@dataclass(frozen=True, eq=False)
class KineticFit:
    """The best fit; arrays are float64.

    Errors are standard errors from the covariance, scaled by √χ²_red without given errors, and
    with those of few repeats.

    Attributes
    ----------
    model : KineticModel
    traces : tuple of Trace
        With the errors that were used.
    lifetimes_ps, lifetimes_err_ps : ndarray, shape (k,)
        Rising.
    sigma_ps, sigma_err_ps, t0_ps, t0_err_ps : float
        Error 0 where it is fixed.
    amplitudes, amplitudes_err : ndarray, shape (traces, width)
        The offset after the decays, the baseline last.
    fractions, fractions_err : ndarray, shape (traces, decays and offset)
        Each trace's amplitudes over their sum; see ``mixed``.
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
    amplitudes_err: Array
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
        """The chance of a larger χ² if model and errors are right; None without errors.

        With those of repeats it is F's: their variances, pooled, are estimates too.
        """
        from scipy.stats import chi2, f

        if not self.scaled_errors:
            return float(chi2.sf(self.chi2, self.dof))
        scatter = sum((t.repeats - 1) * len(t.signal) for t in self.traces)
        return float(f.sf(self.chi2_red, self.dof, scatter)) if scatter else None

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the errors' scale: of the fit, or fewer where the variances of few
        repeats differ from delay to delay.
        """
        differ = any(t.repeats > 1 and np.ptp(t.weight) > 0 for t in self.traces)
        return min(self.dof, ENOUGH_FREEDOM) if differ else self.dof

    @property
    def runs_p(self) -> float:
        """The chance of so few runs of one sign if the residuals do not know of each other.

        Wald and Wolfowitz, in the order of the delays, all traces together; normal approximation.
        """
        from scipy.stats import norm

        more, variance = 0.0, 0.0
        for trace, residual in zip(self.traces, self.residuals, strict=True):
            above = residual[np.argsort(trace.delay_ps, kind="stable")] > 0
            n, up = len(above), int(above.sum())
            expected = 1 + 2 * up * (n - up) / n
            more += 1 + np.count_nonzero(np.diff(above)) - expected
            variance += (expected - 1) * (expected - 2) / (n - 1)
        return float(norm.cdf((more + 0.5) / np.sqrt(variance))) if variance > 0 else 1.0

    @property
    def mixed(self) -> NDArray[np.bool_]:
        """Of which traces (traces,) the amplitudes have different signs, by more than two errors.

        A rise beside a decay: they may cancel, and fractions of their sum say nothing.
        """
        n = self.fractions.shape[1]
        sure = np.abs(self.amplitudes[:, :n]) > 2 * self.amplitudes_err[:, :n]
        signs = np.sign(self.amplitudes[:, :n]) * sure
        return np.asarray((signs > 0).any(axis=1) & (signs < 0).any(axis=1))

    @property
    def error_scale(self) -> Array | None:
        """Standard deviation (traces,) of the points of each trace that the scatter about the fit
        gives, in the unit of the signal; None where given errors were used.
        """
        if not self.scaled_errors:
            return None
        return np.sqrt([self.chi2_red * np.mean(t.weight**-2.0) for t in self.traces])

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
        All with errors, or none. Those of repeats are pooled, and serve as weights; the
        scale is then, as without errors, that of the scatter about the fit.
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
    traces = tuple(map(_pooled, traces))
    _check(traces, model)
    span = span_ps(traces)
    require(span >= model.sigma_ps / 10, f"the delays span {span:g} ps, far less than the "
            f"response's sigma of {model.sigma_ps:g} ps: nothing can be resolved; check the units")
    lower, upper = model.bounds(traces)
    k, (low, high) = model.components, np.exp([lower[0], upper[0]])
    starts = (starting_lifetimes(model, span) if start_ps is None
              else [np.sort(np.asarray(start_ps, float))])
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
    refuse_bounds(model, theta, lower, upper)
    fit = _result(traces, model, theta)
    if len(traces) == 1 or traces[0].error is not None or not _unequal(fit.residuals):
        return fit
    # Each trace has a scatter of its own: fit and scatter follow each other until neither moves.
    for _ in range(5):
        scale = [np.sqrt(r @ r / (len(r) - model.width)) / t.weight[0]
                 for t, r in zip(fit.traces, fit.residuals, strict=True)]
        traces = tuple(replace(t, error=np.full(len(t.signal), s))
                       for t, s in zip(traces, scale, strict=True))
        end = search(traces, model, fit.theta, lower, upper)
        fit = _result(traces, model, fit.theta if end is None else end[1], scaled=True)
    return fit


def _pooled(trace: Trace) -> Trace:
    """Return the trace with errors of few repeats that say more: three repeats alone leave the
    error of a point uncertain by half.

    Variances are averaged over neighbouring delays, which are measured alike, and over all where
    these averages differ by no more than chance makes them: as many degrees of freedom as each has
    spread the logarithm of a variance by ψ'(half of them).
    """
    from scipy.ndimage import uniform_filter1d
    from scipy.special import polygamma

    if trace.error is None or trace.repeats < 2:
        return trace
    own = trace.repeats - 1
    together = 2 * int(np.ceil((ENOUGH_FREEDOM / own - 1) / 2)) + 1
    order = np.argsort(trace.delay_ps, kind="stable")
    variance = np.empty(len(order))
    variance[order] = uniform_filter1d(trace.error[order]**2, together)
    if np.log(variance).var(ddof=1) < polygamma(1, together * own / 2):
        variance[:] = np.mean(trace.error**2)
    return replace(trace, error=np.sqrt(variance))


def _unequal(residuals: Sequence[Array]) -> bool:
    """Whether traces without errors scatter differently (Bartlett's test)."""
    from scipy.stats import bartlett

    return all(r.any() for r in residuals) and bool(bartlett(*residuals).pvalue < UNEQUAL_P)


def refuse_bounds(model: KineticModel, theta: Array, lower: Array, upper: Array) -> None:
    """Raise ComputationError where a lifetime, σ or t0 of the searched vector sits on a bound."""
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
    period = model.period_ps
    for trace in traces:
        after = trace.delay_ps - model.t0_ps
        require(period is None or np.abs(after).max() < period - PULSES_APART_SIGMA
                * model.sigma_ps, f"{trace.name}: its delays reach into the next pump pulse, after "
                f"{period or 0:g} ps; leave them out, or correct the period")
        require(len(trace.delay_ps) > model.width and np.ptp(trace.delay_ps) > 0, f"{trace.name}: "
                f"{len(trace.delay_ps)} points cannot fix {model.width} amplitudes; {FEWER}")
    require(sum(len(t.delay_ps) for t in traces) > model.width * len(traces) + model.searched,
            f"fewer points than parameters: {FEWER}")


def starting_lifetimes(model: KineticModel, span: float) -> list[Array]:
    """Return lifetimes spread evenly in the logarithm over the delays that can show them."""
    low, high = np.log(max(model.sigma_ps, span / 1e4)), np.log(span)
    if high <= low:
        low = high - 2
    sets = [(0.1, 0.9), (0.1, 0.5), (0.4, 0.9)]
    if model.components == 1:
        sets = [((a + b) / 2, b) for a, b in sets]
    return [np.exp(low + (high - low) * np.linspace(a, b, model.components)) for a, b in sets]


def _result(traces: tuple[Trace, ...], model: KineticModel, theta: Array,
            scaled: bool = False) -> KineticFit:
    """Return the fit with its errors: the inverse of JᵀJ over all parameters, amplitudes too.

    JᵀJ has a block for each trace; eliminating the amplitudes leaves the searched parameters'.
    """
    groups = grouped(traces, model, {})
    parts = [project(group, model, theta) for group in groups]
    across = [p.change - p.q @ (p.q.transpose(0, 2, 1) @ p.change) for p in parts]
    searched, size = (np.concatenate([a.reshape(-1, len(theta)) for a in arrays])
                      for arrays in (across, [p.change for p in parts]))
    _refuse_unfixed(parts, searched, np.linalg.norm(size, axis=0))
    shape = len(traces), model.width
    amplitudes, linear = np.empty(shape), np.empty((*shape, model.width))
    residuals = [np.empty(0)] * len(traces)
    covariance = np.linalg.inv(searched.T @ searched)
    for group, p in zip(groups, parts, strict=True):
        amplitudes[group.members] = p.amplitudes
        follow = p.inverse @ (p.q.transpose(0, 2, 1) @ p.change)
        linear[group.members] = (p.inverse @ p.inverse.transpose(0, 2, 1)
                                 + follow @ covariance @ follow.transpose(0, 2, 1))
        for i, residual in zip(group.members, p.residual, strict=True):
            residuals[i] = residual
    chi2 = float(sum(r @ r for r in residuals))
    dof = len(searched) - len(theta) - amplitudes.size
    scaled = scaled or traces[0].error is None or any(t.repeats > 1 for t in traces)
    factor = chi2 / dof if scaled else 1.0
    lifetimes, sigma, t0 = model.unpack(theta)
    error = np.sqrt(factor * np.diag(covariance))
    for value, relative in zip(lifetimes, error, strict=False):
        if relative > 2:
            raise ComputationError(f"the data do not fix the lifetime of {value:.3g} ps (its error "
                                   f"is {relative:.2g} times itself); {FEWER}")
    k, n = model.components, model.width - model.baseline
    total = amplitudes[:, :n].sum(axis=1)[:, None]
    fractions = amplitudes[:, :n] / total
    gradient = (np.eye(n) - fractions[:, :, None]) / total[:, :, None]
    errors = gradient @ linear[:, :n, :n] @ gradient.transpose(0, 2, 1)
    return KineticFit(
        model, traces, lifetimes, lifetimes * error[:k], sigma,
        sigma * float(error[k]) if model.sigma_free else 0.0, t0,
        float(error[-1]) if model.t0_free else 0.0, amplitudes,
        np.sqrt(factor * np.einsum("tii->ti", linear)), fractions,
        np.sqrt(factor * np.einsum("tii->ti", errors)), chi2, dof, tuple(residuals), theta, error,
        scaled)


def _refuse_unfixed(parts: Sequence[Projection], searched: Array, size: Array) -> None:
    """Raise ComputationError where parameters are not fixed.

    The searched parameters change the curves by ``searched`` (rows, s) once the amplitudes have
    followed, and by ``size`` (s,) before.
    """
    if (size == 0).any() or any((p.norms == 0).any() for p in parts):
        raise ComputationError("the data do not fix all parameters: some move nothing; see that "
                               "the traces hold a signal, and delays after time zero")
    # Columns of length one: 1/R is then as large as they are alike.
    alike = max(float(np.linalg.norm(p.inverse * p.norms[:, :, None], 2, (1, 2)).max())
                for p in parts)
    left = np.linalg.svd(searched / size, compute_uv=False)[-1]
    if not (alike < 1e7 and left > 1e-7):
        raise ComputationError("the data do not fix all parameters: two lifetimes cannot be told "
                               f"apart; {FEWER}")


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
