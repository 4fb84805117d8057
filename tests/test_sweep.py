"""Sweeps: executors, ranks, the index, what is left when Quantum ESPRESSO is not there, gc, export,
hostile names.
"""

import fcntl
import json
import math
import multiprocessing
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import environment, polaron, two_at_a_time, write_tiny_study

from perovskite_polaron.errors import (
    ComputationError, InputError, InterruptedRunError, OutOfTimeError)
from perovskite_polaron.espresso.projwfc import ProjwfcCalculation
from perovskite_polaron.workflow.attempt import Outcome, attempt, attempt_there
from perovskite_polaron.workflow.execute import Event, ranks_for, run_jobs
from perovskite_polaron.workflow.executors import ExecutorSettings, read_executor
from perovskite_polaron.workflow.jobs import Job, plan, study_jobs
from perovskite_polaron.workflow.results import collect
from perovskite_polaron.workflow.store import Store, find_garbage, remove
from perovskite_polaron.workflow.study import read_study


@pytest.mark.parametrize("most", [1, 2, 3, 8, 64])
@pytest.mark.parametrize("kpoints", [1, 2, 4, 7, 12])
@pytest.mark.parametrize("cost", [0.1, 15.0, 45.0, 1e4])
def test_ranks_are_no_more_than_help(cost: float, kpoints: int, most: int) -> None:
    ranks = ranks_for(Job("pdos", "a", ProjwfcCalculation(), "0" * 64, cost, kpoints), most)
    assert 1 <= ranks <= most
    assert ranks == 1 or cost / ranks >= 10
    rounds = math.ceil(kpoints / ranks)
    # One process less would need more rounds of k points, or leave the pools uneven.
    assert ranks == 1 or ranks > kpoints or math.ceil(kpoints / (ranks - 1)) > rounds
    assert ranks <= kpoints or ranks % kpoints == 0


def test_an_executor_file_is_checked_whole(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text('provider = "slurn"\ncores = 0\nqueu = "x"\n')
    with pytest.raises(InputError) as error:
        read_executor(path)
    for word in ("slurn", "cores", "did you mean 'queue'"):
        assert word in str(error.value)
    path.write_text('queue = "small\\ntouch /tmp/oops"\n')
    with pytest.raises(InputError, match="queue is a single word"):
        read_executor(path)


def test_small_jobs_share_a_node() -> None:
    settings = ExecutorSettings(cores=32, nodes_per_block=2, max_blocks=3)
    assert settings.jobs_per_node(4) == 8
    assert settings.places(4) == 48
    assert settings.places(64) == 6, "a job wider than a node still gets one"


def run_played(path: Path, player: Path, *words: str,
               **more: str) -> "subprocess.CompletedProcess[str]":
    return polaron("run", path.name, *words, cwd=path.parent,
                   env=os.environ | {"POLARON_ESPRESSO_BIN": str(player)} | more)


@pytest.fixture(scope="module")
def played_once(player: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small study, its results played from the recording."""
    path = write_tiny_study(tmp_path_factory.mktemp("played"))
    done = run_played(path, player)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture
def played(played_once: Path, tmp_path: Path) -> Path:
    """A copy of it in a folder of its own."""
    shutil.copytree(played_once.parent, tmp_path, dirs_exist_ok=True)
    return tmp_path / played_once.name


@pytest.fixture(scope="module", autouse=True)
def dying(request: pytest.FixtureRequest,
          ) -> "Iterator[Future[subprocess.CompletedProcess[str]] | None]":
    """Interruptions of a played study, begun with this module if asked for: it waits most of its
    time.
    """
    if not any(one.name == "test_the_hundred_ways_to_die" for one in request.session.items):
        yield None
        return
    words = [sys.executable, str(Path(__file__).parent / "chaos.py"), "--runs", "7", "--tape",
             str(request.getfixturevalue("tape"))]
    with two_at_a_time() as pool:
        yield pool.submit(subprocess.run, words, env=environment(), capture_output=True, text=True,
                          check=False)


@pytest.mark.espresso
def test_other_processes_do_the_jobs_as_well(
    player: Path, tiny_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLARON_ESPRESSO_BIN", str(player))
    study = read_study(write_tiny_study(tmp_path))
    structures, store = plan(study), Store(study.store_folder)
    events: list[Event] = []
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        run_jobs(study_jobs(structures), store, ranks=1, jobs_at_once=2, report=events.append,
                 executor=pool)
    assert [e.what for e in events].count("finished") == 14
    here = read_study(tiny_study)
    expected = collect(here, plan(here), Store(here.store_folder)).chains
    found = collect(study, structures, store).chains
    assert {k: c.sha256 for k, c in found.items()} == {k: c.sha256 for k, c in expected.items()}


@pytest.mark.espresso
def test_a_finished_study_needs_no_quantum_espresso(played: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    without = os.environ | {
        "POLARON_ESPRESSO_BIN": str(tmp_path / "empty"),
        "POLARON_CACHE": str(tmp_path / "no-cache"),
    }
    status = polaron("status", played.name, "--json", cwd=tmp_path, env=without)
    assert json.loads(status.stdout)["done"] == 14
    dry = polaron("run", played.name, "--dry-run", cwd=tmp_path, env=without)
    assert dry.stdout.count("done ") == 14, dry.stderr
    spectra = polaron("spectra", played.name, "--out", "spectra", "--json", cwd=tmp_path,
                      env=without)
    assert spectra.returncode == 0, spectra.stderr


@pytest.mark.espresso
def test_the_plan_can_be_thrown_away(played: Path) -> None:
    def status() -> dict[str, float]:
        return json.loads(polaron("status", played.name, "--json", cwd=played.parent).stdout)

    store = played.parent / "tiny-results"
    before = status()
    assert (before["done"], before["todo"], before["core_hours_left"]) == (14, 0, 0.0)
    (store / "plan-tiny.json").unlink()
    assert status() == before
    next(store.glob("jobs/xas-cubic*-x-*/result.json")).unlink()
    now = status()
    assert (now["done"], now["failed"]) == (13, 1), "an output without a result"


@pytest.mark.espresso
def test_gc_removes_only_what_nothing_needs(played: Path) -> None:
    study = read_study(played)
    jobs, store = study_jobs(plan(study)), Store(study.store_folder)
    holes = [job for job in jobs if job.kind == "hole"]
    for hole in holes:
        (store.folder(hole) / "outdir").mkdir()
        (store.folder(hole) / "outdir" / "density").write_bytes(b"x" * 1000)
    child = next(job for job in jobs if job.parent is holes[0])
    (store.folder(child) / "result.json").unlink()
    stale = store.folder(holes[1]) / ".tmp-old"
    stale.write_text("half")
    os.utime(stale, (0, 0))
    dry = json.loads(polaron("gc", played.name, "--json", cwd=played.parent).stdout)
    assert (dry["deleted"], dry["bytes"]) == (False, 2004)
    assert all((store.folder(h) / "outdir").exists() for h in holes)
    with store.lock(holes[1]):
        assert remove(store, find_garbage(store, jobs)) == 1000, "what is locked stays"
    assert polaron("gc", played.name, "--delete", cwd=played.parent).returncode == 0
    assert [(store.folder(h) / "outdir").exists()
            for h in holes] == [True] + [False] * (len(holes) - 1)
    assert not stale.exists()


@pytest.mark.espresso
def test_export_keeps_the_spectra_and_can_be_computed_again(played: Path, player: Path,
                                                            tmp_path: Path) -> None:
    out, archive = tmp_path / "tiny.h5", tmp_path / "tiny.tar.gz"
    done = polaron("export", played.name, "--out", str(out), "--archive", str(archive),
                   cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert polaron("spectra", played.name, "--out", "spectra", cwd=tmp_path).returncode == 0
    table = np.genfromtxt(tmp_path / "spectra" / "spectra.csv", delimiter=",", names=True,
                          deletechars="")
    with h5py.File(out) as file:
        entry = file[file.attrs["default"]]
        assert entry["definition"][()] == b"NXxas"
        # What the application definition asks for, by class.
        for name, nx_class, fields in (
            ("instrument/source", "NXsource", ("type", "name", "probe")),
            ("instrument/monochromator", "NXmonochromator", ("energy",)),
            ("instrument/incoming_beam", "NXdetector", ("data",)),
            ("instrument/absorbed_beam", "NXdetector", ("data",)),
            ("sample", "NXsample", ("name",)),
            ("monitor", "NXmonitor", ("mode", "preset", "data")),
            ("data", "NXdata", ("energy", "absorbed_beam")),
        ):
            assert entry[name].attrs["NX_class"] == nx_class
            assert set(fields) <= set(entry[name])
        assert entry["data/energy"] == entry[
            "instrument/monochromator/energy"], "a link, not a copy"
        np.testing.assert_allclose(entry["data/absorbed_beam"][()], table["cubic"], rtol=1e-8)
        records = json.loads(file["provenance/jobs_json"][()])
        assert len(records) == 14
        for record in records.values():
            assert {"program_version", "polaron_version", "polaron_revision", "machine", "started",
                    "finished"} <= set(record)
    other = tmp_path / "other"
    with tarfile.open(archive) as tar:
        tar.extractall(other, filter="data")
    # On a machine without programs or pseudopotentials of its own:
    bare = os.environ | {"POLARON_ESPRESSO_BIN": str(other), "POLARON_CACHE": str(other / "cache")}
    done = polaron("spectra", "study.toml", "--out", "spectra", cwd=other, env=bare)
    assert done.returncode == 0, done.stderr
    assert (other / "spectra" / "spectra.csv").read_bytes() == (tmp_path / "spectra"
                                                                / "spectra.csv").read_bytes()
    for name in ("result.json", "*.out"):
        for file in other.glob(f"results/jobs/*/{name}"):
            file.unlink()
    again = run_played(other / "study.toml", player, POLARON_CACHE=str(other / "cache"))
    assert again.returncode == 0, again.stderr
    assert "14 jobs, 0 done" in again.stderr


@pytest.mark.espresso
def test_hostile_names_reach_no_shell_and_leave_no_store(player: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a 'b\" $(touch oops) `touch oops`; touch oops & ü"
    folder.mkdir()
    path = write_tiny_study(folder)
    path = path.rename(folder / "s $(touch oops)'\"; ü.toml")
    done = run_played(path, player)
    assert done.returncode == 0, done.stderr
    assert polaron("status", path.name, cwd=folder).returncode == 0
    assert polaron("prepare", path.name, cwd=folder).returncode == 0
    script = next(folder.glob("*-results/run-all.sh"))
    assert subprocess.run(["sh", str(script)], check=False, capture_output=True).returncode == 0
    assert {p.name for p in folder.iterdir()} == {path.name, f"{path.stem}-results"}
    assert not list(tmp_path.rglob("oops"))


@pytest.mark.espresso
def test_a_hostile_path_reaches_no_shell_of_parsl(player: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a 'b $(touch oops) `touch oops`"
    folder.mkdir()
    path = write_tiny_study(folder)
    (tmp_path / "here.toml").write_text('provider = "local"\ncores = 2\n'
                                        'worker_address = "127.0.0.1"\n')
    done = run_played(path, player, "--executor", str(tmp_path / "here.toml"),
                      POLARON_CACHE=os.environ["POLARON_CACHE"])
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("oops"))
    assert {p.name for p in folder.iterdir()} == {path.name, "tiny-results"}


@pytest.mark.parametrize("name",
                         ["../up", "a/b", "$(touch oops)", "a b", "", "ü", "a" * 41, ".hidden",
                          "-rf", "a\\nb", "a'b"])
def test_a_structure_name_that_could_leave_the_store_is_refused(name: str, tmp_path: Path) -> None:
    path = write_tiny_study(tmp_path)
    path.write_text(path.read_text().replace("[structures.polar]", f'[structures."{name}"]'))
    with pytest.raises(InputError, match="letters, digits"):
        read_study(path)


def test_amplitudes_that_look_alike_keep_two_names(tmp_path: Path) -> None:
    path = write_tiny_study(tmp_path)
    text = path.read_text()
    path.write_text(text.replace("[0.10, -0.10]", "[0.1, 0.10000001]"))
    names = [one.structure.name for one in plan(read_study(path))]
    assert len(set(names)) == 3
    path.write_text(text.replace("[0.10, -0.10]", "[0.1, 0.1]"))
    with pytest.raises(InputError, match="twice"):
        plan(read_study(path))


@pytest.mark.espresso
def test_a_run_out_of_time_goes_on_from_its_checkpoint(tiny_study: Path, tmp_path: Path) -> None:
    study = read_study(write_tiny_study(tmp_path))
    job, store = plan(study)[0].ground, Store(study.store_folder)
    there = Store(tiny_study.parent / "tiny-results")
    whole = there.result(job)
    assert whole is not None
    seconds = 0.2 * whole["wall_seconds"]
    # Before the first iteration ends there is none, however fast or busy the machine is.
    while not list(store.folder(job).glob("outdir/*.restart_scf")):
        seconds *= 1.5
        with pytest.raises(OutOfTimeError):
            attempt(job, [], store, 1, max_seconds=seconds)
    assert store.result(job) is None
    assert find_garbage(store, [job]) == [], "a checkpoint is not garbage"
    assert attempt(job, [], store, 1).what == "finished"
    assert "Calculation restarted" in (store.folder(job) / "pw.out").read_text()
    found = store.result(job)
    assert found is not None
    assert found["total_energy_eV"] == pytest.approx(whole["total_energy_eV"], abs=1e-6)
    assert (store.folder(job) / "pw.in").read_text() == job.deck, "the job keeps its name"


@pytest.mark.espresso
def test_a_density_that_was_locked_in_its_turn_is_dropped_later(
    player: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a program that is just being started: it holds a copy of every lock until it has
    replaced the runner's image.
    """
    monkeypatch.setenv("POLARON_ESPRESSO_BIN", str(player))
    study = read_study(write_tiny_study(tmp_path))
    store, held = Store(study.store_folder), []

    def hold(event: Event) -> None:
        if event.what == "finished" and event.job.kind == "ground":
            descriptor = os.open(store.folder(event.job) / "lock", os.O_RDWR)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            held.append(threading.Timer(0.5, os.close, [descriptor]))
            held[-1].start()

    run_jobs(study_jobs(plan(study)), store, ranks=1, jobs_at_once=2, report=hold)
    assert len(held) == 2
    assert not list(store.root.glob("jobs/*/outdir"))


def test_little_time_left_is_not_begun(tmp_path: Path) -> None:
    job = Job("pdos", "a", ProjwfcCalculation(), "0" * 64, 1.0, 1)
    with pytest.raises(OutOfTimeError, match="before a could begin"):
        attempt_there(job, [], str(tmp_path), 1, allocation_seconds=0.5)
    assert not (tmp_path / "jobs").exists()


def test_ends_of_allocations_are_not_held_against_a_job(tmp_path: Path) -> None:
    class Ending(ThreadPoolExecutor):
        """An executor whose allocation ends before each job can begin, twenty times, and takes the
        waiting job with it.
        """

        def submit(  # type: ignore[override]
                self, *words: object, **more: object) -> Future[Outcome]:
            future: Future[Outcome] = Future()
            answer = next(answers)
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
            return future

    ends = [OutOfTimeError("the allocation ends"), InterruptedRunError("lost with it")] * 20
    lost = [InterruptedRunError("lost at work")] * 2
    jobs = [Job("pdos", "a", ProjwfcCalculation(), "0" * 64, 1.0, 1)]
    with Ending() as executor:
        answers = iter([*ends, *lost, Outcome("finished")])
        events: list[Event] = []
        run_jobs(jobs, Store(tmp_path), ranks=1, jobs_at_once=1, executor=executor, retries=2,
                 report=events.append)
        assert [e.what for e in events].count("again") == 42
        answers = iter([*ends, *lost, InterruptedRunError("once too often")])
        with pytest.raises(ComputationError, match="once too often"):
            run_jobs(jobs, Store(tmp_path), ranks=1, jobs_at_once=1, executor=executor, retries=2)


# The last one: it was begun with the first.
@pytest.mark.espresso
@pytest.mark.usefixtures("tape")
def test_the_hundred_ways_to_die(dying: "Future[subprocess.CompletedProcess[str]]") -> None:
    done = dying.result()
    assert done.returncode == 0, done.stdout + done.stderr
