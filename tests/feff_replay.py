"""A study of many absorbers with FEFF whose spectra are one real run, played for each of them: what
is left is the runner itself, its folders, locks, copies of potentials, inputs, reading, records.
"""

import shutil
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from perovskite_polaron.feff.calculations import AbsorptionCalculation, PotentialsCalculation
from perovskite_polaron.feff.stages import XMU
from perovskite_polaron.programs import OUTDIR
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


def record(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the smallest such study with FEFF; return a folder with what each kind of job left."""
    tape, real = folder / "tape", attempt.run_program

    def recorded(command: list[str], deck: Path, output: Path, **keywords: Any) -> float:
        seconds = real(command, deck, output, **keywords)
        kept = tape / deck.parent.name.partition("-")[0]
        shutil.copytree(deck.parent, kept, dirs_exist_ok=True)
        return seconds

    with monkeypatch.context() as patch:
        patch.setattr(attempt, "run_program", recorded)
        study = read_study(write_study(folder, 2))
        run_jobs(study_jobs(plan(study)), Store(study.store_folder), ranks=1, jobs_at_once=1)
    return tape


def cost(folder: Path, tape: Path, spectra: int, monkeypatch: pytest.MonkeyPatch) -> Cost:
    """Plan, run, look at and collect a study with so many spectra, of which FEFF computes none."""
    with monkeypatch.context() as patch:
        return _cost(folder, tape, spectra, patch)


def _cost(folder: Path, tape: Path, spectra: int, patch: pytest.MonkeyPatch) -> Cost:
    for kind, left, what in (("potentials", OUTDIR, PotentialsCalculation),
                             ("absorption", XMU, AbsorptionCalculation)):
        source = tape / kind
        play = ["sh", "-c", f"cp -r '{source / left}' . && cat '{source}/feff.out'"]
        patch.setattr(what, "command", lambda self, ranks, pools, play=play: play)
    in_programs, real = 0.0, attempt.run_program

    def timed(*args: Any, **keywords: Any) -> float:
        nonlocal in_programs
        seconds = real(*args, **keywords)
        in_programs += seconds
        return seconds

    patch.setattr(attempt, "run_program", timed)
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
    assert {row.state for row in study_status(study).rows} == {"done"}
    tick()
    results = collect(study, planned, store)
    tick()
    assert len(results.curves) == spectra
    return Cost(len(jobs), *(b - a for a, b in pairwise(ticks)), wall)
