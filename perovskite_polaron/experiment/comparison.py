"""The comparison parameter C of Cannelli et al., J. Am. Chem. Soc. 143, 9048 (2021): one number for a transient's shape.

C = Σ I(E_i) / Σ I(E_j), E_i in one window and E_j in another, equally spaced, both ends included. It does not change when
a transient decays with its shape kept; it does when the shape changes, as it does on heating.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import InputError
from perovskite_polaron.experiment.scan import Scan
from perovskite_polaron.experiment.treatment import interpolation

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Windows:
    """The two energy windows of C (eV), and the factor by which the paper's figure multiplies it."""

    numerator_eV: tuple[float, float]
    denominator_eV: tuple[float, float]
    shown_times: float = 1.0

    def __post_init__(self) -> None:
        for low, high in (self.numerator_eV, self.denominator_eV):
            if not low < high:
                raise InputError(f"the window {low:g} to {high:g} eV is empty: give its lower end first")


EDGES = {
    "Br-K": Windows((13471.0, 13472.0), (13468.0, 13469.0), 2.0),
    "Pb-L3": Windows((13044.0, 13047.0), (13037.0, 13040.0)),
}


@dataclass(frozen=True)
class Comparison:
    """C of one transient with its standard error (None when the errors of the points are unknown)."""

    label: str
    value: float
    err: float | None
    delay_ps: float | None = None
    temperature_C: float | None = None


@dataclass(frozen=True)
class Constancy:
    """χ² of the values against their weighted mean; p is the chance of a larger χ² if C were constant."""

    mean: float
    mean_err: float
    chi2: float
    dof: int
    p: float

    @property
    def constant(self) -> bool:
        """Whether constancy survives at the 1 % level."""
        return self.p >= 0.01


def window_weights(energy_eV: Array, window_eV: tuple[float, float], step_eV: float | None = None) -> Array:
    """Return w (n,) with w·I the sum over a window's equally spaced points, both ends included.

    Measured points are taken as they are when they are equally spaced over the window and reach its ends; otherwise I is
    interpolated linearly at equally spaced points, as many as the measured spacing (or ``step_eV``) puts there.
    Raises InputError when the scan does not span the window.
    """
    low, high = window_eV
    if energy_eV[0] > low + 1e-6 or energy_eV[-1] < high - 1e-6:
        raise InputError(
            f"the scan spans {energy_eV[0]:g} to {energy_eV[-1]:g} eV and not the window {low:g} to {high:g} eV; check unit and calibration"
        )
    inside = (energy_eV >= low - 1e-6) & (energy_eV <= high + 1e-6)
    points = energy_eV[inside]
    if step_eV is None and len(points) > 1:
        steps = np.diff(points)
        if np.ptp(steps) < 1e-6 and abs(points[0] - low) < 1e-6 and abs(points[-1] - high) < 1e-6:
            return inside.astype(np.float64)
    spacing = step_eV or (float(np.median(np.diff(points))) if len(points) > 1 else high - low)
    count = max(2, round((high - low) / spacing) + 1)
    if not spacing > 0 or count > 100_000:
        raise InputError(f"a spacing of {spacing:g} eV does not suit the window {low:g} to {high:g} eV")
    return np.asarray(interpolation(np.linspace(low, high, count), energy_eV).sum(axis=0))


def comparison_parameter(scan: Scan, windows: Windows, step_eV: float | None = None) -> Comparison:
    """Return C of one transient, with its error to first order from the covariance of the points.

    First order holds while the denominator is many of its own errors away from zero; below five InputError is raised,
    because the ratio then has no useful error bar (its distribution has tails like a Cauchy distribution's).
    """
    top, bottom = (window_weights(scan.energy_eV, w, step_eV) for w in (windows.numerator_eV, windows.denominator_eV))
    numerator, denominator = float(top @ scan.intensity), float(bottom @ scan.intensity)
    error = None
    if scan.variance is not None:
        pair = np.array([top, bottom])
        v = (pair * scan.variance) @ pair.T if scan.variance.ndim == 1 else pair @ scan.variance @ pair.T
        if abs(denominator) < 5 * np.sqrt(v[1, 1]):
            raise InputError(
                f"{scan.name}: the sum in the denominator's window, {denominator:.3g} ± {np.sqrt(v[1, 1]):.2g}, cannot be told "
                "from zero, so C has no meaning; take another window or average more scans"
            )
        gradient = np.array([1, -numerator / denominator]) / denominator
        error = float(np.sqrt(gradient @ v @ gradient))
    elif denominator == 0:
        raise InputError(
            f"{scan.name}: the sum in the denominator's window is zero, so C has no value; take another window"
        )
    return Comparison(scan.name, numerator / denominator, error, scan.delay_ps, scan.temperature_C)


def bootstrap_error(
    scans: Sequence[Scan], windows: Windows, draws: int = 2000, seed: int = 0, step_eV: float | None = None
) -> float:
    """Return the standard error of C of the mean of repeated scans by drawing scans with replacement.

    With n scans the bootstrap variance is (n − 1)/n of the true one, which is put right here. Raises InputError for fewer
    than four scans.
    """
    if len(scans) < 4:
        raise InputError(f"a bootstrap needs at least four repeated scans, not {len(scans)}")
    sums = np.array(
        [
            [
                window_weights(s.energy_eV, w, step_eV) @ s.intensity
                for w in (windows.numerator_eV, windows.denominator_eV)
            ]
            for s in scans
        ]
    )
    picks = np.random.default_rng(seed).integers(len(scans), size=(draws, len(scans)))
    numerator, denominator = sums[picks].mean(axis=1).T
    return float(np.std(numerator / denominator, ddof=1) * np.sqrt(len(scans) / (len(scans) - 1)))


def constancy(points: Sequence[Comparison]) -> Constancy:
    """Test whether C is the same at all points, with their errors taken as independent.

    A shared reference makes the errors positively correlated and the test lenient. InputError for fewer than two points
    or unknown errors.
    """
    if len(points) < 2:
        raise InputError("constancy needs at least two points")
    if any(p.err is None or p.err == 0 for p in points):
        raise InputError("constancy needs the error of every point; give files with an error column or repeated scans")
    from scipy.stats import chi2

    values, weights = np.array([p.value for p in points]), np.array([p.err for p in points], dtype=float) ** -2
    mean = float(weights @ values / weights.sum())
    total = float(weights @ (values - mean) ** 2)
    return Constancy(mean, float(weights.sum() ** -0.5), total, len(points) - 1, float(chi2.sf(total, len(points) - 1)))
