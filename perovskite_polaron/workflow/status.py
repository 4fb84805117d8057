"""How far a study has come: the state of every job, core-hours spent and left.

``plan-STUDY.json`` lists the jobs of a study, under a key made of all that the plan depends on, so
that a look at a big study is quick. It can be thrown away and does not decide what is run.
"""

import contextlib
import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron import __version__
from perovskite_polaron.errors import DamagedError, MissingExtraError, MissingProgramError
from perovskite_polaron.espresso.program import find_program
from perovskite_polaron.espresso.pseudo_sets import files_of
from perovskite_polaron.feff.calculations import FeffCalculation
from perovskite_polaron.files import SEAL, read_sealed, write_sealed
from perovskite_polaron.lattice.ensemble import RECORD
from perovskite_polaron.workflow.job import Job, JobName
from perovskite_polaron.workflow.jobs import plan, study_jobs
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.study import Study


@dataclass(frozen=True)
class PlannedJob(JobName):
    """A line of the plan: which job, of what cost, under which name its parent is stored."""

    kind: str
    label: str
    digest: str
    cost: float
    parent: str = ""


def plan_key(study: Study) -> dict[str, Any]:
    """Return all that the jobs of a study depend on: its files by content, this version, the
    programs by time and size.

    A program that is not installed is left out, so that a plan made where it was stays valid.
    """
    files = {str(study.path)}
    for structure in study.structures.values():
        named = (structure.crystal, *structure.modes,
                 structure.ensemble and f"{structure.ensemble}/{RECORD}")
        files |= {study.file(name) for name in named if name}
    files |= files_of(study.pseudopotentials, study.file)
    digest = hashlib.sha256(__version__.encode())
    for name in sorted(files):
        path = Path(name)
        digest.update(name.encode() + (path.read_bytes() if path.is_file() else b""))
    programs: dict[str, Any] = {}
    if study.engine.kind == "feff":
        with contextlib.suppress(MissingExtraError):
            programs[FeffCalculation.program] = FeffCalculation.version()
        return {"files": digest.hexdigest(), "programs": programs}
    for name in ("pw.x", "xspectra.x", "ld1.x"):
        with contextlib.suppress(MissingProgramError):
            found = find_program(name).stat()
            programs[name] = [found.st_mtime_ns, found.st_size]
    return {"files": digest.hexdigest(), "programs": programs}


def _plan_path(study: Study, store: Store) -> Path:
    return store.root / f"plan-{study.path.stem}.json"


def read_plan(study: Study, store: Store) -> list[PlannedJob] | None:
    """Return the jobs of a study from its plan; None without one that is whole and up to date."""
    try:
        record = read_sealed(_plan_path(study, store), "it is made again")
    except (OSError, DamagedError):
        return None
    if SEAL not in record:
        return None
    key, now = record["key"], plan_key(study)
    same = key["files"] == now["files"] and key["programs"] | now["programs"] == key["programs"]
    return [PlannedJob(*row) for row in record["jobs"]] if same else None


def write_plan(study: Study, jobs: Sequence[Job], store: Store) -> None:
    """Write the plan of a study into its store."""
    rows = [(j.kind, j.label, j.digest, round(j.cost, 3), j.parent.folder if j.parent else "")
            for j in jobs]
    write_sealed(_plan_path(study, store), {"key": plan_key(study), "jobs": rows})


STATES = ("done", "running", "failed", "todo")


@dataclass(frozen=True)
class JobStatus:
    """One job: its state, and the wall time of its program if it is done (None if not known)."""

    kind: str
    label: str
    state: str
    wall_seconds: float | None


@dataclass(frozen=True)
class StudyStatus:
    """How far a study has come.

    Attributes
    ----------
    rows
        The jobs in their order.
    core_hours_left
        Estimated from those done, None while nothing is done yet.
    """

    rows: list[JobStatus]
    core_hours: float
    core_hours_left: float | None

    @property
    def count(self) -> dict[str, int]:
        """Number of jobs in each state."""
        return {state: sum(row.state == state for row in self.rows) for state in STATES}


def study_status(study: Study) -> StudyStatus:
    """Return the state of a study from its store; errors as ``plan``, if the store has no plan of
    it yet.
    """
    store = Store(study.store_folder)
    jobs: Sequence[PlannedJob | Job] = read_plan(study, store) or study_jobs(plan(study))
    begun = store.begun()
    rows: list[JobStatus] = []
    spent, open_cost = 0.0, defaultdict[str, float](float)
    seen: dict[str, np.ndarray] = {}
    for job in jobs:
        there = job.digest[:12] in begun
        record = store.result(job) if there else None
        if record is None:
            state = store.unfinished_state(job) if there else "todo"
            rows.append(JobStatus(job.kind, job.label, state, None))
            open_cost[job.kind] += job.cost
            continue
        seconds = record.get("wall_seconds")
        rows.append(JobStatus(job.kind, job.label, "done", seconds))
        if seconds is not None:
            core_hours = seconds * record.get("ranks", 1) / 3600
            spent += core_hours
            seen[job.kind] = seen.get(job.kind, 0) + np.array([core_hours, job.cost])
    left = work_left(open_cost, seen) if spent or not open_cost else None
    return StudyStatus(rows, spent, left)


def work_left(open_cost: Mapping[str, float], seen: Mapping[str, np.ndarray]) -> float:
    """Return how long the jobs to do will take.

    Parameters
    ----------
    open_cost
        Kind of job -> cost of those to do.
    seen
        Kind of job -> time and cost (2,) of those done. A kind that was never timed is taken to go
        as fast as all others together, and where nothing was, a unit of cost takes a unit of time.
    """
    every = sum(seen.values(), np.zeros(2)) if seen else np.ones(2)
    totals = {kind: seen.get(kind, every) for kind in open_cost}
    return float(sum(cost * totals[k][0] / totals[k][1] for k, cost in open_cost.items()))
