"""A study of ensembles in batches of snapshots, until its differences are known well enough."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from perovskite_polaron.errors import require
from perovskite_polaron.workflow.job import Job, StructureJobs
from perovskite_polaron.workflow.jobs import study_jobs
from perovskite_polaron.workflow.results import collect
from perovskite_polaron.workflow.spectra import StudySpectra, study_spectra
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.study import Study

# From fewer independent units an error is not known well enough to stop by it.
_FEWEST = 4.0


@dataclass(frozen=True)
class Precision:
    """How well one difference over snapshots is known.

    Attributes
    ----------
    name, minus
        The structure, and what it is subtracted from.
    percent
        Largest standard error over all energies, in % of the largest value of the difference.
    samples, effective
        Snapshots, and how many independent units they are worth.
    """

    name: str
    minus: str
    percent: float
    samples: int
    effective: float


def precisions(spectra: StudySpectra) -> list[Precision]:
    """Return the precision of every difference over snapshots that has a standard error."""
    found = []
    for name, error in spectra.errors.items():
        largest = float(np.abs(spectra.percent(name)).max())
        sigma = spectra.error_percent(name)
        if sigma is not None and largest > 0:
            found.append(Precision(name, spectra.base_of(name), 100 * float(sigma.max()) / largest,
                                   error.samples, error.effective))
    return found


def batches(structures: Sequence[StructureJobs], size: int) -> list[list[Job]]:
    """Return the jobs of all single structures with the first snapshots, of the next, and so on.

    Raises
    ------
    InputError
        For a study without ensembles.
    """
    numbers = [one.structure.sample for one in structures if one.structure.sample is not None]
    require(numbers, "--tolerance is for studies of ensembles: this one has none")
    size += size % 2  # no pair is parted
    return [study_jobs(one for one in structures
                       if (k := one.structure.sample) is None or start <= k < start + size)
            for start in range(0, max(numbers) + 1, size)]


def run_until(study: Study, structures: Sequence[StructureJobs], store: Store,
              tolerance_percent: float, size: int, launch: Callable[[Sequence[Job]], None],
              report: Callable[[str], None]) -> bool:
    """Run batch after batch; return whether every difference was known to the tolerance.

    What is stored already counts, so the same call goes on after any interruption. Stopping at the
    first estimate that is small enough makes it a little too small; at least four independent
    units are asked for.

    Parameters
    ----------
    study, structures, store
        What to run, and where results are kept.
    tolerance_percent
        Of the largest value of each difference.
    size
        Snapshots of a batch.
    launch, report
        Runs jobs that have no result; takes a line on the state.
    """
    for jobs in batches(structures, size):
        launch(jobs)
        spectra = study_spectra(collect(study, structures, store), study.spectra)
        found, hot = precisions(spectra), set(spectra.mean_errors)
        for one in found:
            report(f"{one.name} − {one.minus}: standard error {one.percent:.1f} % of its largest"
                   f" value after {one.samples} snapshots")
        known = {one.name for one in found}
        asked = {n for n in spectra.differences if n in hot or spectra.base_of(n) in hot}
        if asked and asked <= known and all(
                one.percent <= tolerance_percent and one.effective >= _FEWEST for one in found):
            return True
    return False
