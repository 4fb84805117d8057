"""A finished study for other people: one HDF5 file with its spectra, and one archive that computes it again."""

import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron import __version__
from perovskite_polaron.errors import ComputationError
from perovskite_polaron.espresso.savefile import LanczosSave
from perovskite_polaron.files import replace_atomically
from perovskite_polaron.workflow.jobs import INPUTS, Job, core_hole_state
from perovskite_polaron.workflow.results import StudyResults
from perovskite_polaron.workflow.spectra import StudySpectra
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.study import Study, resolved_toml

_ARCHIVED = ("job.toml", "result.json", "chain.sav", "*.in", "*.out")
_HOW = """This archive holds one study of perovskite_polaron {version}.

study.toml            the study with every default written out; it names the files below
files/                its crystals and modes that were files
results/pseudo/       its pseudopotentials
results/structures/   every structure that was computed
results/jobs/         of each job: what it is (job.toml), input, output, result, Lanczos chains

To look at the spectra:  polaron spectra study.toml        (Quantum ESPRESSO need not be installed)
To compute it again:     rm results/jobs/*/result.json results/jobs/*/*.out, then polaron run study.toml
"""


def write_hdf5(results: StudyResults, spectra: StudySpectra, records: Mapping[str, Any], path: Path) -> Path:
    """Write a study to one HDF5 file in the NeXus layout: an NXentry per structure, conforming to NXxas.

    NXxas is made for measurements: the absorbed beam holds the calculated cross-section per unit of incoming beam, which
    is 1 everywhere, and the source says that it is a calculation. Each entry also holds the spectrum of every absorber,
    the difference from the reference, and its element and edge. ``/chains`` holds the Lanczos chains, ``/provenance``
    the study and the record of every job (records: label -> record). Errors as replace_atomically raises them.
    """
    import h5py

    def write(temporary: Path) -> None:
        with h5py.File(temporary, "w") as file:
            file.attrs["NX_class"] = "NXroot"
            file.attrs["default"] = _entry_name(results.study.reference)
            file.attrs["creator"] = f"perovskite_polaron {__version__}"
            for structure in results.structures:
                _write_entry(file, results, spectra, structure.name)
            chains = _group(file, "chains", "NXcollection")
            for name, save in results.chains.items():
                _write_chains(_group(chains, name.replace("/", "|"), "NXcollection"), save)
            note = _group(file, "provenance", "NXcollection")
            note["study_toml"] = resolved_toml(results.study)
            note["jobs_json"] = json.dumps(records, indent=1)
            note["structures_json"] = json.dumps(
                [
                    {
                        "name": s.name,
                        "space_group": s.space_group,
                        "amplitude_sqrt_amu_A": s.amplitude_sqrt_amu_A,
                        "max_displacement_A": s.max_displacement_A,
                        "lattice_A": s.lattice_A,
                    }
                    for s in results.structures
                ]
            )

    return replace_atomically(path, write)


def _entry_name(structure: str) -> str:
    # Names of NeXus groups are letters, digits, underscore and point, and begin with a letter or underscore.
    return "entry_" + "".join(c if c.isascii() and (c.isalnum() or c in "_.") else "_" for c in structure)


def _group(parent: Any, name: str, nx_class: str) -> Any:
    group = parent.create_group(name)
    group.attrs["NX_class"] = nx_class
    return group


def _write_entry(file: Any, results: StudyResults, spectra: StudySpectra, name: str) -> None:
    structure = next(s for s in results.structures if s.name == name)
    found = spectra.structures[name]
    energy, intensity = found.average.energy_eV, found.average.intensity
    unique = _entry_name(name)
    while unique in file:
        unique += "_"
    entry = _group(file, unique, "NXentry")
    entry.attrs["default"] = "data"
    entry.attrs["entry"] = unique
    entry["title"] = f"calculated {results.study.element} K edge of {name}"
    entry["definition"] = "NXxas"
    started = [r["started"] for r in (structure.ground, *(s.hole for s in structure.sites)) if "started" in r]
    # What was run by hand carries no time; the definition wants one, so then it is that of this file.
    entry["start_time"] = min(started, default=datetime.now(UTC).isoformat(timespec="seconds"))
    instrument = _group(entry, "instrument", "NXinstrument")
    source = _group(instrument, "source", "NXsource")
    source["type"] = "calculation (Quantum ESPRESSO pw.x and xspectra.x)"
    source["name"] = f"perovskite_polaron {__version__}"
    source["probe"] = "x-ray"
    monochromator = _group(instrument, "monochromator", "NXmonochromator")
    axis = monochromator.create_dataset("energy", data=energy)
    axis.attrs["units"] = "eV"
    axis.attrs["long_name"] = f"energy from the mean edge of {spectra.reference} (eV)"
    _group(instrument, "incoming_beam", "NXdetector")["data"] = np.ones_like(energy)
    absorbed = _group(instrument, "absorbed_beam", "NXdetector").create_dataset("data", data=intensity)
    absorbed.attrs["signal"] = 1
    absorbed.attrs["long_name"] = "cross-section (XSpectra's unit), mean of an absorber"
    sample = _group(entry, "sample", "NXsample")
    sample["name"] = name
    sample["unit_cell"] = np.array(structure.lattice_A)
    sample["unit_cell"].attrs["units"] = "angstrom"
    sample["space_group"] = structure.space_group
    monitor = _group(entry, "monitor", "NXmonitor")
    monitor["mode"] = "timer"
    monitor["preset"] = 1.0
    monitor["data"] = np.ones_like(energy)
    _group(entry, "element", "NXelement")["name"] = results.study.element
    _group(entry, "edge", "NXabsorption_edge")["name"] = "K"
    data = _group(entry, "data", "NXdata")
    data.attrs["signal"], data.attrs["axes"] = "absorbed_beam", ["energy"]
    data["energy"], data["absorbed_beam"] = axis, absorbed
    if name in spectra.differences:
        change = _group(entry, "difference", "NXdata")
        change.attrs["signal"], change.attrs["axes"] = "difference", ["energy"]
        change.attrs["reference"] = spectra.reference
        change.attrs["normalisation"] = spectra.settings.normalisation
        change["energy"] = axis
        change["difference"] = spectra.differences[name].intensity
    for site in structure.sites:
        one = _group(entry, f"absorber_{site.label.replace('-', '_')}", "NXdata")
        one.attrs["signal"], one.attrs["axes"] = "intensity", ["energy"]
        one["energy"] = axis
        one["intensity"] = found.sites[site.label].intensity
        one["multiplicity"] = site.multiplicity
        one["wyckoff_site"] = site.site


def _write_chains(group: Any, save: LanczosSave) -> None:
    group["polarisation"] = save.polarisation
    group["norms"] = save.norms
    group["fermi_energy"] = save.fermi_energy_eV
    group["fermi_energy"].attrs["units"] = "eV"
    for name, chains in (("a", save.a), ("b", save.b)):
        for k, values in enumerate(chains):
            group[f"{name}_{k}"] = values
            group[f"{name}_{k}"].attrs["units"] = "Ry"
    group.attrs["sha256"] = save.sha256


def job_records(jobs: list[Job], store: Store) -> dict[str, Any]:
    """Return the stored record of every job under its folder's name. Raises ComputationError if one is missing."""
    records = {store.folder(job).name: store.result(job) for job in jobs}
    missing = [name for name, record in records.items() if record is None]
    if missing:
        raise ComputationError(
            f"{len(missing)} jobs have no result yet (first: {missing[0]}): polaron run computes them"
        )
    return records


def write_archive(study: Study, jobs: list[Job], store: Store, path: Path) -> Path:
    """Write one ``.tar.gz`` that computes a study again: its files, inputs, outputs, chains and pseudopotentials.

    Raises ComputationError when the store has no record of its inputs (``polaron run`` writes it).
    """
    try:
        recorded = json.loads((store.root / INPUTS).read_text())["pseudopotentials"]
    except (OSError, ValueError, KeyError):
        raise ComputationError(f"{store.root / INPUTS} is not there: polaron run {study.path} writes it") from None
    files: dict[str, Path] = {}

    def packed(name: str) -> str:
        source = Path(study.file(name))
        if not source.is_file():
            return name  # built in
        if files.setdefault(source.name, source) != source:
            raise ComputationError(f"two files of the study are named {source.name}: give one of them another name")
        return f"files/{source.name}"

    structures = {
        name: replace(one, crystal=packed(one.crystal), modes=tuple(packed(m) for m in one.modes))
        for name, one in study.structures.items()
    }
    hole = f"{study.element}-{core_hole_state(study)}"
    pseudos = {key.removesuffix("-none"): f"results/{name}" for key, name in recorded.items() if key.endswith("-none")}
    if hole in recorded and not hole.endswith("-none"):
        pseudos[f"{study.element}-hole"] = f"results/{recorded[hole]}"
    own = replace(study, structures=structures, pseudopotentials=pseudos, run=replace(study.run, store="results"))

    def write(temporary: Path) -> None:
        with tarfile.open(temporary, "w:gz") as tar:
            for name, text in (("README", _HOW.format(version=__version__)), ("study.toml", resolved_toml(own))):
                info = tarfile.TarInfo(name)
                info.size = len(text.encode())
                tar.addfile(info, io.BytesIO(text.encode()))
            for name, source in sorted(files.items()):
                tar.add(source, f"files/{name}")
            for name in (INPUTS, "structures", "pseudo"):
                tar.add(store.root / name, f"results/{name}")
            for folder in sorted(store.folder(job) for job in jobs):
                for pattern in _ARCHIVED:
                    for file in sorted(folder.glob(pattern)):
                        tar.add(file, f"results/jobs/{folder.name}/{file.name}")

    return replace_atomically(path, write)
