"""The comparison parameter C: one number for a transient's shape.

C = Σ I(E_i) / Σ I(E_j), E_i in one window and E_j in another, equally spaced, both ends included.
It does not change when a transient decays with its shape kept; it does when the shape changes, as
it does on heating.

References
----------
Cannelli et al., J. Am. Chem. Soc. 143, 9048 (2021)
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from perovskite_polaron.arrays import Array, Interval
from perovskite_polaron.errors import require
from perovskite_polaron.measured.recipe import COMBINE, Recipe
from perovskite_polaron.measured.scan import Scan, Step
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

AVERAGE = Recipe((Step(COMBINE),))
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
        ``points`` (propagated) or ``bootstrap``.
    """

    label: str
    value: float
    err: float | None
    delay_ps: float | None = None
    temperature_C: float | None = None
    scans: int = 1
    err_from: str = "points"

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
        χ² of the values against their mean, and the chance of a larger one if C were constant.
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
    return ShapeRatio(scan.name, numerator / denominator, error, scan.delay_ps, scan.temperature_C)


def bootstrap_error(scans: Sequence[Scan], windows: Windows, draws: int = 1000, seed: int = 0,
                    step_eV: float | None = None, recipe: Recipe = AVERAGE,
                    references: Sequence[Scan] = ()) -> float:
    """Return the standard error of C of repeated scans, by drawing scans with replacement.

    Each draw goes through the whole recipe, so what the treatment does to the noise is in the
    error; the repeats of a reference are drawn too. With n repeats the bootstrap variance is
    (n - 1)/n of the true one, which is put right here. Draw k is the same whatever the number of
    draws. Raises InputError for fewer than four repeats of either.
    """
    groups = [[replace(s, variance=None) for s in group] for group in (scans, references) if group]
    fewest = min(map(len, groups))
    require(fewest >= 4, f"a bootstrap needs at least four repeated scans, not {fewest}")
    values = np.empty(draws)
    for k in range(draws):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(k,)))
        drawn = [[group[i] for i in rng.integers(len(group), size=len(group))] for group in groups]
        mean = replace(recipe.apply(*drawn)[0], variance=None)
        values[k] = comparison_parameter(mean, windows, step_eV).value
    return float(np.std(values, ddof=1) * np.sqrt(fewest / (fewest - 1)))


def compare_repeats(scans: Sequence[Scan], windows: Windows, recipe: Recipe,
                    references: Sequence[Scan] = (),
                    step_eV: float | None = None) -> tuple[ShapeRatio, ...]:
    """Treat the scans of one condition and return C: of their mean, or of each.

    That is as the recipe combines them or not. The error is the bootstrap's where there are four or
    more repeats to draw from (and of the reference, if any), else it is propagated from the points.
    Propagation is asked first in any case: it refuses a denominator lost in noise.
    """
    found = [comparison_parameter(s, windows, step_eV) for s in recipe.apply(scans, references)]
    if not recipe.combines:
        return tuple(found)
    point = replace(found[0], scans=len(scans))
    if len(scans) >= 4 and (not references or len(references) >= 4):
        error = bootstrap_error(scans, windows, step_eV=step_eV, recipe=recipe,
                                references=references)
        point = replace(point, err=error, err_from="bootstrap")
    return (point,)


def constancy(points: Sequence[ShapeRatio]) -> Constancy:
    """Test whether C is the same at all points, with their errors taken as independent.

    A shared reference makes the errors positively correlated and the test lenient; errors from few
    repeats (n) are known to 1/sqrt(2 (n - 1)) only, which makes it reject more often than it says.
    InputError for fewer than two points or unknown errors.
    """
    require(len(points) > 1, "constancy needs at least two points")
    errors = np.array([p.err or np.nan for p in points])
    require(not np.isnan(errors).any(), "constancy needs the error of every point; give files with "
            "an error column or repeated scans")
    from scipy.stats import chi2

    values, weights, dof = np.array([p.value for p in points]), errors**-2, len(points) - 1
    mean = float(weights @ values / weights.sum())
    total = float(weights @ (values - mean) ** 2)
    return Constancy(mean, float(weights.sum() ** -0.5), total, dof, float(chi2.sf(total, dof)))
