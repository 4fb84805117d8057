"""Born effective charges and the electronic dielectric tensor: from a BORN file, by hand, or assumed for CsPbBr3.

From force constants and charges to modes: the dynamical matrix at one wave vector, with its non-analytic term.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import constants

from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.files import read_text
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.octahedra import find_framework
from perovskite_polaron.lattice.symmetry import find_symmetry
from perovskite_polaron.phonons.forces import ForceConstants
from perovskite_polaron.phonons.modes import PhononModes, diagonalise
from perovskite_polaron.phonons.symmetry import operations
from perovskite_polaron.published_cspbbr3 import CHARGES_E, EPSILON_INF, FORMULA

NEUTRALITY_E_PER_ATOM = 0.05
"""Largest |Σ Z| over the number of atoms that is put down to convergence (default); beyond it charges are refused.

CsPbBr3 at 35/280 Ry misses by 0.02 e an atom on 4×4×4 k points with the lead of the recipes here. With PSlibrary's it
misses by 0.09 e on 2×2×4 (along c; 0.04 in the plane), by 0.19 on 2×2×2 and 0.14 on 2×2×1; the 0.09 e are the cut-off's, which is
low for that lead, and not the grid's. Whether they go equally to all atoms or to those of one element moves the energy of its
highest longitudinal mode by up to 2 %, the ratio of axial to equatorial displacements by up to 15 %.
"""


@dataclass(frozen=True, eq=False)
class Response:
    """How a crystal answers to an electric field with its nuclei held still; neutral, and as symmetric as the crystal.

    epsilon_inf  (3, 3) electronic dielectric tensor, Cartesian
    born_e       (n, 3, 3) born_e[k, α, β] = Ω ∂P_α/∂u_kβ (polarisation first), elementary charges; Σ_k born_e[k] = 0
    residual     largest |Σ_k Z_k| before neutrality was enforced, in elementary charges for the whole cell
    source       free text: where they come from
    """

    epsilon_inf: NDArray[np.float64]
    born_e: NDArray[np.float64]
    residual: float
    source: str = ""


def neutral_response(
    crystal: Crystal,
    epsilon_inf: ArrayLike,
    born_e: ArrayLike,
    source: str = "",
    neutrality_e_per_atom: float = NEUTRALITY_E_PER_ATOM,
) -> Response:
    """Return a response from a dielectric tensor (3, 3) and the charges (n, 3, 3) of every atom of the crystal.

    Charges and tensor are averaged over the space group, and what is missing to neutrality is shared out equally among
    the atoms (the acoustic sum rule of Gonze and Lee, Phys. Rev. B 55, 10355 (1997)).
    Raises InputError for wrong shapes or NaN; ComputationError when |Σ Z| exceeds neutrality_e_per_atom for each atom,
    or the dielectric tensor has an eigenvalue below 1.
    """
    epsilon, born = np.asarray(epsilon_inf, dtype=np.float64), np.asarray(born_e, dtype=np.float64)
    n = len(crystal)
    if epsilon.shape != (3, 3) or born.shape != (n, 3, 3):
        raise InputError(
            f"{source or 'the response'} holds a dielectric tensor {epsilon.shape} and charges {born.shape}:"
            f" {crystal.label} needs (3, 3) and ({n}, 3, 3)"
        )
    if not (np.isfinite(epsilon).all() and np.isfinite(born).all()):
        raise InputError(f"{source or 'the response'} holds NaN or infinity: calculate it again")
    if np.linalg.eigvalsh((epsilon + epsilon.T) / 2).min() < 1:
        raise ComputationError(
            f"{source or 'the response'} has a dielectric constant below 1, which no crystal has: converge it on the k grid"
        )
    missing = born.sum(axis=0)
    residual = float(np.abs(missing).max())
    if residual > neutrality_e_per_atom * n:
        i, j = np.unravel_index(np.abs(missing).argmax(), (3, 3))
        raise ComputationError(
            f"the Born charges of {source or 'the response'} miss neutrality by {residual:.2f} e ({'xyz'[i]}{'xyz'[j]},"
            f" {n} atoms; {neutrality_e_per_atom * n:.2f} e is tolerated): they are not converged, use a denser k grid or a higher cut-off"
        )
    epsilon, born = _symmetrised(crystal, epsilon, born)
    born = born - born.mean(axis=0)
    for array in (epsilon, born):
        array.setflags(write=False)
    return Response(epsilon, born, residual, source)


def read_born(path: str | Path, crystal: Crystal) -> Response:
    """Return the response in a BORN file of phonopy.

    The file holds a factor or comment, the nine numbers of the dielectric tensor, and nine numbers for every atom or for
    each symmetry-inequivalent atom of the crystal, in the order of their first appearance. The axes are those of the
    crystal as given. Raises InputError for a missing or damaged file or a wrong number of atoms.
    """
    lines = [(i, text.split("#")[0].split()) for i, text in enumerate(read_text(path, "BORN file").splitlines(), 1)]
    rows = []
    for number, words in [(i, words) for i, words in lines if words][1:]:
        try:
            rows.append(np.array([float(w) for w in words]).reshape(3, 3))
        except ValueError:
            raise InputError(f"nine numbers are expected in a line of a BORN file ({path}:{number})") from None
    if not rows:
        raise InputError(f"{path} holds no dielectric tensor: give a BORN file of phonopy")
    symmetry = find_symmetry(crystal)
    first = list(dict.fromkeys(symmetry.equivalent_atoms.tolist()))
    given = len(rows) - 1
    if given == len(crystal):
        born = np.array(rows[1:])
    elif given == len(first):
        born = np.zeros((len(crystal), 3, 3))
        for o in operations(crystal):
            for atom, z in zip(first, rows[1:], strict=True):
                born[o.place[atom]] = o.rotation @ z @ o.rotation.T
    else:
        raise InputError(
            f"{path} holds the charges of {given} atoms: {crystal.label} has {len(crystal)} atoms,"
            f" {len(first)} of them inequivalent; give charges for all or for these"
        )
    return neutral_response(crystal, rows[0], born, str(path))


def assumed_response(crystal: Crystal) -> Response | None:
    """Return the built-in charges of CsPbBr3 for any of its phases and settings; None for another compound.

    An approximation: the charge of Br is −4.20 along the Pb-Br-Pb line and −0.84 across, that of Pb +4.65, ε∞ 4.75,
    isotropic. Cs gets what neutrality leaves, +1.23.
    """
    if crystal.formula != FORMULA:
        return None
    table = CHARGES_E
    framework = find_framework(crystal)
    # The nearest orthogonal axes: with them the charges of Br along and across add up over the three lines.
    u, _, vt = np.linalg.svd(framework.axes)
    axes = u @ vt
    charges = {"Pb": table["Pb"], "Cs": -table["Pb"] - table["Br along"] - 2 * table["Br across"], "Br": 0.0}
    born = np.array([charges[s] * np.eye(3) for s in crystal.species])
    for ligands in framework.ligands:
        for slot, atom in enumerate(ligands):
            n = axes[slot // 2]
            born[atom] = table["Br across"] * np.eye(3) + (table["Br along"] - table["Br across"]) * np.outer(n, n)
    return neutral_response(
        crystal,
        EPSILON_INF * np.eye(3),
        born,
        "built-in approximate charges of CsPbBr3: Pb 4.65, Br -4.20 along and -0.84 across the Pb-Br-Pb line, Cs 1.23"
        " (from neutrality), ε∞ 4.75",
    )


def _symmetrised(
    crystal: Crystal, epsilon: NDArray[np.float64], born: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    mean, total = np.zeros((3, 3)), np.zeros_like(born)
    group = operations(crystal)
    for o in group:
        mean += o.rotation @ epsilon @ o.rotation.T
        total[o.place] += o.rotation @ born @ o.rotation.T
    mean /= len(group)
    return (mean + mean.T) / 2, total / len(group)



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
