"""One energy axis for the spectra of all sites and structures, from total energies (ΔSCF).

The photon energy of a transition into a state of eigenvalue e, seen by a core hole, is

full hole (N - 1 electrons, charged cell): E_hole - E_ground + e. The potential reference of the
charged cell cancels. excited electron (neutral cell): E_excited - E_ground + e - e_LUMO, e_LUMO the
level that holds the electron. half hole: 2 (E_half - E_ground) + e. The energy is nearly quadratic
in the charge of the hole, so twice the half holds half of the relaxation around the full hole, and
that half of its site dependence is missing. no hole: e alone, from the mean potential of its cell;
core-level shifts are not included. cluster (FEFF): E_hole stands for the photon energy of its Fermi
level, made of total energies of the free atom and the potential at its nucleus.

E_ground is of the same structure and cell. Pseudopotential constants are common to all sites and
leave with the reference. The finite-size constant of charged cells cancels only between cells of
one size and shape.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perovskite_polaron.errors import InputError, require

ALIGNMENTS = ("delta-scf", "fermi")
# Kind of core hole -> how often the energy of making it counts.
_COUNTS = {"full": 1, "half": 2, "excited-electron": 1, "none": 0, "cluster": 1}


@dataclass(frozen=True)
class SiteEnergies:
    """Energies of one absorber's calculation, in eV.

    Attributes
    ----------
    hole
        ``full``, ``half``, ``excited-electron``, ``none`` or ``cluster``.
    ground_energy_eV, hole_energy_eV
        Total energies of the cell without and with the core hole.
    fermi_eV
        Zero of the stored spectrum, the Fermi energy in its file.
    cell_A
        Lattice vectors (3, 3), Å.
    lumo_eV
        Level that holds an excited electron; None for the other kinds.
    """

    structure: str
    absorber: str
    multiplicity: int | float
    hole: str
    ground_energy_eV: float
    hole_energy_eV: float
    fermi_eV: float
    cell_A: tuple[tuple[float, ...], ...]
    lumo_eV: float | None = None


@dataclass(frozen=True)
class Shift:
    """What is added to the energies of a spectrum; caveat: why it may not be trusted, or empty."""

    structure: str
    absorber: str
    shift_eV: float
    caveat: str = ""


def shifts(sites: Sequence[SiteEnergies], reference: str,
           alignment: str = "delta-scf") -> list[Shift]:
    """Return the shift of every site, from the weighted mean of the reference structure.

    Parameters
    ----------
    sites
        All sites of all structures.
    reference
        Name of the structure whose mean becomes zero.
    alignment
        "fermi" leaves each spectrum at its own Fermi energy (every shift zero).

    Raises
    ------
    InputError
        For an unknown alignment or hole, mixed holes, NaN, a missing LUMO, or a missing reference.
    """
    if alignment == "fermi":
        caveat = "each spectrum has its own Fermi energy at zero"
        return [Shift(s.structure, s.absorber, 0.0, caveat) for s in sites]
    require(alignment in ALIGNMENTS,
            f"{alignment!r} is no alignment: choose {' or '.join(ALIGNMENTS)}")
    require(len({s.hole for s in sites}) <= 1,
            "the sites have different kinds of core hole: compute all with one kind")
    base = [s for s in sites if s.structure == reference]
    require(base, f"reference structure {reference!r} has no site: name one that was computed")
    zero = np.average([_onset(s) for s in base], weights=[s.multiplicity for s in base])
    return [Shift(s.structure, s.absorber, float(_onset(s) - zero), _caveat(s, base[0]))
            for s in sites]


def _onset(site: SiteEnergies) -> float:
    """Return the photon energy of the zero of the stored spectrum (see the module)."""
    name = f"{site.structure} {site.absorber}"
    require(site.hole in _COUNTS,
            f"{site.hole!r} is no kind of core hole: choose from {', '.join(_COUNTS)}")
    lumo = site.lumo_eV if site.hole == "excited-electron" else 0.0
    if lumo is None:
        raise InputError(f"{name}: an excited electron needs lumo_eV; give that level")
    change = site.hole_energy_eV - site.ground_energy_eV
    require(np.isfinite([change, site.fermi_eV, lumo]).all(),
            f"{name}: its energies are not all finite; run the calculation again")
    return _COUNTS[site.hole] * change + site.fermi_eV - lumo


def _caveat(site: SiteEnergies, base: SiteEnergies) -> str:
    if site.hole == "none":
        return "no core hole: core-level shifts are not included"
    if site.hole == "cluster":
        same = np.isclose(site.hole_energy_eV, base.hole_energy_eV, atol=5.0)
        return "" if same else "its edge is far from that of the reference: see its potentials"
    caveats = ["half hole: half of the relaxation is missing"] if site.hole == "half" else []
    if site.hole in ("full", "half") and not np.allclose(site.cell_A, base.cell_A, atol=1e-6):
        caveats.append("charged cell of another size or shape than the reference: the finite-size"
                       " constant does not cancel")
    return "; ".join(caveats)
