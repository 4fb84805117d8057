"""Kinetic traces of files: signals against pump-probe delay."""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from perovskite_polaron.errors import require
from perovskite_polaron.measured.columns import (
    Signal, candidates, choose, is_setting, signal_at, signal_columns, whole_name)
from perovskite_polaron.measured.maps import is_map
from perovskite_polaron.measured.readers import read_tables, unit_factor
from perovskite_polaron.measured.scan import Trace
from perovskite_polaron.measured.text import Table

_DELAY_NAMES = ("delay", "time", "t")
_ON_OFF = r"(\A|[_\s])(laser|pump)?[_\s]?(on|off|(un)?pumped)\Z"


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
        require(not is_map(whole_name(table, 0)), f"{table.source}: a map with its energies down "
                "the first column: take the spectra of its delays with polaron treat, or export "
                "traces")
        require(matrix or not _looks_like_matrix(table), f"{table.source}: the first row may be "
                "energies or wavelengths: say so with --matrix, or name the columns in a header")
        table = _matrix(table) if matrix else table
        x = _delays(table)
        units = ("ps", "fs", "ns", "us", "µs", "ms", "s")
        delay = table.columns[x] * unit_factor(table, x, "time", units, delay_unit)
        errors = signal_columns(table, x)
        usual = [i for i in candidates(table, x) or errors if not is_setting(table.names[i])]
        require(usual or signal is not None, f"{table.source} has no signal column beside "
                f"{table.names[x]!r}; its columns are {', '.join(table.names)}: choose with "
                "--signal")
        pair = [table.names[i] for i in usual if re.search(_ON_OFF, table.names[i].lower())]
        require(signal is not None or len(pair) != 2, f"{table.source}: {' and '.join(pair)} are "
                f"one signal with and one without laser: choose with --signal \"{'-'.join(pair)}\"")
        found = (choose(table, x, signal) if signal is not None
                 else [signal_at(table, y, errors[y]) for y in usual])
        is_mean = signal is not None and bool(set("*?") & set(signal)) and len(found) > 1
        unit = table.units[x] or delay_unit or ""
        trace = partial(Trace, delay, source=table.source, warnings=table.warnings,
                        reading=_reading(table, x, unit, found, matrix, is_mean))
        if is_mean:
            stack = np.array([one.values for one in found])
            scatter = stack.std(axis=0, ddof=1) / np.sqrt(len(stack))
            require((scatter > 0).all(), f"{table.source}: the repeats {signal} are equal at some "
                    "delay: name each column of a trace alone, or leave out what is no repeat")
            traces.append(trace(stack.mean(axis=0), scatter, table.label, len(stack)))
            continue
        alone = signal is None and len(usual) == 1
        traces += [trace(one.values, one.error, table.label if alone else
                         f"{table.label}:{one.name}", 1 if one.error is None else repeats)
                   for one in found]
    return tuple(traces)


def _reading(table: Table, x: int, unit: str, found: Sequence[Signal], matrix: bool,
             is_mean: bool) -> str:
    """Return the line that says how a table was understood."""
    at = [i + 1 for one in found for i in one.columns]
    made = ", ".join(one.name for one in found[:20]) + ", ..." * (len(found) > 20)
    columns = f"{', '.join(map(str, at[:20]))}{', ...' * (len(at) > 20)}"
    known = sum(one.error is not None for one in found)
    errors = ("the scatter of the repeats" if is_mean else "none" if not known else
              "a column of each" if known == len(found) else f"a column of {known}")
    count = 1 if is_mean else len(found)
    rows = "; the first row: energies or wavelengths" if matrix else ""
    return (f"delay: column {x + 1}, {unit}; signal: {made} of column{'s' * (len(at) > 1)} "
            f"{columns}; errors: {errors}; {count} trace{'s' * (count > 1)}"
            f"{f', the mean of {len(found)} repeats' if is_mean else ''}{rows}")


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
    require((table.columns[1:, 0] > 0).all(), f"{table.source}: the first row has numbers that "
            "are no energies or wavelengths: where the delays run across, transpose the matrix")
    names = (table.names[0], *(f"{value:.10g}" for value in table.columns[1:, 0]))
    return replace(table, names=names, columns=table.columns[:, 1:])


def _delays(table: Table) -> int:
    require(len(table.names) > 1,
            f"{table.source} has one column: an abscissa and a signal are needed")
    lower = [name.lower() for name in table.names]
    return next((lower.index(name) for name in _DELAY_NAMES if name in lower), 0)
