"""Crystals displaced along phonon modes, and what the displacement does to their symmetry."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perovskite_polaron.errors import InputError
from perovskite_polaron.kernels.displacement import displace
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.matching import LATTICE_TOLERANCE, POSITION_TOLERANCE_A, Match, match
from perovskite_polaron.lattice.symmetry import Symmetry, find_symmetry
from perovskite_polaron.phonons.modes import Mode
from perovskite_polaron.units import BOLTZMANN_MEV_K, HBAR2_PER_AMU_A2_EV

UNITS = ("sqrt_amu_A", "max_A", "zero_point")


@dataclass(frozen=True, eq=False)
class Distortion:
    """One point of a sweep.

    crystal                the displaced crystal; it knows the parent site of each atom
    amplitude_sqrt_amu_A   Q of each mode, Å·sqrt(amu), sum(m|u|²) = Q² over the primitive cell
    amplitude_zero_point   the same in units of each mode's sqrt(ħ/2ω)
    max_displacement_A     largest displacement of an atom, Å
    displacement_A         (n, 3) Cartesian displacements, Å
    symmetry               of the displaced crystal, found with symmetry.symprec_A, below the smallest displacement
    """

    crystal: Crystal
    amplitude_sqrt_amu_A: tuple[float, ...]
    amplitude_zero_point: tuple[float, ...]
    max_displacement_A: float
    displacement_A: NDArray[np.float64]
    symmetry: Symmetry


def distort(
    crystal: Crystal,
    modes: Mode | Sequence[Mode],
    amplitudes: ArrayLike,
    unit: str = "sqrt_amu_A",
    phases_rad: ArrayLike = 0.0,
    lattice_tolerance: float = LATTICE_TOLERANCE,
    position_tolerance_A: float = POSITION_TOLERANCE_A,
) -> tuple[Distortion, ...]:
    """Return the crystal displaced along one mode, or along a combination of several, at each amplitude.

    amplitudes  (s,) for one mode, or for several modes as a common factor of their patterns; (s, m) one for each mode
    unit        "sqrt_amu_A" (Q), "max_A" (largest atomic displacement of the whole combination) or "zero_point"
    phases_rad  phase of each mode: it shifts a wave of q ≠ 0

    "max_A" rescales the combination, so it takes (s,) amplitudes only; the modes then enter with equal Q.
    Raises InputError when mode and crystal do not match, q does not fit the cell, or an amplitude is not finite.
    """
    modes = (modes,) if isinstance(modes, Mode) else tuple(modes)
    patterns = real_patterns(crystal, modes, phases_rad, lattice_tolerance, position_tolerance_A)
    q = coefficients(patterns, modes, amplitudes, unit)
    zero_point = np.array([m.zero_point_sqrt_amu_A for m in modes])
    parent = find_symmetry(crystal)
    named = replace(crystal, parent_sites=parent.wyckoff)
    positions_A = displace(crystal.cartesian_A, patterns, q)
    return tuple(
        _point(named, parent, moved - crystal.cartesian_A, row, row / zero_point)
        for moved, row in zip(positions_A, q, strict=True)
    )


def real_patterns(
    crystal: Crystal,
    modes: Sequence[Mode],
    phases_rad: ArrayLike = 0.0,
    lattice_tolerance: float = LATTICE_TOLERANCE,
    position_tolerance_A: float = POSITION_TOLERANCE_A,
) -> NDArray[np.float64]:
    """Return the displacements (m, n, 3) in 1/sqrt(amu) of the crystal's own atoms for unit Q of each mode.

    A wave that is not real (2q not a reciprocal-lattice vector) moves with sqrt(2)·Re, so that sum(m|u|²) = Q² holds
    on the average over its period; at q = 0 and the zone boundary the factor is one.
    """
    phases = np.broadcast_to(np.asarray(phases_rad, dtype=np.float64), (len(modes),))
    rows = []
    matches: dict[int, Match] = {}  # the modes of one calculation share their crystal: it is matched once
    for mode, phase in zip(modes, phases, strict=True):
        if id(mode.crystal) not in matches:
            matches[id(mode.crystal)] = match(crystal, mode.crystal, lattice_tolerance, position_tolerance_A)
        found = matches[id(mode.crystal)]
        if not np.allclose(crystal.masses_amu[:], mode.masses_amu[found.atoms], rtol=0.02):
            raise InputError(
                f"mode {mode.name!r} has other masses than {crystal.label}: give the mode of this crystal"
            )
        q = np.array(mode.q)
        turns = found.repeats @ q
        if np.abs(turns - np.rint(turns)).max() > 1e-6:
            raise InputError(
                f"wave vector {mode.q} of mode {mode.name!r} does not fit the cell of {crystal.label}:"
                " use a supercell in which it is periodic"
            )
        standing = np.abs(2 * q - np.rint(2 * q)).max() < 1e-6
        wave = mode.pattern[found.atoms] * np.exp(1j * (2 * np.pi * found.cells @ q + phase))[:, None]
        rows.append((wave.real if standing else np.sqrt(2) * wave.real) @ found.rotation)
    return np.array(rows)


def coefficients(
    patterns: NDArray[np.float64], modes: Sequence[Mode], amplitudes: ArrayLike, unit: str
) -> NDArray[np.float64]:
    """Return Q (s, m) in Å·sqrt(amu) for amplitudes in any unit; errors as in distort."""
    if unit not in UNITS:
        raise InputError(f"{unit!r} is not a unit of amplitude: use one of {', '.join(UNITS)}")
    a = np.atleast_1d(np.asarray(amplitudes, dtype=np.float64))
    if a.ndim > 2 or a.size == 0 or not np.isfinite(a).all() or (a.ndim == 2 and a.shape[1] != len(modes)):
        raise InputError(f"amplitudes of shape {a.shape} are not finite numbers (s,) or (s, {len(modes)})")
    q = np.repeat(a[:, None], len(modes), axis=1) if a.ndim == 1 else a
    if unit == "zero_point":
        return q * np.array([m.zero_point_sqrt_amu_A for m in modes])
    if unit == "max_A":
        if a.ndim == 2:
            raise InputError("max_A fixes one number for the whole combination: give amplitudes of shape (s,)")
        largest = float(np.linalg.norm(patterns.sum(axis=0), axis=1).max())
        if largest < 1e-12:
            raise InputError("the modes cancel: no atom moves, so a largest displacement cannot be set")
        return q / largest
    return q


def sign_equivalent(crystal: Crystal, displacement_A: ArrayLike, symmetry: Symmetry | None = None) -> bool:
    """Say whether the crystal displaced by −u is the image of the one displaced by +u under a symmetry of the crystal.

    Both structures are built, every operation of the parent is applied to the first, and its atoms are compared with
    those of the second; they must agree within a tenth of the smallest displacement.
    """
    u = np.asarray(displacement_A, dtype=np.float64)
    symmetry = symmetry or find_symmetry(crystal)
    fractional = u @ np.linalg.inv(crystal.lattice_A)
    plus, minus = crystal.positions + fractional, crystal.positions - fractional
    tolerance = _tolerance(u)
    different = np.array(crystal.species)[:, None] != np.array(crystal.species)[None]
    for rotation, translation in zip(symmetry.rotations, symmetry.translations, strict=True):
        delta = (plus @ rotation.T + translation)[:, None] - minus[None]
        distance = np.linalg.norm((delta - np.rint(delta)) @ crystal.lattice_A, axis=2)
        distance[different] = np.inf
        if distance.min(axis=1).max() < tolerance and len(set(distance.argmin(axis=1))) == len(crystal):
            return True
    return False


def thermal_coefficients(modes: Sequence[Mode], temperature_K: float, samples: int, seed: int) -> NDArray[np.float64]:
    """Return Q (samples, m) drawn from the quantum-harmonic distribution: ⟨Q²⟩ = ħ/2ω · coth(ħω/2kT).

    Sample k depends on (seed, k) only, whatever the number of samples. Raises InputError for a negative temperature.
    """
    if not temperature_K >= 0 or samples < 1:
        raise InputError(f"{samples} samples at {temperature_K} K are not possible: give at least one, at 0 K or more")
    energy = np.array([m.energy_meV for m in modes])
    coth = np.ones(len(energy)) if temperature_K == 0 else 1 / np.tanh(energy / (2 * BOLTZMANN_MEV_K * temperature_K))
    sigma = np.sqrt(HBAR2_PER_AMU_A2_EV / (2e-3 * energy) * coth)
    draws = [
        np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(k,))).standard_normal(len(energy))
        for k in range(samples)
    ]
    return np.array(draws) * sigma


def _tolerance(displacement_A: NDArray[np.float64]) -> float:
    """A tenth of the smallest atomic displacement (those below a thousandth of the largest count as none), ≤ 1e-3 Å."""
    norms = np.linalg.norm(displacement_A, axis=1)
    moved = norms[norms > 1e-3 * norms.max()]
    return 1e-3 if norms.max() == 0 else min(1e-3, 0.1 * float(moved.min()))


def _point(
    crystal: Crystal,
    parent: Symmetry,
    displacement_A: NDArray[np.float64],
    q: NDArray[np.float64],
    zero_point: NDArray[np.float64],
) -> Distortion:
    child = crystal.with_positions(crystal.positions + displacement_A @ np.linalg.inv(crystal.lattice_A))
    symmetry = find_symmetry(child, _tolerance(displacement_A)) if displacement_A.any() else parent
    displacement_A = np.array(displacement_A)
    displacement_A.setflags(write=False)
    return Distortion(
        child,
        tuple(map(float, q)),
        tuple(map(float, zero_point)),
        float(np.linalg.norm(displacement_A, axis=1).max()),
        displacement_A,
        symmetry,
    )
