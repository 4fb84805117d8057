"""Interrupt runs of a small study at random moments, resume them, and check what is left.

    python tests/chaos.py --runs 100

The study is computed once with the real programs and then played again (see replay.py), so that a
run takes seconds. After each run: every job is done exactly once, every result is that of the
undisturbed run, what was finished before the interruption is untouched, no program and no lock is
left, and nobody saw a traceback. Prints a table; status 1 if any of this fails. Root can mount, so
only root gets the full disk and the store that may not be written.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import replay
from conftest import processes_in, write_tiny_study

from perovskite_polaron.espresso.program import program_version
from perovskite_polaron.files import SEAL
from perovskite_polaron.workflow.jobs import Job, plan, study_jobs
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.study import read_study

POLARON = [sys.executable, "-m", "perovskite_polaron.cli.main"]
# What a record says of the moment it was made.
_PASSING = ("started", "finished", "wall_seconds", "ranks", "polaron_revision", SEAL)
# What a runner takes from its start to the last job here, s: interruptions fall in this time.
DURATION = 4.0


class Trial:
    """One study in a folder of its own, and the runners on it."""

    def __init__(self, folder: Path, player: Path, small_disk: bool) -> None:
        self.folder = folder
        folder.mkdir()
        self.study = write_tiny_study(folder)
        self.store = folder / "tiny-results"
        self.store.mkdir()
        if small_disk:
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "none", self.store],
                           check=True)
        self.log = folder / "log"
        self.environment = os.environ | {
            "POLARON_ESPRESSO_BIN": str(player),
            "POLARON_TAPE_LOG": str(self.log),
            "POLARON_TAPE_SECONDS": "0.1",
        }
        self.trouble: list[str] = []

    def start(self) -> "subprocess.Popen[str]":
        return subprocess.Popen([*POLARON, "run", self.study.name, "--ranks", "1", "--jobs", "2"],
                                cwd=self.folder, env=self.environment, stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, text=True)

    def programs(self) -> list[int]:
        return processes_in(self.store)

    def results(self) -> dict[str, bytes]:
        return {p.parent.name: p.read_bytes() for p in self.store.glob("jobs/*/result.json")}

    def expect(self, right: bool, what: str) -> None:
        if not right:
            self.trouble.append(what)

    def end(self, runner: "subprocess.Popen[str]", *statuses: int) -> None:
        try:
            _, errors = runner.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            runner.kill()
            _, errors = runner.communicate()
            self.trouble.append("the runner did not end")
        self.expect(runner.returncode in statuses,
                    f"status {runner.returncode}: {errors.strip()[-400:]}")
        self.expect("Traceback" not in errors, f"traceback: {errors.strip()[-400:]}")

    def close(self) -> None:
        # What an interruption mounted over the store goes first.
        while os.path.ismount(self.store):
            subprocess.run(["umount", self.store], check=True)
        shutil.rmtree(self.folder)


def kill_runner(trial: Trial, runner: "subprocess.Popen[str]") -> None:
    runner.kill()
    trial.end(runner, -signal.SIGKILL, 0)


def kill_program(trial: Trial, runner: "subprocess.Popen[str]") -> None:
    for process in trial.programs()[:1]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    trial.end(runner, 0)


def kill_all(trial: Trial, runner: "subprocess.Popen[str]") -> None:
    runner.kill()
    for process in trial.programs():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    trial.end(runner, -signal.SIGKILL, 0)


def terminate(trial: Trial, runner: "subprocess.Popen[str]") -> None:
    runner.terminate()
    # Before the runner has set up its handler SIGTERM simply ends it.
    trial.end(runner, 130, 0, -signal.SIGTERM)


def kill_one_of_two(trial: Trial, runner: "subprocess.Popen[str]") -> None:
    other = trial.start()
    time.sleep(random.uniform(0, 2))
    runner.kill()
    trial.end(runner, -signal.SIGKILL, 0)
    trial.end(other, 0)


def fill_disk(trial: Trial, runner: "subprocess.Popen[str]") -> None:
    filler = trial.store / "filler"
    with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as handle:
        while handle.write(b"x" * 4096):
            pass
    trial.end(runner, 0, 1)
    filler.unlink(missing_ok=True)


def make_read_only(trial: Trial, runner: "subprocess.Popen[str]") -> None:
    # A mount that somebody writes through cannot be made read-only: one that nobody knows can, and
    # is then laid over.
    sealed = trial.folder / "sealed"
    sealed.mkdir()
    subprocess.run(["mount", "--bind", trial.store, sealed], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", sealed], check=True)
    subprocess.run(["mount", "--bind", sealed, trial.store], check=True)
    subprocess.run(["umount", sealed], check=True)
    trial.expect(os.statvfs(trial.store).f_flag & os.ST_RDONLY != 0,
                 "the store can still be written")
    trial.end(runner, 0, 1)
    status = subprocess.run([*POLARON, "status", trial.study.name, "--json"], cwd=trial.folder,
                            env=trial.environment, capture_output=True, text=True)
    trial.expect(status.returncode == 0, f"status of a read-only store: {status.stderr}")
    subprocess.run(["umount", trial.store], check=True)


INTERRUPTIONS: dict[str, Callable[[Trial, "subprocess.Popen[str]"], None]] = {
    "kill -9 of the runner": kill_runner,
    "kill -9 of a program": kill_program,
    "kill -9 of everything": kill_all,
    "SIGTERM": terminate,
    "kill -9 of one of two runners": kill_one_of_two,
    "full disk": fill_disk,
    "read-only store": make_read_only,
}
NEED_ROOT = ("full disk", "read-only store")


def one_trial(name: str, folder: Path, player: Path, moment: float, truth: dict[str, str],
              jobs: list[Job]) -> list[str]:
    trial = Trial(folder, player, small_disk=name in NEED_ROOT)
    try:
        strike(trial, name, moment, truth, jobs)
    finally:
        trial.close()
    return trial.trouble


def strike(trial: Trial, name: str, moment: float, truth: dict[str, str], jobs: list[Job]) -> None:
    runner = trial.start()
    time.sleep(moment)
    INTERRUPTIONS[name](trial, runner)
    deadline = time.monotonic() + 10
    while trial.programs() and time.monotonic() < deadline:
        time.sleep(0.05)
    trial.expect(not trial.programs(), "a program outlived its runner")
    before = trial.results()
    trial.end(trial.start(), 0)
    after = trial.results()
    trial.expect(before.items() <= after.items(), "a finished result was lost or changed")
    trial.expect({name: essence(trial.store, name) for name in after} == truth,
                 "results differ from the undisturbed run")
    lines = [line.split() for line in trial.log.read_text().splitlines()]
    starts, ends = (Counter(name for what, name in lines if what == word)
                    for word in ("start", "end"))
    trial.expect(set(starts) == set(truth), "not every job was computed")
    trial.expect(max(ends.values()) == 1, f"done twice: {[n for n, c in ends.items() if c > 1]}")
    # One of two programs may be struck after its last word and before it notes its end; its output
    # is then taken in.
    trial.expect(all(starts[n] == 1 for n in set(truth) - set(ends)),
                 "a job without an end was started twice")
    trial.expect(len(set(truth) - set(ends)) <= 2, "jobs without an end")
    store = Store(trial.store)
    trial.expect(not any(store.is_locked(job) for job in jobs), "a lock is left")
    trial.expect(not list(trial.store.rglob(".tmp-*")) or name.startswith("kill -9"),
                 "a temporary file is left")
    trial.expect(not list(trial.store.glob("jobs/*/outdir")), "a density is left")


def essence(store: Path, name: str) -> str:
    """What a result says, without when and how long it took."""
    record = json.loads((store / "jobs" / name / "result.json").read_bytes())
    kept = {k: v for k, v in record.items() if k not in _PASSING}
    chain = store / "jobs" / name / "chain.sav"
    return json.dumps([kept, chain.read_text() if chain.exists() else ""], sort_keys=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tape", type=Path,
                        help="folder of a recording to use again (made if it is not there)")
    args = parser.parse_args()
    random.seed(args.seed)
    with tempfile.TemporaryDirectory(prefix="polaron-chaos-") as name:
        work = Path(name)
        os.environ.setdefault("POLARON_CACHE", str(work / "cache"))
        tape = args.tape or work / "tape"
        if not tape.exists():
            (work / "real").mkdir()
            study = write_tiny_study(work / "real")
            recorder = replay.recorder(work / "bin", tape)
            recording = os.environ | {"POLARON_ESPRESSO_BIN": str(recorder)}
            subprocess.run([*POLARON, "run", study.name, "--ranks", "1"], cwd=study.parent,
                           env=recording, check=True)
        player = replay.player(work / "player", tape, program_version("pw.x"))
        calm = Trial(work / "calm", player, small_disk=False)
        calm.end(calm.start(), 0)
        if calm.trouble:
            print(calm.trouble)
            return 1
        truth = {name: essence(calm.store, name) for name in calm.results()}
        jobs = study_jobs(plan(read_study(calm.study)))
        assert len(truth) == len(jobs)
        names = [n for n in INTERRUPTIONS if os.geteuid() == 0 or n not in NEED_ROOT]
        table = {name: [0, 0] for name in names}
        for k in range(args.runs):
            how = names[k % len(names)]
            moment = random.uniform(0.2, DURATION)
            trouble = one_trial(how, work / f"trial-{k}", player, moment, truth, jobs)
            table[how][0] += 1
            table[how][1] += bool(trouble)
            for line in trouble:
                print(f"run {k}, {how} after {moment:.2f} s: {line}", flush=True)
    print(f"{'interruption':32}{'runs':>6}{'failed':>8}")
    for how, (runs, failed) in table.items():
        print(f"{how:32}{runs:6}{failed:8}")
    total, failed = (sum(row[i] for row in table.values()) for i in (0, 1))
    print(f"{total} runs of {len(jobs)} jobs, each interrupted and resumed: {failed} with anything"
          " lost,"
          " wrong, done twice or locked")
    return 1 if failed or total < args.runs else 0


if __name__ == "__main__":
    sys.exit(main())
