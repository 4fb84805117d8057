"""A measured spectrum with the covariance of its points, and a time trace."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from types import MappingProxyType
from typing import Any

import numpy as np

from perovskite_polaron.arrays import Array, freeze
from perovskite_polaron.errors import require
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
    companion : Scan or None
        What was measured with it on the same energies and tells their drift: the spectrum without
        laser, or that of a reference.
    drift_eV : float or None
        What was added to its energies to align them with those of the other scans.
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
    companion: "Scan | None" = None
    drift_eV: float | None = None

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
    label, source : str
        What tables and figures call it, and the file it is from.
    repeats : int
        How many repeats the errors are the scatter of; 1 for errors that are known.
    reading : str
        What was taken for delay, signal and error.
    warnings : tuple of str
        What its reader objected to.
    """

    delay_ps: Array
    signal: Array
    error: Array | None = None
    label: str = ""
    repeats: int = 1
    source: str = ""
    reading: str = ""
    warnings: tuple[str, ...] = ()

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
