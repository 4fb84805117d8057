"""Crystals: what a structure file says, kept exactly as it says it, and the symmetry found in it.

Nothing here wraps, re-orders or re-standardises atoms: a frozen phonon would not survive it.
"""

import warnings
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perovskite_polaron.errors import ComputationError, InputError

OVERLAP_A = 0.5
"""Two atoms closer than this are the same atom twice, or a wrong unit: such a crystal is refused."""


@dataclass(frozen=True, eq=False)
class Crystal:
    """A periodic arrangement of atoms.

    lattice_A     (3, 3) float64, rows a, b, c in Å, read-only
    species       (n,) chemical symbols
    positions     (n, 3) float64, fractional, as given, read-only
    name          free text, used in messages and file headers
    parent_sites  (n,) Wyckoff site of each atom in the crystal it was displaced from (such as "4c"), or None

    Raises InputError for no atoms, wrong shapes, an unknown element, NaN, zero volume or overlapping atoms.
    """

    lattice_A: NDArray[np.float64]
    species: tuple[str, ...]
    positions: NDArray[np.float64]
    name: str = ""
    parent_sites: tuple[str, ...] | None = None
    _label: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "lattice_A", _frozen(self.lattice_A))
        put(self, "positions", _frozen(self.positions))
        put(self, "species", tuple(str(s) for s in self.species))
        put(self, "_label", self.name or "this crystal")
        if self.parent_sites is not None:
            put(self, "parent_sites", tuple(str(s) for s in self.parent_sites))
        _check(self)

    def __len__(self) -> int:
        return len(self.species)

    @cached_property
    def cartesian_A(self) -> NDArray[np.float64]:
        """(n, 3) Cartesian positions in Å."""
        return _frozen(self.positions @ self.lattice_A)

    @property
    def volume_A3(self) -> float:
        """Volume of the cell in Å³."""
        return float(abs(np.linalg.det(self.lattice_A)))

    @cached_property
    def masses_amu(self) -> NDArray[np.float64]:
        """(n,) standard atomic masses in amu."""
        from ase.data import atomic_masses, atomic_numbers

        return _frozen([atomic_masses[atomic_numbers[s]] for s in self.species])

    def with_positions(self, positions: ArrayLike, **changes: object) -> "Crystal":
        """Return the same crystal with other fractional positions (n, 3), and other fields as named."""
        return replace(self, positions=np.asarray(positions, dtype=np.float64), **changes)  # type: ignore[arg-type]


def supercell(crystal: Crystal, repeats: tuple[int, int, int]) -> Crystal:
    """Return the crystal repeated n1 × n2 × n3 times along its axes.

    The cells follow each other, last axis fastest, each holding the atoms in their given order.
    Raises InputError unless the repeats are three positive integers.
    """
    if len(repeats) != 3 or any(int(n) != n or n < 1 for n in repeats):
        raise InputError(f"supercell {repeats} is not possible: give three positive integers, such as 2 2 1")
    n = np.array(repeats, dtype=int)
    cells = np.indices(tuple(n.tolist())).reshape(3, -1).T
    positions = (cells[:, None, :] + crystal.positions[None]).reshape(-1, 3) / n
    parents = crystal.parent_sites
    return Crystal(
        crystal.lattice_A * n[:, None],
        crystal.species * len(cells),
        positions,
        crystal.name,
        None if parents is None else parents * len(cells),
    )


@dataclass(frozen=True, eq=False)
class Symmetry:
    """The space group of a crystal, in the crystal's own axes.

    number            international number
    symbol            Hermann-Mauguin symbol of the standard setting
    rotations         (m, 3, 3) int, and translations (m, 3) float64: x' = R x + t in fractional coordinates
    wyckoff           (n,) site of each atom: multiplicity in the conventional cell and Wyckoff letter ("4c")
    equivalent_atoms  (n,) int: index of the first atom equivalent to each
    symprec_A         tolerance it was found with, in Å
    """

    number: int
    symbol: str
    rotations: NDArray[np.int64]
    translations: NDArray[np.float64]
    wyckoff: tuple[str, ...]
    equivalent_atoms: NDArray[np.int64]
    symprec_A: float
    _cell: tuple[Any, ...] = field(repr=False)

    @cached_property
    def setting(self) -> str:
        """The symbol in the crystal's own axes ("Pbnm"), or the standard one when no tabulated setting has these axes."""
        # Found when asked for: it costs more than all the rest, and the points of a sweep are never asked.
        return _setting(self._cell, self.symprec_A, self.number) or _short_symbol(self.number)


def find_symmetry(crystal: Crystal, symprec_A: float = 1e-3) -> Symmetry:
    """Return the space group that spglib finds at a tolerance in Å.

    In a supercell the lost translations are found again, so sites and equivalences are those of the crystal.
    Raises ComputationError when spglib finds no space group at this tolerance.
    """
    numbers = [sorted(set(crystal.species)).index(s) + 1 for s in crystal.species]
    cell = (crystal.lattice_A, crystal.positions, numbers)
    data = _spglib("get_symmetry_dataset", cell, symprec=symprec_A)
    if data is None:
        raise ComputationError(
            f"spglib finds no space group for {crystal._label} at {symprec_A:g} Å: choose another tolerance"
        )
    orbits = np.asarray(data.crystallographic_orbits)
    counts = np.bincount(orbits, minlength=len(crystal))
    per_conventional_cell = len(data.std_types) / len(crystal)
    wyckoff = tuple(
        f"{round(counts[orbit] * per_conventional_cell)}{letter}"
        for orbit, letter in zip(orbits, data.wyckoffs, strict=True)
    )
    return Symmetry(
        int(data.number),
        str(data.international),
        np.asarray(data.rotations, dtype=np.int64),
        np.asarray(data.translations),
        wyckoff,
        orbits.astype(np.int64),
        symprec_A,
        cell,
    )


@dataclass(frozen=True)
class Absorber:
    """One set of symmetry-equivalent atoms of an element.

    index         the first of them, which represents the set
    site          Wyckoff site in the crystal ("4a"); parent: that in the crystal it was displaced from, or None
    multiplicity  number of equivalent atoms in this cell; indices: all of them
    """

    index: int
    element: str
    site: str
    parent: str | None
    multiplicity: int
    indices: tuple[int, ...]


def absorbers(crystal: Crystal, element: str, symmetry: Symmetry | None = None) -> tuple[Absorber, ...]:
    """Return the inequivalent atoms of an element, in the order of their first appearance.

    symmetry defaults to find_symmetry(crystal). Raises InputError when the element is not in the crystal.
    """
    if element not in crystal.species:
        raise InputError(
            f"{element} is not in {crystal._label}: its elements are {', '.join(dict.fromkeys(crystal.species))}"
        )
    symmetry = symmetry or find_symmetry(crystal)
    orbits: dict[int, list[int]] = {}
    for atom, orbit in enumerate(symmetry.equivalent_atoms):
        if crystal.species[atom] == element:
            orbits.setdefault(int(orbit), []).append(atom)
    parents = crystal.parent_sites
    return tuple(
        Absorber(
            atoms[0],
            element,
            symmetry.wyckoff[atoms[0]],
            None if parents is None else parents[atoms[0]],
            len(atoms),
            tuple(atoms),
        )
        for atoms in orbits.values()
    )


def read_crystal(source: str | Path) -> Crystal:
    """Return a built-in crystal by name, or the crystal in a file (see crystal_files.read)."""
    from perovskite_polaron import crystal_files, cspbbr3

    if str(source) in cspbbr3.CRYSTALS:
        return cspbbr3.CRYSTALS[str(source)]()
    return crystal_files.read(Path(source))


def write_crystal(crystal: Crystal, path: str | Path, displacement_A: ArrayLike | None = None) -> Path:
    """Write a crystal in the format of the path's extension (see crystal_files.write)."""
    from perovskite_polaron import crystal_files

    return crystal_files.write(crystal, Path(path), displacement_A)


def _frozen(values: ArrayLike) -> NDArray[np.float64]:
    array = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array


def _check(crystal: Crystal) -> None:
    from ase.data import atomic_numbers

    who, n = crystal._label, len(crystal.species)
    if n == 0:
        raise InputError(f"{who} has no atoms: give a structure with at least one atom")
    if crystal.lattice_A.shape != (3, 3) or crystal.positions.shape != (n, 3):
        raise InputError(
            f"{who} has {n} atoms but a lattice of shape {crystal.lattice_A.shape} and positions of shape"
            f" {crystal.positions.shape}: give (3, 3) and ({n}, 3)"
        )
    if crystal.parent_sites is not None and len(crystal.parent_sites) != n:
        raise InputError(f"{who} has {n} atoms but {len(crystal.parent_sites)} parent sites: give one for each atom")
    unknown = next((s for s in crystal.species if atomic_numbers.get(s, 0) == 0), None)
    if unknown is not None:
        raise InputError(f"{who} holds {unknown!r}, which is not a chemical element: correct the symbol")
    if not (np.isfinite(crystal.lattice_A).all() and np.isfinite(crystal.positions).all()):
        raise InputError(f"{who} contains NaN or infinity: correct its lattice and positions")
    if crystal.volume_A3 < OVERLAP_A**3:
        raise InputError(f"{who} has a cell of zero volume: give three independent lattice vectors in Å")
    _check_overlap(crystal)


def _check_overlap(crystal: Crystal) -> None:
    who, x = crystal._label, crystal.positions
    for i in range(len(x) - 1):
        delta = x[i + 1 :] - x[i]
        distance = np.linalg.norm((delta - np.rint(delta)) @ crystal.lattice_A, axis=1)
        near = int(distance.argmin())
        if distance[near] < OVERLAP_A:
            raise InputError(
                f"{who} has overlapping atoms: {crystal.species[i]} {i + 1} and"
                f" {crystal.species[i + 1 + near]} {i + 2 + near}"
                f" are {distance[near]:.3f} Å apart; remove one of them"
            )


def operations_between(
    crystal: Crystal, symmetry: Symmetry, start: int, end: int, tolerance_A: float
) -> NDArray[np.bool_]:
    """Return which of the m operations of a symmetry bring one atom to the place of another (or leave it, for the same)."""
    away = symmetry.rotations @ crystal.positions[start] + symmetry.translations - crystal.positions[end]
    return np.asarray(np.linalg.norm((away - np.rint(away)) @ crystal.lattice_A, axis=1) < tolerance_A)


def irreducible_kpoints(
    crystal: Crystal,
    symmetry: Symmetry,
    grid: tuple[int, int, int],
    shift: tuple[int, int, int],
    marked_atom: int | None = None,
) -> int:
    """Return how many k points of a Monkhorst-Pack grid are inequivalent, time reversal included.

    marked_atom: index of an atom that differs from the others of its element (the one with a core hole): only the
    operations of the symmetry that leave it in place then count.
    """
    rotations = symmetry.rotations
    if marked_atom is not None:
        tolerance_A = max(symmetry.symprec_A, 1e-4)
        rotations = rotations[operations_between(crystal, symmetry, marked_atom, marked_atom, tolerance_A)]
    unique = np.unique(rotations, axis=0).astype(np.intc)
    return _irreducible_kpoints(unique.tobytes(), tuple(grid), tuple(shift))


@lru_cache(maxsize=4096)
def _irreducible_kpoints(rotations: bytes, grid: tuple[int, int, int], shift: tuple[int, int, int]) -> int:
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


def _setting(cell: tuple[Any, ...], symprec_A: float, number: int) -> str | None:
    """Symbol of the tabulated setting whose axes are, up to length and origin, the axes of the cell."""
    for hall, symbol in _hall_settings(number):
        data = _spglib("get_symmetry_dataset", cell, symprec=symprec_A, hall_number=hall)
        if data is None:
            continue
        matrix = np.asarray(data.transformation_matrix)
        if np.abs(matrix - np.diag(matrix.diagonal())).max() < 1e-3:
            return symbol
    return None


@cache
def _hall_settings(number: int) -> tuple[tuple[int, str], ...]:
    """Hall number and symbol of each tabulated setting of a space group."""
    kinds = [(hall, _spglib("get_spacegroup_type", hall)) for hall in range(1, 531)]
    return tuple(
        (hall, str(k.international_full if number < 16 else k.international).split("=")[0].replace(" ", ""))
        for hall, k in kinds
        if k.number == number
    )


def _short_symbol(number: int) -> str:
    return str(_spglib("get_spacegroup_type", _hall_settings(number)[0][0]).international_short)
