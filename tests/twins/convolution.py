"""Dense NumPy formulas of the convolution kernels: slow, plain, and the oracle of the tests."""

import numpy as np
from scipy.special import erf, erfc, erfcx, voigt_profile


def lorentzian(x, y, out_x, hwhm, at_source=False, continued=True):
    """Segments as complex logarithms; hwhm one per source or per output point."""
    w = x[None, :] - out_x[:, None] - 1j * (hwhm[None, :] if at_source else hwhm[:, None])
    h = np.diff(x)
    alpha = np.diff(w, axis=1) / h
    # log(1 + small) keeps segments that are short against their distance
    turn = np.log1p(np.diff(w, axis=1) / w[:, :-1]) / alpha
    slope = np.diff(y) / h
    total = (y[:-1] * turn + slope * (h - w[:, :-1] * turn) / alpha).imag.sum(axis=1)
    if continued:
        total += y[0] * np.arctan2(-w[:, 0].imag,
                                   -w[:, 0].real) + y[-1] * np.arctan2(-w[:, -1].imag,
                                                                       w[:, -1].real)
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


def voigt(x, y, out_x, hwhm, sigma, continued=True):
    """Quadrature in pieces much shorter than the widths; continued ends reach out to 1e7 widths."""
    points, weights = np.polynomial.legendre.leggauss(20)
    if continued:
        reach = (np.ptp(x) + hwhm.max() + sigma.max()) * np.geomspace(1e-3, 1e7, 200)
        x, y = np.r_[x[0] - reach[::-1], x, x[-1] + reach], np.r_[np.full(200, y[0]), y,
                                                                  np.full(200, y[-1])]
    pieces = 12
    edges = np.interp(np.arange((len(x) - 1) * pieces + 1) / pieces, np.arange(len(x)), x)
    half = np.diff(edges)[:, None] / 2
    nodes = ((edges[1:] + edges[:-1])[:, None] / 2 + half * points).ravel()
    values = np.interp(nodes, x, y) * (half * weights).ravel()
    return np.array([values @ voigt_profile(nodes - e, s, g)
                     for e, g, s in zip(out_x, hwhm, sigma, strict=True)])


def exponential_gaussian(delay, lifetime, sigma, t0=0.0):
    """(m, k) response; the two branches of the textbook formula."""
    b = (np.asarray(delay)[:, None] - t0) / sigma
    a = sigma / np.atleast_1d(lifetime)[None, :]
    z = (a - b) / np.sqrt(2)
    early = np.exp(-b * b / 2) * erfcx(np.maximum(z, 0)) / 2
    late = np.exp(np.minimum(a * a / 2 - a * b, 0)) * erfc(np.minimum(z, 0)) / 2
    return np.where(z > 0, early, late)
