"""The results of a study in two small files that travel: ``results.json`` (what, how, energies) and ``chains.npz``."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.espresso.savefile import LanczosSave, read_chains, read_save, write_chains
from perovskite_polaron.espresso.xspectra import SAVE_FILE
from perovskite_polaron.files import read_text, write_atomically
from perovskite_polaron.workflow.attempt import check_chain
from perovskite_polaron.workflow.jobs import StructureJobs
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.study import Study, resolved_toml

FORMAT = "perovskite_polaron results 1"


@dataclass(frozen=True)
class SiteResult:
    """One inequivalent absorber: where it sits, how many equivalent ones there are, its core-hole energy, its chains."""

    label: str
    site: str
    parent: str | None
    multiplicity: int
    hole: Mapping[str, Any]
    chains: Mapping[str, str]


@dataclass(frozen=True)
class StructureResult:
    """One structure: its symmetry, total amplitude (the norm over its modes), ground-state result and absorbers."""

    name: str
    space_group: str
    amplitude_sqrt_amu_A: float | None
    max_displacement_A: float | None
    lattice_A: tuple[tuple[float, ...], ...]
    ground: Mapping[str, Any]
    sites: tuple[SiteResult, ...]


@dataclass(frozen=True)
class StudyResults:
    """All results of a study. study: the resolved study file (TOML). chains: name -> Lanczos chains."""

    element: str
    reference: str
    core_hole: str
    study: str
    structures: tuple[StructureResult, ...]
    chains: Mapping[str, LanczosSave]


def collect(study: Study, structures: Sequence[StructureJobs], store: Store) -> StudyResults:
    """Gather the finished results of a study. Raises ComputationError naming how many jobs have none yet."""
    jobs = {job.digest: job for one in structures for job in one.all()}
    records = {digest: store.result(job) for digest, job in jobs.items()}
    missing = [jobs[d].label for d, r in records.items() if r is None]
    if missing:
        raise ComputationError(
            f"{len(missing)} of {len(jobs)} jobs have no result yet (first: {missing[0]}): polaron run {study.path} computes them"
        )
    chains, rows = {}, []
    for one in structures:
        sites = []
        for absorber in one.absorbers:
            names = {}
            for axis, job in absorber.xas.items():
                names[axis] = f"{one.structure.name}/{absorber.label}/{axis}"
                chains[names[axis]] = read_save(store.folder(job) / SAVE_FILE)
                check_chain(chains[names[axis]], job, store)
            a = absorber.absorber
            sites.append(
                SiteResult(absorber.label, a.site, a.parent, a.multiplicity, records[absorber.hole.digest] or {}, names)
            )
        point = one.structure.distortion
        rows.append(
            StructureResult(
                one.structure.name,
                one.structure.space_group,
                math.hypot(*point.amplitude_sqrt_amu_A) if point else None,
                point.max_displacement_A if point else None,
                tuple(map(tuple, one.structure.crystal.lattice_A.tolist())),
                records[one.ground.digest] or {},
                tuple(sites),
            )
        )
    return StudyResults(study.element, study.reference, study.core_hole.kind, resolved_toml(study), tuple(rows), chains)


def write_results(results: StudyResults, folder: str | Path) -> None:
    """Write ``chains.npz`` and then ``results.json``, which names the digest of the first, into a folder."""
    folder = Path(folder)
    write_chains(folder / "chains.npz", results.chains)
    record = {
        "format": FORMAT,
        "element": results.element,
        "reference": results.reference,
        "core_hole": results.core_hole,
        "chains_sha256": _sha256(folder / "chains.npz"),
        "structures": [asdict(s) for s in results.structures],
        "study": results.study,
    }
    write_atomically(folder / "results.json", json.dumps(record, indent=1) + "\n")


def read_results(folder: str | Path) -> StudyResults:
    """Read what write_results wrote. Raises InputError when a file is missing, damaged, or the two do not belong together."""
    folder = Path(folder)
    path = folder / "results.json"
    try:
        record = json.loads(read_text(path, "results.json of a study"))
        if record["format"] != FORMAT:
            raise InputError(
                f"{path} is of format {record['format']!r}, this version reads {FORMAT!r}: compute or export it again"
            )
        structures = tuple(
            StructureResult(**{**s, "sites": tuple(SiteResult(**site) for site in s["sites"])})
            for s in record["structures"]
        )
        digest = record["chains_sha256"]
        head = {key: record[key] for key in ("element", "reference", "core_hole", "study")}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not the results of a study ({error}): compute or export it again") from None
    chains = read_chains(folder / "chains.npz")
    if _sha256(folder / "chains.npz") != digest:
        raise InputError(f"{folder / 'chains.npz'} does not belong to {path}: keep the two files of one study together")
    return StudyResults(structures=structures, chains=chains, **head)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
