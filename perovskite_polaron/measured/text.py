"""Tables: the record in which every reader ends, and the reader of plain text.

Columns of a text are parted by blanks, commas, semicolons or tabs, with or without a header. Lines
that begin with ``#`` or ``%`` are comments; ``key: value`` and ``key = value`` among them are
metadata. Column names stand in the last comment line before the numbers, or in the one line without
a comment sign before them. A unit belongs to its name: ``delay_ps``, ``delay (ps)``, ``delay [ps]``
or ``delay/ps``.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.arrays import freeze
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.files import LineReader

# A base-10 number as C writes it, and nothing else: float() also takes nan, 1_000, other alphabets.
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z")
_UNITS = ("eV", "keV", "fs", "ps", "ns", "us", "µs", "ms", "s", "K", "C", "degC", "°C")
_NAME = re.compile(
    rf"(.*?)(?:\s*\(([^()]*)\)|\s*\[([^\[\]]*)\]|/([^/\s]+)|_({'|'.join(_UNITS)}))?\Z", re.DOTALL)
# "scan3", "Br foil 02", "100ps_01": the scan's number; "sample 2" is another sample, Fe2O3 a name.
_COUNTER = re.compile(r"((\A|(?<![\s_.,#()-])(?<!sample)[\s_.,#()-]+|scan|rep(eat)?|run|sweep|"
                      r"entry)\d+)+\)?\Z", re.IGNORECASE)
_METADATA = re.compile(r"([A-Za-z][\w .-]{0,60}?)\s*[:=]\s*(.*)\Z", re.DOTALL)


@dataclass(frozen=True)
class Table:
    """Columns of one measurement, with what its file says about them.

    Attributes
    ----------
    names, units : tuple of str
        One entry for each column; a unit that the file does not say is "".
    columns : ndarray, shape (n_columns, n_rows), float64
        Finite numbers; read-only.
    source : str
        Path, with the group inside the file where there is one.
    label : str
        What figures and tables call it.
    metadata : Mapping
        Header fields as text, spelled as in the file.
    warnings : tuple of str
        What the reader objected to.
    comments, applications : tuple of str
        The user's lines in the header of an XDI file, and the programs named in its first line.
    is_xdi : bool
        Whether the metadata obey the rules of XDI, so that results can inherit them.
    sample : str
        What the file calls the sample: spectra of different ones are never averaged.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    columns: NDArray[np.float64]
    source: str = ""
    label: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    comments: tuple[str, ...] = ()
    applications: tuple[str, ...] = ()
    is_xdi: bool = False
    sample: str = ""

    def __post_init__(self) -> None:
        columns = np.array(self.columns, dtype=np.float64, order="C")
        require(columns.ndim == 2 and columns.size,
                f"{self.source} holds no numbers: give a file with columns of data")
        require(np.isfinite(columns).all(),
                f"{self.source} contains NaN or infinity: remove those rows first")
        freeze(self, columns=columns)
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))

    def find(self, name: str) -> int | None:
        """Return the position of a column, by its name (case ignored) or number from 1."""
        lower = [n.lower() for n in self.names]
        if name.lower() in lower:
            return lower.index(name.lower())
        if re.fullmatch("[0-9]{1,9}", name) and 1 <= int(name) <= len(self.names):
            return int(name) - 1
        return None

    @cached_property
    def identity(self) -> dict[str, str]:
        """What the spectrum is of, as far as its file says: element, edge, and the sample without
        the counter of the scan at the end of its name.
        """
        said = {"element": self.get("Element.symbol") or self.get("bkg_z"),
                "edge": self.get("Element.edge") or self.get("fft_edge"),
                "sample": "/".join(_COUNTER.sub("", s) for s in self.sample[:200].split("/"))}
        return {what: name.strip(" /").lower() for what, name in said.items()}

    def get(self, name: str) -> str:
        """Return the value of a header field, its name in any case; "" where there is none."""
        return next((v for k, v in self.metadata.items() if k.lower() == name.lower()), "")


def number(text: str, place: str) -> float:
    """Return a finite number written as in C.

    Parameters
    ----------
    text : str
        The number.
    place : str
        ``file:line``, with which the InputError for anything else begins.
    """
    if not _NUMBER.match(text):
        why = ": the decimal mark must be a dot" if "," in text else ""
        raise InputError(f"{place}: {text[:40]!r} is not a finite number{why}; "
                         "correct or remove the line")
    value = float(text)
    if not math.isfinite(value):
        raise InputError(f"{place}: {text[:40]!r} is too large for a floating-point number; "
                         "correct or remove the line")
    return value


def add_row(rows: list[list[float]], words: Sequence[str], lines: LineReader) -> None:
    """Append the numbers of the line read last; InputError unless there are as many as above."""
    if rows and len(words) != len(rows[0]):
        raise lines.error(f"{len(words)} numbers where the lines above have {len(rows[0])}; "
                          "complete or remove the line")
    rows.append([number(word, f"{lines.path}:{lines.at}") for word in words])


def parse_text_table(text: str, source: str) -> Table:
    """Return the table in a text; ``source`` stands for the file in messages."""
    header: list[str] | None = None
    comment, metadata, rows = "", {}, list[list[float]]()
    require(len(re.findall(r"^#S\s", text, re.MULTILINE)) < 2, f"{source} holds several scans of "
            "SPEC: save each in a file of its own")
    lines = LineReader(source, text=text.removeprefix("\ufeff"))
    for line in filter(None, map(str.strip, lines)):
        fields = _split(line)
        if line[0] in "#%":
            if not rows:
                comment = line.lstrip("#% \t")
                if match := _METADATA.match(comment):
                    metadata[match[1].strip()] = match[2].strip()
        elif not rows and header is None and not _begins_with_number(fields[0]):
            header = fields
        else:
            add_row(rows, fields, lines)
    require(rows, f"{source}: no row of numbers; give a file with at least two columns of numbers")
    n = len(rows[0])
    if header is None and len(_split(comment)) == n:
        header = _split(comment)
    if header is not None and len(header) != n:
        raise InputError(f"{source}: the header names {len(header)} columns but the rows have {n}; "
                         "give one name per column")
    header = header or [f"column{k}" for k in range(1, n + 1)]
    names, units = zip(*map(split_unit, header), strict=True)
    if len({name.lower() for name in names}) < n:
        names = tuple(header)
    return Table(names, units, np.transpose(rows), source, Path(source).stem, metadata)


def _split(line: str) -> list[str]:
    for delimiter in (";", ",", "\t"):
        if delimiter in line:
            return [field.strip().strip('"').strip() for field in line.split(delimiter)]
    return line.split()


def _begins_with_number(field: str) -> bool:
    """Tell data from a header: a broken number is still data, to be reported and not skipped."""
    word = field.lower().lstrip("+-")
    return word in ("nan", "inf", "infinity", "") or field[:1] in tuple("0123456789.+-")


def split_unit(header: str) -> tuple[str, str]:
    """Return the name and the unit (or "") of a column such as ``delay_ps`` or ``energy (eV)``."""
    match = _NAME.match(header)
    if match is None or not match[1]:
        return header, ""
    return match[1], next((g.strip() for g in match.groups()[1:] if g), "")
