"""A spectrum: intensities on a grid of energies. Spectra on different grids never meet.

Powder and absorber averages of the spectra that a calculation hands over, their differences, and
the norms by which they are divided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from perovskite_polaron.arrays import Array, floats, freeze
from perovskite_polaron.errors import require

POLARISATIONS = ("x", "y", "z")
# What a spectrum may be divided by, calculated and measured ones alike.
NORMALISATIONS = ("last-point", "edge-step", "area", "absolute-area")


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Intensities on a grid of energies; sums and differences need equal grids.

    Attributes
    ----------
    energy_eV, intensity
        float64, shape (n,), read-only; the energy increases.
    label
        For people.

    Raises
    ------
    InputError
        For other shapes, NaN, or energies that do not increase.
    """

    energy_eV: Array
    intensity: Array
    label: str = ""

    def __post_init__(self) -> None:
        energy = floats(self.energy_eV, "energy_eV", (None,))
        require((np.diff(energy) > 0).all(),
                f"the energies of {self.label or 'a spectrum'} do not increase: sort them first")
        freeze(self, energy_eV=energy, intensity=floats(self.intensity, "intensity", energy.shape))

    def __sub__(self, other: Spectrum) -> Spectrum:
        self._same_grid(other)
        label = f"{self.label} - {other.label}"
        return Spectrum(self.energy_eV, self.intensity - other.intensity, label)

    def __mul__(self, factor: float) -> Spectrum:
        return Spectrum(self.energy_eV, self.intensity * factor, self.label)

    def _same_grid(self, other: Spectrum) -> None:
        require(np.array_equal(self.energy_eV, other.energy_eV), f"{self.label!r} and"
                f" {other.label!r} have different energies: evaluate both on one grid")


@dataclass(frozen=True)
class SiteSpectrum:
    """One polarisation of one absorber, evaluated on the common grid (at grid - shift_eV)."""

    structure: str
    absorber: str
    multiplicity: int | float
    polarisation: str
    spectrum: Spectrum
    shift_eV: float


@dataclass(frozen=True)
class StructureSpectra:
    """sites: powder spectrum of each absorber by label; average: weighted by multiplicity."""

    sites: dict[str, Spectrum]
    multiplicities: dict[str, int | float]
    average: Spectrum


def mean(spectra: Sequence[Spectrum], label: str,
         weights: Sequence[float] | None = None) -> Spectrum:
    """Return the weighted mean of spectra on one grid.

    With equal weights of x, y and z it is one third of the trace of the dipole tensor, its average
    over all orientations, whatever the symmetry of the site.
    """
    for other in spectra:
        spectra[0]._same_grid(other)
    values = np.average([s.intensity for s in spectra], axis=0, weights=weights)
    return Spectrum(spectra[0].energy_eV, values, label)


def average_structures(records: Sequence[SiteSpectrum],
                       polarisations: Sequence[str] = POLARISATIONS) -> dict[str, StructureSpectra]:
    """Return the averages of every structure, in the order of first appearance.

    Parameters
    ----------
    records
        All polarisations of all absorbers.
    polarisations
        What each absorber has; anything less than x, y and z gives that part alone, not a powder
        average.

    Raises
    ------
    InputError
        When an absorber lacks a polarisation, has one twice, disagrees about its multiplicity or
        shift, or the grids differ.
    """
    structures: dict[str, dict[str, list[SiteSpectrum]]] = {}
    for r in records:
        structures.setdefault(r.structure, {}).setdefault(r.absorber, []).append(r)
    result = {}
    for structure, sites in structures.items():
        powders, multiplicities = {}, {}
        for absorber, parts in sites.items():
            name, found = f"{structure} {absorber}", sorted(p.polarisation for p in parts)
            require(found == sorted(polarisations), f"{name}: polarisations {', '.join(found)}"
                    f" found; {', '.join(polarisations)} are needed, each once")
            require(len({(p.multiplicity, p.shift_eV) for p in parts}) == 1,
                    f"{name}: its polarisations differ in multiplicity or shift; give one")
            powders[absorber] = mean([p.spectrum for p in parts], name)
            multiplicities[absorber] = parts[0].multiplicity
        average = mean(list(powders.values()), structure, list(multiplicities.values()))
        result[structure] = StructureSpectra(powders, multiplicities, average)
    return result


def norm_weights(spectrum: Spectrum, kind: str, from_eV: float | None = None,
                 to_eV: float | None = None) -> Array:
    """Return the weights (n,) whose sum over the intensities is what a spectrum is divided by.

    Parameters
    ----------
    spectrum
        Its signs are used for the absolute area; other weights depend on its energies only.
    kind
        ``last-point``: the last intensity. ``edge-step``: the mean above the edge less the first
        intensity. ``area``, ``absolute-area``: trapezoids under the intensity or its magnitude
        (intensity × eV).
    from_eV, to_eV
        The interval above the edge (default: the last fifth of the energies), or that of an area
        (default: all of them).

    Raises
    ------
    InputError
        For an unknown kind, or an interval with too few points.
    """
    require(kind in NORMALISATIONS,
            f"{kind!r} is no normalisation: choose from {', '.join(NORMALISATIONS)}")
    e, weights = spectrum.energy_eV, np.zeros(len(spectrum.energy_eV))
    if kind == "last-point":
        weights[-1] = 1.0
        return weights
    is_step = kind == "edge-step"
    low = (e[-1] - 0.2 * (e[-1] - e[0]) if is_step else e[0]) if from_eV is None else from_eV
    high = e[-1] if to_eV is None else to_eV
    inside = (e >= low - 1e-9) & (e <= high + 1e-9)
    count = np.count_nonzero(inside)
    require(count >= (1 if is_step else 2), f"{spectrum.label!r} has too few points from {low:g} to"
            f" {high:g} eV for its {kind}; it spans {e[0]:g} to {e[-1]:g} eV")
    if is_step:
        weights[inside] = 1 / count
        weights[0] -= 1
    else:
        half = np.diff(e[inside]) / 2
        weights[inside] = np.append(half, 0) + np.append(0, half)
    return weights * np.sign(spectrum.intensity) if kind == "absolute-area" else weights


def norm(spectrum: Spectrum, kind: str) -> float:
    """Return the number a spectrum is divided by; InputError when that is zero."""
    value = float(norm_weights(spectrum, kind) @ spectrum.intensity)
    require(value != 0, f"{spectrum.label!r} cannot be normalised by its {kind}: that is zero;"
            " choose another")
    return value


def differences(structures: Mapping[str, StructureSpectra], reference: str, normalisation: str,
                minus: Mapping[str, str] | None = None) -> dict[str, Spectrum]:
    """Return average minus reference average for every structure, over the norm of the reference.

    One norm for all keeps changes of intensity. minus: structure -> what its average is subtracted
    from in place of the reference's.

    Raises
    ------
    InputError
        When the reference is not among the structures.
    """
    require(reference in structures,
            f"reference {reference!r} is not among {', '.join(structures)}: name one of them")
    base = structures[reference].average
    scale = 1 / norm(base, normalisation)
    other = minus or {}
    return {name: (s.average - structures[other.get(name, reference)].average) * scale
            for name, s in structures.items()}
