"""Phonon modes: the one container of the modes of a crystal, and this project's own file for them.

A pattern is normalised to Σ m|u|² = 1 over the primitive cell (m in amu), so that the normal
coordinate Q in Å·√amu gives the displacements u = Q·pattern in Å.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.arrays import Array, floats
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.files import read_text, write_atomically
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.units import HBAR2_PER_AMU_A2_EV

FORMAT = "perovskite-polaron modes 1"
# Name: file, and how many of its modes from the first.
BUILTIN = {"lo-c": ("cspbbr3.json", 1), "cspbbr3": ("cspbbr3.json", None),
           "lo-c-sevennet": ("cspbbr3_lo_c_sevennet.json", None)}

#: Modes of a file whose energies differ by less than this, in meV (0.04 cm⁻¹), share one
#: subspace.
DEGENERACY_MEV = 0.005
#: Faster than any vibration, in meV: that of H2 has 516.
FASTEST_MEV = 550.0
#: Stiffer, as m ω², than the vibration of N2 or CO (2k, 286 eV/Å²), and so than any.
STIFFEST_EV_A2 = 300.0
#: Relative difference of masses that tables of different years may have.
MASS_TOLERANCE = 0.02


@dataclass(frozen=True, eq=False)
class Modes:
    """Phonon modes of one crystal; one mode is a container of length one.

    ``modes[0]``, ``modes[[3, 0]]`` and ``for mode in modes`` give the chosen modes as containers of
    their own.

    Parameters
    ----------
    crystal : Crystal
        Primitive cell that the modes belong to.
    masses_amu : (n,) float64
        Masses that they were computed with.
    energies_meV : (m,) float64
        Negative for an imaginary frequency: −ħ|ω|. 0 for a pattern that is no mode and has none.
    patterns : (m, n, 3) complex128
        Cartesian displacements in 1/√amu, in any scale: they are normalised to Σ m|u|² = 1. Atom k
        in cell R moves with pattern_k exp(2πi q·R).
    q : (m, 3) or (3,) float64
        Wave vectors in reciprocal-lattice coordinates of the crystal, or the one of all modes.
    names : sequence of str
        Free text for each mode; by default "mode 1" and so on.
    numbers : sequence of int
        By which each mode is called in the table of its calculation; by default from 0.
    direction : (3,) float64, optional
        Cartesian unit vector along which q went to 0, where the macroscopic field is in the modes.
    provenance : str
        Free text.
    degeneracy_meV : float
        Modes whose neighbours in energy are nearer than this share one subspace.

    Raises
    ------
    InputError
        For wrong shapes, NaN, masses that are not positive, no mode, one that moves no atom, or an
        energy that no bond between such masses can have.
    """

    crystal: Crystal
    masses_amu: Array
    energies_meV: Array
    patterns: NDArray[np.complex128]
    q: Array = field(default_factory=lambda: np.zeros(3))
    names: Sequence[str] = ()
    direction: Array | None = None
    provenance: str = ""
    degeneracy_meV: float = DEGENERACY_MEV
    numbers: Sequence[int] = ()

    def __post_init__(self) -> None:
        n, label = len(self.crystal), self.crystal.label
        who = self.provenance or label
        masses = np.array(self.masses_amu, dtype=np.float64)
        energies = np.array(self.energies_meV, dtype=np.float64)
        patterns = np.array(self.patterns, dtype=np.complex128)
        require(masses.shape == (n,) and np.isfinite(masses).all() and (masses > 0).all(),
                f"{who}: {n} positive masses in amu are needed, one for each atom of {label}")
        require(energies.size, f"{who} holds no mode: give at least one mode")
        require(energies.ndim == 1 and patterns.shape == (len(energies), n, 3),
                f"{who}: patterns of shape {patterns.shape} do not fit {energies.size} energies"
                f" and the {n} atoms of {label}: give the crystal the modes belong to (modes"
                " --crystal)")
        require(np.isfinite(energies).all() and np.isfinite(patterns).all(), f"{who}: an energy or"
                " a displacement is not a finite number: compute the modes again")
        stiffest = STIFFEST_EV_A2 * HBAR2_PER_AMU_A2_EV / masses.min()
        limit, highest = min(FASTEST_MEV, 1e3 * np.sqrt(stiffest)), np.abs(energies).max()
        require(highest <= limit, f"{who}: a mode has {highest:.4g} meV, and with masses from"
                f" {masses.min():.4g} amu no vibration has more than {limit:.4g} meV: give the unit"
                " of the calculation (modes --frequency-unit), or compute the modes again")
        moves = patterns.any(axis=(1, 2))
        require(moves.all(), f"{who}: mode {moves.argmin() + 1} moves no atom: it needs a non-zero"
                " pattern")
        for pattern in patterns:
            pattern /= np.sqrt((masses[:, None] * np.abs(pattern) ** 2).sum())
        q = np.array(self.q, dtype=np.float64)
        require(q.shape in ((3,), (len(energies), 3)) and np.isfinite(q).all(),
                f"{who}: a wave vector must be three finite numbers")
        direction = self.direction
        if direction is not None:
            direction = floats(direction, f"{who}: the direction", (3,))
            require(direction.any(), f"{who}: the direction must not be zero: give three numbers")
            direction = direction / np.linalg.norm(direction)
        names = tuple(self.names) or tuple(f"mode {i + 1}" for i in range(len(energies)))
        numbers = tuple(self.numbers) or tuple(range(len(energies)))
        require(len(set(numbers)) == len(energies), f"{who}: two modes have the same number, or one"
                " has none: write the modes again")
        self._put(masses_amu=masses, energies_meV=energies, patterns=patterns, direction=direction,
                  names=names, numbers=numbers, q=np.array(np.broadcast_to(q, (len(energies), 3))))

    def _put(self, **values: Any) -> None:
        for name, value in values.items():
            if isinstance(value, np.ndarray):
                value.setflags(write=False)
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.energies_meV)

    def __getitem__(self, rows: Any) -> "Modes":
        chosen = np.atleast_1d(np.arange(len(self))[rows])
        # Not made anew: normalised once more, a pattern could differ in its last digit.
        part = copy(self)
        part._put(energies_meV=self.energies_meV[chosen], patterns=self.patterns[chosen],
                  q=self.q[chosen], names=tuple(self.names[i] for i in chosen),
                  numbers=tuple(self.numbers[i] for i in chosen))
        return part

    def __iter__(self) -> Iterator["Modes"]:
        return (self[i] for i in range(len(self)))

    def numbered(self, wanted: Sequence[int]) -> "Modes":
        """Return the modes with these numbers; raises InputError when one is not there."""
        missing = [number for number in wanted if number not in self.numbers]
        listed = _ranges(sorted(self.numbers))
        require(not missing, f"there is no mode {', '.join(map(str, missing))}:"
                f" {self.provenance or 'these modes'} has {listed}")
        return self[[self.numbers.index(number) for number in wanted]]

    @property
    def at_gamma(self) -> bool:
        """Whether every q is zero."""
        return bool(np.abs(self.q).max() < 1e-9)

    @property
    def weighted(self) -> NDArray[np.complex128]:
        """(m, 3n) complex128 rows √m·pattern: eigenvectors of the dynamical matrix."""
        return (self.patterns * np.sqrt(self.masses_amu)[:, None]).reshape(len(self), -1)

    @property
    def zero_point_sqrt_amu_A(self) -> Array:
        """(m,) zero-point amplitudes √(ħ/2ω) of the normal coordinates, Å·√amu; NaN for an unstable
        mode, which has none.
        """
        stable = np.where(self.energies_meV > 0, self.energies_meV, np.nan)
        return np.asarray(np.sqrt(HBAR2_PER_AMU_A2_EV / (2e-3 * stable)))

    @property
    def energy_words(self) -> str:
        """The energy of the first mode with its unit, or that it has none."""
        energy = self.energies_meV[0]
        return f"{energy:.2f} meV" if energy else "without an energy"

    @property
    def degenerate_groups(self) -> tuple[slice, ...]:
        """Slices of neighbouring modes that share an energy within degeneracy_meV."""
        apart = np.diff(self.energies_meV) > self.degeneracy_meV
        cuts = [0, *(np.flatnonzero(apart) + 1).tolist(), len(self)]
        return tuple(slice(a, b) for a, b in pairwise(cuts))

    @property
    def translation_share(self) -> Array:
        """(m,) share of each mode, 0 to 1, that is a rigid translation; 0 where q is not 0."""
        rigid = np.sqrt(self.masses_amu / self.masses_amu.sum())
        components = np.einsum("mkx,k->mx", self.weighted.reshape(len(self), -1, 3), rigid)
        at_gamma = np.abs(self.q).max(axis=1) < 1e-9
        return np.where(at_gamma, (np.abs(components) ** 2).sum(axis=1), 0.0)

    @property
    def optical(self) -> NDArray[np.bool_]:
        """(m,) True for a mode to displace along: energy > 0 and no rigid translation."""
        return (self.energies_meV > 0) & (self.translation_share < 0.5)

    @property
    def unstable(self) -> NDArray[np.bool_]:
        """(m,) True for an imaginary frequency of a mode that is not a rigid translation."""
        return (self.energies_meV < 0) & (self.translation_share < 0.5)

    def stable(self) -> "Modes":
        """Return the optical modes; raises InputError when there is none."""
        require(self.optical.any(), f"{self.provenance or 'these modes'}: every mode is unstable or"
                " a rigid translation")
        return self[self.optical]


def joined(sets: Sequence[Modes]) -> Modes:
    """Return modes of several wave vectors of one calculation together, named by wave vector."""
    names = [f"q = {tuple(q)}, {name}" for s in sets
             for q, name in zip(s.q.tolist(), s.names, strict=True)]
    energies, patterns, q = (np.concatenate([getattr(s, field) for s in sets])
                             for field in ("energies_meV", "patterns", "q"))
    return Modes(sets[0].crystal, sets[0].masses_amu, energies, patterns, q, names, None,
                 sets[0].provenance)


def read_modes(source: str | Path) -> Modes:
    """Return the modes in a file of this project, or built-in ones of CsPbBr3, Pbnm.

    Parameters
    ----------
    source : str or path
        A file, or "cspbbr3": all optical modes for q → 0 along c, from forces and charges of
        Quantum ESPRESSO; "lo-c": the one of them that couples most to carriers, longitudinal along
        c; "lo-c-sevennet": the same from a machine-learned potential.

    Raises
    ------
    InputError
        For a missing, empty or damaged file, or one whose numbers do not fit together.
    """
    return read_mode_file(source).modes


def mode_of(source: str | Path, number: int | None = None) -> Modes:
    """Return one mode of a file: the one of that number, by default the chosen one.

    Raises
    ------
    InputError
        When the file has no such mode, or none of its modes was chosen; others as read_modes.
    """
    found = read_mode_file(source)
    if number is not None:
        return found.modes.numbered([number])
    require(found.chosen, f"{source} holds {len(found.modes)} modes and none of them was chosen:"
            " say which by its number, select (--select)")
    return found.modes[0]


class ModeFile(NamedTuple):
    """What a mode file holds: modes, charges as write_modes got them, and whether the first mode is
    chosen, which it is where the file does not say it.
    """

    modes: Modes
    charges: dict[str, Any]
    chosen: bool


def read_mode_file(source: str | Path) -> ModeFile:
    """Return all that a mode file holds; source and errors as in read_modes."""
    name, first = BUILTIN.get(str(source), (None, None))
    text = ((resources.files("perovskite_polaron") / "data" / "modes" / name).read_text() if name
            else read_text(source, f"mode file, or a built-in name ({', '.join(BUILTIN)})"))
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:  # a number of 5000 digits is no JSONDecodeError
        raise InputError(f"{source} is not JSON ({error}): give a mode file of this"
                         " project") from None
    require(isinstance(record, dict) and record.get("format") == FORMAT,
            f'{source} is not a mode file: it must be a JSON object with "format": "{FORMAT}"')
    try:
        crystal = Crystal(record["lattice_A"], tuple(record["species"]),
                          record["fractional_positions"], str(source))
        entries = record["modes"][:first]
        modes = Modes(crystal, record.get("masses_amu", crystal.masses_amu),
                      np.array([float(e["energy_meV"]) for e in entries]),
                      np.array([_pattern(e) for e in entries]),
                      np.array([e.get("q", (0, 0, 0)) for e in entries]),
                      [str(e.get("name", "")) for e in entries], record.get("direction"),
                      str(record.get("provenance", "")),
                      numbers=[int(e.get("number", i)) for i, e in enumerate(entries)])
        return ModeFile(modes, dict(record.get("charges") or {}), bool(record.get("chosen", True)))
    except KeyError as error:
        raise InputError(f"{source} lacks the key {error}: complete the mode file") from None
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"{source} is a damaged mode file ({str(error)[:200]}): write it"
                         " again") from None


def write_modes(modes: Modes, path: str | Path, charges: Mapping[str, Any] | None = None,
                chosen: bool = True) -> Path:
    """Write modes as one JSON file that read_modes reads back to the last digit.

    The charges, if given, are kept as they are: arrays and words by name. chosen says whether the
    first mode is the one to displace along, or nobody knows.
    """
    rows = zip(modes.numbers, modes.names, modes.energies_meV.tolist(), modes.q.tolist(),
               modes.patterns, strict=True)
    record = {
        "format": FORMAT, "provenance": modes.provenance,
        "conventions": "patterns are Cartesian displacements in 1/sqrt(amu), not mass-weighted,"
        " sum(m|u|^2) = 1; atom k in cell R moves with pattern_k exp(2 pi i q.R); direction: of q"
        " -> 0, Cartesian; charges: polarisation first, in e",
        "lattice_A": modes.crystal.lattice_A.tolist(), "species": list(modes.crystal.species),
        "fractional_positions": modes.crystal.positions.tolist(),
        "masses_amu": modes.masses_amu.tolist(),
        "direction": None if modes.direction is None else modes.direction.tolist(),
        "charges": {k: v.tolist() if isinstance(v, np.ndarray) else v
                    for k, v in (charges or {}).items()},
        "chosen": chosen,
        "modes": [{"number": number, "name": name, "energy_meV": energy, "q": q,
                   "pattern_real": u.real.tolist()}
                  | ({"pattern_imag": u.imag.tolist()} if u.imag.any() else {})
                  for number, name, energy, q, u in rows]}
    return write_atomically(path, json.dumps(record, indent=1) + "\n")


def check_masses(crystal: Crystal, masses_amu: Array, who: str,
                 calculated_amu: Array | None = None) -> None:
    """Refuse masses (n,) that are not those of the atoms of a crystal.

    An element may be another isotope, unless it is known which one it is.

    Parameters
    ----------
    crystal : Crystal
        Whose atoms are meant; it may say isotopes.
    masses_amu : (n,) float64
        In the order of its atoms.
    who : str
        What has these masses, for the message.
    calculated_amu : (n,) float64, optional
        Masses of the crystal where a calculation states them all.
    """
    expected, known = calculated_amu, np.ones(len(crystal), dtype=bool)
    if expected is None:
        expected, isotopes = crystal.masses_amu, crystal.isotopes_amu
        known = known & np.isfinite(np.nan if isotopes is None else isotopes)
    ratio = masses_amu / expected
    # From He-3 to Ca-48; hydrogen to tritium.
    heaviest = np.where(np.array(crystal.species) == "H", 3.02, 1.25)
    isotope = ~known & (ratio > 0.74) & (ratio < heaviest)
    wrong = np.where(isotope, 0.0, np.abs(expected / masses_amu - 1))
    k = int(wrong.argmax())
    require(wrong[k] <= MASS_TOLERANCE, f"{who} has other masses than {crystal.label}: a mass of"
            f" {masses_amu[k]:.3f} amu for {crystal.species[k]} {k + 1}, not {expected[k]:.3f}:"
            " give a crystal with the masses of the calculation (modes --crystal)")


def _ranges(numbers: Sequence[int]) -> str:
    """Numbers in order as a text: 0, 3 to 5."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _pattern(entry: dict[str, Any]) -> NDArray[np.complex128]:
    pattern = np.asarray(entry["pattern_real"], dtype=np.complex128)
    return pattern + 1j * np.asarray(entry.get("pattern_imag", 0.0), dtype=np.float64)
