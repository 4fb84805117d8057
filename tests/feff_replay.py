"""A study of many absorbers with FEFF whose spectra are one real run, played for each of them: what
is left is the runner itself, its folders, locks, copies of potentials, inputs, reading, records.
"""

import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from perovskite_polaron.feff.calculations import AbsorptionCalculation
from perovskite_polaron.feff.stages import XMU
from perovskite_polaron.workflow import attempt
from perovskite_polaron.workflow.execute import run_jobs
from perovskite_polaron.workflow.job import Job
from perovskite_polaron.workflow.jobs import plan, study_jobs
from perovskite_polaron.workflow.results import collect
from perovskite_polaron.workflow.status import study_status, write_plan
from perovskite_polaron.workflow.store import Store, make_folder
from perovskite_polaron.workflow.study import read_study

MODE = Path(__file__).parent.parent / "examples" / "modes" / "cubic_polar.json"
STUDY = """
element = "Pb"
edge = "L3"
reference = "cubic"
[engine]
kind = "feff"
[feff]
cluster_radius_A = 5.9
scf_radius_A = 3.2
l_max = 1
energy_max_eV = 30
[spectra]
energy_max_eV = 25
points = 101
[structures.cubic]
crystal = "cspbbr3-pm3m"
[structures.polar]
crystal = "cspbbr3-pm3m"
modes = ["{mode}"]
max_displacement_A = {amplitudes}
"""


@dataclass(frozen=True)
class Cost:
    """Seconds of this process for each step, and of the runner beside its programs by the clock."""

    jobs: int
    plan_s: float
    run_s: float
    status_s: float
    collect_s: float
    run_wall_s: float

    @property
    def runner_ms(self) -> float:
        """Of the runner, planning included, for each job."""
        return 1e3 * (self.plan_s + self.run_s) / self.jobs


def write_study(folder: Path, spectra: int) -> Path:
    """Write a study with so many absorption jobs, and one of potentials."""
    amplitudes = [round(0.01 + 0.19 * k / spectra, 6) for k in range(spectra - 1)]
    path = folder / "many.toml"
    path.write_text(STUDY.format(mode=MODE, amplitudes=amplitudes))
    return path


def record(folder: Path) -> Path:
    """Run the smallest such study with FEFF; return a folder with what its spectrum left."""
    study = read_study(write_study(folder, 2))
    store, jobs = Store(study.store_folder), study_jobs(plan(study))
    run_jobs(jobs, store, ranks=1, jobs_at_once=1)
    ended = store.folder(jobs[-1])
    tape = folder / "tape"
    tape.mkdir()
    for name in (XMU, jobs[-1].output_name):
        shutil.copyfile(ended / name, tape / name)
    return tape


def cost(folder: Path, tape: Path, spectra: int, monkeypatch: pytest.MonkeyPatch) -> Cost:
    """Plan, run, look at and collect a study with so many spectra, of which FEFF computes none."""
    play = ["sh", "-c", f"cp '{tape}/{XMU}' {XMU} && cat '{tape}/feff.out'"]
    monkeypatch.setattr(AbsorptionCalculation, "command", lambda self, ranks, pools: play)
    in_programs, real = 0.0, attempt.run_program

    def timed(*args: object, **keywords: object) -> float:
        nonlocal in_programs
        seconds = real(*args, **keywords)  # type: ignore[arg-type]
        in_programs += seconds
        return seconds

    monkeypatch.setattr(attempt, "run_program", timed)
    study = read_study(write_study(folder, spectra))
    ticks = [time.process_time()]

    def tick() -> None:
        ticks.append(time.process_time())

    planned = plan(study)
    jobs: list[Job] = study_jobs(planned)
    tick()
    store, begun = Store(study.store_folder), time.perf_counter()
    make_folder(store.root)
    write_plan(study, jobs, store)
    run_jobs(jobs, store, ranks=1, jobs_at_once=1)
    wall = time.perf_counter() - begun - in_programs
    tick()
    found = study_status(study)
    tick()
    results = collect(study, planned, store)
    tick()
    assert len(results.curves) == spectra
    monkeypatch.undo()
    return Cost(len(jobs), *(b - a for a, b in zip(ticks, ticks[1:], strict=False)), wall)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        work = Path(name)
        (work / "one").mkdir()
        recorded = record(work / "one")
        for count in map(int, sys.argv[1:]):
            (work / str(count)).mkdir()
            one = cost(work / str(count), recorded, count, patch)
            print(one, f"{one.runner_ms:.1f} ms a job", flush=True)
