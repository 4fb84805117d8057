"""How many MPI processes a job is worth."""

import math

from perovskite_polaron.workflow.jobs import Job

# Below this much work for each process (in the unit of Job.cost, about a second), another job is a better use of a core.
_COST_PER_RANK = 10.0


def ranks_for(job: Job, most: int) -> int:
    """Return the number of MPI processes for a job, at most ``most``, from its cost and its k points.

    Up to the number of k points, each process is a pool of its own, and the fewest that need the same number of rounds
    are taken: 4 points on 3 processes take as long as on 2. Beyond it, whole multiples of the k points are taken.
    """
    worth = max(1, min(most, int(job.cost / _COST_PER_RANK)))
    if worth <= job.kpoints:
        return math.ceil(job.kpoints / math.ceil(job.kpoints / worth))
    return worth // job.kpoints * job.kpoints
