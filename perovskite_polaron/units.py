"""Physical quantities written by people: a number with its unit, as in ``8.8mJ/cm2`` or ``0.1A``.

Each kind of quantity has one internal unit, the first in its table. A bare number is refused,
because the neighbouring programs disagree about units and a silent factor is worse than a refusal.
"""

import math
import re

from perovskite_polaron.errors import InputError, require

# Exact by definition of the SI and of the Celsius scale. Written out, because scipy.constants takes
# a quarter of a second to import; a test compares them.
PLANCK_J_S, LIGHT_M_S, CHARGE_C = 6.62607015e-34, 299792458.0, 1.602176634e-19
BOLTZMANN_J_K, PER_MOL, ZERO_C_K = 1.380649e-23, 6.02214076e23, 273.15
# CODATA 2022: Mohr et al., Rev. Mod. Phys. 97, 025002 (2025).
RYDBERG_EV, BOHR_ANGSTROM = 13.60569312299, 5.29177210544e-11 * 1e10
AMU_KG, ELECTRON_KG, EPSILON_0_F_M = 1.66053906892e-27, 9.1093837139e-31, 8.8541878188e-12
# hbar^2 / (amu * angstrom^2 * eV): turns a phonon energy into the zero-point length squared of Q
# (angstrom^2 amu).
HBAR2_PER_AMU_A2_EV = (PLANCK_J_S / (2 * math.pi)) ** 2 / (AMU_KG * 1e-20 * CHARGE_C)
CM3_PER_A3 = 1e-24
BOLTZMANN_MEV_K = BOLTZMANN_J_K / CHARGE_C * 1e3
GAS_J_MOL_K = BOLTZMANN_J_K * PER_MOL
HC_EV_A = PLANCK_J_S * LIGHT_M_S / CHARGE_C * 1e10
MEV_PER_THZ = PLANCK_J_S * 1e12 / CHARGE_C * 1e3
MEV_PER_INVERSE_CM = PLANCK_J_S * LIGHT_M_S * 100 / CHARGE_C * 1e3

# kind -> {unit: factor to the internal unit}; the first entry is the internal unit itself. µ, ² and
# Å may be written for u, 2 and A, and a caret before an exponent.
UNITS: dict[str, dict[str, float]] = {
    "length": {"A": 1.0, "angstrom": 1.0, "pm": 1e-2, "nm": 10.0, "um": 1e4, "mm": 1e7, "cm": 1e8,
               "m": 1e10, "bohr": BOHR_ANGSTROM},
    "energy": {"eV": 1.0, "meV": 1e-3, "keV": 1e3, "Ry": RYDBERG_EV, "Ha": 2 * RYDBERG_EV,
               "THz": MEV_PER_THZ * 1e-3, "cm-1": MEV_PER_INVERSE_CM * 1e-3, "J": 1 / CHARGE_C},
    # Both signs of micro, for the heads of measured files are looked up as they stand.
    "time": {"ps": 1.0, "fs": 1e-3, "ns": 1e3, "us": 1e6, "µs": 1e6, "μs": 1e6, "ms": 1e9,
             "s": 1e12},
    "wall time": {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0},
    "fluence": {"mJ/cm2": 1.0, "uJ/cm2": 1e-3, "J/cm2": 1e3, "J/m2": 0.1, "mJ/mm2": 100.0},
    "concentration": {"mg/mL": 1.0, "mg/ml": 1.0, "g/L": 1.0, "g/l": 1.0, "g/mL": 1e3,
                      "ug/mL": 1e-3, "kg/m3": 1.0},
    "inverse length": {"1/cm": 1.0, "cm-1": 1.0, "1/m": 1e-2, "m-1": 1e-2, "1/mm": 10.0,
                       "1/um": 1e4, "1/nm": 1e7},
    "heat capacity": {"J/mol/K": 1.0, "J/(mol*K)": 1.0, "J/(mol.K)": 1.0, "kJ/mol/K": 1e3,
                      "cal/mol/K": 4.184},
    "molar energy": {"J/mol": 1.0, "kJ/mol": 1e3, "meV/fu": 1e-3 * CHARGE_C * PER_MOL,
                     "eV/fu": CHARGE_C * PER_MOL},
    "density": {"g/cm3": 1.0, "kg/m3": 1e-3},
    "temperature difference": {"K": 1.0},
    "amplitude": {"A": 1.0, "pm": 1e-2, "A*sqrt(amu)": 1.0, "zp": 1.0},
}  # fmt: skip
_SPELLINGS = str.maketrans({"µ": "u", "μ": "u", "²": "2", "Å": "A", "^": None})
_QUANTITY = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(\S.*?)?\s*\Z")


def split_quantity(text: str) -> tuple[float, str]:
    """Return the number and the unit (possibly empty, in plain letters) of a written quantity.

    Raises
    ------
    InputError
        When the text does not begin with a finite number.
    """
    match = _QUANTITY.match(text)
    if match is None or not math.isfinite(float(match[1])):
        raise InputError(f"{text!r} is not a quantity: expected a number with its unit, such as"
                         " 0.1A or 8.8mJ/cm2")
    return float(match[1]), (match[2] or "").translate(_SPELLINGS)


def parse_quantity(text: str, kind: str) -> float:
    """Return a written quantity in the internal unit of its kind.

    Parameters
    ----------
    text
        Such as ``8.8mJ/cm2``.
    kind
        A key of UNITS; the internal unit is the first of its table (length Å, energy eV, time ps,
        fluence mJ/cm², concentration mg/mL, heat capacity J/mol/K).

    Raises
    ------
    InputError
        For a bare number, an unknown unit, or text that is no number.
    """
    value, unit = split_quantity(text)
    table = UNITS[kind]
    why = f"{unit!r} is not a unit of {kind}" if unit else "it has no unit"
    require(unit in table,
            f"{text!r} cannot be read as {kind}: {why}; write one of {', '.join(table)}")
    return value * table[unit]


def parse_temperature_celsius(text: str) -> float:
    """Return a written temperature (``25C``, ``25degC``, ``298.15K``) in °C; it needs its unit."""
    value, unit = split_quantity(text)
    zeros = {"C": 0.0, "°C": 0.0, "degC": 0.0, "K": ZERO_C_K}
    require(unit in zeros, f"{text!r} cannot be read as a temperature: write it as 25C or 298.15K")
    celsius = value - zeros[unit]
    require(celsius >= -ZERO_C_K, f"{text!r} is below absolute zero; check the unit")
    return celsius


def parse_kelvin(text: str) -> float:
    """Return a written temperature (``25C``, ``298.15K``) in K; it needs its unit."""
    return parse_temperature_celsius(text) + ZERO_C_K


def parse_grid(text: str) -> tuple[int, int, int]:
    """Return three positive numbers written as ``2x2x1``. Raises InputError for anything else."""
    match = re.fullmatch(r"([1-9]\d?)x([1-9]\d?)x([1-9]\d?)", text)
    if match is None:
        raise InputError(f"{text!r} is not a grid: give three positive numbers, such as 2x2x1")
    return int(match[1]), int(match[2]), int(match[3])
