"""Door to the geometry kernel: the octahedra of a whole sweep, without building its structures."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perovskite_polaron.arrays import floats
from perovskite_polaron.errors import InputError
from perovskite_polaron.kernels import check_threads, load


@dataclass(frozen=True, eq=False)
class Octahedra:
    """Geometry of s structures with b octahedra and k bridges.

    lengths_A         (s, b, 6) B-X lengths, Å
    offcentring_A     (s, b) distance of B from the centroid of its six X, Å
    length_variance_A2  (s, b) mean squared deviation of the six lengths from their mean, Å²
    elongation        (s, b) mean quadratic elongation
    angle_variance_deg2 (s, b) variance of the twelve cis X-B-X angles about 90°, divided by 11, degrees²
    tilts_deg         (s, b, 3) angle between each X-B-X axis and its pseudo-cubic axis, degrees
    angles_deg        (s, k) B-X-B angles, degrees
    """

    lengths_A: NDArray[np.float64]
    offcentring_A: NDArray[np.float64]
    length_variance_A2: NDArray[np.float64]
    elongation: NDArray[np.float64]
    angle_variance_deg2: NDArray[np.float64]
    tilts_deg: NDArray[np.float64]
    angles_deg: NDArray[np.float64]


def octahedra(
    bonds_A: ArrayLike,
    changes: ArrayLike,
    coefficients: ArrayLike,
    axes: ArrayLike,
    bridges: ArrayLike,
    threads: int = 1,
) -> Octahedra:
    """Return the geometry of every structure with bond vectors bonds_A + sum over m of coefficients[s, m]·changes[m].

    bonds_A (b, 6, 3) Å, B to X, ordered +1 −1 +2 −2 +3 −3 along the pseudo-cubic axes; changes (m, b, 6, 3) in
    1/sqrt(amu); coefficients (s, m) in Å·sqrt(amu); axes (3, 3), rows; bridges (k, 2) int, pairs of flat bond numbers
    6·b + ligand that end on one X (k may be 0). Quadratic elongation and angle variance: Robinson, Gibbs and Ribbe,
    Science 172, 567 (1971), with the octahedron's volume as that of the eight tetrahedra that share B.
    Bitwise independent of threads (≥ 1). Raises InputError for wrong shapes, empty input, NaN or infinity.
    """
    d = floats(bonds_A, "bonds_A", (None, 6, 3))
    p = floats(changes, "changes", (None, len(d), 6, 3))
    c = floats(coefficients, "coefficients", (None, len(p)))
    a = floats(axes, "axes", (3, 3))
    pairs = np.ascontiguousarray(bridges, dtype=np.intp).reshape(-1, 2)
    if pairs.size and (pairs.min() < 0 or pairs.max() >= 6 * len(d)):
        raise InputError(f"bridges must number bonds from 0 to {6 * len(d) - 1}")
    check_threads(threads)
    n, b = len(c), len(d)
    lengths, scalars, tilts = np.empty((n, b, 6)), np.empty((n, b, 4)), np.empty((n, b, 3))
    angles = np.empty((n, len(pairs)))
    load("geometry").octahedra(d, p, c, a, pairs, lengths, scalars, tilts, angles, threads)
    off, length_variance, elongation, angle_variance = np.moveaxis(scalars, 2, 0)
    return Octahedra(lengths, off, length_variance, elongation, angle_variance, tilts, angles)
