"""The Lanczos save file of XSpectra (``x_save_file``, version 2), and a small binary form of many
of them.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import InputError
from perovskite_polaron.files import LineReader, open_npz, read_text, write_npz

_WHAT = "save file of XSpectra"
# Sets of chains in a file, one for each state of the core -> what it may hold: an edge -> its sets.
# XSpectra 6.7 gives each edge of its ``edge`` the sum over its states, without a weight and without
# a shift between two edges.
_EDGES = {1: {"K": slice(0, 1), "L1": slice(0, 1)}, 2: {"L2": slice(0, 2)},
          4: {"L3": slice(0, 4)}, 6: {"L2": slice(0, 2), "L3": slice(2, 6)}}
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
    core_states
        How many states of the core have chains here: 1 of an s shell; of 2p those of L2 or L3 for
        which the polarisation allows a transition. Within a spin, the k points of each follow those
        of the one before, so that k is their number times that of the k points.
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
    core_states: int = 1

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

    def sets(self) -> int:
        """Return how many sets of chains follow; refuse a file that is not of the version and kind
        that is read here.
        """
        header = {key.strip(): (number, value.strip(" \0"))
                  for number, line in enumerate(self.lines, 1) if line.startswith("#")
                  for key, _, value in [line[1:].partition("=")]}
        self.at, version = header.get("save_file_version", (1, "missing"))
        self.require(version == "2", f"not a version 2 {_WHAT} (version {version!r}): write it with"
                     " XSpectra 5.2 or later")
        kind_at, kind = header.get("save_file_kind", (1, "missing"))
        self.at, count = header.get("number of lanczos stored", (1, "missing"))
        self.require(kind == "unfinished" or count in map(str, _EDGES),
                     f"{count} sets of chains are stored, where a K or L1 edge has 1, L2 2, L3 4,"
                     " both together 6: other edges are not supported")
        self.at = kind_at
        self.require(kind != "unfinished",
                     "the calculation is unfinished: restart xspectra.x and let it end")
        # That of L2 and L3 XSpectra leaves empty.
        self.require(kind == "xanes_dipole" or (not kind and count != "1"), f"kind {kind!r} is not"
                     " supported: only electric-dipole spectra (xanes_dipole) are")
        self.at = 0
        return int(count)

    def one_set(self, k_points: int, longest: int, edge: bool) -> "_Set":
        """Read the chains of one state of the core.

        Of an L edge a state may have none, with norms of zero: the polarisation allows no
        transition from it.
        """
        norms = self.array(k_points, "a norm")
        read = self.value if edge and not norms.any() else self.count
        lengths = [int(read("the number of iterations")) for _ in range(k_points)]
        if max(lengths) > longest:
            raise self.error(
                f"a chain of {max(lengths)} in a table of {longest}: the file is damaged")
        a, b = (self.chains(lengths, longest, f"a coefficient {name}") for name in "ab")
        return _Set(norms, a, b)


class _Set(NamedTuple):
    """The chains of one state of the core, spins * k."""

    norms: NDArray[np.float64]
    a: tuple[NDArray[np.float64], ...]
    b: tuple[NDArray[np.float64], ...]


def read_save(path: str | os.PathLike[str], edge: str | None = None) -> LanczosSave:
    """Read a finished electric-dipole save file of version 2.

    Parameters
    ----------
    path
        The file.
    edge
        Which edge is wanted (``K``, ``L1``, ``L2``, ``L3``): needed where the file has two.

    Raises
    ------
    InputError
        Naming file and line, when it is missing, truncated, of another version, kind or edge,
        unfinished, or holds NaN.
    """
    text = read_text(path, _WHAT)
    file = _Numbers(path, text=text, comment="#", remedy="run xspectra.x again")
    count = file.sets()
    edges = _EDGES[count]
    if edge is None and count == 6:
        raise InputError(f"{path} holds six states, of L2 and of L3 if it was made with edge='L23':"
                         " say which edge is wanted (--edge L3)")
    if edge is not None and edge not in edges:
        raise InputError(f"{path} has chains of {' or '.join(edges)}, not of {edge}: choose that"
                         " edge or another file")
    wanted = edges[edge or next(iter(edges))]
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
    sets = [file.one_set(k_points, longest, count > 1) for _ in range(count)]
    file.require(not file.has_more(), "more numbers than announced: the file is damaged")
    kept = [one for one in sets[wanted] if one.norms.any()] if count > 1 else sets
    if not kept:
        raise InputError(f"{path} has no chain of that edge, all norms are zero: run xspectra.x"
                         " again")
    return LanczosSave(
        spins == 2, absorber, core, fermi, k_vector, polarisation,
        _frozen(np.hstack([one.norms.reshape(spins, -1) for one in kept])),
        _by_spin([one.a for one in kept], spins), _by_spin([one.b for one in kept], spins),
        hashlib.sha256(text.encode()).hexdigest(), len(kept))


def _by_spin(sets: list[tuple[NDArray[np.float64], ...]],
             spins: int) -> tuple[NDArray[np.float64], ...]:
    """Return all chains of spin up, set after set, then those of spin down."""
    k_points = len(sets[0]) // spins
    return tuple(chain for spin in range(spins) for one in sets
                 for chain in one[spin * k_points : (spin + 1) * k_points])


def write_chains(path: str | os.PathLike[str], saves: Mapping[str, LanczosSave]) -> Path:
    """Write named calculations to one small .npz, without loss; the same input gives the same
    bytes.
    """
    arrays: dict[str, Any] = {}
    meta = []
    for i, (name, save) in enumerate(sorted(saves.items())):
        meta.append({"name": name, "iterations": save.iterations.tolist(),
                     **({"core_states": save.core_states} if save.core_states > 1 else {}),
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
                a=a, b=b, core_states=m.get("core_states", 1),
                **{key: m[key] for key in _SCALARS})
    return saves


def _frozen(values: object) -> NDArray[np.float64]:
    array = np.array(values, dtype=np.float64)
    array.flags.writeable = False
    return array
