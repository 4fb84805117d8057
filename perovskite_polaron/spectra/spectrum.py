"""A spectrum: intensities on a grid of energies. Spectra on different grids never meet.

Powder and absorber averages, and the record a calculation hands over for each spectrum.

Difference spectra and the ways to normalise a spectrum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.arrays import floats
from perovskite_polaron.errors import InputError


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



POLARISATIONS = ("x", "y", "z")


@dataclass(frozen=True)
class SiteSpectrum:
    """One polarisation of one absorber, already evaluated on the common grid (at grid - shift_eV)."""

    structure: str
    absorber: str
    multiplicity: int
    polarisation: str
    spectrum: Spectrum
    shift_eV: float


@dataclass(frozen=True)
class StructureSpectra:
    """sites: powder spectrum of each absorber by label; average: weighted by multiplicity."""

    structure: str
    sites: dict[str, Spectrum]
    multiplicities: dict[str, int]
    average: Spectrum


def powder(x: Spectrum, y: Spectrum, z: Spectrum, label: str) -> Spectrum:
    """One third of the trace: the orientational average of the dipole tensor, whatever the site symmetry."""
    mean = (x + y + z) * (1 / 3)
    return Spectrum(mean.energy_eV, mean.intensity, label)


def average_structures(records: Sequence[SiteSpectrum]) -> dict[str, StructureSpectra]:
    """Return the averages of every structure, in the order of first appearance.

    Raises InputError when an absorber lacks x, y or z, has one twice, disagrees about its multiplicity or shift,
    or the grids differ.
    """
    tables: dict[str, dict[str, dict[str, SiteSpectrum]]] = {}
    for r in records:
        site = tables.setdefault(r.structure, {}).setdefault(r.absorber, {})
        if r.polarisation in site:
            raise InputError(f"{r.structure} {r.absorber}: polarisation {r.polarisation} is given twice; give it once")
        site[r.polarisation] = r
    result = {}
    for structure, sites in tables.items():
        powders, multiplicities = {}, {}
        for absorber, parts in sites.items():
            if set(parts) != set(POLARISATIONS):
                raise InputError(f"{structure} {absorber}: polarisations {sorted(parts)} found; x, y and z are needed")
            if len({(p.multiplicity, p.shift_eV) for p in parts.values()}) > 1:
                raise InputError(f"{structure} {absorber}: its polarisations differ in multiplicity or shift; give one")
            powders[absorber] = powder(
                parts["x"].spectrum, parts["y"].spectrum, parts["z"].spectrum, f"{structure} {absorber}"
            )
            multiplicities[absorber] = parts["x"].multiplicity
        total = sum(multiplicities.values())
        weighted = [powders[s] * (multiplicities[s] / total) for s in powders]
        mean = weighted[0]
        for part in weighted[1:]:
            mean = mean + part
        result[structure] = StructureSpectra(
            structure, powders, multiplicities, Spectrum(mean.energy_eV, mean.intensity, structure)
        )
    return result



NORMALISATIONS = ("none", "last point", "edge step", "area", "absolute area")


def norm(spectrum: Spectrum, kind: str) -> float:
    """Return the number a spectrum is divided by.

    last point: the last intensity; edge step: mean of the last fifth minus the first intensity; area and absolute
    area: trapezoidal integral of the intensity or of its magnitude (in intensity × eV).
    Raises InputError for an unknown kind or a norm of zero.
    """
    e, y = spectrum.energy_eV, spectrum.intensity
    if kind == "none":
        return 1.0
    if kind == "last point":
        value = y[-1]
    elif kind == "edge step":
        value = y[e >= e[-1] - 0.2 * (e[-1] - e[0])].mean() - y[0]
    elif kind == "area":
        value = np.trapezoid(y, e)
    elif kind == "absolute area":
        value = np.trapezoid(np.abs(y), e)
    else:
        raise InputError(f"{kind!r} is no normalisation: choose from {', '.join(NORMALISATIONS)}")
    if value == 0:
        raise InputError(f"{spectrum.label!r} cannot be normalised by its {kind}: that is zero; choose another")
    return float(value)


def normalise(spectrum: Spectrum, kind: str) -> Spectrum:
    """Return the spectrum divided by its norm."""
    return spectrum * (1 / norm(spectrum, kind))


def differences(
    structures: Mapping[str, StructureSpectra], reference: str, normalisation: str = "none"
) -> dict[str, Spectrum]:
    """Return average minus reference average for every structure, both divided by the norm of the reference.

    One norm for all keeps changes of intensity. Raises InputError when the reference is not among the structures.
    """
    if reference not in structures:
        raise InputError(f"reference {reference!r} is not among {', '.join(structures)}: name one of them")
    base = structures[reference].average
    scale = 1 / norm(base, normalisation)
    return {name: (s.average - base) * scale for name, s in structures.items()}
