"""Plain NumPy formulas of the heating kernels, the oracle of the tests."""

import numpy as np


def temperatures(enthalpy, knots):
    """Temperature at each enthalpy; knots (4, s) as in HeatTable."""
    kelvin, start, first, ramp = knots
    k = np.searchsorted(start, enthalpy, side="right") - 1
    excess = enthalpy - start[k]
    return kelvin[k] + 2 * excess / (first[k] + np.sqrt(first[k] ** 2 + 2 * ramp[k] * excess))


def heat(fluence, absorption, thickness, concentration, size, scale, heat_fraction, photon_scale,
         knots, start, start_enthalpy):
    """Thickness in the inverse unit of absorption; returns rise and photons."""
    energy = scale * fluence * -np.expm1(-absorption * thickness) / (thickness * concentration)
    return temperatures(start_enthalpy + heat_fraction * energy,
                        knots) - start, photon_scale * energy * size**3
