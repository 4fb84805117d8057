"""What the runner costs for hundreds of absorbers with FEFF, beside FEFF: seconds of its process
for each job, planning included, and by the clock.

A real run of the smallest cluster is played for every job (tests/feff_replay.py), so that all but
FEFF is real: planning, folders, locks, copies of potentials, inputs, reading, records.
"""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import feff_replay

pytest.importorskip("feff10", reason="feff10-rs is not installed (extra feff)")


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        return feff_replay.record(tmp_path_factory.mktemp("tape"), patch)


@pytest.mark.parametrize("spectra", [250, 500, 1000])
@pytest.mark.benchmark(group="FEFF runner")
def test_runner(benchmark, monkeypatch, tmp_path, tape, spectra):
    found = benchmark.pedantic(feff_replay.cost, (tmp_path, tape, spectra, monkeypatch), rounds=1)
    benchmark.extra_info.update(
        jobs=found.jobs, runner_ms_a_job=round(found.runner_ms, 1),
        wall_ms_a_job=round(1e3 * found.run_wall_s / found.jobs, 1),
        plan_s=round(found.plan_s, 2), status_s=round(found.status_s, 3),
        collect_s=round(found.collect_s, 3))
    assert found.runner_ms < 20
