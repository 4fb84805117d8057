"""From absorbed light to a temperature rise, one value or many draws.

Energies are per formula unit (eV), so that the size of a nanocrystal does not enter the
temperature: a nanocrystal of twice the volume absorbs twice as many photons.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perovskite_polaron.arrays import Array, floats, real
from perovskite_polaron.errors import require
from perovskite_polaron.kernels import share
from perovskite_polaron.units import CHARGE_C, PER_MOL

Latent = Sequence[tuple[float, float, float]]
EV_PER_J_MOL = 1 / (PER_MOL * CHARGE_C)
CM_PER_A = 1e-8


@dataclass(frozen=True, eq=False)
class HeatTable:
    """Enthalpy against temperature of one formula unit, in segments of linear heat capacity.

    Attributes
    ----------
    knots
        (4, s): first temperature of each segment (K), the enthalpy there (eV, zero at the first),
        its first heat capacity (eV/K) and the slope of that (eV/K²). A transition at one
        temperature is a segment of infinite heat capacity; the last segment has no end.
    """

    knots: Array

    def enthalpy_eV(self, temperature_K: float) -> float:
        """Return the enthalpy at a temperature, eV per formula unit, from the table's first on.

        Raises
        ------
        InputError
            Below the table; above it the last heat capacity goes on.
        """
        kelvin, enthalpy, first, ramp = self.knots
        require(temperature_K >= kelvin[0], f"{temperature_K:g} K is below the heat-capacity"
                f" table, which begins at {kelvin[0]:g} K")
        # A transition at exactly this temperature has not happened yet.
        k = max(0, int(np.searchsorted(kelvin, temperature_K, side="left")) - 1)
        above = temperature_K - kelvin[k]
        return float(enthalpy[k] + (above * (first[k] + ramp[k] * above / 2) if above else 0.0))

    def temperature_K(self, enthalpy_eV: float) -> float:
        """Return the temperature at an enthalpy, the inverse of enthalpy_eV."""
        kelvin, enthalpy, first, ramp = self.knots
        k = max(0, int(np.searchsorted(enthalpy, enthalpy_eV, side="right")) - 1)
        over = enthalpy_eV - enthalpy[k]
        return float(kelvin[k] + 2 * over / (first[k] + np.sqrt(first[k]**2 + 2 * ramp[k] * over)))

    @cached_property
    def search(self) -> tuple[Array, NDArray[np.int64], float]:
        """The table as the kernel reads it: knots in rows, and a guide to them.

        The guide has eight cells to a segment on average, at least 512, and holds for each the
        last segment that starts in a cell before it: the kernel goes on from there. It finds cells
        in the arithmetic used here, which never decreases.
        """
        enthalpy = self.knots[1]
        cells = max(8 * len(enthalpy), 512)
        per_eV = (cells - 0.5) / enthalpy[-1] if enthalpy[-1] > 0 else 1.0
        before = np.searchsorted((enthalpy * per_eV).astype(np.int64), np.arange(cells))
        # After the last segment NaN, at or above which no enthalpy lies.
        rows = np.full((len(enthalpy) + 1, 4), np.nan)
        rows[:-1] = self.knots.T
        return rows, np.maximum(before - 1, 0), per_eV


def tabulated(temperature_K: ArrayLike, capacity_J_mol_K: ArrayLike,
              latent: Latent = ()) -> HeatTable:
    """Return the enthalpy of a heat capacity, linear between its points and constant beyond.

    Parameters
    ----------
    temperature_K
        (n,) at least two, increasing strictly.
    capacity_J_mol_K
        (n,) positive, per mole of formula units.
    latent
        Latent heats (begin K, end K, J/mol), spread evenly over their intervals, or taken at one
        temperature where both ends are equal. Intervals lie inside or above the table and do not
        overlap.

    Raises
    ------
    InputError
        For wrong shapes, NaN, unordered temperatures, or anything negative.
    """
    kelvin = floats(temperature_K, "temperature_K", (None,))
    capacity = floats(capacity_J_mol_K, "capacity_J_mol_K", (len(kelvin),)) * EV_PER_J_MOL
    require(len(kelvin) > 1 and np.all(np.diff(kelvin) > 0) and kelvin[0] >= 0, "temperature_K must"
            " be at least two temperatures in K, increasing strictly from 0 or above")
    require(np.all(capacity > 0), "capacity_J_mol_K must be positive: leave out temperatures"
            " without a measured value")
    transitions = sorted((float(begin), float(end), float(heat)) for begin, end, heat in latent)
    limits = [begin for begin, _, _ in transitions[1:]] + [np.inf]
    for (begin, end, heat), limit in zip(transitions, limits, strict=False):
        require(kelvin[0] <= begin <= end <= limit and 0 <= heat < np.inf,
                f"latent heat {heat:g} J/mol from {begin:g} to {end:g} K: give begin <= end inside "
                "the table, intervals that do not overlap, and a heat that is not negative")
    cuts = np.unique([*kelvin, *(edge for begin, end, _ in transitions for edge in (begin, end))])
    base = np.interp(cuts, kelvin, capacity)
    widths = np.append(np.diff(cuts), np.inf)
    ramps = np.append(np.diff(base) / np.diff(cuts), 0.0)
    segments, enthalpy = [], 0.0
    for start, width, first, ramp in zip(cuts, widths, base, ramps, strict=True):
        for begin, end, heat in transitions:
            if begin == end == start and heat > 0:
                segments.append((start, enthalpy, np.inf, 0.0))
                enthalpy += heat * EV_PER_J_MOL
            elif begin <= start < end:
                first += heat * EV_PER_J_MOL / (end - begin)
        segments.append((start, enthalpy, first, ramp))
        enthalpy += width * (first + ramp * width / 2) if width < np.inf else 0.0
    return HeatTable(np.ascontiguousarray(np.transpose(segments)))


def heat(fluence_mJ_cm2: ArrayLike, absorption_per_cm: ArrayLike, thickness_A: ArrayLike,
         concentration_mg_mL: ArrayLike, size_A: ArrayLike, *, molar_mass_g_mol: float,
         formula_volume_A3: float, photon_energy_eV: float, heat_fraction: float, start_K: float,
         table: HeatTable) -> tuple[Array, Array]:
    """Return the temperature rise (K) and the photons per nanocrystal of each draw, both (n,).

    Energy per formula unit, averaged over the jet: F (1 − exp(−µ d)) M / (d c N_A). Photons: that
    energy / hν × the formula units in a cube of edge size_A.

    Parameters
    ----------
    fluence_mJ_cm2, absorption_per_cm, thickness_A, concentration_mg_mL, size_A
        F, µ, d, c and the edge: numbers or (n,) draws, all positive. A very large µ means that
        the jet absorbs everything.
    molar_mass_g_mol, formula_volume_A3
        Mass and volume of a formula unit.
    photon_energy_eV
        Energy of a pump photon.
    heat_fraction
        The part of each photon that becomes heat: 1 − E_gap/hν before recombination, 1 after it.
    start_K, table
        Temperature before, and enthalpy of the crystal.

    Raises
    ------
    InputError
        For wrong shapes, NaN, anything that is not positive, or a start below the table.
    """
    given = {"fluence_mJ_cm2": fluence_mJ_cm2, "absorption_per_cm": absorption_per_cm,
             "thickness_A": thickness_A, "concentration_mg_mL": concentration_mg_mL,
             "size_A": size_A}
    draws = [np.atleast_1d(real(value, name)) for name, value in given.items()]
    count = max(len(draw) for draw in draws)
    shapes = ", ".join(f"{name} {np.shape(value)}" for name, value in given.items())
    require(count and all(draw.ndim == 1 and len(draw) in (1, count) for draw in draws),
            f"these do not broadcast together: {shapes}; pass numbers or arrays of one length")
    require(0 <= heat_fraction <= 1, f"heat_fraction is {heat_fraction:g}: it is the part of a"
            " photon that heats, from 0 to 1")
    rise, photons = np.empty((2, count))
    # mJ/cm² ÷ (Å × mg/mL) becomes eV per formula unit.
    scale = molar_mass_g_mol * EV_PER_J_MOL / CM_PER_A
    arguments = (*draws, CM_PER_A, scale, heat_fraction, 1 / (formula_volume_A3 * photon_energy_eV),
                 *table.search, start_K, table.enthalpy_eV(start_K), rise, photons)
    # The kernel sees each draw anyway and says whether one is bad; which it is, is rarely asked.
    if any(share("heating", "heat", arguments, count, 9.0)):
        for name, value in given.items():
            smallest = floats(np.ravel(value), name, (None,)).min()
            require(smallest > 0, f"{name} must be positive: the smallest is {smallest:g}")
    return rise, photons


def draw(uncertain: Mapping[str, tuple[float, float]], count: int, seed: int) -> dict[str, Array]:
    """Return count draws of each named quantity, normal with (mean, sigma) and cut off at zero.

    Quantity i has a counter-based stream of its own, and draw k uses that stream's k-th number:
    neither count nor the other quantities change it.

    Raises
    ------
    InputError
        For means that are not positive or negative sigmas.
    """
    from scipy.special import ndtr, ndtri

    draws = {}
    for name, (mean, sigma) in uncertain.items():
        require(0 < mean < np.inf and 0 <= sigma < np.inf, f"{name} is {mean:g} ± {sigma:g}:"
                " give a positive mean and a sigma that is not negative")
        if sigma == 0:
            draws[name] = np.full(count, mean)
            continue
        stream = np.random.SeedSequence(seed, spawn_key=tuple(name.encode()))
        uniform = np.random.Generator(np.random.Philox(stream)).random(count)
        # Half a step off zero, so that no draw is infinite.
        below = ndtr(-mean / sigma)
        draws[name] = mean + sigma * ndtri(below + (1 - below) * (uniform + 2.0**-54))
    return draws
