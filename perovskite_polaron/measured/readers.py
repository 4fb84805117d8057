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

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.measured.athena import read_athena_tables
from perovskite_polaron.measured.columns import (
    Signal, candidates, choose, energy_column, fields_of, signal_at, signal_columns, written,
    written_of)
from perovskite_polaron.measured.edges import check_edge
from perovskite_polaron.measured.hdf5 import read_hdf5_tables
from perovskite_polaron.measured.scan import DOF, Scan, Trace
from perovskite_polaron.measured.spec import is_spec, parse_spec
from perovskite_polaron.measured.text import Table, number, parse_text_table, read_measured_text
from perovskite_polaron.measured.xdi import parse_xdi
from perovskite_polaron.units import HC_EV_A, UNITS

#: Energies may go back by this part of the scan, as an encoder trembles; more is another scan.
BACKWARDS = 0.02
#: Suffix -> reader of binary files and projects; any other file is XDI, SPEC, or text and CSV.
READERS = {".prj": read_athena_tables,
           **dict.fromkeys((".h5", ".hdf5", ".hdf", ".nxs"), read_hdf5_tables)}
# The largest and smallest integers of 32 bits, in any decimal unit: what no measurement gives.
_PLACEHOLDER = {round(whole * 10.0**-power, 9) for whole in (2**31 - 1, 2**31)
                for power in range(10)}
_DELAY_NAMES = ("delay", "time", "t")


def read_tables(path: str | os.PathLike[str], decimal_comma: bool = False) -> tuple[Table, ...]:
    """Read every table of a file: XDI (known by its first line), SPEC, Athena, HDF5, or text and
    CSV, where the decimal mark may be a comma.
    """
    suffix = Path(path).suffix.lower()
    if suffix in READERS:
        return READERS[suffix](path)
    content, warnings = read_measured_text(path)
    tables: tuple[Table, ...]
    if suffix == ".xdi" or content.startswith("# XDI/"):
        tables = (parse_xdi(content, str(path)),)
    elif is_spec(content):
        tables = parse_spec(content, str(path))
    else:
        tables = (parse_text_table(content, str(path), decimal_comma),)
    return tuple(replace(table, warnings=(*warnings, *table.warnings)) for table in tables)


def read_scans(paths: Sequence[str | os.PathLike[str]], signal: str | None = None,
               energy_unit: str | None = None, name_pattern: str | None = None,
               group: str | None = None, *, energy: str | None = None,
               decimal_comma: bool = False) -> tuple[Scan, ...]:
    """Read every scan of the files: one of each table, unless its columns say or are asked more.

    Of a file with several tables, those that are no spectra in energy (chi(k), detector pixels,
    motors) are left out with a warning.

    Parameters
    ----------
    paths : sequence of path
        Files of any known format.
    signal : str, optional
        The column to read, by name or number; a wildcard for columns that are repeats; a pattern
        such as ``{delay_ps}`` for columns named by numbers; or ``ln(A/B)``, ``A/B``, ``A-B``.
        Without it a table must have one column that can be the signal, or columns named by
        different delays or temperatures.
    energy_unit : str, optional
        ``eV`` or ``keV``, for files that do not say it.
    name_pattern : str, optional
        Where the names of the files keep delay and temperature, as in
        ``br_{delay_ps}_{temperature_C}*``; it overrules their headers. Without it a number with its
        unit is looked for in header and name.
    group : str, optional
        Read these groups of a file only, by label or wildcard; they are of one sample, because the
        user says so.
    energy : str, optional
        The column of the energies, by name or number, where its name does not say it.
    decimal_comma : bool
        Whether the decimal mark of text files is a comma.

    Raises
    ------
    InputError
        When a file cannot be read, neither it nor energy_unit says the unit, or neither it nor
        signal says which column is the signal.
    """
    scans: list[Scan] = []
    for path in paths:
        said = {} if name_pattern is None else _from_name(Path(path).stem, name_pattern)
        tables = read_tables(path, decimal_comma)
        if group is not None:
            labels = ", ".join(table.label for table in tables[:20])
            tables = tuple(replace(t, sample="") for t in tables if fnmatchcase(t.label, group)
                           or fnmatchcase(t.sample.strip("/"), group.strip("/")))
            require(tables, f"{path} has no group {group!r}: it has {labels}")
        for table in _spectra(tables, energy):
            scans += _scans(table, signal, energy_unit, energy, said)
    return tuple(scans)


def _spectra(tables: Sequence[Table], energy: str | None) -> list[Table]:
    """Return the tables whose abscissa is an energy; the first warns of those that are not.

    InputError when none is.
    """
    kept, why = [], []
    for table in tables:
        try:
            x = energy_column(table, energy)
            require(table.units[x] != "pixel", f"{table.source}: {table.names[x]} is in pixels")
            kept.append(table)
        except InputError as error:
            why.append(str(error))
    require(kept, why[0] if why else "")
    warnings = (*kept[0].warnings, *(f"{text} (left out)" for text in why[:3]),
                *([f"{kept[0].source}: {len(why)} groups were left out"] if len(why) > 3 else []))
    return [replace(kept[0], warnings=warnings), *kept[1:]]


def read_traces(paths: Sequence[str | os.PathLike[str]], signal: str | None = None,
                delay_unit: str | None = None, decimal_comma: bool = False, matrix: bool = False,
                repeats: int = 1) -> tuple[Trace, ...]:
    """Read every kinetic trace of the files: each signal column, with its error column if any.

    Parameters
    ----------
    paths, signal, decimal_comma
        As in read_scans; a wildcard names repeats, of which the mean is taken.
    delay_unit : str, optional
        For files that do not say it.
    matrix : bool
        Whether the first row holds the energies or wavelengths of the columns.
    repeats : int
        How many repeats the error columns are the scatter of; 1 for errors that are known.
    """
    traces = []
    for table in (table for path in paths for table in read_tables(path, decimal_comma)):
        require(matrix or not _looks_like_matrix(table), f"{table.source}: the first row may be "
                "energies or wavelengths: say so with --matrix, or name the columns in a header")
        table = _matrix(table) if matrix else table
        x = _delays(table)
        units = ("ps", "fs", "ns", "us", "µs", "ms", "s")
        delay = table.columns[x] * _factor(table, x, "time", units, delay_unit)
        errors = signal_columns(table, x)
        usual = candidates(table, x) or list(errors)
        require(usual, f"{table.source} has no signal column beside {table.names[x]!r}; its "
                f"columns are {', '.join(table.names)}")
        found = (choose(table, x, signal) if signal is not None
                 else [signal_at(table, y, errors[y]) for y in usual])
        for one in found:
            bad = _PLACEHOLDER & set(np.round(np.abs(one.values), 9))
            require(not bad, f"{table.source}: {one.name} holds {min(bad, default=0)}, what an "
                    "instrument writes for no value: remove those rows, or choose other columns "
                    "with --signal")
        if signal is not None and set("*?") & set(signal) and len(found) > 1:
            stack = np.array([one.values for one in found])
            scatter = stack.std(axis=0, ddof=1) / np.sqrt(len(stack))
            require((scatter > 0).all(), f"{table.source}: the repeats {signal} are equal at some "
                    "delay: name each column of a trace alone, or leave out what is no repeat")
            traces.append(Trace(delay, stack.mean(axis=0), scatter, table.label, len(stack)))
            continue
        alone = signal is None and len(usual) == 1
        traces += [Trace(delay, one.values, one.error, table.label if alone else
                         f"{table.label}:{one.name}", 1 if one.error is None else repeats)
                   for one in found]
    return tuple(traces)


def _looks_like_matrix(table: Table) -> bool:
    """Whether a table without a header begins with a row that is even, above delays that are not.
    """
    first, delay = table.columns[1:, 0], table.columns[0]
    steps, alike = np.sign(np.diff(first)), np.sign(np.diff(delay))
    even = len(steps) > 1 and abs(steps.sum()) == len(steps)
    corner = len(alike) > 1 and alike[0] != alike[1]
    return table.names[0] == "column1" and bool(even and (corner or len(first) >= 8))


def _matrix(table: Table) -> Table:
    """Return the table with its first row for the names of the columns but the first."""
    require(table.columns.shape[1] > 1, f"{table.source} has one row: a matrix has more below its "
            "energies")
    names = (table.names[0], *(f"{value:.10g}" for value in table.columns[1:, 0]))
    return replace(table, names=names, columns=table.columns[:, 1:])


def _scans(table: Table, signal: str | None, energy_unit: str | None, energy_name: str | None,
           said: Mapping[str, float]) -> list[Scan]:
    """Return the scans of a table; what a column's name says of delay and temperature goes first,
    then what the file's name says (said).
    """
    x = energy_column(table, energy_name)
    energy, unit = _energies(table, x, energy_unit)
    signals = choose(table, x, signal)
    at = [str(i + 1) for one in signals for i in one.columns]
    reading = (f"energy: column {x + 1}, {unit}; signal: "
               f"{', '.join(one.name for one in signals[:20])} of column{'s' * (len(at) > 1)} "
               f"{', '.join(at[:40])}; {len(signals)} scan{'s' * (len(signals) > 1)}")
    conditions, warnings = _conditions(table)
    identity, scans = table.identity, []
    for one in signals:
        rows, lost = _rows(table, energy, one)
        delay, temperature = [
            own if (own := written_of(table, one.columns, quantity, signal)) is not None
            else said[key] if key in said else conditions[quantity]
            for key, quantity in (("delay_ps", "delay"), ("temperature_C", "temperature"))]
        try:
            check_edge(energy[rows], identity["element"], identity["edge"], table.source)
        except InputError as error:
            # Athena guesses the edge; only what a person writes is held against the energies.
            require(table.get("bkg_z"), str(error))
            lost = [*lost, str(error)]
        scans.append(Scan(
            energy[rows], one.values[rows], None if one.error is None else one.error[rows] ** 2,
            f"{table.label}:{one.name}" if len(signals) > 1 else table.label, delay, temperature,
            table.source, table=replace(table, warnings=(*table.warnings, *warnings, *lost)),
            reading=reading, dof=_dof(table)))
    return scans


def _energies(table: Table, x: int, energy_unit: str | None) -> tuple[Array, str]:
    """Return the energies (eV) in the order of the rows, and what they were read from."""
    values, unit = table.columns[x], table.units[x].lower()
    if table.is_xdi and table.names[x].lower() == "angle" and unit in ("degrees", "radians"):
        spacing = (table.get("Mono.d_spacing").split() or ["0"])[0]
        theta = np.radians(values) if unit == "degrees" else values
        require(not ((theta <= 0) | (theta >= np.pi / 2)).any() and float(spacing) > 0,
                f"{table.source}: angles of a monochromator are between 0 and 90 degrees, its d "
                "spacing is positive: correct them")
        return HC_EV_A / (2 * float(spacing) * np.sin(theta)), f"eV, from angle and d = {spacing} Å"
    factor = _factor(table, x, "energy", ("eV", "keV"), energy_unit)
    return values * factor, table.units[x] or energy_unit or ""


def _rows(table: Table, energy: Array, one: Signal) -> tuple[NDArray[np.intp], list[str]]:
    """Return the rows of a scan, rising in energy, and a warning of rows that have no number.

    These may be at the ends, as where a scan was stopped. InputError for others, for an energy that
    stands twice, and where the energies go back: those are several scans in one table.
    """
    errors = 0.0 if one.error is None else one.error
    whole = np.isfinite(energy + one.values + errors)
    require(np.count_nonzero(whole) > 1, f"{table.source}: {one.name} contains NaN or infinity, or "
            "is empty; choose another column")
    inside = np.flatnonzero(whole)
    rows = np.arange(inside[0], inside[-1] + 1)
    if len(rows) > len(inside):
        missing = rows[~whole[rows]]
        raise InputError(f"{table.source}: {one.name} is not a finite number in row "
                         f"{missing[0] + 1}; remove the row, or correct it")
    lost = len(energy) - len(rows)
    warnings = [f"{table.source}: {lost} row{'s' * (lost > 1)} at the ends without a number left "
                "out"] * bool(lost)
    e = energy[rows]
    if e[-1] < e[0]:
        rows, e = rows[::-1], e[::-1]
    back = float(np.max(np.maximum.accumulate(e) - e))
    require(back <= BACKWARDS * np.ptp(e), f"{table.source}: the energies go back by {back:g} eV: "
            "several scans in one table; split it, or sort its rows")
    order = np.argsort(e, kind="stable")
    twice = e[order][:-1][np.diff(e[order]) <= 0]
    require(not len(twice), f"{table.source}: the energy {twice[:1].sum():g} eV stands twice; "
            "combine or remove the rows")
    return rows[order], warnings


def _dof(table: Table) -> float:
    """Return how well the errors are known: as the header says; else those of a mean of n scans
    have n − 1 degrees of freedom, and others are taken as known.
    """
    said, scans = table.get(DOF), table.get("Polaron.scans")
    if said:
        return number(said, f"{table.source}: {DOF}")
    return float(scans) - 1 if re.fullmatch("[1-9][0-9]{0,5}", scans) and scans != "1" else inf


def _from_name(stem: str, pattern: str) -> dict[str, float]:
    """Return delay_ps and temperature_C as a pattern finds them in a file's name."""
    found = fields_of(stem, pattern)
    require(found, f"the name {stem!r} does not fit the pattern {pattern!r}; "
            "correct it, or name the files alike")
    return found or {}


def _conditions(table: Table) -> tuple[dict[str, float | None], list[str]]:
    """Return delay (ps) and temperature (°C), from the header or else from the label, and warnings
    of header fields that say none.
    """
    found: dict[str, float | None] = {}
    warnings = []
    for quantity in ("delay", "temperature"):
        for key, value in table.metadata.items():
            word = key.split(".")[-1]
            if not word.lower().startswith(quantity) or quantity in found:
                continue
            unit = word[len(quantity):].strip("_ ()[]")
            text = f"{value} {unit.lower() if quantity == 'delay' else unit}".replace("_", " ")
            is_unit = not unit or written(f"1 {unit}", quantity) is not None
            said = written(text[:200].strip(), quantity) if is_unit else None
            if said is None:
                warnings.append(f"{table.source}: ignored, '{key}: {value[:40]}' has no number with"
                                f" a known unit of {quantity}, as 100 ps or 60 C")
            else:
                found[quantity] = said
        found.setdefault(quantity, written(table.label[:200], quantity))
    return found, warnings


def _delays(table: Table) -> int:
    require(len(table.names) > 1,
            f"{table.source} has one column: an abscissa and a signal are needed")
    return next((i for i, name in enumerate(table.names) if name.lower() in _DELAY_NAMES), 0)


def _factor(table: Table, column: int, kind: str, allowed: Sequence[str],
            given: str | None) -> float:
    """Return what brings a column to the internal unit of its kind."""
    known = {u.lower(): u for u in allowed}
    word = table.units[column] or given or ""
    if word.lower() not in known:
        why = f"has the unit {word!r}" if word else "does not say its unit"
        example = f"{(table.names[column].split() or [kind])[0]}_{allowed[0]}"
        # An option does not override what the file says.
        option = "" if word else f", or give --{'delay' if kind == 'time' else kind}-unit"
        raise InputError(f"{table.source}: the column {table.names[column]!r} {why}; name it with "
                         f"one of {', '.join(allowed)} in the file, as in {example}{option}")
    return UNITS[kind][known[word.lower()]]
