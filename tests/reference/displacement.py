"""NumPy reference implementation of the displacement kernel."""

import numpy as np


def displace(equilibrium_A, patterns, coefficients):
    return np.asarray(equilibrium_A) + np.einsum("sm,mni->sni", coefficients, patterns)
