"""Geometry of the octahedra of a whole sweep, without building its structures."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from perovskite_polaron.arrays import Array, floats
from perovskite_polaron.errors import require
from perovskite_polaron.kernels import share


@dataclass(frozen=True, eq=False)
class Octahedra:
    """Geometry of s structures with b octahedra and k bridges.

    Attributes
    ----------
    lengths_A
        (s, b, 6) B-X lengths, Å.
    offcentring_A
        (s, b) distance of B from the centroid of its six X, Å.
    length_variance_A2
        (s, b) mean squared deviation of the six lengths from their mean, Å².
    elongation
        (s, b) mean quadratic elongation.
    angle_variance_deg2
        (s, b) variance of the twelve cis X-B-X angles about 90°, divided by 11, degrees².
    tilts_deg
        (s, b, 3) angle between each X-B-X axis and its pseudo-cubic axis, degrees.
    angles_deg
        (s, k) B-X-B angles, degrees.
    """

    lengths_A: Array
    offcentring_A: Array
    length_variance_A2: Array
    elongation: Array
    angle_variance_deg2: Array
    tilts_deg: Array
    angles_deg: Array


def octahedra(bonds_A: ArrayLike, changes: ArrayLike, coefficients: ArrayLike, axes: ArrayLike,
              bridges: ArrayLike) -> Octahedra:
    """Return the geometry of every structure s of a sweep.

    Its bond vectors are bonds_A + sum over m of coefficients[s, m]·changes[m].

    Parameters
    ----------
    bonds_A
        (b, 6, 3) vectors from B to X, Å, ordered +1 −1 +2 −2 +3 −3 along the pseudo-cubic axes.
    changes
        (m, b, 6, 3), 1/sqrt(amu).
    coefficients
        (s, m), Å·sqrt(amu).
    axes
        (3, 3) pseudo-cubic axes, rows.
    bridges
        (k, 2) pairs of flat bond numbers 6·b + ligand that end on one X; k may be 0.

    Raises
    ------
    InputError
        For wrong shapes, empty input, NaN or infinity.

    References
    ----------
    Quadratic elongation and angle variance: Robinson, Gibbs and Ribbe, Science 172, 567 (1971),
    with the octahedron's volume as that of the eight tetrahedra that share B.
    """
    d = floats(bonds_A, "bonds_A", (None, 6, 3))
    p = floats(changes, "changes", (None, len(d), 6, 3))
    c = floats(coefficients, "coefficients", (None, len(p)))
    a = floats(axes, "axes", (3, 3))
    pairs = np.ascontiguousarray(bridges, dtype=np.intp).reshape(-1, 2)
    require(not pairs.size or (pairs.min() >= 0 and pairs.max() < 6 * len(d)),
            f"bridges must number bonds from 0 to {6 * len(d) - 1}")
    n, b = len(c), len(d)
    lengths, scalars, tilts = np.empty((n, b, 6)), np.empty((n, b, 4)), np.empty((n, b, 3))
    angles = np.empty((n, len(pairs)))
    given = d, p, c, a, pairs, lengths, scalars, tilts, angles
    share("geometry", "octahedra", given, n, 400.0 * b)
    off, variance, elongation, angle_variance = np.moveaxis(scalars, 2, 0)
    return Octahedra(lengths, off, variance, elongation, angle_variance, tilts, angles)
