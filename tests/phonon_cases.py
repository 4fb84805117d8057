"""Crystals with forces for the tests of phonons: CsPbBr3 with stored force constants, rocksalt with
springs.
"""

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.phonons.forces import Forces
from perovskite_polaron.phonons.readers import Calculation, from_forces
from perovskite_polaron.phonons.response import assumed_response

DATA = Path(__file__).parent / "data" / "phonons"
ROTATION = np.linalg.qr(np.random.default_rng(5).standard_normal((3, 3)))[0]


def stored() -> tuple[Crystal, NDArray[np.float64]]:
    """CsPbBr3 relaxed with a machine-learned potential, and its force constants (20, 20, 3, 3)."""
    record = np.load(DATA / "cspbbr3-pbnm-sevennet0.npz")
    crystal = Crystal(record["lattice_A"], read_crystal("cspbbr3-pbnm").species,
                      record["positions"], "pbnm")
    matrix = np.zeros((60, 60))
    matrix[np.triu_indices(60)] = record["upper_eV_A2"]
    matrix = matrix + np.triu(matrix, 1).T
    return crystal, matrix.reshape(20, 3, 20, 3).transpose(0, 2, 1, 3)


def harmonic(rest: Crystal, phi: NDArray[np.float64]) -> Forces:
    """Forces −Φ u about the equilibrium structure."""

    def forces(crystals: list[Crystal]) -> list[NDArray[np.float64]]:
        found = []
        for crystal in crystals:
            delta = crystal.positions - rest.positions
            u = (delta - np.rint(delta)) @ rest.lattice_A
            found.append(-np.einsum("ijab,jb->ia", phi, u))
        return found

    return forces


def setting(name: str) -> tuple[Crystal, Forces, NDArray[np.float64], str]:
    """The same crystal in other axes: crystal, forces, rotation v → v @ rotation, and the name of
    its long axis."""
    crystal, phi = stored()
    lattice, positions, long = crystal.lattice_A, crystal.positions, "c"
    rotation = np.eye(3)
    if name == "Pnma":
        order = [1, 2, 0]
        rotation = np.eye(3)[:, order]
        lattice, positions, long = lattice[order] @ rotation, positions[:, order], "b"
    elif name == "rotated":
        rotation = ROTATION * np.linalg.det(ROTATION)
        lattice = lattice @ rotation
    turned = Crystal(lattice, crystal.species, positions, name)
    return turned, harmonic(turned,
                            np.einsum("ca,ijcd,db->ijab", rotation, phi, rotation)), rotation, long


@cache
def longitudinal(name: str, direction: str | None = None) -> Calculation:
    """Modes of CsPbBr3 with the field of a direction, by default that of the long axis."""
    crystal, forces, _, long = setting(name)
    return from_forces(crystal, forces, direction or long, assumed_response(crystal))


def springs(rest: Crystal, stiffness: float = 2.0, reach_A: float = 3.4) -> Forces:
    """Central springs between an atom and every atom nearer than the reach, periodic images
    included."""
    phi = np.zeros((len(rest), len(rest), 3, 3))
    shifts = np.array(np.meshgrid(*[(-1, 0, 1)] * 3)).reshape(3, -1).T
    for i in range(len(rest)):
        for j in range(len(rest)):
            for r in (rest.positions[j] + shifts - rest.positions[i]) @ rest.lattice_A:
                if 0 < (d := np.linalg.norm(r)) < reach_A:
                    k = stiffness * (np.outer(r, r) / d**2 + 0.1 * np.eye(3))
                    phi[i, j] -= k
                    phi[i, i] += k
    return harmonic(rest, phi)


def rocksalt() -> Crystal:
    h = 0.5
    na = [(0, 0, 0), (0, h, h), (h, 0, h), (h, h, 0)]
    return Crystal(5.69 * np.eye(3), ("Na",) * 4 + ("Cl",) * 4,
                   np.array(na + [(x + h, y, z) for x, y, z in na]) % 1, "NaCl")
