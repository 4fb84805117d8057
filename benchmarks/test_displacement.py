"""Writing displaced structures, against plain copying of as many bytes and the NumPy formula."""

import numpy as np
import pytest

from perovskite_polaron.crystal import read_crystal, supercell
from perovskite_polaron.distortion import real_patterns, thermal_coefficients
from perovskite_polaron.kernels.displacement import displace
from perovskite_polaron.modes import read_modes

CRYSTAL, MODE = read_crystal("cspbbr3-pbnm"), read_modes("lo-c").modes[0]
N = 100_000
Q = np.linspace(0.1, 3.0, N)[:, None]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.benchmark(group="structures of a sweep")
def test_sweep(benchmark, threads):
    patterns, out = real_patterns(CRYSTAL, [MODE]), np.zeros((N, 20, 3))
    benchmark(displace, CRYSTAL.cartesian_A, patterns, Q, threads, out)


@pytest.mark.benchmark(group="structures of a sweep")
def test_copy(benchmark):
    source, out = np.ones((N, 20, 3)), np.zeros((N, 20, 3))
    benchmark(np.copyto, out, source)


@pytest.mark.benchmark(group="structures of a sweep")
def test_numpy(benchmark):
    patterns = real_patterns(CRYSTAL, [MODE])
    benchmark(lambda: CRYSTAL.cartesian_A + np.einsum("sm,mni->sni", Q, patterns))


@pytest.mark.parametrize("repeats", [(1, 1, 1), (2, 2, 1), (2, 2, 2)])
@pytest.mark.benchmark(group="thermal ensemble, size of the cell")
def test_thermal(benchmark, repeats):
    crystal = supercell(CRYSTAL, repeats)
    patterns, q = real_patterns(crystal, [MODE] * 8), thermal_coefficients([MODE] * 8, 300.0, 1000, seed=1)
    benchmark(displace, crystal.cartesian_A, patterns, q)
