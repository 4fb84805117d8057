"""Which atoms of a crystal may be the anions X of a framework, and which belong to molecules."""

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import require
from perovskite_polaron.lattice.crystal import Crystal

ANIONS = ("F", "Cl", "Br", "I", "O", "S", "Se", "N")  # the halogens first
#: Elements that bind X in molecules; no B of a framework. Bonds are up to 1.2 of the radii.
MOLECULAR, _COVALENT = ("H", "B", "C", "N", "P", "S"), 1.2


def in_molecules(crystal: Crystal) -> NDArray[np.bool_]:
    """Which non-metals (n,) are bound as in molecules: to H, C, N, ..., or to their own kind."""
    from ase import Atoms
    from ase.data import covalent_radii
    from ase.neighborlist import neighbor_list

    atoms = Atoms(crystal.species, crystal.cartesian_A, cell=crystal.lattice_A, pbc=True)
    i, j = neighbor_list("ij", atoms, _COVALENT * covalent_radii[atoms.numbers])
    species, found = np.array(crystal.species), np.zeros(len(crystal), dtype=bool)
    molecular, anion = (np.isin(species, kind) for kind in (MOLECULAR, ANIONS))
    either = molecular[i] | molecular[j] | (species[i] == species[j])
    found[i[either & (molecular | anion)[i] & (molecular | anion)[j]]] = True
    return found


def common_anions(crystal: Crystal, species: list[str]) -> list[str]:
    """Return the commonest anion among some atoms; with the other halogens, if it is one."""
    found = [s for s in ANIONS if s in species]
    require(found, f"{crystal.label} holds no anion of a B-X framework ({', '.join(ANIONS)},"
            " outside of molecules): name X")
    common = max(found, key=species.count)
    return [s for s in found if s == common or {s, common} <= set(ANIONS[:4])]
