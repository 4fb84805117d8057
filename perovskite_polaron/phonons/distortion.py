"""Crystals displaced along phonon modes, and what the displacement does to their symmetry."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import require
from perovskite_polaron.kernels.displacement import displace
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.matching import POSITION_TOLERANCE_A, match
from perovskite_polaron.lattice.symmetry import Symmetry, find_symmetry
from perovskite_polaron.phonons.modes import Modes, check_masses

AMPLITUDE_UNITS = ("sqrt_amu_A", "max_A", "zero_point")
#: Largest displacement of an atom in Å: a bond of a halide perovskite is no longer than 3.2.
FURTHEST_A = 1.5


@dataclass(frozen=True, eq=False)
class Distortion:
    """One point of a sweep.

    Attributes
    ----------
    crystal : Crystal
        The displaced crystal; it knows the parent site of each atom.
    amplitude_sqrt_amu_A : tuple of float
        Q of each mode, Å·√amu, Σ m|u|² = Q² over the primitive cell.
    amplitude_zero_point : tuple of float
        The same in units of each mode's √(ħ/2ω); NaN for an unstable mode, which has none.
    max_displacement_A : float
        Largest displacement of an atom, Å.
    displacement_A : (n, 3) float64
        Cartesian displacements, Å.
    symmetry : Symmetry
        Of the displaced crystal, found with a tolerance below the smallest displacement.
    """

    crystal: Crystal
    amplitude_sqrt_amu_A: tuple[float, ...]
    amplitude_zero_point: tuple[float, ...]
    max_displacement_A: float
    displacement_A: Array
    symmetry: Symmetry


def distort(crystal: Crystal, modes: Modes | Sequence[Modes], amplitudes: ArrayLike,
            unit: str = "sqrt_amu_A", phases_rad: ArrayLike = 0.0,
            position_tolerance_A: float = POSITION_TOLERANCE_A) -> tuple[Distortion, ...]:
    """Return the crystal displaced along one mode, or several together, at each amplitude.

    Parameters
    ----------
    crystal : Crystal
        The crystal of the modes: in any setting, or a supercell in which their waves are periodic.
    modes : Modes or sequence of Modes
        Modes of one calculation, or of several.
    amplitudes : (s,) or (s, m)
        (s,) for one mode, or for several modes as a common factor of their patterns; (s, m) one for
        each mode.
    unit : str
        "sqrt_amu_A" (Q), "zero_point", or "max_A": the largest atomic displacement of the whole
        combination. That rescales the combination, so it takes (s,) amplitudes only; the modes then
        enter with equal Q.
    phases_rad : float or (m,)
        Phase of each mode: it shifts a wave of q ≠ 0.
    position_tolerance_A : float
        How far the atoms of the crystal and of the modes may be apart.

    Raises
    ------
    InputError
        When mode and crystal do not match, q does not fit the cell, an amplitude is not finite, an
        atom would move by more than FURTHEST_A, a mode is a rigid translation, or one without
        zero-point motion is asked for in units of it.
    """
    patterns = real_patterns(crystal, modes, phases_rad, position_tolerance_A)
    sets = _sets(modes)
    zero_point = np.concatenate([one.zero_point_sqrt_amu_A for one in sets])
    names = [name for one in sets for name in one.names]
    rigid = np.concatenate([one.translation_share > 0.5 for one in sets])
    require(not rigid.any(), f"mode {names[rigid.argmax()]!r} is a rigid translation: give another")
    still = np.isnan(zero_point)
    require(unit != "zero_point" or not still.any(), f"mode {names[still.argmax()]!r} is unstable"
            " or has no energy, and so no zero-point motion: give an amplitude in Å or Å·√amu")
    parent = find_symmetry(crystal)
    named = replace(crystal, parent_sites=parent.wyckoff)
    q = _coefficients(patterns, zero_point, amplitudes, unit)
    with np.errstate(over="ignore", invalid="ignore"):
        furthest = np.linalg.norm(np.einsum("sm,mna->sna", q, patterns), axis=2).max()
    require(furthest <= FURTHEST_A, f"an atom of {crystal.label} would move by {furthest:.3g} Å;"
            f" more than {FURTHEST_A:g} Å is no vibration: give smaller amplitudes")
    positions_A = displace(crystal.cartesian_A, patterns, q)
    return tuple(_point(named, parent, moved - crystal.cartesian_A, row, row / zero_point)
                 for moved, row in zip(positions_A, q, strict=True))


def real_patterns(crystal: Crystal, modes: Modes | Sequence[Modes], phases_rad: ArrayLike = 0.0,
                  position_tolerance_A: float = POSITION_TOLERANCE_A) -> Array:
    """Return the displacements (m, n, 3), 1/√amu, of the crystal's own atoms for unit Q.

    Parameters as in distort. A wave that is not real (2q not a reciprocal-lattice vector) moves
    with √2·Re, so that Σ m|u|² = Q² holds on the average over its period; at q = 0 and the zone
    boundary the factor is one.
    """
    sets = _sets(modes)
    phases = iter(np.broadcast_to(np.asarray(phases_rad, dtype=np.float64), (sum(map(len, sets)),)))
    rows = []
    for one in sets:
        found = match(crystal, one.crystal, position_tolerance_A)
        check_masses(crystal, one.masses_amu[found.atoms], f"mode {one.names[0]!r}")
        for name, q, pattern in zip(one.names, one.q, one.patterns, strict=True):
            turns = found.repeats @ q
            require(np.abs(turns - np.rint(turns)).max() < 1e-6,
                    f"wave vector {tuple(q.tolist())} of mode {name!r} does not fit the cell of"
                    f" {crystal.label}: use a supercell in which it is periodic")
            standing = np.abs(2 * q - np.rint(2 * q)).max() < 1e-6
            turn = np.exp(1j * (2 * np.pi * found.cells @ q + next(phases)))
            wave = pattern[found.atoms] * turn[:, None]
            rows.append((wave.real if standing else np.sqrt(2) * wave.real) @ found.rotation)
    return np.array(rows)


def sign_equivalent(crystal: Crystal, displacement_A: ArrayLike,
                    symmetry: Symmetry | None = None) -> bool:
    """Say whether −u gives the image of the crystal displaced by +u under one of its operations.

    Both structures are built, every operation of the parent is applied to the first, and its atoms
    are compared with those of the second; they must agree within a tenth of the smallest
    displacement.
    """
    u = np.asarray(displacement_A, dtype=np.float64)
    symmetry = symmetry or find_symmetry(crystal)
    fractional = u @ np.linalg.inv(crystal.lattice_A)
    plus, minus = crystal.positions + fractional, crystal.positions - fractional
    tolerance = _tolerance(u)
    different = np.array(crystal.species)[:, None] != np.array(crystal.species)[None]
    for rotation, translation in zip(symmetry.rotations, symmetry.translations, strict=True):
        distance = crystal.distances_A((plus @ rotation.T + translation)[:, None] - minus)
        distance[different] = np.inf
        one_to_one = len(set(distance.argmin(axis=1))) == len(crystal)
        if one_to_one and distance.min(axis=1).max() < tolerance:
            return True
    return False


def _sets(modes: Modes | Sequence[Modes]) -> tuple[Modes, ...]:
    return (modes,) if isinstance(modes, Modes) else tuple(modes)


def _coefficients(patterns: Array, zero_point: Array, amplitudes: ArrayLike, unit: str) -> Array:
    """Return Q (s, m) in Å·√amu for amplitudes in any unit; errors as in distort."""
    require(unit in AMPLITUDE_UNITS,
            f"{unit!r} is not a unit of amplitude: use one of {', '.join(AMPLITUDE_UNITS)}")
    a, m = np.atleast_1d(np.asarray(amplitudes, dtype=np.float64)), len(patterns)
    require(a.ndim <= 2 and a.size and np.isfinite(a).all() and (a.ndim == 1 or a.shape[1] == m),
            f"amplitudes of shape {a.shape} are not finite numbers (s,) or (s, {m})")
    q = np.repeat(a[:, None], m, axis=1) if a.ndim == 1 else a
    if unit == "zero_point":
        return q * zero_point
    if unit == "max_A":
        require(a.ndim == 1,
                "max_A fixes one number for the whole combination: give amplitudes of shape (s,)")
        largest = float(np.linalg.norm(patterns.sum(axis=0), axis=1).max())
        require(largest > 1e-12,
                "the modes cancel: no atom moves, so a largest displacement cannot be set")
        return q / largest
    return q


def _tolerance(displacement_A: Array) -> float:
    """A tenth of the smallest atomic displacement, at most 1e-3 Å.

    Displacements below a thousandth of the largest count as none.
    """
    norms = np.linalg.norm(displacement_A, axis=1)
    moved = norms[norms > 1e-3 * norms.max()]
    return 1e-3 if norms.max() == 0 else min(1e-3, 0.1 * float(moved.min()))


def _point(crystal: Crystal, parent: Symmetry, displacement_A: Array,
           q: Array, zero_point: Array) -> Distortion:
    child = crystal.with_positions(crystal.positions
                                   + displacement_A @ np.linalg.inv(crystal.lattice_A))
    symmetry = find_symmetry(child, _tolerance(displacement_A)) if displacement_A.any() else parent
    displacement_A.setflags(write=False)
    largest = float(np.linalg.norm(displacement_A, axis=1).max())
    return Distortion(child, tuple(map(float, q)), tuple(map(float, zero_point)), largest,
                      displacement_A, symmetry)
