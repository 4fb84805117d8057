"""The only way to the compiled core: each module checks, allocates, and calls its kernels.

A kernel works on a range of its outputs, each of which is one fixed sum: results do not depend, to
the last bit, on how many threads share the work.
"""

import _thread
import contextlib
import importlib
import os
from collections.abc import Sequence
from functools import cache
from queue import SimpleQueue
from types import ModuleType
from typing import Any

from perovskite_polaron.errors import ComputationError, require
from perovskite_polaron.systems import usable_cores

# How much work makes a further thread worth while. To start one and to wait for its last share
# takes 0.1 ms on an idle machine; on a busy one milliseconds pass before it runs.
WORTH_A_THREAD_NS = 1e6


@cache
def load(name: str) -> ModuleType:
    """Return the compiled module of a kernel family.

    Raises
    ------
    ComputationError
        If it was not built: there is no silent slow path.
    """
    try:
        return importlib.import_module(f"perovskite_polaron._ext.{name}")
    except ImportError as error:
        raise ComputationError(f"the compiled core {name!r} cannot be loaded ({error}): build it"
                               " with pip install . in the project's folder") from None


def thread_count() -> int:
    """Return how many threads a kernel may use: POLARON_THREADS, else the cores of this process.

    The cores are those that the process may run on, so that each rank of an MPI run which is bound
    to one core stays on it.
    """
    given = os.environ.get("POLARON_THREADS", "").strip()
    if not given:
        return usable_cores()
    require(given.isdecimal() and int(given) > 0,
            f"POLARON_THREADS is {given!r}: give a number of threads, 1 or more")
    return int(given)


def share(family: str, function: str, given: Sequence[Any], count: int, ns_each: float,
          block: int = 1) -> list[Any]:
    """Have a compiled function compute all its outputs, on several threads where that pays.

    Parameters
    ----------
    family, function
        The compiled module and its function, which takes the arguments given, then the first
        output that it computes and the first that it leaves out.
    given
        Arguments, arrays for the results among them.
    count
        Number of outputs.
    ns_each
        Roughly how long one output takes on one thread, in ns: a small call stays on one.
    block
        Outputs that are computed together.

    Returns
    -------
    list
        What the calls returned, in any order.

    Notes
    -----
    The caller takes shares itself until none is left, and then waits, asleep, only for those that
    another thread has begun. Where the cores are busy and the others do not get to run, it has done
    everything alone. Threads last as long as the call, so that a fork finds none.
    """
    run = getattr(load(family), function)
    threads = min(thread_count(), int(count * ns_each / WORTH_A_THREAD_NS), -(-count // block))
    if threads < 2:
        return [run(*given, 0, count)]
    # Four shares for each thread: a faster core, or a less busy one, takes more of them.
    size = -(-count // (4 * threads * block)) * block
    shares = range(0, count, size)
    waiting, finished = iter(shares), SimpleQueue[Any]()

    def work() -> None:
        for first in waiting:
            try:
                result = run(*given, first, min(first + size, count))
            except BaseException as error:
                result = error
            finished.put(result)

    # Not threading.Thread, whose start waits until the new thread has had a core.
    with contextlib.suppress(RuntimeError):
        for _ in range(threads - 1):
            _thread.start_new_thread(work, ())
    work()
    results = [finished.get() for _ in shares]
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results
