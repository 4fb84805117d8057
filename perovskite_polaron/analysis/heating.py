"""How hot a nanocrystal in a jet can get from one pump pulse: an upper limit, its range, and what dominates it.

Every absorbed photon leaves its energy above the gap (or all of it) as heat in the crystal that absorbed it, at once, and
none flows out: the temperature rise is therefore an upper limit. Several choices of the inputs give the same rise, so
agreement with a measured or published value identifies none of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray
from scipy import constants

from perovskite_polaron.errors import InputError
from perovskite_polaron.kernels import heating as kernel
from perovskite_polaron.published_cspbbr3 import (
    CUBIC_C, FORMULA_VOLUME_A3, GAP_EV, MOLAR_MASS_G_MOL, TETRAGONAL_C)

Array = NDArray[np.float64]

ABSORBS_ALL_PER_CM = 1e9
# Relative standard uncertainties that are assumed where none is given; size: 10 ± 2 nm.
RELATIVE_SIGMA = {
    "fluence": 0.1,
    "jet": 0.25,
    "concentration": 0.1,
    "size": 0.2,
    "absorption": 0.2,
    "heat_capacity": 0.04,
}


Latent = Sequence[tuple[float, float, float]]


@dataclass(frozen=True)
class HeatCapacity:
    """Heat capacity against temperature of one mole of CsPbBr3: words say where it is from, make gives its enthalpy.

    make takes the latent heats as ``kernels.heating.tabulated`` does.
    """

    words: str
    make: Callable[[Latent], kernel.HeatTable]

    def at_J_mol_K(self, temperature_C: float) -> float:
        """Return the heat capacity at a temperature, from the enthalpy half a kelvin to either side (within the table)."""
        table = _enthalpy(self, ())
        high = temperature_C + 273.15 + 0.5
        low = max(high - 1, float(table.knots[0, 0]))
        return (table.enthalpy_eV(high) - table.enthalpy_eV(low)) / (high - low) / kernel.EV_PER_J_MOL


@lru_cache(maxsize=16)
def _enthalpy(capacity: HeatCapacity, latent: tuple[tuple[float, float, float], ...]) -> kernel.HeatTable:
    """The table of a heat capacity; kept, because a Monte Carlo run and its searches ask for it hundreds of times."""
    return capacity.make(latent)


DULONG_PETIT = HeatCapacity(
    "Dulong-Petit, 15 R", partial(kernel.tabulated, [0.0, 1e4], [15 * constants.R] * 2)
)


def constant_heat_capacity(capacity_J_mol_K: float) -> HeatCapacity:
    """Return a heat capacity that does not depend on temperature."""
    if not 0 < capacity_J_mol_K < np.inf:
        raise InputError(f"a heat capacity of {capacity_J_mol_K:g} J/mol/K: it must be positive")
    return HeatCapacity(
        f"constant, {capacity_J_mol_K:g} J/mol/K", partial(kernel.tabulated, [0.0, 1e4], [capacity_J_mol_K] * 2)
    )


@dataclass(frozen=True)
class Exposure:
    """One experiment. absorption_per_cm None: the jet absorbs the whole pulse. latent heats in J/mol, 0 to leave them out.

    saturation_mJ_cm2: the fluence at which absorption has fallen to half, µ/(1 + F/F_s); None: it does not saturate.
    heat_fraction None: the part above the gap, 1 − gap / photon energy, which is what heats before recombination.
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
        for name in (
            "fluence_mJ_cm2",
            "photon_energy_eV",
            "size_A",
            "concentration_mg_mL",
            "jet_A",
            "gap_eV",
        ):
            if not 0 < getattr(self, name) < np.inf:
                raise InputError(f"{name} is {getattr(self, name):g}: it must be positive")
        for name in ("absorption_per_cm", "saturation_mJ_cm2"):
            value = getattr(self, name)
            if value is not None and not 0 < value < np.inf:
                raise InputError(f"{name} is {value:g}: it must be positive")
        if self.saturation_mJ_cm2 is not None and self.absorption_per_cm is None:
            raise InputError("absorption can saturate only if it is known: give the absorption coefficient too")
        if self.heat_fraction is None and self.photon_energy_eV <= self.gap_eV:
            raise InputError(
                f"the photon energy {self.photon_energy_eV:g} eV is not above the gap {self.gap_eV:g} eV: nothing is left "
                "over as heat; check pump and gap"
            )


@dataclass(frozen=True, eq=False)
class Heating:
    """The answer: rises in K; low and high are the 16th and 84th percentile of the Monte Carlo draws."""

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
    draws_K: Array

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
        return self.total_energy_eV * _fraction(self.exposure)

    def temperature_C(self, time_ps: Array, lifetime_ps: float) -> Array:
        """Newton's cooling: start + ΔT exp(−t/τ), at times (m,) after the pulse."""
        if not (lifetime_ps > 0 and np.min(time_ps) >= 0):
            raise InputError("cooling needs a positive lifetime and times from zero, the pulse, on")
        return np.asarray(self.exposure.start_C + self.delta_T_K * np.exp(-time_ps / lifetime_ps))


def phase_at(temperature_C: float) -> str:
    """Return the phase of CsPbBr3 at a temperature; inside a published interval the transition itself."""
    for limit, name in (
        (TETRAGONAL_C[0], "orthorhombic"), (TETRAGONAL_C[1], "transition orthorhombic to tetragonal"),
        (CUBIC_C[0], "tetragonal"), (CUBIC_C[1], "transition tetragonal to cubic"),
    ):  # fmt: skip
        if temperature_C < limit or (temperature_C == limit and name.startswith("transition")):
            return name
    return "cubic"


def heating(
    exposure: Exposure, relative_sigma: Mapping[str, float] = RELATIVE_SIGMA, draws: int = 20_000, seed: int = 0
) -> Heating:
    """Return the upper limit of the temperature rise, its range, and how much each input moves it.

    relative_sigma: relative standard uncertainty of the inputs named in RELATIVE_SIGMA; a name left out is exact.
    Raises InputError for an unknown name or impossible inputs.
    """
    if unknown := set(relative_sigma) - set(RELATIVE_SIGMA):
        raise InputError(
            f"no input is called {', '.join(sorted(unknown))}: uncertain can be {', '.join(RELATIVE_SIGMA)}"
        )
    central = _inputs(exposure)
    rise, photons = _heat(exposure, central)
    sigmas = {name: relative_sigma.get(name, 0.0) for name in central}
    drawn = kernel.draw(
        {name: (float(value[0]), sigmas[name] * float(value[0])) for name, value in central.items()}, draws, seed
    )
    spread, _ = _heat(exposure, drawn)
    low, high = np.percentile(spread, [15.865, 84.135])
    tornado = []
    for name, sigma in sigmas.items():
        if sigma > 0 and (name != "absorption" or exposure.absorption_per_cm is not None):
            ends = [
                _heat(exposure, central | {name: central[name] * factor})[0][0]
                for factor in (max(1 - sigma, 0.01), 1 + sigma)
            ]
            tornado.append((name, float(ends[0]), float(ends[1])))
    tornado.sort(key=lambda row: -abs(row[2] - row[1]))
    front = None
    if exposure.absorption_per_cm is not None:
        saturated = 1 + exposure.fluence_mJ_cm2 / (exposure.saturation_mJ_cm2 or np.inf)
        # The first 1e-9 Å of the jet, which hardly weaken the light.
        front = float(_jet(exposure, central["fluence"], central["absorption"] / saturated, 1e-9,
                           central["concentration"], central["size"])[0][0])
    return Heating(
        exposure, float(rise[0]), float(low), float(high), float(photons[0]),
        float(-np.expm1(-_depth(exposure, central)[0])), front, phase_at(exposure.start_C + float(rise[0])),
        tuple(tornado), _equivalent(exposure), spread,
    )  # fmt: skip


def _inputs(exposure: Exposure) -> dict[str, Array]:
    absorption = ABSORBS_ALL_PER_CM if exposure.absorption_per_cm is None else exposure.absorption_per_cm
    values = {
        "fluence": exposure.fluence_mJ_cm2, "absorption": absorption, "jet": exposure.jet_A,
        "concentration": exposure.concentration_mg_mL, "size": exposure.size_A,
        "heat_capacity": exposure.heat_capacity.at_J_mol_K(exposure.start_C),
    }  # fmt: skip
    return {name: np.array([value]) for name, value in values.items()}


def _heat(exposure: Exposure, inputs: Mapping[str, Array]) -> tuple[Array, Array]:
    """Rise and photons of draws; a larger heat capacity acts as less energy, latent heats scale with it."""
    relative = inputs["heat_capacity"] / exposure.heat_capacity.at_J_mol_K(exposure.start_C)
    # The kernel knows Lambert and Beer; saturation reaches it as the coefficient that absorbs as much.
    absorption = _depth(exposure, inputs) / (inputs["jet"] * kernel.CM_PER_A)
    rise, photons = _jet(exposure, inputs["fluence"] / relative, absorption, inputs["jet"],
                         inputs["concentration"], inputs["size"])
    return rise, photons * relative


def _jet(exposure: Exposure, *draws: Array | float) -> tuple[Array, Array]:
    """Rise and photons of draws of fluence, absorption, thickness, concentration and size."""
    return kernel.heat(
        *draws, molar_mass_g_mol=MOLAR_MASS_G_MOL, formula_volume_A3=FORMULA_VOLUME_A3,
        photon_energy_eV=exposure.photon_energy_eV, heat_fraction=_fraction(exposure),
        start_K=exposure.start_C + 273.15, table=_table(exposure))


def _depth(exposure: Exposure, inputs: Mapping[str, Array]) -> Array:
    """Optical depth −ln(transmitted / incident) of the jet.

    With saturation dF/dz = −µ F/(1 + F/F_s), which integrates to ln F + F/F_s = ln F_0 + F_0/F_s − µ z: F/F_s is
    Wright's omega of the right side.
    """
    from scipy.special import wrightomega

    linear = inputs["absorption"] * inputs["jet"] * kernel.CM_PER_A
    if exposure.saturation_mJ_cm2 is None:
        return np.asarray(linear)
    incident = inputs["fluence"] / exposure.saturation_mJ_cm2
    left = wrightomega(np.log(incident) + incident - linear)
    return np.asarray(linear - (incident - left))


def _fraction(exposure: Exposure) -> float:
    return 1 - exposure.gap_eV / exposure.photon_energy_eV if exposure.heat_fraction is None else exposure.heat_fraction


def _table(exposure: Exposure) -> kernel.HeatTable:
    latent = tuple(
        (low + 273.15, high + 273.15, heat)
        for (low, high), heat in (
            (TETRAGONAL_C, exposure.latent_tetragonal_J_mol),
            (CUBIC_C, exposure.latent_cubic_J_mol),
        )
        if heat
    )
    return _enthalpy(exposure.heat_capacity, latent)


def _equivalent(exposure: Exposure, target_K: float = 120.0) -> tuple[str, ...]:
    """Single changes of one input that would each give the published upper limit of about 120 K."""
    from scipy.optimize import brentq

    found = []
    for name, unit, factor in (
        ("jet", "µm", 1e-4),
        ("concentration", "mg/mL", 1.0),
        ("fluence", "mJ/cm2", 1.0),
        ("heat_capacity", "J/mol/K", 1.0),
    ):
        central = _inputs(exposure)

        def miss(log_scale: float, name: str = name, central: Mapping[str, Array] = central) -> float:
            return float(_heat(exposure, {**central, name: central[name] * np.exp(log_scale)})[0][0]) - target_K

        if miss(-3) * miss(3) < 0:
            value = float(central[name][0]) * np.exp(brentq(miss, -3, 3)) * factor
            found.append(f"{name.replace('_', ' ')} {value:.3g} {unit}")
    if exposure.heat_fraction is None:
        all_heat = replace(exposure, heat_fraction=1.0)
        rise = float(_heat(all_heat, _inputs(all_heat))[0][0])
        found.append(
            "all of each photon as heat instead of the part above the gap, in a jet of "
            f"{exposure.jet_A * 1e-4 * rise / target_K:.3g} µm (without latent heat)"
        )
    return tuple(found)
