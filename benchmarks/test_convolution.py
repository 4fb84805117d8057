"""Broadening and pulse response against the dense formula and the programs a user would otherwise call."""

import numpy as np
import pytest
from twins import convolution as twin

from perovskite_polaron.kernels.convolution import broaden_lorentzian, exponential_gaussian

RANDOM = np.random.default_rng(0)


def spectrum(n):
    x = np.linspace(0, n / 40, n)
    return x, RANDOM.random(n), RANDOM.uniform(0.3, 2.0, n)


@pytest.mark.parametrize("side", ["polaron", "polaron two threads", "dense NumPy"])
@pytest.mark.benchmark(group="variable-width Lorentzian, 4000 points")
def test_variable_width(benchmark, side):
    x, y, hwhm = spectrum(4000)
    benchmark.extra_info["side"] = side
    if side == "dense NumPy":
        benchmark.pedantic(twin.lorentzian, (x, y, x, hwhm), rounds=3)
        return
    result = benchmark.pedantic(
        broaden_lorentzian, (x, y, x, hwhm), {"threads": 2 if "two" in side else 1}, rounds=10, warmup_rounds=1)
    benchmark.extra_info["deviation"] = float(np.abs(result - twin.lorentzian(x, y, x, hwhm)).max() / result.max())


@pytest.mark.parametrize("side", ["polaron", "polaron exact"])
@pytest.mark.benchmark(group="fast variable-width Lorentzian, 50 000 points")
def test_fast(benchmark, side):
    x, y, hwhm = spectrum(50_000)
    benchmark.extra_info["side"] = side
    result = benchmark.pedantic(broaden_lorentzian, (x, y, x, hwhm), {"fast": side == "polaron"}, rounds=3)
    if side == "polaron":
        exact = broaden_lorentzian(x, y, x, hwhm)
        benchmark.extra_info["deviation"] = float(np.abs(result - exact).max() / exact.max())


@pytest.mark.parametrize("n", [1000, 4000, 16_000, 64_000, 256_000])
@pytest.mark.benchmark(group="fast variable-width Lorentzian against size")
def test_fast_against_size(benchmark, n):
    x, y, hwhm = spectrum(n)
    benchmark.extra_info["side"] = f"polaron, {n} points"
    benchmark.pedantic(broaden_lorentzian, (x, y, x, hwhm), {"fast": True}, rounds=3)


@pytest.mark.parametrize("side", ["polaron", "larch xas_convolve"])
@pytest.mark.benchmark(group="constant Lorentzian, 4000 points")
def test_larch(benchmark, side):
    x, y, _ = spectrum(4000)
    benchmark.extra_info["side"] = side
    if side == "polaron":
        benchmark.pedantic(broaden_lorentzian, (x, y, x, 1.0), {"fast": True}, rounds=10, warmup_rounds=1)
        return
    larch = pytest.importorskip("larch")
    from larch.xafs import xas_convolve

    group = larch.Group(energy=x, norm=y)
    benchmark.pedantic(xas_convolve, (x, y), {"group": group, "form": "lorentzian", "esigma": 1.0}, rounds=5)
    inside = slice(1000, 3000)
    exact = broaden_lorentzian(x, y, x, 1.0)
    benchmark.extra_info["deviation"] = float(np.abs(group.conv - exact)[inside].max() / exact.max())


DELAY, LIFETIMES, SIGMA = np.linspace(-200, 3000, 2000), np.array([120.0, 900.0, 5000.0]), 45.0
FWHM = SIGMA * 2 * np.sqrt(2 * np.log(2))


@pytest.mark.parametrize("side", ["polaron", "TRXASprefitpack", "pyglotaran (no gradient)"])
@pytest.mark.benchmark(group="exponential ⊗ Gaussian with gradients, 2000 × 3")
def test_response(benchmark, side):
    benchmark.extra_info["side"] = side
    expected = exponential_gaussian(DELAY, LIFETIMES, SIGMA)
    if side == "polaron":
        benchmark(exponential_gaussian, DELAY, LIFETIMES, SIGMA, gradient=True)
    elif side == "TRXASprefitpack":
        package = pytest.importorskip("TRXASprefitpack")

        def call():
            return [(package.exp_conv_gau(DELAY, FWHM, 1 / tau), package.deriv_exp_conv_gau(DELAY, FWHM, 1 / tau))
                    for tau in LIFETIMES]

        result = np.array([value for value, _ in benchmark(call)]).T
        benchmark.extra_info["deviation"] = float(np.abs(result - expected).max())
    else:
        pytest.importorskip("glotaran")
        from glotaran.builtin.megacomplexes.decay import decay_matrix_gaussian_irf as glotaran

        matrix = np.zeros((len(DELAY), 3))

        def call():
            matrix[:] = 0
            glotaran.calculate_decay_matrix_gaussian_irf_on_index(
                matrix, 1 / LIFETIMES, DELAY, np.array([0.0]), np.array([SIGMA]), np.array([1.0]), False, 0.0)

        call()
        benchmark(call)
        benchmark.extra_info["deviation"] = float(np.abs(matrix - expected).max())
