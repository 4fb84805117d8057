"""The XAS Data Interchange format, version 1.0: one spectrum with its metadata as plain text.

Written from the specification and the dictionary of metadata of the XDI working group (B. Ravel,
M. Newville, J. Phys.: Conf. Ser. 712, 012148 (2016)). What they say a file must have is demanded,
with file, line and reason; a header field that breaks the rules of fields is ignored with a
warning, as the specification asks; what they recommend is warned about.
"""

import os
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from perovskite_polaron.errors import InputError, require
from perovskite_polaron.files import LineReader, write_atomically
from perovskite_polaron.measured.text import Table, add_row, number

_VERSION = re.compile(r"XDI/([0-9]{1,9})\.([0-9]{1,9})(?:\.[0-9]{1,9})?\Z")
_FIELD = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)\.([A-Za-z0-9_-]+):(.*)\Z", re.DOTALL)
_COLUMN = re.compile(r"0*[1-9][0-9]{0,4}\Z")
_FIELD_END = re.compile(r"#[ \t]*/{3,}[ \t]*\Z")
_HEADER_END = re.compile(r"#[ \t]*-{3,}[ \t]*\Z")
# The letters of the edges, with how many subshells each has.
_EDGE = re.compile(r"k|l[1-3]?|m[1-5]?|n[1-7]?|o[1-7]?")
# The dictionary's names of elements that had none of their own when it was written.
_TEMPORARY_SYMBOLS = ("uut", "uup", "uus", "uuo")
# abscissa -> the units the dictionary allows for it
ABSCISSAE = {"energy": ("ev", "kev", "pixel"), "angle": ("degrees", "radians", "steps")}
_NUMERIC_FIELDS = ("facility.energy", "facility.current", "mono.d_spacing", "sample.temperature",
                   "scan.edge_energy")
_TIME_FIELDS = ("scan.start_time", "scan.end_time")
_RECOMMENDED = ("facility.name", "facility.xray_source", "beamline.name", "scan.start_time")


class _Header:
    """The header while it is read.

    Attributes
    ----------
    fields : dict
        Lower-case name -> (name as written, value, line number).
    warnings : list of str
        What the specification lets pass with a warning.
    """

    def __init__(self, lines: LineReader) -> None:
        self.path = lines.path
        self.fields: dict[str, tuple[str, str, int]] = {}
        self.warnings: list[str] = []

    def warn(self, row: int, why: str) -> None:
        self.warnings.append(f"{self.path}:{row}: {why}")

    def add(self, line: str, row: int) -> None:
        """Take one field, or warn why it is ignored."""
        body = line[1:].strip(" \t")
        match = _FIELD.match(body)
        if match is None:
            if body:
                self.warn(row, "ignored, not a header field of the form 'Namespace.tag: value': "
                               f"{body[:60]!r}")
            return
        name, is_column = f"{match[1]}.{match[2]}", match[1].lower() == "column"
        if len(line) > 2048:
            self.warn(row, "the line is longer than the recommended 2048 characters")
        if is_column and not _COLUMN.match(match[2]):
            self.warn(row, f"ignored, a Column field is named by an integer from 1: {name!r}")
            return
        key = f"column.{int(match[2])}" if is_column else name.lower()
        if key in self.fields:
            self.warn(row, f"{name} stands twice; the last value is used")
        # The last occurrence wins, its spelling too; the position of the first is kept.
        # Beamlines write the source of a column behind its unit: "energy eV || 13BMA:E:Energy.VAL".
        value = match[3].split("||")[0] if is_column else match[3]
        self.fields[key] = (name, value.strip(), row)

    def abscissa(self) -> str:
        """Return the label of the first column, which Column.1 must give with its unit."""
        require("column.1" in self.fields, f"{self.path}: Column.1 is missing: it must name the "
                "abscissa and its unit, as in '# Column.1: energy eV'")
        _, value, row = self.fields["column.1"]
        label, *unit = value.split(None, 1) or [""]
        require(unit, f"{self.path}:{row}: Column.1 must give a label and a unit, as in 'energy "
                f"eV'; it says {value!r}")
        allowed = ABSCISSAE.get(label.lower())
        if allowed is None:
            self.warn(row, f"{label!r} is not one of the defined abscissae (energy, angle)")
        elif unit[0].lower() not in allowed:
            raise InputError(f"{self.path}:{row}: {unit[0]!r} is not a unit of {label}; "
                             f"the dictionary allows {', '.join(allowed)}")
        return label

    def check(self, abscissa: str) -> None:
        """Demand what a file must have, and warn about what it should have."""
        from ase.data import chemical_symbols

        symbols = {s.lower() for s in chemical_symbols[1:]} | set(_TEMPORARY_SYMBOLS)
        for key, what in (("element.symbol", "a chemical symbol"),
                          ("element.edge", "an absorption edge")):
            written, value, row = self.fields.get(key, ("", "", 0))
            require(row, f"{self.path}: {key.title()} is missing; an XDI file must name the "
                    "absorbing element and its edge")
            low = value.lower()
            require(low in symbols if key == "element.symbol" else _EDGE.fullmatch(low),
                    f"{self.path}:{row}: {written} must be {what}; it says {value[:40]!r}")
        is_angle = abscissa.lower() == "angle"
        if "mono.d_spacing" not in self.fields:
            require(not is_angle, f"{self.path}: Mono.d_spacing is missing; without it an angle "
                    "cannot be turned into an energy")
            self.warnings.append(f"{self.path}: Mono.d_spacing is missing; "
                                 "it is needed to correct a miscalibrated energy axis")
        for key in [k for k in _NUMERIC_FIELDS if k in self.fields]:
            written, value, row = self.fields[key]
            try:
                number((value.split() or ["0"])[0], f"{self.path}:{row}")
            except InputError:
                if key == "mono.d_spacing" and is_angle:
                    raise
                self.warn(row, f"ignored, {written} must be a finite number; "
                               f"it says {value[:40]!r}")
                del self.fields[key]
        for key in [k for k in _TIME_FIELDS if k in self.fields]:
            written, value, row = self.fields[key]
            try:
                datetime.fromisoformat(value)
            except ValueError:
                self.warn(row, f"{written} is not a time as ISO 8601 writes it: {value[:40]!r}")
        if missing := [key for key in _RECOMMENDED if key not in self.fields]:
            self.warnings.append(f"{self.path}: recommended fields are missing: "
                                 f"{', '.join(missing)}")

    def columns(self, count: int, line: Sequence[str] | None, row: int) -> tuple[list[str], ...]:
        """Return labels and units of the columns, which the label line, if any, must repeat."""
        values = {i: self.fields.get(f"column.{i}", ("", "", 0))[1] for i in range(1, count + 1)}
        said = {i: [*value.split(None, 1), "", ""][:2] for i, value in values.items()}
        if line is not None and len(line) != count:
            raise InputError(f"{self.path}:{row}: {len(line)} column labels for {count} columns; "
                             "give one word per column")
        for i, word in enumerate(line or (), start=1):
            require(said[i][0].lower() in ("", word.lower()), f"{self.path}:{row}: column {i} is "
                    f"labelled {word!r} but Column.{i} says {said[i][0]!r}; make them the same")
        for key, (written, _, at) in self.fields.items():
            if key.startswith("column.") and int(key[7:]) > count:
                self.warn(at, f"ignored, {written} names a column that the data do not have")
        labels = [said[i][0] or (line[i - 1] if line else f"column{i}") for i in said]
        return labels, [unit for _, unit in said.values()]


def parse_xdi(text: str, source: str) -> Table:
    """Return the spectrum in the text of an XDI 1.x file.

    Its metadata are the header fields, ``Namespace.tag`` -> value, without those named Column.
    Raises InputError with file, line and reason for what the specification calls invalid;
    ``source`` stands for the file.
    """
    lines = LineReader(source, text=text)
    header = _Header(lines)
    comments: list[str] | None = None
    first = lines.next("the XDI version") if lines.lines else ""
    words = first[1:].split() if first.startswith("#") else []
    version = _VERSION.match(words[0]) if words and lines.at == 1 else None
    if version is None:
        raise InputError(f"{source}:1: the first line must be '# XDI/1.0', "
                         "with the programs' versions after it")
    lines.require(int(version[1]) == 1,
                  f"XDI version {version[1]} is not known here: only version 1 can be read")
    if int(version[2]) != 0:
        header.warn(1, f"written for XDI 1.{version[2]}; read by the rules of 1.0")
    require(any(map(_HEADER_END.match, lines.lines)), f"{source}: the header has no end: a line "
            "'#' followed by three or more dashes must stand before the data")
    for line in lines:
        if _HEADER_END.match(line):
            break
        lines.require(line.startswith("#"),
                      "a header line must begin with '#'; add it, or move the header's end up")
        if comments is not None:
            body = line[1:].rstrip()
            comments.append(body[1:] if body[:1] in (" ", "\t") else body)
        elif _FIELD_END.match(line):
            comments = []
        else:
            header.add(line, lines.at)
    end, labelled, rows = lines.at, None, list[list[float]]()
    for line in lines:
        if line.startswith("#") and lines.at == end + 1:
            labelled = line[1:].split()
        elif line.lstrip().startswith("#"):
            raise lines.error("a line that begins with '#' stands among the data; "
                              "remove it, or split the file")
        elif fields := line.split():
            add_row(rows, fields, lines)
    require(rows, f"{source}: no data after the header; an XDI file must hold the spectrum itself")
    header.check(header.abscissa())
    labels, units = header.columns(len(rows[0]), labelled, end + 1)
    kept = {written: value for key, (written, value, _) in header.fields.items()
            if not key.startswith("column.")}
    return Table(tuple(labels), tuple(units), np.transpose(rows), source, Path(source).stem, kept,
                 tuple(header.warnings), tuple(comments or ()), tuple(words[1:]), is_xdi=True,
                 sample=header.fields.get("sample.name", ("", ""))[1])


def format_xdi(table: Table) -> str:
    """Return a table as the text of an XDI file; InputError when it would not be a valid one."""
    lines = ["# " + " ".join(["XDI/1.0", *table.applications])]
    for i, (label, unit) in enumerate(zip(table.names, table.units, strict=True), start=1):
        lines.append(f"# Column.{i}: {label} {unit}".rstrip())
    lines += [f"# {name}: {value}".rstrip() for name, value in table.metadata.items()]
    lines.append("# " + "/" * 12)
    lines += [f"# {comment}".rstrip() for comment in table.comments]
    lines += ["# " + "-" * 12, "# " + " ".join(table.names)]
    lines += [" ".join(map(repr, row)) for row in table.columns.T.tolist()]
    text = "\n".join(lines) + "\n"
    again, why = None, "labels must be single words, values and comments single lines"
    try:
        again = parse_xdi(text, "the XDI file to be written")
    except InputError as error:
        why = str(error)
    require(again is not None and _content(again) == _content(table),
            f"this spectrum cannot be kept by an XDI file: {why}; there may be no "
            "blanks at their ends, and no comment may be a line of dashes")
    return text


def _content(table: Table) -> tuple[object, ...]:
    """What a file keeps of a table, to tell whether it is all there."""
    return (table.names, table.units, table.columns.tolist(), dict(table.metadata), table.comments,
            table.applications)


def write_xdi(path: str | os.PathLike[str], table: Table) -> Path:
    """Write a table as an XDI file; reading it back gives the same one."""
    return write_atomically(path, format_xdi(table))
