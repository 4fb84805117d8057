"""From force constants and charges to modes: the dynamical matrix at one wave vector, with its non-analytic term."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import constants

from perovskite_polaron.crystal import Crystal
from perovskite_polaron.errors import InputError
from perovskite_polaron.phonons.finite_displacement import ForceConstants
from perovskite_polaron.phonons.response import Response
from perovskite_polaron.phonons.spectrum import PhononModes, diagonalise

COULOMB_EV_A = constants.e / (4 * np.pi * constants.epsilon_0) * 1e10
"""e²/4πε0 in eV·Å."""


def crystal_direction(crystal: Crystal, direction: str | Sequence[float]) -> NDArray[np.float64]:
    """Return the Cartesian unit vector (3,) of a direction given in the crystal's own axes.

    direction  "a", "b", "c": along that lattice vector; three numbers u v w: along u·a + v·b + w·c of the crystal as
               given, a direct direction [u v w]

    The axes are those of the crystal that the user gave: no standard setting or primitive cell is looked for. In an
    orthorhombic cell c and 0 0 1 are one direction, and c* too; 1 1 0 is [110], not the normal of (110).
    Raises InputError for anything else.
    """
    axis = axis_numbers(direction) @ crystal.lattice_A
    return np.asarray(axis / np.linalg.norm(axis))


def axis_numbers(direction: str | Sequence[float]) -> NDArray[np.float64]:
    """Return u v w (3,) of a direction written as crystal_direction describes; errors as there."""
    if isinstance(direction, str):
        if direction not in ("a", "b", "c"):
            raise InputError(
                f"direction {direction!r} is not understood: give a, b or c, or three numbers such as 0 0 1"
            )
        return np.eye(3)["abc".index(direction)]
    numbers = np.asarray(direction, dtype=np.float64)
    if numbers.shape != (3,) or not np.isfinite(numbers).all() or not numbers.any():
        raise InputError(f"direction {direction} is not three numbers, not all zero: give one such as 0 0 1")
    return numbers


def force_matrix(force: ForceConstants, q: ArrayLike = (0.0, 0.0, 0.0)) -> NDArray[np.complex128]:
    """Return Φ(q) = Σ_R Φ(0, R) exp(2πi q·R), (3n, 3n) complex in eV/Å², for q in reciprocal-lattice coordinates.

    Only a wave that is periodic in the supercell is exact; raises InputError for another.
    """
    q = np.asarray(q, dtype=np.float64)
    turns = q * force.repeats
    if q.shape != (3,) or not np.isfinite(q).all() or np.abs(turns - np.rint(turns)).max() > 1e-6:
        size = "×".join(map(str, force.repeats))
        raise InputError(f"the wave vector {q.tolist()} is not periodic in the {size} supercell: use a larger one")
    n = len(force.crystal)
    matrix = np.zeros((n, n, 3, 3), dtype=np.complex128)
    phase = np.exp(2j * np.pi * force.cells @ q)
    for atom in range(n):
        here = force.atoms == atom
        matrix[:, atom] = np.einsum("kjab,j->kab", force.values_eV_A2[:, here], phase[here])
    return matrix.transpose(0, 2, 1, 3).reshape(3 * n, 3 * n)


def non_analytic(crystal: Crystal, response: Response, direction: ArrayLike) -> NDArray[np.float64]:
    """Return what the macroscopic field of a wave with q → 0 along a direction adds to Φ, (3n, 3n) in eV/Å².

    (4π/Ω)(e²/4πε0) (q·Z_i)(q·Z_j) / (q·ε∞·q), with q a Cartesian direction of any length: Cochran and Cowley,
    J. Phys. Chem. Solids 23, 447 (1962); Gonze and Lee, Phys. Rev. B 55, 10355 (1997), eq. 60.
    """
    q = np.asarray(direction, dtype=np.float64)
    z = np.einsum("a,kab->kb", q, response.born_e).ravel()
    return np.asarray(4 * np.pi * COULOMB_EV_A / crystal.volume_A3 * np.outer(z, z) / (q @ response.epsilon_inf @ q))


def phonon_modes(
    force: ForceConstants,
    q: ArrayLike = (0.0, 0.0, 0.0),
    response: Response | None = None,
    direction: ArrayLike | None = None,
    masses_amu: ArrayLike | None = None,
    provenance: str = "",
) -> PhononModes:
    """Return the modes at one wave vector; at q = 0 with the macroscopic field along a Cartesian direction, if given.

    masses_amu  (n,) by default the standard ones
    Raises InputError when a direction comes without charges or with q ≠ 0, or q does not fit the supercell.
    """
    crystal = force.crystal
    matrix = force_matrix(force, q)
    if direction is not None:
        if response is None:
            raise InputError(
                "the longitudinal modes along a direction need Born charges and ε∞: give them with a BORN file,"
                " or leave the direction out to see the transverse modes"
            )
        if np.any(q):
            raise InputError("a direction is the limit q → 0: give it with the wave vector 0 0 0")
        matrix = matrix + non_analytic(crystal, response, direction)
    masses = crystal.masses_amu if masses_amu is None else masses_amu
    return diagonalise(crystal, masses, matrix, q, direction, provenance)
