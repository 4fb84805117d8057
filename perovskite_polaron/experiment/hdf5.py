"""Tables in HDF5 files: every group that holds two or more one-dimensional numeric datasets of one length is a table.

A dataset's attribute ``units`` is its unit; scalar attributes of the group are metadata (``delay_ps``, ``temperature_C``).
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.errors import InputError
from perovskite_polaron.experiment.table import Table
from perovskite_polaron.experiment.text import split_unit

# More than any scan, and less than a detector's image stack read by mistake.
LARGEST = 10_000_000


def read_hdf5_tables(path: str | os.PathLike[str]) -> tuple[Table, ...]:
    """Read every table of an HDF5 file, in the order of the groups' names; raises InputError when there is none."""
    import h5py

    if not Path(path).is_file():
        raise InputError(f"{path} does not exist: give the path of an HDF5 file")
    try:
        with h5py.File(path, "r") as file:
            groups: list[Any] = [file]
            file.visititems(lambda _, item: groups.append(item) if isinstance(item, h5py.Group) else None)
            tables = tuple(table for group in groups if (table := _table(group, str(path))) is not None)
    except InputError:
        raise
    except Exception as error:  # h5py raises OSError, KeyError, RuntimeError or ValueError for a damaged file
        raise InputError(f"{path} cannot be read as HDF5: {error}; check that the file is whole") from None
    if not tables:
        raise InputError(
            f"{path} holds no table: a group needs at least two one-dimensional datasets of numbers of one length"
        )
    return tables


def _table(group: Any, path: str) -> Table | None:
    import h5py

    names, units, columns = [], [], []
    for key in group:
        item = group.get(key)
        if isinstance(item, h5py.Dataset) and item.ndim == 1 and item.dtype.kind in "iuf" and 0 < item.size <= LARGEST:
            name, unit = split_unit(key)
            names.append(name)
            units.append(_text(item.attrs.get("units", unit)))
            columns.append(np.asarray(item[()], dtype=np.float64))
    if len(columns) < 2:
        return None
    if len({len(c) for c in columns}) > 1:
        raise InputError(
            f"{path}{group.name}: the datasets {', '.join(names)} have different lengths; keep one table per group"
        )
    # The abscissa goes first, as everywhere else; HDF5 lists by name.
    order = sorted(range(len(names)), key=lambda i: names[i].lower() not in ("energy", "delay", "time"))
    metadata = {key: _text(value) for key, value in group.attrs.items() if np.ndim(value) == 0}
    label = group.name.strip("/").split("/")[-1] or Path(path).stem
    return Table(
        tuple(names[i] for i in order), tuple(units[i] for i in order), np.array([columns[i] for i in order]),
        f"{path}{group.name if group.name != '/' else ''}", label, metadata,
    )  # fmt: skip


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
