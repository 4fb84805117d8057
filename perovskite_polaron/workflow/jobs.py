"""The jobs of a study: what runs, on what input, after what."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from perovskite_polaron.errors import MissingProgramError, require
from perovskite_polaron.espresso.program import program_version
from perovskite_polaron.espresso.pseudo import HOLES
from perovskite_polaron.espresso.pseudo_sets import check_together, need_keys, need_sets, pseudo_for
from perovskite_polaron.espresso.pw import PwCalculation, PwSettings, absorber_label, labels_of
from perovskite_polaron.espresso.upf import Pseudopotential, check_for_xspectra, read_sealed_upf
from perovskite_polaron.espresso.xspectra import XspectraCalculation, XspectraSettings
from perovskite_polaron.files import beside
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.symmetry import (
    Symmetry, find_symmetry, irreducible_kpoints, operations_between)
from perovskite_polaron.workflow.feff_jobs import feff_jobs
from perovskite_polaron.workflow.job import AbsorberJobs, Job, Operation, StructureJobs
from perovskite_polaron.workflow.records import RecordedInputs, recorded_inputs
from perovskite_polaron.workflow.structures import StudyStructure, neighbours, study_structures
from perovskite_polaron.workflow.study import Study

# Kind of core hole -> hole in the pseudopotential, charge of the cell.
_STATES = {"full": ("full", 1.0), "half": ("half", 0.5), "excited-electron": ("full", 0.0),
           "none": ("none", 0.0)}

_Gridded = TypeVar("_Gridded", PwSettings, XspectraSettings)

@dataclass(frozen=True)
class StudyInputs:
    """What jobs depend on beside their input: program versions, pseudopotentials, the one with the
    hole.
    """

    versions: Mapping[str, str]
    sets: Mapping[str, Pseudopotential]
    with_hole: Pseudopotential


@dataclass(frozen=True)
class CrystalSettings:
    """How a crystal that is in no study is computed, as a settings file says.

    Attributes
    ----------
    pseudopotentials
        Element -> UPF file.
    folder
        Of the settings file, from which names of files start.
    """

    pw: PwSettings = field(default_factory=PwSettings)
    pseudopotentials: Mapping[str, str] = field(default_factory=dict)
    folder: Path = Path()

    def file(self, name: str) -> str:
        """Return a file named in the settings as a path."""
        return beside(self.folder, name)

    def pseudos(self, crystal: Crystal) -> dict[str, Pseudopotential]:
        """Return the pseudopotential of each of a crystal's elements; errors as ``pseudo_for`` and
        ``check_together``, and for a U of another element.
        """
        named, elements = self.pseudopotentials, list(dict.fromkeys(crystal.species))
        _need_u(self.pw, elements)
        need_keys(named, elements)
        need_sets(named, self.file, [(element, "none") for element in elements])
        found = {element: pseudo_for(element, named, self.file) for element in elements}
        check_together(found.values(), self.pw.given().get("input_dft", ""))
        return found


def plan(study: Study) -> tuple[StructureJobs, ...]:
    """Return the jobs of a study; pseudopotentials that it does not name are made, which takes
    seconds.

    Raises
    ------
    InputError
        For anything that would fail later: an element without a pseudopotential, a UPF file that
        cannot serve.
    """
    structures = study_structures(study)
    for structure in structures:
        require(study.element in structure.crystal.species, f"{study.element} is not in structure"
                f" {structure.name}: give the absorbing element of this study")
    if study.engine.kind == "feff":
        return feff_jobs(study, structures)
    hole = core_hole_state(study)
    elements = sorted({s for structure in structures for s in structure.crystal.species})
    named = study.pseudopotentials
    need_keys(named, elements, study.element)
    _need_u(study.pw, elements)
    need_sets(named, study.file, [(element, "none") for element in elements]
              + [(study.element, hole)])
    inputs = study_inputs(study, elements, hole)
    check_together([*inputs.sets.values(), inputs.with_hole],
                   study.pw.given().get("input_dft", ""))
    ground, with_hole = inputs.sets[study.element], inputs.with_hole
    check_for_xspectra(ground)
    check_for_xspectra(with_hole)
    missing = with_hole.z_valence - ground.z_valence
    require(abs(missing - HOLES[hole]) <= 1e-6, f"{with_hole.path} has {missing:+g} valence charge"
            f" against {ground.path}, but this core hole needs {HOLES[hole]:+g}: give a pair of"
            " sets with the same valence")
    planned: dict[int, StructureJobs] = {}
    for index, neighbour in neighbours(structures):
        near = planned[neighbour] if neighbour is not None else None
        planned[index] = _structure_jobs(study, structures[index], inputs, near)
    return tuple(planned[index] for index in range(len(structures)))


def _need_u(pw: PwSettings, elements: Sequence[str]) -> None:
    odd = sorted(set(pw.hubbard_U_eV) - set(elements))
    require(not odd, f"pw.hubbard_U_eV names {', '.join(odd)}, which is in no structure: its"
            f" elements are {', '.join(elements)}")


def study_jobs(structures: Iterable[StructureJobs]) -> list[Job]:
    """Return every job of a study once, each after its parent."""
    return list(by_digest(job for one in structures for job in one.all()).values())


def by_digest(jobs: Iterable[Job]) -> dict[str, Job]:
    """Return each job once, under its digest; of equal ones the first, whose label it keeps."""
    unique: dict[str, Job] = {}
    for job in jobs:
        unique.setdefault(job.digest, job)
    return unique


def core_hole_state(study: Study) -> str:
    """Return the hole in the absorber's pseudopotential: ``none``, ``half`` or ``full``."""
    return _STATES[study.core_hole.kind][0]


def study_inputs(study: Study, elements: Sequence[str], hole: str) -> StudyInputs:
    """Return versions and pseudopotentials as they are here, or as the store recorded them.

    So a study can be looked at, and its finished results be used, without Quantum ESPRESSO.

    Raises
    ------
    MissingProgramError
        When a program is neither here nor recorded; others as ``pseudo_for``.
    """

    @cache
    def recorded() -> RecordedInputs:
        return recorded_inputs(study.store_folder)

    def version(program: str) -> str:
        try:
            return program_version(program)
        except MissingProgramError:
            if program not in recorded().versions:
                raise
            return recorded().versions[program]

    def pseudo(element: str, hole: str) -> Pseudopotential:
        try:
            return pseudo_for(element, study.pseudopotentials, study.file, hole)
        except MissingProgramError:
            name = recorded().pseudopotentials.get(f"{element}-{hole}")
            if name is None:
                raise
            path = study.store_folder / name
            return read_sealed_upf(path, path.stem.rpartition("-")[2])

    return StudyInputs({program: version(program) for program in ("pw.x", "xspectra.x")},
                       {element: pseudo(element, "none") for element in elements},
                       pseudo(study.element, hole))


def own_pw(study: Study, structure: StudyStructure) -> PwSettings:
    """Return the settings of a structure's density, with the k points that it names itself."""
    return on_own_grid(study.pw, structure)


def on_own_grid(settings: _Gridded, structure: StudyStructure) -> _Gridded:
    """Return settings with the grid of a structure: its own, else that of the study in its cell."""
    own = structure.settings
    found = settings.on_grid(own.kpoints or settings.grid(structure.crystal.lattice_A))
    return found if own.kpoint_shift is None else replace(found, kpoint_shift=own.kpoint_shift)


def _structure_jobs(study: Study, structure: StudyStructure, inputs: StudyInputs,
                    near: StructureJobs | None) -> StructureJobs:
    sets, with_hole, crystal = inputs.sets, inputs.with_hole, structure.crystal
    pw, xspectra = own_pw(study, structure), on_own_grid(study.xspectra, structure)
    labels = labels_of(crystal, None)
    species = {label: sets[element]
               for label, element in zip(labels, crystal.species, strict=True)}
    known: dict[str, Any] = {"symmetry": structure.symmetry, "version": inputs.versions["pw.x"]}
    ground = pw_job("ground", structure.name, crystal, species, pw, **known)
    there = near.ground if near else None
    if there is not None:
        ground = _begun_from(ground, there)
    cutoff = max(w.cutoff_bohr for w in with_hole.partial_waves if w.l == 1)
    points = math.prod(xspectra.points)
    result = []
    for absorber in structure.absorbers:
        label = absorber_label(absorber.element)
        others = {k: v for k, v in species.items()
                  if labels.count(k) > 1 or k != labels[absorber.index]}
        with_absorber = others | {label: with_hole}
        name = f"{structure.name}-{structure.absorber_label(absorber)}"
        hole = pw_job("hole", name, crystal, with_absorber, pw, absorber=absorber.index,
                      charge=_STATES[study.core_hole.kind][1], **known)
        # The same atom's core hole in the neighbour is the better start, or that of an atom which
        # was equivalent to it there; where neither was computed, the cell without a hole.
        found = near and _hole_of(absorber.index, near)
        initial = (found[0], ground, there) if there and found else (ground,)
        hole = _begun_from(hole, *initial, operation=found[1] if found else None)
        fixed = hole.calculation.is_fixed  # type: ignore[attr-defined]
        xas = {}
        for axis in study.polarisations:
            calculation = XspectraCalculation(
                xspectra, axis, list(with_absorber).index(label) + 1, cutoff, fixed,
                time_reversal=study.run.time_reversal and fixed and not pw.spin_key
                and crystal.moments_muB is None)
            cost = hole.cost / hole.kpoints * points * 0.05
            xas[axis] = Job.of("xas", f"{name}-{axis}", calculation, cost, points, parent=hole,
                               core=sets[absorber.element], version=inputs.versions["xspectra.x"])
        result.append(AbsorberJobs(structure.absorber_label(absorber), absorber, hole, xas))
    return StructureJobs(structure, ground, tuple(result))


def _hole_of(atom: int, near: StructureJobs) -> tuple[Job, Operation | None] | None:
    """Return the core-hole job of an atom, or of an equivalent one with the operation that leads
    from it.
    """
    holes = {one.absorber.index: one.hole for one in near.absorbers}
    if atom in holes:
        return holes[atom], None
    symmetry = near.structure.symmetry
    for index, hole in holes.items():
        there = operations_between(near.structure.crystal, symmetry, index, atom,
                                   10 * symmetry.symprec_A)
        if there.any():
            k = int(there.argmax())
            rotation = tuple(map(tuple, symmetry.rotations[k].tolist()))
            return hole, (rotation, tuple(symmetry.translations[k].tolist()))
    return None


def _begun_from(job: Job, *initial: Job, operation: Operation | None = None) -> Job:
    # The image of the opposite amplitude is the same job, which cannot start from itself.
    if initial[0].digest == job.digest:
        initial, operation = initial[0].initial, initial[0].operation
    return replace(job, initial=initial, operation=operation)


def pw_job(kind: str, label: str, crystal: Crystal, pseudos: Mapping[str, Pseudopotential],
           settings: PwSettings, *, parent: Job | None = None, symmetry: Symmetry | None = None,
           version: str | None = None, charge: float = 0.0, **more: Any) -> Job:
    """Return one job of pw.x.

    Parameters
    ----------
    kind, label
        Of the job. ``force`` computes forces, from the density of its parent if it has one;
        ``bands`` works in the potential of its parent's density.
    crystal, settings, charge, more
        As in PwCalculation.
    pseudos
        Species label -> pseudopotential.
    parent, version
        As in Job.
    symmetry
        That of the crystal, if it is known already; it only serves to count k points.
    """
    absorber, bands = more.get("absorber"), more.get("bands")
    electrons = sum(pseudos[name].z_valence for name in labels_of(crystal, absorber)) - charge
    if crystal.moments_muB is not None:
        moments = dict(zip(labels_of(crystal, absorber), crystal.moments_muB, strict=True))
        more["magnetization"] = tuple(moments[k] / p.z_valence for k, p in pseudos.items())
    more["hubbard_U_eV"] = (tuple(settings.hubbard_U_eV.get(p.element, 0.0)
                                  for p in pseudos.values()) if settings.hubbard_U_eV else ())
    calculation = PwCalculation(
        crystal, tuple(pseudos), settings, electrons, charge=charge, forces=kind == "force",
        from_density=kind == "force" and parent is not None, **more)
    # pw.x is left with so many k points: more pools than that would idle.
    kpoints = irreducible_kpoints(crystal, symmetry or find_symmetry(crystal),
                                  settings.grid(crystal.lattice_A), settings.kpoint_shift, absorber)
    # Plane waves times bands to the power 3/2, per k point; the constant is that of a 20-atom cell.
    cost = 4e-7 * crystal.volume_A3 * settings.ecutwfc_Ry**1.5 * electrons**1.5 * kpoints
    if bands is not None:
        # Measured: one diagonalisation from scratch takes two thirds of a whole cycle, which goes
        # on from step to step.
        cost *= 0.65 * (2 * bands / electrons) ** 1.5
    return Job.of(kind, label, calculation, cost, kpoints, pseudos, parent=parent, version=version)
