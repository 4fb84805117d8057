"""Electrons and holes at the edges of a gap: how high they fill it, and how they are spread.

A band edge is a list of energies into its band and of the states there, two for each band. It comes
from an effective mass,

    g(ε) dε = V / (2π²) (2m/ħ²)^(3/2) √ε dε     per cell of the volume V,

or from the levels that ``polaron pdos`` computed, whose k points are few. Electrons and holes have
quasi-Fermi levels of their own and one temperature: they are in equilibrium within each band, which
takes picoseconds, and not with each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from perovskite_polaron.arrays import Array, floats, freeze
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.spectra.projected import ProjectedStates
from perovskite_polaron.units import (
    BOLTZMANN_MEV_K, CHARGE_C, CM3_PER_A3, ELECTRON_KG, PLANCK_J_S, split_quantity)

# A parabolic band is followed so far into it; what lies higher is not occupied by any carrier.
_DEPTH_EV, _STEPS = 5.0, 4000
# ħ²/(2 mₑ), eV Å².
_HBAR2_2M = (PLANCK_J_S / (2 * np.pi)) ** 2 / (2 * ELECTRON_KG) / CHARGE_C * 1e20


@dataclass(frozen=True, eq=False)
class BandStates:
    """The states at one edge.

    Attributes
    ----------
    energy_eV
        (n,) from the edge into the band, zero or more; float64, read-only.
    states
        (n,) how many carriers each holds, per cell.
    words
        Where they are from.
    """

    energy_eV: Array
    states: Array
    words: str

    def __post_init__(self) -> None:
        energy = floats(self.energy_eV, "energy_eV", (None,))
        states = floats(self.states, "states", energy.shape)
        require(energy.min() >= 0 and states.min() >= 0 and states.sum() > 0,
                "the states of a band edge lie outside of their band, or are none: correct them")
        freeze(self, energy_eV=energy, states=states)

    def held(self, level_eV: float, thermal_eV: float) -> Array:
        """Return (n,) how many carriers are in each, for a level from the edge into the band."""
        return self.states * expit((level_eV - self.energy_eV) / thermal_eV)

    def level_eV(self, carriers: float, thermal_eV: float) -> float:
        """Return the quasi-Fermi level, from the edge into the band, of so many carriers a cell.

        Raises
        ------
        InputError
            For no carriers, or more than a quarter of the states: they are no longer at the edge.
        """
        require(0 < carriers < 0.25 * self.states.sum(), f"{carriers:.3g} carriers in a cell are"
                f" none, or more than a quarter of the states at the edge ({self.words}): give"
                " another density")
        require(thermal_eV > 0, f"kT = {thermal_eV} eV: give a temperature above zero")

        def missing(level: float) -> float:
            return float(np.log(self.held(level, thermal_eV).sum() / carriers))

        return float(brentq(missing, -600 * thermal_eV, float(self.energy_eV.max()), xtol=1e-12))


def parabolic(mass: float, volume_A3: float) -> BandStates:
    """Return the edge of a parabolic band.

    Parameters
    ----------
    mass
        Effective mass of the density of states, of a free electron's.
    volume_A3
        Of the cell.
    """
    require(0 < mass < 100, f"an effective mass of {mass:g} is not possible: give it in masses of"
            " the electron, such as 0.17")
    # In equal steps of the root of the energy the states are smooth.
    step = np.sqrt(_DEPTH_EV) / _STEPS
    root = step * (np.arange(_STEPS) + 0.5)
    states = volume_A3 / np.pi**2 * (mass / _HBAR2_2M) ** 1.5 * root**2 * step
    return BandStates(root**2, states, f"effective mass {mass:g}")


def computed(states: ProjectedStates, edge: str) -> BandStates:
    """Return the levels of the computed k points at one edge, ``VBM`` or ``CBM``.

    Few k points make a step of each level: its carriers are as if a large part of the zone had it.
    """
    part = states.occupied if edge == "VBM" else ~states.occupied
    levels = states.energies_eV[part]
    energy = states.top_eV - levels if edge == "VBM" else levels - states.bottom_eV
    weights = np.broadcast_to(2 * states.weights[:, None], part.shape)
    return BandStates(energy, weights[part], f"{len(states.weights)} k points")


@dataclass(frozen=True, eq=False)
class Carriers:
    """Pairs of electrons and holes in a crystal.

    Attributes
    ----------
    density_per_cm3, pairs_per_cell, temperature_K
        How many, and how warm.
    bands
        ``electrons`` and ``holes`` -> the states that they fill.
    level_eV
        The same -> quasi-Fermi level, from the edge into the band; below zero in the gap.
    """

    density_per_cm3: float
    pairs_per_cell: float
    temperature_K: float
    bands: Mapping[str, BandStates]
    level_eV: Mapping[str, float]

    @property
    def thermal_eV(self) -> float:
        """Boltzmann's constant times the temperature."""
        return self.temperature_K * BOLTZMANN_MEV_K / 1e3

    def held(self, kind: str) -> Array:
        """Return (n,) the electrons or holes in each state of their band."""
        return self.bands[kind].held(self.level_eV[kind], self.thermal_eV)

    def mean_energy_eV(self, kind: str) -> float:
        """Return how far from the edge the electrons or holes lie in the mean."""
        held = self.held(kind)
        return float(held @ self.bands[kind].energy_eV / held.sum())


def carriers(density_per_cm3: float, temperature_K: float, volume_A3: float,
             electrons: BandStates, holes: BandStates) -> Carriers:
    """Return pairs of a density (per cm³) and temperature, in cells of a volume.

    Raises
    ------
    InputError
        As ``BandStates.level_eV``.
    """
    require(np.isfinite(density_per_cm3) and 0 < temperature_K <= 5000,
            f"{density_per_cm3:g} carriers per cm3 at {temperature_K:g} K are not possible: give a"
            " density, and a temperature above 0 and up to 5000 K")
    pairs = density_per_cm3 * volume_A3 * CM3_PER_A3
    kt = temperature_K * BOLTZMANN_MEV_K / 1e3
    bands = {"electrons": electrons, "holes": holes}
    return Carriers(density_per_cm3, pairs, temperature_K, bands,
                    {kind: band.level_eV(pairs, kt) for kind, band in bands.items()})


def parse_carrier_density(text: str, cell_A3: float, crystal_A3: float | None = None) -> float:
    """Return a written density of carriers in 1/cm³: ``1e19cm-3``, ``0.01/cell`` or ``40/nc``.

    Parameters
    ----------
    text
        The density.
    cell_A3, crystal_A3
        Volume of the cell, and of a nanocrystal where that is known.

    Raises
    ------
    InputError
        For another unit, a number that is not positive, or carriers in a nanocrystal of no size.
    """
    value, unit = split_quantity(text)
    volumes = {"cm-3": 1 / CM3_PER_A3, "1/cm3": 1 / CM3_PER_A3, "/cm3": 1 / CM3_PER_A3,
               "/cell": cell_A3, "/nc": crystal_A3}
    require(unit in volumes, f"{text!r} cannot be read as a density of carriers: write it as"
            " 1e19cm-3, 0.01/cell or 40/nc")
    require(value > 0, f"{text!r} is no density of carriers: it must be positive")
    volume = volumes[unit]
    if volume is None:
        raise InputError(f"{text!r}: say with --size how large a nanocrystal is")
    return value / (volume * CM3_PER_A3)
