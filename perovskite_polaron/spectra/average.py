"""Powder and absorber averages, and the record a calculation hands over for each spectrum."""

from collections.abc import Sequence
from dataclasses import dataclass

from perovskite_polaron.errors import InputError
from perovskite_polaron.spectra.spectrum import Spectrum

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
