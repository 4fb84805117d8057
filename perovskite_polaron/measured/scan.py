"""A measured spectrum with the covariance of its points, a measured time trace, and how repeated scans are combined."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Step:
    """One step of a treatment: the name of a function in ``treatment`` and its parameters, plain values only."""

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", MappingProxyType(dict(self.parameters)))

    def as_dict(self) -> dict[str, Any]:
        """Return the step as plain values, for a record beside the results."""
        return {"step": self.name, **self.parameters}


@dataclass(frozen=True)
class Header:
    """What an XDI file says beside its columns, for results to inherit.

    Attributes
    ----------
    fields
        ``Namespace.tag`` as written -> value.
    comments, applications
        The user's lines, and the programs named after the version.
    """

    fields: Mapping[str, str] = field(default_factory=dict)
    comments: tuple[str, ...] = ()
    applications: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Scan:
    """A spectrum. All arrays float64, read-only.

    energy_eV: (n,), rising. intensity: (n,). variance: (n,) for independent points, (n, n) covariance for correlated
    ones, None when the errors are unknown. history: the steps that made it from what was
    read; warnings: what its reader objected to; header: that of an XDI file.
    """

    energy_eV: Array
    intensity: Array
    variance: Array | None = None
    label: str = ""
    delay_ps: float | None = None
    temperature_C: float | None = None
    source: str = ""
    history: tuple[Step, ...] = ()
    warnings: tuple[str, ...] = ()
    header: Header | None = None

    def __post_init__(self) -> None:
        energy, intensity = _frozen(self, "energy_eV", "intensity")
        if energy.ndim != 1 or energy.shape != intensity.shape or len(energy) < 2:
            raise InputError(f"{self.name}: a spectrum needs two or more energies and one intensity for each")
        if (np.diff(energy) <= 0).any():
            raise InputError(f"{self.name}: the energies must rise from point to point; sort the rows and drop doubles")
        if self.variance is not None:
            (variance,) = _frozen(self, "variance")
            if variance.shape not in (energy.shape, 2 * energy.shape):
                raise InputError(f"{self.name}: the variance has shape {variance.shape} for {len(energy)} points")

    @property
    def name(self) -> str:
        """What messages call this scan."""
        return self.label or self.source or "scan"

    @property
    def error(self) -> Array | None:
        """Standard error of each point, shape (n,), or None when unknown."""
        if self.variance is None:
            return None
        return np.sqrt(self.variance if self.variance.ndim == 1 else np.diag(self.variance))

    @property
    def covariance(self) -> Array | None:
        """Covariance of the points, shape (n, n), or None when unknown."""
        return self.variance if self.variance is None or self.variance.ndim == 2 else np.diag(self.variance)


@dataclass(frozen=True, eq=False)
class Trace:
    """A signal against pump-probe delay: delay_ps, signal and error (or None) of shape (n,), float64, read-only."""

    delay_ps: Array
    signal: Array
    error: Array | None = None
    label: str = ""

    def __post_init__(self) -> None:
        delay, signal = _frozen(self, "delay_ps", "signal")
        if delay.ndim != 1 or delay.shape != signal.shape:
            raise InputError(f"{self.label or 'trace'}: a trace needs one signal for each delay")
        if self.error is not None:
            (error,) = _frozen(self, "error")
            if error.shape != delay.shape or (error <= 0).any():
                raise InputError(f"{self.label or 'trace'}: a trace needs one positive error for each delay, or none")


def _frozen(record: object, *names: str) -> list[Array]:
    arrays = []
    for name in names:
        array = np.array(getattr(record, name), dtype=np.float64)
        if not np.isfinite(array).all():
            raise InputError(
                f"{getattr(record, 'label', '') or 'data'}: {name} contains NaN or infinity; remove those points"
            )
        array.setflags(write=False)
        object.__setattr__(record, name, array)
        arrays.append(array)
    return arrays


def combine(scans: Sequence[Scan], label: str = "") -> Scan:
    """Return the mean of repeated scans on one grid, with the standard error of the mean from their scatter.

    With two or more scans the scatter of each point about the mean gives its variance (n - 1 in the denominator), which
    includes what the counting errors leave out. A single scan keeps its own errors. Raises InputError when the grids
    differ: rebin first. The estimate from few scans is itself uncertain by 1/sqrt(2 (n - 1)).
    """
    if not scans:
        raise InputError("no scan to combine: give at least one")
    first = scans[0]
    if any(
        s.energy_eV.shape != first.energy_eV.shape or not np.allclose(s.energy_eV, first.energy_eV, rtol=0, atol=1e-6)
        for s in scans
    ):
        raise InputError("the scans to combine have different energies: rebin them to one grid first")
    if len(scans) == 1:
        return first
    stack = np.array([s.intensity for s in scans])
    return Scan(
        first.energy_eV, stack.mean(axis=0), stack.var(axis=0, ddof=1) / len(scans), label or first.label, first.delay_ps,
        first.temperature_C, ", ".join(dict.fromkeys(s.source for s in scans)), (*first.history, Step("combine", {"scans": len(scans)})),
    )  # fmt: skip
