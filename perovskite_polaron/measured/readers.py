"""From files to scans and traces: one call for every format, with units said by the file or by the user, never guessed."""

import math
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from perovskite_polaron.errors import InputError
from perovskite_polaron.measured.scan import Scan, Trace
from perovskite_polaron.measured.text import Table
from perovskite_polaron.units import UNITS, parse_temperature_celsius

_DELAY = re.compile(r"(?<![A-Za-z0-9.])(-?\d+(?:\.\d+)?)\s?(fs|ps|ns|us|µs)(?![A-Za-z])")
_TEMPERATURE = re.compile(r"(?<![A-Za-z0-9.])(-?\d+(?:\.\d+)?)\s?(C|degC|°C|K)(?![A-Za-z])")
_PLACES = (*(("delay", unit) for unit in ("fs", "ps", "ns", "us")), ("temperature", "C"), ("temperature", "K"))
_ERROR_NAMES = ("error", "err", "sigma", "std", "stderr", "sem", "uncertainty")
_ENERGY_NAMES = ("energy", "e", "photon energy")
_DELAY_NAMES = ("delay", "time", "t")
# Raw counts (the XDI dictionary's and Athena's names), which are no signals while a column made from them stands beside.
_COUNTS = ("i0", "i1", "i2", "itrans", "ifluor", "irefer", "numerator", "stddev")


def read_tables(path: str | os.PathLike[str]) -> tuple[Table, ...]:
    """Read every table of a file: XDI (recognised by its first line), Athena ``.prj``, HDF5, or text and CSV."""
    from perovskite_polaron.files import read_text
    from perovskite_polaron.measured import athena, hdf5, text, xdi

    suffix = Path(path).suffix.lower()
    if suffix == ".prj":
        return athena.read_athena_tables(path)
    if suffix in (".h5", ".hdf5", ".hdf", ".nxs"):
        return hdf5.read_hdf5_tables(path)
    content = read_text(path, "table, XDI file, Athena project or HDF5 file")
    if suffix == ".xdi" or content.startswith("# XDI/"):
        return (xdi.table(xdi.parse_xdi(content, str(path)), str(path), Path(path).stem),)
    return (text.parse_text_table(content, str(path)),)


def read_scans(
    paths: Sequence[str | os.PathLike[str]], signal: str | None = None, energy_unit: str | None = None,
    name_pattern: str | None = None,
) -> tuple[Scan, ...]:  # fmt: skip
    """Read every scan of the files; a table with several signal columns gives one scan for each unless ``signal`` names one.

    Columns of raw counts (i0, itrans, ifluor, irefer ...) are no signals where other columns are, unless named.

    energy_unit (``eV`` or ``keV``) is for files that do not say it; InputError when neither the file nor it does.
    name_pattern says where the names of the files keep delay and temperature, as in ``br_{delay_ps}_{temperature_C}*``;
    it overrules their headers. Without it a number with its unit is looked for in header and name.
    """
    scans = []
    for path in paths:
        said = {} if name_pattern is None else _from_name(Path(path).stem, name_pattern)
        for table in read_tables(path):
            scans += [
                replace(
                    scan,
                    delay_ps=said.get("delay_ps", scan.delay_ps),
                    temperature_C=said.get("temperature_C", scan.temperature_C),
                )
                for scan in _scans(table, signal, energy_unit)
            ]
    return tuple(scans)


def read_traces(
    paths: Sequence[str | os.PathLike[str]], signal: str | None = None, delay_unit: str | None = None
) -> tuple[Trace, ...]:
    """Read every kinetic trace of the files: a delay column first, then signals, each with its error column if any."""
    traces = []
    for path in paths:
        for table in read_tables(path):
            x = _abscissa(table, _DELAY_NAMES)
            factor = _factor(table.units[x], delay_unit, "time", ("fs", "ps", "ns", "us", "µs", "ms", "s"), table, x)
            for y, e in _signals(table, x, signal):
                label = (
                    table.label
                    if signal is None and len(_signals(table, x, None)) == 1
                    else f"{table.label}:{table.names[y]}"
                )
                traces.append(Trace(table.columns[x] * factor, table.columns[y], _error(table, e), label))
    return tuple(traces)


def _scans(table: Table, signal: str | None, energy_unit: str | None) -> list[Scan]:
    x = _abscissa(table, _ENERGY_NAMES)
    factor = _factor(table.units[x], energy_unit, "energy", ("eV", "keV"), table, x)
    order = np.argsort(table.columns[x], kind="stable")
    energy = table.columns[x][order] * factor
    if (np.diff(energy) <= 0).any():
        raise InputError(
            f"{table.source}: the energy {energy[:-1][np.diff(energy) <= 0][0]:g} eV stands twice; combine or remove the rows"
        )
    signals = _signals(table, x, signal)
    scans = []
    for y, e in signals:
        label = table.label if len(signals) == 1 else f"{table.label}:{table.names[y]}"
        error = _error(table, e)
        scans.append(
            Scan(
                energy, table.columns[y][order], None if error is None else error[order] ** 2, label,
                delay_ps=_delay(table, table.names[y] if len(signals) > 1 else ""),
                temperature_C=_temperature(table, table.names[y] if len(signals) > 1 else ""),
                source=table.source,
                warnings=table.warnings,
                header=table.header,
            )
        )  # fmt: skip
    return scans


def _from_name(stem: str, pattern: str) -> dict[str, float]:
    """Return delay_ps and temperature_C as a pattern finds them in a file's name."""
    fields: list[tuple[str, str]] = []
    expression = ""
    for part in re.split(r"(\{[^{}]*\}|\*)", pattern):
        if part == "*":
            expression += ".*?"
        elif part.startswith("{"):
            quantity, _, unit = part[1:-1].partition("_")
            if (quantity, unit) not in _PLACES or any(quantity == known for known, _ in fields):
                raise InputError(
                    f"the name pattern {pattern!r} has the place {part}: it knows, once each, "
                    + ", ".join(f"{{{q}_{u}}}" for q, u in _PLACES)
                )
            fields.append((quantity, unit))
            expression += r"(-?\d+(?:\.\d+)?)"
        else:
            expression += re.escape(part)
    match = re.fullmatch(expression, stem)
    if match is None or not fields:
        raise InputError(f"the name {stem!r} does not fit the pattern {pattern!r}; correct it, or name the files alike")
    said = {}
    for (quantity, unit), text in zip(fields, match.groups(), strict=True):
        if quantity == "delay":
            said["delay_ps"] = float(text) * UNITS["time"][unit]
        else:
            said["temperature_C"] = parse_temperature_celsius(text + unit)
    return said


def _abscissa(table: Table, names: Sequence[str]) -> int:
    if len(table.names) < 2:
        raise InputError(f"{table.source} has one column: an abscissa and a signal are needed")
    return next((i for i, name in enumerate(table.names) if name.lower() in names), 0)


def _factor(unit: str, given: str | None, kind: str, allowed: Sequence[str], table: Table, column: int) -> float:
    known = {u.lower(): u for u in allowed}
    word = unit or given or ""
    if word.lower() not in known:
        why = f"has the unit {word!r}" if word else "does not say its unit"
        name = (table.names[column].split() or [kind])[0]
        raise InputError(
            f"{table.source}: the column {table.names[column]!r} {why}; name it with one of {', '.join(allowed)} in the file, "
            f"as in {name}_{allowed[1] if kind == 'time' else allowed[0]}, or give the unit as an option"
        )
    return UNITS[kind][known[word.lower()]]


def _signals(table: Table, x: int, signal: str | None) -> list[tuple[int, int | None]]:
    """Return (signal column, its error column or None) pairs; an error column is named like its signal, or follows it."""
    lower = [name.lower() for name in table.names]
    errors = {
        i: next((j for j in range(len(lower)) if j not in (i, x) and lower[i] in {f"{lower[j]}_{w}" for w in _ERROR_NAMES}
                 | {f"{w}_{lower[j]}" for w in _ERROR_NAMES} | {f"{lower[j]} {w}" for w in _ERROR_NAMES}), None)
        for i in range(len(lower)) if any(re.search(rf"(^|[_\s]){w}([_\s]|\d*$)", lower[i]) for w in _ERROR_NAMES)
    }  # fmt: skip
    pairs: list[tuple[int, int | None]] = []
    for i in range(len(lower)):
        if i == x or i in errors:
            continue
        named = next((j for j, owner in errors.items() if owner == i), None)
        follows = i + 1 if errors.get(i + 1, 0) is None and i + 1 in errors else None
        pairs.append((i, named if named is not None else follows))
    if signal is not None:
        wanted = table.index(signal)
        pairs = [pair for pair in pairs if pair[0] == wanted] or [(wanted, None)]
    else:
        pairs = [pair for pair in pairs if lower[pair[0]] not in _COUNTS] or pairs
    if not pairs:
        raise InputError(
            f"{table.source} has no signal column beside {table.names[x]!r}; its columns are {', '.join(table.names)}"
        )
    return pairs


def _error(table: Table, column: int | None) -> np.ndarray | None:
    if column is None:
        return None
    error = table.columns[column]
    if (error <= 0).any():
        raise InputError(
            f"{table.source}: the error column {table.names[column]!r} has values that are not positive; correct them"
        )
    return error


def _delay(table: Table, name: str) -> float | None:
    for key, value in table.metadata.items():
        if (word := key.lower().split(".")[-1]).startswith("delay"):
            unit = word[5:].strip("_ ()[]")
            return _quantity(value if not unit else f"{value} {unit}", _DELAY, table)
    return next((_quantity(text, _DELAY, None) for text in (name, table.label) if _DELAY.search(text)), None)


def _temperature(table: Table, name: str) -> float | None:
    for key, value in table.metadata.items():
        if (word := key.split(".")[-1]).lower().startswith("temperature"):
            unit = word[11:].strip("_ ()[]")
            return _quantity(value if not unit else f"{value} {unit}", _TEMPERATURE, table)
    return next(
        (_quantity(text, _TEMPERATURE, None) for text in (name, table.label) if _TEMPERATURE.search(text)), None
    )


def _quantity(text: str, pattern: re.Pattern[str], table: Table | None) -> float | None:
    match = pattern.search(text.replace("_", " "))
    if match is None:
        if table is not None:
            raise InputError(
                f"{table.source}: {text[:40]!r} in the header has no number with a known unit; write it as 100 ps or 60 C"
            )
        return None
    value = float(match[1])
    if not math.isfinite(value):
        raise InputError(f"{(table.source if table else text)}: {match[1][:40]!r} is too large; correct it")
    return value * UNITS["time"][match[2]] if pattern is _DELAY else parse_temperature_celsius(f"{match[1]}{match[2]}")
