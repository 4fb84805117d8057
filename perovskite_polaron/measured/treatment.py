"""Treating a scan: each step gives a new one, with its errors propagated and the step recorded.

Errors go through each step's Jacobian J as J V Jᵀ, so the covariance that averaging and normalising
bring between points is kept. Steps are exact and linear except normalisation, which is taken to
first order in the noise of its divisor.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import require
from perovskite_polaron.measured.scan import Scan, Step
from perovskite_polaron.spectra.spectrum import Spectrum, norm_weights

#: Covariances are dense: more points than this are binned first.
MOST_POINTS = 5000
#: Every step by its name.
STEPS: dict[str, Callable[..., Scan]] = {}


def step(function: Callable[..., Scan]) -> Callable[..., Scan]:
    """Enter a function among the steps: the scan it returns remembers its name and parameters."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def recorded(scan: Scan, **given: object) -> Scan:
        made = function(scan, **given)
        bound = signature.bind(scan, **given)
        bound.apply_defaults()
        said = {key: value.name if isinstance(value, Scan) else value
                for key, value in bound.arguments.items() if key != "scan"}
        return replace(made, history=(*scan.history, Step(function.__name__, said)))

    STEPS[function.__name__] = recorded
    return recorded


@step
def calibrate(scan: Scan, *, shift_eV: float) -> Scan:
    """Add a shift to every energy."""
    return replace(scan, energy_eV=scan.energy_eV + shift_eV)


@step
def baseline(scan: Scan, *, from_eV: float, to_eV: float, order: int = 0) -> Scan:
    """Subtract the polynomial (order 0 or 1) that fits an interval before the edge best."""
    _few(scan)
    inside = _inside(scan, from_eV, to_eV, order + 1, "baseline")
    require(order in (0, 1), f"baseline order {order}: only a constant (0) or a line (1) can be "
            "extrapolated under an edge")
    x = (scan.energy_eV - scan.energy_eV[inside].mean()) / max(to_eV - from_eV, 1e-12)
    basis = np.vander(x, order + 1)
    jacobian = np.eye(len(x))
    jacobian[:, inside] -= basis @ np.linalg.pinv(basis[inside])
    return _linear(scan, jacobian)


@step
def normalise(scan: Scan, *, by: str, from_eV: float | None = None,
              to_eV: float | None = None) -> Scan:
    """Divide by one number, as calculated spectra are.

    Parameters
    ----------
    by : str
        A key of ``spectra.spectrum.NORMALISATIONS``. Noise biases an absolute area upwards.
    from_eV, to_eV : float, optional
        The interval above the edge, or that of an area.

    Raises
    ------
    InputError
        When the divisor is not above zero.
    """
    _few(scan)
    spectrum = Spectrum(scan.energy_eV, scan.intensity, scan.name)
    weights = norm_weights(spectrum, by, from_eV, to_eV)
    divisor = float(weights @ scan.intensity)
    require(divisor > 0, f"{scan.name}: the {by} to divide by is {divisor:g}; it must be positive: "
            "check baseline and interval")
    scaled = scan.intensity / divisor
    jacobian = (np.eye(len(scaled)) - np.outer(scaled, weights)) / divisor
    return replace(scan, intensity=scaled, variance=propagate(scan.variance, jacobian))


@step
def scale(scan: Scan, *, factor: float) -> Scan:
    """Multiply by a number."""
    variance = None if scan.variance is None else scan.variance * factor**2
    return replace(scan, intensity=scan.intensity * factor, variance=variance)


@step
def rebin(scan: Scan, *, step_eV: float) -> Scan:
    """Average in bins of one width onto its multiples: a grid that is the same for every scan.

    The mean of a bin lies at the mean energy of its points; lines between these means bring it to
    the middle of the bin. A bin at an end whose points do not reach its middle is left out.
    """
    e = scan.energy_eV
    require(step_eV > 0 and (e[-1] - e[0]) / step_eV <= 1e7,
            f"a bin of {step_eV:g} eV: give a positive width that suits the scan")
    bins = np.floor(e / step_eV + 0.5)
    filled, which, count = np.unique(bins, return_inverse=True, return_counts=True)
    middle, at = filled * step_eV, np.bincount(which, e) / count
    kept = (middle >= at[0] - 1e-9) & (middle <= at[-1] + 1e-9)
    require(np.count_nonzero(kept) > 1, f"{scan.name}: bins of {step_eV:g} eV leave a single point;"
            " take a smaller width")

    def mean(values: Array) -> Array:
        return np.asarray(np.bincount(which, values) / count)

    variance = scan.variance
    if variance is not None and variance.ndim == 1:
        # Without the dense matrix, so that a scan of too many points can be binned.
        variance = mean(variance) / count
    elif variance is not None:
        variance = propagate(variance, (which == np.arange(len(count))[:, None]) / count[:, None])
    binned = replace(scan, energy_eV=at, intensity=mean(scan.intensity), variance=variance)
    if np.abs(middle - at).max() > 1e-9:
        if variance is not None:
            _few(binned)
            variance = propagate(variance, interpolation(middle[kept], at))
        return replace(binned, energy_eV=middle[kept], variance=variance,
                       intensity=np.interp(middle[kept], at, binned.intensity))
    return replace(binned, energy_eV=middle)


@step
def average_adjacent(scan: Scan, *, points: int = 3) -> Scan:
    """Replace each point by the mean of an odd number of points about it; fewer at the two ends."""
    _few(scan)
    n = len(scan.energy_eV)
    require(points % 2 == 1 and 1 <= points <= n, f"adjacent averaging of {points} points: give an "
            f"odd number, at most the {n} of the scan")
    at = np.arange(n)
    reach = np.minimum(points // 2, np.minimum(at, at[::-1]))[:, None]
    return _linear(scan, (np.abs(at[:, None] - at) <= reach) / (2.0 * reach + 1))


@step
def subtract(scan: Scan, *, reference: Scan) -> Scan:
    """Subtract a reference that spans the scan, interpolated linearly; its noise is independent."""
    _few(scan)
    _few(reference)
    e, r = scan.energy_eV, reference.energy_eV
    require(r[0] - 1e-9 <= e[0] and e[-1] <= r[-1] + 1e-9, f"{scan.name}: the reference "
            f"{reference.name} spans {r[0]:g} to {r[-1]:g} eV only; cut the scan to it")
    own, other = scan.covariance, propagate(reference.variance, interpolation(e, r))
    # The sum is at least as well known as the worse of the two.
    return replace(scan, intensity=scan.intensity - np.interp(e, r, reference.intensity),
                   variance=None if own is None or other is None else own + other,
                   dof=min(scan.dof, reference.dof))


@step
def deglitch(scan: Scan, *, from_eV: float, to_eV: float) -> Scan:
    """Leave out the points of an interval, both ends included, as where the monochromator glitches.

    Nothing takes their place: a line drawn across would be no measurement.
    """
    e = scan.energy_eV
    outside = (e < from_eV - 1e-9) | (e > to_eV + 1e-9)
    require(from_eV <= to_eV and np.count_nonzero(outside) > 1, f"{scan.name}: deglitch from "
            f"{from_eV:g} to {to_eV:g} eV leaves no spectrum: give a narrow interval, low end "
            "first")
    return keep(scan, outside)


@step
def crop(scan: Scan, *, from_eV: float, to_eV: float) -> Scan:
    """Keep the points of an interval, both ends included."""
    return keep(scan, _inside(scan, from_eV, to_eV, 2, "crop"))


def outliers(scan: Scan, *, threshold: float = 5.0) -> NDArray[np.bool_]:
    """Flag points that miss the line through their two neighbours.

    Nothing is removed: a flag is a question to the user. In a steep edge sampled coarsely real
    points can be flagged.

    Parameters
    ----------
    threshold : float
        In robust standard deviations: 1.4826 × the median absolute deviation over the scan.
    """
    e, y = scan.energy_eV, scan.intensity
    if len(y) < 5:
        return np.zeros(len(y), dtype=bool)
    between = (e[1:-1] - e[:-2]) / (e[2:] - e[:-2])
    miss = np.r_[0.0, y[1:-1] - (y[:-2] + between * (y[2:] - y[:-2])), 0.0]
    spread = 1.4826 * float(np.median(np.abs(miss - np.median(miss))))
    size = np.abs(miss)
    # A spike drags its neighbours along with half its height: only the largest of a run is it.
    higher = np.maximum(np.r_[0, size[:-1]], np.r_[size[1:], 0])
    return (size > threshold * spread) & (size >= higher)


def pump_probe(from_eV: float | None = None, to_eV: float | None = None) -> tuple[Step, ...]:
    """Return a published recipe for pumped-minus-unpumped scans.

    A transient is divided by its absolute area (of an interval, default the whole scan), so that
    delays of different excited fraction compare in shape.

    References
    ----------
    Cannelli et al., J. Am. Chem. Soc. 143, 9048 (2021)
    """
    return (Step("normalise", {"by": "absolute-area", "from_eV": from_eV, "to_eV": to_eV}),)


def thermal(reference: str, pre_edge_eV: tuple[float, float], from_eV: float | None = None,
            to_eV: float | None = None) -> tuple[Step, ...]:
    """Return the recipe of the same paper for spectra at several temperatures.

    Baseline from the interval before the edge, division by the area (of an interval, default the
    whole scan), minus the reference (the 25 °C spectrum, treated by the same first two steps),
    3-point adjacent average.
    """
    return (Step("baseline", {"from_eV": pre_edge_eV[0], "to_eV": pre_edge_eV[1], "order": 0}),
            Step("normalise", {"by": "area", "from_eV": from_eV, "to_eV": to_eV}),
            Step("subtract", {"reference": reference}), Step("average_adjacent", {"points": 3}))


def replay(scan: Scan, steps: Sequence[Step], references: Mapping[str, Scan]) -> Scan:
    """Apply recorded steps in order; references: what ``subtract`` steps need, by name."""
    for done in steps:
        require(done.name in STEPS, f"{done.name!r} is no treatment step that can be replayed; "
                f"these are: {', '.join(STEPS)}")
        parameters = dict(done.parameters)
        if done.name == "subtract":
            name = parameters["reference"]
            require(name in references,
                    f"the reference {name!r} is missing: hand it over to subtract it")
            parameters["reference"] = references[name]
        scan = STEPS[done.name](scan, **parameters)
    return scan


def _few(scan: Scan) -> None:
    require(len(scan.energy_eV) <= MOST_POINTS, f"{scan.name}: {len(scan.energy_eV)} points are "
            f"more than the {MOST_POINTS} treated at once; rebin first")


def _inside(scan: Scan, low: float, high: float, at_least: int, what: str) -> NDArray[np.bool_]:
    e = scan.energy_eV
    inside = np.asarray((e >= low - 1e-9) & (e <= high + 1e-9))
    require(np.count_nonzero(inside) >= at_least,
            f"{scan.name}: {what} finds fewer than {at_least} points from {low:g} to "
            f"{high:g} eV; the scan spans {e[0]:g} to {e[-1]:g} eV")
    return inside


def keep(scan: Scan, rows: NDArray[np.bool_]) -> Scan:
    """Return a scan without some of its points."""
    variance = scan.variance
    if variance is not None:
        variance = variance[rows] if variance.ndim == 1 else variance[np.ix_(rows, rows)]
    return replace(scan, energy_eV=scan.energy_eV[rows], intensity=scan.intensity[rows],
                   variance=variance)


def propagate(variance: Array | None, jacobian: Array) -> Array | None:
    """Return J V Jᵀ for variances (n,) or a covariance (n, n), or None for unknown ones."""
    if variance is None:
        return None
    return np.asarray((jacobian * variance if variance.ndim == 1 else jacobian @ variance)
                      @ jacobian.T)


def interpolation(at: Array, grid: Array) -> Array:
    """Return the matrix of linear interpolation from grid to the points ``at`` within it."""
    from scipy.interpolate import BSpline

    knots = np.concatenate([grid[:1], grid, grid[-1:]])
    within = np.clip(at, grid[0], grid[-1])
    return np.asarray(BSpline.design_matrix(within, knots, 1).toarray())


def _linear(scan: Scan, jacobian: Array) -> Scan:
    return replace(scan, intensity=jacobian @ scan.intensity,
                   variance=propagate(scan.variance, jacobian))
