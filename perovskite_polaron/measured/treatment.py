"""Treating a scan: each step takes a scan and gives a new one with its errors propagated and the step recorded.

Errors go through each step's Jacobian J as J V Jᵀ, so the covariance that averaging and normalising bring between points
is kept. Steps are exact and linear except normalisation, which is taken to first order in the noise of its divisor.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import InputError
from perovskite_polaron.measured.scan import Scan, Step

Array = NDArray[np.float64]
# Covariances are dense: more points than this are binned first.
MOST_POINTS = 5000


def calibrate(scan: Scan, *, shift_eV: float) -> Scan:
    """Add a shift to every energy."""
    return _made(scan, "calibrate", {"shift_eV": shift_eV}, energy_eV=scan.energy_eV + shift_eV)


def baseline(scan: Scan, *, from_eV: float, to_eV: float, order: int = 0) -> Scan:
    """Subtract the polynomial (order 0 or 1) that fits the points of an interval before the edge by least squares."""
    _few(scan)
    inside = _inside(scan, from_eV, to_eV, order + 1, "baseline")
    if order not in (0, 1):
        raise InputError(f"baseline order {order}: only a constant (0) or a line (1) can be extrapolated under an edge")
    x = (scan.energy_eV - scan.energy_eV[inside].mean()) / max(to_eV - from_eV, 1e-12)
    basis = np.vander(x, order + 1)
    jacobian = np.eye(len(x))
    jacobian[:, inside] -= basis @ np.linalg.pinv(basis[inside])
    return _linear(scan, "baseline", {"from_eV": from_eV, "to_eV": to_eV, "order": order}, jacobian)


def normalise(scan: Scan, *, by: str, from_eV: float | None = None, to_eV: float | None = None) -> Scan:
    """Divide by one number: ``last`` point, ``edge_step`` (mean of the interval), ``area`` or ``absolute_area``.

    Areas are trapezoids over the interval (default: the whole scan); absolute_area is that of |intensity|, which noise
    biases upwards. Raises InputError when the divisor is not above zero.
    """
    _few(scan)
    n = len(scan.energy_eV)
    low = scan.energy_eV[0] if from_eV is None else from_eV
    high = scan.energy_eV[-1] if to_eV is None else to_eV
    weights = np.zeros(n)
    if by == "last":
        weights[-1] = 1.0
    elif by == "edge_step":
        inside = _inside(scan, low, high, 1, "normalise")
        weights[inside] = 1 / np.count_nonzero(inside)
    elif by in ("area", "absolute_area"):
        inside = _inside(scan, low, high, 2, "normalise")
        half = np.diff(scan.energy_eV[inside]) / 2
        weights[inside] = np.r_[half, 0] + np.r_[0, half]
        if by == "absolute_area":
            weights *= np.sign(scan.intensity)
    else:
        raise InputError(f"normalise by {by!r}: choose last, edge_step, area or absolute_area")
    divisor = float(weights @ scan.intensity)
    if not divisor > 0:
        raise InputError(
            f"{scan.name}: the {by.replace('_', ' ')} to divide by is {divisor:g}; it must be positive: check baseline and interval"
        )
    scaled = scan.intensity / divisor
    jacobian = (np.eye(n) - np.outer(scaled, weights)) / divisor
    parameters = {"by": by, "from_eV": from_eV, "to_eV": to_eV}
    return _made(scan, "normalise", parameters, intensity=scaled, variance=_propagate(scan, jacobian))


def scale(scan: Scan, *, factor: float) -> Scan:
    """Multiply by a number."""
    variance = None if scan.variance is None else scan.variance * factor**2
    return _made(scan, "scale", {"factor": factor}, intensity=scan.intensity * factor, variance=variance)


def rebin(scan: Scan, *, step_eV: float) -> Scan:
    """Average the points in bins of one width, centred on multiples of it; the energy becomes the points' mean."""
    if not step_eV > 0 or (scan.energy_eV[-1] - scan.energy_eV[0]) / step_eV > 1e7:
        raise InputError(f"a bin of {step_eV:g} eV: give a positive width that suits the scan")
    bins = np.floor(scan.energy_eV / step_eV + 0.5)
    _, which, count = np.unique(bins, return_inverse=True, return_counts=True)
    if len(count) < 2:
        raise InputError(f"{scan.name}: bins of {step_eV:g} eV leave a single point; take a smaller width")

    def mean(values: Array) -> Array:
        return np.asarray(np.bincount(which, values) / count)

    if scan.variance is None:
        variance = None
    elif scan.variance.ndim == 1:
        variance = mean(scan.variance) / count
    else:
        jacobian = (which == np.arange(len(count))[:, None]) / count[:, None]
        variance = jacobian @ scan.variance @ jacobian.T
    return _made(
        scan,
        "rebin",
        {"step_eV": step_eV},
        energy_eV=mean(scan.energy_eV),
        intensity=mean(scan.intensity),
        variance=variance,
    )


def average_adjacent(scan: Scan, *, points: int = 3) -> Scan:
    """Replace each point by the mean of itself and its neighbours (odd number of points; fewer at the two ends)."""
    _few(scan)
    n = len(scan.energy_eV)
    if points < 1 or points % 2 == 0 or points > n:
        raise InputError(f"adjacent averaging of {points} points: give an odd number, at most the {n} of the scan")
    distance = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    reach = np.minimum(points // 2, np.minimum(np.arange(n), np.arange(n)[::-1]))
    jacobian = (distance <= reach[:, None]) / (2.0 * reach[:, None] + 1)
    return _linear(scan, "average_adjacent", {"points": points}, jacobian)


def subtract(scan: Scan, *, reference: Scan) -> Scan:
    """Subtract a reference on the same grid (or one that spans it: interpolated linearly); their noise is independent."""
    _few(scan)
    _few(reference)
    e, r = scan.energy_eV, reference.energy_eV
    if e[0] < r[0] - 1e-9 or e[-1] > r[-1] + 1e-9:
        raise InputError(
            f"{scan.name}: the reference {reference.name} spans {r[0]:g} to {r[-1]:g} eV only; cut the scan to it"
        )
    intensity = scan.intensity - np.interp(e, r, reference.intensity)
    variance = None
    if scan.variance is not None and reference.variance is not None:
        other = _propagate(reference, interpolation(e, r))
        own = scan.covariance
        assert other is not None
        assert own is not None
        variance = own + other
    return _made(scan, "subtract", {"reference": reference.name}, intensity=intensity, variance=variance)


def crop(scan: Scan, *, from_eV: float, to_eV: float) -> Scan:
    """Keep the points of an interval, both ends included."""
    inside = _inside(scan, from_eV, to_eV, 2, "crop")
    variance = scan.variance
    if variance is not None:
        variance = variance[inside] if variance.ndim == 1 else variance[np.ix_(inside, inside)]
    return _made(
        scan, "crop", {"from_eV": from_eV, "to_eV": to_eV},
        energy_eV=scan.energy_eV[inside], intensity=scan.intensity[inside], variance=variance,
    )  # fmt: skip


def outliers(scan: Scan, *, threshold: float = 5.0) -> NDArray[np.bool_]:
    """Flag points that miss the line through their two neighbours by more than threshold robust standard deviations.

    The scale is 1.4826 × the median absolute deviation over the scan. Nothing is removed: a flag is a question to the
    user. In a steep edge sampled coarsely real points can be flagged.
    """
    e, y = scan.energy_eV, scan.intensity
    if len(y) < 5:
        return np.zeros(len(y), dtype=bool)
    between = (e[1:-1] - e[:-2]) / (e[2:] - e[:-2])
    miss = np.r_[0.0, y[1:-1] - (y[:-2] + between * (y[2:] - y[:-2])), 0.0]
    spread = 1.4826 * float(np.median(np.abs(miss - np.median(miss))))
    flagged = np.abs(miss) > threshold * spread
    # A spike drags its neighbours along with half its height: only the largest of a run is it.
    higher = np.maximum(np.r_[0, np.abs(miss[:-1])], np.r_[np.abs(miss[1:]), 0])
    return flagged & (np.abs(miss) >= higher)


def outliers_among(scans: Sequence[Scan], *, threshold: float = 5.0) -> tuple[NDArray[np.bool_], ...]:
    """Flag points of repeated scans that miss the median scan by more than threshold robust standard deviations.

    Three or more scans on one grid are compared with each other, so that no feature of the spectrum is taken for a
    spike: the miss is that from the median over the scans, less each scan's own median miss (its beam intensity), and
    the scale 1.4826 × the median absolute miss. Otherwise each scan is asked by itself, as by ``outliers``.
    """
    if len(scans) < 3 or len({s.energy_eV.tobytes() for s in scans}) > 1:
        return tuple(outliers(scan, threshold=threshold) for scan in scans)
    stack = np.array([s.intensity for s in scans])
    miss = stack - np.median(stack, axis=0)
    miss -= np.median(miss, axis=1, keepdims=True)
    # The median scan of a point misses it by nothing: what counts is how far the others are.
    others = np.sort(np.abs(miss), axis=0)[1:]
    flagged = np.abs(miss) > threshold * 1.4826 * float(np.median(others))
    return tuple(flagged)


STEPS: dict[str, Callable[..., Scan]] = {
    f.__name__: f for f in (calibrate, baseline, normalise, scale, rebin, average_adjacent, subtract, crop)
}


def pump_probe(from_eV: float | None = None, to_eV: float | None = None) -> tuple[Step, ...]:
    """The recipe of Cannelli et al., J. Am. Chem. Soc. 143, 9048 (2021), for pumped-minus-unpumped scans.

    A transient is divided by its absolute area (of an interval, default the whole scan), so that delays of different
    excited fraction compare in shape.
    """
    return (Step("normalise", {"by": "absolute_area", "from_eV": from_eV, "to_eV": to_eV}),)


def thermal(
    reference: str, pre_edge_eV: tuple[float, float], from_eV: float | None = None, to_eV: float | None = None
) -> tuple[Step, ...]:
    """The recipe of the same paper for spectra at several temperatures.

    Baseline from the interval before the edge, division by the area (of an interval, default the whole scan), minus the
    reference (the 25 °C spectrum, treated by the same first two steps), 3-point adjacent average.
    """
    return (
        Step("baseline", {"from_eV": pre_edge_eV[0], "to_eV": pre_edge_eV[1], "order": 0}),
        Step("normalise", {"by": "area", "from_eV": from_eV, "to_eV": to_eV}),
        Step("subtract", {"reference": reference}), Step("average_adjacent", {"points": 3}),
    )  # fmt: skip


def replay(scan: Scan, steps: Sequence[Step], references: Mapping[str, Scan] | None = None) -> Scan:
    """Apply recorded steps in order; ``references`` holds by name the scans that ``subtract`` steps need."""
    for step in steps:
        if step.name not in STEPS:
            raise InputError(f"{step.name!r} is no treatment step that can be replayed; these are: {', '.join(STEPS)}")
        parameters: dict[str, Any] = dict(step.parameters)
        if step.name == "subtract":
            if parameters["reference"] not in (references or {}):
                raise InputError(f"the reference {parameters['reference']!r} is missing: hand it over to subtract it")
            parameters["reference"] = (references or {})[parameters["reference"]]
        scan = STEPS[step.name](scan, **parameters)
    return scan


def _few(scan: Scan) -> None:
    if len(scan.energy_eV) > MOST_POINTS:
        raise InputError(
            f"{scan.name}: {len(scan.energy_eV)} points are more than the {MOST_POINTS} treated at once; rebin first"
        )


def _inside(scan: Scan, low: float, high: float, at_least: int, what: str) -> NDArray[np.bool_]:
    inside = np.asarray((scan.energy_eV >= low - 1e-9) & (scan.energy_eV <= high + 1e-9))
    if np.count_nonzero(inside) < at_least:
        raise InputError(
            f"{scan.name}: {what} finds fewer than {at_least} points from {low:g} to {high:g} eV; the scan spans "
            f"{scan.energy_eV[0]:g} to {scan.energy_eV[-1]:g} eV"
        )
    return inside


def _propagate(scan: Scan, jacobian: Array) -> Array | None:
    if scan.variance is None:
        return None
    if scan.variance.ndim == 1:
        return np.asarray((jacobian * scan.variance) @ jacobian.T)
    return np.asarray(jacobian @ scan.variance @ jacobian.T)


def interpolation(at: Array, grid: Array) -> Array:
    """The matrix of linear interpolation from grid to the points ``at`` within it."""
    right = np.clip(np.searchsorted(grid, at), 1, len(grid) - 1)
    weight = np.clip((at - grid[right - 1]) / (grid[right] - grid[right - 1]), 0, 1)
    matrix = np.zeros((len(at), len(grid)))
    rows = np.arange(len(at))
    matrix[rows, right - 1] = 1 - weight
    matrix[rows, right] += weight
    return matrix


def _linear(scan: Scan, name: str, parameters: dict[str, Any], jacobian: Array) -> Scan:
    return _made(scan, name, parameters, intensity=jacobian @ scan.intensity, variance=_propagate(scan, jacobian))


def _made(scan: Scan, name: str, parameters: dict[str, Any], **changes: Any) -> Scan:
    return replace(scan, **changes, history=(*scan.history, Step(name, parameters)))
