"""Tables: the record in which every reader ends, and the reader of plain text.

Columns of a text are parted by blanks, commas, semicolons or tabs. Before the numbers there may be
lines of text, as beamlines write them, and lines that begin with ``#`` or ``%``; ``key: value`` and
``key = value`` among them are metadata. Column names stand in the last of these lines. A unit
belongs to its name: ``delay_ps``, ``delay (ps)``, ``delay [ps]`` or ``delay/ps``. A number that is
missing (an empty cell, nan) is NaN: only who needs it objects.
"""

import math
import os
import re
import stat
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

#: A text that is longer, in bytes or in rows, is no table of a measurement.
MOST_BYTES, MOST_ROWS = 64 * 1024 * 1024, 1_000_000
# Numbers before the last words of a header are settings of the beamline, if they are so few rows.
_MOST_SETTINGS = 10
# A base-10 number as C writes it, and nothing else: float() also takes nan, 1_000, other alphabets.
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z")
_UNITS = ("eV", "keV", "fs", "ps", "ns", "us", "µs", "ms", "s", "K", "C", "degC", "°C")
# What else may stand in a row of units.
_OTHER_UNITS = ("", "-", "1", "a.u.", "arb", "arb.", "arb. u.", "arb.u.", "arb. units", "au",
                "counts", "cts", "cps", "OD", "mOD", "mA", "V", "A", "mm", "deg", "%")
_NAME = re.compile(
    rf"(.*?)(?:\s*\(([^()]*)\)|\s*\[([^\[\]]*)\]|/([^/\s]+)|_({'|'.join(_UNITS)}))?\Z", re.DOTALL)
_MISSING = ("", "nan", "inf", "infinity")
# "scan3", "Br foil, run 02": the scan's number; "foil 2" may be another sample, Fe2O3 is a name.
_COUNTER = re.compile(r"(\A|(?<![\s_.,#()-])[\s_.,#()-]*(?<![a-z])(scan|rep(eat)?|run|sweep|entry|"
                      r"cycle)[\s_.,#-]{0,3})\d{1,9}(\.\d{1,9})?\)?\Z", re.IGNORECASE)
_METADATA = re.compile(r"([A-Za-z][\w .-]{0,60}?)\s*[:=]\s*(.*)\Z", re.DOTALL)


@dataclass(frozen=True)
class Table:
    """Columns of one measurement, with what its file says about them.

    Attributes
    ----------
    names, units : tuple of str
        One entry for each column; a unit that the file does not say is "".
    columns : ndarray, shape (n_columns, n_rows), float64
        Read-only; NaN where the file has no number.
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
        columns[~np.isfinite(columns)] = np.nan
        freeze(self, columns=columns)
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))

    def find(self, name: str) -> int | None:
        """Return the position of a column, by its name (case ignored) or number from 1.

        Raises InputError where two columns have the name.
        """
        folded = [n.lower() for n in self.names]
        for names, one in ((list(self.names), name), (folded, name.lower())):
            if one in names:
                require(names.count(one) == 1, f"{self.source}: several columns are called {one!r};"
                        " choose by the column's number, from 1")
                return names.index(one)
        if re.fullmatch("[0-9]{1,9}", name) and 1 <= int(name) <= len(self.names):
            return int(name) - 1
        return None

    @cached_property
    def identity(self) -> dict[str, str]:
        """What the spectrum is of, as far as its file says: element, edge, energy shift that is
        not applied, and the sample without the counter of the scan at the end of its name.
        """
        sample = self.sample or self.get("sample") or self.get("sample name")
        said = {"element": self.get("Element.symbol") or self.get("element") or self.get("bkg_z"),
                "edge": self.get("Element.edge") or self.get("edge") or self.get("fft_edge"),
                "energy shift": self.get("bkg_eshift"),
                "sample": "/".join(_COUNTER.sub("", s) for s in sample[:200].split("/"))}
        return {what: name.strip(" /").lower() for what, name in said.items()}

    def get(self, name: str) -> str:
        """Return the value of a header field, its name in any case; "" where there is none."""
        return next((v for k, v in self.metadata.items() if k.lower() == name.lower()), "")


def require_file(path: str | os.PathLike[str], what: str, most: int) -> None:
    """Refuse what is no file, or has more bytes than most; ``what`` names the kind in the error."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: give the path of a {what}") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{str(path)[:100]!r} cannot be read: {why}; check the path") from None
    require(stat.S_ISREG(found.st_mode), f"{path} is a folder, a pipe or a device: give the path of"
            f" a {what}")
    require(found.st_size <= most, f"{path} has {found.st_size >> 20} MiB, more than the"
            f" {most >> 20} that are read: it is no table of a measurement; cut or bin it")


def read_measured_text(path: str | os.PathLike[str]) -> tuple[str, tuple[str, ...]]:
    """Return the text of a table, and warnings; what is not UTF-8 or UTF-16 is Windows-1252."""
    require_file(path, what := "table, XDI file, Athena project or HDF5 file", MOST_BYTES)
    warnings: tuple[str, ...] = ()
    try:
        data = Path(path).read_bytes()
        is_utf16 = data[:2] in (b"\xff\xfe", b"\xfe\xff")
        text = data.decode("utf-16" if is_utf16 else "utf-8-sig")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check its rights") from None
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")
        warnings = (f"{path}: it is not UTF-8, and was read as Latin-1 (Windows-1252)",)
    require("\0" not in text, f"{path} is not text: give a {what}")
    # DOS ends a text with Ctrl-Z.
    text = text.rstrip("\x1a\r\n ")
    require(text, f"{path} is empty: give a {what}")
    return text, warnings


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
        why = ": the decimal mark must be a dot (or give --decimal-comma)" if "," in text else ""
        raise InputError(f"{place}: {text[:40]!r} is not a finite number{why}; "
                         "correct or remove the line")
    value = float(text)
    if not math.isfinite(value):
        raise InputError(f"{place}: {text[:40]!r} is too large for a floating-point number; "
                         "correct or remove the line")
    return value


def add_row(rows: list[list[float]], words: Sequence[str], lines: LineReader,
            missing: bool = False) -> None:
    """Append the numbers of the line read last, of which some may be missing; InputError unless
    there are as many as above.
    """
    if rows and len(words) != len(rows[0]):
        raise lines.error(f"{len(words)} numbers where the lines above have {len(rows[0])}; "
                          "complete or remove the line")
    rows.append([math.nan if missing and word.lower().lstrip("+-") in _MISSING
                 else number(word, f"{lines.path}:{lines.at}") for word in words])


def parse_text_table(text: str, source: str, comma: bool = False) -> Table:
    """Return the table in a text.

    Parameters
    ----------
    text, source
        The text, and what stands for the file in messages.
    comma
        Whether the decimal mark is a comma; columns are then parted by anything else.
    """
    # Lines before the numbers: what each says, and whether a comment sign stands before it.
    above: list[tuple[str, bool]] = []
    metadata, warnings, rows = {}, list[str](), list[list[float]]()
    # What begins like a row but is none: an error, unless words follow.
    broken: tuple[str, str] | None = None
    lines = LineReader(source, text=text.removeprefix("\ufeff"))
    for line in lines:
        stripped, fields = line.strip(), split_fields(line, comma)
        is_comment = stripped[:1] in ("#", "%")
        is_rule = not re.search(r"[^\W_]", stripped)
        if not any(fields) or (is_comment and rows) or (is_rule and not rows):
            continue
        if not is_comment and all(map(is_number, fields)):
            if broken:
                number(*broken)
            add_row(rows, fields, lines, missing=True)
            lines.require(len(rows) <= MOST_ROWS, f"more than {MOST_ROWS} rows are no table of a "
                          "measurement: cut or bin it")
            continue
        begins = not is_comment and stripped[0] in "0123456789.+-"
        if rows and not begins and lines.at == len(lines.lines):
            warnings.append(f"{source}:{lines.at}: the last line is left out: {stripped[:40]!r}")
            break
        if rows:
            # Words among numbers: settings in the header of a beamline are a few rows only.
            if begins or len(rows) > _MOST_SETTINGS:
                add_row(rows, fields, lines, missing=True)
            warnings.append(f"{source}:{lines.at}: the {len(rows)} rows of numbers above this line "
                            "are taken for settings")
            rows.clear()
        bad = next((field for field in fields if not is_number(field)), "")
        # A decimal comma splits the line elsewhere than its blanks do.
        bad = stripped if "," not in bad and re.search(r"\d,\d+\s", stripped) else bad
        broken = (bad, f"{source}:{lines.at}") if begins else None
        body = line.lstrip().lstrip("#% ") if is_comment else line
        if match := _METADATA.match(body.strip()):
            metadata[match[1].strip()] = match[2].strip()
        above.append((body, is_comment))
    if broken and not rows:
        number(*broken)
    require(np.isfinite(rows).any(), f"{source}: no row of numbers; give a file with at least two "
            "columns of numbers")
    require(len(rows) > _MOST_SETTINGS or not warnings, f"{source}: words stand among the numbers: "
            "split the file, or mark them with #")
    columns = np.transpose(rows)
    header = _header(above, len(columns), comma, source)
    # A delimiter at the end of each line makes a column of nothing.
    n = len(columns) - (not header[-1] and not np.isfinite(columns[-1]).any())
    header = [name or f"column{i}" for i, name in enumerate(header[:n], start=1)]
    names, units = zip(*map(split_unit, header), strict=True)
    if len({name.lower() for name in names}) < n:
        names = tuple(header)
    return Table(names, units, columns[:n], source, Path(source).stem, metadata, tuple(warnings))


def _header(above: Sequence[tuple[str, bool]], n: int, comma: bool, source: str) -> list[str]:
    """Return the names of n columns, "" for those that have none, from the lines above them."""
    # The last line of words has them, or else the last comment; settings ("E0= 7112") are no names.
    last = {is_comment: body for body, is_comment in above}
    ways = [way for body in (last.get(False, ""), last.get(True, "")) if body
            if not _METADATA.match(body.strip())
            for way in (split_fields(body, comma), split_fields(body.strip(), comma),
                        re.split(r"\s{2,}", body.strip()))]
    fits = next((way for way in ways if len(way) == n), None)
    # Units may have a row of their own, below the names.
    units = [cell.strip("()[] ") for cell in fits or ()]
    if {*_UNITS} & {*units} and {*units} <= {*_UNITS, *_OTHER_UNITS} and len(above) > 1:
        names = next((way for body, _ in above[-2:-1] for way in (
            split_fields(body, comma), split_fields(body.strip(), comma)) if len(way) == n), None)
        if names and not {*_UNITS} & {*names} and not any(map(is_number, names)):
            return [f"{name} ({unit})" if unit in _UNITS else name
                    for name, unit in zip(names, units, strict=True)]
    # In a long header the last line may be a sentence; a header of one line is names.
    require(fits or not ways or len(above) > 1 or True in last, f"{source}: the header names "
            f"{len(ways[0]) if ways else 0} columns but the rows have {n}; give one name for each")
    return fits or [""] * n


def split_fields(line: str, comma: bool = False) -> list[str]:
    """Return the cells of a line; with comma, the decimal commas become dots."""
    for delimiter in (";", "\t") if comma else (";", ",", "\t"):
        if delimiter in line:
            fields = [field.strip().strip('"').strip() for field in line.split(delimiter)]
            break
    else:
        fields = [field.strip('"') for field in line.split()]
    return [field.replace(",", ".") for field in fields] if comma else fields


def is_number(field: str) -> bool:
    """Tell whether a cell is a number, or one that is missing."""
    return bool(_NUMBER.match(field)) or field.lower().lstrip("+-") in _MISSING


def split_unit(header: str) -> tuple[str, str]:
    """Return the name and the unit (or "") of a column such as ``delay_ps`` or ``energy (eV)``."""
    match = _NAME.match(" ".join(header.split())[:200])
    if match is None or not match[1]:
        return header, ""
    return match[1], next((g.strip() for g in match.groups()[1:] if g), "")
