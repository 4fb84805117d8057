"""The noun every reader ends in: named columns of finite numbers with their units, and where they came from.

Tables of numbers as plain text: columns parted by blanks, commas, semicolons or tabs, with or without a header.

Lines that begin with ``#`` or ``%`` are comments; ``key: value`` and ``key = value`` among them are metadata. Column names
stand in the last comment line before the numbers, or in the one line without a comment sign before them. A unit
belongs to its name: ``delay_ps``, ``delay (ps)``, ``delay [ps]`` or ``delay/ps``.
"""

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import InputError
from perovskite_polaron.files import read_text
from perovskite_polaron.measured.scan import Header

# A base-10 number as C writes it, and nothing else: Python's float() also takes nan, inf, 1_000 and other alphabets.
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z")


@dataclass(frozen=True)
class Table:
    """Columns of one measurement.

    columns: float64, shape (n_columns, n_rows), read-only, finite. names and units have one entry per column; a unit
    that the file does not say is the empty string. metadata: what the header said, as text. source: path, with the
    group inside the file where there is one. header: that of an XDI file.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    columns: NDArray[np.float64]
    source: str
    label: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    header: Header | None = None

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



_UNITS = ("eV", "keV", "fs", "ps", "ns", "us", "µs", "ms", "s", "K", "C", "degC", "°C")
_NAME = re.compile(r"(.*?)(?:\s*\(([^()]*)\)|\s*\[([^\[\]]*)\]|/([^/\s]+)|_(" + "|".join(_UNITS) + r"))?\Z", re.DOTALL)
_METADATA = re.compile(r"([A-Za-z][\w .-]{0,60}?)\s*[:=]\s*(.*)\Z", re.DOTALL)


def read_text_table(path: str | os.PathLike[str]) -> Table:
    """Read one table; raises InputError with file and line for a field that is no finite number or a ragged row."""
    return parse_text_table(read_text(path, "table of numbers"), str(path))


def parse_text_table(text: str, source: str) -> Table:
    """Return the table in a text with ``\\n`` line ends; ``source`` stands for the file in messages."""
    header: list[str] | None = None
    comment = ""
    metadata: dict[str, str] = {}
    rows: list[list[float]] = []
    for i, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        stripped = line.strip()
        if not stripped:
            continue
        if stripped[0] in "#%":
            if not rows:
                comment = stripped.lstrip("#% \t")
                if match := _METADATA.match(comment):
                    metadata[match[1].strip()] = match[2].strip()
            continue
        fields = _split(stripped)
        if not rows and header is None and not _begins_with_number(fields[0]):
            header = fields
            continue
        if rows and len(fields) != len(rows[0]):
            raise InputError(
                f"{source}:{i}: {len(fields)} numbers where the rows above have {len(rows[0])}; complete or remove the line"
            )
        rows.append([number(field, f"{source}:{i}") for field in fields])
    if not rows:
        raise InputError(f"{source}: no row of numbers; give a file with at least two columns of numbers")
    n = len(rows[0])
    if header is None and len(_split(comment)) == n:
        header = _split(comment)
    if header is not None and len(header) != n:
        raise InputError(
            f"{source}: the header names {len(header)} columns but the rows have {n}; give one name per column"
        )
    names, units = zip(*(split_unit(h) for h in header or [f"column{k}" for k in range(1, n + 1)]), strict=True)
    if len({name.lower() for name in names}) < n:
        names = tuple(header or ())
    return Table(names, units, rows_to_columns(rows), source, Path(source).stem, metadata)


def _split(line: str) -> list[str]:
    for delimiter in (";", ",", "\t"):
        if delimiter in line:
            return [field.strip().strip('"').strip() for field in line.split(delimiter)]
    return line.split()


def _begins_with_number(field: str) -> bool:
    """Tell a row of data from a header: a broken number is still a row, so that it is reported and not skipped."""
    return field.lower().lstrip("+-") in ("nan", "inf", "infinity", "") or field[:1] in tuple("0123456789.+-")


def split_unit(header: str) -> tuple[str, str]:
    """Return the name and the unit (possibly empty) of a column header such as ``delay_ps`` or ``energy (eV)``."""
    match = _NAME.match(header)
    if match is None or not match[1]:
        return header, ""
    return match[1], next((g.strip() for g in match.groups()[1:] if g), "")
