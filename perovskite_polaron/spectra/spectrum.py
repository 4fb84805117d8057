"""A spectrum: intensities on a grid of energies. Spectra on different grids never meet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import InputError
from perovskite_polaron.kernels._core import floats


@dataclass(frozen=True, eq=False)
class Spectrum:
    """energy_eV, intensity: float64, shape (n,), read-only, energy increasing; label for people.

    Sums and differences need equal grids. Raises InputError for other shapes, NaN, or energies that do not increase.
    """

    energy_eV: NDArray[np.float64]
    intensity: NDArray[np.float64]
    label: str = ""

    def __post_init__(self) -> None:
        energy = floats(self.energy_eV, "energy_eV", (None,)).copy()
        intensity = floats(self.intensity, "intensity", energy.shape).copy()
        if (np.diff(energy) <= 0).any():
            raise InputError(f"the energies of {self.label or 'a spectrum'} do not increase: sort them first")
        for name, array in (("energy_eV", energy), ("intensity", intensity)):
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    def __add__(self, other: Spectrum) -> Spectrum:
        self._same_grid(other)
        return Spectrum(self.energy_eV, self.intensity + other.intensity, self.label)

    def __sub__(self, other: Spectrum) -> Spectrum:
        self._same_grid(other)
        return Spectrum(self.energy_eV, self.intensity - other.intensity, f"{self.label} - {other.label}")

    def __mul__(self, factor: float) -> Spectrum:
        return Spectrum(self.energy_eV, self.intensity * factor, self.label)

    __rmul__ = __mul__

    def _same_grid(self, other: Spectrum) -> None:
        if not np.array_equal(self.energy_eV, other.energy_eV):
            raise InputError(f"{self.label!r} and {other.label!r} have different energies: evaluate both on one grid")
