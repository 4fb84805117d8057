"""The comparison parameter C: one number for a transient's shape.

C = Σ I(E_i) / Σ I(E_j), E_i in one window and E_j in another, equally spaced, both ends included.
It does not change when a transient decays with its shape kept; it does when the shape changes, as
it does on heating.

Points of one series that were measured against one reference share its noise: their covariance is
part of the test of constancy.

References
----------
Cannelli et al., J. Am. Chem. Soc. 143, 9048 (2021)
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from perovskite_polaron.arrays import Array, Interval
from perovskite_polaron.errors import require
from perovskite_polaron.measured.recipe import COMBINE, Recipe
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.measured.treatment import interpolation, propagate
from perovskite_polaron.published_cspbbr3 import SHAPE_WINDOWS_EV


@dataclass(frozen=True)
class Windows:
    """The two energy windows of C.

    Attributes
    ----------
    numerator_eV, denominator_eV : (float, float)
    shown_times : float
        The factor by which the paper's figure multiplies C.
    """

    numerator_eV: Interval
    denominator_eV: Interval
    shown_times: float = 1.0

    def __post_init__(self) -> None:
        for low, high in (self.numerator_eV, self.denominator_eV):
            require(low < high, f"the window {low:g} to {high:g} eV is empty: give its lower end "
                    "first")

EDGES = {edge: Windows(*windows) for edge, windows in SHAPE_WINDOWS_EV.items()}


@dataclass(frozen=True)
class ShapeRatio:
    """C of one transient.

    Attributes
    ----------
    label : str
    value, err : float
        The error is None when the errors of the points are unknown.
    delay_ps, temperature_C : float or None
    scans : int
        How many repeats it is the mean of.
    err_from : str
        ``points`` (propagated) or ``scans``: the repeats scatter more than their points do.
    dof : float
        Degrees of freedom behind the error; infinite where the errors of the points are known.
    reference : str
        The spectrum that the file says was subtracted, whose noise other points may share.
    """

    label: str
    value: float
    err: float | None
    delay_ps: float | None = None
    temperature_C: float | None = None
    scans: int = 1
    err_from: str = "points"
    dof: float = inf
    reference: str = ""

    @property
    def series(self) -> str:
        """Whether the point belongs to a series of delays, of temperatures, or to none."""
        if self.delay_ps is not None:
            return "pump-probe"
        return "thermal" if self.temperature_C is not None else "other"


@dataclass(frozen=True)
class Constancy:
    """Whether C is the same at all points.

    Attributes
    ----------
    mean, mean_err : float
        Weighted.
    chi2, dof, p
        χ² of the values against their mean, and the chance of a larger one if C were constant
        (Welch's F where errors have few degrees of freedom).
    """

    mean: float
    mean_err: float
    chi2: float
    dof: int
    p: float

    @property
    def constant(self) -> bool:
        """Whether constancy survives at the 1 % level."""
        return self.p >= 0.01


def window_weights(energy_eV: Array, window_eV: Interval, step_eV: float | None = None) -> Array:
    """Return w (n,) with w·I the sum over a window's equally spaced points, both ends included.

    Measured points are taken as they are when they are equally spaced over the window and reach its
    ends; otherwise I is interpolated linearly at equally spaced points, as many as the measured
    spacing (or ``step_eV``) puts there. Raises InputError when the scan does not span the window.
    """
    low, high = window_eV
    require(energy_eV[0] <= low + 1e-6 and energy_eV[-1] >= high - 1e-6,
            f"the scan spans {energy_eV[0]:g} to {energy_eV[-1]:g} eV and not the "
            f"window {low:g} to {high:g} eV; check unit and calibration")
    inside = (energy_eV >= low - 1e-6) & (energy_eV <= high + 1e-6)
    points = energy_eV[inside]
    if step_eV is None and len(points) > 1:
        reach = abs(points[0] - low) < 1e-6 and abs(points[-1] - high) < 1e-6
        if reach and np.ptp(np.diff(points)) < 1e-6:
            return inside.astype(np.float64)
    measured = float(np.median(np.diff(points))) if len(points) > 1 else high - low
    spacing = step_eV or measured
    count = max(2, round((high - low) / spacing) + 1)
    require(spacing > 0 and count <= 100_000, f"a spacing of {spacing:g} eV does not suit the "
            f"window {low:g} to {high:g} eV")
    return np.asarray(interpolation(np.linspace(low, high, count), energy_eV).sum(axis=0))


def comparison_parameter(scan: Scan, windows: Windows, step_eV: float | None = None) -> ShapeRatio:
    """Return C of one transient, with its error to first order from the covariance of the points.

    First order holds while the denominator is many of its own errors away from zero; below five
    InputError is raised, because the ratio then has no useful error bar (its distribution has tails
    like a Cauchy distribution's).
    """
    both = np.array([window_weights(scan.energy_eV, window, step_eV)
                     for window in (windows.numerator_eV, windows.denominator_eV)])
    numerator, denominator = (float(total) for total in both @ scan.intensity)
    covariance = propagate(scan.variance, both)
    spread = 0.0 if covariance is None else float(np.sqrt(covariance[1, 1]))
    require(denominator != 0 and abs(denominator) >= 5 * spread, f"{scan.name}: the sum in the "
            f"denominator's window, {denominator:.3g} ± {spread:.2g}, cannot be told from zero, so "
            "C has no meaning; take another window or average more scans")
    gradient = np.array([1, -numerator / denominator]) / denominator
    error = None if covariance is None else float(np.sqrt(gradient @ covariance @ gradient))
    said = "" if scan.table is None else scan.table.get("Polaron.reference")
    return ShapeRatio(scan.name, numerator / denominator, error, scan.delay_ps, scan.temperature_C,
                      dof=scan.dof, reference=said)


@dataclass(frozen=True, eq=False)
class Series:
    """C of several transients.

    Attributes
    ----------
    points : tuple of ShapeRatio
    covariance : ndarray, shape (n, n)
        NaN where an error is unknown.
    """

    points: tuple[ShapeRatio, ...]
    covariance: Array

    def only(self, kind: str) -> "Series":
        """Return the points of one series: ``pump-probe``, ``thermal`` or ``other``."""
        at = [i for i, point in enumerate(self.points) if point.series == kind]
        return Series(tuple(self.points[i] for i in at), self.covariance[np.ix_(at, at)])


def compare_repeats(groups: Sequence[Sequence[Scan]], windows: Windows, recipe: Recipe,
                    references: Sequence[Scan] = (), step_eV: float | None = None) -> Series:
    """Treat the scans of each condition and return C: of their mean, or of each.

    That is as the recipe combines them or not. Errors are propagated from the points. Where repeats
    are combined, leaving each out in turn (jackknife) shows noise that the points of a scan share;
    its error is taken where it is larger than chance (1 %) allows. A reference that all share
    correlates the points.
    """
    points: list[ShapeRatio] = []
    for group in groups:
        points += [comparison_parameter(s, windows, step_eV)
                   for s in recipe.apply(group, references)]
    covariance = _shared(groups, windows, recipe, references, step_eV)
    if recipe.combines:
        points = [_of_repeats(replace(point, scans=len(group)), group, windows, recipe, references,
                              step_eV) for point, group in zip(points, groups, strict=True)]
    errors = np.array([np.nan if p.err is None else p.err for p in points])
    np.fill_diagonal(covariance, errors**2)
    return Series(tuple(points), covariance)


def _of_repeats(point: ShapeRatio, scans: Sequence[Scan], windows: Windows, recipe: Recipe,
                references: Sequence[Scan], step_eV: float | None) -> ShapeRatio:
    """Return the point, with the error of the jackknife where that is significantly larger."""
    if point.err is None or len(scans) < 2:
        return point
    from scipy.stats import f

    cut = recipe.names.index(COMBINE)
    before, after = Recipe(recipe.steps[:cut]), Recipe(recipe.steps[cut + 1 :])
    treated = before.apply(scans, references if before.reference is not None else ())
    others = before.apply(references) if after.reference is not None else ()

    def value(some: Sequence[Scan], reference: Sequence[Scan]) -> float:
        (scan,) = after.apply((_mean(some),), (_mean(reference),) if reference else ())
        return comparison_parameter(scan, windows, step_eV).value

    left_out = [[value(rest, others) for rest in _without_one(treated)]]
    if len(others) > 1:
        left_out.append([value(treated, rest) for rest in _without_one(others)])
    variance = sum(float(np.var(v)) * (len(v) - 1) for v in left_out)
    dof = min(map(len, left_out)) - 1
    if f.sf(variance / point.err**2, dof, point.dof) > 0.01:
        return point
    return replace(point, err=float(np.sqrt(variance)), err_from="scans", dof=dof)


def _mean(scans: Sequence[Scan]) -> Scan:
    """Return the mean without errors, which ``combine`` would take longest to find."""
    mean = np.mean([scan.intensity for scan in scans], axis=0)
    return replace(scans[0], intensity=mean, variance=None)


def _without_one(scans: Sequence[Scan]) -> list[list[Scan]]:
    return [[*scans[:i], *scans[i + 1 :]] for i in range(len(scans))]


def _shared(groups: Sequence[Sequence[Scan]], windows: Windows, recipe: Recipe,
            references: Sequence[Scan], step_eV: float | None) -> Array:
    """Return the covariance (n, n) of C that a common reference brings, to first order."""
    start = recipe.names.index("subtract") if recipe.reference is not None else len(recipe.steps)
    before, after = Recipe(recipe.steps[:start]), Recipe(recipe.steps[start:])
    scans = [[replace(scan, variance=None) for scan in before.apply(group)] for group in groups]
    reference = before.apply(references)[0] if references else None

    def values(subtracted: Scan | None) -> Array:
        treated = [scan for group in scans for scan in after.apply(
            group, () if subtracted is None else (subtracted,))]
        return np.array([comparison_parameter(replace(scan, variance=None), windows, step_eV).value
                         for scan in treated])

    count = len(values(reference))
    if reference is None or reference.covariance is None:
        return np.zeros((count, count))
    y = reference.intensity
    step = 1e-5 * float(np.abs(y).max())
    moved = [[values(replace(reference, intensity=y + sign * step * unit, variance=None))
              for sign in (-1, 1)] for unit in np.eye(len(y))]
    slopes = np.array([(high - low) / (2 * step) for low, high in moved])
    return np.asarray(slopes.T @ reference.covariance @ slopes)


def constancy(points: Sequence[ShapeRatio], covariance: Array | None = None) -> Constancy:
    """Test whether C is the same at all points; their errors are independent without a covariance.

    Errors from few repeats make χ² larger than it should be, which Welch's test allows for. Raises
    InputError for fewer than two points or unknown errors.

    References
    ----------
    B. L. Welch, Biometrika 38, 330 (1951)
    """
    require(len(points) > 1, "constancy needs at least two points")
    errors = np.array([p.err or np.nan for p in points])
    require(not np.isnan(errors).any(), "constancy needs the error of every point; give files with "
            "an error column or repeated scans")
    from scipy.stats import chi2, f

    values, dof = np.array([p.value for p in points]), len(points) - 1
    inverse = np.linalg.inv(np.diag(errors**2) if covariance is None else covariance)
    weights = inverse.sum(axis=0)
    mean = float(weights @ values / weights.sum())
    total = float((values - mean) @ inverse @ (values - mean))
    uncertain = sum((1 - w) ** 2 / p.dof for w, p in
                    zip(weights / weights.sum(), points, strict=True))
    if uncertain == 0:
        chance = chi2.sf(total, dof)
    else:
        squares = len(points) ** 2 - 1
        too_large = 1 + 2 * (dof - 1) / squares * uncertain
        chance = f.sf(total / dof / too_large, dof, squares / (3 * uncertain))
    return Constancy(mean, float(weights.sum() ** -0.5), total, dof, float(chance))
