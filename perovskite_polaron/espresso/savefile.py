"""The Lanczos save file of XSpectra (``x_save_file``, version 2), and a small binary form of many of them."""

import hashlib
import io
import json
import math
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import InputError
from perovskite_polaron.files import read_text, write_atomically

_WHAT = "save file of XSpectra"


@dataclass(frozen=True, eq=False)
class LanczosSave:
    """One dipole calculation: the chains of every k-point, in the unit they are stored in (a, b: Ry).

    norms: float64 (spins, k); a, b: per chain, (spins * k) arrays, spin up first; k_vector, polarisation: (3,).
    absorber is the number of the absorbing species (xiabs). sha256 is that of the text file.
    """

    kind: str
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


class _Words:
    """The words of a file one by one, each with its line: Fortran may break records anywhere."""

    def __init__(self, path: str, lines: list[str]) -> None:
        self.path, self.line = path, 0
        self.words = iter([(n, w) for n, line in enumerate(lines, 1) if not line.startswith("#") for w in line.split()])
        self.last = len(lines)

    def error(self, why: str) -> InputError:
        return InputError(f"{self.path}:{self.line}: {why}")

    def word(self, name: str) -> str:
        try:
            self.line, word = next(self.words)
        except StopIteration:
            self.line = self.last
            raise self.error(f"the file ends before {name}: it is truncated; run xspectra.x again") from None
        return word

    def number(self, name: str) -> float:
        word = self.word(name)
        try:
            value = float(word.replace("D", "E").replace("d", "e"))
        except ValueError:
            raise self.error(f"{word!r} is not a number ({name}): run xspectra.x again") from None
        if not math.isfinite(value):
            raise self.error(f"{name} is {word}: the calculation failed; run xspectra.x again") from None
        return value

    def count(self, name: str) -> int:
        value = self.number(name)
        if value != int(value) or value < 1:
            raise self.error(f"{name} is {value:g}, not a positive whole number: the file is damaged")
        return int(value)

    def array(self, count: int, name: str) -> NDArray[np.float64]:
        return _frozen([self.number(name) for _ in range(count)])

    def chains(self, lengths: list[int], width: int, name: str) -> tuple[NDArray[np.float64], ...]:
        """Read rows of a table; beyond the length of its chain XSpectra leaves in a row whatever the memory held."""
        found = []
        for length in lengths:
            found.append(self.array(length, name))
            for _ in range(width - length):
                self.word(name)
        return tuple(found)


def read_save(path: str | os.PathLike[str]) -> LanczosSave:
    """Read a finished electric-dipole save file of version 2; every error names file and line.

    Raises InputError when it is missing, truncated, of another version or kind, unfinished, or holds NaN.
    """
    text = read_text(path, _WHAT)
    lines = text.splitlines()
    header = {}
    for number, line in enumerate(lines, 1):
        if line.startswith("#") and "=" in line:
            key, _, value = line[1:].partition("=")
            header[key.strip()] = (number, value.strip())

    def entry(key: str) -> tuple[str, str]:
        number, value = header.get(key, (1, ""))
        return f"{path}:{number}", value

    where, version = entry("save_file_version")
    if version != "2":
        raise InputError(
            f"{where}: not a version 2 {_WHAT} (version {version or 'missing'!r}): write it with XSpectra 5.2 or later"
        )
    where, kind = entry("save_file_kind")
    if kind == "unfinished":
        raise InputError(f"{where}: the calculation is unfinished: restart xspectra.x and let it end")
    if kind != "xanes_dipole":
        raise InputError(f"{where}: kind {kind!r} is not supported: only electric-dipole K edges (xanes_dipole) are")
    where, stored = entry("number of lanczos stored")
    if stored != "1":
        raise InputError(f"{where}: {stored or 'no'} sets of chains are stored where a dipole K edge has 1")
    words = _Words(str(path), lines)
    flag = words.word("the spin flag")
    spins = words.count("the number of spins")
    if (flag, spins) not in (("F", 1), ("T", 2)):
        raise words.error(f"spin flag {flag} with {spins} spins: only collinear calculations are supported")
    absorber = words.count("the absorber")
    k_points = words.count("the number of k-points")
    words.count("the largest number of iterations")
    longest = words.count("the number of coefficients")
    if k_points % spins:
        raise words.error(f"{k_points} k-points cannot be shared by two spins: the file is damaged")
    core = words.number("the core energy")
    fermi = words.number("the Fermi energy")
    k_vector = words.array(3, "the k vector")
    polarisation = words.array(3, "the polarisation")
    norms = words.array(k_points, "the norms")
    lengths = [words.count("the number of iterations") for _ in range(k_points)]
    if max(lengths) > longest:
        raise words.error(f"a chain of {max(lengths)} in a table of {longest}: the file is damaged")
    a = words.chains(lengths, longest, "the coefficients a")
    b = words.chains(lengths, longest, "the coefficients b")
    if (extra := next(words.words, None)) is not None:
        raise InputError(f"{path}:{extra[0]}: more numbers than announced: the file is damaged")
    return LanczosSave(
        kind,
        spins == 2,
        absorber,
        core,
        fermi,
        k_vector,
        polarisation,
        _frozen(norms.reshape(spins, -1)),
        a,
        b,
        hashlib.sha256(text.encode()).hexdigest(),
    )


def write_chains(path: str | os.PathLike[str], saves: Mapping[str, LanczosSave]) -> None:
    """Write named calculations to one small .npz, without loss; the same input gives the same bytes."""
    arrays: dict[str, NDArray[np.float64]] = {}
    meta = []
    for i, name in enumerate(sorted(saves)):
        save = saves[name]
        meta.append(
            {
                "name": name,
                "kind": save.kind,
                "spin_polarised": save.spin_polarised,
                "absorber": save.absorber,
                "core_energy_eV": save.core_energy_eV,
                "fermi_energy_eV": save.fermi_energy_eV,
                "iterations": save.iterations.tolist(),
                "sha256": save.sha256,
            }
        )
        arrays[f"vectors_{i}"] = np.array([save.k_vector, save.polarisation])
        arrays[f"norms_{i}"] = save.norms
        arrays[f"ab_{i}"] = np.array([np.concatenate(save.a), np.concatenate(save.b)])
    buffer = io.BytesIO()
    np.savez_compressed(buffer, meta=np.frombuffer(json.dumps(meta).encode(), np.uint8), **arrays)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())


def read_chains(path: str | os.PathLike[str]) -> dict[str, LanczosSave]:
    """Read what write_chains wrote. Raises InputError when the file is missing or not of that form."""
    saves = {}
    try:
        with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as file:
            for i, m in enumerate(json.loads(file["meta"].tobytes())):
                ends = np.cumsum(m["iterations"])[:-1]
                a, b = (tuple(_frozen(x) for x in np.split(row, ends)) for row in file[f"ab_{i}"])
                vectors = file[f"vectors_{i}"]
                saves[m["name"]] = LanczosSave(
                    m["kind"],
                    m["spin_polarised"],
                    m["absorber"],
                    m["core_energy_eV"],
                    m["fermi_energy_eV"],
                    _frozen(vectors[0]),
                    _frozen(vectors[1]),
                    _frozen(file[f"norms_{i}"]),
                    a,
                    b,
                    m["sha256"],
                )
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: give the chains of a study (.npz)") from None
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} does not hold the chains of a study ({error}): write it again") from None
    return saves


def _frozen(values: object) -> NDArray[np.float64]:
    array = np.array(values, dtype=np.float64)
    array.flags.writeable = False
    return array
