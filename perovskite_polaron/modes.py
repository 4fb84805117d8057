"""Phonon modes and this project's own file for them.

A mode's pattern is normalised to sum(m |u|^2) = 1 over the primitive cell (m in amu), so that the normal coordinate Q
in Å·sqrt(amu) gives the displacements u = Q·pattern in Å.
"""

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.crystal import Crystal
from perovskite_polaron.errors import InputError
from perovskite_polaron.files import read_text, write_atomically
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
