"""The macroscopic field in modes at Γ: put in, taken out, and looked for in other programs' modes.

A file of eigenvectors rarely says whether the field of a wave with q → 0 was in it, or along which
direction. The symmetry of the crystal shows it: without a field the dynamical matrix has all of it.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.phonons.canonical import diagonalise
from perovskite_polaron.phonons.modes import Modes
from perovskite_polaron.phonons.response import Response, non_analytic
from perovskite_polaron.phonons.symmetry import Operation, operations
from perovskite_polaron.units import HBAR2_PER_AMU_A2_EV

# Largest element of a matrix that differs from its image, relative to the largest of all: beyond it
# the crystal is another one; below the smaller it is what the digits of a file leave.
_BROKEN, _DIGITS = 0.02, 1e-4


def dynamical_matrix(modes: Modes) -> NDArray[np.complex128]:
    """Return Σ ω² e e* (3n, 3n) of modes at Γ, eV/Å²/amu."""
    squares = np.sign(modes.energies_meV) * (modes.energies_meV * 1e-3) ** 2 / HBAR2_PER_AMU_A2_EV
    return np.asarray(np.einsum("m,mi,mj->ij", squares, modes.weighted, modes.weighted.conj()))


def with_field(transverse: Modes, response: Response, along: Array) -> Modes:
    """Add the field of a Cartesian direction to all modes at Γ."""
    return _changed(transverse, non_analytic(transverse.crystal, response, along), along)


def without_field(modes: Modes, response: Response, path: str | Path) -> Modes:
    """Take the field along their direction out of all modes at Γ.

    Raises
    ------
    InputError
        When what is left lacks the symmetry of the crystal, or has imaginary frequencies that the
        modes have not: then these charges are not those of the calculation, or no field was in it.
    """
    direction = modes.direction
    assert direction is not None
    found = _changed(modes, -non_analytic(modes.crystal, response, direction), None)
    matrix, group = dynamical_matrix(found), operations(modes.crystal, modes.masses_amu)
    broken = np.abs(matrix - _mean(matrix, group)).max() > _BROKEN * np.abs(matrix).max()
    require(not broken and (modes.unstable.any() or not found.unstable.any()), f"{path}: the field"
            f" that the charges of {response.source} make along the direction is not in these"
            " modes: give the charges and the direction of the calculation, or leave both out")
    return found


def _changed(modes: Modes, added: Array, along: Array | None) -> Modes:
    root = np.sqrt(np.repeat(modes.masses_amu, 3))
    phi = dynamical_matrix(modes) * np.outer(root, root) + added
    return diagonalise(modes.crystal, modes.masses_amu, phi, (0.0, 0.0, 0.0), along,
                       modes.provenance)


def require_symmetry(modes: Modes, path: str | Path) -> None:
    """Refuse all modes at Γ that are not of their crystal, or not with the field that they name.

    They must have three rigid translations. Without a direction their dynamical matrix D must have
    the symmetry of the crystal. With one, what D has less must be what a field along it takes: f fᵀ
    minus its mean over the group, f = q·Z/√m with charges Z that are as symmetric as the crystal
    and neutral. Nothing is known of such charges, so a combination of all that are possible is
    fitted. Where a field along the direction breaks no symmetry, nothing can be told.

    Raises
    ------
    InputError
        Naming what does not fit. That is also how a file without a crystal shows that the atoms
        come in another order, or the axes in another setting.
    """
    crystal, along = modes.crystal, modes.direction
    if not modes.at_gamma or len(modes) != 3 * len(crystal):
        return
    require(np.count_nonzero(modes.translation_share > 0.9) == 3,
            f"{path} has no three rigid translations with the masses and atoms of {crystal.label}:"
            " give the crystal with masses and order of atoms of the calculation (--crystal)")
    matrix, group = dynamical_matrix(modes), operations(crystal, modes.masses_amu)
    broken = matrix - _mean(matrix, group)
    scale = np.abs(matrix).max()
    if along is None:
        require(np.abs(broken).max() <= _BROKEN * scale, f"{path} does not have the symmetry of"
                f" {crystal.label}: axes, setting or order of atoms are not those of the"
                " calculation (give its crystal with --crystal), or q went to 0 along a direction"
                " that must be given (--direction)")
        return
    possible = _fields(modes, along, group)
    seen = any(abs(along @ o.rotation @ along) < 1 - 1e-6 for o in group) and len(possible)
    require(not seen or np.abs(broken).max() > _DIGITS * scale, f"{path} has the whole symmetry of"
            f" {crystal.label}: q did not go to 0 along a direction; leave --direction out")
    if np.abs(broken).max() <= _DIGITS * scale:
        return
    first, second = np.triu_indices(len(possible))
    pairs = possible[first, :, None] * possible[second, None, :]
    pairs = pairs + pairs.swapaxes(1, 2)
    columns = (pairs - _mean(pairs, group)).reshape(len(pairs), -1).T
    rest = broken.ravel() - columns @ np.linalg.lstsq(columns, broken.real.ravel())[0]
    if np.abs(rest).max() > _BROKEN * scale:
        raise InputError(f"{path} does not have the symmetry of {crystal.label} for this direction:"
                         " axes, setting or order of atoms are not those of the calculation (give"
                         " its crystal with --crystal), or q went to 0 along another one; give that"
                         " (phonopy's q_direction counts in a*, b* and c*)")


def _fields(modes: Modes, along: Array, group: list[Operation]) -> Array:
    """Orthonormal rows (d, 3n) that span q·Z/√m of all neutral, symmetric charges Z."""
    n = len(modes.crystal)
    atoms = np.arange(n)
    total = np.zeros((n, 3, n, 3, 3))
    for o in group:
        total[o.place, :, atoms] += np.einsum("ab,xc,x->abc", o.rotation, o.rotation, along)
    total = (total - total.mean(axis=0)) / np.sqrt(modes.masses_amu)[:, None, None, None, None]
    u, sizes, _ = np.linalg.svd(total.reshape(3 * n, -1), full_matrices=False)
    return np.asarray(u.T[sizes > 1e-8 * max(float(sizes.max()), 1e-8)])


def _mean(matrices: NDArray[Any], group: list[Operation]) -> NDArray[Any]:
    """Mean of the images of matrices (..., 3n, 3n) under the operations."""
    n = matrices.shape[-1] // 3
    blocks = matrices.reshape(-1, n, 3, n, 3)
    total = np.zeros_like(blocks)
    for o in group:
        origin = np.argsort(o.place)
        moved = blocks[:, origin][:, :, :, origin]
        # From (p, i, a, j, b) to (p, i, j, b, a) and (p, i, j, a, b).
        moved = np.tensordot(np.tensordot(moved, o.rotation, (2, 1)), o.rotation, (3, 1))
        total += moved.swapaxes(2, 3)
    return total.reshape(matrices.shape) / len(group)
