"""Heat capacity and thermal displacements of a crystal in the harmonic approximation, from its Γ modes."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perovskite_polaron.distortion import KT_MEV_PER_K
from perovskite_polaron.errors import InputError
from perovskite_polaron.kernels.heating import harmonic_capacity
from perovskite_polaron.phonons.spectrum import PhononModes
from perovskite_polaron.units import HBAR2_PER_AMU_A2_EV


def heat_capacity(
    modes: PhononModes, temperature_K: ArrayLike, formula_units: int | None = None
) -> NDArray[np.float64]:
    """Return C_V (t,) in J/mol/K for each formula unit at temperatures (t,).

    Only Γ is sampled: the rigid translations,
    and modes with an imaginary frequency, have no energy there and are taken to be spread like the others, so that the
    limit of high temperature is that of Dulong and Petit, 3R for each atom. Below about a quarter of the mean mode energy
    the true capacity, which the acoustic branches dominate, is larger.
    formula_units  in the cell; default: the greatest common divisor of the numbers of atoms of each element
    Raises InputError for a negative temperature, or modes not at Γ.
    """
    t = np.atleast_1d(np.asarray(temperature_K, dtype=np.float64))
    energies = _usable(modes)[0]
    if not (np.isfinite(t).all() and (t >= 0).all()):
        raise InputError("a temperature is negative or not a number: give it in kelvin")
    weight = 3 * len(modes.crystal) / len(energies) / (formula_units or formula_units_of(modes))
    return harmonic_capacity(energies, np.full(len(energies), weight), t)


def formula_units_of(modes: PhononModes) -> int:
    """Return how many formula units the cell holds."""
    species = modes.crystal.species
    return int(np.gcd.reduce([species.count(s) for s in set(species)]))


def thermal_displacements_A2(modes: PhononModes, temperature_K: float) -> NDArray[np.float64]:
    """Return ⟨u u⟩ (n, 3, 3), Å², of each atom: Σ ħ/2ω coth(ħω/2k_BT) Re u u* over the stable optical modes at Γ.

    A lower bound: the acoustic branches, whose sum diverges at Γ, are not in it. Raises InputError as heat_capacity.
    """
    if not temperature_K >= 0:
        raise InputError(f"{temperature_K} K is not a temperature: give zero or more, in kelvin")
    energies, patterns = _usable(modes)
    coth = 1.0 if temperature_K == 0 else 1 / np.tanh(energies / (2 * KT_MEV_PER_K * temperature_K))
    weight = HBAR2_PER_AMU_A2_EV / (2e-3 * energies) * coth
    return np.asarray(np.einsum("m,mka,mkb->kab", weight, patterns, patterns.conj()).real)


def _usable(modes: PhononModes) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
    """Energies and patterns of the modes that have an energy at Γ."""
    if not modes.at_gamma:
        raise InputError("thermal properties are taken from the modes at Γ: give those with the wave vector 0 0 0")
    stable = (modes.translation_share < 0.5) & (modes.energies_meV > 0)
    if not stable.any():
        raise InputError("no mode is stable: thermal properties do not exist in the harmonic approximation")
    return modes.energies_meV[stable], modes.patterns[stable]
