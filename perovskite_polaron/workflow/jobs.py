"""The jobs of a study: what runs, on what input, after what. A job is identified by all that determines its result."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from perovskite_polaron.crystal import Absorber, Crystal, Symmetry, find_symmetry, irreducible_kpoints
from perovskite_polaron.errors import InputError
from perovskite_polaron.espresso.programs import program_version
from perovskite_polaron.espresso.pseudo import HOLES, make_pseudo
from perovskite_polaron.espresso.pw import PwSettings, absorber_label, pw_deck
from perovskite_polaron.espresso.upf import Pseudopotential, check_for_xspectra, read_upf
from perovskite_polaron.espresso.xspectra import XspectraSettings, xspectra_deck
from perovskite_polaron.workflow.structures import StudyStructure, study_structures
from perovskite_polaron.workflow.study import Study

# kind of core hole -> (hole in the pseudopotential, charge of the cell)
_STATES = {"full": ("full", 1.0), "half": ("half", 0.5), "excited-electron": ("full", 0.0), "none": ("none", 0.0)}


@dataclass(frozen=True)
class Job:
    """One run of one program.

    kind: ``ground`` (pw.x), ``hole`` (pw.x with the absorber's core hole), ``xas`` (xspectra.x), ``force`` (pw.x of a
    displaced cell) or ``response`` (ph.x in an electric field). digest: SHA-256 over the program and its version, the
    input, the pseudopotentials and the job it starts from: equal digest, equal result.
    cost: relative size of the work, for the estimate of the time left; 1 is about a second of one job on two cores of 2025.
    """

    kind: str
    label: str
    deck: str
    digest: str
    cost: float
    kpoints: int
    pseudos: tuple[tuple[str, Pseudopotential], ...] = ()
    core: Pseudopotential | None = None
    parent: "Job | None" = None

    @property
    def program(self) -> str:
        """Name of the program that runs this job."""
        return {"xas": "xspectra.x", "response": "ph.x"}.get(self.kind, "pw.x")

    @property
    def folder(self) -> str:
        """Name of this job's folder in the store."""
        return f"{self.kind}-{self.label}-{self.digest[:12]}"


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
    sets = {element: pseudo_for(element, study.pseudopotentials, study.file) for element in elements}
    with_hole = pseudo_for(study.element, study.pseudopotentials, study.file, hole)
    check_for_xspectra(sets[study.element])
    check_for_xspectra(with_hole)
    _check_hole(sets[study.element], with_hole, HOLES[hole])
    return tuple(_structure_jobs(study, structure, sets, with_hole, charge) for structure in structures)


def pseudo_for(
    element: str, named: Mapping[str, str], file: Callable[[str], str], hole: str = "none"
) -> Pseudopotential:
    """Return an element's pseudopotential: the file named for it, or the one made from its recipe.

    named: element, or ``element-hole``, to UPF file. file: turns a name into a path. Raises as read_upf, make_pseudo do.
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
    study: Study, structure: StudyStructure, sets: dict[str, Pseudopotential], with_hole: Pseudopotential, charge: float
) -> StructureJobs:
    settings = structure.settings
    grid = {k: v for k in ("kpoints", "kpoint_shift") if (v := getattr(settings, k)) is not None}
    pw, xspectra = replace(study.pw, **grid), replace(study.xspectra, **grid)
    crystal = structure.crystal
    species = {label: sets[label] for label in dict.fromkeys(crystal.species)}
    electrons = sum(sets[s].z_valence for s in crystal.species)
    ground = pw_job("ground", structure.name, crystal, species, pw, electrons, symmetry=structure.symmetry)
    result = []
    for absorber in structure.absorbers:
        label = absorber_label(absorber.element)
        with_absorber = {k: v for k, v in species.items() if crystal.species.count(k) > 1 or k != absorber.element}
        with_absorber[label] = with_hole
        name = f"{structure.name}-{structure.absorber_label(absorber)}"
        count = electrons + with_hole.z_valence - sets[absorber.element].z_valence - charge
        hole = pw_job(
            "hole", name, crystal, with_absorber, pw, count, absorber.index, charge, symmetry=structure.symmetry
        )
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
            )
            for axis in study.polarisations
        }
        result.append(AbsorberJobs(structure.absorber_label(absorber), absorber, hole, xas))
    return StructureJobs(structure, ground, tuple(result))


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
) -> Job:
    """Return one job of pw.x. A ``force`` job computes forces and starts from the density of its parent, a like cell.

    symmetry: that of the crystal, if it is known already; it only serves to count k points.
    """
    deck = pw_deck(
        crystal,
        {name: f"{name}.UPF" for name in species},
        settings,
        electrons=electrons,
        absorber=absorber,
        charge=charge,
        forces=kind == "force",
        from_density=parent is not None,
    )
    # pw.x is left with so many k points: more pools than that would idle.
    kpoints = irreducible_kpoints(
        crystal, symmetry or find_symmetry(crystal), settings.kpoints, settings.kpoint_shift, absorber
    )
    # Plane waves times bands to the power 3/2, per k point; the constant is that of a 20-atom cell on two cores.
    cost = 4e-7 * crystal.volume_A3 * settings.ecutwfc_Ry**1.5 * electrons**1.5 * kpoints
    return Job(
        kind,
        label,
        deck,
        digest_of("pw.x", deck, [p.digest for p in species.values()] + ([parent.digest] if parent else [])),
        cost,
        kpoints,
        tuple(species.items()),
        parent=parent,
    )


def _xas_job(
    label: str, hole: Job, core: Pseudopotential, settings: XspectraSettings, axis: str, species: int, cutoff: float
) -> Job:
    deck = xspectra_deck(settings, polarisation=axis, absorber_species=species, cutoff_bohr=cutoff)
    kpoints = settings.kpoints[0] * settings.kpoints[1] * settings.kpoints[2]
    digest = digest_of("xspectra.x", deck, [hole.digest, core.digest])
    return Job("xas", label, deck, digest, hole.cost / hole.kpoints * kpoints * 0.05, kpoints, core=core, parent=hole)


def digest_of(program: str, deck: str, parts: list[str]) -> str:
    """Return the identity of a job: SHA-256 over the program, its version, its input and the digests it depends on."""
    record = json.dumps([program, program_version(program), deck, parts])
    return hashlib.sha256(record.encode()).hexdigest()
