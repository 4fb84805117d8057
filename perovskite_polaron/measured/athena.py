"""Projects of Athena and of larch's graphical programs: a table for every group of a ``.prj`` file.

A project is text, mostly compressed with gzip, in one of two dialects: assignments as Perl writes
them, one set for each group, ended by ``[record]``; or one JSON object with a key for each group.
Both are read here without larch, so that no heavy dependency is needed; the tests hold this reader
against larch's own reading.
"""

import gzip
import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.errors import InputError, require
from perovskite_polaron.measured.text import Table, number, require_file

#: Unpacked size above which a file is no project of spectra.
LARGEST_BYTES = 256 * 1024 * 1024
_TITLE = "Athena project file -- "
# Arrays of a group -> columns of the table; stddev is the scatter of merged scans, no error of
# their mean.
_ARRAYS = {"x": "energy", "y": "mu", "i0": "i0", "signal": "numerator", "stddev": "scatter"}
_ASSIGNMENT = re.compile(r"[$@%](\w+)\s*=\s*")
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?P<open>[(\[{])|(?P<close>[)\]}])|"""
    r"""(?P<part>,|=>)|(?P<end>;)|(?P<word>[^\s'"()\[\]{},;]+))""", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:x\{([0-9A-Fa-f]{1,6})\}|(.))", re.DOTALL)
_Group = tuple[str, Mapping[str, Any]]


def read_athena_tables(path: str | os.PathLike[str]) -> tuple[Table, ...]:
    """Read every group of a ``.prj`` file, in the file's order.

    Columns are energy (eV) and mu, and i0, numerator, scatter where kept; of a chi(k) group k and
    chi, of a dispersive one a pixel axis. The energies are those the file keeps: where the group
    has an energy shift, a warning says that it is not applied. Raises InputError when the file is
    no Athena project, is damaged, or has an array that is not of finite numbers.
    """
    text = _unpacked(Path(path))
    require(_TITLE in text[:500], f"{path} is no Athena project: its first line must say "
            f"'{_TITLE}...'; give a .prj file")
    groups = _json_groups if text.lstrip().startswith("{") else _perl_groups
    tables = tuple(_table(name, group, str(path)) for name, group in groups(text, str(path)))
    require(tables, f"{path} holds no group: it is empty or its end is missing; save it again in "
            "Athena")
    return tables


def _unpacked(path: Path) -> str:
    require_file(path, "Athena project", LARGEST_BYTES)
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            with gzip.GzipFile(fileobj=raw) if packed else raw as file:
                data = file.read(LARGEST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}; check that the file is whole") from None
    require(len(data) <= LARGEST_BYTES, f"{path} unpacks to more than {LARGEST_BYTES >> 20} MiB: "
            "it is no project of spectra")
    # Old versions wrote the user's own code page into labels; the numbers are plain ASCII anyway.
    return data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")


def _json_groups(text: str, path: str) -> Iterator[_Group]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: the project is not whole JSON: {error}; "
                         "save it again in Athena") from None
    order = content.get("_____order")
    names = order if isinstance(order, list) else [k for k in content if not k.startswith("_____")]
    require(len(names) <= len(content), f"{path}: the project's order names groups twice; save it "
            "again in Athena")
    for name in names:
        group = content.get(name) if isinstance(name, str) else None
        if not isinstance(group, dict):
            raise InputError(f"{path}: the group {str(name)[:40]!r} of the project's order is "
                             "missing; save it again")
        yield name, group


def _perl_groups(text: str, path: str) -> Iterator[_Group]:
    group: dict[str, Any] = {}
    at = 0
    while at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        if match := _ASSIGNMENT.match(text, at):
            group[match[1]], at = _values(text, match.end(), path)
            continue
        if text.startswith("[record]", at):
            yield str((group.get("old_group") or ["group"])[0]), group
            group = {}
        at = end + 1
    require("x" not in group, f"{path}: the last group has no [record] line, so the file is cut "
            "off; save it again in Athena")


def _values(text: str, at: int, path: str) -> tuple[list[Any], int]:
    """Return the values of an assignment, nested as in the file, and where its semicolon ends."""
    begin, stack = at, list[list[Any]]([[]])
    why = "no end"
    while match := _TOKEN.match(text, at):
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
            is_list = len(values) == 1 and isinstance(values[0], list)
            return values[0] if is_list else values, at
        elif not match["part"]:
            why = "brackets that do not match"
            break
    raise InputError(f"{path}:{text.count(chr(10), 0, begin) + 1}: the value that begins here has "
                     f"{why}; the file is damaged")


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
        args = dict(zip(map(str, args[::2]), args[1::2], strict=False))
    if not isinstance(args, Mapping):
        raise InputError(f"{source}: the group's parameters are damaged; "
                         "save the project again in Athena")
    settings = {k: str(value) for k, value in args.items() if isinstance(value, str | int | float)}
    columns = {key: group[key] for key in _ARRAYS if group.get(key)}
    require("x" in columns and "y" in columns, f"{source}: the group has no energy or no "
            "absorption; save it as mu(E) in Athena")
    lengths = {key: len(v) if isinstance(v, list) else 0 for key, v in columns.items()}
    odd = [key for key, n in lengths.items() if key not in "xy" and n != lengths["x"]]
    warnings = [f"{source}: {key} is left out: it is not as long as the energies" for key in odd]
    columns = {key: v for key, v in columns.items() if key not in odd}
    if lengths["x"] != lengths["y"] or not lengths["x"]:
        said = ", ".join(f"{n} ({k})" for k, n in lengths.items())
        raise InputError(f"{source}: the arrays have {said} points; they must be of one length")
    names, units = [_ARRAYS[key] for key in columns], [""] * len(columns)

    def is_set(key: str) -> bool:
        return settings.get(key, "0") not in ("0", "")

    if "chi" in settings.get("recordtype", "") or is_set("is_chi"):
        names[:2], units[0] = ["k", "chi"], "1/A"
    else:
        units[0] = "pixel" if is_set("is_pixel") else "eV"
    values = [[number(str(v).strip(), source) for v in column] for column in columns.values()]
    with suppress(ValueError):
        # Shifts are compared as text, where groups are averaged.
        settings["bkg_eshift"] = f"{float(settings.get('bkg_eshift') or 0) + 0:g}"
    shift = settings["bkg_eshift"]
    warnings += [f"{source}: the group's energy shift of {shift[:20]} eV is not applied"] * (
        shift != "0")
    label = " ".join(settings.get("label", "").split()) or name
    return Table(tuple(names), tuple(units), np.array(values), source, label, settings,
                 tuple(warnings), sample=label)
