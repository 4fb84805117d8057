"""How far a study has come: the state of every job, core-hours spent and left."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perovskite_polaron.workflow.index import PlannedJob, look, read_plan
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.study import Study

if TYPE_CHECKING:
    from perovskite_polaron.workflow.jobs import Job

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
    """rows: the jobs in their order. core_hours_left: estimated from those done, None while nothing is done yet."""

    rows: list[JobStatus]
    core_hours: float
    core_hours_left: float | None

    @property
    def count(self) -> dict[str, int]:
        """Number of jobs in each state."""
        return {state: sum(row.state == state for row in self.rows) for state in STATES}


def study_status(study: Study) -> StudyStatus:
    """Return the state of a study from its store. Raises as plan does, if the store has no plan of this very study yet."""
    store = Store(study.store_folder)
    jobs: Sequence[PlannedJob | Job] | None = read_plan(study, store)
    if jobs is None:
        from perovskite_polaron.workflow.jobs import plan, study_jobs

        jobs = study_jobs(plan(study))
    done, begun = look(store)
    rows: list[JobStatus] = []
    spent, open_cost = 0.0, dict[str, float]()
    seen: dict[str, list[float]] = {}
    for job in jobs:
        record = done.get(job.digest[:12])
        if record is None:
            state = store.unfinished_state(job) if job.digest[:12] in begun else "todo"
            rows.append(JobStatus(job.kind, job.label, state, None))
            open_cost[job.kind] = open_cost.get(job.kind, 0.0) + job.cost
            continue
        seconds = record.get("wall_seconds")
        rows.append(JobStatus(job.kind, job.label, "done", seconds))
        if seconds is not None:
            core_hours = seconds * record.get("ranks", 1) / 3600
            spent += core_hours
            total = seen.setdefault(job.kind, [0.0, 0.0])
            total[0] += core_hours
            total[1] += job.cost
    left = None
    if spent:
        every = [sum(t[k] for t in seen.values()) for k in (0, 1)]
        left = sum(cost * (t := seen.get(kind, every))[0] / t[1] for kind, cost in open_cost.items())
    return StudyStatus(rows, spent, left if open_cost else 0.0)
