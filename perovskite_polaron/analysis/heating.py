"""How hot a nanocrystal in a jet gets from one pump pulse: at once, and as its carriers recombine.

Every absorbed photon leaves its energy above the gap (or all of it) as heat in the crystal that
absorbed it, at once; what the pairs still hold follows as they recombine without light. Newton's
cooling takes it away. The rise is the mean over the jet: at the front, where the light enters, it
is larger. Several choices of the inputs give the same rise, so agreement with a measured or
published value identifies none of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike

from perovskite_polaron.analysis.heated_crystal import (
    HeatCapacity, Material, cspbbr3, usual_heat_capacity)
from perovskite_polaron.arrays import Array, floats
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.kernels import heating as kernel
from perovskite_polaron.published_cspbbr3 import FORMULA, PUMP_PROBE
from perovskite_polaron.units import ZERO_C_K

ABSORBS_ALL_PER_CM = 1e9
#: Thickness of what counts as a face of the jet: it hardly weakens the light.
FACE_A = 1e-9
# Relative standard uncertainties that are assumed where none is given; size: 10 ± 2 nm.
RELATIVE_SIGMA = {"fluence": 0.1, "jet": 0.25, "concentration": 0.1, "size": 0.2,
                  "absorption": 0.2, "heat_capacity": 0.04}


@dataclass(frozen=True)
class Recombination:
    """One channel by which pairs disappear: what part of them, how fast, with how much light.

    Attributes
    ----------
    fraction
        Of all pairs.
    lifetime_ps
        Of these.
    quantum_yield
        The part of these that gives its energy away as light; of Auger recombination none.
    """

    fraction: float
    lifetime_ps: float
    quantum_yield: float = 0.0

    def __post_init__(self) -> None:
        require(0 <= self.fraction <= 1 and 0 < self.lifetime_ps < np.inf
                and 0 <= self.quantum_yield <= 1, f"recombination of {self.fraction:g} of the pairs"
                f" in {self.lifetime_ps:g} ps with a quantum yield of {self.quantum_yield:g}: give"
                " a fraction and a yield from 0 to 1, and a positive lifetime")


@dataclass(frozen=True)
class Exposure:
    """One experiment.

    Attributes
    ----------
    fluence_mJ_cm2, photon_energy_eV
        The pump.
    size_A, concentration_mg_mL, jet_A
        Edge of the nanocrystals, their mass in a volume of the jet, its thickness.
    material
        The crystal.
    start_C
        Temperature before the pulse.
    absorption_per_cm
        Natural absorption coefficient µ of the jet, which passes exp(−µ d); ln 10 times the
        decadic one. None: the jet absorbs the whole pulse.
    heat_capacity
        Of the crystal. None: see usual_heat_capacity.
    heat_fraction
        The part of a photon that becomes heat at once. None: what lies above the gap,
        1 − gap / photon energy. The rest is what the pairs hold.
    recombination
        Channels by which that becomes heat or light later; what they leave, lives on.
    saturation_mJ_cm2
        The fluence at which absorption has fallen to half, µ/(1 + F/F_s). None: it does not
        saturate.
    """

    fluence_mJ_cm2: float
    photon_energy_eV: float
    size_A: float
    concentration_mg_mL: float
    jet_A: float
    material: Material = field(default_factory=cspbbr3)
    start_C: float = 25.0
    absorption_per_cm: float | None = None
    heat_capacity: HeatCapacity | None = None
    heat_fraction: float | None = None
    saturation_mJ_cm2: float | None = None
    recombination: tuple[Recombination, ...] = ()

    def __post_init__(self) -> None:
        for name in ("fluence_mJ_cm2", "photon_energy_eV", "size_A", "concentration_mg_mL",
                     "jet_A", "absorption_per_cm", "saturation_mJ_cm2"):
            value = getattr(self, name)
            if value is not None and not 0 < value < np.inf:
                raise InputError(f"{name} is {value:g}: it must be positive")
        require(self.saturation_mJ_cm2 is None or self.absorption_per_cm is not None,
                "absorption can saturate only if it is known: give the absorption coefficient too")
        gap_eV = self.material.gap_eV
        require(self.heat_fraction is not None or self.photon_energy_eV > gap_eV,
                f"the photon energy {self.photon_energy_eV:g} eV is not above the gap "
                f"{gap_eV:g} eV: nothing is left over as heat; check pump and gap")
        total = sum(r.fraction for r in self.recombination)
        require(total <= 1 + 1e-9, f"the channels of recombination add up to {100 * total:g} % of "
                "the pairs: give fractions of all pairs")
        require(not self.recombination or self.heating_part < 1, "all of each photon is heat at "
                "once, so nothing is left for recombination: leave out one of the two")

    @property
    def heating_part(self) -> float:
        """The part of each photon that becomes heat at once."""
        given = self.heat_fraction
        return 1 - self.material.gap_eV / self.photon_energy_eV if given is None else given

    @cached_property
    def capacity(self) -> HeatCapacity:
        """The heat capacity, given or usual."""
        return self.heat_capacity or usual_heat_capacity(self.material, self.start_C)

    @property
    def formula_units(self) -> float:
        """How many of them one nanocrystal has."""
        return self.size_A**3 / self.material.volume_A3


@dataclass(frozen=True)
class Place:
    """A depth of the jet: the rise right after the pulse (K), the photons that a crystal absorbs.
    """

    delta_T_K: float
    photons_per_nc: float


@dataclass(frozen=True, eq=False)
class Course:
    """How one nanocrystal warms and cools; arrays (m,), at the times asked for.

    The four energies (eV) add up to what was absorbed: in the crystal as heat, passed on as heat,
    still held by pairs, and given away as light.
    """

    time_ps: Array
    temperature_C: Array
    crystal_eV: Array
    passed_eV: Array
    held_eV: Array
    light_eV: Array


@dataclass(frozen=True, eq=False)
class Heating:
    """The answer; rises are those right after the pulse.

    Attributes
    ----------
    exposure : Exposure
    delta_T_K, photons_per_nc : float
        The rise, and the photons that one nanocrystal absorbs: means over the jet.
    delta_T_low_K, delta_T_high_K : float
        16th and 84th percentile of the Monte Carlo draws.
    delta_T_all_K : float
        The same mean if all of each photon were heat: the upper limit at any time.
    absorbed_fraction : float
        What the jet absorbs of the pulse.
    front, back : Place or None
        Where the light enters and leaves; None when the jet absorbs everything.
    phase : str
        That of the temperature right after the pulse.
    tornado : tuple of (name, K, K)
        The rise with an input one standard deviation lower and higher, the largest change first.
    equivalent : tuple of str
        Single changes of an input that would each give the rise published for CsPbBr3; none for
        another compound.
    """

    exposure: Exposure
    delta_T_K: float
    photons_per_nc: float
    delta_T_low_K: float
    delta_T_high_K: float
    delta_T_all_K: float
    absorbed_fraction: float
    front: Place | None
    back: Place | None
    phase: str
    tornado: tuple[tuple[str, float, float], ...]
    equivalent: tuple[str, ...]

    @property
    def final_C(self) -> float:
        """Temperature right after the pulse, the start and the rise together."""
        return self.exposure.start_C + self.delta_T_K

    @property
    def total_energy_eV(self) -> float:
        """Energy of all photons that one nanocrystal absorbs."""
        return self.photons_per_nc * self.exposure.photon_energy_eV

    @property
    def heat_eV(self) -> float:
        """The part of it that becomes heat at once."""
        return self.total_energy_eV * self.exposure.heating_part

    @property
    def pairs_per_formula(self) -> float:
        """Pairs that the pulse makes for each formula unit."""
        return self.photons_per_nc / self.exposure.formula_units

    def temperature_C(self, time_ps: ArrayLike, lifetime_ps: float) -> Array:
        """Return the temperature (m,) at times (m,) after the pulse, the mean over the jet."""
        return self.course(time_ps, lifetime_ps).temperature_C

    def course(self, time_ps: ArrayLike, lifetime_ps: float, place: Place | None = None) -> Course:
        """Return how a crystal warms and cools.

        Newton's law is one of the flow of heat: G (T − T_start), with G the mean heat capacity up
        to the highest temperature that all this heat could reach, over the lifetime. For a
        constant heat capacity the excess without recombination is then ΔT exp(−t/τ). The heat
        passed on is integrated; the rest follows from it, so that energy is conserved.

        Parameters
        ----------
        time_ps
            Times (m,) after the pulse, in any order.
        lifetime_ps
            τ of Newton's cooling; infinite for none.
        place
            Front or back of the jet (default: its mean).
        """
        from scipy.integrate import solve_ivp

        time = floats(time_ps, "time_ps", (None,))
        require(lifetime_ps > 0 and time.min() >= 0, "cooling needs a positive lifetime, and times "
                "from the pulse, zero, on")
        exposure, table = self.exposure, _table(self.exposure)
        photons = self.photons_per_nc if place is None else place.photons_per_nc
        absorbed = photons * exposure.photon_energy_eV / exposure.formula_units
        at_once = absorbed * exposure.heating_part
        start_K = exposure.start_C + ZERO_C_K
        begin = table.enthalpy_eV(start_K) + at_once

        def given(at_ps: ArrayLike, light: bool = False) -> Array:
            parts = [(absorbed - at_once) * r.fraction * -np.expm1(-np.asarray(at_ps)
                     / r.lifetime_ps) * (r.quantum_yield if light else 1 - r.quantum_yield)
                     for r in exposure.recombination]
            return np.asarray(np.sum([np.zeros(np.shape(at_ps)), *parts], axis=0))

        most = at_once + float(given(np.inf))
        span_K = table.temperature_K(begin - at_once + most) - start_K
        capacity = exposure.capacity.at_J_mol_K(exposure.start_C) * kernel.EV_PER_J_MOL
        flow = (most / span_K if span_K > 0 else capacity) / lifetime_ps

        def rate(at_ps: float, passed: Array) -> float:
            left = begin + float(given(at_ps)) - float(passed[0])
            return flow * (table.temperature_K(left) - start_K)

        moments, where = np.unique(time, return_inverse=True)
        end = max(moments[-1], 1.0)
        passed = solve_ivp(rate, (0.0, end), [0.0], "DOP853", moments, rtol=1e-10,
                           atol=1e-12 * most).y[0][where]
        heat, light = given(time), given(time, light=True)
        left = begin + heat - passed
        temperature = np.array([table.temperature_K(h) for h in left]) - ZERO_C_K
        energies = (at_once + heat - passed, passed, absorbed - at_once - heat - light, light)
        return Course(time, temperature, *(exposure.formula_units * part for part in energies))


def heating(exposure: Exposure, relative_sigma: Mapping[str, float] = RELATIVE_SIGMA,
            draws: int = 20_000, seed: int = 0) -> Heating:
    """Return the temperature rise, its range, and how much each input moves it.

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
    front = _face(exposure, central, exposure.fluence_mJ_cm2) if known else None
    depth = float(_depth(exposure, central)[0])
    # What leaves at the back; of a jet that hardly lets anything through next to nothing.
    left = max(exposure.fluence_mJ_cm2 * np.exp(-depth), 1e-200)
    back = _face(exposure, central, left) if known else None
    everything = replace(exposure, heat_fraction=1.0, recombination=())
    return Heating(
        exposure, float(rise[0]), float(photons[0]), float(low), float(high),
        float(_heat(everything, central)[0][0]), -float(np.expm1(-depth)), front, back,
        exposure.material.phase_at(exposure.start_C + float(rise[0])), tuple(tornado),
        _equivalent(exposure))


def _face(exposure: Exposure, central: Mapping[str, Array], fluence_mJ_cm2: float) -> Place:
    """Return the place of the jet that this fluence reaches."""
    absorption = central["absorption"] / (
        1 + fluence_mJ_cm2 / (exposure.saturation_mJ_cm2 or np.inf))
    there = {**central, "jet": np.array([FACE_A]), "fluence": np.array([fluence_mJ_cm2])}
    rise, photons = _jet(exposure, there, absorption)
    return Place(float(rise[0]), float(photons[0]))


def _inputs(exposure: Exposure) -> dict[str, Array]:
    values = {"fluence": exposure.fluence_mJ_cm2, "jet": exposure.jet_A,
              "absorption": exposure.absorption_per_cm or ABSORBS_ALL_PER_CM,
              "concentration": exposure.concentration_mg_mL, "size": exposure.size_A,
              "heat_capacity": exposure.capacity.at_J_mol_K(exposure.start_C)}
    return {name: np.array([value]) for name, value in values.items()}


def _rise(exposure: Exposure, name: str, factor: float) -> float:
    """Return the rise with one input multiplied by a factor."""
    central = _inputs(exposure)
    return float(_heat(exposure, central | {name: central[name] * factor})[0][0])


def _heat(exposure: Exposure, inputs: Mapping[str, Array]) -> tuple[Array, Array]:
    """Return rise and photons of draws."""
    # A larger heat capacity acts as less energy; latent heats scale with it.
    relative = inputs["heat_capacity"] / exposure.capacity.at_J_mol_K(exposure.start_C)
    # The kernel knows Lambert and Beer; saturation reaches it as the coefficient that absorbs as
    # much.
    absorption = _depth(exposure, inputs) / (inputs["jet"] * kernel.CM_PER_A)
    rise, photons = _jet(exposure, {**inputs, "fluence": inputs["fluence"] / relative}, absorption)
    return rise, photons * relative


def _jet(exposure: Exposure, inputs: Mapping[str, Array],
         absorption_per_cm: Array) -> tuple[Array, Array]:
    return kernel.heat(
        inputs["fluence"], absorption_per_cm, inputs["jet"], inputs["concentration"],
        inputs["size"], molar_mass_g_mol=exposure.material.molar_mass_g_mol,
        formula_volume_A3=exposure.material.volume_A3, photon_energy_eV=exposure.photon_energy_eV,
        heat_fraction=exposure.heating_part, start_K=exposure.start_C + ZERO_C_K,
        table=_table(exposure))


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
    latent = [(t.low_C + ZERO_C_K, t.high_C + ZERO_C_K, t.latent_J_mol)
              for t in exposure.material.transitions if t.latent_J_mol]
    capacity = exposure.capacity
    return kernel.tabulated(capacity.temperature_K, capacity.capacity_J_mol_K, latent)


def _equivalent(exposure: Exposure) -> tuple[str, ...]:
    """Return single changes of one input that would each give the published upper limit."""
    from scipy.optimize import brentq

    if exposure.material.formula != FORMULA:
        return ()
    target_K, found = PUMP_PROBE.delta_T_K, []
    for name, unit, factor in (("jet", "µm", 1e-4), ("concentration", "mg/mL", 1.0),
                               ("fluence", "mJ/cm2", 1.0), ("heat_capacity", "J/mol/K", 1.0)):

        def miss(log_scale: float, name: str = name) -> float:
            return _rise(exposure, name, float(np.exp(log_scale))) - target_K

        if miss(-3) * miss(3) < 0:
            value = float(_inputs(exposure)[name][0]) * np.exp(brentq(miss, -3, 3)) * factor
            found.append(f"{name.replace('_', ' ')} {value:.3g} {unit}")
    if exposure.heat_fraction is None:
        rise = _rise(replace(exposure, heat_fraction=1.0, recombination=()), "fluence", 1.0)
        found.append("all of each photon as heat instead of the part above the gap, in a jet of "
                     f"{exposure.jet_A * 1e-4 * rise / target_K:.3g} µm (without latent heat)")
    return tuple(found)
