"""Least squares with the amplitudes eliminated: only what is not linear is searched for.

[G. Golub, V. Pereyra, SIAM J. Numer. Anal. 10, 413 (1973), with both terms of its Jacobian]
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.experiment.kinetic_model import KineticModel
from perovskite_polaron.experiment.scan import Trace

Array = NDArray[np.float64]


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
