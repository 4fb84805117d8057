"""The noun every reader ends in: named columns of finite numbers with their units, and where they came from."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import InputError

# A base-10 number as C writes it, and nothing else: Python's float() also takes nan, inf, 1_000 and other alphabets.
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z")


@dataclass(frozen=True)
class Table:
    """Columns of one measurement.

    columns: float64, shape (n_columns, n_rows), read-only, finite. names and units have one entry per column; a unit
    that the file does not say is the empty string. metadata: what the header said, as text. source: path, with the
    group inside the file where there is one.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    columns: NDArray[np.float64]
    source: str
    label: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        columns = np.array(self.columns, dtype=np.float64)
        if columns.ndim != 2 or columns.size == 0:
            raise InputError(f"{self.source} holds no numbers: give a file with columns of data")
        if not np.isfinite(columns).all():
            raise InputError(f"{self.source} contains NaN or infinity: remove those rows first")
        columns.setflags(write=False)
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))

    def index(self, name: str) -> int:
        """Return the position of a column by its name (case ignored) or its number counted from 1."""
        lower = [n.lower() for n in self.names]
        if name.lower() in lower:
            return lower.index(name.lower())
        if name.isascii() and name.isdigit() and 1 <= int(name) <= len(self.names):
            return int(name) - 1
        raise InputError(
            f"{self.source} has no column {name!r}: it has {', '.join(self.names)} (or give a number from 1 to "
            f"{len(self.names)})"
        )


def number(text: str, place: str) -> float:
    """Return a finite number written as in C; ``place`` (``file:line``) begins the InputError for anything else."""
    if not _NUMBER.match(text):
        why = ": the decimal mark must be a dot" if "," in text else ""
        raise InputError(f"{place}: {text[:40]!r} is not a finite number{why}; correct or remove the line")
    value = float(text)
    if not math.isfinite(value):
        raise InputError(f"{place}: {text[:40]!r} is too large for a floating-point number; correct or remove the line")
    return value


def rows_to_columns(rows: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Return equally long rows as an array of shape (n_columns, n_rows)."""
    return np.ascontiguousarray(np.array(rows, dtype=np.float64).T)
