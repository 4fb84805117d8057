"""Heat capacities of CsPbBr3 from files: a measured table, or phonon modes taken as harmonic oscillators."""

import os
from collections import Counter
from functools import partial

import numpy as np
from scipy import constants

from perovskite_polaron.analysis.heating import HeatCapacity
from perovskite_polaron.errors import InputError
from perovskite_polaron.files import read_text
from perovskite_polaron.kernels import heating as kernel
from perovskite_polaron.measured.text import parse_text_table
from perovskite_polaron.phonons.modes import BUILTIN, Modes, read_modes
from perovskite_polaron.phonons.selection import oscillators
from perovskite_polaron.published_cspbbr3 import FORMULA, MOLAR_MASS_G_MOL
from perovskite_polaron.units import UNITS

_PER_GRAM = ("J/g/K", "J/(g*K)", "J/(g.K)", "J/K/g")


def read_heat_capacity(path: str | os.PathLike[str]) -> HeatCapacity:
    """Read a table of temperature and heat capacity, or a mode file of this project (or a built-in set of modes).

    A table has two columns whose header says their units: temperature in K or C, heat capacity in J/mol/K (per mole of
    CsPbBr3) or J/g/K; between its points it is linear, beyond them constant. Modes must be all modes of their cell.
    Raises InputError for anything else.
    """
    if str(path) in BUILTIN:
        return harmonic_heat_capacity(read_modes(str(path)), str(path))
    text = read_text(path, "table of heat capacity, or mode file")
    if text.lstrip().startswith("{"):
        return harmonic_heat_capacity(read_modes(str(path)), str(path))
    table = parse_text_table(text, str(path))
    if len(table.names) != 2:
        raise InputError(f"{path} has {len(table.names)} columns: give temperature and heat capacity, two columns")
    (temperature, capacity), (temperature_unit, capacity_unit) = table.columns, table.units
    if temperature_unit not in ("K", "C", "°C", "degC"):
        raise InputError(f"{path}: the temperature has the unit {temperature_unit!r}; name it temperature_K or T (C)")
    factor = MOLAR_MASS_G_MOL if capacity_unit in _PER_GRAM else UNITS["heat capacity"].get(capacity_unit)
    if factor is None:
        raise InputError(
            f"{path}: the heat capacity has the unit {capacity_unit!r}; name it 'Cp (J/mol/K)' or 'Cp (J/g/K)'"
        )
    kelvin = temperature + (0.0 if temperature_unit == "K" else constants.zero_Celsius)
    order = np.argsort(kelvin)
    return HeatCapacity(f"table {path}", partial(kernel.tabulated, kelvin[order], capacity[order] * factor))


def harmonic_heat_capacity(modes: Modes, source: str) -> HeatCapacity:
    """Return the heat capacity at constant volume of all modes of a CsPbBr3 cell, each an oscillator of its energy.

    The three acoustic modes may be missing at each wave vector: see phonons.selection.oscillators. InputError for an
    incomplete set.
    """
    if modes.crystal.formula != FORMULA:
        raise InputError(f"{source}: the modes are not of CsPbBr3: give those of the crystal that is heated")
    wanted, at_q = 3 * len(modes.crystal), Counter(map(tuple, np.round(modes.q, 8)))
    if any(not wanted - 3 <= count <= wanted for count in at_q.values()):
        raise InputError(
            f"{source} has {len(modes)} modes: a heat capacity needs all {wanted} of its cell, or {wanted - 3} without "
            "the acoustic ones, at each wave vector"
        )
    kelvin = np.arange(5.0, 1500.25, 0.5)
    capacity = kernel.harmonic_capacity(*oscillators(modes), kelvin)
    return HeatCapacity(f"harmonic modes of {source}", partial(kernel.tabulated, kelvin, capacity))
