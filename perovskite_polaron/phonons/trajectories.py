"""Snapshots from a trajectory, read frame by frame: memory holds the frames that are kept alone.

Formats: extended XYZ and ASE's own ``.traj``, XDATCAR of VASP, text dumps of LAMMPS; all are
parsed by ASE, one frame at a time.
"""

import warnings
from collections.abc import Iterator, Sequence
from io import StringIO
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import InputError, PolaronError, require
from perovskite_polaron.files import sha256_of
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.ensemble import Ensemble, Origin, correlation_time

_SUFFIXES = {".extxyz": "extxyz", ".xyz": "extxyz", ".traj": "traj", ".lammpstrj": "lammps",
             ".dump": "lammps", ".lammps": "lammps"}
# Nearest neighbours over the sum of their covalent radii, the median atom of a frame: 0.9 to 1.2 in
# crystals, 1.75 in solid argon; lengths in bohr that are read as Å make it 1.9 times that.
_NEAREST, _NEIGHBOURS_A = (0.6, 1.8), 7.0


def read_trajectory(path: str | Path, every: int = 1, skip: int = 0,
                    species: Sequence[str] = (), temperature_K: float | None = None) -> Ensemble:
    """Return every n-th frame of a trajectory as an ensemble.

    Its reference is the mean over all frames after those that are skipped. Atoms that cross the
    border of the cell are followed, and the drift of the centre of mass is taken off.

    Parameters
    ----------
    path : str or path
        The file; its name says the format: .extxyz, .xyz, .traj, XDATCAR, .lammpstrj, .dump.
    every, skip
        Keep one frame of so many, after leaving out the first ones.
    species : sequence of str
        Elements of the types 1, 2, ... of a LAMMPS dump that does not name them.
    temperature_K : float, optional
        Where it is known.

    Raises
    ------
    InputError
        For a file that is no trajectory, a frame without a cell or with other atoms than the
        first, or lengths that are not in Å.
    """
    path = Path(path)
    require(every >= 1 and skip >= 0, "one frame of --every 1 or more is kept, after --skip 0 or"
            " more")
    kept: list[tuple[Array, Array]] = []
    first, before, symbols, masses = None, np.empty(0), (), np.empty(0)
    mean, cells, count = np.empty(0), np.zeros((3, 3)), 0
    for number, atoms in enumerate(_checked(path, species)):
        lattice, inside = np.array(atoms.cell.array), atoms.get_scaled_positions(wrap=False)
        if first is None:
            symbols, masses = tuple(atoms.get_chemical_symbols()), atoms.get_masses()
            _require_angstrom(path, atoms)
            first = before = inside
            mean = np.zeros_like(inside)
        moved = tuple(atoms.get_chemical_symbols())
        require(len(moved) == len(symbols), f"{path}: frame {number} has {len(moved)} atoms, the"
                f" first {len(symbols)}: give a trajectory in which none enters or leaves")
        require(moved == symbols, f"{path}: frame {number} has other elements, or another order of"
                " atoms, than the first: sort them")
        inside = before + (step := inside - before) - np.rint(step)
        before = inside
        if number < skip:
            continue
        drift = masses @ (inside - first) / masses.sum()
        inside = inside - drift
        mean, cells, count = mean + inside, cells + lattice, count + 1
        if (number - skip) % every == 0:
            kept.append((lattice, inside))
    require(kept, f"{path} has no frame beyond the first {skip}: skip fewer")
    label = path.name
    reference = Crystal(cells / count, symbols, mean / count, f"mean of {label}")
    snapshots = tuple(Crystal(lattice, symbols, inside, f"{label} frame {skip + k * every}")
                      for k, (lattice, inside) in enumerate(kept))
    found = Ensemble(Origin(
        "trajectory", label, f"every {every}th of {count} frames after the first {skip}; centre of"
        " mass at rest; reference: their mean", temperature_K, None, "series",
        f"trajectory {sha256_of(path)[:16]} {every} {skip}"), reference, snapshots, label)
    return correlated(found)


def correlated(ensemble: Ensemble) -> Ensemble:
    """Return a series with the autocorrelation time of its displacements."""
    moved = ensemble.displacements_A.reshape(len(ensemble), -1)
    fields = vars(ensemble.origin) | {"correlation": correlation_time(moved)}
    return Ensemble(Origin(**fields), ensemble.reference, ensemble.snapshots, ensemble.label)


def _checked(path: Path, species: Sequence[str]) -> Iterator[Any]:
    """Yield frames with a cell; whatever else fails in reading them becomes one InputError."""
    require(path.is_file(), f"{path} does not exist: give the path of a trajectory")
    kind = "xdatcar" if path.name.upper().startswith("XDATCAR") else _SUFFIXES.get(
        path.suffix.lower())
    require(kind, f"{path} has a name that says no format: call it .extxyz, .traj, XDATCAR,"
            " .lammpstrj or .dump")
    number = 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for atoms in _frames(path, str(kind), species):
                sound = atoms.cell.rank == 3 and atoms.pbc.all()
                require(sound, f"{path}: frame {number} has no cell, or is not periodic in every"
                        ' direction: state it (Lattice="..." pbc="T T T")')
                require(np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all(),
                        f"{path}: frame {number} holds NaN or infinity: cut the trajectory there")
                yield atoms
                number += 1
    except (PolaronError, GeneratorExit):
        raise
    except Exception as error:  # parsers raise anything at all on a damaged file
        why = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: frame {number} cannot be read as {kind}"
                         f" ({type(error).__name__}: {why}): check the file and its name") from None
    require(number, f"{path} holds no frame: give a trajectory")


def _frames(path: Path, kind: str, species: Sequence[str]) -> Iterator[Any]:
    from ase.io import iread

    if kind == "xdatcar":
        with open(path, encoding="utf-8") as lines:
            yield from _xdatcar(lines)
    elif kind == "lammps":
        with open(path, encoding="utf-8") as lines:
            yield from _lammps(path, lines, species)
    else:
        yield from iread(str(path), index=":", format=kind)


def _xdatcar(lines: TextIO) -> Iterator[Any]:
    """Yield the frames of an XDATCAR, whose head comes once or, with a free cell, each time."""
    from ase.io import read

    head: list[str] = []
    atoms = 0
    while line := lines.readline():
        if not line.startswith("Direct configuration"):
            head = [line, *islice(lines, 6)]
            atoms = sum(map(int, head[6].split()))
            line = lines.readline()
        rows = list(islice(lines, atoms))
        require(len(rows) == atoms and atoms and line.startswith("Direct"),
                "it ends within a frame, or lacks its head", ValueError)
        yield read(StringIO("".join([*head, line, *rows])), format="vasp-xdatcar")


def _lammps(path: Path, lines: TextIO, species: Sequence[str]) -> Iterator[Any]:
    """Yield the frames of a text dump of LAMMPS, in the order of the atoms' ids."""
    from ase.io import read

    line = lines.readline()
    require(line.startswith("ITEM: TIMESTEP"), "it does not begin with ITEM: TIMESTEP", ValueError)
    while line:
        frame = [line]
        for line in chain(lines, [""]):
            if not line or line.startswith("ITEM: TIMESTEP"):
                break
            frame.append(line)
        columns = next(row for row in frame if row.startswith("ITEM: ATOMS")).split()
        require("element" in columns or species, f"{path} does not name the elements of its types:"
                " add --species, such as --species Cs,Pb,Br")
        more: dict[str, Any] = {} if "element" in columns else {"specorder": list(species)}
        yield read(StringIO("".join(frame)), format="lammps-dump-text", **more)


def _require_angstrom(path: Path, atoms: Any) -> None:
    """Refuse lengths that no bonds have: they are in another unit."""
    from ase.data import covalent_radii
    from ase.neighborlist import neighbor_list

    dense = len(atoms) / atoms.get_volume()
    nearest = np.full(len(atoms), np.inf)
    if dense < 1:  # far denser ones would take all memory
        i, j, d = neighbor_list("ijd", atoms, _NEIGHBOURS_A)
        radii = covalent_radii[atoms.numbers]
        np.minimum.at(nearest, i, d / (radii[i] + radii[j]))
    middle = float(np.median(nearest)) if dense < 1 else 0.0
    low, high = _NEAREST
    require(low <= middle <= high, f"{path}: neighbours are {middle:.2g} times as far apart as"
            " their covalent radii say: its lengths are not in Å; convert them")
