"""Continued fractions in plain NumPy, complex numbers and one chain at a time."""

import numpy as np


def resolvent(chains, energy, hwhm):
    z = np.asarray(energy, float) + 1j * np.asarray(hwhm, float)
    out = np.zeros((chains.groups, len(z)), complex)
    for c, (first, last) in enumerate(zip(chains.start[:-1], chains.start[1:], strict=True)):
        g = np.zeros(len(z), complex)
        if chains.tail_b[c]:
            d = z - chains.tail_a[c]
            # The branch that decays at infinity and maps the upper half plane into the lower.
            root = np.sqrt(d - 2 * chains.tail_b[c]) * np.sqrt(d + 2 * chains.tail_b[c])
            g = 2 / (d + root)
        for j in range(last - 1, first - 1, -1):
            g = 1 / (z - chains.a[j] - chains.b[j] ** 2 * g)
        out[chains.group[c]] += chains.weight[c] * g
    return out


def cut_resolvent(chains, rays, fermi, energy, hwhm):
    energy, hwhm = np.asarray(energy, float), np.asarray(hwhm, float)
    u = energy - fermi
    ray = (u >= 0).astype(int)
    t, weighted = (rays.t_real + 1j * rays.t_imag)[ray], (rays.real + 1j * rays.imag)[ray]
    lorentzian = hwhm[:, None] / ((t - u[:, None]) ** 2 + hwhm[:, None] ** 2)
    empty = (u >= 0).astype(complex)
    if rays.thermal:
        empty = 0.5 + 0.5 * np.tanh((u + 1j * hwhm) / (2 * rays.thermal))
    return (
        (resolvent(chains, energy, hwhm) * empty).imag
        + (weighted * lorentzian[:, None, :]).imag.sum(axis=2).T
    )
