"""Broadening and pulse response against the dense formula and the programs a user would otherwise
call.
"""

import numpy as np
import pytest
from twins import convolution as twin

from perovskite_polaron.kernels.convolution import broaden_lorentzian, exponential_gaussian

RANDOM = np.random.default_rng(0)


def spectrum(n):
    x = np.linspace(0, n / 40, n)
    return x, RANDOM.random(n), RANDOM.uniform(0.3, 2.0, n)


def smooth_spectrum():
    """A step and two lines, 4000 points at 0.025 eV: programs that sum points and those that
    integrate agree on it.
    """
    x = np.linspace(0, 100, 4000)
    lines = np.exp(-((x - 30) ** 2) / 2) + 0.5 * np.exp(-((x - 60) ** 2) / 18)
    return x, lines + 1 / (1 + np.exp(50 - x)) * (1 - x / 200), 0.3 + 0.015 * x


def worst(values, exact):
    return float(np.abs(values - exact).max() / np.abs(exact).max())


@pytest.mark.parametrize("side", ["polaron", "polaron, two threads", "dense NumPy"])
@pytest.mark.benchmark(group="variable-width Lorentzian, 4000 points, exact")
def test_variable_width(benchmark, side):
    x, y, hwhm = spectrum(4000)
    benchmark.extra_info["side"] = side
    if side == "dense NumPy":
        benchmark.extra_info["required"] = 30
        benchmark.pedantic(twin.lorentzian, (x, y, x, hwhm), rounds=5)
        return
    result = benchmark.pedantic(broaden_lorentzian, (x, y, x, hwhm),
                                {"threads": 2 if "two" in side else 1}, rounds=10, warmup_rounds=1)
    benchmark.extra_info["deviation"] = worst(result, twin.lorentzian(x, y, x, hwhm))


@pytest.mark.parametrize("side", ["polaron", "polaron, exact sum"])
@pytest.mark.benchmark(group="variable-width Lorentzian, 50 000 points, fast")
def test_fast(benchmark, side):
    x, y, hwhm = spectrum(50_000)
    benchmark.extra_info["side"] = side
    result = benchmark.pedantic(broaden_lorentzian, (x, y, x, hwhm), {"fast": side == "polaron"},
                                rounds=3)
    if side == "polaron":
        benchmark.extra_info["deviation"] = worst(result, broaden_lorentzian(x, y, x, hwhm))
    else:
        benchmark.extra_info["required"] = 20


EUPHONIC = {"Euphonic, error 1e-2 (default)": 1e-2, "Euphonic, error 1e-3": 1e-3}


@pytest.mark.parametrize("side", ["polaron", *EUPHONIC])
@pytest.mark.benchmark(group="Lorentzian, width of the source point, 4000 points")
def test_euphonic(benchmark, side):
    x, y, hwhm = smooth_spectrum()
    benchmark.extra_info["side"] = side
    # Counts in bins, as Euphonic takes them, stand for the spectrum without its continued ends.
    exact = twin.lorentzian(x, y, x, hwhm, at_source=True, continued=False)
    if side == "polaron":
        options = {"width_at": "source", "ends": "zero", "fast": True}
        result = benchmark.pedantic(broaden_lorentzian, (x, y, x, hwhm), options, rounds=20,
                                    warmup_rounds=2)
    else:
        broadening, ureg = pytest.importorskip("euphonic.broadening"), pytest.importorskip(
            "euphonic").ureg
        step = x[1] - x[0]
        bins = np.r_[x - step / 2, x[-1] + step / 2] * ureg("meV")
        call = (bins, x * ureg("meV"), 2 * hwhm * ureg("meV"), y * step)
        options = {"adaptive_error": EUPHONIC[side], "shape": "lorentz"}
        benchmark.extra_info["required"] = 1
        result = benchmark.pedantic(broadening.width_interpolated_broadening, call, options,
                                    rounds=10, warmup_rounds=1).magnitude
    benchmark.extra_info["deviation"] = worst(result, exact)


@pytest.mark.parametrize("side", ["polaron", "larch xas_convolve"])
@pytest.mark.benchmark(group="Lorentzian of one width, 4000 points")
def test_larch(benchmark, side):
    x, y, _ = smooth_spectrum()
    benchmark.extra_info["side"] = side
    exact = twin.lorentzian(x, y, x, np.full(len(x), 1.0))
    if side == "polaron":
        result = benchmark.pedantic(broaden_lorentzian, (x, y, x, 1.0), {"fast": True}, rounds=20,
                                    warmup_rounds=2)
    else:
        larch = pytest.importorskip("larch")
        from larch.xafs import xas_convolve

        benchmark.extra_info["required"] = 1
        group = larch.Group(energy=x, norm=y)
        benchmark.pedantic(xas_convolve, (x, y),
                           {"group": group, "form": "lorentzian", "esigma": 1.0}, rounds=10)
        result = group.conv
    # Programs treat what lies beyond the ends differently: only the middle is compared.
    middle = slice(1000, 3000)
    benchmark.extra_info["deviation"] = worst(result[middle], exact[middle])


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
