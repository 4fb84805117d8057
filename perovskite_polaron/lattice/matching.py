"""Which atom of one description of a crystal is which of another, and how far atoms moved.

The two descriptions may differ in order, wrapping, origin, setting, or be a cell and its supercell.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.lattice.crystal import Crystal

#: Largest relative difference of lattice vectors; a relaxed and a measured cell may differ by that
#: much.
LATTICE_TOLERANCE = 0.03
#: Largest distance in Å between an atom and the one it is matched with.
POSITION_TOLERANCE_A = 0.3


@dataclass(frozen=True, eq=False)
class Match:
    """Each atom of a crystal as an atom of a smaller or equal cell.

    Attributes
    ----------
    atoms : (n,) int64
        Index in the unit.
    cells : (n, 3) int64
        Lattice translation of the unit that the atom belongs to.
    rotation : (3, 3) float64
        Cartesian rotation: a vector v of the unit is v @ rotation in the crystal.
    repeats : (3, 3) int64
        Lattice vectors of the crystal in those of the unit (rows).
    """

    atoms: NDArray[np.int64]
    cells: NDArray[np.int64]
    rotation: Array
    repeats: NDArray[np.int64]


def match(crystal: Crystal, unit: Crystal,
          position_tolerance_A: float = POSITION_TOLERANCE_A) -> Match:
    """Return how the crystal is built from the cell ``unit``: as it, a setting or a supercell.

    Every way in which the two lattices fit, and every origin that puts like atoms on like atoms, is
    tried; the one with the smallest mean square of distances is taken, and among equals (they
    differ by a symmetry operation) the one nearest to the identity.

    Raises
    ------
    InputError
        Naming what differs: elements, number of atoms, lattice or positions.
    """
    require(set(crystal.species) == set(unit.species),
            f"{crystal.label} and {unit.label} hold different elements ({_elements(crystal)} and"
            f" {_elements(unit)}): give two descriptions of one crystal")
    require(len(crystal) % len(unit) == 0, f"{crystal.label} has {len(crystal)} atoms, not a"
            f" multiple of the {len(unit)} of {unit.label}: give a cell made of whole unit cells")
    n_cells = len(crystal) // len(unit)
    require(all(crystal.species.count(s) == n_cells * unit.species.count(s)
                for s in set(unit.species)), f"{crystal.label} and {unit.label} differ in"
            " composition: give two descriptions of one crystal")
    fits = _lattice_fits(crystal.lattice_A, unit.lattice_A, n_cells)
    require(fits, f"the lattice of {crystal.label} is not made of that of {unit.label} within"
            f" {LATTICE_TOLERANCE:.0%}: give a crystal with the same cell, a setting of it, or a"
            " supercell")
    best, lowest = None, np.inf
    for repeats in fits:
        for shift in _origins(crystal, unit, repeats):
            atoms, cells, distance_A = _nearest(crystal, unit, repeats, shift)
            rms = np.sqrt((distance_A**2).mean())
            if rms < lowest - 1e-3 and (np.bincount(atoms, minlength=len(unit)) == n_cells).all():
                best, lowest = (atoms, cells, repeats, float(distance_A.max())), rms
    if best is None or best[3] > position_tolerance_A:
        distance = "" if best is None else f" (the farthest is {best[3]:.2f} Å off)"
        raise InputError(f"the atoms of {crystal.label} are not where those of {unit.label}"
                         f" are{distance}: positions must agree within {position_tolerance_A:g} Å")
    atoms, cells, repeats, _ = best
    u, _, vt = np.linalg.svd(np.linalg.inv(repeats @ unit.lattice_A) @ crystal.lattice_A)
    return Match(atoms, cells, u @ vt, repeats)


def displacement(displaced: Crystal, reference: Crystal,
                 position_tolerance_A: float = POSITION_TOLERANCE_A) -> Array:
    """Return the displacements (n, 3) in Å of the atoms of the reference, Cartesian in its axes.

    The strain between the cells is not part of the result: fractional coordinates are compared in
    the cell of the reference. Neither is a choice of origin: of a rigid translation the lattice
    vectors are taken out.

    Raises
    ------
    InputError
        As match does, and when the numbers of atoms differ.
    """
    require(len(displaced) == len(reference), f"{displaced.label} has {len(displaced)} atoms,"
            f" {reference.label} has {len(reference)}: give two structures of the same cell")
    found = match(displaced, reference, position_tolerance_A)
    delta = np.empty((len(reference), 3))
    there = reference.positions[found.atoms] + found.cells
    delta[found.atoms] = displaced.positions @ found.repeats - there
    return np.asarray((delta - np.rint(np.median(delta, axis=0))) @ reference.lattice_A)


def commensurate(repeats: NDArray[Any]) -> Array:
    """Return the wave vectors that are periodic in a supercell, in reciprocal vectors of its unit.

    Parameters
    ----------
    repeats : (3, 3)
        Lattice vectors of the supercell (rows) in those of the unit.

    Returns
    -------
    (k, 3) float64
        Each once, in [0, 1), rising; k = |det repeats|.
    """
    whole = np.rint(repeats)
    columns = np.linalg.inv(whole)
    count = abs(round(np.linalg.det(whole)))
    # Each column is periodic after as many steps as make it whole.
    steps = [next(n for n in range(1, count + 1) if np.abs(n * c - np.rint(n * c)).max() < 1e-6)
             for c in columns.T]
    q = np.indices(tuple(steps)).reshape(3, -1).T @ columns.T
    q = np.round(q - np.floor(q + 1e-9), 9) + 0.0
    found = np.unique(q, axis=0)
    assert len(found) == count, "a supercell has as many wave vectors as unit cells"
    return np.asarray(found)


def _elements(crystal: Crystal) -> str:
    return " ".join(dict.fromkeys(crystal.species))


def _lattice_fits(lattice: Array, unit: Array, n_cells: int) -> list[NDArray[np.int64]]:
    """Integer matrices M with M·unit congruent to the lattice; near a plain supercell first."""
    lengths, tolerance = np.linalg.norm(lattice, axis=1), LATTICE_TOLERANCE
    reach = np.ceil(lengths.max() * (1 + tolerance)
                    * np.linalg.norm(np.linalg.inv(unit), axis=0)).astype(int)
    vectors = np.array(list(product(*[range(-k, k + 1) for k in reach])), dtype=np.int64)
    norms = np.linalg.norm(vectors @ unit, axis=1)
    candidates = [vectors[np.abs(norms - length) < tolerance * length] for length in lengths]
    gram, metric, most = lattice @ lattice.T, unit @ unit.T, tolerance * np.outer(lengths, lengths)
    handed = np.sign(np.linalg.det(lattice) * np.linalg.det(unit))
    fits = []
    for a, b in product(*candidates[:2]):
        if abs(a @ metric @ b - gram[0, 1]) > most[0, 1]:
            continue
        for m in (np.array([a, b, c]) for c in candidates[2]):
            apart = np.abs(m @ metric @ m.T - gram)
            if round(np.linalg.det(m)) * handed == n_cells and (apart < most).all():
                fits.append(m)
    return sorted(fits, key=lambda m: (np.count_nonzero(m), int((m < 0).sum()), -int(np.trace(m))))


def _origins(crystal: Crystal, unit: Crystal, repeats: NDArray[np.int64]) -> Array:
    """Shifts, in the unit's coordinates, that put one atom of the rarest element on a like one."""
    rarest = min(dict.fromkeys(unit.species), key=unit.species.count)
    first = crystal.positions[crystal.species.index(rarest)] @ repeats
    mine = np.array([x for x, s in zip(unit.positions, unit.species, strict=True) if s == rarest])
    shifts = first - mine
    shifts -= np.rint(shifts)
    return np.vstack([np.zeros(3), shifts])


def _nearest(crystal: Crystal, unit: Crystal, repeats: NDArray[np.int64],
             shift: Array) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
    """Nearest like atom of the unit for each atom (n,), its cell (n, 3), and the distance (n,)."""
    rows, different = np.arange(len(crystal)), np.array(crystal.species)[:, None] != unit.species
    inside = crystal.positions @ repeats - shift
    # The second time without what the displacements have in common: the atom that the shift was
    # taken from may itself have moved.
    for _ in range(2):
        delta = inside[:, None, :] - unit.positions[None]
        cells = np.rint(delta)
        distance = np.linalg.norm((delta - cells) @ unit.lattice_A, axis=2)
        distance[different] = np.inf
        atoms = distance.argmin(axis=1)
        inside = inside - np.median((delta - cells)[rows, atoms], axis=0)
    return atoms, cells[rows, atoms].astype(np.int64), distance[rows, atoms]
