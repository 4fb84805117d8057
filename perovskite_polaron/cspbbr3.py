"""The built-in phases of CsPbBr3.

Pbnm and Pnma are one structure in two settings: Stoumpos et al., Cryst. Growth Des. 13, 2722 (2013), 300 K,
COD 4510745.
Pm-3m: Cottingham and Brutchey, Chem. Mater. 30, 6711 (2018).
P4/mbm is a model, not a refinement: a cell from density-functional theory (a 8.1656, c 6.0171 Å) in which the octahedra
are rotated about c until the equatorial Pb-Br bond has the length measured in the orthorhombic phase, 2.964 Å (a tilt
of 13.1 degrees). Its axial Pb-Br is c/2 = 3.0086 Å.
"""

import math

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.crystal import Crystal

_PBNM_LATTICE_A = (8.1982, 8.2440, 11.7351)
_PBNM_ORBITS = {
    "Pb": [(0.0, 0.0, 0.0)],
    "Cs": [(0.00702, 0.5310, 0.25)],
    "Br": [(0.0455, 0.0037, 0.75), (0.20607, 0.29347, 0.47611)],
}
_P4MBM_A, _P4MBM_C = 8.1656, 6.0171
_P4MBM_EQUATORIAL_A = 2.964


def _pbnm_images(x: float, y: float, z: float) -> list[NDArray[np.float64]]:
    """Distinct images of a point under the eight operations of Pbnm, within the unit cell."""
    h = 0.5
    half = [(x, y, z), (h - x, h + y, z), (h + x, h - y, h + z), (-x, -y, h + z)]
    images: list[NDArray[np.float64]] = []
    for image in [*half, *[(-u, -v, -w) for u, v, w in half]]:
        point = np.mod(np.round(image, 12), 1.0)
        if not any(np.abs((point - other) - np.rint(point - other)).max() < 1e-6 for other in images):
            images.append(point)
    return images


def _pbnm_atoms() -> tuple[tuple[str, ...], NDArray[np.float64]]:
    pairs = [(s, p) for s, orbit in _PBNM_ORBITS.items() for first in orbit for p in _pbnm_images(*first)]
    return tuple(s for s, _ in pairs), np.array([p for _, p in pairs])


def pbnm() -> Crystal:
    """Orthorhombic, Pbnm setting (c is the long, axial direction), 20 atoms."""
    species, positions = _pbnm_atoms()
    return Crystal(np.diag(_PBNM_LATTICE_A), species, positions, "cspbbr3-pbnm")


def pnma() -> Crystal:
    """The same structure in the standard Pnma setting (b is the long direction), 20 atoms."""
    species, positions = _pbnm_atoms()
    order = [1, 2, 0]
    return Crystal(np.diag(np.take(_PBNM_LATTICE_A, order)), species, positions[:, order], "cspbbr3-pnma")


def p4mbm() -> Crystal:
    """Tetragonal model, 10 atoms (see the module's description for what is assumed)."""
    x = 0.25 - math.sqrt(((_P4MBM_EQUATORIAL_A / _P4MBM_A) ** 2 - 0.125) / 2)
    h = 0.5
    positions = [
        (0, 0, 0),
        (h, h, 0),
        (0, h, h),
        (h, 0, h),
        (0, 0, h),
        (h, h, h),
        (x, x + h, 0),
        (1 - x, h - x, 0),
        (h - x, x, 0),
        (x + h, 1 - x, 0),
    ]
    species = ("Pb",) * 2 + ("Cs",) * 2 + ("Br",) * 6
    return Crystal(np.diag([_P4MBM_A, _P4MBM_A, _P4MBM_C]), species, np.array(positions), "cspbbr3-p4mbm")


def pm3m() -> Crystal:
    """Cubic, 5 atoms."""
    h = 0.5
    positions = [(0, 0, 0), (h, h, h), (h, 0, 0), (0, h, 0), (0, 0, h)]
    return Crystal(5.871 * np.eye(3), ("Pb", "Cs", "Br", "Br", "Br"), np.array(positions), "cspbbr3-pm3m")


CRYSTALS = {"cspbbr3-pbnm": pbnm, "cspbbr3-pnma": pnma, "cspbbr3-p4mbm": p4mbm, "cspbbr3-pm3m": pm3m}
