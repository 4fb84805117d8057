"""The atoms around an absorber: the same ones, in the same order, in every structure."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import InputError
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.matching import Match

# Two atoms whose distances to the absorber differ by less are of one shell, which is never cut.
_SHELL_A = 0.02


@dataclass(frozen=True, eq=False)
class Cluster:
    """Atoms of a crystal by their distance from an absorber, which is the first.

    Attributes
    ----------
    atoms : (n,) int64
        Index in the crystal.
    cells : (n, 3) int64
        Lattice translation, from the absorber's cell.
    positions_A : (n, 3) float64
        Cartesian, from the absorber, Å.
    species : (n,) tuple of str
        Chemical symbols.
    inner : int
        How many of them scatter; the others only complete the potentials at the rim.
    radius_A : float
        Half-way between the last atom that scatters and the next, Å.
    """

    atoms: NDArray[np.int64]
    cells: NDArray[np.int64]
    positions_A: Array
    species: tuple[str, ...]
    inner: int
    radius_A: float


def cluster_around(crystal: Crystal, site: int, radius_A: float, rim_A: float) -> Cluster:
    """Return the atoms within radius_A + rim_A of an atom of the crystal, whole shells.

    Raises
    ------
    InputError
        When an element of the neighbourhood has no atom within the radius.
    """
    most = radius_A + rim_A
    steps, apart = _around(crystal, site, most)
    distance = np.linalg.norm(apart, axis=2)
    cell, atom = np.nonzero(distance <= most)
    # Rounded, so that atoms at one distance keep their order in a rotated crystal too.
    order = np.lexsort((cell, atom, np.rint(distance[cell, atom] / 1e-4)))
    cell, atom = cell[order], atom[order]
    far = distance[cell, atom]
    inner = int(np.count_nonzero(far <= radius_A))
    while inner < len(far) and far[inner] - far[inner - 1] < _SHELL_A:
        inner += 1
    species = tuple(crystal.species[k] for k in atom)
    # FEFF reads beyond its arrays where a potential has no atom that scatters.
    missing = set(species[1:]) - set(species[1:inner])
    if missing or inner == 1:
        needed = max((far[1:][np.array(species[1:]) == name].min() for name in missing),
                     default=most)
        raise InputError(f"not every element of {crystal.label} has an atom within {radius_A:g} Å"
                         f" of atom {site + 1} ({', '.join(sorted(missing)) or 'none'}): set [feff]"
                         f" cluster_radius_A to {np.ceil(10 * needed) / 10:.1f} or more")
    return Cluster(atom.astype(np.int64), steps[cell], apart[cell, atom], species, inner,
                   float(far[inner - 1] + far[inner]) / 2 if inner < len(far) else most)


def atoms_within(crystal: Crystal, sites: Iterable[int], radius_A: float) -> int:
    """Return how many atoms are within a radius of these atoms, together."""
    return sum(int((np.linalg.norm(_around(crystal, site, radius_A)[1], axis=2) <= radius_A).sum())
               for site in sites)


def _around(crystal: Crystal, site: int, most_A: float) -> tuple[NDArray[np.int64], Array]:
    """Return lattice translations (s, 3), and where they bring all atoms, from one: (s, n, 3), Å.

    No atom within ``most_A`` of it is missing.
    """
    heights = 1 / np.linalg.norm(np.linalg.inv(crystal.lattice_A), axis=0)
    reach = np.ceil(most_A / heights).astype(int) + 1
    steps = np.indices(tuple(2 * reach + 1)).reshape(3, -1).T - reach
    return steps, (crystal.positions - crystal.positions[site] + steps[:, None]) @ crystal.lattice_A


def carried_positions_A(cluster: Cluster, found: Match, crystal: Crystal, site: int) -> Array:
    """Return where the atoms of a cluster are in another structure: (n, 3), Å, from its absorber.

    Parameters
    ----------
    cluster
        Around the atom of the unit that the absorber is matched with.
    found
        Which atom of the unit each atom of the structure is, before it was displaced.
    crystal, site
        The structure, and its absorber.
    """
    wanted = found.cells[site] + cluster.cells
    same = found.atoms[None] == cluster.atoms[:, None]
    apart = (wanted[:, None] - found.cells[None]) @ np.linalg.inv(found.repeats)
    steps = np.rint(apart)
    same &= np.abs(apart - steps).max(axis=2) < 1e-6
    assert (same.sum(axis=1) == 1).all(), "a match names each atom of the unit once in each cell"
    atom = same.argmax(axis=1)
    step = steps[np.arange(len(atom)), atom]
    return np.asarray((crystal.positions[atom] + step - crystal.positions[site])
                      @ crystal.lattice_A)
