"""X-ray powder patterns of crystals and of ensembles, in the kinematic approximation.

Atoms scatter as free neutral ones with the anomalous terms of the wavelength, from the tables of
xraydb [Waasmaier and Kirfel, Acta Cryst. A51, 416 (1995); Chantler, J. Phys. Chem. Ref. Data 29,
597 (2000)]. Of an ensemble |F|² is averaged over the snapshots at every reciprocal vector of their
cell: what thermal motion takes from the Bragg reflections, and the diffuse scattering between them
on the mesh of the supercell, are in it, and no Debye–Waller factor is needed. A single crystal has
its atoms at rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perovskite_polaron.arrays import Array, freeze
from perovskite_polaron.errors import require
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.units import HC_EV_A

COPPER_K_ALPHA_1_A = 1.540598
# Reciprocal vectors whose lengths differ by less are one reflection, 1/Å.
_SAME_1_A = 1e-5
_MOST_VECTORS = 2_000_000


@dataclass(frozen=True, eq=False)
class Powder:
    """Reflections of a powder.

    Attributes
    ----------
    two_theta_deg : (k,) float64
        Rising.
    intensity : (k,) float64
        Per formula unit, with multiplicity and Lorentz and polarisation factors of an unpolarised
        beam, (1 + cos²2θ)/(sin²θ cosθ).
    hkl : (k, 3) int64
        One vector of each.
    """

    two_theta_deg: Array
    intensity: Array
    hkl: Array

    def __post_init__(self) -> None:
        freeze(self, two_theta_deg=self.two_theta_deg, intensity=self.intensity)

    def curve(self, two_theta_deg: Array, fwhm_deg: float) -> Array:
        """Return the pattern on a grid (n,), each reflection a Gaussian of this full width."""
        require(fwhm_deg > 0, f"a width of {fwhm_deg:g}° is not possible: give a positive one")
        sigma = fwhm_deg / np.sqrt(8 * np.log(2))
        found = np.zeros(len(two_theta_deg))
        for place, size in zip(self.two_theta_deg, self.intensity, strict=True):
            found += size * np.exp(-0.5 * ((two_theta_deg - place) / sigma) ** 2)
        return found / (sigma * np.sqrt(2 * np.pi))


def powder_pattern(crystals: Sequence[Crystal], low_deg: float = 10.0, high_deg: float = 60.0,
                   wavelength_A: float = COPPER_K_ALPHA_1_A) -> Powder:
    """Return the reflections of a crystal, or the mean over snapshots of one cell.

    Parameters
    ----------
    crystals : sequence of Crystal
        One, or snapshots with the same lattice and atoms.
    low_deg, high_deg
        Range of 2θ.
    wavelength_A
        Å.

    Raises
    ------
    InputError
        For a range or wavelength that is not possible, too many reflections, or different cells.
    """
    import xraydb

    require(0 < low_deg < high_deg < 180 and wavelength_A > 0,
            "give a range of 2θ between 0 and 180 degrees, and a positive wavelength")
    lattice, species = crystals[0].lattice_A, crystals[0].species
    require(all(c.species == species and np.allclose(c.lattice_A, lattice, atol=1e-6)
                for c in crystals), "a powder pattern needs snapshots of one cell and one list of"
            " atoms: give an ensemble whose cell is held")
    low, high = (2 * np.sin(np.radians(a) / 2) / wavelength_A for a in (low_deg, high_deg))
    hkl = _vectors(lattice, low, high)
    length = np.linalg.norm(hkl @ np.linalg.inv(lattice).T, axis=1)
    energy_eV = HC_EV_A / wavelength_A
    factors = {s: xraydb.f0(s, length / 2) + float(xraydb.f1_chantler(s, energy_eV))
               + 1j * float(xraydb.f2_chantler(s, energy_eV)) for s in dict.fromkeys(species)}
    square = np.zeros(len(hkl))
    for crystal in crystals:
        amplitude = np.zeros(len(hkl), dtype=np.complex128)
        for name, position in zip(species, crystal.positions, strict=True):
            amplitude += factors[name] * np.exp(2j * np.pi * (hkl @ position))
        square += np.abs(amplitude) ** 2
    theta = np.arcsin(length * wavelength_A / 2)
    lorentz = (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))
    size = square * lorentz / len(crystals)
    # By formula unit a supercell has the intensities of its unit cell.
    size /= crystals[0].volume_A3 * crystals[0].formula_units
    # Of each reflection the vector with the largest indices stands for it.
    order = np.lexsort((*-hkl.T[::-1], np.round(length, 6)))
    starts = np.flatnonzero(np.diff(length[order], prepend=-1.0) > _SAME_1_A)
    return Powder(np.degrees(2 * theta[order][starts]), np.add.reduceat(size[order], starts),
                  hkl[order][starts])


def _vectors(lattice: Array, low: float, high: float) -> Array:
    """Reciprocal vectors (k, 3) of lengths from low to high, 1/Å."""
    reach = np.floor(high * np.linalg.norm(lattice, axis=1)).astype(int)
    count = int(np.prod(2 * reach + 1))
    require(count <= _MOST_VECTORS, f"{count} reflections are too many: give a smaller range of 2θ,"
            " a longer wavelength or a smaller cell")
    hkl = np.indices(tuple(2 * reach + 1)).reshape(3, -1).T - reach
    length = np.linalg.norm(hkl @ np.linalg.inv(lattice).T, axis=1)
    hkl = hkl[(length >= low) & (length <= high)]
    require(len(hkl), "no reflection lies in this range of 2θ: widen it")
    return np.asarray(hkl)
