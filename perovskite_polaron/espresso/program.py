"""The programs of Quantum ESPRESSO: what the runner knows of each, and how it starts and watches
them.
"""

import ctypes
import functools
import math
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from perovskite_polaron.errors import (
    ComputationError, InputError, InterruptedRunError, MissingProgramError, OutOfTimeError, require)

PREFIX = "polaron"
OUTDIR = "outdir"
# Says that a program stopped by itself and its output folder is whole.
CHECKPOINT = "checkpoint"
PROGRAMS = ("pw.x", "xspectra.x", "ld1.x", "ph.x", "projwfc.x")
INSTALL_HINT = ("install Quantum ESPRESSO (Debian, Ubuntu: apt install quantum-espresso)"
                " or set POLARON_ESPRESSO_BIN to its folder")
_POLL_SECONDS = 0.2
_PR_SET_PDEATHSIG = 1
_ENDED_FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP)
# pw.x says so when max_seconds have passed; it has written a checkpoint then.
OUT_OF_TIME = "Maximum CPU time exceeded"
_KEY = re.compile(r"[A-Za-z]\w{0,62}(\(\d+(,\d+)*\))?", re.ASCII)


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
    done
        What it prints at the end of a good run.
    shares_kpoints
        Whether groups of processes (pools) can have k points of their own.
    stops_in_time
        Whether it obeys ``Way.max_seconds``.
    leaves
        Files beside the output folder that go before it begins anew.
    kept
        The file that is part of the result, and the key of the record with its SHA-256.
    """

    program: ClassVar[str]
    done: ClassVar[str] = "JOB DONE"
    shares_kpoints: ClassVar[bool] = True
    stops_in_time: ClassVar[bool] = False
    leaves: ClassVar[tuple[str, ...]] = ()
    kept: ClassVar[tuple[str, str]] = ("", "")

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


def namelist(name: str, values: Mapping[str, Any]) -> str:
    """Return a Fortran namelist as text.

    Raises
    ------
    InputError
        For what is no key or value of a namelist.
    """
    for key in values:
        require(_KEY.fullmatch(key), f"{key[:80]!r} is no key of a Fortran namelist: correct it")
    return "\n".join([f"&{name}", *(f"  {key} = {fortran(value)}" for key, value in values.items()),
                      "/"])


def fortran(value: object) -> str:
    """Return a value in the notation of a Fortran namelist.

    Raises
    ------
    InputError
        For text that would end its quotes, or what is no finite number, text or truth value.
    """
    if isinstance(value, bool):
        return ".true." if value else ".false."
    if isinstance(value, str):
        require("'" not in value and value.isprintable(), f"{value[:80]!r} cannot stand in a"
                " Fortran namelist: remove the quote or line break")
        return f"'{value}'"
    if isinstance(value, float | int) and math.isfinite(value):
        return f"{value:.12g}" if isinstance(value, float) else str(value)
    raise InputError(f"{value!r:.80} cannot stand in a Fortran namelist: give a number, a string or"
                     " true/false")


def find_program(name: str) -> Path:
    """Return the path of a program, from the folder POLARON_ESPRESSO_BIN if it is set, else from
    PATH.

    Raises
    ------
    MissingProgramError
        With the way to install it.
    """
    folder = os.environ.get("POLARON_ESPRESSO_BIN")
    found = shutil.which(name, path=folder) if folder else shutil.which(name)
    if found is None:
        raise MissingProgramError(f"{name} was not found in {folder or 'PATH'}: {INSTALL_HINT}")
    return Path(found)


@functools.cache
def program_version(name: str) -> str:
    """Return the version a program prints of itself, such as ``6.7MaX``; ``unknown`` if it prints
    none.

    Raises
    ------
    InterruptedRunError
        When the program was ended by a signal or did not answer within a minute: a lost node ends
        this question with everything else on it, which is no reason to give the job up.
    """
    program = find_program(name)
    # Given no input the programs print name and version, complain, and leave files where they are.
    with tempfile.TemporaryDirectory(prefix="polaron-version-") as folder:
        try:
            asked = subprocess.run([program], stdin=subprocess.DEVNULL, capture_output=True,
                                   text=True, timeout=60, env=environment(), cwd=folder,
                                   check=False)
        except subprocess.TimeoutExpired:
            raise InterruptedRunError(f"{program} did not tell its version within a minute;"
                                      " run again, or see why it hangs") from None
    match = re.search(r"v\.\s*(\S+)\s+starts", asked.stdout)
    if match is None and asked.returncode in _ENDED_FROM_OUTSIDE:
        raise InterruptedRunError(f"{program} was ended by signal {-asked.returncode} before it"
                                  " told its version; run again")
    return match[1] if match else "unknown"


def reference_blas(name: str) -> Path | None:
    """Return the reference BLAS that a program is linked to; None if it has another, or ldd shows
    none.

    That library of Debian (``libblas3``) is correct and slow: with OpenBLAS, which installs beside
    it, the cycles of CsPbBr3 (20 atoms) took 1.6 times less, their diagonalisations 2.1 times.
    """
    ldd = shutil.which("ldd")
    if ldd is None:
        return None
    words = [ldd, str(find_program(name))]
    listed = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False).stdout
    match = re.search(r"libblas\.so\S* => (\S+)", listed)
    library = Path(match[1]).resolve() if match else None
    return library if library is not None and library.parent.name == "blas" else None


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


def mpi_command(name: str, ranks: int, pools: int = 1) -> list[str]:
    """Return the command line of a program on ``ranks`` MPI processes in ``pools`` groups of k
    points.
    """
    program = str(find_program(name))
    if ranks == 1:
        return [program]
    launcher = shutil.which("mpirun")
    if launcher is None:
        raise MissingProgramError("mpirun was not found in PATH: install Open MPI (apt install"
                                  " openmpi-bin) or set ranks = 1")
    return [launcher, "-np", str(ranks), program, "-nk", str(pools)]


def _die_with_parent() -> None:
    # If the runner is killed with -9 its programs must end too: Linux tells mpirun, which ends its
    # ranks.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


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
    errors = output.with_suffix(".err")
    with open(deck, "rb") as stdin, open(output, "wb") as stdout, open(errors, "wb") as stderr:
        process = subprocess.Popen(
            command, stdin=stdin, stdout=stdout, stderr=stderr, cwd=deck.parent, env=environment(),
            start_new_session=True, pass_fds=tuple(keep_open), preexec_fn=_die_with_parent)
        try:
            _wait(process, lambda: on_poll(output))
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
        kind = InterruptedRunError if status in _ENDED_FROM_OUTSIDE or killed else ComputationError
        raise kind(_failure(command, status, text, words, output))
    return time.monotonic() - start


def _wait(process: "subprocess.Popen[bytes]", on_poll: Callable[[], None]) -> None:
    """Wait for a process; its end is noticed at once, where Popen.wait sleeps up to 50 ms."""
    watched = os.pidfd_open(process.pid)
    try:
        while not select.select([watched], [], [], _POLL_SECONDS)[0]:
            on_poll()
    finally:
        os.close(watched)
    process.wait()


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
    program = next(Path(word).name for word in command if word.endswith(".x"))
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
