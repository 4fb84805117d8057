"""How much of which mode an observed displacement holds: "this distortion is 92 % LO(c)".

With mass-weighted displacements w = sqrt(m)·u the modes are orthonormal, so the normal coordinate of each is a scalar
product, Q = w_mode · w, the shares Q²/|w|² add up, and what the modes leave over is orthogonal to all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import InputError
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.matching import LATTICE_TOLERANCE, POSITION_TOLERANCE_A, match
from perovskite_polaron.phonons.distortion import real_patterns
from perovskite_polaron.phonons.modes import Mode, ModeSet, PhononModes

_OVERLAP = 1e-3


@dataclass(frozen=True, eq=False)
class Projection:
    """A displacement as a sum of modes.

    modes                     (m) the modes, in their order
    Q_sqrt_amu_A              (m,) float64 normal coordinates, Å·sqrt(amu) per primitive cell; for a wave that is not
                              real, (Q of phase 0, Q of phase 90°) combined to their magnitude
    phase_rad                 (m,) phase of such a wave, 0 for the others
    share                     (m,) part of the squared mass-weighted norm, 0 to 1, the rigid translation left out
    remainder                 part that none of the modes holds, 0 to 1
    remainder_A               (n, 3) Cartesian displacements of that part, Å
    translation_A             (3,) rigid translation that was removed, Å
    displacement_A            (n, 3) the displacements as given, in the axes of the reference, Å
    norm_sqrt_amu_A           sqrt(Σ m|u|²) per primitive cell after that removal, Å·sqrt(amu)
    """

    modes: tuple[Mode, ...]
    Q_sqrt_amu_A: NDArray[np.float64]
    phase_rad: NDArray[np.float64]
    share: NDArray[np.float64]
    remainder: float
    remainder_A: NDArray[np.float64]
    translation_A: NDArray[np.float64]
    displacement_A: NDArray[np.float64]
    norm_sqrt_amu_A: float


def displacement(
    displaced: Crystal,
    reference: Crystal,
    lattice_tolerance: float = LATTICE_TOLERANCE,
    position_tolerance_A: float = POSITION_TOLERANCE_A,
) -> NDArray[np.float64]:
    """Return the displacements (n, 3) in Å of the atoms of the reference, Cartesian in its axes.

    The two may differ in order, wrapping, setting and origin; atoms are matched. The strain between their cells is
    not part of the result: fractional coordinates are compared in the cell of the reference.
    Raises InputError when they are not the same crystal or not the same number of atoms.
    """
    if len(displaced) != len(reference):
        raise InputError(
            f"{displaced.label} has {len(displaced)} atoms, {reference.label} has {len(reference)}: give two structures"
            " of the same cell"
        )
    found = match(displaced, reference, lattice_tolerance, position_tolerance_A)
    inside = displaced.positions @ found.repeats
    delta = np.empty((len(reference), 3))
    delta[found.atoms] = inside - reference.positions[found.atoms] - found.cells
    return np.asarray((delta - _origin(delta)) @ reference.lattice_A)


def project(
    displacement_A: NDArray[np.float64],
    reference: Crystal,
    modes: PhononModes | ModeSet | Sequence[Mode],
    lattice_tolerance: float = LATTICE_TOLERANCE,
    position_tolerance_A: float = POSITION_TOLERANCE_A,
) -> Projection:
    """Return the displacements (n, 3), Cartesian Å, of the atoms of a reference crystal as a sum of modes.

    modes  of the reference's primitive cell, in any setting; with q ≠ 0 the reference must be a supercell that fits.
           PhononModes are projected on their stable modes: what the unstable ones hold is part of the remainder.

    The rigid translation is found together with the modes. Raises InputError when shapes, crystal or masses do not match, modes
    are not orthogonal (one of them twice, say), or nothing moves.
    """
    if isinstance(modes, PhononModes):
        modes = modes.modes()
    modes = modes.modes if isinstance(modes, ModeSet) else tuple(modes)
    u = np.array(displacement_A, dtype=np.float64)
    if u.shape != (len(reference), 3) or not np.isfinite(u).all():
        raise InputError(
            f"displacements of shape {u.shape} are not finite numbers for the {len(reference)} atoms of {reference.label}"
        )
    masses = _masses(reference, modes, lattice_tolerance, position_tolerance_A)
    weight = np.sqrt(masses * len(modes[0].crystal) / len(reference))
    basis, real = _basis(reference, modes, weight, lattice_tolerance, position_tolerance_A)
    rigid = np.repeat(weight / np.linalg.norm(weight), 3) * np.tile(np.eye(3), len(reference))
    # Solved together, and not one after the other: overlap that a file's digits left does not spill over.
    w = (u * weight[:, None]).ravel()
    both = np.vstack([basis, rigid])
    coefficients = np.linalg.solve(both @ both.T, both @ w)
    moved = coefficients[-3:] @ rigid
    norm = float(np.linalg.norm(w - moved))
    if norm < 1e-12 * max(1.0, float(np.linalg.norm(w))):
        raise InputError(f"no atom of {reference.label} moves, apart from a rigid translation: nothing to project")
    first = coefficients[: len(modes)]
    second = np.zeros(len(modes))
    second[~real] = coefficients[len(modes) : -3]
    q = np.where(real, first, np.hypot(first, second))
    rest = w - coefficients @ both
    return Projection(
        modes,
        q,
        np.where(real, 0.0, np.arctan2(second, first)),
        (q / norm) ** 2,
        float((np.linalg.norm(rest) / norm) ** 2),
        rest.reshape(-1, 3) / weight[:, None],
        coefficients[-3:] / np.linalg.norm(weight),
        u,
        norm,
    )


def _basis(
    reference: Crystal, modes: Sequence[Mode], weight: NDArray[np.float64], *tolerances: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Mass-weighted unit rows, one for each mode and a second (phase 90°) for each whose wave is not real."""
    real = np.array([np.abs(2 * np.array(m.q) - np.rint(2 * np.array(m.q))).max() < 1e-6 for m in modes])
    rows = [real_patterns(reference, modes, 0.0, *tolerances)]
    names = [m.name for m in modes]
    running = [m for m, r in zip(modes, real, strict=True) if not r]
    if running:
        rows.append(real_patterns(reference, running, np.pi / 2, *tolerances))
        names += [m.name for m in running]
    basis = (np.vstack(rows) * weight[:, None]).reshape(len(names), -1)
    overlap = np.abs(basis @ basis.T - np.eye(len(basis)))
    if overlap.max() > _OVERLAP:
        i, j = (int(k) for k in np.unravel_index(overlap.argmax(), overlap.shape))
        raise InputError(f"modes {names[i]!r} and {names[j]!r} are not independent: give each once, and not q and −q")
    return basis, real


def _masses(reference: Crystal, modes: Sequence[Mode], *tolerances: float) -> NDArray[np.float64]:
    """(n,) masses of the reference's atoms, as the modes were computed with them."""
    first = modes[0]
    if any(m.crystal is not first.crystal for m in modes):
        raise InputError("the modes to project on belong to different crystals: give modes of one calculation")
    return first.masses_amu[match(reference, first.crystal, *tolerances).atoms]


def _origin(delta: NDArray[np.float64]) -> NDArray[np.float64]:
    """The lattice translation that the displacements have in common: a choice of cell, not a movement."""
    return np.rint(np.median(delta, axis=0))
