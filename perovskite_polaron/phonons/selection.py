"""Heat capacity and thermal displacements of a crystal in the harmonic approximation, from its Γ modes.

What each mode is and does: polar or not, longitudinal or not, who moves, how strongly carriers feel it; and the choice.

Carriers couple to the electric field of a longitudinal mode: Fröhlich, Adv. Phys. 3, 325 (1954), for several modes
Verdi and Giustino, Phys. Rev. Lett. 115, 176401 (2015), eq. 4, in the limit of a long wave.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perovskite_polaron.errors import InputError
from perovskite_polaron.kernels.heating import harmonic_capacity
from perovskite_polaron.lattice.octahedra import Comparison, Framework, find_framework, rms_by_class
from perovskite_polaron.phonons.modes import PhononModes
from perovskite_polaron.phonons.response import COULOMB_EV_A, Response
from perovskite_polaron.phonons.symmetry import irreps
from perovskite_polaron.units import BOLTZMANN_MEV_K, HBAR2_PER_AMU_A2_EV, RYDBERG_EV


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
    coth = 1.0 if temperature_K == 0 else 1 / np.tanh(energies / (2 * BOLTZMANN_MEV_K * temperature_K))
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



# (debye/Å)² for one elementary charge squared: the unit of tabulated infrared intensities.
DEBYE2_A2_PER_E2 = (1 / 0.20819433) ** 2
POLAR_E = 0.01


@dataclass(frozen=True, eq=False)
class ModeRow:
    """One mode of the table.

    kind            "acoustic", "non-polar", "TO", "LO", or "LO-TO" where the direction mixes them; without charges
                    "optical"
    mode_charge_e   (3,) Σ_k Z_k u_k / sqrt(Σ|u|²), elementary charges [Gonze and Lee, Phys. Rev. B 55, 10355, eq. 53]
    mode_charge     its component along the direction, without a direction its length, elementary charges; or None
    ir_intensity    |Σ_k Z_k u_k|² for Σ m|u|² = 1, (debye/Å)²/amu; or None
    froehlich_meV_A |q·g|, g the matrix element of the mode for q → 0 along the direction, meV/Å; or None
    alpha           Fröhlich's coupling constant of this mode alone, or None without a mass
    ratio           axial_to_equatorial, axial_to_B as bonds.compare defines them; None without octahedra
    a_to_axial      the same for the A site: A over axial X
    """

    energy_meV: float
    unstable: bool
    irrep: str
    kind: str
    mode_charge: float | None
    mode_charge_e: NDArray[np.float64] | None
    ir_intensity: float | None
    froehlich_meV_A: float | None
    alpha: float | None
    ratio: dict[str, float | None] | None
    a_to_axial: float | None
    classes: dict[str, float] | None


def mode_table(modes: PhononModes, response: Response | None = None, mass: float | None = None) -> list[ModeRow]:
    """Return one row for each mode at Γ.

    response  charges and ε∞; without them there is no kind beyond "optical", no charge, intensity or coupling
    mass      effective mass of the carrier in electron masses, for alpha
    Raises InputError for modes that are not at Γ, or charges of another crystal.
    """
    if not modes.at_gamma:
        raise InputError("the table of polar modes is for the wave vector 0 0 0: give the modes at Γ")
    if response is not None and len(response.born_e) != len(modes.crystal):
        raise InputError(f"the charges are not those of the {len(modes.crystal)} atoms of {modes.crystal.label}")
    try:
        framework: Framework | None = find_framework(modes.crystal)
    except InputError:
        framework = None  # not a perovskite: there is no axial direction to speak of
    acoustic = modes.translation_share > 0.5
    dipoles = None if response is None else np.einsum("kab,mkb->ma", response.born_e, modes.patterns)
    coupling = None if response is None or modes.direction is None else froehlich_eV_A(modes, response)
    strength = None if coupling is None or mass is None or response is None else _alpha(modes, response, coupling, mass)
    rows = []
    for i, irrep in enumerate(irreps(modes)):
        pattern = modes.patterns[i]
        charge = None if dipoles is None else np.asarray((dipoles[i] / np.linalg.norm(pattern)).real)
        classes = None if framework is None else rms_by_class(framework, (np.abs(pattern) ** 2).sum(axis=1))
        along = None if charge is None or modes.direction is None else abs(float(charge @ modes.direction))
        rows.append(
            ModeRow(
                float(modes.energies_meV[i]),
                bool(modes.unstable[i]),
                irrep,
                "acoustic" if acoustic[i] else _kind(charge, along),
                along if along is not None or charge is None else float(np.linalg.norm(charge)),
                charge,
                None if dipoles is None else float((np.abs(dipoles[i]) ** 2).sum() * DEBYE2_A2_PER_E2),
                None if coupling is None else float(coupling[i] * 1e3),
                None if strength is None else float(strength[i]),
                None if classes is None else Comparison(pattern.real, classes, np.zeros(3)).ratio,
                None if not classes or classes["axial_X"] < 1e-9 else classes["A"] / classes["axial_X"],
                classes,
            )
        )
    return rows


def froehlich_eV_A(modes: PhononModes, response: Response) -> NDArray[np.float64]:
    """Return |q g_ν| (m,) in eV/Å for q → 0 along the direction of the modes.

    g_ν = (e²/ε0 Ω|q|) sqrt(ħ/2ω_ν) Σ_k q̂·Z_k·u_kν / (q̂·ε∞·q̂), Σ m|u|² = 1: eq. 4 of Verdi and Giustino for one unit
    cell, one electron at the band edge. Zero for acoustic and unstable modes. Raises InputError without a direction.
    """
    q = modes.direction
    if q is None:
        raise InputError("the Fröhlich coupling needs the direction along which q → 0: give --direction")
    stable = (modes.energies_meV > 0) & (modes.translation_share < 0.5)
    dipole = np.abs(np.einsum("a,kab,mkb->m", q, response.born_e, modes.patterns))
    energy_eV = np.where(stable, modes.energies_meV, 1.0) * 1e-3
    screened = 4 * np.pi * COULOMB_EV_A / modes.crystal.volume_A3 / (q @ response.epsilon_inf @ q)
    return np.where(stable, screened * dipole * np.sqrt(HBAR2_PER_AMU_A2_EV / (2 * energy_eV)), 0.0)


def inverse_kappa(modes: PhononModes, response: Response, coupling_eV_A: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each mode's part (m,) of 1/ε∞ − 1/ε0 along the direction: the lattice screening that it provides.

    Fröhlich's |g|² = (e²/4πε0)(2πħω/Ω)(1/ε∞ − 1/ε0)/q² read backwards; the parts add up to the whole.
    """
    energy_eV = np.where(coupling_eV_A > 0, modes.energies_meV, 1.0) * 1e-3
    return np.asarray(coupling_eV_A**2 * modes.crystal.volume_A3 / (2 * np.pi * COULOMB_EV_A * energy_eV))


def static_dielectric(transverse: PhononModes, response: Response) -> NDArray[np.float64]:
    """Return ε0 (3, 3): ε∞ and what the stable modes without the macroscopic field add [Gonze and Lee, eq. 56]."""
    stable = (transverse.energies_meV > 0) & (transverse.translation_share < 0.5)
    dipoles = np.einsum("kab,mkb->ma", response.born_e, transverse.patterns[stable])
    weight = HBAR2_PER_AMU_A2_EV / (transverse.energies_meV[stable] * 1e-3) ** 2
    ionic = np.einsum("m,ma,mb->ab", weight, dipoles, dipoles.conj()).real
    return response.epsilon_inf + 4 * np.pi * COULOMB_EV_A / transverse.crystal.volume_A3 * ionic


def select(rows: Sequence[ModeRow]) -> tuple[int | None, str]:
    """Return the index of the mode that dresses the carriers, and the reason in words; (None, why) if none can be told.

    With a direction, the stable optical mode with the largest Fröhlich matrix element. This uses no measured spectrum:
    a carrier is dressed by the lattice field it feels most.
    """
    coupled = [(row.froehlich_meV_A, i) for i, row in enumerate(rows) if row.froehlich_meV_A]
    if not coupled:
        return None, "no mode is chosen: the coupling to carriers needs Born charges and a direction (--direction)"
    ordered = sorted(coupled, reverse=True)
    (first, index), row = ordered[0], rows[ordered[0][1]]
    share = first**2 / sum(g**2 for g, _ in coupled if g is not None) if first else 0.0
    text = (
        f"mode {index} ({row.energy_meV:.2f} meV, {row.irrep} {row.kind}) is chosen a priori: a wave of it along the"
        f" direction makes the strongest electric field, so carriers couple to it most"
        f" ({first:.0f} meV/Å, {share:.0%} of the sum of squares)"
    )
    if len(ordered) > 1 and ordered[1][0]:
        second = rows[ordered[1][1]]
        text += f"; the next is mode {ordered[1][1]} ({second.energy_meV:.2f} meV, {ordered[1][0]:.0f} meV/Å)"
    return index, text


def transverse_partner(longitudinal: PhononModes, index: int, transverse: PhononModes) -> tuple[int, float]:
    """Return the mode without the macroscopic field that is most like mode index, and the squared overlap (0 to 1)."""
    overlap = np.abs(transverse.weighted.conj() @ longitudinal.weighted[index]) ** 2
    best = int(overlap.argmax())
    return best, float(overlap[best])


def _kind(charge: NDArray[np.float64] | None, along: float | None) -> str:
    if charge is None:
        return "optical"
    size = float(np.linalg.norm(charge))
    if size < POLAR_E:
        return "non-polar"
    part = 0.0 if along is None else along / size
    return "LO" if part > 0.95 else "TO" if part < 0.05 else "LO-TO"


def _alpha(
    modes: PhononModes, response: Response, coupling_eV_A: NDArray[np.float64], mass: float
) -> NDArray[np.float64]:
    """α = (e²/4πε0ħ)(1/ε∞ − 1/ε0) sqrt(m/2ħω), each mode with its own part of the screening."""
    if not (np.isfinite(mass) and mass > 0):
        raise InputError(f"an effective mass of {mass:g} electron masses is not possible: give a positive number")
    energy_eV = np.where(coupling_eV_A > 0, modes.energies_meV, 1.0) * 1e-3
    return np.asarray(inverse_kappa(modes, response, coupling_eV_A) * np.sqrt(RYDBERG_EV * mass / energy_eV))
