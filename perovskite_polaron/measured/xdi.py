"""The XAS Data Interchange format, version 1.0: one spectrum with its metadata as plain text.

Written from the specification and the dictionary of metadata of the XDI working group (B. Ravel, M. Newville, J. Phys.:
Conf. Ser. 712, 012148 (2016)). What they say a file must have is demanded, with file, line and reason; a header field
that breaks the rules of fields is ignored with a warning, as the specification asks; what they recommend is warned about.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import InputError
from perovskite_polaron.files import read_text, write_atomically
from perovskite_polaron.measured.scan import Header
from perovskite_polaron.measured.text import Table, number, rows_to_columns

_VERSION = re.compile(r"XDI/([0-9]+)\.([0-9]+)(?:\.([0-9]+))?\Z")
_FIELD = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)\.([A-Za-z0-9_-]+):(.*)\Z", re.DOTALL)
_FIELD_END = re.compile(r"#[ \t]*/{3,}[ \t]*\Z")
_HEADER_END = re.compile(r"#[ \t]*-{3,}[ \t]*\Z")
_BLANK = " \t"

SYMBOLS = frozenset(
    """H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo
    Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb
    Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Uut Fl Uup Lv Uus
    Uuo""".lower().split()
)
EDGES = frozenset(
    [
        "k",
        "l",
        "l1",
        "l2",
        "l3",
        "m",
        "m1",
        "m2",
        "m3",
        "m4",
        "m5",
        "n",
        "n1",
        "n2",
        "n3",
        "n4",
        "n5",
        "n6",
        "n7",
        "o",
        "o1",
        "o2",
        "o3",
        "o4",
        "o5",
        "o6",
        "o7",
    ]
)
# abscissa -> the units the dictionary allows for it
ABSCISSAE = {"energy": ("ev", "kev", "pixel"), "angle": ("degrees", "radians", "steps")}
_NUMERIC_FIELDS = ("facility.energy", "facility.current", "mono.d_spacing", "sample.temperature", "scan.edge_energy")
_TIME_FIELDS = ("scan.start_time", "scan.end_time")
_RECOMMENDED = ("facility.name", "facility.xray_source", "beamline.name", "scan.start_time")


@dataclass(frozen=True, eq=False)
class XDI:
    """One XDI file.

    columns: float64, shape (n_columns, n_rows), read-only. labels: one word per column. units: "" where the file says
    none. fields: every header field, ``Namespace.tag`` as written -> value (Column fields aside, which are labels and
    units); names differ in more than case. applications: the words after the XDI version. comments: the user's lines.
    """

    columns: NDArray[np.float64]
    labels: tuple[str, ...]
    units: tuple[str, ...]
    fields: Mapping[str, str]
    comments: tuple[str, ...] = ()
    applications: tuple[str, ...] = ()
    version: tuple[int, ...] = (1, 0)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        columns = np.array(self.columns, dtype=np.float64)
        columns.setflags(write=False)
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "fields", MappingProxyType(dict(self.fields)))

    def __eq__(self, other: object) -> bool:
        """Two records are equal when a file made of each would say the same; warnings are about a file, not in it."""
        if not isinstance(other, XDI):
            return NotImplemented
        mine, theirs = (
            (r.labels, r.units, dict(r.fields), r.comments, r.applications, r.version) for r in (self, other)
        )
        return mine == theirs and np.array_equal(self.columns, other.columns)

    __hash__ = None  # type: ignore[assignment]

    def get(self, name: str, default: str = "") -> str:
        """Return the value of a field; its name is looked up without regard to case."""
        return next((v for k, v in self.fields.items() if k.lower() == name.lower()), default)


def read_xdi(path: str | os.PathLike[str]) -> XDI:
    """Read one XDI 1.x file; raises InputError with file, line and reason for what the specification calls invalid."""
    return parse_xdi(read_text(path, "XDI file"), str(path))


def write_xdi(path: str | os.PathLike[str], record: XDI) -> Path:
    """Write a record as an XDI file, atomically; reading it back gives the same record."""
    return write_atomically(path, format_xdi(record))


def parse_xdi(text: str, name: str) -> XDI:
    """Return the record in a text with ``\\n`` line ends; ``name`` stands for the file in messages."""
    lines = text.split("\n")
    version, applications = _version(lines[0], f"{name}:1")
    warnings: list[str] = []
    if version[:2] != (1, 0):
        warnings.append(f"{name}:1: written for XDI {version[0]}.{version[1]}; read by the rules of 1.0")
    end = next((i for i, line in enumerate(lines) if _HEADER_END.match(line)), None)
    if end is None:
        raise InputError(
            f"{name}: the header has no end: a line '#' followed by three or more dashes must stand before the data"
        )
    fields: dict[str, tuple[str, str, int]] = {}
    comments: list[str] = []
    in_comments = False
    for i, line in enumerate(lines[1:end], start=2):
        if not line.startswith("#"):
            raise InputError(f"{name}:{i}: a header line must begin with '#'; add it, or move the header's end up")
        if in_comments:
            body = line[1:].rstrip()
            comments.append(body[1:] if body[:1] in tuple(_BLANK) and body else body)
        elif _FIELD_END.match(line):
            in_comments = True
        else:
            _read_field(line, f"{name}:{i}", i, fields, warnings)
    labels, first = _label_line(lines, end)
    data = _data(lines, first, name)
    return _assemble(data, labels, fields, tuple(comments), applications, version, warnings, name, end + 2)


def _version(line: str, place: str) -> tuple[tuple[int, ...], tuple[str, ...]]:
    words = line[1:].split() if line.startswith("#") else []
    match = _VERSION.match(words[0]) if words else None
    if match is None:
        raise InputError(f"{place}: the first line must be '# XDI/1.0', with the programs' versions after it")
    if len(match[0]) > 40:
        raise InputError(f"{place}: the version {match[0][:40]!r}... is no XDI version; write XDI/1.0")
    version = tuple(int(n) for n in match.groups() if n is not None)
    if version[0] != 1:
        raise InputError(f"{place}: XDI version {version[0]} is not known here: only version 1 can be read")
    return version, tuple(words[1:])


def _read_field(line: str, place: str, row: int, fields: dict[str, tuple[str, str, int]], warnings: list[str]) -> None:
    body = line[1:].strip(_BLANK)
    match = _FIELD.match(body)
    if match is None:
        if body:
            warnings.append(f"{place}: ignored, not a header field of the form 'Namespace.tag: value': {body[:60]!r}")
        return
    name, value = f"{match[1]}.{match[2]}", match[3].strip()
    if len(line) > 2048:
        warnings.append(f"{place}: the line is longer than the recommended 2048 characters")
    if match[1].lower() == "column" and not (
        match[2].isascii() and match[2].isdigit() and 0 < len(match[2]) < 6 and int(match[2]) > 0
    ):
        warnings.append(f"{place}: ignored, a Column field is named by an integer from 1: {name!r}")
        return
    key = f"column.{int(match[2])}" if match[1].lower() == "column" else name.lower()
    if key in fields:
        warnings.append(f"{place}: {name} stands twice; the last value is used")
    # The last occurrence wins, its spelling too; the position of the first is kept.
    fields[key] = (name, value, row)


def _label_line(lines: list[str], end: int) -> tuple[tuple[str, ...] | None, int]:
    """Return the words of the optional label line after the header's end, and the index of the first data line."""
    if end + 1 < len(lines) and lines[end + 1].startswith("#"):
        return tuple(lines[end + 1][1:].split()), end + 2
    return None, end + 1


def _data(lines: list[str], first: int, name: str) -> NDArray[np.float64]:
    rows: list[list[float]] = []
    for i, line in enumerate(lines[first:], start=first + 1):
        words = line.split()
        if not words:
            continue
        if words[0].startswith("#"):
            raise InputError(
                f"{name}:{i}: a line that begins with '#' stands among the data; remove it, or split the file"
            )
        if rows and len(words) != len(rows[0]):
            raise InputError(
                f"{name}:{i}: {len(words)} numbers where the lines above have {len(rows[0])}; complete or remove the line"
            )
        rows.append([number(word, f"{name}:{i}") for word in words])
    if not rows:
        raise InputError(f"{name}: no data after the header; an XDI file must hold the spectrum itself")
    return rows_to_columns(rows)


def _assemble(
    data: NDArray[np.float64], line: tuple[str, ...] | None, fields: dict[str, tuple[str, str, int]],
    comments: tuple[str, ...], applications: tuple[str, ...], version: tuple[int, ...], warnings: list[str],
    name: str, label_row: int,
) -> XDI:  # fmt: skip
    n = len(data)
    abscissa, unit = _abscissa(fields, warnings, name)
    _required(fields, abscissa, warnings, name)
    if line is not None and len(line) != n:
        raise InputError(f"{name}:{label_row}: {len(line)} column labels for {n} columns; give one word per column")
    labels, units = [abscissa], [unit]
    for i in range(2, n + 1):
        words = fields[f"column.{i}"][1].split(None, 1) if f"column.{i}" in fields else []
        labels.append(words[0] if words else line[i - 1] if line is not None else f"column{i}")
        units.append(words[1] if len(words) > 1 else "")
        if line is not None and words and words[0].lower() != line[i - 1].lower():
            raise InputError(
                f"{name}:{label_row}: column {i} is labelled {line[i - 1]!r} but Column.{i} says {words[0]!r}; make them the same"
            )
    if line is not None and line[0].lower() != abscissa.lower():
        raise InputError(
            f"{name}:{label_row}: column 1 is labelled {line[0]!r} but Column.1 says {abscissa!r}; make them the same"
        )
    for key, (written, _, row) in fields.items():
        if key.startswith("column.") and int(key[7:]) > n:
            warnings.append(f"{name}:{row}: ignored, {written} names a column that the data do not have")
    kept = {written: value for key, (written, value, _) in fields.items() if not key.startswith("column.")}
    return XDI(data, tuple(labels), tuple(units), kept, comments, applications, version, tuple(warnings))


def _abscissa(fields: dict[str, tuple[str, str, int]], warnings: list[str], name: str) -> tuple[str, str]:
    if "column.1" not in fields:
        raise InputError(
            f"{name}: Column.1 is missing: it must name the abscissa and its unit, as in '# Column.1: energy eV'"
        )
    _, value, row = fields["column.1"]
    words = value.split(None, 1)
    if len(words) < 2:
        raise InputError(f"{name}:{row}: Column.1 must give a label and a unit, as in 'energy eV'; it says {value!r}")
    allowed = ABSCISSAE.get(words[0].lower())
    if allowed is None:
        warnings.append(f"{name}:{row}: {words[0]!r} is not one of the defined abscissae (energy, angle)")
    elif words[1].lower() not in allowed:
        raise InputError(
            f"{name}:{row}: {words[1]!r} is not a unit of {words[0]}; the dictionary allows {', '.join(allowed)}"
        )
    return words[0], words[1]


def _required(fields: dict[str, tuple[str, str, int]], abscissa: str, warnings: list[str], name: str) -> None:
    for key, known, what in (
        ("element.symbol", SYMBOLS, "a chemical symbol"),
        ("element.edge", EDGES, "an absorption edge"),
    ):
        written, value, row = fields.get(key, ("", "", 0))
        if not row:
            raise InputError(
                f"{name}: {key.title()} is missing; an XDI file must name the absorbing element and its edge"
            )
        if value.lower() not in known:
            raise InputError(f"{name}:{row}: {written} must be {what}; it says {value[:40]!r}")
    if "mono.d_spacing" not in fields:
        if abscissa.lower() == "angle":
            raise InputError(f"{name}: Mono.d_spacing is missing; without it an angle cannot be turned into an energy")
        warnings.append(f"{name}: Mono.d_spacing is missing; it is needed to correct a miscalibrated energy axis")
    for key in _NUMERIC_FIELDS:
        if key in fields:
            written, value, row = fields[key]
            if value:
                try:
                    number(value.split()[0], f"{name}:{row}")
                except InputError:
                    if key == "mono.d_spacing" and abscissa.lower() == "angle":
                        raise
                    warnings.append(f"{name}:{row}: ignored, {written} must be a finite number; it says {value[:40]!r}")
                    del fields[key]
    for key in _TIME_FIELDS:
        if key in fields:
            written, value, row = fields[key]
            try:
                datetime.fromisoformat(value)
            except ValueError:
                warnings.append(f"{name}:{row}: {written} is not a time as ISO 8601 writes it: {value[:40]!r}")
    missing = [key for key in _RECOMMENDED if key not in fields]
    if missing:
        warnings.append(f"{name}: recommended fields are missing: {', '.join(missing)}")


def format_xdi(record: XDI) -> str:
    """Return the text of a record; raises InputError when it would not be a valid file."""
    lines = ["# " + " ".join(["XDI/" + ".".join(map(str, record.version)), *record.applications])]
    for i, (label, unit) in enumerate(zip(record.labels, record.units, strict=True), start=1):
        lines.append(f"# Column.{i}: {label} {unit}".rstrip())
    lines += [f"# {name}: {value}".rstrip() for name, value in record.fields.items()]
    lines.append("# " + "/" * 12)
    lines += [f"# {comment}".rstrip() for comment in record.comments]
    lines += ["# " + "-" * 12, "# " + " ".join(record.labels)]
    lines += [" ".join(map(repr, row)) for row in record.columns.T.tolist()]
    text = "\n".join(lines) + "\n"
    if parse_xdi(text, "XDI record") != record:
        raise InputError(
            "this record cannot be kept by an XDI file: labels must be single words, values and comments single lines "
            "without blanks at their ends, and no comment a line of dashes"
        )
    return text


def table(record: XDI, source: str, label: str) -> Table:
    """Return the record as the table every reader ends in."""
    header = Header(record.fields, record.comments, record.applications)
    return Table(record.labels, record.units, record.columns, source, label, record.fields,
                 record.warnings, header)
