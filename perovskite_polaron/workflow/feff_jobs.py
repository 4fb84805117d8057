"""The jobs of a study that FEFF computes: potentials of each site, and the spectra in them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from perovskite_polaron.errors import InputError, MissingExtraError, require
from perovskite_polaron.feff.calculations import (
    AbsorptionCalculation, FeffCalculation, PotentialsCalculation)
from perovskite_polaron.feff.cluster import Cluster, carried_positions_A, cluster_around
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.matching import Match, match
from perovskite_polaron.lattice.symmetry import Absorber, absorbers, find_symmetry
from perovskite_polaron.spectra.broadening import lifetime_hwhm_eV
from perovskite_polaron.workflow.job import AbsorberJobs, Job, StructureJobs
from perovskite_polaron.workflow.records import recorded_inputs
from perovskite_polaron.workflow.structures import StudyStructure
from perovskite_polaron.workflow.study import Study

POWDER = "powder"


@dataclass(eq=False)
class _Base:
    """An undistorted crystal, from which clusters and frozen potentials are taken."""

    study: Study
    name: str
    crystal: Crystal
    version: str
    _clusters: dict[int, Cluster] = field(default_factory=dict)
    _frozen: dict[int, Job] = field(default_factory=dict)

    @cached_property
    def sites(self) -> tuple[Absorber, ...]:
        return absorbers(self.crystal, self.study.element, find_symmetry(self.crystal))

    def site_of(self, atom: int) -> Absorber:
        """Return the inequivalent absorber that an atom is an image of."""
        return next(site for site in self.sites if atom in site.indices)

    def cluster(self, atom: int) -> Cluster:
        """Return the atoms around one atom, those at the rim too."""
        if atom not in self._clusters:
            feff = self.study.feff
            self._clusters[atom] = cluster_around(self.crystal, atom, feff.cluster_radius_A,
                                                  feff.scf_radius_A)
        return self._clusters[atom]

    def frozen(self, atom: int) -> Job:
        """Return the job of the potentials of the site that an atom is an image of, made once."""
        site = self.site_of(atom)
        if site.index not in self._frozen:
            own = self.cluster(site.index)
            self._frozen[site.index] = self.potentials(
                f"{self.name}-{site.element}{site.index + 1}-{site.site}", own, own.positions_A)
        return self._frozen[site.index]

    def potentials(self, label: str, cluster: Cluster, positions_A: np.ndarray) -> Job:
        """Return the job that makes potentials for a cluster."""
        study = self.study
        calculation = PotentialsCalculation(
            cluster, positions_A, study.edge, study.core_hole.kind == "full", study.feff,
            lifetime_hwhm_eV(study.element, study.edge),
            tuple(sorted(Counter(self.crystal.species).items())))
        # Measured: the cycles take most of it, and they take hardly longer for more atoms.
        return Job.of("potentials", label, calculation, 15.0, 1, version=self.version)


def feff_jobs(study: Study, structures: Sequence[StudyStructure]) -> tuple[StructureJobs, ...]:
    """Return the jobs of a study with FEFF.

    Frozen potentials are those of the reference where a structure was displaced from it, or from
    another description of it (``lattice.matching``), else those of its own undistorted crystal.
    Equivalent atoms of it share them: potentials do not depend on how a site is turned.

    Raises
    ------
    InputError
        When the clusters hold too few atoms, or a setting names an element that is not there.
    MissingExtraError
        When FEFF is neither installed nor recorded in the store.
    """
    there = {name for one in structures for name in one.crystal.species}
    odd = sorted(set(study.feff.l_max_of) - there)
    require(not odd, f"feff.l_max_of names {', '.join(odd)}, which is in no structure: its elements"
            f" are {', '.join(sorted(there))}")
    version = _version(study)
    reference = next(s for s in structures if s.entry == study.reference)
    base = _Base(study, reference.entry, reference.undisplaced, version)
    bases = _Bases(base)
    return tuple(_structure_jobs(one, *bases.of(one)) for one in structures)


def own_potentials(study: Study, structures: Sequence[StudyStructure]) -> dict[str, str]:
    """Return which structures the reference's potentials do not serve, and why."""
    reference = next(s for s in structures if s.entry == study.reference)
    found = {}
    # All snapshots of an ensemble are displaced from one crystal.
    for one in {s.entry: s for s in structures}.values():
        try:
            match(one.undisplaced, reference.undisplaced, study.feff.match_tolerance_A)
        except InputError as error:
            found[one.entry] = str(error)
    return found


def _version(study: Study) -> str:
    try:
        return FeffCalculation.version()
    except MissingExtraError:
        recorded = recorded_inputs(study.store_folder).versions.get(FeffCalculation.program)
        if recorded is None:
            raise
        return recorded


class _Bases:
    """The crystal that the potentials of each structure are from, found once for each."""

    def __init__(self, reference: _Base) -> None:
        self._reference = reference
        self._found: dict[int, tuple[_Base, Match]] = {}

    def of(self, structure: StudyStructure) -> tuple[_Base, Match]:
        """Return that of a structure, with which of its atoms each atom is."""
        # Snapshots of one ensemble and points of one sweep share the crystal that they are
        # displaced from.
        reference, shared = self._reference, structure.rest or structure.settings
        alone = structure.rest is None and structure.distortion is None
        if alone or id(shared) not in self._found:
            own = structure.undisplaced
            try:
                found = reference, match(own, reference.crystal,
                                         reference.study.feff.match_tolerance_A)
            except InputError:
                name = structure.entry.split("@")[0]
                base = _Base(reference.study, name, own, reference.version)
                found = base, match(own, own)
            self._found[id(shared)] = found
        return self._found[id(shared)]


def _structure_jobs(structure: StudyStructure, base: _Base, found: Match) -> StructureJobs:
    study, result = base.study, []
    for absorber in structure.absorbers:
        atom = int(found.atoms[absorber.index])
        cluster = base.cluster(atom)
        positions = carried_positions_A(cluster, found, structure.crystal, absorber.index)
        label = structure.absorber_label(absorber)
        name = f"{structure.name}-{label}"
        if study.feff.potentials == "frozen":
            made = base.frozen(atom)
        else:
            made = base.potentials(name, cluster, positions)
        # Measured: time goes with the third power of the atoms.
        cost = 3.0 * (cluster.inner / 27) ** 3
        spectrum = AbsorptionCalculation(cluster, positions, study.feff.stage_timeout_s)
        job = Job.of("absorption", name, spectrum, cost, 1, parent=made, version=base.version)
        result.append(AbsorberJobs(label, absorber, made, {POWDER: job}))
    return StructureJobs(structure, None, tuple(result))
