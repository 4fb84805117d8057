"""Tables in HDF5 files: groups with two or more one-dimensional numeric datasets of one length.

A dataset's attribute ``units`` is its unit; scalar attributes of the group are metadata
(``delay_ps``, ``temperature_C``). The file is opened in a process of its own, because the HDF5
library can crash or never return on a damaged one.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.errors import require
from perovskite_polaron.measured import hdf5_child
from perovskite_polaron.measured.text import Table, require_file, split_unit

TIME_LIMIT_S = 20.0
MEMORY_LIMIT_BYTES = 2 * 1024**3
#: Of a file; detector images beside the columns may be many, and are not read.
LARGEST_BYTES = 2**40


def read_hdf5_tables(path: str | os.PathLike[str],
                     time_limit_s: float = TIME_LIMIT_S) -> tuple[Table, ...]:
    """Read every table of an HDF5 file, in the order of the groups' names.

    Raises InputError when there is none, when the file is damaged, and when the HDF5 library
    crashes on it, needs longer than time_limit_s or more than 2 GiB. Can be called from threads.
    """
    require_file(path, "HDF5 file", LARGEST_BYTES)
    tables = [_table(group, columns, str(path)) for group, columns in _groups(path, time_limit_s)
              if len(columns) > 1]
    require(tables, f"{path} holds no table: a group needs at least two one-dimensional datasets "
            "of numbers of one length")
    return tuple(tables)


def read_hdf5_paths(path: str | os.PathLike[str], energy: str, signal: str | None,
                    delay: str | None) -> tuple[Table, ...]:
    """Read datasets by their paths, as ``/entry/mono/energy``.

    Returns one table of every column of the file that is as long as the energies, called by its
    path. With delay, the matrix (the signal), the energies and the delays of a map, as one table
    each: a row of the matrix is a column of its table.

    Raises
    ------
    InputError
        As read_hdf5_tables; also when there is nothing at a path.
    """
    require_file(path, "HDF5 file", LARGEST_BYTES)
    found: dict[str, tuple[np.ndarray, str]] = {}
    matrix = signal if delay is not None and signal is not None else ""
    for group, columns in _groups(path, TIME_LIMIT_S, matrix):
        for name, column, shape, unit in zip(group["names"], columns, group["shapes"],
                                             group["units"], strict=True):
            found[f"{group['name'].rstrip('/')}/{name}"] = (column.reshape(shape), unit)
    wanted = [energy] if delay is None else [energy, delay, matrix]
    missing = [name for name in wanted if name not in found]
    require(not missing, f"{path}: no numbers at {' or '.join(missing)!r}; they are at "
            f"{', '.join(list(found)[:20])}")
    if delay is None:
        n = len(found[energy][0])
        names = [energy, *(name for name, (column, _) in found.items()
                           if column.shape == (n,) and name != energy)]
        return (Table(tuple(names), tuple(found[name][1] for name in names),
                      np.array([found[name][0] for name in names]), str(path), Path(path).stem),)
    require(found[matrix][0].ndim == 2, f"{path}: {matrix} is no matrix, as a map is one")
    return tuple(Table((name,) * len(values), (unit,) * len(values), values, f"{path}{name}",
                       Path(path).stem) for name in (matrix, energy, delay)
                 for values, unit in ((np.atleast_2d(found[name][0]), found[name][1]),))


def _groups(path: str | os.PathLike[str], time_limit_s: float,
            matrix: str = "") -> Iterator[tuple[dict[str, Any], list[np.ndarray]]]:
    """Return what hdf5_child says of each group, and the group's columns."""
    head, _, data = _read_apart(path, time_limit_s, matrix).partition(b"\n")
    at = 0
    for group in json.loads(head):
        count = sum(group["lengths"])
        numbers = np.frombuffer(data, "<f8", count, at)
        at += 8 * count
        yield group, np.split(numbers, np.cumsum(group["lengths"])[:-1])


def _read_apart(path: str | os.PathLike[str], time_limit_s: float, matrix: str) -> bytes:
    """Run hdf5_child on a file; return its line of JSON and the columns after it."""
    # -P keeps the modules beside the child from hiding the standard library's.
    command = [sys.executable, "-P", hdf5_child.__file__, os.path.abspath(path),
               str(int(time_limit_s) + 1), str(MEMORY_LIMIT_BYTES), matrix]
    # One thread starts fastest.
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False,
                              timeout=time_limit_s, env=environment)
        status, why = done.returncode, f"the library crashed (status {done.returncode})"
    except subprocess.TimeoutExpired:
        status, why = -1, f"the library did not finish within {time_limit_s:g} s"
    if status == -getattr(signal, "SIGXCPU", 0):
        why = "the library did not finish in time"
    elif status == hdf5_child.FAILED:
        why = done.stderr.decode(errors="replace").strip()
    require(status == 0, f"{path} cannot be read as HDF5: {why}; check that the file is whole, or "
            "export the columns as text")
    return done.stdout


def _table(group: dict[str, Any], columns: list[np.ndarray], path: str) -> Table:
    source = f"{path}{group['name'] if group['name'] != '/' else ''}"
    split = [split_unit(key) for key in group["names"]]
    rows = [(name, given or unit or split_unit(title)[1], column) for (name, unit), given, title,
            column in zip(split, group["units"], group["titles"], columns, strict=True)]
    # The abscissa goes first, as everywhere else; HDF5 lists by name.
    abscissae = (group["metadata"].get("axes", "").lower(), "energy", "delay", "time")
    rows.sort(key=lambda row: row[0].lower() not in abscissae)
    lengths = [len(column) for _, _, column in rows]
    n = lengths[0] if rows[0][0].lower() in abscissae else max(lengths, key=lengths.count)
    # A counter that was interrupted is shorter than its scan.
    odd = [f"{name} ({len(column)})" for name, _, column in rows if len(column) != n]
    names, units, ordered = zip(*(row for row in rows if len(row[2]) == n), strict=True)
    warnings = [f"{source}: left out, not as long as the others ({n}): {', '.join(odd[:20])}"]
    label = group["name"].strip("/").split("/")[-1] or Path(path).stem
    return Table(names, units, np.array(ordered), source, label, group["metadata"],
                 tuple(warnings * bool(odd)), sample=group["sample"])
