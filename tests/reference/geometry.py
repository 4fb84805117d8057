"""NumPy reference implementation of the geometry kernel; the octahedron's volume by its convex
hull, independently of the kernel.
"""

from itertools import combinations

import numpy as np
from scipy.spatial import ConvexHull


def angle_deg(a, b):
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b))


def octahedron(d, axes):
    lengths = np.linalg.norm(d, axis=1)
    cis = [(i, j) for i, j in combinations(range(6), 2) if i // 2 != j // 2]
    side = (0.75 * ConvexHull(d).volume) ** (1 / 3)
    return {
        "lengths_A": lengths,
        "offcentring_A": np.linalg.norm(d.mean(axis=0)),
        "length_variance_A2": lengths.var(),
        "elongation": np.mean(lengths**2) / side**2,
        "angle_variance_deg2": sum((angle_deg(d[i], d[j]) - 90) ** 2 for i, j in cis) / 11,
        "tilts_deg": np.array([angle_deg(d[2 * k] - d[2 * k + 1], axes[k]) for k in range(3)]),
    }


def octahedra(bonds_A, changes, coefficients, axes, bridges):
    vectors = bonds_A + np.einsum("sm,mbli->sbli", coefficients, changes)
    rows = [[octahedron(d, axes) for d in structure] for structure in vectors]
    result = {key: np.array([[o[key] for o in row] for row in rows]) for key in rows[0][0]}
    flat = vectors.reshape(len(vectors), -1, 3)
    result["angles_deg"] = np.array([[angle_deg(v[i], v[j]) for i, j in bridges] for v in flat])
    return result
