"""Symmetry of a crystal: space group, inequivalent absorbers, irreducible k points."""

import warnings
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import ComputationError, require
from perovskite_polaron.lattice.crystal import Crystal

#: Largest distance of k points that a grid chosen for bands has, 1/Å, 2π included.
SPACING_PER_A = 0.55
# How near, in reciprocal vectors, a k point must be to one that has a name.
_MATCH = 1e-4


@dataclass(frozen=True, eq=False)
class Symmetry:
    """The space group of a crystal, in the crystal's own axes.

    Attributes
    ----------
    number : int
        International number.
    symbol : str
        Hermann-Mauguin symbol of the standard setting.
    rotations, translations : (m, 3, 3) int64, (m, 3) float64
        x' = R x + t in fractional coordinates.
    wyckoff : (n,) tuple of str
        Site of each atom: multiplicity in the conventional cell and Wyckoff letter ("4c").
    equivalent_atoms : (n,) int64
        Index of the first atom equivalent to each.
    symprec_A : float
        Tolerance it was found with, in Å.
    cell : tuple
        The crystal as spglib takes it.
    """

    number: int
    symbol: str
    rotations: NDArray[np.int64]
    translations: Array
    wyckoff: tuple[str, ...]
    equivalent_atoms: NDArray[np.int64]
    symprec_A: float
    cell: tuple[Any, ...] = field(repr=False)

    @cached_property
    def setting(self) -> str:
        """The symbol in the crystal's own axes ("Pbnm"), or the standard one if none has them."""
        # Found when asked for: it costs more than all the rest, and the points of a sweep are never
        # asked.
        return _setting(self.cell, self.symprec_A, self.number)


def find_symmetry(crystal: Crystal, symprec_A: float = 1e-3) -> Symmetry:
    """Return the space group that spglib finds at a tolerance in Å.

    Magnetic moments are labels here: an operation that turns them over does not count. In a
    supercell the lost translations are found again, so sites and equivalences are those of the
    crystal.

    Raises
    ------
    ComputationError
        When spglib finds no space group at this tolerance.
    """
    numbers = [sorted(set(crystal.kinds)).index(kind) + 1 for kind in crystal.kinds]
    cell = (crystal.lattice_A, crystal.positions, numbers)
    data = _spglib("get_symmetry_dataset", cell, symprec=symprec_A)
    if data is None:
        raise ComputationError(f"spglib finds no space group for {crystal.label} at {symprec_A:g}"
                               " Å: choose another tolerance")
    orbits = np.asarray(data.crystallographic_orbits)
    counts = np.bincount(orbits, minlength=len(crystal))
    per_conventional_cell = len(data.std_types) / len(crystal)
    wyckoff = tuple(f"{round(counts[orbit] * per_conventional_cell)}{letter}"
                    for orbit, letter in zip(orbits, data.wyckoffs, strict=True))
    return Symmetry(int(data.number), str(data.international),
                    np.asarray(data.rotations, dtype=np.int64), np.asarray(data.translations),
                    wyckoff, orbits.astype(np.int64), symprec_A, cell)


def primitive(crystal: Crystal, symprec_A: float = 1e-3) -> Crystal:
    """Return the primitive cell of a crystal, its atoms where they are and its axes not turned.

    The lattice vectors are those that spglib chooses, shorter and in general not parallel to the
    ones given. A crystal that is primitive already is returned as it is.

    Raises
    ------
    ComputationError
        When spglib finds no space group at this tolerance.
    InputError
        When atoms that a lattice vector of the primitive cell takes to each other are different
        isotopes, or have different parents.
    """
    found = _spglib("find_primitive", find_symmetry(crystal, symprec_A).cell, symprec=symprec_A)
    if found is None:
        raise ComputationError(f"spglib finds no primitive cell for {crystal.label} at"
                               f" {symprec_A:g} Å: choose another tolerance")
    lattice_A, positions, _ = found
    if len(positions) == len(crystal):
        return crystal
    fractional = crystal.cartesian_A @ np.linalg.inv(lattice_A)
    apart = fractional[:, None] - positions
    place = np.linalg.norm((apart - np.rint(apart)) @ lattice_A, axis=2).argmin(axis=1)
    first = [int(np.flatnonzero(place == i)[0]) for i in range(len(positions))]
    labels = list(zip(crystal.kinds, crystal.masses_amu.tolist(),
                      crystal.parent_sites or crystal.species, strict=True))
    same = all(label == labels[first[i]] for label, i in zip(labels, place, strict=True))
    require(same, f"{crystal.label} has another primitive cell than its atoms' isotopes or parent"
            " sites have: leave the primitive cell out")
    isotopes = crystal.isotopes_amu
    parents, moments = crystal.parent_sites, crystal.moments_muB
    # Where the first atom of each is, so that nothing is rounded or shifted.
    return replace(crystal, lattice_A=lattice_A, species=tuple(crystal.species[i] for i in first),
                   positions=fractional[first] - np.floor(fractional[first] + 1e-12),
                   isotopes_amu=None if isotopes is None else np.asarray(isotopes)[first],
                   parent_sites=None if parents is None else tuple(parents[i] for i in first),
                   moments_muB=None if moments is None else tuple(moments[i] for i in first))


@dataclass(frozen=True)
class Absorber:
    """One set of symmetry-equivalent atoms of an element.

    Attributes
    ----------
    index : int
        The first of them, which represents the set.
    element : str
        Their element.
    site, parent : str, str or None
        Wyckoff site in the crystal ("4a"), and in the crystal that it was displaced from.
    multiplicity : int or float
        Number of equivalent atoms in this cell, or how many an atom stands for that was drawn.
    indices : tuple of int
        All of them.
    """

    index: int
    element: str
    site: str
    parent: str | None
    multiplicity: int | float
    indices: tuple[int, ...]


def absorbers(crystal: Crystal, element: str,
              symmetry: Symmetry | None = None) -> tuple[Absorber, ...]:
    """Return the inequivalent atoms of an element, in the order of their first appearance.

    Parameters
    ----------
    crystal : Crystal
        The crystal.
    element : str
        Whose atoms absorb.
    symmetry : Symmetry, optional
        That of the crystal; by default it is found.

    Raises
    ------
    InputError
        When the element is not in the crystal.
    """
    crystal.require(element)
    symmetry = symmetry or find_symmetry(crystal)
    orbits: dict[int, list[int]] = {}
    for atom, orbit in enumerate(symmetry.equivalent_atoms):
        if crystal.species[atom] == element:
            orbits.setdefault(int(orbit), []).append(atom)
    parents = crystal.parent_sites
    return tuple(Absorber(atoms[0], element, symmetry.wyckoff[atoms[0]],
                          None if parents is None else parents[atoms[0]], len(atoms), tuple(atoms))
                 for atoms in orbits.values())


def operations_between(crystal: Crystal, symmetry: Symmetry, start: int, end: int,
                       tolerance_A: float) -> NDArray[np.bool_]:
    """Return which of the m operations bring one atom to the place of another, or leave it."""
    images = symmetry.rotations @ crystal.positions[start] + symmetry.translations
    return np.asarray(crystal.distances_A(images - crystal.positions[end]) < tolerance_A)


def irreducible_kpoints(crystal: Crystal, symmetry: Symmetry, grid: tuple[int, int, int],
                        shift: tuple[int, int, int], marked_atom: int | None = None) -> int:
    """Return how many k points of a Monkhorst-Pack grid are inequivalent, time reversal included.

    Parameters
    ----------
    crystal, symmetry : Crystal, Symmetry
        The crystal and its space group.
    grid, shift : (3,) int
        Points along each reciprocal vector, and 1 where the grid is shifted by half a step.
    marked_atom : int, optional
        Index of an atom that differs from the others of its element (the one with a core hole):
        only the operations of the symmetry that leave it in place then count.
    """
    rotations = symmetry.rotations
    if marked_atom is not None:
        tolerance_A = max(symmetry.symprec_A, 1e-4)
        rotations = rotations[operations_between(crystal, symmetry, marked_atom, marked_atom,
                                                 tolerance_A)]
    unique = np.unique(rotations, axis=0).astype(np.intc)
    return _irreducible_kpoints(unique.tobytes(), tuple(grid), tuple(shift))


@lru_cache(maxsize=4096)  # a study asks the same of every structure
def _irreducible_kpoints(rotations: bytes, grid: tuple[int, int, int],
                         shift: tuple[int, int, int]) -> int:
    matrices = np.frombuffer(rotations, dtype=np.intc).reshape(-1, 3, 3)
    found = _spglib("get_stabilized_reciprocal_mesh", grid, matrices, is_shift=shift)
    return 1 if found is None else len(set(found[0].tolist()))


def _spglib(function: str, *args: Any, **options: Any) -> Any:
    """Call spglib; None when it finds nothing."""
    import spglib

    with warnings.catch_warnings():
        # spglib announces that failure will raise instead of returning None; both are handled here.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return getattr(spglib, function)(*args, **options)
        except Exception as error:
            if type(error).__module__.startswith("spglib"):
                return None
            raise


def _setting(cell: tuple[Any, ...], symprec_A: float, number: int) -> str:
    """Symbol of the tabulated setting with the axes of the cell, or the standard one.

    The axes may differ in length and origin.
    """
    for hall, symbol in _hall_settings(number):
        data = _spglib("get_symmetry_dataset", cell, symprec=symprec_A, hall_number=hall)
        if data is None:
            continue
        matrix = np.asarray(data.transformation_matrix)
        if np.abs(matrix - np.diag(matrix.diagonal())).max() < 1e-3:
            return symbol
    return str(_spglib("get_spacegroup_type", _hall_settings(number)[0][0]).international_short)


@cache
def _hall_settings(number: int) -> tuple[tuple[int, str], ...]:
    """Hall number and symbol of each tabulated setting of a space group."""
    found = []
    for hall in range(1, 531):
        kind = _spglib("get_spacegroup_type", hall)
        if kind.number == number:
            # Monoclinic settings are told apart by the full symbol only.
            symbol = str(kind.international_full if number < 16 else kind.international)
            found.append((hall, symbol.split("=")[0].replace(" ", "")))
    return tuple(found)


def grid_for(lattice_A: ArrayLike, spacing_1_A: float = SPACING_PER_A) -> tuple[int, int, int]:
    """Return the smallest k grid with at most this spacing along each reciprocal vector.

    By default that is 2×2×2 for cubic CsPbBr3 and 2×2×1 for its 20-atom cell.
    """
    lengths = spacings_1_A(lattice_A, (1, 1, 1))
    a, b, c = (int(n) for n in np.maximum(1, np.ceil(lengths / spacing_1_A - 1e-9)))
    return a, b, c


def spacings_1_A(lattice_A: ArrayLike, grid: tuple[int, int, int]) -> Array:
    """Return the distances (3,) of a grid's k points along the reciprocal vectors, 2π included."""
    lengths = 2 * np.pi * np.linalg.norm(np.linalg.inv(np.asarray(lattice_A)), axis=0)
    return np.asarray(lengths / grid)


def kpoint_names(crystal: Crystal, symmetry: Symmetry, kpoints: ArrayLike) -> tuple[str, ...]:
    """Return the usual name of each k point (n, 3), such as Γ or R, or an empty text.

    Parameters
    ----------
    crystal, symmetry : Crystal, Symmetry
        The crystal and its space group.
    kpoints : (n, 3)
        In the crystal's reciprocal vectors.

    Notes
    -----
    The names are those of Setyawan and Curtarolo, Comput. Mater. Sci. 49, 299 (2010), from ASE; a
    cell in which ASE knows no lattice has Γ only. Points that an operation of the crystal, time
    reversal or a reciprocal vector takes to the named one have its name.
    """
    from ase.cell import Cell

    try:
        named = Cell(crystal.lattice_A).bandpath(npoints=0).special_points
    except (RuntimeError, ValueError):
        named = {"G": np.zeros(3)}
    # x' = R x, so k' = k R⁻¹; the operations are a group, so R serves as well.
    operations = np.concatenate([symmetry.rotations, -symmetry.rotations])

    def name_of(k: Array) -> str:
        for name, point in named.items():
            apart = k @ operations - point
            if np.abs(apart - np.rint(apart)).max(axis=1).min() < _MATCH:
                return "Γ" if name == "G" else str(name)
        return ""

    return tuple(name_of(k) for k in np.asarray(kpoints, dtype=np.float64))
