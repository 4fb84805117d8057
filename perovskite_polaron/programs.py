"""Programs that a study runs: what the runner knows of each, and how it starts and watches them."""

import os
import re
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from perovskite_polaron.errors import ComputationError, InterruptedRunError, OutOfTimeError
from perovskite_polaron.systems import ENDED_FROM_OUTSIDE, end_with_parent, wait_for

PREFIX = "polaron"
OUTDIR = "outdir"
# What a job hands on to those that work on its result lies in this folder of the job's.
HANDED_ON = f"{OUTDIR}/{PREFIX}.save"
# Says that a program stopped by itself and its output folder is whole.
CHECKPOINT = "checkpoint"
# pw.x says so when max_seconds have passed; it has written a checkpoint then.
OUT_OF_TIME = "Maximum CPU time exceeded"


@dataclass(frozen=True)
class Way:
    """What changes how a program comes to its result and not the result, so it names no job.

    Attributes
    ----------
    max_seconds
        Stop with a checkpoint after so long.
    restart
        Go on from what lies in the job's folder.
    density, waves
        Begin the cycle with the density, and the wave functions, that lie in the output folder.
    """

    max_seconds: float | None = None
    restart: bool = False
    density: bool = False
    waves: bool = False


# Begin from nothing, and stop at the end.
PLAIN = Way()


class Calculation(ABC):
    """One run of one program: a subclass holds its input as data, and all that is of the program.

    Attributes
    ----------
    program
        Name of the program.
    input_suffix
        Of the name of its input.
    done
        What it prints at the end of a good run.
    shares_kpoints
        Whether groups of processes (pools) can have k points of their own.
    one_process
        Whether it runs on one process alone.
    stops_in_time
        Whether it obeys ``Way.max_seconds``.
    leaves
        Files beside the output folder that go before it begins anew.
    kept
        The file that is part of the result, and the key of the record with its SHA-256.
    """

    program: ClassVar[str]
    input_suffix: ClassVar[str] = ".in"
    done: ClassVar[str] = "JOB DONE"
    shares_kpoints: ClassVar[bool] = True
    one_process: ClassVar[bool] = False
    stops_in_time: ClassVar[bool] = False
    leaves: ClassVar[tuple[str, ...]] = ()
    kept: ClassVar[tuple[str, str]] = ("", "")

    @classmethod
    @abstractmethod
    def version(cls) -> str:
        """Return the version of the program that is installed.

        Raises
        ------
        MissingProgramError
            When none is; others as the program's room says.
        """

    @abstractmethod
    def command(self, ranks: int, pools: int) -> list[str]:
        """Return the command line on ``ranks`` processes in ``pools`` groups of k points."""

    @abstractmethod
    def deck(self, way: Way = PLAIN) -> str:
        """Return the input. The one without a way is what the job is named by."""

    def stage(self, folder: Path, parent: Mapping[str, Any], pools: int) -> Way:
        """Write into a job's folder what else the program begins with, and return how it does.

        Parameters
        ----------
        folder
            The job's folder, with a copy of the output folder of the job it starts from.
        parent
            The record of that job.
        pools
            Groups of processes that will share the k points.
        """
        return PLAIN

    @abstractmethod
    def read_result(self, folder: Path, output: str, parent: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a finished run says, for the job's record.

        Parameters
        ----------
        folder, parent
            As for ``stage``.
        output
            What the program printed.

        Raises
        ------
        ComputationError
            When the result is missing, damaged or not converged.
        """

    @staticmethod
    def can_go_on(folder: Path) -> bool:
        """Tell whether a run that was ended can be taken up again from what it left."""
        return False

    @staticmethod
    def progress(output: str) -> str:
        """Return in a few words how far a running program has come; empty if it does not say."""
        return ""

    @staticmethod
    def summary(record: Mapping[str, Any]) -> str:
        """Return the result in a few words."""
        return ""


_KEEP_MEMORY = ":".join(f"glibc.malloc.{key}" for key in (
    "hugetlb=1", "mmap_threshold=4000000000", "trim_threshold=8000000000"))


def environment() -> dict[str, str]:
    """Return the environment of a program: one thread a rank, no core binding, root accepted.

    Without the binding policy two mpirun on one machine would share the first cores and leave the
    others idle. A program alone needs no daemon of Open MPI beside it, which would outlive it for a
    moment and hold its lock.

    The programs allocate and free large arrays all the time; by default glibc gives each back to
    the kernel, which then zeroes its pages again, a quarter of the CPU time of a small crystal
    (docs/validation.md). Here memory that is freed is kept, in huge pages where the kernel allows
    them. GLIBC_TUNABLES that are set already are left alone, other C libraries do not know it.
    """
    return {"GLIBC_TUNABLES": _KEEP_MEMORY} | os.environ | {
        "OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_hwloc_base_binding_policy": "none",
        "OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_MCA_ess_singleton_isolated": "1"}


def run_program(command: Sequence[str], deck: Path, output: Path, *, done: str = "JOB DONE",
                keep_open: Sequence[int] = (),
                on_poll: Callable[[Path], None] = lambda output: None) -> float:
    """Run a program on an input file and return its wall time in seconds.

    On any exception here, Ctrl-C included, the program and its ranks are ended.

    Parameters
    ----------
    command
        The command line.
    deck, output
        Files of one folder, which is also the working directory.
    done
        What the program prints when it has finished well.
    keep_open
        File descriptors that the program inherits: a lock then lasts as long as the program, even
        if this process is killed.
    on_poll
        Called with the output path a few times a second.

    Raises
    ------
    ComputationError
        With the program's own message when it fails.
    InterruptedRunError
        When it was killed.
    OutOfTimeError
        When it stopped at its own limit of time.
    """
    start = time.monotonic()
    # If the runner is killed with -9 its programs must end too: mpirun is told and ends its ranks.
    errors = output.with_suffix(".err")
    with open(deck, "rb") as stdin, open(output, "wb") as stdout, open(errors, "wb") as stderr:
        process = subprocess.Popen(
            command, stdin=stdin, stdout=stdout, stderr=stderr, cwd=deck.parent, env=environment(),
            start_new_session=True, pass_fds=tuple(keep_open), preexec_fn=end_with_parent)
        try:
            wait_for(process, lambda: on_poll(output))
        except BaseException:
            _end(process)
            raise
    text, status = output.read_text(errors="replace"), process.returncode
    if status != 0 or done not in text:
        words = errors.read_text(errors="replace")
        if OUT_OF_TIME in text:
            raise OutOfTimeError(
                f"the time given to {deck.stem} was over; run again to go on from its checkpoint")
        # mpirun gives its own status for a rank that was killed, and says so in words. And of two
        # runs, the one that ends can remove the folder of sessions in which the other one begins.
        killed = re.search(r"exited on signal (?:1|9|15) |orte_session_dir failed", text + words)
        kind = InterruptedRunError if status in ENDED_FROM_OUTSIDE or killed else ComputationError
        raise kind(_failure(command, status, text, words, output))
    return time.monotonic() - start


def _end(process: "subprocess.Popen[bytes]") -> None:
    for what, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(process.pid, what)
            process.wait(timeout=patience)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _failure(command: Sequence[str], status: int, output: str, errors: str, path: Path) -> str:
    program = next((Path(word).name for word in command if word.endswith(".x")), path.stem)
    match = re.search(r"Error in routine\s+(.*?)\s*:\s*\n\s*(.*?)\s*\n", output + errors)
    if "No space left" in output + errors:
        why = "the disk is full; free it and run again"
    elif "convergence NOT achieved" in output:
        why = ("the self-consistent cycle did not converge: lower pw.mixing_beta,"
               " raise pw.empty_bands or use smearing")
    elif match:
        why = f"error in its routine {match[1]}: {match[2]}; see {path}"
    elif status < 0:
        why = (f"it was ended by signal {-status} ({signal.Signals(-status).name}), for memory"
               f" perhaps; run again, or see {path}")
    else:
        why = f"it stopped before its end (status {status}); see {path}"
    return f"{program} failed: {why}"
