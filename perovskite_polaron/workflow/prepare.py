"""What is written before anything runs: the record of a study, its structures, and decks to be run
elsewhere.
"""

import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from perovskite_polaron.errors import DamagedError
from perovskite_polaron.espresso.pw import absorber_label
from perovskite_polaron.espresso.upf import Pseudopotential
from perovskite_polaron.files import write_atomically, write_sealed
from perovskite_polaron.lattice.files import write_crystal
from perovskite_polaron.workflow.feff_jobs import own_potentials
from perovskite_polaron.workflow.jobs import StructureJobs, core_hole_state, study_jobs
from perovskite_polaron.workflow.needed import coarser
from perovskite_polaron.workflow.records import INPUTS, RecordedInputs, recorded_inputs
from perovskite_polaron.workflow.status import read_plan, write_plan
from perovskite_polaron.workflow.store import Store, make_folder
from perovskite_polaron.workflow.structures import image_distance_A
from perovskite_polaron.workflow.study import Study, resolved_toml


def warnings(study: Study, structures: Sequence[StructureJobs]) -> list[str]:
    """Return what a careful person would want to know before the run, one line each."""
    lines = []
    if study.engine.kind == "feff" and study.feff.potentials == "frozen":
        others = own_potentials(study, [one.structure for one in structures])
        lines += [f"structure {name} has FEFF potentials of its own crystal, not those of"
                  f" {study.reference}: {why}" for name, why in others.items()]
    limit = study.core_hole.min_image_distance_A
    for one in _without_snapshots(structures):
        distance = image_distance_A(one.structure.crystal)
        periodic = study.engine.kind == "xspectra" and study.core_hole.kind != "none"
        if periodic and distance < limit:
            lines.append(f"in structure {one.structure.entry} a core hole is {distance:.2f} Å from"
                         f" its own image (below {limit:g} Å): images interact; use a supercell to"
                         " judge how much it matters")
        if one.structure.opposite_sign:
            lines.append(f"structure {one.structure.name} is the image of the opposite amplitude"
                         " under an operation of its parent: its spectra are those of the positive"
                         " one, which is computed")
    lattices = {one.structure.entry: one.structure.crystal.lattice_A for one in structures}
    return [*lines, *coarser(study, lattices)]


def record_study(study: Study, structures: Sequence[StructureJobs], store: Store) -> None:
    """Write the resolved study, its plan, its inputs and its structures (CIF, and XSF with arrows)
    into the store.

    What is there already for this very study is left as it is.
    """
    if read_plan(study, store) and _has_inputs(store):
        return
    make_folder(store.root)
    write_atomically(store.root / "study.toml", resolved_toml(study))
    write_structures(structures, store.root / "structures")
    _record_inputs(study, structures, store)
    # Last, for it says that all the rest is there.
    write_plan(study, study_jobs(structures), store)


def write_structures(structures: Sequence[StructureJobs], folder: Path) -> None:
    """Write the structures of a study into a folder, as CIF, and as XSF with arrows.

    Of an ensemble, whose snapshots lie in its own folder, there is the crystal they are displaced
    from.
    """
    make_folder(folder)
    for one in _without_snapshots(structures):
        structure = one.structure
        if structure.rest is not None:
            write_crystal(structure.rest, folder / f"{structure.entry}-reference.cif")
            continue
        write_crystal(structure.crystal, folder / f"{structure.name}.cif")
        if structure.distortion is not None:
            write_crystal(structure.crystal, folder / f"{structure.name}.xsf",
                          structure.distortion.displacement_A)


def _without_snapshots(structures: Sequence[StructureJobs]) -> list[StructureJobs]:
    """Return one of the snapshots of each ensemble, and all other structures."""
    return list({one.structure.entry: one for one in structures}.values())


def _has_inputs(store: Store) -> bool:
    with suppress(DamagedError):
        return bool(recorded_inputs(store.root).versions)
    return False


def _record_inputs(study: Study, structures: Sequence[StructureJobs], store: Store) -> None:
    """Keep versions and pseudopotentials, so that a machine without Quantum ESPRESSO can plan the
    same jobs; those of earlier studies in the same store stay.
    """
    before = RecordedInputs({}, {})
    with suppress(DamagedError):
        before = recorded_inputs(store.root)
    jobs = study_jobs(structures)
    pseudos = [pair for job in jobs for pair in (*job.pseudos, ("", job.core))]
    sets = dict(before.pseudopotentials)
    for label, pseudo in pseudos:
        if isinstance(pseudo, Pseudopotential):
            hole = core_hole_state(study) if label == absorber_label(pseudo.element) else "none"
            sets[f"{pseudo.element}-{hole}"] = str(store.keep(pseudo).relative_to(store.root))
    versions = {**before.versions, **{job.runs.program: job.version for job in jobs}}
    record = {"versions": versions, "pseudopotentials": sets}
    write_sealed(store.root / INPUTS, record)


def write_decks(structures: Sequence[StructureJobs], store: Store) -> list[str]:
    """Write the folder of every job that has no result, and ``run-all.sh``, which runs them by hand
    in order.

    Returns the labels of the jobs written. ``polaron run`` takes in what it finds finished there.
    """
    lines = ["#!/bin/sh",
             "# Runs every calculation of this study that was not done when this file was written."
             " Set LAUNCH to your MPI",
             "# launcher (such as: LAUNCH='srun'); then give the results back with: polaron run"
             " STUDY.toml",
             "set -e", 'cd "$(dirname "$0")/jobs"']
    todo = [job for job in study_jobs(structures) if store.result(job) is None]
    for job in todo:
        store.forget(job)
        name = shlex.quote(store.prepare(job).name)
        if job.parent is not None:
            parent = shlex.quote(store.folder(job.parent).name)
            lines.append(f"rm -rf {name}/outdir && cp -r {parent}/outdir {name}/outdir")
        lines.append(f"(cd {name} && ${{LAUNCH:-}} {job.runs.program} -in {job.input_name} >"
                     f" {job.output_name})")
    write_atomically(store.root / "run-all.sh", "\n".join(lines) + "\n")
    return [job.label for job in todo]
