"""The results of a study in two small files that travel.

``results.json`` says what, how and with which energies; ``chains.npz`` holds the Lanczos chains.
"""

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from perovskite_polaron.errors import ComputationError, InputError, require
from perovskite_polaron.espresso.savefile import LanczosSave, read_chains, read_save, write_chains
from perovskite_polaron.espresso.xspectra import SAVE_FILE
from perovskite_polaron.files import read_text, write_atomically
from perovskite_polaron.settings import fill, refuse
from perovskite_polaron.spectra.budget import ErrorBudget, read_budget
from perovskite_polaron.workflow.attempt import check_chain
from perovskite_polaron.workflow.jobs import StructureJobs
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.study import Study, resolved, study_of

FORMAT = "perovskite_polaron results 2"
# The same, but with the study as TOML text.
_OLDER = "perovskite_polaron results 1"


@dataclass(frozen=True)
class SiteResult:
    """One inequivalent absorber.

    Attributes
    ----------
    label, site, parent
        Name, Wyckoff site, and the site that it comes from in the undistorted crystal.
    multiplicity
        Number of equivalent absorbers.
    hole
        Result of the calculation with the core hole.
    chains
        Polarisation -> name of its Lanczos chains.
    """

    label: str
    site: str
    parent: str | None
    multiplicity: int
    hole: Mapping[str, Any]
    chains: Mapping[str, str]


@dataclass(frozen=True)
class StructureResult:
    """One structure.

    Attributes
    ----------
    amplitude_sqrt_amu_A
        Norm over its modes, with the sign that was asked for.
    sign_equivalent
        Whether +Q and −Q are images of each other (``structures.StudyStructure``); None where that
        is not known, in results of earlier versions.
    ground
        Result of its ground state.
    """

    name: str
    space_group: str
    amplitude_sqrt_amu_A: float | None
    max_displacement_A: float | None
    lattice_A: tuple[tuple[float, ...], ...]
    ground: Mapping[str, Any]
    sites: tuple[SiteResult, ...]
    sign_equivalent: bool | None = None


@dataclass(frozen=True)
class StudyResults:
    """All results of a study, computed as ``study`` says.

    Attributes
    ----------
    chains
        Name -> Lanczos chains.
    budget
        What the settings may still change; None where ``polaron converge`` has not estimated it.
    """

    study: Study
    structures: tuple[StructureResult, ...]
    chains: Mapping[str, LanczosSave]
    budget: ErrorBudget | None = None


def collect(study: Study, structures: Sequence[StructureJobs], store: Store) -> StudyResults:
    """Gather the finished results of a study.

    Raises
    ------
    ComputationError
        Naming how many jobs have no result yet.
    """
    jobs = {job.digest: job for one in structures for job in one.all()}
    records = {digest: store.result(job) for digest, job in jobs.items()}
    missing = [jobs[d].label for d, r in records.items() if r is None]
    if missing:
        raise ComputationError(f"{len(missing)} of {len(jobs)} jobs have no result yet (first:"
                               f" {missing[0]}): polaron run {study.path} computes them")
    chains, rows = {}, []
    for one in structures:
        structure, point, sites = one.structure, one.structure.distortion, []
        for absorber in one.absorbers:
            names = {axis: f"{structure.name}/{absorber.label}/{axis}" for axis in absorber.xas}
            for axis, job in absorber.xas.items():
                chains[names[axis]] = read_save(store.folder(job) / SAVE_FILE)
                check_chain(chains[names[axis]], job, store)
            a, hole = absorber.absorber, records[absorber.hole.digest] or {}
            sites.append(SiteResult(absorber.label, a.site, a.parent, a.multiplicity, hole, names))
        rows.append(StructureResult(structure.name, structure.space_group,
                                    _signed_norm(point.amplitude_sqrt_amu_A) if point else None,
                                    point.max_displacement_A if point else None,
                                    tuple(map(tuple, structure.crystal.lattice_A.tolist())),
                                    records[one.ground.digest] or {}, tuple(sites),
                                    structure.sign_equivalent))
    return StudyResults(study, tuple(rows), chains, read_budget(store.root))


def _signed_norm(amplitudes: Sequence[float]) -> float:
    # The modes of one structure have amplitudes of one sign.
    return math.copysign(math.hypot(*amplitudes), amplitudes[0])


def write_results(results: StudyResults, folder: str | Path) -> None:
    """Write ``chains.npz``, and then ``results.json`` with its digest, into a folder."""
    folder, study = Path(folder), results.study
    write_chains(folder / "chains.npz", results.chains)
    record = {
        "format": FORMAT, "element": study.element, "reference": study.reference,
        "core_hole": study.core_hole.kind, "chains_sha256": _sha256(folder / "chains.npz"),
        "structures": [asdict(s) for s in results.structures], "study": resolved(study)}
    write_atomically(folder / "results.json", json.dumps(record, indent=1) + "\n")


def read_results(folder: str | Path) -> StudyResults:
    """Read what write_results wrote.

    Raises
    ------
    InputError
        When a file is missing, damaged, or the two do not belong together.
    """
    folder, problems = Path(folder), list[str]()
    path = folder / "results.json"
    try:
        record = json.loads(read_text(path, "results.json of a study"))
        require(record["format"] in (FORMAT, _OLDER), f"{path} is of format {record['format']!r},"
                f" this version reads {FORMAT!r}: compute or export it again")
        rows = [fill(StructureResult, s, "structures", problems) for s in record["structures"]]
        digest, study = record["chains_sha256"], record["study"]
        table = tomllib.loads(study) if record["format"] == _OLDER else dict(study)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not the results of a study ({error}): compute or export it"
                         " again") from None
    refuse(path, problems)
    # How the programs were started is no part of a result, and its keys were others once.
    table.pop("run", None)
    chains = read_chains(folder / "chains.npz")
    require(_sha256(folder / "chains.npz") == digest, f"{folder / 'chains.npz'} does not belong to"
            f" {path}: keep the two files of one study together")
    return StudyResults(study_of(table, path), tuple(r for r in rows if r is not None), chains,
                        read_budget(folder))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
