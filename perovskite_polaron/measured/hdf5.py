"""Tables in HDF5 files: every group that holds two or more one-dimensional numeric datasets of one length is a table.

A dataset's attribute ``units`` is its unit; scalar attributes of the group are metadata (``delay_ps``, ``temperature_C``).
The file is opened in a process of its own, because the HDF5 library can crash or never return on a damaged one.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.errors import InputError
from perovskite_polaron.measured import hdf5_child
from perovskite_polaron.measured.text import Table, split_unit

TIME_LIMIT_S = 20.0
MEMORY_LIMIT_BYTES = 2 * 1024**3


def read_hdf5_tables(path: str | os.PathLike[str], time_limit_s: float = TIME_LIMIT_S) -> tuple[Table, ...]:
    """Read every table of an HDF5 file, in the order of the groups' names.

    Raises InputError when there is none, when the file is damaged, and when the HDF5 library crashes on it, needs longer
    than time_limit_s or more than 2 GiB. Can be called from threads.
    """
    if not Path(path).is_file():
        raise InputError(f"{path} does not exist: give the path of an HDF5 file")
    head, data = _read_apart(path, time_limit_s)
    tables = []
    for group in json.loads(head):
        count = sum(group["lengths"])
        columns = np.split(np.frombuffer(data[: 8 * count], dtype="<f8"), np.cumsum(group["lengths"])[:-1])
        data = data[8 * count :]
        if (table := _table(group, columns, str(path))) is not None:
            tables.append(table)
    if not tables:
        raise InputError(
            f"{path} holds no table: a group needs at least two one-dimensional datasets of numbers of one length"
        )
    return tuple(tables)


def _read_apart(path: str | os.PathLike[str], time_limit_s: float) -> tuple[bytes, memoryview]:
    """Run hdf5_child on a file; return its line of JSON and the bytes after it."""
    # -P keeps the modules beside the child from hiding the standard library's; one thread starts fastest.
    limits = str(int(time_limit_s) + 1), str(MEMORY_LIMIT_BYTES)
    command = [sys.executable, "-P", hdf5_child.__file__, os.path.abspath(path), *limits]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    remedy = "check that the file is whole, or export the columns as text"
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=time_limit_s, check=False, env=environment
        )
    except subprocess.TimeoutExpired:
        raise InputError(
            f"{path} cannot be read as HDF5: the library did not finish within {time_limit_s:g} s; {remedy}"
        ) from None
    if done.returncode == -getattr(signal, "SIGXCPU", 0):
        raise InputError(f"{path} cannot be read as HDF5: the library did not finish in time; {remedy}")
    if done.returncode == 3:
        raise InputError(f"{path} cannot be read as HDF5: {done.stderr.decode(errors='replace').strip()}; {remedy}")
    if done.returncode:
        raise InputError(f"{path} cannot be read as HDF5: the library crashed (status {done.returncode}); {remedy}")
    head, _, _ = done.stdout.partition(b"\n")
    return head, memoryview(done.stdout)[len(head) + 1 :]


def _table(group: dict[str, Any], columns: list[np.ndarray], path: str) -> Table | None:
    if len(columns) < 2:
        return None
    source = f"{path}{group['name'] if group['name'] != '/' else ''}"
    split = [split_unit(key) for key in group["names"]]
    names = [name for name, _ in split]
    units = [given or unit for given, (_, unit) in zip(group["units"], split, strict=True)]
    if len({len(c) for c in columns}) > 1:
        raise InputError(f"{source}: the datasets {', '.join(names)} have different lengths; keep one table per group")
    # The abscissa goes first, as everywhere else; HDF5 lists by name.
    order = sorted(range(len(names)), key=lambda i: names[i].lower() not in ("energy", "delay", "time"))
    label = group["name"].strip("/").split("/")[-1] or Path(path).stem
    return Table(
        tuple(names[i] for i in order), tuple(units[i] for i in order), np.array([columns[i] for i in order]),
        source, label, group["metadata"],
    )  # fmt: skip
