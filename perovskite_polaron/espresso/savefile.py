"""The Lanczos save file of XSpectra (``x_save_file``, version 2), and a small binary form of many
of them.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import InputError
from perovskite_polaron.files import LineReader, open_npz, read_text, write_npz

_WHAT = "save file of XSpectra"
# Key of the header -> what it must be, and what to say of another value.
_HEADER = {
    "save_file_version": ("2", f"not a version 2 {_WHAT} (version {{!r}}): write it with XSpectra"
                               " 5.2 or later"),
    "save_file_kind": ("xanes_dipole", "kind {!r} is not supported: only electric-dipole K edges"
                                       " (xanes_dipole) are"),
    "number of lanczos stored": ("1", "{} sets of chains are stored where a dipole K edge has 1")}
# What the binary form keeps beside the arrays.
_SCALARS = ("spin_polarised", "absorber", "core_energy_eV", "fermi_energy_eV", "sha256")


@dataclass(frozen=True, eq=False)
class LanczosSave:
    """One dipole calculation: the chains of every k-point, in the unit they are stored in.

    Attributes
    ----------
    absorber
        Number of the absorbing species (xiabs).
    k_vector, polarisation
        Shape (3,).
    norms
        Of the starting vectors, shape (spins, k).
    a, b
        Coefficients of each chain, spins * k arrays, spin up first; Ry.
    sha256
        That of the text file.
    """

    spin_polarised: bool
    absorber: int
    core_energy_eV: float
    fermi_energy_eV: float
    k_vector: NDArray[np.float64]
    polarisation: NDArray[np.float64]
    norms: NDArray[np.float64]
    a: tuple[NDArray[np.float64], ...]
    b: tuple[NDArray[np.float64], ...]
    sha256: str

    @property
    def iterations(self) -> NDArray[np.int64]:
        """Length of each chain, shape (spins, k)."""
        return np.array([len(x) for x in self.a], dtype=np.int64).reshape(self.norms.shape)


class _Numbers(LineReader):
    """The numbers of a save file, one by one: Fortran may break records anywhere."""

    def value(self, name: str) -> float:
        return self.number(self.word(name), name)

    def count(self, name: str) -> int:
        value = self.value(name)
        self.require(value == int(value) and value >= 1,
                     f"{name} is {value:g}, not a positive whole number: the file is damaged")
        return int(value)

    def array(self, count: int, name: str) -> NDArray[np.float64]:
        return _frozen([self.value(name) for _ in range(count)])

    def chains(self, lengths: list[int], width: int, name: str) -> tuple[NDArray[np.float64], ...]:
        """Read rows of a table; beyond its chain XSpectra leaves what the memory held."""
        found = []
        for length in lengths:
            found.append(self.array(length, name))
            for _ in range(width - length):
                self.word(name)
        return tuple(found)

    def has_more(self) -> bool:
        try:
            return bool(self.word("nothing"))
        except InputError:
            return False

    def check_header(self) -> None:
        """Refuse a file that is not of the version and kind that is read here."""
        header = {key.strip(): (number, value.strip()) for number, line in enumerate(self.lines, 1)
                  if line.startswith("#") for key, _, value in [line[1:].partition("=")]}
        for key, (wanted, why) in _HEADER.items():
            self.at, value = header.get(key, (1, ""))
            self.require(value != "unfinished",
                         "the calculation is unfinished: restart xspectra.x and let it end")
            self.require(value == wanted, why.format(value or "missing"))
        self.at = 0


def read_save(path: str | os.PathLike[str]) -> LanczosSave:
    """Read a finished electric-dipole save file of version 2.

    Raises
    ------
    InputError
        Naming file and line, when it is missing, truncated, of another version or kind, unfinished,
        or holds NaN.
    """
    text = read_text(path, _WHAT)
    file = _Numbers(path, text=text, comment="#", remedy="run xspectra.x again")
    file.check_header()
    flag, spins = file.word("the spin flag"), file.count("the number of spins")
    file.require((flag, spins) in (("F", 1), ("T", 2)), f"spin flag {flag} with {spins} spins: only"
                 " collinear calculations are supported")
    absorber, k_points = file.count("the absorber"), file.count("the number of k-points")
    file.count("the largest number of iterations")
    longest = file.count("the number of coefficients")
    if k_points % spins:
        raise file.error(f"{k_points} k-points cannot be shared by two spins: the file is damaged")
    core, fermi = file.value("the core energy"), file.value("the Fermi energy")
    k_vector, polarisation = file.array(3, "the k vector"), file.array(3, "the polarisation")
    norms = file.array(k_points, "a norm")
    lengths = [file.count("the number of iterations") for _ in range(k_points)]
    if max(lengths) > longest:
        raise file.error(f"a chain of {max(lengths)} in a table of {longest}: the file is damaged")
    a, b = (file.chains(lengths, longest, f"a coefficient {name}") for name in "ab")
    file.require(not file.has_more(), "more numbers than announced: the file is damaged")
    return LanczosSave(
        spins == 2, absorber, core, fermi, k_vector, polarisation,
        _frozen(norms.reshape(spins, -1)), a, b, hashlib.sha256(text.encode()).hexdigest())


def write_chains(path: str | os.PathLike[str], saves: Mapping[str, LanczosSave]) -> Path:
    """Write named calculations to one small .npz, without loss; the same input gives the same
    bytes.
    """
    arrays: dict[str, Any] = {}
    meta = []
    for i, (name, save) in enumerate(sorted(saves.items())):
        meta.append({"name": name, "iterations": save.iterations.tolist(),
                     **{key: getattr(save, key) for key in _SCALARS}})
        arrays[f"vectors_{i}"] = np.array([save.k_vector, save.polarisation])
        arrays[f"norms_{i}"] = save.norms
        arrays[f"ab_{i}"] = np.array([np.concatenate(save.a), np.concatenate(save.b)])
    return write_npz(path, {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)} | arrays)


def read_chains(path: str | os.PathLike[str]) -> dict[str, LanczosSave]:
    """Read what ``write_chains`` wrote.

    Raises
    ------
    InputError
        When the file is missing or not of that form.
    """
    saves = {}
    with open_npz(path, "the chains of a study") as file:
        for i, m in enumerate(json.loads(file["meta"].tobytes())):
            ends = np.cumsum(m["iterations"])[:-1]
            a, b = (tuple(map(_frozen, np.split(row, ends))) for row in file[f"ab_{i}"])
            k_vector, polarisation = map(_frozen, file[f"vectors_{i}"])
            saves[m["name"]] = LanczosSave(
                k_vector=k_vector, polarisation=polarisation, norms=_frozen(file[f"norms_{i}"]),
                a=a, b=b, **{key: m[key] for key in _SCALARS})
    return saves


def _frozen(values: object) -> NDArray[np.float64]:
    array = np.array(values, dtype=np.float64)
    array.flags.writeable = False
    return array
