"""Threads of the kernels: who sets their number, small calls, busy machines, forks, and failures.
"""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from perovskite_polaron import kernels
from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import InputError
from perovskite_polaron.kernels.convolution import broaden_lorentzian

X = np.linspace(0, 50, 2000)
Y, WIDTH = np.random.default_rng(0).random(2000), np.linspace(0.3, 2.0, 2000)
AFFINITY = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux")


class Recorder:
    """Stands for a compiled module: notes which thread computed what."""

    def __init__(self):
        self.calls = []

    def compute(self, out, first, last):
        self.calls.append((threading.get_ident(), first, last))
        time.sleep(0.01)
        out[first:last] += 1

    def fail(self, out, first, last):
        if first:
            raise MemoryError("no memory")
        self.compute(out, first, last)


@pytest.fixture
def recorder(monkeypatch):
    stand_in = Recorder()
    monkeypatch.setattr(kernels, "load", lambda family: stand_in)
    return stand_in


@pytest.mark.parametrize("given", ["0", "-1", "two", "1.5"])
def test_a_number_of_threads_that_is_none_is_refused(monkeypatch, given):
    monkeypatch.setenv("POLARON_THREADS", given)
    with pytest.raises(InputError, match="POLARON_THREADS is"):
        kernels.thread_count()


@AFFINITY
def test_the_cores_of_the_process_are_used_unless_told_otherwise(monkeypatch):
    monkeypatch.delenv("POLARON_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 7})
    assert kernels.thread_count() == 3
    monkeypatch.setenv("POLARON_THREADS", "7")
    assert kernels.thread_count() == 7


def test_an_option_overrides_the_variable(monkeypatch, capsys):
    monkeypatch.setenv("POLARON_THREADS", "1")
    assert main(["--threads", "3", "bonds", "cspbbr3-pbnm"]) == 0
    assert kernels.thread_count() == 3
    assert main(["--threads", "none", "bonds", "cspbbr3-pbnm"]) == 2
    assert "POLARON_THREADS is 'none'" in capsys.readouterr().err


@pytest.mark.parametrize("count", [1, 15, 16, 17, 100, 1000])
@pytest.mark.parametrize("block", [1, 16])
def test_every_output_is_computed_once_in_whole_blocks(monkeypatch, recorder, count, block):
    monkeypatch.setenv("POLARON_THREADS", "3")
    out = np.zeros(count)
    kernels.share("", "compute", (out,), count, 1e9, block)
    assert (out == 1).all()
    assert all(first % block == 0 for _, first, _ in recorder.calls)


def test_small_calls_stay_on_one_thread_and_large_ones_do_not(monkeypatch, recorder):
    monkeypatch.setenv("POLARON_THREADS", "2")
    out = np.zeros(100)
    kernels.share("", "compute", (out,), 100, 1e3)
    assert recorder.calls == [(threading.get_ident(), 0, 100)]
    kernels.share("", "compute", (out,), 100, 1e6)
    assert len({thread for thread, _, _ in recorder.calls}) == 2


def test_an_error_in_any_thread_is_raised(monkeypatch, recorder):
    monkeypatch.setenv("POLARON_THREADS", "2")
    with pytest.raises(MemoryError):
        kernels.share("", "fail", (np.zeros(100),), 100, 1e6)


def test_nothing_waits_for_a_thread_that_does_not_get_to_run(monkeypatch, recorder):
    """As on a busy machine: the caller does the work of a thread that never starts."""
    monkeypatch.setenv("POLARON_THREADS", "4")
    monkeypatch.setattr(kernels._thread, "start_new_thread", lambda *_: None)
    out = np.zeros(64)
    kernels.share("", "compute", (out,), 64, 1e6)
    assert (out == 1).all()
    assert {thread for thread, _, _ in recorder.calls} == {threading.get_ident()}


BUSY = """
import os, sys
while os.getppid() == int(sys.argv[1]):
    sum(range(100_000))
"""


@AFFINITY
@pytest.mark.alone
def test_two_threads_are_not_slower_where_every_core_is_busy(monkeypatch):
    """Ratios within one run, generous: waiting threads that spin made it forty times slower."""
    cores = len(os.sched_getaffinity(0))
    others = [subprocess.Popen([sys.executable, "-c", BUSY, str(os.getpid())])
              for _ in range(cores)]
    try:
        seconds = {"1": [], "2": []}
        for _ in range(15):
            for threads, times in seconds.items():
                monkeypatch.setenv("POLARON_THREADS", threads)
                begin = time.perf_counter()
                broaden_lorentzian(X, Y, X, WIDTH)
                times.append(time.perf_counter() - begin)
    finally:
        for other in others:
            other.kill()
            other.wait()
    assert np.median(seconds["2"]) < 1.5 * np.median(seconds["1"])


FORK = """
import os
import numpy as np
from perovskite_polaron import kernels
from perovskite_polaron.kernels.convolution import broaden_lorentzian

kernels.WORTH_A_THREAD_NS = 1.0
x = np.linspace(0, 50, 500)
expected = broaden_lorentzian(x, x, x, 1.0)
child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(broaden_lorentzian(x, x, x, 1.0), expected) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert np.array_equal(broaden_lorentzian(x, x, x, 1.0), expected)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_computes_the_same(monkeypatch):
    monkeypatch.setenv("POLARON_THREADS", "3")
    subprocess.run([sys.executable, "-c", FORK], check=True, timeout=60)
