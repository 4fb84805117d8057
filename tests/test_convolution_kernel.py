"""Broadening and the pulse response: laws, 40 digits, reference implementation, bad input."""


import mpmath
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from reference import convolution as reference
from scipy.special import voigt_profile

from perovskite_polaron.errors import InputError
from perovskite_polaron.kernels.convolution import (
    broaden_gaussian, broaden_lorentzian, exponential_gaussian)

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


@pytest.mark.parametrize("away", [-2.0, 0.0, 0.4, 1.0, 3.0])
@pytest.mark.parametrize("times", [2.0, 16.0, 1e4])
def test_long_and_narrow_segments_are_as_exact(times, away):
    """A segment that is short against its distance from the pole loses nothing to cancellation."""
    x, y = np.array([0.0, 1 / times]), np.array([1.0, 3.0])
    with mpmath.workdps(30):
        start, end = (mpmath.mpc(x[k] - away, -1) for k in (0, 1))
        integral = mpmath.quad(lambda u: (1 + 2 * u) / (start + (end - start) * u), [0, 1])
        expected = float(mpmath.im(integral) * mpmath.mpf(x[1]) / mpmath.pi)
    found = broaden_lorentzian(x, y, [away], 1.0, ends="zero")
    assert found[0] == pytest.approx(expected, rel=4e-15)


@pytest.mark.parametrize("ends", ["zero", "constant"])
def test_broadening_equals_the_reference_implementation(ends):
    width = RANDOM.uniform(0.1, 6, len(OUT))
    for ours, plain, atol in ((broaden_lorentzian, reference.lorentzian, 1e-10),
                              (broaden_gaussian, reference.gaussian, 1e-9)):
        np.testing.assert_allclose(ours(X, Y, OUT, width, ends=ends),
                                   plain(X, Y, OUT, width, ends == "constant"), atol=atol)


def test_outputs_come_in_any_order():
    out = np.random.default_rng(5).permutation(np.linspace(-20, 80, 203))
    hwhm, order = 0.3 + 0.01 * np.abs(out), np.argsort(out)
    np.testing.assert_array_equal(broaden_lorentzian(X, Y, out[order], hwhm[order]),
                                  broaden_lorentzian(X, Y, out, hwhm)[order])


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


def test_one_width_conserves_area():
    # E = c + s·tan(u) maps the whole line to a finite interval, where a periodic sum converges
    # fast.
    u = (np.arange(4000) + 0.5) / 4000 * np.pi - np.pi / 2
    out, jacobian = 30 + 20 * np.tan(u), 20 / np.cos(u) ** 2 * np.pi / 4000
    area = np.trapezoid(Y[::6], X[::6])
    for broaden in (broaden_gaussian, broaden_lorentzian):
        found = broaden(X[::6], Y[::6], out, 1.0, ends="zero") @ jacobian
        assert found == pytest.approx(area, rel=1e-7)


def test_a_gaussian_of_a_lorentzian_is_the_voigt_profile():
    """Lifetime first, then the instrument, as a calculated spectrum is compared with a measured
    one.
    """
    x, fine = np.linspace(-4, 4, 4001), np.linspace(-60, 60, 6001)
    triangle = np.maximum(0, 1 - np.abs(x) / 0.002)
    line = broaden_lorentzian(x, triangle, fine, 0.8, ends="zero")
    out = np.linspace(-10, 10, 41)
    np.testing.assert_allclose(broaden_gaussian(fine, line, out, 0.7) / np.trapezoid(triangle, x),
                               voigt_profile(out, 0.7, 0.8), atol=2e-5)


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


@pytest.mark.parametrize("shape", [broaden_lorentzian, broaden_gaussian])
def test_laws_of_every_shape(shape):
    def broaden(x, y, out):
        return shape(x, y, out, 1.1)

    f, other = broaden(X, Y, OUT), np.cos(X)
    np.testing.assert_allclose(broaden(X, 2 * Y + 3 * other, OUT),
                               2 * f + 3 * broaden(X, other, OUT), atol=1e-11)
    np.testing.assert_allclose(broaden(X + 1024, Y, OUT + 1024), f, atol=1e-10)
    np.testing.assert_allclose(broaden(X, [Y, other], OUT)[0], f, atol=1e-14)
    middle = np.sort(np.r_[X, (X[1:] + X[:-1]) / 2])
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
    np.testing.assert_allclose(out, reference.exponential_gaussian(t, [np.inf, 120.0], 45.0),
                               rtol=1e-11)
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
                          (lambda: broaden_lorentzian([0, 1], [1, 2], [0.5], 1.0, ends="mirror"),
                           "ends is 'mirror'"),
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
