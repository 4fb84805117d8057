"""What many absorbers with FEFF cost beside FEFF."""

from pathlib import Path

import feff_replay
import pytest

pytest.importorskip("feff10", reason="feff10-rs is not installed (extra feff)")
pytestmark = pytest.mark.feff


@pytest.mark.alone
def test_a_job_costs_the_runner_milliseconds_however_many_there_are(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tape = feff_replay.record(tmp_path, monkeypatch)
    # Modules are loaded, and what is found once is.
    found = []
    for name, spectra in (("first", 5), ("few", 25), ("many", 100)):
        (tmp_path / name).mkdir()
        found.append(feff_replay.cost(tmp_path / name, tape, spectra, monkeypatch))
    _, few, many = found
    assert (few.jobs, many.jobs) == (26, 101)
    # Of the processor, not of the clock: 17 ms on a busy machine.
    assert many.runner_ms < 40
    assert many.runner_ms < 1.5 * few.runner_ms
    assert many.status_s + many.collect_s < 6 * (few.status_s + few.collect_s)
    assert many.status_s < 0.5
