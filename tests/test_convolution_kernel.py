"""Broadening and the pulse response: laws, 40-digit references, twins, and every bad input."""


import mpmath
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from twins import convolution as twin

from perovskite_polaron.errors import InputError
from perovskite_polaron.kernels.convolution import (
    broaden_gaussian, broaden_lorentzian, broaden_voigt, exponential_gaussian)

RANDOM = np.random.default_rng(5)
X = np.sort(RANDOM.uniform(0, 60, 300))
Y = RANDOM.random(300)
OUT = np.linspace(-10, 70, 97)


def test_lorentzian_matches_forty_digits():
    x, y, energy, hwhm = X[:60], Y[:60], OUT[::8], RANDOM.uniform(0.01, 5, len(OUT[::8]))
    with mpmath.workdps(40):
        expected = []
        for e, gamma in zip(energy, hwhm, strict=True):
            z, total = mpmath.mpc(e, gamma), mpmath.mpf(0)
            for k in range(len(x) - 1):
                a, b = mpmath.mpf(x[k]), mpmath.mpf(x[k + 1])
                slope = (mpmath.mpf(y[k + 1]) - mpmath.mpf(y[k])) / (b - a)
                total += mpmath.im((y[k] + slope * (z - a)) * mpmath.log((b - z) / (a - z)))
            expected.append(float(total / mpmath.pi))
    np.testing.assert_allclose(broaden_lorentzian(x, y, energy, hwhm, ends="zero"), expected,
                               rtol=0, atol=2e-15)


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("away", [-2.0, 0.0, 0.4, 1.0, 3.0])
@pytest.mark.parametrize("times", [15.5, 15.99, 16.01, 30.0, 1e4])
def test_long_and_narrow_segments_are_as_exact(times, away, fast):
    """A segment 16 times shorter than its distance from the pole takes shorter polynomials, and
    loses nothing.
    """
    growth = 0.02 / times
    x, y = np.array([0.0, np.sqrt(times**-2.0 - growth**2)]), np.array([1.0, 3.0])
    for width_at, widths in (("output", [1.0]), ("source", [1.0, 1.0 + growth])):
        with mpmath.workdps(30):
            start, end = (mpmath.mpc(x[k] - away, -mpmath.mpf(widths[k * (width_at == "source")]))
                          for k in (0, 1))
            integral = mpmath.quad(
                lambda u: (1 + 2 * u) / (start + (end - start) * u), [0, 1])  # noqa: B023
            expected = float(mpmath.im(integral) * mpmath.mpf(x[1]) / mpmath.pi)
        found = broaden_lorentzian(x, y, [away], widths, width_at=width_at, ends="zero", fast=fast)
        assert found[0] == pytest.approx(expected, rel=1e-8 if fast else 4e-15)


@pytest.mark.parametrize("ends", ["zero", "constant"])
@pytest.mark.parametrize("fast", [False, True])
def test_lorentzian_equals_its_twin(ends, fast):
    at_output, at_source = RANDOM.uniform(0.1, 9, len(OUT)), RANDOM.uniform(0.1, 9, len(X))
    exact = broaden_lorentzian(X, Y, OUT, at_output, ends=ends, fast=fast)
    np.testing.assert_allclose(exact,
                               twin.lorentzian(X, Y, OUT, at_output, False, ends == "constant"),
                               atol=1e-10)
    exact = broaden_lorentzian(X, Y, OUT, at_source, width_at="source", ends=ends, fast=fast)
    np.testing.assert_allclose(exact,
                               twin.lorentzian(X, Y, OUT, at_source, True, ends == "constant"),
                               atol=1e-10)


def test_gaussian_and_voigt_equal_their_twins():
    sigma, hwhm = RANDOM.uniform(0.1, 6, len(OUT)), RANDOM.uniform(0.05, 6, len(OUT))
    for ends in ("zero", "constant"):
        np.testing.assert_allclose(broaden_gaussian(X, Y, OUT, sigma, ends=ends),
                                   twin.gaussian(X, Y, OUT, sigma, ends == "constant"), atol=1e-9)
    x, y = X[::10], Y[::10]
    np.testing.assert_allclose(broaden_voigt(x, y, OUT, hwhm, sigma, ends="zero"),
                               twin.voigt(x, y, OUT, hwhm, sigma, False), atol=1e-13)


def test_voigt_tends_to_its_two_limits():
    np.testing.assert_allclose(
        broaden_voigt(X, Y, OUT, 1.3, 1e-7), broaden_lorentzian(X, Y, OUT, 1.3), atol=1e-12)
    np.testing.assert_allclose(broaden_voigt(X, Y, OUT, 1e-13, 1.3),
                               broaden_gaussian(X, Y, OUT, 1.3), atol=1e-12)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.floats(-3, 3), st.floats(-3, 3))
def test_fast_stays_within_its_bound(seed, narrow, wide):
    random = np.random.default_rng(seed)
    x = np.sort(np.r_[random.uniform(0, 1000, 1500), random.normal(500, 1, 500)])
    y, out = random.random(len(x)) ** 8, random.uniform(-200, 1200, 300)
    for width_at, count in (("output", len(out)), ("source", len(x))):
        hwhm = 10 ** random.uniform(min(narrow, wide), max(narrow, wide), count)
        exact = broaden_lorentzian(x, y, out, hwhm, width_at=width_at, ends="zero")
        fast = broaden_lorentzian(x, y, out, hwhm, width_at=width_at, ends="zero", fast=True)
        assert np.abs(fast - exact).max() <= 1e-8 * exact.max()


def test_fast_takes_outputs_in_any_order():
    out = np.random.default_rng(5).permutation(np.linspace(-20, 80, 203))
    hwhm = 0.3 + 0.01 * np.abs(out)
    exact = broaden_lorentzian(X, Y, out, hwhm)
    np.testing.assert_allclose(broaden_lorentzian(X, Y, out, hwhm, fast=True), exact, rtol=1e-9)


def test_gaussian_meets_short_and_long_segments_at_one_width():
    # A straight line stays itself, however it is cut into segments: two finer than sigma / 8, some
    # near it, some longer.
    x = np.r_[np.linspace(0, 2, 41), np.linspace(2.5, 6, 8), 9.0, 20.0]
    out = np.linspace(6.5, 7.5, 11)
    coarse = broaden_gaussian([x[0], x[-1]], [1.0, 3.0], out, 0.6, ends="zero")
    np.testing.assert_allclose(broaden_gaussian(x, 1 + 0.1 * x, out, 0.6, ends="zero"), coarse,
                               atol=1e-13)
    np.testing.assert_allclose(coarse, 1 + 0.1 * out, atol=1e-12)
    fine = np.linspace(0, 20, 401)
    np.testing.assert_allclose(broaden_gaussian(fine, 1 + 0.1 * fine, out, 0.6, ends="zero"),
                               coarse, atol=1e-13)


@pytest.mark.parametrize("fast", [False, True])
def test_widths_at_the_source_conserve_area(fast):
    hwhm = np.interp(X, [0, 60], [0.2, 3.0])
    # E = c + s·tan(u) maps the whole line to a finite interval, where a periodic sum converges
    # fast.
    u = (np.arange(4000) + 0.5) / 4000 * np.pi - np.pi / 2
    f = broaden_lorentzian(X, Y, 30 + 20 * np.tan(u), hwhm, width_at="source", ends="zero",
                           fast=fast)
    area = np.sum(f * 20 / np.cos(u) ** 2) * np.pi / 4000
    assert area == pytest.approx(np.trapezoid(Y, X), rel=1e-7)


def test_gaussian_and_voigt_conserve_area():
    u = (np.arange(4000) + 0.5) / 4000 * np.pi - np.pi / 2
    out, jacobian = 30 + 20 * np.tan(u), 20 / np.cos(u) ** 2 * np.pi / 4000
    area = np.trapezoid(Y[::6], X[::6])
    assert broaden_gaussian(X[::6], Y[::6], out, 1.0,
                            ends="zero") @ jacobian == pytest.approx(area, rel=1e-7)
    assert broaden_voigt(X[::6], Y[::6], out, 0.8, 0.7,
                         ends="zero") @ jacobian == pytest.approx(area, rel=1e-7)


def test_widths_of_lorentzians_add_and_of_gaussians_add_in_squares():
    # A second broadening needs the first one on a grid: fine near the structure, coarse in the
    # Lorentzian tails.
    x, y = np.array([-1.0, 0.0, 1.5]), np.array([0.0, 2.0, 0.0])
    grid = np.sinh(np.linspace(-12, 12, 8001)) * 0.5
    out = np.linspace(-5, 5, 21)
    once = broaden_lorentzian(grid, broaden_lorentzian(x, y, grid, 0.7, ends="zero"), out, 0.5,
                              ends="zero")
    np.testing.assert_allclose(once, broaden_lorentzian(x, y, out, 1.2, ends="zero"), atol=2e-5)
    once = broaden_gaussian(grid, broaden_gaussian(x, y, grid, 0.7, ends="zero"), out, 0.5,
                            ends="zero")
    np.testing.assert_allclose(once, broaden_gaussian(x, y, out, np.hypot(0.7, 0.5), ends="zero"),
                               atol=2e-5)


SHAPES = {"lorentzian": lambda x, y, out, **k: broaden_lorentzian(x, y, out, 1.1, **k),
          "fast": lambda x, y, out, **k: broaden_lorentzian(x, y, out, 1.1, fast=True, **k),
          "source": lambda x, y, out,
          **k: broaden_lorentzian(x, y, out, np.linspace(0.5, 2, len(x)), width_at="source", **k),
          "gaussian": lambda x, y, out, **k: broaden_gaussian(x, y, out, 1.1, **k),
          "voigt": lambda x, y, out, **k: broaden_voigt(x, y, out, 1.1, 0.6, **k)}


@pytest.mark.parametrize("broaden", SHAPES.values(), ids=SHAPES)
def test_laws_of_every_shape(broaden):
    f, other = broaden(X, Y, OUT), np.cos(X)
    np.testing.assert_allclose(broaden(X, 2 * Y + 3 * other, OUT),
                               2 * f + 3 * broaden(X, other, OUT), atol=1e-11)
    np.testing.assert_allclose(broaden(X + 1024, Y, OUT + 1024), f, atol=1e-10)
    np.testing.assert_allclose(broaden(X, [Y, other], OUT)[0], f, atol=1e-14)
    middle = np.sort(np.r_[X, (X[1:] + X[:-1]) / 2])
    if broaden is not SHAPES["source"]:
        np.testing.assert_allclose(broaden(middle, np.interp(middle, X, Y), OUT), f, atol=1e-10)
        np.testing.assert_allclose(broaden(X, np.ones(len(X)), OUT), 1.0, atol=1e-10)


def response_in_sixty_digits(delay, lifetime, sigma, t0):
    t, tau, s = mpmath.mpf(delay) - mpmath.mpf(t0), mpmath.mpf(lifetime), mpmath.mpf(sigma)
    a, b = s / tau, t / s
    value = mpmath.exp(a * a / 2 - a * b) * mpmath.erfc((a - b) / mpmath.sqrt(2)) / 2
    gauss = mpmath.exp(-b * b / 2) / (s * mpmath.sqrt(2 * mpmath.pi))
    d_t0 = value / tau - gauss
    return value, (s * gauss - (a - b) * value) * s / tau**2, a * d_t0 - b * gauss, d_t0


@pytest.mark.parametrize("ratio", 10.0 ** np.arange(-3, 5.1))
def test_response_and_gradient_match_sixty_digits(ratio):
    sigma, t0, tau = 45.0, 12.3, 45.0 * ratio * 1.1
    b = np.r_[RANDOM.uniform(-36, 38, 30), 10 ** RANDOM.uniform(0, np.log10(650 * ratio + 30), 20)]
    delay = t0 + sigma * b
    computed = np.array(exponential_gaussian(delay, tau, sigma, t0, gradient=True))
    with mpmath.workdps(60):
        for k, t in enumerate(delay):
            exact = response_in_sixty_digits(t, tau, sigma, t0)
            if exact[0] < 1e-280:
                continue
            assert abs(computed[0, k] / exact[0] - 1) < 1e-13
            assert abs(computed[1, k] / exact[1] - 1) < 1e-13
            # the other two pass through zero
            assert abs(computed[2, k] / exact[2] - 1) < 1e-11
            assert abs(computed[3, k] / exact[3] - 1) < 1e-11


@pytest.mark.parametrize("tau", [0.3, 45.0, 900.0, np.inf])
def test_what_a_block_of_delays_leaves_out_changes_no_bit(tau):
    """Alone, each delay leaves out the term that has no weight there; shuffled, every block needs
    both.
    """
    delay = np.random.default_rng(0).uniform(-500, 2000, 999)
    together = np.array(exponential_gaussian(delay, tau, 45.0, 3.0, gradient=True))
    alone = np.hstack([exponential_gaussian([t], tau, 45.0, 3.0, gradient=True) for t in delay])
    np.testing.assert_array_equal(alone, together)
    order = np.argsort(delay)
    np.testing.assert_array_equal(exponential_gaussian(delay[order], tau, 45.0, 3.0),
                                  together[0, order])


def test_response_with_infinite_lifetime_is_a_step_and_columns_are_independent():
    t = np.linspace(-300, 900, 50)
    out = exponential_gaussian(t, [np.inf, 120.0], 45.0)
    with mpmath.workdps(40):
        step = [float(mpmath.erfc(-mpmath.mpf(v) / (45 * mpmath.sqrt(2))) / 2) for v in t]
    np.testing.assert_allclose(out[:, 0], step, rtol=1e-14)
    np.testing.assert_array_equal(out[:, 1], exponential_gaussian(t, 120.0, 45.0))
    np.testing.assert_allclose(out, twin.exponential_gaussian(t, [np.inf, 120.0], 45.0), rtol=1e-11)
    assert np.all(exponential_gaussian(t, np.inf, 45.0, gradient=True)[1] == 0)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.floats(-1e30, 1e30), st.floats(1e-30, 1e30), st.floats(1e-30, 1e30))
def test_response_never_overflows(t, tau, sigma):
    parts = exponential_gaussian([t], tau, sigma, gradient=True)
    assert np.all(np.isfinite(parts[0]))
    assert 0 <= parts[0][0] <= 1
    assert not np.isnan(parts).any()


def test_gradient_equals_finite_differences():
    t, h = np.linspace(-200, 2000, 31), 1e-4
    parts = exponential_gaussian(t, [80.0], 45.0, 3.0, gradient=True)
    for part, step in zip(parts[1:], np.eye(3) * h, strict=True):
        up, down = (exponential_gaussian(t, [80 + s * step[0]], 45 + s * step[1], 3 + s * step[2])
                    for s in (1, -1))
        np.testing.assert_allclose(part, (up - down) / (2 * h), atol=1e-10)


@pytest.mark.parametrize(("call", "message"),
                         [(lambda: broaden_lorentzian([0, 1], [1, 2], [0.5], -1.0),
                           "hwhm must be positive"),
                          (lambda: broaden_lorentzian([0, 1], [1, 2], [0.5], 0.0),
                           "hwhm must be positive"),
                          (lambda: broaden_gaussian([0, 1], [1, 2], [0.5], -1.0),
                           "sigma must be positive"),
                          (lambda: broaden_voigt([0, 1], [1, 2], [0.5], 1.0, 0.0),
                           "sigma must be positive"),
                          (lambda: broaden_lorentzian([0, 0], [1, 2], [0.5], 1.0),
                           "does not increase"),
                          (lambda: broaden_lorentzian([0], [1], [0.5], 1.0), "at least two"),
                          (lambda: broaden_lorentzian([0, 1], [1, 2, 3], [0.5], 1.0),
                           r"y_in has shape \(3,\)"),
                          (lambda: broaden_lorentzian([0, 1], [1, np.nan], [0.5], 1.0),
                           "y_in contains NaN"),
                          (lambda: broaden_lorentzian([0, 1], [1, 2], [], 1.0), "x_out is empty"),
                          (lambda: broaden_lorentzian([0, 1], [1, 2], [0.5], [1.0, 1.0]),
                           "hwhm has shape"),
                          (lambda: broaden_lorentzian([0, 1], [1, 2], [0.5], [1.0],
                                                      width_at="source"), "hwhm has shape"),
                          (lambda: broaden_lorentzian([0, 1], [1, 2], [0.5], 1.0, width_at="both"),
                           "width_at is 'both'"),
                          (lambda: broaden_lorentzian([0, 1], [1, 2], [0.5], 1.0, ends="mirror"),
                           "ends is 'mirror'"),
                          (lambda: broaden_lorentzian([0, 1], [1, 2], [0.5], 1.0, threads=0),
                           "threads is 0"),
                          (lambda: broaden_lorentzian([0, 1e71], [1, 2], [0.5], 1.0),
                           "choose another unit"),
                          (lambda: broaden_lorentzian([0, 1], [1, 2], [-1e71], 1.0),
                           "choose another unit"),
                          (lambda: broaden_lorentzian([0, 1], [1, 2], [0.5], 1e71),
                           r"hwhm must be positive \(and below 1e\+70\)"),
                          (lambda: exponential_gaussian([0.0], -1.0, 1.0),
                           "lifetime must be positive"),
                          (lambda: exponential_gaussian([0.0], np.nan, 1.0),
                           "lifetime must be positive"),
                          (lambda: exponential_gaussian([0.0], 1.0, 0.0), "sigma must be positive"),
                          (lambda: exponential_gaussian([np.nan], 1.0, 1.0), "delay contains NaN"),
                          (lambda: exponential_gaussian([0.0], 1e-120, 1.0), "below 1e-100 sigma")])
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
