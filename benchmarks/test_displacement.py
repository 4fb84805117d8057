"""Writing displaced structures, against plain copying of as many bytes and the NumPy formula."""

import numpy as np
import pytest

from perovskite_polaron.kernels.displacement import displace
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.phonons.distortion import real_patterns
from perovskite_polaron.phonons.modes import read_modes

CRYSTAL, MODE = read_crystal("cspbbr3-pbnm"), read_modes("lo-c")
N = 100_000
Q = np.linspace(0.1, 3.0, N)[:, None]


@pytest.mark.parametrize("side",
                         ["polaron", "polaron, two threads", "copy of as many bytes",
                          "NumPy formula"])
@pytest.mark.benchmark(group="writing the structures of a sweep, 100 000 × 20 atoms (48 MB)")
def test_sweep(benchmark, monkeypatch, side):
    """Every side writes into memory that it asks for."""
    patterns = real_patterns(CRYSTAL, MODE)
    benchmark.extra_info["side"] = side
    if side.startswith("polaron"):
        monkeypatch.setenv("POLARON_THREADS", "2" if "two" in side else "1")
        out = benchmark(displace, CRYSTAL.cartesian_A, patterns, Q)
        expected = CRYSTAL.cartesian_A + np.einsum("sm,mni->sni", Q, patterns)
        benchmark.extra_info["deviation"] = float(np.abs(out - expected).max()
                                                  / np.abs(expected).max())
    elif side == "NumPy formula":
        benchmark(lambda: CRYSTAL.cartesian_A + np.einsum("sm,mni->sni", Q, patterns))
    else:
        benchmark.extra_info["required"] = 0.5
        benchmark(np.ones((N, 20, 3)).copy)
