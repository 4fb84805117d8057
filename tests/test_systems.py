"""What other systems than Linux have not: the same code runs without it, or says so."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import environment

from perovskite_polaron import systems
from perovskite_polaron.errors import ComputationError
from perovskite_polaron.programs import run_program

WITHOUT = """
import sys
sys.modules["fcntl"] = None
from perovskite_polaron.cli.main import main
sys.exit(main({words!r}))
"""


@pytest.mark.parametrize("linux", [True, False])
def test_a_program_is_waited_for_and_polled_with_and_without_pidfd(
        linux: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not linux:
        monkeypatch.delattr(os, "pidfd_open")
        monkeypatch.setattr(sys, "platform", "darwin")
    (tmp_path / "job.in").write_text("sleep 0.7; echo JOB DONE\n")
    polled: list[Path] = []
    start = time.monotonic()
    seconds = run_program(["sh"], tmp_path / "job.in", tmp_path / "job.out", on_poll=polled.append)
    assert 0.7 <= seconds <= time.monotonic() - start
    assert set(polled) == {tmp_path / "job.out"}
    (tmp_path / "job.in").write_text("exit 3\n")
    with pytest.raises(ComputationError, match="status 3"):
        run_program(["sh"], tmp_path / "job.in", tmp_path / "job.out")


def test_a_lock_is_kept_from_another_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    first, second = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)
    try:
        systems.lock(first)
        for shared in (False, True):
            with pytest.raises(BlockingIOError):
                systems.lock(second, shared=shared)
    finally:
        os.close(first)
    systems.lock(second, shared=True)
    os.close(second)


def test_the_age_of_a_process_is_known_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    started = subprocess.Popen(["sleep", "5"])
    try:
        assert 0 <= systems.age_seconds(started.pid) < 2
    finally:
        started.kill()
        started.wait()
    with pytest.raises(ComputationError, match="without /proc"):
        systems.age_seconds(started.pid)


def test_cores_are_those_of_the_process_or_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert systems.usable_cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    assert systems.usable_cores() == os.cpu_count()


def run_without_locks(*words: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    code = WITHOUT.format(words=list(words))
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True,
                          check=False, env=environment())


def test_without_locks_what_needs_none_works_and_the_rest_is_refused_in_one_line(
        tmp_path: Path) -> None:
    done = run_without_locks("bonds", "cspbbr3-pbnm", folder=tmp_path)
    assert done.returncode == 0
    assert "axial" in done.stdout
    done = run_without_locks("doctor", "--json", folder=tmp_path)
    assert "cannot run or store calculations" in done.stdout
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(systems, "fcntl", None)
        with pytest.raises(ComputationError, match="Linux or macOS"):
            systems.lock(0)
