"""Force constants from the forces on symmetry-reduced displaced cells, through phonopy.

The cells are those of the crystal's own axes and atom order: phonopy is told not to look for a smaller primitive cell,
because the one it derives may have its axes permuted.

Where forces come from: any calculator of ASE, such as a machine-learned potential that ships its weights.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perovskite_polaron.errors import ComputationError, InputError, MissingExtraError
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.phonons.symmetry import SYMPREC_A, operations

DISTANCE_A = 0.01
Forces = Callable[[Sequence[Crystal]], Sequence[NDArray[np.float64]]]
"""Anything that returns the forces (n, 3) in eV/Å on the atoms of each crystal."""


@dataclass(frozen=True, eq=False)
class Displacements:
    """Which atoms were displaced and how: what is needed to turn forces into force constants.

    crystal   the unit cell; repeats: the supercell is repeats[0] × repeats[1] × repeats[2] of it
    cells     (N, 3) int, unit cell of each atom of the supercell, and atoms (N,) int, its atom in the unit cell
    """

    crystal: Crystal
    repeats: tuple[int, int, int]
    supercell: Crystal
    atoms: NDArray[np.int64]
    cells: NDArray[np.int64]
    phonopy: Any


@dataclass(frozen=True, eq=False)
class ForceConstants:
    """Second derivatives of the energy of a supercell, with the sum rules enforced.

    crystal              the unit cell the supercell repeats
    atoms, cells         (N,), (N, 3) int: atom and unit cell of each atom of the supercell
    repeats              the supercell; waves that are periodic in it are exact
    values_eV_A2         (n, N, 3, 3) force constants between the atoms of cell 0 and all atoms, eV/Å²
    acoustic_residual    largest |Σ_j Φ_ij| before it was removed, eV/Å²; no alarm where the program takes the net force
                         off by itself, as pw.x does
    symmetry_residual    largest change of Φ under an operation of the space group, eV/Å²
    reciprocity_residual largest |Φ_ij − Φ_jiᵀ| before it was removed, eV/Å²: what an atom feels of the grid it moves on
    """

    crystal: Crystal
    atoms: NDArray[np.int64]
    cells: NDArray[np.int64]
    repeats: tuple[int, int, int]
    values_eV_A2: NDArray[np.float64]
    acoustic_residual_eV_A2: float
    symmetry_residual_eV_A2: float
    reciprocity_residual_eV_A2: float


def displaced_cells(
    crystal: Crystal, distance_A: float = DISTANCE_A, repeats: tuple[int, int, int] = (1, 1, 1)
) -> tuple[list[Crystal], Displacements]:
    """Return the symmetry-reduced displaced cells, and what force_constants needs to make use of their forces.

    Only inequivalent atoms move, in as few directions as the site symmetry allows, and −u is added only where it is not
    the image of +u. Cells have the axes of the crystal (or the repeats of them).
    Raises InputError for a distance that is not positive or below ten times the symmetry tolerance, MissingExtraError
    without phonopy.
    """
    if not 10 * SYMPREC_A <= distance_A <= 0.5:
        raise InputError(f"a displacement of {distance_A:g} Å is not usable: give {10 * SYMPREC_A:g} to 0.5 Å")
    try:
        from phonopy import Phonopy
        from phonopy.structure.atoms import PhonopyAtoms
    except ImportError:
        raise MissingExtraError("phonopy", "phonons") from None
    unit = PhonopyAtoms(symbols=list(crystal.species), cell=crystal.lattice_A, scaled_positions=crystal.positions)
    with warnings.catch_warnings():
        # phonopy warns that an anisotropic supercell has a lower point group; its displacements allow for that.
        warnings.simplefilter("ignore", UserWarning)
        phonon = Phonopy(unit, np.diag(repeats), primitive_matrix=np.eye(3), symprec=SYMPREC_A, log_level=0)
    phonon.generate_displacements(distance=distance_A)
    large = phonon.supercell
    lattice_A, positions = (np.array(x, dtype=np.float64) for x in (large.cell, large.scaled_positions))
    supercell = Crystal(lattice_A, tuple(large.symbols), positions, crystal.name)
    atoms = np.array([large.u2u_map[k] for k in large.s2u_map], dtype=np.int64)
    cells = np.rint(large.scaled_positions * repeats - crystal.positions[atoms]).astype(np.int64)
    # The order is phonopy's, and the forces must come back in it.
    moved = [supercell.with_positions(cell.scaled_positions) for cell in phonon.supercells_with_displacements or ()]
    return moved, Displacements(crystal, repeats, supercell, atoms, cells, phonon)


def force_constants(displacements: Displacements, forces: Sequence[ArrayLike]) -> ForceConstants:
    """Return the force constants from the forces (N, 3), eV/Å, on the displaced cells, in their order.

    The permutation symmetry Φ_ij = Φ_jiᵀ and the acoustic sum rule are enforced by projection; how far the forces were
    from obeying them is kept. Raises ComputationError for forces of a wrong number, shape or value.
    """
    phonon, n = displacements.phonopy, len(displacements.supercell)
    cells = len(phonon.displacements)
    arrays = [np.asarray(f, dtype=np.float64) for f in forces]
    if len(arrays) != cells or any(f.shape != (n, 3) or not np.isfinite(f).all() for f in arrays):
        raise ComputationError(
            f"force constants need finite forces ({n}, 3) on each of {cells} displaced cells: calculate the missing ones"
        )
    phonon.forces = np.array(arrays)
    phonon.produce_force_constants(show_drift=False)
    full = np.array(phonon.force_constants)
    residual = float(np.abs(full.sum(axis=1)).max())
    reciprocity = float(np.abs(full - full.transpose(1, 0, 3, 2)).max())
    full = _project(full)
    home = np.array([np.flatnonzero((displacements.atoms == k) & ~displacements.cells.any(axis=1))[0]
                     for k in range(len(displacements.crystal))])  # fmt: skip
    return ForceConstants(
        displacements.crystal,
        displacements.atoms,
        displacements.cells,
        displacements.repeats,
        full[home],
        residual,
        _symmetry_residual(displacements.supercell, full),
        reciprocity,
    )


def _project(full: NDArray[np.float64]) -> NDArray[np.float64]:
    """Symmetric part (N, N, 3, 3) orthogonal to rigid translations: both conditions hold at once, exactly."""
    full = (full + full.transpose(1, 0, 3, 2)) / 2
    rows = full.mean(axis=1, keepdims=True)
    return full - rows - full.mean(axis=0, keepdims=True) + rows.mean(axis=0, keepdims=True)


def _symmetry_residual(crystal: Crystal, full: NDArray[np.float64]) -> float:
    return max(
        float(np.abs(full[np.ix_(o.place, o.place)] - o.rotation @ full @ o.rotation.T).max())
        for o in operations(crystal)
    )



MLIP_MODEL = "7net-0"
MLIP_NAME = "SevenNet-0 (11 July 2024), a machine-learned potential trained on PBE"
_SOFT_EV_A2 = 3.0
RELAX = ("none", "positions", "cell")


def mlip_calculator() -> Any:
    """Return the machine-learned potential SevenNet-0 as a calculator of ASE, on the CPU.

    Its weights come with the package: nothing is downloaded. Park et al., J. Chem. Theory Comput. 20, 4857 (2024).
    Raises MissingExtraError when sevenn is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it recommends accelerators for graphics cards
            import torch
            from sevenn.calculator import SevenNetCalculator

            # A cell of tens of atoms gains nothing from threads, and where cores are shared they wait for each other.
            torch.set_num_threads(1)

            return SevenNetCalculator(MLIP_MODEL, device="cpu")
    except ImportError:
        raise MissingExtraError("sevenn", "mlip") from None


def ase_forces(calculator: Any) -> Forces:
    """Return a source of forces from a calculator of ASE.

    The source raises ComputationError when the calculator fails on a crystal.
    """

    def forces(crystals: Sequence[Crystal]) -> list[NDArray[np.float64]]:
        found = []
        for i, crystal in enumerate(crystals, 1):
            atoms = _atoms(crystal)
            atoms.calc = calculator
            try:
                found.append(np.array(atoms.get_forces(), dtype=np.float64))
            except Exception as error:  # calculators raise anything at all
                raise ComputationError(
                    f"the calculator failed on displaced cell {i} of {crystal.label} ({type(error).__name__}: {error})"
                ) from None
        return found

    return forces


def relax(
    crystal: Crystal, calculator: Any, what: str, max_force_eV_A: float = 1e-4, max_steps: int = 300, log: Any = None
) -> Crystal:
    """Return the crystal at rest: "positions" in a fixed cell, "cell" with the cell free; "none" leaves it.

    The space group is kept, and so are the order, wrapping and orientation of the crystal. At rest means that no force
    is above max_force_eV_A (and, with the cell free, no stress times volume, by atom). log: a text stream for a line
    each step. BFGS of ASE, which begins with a stiffness of 3 eV/Å²: that of halide perovskites lies between 0.1 and 6.
    Raises InputError for another word, ComputationError when it does not come to rest.
    """
    if what == "none":
        return crystal
    if what not in RELAX:
        raise InputError(f"relaxation {what!r} is not known: use {', '.join(RELAX)}")
    from ase.constraints import FixSymmetry
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    atoms = _atoms(crystal)
    atoms.calc = calculator
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        atoms.set_constraint(FixSymmetry(atoms, symprec=SYMPREC_A, verbose=False))
        target: Any = FrechetCellFilter(atoms) if what == "cell" else atoms
        converged = BFGS(target, logfile=log, alpha=_SOFT_EV_A2).run(fmax=max_force_eV_A, steps=max_steps)
    if not converged:
        raise ComputationError(
            f"{crystal.label} did not come to rest in {max_steps} steps: start nearer to equilibrium or leave out --relax"
        )
    return Crystal(
        atoms.cell.array,
        crystal.species,
        atoms.get_scaled_positions(wrap=False),
        crystal.name,
        crystal.parent_sites,
    )


def _atoms(crystal: Crystal) -> Any:
    from ase import Atoms

    return Atoms(crystal.species, scaled_positions=crystal.positions, cell=crystal.lattice_A, pbc=True)
