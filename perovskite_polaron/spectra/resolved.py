"""Which atoms, and which polarisation, make a difference spectrum: its exact parts.

The diagonal (σxx, σyy, σzz) of the absorption tensor is computed for one atom of each orbit. An operation with Cartesian
rotation R turns σ into R σ Rᵀ; when every row of R has one entry ±1 the diagonal of the image is the permuted diagonal,
otherwise it needs the off-diagonal elements, and only the trace is known. With it for every atom j,

    average difference = Σ_j Σ_a [σ_aa(j, changed) − σ_aa(j, unchanged)] / 3M,   M absorbers, a = x, y, z,

so the parts of an orbit and a polarisation add up to the whole, whatever the symmetry before and after.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import InputError
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.symmetry import Symmetry, operations_between
from perovskite_polaron.spectra.spectrum import POLARISATIONS

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Orbits:
    """A crystal and, for the first atom of each of its absorbers' orbits, the spectra (3, n) of x, y and z."""

    crystal: Crystal
    symmetry: Symmetry
    spectra: Mapping[int, Array]


@dataclass(frozen=True, eq=False)
class Part:
    """The share (n,) of one orbit of the changed crystal (first: its first atom, atoms: how many) in the difference.

    polarisation is x, y or z, or empty for all three together.
    """

    first: int
    atoms: int
    polarisation: str
    difference: Array


def atom_spectra(orbits: Orbits) -> tuple[dict[int, Array], bool]:
    """Return the spectra (3, n) of every atom of the orbits, and whether their polarisations are known apart.

    Where they are not, each polarisation of an atom holds the mean of the three: the trace is always right.
    """
    crystal, symmetry = orbits.crystal, orbits.symmetry
    lattice = crystal.lattice_A.T
    squared = (lattice @ symmetry.rotations @ np.linalg.inv(lattice)) ** 2
    permutes = np.abs(squared - np.rint(squared)).max(axis=(1, 2)) < 1e-3
    tolerance_A = max(10 * symmetry.symprec_A, 1e-3)
    found: dict[int, Array] = {}
    apart = True
    for first, diagonal in orbits.spectra.items():
        for atom in np.flatnonzero(symmetry.equivalent_atoms == symmetry.equivalent_atoms[first]):
            near = operations_between(crystal, symmetry, first, int(atom), tolerance_A)
            if (near & permutes).any():
                found[int(atom)] = np.rint(squared[near & permutes]).mean(axis=0) @ diagonal
            else:
                apart = False
                found[int(atom)] = np.tile(diagonal.mean(axis=0), (3, 1))
    return found, apart


def parts(changed: Orbits, unchanged: Orbits) -> tuple[Part, ...]:
    """Return the parts of changed minus unchanged, by orbit of the changed crystal and by polarisation where it is known.

    Both crystals list the same atoms in the same order, the absorbers among them with the same indices. Raises InputError
    when they do not.
    """
    if changed.crystal.species != unchanged.crystal.species:
        raise InputError("the two crystals do not list the same atoms: compare a displaced crystal with its own parent")
    (new, new_apart), (old, old_apart) = atom_spectra(changed), atom_spectra(unchanged)
    if set(new) != set(old):
        raise InputError("the spectra are not of the same atoms: compute every inequivalent absorber of both crystals")
    result: list[Part] = []
    orbit_of = changed.symmetry.equivalent_atoms
    for first in changed.spectra:
        members = [atom for atom in new if orbit_of[atom] == orbit_of[first]]
        shares = np.sum([new[atom] - old[atom] for atom in members], axis=0) / (3 * len(new))
        if new_apart and old_apart:
            result += [
                Part(first, len(members), axis, share) for axis, share in zip(POLARISATIONS, shares, strict=True)
            ]
        else:
            result.append(Part(first, len(members), "", shares.sum(axis=0)))
    return tuple(result)
