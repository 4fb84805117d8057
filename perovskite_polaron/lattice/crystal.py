"""Crystals: what a structure file says, kept exactly as it says it, and the symmetry found in it.

Nothing here wraps, re-orders or re-standardises atoms: a frozen phonon would not survive it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import InputError, require

#: Two atoms closer than this are the same atom twice, the halves of a disordered one, or in a wrong
#: unit: such a crystal is refused. The shortest bonds are 0.74 Å (H-H) and, without H, 1.1 Å.
OVERLAP_A, HEAVY_OVERLAP_A = 0.5, 0.9
#: Isotopes that files give a symbol: their masses in amu.
ISOTOPES = {"D": 2.01410178, "T": 3.01604928}


# Gadolinium has 7 unpaired electrons, and no atom more than 8.
_MOST_MUB = 10.0


@dataclass(frozen=True, eq=False)
class Crystal:
    """A periodic arrangement of atoms.

    Parameters
    ----------
    lattice_A : (3, 3) float64
        Rows a, b, c in Å; read-only once it is in.
    species : (n,) tuple of str
        Chemical symbols.
    positions : (n, 3) float64
        Fractional, as given; read-only once they are in.
    name : str
        Free text, used in messages and file headers.
    parent_sites : (n,) tuple of str, optional
        Wyckoff site of each atom in the crystal it was displaced from, such as "4c".
    isotopes_amu : (n,) float64, optional
        Mass of each atom that is an isotope; NaN where the standard mass holds.
    moments_muB : (n,) tuple of float, optional
        Magnetic moment of each atom along one axis, µB. Atoms of different moments are different to
        every symmetry operation.

    Raises
    ------
    InputError
        For no atoms, wrong shapes, an unknown element, NaN, zero volume or overlapping atoms.
    """

    lattice_A: Array
    species: tuple[str, ...]
    positions: Array
    name: str = ""
    parent_sites: tuple[str, ...] | None = None
    isotopes_amu: ArrayLike | None = None
    moments_muB: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "lattice_A", _frozen(self.lattice_A))
        put(self, "positions", _frozen(self.positions))
        put(self, "species", tuple(str(s) for s in self.species))
        if self.parent_sites is not None:
            put(self, "parent_sites", tuple(str(s) for s in self.parent_sites))
        if self.moments_muB is not None:
            put(self, "moments_muB", tuple(float(m) for m in self.moments_muB))
        _check(self)

    def __len__(self) -> int:
        return len(self.species)

    @property
    def label(self) -> str:
        """What messages call the crystal: its name, or "this crystal"."""
        return self.name or "this crystal"

    @property
    def kinds(self) -> tuple[tuple[str, float], ...]:
        """(n,) element and moment of each atom: what tells atoms apart."""
        moments = self.moments_muB or (0.0,) * len(self)
        return tuple(zip(self.species, moments, strict=True))

    @property
    def formula(self) -> str:
        """Reduced formula, metals first: "CsPbBr3" for any cell of it, "Cs4PbBr6" for another."""
        return str(self._reduced[0].format("metal"))

    @property
    def formula_units(self) -> int:
        """How many of the reduced formula the cell holds."""
        return int(self._reduced[1])

    @cached_property
    def _reduced(self) -> tuple[Any, int]:
        from ase.formula import Formula

        return Formula.from_dict(Counter(self.species)).reduce()

    @cached_property
    def cartesian_A(self) -> Array:
        """(n, 3) Cartesian positions in Å."""
        return _frozen(self.positions @ self.lattice_A)

    @property
    def volume_A3(self) -> float:
        """Volume of the cell in Å³."""
        return float(abs(np.linalg.det(self.lattice_A)))

    @cached_property
    def masses_amu(self) -> Array:
        """(n,) atomic masses in amu: standard, but for isotopes."""
        from ase.data import atomic_masses, atomic_numbers

        standard = np.array([atomic_masses[atomic_numbers[s]] for s in self.species])
        given = np.nan if self.isotopes_amu is None else np.asarray(self.isotopes_amu)
        return _frozen(np.where(np.isfinite(given), given, standard))

    def distances_A(self, apart: Array) -> Array:
        """Return the lengths (...) in Å of fractional vectors (..., 3), to the image nearest to 0.

        In an oblique cell another image may be nearer to vectors longer than half its least height.
        """
        return np.asarray(np.linalg.norm((apart - np.rint(apart)) @ self.lattice_A, axis=-1))

    def require(self, element: str) -> None:
        """Raise InputError, which names the elements there are, unless this one is among them."""
        if element not in self.species:
            there = ", ".join(dict.fromkeys(self.species))
            raise InputError(f"{element} is not in {self.label}: its elements are {there}")

    def with_positions(self, positions: ArrayLike) -> "Crystal":
        """Return the crystal with other fractional positions (n, 3)."""
        return replace(self, positions=np.asarray(positions, dtype=np.float64))


def supercell(crystal: Crystal, repeats: tuple[int, int, int]) -> Crystal:
    """Return the crystal repeated n1 × n2 × n3 times along its axes.

    The cells follow each other, last axis fastest, each holding the atoms in their given order.

    Raises
    ------
    InputError
        Unless the repeats are three positive integers.
    """
    require(len(repeats) == 3 and all(int(n) == n and n >= 1 for n in repeats),
            f"supercell {repeats} is not possible: give three positive integers, such as 2 2 1")
    n = np.array(repeats, dtype=int)
    cells = np.indices(tuple(n.tolist())).reshape(3, -1).T
    positions = (cells[:, None, :] + crystal.positions[None]).reshape(-1, 3) / n
    parents = crystal.parent_sites
    parents = None if parents is None else parents * len(cells)
    isotopes = crystal.isotopes_amu
    isotopes = None if isotopes is None else np.tile(isotopes, len(cells))
    return Crystal(crystal.lattice_A * n[:, None], crystal.species * len(cells), positions,
                   crystal.name, parents, isotopes,
                   None if crystal.moments_muB is None else crystal.moments_muB * len(cells))


def isotopes_amu(species: Sequence[str], masses_amu: ArrayLike) -> Array | None:
    """Return those masses (n,) that are an isotope's, NaN elsewhere; None where none is.

    Masses within 1 % of the standard one are that. Masses 15 % off, but those of D and T, are taken
    for placeholders: programs that do not need masses are often given 1.
    """
    from ase.data import atomic_masses, atomic_numbers

    given = np.asarray(masses_amu, dtype=np.float64)
    apart = np.abs(given / [atomic_masses[atomic_numbers[s]] for s in species] - 1)
    heavy = np.abs(np.subtract.outer(given, list(ISOTOPES.values()))).min(axis=1) < 0.02
    isotope = (apart > 0.01) & ((apart < 0.15) | (heavy & (np.array(species) == "H")))
    return np.where(isotope, given, np.nan) if isotope.any() else None


def _frozen(values: ArrayLike) -> Array:
    array = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array


def _check(crystal: Crystal) -> None:
    from ase.data import atomic_numbers
    from ase.neighborlist import primitive_neighbor_list

    who, n = crystal.label, len(crystal.species)
    require(n > 0, f"{who} has no atoms: give a structure with at least one atom")
    require(crystal.lattice_A.shape == (3, 3) and crystal.positions.shape == (n, 3),
            f"{who} has {n} atoms but a lattice of shape {crystal.lattice_A.shape} and positions"
            f" of shape {crystal.positions.shape}: give (3, 3) and ({n}, 3)")
    if crystal.parent_sites is not None and len(crystal.parent_sites) != n:
        raise InputError(f"{who} has {n} atoms but {len(crystal.parent_sites)} parent sites: give"
                         " one for each atom")
    if crystal.moments_muB is not None:
        moments = np.array(crystal.moments_muB)
        require(moments.shape == (n,) and (np.abs(moments) <= _MOST_MUB).all(), f"{who} has {n}"
                f" atoms: give {n} moments in µB, none above {_MOST_MUB:g} (now {len(moments)})")
    unknown = next((s for s in crystal.species if atomic_numbers.get(s, 0) == 0), None)
    require(unknown is None,
            f"{who} holds {unknown!r}, which is not a chemical element: correct the symbol")
    require(np.isfinite(crystal.lattice_A).all() and np.isfinite(crystal.positions).all(),
            f"{who} contains NaN or infinity: correct its lattice and positions")
    require(crystal.volume_A3 >= OVERLAP_A**3,
            f"{who} has a cell of zero volume: give three independent lattice vectors in Å")
    # Diamond has 0.18; far denser ones would also take all memory in the search for neighbours.
    require(n <= max(1, 2 * crystal.volume_A3), f"{who} has overlapping atoms: {n} of them in"
            f" {crystal.volume_A3:.4g} Å³; correct its lattice or positions")
    wrapped = (crystal.positions - np.floor(crystal.positions)) @ crystal.lattice_A
    reach = OVERLAP_A if set(crystal.species) == {"H"} else HEAVY_OVERLAP_A
    near = primitive_neighbor_list("ijd", (True,) * 3, crystal.lattice_A, wrapped, reach)
    for i, j, d in sorted(zip(*near, strict=True)):
        if d > OVERLAP_A and "H" in (crystal.species[i], crystal.species[j]):
            continue
        raise InputError(f"{who} has overlapping atoms: {crystal.species[i]} {i + 1} and"
                         f" {crystal.species[j]} {j + 1} are {d:.3f} Å apart; remove one of them")
