"""Operations of the space group on atoms and modes; irreducible representations at Γ."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.arrays import Array
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.symmetry import find_symmetry
from perovskite_polaron.phonons.modes import Modes

SYMPREC_A = 1e-3
# Mulliken name -> the two-fold rotation, as signs of (a, b, c), under which it is symmetric.
_TWO_FOLD = {"B1": (-1, -1, 1), "B2": (-1, 1, -1), "B3": (1, -1, -1)}


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation of a space group.

    Attributes
    ----------
    lattice_rotation : (3, 3) int64
        In lattice coordinates.
    rotation : (3, 3) float64
        The same in Cartesian axes.
    place : (n,) int64
        The atom whose place each atom moves to.
    """

    lattice_rotation: NDArray[np.int64]
    rotation: Array
    place: NDArray[np.int64]


def operations(crystal: Crystal, masses_amu: Array | None = None) -> list[Operation]:
    """Return the operations of the space group found within SYMPREC_A.

    With masses (n,), only those that take each atom to one as heavy: isotopes break symmetry.
    """
    symmetry = find_symmetry(crystal, SYMPREC_A)
    lattice = crystal.lattice_A.T
    inverse = np.linalg.inv(lattice)
    found = []
    for rotation, translation in zip(symmetry.rotations, symmetry.translations, strict=True):
        images = crystal.positions @ rotation.T + translation
        place = crystal.distances_A(images[:, None] - crystal.positions).argmin(axis=1)
        if masses_amu is None or np.allclose(masses_amu[place], masses_amu, rtol=1e-3):
            found.append(Operation(rotation, lattice @ rotation @ inverse, place))
    return found


def irreps(modes: Modes) -> list[str]:
    """Return the irreducible representation of each mode at Γ; "" for another wave vector.

    Notes
    -----
    phonopy names them too, but from force constants, which a file of modes does not hold, and in
    its own setting.

    The group is the point group of the crystal, or, for modes with a direction, the operations that
    keep that direction up to its sign. Characters are those of the whole degenerate subspace, so
    degenerate modes share one name. With only two-fold axes along the lattice vectors the names are
    complete (Mulliken's B1, B2, B3: symmetric under the two-fold axis along c, b, a *of the crystal
    as given*; in Pnma the polar mode along the long axis b is B2u, in Pbnm, where that axis is c,
    it is B1u). In other groups they give the dimension (A or B, E, T), T1 or T2 in a cubic crystal,
    and the parity (g, u). A subspace that is no single representation (an accidental degeneracy)
    lists its parts when the group has two-fold axes only, and is called "mixed" otherwise.
    """
    if not modes.at_gamma:
        return [""] * len(modes)
    group: dict[tuple[int, ...], Operation] = {}
    for operation in operations(modes.crystal, modes.masses_amu):
        along = modes.direction
        if along is None or abs(abs(along @ operation.rotation @ along) - 1) < 1e-4:
            # Lattice translations of a non-primitive cell repeat a rotation: at Γ one of them
            # speaks for all.
            group.setdefault(tuple(operation.lattice_rotation.ravel().tolist()), operation)
    members = list(group.values())
    weighted = modes.weighted.reshape(len(modes), -1, 3)
    names = [""] * len(modes)
    for block in modes.degenerate_groups:
        u = weighted[block]
        characters = np.array([_character(u, operation) for operation in members])
        names[block] = [_name(members, characters, len(u))] * len(u)
    return names


def _character(u: NDArray[np.complex128], operation: Operation) -> float:
    image = np.empty_like(u)
    image[:, operation.place] = u @ operation.rotation.T
    return float(np.einsum("mka,mka->", u.conj(), image).real)


def _name(group: list[Operation], characters: Array, dimension: int) -> str:
    diagonal = [tuple(np.diag(o.lattice_rotation).tolist()) for o in group]
    if all(np.array_equal(np.diag(d), o.lattice_rotation)
           for d, o in zip(diagonal, group, strict=True)):
        if sorted(diagonal) == sorted(product((-1, 1), repeat=3)):
            return _orthorhombic(diagonal, characters, dimension, ("g", "u"))
        if sorted(diagonal) == sorted([(1, 1, 1), *_TWO_FOLD.values()]):
            return _orthorhombic(diagonal, characters, dimension, ("",))
    kinds = [_kind(o.rotation) for o in group]
    mean = {k: np.mean([c for c, other in zip(characters, kinds, strict=True) if other == k])
            for k in kinds}
    if dimension > 3 or abs(np.mean(characters**2) - 1) > 0.05:
        return "mixed"
    parity = ("g" if mean[1, -1] > 0 else "u") if (1, -1) in mean else ""
    if dimension == 1:
        highest = max(n for n, sign in kinds if sign > 0)
        return ("A" if highest == 1 or mean[highest, 1] > 0 else "B") + parity
    four = next((k for k in ((4, 1), (4, -1)) if k in mean), None)
    if dimension == 3 and four is not None:
        return ("T1" if mean[four] > 0 else "T2") + parity
    return {2: "E", 3: "T"}[dimension] + parity


def _kind(rotation: Array) -> tuple[int, int]:
    """Order of the rotation part, and determinant: (1, −1) is the inversion, (2, −1) a mirror."""
    sign = round(float(np.linalg.det(rotation)))
    # 1 + 2 cos(angle) of the proper part is its trace.
    return {3: 1, -1: 2, 0: 3, 1: 4, 2: 6}[round(sign * float(np.trace(rotation)))], sign


def _orthorhombic(rotations: list[tuple[int, ...]], characters: Array, dimension: int,
                  parities: tuple[str, ...]) -> str:
    """One-dimensional representations of mmm (parities g, u) or 222 that a subspace holds."""
    parts: list[str] = []
    for parity in parities:
        for name in ("A", *_TWO_FOLD):
            expected = []
            for signs in rotations:
                improper = np.prod(signs) < 0
                proper = tuple(-s for s in signs) if improper else signs
                even = proper == (1, 1, 1) or name == "A" or proper == _TWO_FOLD[name]
                expected.append((1 if even else -1) * (-1 if improper and parity == "u" else 1))
            parts += [name + parity] * round(float(np.mean(np.array(expected) * characters)))
    return "+".join(parts) if len(parts) == dimension else "mixed"
