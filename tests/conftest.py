"""Shared by the tests: one cache of pseudopotentials, and one small real study."""

import contextlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import replay

from perovskite_polaron.espresso.program import program_version
from perovskite_polaron.measured.readers import read_scans
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.workflow.scenarios import BUILT_IN
from perovskite_polaron.workflow.spectra import load_results

POLARON = [sys.executable, "-m", "perovskite_polaron.cli.main"]
# A cell, cut-off and k grid far too small for physics, but every step is real and the laws hold all
# the same.
TINY_STUDY = """
element = "Br"
reference = "cubic"

[structures.cubic]
crystal = "cspbbr3-pm3m"

[structures.polar]
crystal = "cspbbr3-pm3m"
modes = ["{mode}"]
max_displacement_A = [0.10, -0.10]

[pw]
ecutwfc_Ry = 20
ecutrho_Ry = 120
kpoints = [2, 2, 2]
conv_thr_Ry = 1e-8
system = {{ nbnd = 26 }}

[xspectra]
kpoints = [1, 1, 1]
kpoint_shift = [0, 0, 0]
relative_error = 0.002
"""


_BESIDE = threading.local()


def _remember(environment: dict[str, str]) -> None:
    _BESIDE.environment = environment


def environment() -> dict[str, str]:
    """The environment for a process: beside the tests that of when their run was begun.

    A test may be changing the one of this process, which a process that is starting in another
    thread would see half made.
    """
    return getattr(_BESIDE, "environment", None) or dict(os.environ)


def polaron(*words: str, cwd: Path, **keywords: object) -> "subprocess.CompletedProcess[str]":
    """Run the command line in a process of its own, as a user does."""
    return subprocess.run(
        [*POLARON, *words], cwd=cwd, capture_output=True, text=True, check=False,
        **({"env": environment()} | keywords),  # type: ignore[call-overload]
    )


@contextlib.contextmanager
def two_at_a_time() -> Iterator[ThreadPoolExecutor]:
    """For long runs: both cores work, and what nobody asked for by the end is not begun."""
    with ThreadPoolExecutor(2, initializer=_remember, initargs=(dict(os.environ),)) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


def processes_in(folder: Path) -> list[int]:
    """Return the processes that work in a folder or below it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if os.readlink(path).startswith(str(folder)):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def written(folder: Path, text: str | bytes, name: str = "scan.csv") -> Path:
    """Write a file into a folder and return its path."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def changed(path: Path, folder: Path, old: str, new: str, name: str = "") -> Path:
    """Write a file again into a folder, with what a pattern finds replaced; return its path."""
    text = path.read_text()
    assert re.search(old, text), old
    return written(folder, re.sub(old, new, text), name or path.name)


def energies(path: Path, **options: Any) -> tuple[list[float], list[float]]:
    """Return the energies and the intensity of the one scan of a file."""
    (scan,) = read_scans([path], **options)
    return scan.energy_eV.tolist(), scan.intensity.tolist()


def write_tiny_study(folder: Path) -> Path:
    """Write the small study into a folder and return its path."""
    mode = Path(__file__).parent.parent / "examples" / "modes" / "cubic_polar.json"
    path = folder / "tiny.toml"
    path.write_text(TINY_STUDY.format(mode=mode))
    return path


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep generated pseudopotentials away from the user's own cache."""
    os.environ.setdefault("POLARON_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session", autouse=True)
def tiny_run(request: pytest.FixtureRequest, cache: None, tmp_path_factory: pytest.TempPathFactory,
             ) -> Iterator["tuple[Path, subprocess.Popen[bytes]] | None"]:
    """The small study on its way, if a test asks for it: begun with the session, for the first
    tests leave a core idle.
    """
    if not any("tiny_study" in getattr(one, "fixturenames", ()) for one in request.session.items):
        yield None
        return
    path = write_tiny_study(tmp_path_factory.mktemp("tiny"))
    recorder = replay.recorder(path.parent / "recorder", path.parent / "tape")
    with (path.parent / "log").open("w") as log:
        runner = subprocess.Popen(
            [*POLARON, "run", path.name, "--ranks", "1"], cwd=path.parent, stderr=log,
            stdout=subprocess.DEVNULL, env=os.environ | {"POLARON_ESPRESSO_BIN": str(recorder)})
    yield path, runner
    runner.terminate()
    runner.wait()


@pytest.fixture(scope="session")
def tiny_study(tiny_run: "tuple[Path, subprocess.Popen[bytes]]") -> Path:
    """The small study, computed once with the real programs, and recorded on the way (see tape)."""
    path, runner = tiny_run
    assert runner.wait() == 0, (path.parent / "log").read_text()
    return path


@pytest.fixture(scope="session")
def tape(tiny_study: Path) -> Path:
    """A recording of the real runs of the small study, for tests of the runner that play it again.
    """
    return tiny_study.parent / "tape"


@pytest.fixture(scope="session")
def player(tape: Path) -> Path:
    """A folder for POLARON_ESPRESSO_BIN whose programs play the recording."""
    return replay.player(tape.parent / "player", tape, program_version("pw.x"))


@pytest.fixture(scope="session")
def subject() -> Subject:
    """What the report says of the bundled calculation."""
    results, settings, folder = load_results(BUILT_IN)
    return Subject(results, settings, folder, folder)
