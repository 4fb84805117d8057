"""Which atoms, and which polarisation, make a difference spectrum: its exact parts.

The diagonal (σxx, σyy, σzz) of the absorption tensor is computed for one atom of each orbit. An
operation with Cartesian rotation R turns σ into R σ Rᵀ; when every row of R has one entry ±1 the
diagonal of the image is the permuted diagonal, otherwise it needs the off-diagonal elements, and
only the trace is known. With it for every atom j,

    average difference = Σ_j Σ_a [σ_aa(j, changed) − σ_aa(j, unchanged)] / 3M

    (M absorbers; a = x, y, z),

so the parts of an orbit and a polarisation add up to the whole, whatever the symmetry before and
after.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import require
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.symmetry import Symmetry, operations_between
from perovskite_polaron.spectra.spectrum import POLARISATIONS


@dataclass(frozen=True, eq=False)
class Orbits:
    """A crystal, and for the first atom of each absorbing orbit the spectra (3, n) of x, y, z; or,
    where an engine computes no more, three times their mean.
    """

    crystal: Crystal
    symmetry: Symmetry
    spectra: Mapping[int, Array]
    apart: bool = True


@dataclass(frozen=True, eq=False)
class Part:
    """The share of one orbit of the changed crystal in the difference.

    Attributes
    ----------
    first, atoms
        The orbit's first atom, and how many atoms it has.
    polarisation
        x, y or z, or empty for all three together.
    difference
        (n,) float64.
    """

    first: int
    atoms: int
    polarisation: str
    difference: Array


def atom_spectra(orbits: Orbits) -> tuple[dict[int, Array], bool]:
    """Return the spectra (3, n) of every atom, and whether their polarisations are known apart.

    Where they are not, each polarisation of an atom holds the mean of the three: the trace is
    always right.
    """
    crystal, symmetry = orbits.crystal, orbits.symmetry
    lattice = crystal.lattice_A.T
    squared = (lattice @ symmetry.rotations @ np.linalg.inv(lattice)) ** 2
    permutes = np.abs(squared - np.rint(squared)).max(axis=(1, 2)) < 1e-3
    tolerance_A = max(10 * symmetry.symprec_A, 1e-3)
    found: dict[int, Array] = {}
    apart = orbits.apart
    for first, diagonal in orbits.spectra.items():
        for atom in np.flatnonzero(symmetry.equivalent_atoms == symmetry.equivalent_atoms[first]):
            near = permutes & operations_between(crystal, symmetry, first, int(atom), tolerance_A)
            if near.any():
                found[int(atom)] = np.rint(squared[near]).mean(axis=0) @ diagonal
            else:
                apart = False
                found[int(atom)] = np.tile(diagonal.mean(axis=0), (3, 1))
    return found, apart


def parts(changed: Orbits, unchanged: Orbits) -> tuple[Part, ...]:
    """Return the parts of changed minus unchanged.

    There is one for each orbit of the changed crystal and, where known, each polarisation.

    Raises
    ------
    InputError
        When the two crystals do not list the same atoms in the same order, the absorbers among them
        with the same indices.
    """
    require(changed.crystal.species == unchanged.crystal.species, "the two crystals do not list the"
            " same atoms: compare a displaced crystal with its own parent")
    (new, new_apart), (old, old_apart) = atom_spectra(changed), atom_spectra(unchanged)
    require(set(new) == set(old), "the spectra are not of the same atoms: compute every"
            " inequivalent absorber of both crystals")
    result: list[Part] = []
    orbit_of = changed.symmetry.equivalent_atoms
    for first in changed.spectra:
        atoms = [atom for atom in new if orbit_of[atom] == orbit_of[first]]
        shares = np.sum([new[atom] - old[atom] for atom in atoms], axis=0) / (3 * len(new))
        named = dict(zip(POLARISATIONS, shares, strict=True))
        if not (new_apart and old_apart):
            named = {"": shares.sum(axis=0)}
        result += [Part(first, len(atoms), axis, share) for axis, share in named.items()]
    return tuple(result)
