"""The results of a study in two small files that travel.

``results.json`` says what, how and with which energies; ``chains.npz`` holds the Lanczos chains,
``absorption.npz`` the curves of FEFF.
"""

import math
import tomllib
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from perovskite_polaron.errors import ComputationError, DamagedError, InputError, require
from perovskite_polaron.espresso.savefile import LanczosSave, read_chains, read_save, write_chains
from perovskite_polaron.espresso.xspectra import SAVE_FILE
from perovskite_polaron.feff.stages import XMU
from perovskite_polaron.feff.xmu import Absorption, read_absorption, read_xmu, write_absorption
from perovskite_polaron.files import SEAL, read_sealed, sha256_of, write_sealed
from perovskite_polaron.settings import fill, refuse
from perovskite_polaron.spectra.budget import ErrorBudget, read_budget, write_budget
from perovskite_polaron.workflow.jobs import StructureJobs
from perovskite_polaron.workflow.records import lacking
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.structures import SAMPLE
from perovskite_polaron.workflow.study import Study, resolved, study_of

FORMAT = "perovskite_polaron results 2"
# Engine -> file of what its spectra are made from.
_PACKED = {"xspectra": "chains.npz", "feff": "absorption.npz"}
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
        Number of equivalent absorbers, or how many this one stands for.
    hole
        Result of the calculation with the core hole, or of FEFF's potentials.
    chains
        Polarisation, or ``powder``, -> name of its Lanczos chains, or its curve.
    sample, ground
        Of an ensemble: number of the snapshot, and result of that one's ground state.
    """

    label: str
    site: str
    parent: str | None
    multiplicity: int | float
    hole: Mapping[str, Any]
    chains: Mapping[str, str]
    sample: int | None = None
    ground: Mapping[str, Any] | None = None


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
        Result of its ground state; empty with FEFF, and for an ensemble, whose snapshots have
        their own.
    ensemble
        Where its snapshots are from (``lattice.ensemble.Origin``), with ``snapshots``, how many the
        study asks for; None for a single structure.
    """

    name: str
    space_group: str
    amplitude_sqrt_amu_A: float | None
    max_displacement_A: float | None
    lattice_A: tuple[tuple[float, ...], ...]
    ground: Mapping[str, Any]
    sites: tuple[SiteResult, ...]
    sign_equivalent: bool | None = None
    ensemble: Mapping[str, Any] | None = None

    @property
    def samples(self) -> tuple[int, ...]:
        """Numbers of the snapshots that are in it."""
        return tuple(dict.fromkeys(s.sample for s in self.sites if s.sample is not None))


@dataclass(frozen=True)
class StudyResults:
    """All results of a study, computed as ``study`` says.

    Attributes
    ----------
    chains, curves
        Name -> Lanczos chains; name -> curve of FEFF.
    budget
        What the settings may still change; None where ``polaron converge`` has not estimated it.
    """

    study: Study
    structures: tuple[StructureResult, ...]
    chains: Mapping[str, LanczosSave] = field(default_factory=dict)
    budget: ErrorBudget | None = None
    curves: Mapping[str, Absorption] = field(default_factory=dict)


def collect(study: Study, structures: Sequence[StructureJobs], store: Store) -> StudyResults:
    """Gather the finished results of a study.

    Of ensembles the first snapshots that are finished in all of them are enough.

    Raises
    ------
    ComputationError
        Naming how many jobs have no result yet.
    """
    jobs = {job.digest: job for one in structures for job in one.all()}
    records = {digest: store.result(job) for digest, job in jobs.items()}
    whole, structures = structures, _finished(structures, records)
    jobs = {job.digest: job for one in structures for job in one.all()}
    missing = [jobs[d].label for d in jobs if records[d] is None]
    if missing:
        raise ComputationError(f"{len(missing)} of {len(jobs)} jobs have no result yet (first:"
                               f" {missing[0]}): polaron run {study.path} computes them")
    planned = Counter(one.structure.entry for one in whole)
    chains: dict[str, LanczosSave] = {}
    curves: dict[str, Absorption] = {}
    entries: dict[str, list[StructureJobs]] = {}
    for one in structures:
        entries.setdefault(one.structure.entry, []).append(one)
    rows = []
    for entry, parts in entries.items():
        structure, point, sites = parts[0].structure, parts[0].structure.distortion, []
        hot = structure.origin is not None
        for part, absorber in [(p, a) for p in parts for a in p.absorbers]:
            number = part.structure.sample
            label = absorber.label if number is None else f"{absorber.label}{SAMPLE}{number:04d}"
            names = {axis: f"{entry}/{label}/{axis}" for axis in absorber.xas}
            ground = (part.ground and records[part.ground.digest]) or {}
            for axis, job in absorber.xas.items():
                if job.kind == "absorption":
                    curves[names[axis]] = read_xmu(store.folder(job) / XMU)
                else:
                    chains[names[axis]] = read_save(store.folder(job) / SAVE_FILE)
            a, hole = absorber.absorber, records[absorber.hole.digest] or {}
            sites.append(SiteResult(label, a.site, a.parent, a.multiplicity, hole, names, number,
                                    ground if hot else None))
        origin = structure.origin
        ensemble = None if origin is None else {
            **asdict(origin), "snapshots": planned[entry]}
        rows.append(StructureResult(entry, structure.space_group,
                                    _signed_norm(point.amplitude_sqrt_amu_A) if point else None,
                                    point.max_displacement_A if point else None,
                                    tuple(map(tuple, structure.crystal.lattice_A.tolist())),
                                    {} if hot else ground,
                                    tuple(sites), structure.sign_equivalent, ensemble))
    return StudyResults(study, tuple(rows), chains, read_budget(store.root), curves)


def _finished(structures: Sequence[StructureJobs],
              records: Mapping[str, Any]) -> Sequence[StructureJobs]:
    """Leave out the snapshots from the first on that is not finished in all ensembles.

    What is left does not depend on how long a snapshot takes, so the mean is not biased. Where not
    even the first ones are finished nothing is left out.
    """
    entries: dict[str, list[StructureJobs]] = {}
    for one in structures:
        if one.structure.sample is not None:
            entries.setdefault(one.structure.entry, []).append(one)
    ready = math.inf
    for parts in entries.values():
        origin, done = parts[0].structure.origin, 0
        while done < len(parts) and all(records[job.digest] is not None
                                        for job in parts[done].all()):
            done += 1
        if done < len(parts) and origin is not None:
            ready = min(ready, done - done % (2 if origin.order == "pairs" else 1))
    return structures if ready < 1 else [
        one for one in structures if one.structure.sample is None or one.structure.sample < ready]


def _signed_norm(amplitudes: Sequence[float]) -> float:
    # The modes of one structure have amplitudes of one sign.
    return math.copysign(math.hypot(*amplitudes), amplitudes[0])


def write_results(results: StudyResults, folder: str | Path) -> list[Path]:
    """Write chains or curves, then ``results.json`` with their digest, and the error budget."""
    folder, study = Path(folder), results.study
    packed = folder / _PACKED[study.engine.kind]
    if study.engine.kind == "feff":
        write_absorption(packed, results.curves)
    else:
        write_chains(packed, results.chains)
    record = {
        "format": FORMAT, "element": study.element, "reference": study.reference,
        "core_hole": study.core_hole.kind, "chains_sha256": sha256_of(packed),
        "structures": [_row(s) for s in results.structures], "study": resolved(study)}
    kept = [] if results.budget is None else [write_budget(results.budget, folder)]
    return [packed, write_sealed(folder / "results.json", record), *kept]


def _row(structure: StructureResult) -> dict[str, Any]:
    """Return a structure as JSON has it, without what only ensembles have where it is none."""
    row = asdict(structure)
    if structure.ensemble is None:
        del row["ensemble"]
        for site in row["sites"]:
            del site["sample"], site["ground"]
    return row


def read_results(folder: str | Path) -> StudyResults:
    """Read what write_results wrote.

    Raises
    ------
    InputError
        When a file is missing, damaged, or the two do not belong together.
    """
    folder, problems = Path(folder), list[str]()
    path, remedy = folder / "results.json", "compute or export it again"
    try:
        record = read_sealed(path, remedy)
        require(record["format"] in (FORMAT, _OLDER), f"{path} is of format {record['format']!r},"
                f" this version reads {FORMAT!r}: {remedy}")
        rows = [fill(StructureResult, s, "structures", problems) for s in record["structures"]]
        digest, study = record["chains_sha256"], record["study"]
        table = tomllib.loads(study) if record["format"] == _OLDER else dict(study)
    except OSError:
        raise InputError(f"{path} does not exist: give a folder with results.json and chains.npz,"
                         " as polaron spectra STUDY.toml leaves them") from None
    except (DamagedError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is not the results of a study ({error}): {remedy}") from None
    refuse(path, problems)
    if SEAL not in record:
        warnings.warn(f"{path} is of an earlier version, without a checksum: a number that was"
                      " changed there would not be noticed", stacklevel=2)
    # How the programs were started is no part of a result, and its keys were others once.
    table.pop("run", None)
    known = study_of(table, path)
    packed = folder / _PACKED[known.engine.kind]
    require(packed.is_file(), f"{packed} does not exist: keep it beside {path}")
    require(sha256_of(packed) == digest, f"{packed} does not belong to {path}, or is damaged: keep"
            " the two files of one study together")
    whole = tuple(r for r in rows if r is not None)
    kept: dict[str, Any] = ({"curves": read_absorption(packed)} if known.engine.kind == "feff"
                            else {"chains": read_chains(packed)})
    found = StudyResults(known, whole, budget=read_budget(folder), **kept)
    refuse(path, list(_gaps(found)))
    return found


def _gaps(results: StudyResults) -> Iterator[str]:
    """Yield what results lack that spectra are made from."""
    names = [one.name for one in results.structures]
    feff = results.study.engine.kind == "feff"
    if results.study.reference not in names:
        yield f"the reference {results.study.reference} is not among the structures"
    for one in results.structures:
        holes = [("potentials" if feff else "hole", site.hole) for site in one.sites]
        grounds = [("ground", one.ground if s.ground is None else s.ground) for s in one.sites]
        for kind, record in holes if feff else [*grounds, *holes]:
            if missing := lacking(record, kind):
                yield f"{one.name}: {missing} of {kind} is not a number"
        chains = [name for site in one.sites for name in site.chains.values()]
        if not chains or not set(chains) <= {*results.chains, *results.curves}:
            yield f"{one.name}: its {'curves' if feff else 'chains'} are not there"
