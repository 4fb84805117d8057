"""Points of the Brillouin zone: how many a cell needs, and what people call them."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perovskite_polaron.crystal import Crystal, Symmetry

_MATCH = 1e-4


def grid_for(crystal: Crystal, spacing_per_A: float = 0.55) -> tuple[int, int, int]:
    """Return the smallest k grid whose points are no further apart than this along each reciprocal vector, in 1/Å.

    The default (2π included) gives 2×2×2 for cubic CsPbBr3 and 2×2×1 for its 20-atom cell.
    """
    lengths = 2 * np.pi * np.linalg.norm(np.linalg.inv(crystal.lattice_A), axis=0)
    a, b, c = (int(n) for n in np.maximum(1, np.ceil(lengths / spacing_per_A - 1e-9)))
    return a, b, c


def kpoint_names(crystal: Crystal, symmetry: Symmetry, kpoints: ArrayLike) -> tuple[str, ...]:
    """Return the usual name of each k point (n, 3), such as Γ or R, or an empty text where it has none.

    kpoints: in the crystal's reciprocal vectors. The names are those of Setyawan and Curtarolo, Comput. Mater. Sci. 49,
    299 (2010), from ASE; a cell in which ASE knows no lattice has Γ only.
    Points that an operation of the crystal, time reversal or a reciprocal vector takes to the named one have its name.
    """
    from ase.cell import Cell

    try:
        named = Cell(crystal.lattice_A).bandpath(npoints=0).special_points
    except (RuntimeError, ValueError):
        named = {"G": np.zeros(3)}
    # x' = R x, so k' = k R⁻¹; the operations are a group, so R serves as well.
    operations = np.concatenate([symmetry.rotations, -symmetry.rotations])

    def name_of(k: NDArray[np.float64]) -> str:
        for name, point in named.items():
            apart = k @ operations - point
            if np.abs(apart - np.rint(apart)).max(axis=1).min() < _MATCH:
                return "Γ" if name == "G" else str(name)
        return ""

    return tuple(name_of(k) for k in np.asarray(kpoints, dtype=np.float64))
