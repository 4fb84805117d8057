"""What carriers at the edges of the gap change in the spectra of a study: opened and blocked
channels.

Holes in the valence band open transitions into it, electrons in the conduction band block others.
The chains hold both bands, but of a few k points: a level of theirs stands for a large part of the
zone, and the nearest may lie half an eV from the edge where the carriers are. So how many carriers
there are, and at which energies, comes from the band edges of ``polaron pdos`` and an effective
mass, and only what one carrier is worth in intensity from the chains. There are two ways to say
that (``absorber_chains``), with the core hole and without.

The opened channel is therefore taken without, the blocked one with the core hole, and the other way
of each is printed beside it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.published_cspbbr3 import FORMULA, HOLE_MASS
from perovskite_polaron.spectra.broadening import resolve
from perovskite_polaron.spectra.carriers import BandStates, Carriers, carriers, computed, parabolic
from perovskite_polaron.spectra.projected import ProjectedStates, band_edges, read_states
from perovskite_polaron.spectra.spectrum import Spectrum
from perovskite_polaron.workflow.absorber_chains import AbsorberChains, Way
from perovskite_polaron.workflow.results import SiteResult, StructureResult, StudyResults
from perovskite_polaron.workflow.spectra import chain_ends, common_axis, cut_above_eV
from perovskite_polaron.workflow.study import SpectraSettings, need_xspectra

#: What the strength of filling counts, and the temperature that its shape is of.
PER_CM3, ROOM_K = 1e19, 300.0
#: The window from an edge over which the intensity per state is a mean.
WINDOW_EV = 2.0
# Total energies of one crystal with other pseudopotentials or cut-offs differ by more.
_SAME_EV = 0.01


@dataclass(frozen=True, eq=False)
class SiteCarriers:
    """Powder spectra of one absorber.

    Attributes
    ----------
    label, parent, multiplicity
        Its name, its Wyckoff site in the undisturbed crystal, how many there are.
    valence_share, conduction_share
        Of the edge states, on the p shell of one such atom.
    chain, projection
        With and without the core hole.
    as_it_stands
        What the chain's own levels open and block at these quasi-Fermi levels, (n,) each.
    """

    label: str
    parent: str
    multiplicity: int | float
    valence_share: float
    conduction_share: float
    chain: Way
    projection: Way
    as_it_stands: tuple[Array, Array]


@dataclass(frozen=True, eq=False)
class CarrierSpectra:
    """Channels of a structure.

    Attributes
    ----------
    structure
        Its name.
    carriers
        The carriers.
    energy_eV
        (n,), the study's common axis.
    edges_eV
        Valence band maximum and conduction band minimum, on the mean axis of its sites.
    sites
        Each inequivalent absorber.
    """

    structure: str
    carriers: Carriers
    energy_eV: Array
    edges_eV: tuple[float, float]
    sites: tuple[SiteCarriers, ...]

    @property
    def opened(self) -> Array:
        """What all absorbers gain in the mean, (n,)."""
        return self.mean([s.projection.opened for s in self.sites])

    @property
    def blocked(self) -> Array:
        """What all absorbers lose in the mean, (n,), positive."""
        return self.mean([s.chain.blocked for s in self.sites])

    @property
    def difference(self) -> Array:
        """Gained less lost, (n,)."""
        return self.opened - self.blocked

    def mean(self, curves: Sequence[Array]) -> Array:
        """Return the mean of a curve of each site, by their numbers."""
        return np.average(curves, axis=0, weights=[s.multiplicity for s in self.sites])


def read_edges(results: StudyResults, folder: Path, path: Path | None = None) -> ProjectedStates:
    """Return the projected states of a study's reference, which say where its band edges are.

    Parameters
    ----------
    results, folder
        The study, and the folder of its results.
    path
        The file; default: pdos.npz beside the results, or where ``polaron pdos`` leaves it.

    Raises
    ------
    InputError
        When there is none, or it is not of the reference as this study computed it; for a study of
        another engine than XSpectra.
    """
    need_xspectra(results.study, "polaron carriers")
    reference = reference_of(results)
    if path is None:
        places = (folder / "pdos.npz", folder / "pdos" / reference.name / "pdos.npz")
        path = next((p for p in places if p.is_file()), None)
    if path is None:
        raise InputError(f"{folder} has no pdos.npz, which says where the band edges are: polaron"
                         " pdos STUDY computes it (polaron carriers --pdos takes another)")
    states, record = read_states(path)
    require(not states.polarised, f"{path} has two spins, of which carriers know nothing: use a"
            " study without magnetic moments")
    there = record.get("total_energy_eV")
    require(there is not None
            and abs(float(there) - reference.ground["total_energy_eV"]) < _SAME_EV,
            f"{path} is not of {reference.name} as this study computed it: its total energy is"
            " another; make it again with polaron pdos")
    return states


def reference_of(results: StudyResults) -> StructureResult:
    """Return the study's reference structure."""
    return next(s for s in results.structures if s.name == results.study.reference)


def edge_bands(states: ProjectedStates, volume_A3: float, electron_mass: float | None = None,
               hole_mass: float | None = None) -> tuple[BandStates, BandStates]:
    """Return the states that electrons and holes fill.

    Where no mass is given it is the published one of the hole of CsPbBr3 for both (its bands are
    nearly mirror images), and for any other compound the computed levels.
    """
    atoms = {(s.element, s.site): s.atoms for s in states.shells}
    counts: Counter[str] = Counter()
    for (element, _), number in atoms.items():
        counts[element] += number
    known = HOLE_MASS if _formula(counts) == FORMULA else None
    masses = {"CBM": known if electron_mass is None else electron_mass,
              "VBM": known if hole_mass is None else hole_mass}
    electrons, holes = (computed(states, edge) if mass is None else parabolic(mass, volume_A3)
                        for edge, mass in masses.items())
    return electrons, holes


def _formula(counts: Mapping[str, int]) -> str:
    from ase.formula import Formula

    return str(Formula.from_dict(dict(counts)).reduce()[0].format("metal"))


def carrier_spectra(results: StudyResults, settings: SpectraSettings, states: ProjectedStates,
                    given: Carriers, structure: str | None = None,
                    window_eV: float = WINDOW_EV) -> CarrierSpectra:
    """Return the opened and blocked channels of a structure (default: the reference).

    Parameters
    ----------
    results, settings
        The study. Distorted structures take the edges of the reference, and their sites its shares
        by the site that they come from.
    states
        Of the reference.
    given
        The carriers.
    window_eV
        Window over which the chains' intensity per state is a mean.

    Raises
    ------
    InputError
        For a study without chains of a K edge, with smeared occupations, or whose sites are not in
        the projected states; a window that is not positive, or reaches beyond the computed bands.
    """
    study = results.study
    require(study.edge == "K", f"{study.path}: carriers in p states are seen at a K edge only")
    one = next((s for s in results.structures if s.name == (structure or study.reference)), None)
    if one is None:
        names = ", ".join(s.name for s in results.structures)
        raise InputError(f"there is no structure {structure!r}: choose from {names}")
    high = states.complete_to_eV()
    valence, conduction = band_edges(states, by_site=True)
    require(0 < window_eV <= high - conduction.energy_eV, f"a window of {window_eV:g} eV does not"
            f" fit the computed bands, which end {high - conduction.energy_eV:.1f} eV above the"
            " gap: give a smaller one, or compute more empty bands")
    axis = common_axis(results, settings)
    top_eV = states.top_eV - reference_of(results).ground["fermi_eV"]
    edges = top_eV, top_eV + conduction.energy_eV
    counted = _counted(states, window_eV)
    found = []
    for site in one.sites:
        shell = _Shell.of(states, study.element, site)
        shift = axis.shift_eV(one.name, site.label)
        require(site.hole["fermi_eV"] == site.hole["highest_occupied_eV"], f"{site.label} was"
                " computed with smeared occupations: where its bands end is not known")
        maker = AbsorberChains(
            [results.chains[n] for n in site.chains.values()], axis.own_eV - shift, axis.hwhm_eV,
            chain_ends(study, settings), max(cut_above_eV(site, settings), 1e-6), edges)

        def seen(curve: Array) -> Array:
            return resolve(Spectrum(axis.grid_eV, curve), settings.resolution_fwhm_eV).intensity

        shares = [edge.shares.get(shell.label, 0.0) / shell.atoms for edge in (valence, conduction)]
        chain = maker.chain(given, counted, window_eV)
        projected = maker.projection(given, shares, shell.electrons)
        stands = maker.as_it_stands(given)
        chain, projected = (Way(seen(w.opened), seen(w.blocked), w.per_hole, w.per_electron)
                            for w in (chain, projected))
        found.append(SiteCarriers(site.label, site.parent or site.site, site.multiplicity,
                                  shares[0], shares[1], chain, projected,
                                  (seen(stands[0]), seen(stands[1]))))
    weights = [s.multiplicity for s in one.sites]
    moved = float(np.average([axis.shift_eV(one.name, s.label) for s in one.sites],
                             weights=weights))
    return CarrierSpectra(one.name, given, axis.grid_eV, (edges[0] + moved, edges[1] + moved),
                          tuple(found))


def filling(results: StudyResults, settings: SpectraSettings,
            states: ProjectedStates) -> CarrierSpectra:
    """Return the channels of the reference for 1e19 pairs per cm³ at room temperature.

    Blocked and opened states are those of the same pairs. At other densities and temperatures they
    have nearly this shape, for carriers lie within tenths of an eV of their edge.
    """
    volume_A3 = cell_volume_A3(reference_of(results))
    given = carriers(PER_CM3, ROOM_K, volume_A3, *edge_bands(states, volume_A3))
    return carrier_spectra(results, settings, states, given)


def cell_volume_A3(structure: StructureResult) -> float:
    """Return the volume of the cell of a structure."""
    return float(abs(np.linalg.det(np.array(structure.lattice_A))))


def _counted(states: ProjectedStates, window_eV: float) -> tuple[float, float]:
    """Return the states of a cell in the windows below the gap and above it."""
    energy = states.energies_eV - states.top_eV
    gap = states.bottom_eV - states.top_eV
    weights = np.broadcast_to(2 * states.weights[:, None], energy.shape)
    inside = (energy >= -window_eV) & (energy <= 0), (energy >= gap) & (energy <= gap + window_eV)
    return float(weights[inside[0]].sum()), float(weights[inside[1]].sum())


@dataclass(frozen=True)
class _Shell:
    """The p shell of one kind of absorber: its label, atoms, and electrons on one of them."""

    label: str
    atoms: int
    electrons: float

    @classmethod
    def of(cls, states: ProjectedStates, element: str, site: SiteResult) -> "_Shell":
        wanted = site.parent or site.site
        shells = [(n, s) for n, s in enumerate(states.shells) if s.element == element
                  and s.shell.endswith("p") and s.site.endswith(f"-{wanted}")]
        require(len(shells) == 1, f"the projected states have {len(shells)} p shells of {element}"
                f" on the site {wanted} of {site.label}: they must be of this crystal, with one")
        n, shell = shells[0]
        filled = (states.shares[:, :, n] * states.occupied).sum(axis=1)
        return cls(shell.label(by_site=True), shell.atoms,
                   float(2 * states.weights @ filled) / shell.atoms)
