"""Finding, starting and watching the programs of Quantum ESPRESSO."""

import ctypes
import functools
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from perovskite_polaron.errors import ComputationError, InterruptedRunError, MissingProgramError, OutOfTimeError

PROGRAMS = ("pw.x", "xspectra.x", "ld1.x", "ph.x", "projwfc.x")
INSTALL_HINT = (
    "install Quantum ESPRESSO (Debian, Ubuntu: apt install quantum-espresso) or set POLARON_ESPRESSO_BIN to its folder"
)
_POLL_SECONDS = 0.2
_ENDED_FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP)
# pw.x says so when max_seconds have passed; it has written a checkpoint then.
OUT_OF_TIME = "Maximum CPU time exceeded"


def find_program(name: str) -> Path:
    """Return the full path of a program, from the folder POLARON_ESPRESSO_BIN if that is set, else from PATH.

    Raises MissingProgramError with the way to install it.
    """
    folder = os.environ.get("POLARON_ESPRESSO_BIN")
    found = shutil.which(name, path=folder) if folder else shutil.which(name)
    if found is None:
        raise MissingProgramError(f"{name} was not found in {folder or 'PATH'}: {INSTALL_HINT}")
    return Path(found)


@functools.cache
def program_version(name: str) -> str:
    """Return the version a program prints of itself, such as ``6.7MaX``; ``unknown`` if it prints none.

    Raises InterruptedRunError when the program was ended by a signal or did not answer within a minute: a lost node ends this
    question with everything else on it, and the answer would be no reason to give the job up.
    """
    program = find_program(name)
    # Given no input the programs print their name and version, complain, and leave files in their working directory.
    with tempfile.TemporaryDirectory(prefix="polaron-version-") as folder:
        try:
            asked = subprocess.run(
                [program],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=60,
                env=environment(),
                cwd=folder,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise InterruptedRunError(f"{program} did not tell its version within a minute; run again, or see why it hangs") from None
    match = re.search(r"v\.\s*(\S+)\s+starts", asked.stdout)
    if match is None and asked.returncode in _ENDED_FROM_OUTSIDE:
        raise InterruptedRunError(f"{program} was ended by signal {-asked.returncode} before it told its version; run again")
    return match[1] if match else "unknown"


def reference_blas(name: str) -> Path | None:
    """Return the reference BLAS that a program is linked to, or None if it has another (or none that ldd shows).

    That library of Debian (``libblas3``) is correct and slow: with OpenBLAS, which installs beside it, the cycles of CsPbBr3 (20
    atoms) took 1.6 times less, their diagonalisations 2.1 times.
    """
    ldd = shutil.which("ldd")
    if ldd is None:
        return None
    words = [ldd, str(find_program(name))]
    listed = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False).stdout
    match = re.search(r"libblas\.so\S* => (\S+)", listed)
    library = Path(match[1]).resolve() if match else None
    return library if library is not None and library.parent.name == "blas" else None


def environment() -> dict[str, str]:
    """Return the process environment for a QE program: one thread a rank, no core binding, root accepted.

    Without the binding policy two mpirun on one machine would share the first cores and leave the others idle. A program
    alone needs no daemon of Open MPI beside it, which would outlive it for a moment and hold its lock.
    """
    return os.environ | {
        "OMP_NUM_THREADS": "1",
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_hwloc_base_binding_policy": "none",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
        "OMPI_MCA_ess_singleton_isolated": "1",
    }


def mpi_command(name: str, ranks: int, pools: int = 1) -> list[str]:
    """Return the command line of a program on ``ranks`` MPI processes in ``pools`` groups of k points."""
    program = str(find_program(name))
    if ranks == 1:
        return [program]
    launcher = shutil.which("mpirun")
    if launcher is None:
        raise MissingProgramError(
            "mpirun was not found in PATH: install Open MPI (apt install openmpi-bin) or set ranks = 1"
        )
    return [launcher, "-np", str(ranks), program, "-nk", str(pools)]


def _die_with_parent() -> None:
    # If the runner is killed with -9 its programs must not go on: Linux tells mpirun, which ends its ranks.
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def run_program(
    command: Sequence[str],
    deck: Path,
    output: Path,
    *,
    done: str = "JOB DONE",
    keep_open: Sequence[int] = (),
    on_poll: Callable[[Path], None] | None = None,
) -> float:
    """Run a program on an input file and return its wall time in seconds.

    deck and output are files of one folder, which is also the working directory. done: what the program prints when
    it has finished well. keep_open: file descriptors that the program inherits (a lock then lasts as long as the
    program, even if we are killed). on_poll is called with the output path a few times a second. On any exception
    here, Ctrl-C included, the program and its ranks are ended.
    Raises ComputationError with the program's own message when it fails, InterruptedRunError when it was killed,
    OutOfTimeError when it stopped at its own limit of time.
    """
    start = time.monotonic()
    errors = output.with_suffix(".err")
    with open(deck, "rb") as stdin, open(output, "wb") as stdout, open(errors, "wb") as stderr:
        process = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=deck.parent,
            env=environment(),
            start_new_session=True,
            pass_fds=tuple(keep_open),
            preexec_fn=_die_with_parent,
        )
        try:
            _wait(process, (lambda: on_poll(output)) if on_poll is not None else lambda: None)
        except BaseException:
            _end(process)
            raise
    text, status = output.read_text(errors="replace"), process.returncode
    if status != 0 or done not in text:
        words = errors.read_text(errors="replace")
        if OUT_OF_TIME in text:
            raise OutOfTimeError(f"the time given to {deck.stem} was over; run again to go on from its checkpoint")
        # mpirun gives its own status for a rank that was killed, and says so in words.
        cut_off = status in _ENDED_FROM_OUTSIDE or re.search(
            r"exited on signal (?:1|9|15) ", text + words
        )
        kind = InterruptedRunError if cut_off else ComputationError
        raise kind(_failure(command, status, text, words, output))
    return time.monotonic() - start


def _wait(process: "subprocess.Popen[bytes]", on_poll: Callable[[], None]) -> None:
    """Wait for a process; it is noticed at once when it ends, where Popen.wait with a timeout sleeps up to 50 ms."""
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
        why = "the self-consistent cycle did not converge: lower pw.mixing_beta, add empty bands (pw.system.nbnd) or use smearing"
    elif match:
        why = f"error in its routine {match[1]}: {match[2]}; see {path}"
    elif status < 0:
        why = f"it was ended by signal {-status} ({signal.Signals(-status).name}), for memory perhaps; run again, or see {path}"
    else:
        why = f"it stopped before its end (status {status}); see {path}"
    return f"{program} failed: {why}"
