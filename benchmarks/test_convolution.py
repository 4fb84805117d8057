"""Broadening and pulse response against the dense formula and the programs a user would otherwise
call.
"""

import numpy as np
import pytest
from reference import convolution as plain

from perovskite_polaron.kernels.convolution import broaden_lorentzian, exponential_gaussian

RANDOM = np.random.default_rng(0)


def spectrum(n):
    x = np.linspace(0, n / 40, n)
    return x, RANDOM.random(n), RANDOM.uniform(0.3, 2.0, n)


def worst(values, exact):
    return float(np.abs(values - exact).max() / np.abs(exact).max())


@pytest.mark.parametrize("side", ["polaron", "polaron, two threads", "dense NumPy"])
@pytest.mark.benchmark(group="variable-width Lorentzian, 4000 points")
def test_variable_width(benchmark, monkeypatch, side):
    x, y, hwhm = spectrum(4000)
    benchmark.extra_info["side"] = side
    if side == "dense NumPy":
        benchmark.extra_info["required"] = 30
        benchmark.pedantic(plain.lorentzian, (x, y, x, hwhm), rounds=5)
        return
    monkeypatch.setenv("POLARON_THREADS", "2" if "two" in side else "1")
    result = benchmark.pedantic(broaden_lorentzian, (x, y, x, hwhm), rounds=10, warmup_rounds=1)
    benchmark.extra_info["deviation"] = worst(result, plain.lorentzian(x, y, x, hwhm))


DELAY, LIFETIMES, SIGMA = np.linspace(-200, 3000, 2000), np.array([120.0, 900.0, 5000.0]), 45.0
FWHM = SIGMA * 2 * np.sqrt(2 * np.log(2))


def trxas(package, lifetimes=LIFETIMES, gradient=True):
    values = [package.exp_conv_gau(DELAY, FWHM, 1 / tau) for tau in lifetimes]
    return values, [package.deriv_exp_conv_gau(DELAY, FWHM, 1 / tau)
                    for tau in lifetimes] if gradient else None


def glotaran():
    """The matrix function of pyglotaran, with its output given."""
    pytest.importorskip("glotaran")
    from glotaran.builtin.megacomplexes.decay import decay_matrix_gaussian_irf as package

    matrix = np.zeros((len(DELAY), 3))

    def call(rates=1 / LIFETIMES, sigma=SIGMA, centre=0.0):
        matrix[:] = 0
        package.calculate_decay_matrix_gaussian_irf_on_index(matrix, rates, DELAY,
                                                             np.array([centre]), np.array([sigma]),
                                                             np.array([1.0]), False, 0.0)
        return matrix

    return call


@pytest.mark.parametrize("side", ["polaron", "TRXASprefitpack", "pyglotaran"])
@pytest.mark.benchmark(group="exponential ⊗ Gaussian, values only, 2000 × 3")
def test_response(benchmark, side):
    benchmark.extra_info["side"] = side
    expected = exponential_gaussian(DELAY, LIFETIMES, SIGMA)
    if side == "polaron":
        benchmark(exponential_gaussian, DELAY, LIFETIMES, SIGMA)
        return
    benchmark.extra_info["required"] = 5
    if side == "TRXASprefitpack":
        package = pytest.importorskip("TRXASprefitpack")
        result = np.array(benchmark(trxas, package, gradient=False)[0]).T
    else:
        result = benchmark(glotaran())
    benchmark.extra_info["deviation"] = worst(result, expected)


@pytest.mark.parametrize("side",
                         ["polaron", "TRXASprefitpack", "pyglotaran, gradients by differences"])
@pytest.mark.benchmark(group="exponential ⊗ Gaussian with gradients, 2000 × 3")
def test_gradients(benchmark, side):
    benchmark.extra_info["side"] = side
    if side == "polaron":
        benchmark(exponential_gaussian, DELAY, LIFETIMES, SIGMA, gradient=True)
        return
    benchmark.extra_info["required"] = 5
    if side == "TRXASprefitpack":
        benchmark(trxas, pytest.importorskip("TRXASprefitpack"))
        return
    call = glotaran()

    def differences():
        """pyglotaran has no gradients: its optimiser calls the matrix once more for each of the
        five parameters.
        """
        values, rates = call().copy(), 1 / LIFETIMES
        steps = [{"rates": rates * (1 + 1e-8 * (np.arange(3) == k))} for k in range(3)]
        steps += [{"sigma": SIGMA * (1 + 1e-8)}, {"centre": 1e-8 * SIGMA}]
        return values, [call(**step) - values for step in steps]

    benchmark(differences)
