"""Positions of a whole sweep or thermal ensemble in one array."""

from numpy import empty
from numpy.typing import ArrayLike

from perovskite_polaron.arrays import Array, floats
from perovskite_polaron.kernels import share


def displace(equilibrium_A: ArrayLike, patterns: ArrayLike, coefficients: ArrayLike) -> Array:
    """Return equilibrium_A + sum over m of coefficients[s, m]·patterns[m] for every structure s.

    Parameters
    ----------
    equilibrium_A
        Positions (n, 3), Å.
    patterns
        Displacement patterns (m, n, 3), 1/sqrt(amu). A wave of q ≠ 0 or of any phase is two real
        patterns, cosine and sine.
    coefficients
        (s, m), Å·sqrt(amu).

    Returns
    -------
    numpy.ndarray
        Positions (s, n, 3), float64, Å.

    Raises
    ------
    InputError
        For wrong shapes, empty input, NaN or infinity.
    """
    x = floats(equilibrium_A, "equilibrium_A", (None, 3))
    p = floats(patterns, "patterns", (None, len(x), 3))
    c = floats(coefficients, "coefficients", (None, len(p)))
    out = empty((len(c), *x.shape))
    given = x.ravel(), p.reshape(len(p), -1), c, out.reshape(len(c), -1)
    share("displacement", "displace", given, len(c), 0.4 * p.size)
    return out
