"""From files to scans and traces: one call for every format.

Units are said by the file or by the user, never guessed.
"""

import math
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.errors import InputError, require
from perovskite_polaron.files import read_text
from perovskite_polaron.measured.athena import read_athena_tables
from perovskite_polaron.measured.hdf5 import read_hdf5_tables
from perovskite_polaron.measured.scan import Scan, Trace
from perovskite_polaron.measured.text import Table, parse_text_table
from perovskite_polaron.measured.xdi import parse_xdi
from perovskite_polaron.units import UNITS, parse_temperature_celsius

READERS = {".prj": read_athena_tables,
           **dict.fromkeys((".h5", ".hdf5", ".hdf", ".nxs"), read_hdf5_tables)}
"""Suffix -> reader of files that hold several tables; any other file is XDI, or text and CSV."""
_NUMBER = r"(-?\d+(?:\.\d+)?)"
_WRITTEN = {"delay": re.compile(rf"(?<![A-Za-z0-9.]){_NUMBER}\s?(fs|ps|ns|us|µs)(?![A-Za-z])"),
            "temperature": re.compile(rf"(?<![A-Za-z0-9.]){_NUMBER}\s?(C|degC|°C|K)(?![A-Za-z])")}
_PLACES = ("delay_fs", "delay_ps", "delay_ns", "delay_us", "temperature_C", "temperature_K")
_ERRORS = "error|err|sigma|std|stderr|sem|uncertainty"
_ENERGY_NAMES = ("energy", "e", "photon energy")
_DELAY_NAMES = ("delay", "time", "t")
# Raw counts (the XDI dictionary's and Athena's names): no signals where one made from them stands.
_COUNTS = ("i0", "i1", "i2", "itrans", "ifluor", "irefer", "numerator", "stddev")


def read_tables(path: str | os.PathLike[str]) -> tuple[Table, ...]:
    """Read every table of a file: XDI (known by its first line), Athena, HDF5, or text and CSV."""
    suffix = Path(path).suffix.lower()
    if suffix in READERS:
        return READERS[suffix](path)
    content = read_text(path, "table, XDI file, Athena project or HDF5 file")
    is_xdi = suffix == ".xdi" or content.startswith("# XDI/")
    return ((parse_xdi if is_xdi else parse_text_table)(content, str(path)),)


def read_scans(paths: Sequence[str | os.PathLike[str]], signal: str | None = None,
               energy_unit: str | None = None, name_pattern: str | None = None) -> tuple[Scan, ...]:
    """Read every scan of the files; each signal column of a table is one.

    Parameters
    ----------
    paths : sequence of path
        Files of any known format.
    signal : str, optional
        The column to read, by name or number. Without it columns of raw counts (i0, itrans,
        ifluor, irefer ...) are no signals where other columns are.
    energy_unit : str, optional
        ``eV`` or ``keV``, for files that do not say it.
    name_pattern : str, optional
        Where the names of the files keep delay and temperature, as in
        ``br_{delay_ps}_{temperature_C}*``; it overrules their headers. Without it a number with its
        unit is looked for in header and name.

    Raises
    ------
    InputError
        When a file cannot be read, or neither it nor energy_unit says the unit.
    """
    scans: list[Scan] = []
    for path in paths:
        said = {} if name_pattern is None else _from_name(Path(path).stem, name_pattern)
        for table in read_tables(path):
            scans += [replace(scan, **said) for scan in _scans(table, signal, energy_unit)]
    return tuple(scans)


def read_traces(paths: Sequence[str | os.PathLike[str]], signal: str | None = None,
                delay_unit: str | None = None) -> tuple[Trace, ...]:
    """Read every kinetic trace of the files: each signal column, with its error column if any."""
    traces = []
    for table in (table for path in paths for table in read_tables(path)):
        x = _abscissa(table, _DELAY_NAMES)
        units = ("ps", "fs", "ns", "us", "µs", "ms", "s")
        delay = table.columns[x] * _factor(table, x, "time", units, delay_unit)
        alone = len(_signals(table, x, None)) == 1
        for y, e in _signals(table, x, signal):
            label = table.label if signal is None and alone else f"{table.label}:{table.names[y]}"
            traces.append(Trace(delay, table.columns[y], _error(table, e), label))
    return tuple(traces)


def _scans(table: Table, signal: str | None, energy_unit: str | None) -> list[Scan]:
    x = _abscissa(table, _ENERGY_NAMES)
    order = np.argsort(table.columns[x], kind="stable")
    energy = table.columns[x][order] * _factor(table, x, "energy", ("eV", "keV"), energy_unit)
    if len(twice := energy[:-1][np.diff(energy) <= 0]):
        raise InputError(f"{table.source}: the energy {twice[0]:g} eV stands twice; "
                         "combine or remove the rows")
    signals = _signals(table, x, signal)
    scans = []
    for y, e in signals:
        error = _error(table, e)
        name = table.names[y] if len(signals) > 1 else ""
        scans.append(Scan(
            energy, table.columns[y][order], None if error is None else error[order] ** 2,
            f"{table.label}:{name}" if name else table.label, _condition(table, name, "delay"),
            _condition(table, name, "temperature"), table.source, table=table))
    return scans


def _from_name(stem: str, pattern: str) -> dict[str, Any]:
    """Return delay_ps and temperature_C as a pattern finds them in a file's name."""
    fields: dict[str, str] = {}
    expression = ""
    for part in re.split(r"(\{[^{}]*\}|\*)", pattern):
        if part == "*":
            expression += ".*?"
        elif part.startswith("{"):
            quantity, _, unit = part[1:-1].partition("_")
            require(part[1:-1] in _PLACES and quantity not in fields,
                    f"the name pattern {pattern!r} has the place {part}: it knows, "
                    f"once each, {', '.join(f'{{{place}}}' for place in _PLACES)}")
            fields[quantity] = unit
            expression += _NUMBER
        else:
            expression += re.escape(part)
    match = re.fullmatch(expression, stem)
    if match is None or not fields:
        raise InputError(f"the name {stem!r} does not fit the pattern {pattern!r}; "
                         "correct it, or name the files alike")
    return {"delay_ps" if quantity == "delay" else "temperature_C": _converted(number, unit)
            for (quantity, unit), number in zip(fields.items(), match.groups(), strict=True)}


def _converted(number: str, unit: str) -> float:
    """Return a delay in ps or a temperature in °C, whichever its unit says."""
    factor = UNITS["time"].get(unit)
    return parse_temperature_celsius(number + unit) if factor is None else float(number) * factor


def _condition(table: Table, column: str, quantity: str) -> float | None:
    """Return delay or temperature: from the header, else from the column's name or the label."""
    pattern, wanted = _WRITTEN[quantity], None
    for key, value in table.metadata.items():
        word = key.split(".")[-1]
        if word.lower().startswith(quantity):
            unit = word[len(quantity):].strip("_ ()[]")
            wanted = f"{value} {unit.lower() if quantity == 'delay' else unit}".rstrip()
            break
    texts = [column, table.label] if wanted is None else [wanted.replace("_", " ")]
    match = next((found for text in texts if (found := pattern.search(text))), None)
    if match is None:
        if wanted is not None:
            raise InputError(f"{table.source}: {wanted[:40]!r} in the header has no number with a "
                             "known unit; write it as 100 ps or 60 C")
        return None
    require(math.isfinite(float(match[1])),
            f"{table.source}: {match[1][:40]!r} is too large; correct it")
    return _converted(match[1], match[2])


def _abscissa(table: Table, names: Sequence[str]) -> int:
    require(len(table.names) > 1,
            f"{table.source} has one column: an abscissa and a signal are needed")
    return next((i for i, name in enumerate(table.names) if name.lower() in names), 0)


def _factor(table: Table, column: int, kind: str, allowed: Sequence[str],
            given: str | None) -> float:
    """Return what brings a column to the internal unit of its kind."""
    known = {u.lower(): u for u in allowed}
    word = table.units[column] or given or ""
    if word.lower() not in known:
        why = f"has the unit {word!r}" if word else "does not say its unit"
        example = f"{(table.names[column].split() or [kind])[0]}_{allowed[0]}"
        raise InputError(f"{table.source}: the column {table.names[column]!r} {why}; name it with "
                         f"one of {', '.join(allowed)} in the file, as in {example}, or give the "
                         "unit as an option")
    return UNITS[kind][known[word.lower()]]


def _signals(table: Table, x: int, signal: str | None) -> list[tuple[int, int | None]]:
    """Return (signal column, its error column or None) pairs.

    An error column is named like its signal, or follows it.
    """
    lower = [name.lower() for name in table.names]
    owners = {}
    for i, name in enumerate(lower):
        if re.search(rf"(^|[_\s])({_ERRORS})([_\s]|\d*$)", name):
            named = {re.sub(rf"[_ ]({_ERRORS})\Z", "", name),
                     re.sub(rf"\A({_ERRORS})_", "", name)} - {name}
            owners[i] = next((j for j, n in enumerate(lower) if j != x and n in named), None)
    pairs: list[tuple[int, int | None]] = []
    for i in range(len(lower)):
        if i != x and i not in owners:
            follows = i + 1 if owners.get(i + 1, x) is None else None
            pairs.append((i, next((j for j, owner in owners.items() if owner == i), follows)))
    if signal is not None:
        wanted = table.index(signal)
        return [pair for pair in pairs if pair[0] == wanted] or [(wanted, None)]
    pairs = [pair for pair in pairs if lower[pair[0]] not in _COUNTS] or pairs
    require(pairs, f"{table.source} has no signal column beside {table.names[x]!r}; its columns "
            f"are {', '.join(table.names)}")
    return pairs


def _error(table: Table, column: int | None) -> np.ndarray | None:
    if column is None:
        return None
    error = table.columns[column]
    require((error > 0).all(), f"{table.source}: the error column {table.names[column]!r} has "
            "values that are not positive; correct them")
    return error
