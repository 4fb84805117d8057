"""One energy axis for the spectra of different sites and structures, from total energies (Delta-SCF).

The photon energy of a transition into a state of eigenvalue e, seen by a core hole, is
full hole (N - 1 electrons, charged cell): E_hole - E_ground + e. The potential reference of the charged cell cancels.
excited electron (neutral cell): E_excited - E_ground + e - e_LUMO, e_LUMO the level that holds the electron.
half hole: 2 (E_half - E_ground) + e, the Slater estimate; it misses the site dependence of a quarter of the relaxation.
no hole: e alone, so core-level shifts are not included.
E_ground is of the same structure and cell. Pseudopotential constants are common to all sites and leave with the
reference. The finite-size constant of charged cells cancels only between cells of one size and shape.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perovskite_polaron.errors import InputError

HOLES = ("full", "excited", "half", "none")


@dataclass(frozen=True)
class SiteEnergies:
    """Energies of one absorber's calculation, in eV; lumo_eV only for an excited electron.

    fermi_eV is the zero of the stored spectrum (the Fermi energy in its file); cell is (3, 3), Å.
    """

    structure: str
    absorber: str
    multiplicity: int
    hole: str
    ground_energy_eV: float
    hole_energy_eV: float
    fermi_eV: float
    cell_A: tuple[tuple[float, float, float], ...]
    lumo_eV: float | None = None


@dataclass(frozen=True)
class Shift:
    """shift_eV is added to the energies of a spectrum; caveat says why it may not be trusted (empty: nothing)."""

    structure: str
    absorber: str
    shift_eV: float
    caveat: str = ""


def shifts(sites: Sequence[SiteEnergies], reference: str, alignment: str = "delta-scf") -> list[Shift]:
    """Return the shift of every site, relative to the multiplicity-weighted mean of the reference structure.

    alignment "fermi" leaves each spectrum at its own Fermi energy (every shift zero).
    Raises InputError for an unknown alignment or hole, mixed holes, a missing LUMO, or a missing reference.
    """
    if alignment == "fermi":
        return [Shift(s.structure, s.absorber, 0.0, "each spectrum has its own Fermi energy at zero") for s in sites]
    if alignment != "delta-scf":
        raise InputError(f"{alignment!r} is no alignment: choose delta-scf or fermi")
    if len({s.hole for s in sites}) > 1:
        raise InputError("the sites have different kinds of core hole: compute all with one kind")
    base = [s for s in sites if s.structure == reference]
    if not base:
        raise InputError(f"reference structure {reference!r} has no site: name one that was computed")
    zero = np.average([_onset(s) for s in base], weights=[s.multiplicity for s in base])
    return [Shift(s.structure, s.absorber, float(_onset(s) - zero), _caveat(s, base[0])) for s in sites]


def _onset(site: SiteEnergies) -> float:
    change = site.hole_energy_eV - site.ground_energy_eV
    if site.hole == "full":
        return change + site.fermi_eV
    if site.hole == "half":
        return 2 * change + site.fermi_eV
    if site.hole == "none":
        return site.fermi_eV
    if site.hole == "excited":
        if site.lumo_eV is None:
            raise InputError(f"{site.structure} {site.absorber}: an excited electron needs lumo_eV; give that level")
        return change + site.fermi_eV - site.lumo_eV
    raise InputError(f"{site.hole!r} is no kind of core hole: choose from {', '.join(HOLES)}")


def _caveat(site: SiteEnergies, base: SiteEnergies) -> str:
    if site.hole == "none":
        return "no core hole: core-level shifts are not included"
    if site.hole in ("full", "half") and not np.allclose(site.cell_A, base.cell_A, atol=1e-6):
        return "charged cell of another size or shape than the reference: the finite-size constant does not cancel"
    return ""
