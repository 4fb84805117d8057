"""The names of a job and of a pseudopotential: what is enough to find them in a store.

The jobs of a study: what runs, on what input, after what. A job is identified by all that determines its result.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from perovskite_polaron.errors import InputError, MissingProgramError
from perovskite_polaron.espresso.program import program_version
from perovskite_polaron.espresso.pseudo import HOLES, make_pseudo
from perovskite_polaron.espresso.pw import PwSettings, absorber_label, pw_deck
from perovskite_polaron.espresso.upf import Pseudopotential, check_for_xspectra, read_upf
from perovskite_polaron.espresso.xspectra import XspectraSettings, xspectra_deck
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.symmetry import (
    Absorber,
    Symmetry,
    find_symmetry,
    irreducible_kpoints,
    operations_between,
)
from perovskite_polaron.workflow.structures import StudyStructure, neighbours, study_structures
from perovskite_polaron.workflow.study import Study


class JobName:
    """A job by its kind, label and digest."""

    kind: str
    label: str
    digest: str

    @property
    def program(self) -> str:
        """Name of the program that runs this job."""
        return {"xas": "xspectra.x", "response": "ph.x", "pdos": "projwfc.x"}.get(self.kind, "pw.x")

    @property
    def folder(self) -> str:
        """Name of this job's folder in the store."""
        return f"{self.kind}-{self.label}-{self.digest[:12]}"


@dataclass(frozen=True)
class PseudoName:
    """A pseudopotential by name only: its file is in the store."""

    element: str
    digest: str



INPUTS = "inputs.json"
# kind of core hole -> (hole in the pseudopotential, charge of the cell)
_STATES = {"full": ("full", 1.0), "half": ("half", 0.5), "excited-electron": ("full", 0.0), "none": ("none", 0.0)}

# An operation of a space group in fractional coordinates: rows of the rotation, and the translation.
Turn = tuple[tuple[tuple[int, ...], ...], tuple[float, ...]]


@dataclass(frozen=True)
class Job(JobName):
    """One run of one program.

    kind: ``ground`` (pw.x), ``hole`` (pw.x with the absorber's core hole), ``xas`` (xspectra.x), ``force`` (pw.x of a
    displaced cell), ``response`` (ph.x in an electric field), ``bands`` (pw.x in the potential of its parent's density)
    or ``pdos`` (projwfc.x). digest: SHA-256 over the program and its version, the input, the pseudopotentials and the
    job it starts from: equal digest, equal result.
    cost: relative size of the work, for the estimate of the time left; 1 is about a second of one job on two cores of 2025.
    version: of the program the job was planned for; another machine must run the same (empty: not checked).
    parent: the job whose density this one works on; it is made again if it is gone. seeds: the job from whose density
    this one's cycle starts, if it is there then, and perhaps two more, whose difference says how the density moves with
    the atoms. turn: rotation and translation (fractional) that bring the first seed's absorber to this job's. time_reversal:
    spare xspectra.x one of each two k points k and -k. Seeds, turn and time reversal change the way to the result and not
    the result, so that they are no part of the digest.
    """

    kind: str
    label: str
    deck: str
    digest: str
    cost: float
    kpoints: int
    pseudos: tuple[tuple[str, Pseudopotential | PseudoName], ...] = ()
    core: Pseudopotential | PseudoName | None = None
    parent: "Job | None" = None
    version: str = ""
    seeds: "tuple[Job, ...]" = ()
    turn: Turn | None = None
    time_reversal: bool = False

    @property
    def starts(self) -> "tuple[Job, ...]":
        """The jobs after which this one runs: its parent, or its seeds."""
        return (self.parent,) if self.parent else self.seeds

    def slim(self) -> "Job":
        """Return this job with its pseudopotentials by name only: small enough to be sent to another process."""
        return replace(
            self,
            pseudos=tuple((label, PseudoName(p.element, p.digest)) for label, p in self.pseudos),
            core=PseudoName(self.core.element, self.core.digest) if self.core else None,
            parent=self.parent._alone() if self.parent else None,
            seeds=tuple(seed._alone() for seed in self.seeds),
        )

    def _alone(self) -> "Job":
        return replace(self, pseudos=(), core=None, parent=None, seeds=())

    def description(self) -> str:
        """Return what the job is, as TOML for a reader of its folder."""
        lines = [
            *((key, getattr(self, key)) for key in ("kind", "label", "program", "digest", "kpoints")),
            ("starts_from", self.starts[0].folder if self.starts else ""),
        ]
        return (
            "\n".join(f"{key} = {json.dumps(value)}" for key, value in lines)
            + "\n\n[pseudopotentials]\n"
            + "".join(f"{label} = {json.dumps(pseudo.digest)}\n" for label, pseudo in self.pseudos)
        )


@dataclass(frozen=True)
class AbsorberJobs:
    """The jobs of one inequivalent absorber: its core-hole density and one Lanczos run per polarisation."""

    label: str
    absorber: Absorber
    hole: Job
    xas: dict[str, Job]


@dataclass(frozen=True)
class StructureJobs:
    """The jobs of one structure."""

    structure: StudyStructure
    ground: Job
    absorbers: tuple[AbsorberJobs, ...]

    def all(self) -> list[Job]:
        """Every job of this structure, each after those it needs."""
        jobs = [self.ground]
        for one in self.absorbers:
            jobs += [one.hole, *one.xas.values()]
        return jobs


@dataclass(frozen=True)
class StudyInputs:
    """What a study's jobs depend on beside their decks: program versions, pseudopotentials, and the one with the hole."""

    versions: Mapping[str, str]
    sets: Mapping[str, Pseudopotential]
    with_hole: Pseudopotential


def plan(study: Study) -> tuple[StructureJobs, ...]:
    """Return the jobs of a study; pseudopotentials that the study does not name are made (seconds) or taken from the cache.

    Raises InputError for anything that would fail later: elements without a pseudopotential, a UPF file that cannot serve.
    """
    structures = study_structures(study)
    for structure in structures:
        if study.element not in structure.crystal.species:
            raise InputError(
                f"{study.element} is not in structure {structure.name}: give the absorbing element of this study"
            )
    hole, charge = _STATES[study.core_hole.kind]
    elements = sorted({s for structure in structures for s in structure.crystal.species})
    inputs = study_inputs(study, elements, hole)
    sets, with_hole = inputs.sets, inputs.with_hole
    check_for_xspectra(sets[study.element])
    check_for_xspectra(with_hole)
    _check_hole(sets[study.element], with_hole, HOLES[hole])
    planned: dict[int, StructureJobs] = {}
    for index, neighbour in neighbours(structures):
        near = planned[neighbour] if neighbour is not None else None
        planned[index] = _structure_jobs(study, structures[index], inputs, charge, near)
    return tuple(planned[index] for index in range(len(structures)))


def study_jobs(structures: Sequence[StructureJobs]) -> list[Job]:
    """Return every job of a study once, each after its parent."""
    unique: dict[str, Job] = {}
    for one in structures:
        for job in one.all():
            unique.setdefault(job.digest, job)
    return list(unique.values())


def core_hole_state(study: Study) -> str:
    """Return the hole in the absorber's pseudopotential: ``none``, ``half`` or ``full``."""
    return _STATES[study.core_hole.kind][0]


def study_inputs(study: Study, elements: Sequence[str], hole: str) -> StudyInputs:
    """Return versions and pseudopotentials as they are here, or, without Quantum ESPRESSO, as the store recorded them.

    So a study can be looked at, and its finished results be used, where the programs are not installed. Raises as
    pseudo_for does, and MissingProgramError when there is no record either.
    """
    file = study.store_folder / INPUTS
    try:
        recorded = json.loads(file.read_text())
    except (OSError, ValueError):
        recorded = {"versions": {}, "pseudopotentials": {}}

    def version(program: str) -> str:
        try:
            return program_version(program)
        except MissingProgramError:
            if program not in recorded["versions"]:
                raise
            return str(recorded["versions"][program])

    def pseudo(element: str, hole: str) -> Pseudopotential:
        try:
            return pseudo_for(element, study.pseudopotentials, study.file, hole)
        except MissingProgramError:
            if f"{element}-{hole}" not in recorded["pseudopotentials"]:
                raise
            return read_upf(study.store_folder / recorded["pseudopotentials"][f"{element}-{hole}"])

    return StudyInputs(
        {program: version(program) for program in ("pw.x", "xspectra.x")},
        {element: pseudo(element, "none") for element in elements},
        pseudo(study.element, hole),
    )


def pseudo_for(
    element: str, named: Mapping[str, str], file: Callable[[str], str], hole: str = "none"
) -> Pseudopotential:
    """Return an element's pseudopotential: the file named for it, or the one made from its recipe.

    named: element, or ``element-hole``, to UPF file. file: turns a name into a path.
    Raises as read_upf, make_pseudo do.
    """
    key = element if hole == "none" else f"{element}-hole"
    if key in named:
        pseudo = read_upf(file(named[key]))
        if pseudo.element != element:
            raise InputError(
                f"[pseudopotentials]: {key} names {pseudo.path}, which is for {pseudo.element}; give one for {element}"
            )
        return pseudo
    return make_pseudo(element, hole)


def _check_hole(ground: Pseudopotential, hole: Pseudopotential, electrons: float) -> None:
    missing = hole.z_valence - ground.z_valence
    if abs(missing - electrons) > 1e-6:
        raise InputError(
            f"{hole.path} has {missing:+g} valence charge against {ground.path}, but this core hole needs {electrons:+g}: "
            "give a pair of sets with the same valence"
        )


def _structure_jobs(
    study: Study, structure: StudyStructure, inputs: "StudyInputs", charge: float, near: StructureJobs | None
) -> StructureJobs:
    sets, with_hole, versions = inputs.sets, inputs.with_hole, inputs.versions
    settings = structure.settings
    grid = {k: v for k in ("kpoints", "kpoint_shift") if (v := getattr(settings, k)) is not None}
    pw, xspectra = replace(study.pw, **grid), replace(study.xspectra, **grid)
    crystal = structure.crystal
    species = {label: sets[label] for label in dict.fromkeys(crystal.species)}
    electrons = sum(sets[s].z_valence for s in crystal.species)
    known: dict[str, Any] = {"symmetry": structure.symmetry, "version": versions["pw.x"]}
    ground = pw_job("ground", structure.name, crystal, species, pw, electrons, **known)
    if near is not None:
        ground = _seeded(ground, near.ground)
    # The same atom's core hole in the neighbour is the better start, or that of an atom which was equivalent to it there;
    # where neither was computed, the cell without a hole.
    result = []
    for absorber in structure.absorbers:
        label = absorber_label(absorber.element)
        with_absorber = {k: v for k, v in species.items() if crystal.species.count(k) > 1 or k != absorber.element}
        with_absorber[label] = with_hole
        name = f"{structure.name}-{structure.absorber_label(absorber)}"
        count = electrons + with_hole.z_valence - sets[absorber.element].z_valence - charge
        hole = pw_job("hole", name, crystal, with_absorber, pw, count, absorber.index, charge, **known)
        found = near and _hole_of(absorber.index, near)
        seeds, turn = ((found[0], ground, near.ground), found[1]) if near and found else ((ground,), None)
        hole = _seeded(hole, *seeds, turn=turn)
        # With smearing XSpectra takes a Fermi energy of its own, which is not known before it runs.
        reversible = "occupations = 'fixed'" in hole.deck and "nspin" not in hole.deck
        cutoff = max(w.cutoff_bohr for w in with_hole.partial_waves if w.l == 1)
        xas = {
            axis: _xas_job(
                f"{name}-{axis}",
                hole,
                sets[absorber.element],
                xspectra,
                axis,
                list(with_absorber).index(label) + 1,
                cutoff,
                versions["xspectra.x"],
                study.run.time_reversal and reversible,
            )
            for axis in study.polarisations
        }
        result.append(AbsorberJobs(structure.absorber_label(absorber), absorber, hole, xas))
    return StructureJobs(structure, ground, tuple(result))


def _hole_of(atom: int, near: StructureJobs) -> tuple[Job, Turn | None] | None:
    """Return the core-hole job of an atom in a structure, or of an equivalent one with the operation that leads from it."""
    holes = {one.absorber.index: one.hole for one in near.absorbers}
    if atom in holes:
        return holes[atom], None
    symmetry = near.structure.symmetry
    for index, hole in holes.items():
        there = operations_between(near.structure.crystal, symmetry, index, atom, 10 * symmetry.symprec_A)
        if there.any():
            k = int(there.argmax())
            return hole, (tuple(map(tuple, symmetry.rotations[k].tolist())), tuple(symmetry.translations[k].tolist()))
    return None


def pw_job(
    kind: str,
    label: str,
    crystal: Crystal,
    species: dict[str, Pseudopotential],
    settings: PwSettings,
    electrons: float,
    absorber: int | None = None,
    charge: float = 0.0,
    parent: Job | None = None,
    symmetry: Symmetry | None = None,
    version: str | None = None,
    stress: bool = False,
    bands: int | None = None,
) -> Job:
    """Return one job of pw.x. A ``force`` job computes forces and starts from the density of its parent, a like cell; a
    ``bands`` job computes so many bands in the potential of its parent's density.

    symmetry: that of the crystal, if it is known already; it only serves to count k points. version: of pw.x, if the
    program is not here to be asked.
    """
    deck = pw_deck(
        crystal,
        {name: f"{name}.UPF" for name in species},
        settings,
        electrons=electrons,
        absorber=absorber,
        charge=charge,
        forces=kind == "force",
        stress=stress,
        from_density=parent is not None and bands is None,
        bands=bands,
    )
    # pw.x is left with so many k points: more pools than that would idle.
    kpoints = irreducible_kpoints(
        crystal, symmetry or find_symmetry(crystal), settings.kpoints, settings.kpoint_shift, absorber
    )
    version = version or program_version("pw.x")
    # Plane waves times bands to the power 3/2, per k point; the constant is that of a 20-atom cell on two cores.
    cost = 4e-7 * crystal.volume_A3 * settings.ecutwfc_Ry**1.5 * electrons**1.5 * kpoints
    if bands is not None:
        # Measured: one diagonalisation from scratch takes two thirds of a whole cycle, which goes on from step to step.
        cost *= 0.65 * (2 * bands / electrons) ** 1.5
    return Job(
        kind,
        label,
        deck,
        digest_of("pw.x", deck, [p.digest for p in species.values()] + ([parent.digest] if parent else []), version),
        cost,
        kpoints,
        tuple(species.items()),
        parent=parent,
        version=version,
    )


def _xas_job(
    label: str,
    hole: Job,
    core: Pseudopotential,
    settings: XspectraSettings,
    axis: str,
    species: int,
    cutoff: float,
    version: str,
    time_reversal: bool,
) -> Job:
    deck = xspectra_deck(settings, polarisation=axis, absorber_species=species, cutoff_bohr=cutoff)
    kpoints = settings.kpoints[0] * settings.kpoints[1] * settings.kpoints[2]
    digest = digest_of("xspectra.x", deck, [hole.digest, core.digest], version)
    cost = hole.cost / hole.kpoints * kpoints * 0.05
    return Job(
        "xas", label, deck, digest, cost, kpoints, core=core, parent=hole, version=version, time_reversal=time_reversal
    )


def _seeded(job: Job, *seeds: Job, turn: Turn | None = None) -> Job:
    # The image of the opposite amplitude is the same job, which cannot start from itself.
    same = seeds[0].digest == job.digest
    return replace(job, seeds=seeds[0].seeds if same else seeds, turn=seeds[0].turn if same else turn)


def digest_of(program: str, deck: str, parts: list[str], version: str | None = None) -> str:
    """Return the identity of a job: SHA-256 over the program, its version, its input and the digests it depends on.

    version: default the one that the installed program prints.
    """
    record = json.dumps([program, version or program_version(program), deck, parts])
    return hashlib.sha256(record.encode()).hexdigest()
