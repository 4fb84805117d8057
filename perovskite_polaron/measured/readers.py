"""From files to scans: one call for every format.

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
    Signal, energy_column, fields_of, written, written_of)
from perovskite_polaron.measured.edges import check_edge, check_unit
from perovskite_polaron.measured.hdf5 import read_hdf5_paths, read_hdf5_tables
from perovskite_polaron.measured.maps import array_map, is_map, text_map
from perovskite_polaron.measured.mda import is_mda, parse_mda
from perovskite_polaron.measured.pairs import pair
from perovskite_polaron.measured.raw import Raw, chosen, counted
from perovskite_polaron.measured.scan import DOF, Scan
from perovskite_polaron.measured.spec import is_spec, parse_spec
from perovskite_polaron.measured.text import Table, number, parse_text_table, read_measured_text
from perovskite_polaron.measured.xdi import parse_xdi
from perovskite_polaron.units import HC_EV_A, UNITS

#: Energies may go back by this part of the scan, as an encoder trembles; more is another scan.
BACKWARDS = 0.02
#: Suffix -> reader of binary files and projects; any other file is XDI, SPEC, or text and CSV.
READERS = {".prj": read_athena_tables,
           **dict.fromkeys((".h5", ".hdf5", ".hdf", ".nxs"), read_hdf5_tables)}


def read_tables(path: str | os.PathLike[str], decimal_comma: bool = False,
                raw: Raw | None = None) -> tuple[Table, ...]:
    """Read every table of a file: XDI (known by its first line), SPEC, mda2ascii, Athena, HDF5, or
    text and CSV, where the decimal mark may be a comma; maps where raw or the text says so.
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
    elif is_mda(content):
        tables = (parse_mda(content, str(path)),)
    else:
        tables = (parse_text_table(content, str(path), decimal_comma),)
        if raw is not None and (raw.map is not None or is_map(content)):
            tables = (text_map(tables[0], raw, content.splitlines()[0]),)
    return tuple(replace(table, warnings=(*warnings, *table.warnings)) for table in tables)


def read_scans(paths: Sequence[str | os.PathLike[str]], signal: str | None = None,
               energy_unit: str | None = None, name_pattern: str | None = None,
               group: str | None = None, *, energy: str | None = None,
               decimal_comma: bool = False, raw: Raw | None = None) -> tuple[Scan, ...]:
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
        ``eV`` or ``keV``, for files that do not say it; ``degrees`` or ``radians`` for Bragg
        angles, with raw's d spacing.
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
    raw : Raw, optional
        What is said of raw data: pairs with and without laser, counts, angles, maps.

    Raises
    ------
    InputError
        When a file cannot be read, neither it nor energy_unit says the unit, or neither it nor
        signal says which column is the signal.
    """
    scans: list[Scan] = []
    raw = raw or Raw()
    for path in paths:
        said = {} if name_pattern is None else _from_name(Path(path).stem, name_pattern)
        said |= raw.condition
        tables = _tables(path, signal, energy, decimal_comma, raw)
        if group is not None:
            labels = ", ".join(table.label for table in tables[:20])
            tables = tuple(replace(t, sample="") for t in tables if fnmatchcase(t.label, group)
                           or fnmatchcase(t.sample.strip("/"), group.strip("/")))
            require(tables, f"{path} has no group {group!r}: it has {labels}")
        for table in _spectra(tables, None if raw.delay is not None else energy):
            scans += _scans(table, signal, energy_unit, energy, said, raw)
    return pair(scans, raw)


def _tables(path: str | os.PathLike[str], signal: str | None, energy: str | None,
            decimal_comma: bool, raw: Raw) -> tuple[Table, ...]:
    """Return the tables of a file; of an HDF5 file those at the paths that are given."""
    if READERS.get(Path(path).suffix.lower()) is not read_hdf5_tables or "/" not in (energy or ""):
        return read_tables(path, decimal_comma, raw)
    tables = read_hdf5_paths(path, energy or "", signal, raw.delay)
    return tables if raw.delay is None else (array_map(tables, raw),)


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


def _scans(table: Table, signal: str | None, energy_unit: str | None, energy_name: str | None,
           said: Mapping[str, float], raw: Raw) -> list[Scan]:
    """Return the scans of a table; what a column's name says of delay and temperature goes first,
    then what the file's name says (said).
    """
    # A map of an HDF5 file is a table made for it, without the paths that were asked for.
    x = 0 if raw.delay is not None else energy_column(table, energy_name)
    energy, unit = _energies(table, x, energy_unit, raw)
    check_unit(energy, table.source)
    table, done = counted(table, x, raw)
    signals = chosen(table, x, None if raw.delay is not None else signal, raw)
    at = [str(i + 1) for one in signals for i in one.signal.columns]
    reading = (f"energy: column {x + 1}, {unit}; signal: "
               f"{', '.join(one.signal.name for one in signals[:20])} of "
               f"column{'s' * (len(at) > 1)} {', '.join(at[:40])}; "
               f"{len(signals)} scan{'s' * (len(signals) > 1)}{done}")
    conditions, warnings = _conditions(table)
    identity, scans = table.identity, []
    for one, named, companion in ((c.signal, c.named, c.companion) for c in signals):
        rows, lost = _rows(table, energy, one, raw.average_doubles)
        delay, temperature = [
            own if (own := written_of(table, named, quantity, signal or raw.on)) is not None
            else said[key] if key in said else conditions[quantity]
            for key, quantity in (("delay_ps", "delay"), ("temperature_C", "temperature"))]
        try:
            check_edge(energy[rows], identity["element"], identity["edge"], table.source)
        except InputError as error:
            # Athena guesses the edge; only what a person writes is held against the energies.
            require(table.get("bkg_z"), str(error))
            lost = [*lost, str(error)]
        at_energy, values, variance = _averaged(energy[rows], one, rows)
        label = f"{table.label}:{one.name}" if len(signals) > 1 else table.label
        beside = None
        if companion is not None:
            require(np.isfinite(companion.values[rows]).all(), f"{table.source}: "
                    f"{companion.name} is not a finite number somewhere in the scan")
            beside = Scan(*_averaged(energy[rows], companion, rows), label)
        scans.append(Scan(
            at_energy, values, variance, label, delay, temperature, table.source,
            table=replace(table, warnings=(*table.warnings, *warnings, *lost)), reading=reading,
            dof=_dof(table), companion=beside))
    return scans


def _averaged(energy: Array, one: Signal,
              rows: NDArray[np.intp]) -> tuple[Array, Array, Array | None]:
    """Return energies, values and variances of a scan; rows of one energy become their mean."""
    at, which, count = np.unique(energy, return_inverse=True, return_counts=True)
    variance = None if one.error is None else np.bincount(
        which, one.error[rows] ** 2) / count**2
    return at, np.bincount(which, one.values[rows]) / count, variance


def _energies(table: Table, x: int, energy_unit: str | None, raw: Raw) -> tuple[Array, str]:
    """Return the energies (eV) in the order of the rows, and what they were read from."""
    values, unit = table.columns[x], table.units[x].lower()
    unit = {"deg": "degrees", "degree": "degrees", "rad": "radians"}.get(unit, unit)
    is_angle = (table.is_xdi and table.names[x].lower() == "angle") or raw.d_spacing_A is not None
    if is_angle and (unit or energy_unit) in ("degrees", "radians"):
        unit = unit or energy_unit or ""
        spacing = (table.get("Mono.d_spacing").split() or ["0"])[0]
        if raw.d_spacing_A is not None:
            spacing = f"{raw.d_spacing_A!r}"
        theta = np.radians(values) if unit == "degrees" else values
        require(not ((theta <= 0) | (theta >= np.pi / 2)).any() and float(spacing) > 0,
                f"{table.source}: angles of a monochromator are between 0 and 90 degrees, its d "
                "spacing is positive: correct them")
        return HC_EV_A / (2 * float(spacing) * np.sin(theta)), f"eV, from angle and d = {spacing} Å"
    require(raw.d_spacing_A is None, f"{table.source}: --d-spacing is for Bragg angles, but the "
            f"column {table.names[x]!r} is in {unit or energy_unit or 'an unknown unit'}: give "
            "--energy-unit degrees, or leave it out")
    require(unit or energy_unit not in ("degrees", "radians"), f"{table.source}: an angle becomes "
            "an energy by the spacing of the monochromator's planes: give --d-spacing, as 3.1356A")
    factor = unit_factor(table, x, "energy", ("eV", "keV"), energy_unit)
    return values * factor, table.units[x] or energy_unit or ""


def _rows(table: Table, energy: Array, one: Signal,
          average_doubles: bool) -> tuple[NDArray[np.intp], list[str]]:
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
    require(average_doubles or not len(twice), f"{table.source}: the energy "
            f"{twice[:1].sum():g} eV stands twice; average such rows with --average-doubles, or "
            "remove them")
    if len(twice):
        warnings = [*warnings, f"{table.source}: {len(twice)} rows of an energy that stands twice "
                    "were averaged"]
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
            word = re.sub(r"\A%?temp\Z", "temperature", key.split(".")[-1], flags=re.IGNORECASE)
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


def unit_factor(table: Table, column: int, kind: str, allowed: Sequence[str],
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
