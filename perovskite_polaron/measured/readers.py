"""From files to scans and traces: one call for every format.

Units are said by the file or by the user, never guessed.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.errors import InputError, require
from perovskite_polaron.files import read_text
from perovskite_polaron.measured.athena import read_athena_tables
from perovskite_polaron.measured.columns import (
    NUMBER, candidates, choose, converted, signal_at, signal_columns, written, written_of)
from perovskite_polaron.measured.hdf5 import read_hdf5_tables
from perovskite_polaron.measured.scan import DOF, Scan, Trace
from perovskite_polaron.measured.text import Table, number, parse_text_table
from perovskite_polaron.measured.xdi import parse_xdi
from perovskite_polaron.units import UNITS

#: Suffix -> reader of files that hold several tables; any other file is XDI, or text and CSV.
READERS = {".prj": read_athena_tables,
           **dict.fromkeys((".h5", ".hdf5", ".hdf", ".nxs"), read_hdf5_tables)}
_PLACES = ("delay_fs", "delay_ps", "delay_ns", "delay_us", "temperature_C", "temperature_K")
_ENERGY_NAMES = ("energy", "e", "photon energy")
_DELAY_NAMES = ("delay", "time", "t")


def read_tables(path: str | os.PathLike[str]) -> tuple[Table, ...]:
    """Read every table of a file: XDI (known by its first line), Athena, HDF5, or text and CSV."""
    suffix = Path(path).suffix.lower()
    if suffix in READERS:
        return READERS[suffix](path)
    content = read_text(path, "table, XDI file, Athena project or HDF5 file")
    is_xdi = suffix == ".xdi" or content.startswith("# XDI/")
    return ((parse_xdi if is_xdi else parse_text_table)(content, str(path)),)


def read_scans(paths: Sequence[str | os.PathLike[str]], signal: str | None = None,
               energy_unit: str | None = None, name_pattern: str | None = None,
               group: str | None = None) -> tuple[Scan, ...]:
    """Read every scan of the files: one of each table, unless its columns say or are asked more.

    Parameters
    ----------
    paths : sequence of path
        Files of any known format.
    signal : str, optional
        The column to read, by name or number; a wildcard for columns that are repeats; or
        ``ln(A/B)``, ``A/B``, ``A-B``. Without it a table must have one column that can be the
        signal, or columns named by different delays or temperatures.
    energy_unit : str, optional
        ``eV`` or ``keV``, for files that do not say it.
    name_pattern : str, optional
        Where the names of the files keep delay and temperature, as in
        ``br_{delay_ps}_{temperature_C}*``; it overrules their headers. Without it a number with its
        unit is looked for in header and name.
    group : str, optional
        Read these groups of Athena projects and HDF5 files only, by label or wildcard; they are of
        one sample, because the user says so.

    Raises
    ------
    InputError
        When a file cannot be read, neither it nor energy_unit says the unit, or neither it nor
        signal says which column is the signal.
    """
    scans: list[Scan] = []
    for path in paths:
        said = {} if name_pattern is None else _from_name(Path(path).stem, name_pattern)
        tables = read_tables(path)
        if group is not None and Path(path).suffix.lower() in READERS:
            labels = ", ".join(table.sample for table in tables[:20])
            tables = tuple(replace(t, sample="") for t in tables if fnmatchcase(t.label, group)
                           or fnmatchcase(t.sample.strip("/"), group.strip("/")))
            require(tables, f"{path} has no group {group!r}: it has {labels}")
        for table in tables:
            scans += _scans(table, signal, energy_unit, said)
    return tuple(scans)


def read_traces(paths: Sequence[str | os.PathLike[str]], signal: str | None = None,
                delay_unit: str | None = None) -> tuple[Trace, ...]:
    """Read every kinetic trace of the files: each signal column, with its error column if any."""
    traces = []
    for table in (table for path in paths for table in read_tables(path)):
        x = _abscissa(table, _DELAY_NAMES)
        units = ("ps", "fs", "ns", "us", "µs", "ms", "s")
        delay = table.columns[x] * _factor(table, x, "time", units, delay_unit)
        errors = signal_columns(table, x)
        usual = candidates(table, x) or list(errors)
        require(usual, f"{table.source} has no signal column beside {table.names[x]!r}; its "
                f"columns are {', '.join(table.names)}")
        found = (choose(table, x, signal) if signal is not None
                 else [signal_at(table, y, errors[y]) for y in usual])
        alone = signal is None and len(usual) == 1
        traces += [Trace(delay, one.values, one.error, table.label if alone else
                         f"{table.label}:{one.name}") for one in found]
    return tuple(traces)


def _scans(table: Table, signal: str | None, energy_unit: str | None,
           said: Mapping[str, float]) -> list[Scan]:
    """Return the scans of a table; what a column's name says of delay and temperature goes first,
    then what the file's name says (said).
    """
    x = _abscissa(table, _ENERGY_NAMES)
    order = np.argsort(table.columns[x], kind="stable")
    energy = table.columns[x][order] * _factor(table, x, "energy", ("eV", "keV"), energy_unit)
    if len(twice := energy[:-1][np.diff(energy) <= 0]):
        raise InputError(f"{table.source}: the energy {twice[0]:g} eV stands twice; "
                         "combine or remove the rows")
    signals = choose(table, x, signal)
    at = [str(i + 1) for one in signals for i in one.columns]
    reading = (f"energy: column {x + 1}, {table.units[x] or energy_unit}; signal: "
               f"{', '.join(one.name for one in signals)} of column{'s' * (len(at) > 1)} "
               f"{', '.join(at)}; {len(signals)} scan{'s' * (len(signals) > 1)}")
    scans = []
    for one in signals:
        delay, temperature = [
            own if (own := written_of(table, one.columns, quantity)) is not None
            else said[key] if key in said else _condition(table, quantity)
            for key, quantity in (("delay_ps", "delay"), ("temperature_C", "temperature"))]
        scans.append(Scan(
            energy, one.values[order], None if one.error is None else one.error[order] ** 2,
            f"{table.label}:{one.name}" if len(signals) > 1 else table.label, delay, temperature,
            table.source, table=table, reading=reading, dof=_dof(table)))
    return scans


def _dof(table: Table) -> float:
    """Return how well the errors are known: as the header says; else those of a mean of n scans
    have n − 1 degrees of freedom, and others are taken as known.
    """
    said, scans = table.get(DOF), table.get("Polaron.scans")
    if said:
        return number(said, f"{table.source}: {DOF}")
    return float(scans) - 1 if re.fullmatch("[1-9][0-9]{0,5}", scans) and scans != "1" else inf


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
            expression += NUMBER
        else:
            expression += re.escape(part)
    match = re.fullmatch(expression, stem)
    if match is None or not fields:
        raise InputError(f"the name {stem!r} does not fit the pattern {pattern!r}; "
                         "correct it, or name the files alike")
    return {"delay_ps" if quantity == "delay" else "temperature_C": converted(number, unit)
            for (quantity, unit), number in zip(fields.items(), match.groups(), strict=True)}


def _condition(table: Table, quantity: str) -> float | None:
    """Return delay or temperature: from the header, else from the label."""
    wanted = None
    for key, value in table.metadata.items():
        word = key.split(".")[-1]
        if word.lower().startswith(quantity):
            unit = word[len(quantity):].strip("_ ()[]")
            wanted = f"{value} {unit.lower() if quantity == 'delay' else unit}".rstrip()
            break
    if wanted is None:
        return written(table.label, quantity)
    found = written(wanted.replace("_", " "), quantity)
    require(found is not None, f"{table.source}: {wanted[:40]!r} in the header has no number with "
            "a known unit; write it as 100 ps or 60 C")
    return found


def _abscissa(table: Table, names: Sequence[str]) -> int:
    require(len(table.names) > 1,
            f"{table.source} has one column: an abscissa and a signal are needed")
    said = [table.get("axes").lower()] if table.get("axes") else []
    return next((i for known in (said, names) for i, name in enumerate(table.names)
                 if name.lower() in known), 0)


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
