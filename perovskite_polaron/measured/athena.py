"""Projects of Athena and of larch's own graphical programs: one table for every group of a ``.prj`` file.

A project is text, mostly compressed with gzip, in one of two dialects: assignments as Perl writes them, one set for each
group, ended by ``[record]``; or one JSON object with a key for each group. Both are read here without larch, so that no
heavy dependency is needed; the tests hold this reader against larch's own reading.
"""

import gzip
import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from perovskite_polaron.errors import InputError
from perovskite_polaron.measured.text import Table, number, rows_to_columns

# Unpacked size above which a file is no project of spectra.
LARGEST_BYTES = 256 * 1024 * 1024
_TITLE = "Athena project file -- "
# Athena's names of the arrays of a group -> columns of the table. stddev is the scatter of merged scans, not an error.
_ARRAYS = {"x": "energy", "y": "mu", "i0": "i0", "signal": "numerator", "stddev": "stddev"}
_ASSIGNMENT = re.compile(r"[$@%](\w+)\s*=\s*")
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<part>,|=>)|(?P<end>;)|(?P<word>[^\s'"()\[\]{},;]+))""",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:x\{([0-9A-Fa-f]{1,6})\}|(.))", re.DOTALL)


def read_athena_tables(path: str | os.PathLike[str]) -> tuple[Table, ...]:
    """Read every group of a ``.prj`` file, in the file's order: energy (eV) and mu, and i0, numerator, stddev where kept.

    The energies are those the file keeps: where the group has an energy shift, a warning says that it is not applied. A
    chi(k) group has the columns k and chi, a dispersive one a pixel axis. Raises InputError when the file is no Athena
    project, is damaged, or has an array that is not of finite numbers.
    """
    text = _unpacked(Path(path))
    if _TITLE not in text[:500]:
        raise InputError(f"{path} is no Athena project: its first line must say '{_TITLE}...'; give a .prj file")
    groups = _json_groups(text, str(path)) if text.lstrip().startswith("{") else _perl_groups(text, str(path))
    tables = tuple(_table(name, group, str(path)) for name, group in groups)
    if not tables:
        raise InputError(f"{path} holds no group: it is empty or its end is missing; save it again in Athena")
    return tables


def _unpacked(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"{path} does not exist: give the path of an Athena project")
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            with gzip.GzipFile(fileobj=raw) if packed else raw as file:
                data = file.read(LARGEST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}; check that the file is whole") from None
    if len(data) > LARGEST_BYTES:
        raise InputError(f"{path} unpacks to more than {LARGEST_BYTES >> 20} MiB: it is no project of spectra")
    # Old versions wrote the user's own code page into labels; the numbers are plain ASCII in any case.
    return data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")


def _json_groups(text: str, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: the project is not whole JSON: {error}; save it again in Athena") from None
    order = content.get("_____order")
    names = order if isinstance(order, list) else [k for k in content if not k.startswith("_____")]
    for name in names:
        group = content.get(name) if isinstance(name, str) else None
        if not isinstance(group, dict):
            raise InputError(f"{path}: the group {str(name)[:40]!r} of the project's order is missing; save it again")
        yield name, group


def _perl_groups(text: str, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    group: dict[str, Any] = {}
    at = 0
    while at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        if match := _ASSIGNMENT.match(text, at):
            values, at = _values(text, match.end(), path)
            group[match[1]] = values
            continue
        if text.startswith("[record]", at):
            yield str((group.get("old_group") or ["group"])[0]), group
            group = {}
        at = end + 1
    if "x" in group:
        raise InputError(
            f"{path}: the last group has no [record] line, so the file is cut off; save it again in Athena"
        )


def _values(text: str, at: int, path: str) -> tuple[list[Any], int]:
    """Return the values of an assignment (lists nested as in the file), and the position after its semicolon."""
    place = f"{path}:{text.count(chr(10), 0, at) + 1}"
    stack: list[list[Any]] = [[]]
    while True:
        match = _TOKEN.match(text, at)
        if match is None:
            raise InputError(f"{place}: the value that begins here has no end; the file is damaged")
        at = match.end()
        if match["text"] is not None:
            stack[-1].append(_ESCAPE.sub(_unescape, match["text"][1:-1]))
        elif match["open"]:
            stack.append([])
        elif match["close"] and len(stack) > 1:
            inner = stack.pop()
            stack[-1].append(inner)
        elif match["word"]:
            stack[-1].append(None if match["word"] == "undef" else match["word"])
        elif match["end"] and len(stack) == 1:
            values = stack[0]
            return (values[0] if len(values) == 1 and isinstance(values[0], list) else values), at
        elif not match["part"]:
            raise InputError(f"{place}: the value that begins here has brackets that do not match; the file is damaged")


def _unescape(match: re.Match[str]) -> str:
    if match[1]:
        code = int(match[1], 16)
        return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else "\ufffd"
    return {"n": "\n", "t": "\t"}.get(match[2], match[2])


def _table(name: str, group: Mapping[str, Any], path: str) -> Table:
    # Names are what users typed: one line each, for messages.
    name = " ".join(name.split())
    source = f"{path}#{name}"
    args = group.get("args") or {}
    if isinstance(args, list):
        args = dict(zip((str(k) for k in args[::2]), args[1::2], strict=False))
    if not isinstance(args, Mapping):
        raise InputError(f"{source}: the group's parameters are damaged; save the project again in Athena")
    settings = {key: str(value) for key, value in args.items() if isinstance(value, str | int | float)}
    columns = {key: group[key] for key in _ARRAYS if group.get(key)}
    if "x" not in columns or "y" not in columns:
        raise InputError(f"{source}: the group has no energy or no absorption; save it as mu(E) in Athena")
    lengths = {key: len(v) if isinstance(v, list) else 0 for key, v in columns.items()}
    if len(set(lengths.values())) > 1 or not lengths["x"]:
        raise InputError(f"{source}: the arrays have {', '.join(f'{n} ({k})' for k, n in lengths.items())} points; "
                         "they must be of one length")  # fmt: skip
    names, units = [_ARRAYS[key] for key in columns], [""] * len(columns)
    if "chi" in settings.get("recordtype", "") or settings.get("is_chi", "0") not in ("0", ""):
        names[:2], units[0] = ["k", "chi"], "1/A"
    else:
        units[0] = "pixel" if settings.get("is_pixel", "0") not in ("0", "") else "eV"
    values = [[number(str(v).strip(), source) for v in column] for column in columns.values()]
    shift = settings.get("bkg_eshift", "0") or "0"
    try:
        shifted = float(shift) != 0
    except ValueError:
        shifted = True
    warnings = (f"{source}: the group's energy shift of {shift[:20]} eV is not applied",) if shifted else ()
    label = " ".join(settings.get("label", "").split()) or name
    columns_by_row = list(zip(*values, strict=True))
    return Table(tuple(names), tuple(units), rows_to_columns(columns_by_row), source, label, settings, warnings)
