"""Chains of a 20-atom cell, 1000 energies, occupied states cut: xspectra.x plotting the same file,
and plain NumPy.
"""


import numpy as np
import pytest
from reference import lanczos as numpy_lanczos
from save_files import write_save, xspectra_plot

from perovskite_polaron.espresso.lanczos import evaluate
from perovskite_polaron.espresso.savefile import read_save
from perovskite_polaron.kernels import lanczos as kernel

K_POINTS, LENGTH, POINTS, TERMINATOR = 4, 140, 1000, 20
ENERGY = np.linspace(-10.0, 60.0, POINTS)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """As long and as wide as the chains of a plane-wave calculation with a cut-off of 35 Ry."""
    rng = np.random.default_rng(1)
    settle = np.exp(-np.arange(LENGTH) / 30)
    a = 17 - 15 * settle + rng.normal(scale=0.3, size=(K_POINTS, LENGTH))
    b = 8.8 - 6 * settle + rng.normal(scale=0.2, size=(K_POINTS, LENGTH))
    path = tmp_path_factory.mktemp("lanczos") / "br.sav"
    return write_save(path, a, b, norms=[0.01] * K_POINTS, core_eV=13474.0, fermi_eV=4.0)


@pytest.mark.parametrize("side", ["polaron", "polaron, file read too", "xspectra.x xonly_plot"])
@pytest.mark.benchmark(group="Lanczos spectrum, 4 chains of 140, 1000 energies, cut")
def test_replot(benchmark, file, side):
    benchmark.extra_info["side"] = side
    save = read_save(file)

    def ours(chains):
        return evaluate(chains, ENERGY, 1.26, cut_occupied=True, terminator=TERMINATOR).total

    def theirs():
        limits = {"points": POINTS, "emin": ENERGY[0], "emax": ENERGY[-1]}
        return xspectra_plot(file, file.parent, hwhm=1.26, k=K_POINTS, conv=TERMINATOR, cut=True,
                             **limits)[1]

    if side.startswith("polaron"):
        function = (lambda: ours(save)) if side == "polaron" else (lambda: ours(read_save(file)))
        benchmark.pedantic(function, rounds=20, warmup_rounds=2)
        return
    benchmark.extra_info["required"] = 1000
    plotted = benchmark.pedantic(theirs, rounds=3)
    deviation = np.maximum(np.abs(ours(save) - plotted) - 0.51e-8, 0).max() / plotted.max()
    benchmark.extra_info["deviation"] = float(deviation)
    assert deviation < 2e-6


@pytest.mark.parametrize("side", ["polaron", "plain NumPy"])
@pytest.mark.benchmark(group="Lanczos, each further width, 1000 energies")
def test_further_width(benchmark, file, side):
    save = read_save(file)
    chains = kernel.join([x[:-2] for x in save.a], [x[:-2] for x in save.b], save.norms[0] ** 2,
                         [0] * K_POINTS, 25)
    rays = kernel.fermi_rays(chains, 0.3)
    x, width = ENERGY / 13.6 + 0.3, np.full(POINTS, 0.1)
    benchmark.extra_info["side"] = side

    def plain():
        return numpy_lanczos.cut_resolvent(chains, rays, 0.3, x, width)

    def compiled():
        return kernel.cut_resolvent(chains, rays, 0.3, x, width)

    if side == "plain NumPy":
        benchmark.extra_info["required"] = 20
        expected = benchmark.pedantic(plain, rounds=5)
        benchmark.extra_info["deviation"] = float(np.abs(compiled() / expected - 1).max())
        return
    benchmark.pedantic(compiled, rounds=20, warmup_rounds=2)
