"""A finished study for other people: one HDF5 file with its spectra, and one archive that computes
it again.
"""

import json
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron import __version__
from perovskite_polaron.errors import ComputationError, DamagedError, require
from perovskite_polaron.espresso.savefile import LanczosSave
from perovskite_polaron.espresso.upf import read_sealed_upf
from perovskite_polaron.feff.xmu import Absorption
from perovskite_polaron.files import replace_atomically, sha256_of, write_atomically
from perovskite_polaron.workflow.jobs import Job, StructureJobs, core_hole_state, study_jobs
from perovskite_polaron.workflow.prepare import write_structures
from perovskite_polaron.workflow.records import INPUTS, recorded_inputs
from perovskite_polaron.workflow.results import StructureResult, StudyResults
from perovskite_polaron.workflow.spectra import StudySpectra
from perovskite_polaron.workflow.store import FILES, RESULT, Store
from perovskite_polaron.workflow.study import Study, resolved_toml

_CREATOR = f"perovskite_polaron {__version__}"
_STRUCTURE_KEYS = ("name", "space_group", "amplitude_sqrt_amu_A", "max_displacement_A", "lattice_A")
_HOW = """This archive holds one study of perovskite_polaron {version}.

study.toml            the study with every default written out; it names the files below
files/                its crystals and modes that were files
results/pseudo/       its pseudopotentials
results/structures/   every structure that was computed
results/jobs/         of each job: what it is (job.toml), input, output, result, Lanczos chains

To look at the spectra: polaron spectra study.toml (Quantum ESPRESSO need not be installed)
To compute it again: rm results/jobs/*/result.json results/jobs/*/*.out; polaron run study.toml
"""
# Engine -> its programs, and the unit of its spectra.
_ENGINES = {"xspectra": ("Quantum ESPRESSO pw.x and xspectra.x", "XSpectra's unit"),
            "feff": ("FEFF10", "angstrom^2")}


def write_hdf5(results: StudyResults, spectra: StudySpectra, records: Mapping[str, Any],
               path: Path) -> Path:
    """Write a study to one HDF5 file in the NeXus layout: an NXentry per structure, as NXxas asks.

    NXxas is made for measurements: the absorbed beam holds the calculated cross-section per unit of
    incoming beam, which is 1 everywhere, and the source says that it is a calculation. Each entry
    also holds the spectrum of every absorber, the difference from the reference, and its element
    and edge. ``/chains`` holds the Lanczos chains, ``/provenance`` the study and the record of
    every job.

    Parameters
    ----------
    results, spectra
        The study.
    records
        Name of a job's folder -> its record.
    path
        The file; errors as ``replace_atomically``.
    """
    import h5py

    structures = [{key: getattr(s, key) for key in _STRUCTURE_KEYS} for s in results.structures]
    note = {"study_toml": resolved_toml(results.study), "jobs_json": json.dumps(records, indent=1),
            "structures_json": json.dumps(structures)}

    def write(temporary: Path) -> None:
        with h5py.File(temporary, "w") as file:
            file.attrs.update(NX_class="NXroot", default=_entry_name(results.study.reference),
                              creator=_CREATOR)
            for structure in results.structures:
                _write_entry(file, results.study, spectra, structure)
            if results.study.engine.kind == "feff":
                curves = _group(file, "curves", "NXcollection")
                for name, curve in results.curves.items():
                    _write_curve(curves, name.replace("/", "|"), curve)
            else:
                chains = _group(file, "chains", "NXcollection")
                for name, save in results.chains.items():
                    _write_chains(chains, name.replace("/", "|"), save)
            _group(file, "provenance", "NXcollection", note)

    return replace_atomically(path, write)


def _entry_name(structure: str) -> str:
    # Names of NeXus groups are letters, digits, underscore and point, and begin with a letter or
    # underscore.
    return "entry_" + "".join(c if c.isascii() and (c.isalnum() or c in "_.") else "_"
                              for c in structure)


def _group(parent: Any, name: str, nx_class: str, fields: Mapping[str, Any] | None = None,
           **attributes: Any) -> Any:
    """Return a new group with fields; one that is a dataset of the file becomes a link to it."""
    group = parent.create_group(name)
    group.attrs.update(NX_class=nx_class, **attributes)
    for key, value in (fields or {}).items():
        group[key] = value
    return group


def _field(parent: Any, name: str, data: Any, **attributes: Any) -> Any:
    parent[name] = data
    parent[name].attrs.update(**attributes)
    return parent[name]


def _write_entry(file: Any, study: Study, spectra: StudySpectra,
                 structure: StructureResult) -> None:
    name, found = structure.name, spectra.structures[structure.name]
    energy, ones = found.average.energy_eV, np.ones_like(found.average.energy_eV)
    unique = _entry_name(name)
    while unique in file:
        unique += "_"
    records = (structure.ground, *(s.hole for s in structure.sites))
    # What was run by hand carries no time; the definition wants one, so then it is that of this
    # file.
    started = min((r["started"] for r in records if "started" in r),
                  default=datetime.now(UTC).isoformat(timespec="seconds"))
    program, unit = _ENGINES[study.engine.kind]
    title = f"calculated {study.element} {study.edge} edge of {name}"
    entry = _group(file, unique, "NXentry", {"title": title, "definition": "NXxas",
                   "start_time": started}, default="data", entry=unique)
    instrument = _group(entry, "instrument", "NXinstrument")
    _group(instrument, "source", "NXsource", {"name": _CREATOR, "probe": "x-ray",
           "type": f"calculation ({program})"})
    axis = _field(_group(instrument, "monochromator", "NXmonochromator"), "energy", energy,
                  units="eV", long_name=f"energy from the mean edge of {spectra.reference} (eV)")
    _group(instrument, "incoming_beam", "NXdetector", {"data": ones})
    absorbed = _field(_group(instrument, "absorbed_beam", "NXdetector"), "data",
                      found.average.intensity, signal=1,
                      long_name=f"cross-section ({unit}), mean of an absorber")
    sample = _group(entry, "sample", "NXsample",
                    {"name": name, "space_group": structure.space_group})
    _field(sample, "unit_cell", np.array(structure.lattice_A), units="angstrom")
    _group(entry, "monitor", "NXmonitor", {"mode": "timer", "preset": 1.0, "data": ones})
    _group(entry, "element", "NXelement", {"name": study.element})
    _group(entry, "edge", "NXabsorption_edge", {"name": study.edge})
    _group(entry, "data", "NXdata", {"energy": axis, "absorbed_beam": absorbed},
           signal="absorbed_beam", axes=["energy"])
    if name in spectra.differences:
        _group(entry, "difference", "NXdata",
               {"energy": axis, "difference": spectra.differences[name].intensity},
               signal="difference", axes=["energy"], reference=spectra.base_of(name),
               normalisation=spectra.settings.normalisation)
    wyckoff = {site.label: site.site for site in structure.sites}
    for label, spectrum in found.sites.items():
        _group(entry, f"absorber_{label.replace('-', '_')}", "NXdata",
               {"energy": axis, "intensity": spectrum.intensity,
                "multiplicity": found.multiplicities[label],
                "wyckoff_site": wyckoff.get(label, label.rpartition("-")[2])},
               signal="intensity", axes=["energy"])


def _write_curve(parent: Any, name: str, curve: Absorption) -> None:
    group = _group(parent, name, "NXcollection", inside_hwhm_eV=curve.inside_hwhm_eV)
    _field(group, "energy", curve.energy_eV, units="eV")
    _field(group, "cross_section", curve.cross_section_A2, units="angstrom^2")
    _field(group, "edge_energy", curve.edge_eV, units="eV")


def _write_chains(parent: Any, name: str, save: LanczosSave) -> None:
    group = _group(parent, name, "NXcollection",
                   {"polarisation": save.polarisation, "norms": save.norms}, sha256=save.sha256)
    _field(group, "fermi_energy", save.fermi_energy_eV, units="eV")
    for letter, chains in (("a", save.a), ("b", save.b)):
        for k, values in enumerate(chains):
            _field(group, f"{letter}_{k}", values, units="Ry")


def job_records(jobs: list[Job], store: Store) -> dict[str, Any]:
    """Return the stored record of every job under its folder's name; ComputationError if one is
    missing.
    """
    records = {store.folder(job).name: store.result(job) for job in jobs}
    missing = [name for name, record in records.items() if record is None]
    if missing:
        raise ComputationError(f"{len(missing)} jobs have no result yet (first: {missing[0]}):"
                               " polaron run computes them")
    return records


def write_archive(study: Study, planned: Sequence[StructureJobs], store: Store,
                  path: Path) -> Path:
    """Write one ``.tar.gz`` that computes a study again: its files, inputs, outputs,
    pseudopotentials.

    It holds plain files only, and of each what it was when it was written.

    Raises
    ------
    ComputationError
        When the store has no record of its inputs (``polaron run`` writes it).
    DamagedError
        When a file is not what a job wrote.
    """
    recorded = recorded_inputs(store.root).pseudopotentials
    require(recorded or study.engine.kind == "feff", f"{store.root / INPUTS} is not there: polaron"
            f" run {study.path} writes it", ComputationError)
    files: dict[str, Path] = {}

    def packed(name: str) -> str:
        source = Path(study.file(name))
        if not source.is_file():
            return name  # built in
        require(files.setdefault(source.name, source) == source, "two files of the study are named"
                f" {source.name}: give one of them another name", ComputationError)
        return f"files/{source.name}"

    def packed_folder(name: str) -> str:
        source = Path(study.file(name))
        inside = f"{source.parent.name}-{source.name}".strip("-.")
        for file in sorted(source.iterdir()):
            require(files.setdefault(f"{inside}/{file.name}", file) == file, "two ensembles of the"
                    f" study are named {inside}: give one of them another name", ComputationError)
        return f"files/{inside}"

    structures = {
        name: replace(one, crystal=one.crystal and packed(one.crystal),
                      ensemble=one.ensemble and packed_folder(one.ensemble),
                      modes=tuple(map(packed, one.modes)))
        for name, one in study.structures.items()}
    hole = f"{study.element}-{core_hole_state(study)}"
    pseudos = {key.removesuffix("-none"): f"results/{name}" for key, name in recorded.items()
               if key.endswith("-none")}
    if hole in recorded and not hole.endswith("-none"):
        pseudos[f"{study.element}-hole"] = f"results/{recorded[hole]}"
    own = replace(study, structures=structures, pseudopotentials=pseudos,
                  run=replace(study.run, store="results"))

    def write(temporary: Path) -> None:
        # With dereference a link is packed as the file it leads to.
        with (tarfile.open(temporary, "w:gz", dereference=True) as tar,
              tempfile.TemporaryDirectory() as made):
            for name, text in (("README", _HOW.format(version=__version__)),
                               ("study.toml", resolved_toml(own))):
                tar.add(write_atomically(Path(made) / name, text), name)
            write_structures(planned, Path(made) / "structures")
            tar.add(Path(made) / "structures", "results/structures")
            for name, source in sorted(files.items()):
                tar.add(source, f"files/{name}")
            tar.add(store.root / INPUTS, f"results/{INPUTS}")
            for name in sorted(set(recorded.values())):
                kept = read_sealed_upf(store.root / name, Path(name).stem.rpartition("-")[2])
                tar.add(kept.path, f"results/{name}")
            for job in study_jobs(planned):
                for file in job_files(job, store):
                    tar.add(file, f"results/jobs/{file.parent.name}/{file.name}")

    return replace_atomically(path, write)


def job_files(job: Job, store: Store) -> list[Path]:
    """Return the files of a finished job that travel, held to what its record says of them."""
    folder, sums = store.folder(job), (store.result(job) or {}).get(FILES, {})
    texts = store.texts(job)
    for file in texts:
        if sums.get(file.name) not in (None, sha256_of(file)):
            raise DamagedError(f"{file} is not the file that this job wrote: delete it, and the"
                               " archive goes without, or its folder, and it is computed again")
    return [*(folder / name for name in (RESULT, job.runs.kept[0]) if name), *texts]
