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



NORMALISATIONS = ("last-point", "edge-step", "area", "absolute-area")
"""What a spectrum may be divided by, calculated and measured ones alike."""


def norm_weights(
    spectrum: Spectrum, kind: str, from_eV: float | None = None, to_eV: float | None = None
) -> NDArray[np.float64]:
    """Return the weights (n,) whose sum over the intensities is what a spectrum is divided by.

    Parameters
    ----------
    spectrum : Spectrum
        Its signs are used for the absolute area; other weights depend on its energies only.
    kind : str
        last-point: the last intensity. edge-step: the mean above the edge less the first intensity.
        area, absolute-area: trapezoids under the intensity or its magnitude (intensity × eV).
    from_eV, to_eV : float, optional
        The interval above the edge (default: the last fifth of the energies), or that of an area
        (default: all of them).

    Raises
    ------
    InputError
        For an unknown kind, or an interval with too few points.
    """
    if kind not in NORMALISATIONS:
        raise InputError(f"{kind!r} is no normalisation: choose from {', '.join(NORMALISATIONS)}")
    e, weights = spectrum.energy_eV, np.zeros(len(spectrum.energy_eV))
    if kind == "last-point":
        weights[-1] = 1.0
        return weights
    is_step = kind == "edge-step"
    low = (e[-1] - 0.2 * (e[-1] - e[0]) if is_step else e[0]) if from_eV is None else from_eV
    high = e[-1] if to_eV is None else to_eV
    inside = (e >= low - 1e-9) & (e <= high + 1e-9)
    if np.count_nonzero(inside) < (1 if is_step else 2):
        raise InputError(f"{spectrum.label!r} has too few points from {low:g} to {high:g} eV for "
                         f"its {kind}; it spans {e[0]:g} to {e[-1]:g} eV")
    if is_step:
        weights[inside] = 1 / np.count_nonzero(inside)
        weights[0] -= 1
    else:
        half = np.diff(e[inside]) / 2
        weights[inside] = np.append(half, 0) + np.append(0, half)
    return weights * np.sign(spectrum.intensity) if kind == "absolute-area" else weights


def norm(spectrum: Spectrum, kind: str) -> float:
    """Return the number a spectrum is divided by; InputError when that is zero."""
    value = float(norm_weights(spectrum, kind) @ spectrum.intensity)
    if value == 0:
        raise InputError(f"{spectrum.label!r} cannot be normalised by its {kind}: that is zero; "
                         "choose another")
    return value


def normalise(spectrum: Spectrum, kind: str) -> Spectrum:
    """Return the spectrum divided by its norm."""
    return spectrum * (1 / norm(spectrum, kind))


def differences(
    structures: Mapping[str, StructureSpectra], reference: str, normalisation: str
) -> dict[str, Spectrum]:
    """Return average minus reference average for every structure, both divided by the norm of the reference.

    One norm for all keeps changes of intensity. Raises InputError when the reference is not among the structures.
    """
    if reference not in structures:
        raise InputError(f"reference {reference!r} is not among {', '.join(structures)}: name one of them")
    base = structures[reference].average
    scale = 1 / norm(base, normalisation)
    return {name: (s.average - base) * scale for name, s in structures.items()}
