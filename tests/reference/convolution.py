"""Dense NumPy formulas of the convolution kernels: slow, plain, and the oracle of the tests."""

import numpy as np
from scipy.special import erf, erfc, erfcx


def lorentzian(x, y, out_x, hwhm, continued=True):
    """Segments as complex logarithms; one hwhm per output point."""
    w = x[None, :] - out_x[:, None] - 1j * hwhm[:, None]
    h = np.diff(x)
    # log(1 + small) keeps segments that are short against their distance
    turn = np.log1p(h / w[:, :-1])
    slope = np.diff(y) / h
    total = (y[:-1] * turn + slope * (h - w[:, :-1] * turn)).imag.sum(axis=1)
    if continued:
        total += (y[0] * np.arctan2(-w[:, 0].imag, -w[:, 0].real)
                  + y[-1] * np.arctan2(-w[:, -1].imag, w[:, -1].real))
    return total / np.pi


def gaussian(x, y, out_x, sigma, continued=True):
    w = (x[None, :] - out_x[:, None]) / sigma[:, None]
    area = np.diff(erf(w / np.sqrt(2)), axis=1) / 2
    density = np.exp(-w * w / 2) / np.sqrt(2 * np.pi)
    slope = np.diff(y) / np.diff(x)
    total = (y[:-1] * area + slope * sigma[:, None]
             * (-np.diff(density, axis=1) - w[:, :-1] * area)).sum(axis=1)
    if continued:
        total += (y[0] * erfc(-w[:, 0] / np.sqrt(2)) + y[-1] * erfc(w[:, -1] / np.sqrt(2))) / 2
    return total


def exponential_gaussian(delay, lifetime, sigma, t0=0.0):
    """(m, k) response; the two branches of the textbook formula."""
    b = (np.asarray(delay)[:, None] - t0) / sigma
    a = sigma / np.atleast_1d(lifetime)[None, :]
    z = (a - b) / np.sqrt(2)
    early = np.exp(-b * b / 2) * erfcx(np.maximum(z, 0)) / 2
    late = np.exp(np.minimum(a * a / 2 - a * b, 0)) * erfc(np.minimum(z, 0)) / 2
    return np.where(z > 0, early, late)
