"""Phonon modes and this project's own file for them.

A mode's pattern is normalised to sum(m |u|^2) = 1 over the primitive cell (m in amu), so that the normal coordinate Q
in Å·sqrt(amu) gives the displacements u = Q·pattern in Å.

All modes of a crystal at one wave vector, unstable ones included, in a basis that does not depend on who computed it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perovskite_polaron.errors import InputError
from perovskite_polaron.files import read_text, write_atomically
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.units import HBAR2_PER_AMU_A2_EV

FORMAT = "perovskite-polaron modes 1"
# Name: file, and how many of its modes from the first.
BUILTIN = {
    "lo-c": ("cspbbr3.json", 1),
    "cspbbr3": ("cspbbr3.json", None),
    "lo-c-sevennet": ("cspbbr3_lo_c_sevennet.json", None),
}


@dataclass(frozen=True, eq=False)
class Mode:
    """One phonon mode of a crystal.

    crystal      primitive cell the pattern belongs to
    masses_amu   (n,) float64 masses it was computed with
    energy_meV   float > 0
    pattern      (n, 3) complex128, Cartesian, 1/sqrt(amu); sum(m |pattern|^2) = 1
    q            (3,) wave vector in reciprocal-lattice coordinates; atom k in cell R moves with pattern_k exp(2πi q·R)
    name         free text
    """

    crystal: Crystal
    masses_amu: NDArray[np.float64]
    energy_meV: float
    pattern: NDArray[np.complex128]
    q: tuple[float, float, float] = (0.0, 0.0, 0.0)
    name: str = ""

    def __post_init__(self) -> None:
        who = f"mode {self.name!r}"
        masses = np.array(self.masses_amu, dtype=np.float64)
        pattern = np.array(self.pattern, dtype=np.complex128)
        n = len(self.crystal)
        if masses.shape != (n,) or not np.isfinite(masses).all() or (masses <= 0).any():
            raise InputError(f"{who} needs {n} positive masses in amu, one for each atom")
        if pattern.shape != (n, 3) or not np.isfinite(pattern).all() or not np.abs(pattern).max() > 0:
            raise InputError(f"{who} needs a finite, non-zero pattern of shape ({n}, 3), not {pattern.shape}")
        if not (np.isfinite(self.energy_meV) and self.energy_meV > 0):
            raise InputError(
                f"{who} has energy {self.energy_meV} meV: only a stable mode (energy > 0) can be displaced along"
            )
        pattern /= np.sqrt((masses[:, None] * np.abs(pattern) ** 2).sum())
        for name, array in (("masses_amu", masses), ("pattern", pattern)):
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        object.__setattr__(self, "q", tuple(float(v) for v in self.q))
        if len(self.q) != 3 or not np.isfinite(self.q).all():
            raise InputError(f"{who} needs a wave vector of three finite numbers")

    @property
    def zero_point_sqrt_amu_A(self) -> float:
        """Zero-point amplitude sqrt(ħ/2ω) of the normal coordinate, Å·sqrt(amu)."""
        return float(np.sqrt(HBAR2_PER_AMU_A2_EV / (2e-3 * self.energy_meV)))


@dataclass(frozen=True)
class ModeSet:
    """Modes of one crystal, and where they come from."""

    modes: tuple[Mode, ...]
    provenance: str = ""

    def __post_init__(self) -> None:
        if not self.modes:
            raise InputError("a mode set needs at least one mode")


def read_modes(source: str | Path) -> ModeSet:
    """Return the modes in a file of this project, or built-in ones of CsPbBr3, Pbnm.

    "cspbbr3": all optical modes for q -> 0 along c, from forces and charges of Quantum ESPRESSO; "lo-c": the one of them
    that couples most to carriers, longitudinal along c; "lo-c-sevennet": the same from a machine-learned potential.
    Raises InputError for a missing, empty or damaged file, or one whose numbers do not fit together.
    """
    name, first = BUILTIN.get(str(source), (None, None))
    text = (
        (resources.files("perovskite_polaron") / "data" / "modes" / name).read_text()
        if name
        else read_text(source, f"mode file, or a built-in name ({', '.join(BUILTIN)})")
    )
    try:
        record = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{source} is not JSON ({error}): give a mode file of this project") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise InputError(f'{source} is not a mode file: it must be a JSON object with "format": "{FORMAT}"')
    try:
        crystal = Crystal(record["lattice_A"], tuple(record["species"]), record["fractional_positions"], str(source))
        masses = np.asarray(record.get("masses_amu", crystal.masses_amu), dtype=np.float64)
        modes = tuple(_mode(crystal, masses, entry) for entry in record["modes"][:first])
        return ModeSet(modes, str(record.get("provenance", "")))
    except KeyError as error:
        raise InputError(f"{source} lacks the key {error}: complete the mode file") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{source} is a damaged mode file ({error}): write it again") from None


def write_modes(modes: ModeSet, path: str | Path) -> Path:
    """Write modes as one JSON file that read_modes reads back to the last digit."""
    first = modes.modes[0]
    record = {
        "format": FORMAT,
        "provenance": modes.provenance,
        "conventions": "patterns are Cartesian displacements in 1/sqrt(amu), not mass-weighted, sum(m|u|^2) = 1;"
        " atom k in cell R moves with pattern_k exp(2 pi i q.R)",
        "lattice_A": first.crystal.lattice_A.tolist(),
        "species": list(first.crystal.species),
        "fractional_positions": first.crystal.positions.tolist(),
        "masses_amu": first.masses_amu.tolist(),
        "modes": [
            {
                "name": m.name,
                "energy_meV": m.energy_meV,
                "q": list(m.q),
                "pattern_real": m.pattern.real.tolist(),
                **({"pattern_imag": m.pattern.imag.tolist()} if m.pattern.imag.any() else {}),
            }
            for m in modes.modes
        ],
    }
    return write_atomically(path, json.dumps(record, indent=1) + "\n")


def _mode(crystal: Crystal, masses: NDArray[np.float64], entry: dict[str, Any]) -> Mode:
    pattern = np.asarray(entry["pattern_real"], dtype=np.complex128)
    if "pattern_imag" in entry:
        pattern = pattern + 1j * np.asarray(entry["pattern_imag"], dtype=np.float64)
    return Mode(
        crystal,
        masses,
        float(entry["energy_meV"]),
        pattern,
        tuple(entry.get("q", (0, 0, 0))),
        str(entry.get("name", "")),
    )



DEGENERACY_MEV = 0.005
"""Modes of a file whose energies differ by less than this, in meV (0.04 cm⁻¹), share one subspace."""
DEGENERACY_COMPUTED_MEV = 1e-4
"""The same for modes that are diagonalised here, where symmetry makes energies equal to far more digits."""
ORTHOGONALITY = 5e-3
"""Largest overlap Σ m u*·u' between two modes that is put down to the digits of a file."""
_TIE = 1e-3


@dataclass(frozen=True, eq=False)
class PhononModes:
    """Modes at one wave vector, by rising energy.

    crystal       primitive cell they belong to
    masses_amu    (n,) float64
    q             (3,) float64 wave vector in reciprocal-lattice coordinates of the crystal
    direction     (3,) float64 Cartesian unit vector along which q went to 0 (with the non-analytic term), or None
    energies_meV  (m,) float64; negative for an imaginary frequency: −ħ|ω|
    patterns      (m, n, 3) complex128 Cartesian displacements in 1/sqrt(amu); atom k in cell R moves with
                  pattern_k exp(2πi q·R)
    provenance    free text
    degeneracy_meV  modes whose neighbours are nearer than this share one subspace; smaller where more digits are known

    Patterns may come in any scale and any order. They are sorted, normalised to Σ m|u|² = 1 and, in each degenerate
    subspace, replaced by its canonical basis. That basis is found from the projector P onto the subspace, which no
    rotation within the subspace changes. The Cartesian unit vectors (atom 1 x, y, z, atom 2 x, ...; mass-weighted) are
    projected by P; the longest projection is the first mode, it is removed from the others, the longest that is left is
    the second, and so on. Of equally long ones (symmetry makes them so) the first in order is taken. A mode that is
    not degenerate thereby gets its phase: its largest mass-weighted component is real and positive.

    Raises InputError for wrong shapes, NaN, masses that are not positive, an empty pattern, or patterns that are not
    orthogonal with these masses (Σ m u*·u' beyond ORTHOGONALITY): then masses or atoms are not those of the file.
    """

    crystal: Crystal
    masses_amu: NDArray[np.float64]
    q: NDArray[np.float64]
    direction: NDArray[np.float64] | None
    energies_meV: NDArray[np.float64]
    patterns: NDArray[np.complex128]
    provenance: str = ""
    degeneracy_meV: float = DEGENERACY_MEV

    def __post_init__(self) -> None:
        n, who = len(self.crystal), self.provenance or "these modes"
        masses = np.array(self.masses_amu, dtype=np.float64)
        energies = np.array(self.energies_meV, dtype=np.float64)
        patterns = np.array(self.patterns, dtype=np.complex128)
        if masses.shape != (n,) or not np.isfinite(masses).all() or (masses <= 0).any():
            raise InputError(
                f"{who}: {n} positive masses in amu are needed, one for each atom of {self.crystal.label}"
            )
        if energies.ndim != 1 or len(energies) == 0 or patterns.shape != (len(energies), n, 3):
            raise InputError(
                f"{who}: patterns of shape {patterns.shape} do not fit {energies.size} energies and the {n} atoms of"
                f" {self.crystal.label}: give the crystal the modes belong to"
            )
        if not np.isfinite(energies).all() or not np.isfinite(patterns).all():
            raise InputError(f"{who}: an energy or a displacement is not a finite number: compute the modes again")
        q = np.array(self.q, dtype=np.float64)
        direction = None if self.direction is None else np.array(self.direction, dtype=np.float64)
        if q.shape != (3,) or not np.isfinite(q).all():
            raise InputError(f"{who}: the wave vector must be three finite numbers")
        if direction is not None:
            if direction.shape != (3,) or not np.isfinite(direction).all() or not np.linalg.norm(direction) > 0:
                raise InputError(f"{who}: the direction must be three finite numbers, not all zero")
            direction /= np.linalg.norm(direction)
        order = np.argsort(energies, kind="stable")
        energies = energies[order]
        weighted = _orthonormal(patterns[order] * np.sqrt(masses)[:, None], who, self.crystal)
        for group in _degenerate(energies, self.degeneracy_meV):
            weighted[group] = _canonical(weighted[group])
        arrays = {
            "masses_amu": masses,
            "q": q,
            "direction": direction,
            "energies_meV": energies,
            "patterns": weighted.reshape(-1, n, 3) / np.sqrt(masses)[:, None],
        }
        for name, array in arrays.items():
            if array is not None:
                array.setflags(write=False)
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.energies_meV)

    @property
    def at_gamma(self) -> bool:
        """Whether q is zero."""
        return bool(np.abs(self.q).max() < 1e-9)

    @property
    def weighted(self) -> NDArray[np.complex128]:
        """(m, 3n) complex128 rows sqrt(m)·pattern, orthonormal: eigenvectors of the dynamical matrix."""
        return (self.patterns * np.sqrt(self.masses_amu)[:, None]).reshape(len(self), -1)

    @property
    def degenerate_groups(self) -> tuple[slice, ...]:
        """Slices of modes that share an energy within degeneracy_meV."""
        return tuple(_degenerate(self.energies_meV, self.degeneracy_meV))

    @property
    def translation_share(self) -> NDArray[np.float64]:
        """(m,) share of each mode, 0 to 1, that is a rigid translation of the crystal; zeros when q is not 0."""
        if not self.at_gamma:
            return np.zeros(len(self))
        rigid = np.sqrt(self.masses_amu / self.masses_amu.sum())
        components = np.einsum("mkx,k->mx", self.weighted.reshape(len(self), -1, 3), rigid)
        return np.asarray((np.abs(components) ** 2).sum(axis=1))

    @property
    def unstable(self) -> NDArray[np.bool_]:
        """(m,) True for an imaginary frequency of a mode that is not a rigid translation."""
        return (self.energies_meV < 0) & (self.translation_share < 0.5)

    def modes(self, names: Sequence[str] | None = None) -> ModeSet:
        """Return the modes that a crystal can be displaced along: energy > 0 and no rigid translation.

        names  one for each of all m modes; default "mode i", counted from 1 by energy
        Raises InputError when no mode is left.
        """
        names = [f"mode {i + 1}" for i in range(len(self))] if names is None else names
        stable = (self.energies_meV > 0) & (self.translation_share < 0.5)
        if not stable.any():
            raise InputError(f"{self.provenance or 'these modes'}: every mode is unstable or a rigid translation")
        return ModeSet(
            tuple(
                Mode(self.crystal, self.masses_amu, float(e), u, tuple(self.q.tolist()), name)
                for e, u, name, ok in zip(self.energies_meV, self.patterns, names, stable, strict=True)
                if ok
            ),
            self.provenance,
        )


def diagonalise(
    crystal: Crystal,
    masses_amu: ArrayLike,
    force_constants_eV_A2: ArrayLike,
    q: ArrayLike = (0.0, 0.0, 0.0),
    direction: ArrayLike | None = None,
    provenance: str = "",
) -> PhononModes:
    """Return the modes of force constants Φ(q) = Σ_R Φ(0, R) exp(2πi q·R), (3n, 3n) complex in eV/Å².

    The matrix holds whatever is to act (sum rules, non-analytic term); it is made Hermitian, which removes rounding
    only, weighted by the masses and diagonalised. Raises InputError as PhononModes does.
    """
    masses = np.asarray(masses_amu, dtype=np.float64)
    phi = np.asarray(force_constants_eV_A2, dtype=np.complex128)
    n = len(crystal)
    who = provenance or "these force constants"
    if masses.shape != (n,) or not (masses > 0).all() or phi.shape != (3 * n, 3 * n):
        raise InputError(f"{who}: {phi.shape} numbers do not fit the {n} atoms of {crystal.label} and their masses")
    if not np.isfinite(phi).all():
        raise InputError(f"{who}: a force constant is not a finite number: compute them again")
    weight = np.repeat(1 / np.sqrt(masses), 3)
    squares, vectors = np.linalg.eigh((phi + phi.conj().T) / 2 * np.outer(weight, weight))
    energies = np.sign(squares) * np.sqrt(np.abs(squares) * HBAR2_PER_AMU_A2_EV) * 1e3
    patterns = (vectors * weight[:, None]).T.reshape(-1, n, 3).astype(np.complex128)
    along = None if direction is None else np.asarray(direction, dtype=np.float64)
    q = np.asarray(q, dtype=np.float64)
    return PhononModes(crystal, masses, q, along, energies, patterns, provenance, DEGENERACY_COMPUTED_MEV)


def _orthonormal(weighted: NDArray[np.complex128], who: str, crystal: Crystal) -> NDArray[np.complex128]:
    """Rows (m, 3n) normalised, checked for orthogonality, and freed of what rounding in a file left of overlap."""
    rows = weighted.reshape(len(weighted), -1)
    norms = np.linalg.norm(rows, axis=1)
    if (norms == 0).any():
        raise InputError(f"{who}: mode {int(norms.argmin()) + 1} moves no atom: compute the modes again")
    rows = rows / norms[:, None]
    overlap = np.abs(rows.conj() @ rows.T - np.eye(len(rows)))
    if len(rows) > rows.shape[1] or overlap.max() > ORTHOGONALITY:
        i, j = sorted(np.unravel_index(overlap.argmax(), overlap.shape))
        raise InputError(
            f"{who}: modes {i + 1} and {j + 1} overlap by {overlap.max():.3f} with the masses given for"
            f" {crystal.label}: masses or order of atoms are not those of the calculation; give the right crystal"
        )
    # Loewdin: the nearest orthonormal rows; it favours none of the modes.
    u, _, vh = np.linalg.svd(rows, full_matrices=False)
    return np.asarray(u @ vh)


def _degenerate(energies_meV: NDArray[np.float64], width_meV: float) -> list[slice]:
    """Runs of neighbouring energies closer than a width."""
    cuts = [0, *(np.flatnonzero(np.diff(energies_meV) > width_meV) + 1).tolist(), len(energies_meV)]
    return [slice(a, b) for a, b in pairwise(cuts)]


def _canonical(rows: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return the basis of the space of orthonormal rows (d, 3n) that PhononModes describes."""
    projector = rows.T @ rows.conj()
    basis = []
    for _ in rows:
        lengths = projector.diagonal().real
        pivot = int(np.flatnonzero(lengths >= (1 - _TIE) * lengths.max())[0])
        vector = projector[:, pivot] / np.sqrt(lengths[pivot])
        basis.append(vector / np.linalg.norm(vector))
        projector = projector - np.outer(basis[-1], basis[-1].conj())
    return np.array(basis)
