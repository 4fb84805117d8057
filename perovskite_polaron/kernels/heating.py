"""Door to the heating kernels: absorbed energy to temperature rise, one value or millions of draws.

Energies are per formula unit (eV), so that the size of a nanocrystal does not enter the temperature: a nanocrystal of
twice the volume absorbs twice as many photons.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import constants

from perovskite_polaron.arrays import floats, real
from perovskite_polaron.errors import InputError
from perovskite_polaron.kernels import check_threads, load, output

Array = NDArray[np.float64]
EV_PER_J_MOL = 1 / (constants.N_A * constants.e)
BOLTZMANN_EV = constants.k / constants.e
CM_PER_A = 1e-8


@dataclass(frozen=True, eq=False)
class HeatTable:
    """Enthalpy against temperature of one formula unit, made by dulong_petit, harmonic or tabulated.

    knots (4, s): for each of s segments of linear heat capacity its first temperature (K), the enthalpy there (eV, zero
    at the first), its first heat capacity (eV/K) and the slope of that (eV/K²); a transition at one temperature is a
    segment of infinite heat capacity, the last segment has no end. cells (n, 8), per_eV of them in an eV, are the same
    for the kernel, as ext/heat.h describes them.
    """

    knots: Array
    cells: Array
    per_eV: float

    def enthalpy_eV(self, temperature_K: float) -> float:
        """Enthalpy at a temperature, eV per formula unit, measured from the table's first temperature.

        Raises InputError below the table; above, the last heat capacity goes on.
        """
        kelvin, enthalpy, first, ramp = self.knots
        if not temperature_K >= kelvin[0]:
            raise InputError(f"{temperature_K:g} K is below the heat-capacity table, which begins at {kelvin[0]:g} K")
        # A transition at exactly this temperature has not happened yet.
        k = max(0, int(np.searchsorted(kelvin, temperature_K, side="left")) - 1)
        above = temperature_K - kelvin[k]
        return float(enthalpy[k] + (above * (first[k] + ramp[k] * above / 2) if above else 0.0))


def tabulated(
    temperature_K: ArrayLike, capacity_J_mol_K: ArrayLike, latent: Sequence[tuple[float, float, float]] = ()
) -> HeatTable:
    """Return the enthalpy of a heat capacity that is linear between its points (at least two) and constant beyond.

    temperature_K (n,) increases strictly; capacity_J_mol_K (n,) is positive, per mole of formula units. Each latent
    heat is (begin K, end K, J/mol): spread evenly over its interval, or taken at one temperature when both are equal;
    intervals lie inside or above the table and do not overlap.
    Raises InputError for wrong shapes, NaN, unordered temperatures, or anything negative.
    """
    kelvin = floats(temperature_K, "temperature_K", (None,))
    capacity = floats(capacity_J_mol_K, "capacity_J_mol_K", (len(kelvin),)) * EV_PER_J_MOL
    if len(kelvin) < 2 or not np.all(np.diff(kelvin) > 0) or kelvin[0] < 0:
        raise InputError("temperature_K must be at least two temperatures in K, increasing strictly from 0 or above")
    if not np.all(capacity > 0):
        raise InputError("capacity_J_mol_K must be positive: leave out temperatures without a measured value")
    transitions = sorted(tuple(map(float, entry)) for entry in latent)
    for (begin, end, heat), following in zip(transitions, [*transitions[1:], (np.inf,)], strict=False):
        if not (kelvin[0] <= begin <= end <= following[0]) or not 0 <= heat < np.inf:
            raise InputError(
                f"latent heat {heat:g} J/mol from {begin:g} to {end:g} K: give begin <= end inside the table, intervals "
                "that do not overlap, and a heat that is not negative"
            )
    cuts = np.unique(np.r_[kelvin, [edge for begin, end, _ in transitions for edge in (begin, end)]])
    base = np.interp(cuts, kelvin, capacity)
    segments: list[tuple[float, float, float, float]] = []
    enthalpy = 0.0
    for k, start in enumerate(cuts):
        for begin, end, heat in transitions:
            if begin == end == start and heat > 0:
                segments.append((start, enthalpy, np.inf, 0.0))
                enthalpy += heat * EV_PER_J_MOL
        extra = sum(heat * EV_PER_J_MOL / (end - begin) for begin, end, heat in transitions if begin <= start < end)
        width = cuts[k + 1] - start if k + 1 < len(cuts) else np.inf
        ramp = (base[k + 1] - base[k]) / width if np.isfinite(width) else 0.0
        segments.append((start, enthalpy, base[k] + extra, ramp))
        enthalpy += width * (base[k] + extra + ramp * width / 2) if np.isfinite(width) else 0.0
    return _with_cells(np.ascontiguousarray(np.array(segments).T))


def dulong_petit(atoms: int = 5, latent: Sequence[tuple[float, float, float]] = ()) -> HeatTable:
    """Return the enthalpy of 3R per mole of atoms, the classical limit; latent as in tabulated."""
    return tabulated([0.0, 1e4], [3 * constants.R * atoms] * 2, latent)


def harmonic(
    energy_meV: ArrayLike, weight: ArrayLike | None = None, latent: Sequence[tuple[float, float, float]] = ()
) -> HeatTable:
    """Return the enthalpy of independent harmonic modes, tabulated every 0.5 K up to 1500 K (and classical beyond).

    energy_meV (n,) positive mode energies; weight (n,) how many modes per formula unit each stands for, in all three
    times the number of atoms: without it the modes are those of one formula unit. The heat capacity is
    harmonic_capacity's; the table follows the exact enthalpy to about 1e-6. latent as in tabulated.
    Raises InputError for energies that are not positive.
    """
    modes = floats(energy_meV, "energy_meV", (None,)) * 1e-3
    weights = np.ones(len(modes)) if weight is None else floats(weight, "weight", (len(modes),))
    if not (np.all(modes > 0) and np.all(weights >= 0) and weights.sum() > 0):
        raise InputError("mode energies must be positive and weights not negative: leave out the acoustic modes at Γ")
    kelvin = np.arange(5.0, 1500.25, 0.5)
    return tabulated(kelvin, harmonic_capacity(modes * 1e3, weights, kelvin), latent)


def harmonic_capacity(energy_meV: Array, weight: Array, temperature_K: Array) -> Array:
    """Return the heat capacity (t,), J/mol/K, of oscillators (n,) of positive energy at temperatures (t,), zero included.

    k Σ w (x / 2 sinh(x/2))², x = E/kT: Bose and Einstein.
    """
    with np.errstate(divide="ignore"):
        half = np.minimum(energy_meV * 1e-3 / (2 * BOLTZMANN_EV * temperature_K[:, None]), 300.0)
    return np.asarray(constants.R * ((half / np.sinh(half)) ** 2 @ weight))


def temperature_rise(energy_eV: ArrayLike, start_K: float, table: HeatTable, threads: int = 1) -> Array:
    """Return how far each energy (any shape, eV per formula unit, not negative) heats the crystal from start_K, in K.

    The inverse of the table's enthalpy, exact on each segment. Raises InputError for negative energies, NaN, or a start
    below the table. Bitwise independent of threads.
    """
    shape = np.shape(energy_eV)
    energy = floats(np.ravel(energy_eV), "energy_eV", (None,))
    if energy.min() < 0:
        raise InputError("energy_eV is negative: absorbed energy only heats")
    rise = np.empty(len(energy))
    enthalpy = table.enthalpy_eV(start_K)
    load("heating").temperature_rise(
        energy, table.cells, table.knots, table.per_eV, start_K, enthalpy, rise, check_threads(threads)
    )
    return rise.reshape(shape)


def absorbed_energy_eV(
    fluence_mJ_cm2: ArrayLike, absorption_per_cm: ArrayLike, concentration_mg_mL: ArrayLike, molar_mass_g_mol: float,
    depth_A: ArrayLike = 0.0,
) -> Array:
    """Return the energy one formula unit absorbs at a depth in the jet, eV (arguments broadcast).

    F µ exp(−µ z) / n, µ the absorption coefficient of the suspension (natural logarithm, 1/cm), n its number density of
    formula units, concentration / molar mass: Lambert–Beer, linear absorption. Depth 0 is the front face; with µ and
    concentration of the solid (its density), it is the front face of a film. Raises InputError for negative input.
    """
    given = {"fluence_mJ_cm2": fluence_mJ_cm2, "absorption_per_cm": absorption_per_cm,
             "concentration_mg_mL": concentration_mg_mL, "depth_A": depth_A}
    for name, value in given.items():
        _check_sign(value, name, may_vanish=name == "depth_A")
    fluence, absorption, concentration, depth = _broadcast(given)
    shape = np.broadcast_shapes(*map(np.shape, (fluence_mJ_cm2, absorption_per_cm, concentration_mg_mL, depth_A)))
    energy = _scale(molar_mass_g_mol) * fluence * absorption * np.exp(-absorption * depth * CM_PER_A) / concentration
    return energy.reshape(shape)


def heat(
    fluence_mJ_cm2: ArrayLike, absorption_per_cm: ArrayLike, thickness_A: ArrayLike, concentration_mg_mL: ArrayLike,
    size_A: ArrayLike, *, molar_mass_g_mol: float, formula_volume_A3: float, photon_energy_eV: float,
    heat_fraction: float, start_K: float, table: HeatTable, threads: int = 1, out: Array | None = None,
) -> tuple[Array, Array]:
    """Return the temperature rise (K) and the photons per nanocrystal of each draw, both (n,).

    The five inputs are numbers or (n,) draws, all positive. Energy per formula unit, averaged over the jet:
    F (1 − exp(−µ d)) M / (d c N_A); photons: that energy / hν × the formula units in a cube of edge size_A. heat_fraction
    is the part of each photon that becomes heat: 1 − E_gap/hν before recombination, 1 after it; between 0 and 1.
    A very large µ means that the jet absorbs everything. Bitwise independent of threads. out, when given, is a C-contiguous
    writable float64 array (2, n) to write into: new memory costs up to half as much again as the numbers.
    Raises InputError for wrong shapes, NaN, anything not positive, a start below the table, or a wrong out.
    """
    given = {"fluence_mJ_cm2": fluence_mJ_cm2, "absorption_per_cm": absorption_per_cm, "thickness_A": thickness_A,
             "concentration_mg_mL": concentration_mg_mL, "size_A": size_A}
    kernel = load("heating")
    draws = _broadcast(given, kernel.REPEATS)
    for name, value in (("formula_volume_A3", formula_volume_A3), ("photon_energy_eV", photon_energy_eV)):
        if not 0 < value < np.inf:
            raise InputError(f"{name} is {value:g}: it must be positive")
    if not 0 <= heat_fraction <= 1:
        raise InputError(f"heat_fraction is {heat_fraction:g}: it is the part of a photon that heats, from 0 to 1")
    rise, photons = output(out, (2, np.broadcast(*given.values()).size))
    # The kernel sees each draw anyway and says whether one may be bad: one pass over memory less for each input.
    suspect = kernel.heat(
        *draws, CM_PER_A, _scale(molar_mass_g_mol), heat_fraction, 1 / (formula_volume_A3 * photon_energy_eV),
        table.cells, table.knots, table.per_eV, start_K, table.enthalpy_eV(start_K), rise, photons,
        check_threads(threads),
    )
    if suspect:
        for name in given:
            _check_sign(given[name], name)
    return rise, photons


def cooling(
    rise_K: ArrayLike, time_ps: ArrayLike, lifetime_ps: float, *, second_lifetime_ps: float = np.inf,
    fraction: float = 1.0, threads: int = 1, out: Array | None = None,
) -> Array:
    """Return what is left of each rise (n,) at each time (m,), (n, m) in K; a single rise gives (m,).

    rise (f exp(−t/τ) + (1 − f) exp(−t/τ2)): Newton's law with f = 1, else two channels (surface, then solvent).
    out, when given, is a C-contiguous writable float64 array (n, m) to write into: new memory costs more than the numbers.
    Raises InputError for negative times, lifetimes that are not positive, a fraction outside 0 to 1, or a wrong out.
    """
    rise = floats(np.atleast_1d(rise_K), "rise_K", (None,))
    time = floats(time_ps, "time_ps", (None,))
    if time.min() < 0:
        raise InputError("time_ps is negative: cooling begins at the pulse, time zero")
    if not (lifetime_ps > 0 and second_lifetime_ps > 0 and 0 <= fraction <= 1):
        raise InputError("cooling needs positive lifetimes and a fraction between 0 and 1")
    left, out = np.empty(len(time)), output(out, (len(rise), len(time)))
    load("heating").cooling(rise, time, lifetime_ps, second_lifetime_ps, fraction, left, out, check_threads(threads))
    return out if np.ndim(rise_K) else out[0]


def draw(uncertain: Mapping[str, tuple[float, float]], count: int, seed: int) -> dict[str, Array]:
    """Return count draws of each named quantity, normal with (mean, sigma) and cut off at zero.

    Quantity i has a counter-based stream of its own, and draw k uses that stream's k-th number: neither count nor the
    other quantities change it. Raises InputError for means that are not positive or negative sigmas.
    """
    from scipy.special import ndtr, ndtri

    draws = {}
    for name, (mean, sigma) in uncertain.items():
        if not (0 < mean < np.inf and 0 <= sigma < np.inf):
            raise InputError(f"{name} is {mean:g} ± {sigma:g}: give a positive mean and a sigma that is not negative")
        stream = np.random.SeedSequence(seed, spawn_key=tuple(name.encode()))
        uniform = np.random.Generator(np.random.Philox(stream)).random(count)
        # Half a step off zero, so that no draw is infinite.
        below = ndtr(-mean / sigma) if sigma else 0.0
        draws[name] = mean + sigma * ndtri(below + (1 - below) * (uniform + 2.0**-54)) if sigma else np.full(count, mean)
    return draws


def _scale(molar_mass_g_mol: float) -> float:
    """eV per formula unit from mJ/cm² × 1/cm ÷ mg/mL."""
    if not 0 < molar_mass_g_mol < np.inf:
        raise InputError(f"molar_mass_g_mol is {molar_mass_g_mol:g}: it must be positive")
    return 1e-3 * molar_mass_g_mol / 1e-3 * EV_PER_J_MOL


def _broadcast(values: Mapping[str, ArrayLike], repeats: int | None = None) -> list[Array]:
    """One-dimensional contiguous arrays of one length; their numbers are not looked at.

    repeats: an input that is one number comes back so many times and not once for each draw.
    """
    try:
        arrays = np.broadcast_arrays(*(real(value, name) for name, value in values.items()))
    except ValueError:
        shapes = ", ".join(f"{name} {np.shape(value)}" for name, value in values.items())
        raise InputError(f"these do not broadcast together: {shapes}; pass numbers or arrays of one length") from None
    if arrays[0].size == 0:
        raise InputError("there are no draws: pass at least one value of " + ", ".join(values))
    return [
        np.full(repeats, array.flat[0]) if repeats and np.ndim(value) == 0 else np.ascontiguousarray(array.ravel())
        for value, array in zip(values.values(), arrays, strict=True)
    ]


def _check_sign(value: ArrayLike, name: str, *, may_vanish: bool = False) -> None:
    """Raise InputError unless every number is finite and positive (or zero, when it may be)."""
    smallest = floats(np.ravel(value), name, (None,)).min()
    if smallest < 0 or (smallest == 0 and not may_vanish):
        raise InputError(f"{name} must be positive: the smallest is {smallest:g}")


def _with_cells(knots: Array) -> HeatTable:
    """The table with its cells: for most tables eight to a segment, which leaves few with the start of one in them.

    The kernel finds the cell of an enthalpy in the same arithmetic as here, which never decreases: a segment of an earlier
    cell starts below it, one of a later cell above.
    """
    kernel, enthalpy = load("heating"), knots[1]
    count = int(np.clip(8 * len(enthalpy), 512, 32768))
    per_eV = (count - 0.5) / enthalpy[-1] if enthalpy[-1] > 0 else 1.0
    begin = np.arange(count) / per_eV
    end = np.append(begin[1:], np.inf)
    starts = np.searchsorted((enthalpy * per_eV).astype(np.int64), np.arange(count + 1))
    first, inside = np.maximum(0, starts[:-1] - 1), np.diff(starts) - (starts[:-1] == 0)
    second = np.minimum(first + 1, len(enthalpy) - 1)
    # In a line of the cache each, for the kernel's sake.
    memory = np.empty(8 * count + 8)
    cells = memory[-memory.ctypes.data % 64 // 8 :][: 8 * count].reshape(count, 8)
    cells[:, :4] = _rows(knots, first, begin, np.where(inside > 0, np.minimum(enthalpy[second], end), end), kernel.LIMIT)
    cells[:, 4:] = _rows(knots, second, enthalpy[second], end, kernel.LIMIT)
    cells[inside == 0, 4:] = [np.inf, 0, 0, 0]
    cells[inside > 1] = np.nan
    # A cell without a second row to compare with shows in the first.
    cells[np.isnan(cells).any(axis=1)] = np.nan
    for array in (knots, cells):
        array.setflags(write=False)
    return HeatTable(knots, cells, per_eV)


def _rows(knots: Array, of: NDArray[np.int64], begin: Array, end: Array, limit: float) -> Array:
    """Start (eV), temperature, 1/C and 2C'/C² of segments for enthalpies from begin to end, (n, 4).

    They describe the segment from its own start or, when C² changes by more than limit from there to the end, from begin;
    when it does so even from there, they are NaN.
    """
    kelvin, enthalpy, first, ramp = knots[:, of]
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        bend = 2 * ramp / first / first
        far = (bend != 0) & ~(np.abs(bend * (end - enthalpy)) <= limit)
        excess = np.where(far, np.maximum(begin - enthalpy, 0.0), 0.0)
        capacity = np.where(far, np.sqrt(first * first + 2 * ramp * excess), first)
        kelvin = kelvin + 2 * excess / (first + capacity)
        bend = 2 * ramp / capacity / capacity
        rows = np.column_stack([enthalpy + excess, kelvin, 1 / capacity, bend])
        rows[far & ~(np.abs(bend * (end - begin)) <= limit)] = np.nan
    return rows
