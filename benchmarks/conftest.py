"""The benchmark room: twins are importable, and a benchmark names its job (group), its side and what it is held to."""

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))


@pytest.fixture(scope="session")
def threads() -> int:
    return min(2, len(os.sched_getaffinity(0)))


@pytest.fixture(scope="session")
def copy_bandwidth() -> float:
    """Bytes per second one thread writes when it copies 256 MB: the median of seven copies into touched memory."""
    source = np.ones(2**25)
    target = np.zeros_like(source)
    durations = []
    for _ in range(7):
        start = time.perf_counter()
        np.copyto(target, source)
        durations.append(time.perf_counter() - start)
    return source.nbytes / float(np.median(durations))
