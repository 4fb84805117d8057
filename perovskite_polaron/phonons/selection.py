"""What each mode at Γ is and does, and which of them dresses the carriers.

Polar or not, longitudinal or not, who moves, how strongly carriers feel it. Heat capacity and
thermal displacements in the harmonic approximation are here, too.

Carriers couple to the electric field of a longitudinal mode: Fröhlich, Adv. Phys. 3, 325 (1954),
for several modes Verdi and Giustino, Phys. Rev. Lett. 115, 176401 (2015), eq. 4, in the limit of a
long wave.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.lattice.octahedra import class_ratios, find_framework, rms_by_class
from perovskite_polaron.phonons.field import with_field
from perovskite_polaron.phonons.modes import Modes
from perovskite_polaron.phonons.response import COULOMB_EV_A, Response, crystal_direction
from perovskite_polaron.phonons.symmetry import irreps
from perovskite_polaron.units import BOLTZMANN_MEV_K, GAS_J_MOL_K, HBAR2_PER_AMU_A2_EV, RYDBERG_EV

# (debye/Å)² for one elementary charge squared: the unit of tabulated infrared intensities.
DEBYE2_A2_PER_E2 = (1 / 0.20819433) ** 2
POLAR_E = 0.01
_POLAR_NODES, _AZIMUTHS = 4, 8


@dataclass(frozen=True, eq=False)
class ModeRow:
    """One mode of the table.

    Attributes
    ----------
    energy_meV : float
        Negative for an imaginary frequency.
    unstable : bool
        Whether it has one and is no rigid translation.
    irrep : str
        Name of its irreducible representation.
    kind : str
        "acoustic", "non-polar", "TO", "LO", or "LO-TO" where the direction mixes them; without
        charges "optical".
    mode_charge : float or None
        Component of mode_charge_e along the direction, without a direction its length.
    mode_charge_e : (3,) float64 or None
        Σ_k Z_k u_k / √(Σ|u|²), elementary charges [Gonze and Lee, Phys. Rev. B 55, 10355, eq. 53].
    ir_intensity : float or None
        |Σ_k Z_k u_k|² for Σ m|u|² = 1, (debye/Å)²/amu.
    froehlich_meV_A : float or None
        |q·g|, g the matrix element of the mode for q → 0 along the direction, meV/Å.
    alpha : float or None
        Fröhlich's coupling constant of this mode alone, where a mass is given.
    ratio : dict or None
        axial_to_equatorial and axial_to_B as octahedra.class_ratios defines them; None without
        octahedra.
    a_to_axial : float or None
        The same for A over axial X.
    classes : dict or None
        Root mean square of the pattern over the atoms axial_X, equatorial_X, B and A.
    """

    energy_meV: float
    unstable: bool
    irrep: str
    kind: str
    mode_charge: float | None
    mode_charge_e: Array | None
    ir_intensity: float | None
    froehlich_meV_A: float | None
    alpha: float | None
    ratio: dict[str, float | None] | None
    a_to_axial: float | None
    classes: dict[str, float] | None


def mode_table(modes: Modes, response: Response | None = None,
               mass: float | None = None) -> list[ModeRow]:
    """Return one row for each mode at Γ.

    Parameters
    ----------
    modes : Modes
        All modes at Γ.
    response : Response, optional
        Without charges and ε∞ there is no kind beyond "optical", no charge, intensity or coupling.
    mass : float, optional
        Effective mass of the carrier in electron masses; without it there is no alpha.

    Raises
    ------
    InputError
        For modes that are not at Γ, or charges of another crystal.
    """
    require(modes.at_gamma,
            "the table of polar modes is for the wave vector 0 0 0: give the modes at Γ")
    require(response is None or len(response.born_e) == len(modes.crystal),
            f"the charges are not those of the {len(modes.crystal)} atoms of {modes.crystal.label}")
    try:
        framework = find_framework(modes.crystal)
    except InputError:
        framework = None  # not a perovskite: there is no axial direction to speak of
    acoustic, unstable = modes.translation_share > 0.5, modes.unstable
    dipoles = coupling = strength = None
    if response is not None:
        dipoles = np.einsum("kab,mkb->ma", response.born_e, modes.patterns)
        if modes.direction is not None:
            coupling = froehlich_eV_A(modes, response)
            strength = None if mass is None else _alpha(modes, response, coupling, mass)
    rows = []
    for i, irrep in enumerate(irreps(modes)):
        squares = (np.abs(modes.patterns[i]) ** 2).sum(axis=1)
        charge = size = along = intensity = classes = ratio = a_to_axial = None
        if dipoles is not None:
            charge = np.asarray((dipoles[i] / np.sqrt(squares.sum())).real)
            intensity = float((np.abs(dipoles[i]) ** 2).sum() * DEBYE2_A2_PER_E2)
            size = float(np.linalg.norm(charge))
            if modes.direction is not None:
                along = abs(float(charge @ modes.direction))
        if framework is not None:
            classes = rms_by_class(framework.by_motion(modes.patterns[i]), squares)
            ratio = class_ratios(classes)
            a_to_axial = classes["A"] / classes["axial_X"] if classes["axial_X"] >= 1e-9 else None
        rows.append(ModeRow(
            float(modes.energies_meV[i]), bool(unstable[i]), irrep,
            "acoustic" if acoustic[i] else _kind(size, along), size if along is None else along,
            charge, intensity, None if coupling is None else float(coupling[i] * 1e3),
            None if strength is None else float(strength[i]), ratio, a_to_axial, classes))
    return rows


def froehlich_eV_A(modes: Modes, response: Response) -> Array:
    """Return |q g_ν| (m,) in eV/Å for q → 0 along the direction of the modes.

    g_ν = (e²/ε0 Ω|q|) sqrt(ħ/2ω_ν) Σ_k q̂·Z_k·u_kν / (q̂·ε∞·q̂), Σ m|u|² = 1: eq. 4 of Verdi and
    Giustino for one unit cell, one electron at the band edge. Zero for acoustic and unstable modes.

    Raises
    ------
    InputError
        Without a direction.
    """
    q = modes.direction
    if q is None:
        raise InputError("the Fröhlich coupling needs the direction along which q → 0: give"
                         " --direction")
    stable = modes.optical
    dipole = np.abs(np.einsum("a,kab,mkb->m", q, response.born_e, modes.patterns))
    energy_eV = np.where(stable, modes.energies_meV, 1.0) * 1e-3
    screened = 4 * np.pi * COULOMB_EV_A / modes.crystal.volume_A3 / (q @ response.epsilon_inf @ q)
    return np.where(stable, screened * dipole * np.sqrt(HBAR2_PER_AMU_A2_EV / (2 * energy_eV)), 0.0)


def inverse_kappa(modes: Modes, response: Response, coupling_eV_A: Array) -> Array:
    """Return each mode's part (m,) of the lattice screening 1/ε∞ − 1/ε0 along the direction.

    Fröhlich's |g|² = (e²/4πε0)(2πħω/Ω)(1/ε∞ − 1/ε0)/q² read backwards; the parts add up to the
    whole.
    """
    energy_eV = np.where(coupling_eV_A > 0, modes.energies_meV, 1.0) * 1e-3
    return np.asarray(coupling_eV_A**2 * modes.crystal.volume_A3
                      / (2 * np.pi * COULOMB_EV_A * energy_eV))


def static_dielectric(transverse: Modes, response: Response) -> Array:
    """Return ε0 (3, 3): ε∞ and what the stable modes without the macroscopic field add.

    Gonze and Lee, Phys. Rev. B 55, 10355 (1997), eq. 56.
    """
    stable = transverse[transverse.optical]
    dipoles = np.einsum("kab,mkb->ma", response.born_e, stable.patterns)
    weight = HBAR2_PER_AMU_A2_EV / (stable.energies_meV * 1e-3) ** 2
    ionic = np.einsum("m,ma,mb->ab", weight, dipoles, dipoles.conj()).real
    return response.epsilon_inf + 4 * np.pi * COULOMB_EV_A / transverse.crystal.volume_A3 * ionic


def select(rows: Sequence[ModeRow],
           soft: Collection[int] = ()) -> tuple[int | None, str]:
    """Return the index of the mode that dresses the carriers and the reason, or None and why not.

    With a direction, the stable optical mode with the largest Fröhlich constant α ∝ |q·g|²/ω^(3/2):
    what a carrier deforms at rest, which a stiff mode makes small even where its field is strong.
    This uses no measured spectrum. The modes of the set soft are passed over.
    """
    weights = {i: row.froehlich_meV_A**2 / row.energy_meV**1.5
               for i, row in enumerate(rows) if row.froehlich_meV_A and i not in soft}
    if not weights:
        return None, ("no mode is chosen: the coupling to carriers needs Born charges and a"
                      " direction (--direction)")
    index, *others = sorted(weights, key=lambda i: weights[i], reverse=True)
    total = sum(weights.values())

    def strength(i: int) -> str:
        alpha = "" if rows[i].alpha is None else f"α {rows[i].alpha:.2f}, "
        return f"{alpha}{weights[i] / total:.0%} of the sum over modes"

    row = rows[index]
    text = (f"mode {index} ({row.energy_meV:.2f} meV, {row.irrep} {row.kind}) is chosen a priori:"
            " carriers deform the lattice most along it (largest Fröhlich constant along the"
            f" direction: {strength(index)}; g {row.froehlich_meV_A:.0f} meV/Å)")
    if others:
        second = others[0]
        text += (f"; the next is mode {second} ({rows[second].energy_meV:.2f} meV,"
                 f" {strength(second)})")
    return index, text


def held_by_field(modes: Modes, transverse: Modes | None) -> set[int]:
    """Return the modes that are stable only with the field: without, their nearest kin is not.

    A harmonic coupling to them says nothing: it diverges where such an energy goes to zero.
    """
    if transverse is None or modes.direction is None:
        return set()
    return {i for i in np.flatnonzero(modes.optical).tolist()
            if transverse.unstable[transverse_partner(modes, i, transverse)[0]]}


def direction_table(transverse: Modes, response: Response,
                    mass: float | None = None) -> list[dict[str, Any]]:
    """Return what the rule chooses for q → 0 along a, b and c, where a mode couples at all.

    The keys are those of the command: direction, energy_meV, froehlich_meV_per_A, alpha and ratio
    of the mode, alpha_all_modes, and relative_alpha, which is 1 for the direction that the rule
    would take.
    """
    found = []
    for direction in ("a", "b", "c"):
        modes = with_field(transverse, response, crystal_direction(transverse.crystal, direction))
        rows = mode_table(modes, response, mass)
        index = select(rows, held_by_field(modes, transverse))[0]
        if index is not None:
            row, g = rows[index], rows[index].froehlich_meV_A or 0.0
            found.append({
                "direction": direction, "energy_meV": row.energy_meV, "froehlich_meV_per_A": g,
                "alpha": row.alpha, "ratio": row.ratio,
                "alpha_all_modes": None if mass is None else sum(r.alpha or 0.0 for r in rows),
                "relative_alpha": g**2 / row.energy_meV**1.5})
    largest = max((row["relative_alpha"] for row in found), default=1.0)
    return [{**row, "relative_alpha": row["relative_alpha"] / largest} for row in found]


def spherical_alpha(transverse: Modes, response: Response, mass: float) -> float | None:
    """Return the mean over all directions of q of the sum of α over modes.

    None for a crystal with unstable modes, in which it does not exist.
    """
    if transverse.unstable.any():
        return None
    # Even in q: half a sphere, with Gauss's nodes in cos θ and equal steps in φ.
    nodes, weights = np.polynomial.legendre.leggauss(_POLAR_NODES)
    total = 0.0
    for cosine, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        for phi in 2 * np.pi * np.arange(_AZIMUTHS) / _AZIMUTHS:
            sine = np.sqrt(1 - cosine**2)
            q = np.array([sine * np.cos(phi), sine * np.sin(phi), cosine])
            modes = with_field(transverse, response, q)
            alpha = _alpha(modes, response, froehlich_eV_A(modes, response), mass)
            total += weight * float(alpha.sum()) / _AZIMUTHS
    return total


def transverse_partner(longitudinal: Modes, index: int, transverse: Modes) -> tuple[int, float]:
    """Return the mode without the field that is most like mode index, and the squared overlap."""
    overlap = np.abs(transverse.weighted.conj() @ longitudinal.weighted[index]) ** 2
    best = int(overlap.argmax())
    return best, float(overlap[best])


def oscillators(modes: Modes) -> tuple[Array, Array]:
    """Return the energies (k,) of the stable optical modes, meV, and the weight (k,) of each.

    The weight is the number of oscillators of a formula unit that the mode stands for.

    The rigid translations, and modes with an imaginary frequency, are taken to be spread like the
    others, so that the limit of a high temperature is that of Dulong and Petit, 3R for each atom.
    """
    energies = modes.energies_meV[modes.optical]
    require(energies.size,
            "no mode is stable: thermal properties do not exist in the harmonic approximation")
    per_formula = 3 * len(modes.crystal) / modes.crystal.formula_units
    return energies, np.full(len(energies), per_formula / len(energies))


def heat_capacity(modes: Modes, temperature_K: ArrayLike) -> Array:
    """Return C_V (t,) in J/mol/K for each formula unit at temperatures (t,).

    With the modes at Γ only, below about a quarter of the mean mode energy the true capacity, which
    the acoustic branches dominate, is larger.

    Raises
    ------
    InputError
        For a negative temperature, or when no mode is stable.
    """
    t = np.atleast_1d(np.asarray(temperature_K, dtype=np.float64))
    require(np.isfinite(t).all() and (t >= 0).all(),
            "a temperature is negative or not a number: give it in kelvin")
    energies, weights = oscillators(modes)
    # k Σ w (x / 2 sinh(x/2))², x = E/kT: nothing is left of a mode beyond x/2 = 300.
    with np.errstate(divide="ignore"):
        half = np.minimum(energies / (2 * BOLTZMANN_MEV_K * t[:, None]), 300.0)
    return np.asarray(GAS_J_MOL_K * ((half / np.sinh(half)) ** 2 @ weights))


def thermal_displacements_A2(modes: Modes, temperature_K: float) -> Array:
    """Return ⟨u u⟩ (n, 3, 3), Å², of each atom: Σ ħ/2ω coth(ħω/2k_BT) Re u u*.

    The sum runs over the stable optical modes at Γ.

    A lower bound: the acoustic branches, whose sum diverges at Γ, are not in it.

    Raises
    ------
    InputError
        When no mode is stable.
    """
    modes = modes.stable()
    weight, u = modes.zero_point_sqrt_amu_A**2, modes.patterns
    if temperature_K > 0:
        weight = weight / np.tanh(modes.energies_meV / (2 * BOLTZMANN_MEV_K * temperature_K))
    return np.asarray(np.einsum("m,mka,mkb->kab", weight, u, u.conj()).real)


def _kind(size: float | None, along: float | None) -> str:
    if size is None:
        return "optical"
    if size < POLAR_E:
        return "non-polar"
    part = 0.0 if along is None else along / size
    return "LO" if part > 0.95 else "TO" if part < 0.05 else "LO-TO"


def _alpha(modes: Modes, response: Response, coupling_eV_A: Array, mass: float) -> Array:
    """α = (e²/4πε0ħ)(1/ε∞ − 1/ε0) sqrt(m/2ħω), each mode with its own part of the screening."""
    require(np.isfinite(mass) and mass > 0, f"an effective mass of {mass:g} electron masses is not"
            " possible: give a positive number")
    energy_eV = np.where(coupling_eV_A > 0, modes.energies_meV, 1.0) * 1e-3
    return np.asarray(inverse_kappa(modes, response, coupling_eV_A)
                      * np.sqrt(RYDBERG_EV * mass / energy_eV))
