"""How hot a nanocrystal in a jet can get from one pump pulse: an upper limit, and its range.

Every absorbed photon leaves its energy above the gap (or all of it) as heat in the crystal that
absorbed it, at once, and none flows out: the temperature rise is therefore an upper limit. Several
choices of the inputs give the same rise, so agreement with a measured or published value identifies
none of them.
"""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from perovskite_polaron.arrays import Array, floats, freeze
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.files import read_text
from perovskite_polaron.kernels import heating as kernel
from perovskite_polaron.measured.text import parse_text_table
from perovskite_polaron.phonons.modes import BUILTIN, read_modes
from perovskite_polaron.phonons.selection import heat_capacity
from perovskite_polaron.published_cspbbr3 import (
    CUBIC_C, FORMULA, FORMULA_VOLUME_A3, GAP_EV, MOLAR_MASS_G_MOL, PUMP_PROBE, TETRAGONAL_C)
from perovskite_polaron.units import GAS_J_MOL_K, UNITS, ZERO_C_K

ABSORBS_ALL_PER_CM = 1e9
#: Thickness of what counts as the front face of the jet: it hardly weakens the light.
FRONT_A = 1e-9
# Relative standard uncertainties that are assumed where none is given; size: 10 ± 2 nm.
RELATIVE_SIGMA = {"fluence": 0.1, "jet": 0.25, "concentration": 0.1, "size": 0.2,
                  "absorption": 0.2, "heat_capacity": 0.04}
_PER_GRAM = ("J/g/K", "J/(g*K)", "J/(g.K)", "J/K/g")


@dataclass(frozen=True, eq=False)
class HeatCapacity:
    """Heat capacity of one mole of CsPbBr3: linear between its points, constant beyond.

    Attributes
    ----------
    words : str
        Where it is from.
    temperature_K, capacity_J_mol_K : ndarray, shape (n,)
        Rising temperatures, positive heat capacities; read-only.
    """

    words: str
    temperature_K: Array
    capacity_J_mol_K: Array

    def __post_init__(self) -> None:
        kelvin = floats(self.temperature_K, "temperature_K", (None,))
        capacity = floats(self.capacity_J_mol_K, "capacity_J_mol_K", kelvin.shape)
        freeze(self, temperature_K=kelvin, capacity_J_mol_K=capacity)
        # Refuses what is no table.
        kernel.tabulated(kelvin, capacity)

    def at_J_mol_K(self, temperature_C: float) -> float:
        """Return the heat capacity at a temperature."""
        kelvin = temperature_C + ZERO_C_K
        return float(np.interp(kelvin, self.temperature_K, self.capacity_J_mol_K))


def constant_heat_capacity(capacity_J_mol_K: float, words: str = "") -> HeatCapacity:
    """Return a heat capacity that does not depend on temperature."""
    require(0 < capacity_J_mol_K < np.inf,
            f"a heat capacity of {capacity_J_mol_K:g} J/mol/K: it must be positive")
    words = words or f"constant, {capacity_J_mol_K:g} J/mol/K"
    return HeatCapacity(words, np.array([0.0, 1e4]), np.full(2, capacity_J_mol_K))

DULONG_PETIT = constant_heat_capacity(15 * GAS_J_MOL_K, "Dulong-Petit, 15 R")


def read_heat_capacity(path: str | os.PathLike[str]) -> HeatCapacity:
    """Read a table of temperature and heat capacity, or a mode file (or a built-in set of modes).

    A table has two columns whose header says their units: temperature in K or C, heat capacity in
    J/mol/K (per mole of CsPbBr3) or J/g/K. Modes must be all modes of their cell. Raises InputError
    for anything else.
    """
    if str(path) in BUILTIN:
        return harmonic_heat_capacity(str(path))
    text = read_text(path, "table of heat capacity, or mode file")
    if text.lstrip().startswith("{"):
        return harmonic_heat_capacity(str(path))
    table = parse_text_table(text, str(path))
    require(len(table.names) == 2, f"{path} has {len(table.names)} columns: give temperature and "
            "heat capacity, two columns")
    (temperature, capacity), (unit, capacity_unit) = table.columns, table.units
    require(unit in ("K", "C", "°C", "degC"), f"{path}: the temperature has the unit {unit!r}; "
            "name it temperature_K or T (C)")
    known = UNITS["heat capacity"] | dict.fromkeys(_PER_GRAM, MOLAR_MASS_G_MOL)
    require(capacity_unit in known, f"{path}: the heat capacity has the unit {capacity_unit!r}; "
            "name it 'Cp (J/mol/K)' or 'Cp (J/g/K)'")
    kelvin = temperature + (0.0 if unit == "K" else ZERO_C_K)
    order = np.argsort(kelvin)
    return HeatCapacity(f"table {path}", kelvin[order], capacity[order] * known[capacity_unit])


def harmonic_heat_capacity(source: str) -> HeatCapacity:
    """Return the heat capacity at constant volume of all modes of a CsPbBr3 cell, up to 1500 K.

    The three acoustic modes may be missing at each wave vector, see phonons.selection.oscillators.
    InputError for an incomplete set.
    """
    modes = read_modes(source)
    require(modes.crystal.formula == FORMULA, f"{source}: the modes are not of {FORMULA}: give "
            "those of the crystal that is heated")
    wanted, at_q = 3 * len(modes.crystal), Counter(map(tuple, np.round(modes.q, 8)))
    require(all(wanted - 3 <= count <= wanted for count in at_q.values()),
            f"{source} has {len(modes)} modes: a heat capacity needs all {wanted} of its cell, or "
            f"{wanted - 3} without the acoustic ones, at each wave vector")
    # Linear between these points the enthalpy is right to 1e-6.
    kelvin = np.arange(5.0, 1500.25, 0.5)
    return HeatCapacity(f"harmonic modes of {source}", kelvin, heat_capacity(modes, kelvin))


@dataclass(frozen=True)
class Exposure:
    """One experiment.

    Attributes
    ----------
    fluence_mJ_cm2, photon_energy_eV
        The pump.
    size_A, concentration_mg_mL, jet_A
        Edge of the nanocrystals, their mass in a volume of the jet, its thickness.
    gap_eV, start_C
        Band gap, and temperature before the pulse.
    absorption_per_cm
        None: the jet absorbs the whole pulse.
    heat_capacity
        Of the crystal.
    latent_tetragonal_J_mol, latent_cubic_J_mol
        Latent heats, 0 to leave them out.
    heat_fraction
        The part of a photon that becomes heat. None: what lies above the gap,
        1 − gap / photon energy, which is what heats before recombination.
    saturation_mJ_cm2
        The fluence at which absorption has fallen to half, µ/(1 + F/F_s). None: it does not
        saturate.
    """

    fluence_mJ_cm2: float
    photon_energy_eV: float
    size_A: float
    concentration_mg_mL: float
    jet_A: float
    gap_eV: float = GAP_EV
    start_C: float = 25.0
    absorption_per_cm: float | None = None
    heat_capacity: HeatCapacity = DULONG_PETIT
    latent_tetragonal_J_mol: float = 0.0
    latent_cubic_J_mol: float = 0.0
    heat_fraction: float | None = None
    saturation_mJ_cm2: float | None = None

    def __post_init__(self) -> None:
        for name in ("fluence_mJ_cm2", "photon_energy_eV", "size_A", "concentration_mg_mL",
                     "jet_A", "gap_eV", "absorption_per_cm", "saturation_mJ_cm2"):
            value = getattr(self, name)
            if value is not None and not 0 < value < np.inf:
                raise InputError(f"{name} is {value:g}: it must be positive")
        require(self.saturation_mJ_cm2 is None or self.absorption_per_cm is not None,
                "absorption can saturate only if it is known: give the absorption coefficient too")
        require(self.heat_fraction is not None or self.photon_energy_eV > self.gap_eV,
                f"the photon energy {self.photon_energy_eV:g} eV is not above the gap "
                f"{self.gap_eV:g} eV: nothing is left over as heat; check pump and gap")

    @property
    def heating_part(self) -> float:
        """The part of each photon that becomes heat."""
        given = self.heat_fraction
        return 1 - self.gap_eV / self.photon_energy_eV if given is None else given


@dataclass(frozen=True, eq=False)
class Heating:
    """The answer.

    Attributes
    ----------
    exposure : Exposure
    delta_T_K : float
        Upper limit of the rise.
    delta_T_low_K, delta_T_high_K : float
        16th and 84th percentile of the Monte Carlo draws.
    photons_per_nc, absorbed_fraction : float
        Photons that one nanocrystal absorbs, and what the jet absorbs of the pulse.
    front_face_delta_T_K : float or None
        The rise where the light enters; None when the jet absorbs everything.
    phase : str
        That of the final temperature.
    tornado : tuple of (name, K, K)
        The rise with an input one standard deviation lower and higher, the largest change first.
    equivalent : tuple of str
        Single changes of an input that would each give the published rise.
    """

    exposure: Exposure
    delta_T_K: float
    delta_T_low_K: float
    delta_T_high_K: float
    photons_per_nc: float
    absorbed_fraction: float
    front_face_delta_T_K: float | None
    phase: str
    tornado: tuple[tuple[str, float, float], ...]
    equivalent: tuple[str, ...]

    @property
    def final_C(self) -> float:
        """Temperature right after the pulse, the start and the upper limit of the rise together."""
        return self.exposure.start_C + self.delta_T_K

    @property
    def total_energy_eV(self) -> float:
        """Energy of all photons that one nanocrystal absorbs."""
        return self.photons_per_nc * self.exposure.photon_energy_eV

    @property
    def heat_eV(self) -> float:
        """The part of it that becomes heat."""
        return self.total_energy_eV * self.exposure.heating_part

    def temperature_C(self, time_ps: ArrayLike, lifetime_ps: float) -> Array:
        """Return Newton's cooling, start + ΔT exp(−t/τ), at times (m,) after the pulse."""
        time = floats(time_ps, "time_ps", (None,))
        require(lifetime_ps > 0 and time.min() >= 0, "cooling needs a positive lifetime, and times "
                "from the pulse, zero, on")
        return np.asarray(self.exposure.start_C + self.delta_T_K * np.exp(-time / lifetime_ps))


def phase_at(temperature_C: float) -> str:
    """Return the phase at a temperature; inside a published interval the transition itself."""
    phases = ("orthorhombic", "tetragonal", "cubic")
    for (low, high), before, after in zip((TETRAGONAL_C, CUBIC_C), phases, phases[1:],
                                          strict=False):
        if temperature_C < low:
            return before
        if temperature_C <= high:
            return f"transition {before} to {after}"
    return phases[-1]


def heating(exposure: Exposure, relative_sigma: Mapping[str, float] = RELATIVE_SIGMA,
            draws: int = 20_000, seed: int = 0) -> Heating:
    """Return the upper limit of the temperature rise, its range, and how much each input moves it.

    Parameters
    ----------
    exposure : Exposure
    relative_sigma : mapping
        Relative standard uncertainty of the inputs named in RELATIVE_SIGMA; a name left out is
        exact.
    draws, seed : int
        Of the Monte Carlo run.

    Raises
    ------
    InputError
        For an unknown name or impossible inputs.
    """
    if unknown := set(relative_sigma) - set(RELATIVE_SIGMA):
        raise InputError(f"no input is called {', '.join(sorted(unknown))}: uncertain can be "
                         f"{', '.join(RELATIVE_SIGMA)}")
    central = _inputs(exposure)
    rise, photons = _heat(exposure, central)
    # All of the light is absorbed however uncertain the coefficient: it has no share in the range.
    known = exposure.absorption_per_cm is not None
    sigmas = {name: relative_sigma.get(name, 0.0) for name in central}
    drawn = kernel.draw({name: (float(value[0]), sigmas[name] * float(value[0]))
                         for name, value in central.items()}, draws, seed)
    low, high = np.percentile(_heat(exposure, drawn)[0], [15.865, 84.135])
    tornado = [(name, _rise(exposure, name, max(1 - sigma, 0.01)), _rise(exposure, name, 1 + sigma))
               for name, sigma in sigmas.items() if sigma > 0 and (known or name != "absorption")]
    tornado.sort(key=lambda row: -abs(row[2] - row[1]))
    front = None
    if known:
        saturated = 1 + exposure.fluence_mJ_cm2 / (exposure.saturation_mJ_cm2 or np.inf)
        face = central | {"jet": np.array([FRONT_A])}
        front = float(_jet(exposure, face, central["absorption"] / saturated)[0][0])
    return Heating(
        exposure, float(rise[0]), float(low), float(high), float(photons[0]),
        float(-np.expm1(-_depth(exposure, central)[0])), front,
        phase_at(exposure.start_C + float(rise[0])), tuple(tornado), _equivalent(exposure))


def _inputs(exposure: Exposure) -> dict[str, Array]:
    values = {"fluence": exposure.fluence_mJ_cm2, "jet": exposure.jet_A,
              "absorption": exposure.absorption_per_cm or ABSORBS_ALL_PER_CM,
              "concentration": exposure.concentration_mg_mL, "size": exposure.size_A,
              "heat_capacity": exposure.heat_capacity.at_J_mol_K(exposure.start_C)}
    return {name: np.array([value]) for name, value in values.items()}


def _rise(exposure: Exposure, name: str, factor: float) -> float:
    """Return the rise with one input multiplied by a factor."""
    central = _inputs(exposure)
    return float(_heat(exposure, central | {name: central[name] * factor})[0][0])


def _heat(exposure: Exposure, inputs: Mapping[str, Array]) -> tuple[Array, Array]:
    """Return rise and photons of draws."""
    # A larger heat capacity acts as less energy; latent heats scale with it.
    relative = inputs["heat_capacity"] / exposure.heat_capacity.at_J_mol_K(exposure.start_C)
    # The kernel knows Lambert and Beer; saturation reaches it as the coefficient that absorbs as
    # much.
    absorption = _depth(exposure, inputs) / (inputs["jet"] * kernel.CM_PER_A)
    rise, photons = _jet(exposure, {**inputs, "fluence": inputs["fluence"] / relative}, absorption)
    return rise, photons * relative


def _jet(exposure: Exposure, inputs: Mapping[str, Array],
         absorption_per_cm: Array) -> tuple[Array, Array]:
    return kernel.heat(
        inputs["fluence"], absorption_per_cm, inputs["jet"], inputs["concentration"],
        inputs["size"], molar_mass_g_mol=MOLAR_MASS_G_MOL, formula_volume_A3=FORMULA_VOLUME_A3,
        photon_energy_eV=exposure.photon_energy_eV, heat_fraction=exposure.heating_part,
        start_K=exposure.start_C + ZERO_C_K, table=_table(exposure))


def _depth(exposure: Exposure, inputs: Mapping[str, Array]) -> Array:
    """Return the optical depth −ln(transmitted / incident) of the jet.

    With saturation dF/dz = −µ F/(1 + F/F_s), which integrates to
    ln F + F/F_s = ln F_0 + F_0/F_s − µ z: F/F_s is Wright's omega of the right side.
    """
    linear = inputs["absorption"] * inputs["jet"] * kernel.CM_PER_A
    if exposure.saturation_mJ_cm2 is None:
        return np.asarray(linear)
    from scipy.special import wrightomega

    incident = inputs["fluence"] / exposure.saturation_mJ_cm2
    left = wrightomega(np.log(incident) + incident - linear)
    return np.asarray(linear - (incident - left))


@lru_cache(maxsize=16)
def _table(exposure: Exposure) -> kernel.HeatTable:
    """Return the enthalpy; kept, because the Monte Carlo run and its searches ask for it often."""
    latent = tuple((low + ZERO_C_K, high + ZERO_C_K, heat) for (low, high), heat in (
        (TETRAGONAL_C, exposure.latent_tetragonal_J_mol), (CUBIC_C, exposure.latent_cubic_J_mol))
        if heat)
    capacity = exposure.heat_capacity
    return kernel.tabulated(capacity.temperature_K, capacity.capacity_J_mol_K, latent)


def _equivalent(exposure: Exposure) -> tuple[str, ...]:
    """Return single changes of one input that would each give the published upper limit."""
    from scipy.optimize import brentq

    target_K, found = PUMP_PROBE.delta_T_K, []
    for name, unit, factor in (("jet", "µm", 1e-4), ("concentration", "mg/mL", 1.0),
                               ("fluence", "mJ/cm2", 1.0), ("heat_capacity", "J/mol/K", 1.0)):

        def miss(log_scale: float, name: str = name) -> float:
            return _rise(exposure, name, float(np.exp(log_scale))) - target_K

        if miss(-3) * miss(3) < 0:
            value = float(_inputs(exposure)[name][0]) * np.exp(brentq(miss, -3, 3)) * factor
            found.append(f"{name.replace('_', ' ')} {value:.3g} {unit}")
    if exposure.heat_fraction is None:
        rise = _rise(replace(exposure, heat_fraction=1.0), "fluence", 1.0)
        found.append("all of each photon as heat instead of the part above the gap, in a jet of "
                     f"{exposure.jet_A * 1e-4 * rise / target_K:.3g} µm (without latent heat)")
    return tuple(found)
