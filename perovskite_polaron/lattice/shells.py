"""Coordination shells of the inequivalent atoms of any crystal, octahedra or none.

A shell is made of the atoms of one element around an atom whose distances, in order, have no gap
above GAP_A. Those shells of a site are taken that begin within NEAR times its shortest distance; a
shell without a gap ends at twice that distance. Both numbers are conventions of this project: the
first is about what two distances must differ by to be told apart by X-ray absorption with
photoelectrons up to 15 1/Å (π / 2k), the second takes in what is bonded and little more. A
displaced crystal has the shells of its parent: its lengths are those of the same pairs of atoms.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import require
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.symmetry import Symmetry, absorbers, find_symmetry

GAP_A = 0.2
NEAR, _FAR = 1.5, 2.0
#: Distances of equivalent atoms agree to this.
_ALIKE_A = 1e-2
_REACH_A, _LONGEST_A = 6.0, 24.0


@dataclass(frozen=True, eq=False)
class Shell:
    """The neighbours of one element, in one shell, of all atoms of a site.

    Attributes
    ----------
    element, site, first
        Of the atoms in the middle: element, Wyckoff site, and the first of them.
    neighbour, count
        Element around them, and how many atoms each has.
    centres, others
        (k,) int64: the atoms of each pair.
    vectors_A
        (k, 3) from the one to the other, Å.
    """

    element: str
    site: str
    first: int
    neighbour: str
    count: int
    centres: NDArray[np.int64]
    others: NDArray[np.int64]
    vectors_A: Array

    @property
    def name(self) -> str:
        """Such as ``Ti1 (4a): 6 O``."""
        return f"{self.element}{self.first + 1} ({self.site}): {self.count} {self.neighbour}"

    def lengths_A(self, moved_A: Array | None = None) -> Array:
        """Return the lengths (k,) of the pairs, in the crystal with its atoms moved by (n, 3) Å."""
        vectors = self.vectors_A
        if moved_A is not None:
            vectors = vectors + moved_A[self.others] - moved_A[self.centres]
        return np.asarray(np.linalg.norm(vectors, axis=1))

    def words(self, moved_A: Array | None = None) -> str:
        """Return the mean length in Å and, where they differ from it, shortest and longest."""
        lengths = self.lengths_A(moved_A)
        if np.ptp(lengths) < 5e-5:
            return f"{lengths.mean():.4f}"
        return f"{lengths.mean():.4f} ({lengths.min():.4f}–{lengths.max():.4f})"


def find_shells(crystal: Crystal, symmetry: Symmetry | None = None) -> tuple[Shell, ...]:
    """Return the shells of every inequivalent atom, the nearest first.

    Raises
    ------
    InputError
        When an atom has no neighbour within 24 Å.
    """
    symmetry = symmetry or find_symmetry(crystal)
    sites = [site for element in dict.fromkeys(crystal.species)
             for site in absorbers(crystal, element, symmetry)]
    i, j, vectors = _pairs(crystal)
    lengths, species = np.linalg.norm(vectors, axis=1), np.array(crystal.species)
    found = []
    for site in sites:
        mine = i == site.index
        shortest = lengths[mine].min()
        own: list[tuple[float, Shell]] = []
        for element in dict.fromkeys(crystal.species):
            distances = np.sort(lengths[mine & (species[j] == element)])
            for low, high in _spans(distances, shortest):
                pairs = (np.isin(i, site.indices) & (species[j] == element)
                         & (lengths > low - _ALIKE_A) & (lengths < high + _ALIKE_A))
                count = int((pairs & mine).sum())
                own.append((low, Shell(site.element, site.site, site.index, element, count,
                                       i[pairs], j[pairs], vectors[pairs])))
        found += [shell for _, shell in sorted(own, key=lambda one: one[0])]
    return tuple(found)


def _pairs(crystal: Crystal) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
    """Return all pairs of atoms up to twice the longest of all shortest distances, and vectors."""
    from ase import Atoms
    from ase.neighborlist import neighbor_list

    atoms = Atoms(crystal.species, crystal.cartesian_A, cell=crystal.lattice_A, pbc=True)
    reach = _REACH_A
    while True:
        i, j, vectors = neighbor_list("ijD", atoms, reach)
        shortest = np.full(len(crystal), np.inf)
        np.minimum.at(shortest, i, np.linalg.norm(vectors, axis=1))
        wanted = _FAR * shortest.max()
        if wanted <= reach:
            return i, j, vectors
        require(reach < _LONGEST_A, f"{crystal.label}: an atom has no neighbour within"
                f" {_LONGEST_A / _FAR:g} Å: check the lattice")
        reach = min(wanted + _ALIKE_A, _LONGEST_A)


def _spans(distances: Array, shortest: float) -> list[tuple[float, float]]:
    """Return the first and last distance of each shell among sorted distances."""
    near = distances[distances <= _FAR * shortest]
    parts = np.split(near, np.flatnonzero(np.diff(near) > GAP_A) + 1)
    return [(float(part[0]), float(part[-1])) for part in parts
            if len(part) and part[0] <= NEAR * shortest]
