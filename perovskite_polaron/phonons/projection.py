"""How much of which mode an observed displacement holds: "this distortion is 92 % LO(c)".

With mass-weighted displacements w = √m·u the modes are orthonormal, so the normal coordinate of
each is a scalar product, Q = w_mode · w, the shares Q²/|w|² add up, and what the modes leave over
is orthogonal to all of them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import require
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.matching import POSITION_TOLERANCE_A, match
from perovskite_polaron.phonons.distortion import real_patterns
from perovskite_polaron.phonons.modes import Modes

_OVERLAP = 1e-3


@dataclass(frozen=True, eq=False)
class Projection:
    """A displacement as a sum of modes.

    Attributes
    ----------
    modes : Modes
        The m modes, in their order.
    Q_sqrt_amu_A : (m,) float64
        Normal coordinates, Å·√amu per primitive cell; for a wave that is not real, (Q of phase 0, Q
        of phase 90°) combined to their magnitude.
    phase_rad : (m,) float64
        Phase of such a wave, 0 for the others.
    share : (m,) float64
        Part of the squared mass-weighted norm, 0 to 1, the rigid translation left out.
    remainder : float
        Part that none of the modes holds, 0 to 1.
    remainder_A : (n, 3) float64
        Cartesian displacements of that part, Å.
    translation_A : (3,) float64
        Rigid translation that was removed, Å.
    displacement_A : (n, 3) float64
        The displacements as given, in the axes of the reference, Å.
    norm_sqrt_amu_A : float
        √(Σ m|u|²) per primitive cell after that removal, Å·√amu.
    """

    modes: Modes
    Q_sqrt_amu_A: Array
    phase_rad: Array
    share: Array
    remainder: float
    remainder_A: Array
    translation_A: Array
    displacement_A: Array
    norm_sqrt_amu_A: float


def project(displacement_A: Array, reference: Crystal, modes: Modes,
            position_tolerance_A: float = POSITION_TOLERANCE_A) -> Projection:
    """Return the displacements of the atoms of a reference crystal as a sum of modes.

    Parameters
    ----------
    displacement_A : (n, 3) float64
        Cartesian, Å, as from lattice.matching.displacement.
    reference : Crystal
        For modes with q ≠ 0 a supercell in which they are periodic.
    modes : Modes
        Of the reference's primitive cell, in any setting; rigid translations are left out.
    position_tolerance_A : float
        How far the atoms of the reference and of the modes may be apart.

    Raises
    ------
    InputError
        When shapes, crystal or masses do not match, modes are not orthogonal (one of them twice,
        say), or nothing moves.
    """
    modes = modes[modes.translation_share < 0.5]
    u = np.array(displacement_A, dtype=np.float64)
    require(u.shape == (len(reference), 3) and np.isfinite(u).all(),
            f"displacements of shape {u.shape} are not finite numbers for the {len(reference)}"
            f" atoms of {reference.label}")
    masses = modes.masses_amu[match(reference, modes.crystal, position_tolerance_A).atoms]
    weight = np.sqrt(masses * len(modes.crystal) / len(reference))
    basis, real = _basis(reference, modes, weight, position_tolerance_A)
    rigid = np.repeat(weight / np.linalg.norm(weight), 3) * np.tile(np.eye(3), len(reference))
    # Solved together, and not one after the other: overlap that a file's digits left does not spill
    # over.
    w = (u * weight[:, None]).ravel()
    both = np.vstack([basis, rigid])
    coefficients = np.linalg.solve(both @ both.T, both @ w)
    norm = float(np.linalg.norm(w - coefficients[-3:] @ rigid))
    require(norm > 1e-12 * max(1.0, float(np.linalg.norm(w))), f"no atom of {reference.label}"
            " moves, apart from a rigid translation: nothing to project")
    first, second = coefficients[: len(modes)], np.zeros(len(modes))
    second[~real] = coefficients[len(modes) : -3]
    q = np.where(real, first, np.hypot(first, second))
    rest = w - coefficients @ both
    return Projection(modes, q, np.where(real, 0.0, np.arctan2(second, first)), (q / norm) ** 2,
                      float((np.linalg.norm(rest) / norm) ** 2),
                      rest.reshape(-1, 3) / weight[:, None],
                      coefficients[-3:] / np.linalg.norm(weight), u, norm)


def _basis(reference: Crystal, modes: Modes, weight: Array,
           position_tolerance_A: float) -> tuple[Array, NDArray[np.bool_]]:
    """Mass-weighted unit rows: one for each mode, a second (phase 90°) for each running wave."""
    doubled = 2 * modes.q
    real = np.abs(doubled - np.rint(doubled)).max(axis=1) < 1e-6
    rows = [real_patterns(reference, modes, 0.0, position_tolerance_A)]
    names = [*modes.names, *modes[~real].names]
    if not real.all():
        rows.append(real_patterns(reference, modes[~real], np.pi / 2, position_tolerance_A))
    basis = (np.vstack(rows) * weight[:, None]).reshape(len(names), -1)
    overlap = np.abs(basis @ basis.T - np.eye(len(basis)))
    i, j = (int(k) for k in np.unravel_index(overlap.argmax(), overlap.shape))
    require(overlap[i, j] <= _OVERLAP, f"modes {names[i]!r} and {names[j]!r} are not independent:"
            " give each once, and not q and −q")
    return basis, real
