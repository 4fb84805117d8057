"""A measured spectrum with the covariance of its points, a time trace, the mean of repeats."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from types import MappingProxyType
from typing import Any

import numpy as np

from perovskite_polaron.arrays import Array, freeze
from perovskite_polaron.errors import require
from perovskite_polaron.measured.scatter import pool
from perovskite_polaron.measured.text import Table

#: The XDI field that keeps how well the errors of a spectrum are known.
DOF = "Polaron.degrees_of_freedom"


@dataclass(frozen=True)
class Step:
    """One step of a treatment: the name of a function in ``treatment``, and plain values for it."""

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", MappingProxyType(dict(self.parameters)))

    def as_dict(self) -> dict[str, Any]:
        """Return the step as plain values, for a record beside the results."""
        return {"step": self.name, **self.parameters}


@dataclass(frozen=True, eq=False)
class Scan:
    """A spectrum; arrays are float64 and read-only.

    Attributes
    ----------
    energy_eV : ndarray, shape (n,)
        Rising.
    intensity : ndarray, shape (n,)
    variance : ndarray or None
        Shape (n,) for independent points, (n, n) covariance for correlated ones; None when the
        errors are unknown.
    label, source : str
        What tables and figures call it, and the file it is from.
    delay_ps, temperature_C : float or None
        The condition it was measured in, where that is known.
    history : tuple of Step
        What made it from what was read.
    table : Table or None
        What it was read from, for its header and its reader's warnings.
    reading : str
        What was taken for energy and signal.
    dof : float
        Degrees of freedom behind the variance; infinite where the errors are known.
    """

    energy_eV: Array
    intensity: Array
    variance: Array | None = None
    label: str = ""
    delay_ps: float | None = None
    temperature_C: float | None = None
    source: str = ""
    history: tuple[Step, ...] = ()
    table: Table | None = None
    reading: str = ""
    dof: float = inf

    def __post_init__(self) -> None:
        energy, intensity = _finite(self, "energy_eV", "intensity")
        require(energy.ndim == 1 and energy.shape == intensity.shape and len(energy) > 1,
                f"{self.name}: a spectrum needs two or more energies and one intensity for each")
        require((np.diff(energy) > 0).all(), f"{self.name}: the energies must rise from point to "
                "point; sort the rows and drop doubles")
        if self.variance is not None:
            (variance,) = _finite(self, "variance")
            require(variance.shape in (energy.shape, 2 * energy.shape), f"{self.name}: the "
                    f"variance has shape {variance.shape} for {len(energy)} points")

    @property
    def name(self) -> str:
        """What messages call this scan."""
        return self.label or self.source or "scan"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What its reader objected to."""
        return () if self.table is None else self.table.warnings

    @property
    def error(self) -> Array | None:
        """Standard error of each point, shape (n,), or None when unknown."""
        if self.variance is None:
            return None
        return np.sqrt(self.variance if self.variance.ndim == 1 else np.diag(self.variance))

    @property
    def covariance(self) -> Array | None:
        """Covariance of the points, shape (n, n), or None when unknown."""
        if self.variance is None or self.variance.ndim == 2:
            return self.variance
        return np.diag(self.variance)


@dataclass(frozen=True, eq=False)
class Trace:
    """A signal against pump-probe delay; arrays of shape (n,), float64, read-only.

    Attributes
    ----------
    delay_ps, signal : ndarray
    error : ndarray or None
        Standard error of each point, positive; None when unknown.
    label : str
    repeats : int
        How many repeats the errors are the scatter of; 1 for errors that are known.
    """

    delay_ps: Array
    signal: Array
    error: Array | None = None
    label: str = ""
    repeats: int = 1

    @property
    def name(self) -> str:
        """What messages call this trace."""
        return self.label or "trace"

    @property
    def weight(self) -> Array:
        """One over the error, or 1 where errors are unknown, shape (n,)."""
        return np.ones(len(self.signal)) if self.error is None else 1 / self.error

    def __post_init__(self) -> None:
        delay, signal = _finite(self, "delay_ps", "signal")
        require(delay.ndim == 1 and delay.shape == signal.shape,
                f"{self.name}: a trace needs one signal for each delay")
        if self.error is not None:
            (error,) = _finite(self, "error")
            require(error.shape == delay.shape and (error > 0).all(),
                    f"{self.name}: a trace needs one positive error for each delay, or none")


def _finite(record: Scan | Trace, *names: str) -> list[Array]:
    """Check and freeze arrays of a record; return them."""
    arrays = {name: np.asarray(getattr(record, name), dtype=np.float64) for name in names}
    for name, array in arrays.items():
        require(np.isfinite(array).all(),
                f"{record.name}: {name} contains NaN or infinity; remove those points")
    freeze(record, **arrays)
    return list(arrays.values())


def _on_one_grid(scans: Sequence[Scan]) -> tuple[Array, Array]:
    """Return the energies, shape (n,), of repeats and their intensities there, (n_scans, n)."""
    grids = [scan.energy_eV for scan in scans]
    mean = np.mean(grids, axis=0) if len({len(e) for e in grids}) == 1 else grids[0]
    steps = np.diff(mean)
    nearest = np.minimum(np.r_[steps[:1], steps], np.r_[steps, steps[-1:]])
    require(all(e.shape == mean.shape and (np.abs(e - mean) <= 0.125 * nearest).all()
                for e in grids), "the scans to combine have different energies: bring them to one "
            "grid with --rebin WIDTH, wider than their steps and their shifts, or cut them with "
            "--crop")
    if np.ptp(grids, axis=0).max() <= 1e-6:
        return grids[0], np.array([scan.intensity for scan in scans])
    at = [np.clip(np.searchsorted(e, mean) - 1, 0, len(e) - 2) for e in grids]
    parts = [(mean - e[i]) / (e[i + 1] - e[i]) for e, i in zip(grids, at, strict=True)]
    return mean, np.array([(1 - w) * s.intensity[i] + w * s.intensity[i + 1]
                           for s, i, w in zip(scans, at, parts, strict=True)])


def combine(scans: Sequence[Scan], label: str = "") -> Scan:
    """Return the mean of repeated scans on one grid, with the standard error from their scatter.

    With two or more scans the scatter about the mean gives the variance, which includes what the
    counting errors leave out. It is pooled over the points, by the law that ``scatter.pool`` finds:
    a few scans know the scatter of a single point badly. A single scan keeps its own errors.
    Energies may differ by a quarter of a step, as encoders read them: lines between the points
    bring the scans to the mean energies. Raises InputError when they differ more (rebin first), and
    when the files name different samples, edges or energy shifts.
    """
    require(scans, "no scan to combine: give at least one")
    first = scans[0]
    for what in ("element", "edge", "sample", "energy shift"):
        said = sorted({s.table.identity[what] for s in scans if s.table is not None} - {""})
        require(len(said) < 2, f"{first.name}: the scans to average are of different {what}s "
                f"({', '.join(said[:20])}): give each alone, or choose those of one with --group "
                "LABEL")
    if len(scans) == 1:
        return first
    energy, stack = _on_one_grid(scans)
    errors = [s.error for s in scans]
    mean = stack.mean(axis=0)
    # Counting: the variance follows the intensity, or the square of the errors that the files give.
    known = [e for e in errors if e is not None]
    shapes = [mean, *([np.mean(known, axis=0)] if len(known) == len(scans) else [])]
    variance, dof = pool(stack.var(axis=0, ddof=1), len(scans) - 1,
                         [shape for shape in shapes if (shape > 0).all()])
    return Scan(energy, mean, variance / len(scans), label or first.label, first.delay_ps,
                first.temperature_C, ", ".join(dict.fromkeys(s.source for s in scans)),
                (*first.history, Step("combine", {"scans": len(scans)})), first.table, dof=dof)
