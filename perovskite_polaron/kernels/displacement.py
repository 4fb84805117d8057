"""Door to the displacement kernel: positions of a whole sweep or thermal ensemble in one array."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perovskite_polaron.arrays import floats
from perovskite_polaron.kernels import check_threads, load, output


def displace(
    equilibrium_A: ArrayLike,
    patterns: ArrayLike,
    coefficients: ArrayLike,
    threads: int = 1,
    out: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return positions (s, n, 3) in Å: equilibrium_A + sum over m of coefficients[s, m]·patterns[m].

    equilibrium_A (n, 3) Å; patterns (m, n, 3) in 1/sqrt(amu); coefficients (s, m) in Å·sqrt(amu). A wave of q ≠ 0 or
    any phase is two real patterns, cosine and sine. The result is bitwise independent of threads (≥ 1).
    out, when given, is a C-contiguous writable float64 array (s, n, 3) to write into.
    Raises InputError for wrong shapes, empty input, NaN or infinity.
    """
    x = floats(equilibrium_A, "equilibrium_A", (None, 3))
    p = floats(patterns, "patterns", (None, len(x), 3))
    c = floats(coefficients, "coefficients", (None, len(p)))
    check_threads(threads)
    out = output(out, (len(c), *x.shape))
    load("displacement").displace(x.ravel(), p.reshape(len(p), -1), c, out.reshape(len(c), -1), threads)
    return out
