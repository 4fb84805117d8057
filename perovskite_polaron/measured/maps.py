"""Delay × energy maps: one spectrum for each delay, as matrices in text and in HDF5.

A map becomes a table like any other, with the energies in its first column and the others named by
their delays (``100ps``). Text has the delays and energies in its first row and column; a corner
``Energy(keV)/Time(s)``, as trxasviewer exports it, says what they are.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.measured.raw import Raw
from perovskite_polaron.measured.text import Table, number
from perovskite_polaron.units import UNITS

_CORNER = re.compile(r"\s*#?\s*energy\s*\((k?ev)\)\s*[/ ]\s*(?:time|delay)\s*\(?(\w+)\)?\s*",
                     re.IGNORECASE)


def is_map(text: str) -> bool:
    """Tell whether the first cell of a text says that it is a map."""
    return _CORNER.match(re.split("[,;\t\n]", text, maxsplit=1)[0] + " ") is not None


def text_map(table: Table, raw: Raw, corner: str = "") -> Table:
    """Return the table of a map, whose first row was read as names or as numbers.

    Raises
    ------
    InputError
        When a delay or energy is no number, or nothing says the unit of the delays.
    """
    said = _CORNER.match(corner + " ")
    unit = ("eV" if said[1].lower() == "ev" else "keV") if said else ""
    down = raw.map in (None, "down")
    names = table.names[1:]
    if all(re.fullmatch(r"column\d+", name) for name in names):
        across, cells = table.columns[1:, 0], table.columns[1:, 1:]
        first = table.columns[0, 1:]
    else:
        across = np.array([number(name, table.source) for name in names])
        first, cells = table.columns[0], table.columns[1:]
    delays, energies, values = (across, first, cells) if down else (first, across, cells.T)
    return _as_table(table, energies, unit, delays, said[2] if said else raw.delay_unit, values)


def array_map(parts: Sequence[Table], raw: Raw) -> Table:
    """Return the table of a map of an HDF5 file, from its matrix, its energies and its delays.

    Raises
    ------
    InputError
        When the matrix is not as long and wide as the axes, or as long as wide and nothing says
        where the energies run.
    """
    table, energy, delay = parts
    energies, delays, values = energy.columns[0], delay.columns[0], table.columns
    shape, wanted = values.shape, (len(delays), len(energies))
    require(wanted[0] != wanted[1] or raw.map, f"{table.source}: the map has as many delays as "
            "energies: say with --map down, or --map across, where the energies run")
    is_across = raw.map == "across" if raw.map else shape == wanted
    values = values if is_across else values.T
    require(values.shape == wanted, f"{table.source}: the map has {shape[0]} × {shape[1]} numbers, "
            f"its axes {len(energies)} energies and {len(delays)} delays")
    return _as_table(table, energies, energy.units[0], delays, delay.units[0] or raw.delay_unit,
                     values)


def _as_table(table: Table, energies: Array, energy_unit: str, delays: Array, unit: str | None,
              values: Array) -> Table:
    if unit not in UNITS["time"]:
        raise InputError(f"{table.source}: the unit of the delays is "
                         f"{unit or 'not said'}: give --delay-unit, one of "
                         f"{', '.join(UNITS['time'])}")
    factor = UNITS["time"][unit]
    require((np.abs(delays) <= UNITS["time"]["s"] / factor).all(), f"{table.source}: a delay of the"
            f" map is not a number, or longer than 1 s: correct it, or the unit {unit}")
    picoseconds = np.round(delays * factor, 9)
    names = [f"{np.format_float_positional(t, trim='-')}ps" for t in picoseconds]
    require(len(set(names)) == len(names), f"{table.source}: a delay stands twice in the map: "
            "average its columns, or leave one out")
    return replace(table, names=("energy", *names), units=(energy_unit, *[""] * len(names)),
                   columns=np.vstack([energies, values]))
