"""Thermal displacements of a crystal from its phonon modes, in the harmonic approximation.

Each normal coordinate of the crystal, taken as one periodic cell, is a Gaussian of zero mean and
variance ⟨Q²⟩ = ħ/2ω coth(ħω/2k_BT): the exact quantum distribution of a harmonic oscillator, whose
limits are the zero-point motion and k_BT/ω². The rigid translation at Γ is left out. What the
approximation has not: anharmonic shapes and shifts of the modes, and hops between wells; it is
poorest for soft modes near a phase transition.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.ensemble import Ensemble, Origin
from perovskite_polaron.lattice.matching import POSITION_TOLERANCE_A, commensurate, match
from perovskite_polaron.lattice.symmetry import find_symmetry
from perovskite_polaron.phonons.canonical import ORTHOGONALITY
from perovskite_polaron.phonons.distortion import real_patterns
from perovskite_polaron.phonons.modes import Modes, check_masses, joined
from perovskite_polaron.units import BOLTZMANN_MEV_K, HBAR2_PER_AMU_A2_EV

#: What is done with modes of imaginary frequency: an error, the energy without its sign, or no
#: displacement along them.
IMAGINARY = ("refuse", "absolute", "leave-out")
_SAME_Q = 1e-5


@dataclass(frozen=True, eq=False)
class NormalModes:
    """All real normal modes of a crystal as one periodic cell, but its rigid translations.

    Attributes
    ----------
    crystal : Crystal
        Often a supercell.
    energies_meV : (m,) float64
        All positive.
    patterns : (m, n, 3) float64
        Displacements of its atoms, 1/√amu, with Σ m|u|² = 1 over the whole crystal.
    rule : str
        What was done with imaginary frequencies, and what is left out.
    source : str
        Free text: where the modes are from.
    """

    crystal: Crystal
    energies_meV: Array
    patterns: Array
    rule: str
    source: str

    def widths_sqrt_amu_A(self, temperature_K: float) -> Array:
        """Return √⟨Q²⟩ (m,), Å·√amu: √(ħ/2ω coth(ħω/2k_BT)).

        Raises
        ------
        InputError
            For a negative temperature.
        """
        require(np.isfinite(temperature_K) and temperature_K >= 0,
                f"a temperature of {temperature_K:g} K is not possible: give one from 0 K")
        squares = HBAR2_PER_AMU_A2_EV / (2e-3 * self.energies_meV)
        if temperature_K > 0:
            squares = squares / np.tanh(self.energies_meV / (2 * BOLTZMANN_MEV_K * temperature_K))
        return np.asarray(np.sqrt(squares))

    def mean_squares_A2(self, temperature_K: float) -> Array:
        """Return ⟨u u⟩ (n, 3, 3), Å², of each atom of the crystal."""
        scaled = self.widths_sqrt_amu_A(temperature_K)[:, None, None] * self.patterns
        return np.asarray(np.einsum("mka,mkb->kab", scaled, scaled))

    @property
    def digest(self) -> str:
        """What names these modes: random numbers drawn for them mean the same only for them."""
        rounded = np.round(self.patterns, 6) + 0.0
        return hashlib.sha256(rounded.tobytes()).hexdigest()[:16]


def normal_modes(crystal: Crystal, sets: Sequence[Modes], imaginary: str = "refuse",
                 position_tolerance_A: float = POSITION_TOLERANCE_A) -> NormalModes:
    """Return the real normal modes of a crystal from the modes of its unit at each wave vector.

    Waves of q and −q become the two real ones √2 Re and √2 Im; at Γ and the zone boundary a
    pattern is real already.

    Parameters
    ----------
    crystal : Crystal
        The unit in any setting, or a supercell of it.
    sets : sequence of Modes
        All modes at every wave vector that the crystal admits (of q and −q one is enough); more may
        be among them.
    imaginary : str
        One of IMAGINARY.
    position_tolerance_A : float
        How far the atoms of the crystal and of the modes may be apart.

    Raises
    ------
    InputError
        For a missing wave vector or mode, an imaginary frequency that is to be refused, or patterns
        that are not orthogonal.
    """
    require(imaginary in IMAGINARY,
            f"{imaginary!r} is no rule for imaginary modes: choose from {', '.join(IMAGINARY)}")
    found = match(crystal, sets[0].crystal, position_tolerance_A)
    check_masses(crystal, sets[0].masses_amu[found.atoms], "the modes")
    wanted = commensurate(found.repeats)
    cells = len(wanted)
    parts, phases, done = [], list[float](), list[Array]()
    for q in wanted:
        if any(_same(q, -other) for other in done):
            continue
        done.append(q)
        modes = _at(q, sets, crystal)
        for phase in (0.0,) if _same(q, -q) else (0.0, -np.pi / 2):
            parts.append(modes)
            phases += [phase] * len(modes)
    every = joined(parts)
    flat = every.energies_meV
    patterns = real_patterns(crystal, every, phases, position_tolerance_A) / np.sqrt(cells)
    weighted = (patterns * np.sqrt(crystal.masses_amu)[:, None]).reshape(len(flat), -1)
    overlap = float(np.abs(weighted @ weighted.T - np.eye(len(flat))).max())
    require(overlap < ORTHOGONALITY, f"the modes of {crystal.label} are not orthogonal (by"
            f" {overlap:.3f}): their masses or wave vectors are not those of the calculation")
    below = flat <= 0
    said = f"all {len(flat)} modes at {cells} wave vector(s)"
    if below.any():
        lowest = f"{below.sum()} of {len(flat)} modes of {crystal.label} have imaginary" \
                 f" frequencies (down to {flat.min():.2f} meV)"
        require(imaginary != "refuse", f"{lowest}: harmonic displacements along them do not exist;"
                " relax the structure, give modes of the hot crystal, or choose --imaginary"
                " absolute or leave-out")
        said += f"; {below.sum()} imaginary ones: " + (
            "the energy without its sign" if imaginary == "absolute" else "left out")
    keep = flat != 0 if imaginary == "absolute" else flat > 0
    return NormalModes(crystal, np.abs(flat[keep]), patterns[keep], said,
                       sets[0].provenance or sets[0].crystal.label)


def _same(q: Array, other: Array) -> bool:
    apart = q - other
    return bool(np.abs(apart - np.rint(apart)).max() < _SAME_Q)


def _at(q: Array, sets: Sequence[Modes], crystal: Crystal) -> Modes:
    """The modes at a wave vector or its opposite, without rigid translations."""
    parts = [one[[i for i in range(len(one)) if _same(one.q[i], q) or _same(one.q[i], -q)]]
             for one in sets if any(_same(p, q) or _same(p, -q) for p in one.q)]
    if not parts:
        there = {tuple(np.round(p, 4).tolist()) for one in sets for p in one.q}
        raise InputError(f"{crystal.label} needs the modes at the wave vector"
                         f" {tuple(np.round(q, 4).tolist())}, and there are those at {len(there)}"
                         " other(s): give the supercell whose wave vectors are known (--supercell),"
                         " or modes at more of them (--modes)")
    modes, full = parts[0], 3 * len(sets[0].crystal)
    inner = modes[modes.translation_share < 0.5]
    expected = full - 3 if np.abs(q).max() < _SAME_Q else full
    require(len(inner) == expected, f"there are {len(inner)} modes at the wave vector"
            f" {tuple(np.round(q, 4).tolist())} where {expected} are needed: give all modes")
    return inner


def harmonic_displacements_A(modes: NormalModes, temperature_K: float, samples: int, seed: int, *,
                             antithetic: bool = True) -> Array:
    """Return thermal displacements (samples, n, 3), Å.

    Sample k is drawn from the stream k of the seed alone (pairs: stream k//2), so that neither the
    number of samples nor the order changes it, and one seed at several temperatures moves the atoms
    along the same random normal coordinates.

    Parameters
    ----------
    modes : NormalModes
        Of the crystal.
    temperature_K, samples, seed
        Kelvin; how many; what names the random numbers.
    antithetic : bool
        Sample 2j + 1 is the opposite of 2j: what is odd in the displacements cancels exactly.

    Raises
    ------
    InputError
        For no sample, half a pair, or a negative seed.
    """
    require(samples >= 1 and seed >= 0, "samples and seed must be positive numbers")
    require(samples % 2 == 0 or not antithetic, f"{samples} samples are not made of pairs u, −u:"
            " give an even number, or --independent")
    width, step = modes.widths_sqrt_amu_A(temperature_K), 2 if antithetic else 1
    found = np.empty((samples, len(modes.crystal), 3))
    for k in range(samples):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(k // step,)))
        sign = -1.0 if antithetic and k % 2 else 1.0
        found[k] = np.tensordot(sign * width * rng.standard_normal(len(width)), modes.patterns, 1)
    return found


def special_displacement_A(modes: NormalModes, temperature_K: float) -> Array:
    """Return one displacement (n, 3), Å, that stands for the thermal average.

    Every normal coordinate has its thermal width, with a sign: those of Zacharias and Giustino,
    alternating with the energy, and then single ones turned as long as that brings the mean square
    displacement of each class of equivalent atoms nearer to the thermal one. The average is exact
    in the limit of a large supercell; a small one only approaches it.

    References
    ----------
    Zacharias and Giustino, Phys. Rev. B 94, 075125 (2016); Phys. Rev. Research 2, 013357 (2020).
    """
    width = modes.widths_sqrt_amu_A(temperature_K)
    order = np.argsort(modes.energies_meV, kind="stable")
    sign = np.empty(len(width))
    sign[order] = (-1.0) ** np.arange(len(width))
    steps = width[:, None, None] * modes.patterns
    orbits = find_symmetry(modes.crystal).equivalent_atoms
    classes = (orbits[None] == np.unique(orbits)[:, None]) * 1.0
    classes /= classes.sum(axis=1, keepdims=True)
    wanted = classes @ np.trace(modes.mean_squares_A2(temperature_K), axis1=1, axis2=2)

    def miss(moved: Array) -> float:
        return float((((classes @ (moved**2).sum(axis=1)) / wanted - 1) ** 2).sum())

    moved = np.tensordot(sign, steps, 1)
    best, turned = miss(moved), True
    while turned:
        turned = False
        for k in order:
            other = moved - 2 * sign[k] * steps[k]
            if (left := miss(other)) < best * (1 - 1e-9):
                moved, best, turned = other, left, True
                sign[k] = -sign[k]
    return np.asarray(moved)


def harmonic_ensemble(modes: NormalModes, temperature_K: float, samples: int, seed: int, *,
                      antithetic: bool = True) -> Ensemble:
    """Return snapshots of ``harmonic_displacements_A``; errors as there, and where atoms meet."""
    moved = harmonic_displacements_A(modes, temperature_K, samples, seed, antithetic=antithetic)
    paired = "in antithetic pairs (u, −u)" if antithetic else "independent"
    origin = Origin("harmonic", modes.source, f"{modes.rule}; Bose–Einstein widths; {paired}",
                    temperature_K, seed, "pairs" if antithetic else "single",
                    f"harmonic {modes.digest} seed {seed} {paired}")
    return _displaced(modes.crystal, moved, origin)


def special_ensemble(modes: NormalModes, temperature_K: float) -> Ensemble:
    """Return the special displacement and its opposite, as one pair."""
    moved = special_displacement_A(modes, temperature_K)
    origin = Origin("special", modes.source, f"{modes.rule}; Bose–Einstein widths; special"
                    " displacement (Zacharias–Giustino) and its opposite", temperature_K, None,
                    "pairs", f"special {modes.digest}")
    return _displaced(modes.crystal, np.array([moved, -moved]), origin)


def _displaced(crystal: Crystal, moved_A: Array, origin: Origin) -> Ensemble:
    inverse, snapshots = np.linalg.inv(crystal.lattice_A), []
    for k, one in enumerate(moved_A):
        try:
            snapshots.append(crystal.with_positions(crystal.positions + one @ inverse))
        except InputError as error:
            raise InputError(f"sample {k} at {origin.temperature_K:g} K is no crystal ({error}):"
                             " its modes are too soft for the harmonic approximation; use"
                             " molecular dynamics (--md)") from None
    return Ensemble(origin, crystal, tuple(snapshots), crystal.label)
