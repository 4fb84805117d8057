"""What differs between operating systems: locks, processes and cores. Linux and macOS are served.

Nothing else of the package asks which system it runs on.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from perovskite_polaron.errors import ComputationError, require

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

# Statuses of a process that a signal ended which it did not send itself.
ENDED_FROM_OUTSIDE = tuple(-getattr(signal, name) for name in ("SIGKILL", "SIGTERM", "SIGHUP")
                           if hasattr(signal, name))
_POLL_SECONDS = 0.2
_PR_SET_PDEATHSIG = 1


def usable_cores() -> int:
    """Return how many cores this process may run on; where that is not said, those of the machine.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def end_with_parent() -> None:
    """Ask, between fork and exec, that this process end when its parent is killed.

    Linux alone can: elsewhere the programs of a killed runner go on to their end, and keep the lock
    of their job until then.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def wait_for(process: "subprocess.Popen[bytes]", on_poll: Callable[[], None]) -> None:
    """Wait for a process, with a call a few times a second.

    On Linux its end is noticed at once; elsewhere after up to 50 ms.
    """
    if hasattr(os, "pidfd_open"):
        watched = os.pidfd_open(process.pid)
        try:
            while not select.select([watched], [], [], _POLL_SECONDS)[0]:
                on_poll()
        finally:
            os.close(watched)
        process.wait()
        return
    while True:
        try:
            process.wait(timeout=_POLL_SECONDS)
            return
        except subprocess.TimeoutExpired:
            on_poll()


def lock(descriptor: int, *, shared: bool = False) -> None:
    """Take the lock of an open file, without waiting.

    Raises
    ------
    BlockingIOError
        When another process has it; OSError where the file system keeps no locks;
        ComputationError on a system without such locks.
    """
    require(fcntl is not None, f"{sys.platform} cannot run or store calculations, which need the"
            " locks and signals of Linux or macOS: use one of them (on Windows: WSL); what needs no"
            " study works here", ComputationError)
    fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


def age_seconds(process: int) -> float:
    """Return how long ago a process started.

    Raises
    ------
    ComputationError
        Where there is no /proc: it is asked of the workers of clusters, which have it.
    """
    try:
        started = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19])
        up = float(Path("/proc/uptime").read_text().split()[0])
    except OSError:
        raise ComputationError("how long this allocation runs is not known without /proc: leave"
                               " allocation_time out of the executor's file") from None
    return up - started / os.sysconf("SC_CLK_TCK")
