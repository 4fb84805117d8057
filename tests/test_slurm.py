"""A real single-node Slurm runs the small study through Parsl: interrupted, robbed of its node, and
equal in the end.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import polaron, processes_in, write_tiny_study

from perovskite_polaron.workflow.jobs import plan
from perovskite_polaron.workflow.results import StudyResults, collect
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.study import read_study

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "squeue")
SEARCH = os.environ["PATH"] + ":/usr/sbin:/sbin"

pytestmark = [pytest.mark.espresso,
              pytest.mark.skipif(not all(shutil.which(p, path=SEARCH) for p in PROGRAMS),
                                 reason="Slurm and munge are not installed"),
              pytest.mark.skipif(os.geteuid() != 0, reason="slurmd starts jobs as root")]

CONFIGURATION = """
ClusterName=polaron
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmdUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=small Nodes={host} Default=YES State=UP
"""

EXECUTOR = """
provider = "slurm"
queue = "small"
cores = {cores}
walltime = "00:01:00"
worker_address = "127.0.0.1"
"""


@pytest.fixture
def slurm(tmp_path_factory: pytest.TempPathFactory,
          monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Slurm of this machine alone, stopped after the test; yields the executor file for it."""
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    ports = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    cores = len(os.sched_getaffinity(0))
    (folder
     / "slurm.conf").write_text(CONFIGURATION.format(host=socket.gethostname().split(".")[0],
                                                     folder=folder, controller=ports[0],
                                                     node=ports[1], cores=cores))
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o600)
    folder.chmod(0o711)
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    monkeypatch.setenv("PATH", SEARCH)
    options = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log",
               "seed-file": "seed"}
    started = []
    try:
        words = [f"--{option}={folder}/munge.{name}" for option, name in options.items()]
        subprocess.run(["munged", "--force", *words], check=True, capture_output=True)
        started.append("munge.pid")
        for name in ("slurmctld", "slurmd"):
            subprocess.run([name, "-f", str(folder / "slurm.conf")], check=True,
                           capture_output=True)
            started.append(f"{name}.pid")
        until(lambda: "idle" in slurm_says("sinfo", "-h", "-o", "%T"), 60)
        path = folder / "executor.toml"
        path.write_text(EXECUTOR.format(cores=cores))
        yield path
    finally:
        if "slurmctld.pid" in started:
            slurm_says("scancel", "-u", "root")
        for name in reversed(started):
            if (folder / name).exists():
                os.kill(int((folder / name).read_text()), signal.SIGTERM)


def slurm_says(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


def until(true: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.2)


def gather(path: Path) -> StudyResults:
    study = read_study(path)
    return collect(study, plan(study), Store(study.store_folder))


def test_slurm_gives_the_chains_of_the_local_run(slurm: Path, tiny_study: Path,
                                                 tmp_path: Path) -> None:
    path = write_tiny_study(tmp_path)
    command = [sys.executable, "-m", "perovskite_polaron.cli.main", "run", path.name, "--executor",
               str(slurm)]
    jobs = tmp_path / "tiny-results" / "jobs"

    # Interrupted: the allocation ends with the runner, and no program outlives it.
    runner = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    until(lambda: list(jobs.glob("*/pw.out")), 120)
    runner.send_signal(signal.SIGTERM)
    _, errors = runner.communicate(timeout=90)
    assert runner.returncode == 130, errors
    assert "Traceback" not in errors
    until(lambda: not slurm_says("squeue", "-h"), 60)
    until(lambda: not processes_in(jobs), 30)

    # Robbed of its node in the middle: another allocation goes on.
    runner = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    until(lambda: len(list(jobs.glob("*/result.json"))) >= 2, 180)
    slurm_says("scancel", "-u", "root")
    _, errors = runner.communicate(timeout=400)
    assert runner.returncode == 0, errors
    assert "[again]" in errors

    there, here = gather(path), gather(tiny_study)
    assert there.chains.keys() == here.chains.keys()
    for name, chain in here.chains.items():
        other = there.chains[name]
        for mine, its in zip((*chain.a, *chain.b), (*other.a, *other.b), strict=True):
            # The same number of steps, and numbers that agree far within the convergence of the
            # study (2e-3).
            np.testing.assert_allclose(its, mine, rtol=1e-6, atol=1e-6)
    status = polaron("status", path.name, "--json", cwd=tmp_path)
    assert '"done": 14, "running": 0, "failed": 0, "todo": 0' in status.stdout
