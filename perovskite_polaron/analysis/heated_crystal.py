"""The crystal that is heated: its mass, volume and gap, its transitions, its heat capacity.

All is per mole, or per one, of its reduced formula. What the crystal's file cannot say (the gap,
the transitions, a heat capacity at low temperature) is known here for CsPbBr3 only; for any other
compound it is asked for.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from perovskite_polaron.arrays import Array, floats, freeze
from perovskite_polaron.errors import require
from perovskite_polaron.files import read_text
from perovskite_polaron.kernels import heating as kernel
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.files import CRYSTALS, read_crystal
from perovskite_polaron.measured.text import parse_text_table
from perovskite_polaron.phonons.modes import BUILTIN, read_modes
from perovskite_polaron.phonons.selection import heat_capacity
from perovskite_polaron.published_cspbbr3 import FORMULA, GAP_EV, TRANSITIONS_C
from perovskite_polaron.units import CM3_PER_A3, GAS_J_MOL_K, PER_MOL, UNITS, ZERO_C_K

#: Below it Dulong and Petit are too high by more than their uncertainty: the harmonic C_V of
#: CsPbBr3 is 2.6 % lower there, 4 % at 155 K, 28 % at 50 K.
CLASSICAL_FROM_C = 200.0 - ZERO_C_K
#: Atoms as light as these vibrate above the thermal energy of room temperature: Dulong and Petit
#: are then too high, by 27 % for SrTiO3.
_LIGHT = ("H", "D", "T", "He", "Li", "Be", "B", "C", "N", "O", "F")
_PER_GRAM = ("J/g/K", "J/(g*K)", "J/(g.K)", "J/K/g")


@dataclass(frozen=True)
class Transition:
    """A change of phase on heating: what the crystal becomes, between which temperatures."""

    phase: str
    low_C: float
    high_C: float
    latent_J_mol: float = 0.0


@dataclass(frozen=True)
class Material:
    """What the estimate needs to know of a compound.

    Attributes
    ----------
    formula
        As Crystal.formula writes it; moles and formula units are of this.
    molar_mass_g_mol, volume_A3, atoms
        Of one formula unit.
    gap_eV
        Band gap.
    light
        Whether it holds atoms too light for the heat capacity of Dulong and Petit.
    transitions
        Those that are known, the coldest first.
    """

    formula: str
    molar_mass_g_mol: float
    volume_A3: float
    atoms: int
    gap_eV: float
    light: bool = False
    transitions: tuple[Transition, ...] = ()

    @property
    def density_g_cm3(self) -> float:
        """Mass over volume."""
        return self.molar_mass_g_mol / (PER_MOL * CM3_PER_A3 * self.volume_A3)

    def phase_at(self, temperature_C: float) -> str:
        """Return the phase at a temperature; inside a transition's interval the transition."""
        phase = "orthorhombic" if self.formula == FORMULA else "that of the start"
        if not self.transitions:
            return "not known: no transition is given"
        for change in self.transitions:
            if temperature_C < change.low_C:
                break
            if temperature_C <= change.high_C:
                return f"transition {phase} to {change.phase}"
            phase = change.phase
        return phase


def material(crystal: Crystal, gap_eV: float | None = None,
             transitions: Sequence[Transition] = ()) -> Material:
    """Return what a crystal says, and what is known or given beside.

    Parameters
    ----------
    crystal
        Of the substance; its cell gives mass and volume.
    gap_eV
        Default: the published one of CsPbBr3; needed for any other compound.
    transitions
        In any order; one of CsPbBr3's published ones is replaced by a given one of its name.

    Raises
    ------
    InputError
        For a gap that is not known or not positive, or transitions that overlap.
    """
    known = {t[0]: Transition(*t) for t in TRANSITIONS_C} if crystal.formula == FORMULA else {}
    gap = (GAP_EV if known else 0.0) if gap_eV is None else gap_eV
    require(0 < gap < np.inf,
            f"the band gap of {crystal.formula} is not known: give a positive one with --gap")
    known |= {t.phase: t for t in transitions}
    ordered = tuple(sorted(known.values(), key=lambda t: t.low_C))
    edges = [edge for t in ordered for edge in (t.low_C, t.high_C)]
    require(edges == sorted(edges) and all(t.latent_J_mol >= 0 for t in ordered),
            "the phase transitions overlap, or one ends below its begin or has a negative latent "
            "heat: give each as PHASE=LOW:HIGH, one above the other")
    units = crystal.formula_units
    return Material(crystal.formula, float(crystal.masses_amu.sum()) / units,
                    crystal.volume_A3 / units, len(crystal) // units, gap,
                    not set(crystal.species).isdisjoint(_LIGHT), ordered)


@lru_cache(maxsize=1)
def cspbbr3() -> Material:
    """Return orthorhombic CsPbBr3, measured at 300 K."""
    return material(read_crystal(CRYSTALS[0]))


@dataclass(frozen=True, eq=False)
class HeatCapacity:
    """Heat capacity of one mole of formula units: linear between its points, constant beyond.

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


def usual_heat_capacity(of: Material, start_C: float) -> HeatCapacity:
    """Return the heat capacity where none is given: Dulong and Petit's, while that holds.

    From a colder start it is that of CsPbBr3's own modes. InputError for another compound there,
    and for one with light atoms, whose heat capacity must be given.
    """
    if start_C >= CLASSICAL_FROM_C and not of.light:
        gas = 3 * of.atoms
        return constant_heat_capacity(gas * GAS_J_MOL_K, f"Dulong-Petit, {gas} R")
    why = "with light atoms" if of.light else f"from {start_C:g} C"
    require(of.formula == FORMULA, f"Dulong-Petit is too high for {of.formula} {why}, and the rise "
            "would be too low: give --heat-capacity, a table or the crystal's modes")
    return harmonic_heat_capacity("cspbbr3", of)


def read_heat_capacity(path: str | os.PathLike[str], of: Material) -> HeatCapacity:
    """Read a table of temperature and heat capacity, or a mode file (or a built-in set of modes).

    A table has two columns whose header says their units: temperature in K or C, heat capacity in
    J/mol/K (per mole of formula units) or J/g/K. Modes must be all modes of their cell. Raises
    InputError for anything else.
    """
    if str(path) in BUILTIN:
        return harmonic_heat_capacity(str(path), of)
    text = read_text(path, "table of heat capacity, or mode file")
    if text.lstrip().startswith("{"):
        return harmonic_heat_capacity(str(path), of)
    table = parse_text_table(text, str(path))
    require(len(table.names) == 2, f"{path} has {len(table.names)} columns: give temperature and "
            "heat capacity, two columns")
    (temperature, capacity), (unit, capacity_unit) = table.columns, table.units
    require(unit in ("K", "C", "°C", "degC"), f"{path}: the temperature has the unit {unit!r}; "
            "name it temperature_K or T (C)")
    known = UNITS["heat capacity"] | dict.fromkeys(_PER_GRAM, of.molar_mass_g_mol)
    require(capacity_unit in known, f"{path}: the heat capacity has the unit {capacity_unit!r}; "
            "name it 'Cp (J/mol/K)' or 'Cp (J/g/K)'")
    kelvin = temperature + (0.0 if unit == "K" else ZERO_C_K)
    order = np.argsort(kelvin)
    return HeatCapacity(f"table {path}", kelvin[order], capacity[order] * known[capacity_unit])


def harmonic_heat_capacity(source: str, of: Material) -> HeatCapacity:
    """Return the heat capacity at constant volume of all modes of a cell, up to 1500 K.

    The three acoustic modes may be missing at each wave vector, see phonons.selection.oscillators.
    InputError for an incomplete set, or one of another compound.
    """
    modes = read_modes(source)
    require(modes.crystal.formula == of.formula, f"{source}: the modes are of "
            f"{modes.crystal.formula}, not of {of.formula}: give those of the crystal that is "
            "heated")
    wanted, at_q = 3 * len(modes.crystal), Counter(map(tuple, np.round(modes.q, 8)))
    require(all(wanted - 3 <= count <= wanted for count in at_q.values()),
            f"{source} has {len(modes)} modes: a heat capacity needs all {wanted} of its cell, or "
            f"{wanted - 3} without the acoustic ones, at each wave vector")
    # Linear between these points the enthalpy is right to 1e-6.
    kelvin = np.arange(5.0, 1500.25, 0.5)
    return HeatCapacity(f"harmonic modes of {source}", kelvin, heat_capacity(modes, kelvin))
