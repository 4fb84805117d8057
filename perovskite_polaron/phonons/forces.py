"""Force constants from the forces on symmetry-reduced displaced cells, through phonopy.

The cells are those of the crystal's own axes and atom order: phonopy is told not to look for a
smaller primitive cell, because the one it derives may have its axes permuted.

Forces come from any calculator of ASE, such as a machine-learned potential that ships its weights,
or from pw.x.
"""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TextIO

import numpy as np
from numpy.typing import ArrayLike

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import ComputationError, extra, require
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.phonons.symmetry import SYMPREC_A, operations

DISTANCE_A = 0.01
#: Anything that returns the forces (n, 3) in eV/Å on the atoms of each crystal.
Forces = Callable[[Sequence[Crystal]], Sequence[Array]]
MLIP_MODEL = "7net-0"
MLIP_NAME = "SevenNet-0 (11 July 2024), a machine-learned potential trained on PBE"
RELAX = ("none", "positions", "cell")
# ASE's BFGS begins with a stiffness of 70 eV/Å²; that of halide perovskites lies between 0.1 and 6.
_SOFT_EV_A2 = 3.0


@dataclass(frozen=True, eq=False)
class ForceConstants:
    """Second derivatives of the energy of a crystal whose cells move alike, sum rules enforced.

    Attributes
    ----------
    crystal : Crystal
        The crystal they are of.
    values_eV_A2 : (n, n, 3, 3) float64
        Force constants between an atom and all images of another, eV/Å².
    acoustic_residual_eV_A2 : float
        Largest |Σ_j Φ_ij| before it was removed; no alarm where the program takes the net force off
        by itself, as pw.x does.
    symmetry_residual_eV_A2 : float
        Largest change of Φ under an operation of the space group.
    reciprocity_residual_eV_A2 : float
        Largest |Φ_ij − Φ_jiᵀ| before it was removed: what an atom feels of the grid it moves on.
    """

    crystal: Crystal
    values_eV_A2: Array
    acoustic_residual_eV_A2: float
    symmetry_residual_eV_A2: float
    reciprocity_residual_eV_A2: float


def displaced_cells(crystal: Crystal, distance_A: float = DISTANCE_A) -> tuple[list[Crystal], Any]:
    """Return the symmetry-reduced displaced cells, and the Phonopy object that made them.

    The cells have the axes of the crystal.

    Only inequivalent atoms move, in as few directions as the site symmetry allows, and −u is added
    only where it is not the image of +u.

    Raises
    ------
    InputError
        For a distance that is above 0.5 Å or below ten times the symmetry tolerance.
    MissingExtraError
        Without phonopy.
    """
    require(10 * SYMPREC_A <= distance_A <= 0.5,
            f"a displacement of {distance_A:g} Å is not usable: give {10 * SYMPREC_A:g} to 0.5 Å")
    with extra("phonopy", "phonons"):
        from phonopy import Phonopy
        from phonopy.structure.atoms import PhonopyAtoms
    unit = PhonopyAtoms(symbols=list(crystal.species), cell=crystal.lattice_A,
                        scaled_positions=crystal.positions)
    phonon = Phonopy(unit, np.eye(3), primitive_matrix=np.eye(3), symprec=SYMPREC_A, log_level=0)
    phonon.generate_displacements(distance=distance_A)
    cells = phonon.supercells_with_displacements or ()
    lattice_A = np.array(phonon.supercell.cell, dtype=np.float64)
    moved = [Crystal(lattice_A, crystal.species, cell.scaled_positions, crystal.name)
             for cell in cells]
    return moved, phonon


def force_constants(crystal: Crystal, phonon: Any, forces: Sequence[ArrayLike]) -> ForceConstants:
    """Return the force constants from the forces (n, 3), eV/Å, on the displaced cells, in order.

    The permutation symmetry Φ_ij = Φ_jiᵀ and the acoustic sum rule are enforced by projection; how
    far the forces were from obeying them is kept.

    Parameters
    ----------
    crystal : Crystal
        The equilibrium structure.
    phonon : phonopy.Phonopy
        What displaced_cells returned with the cells.
    forces : sequence of (n, 3)
        eV/Å, in the order of the cells.

    Raises
    ------
    ComputationError
        For forces of a wrong number, shape or value.
    """
    wanted = len(phonon.displacements)
    arrays = [np.asarray(f, dtype=np.float64) for f in forces]
    if len(arrays) != wanted or any(f.shape != (len(crystal), 3) or not np.isfinite(f).all()
                                    for f in arrays):
        raise ComputationError(f"force constants need finite forces ({len(crystal)}, 3) on each of"
                               f" {wanted} displaced cells: calculate the missing ones")
    phonon.forces = np.array(arrays)
    phonon.produce_force_constants(show_drift=False)
    full = np.array(phonon.force_constants)
    acoustic, reciprocity = full.sum(axis=1), full - full.transpose(1, 0, 3, 2)
    # The symmetric part orthogonal to rigid translations: both conditions hold at once, exactly.
    full = (full + full.transpose(1, 0, 3, 2)) / 2
    rows = full.mean(axis=1, keepdims=True)
    full = full - rows - full.mean(axis=0, keepdims=True) + rows.mean(axis=0, keepdims=True)
    asymmetry = max(float(np.abs(full[np.ix_(o.place, o.place)]
                                 - o.rotation @ full @ o.rotation.T).max())
                    for o in operations(crystal))
    return ForceConstants(crystal, full, float(np.abs(acoustic).max()), asymmetry,
                          float(np.abs(reciprocity).max()))


def mlip_calculator() -> Any:
    """Return the machine-learned potential SevenNet-0 as a calculator of ASE, on the CPU.

    Its weights come with the package: nothing is downloaded. Raises MissingExtraError when sevenn
    is not installed.

    References
    ----------
    Park et al., J. Chem. Theory Comput. 20, 4857 (2024).
    """
    with extra("sevenn", "mlip"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it recommends accelerators for graphics cards
        import torch
        from sevenn.calculator import SevenNetCalculator

        # A cell of tens of atoms gains nothing from threads, and where cores are shared they wait
        # for each other.
        torch.set_num_threads(1)

        return SevenNetCalculator(MLIP_MODEL, device="cpu")


def ase_forces(calculator: Any, log: TextIO | None = None) -> Forces:
    """Return a source of forces from a calculator of ASE.

    The source raises ComputationError when the calculator fails on a crystal. log gets a line for
    each, with an estimate of the time left.
    """

    def forces(crystals: Sequence[Crystal]) -> list[Array]:
        found, begun = [], time.monotonic()
        for i, crystal in enumerate(crystals, 1):
            try:
                found.append(np.array(_atoms(crystal, calculator).get_forces(), dtype=np.float64))
            except Exception as error:  # calculators raise anything at all
                raise ComputationError(f"the calculator failed on displaced cell {i} of"
                                       f" {crystal.label} ({type(error).__name__}:"
                                       f" {error})") from None
            if log is not None:
                left = (time.monotonic() - begun) / i * (len(crystals) - i)
                log.write(f"forces on displaced cell {i} of {len(crystals)}, about {left:.0f} s"
                          " left\n")
        return found

    return forces


def relax(crystal: Crystal, calculator: Any, what: str, max_force_eV_A: float = 1e-4,
          max_steps: int = 300, log: Any = None) -> Crystal:
    """Return the equilibrium structure; space group, order, wrapping and orientation are kept.

    Parameters
    ----------
    crystal : Crystal
        Where to start.
    calculator : ase.calculators.calculator.Calculator
        Where forces come from.
    what : str
        "positions": in a fixed cell; "cell": with the cell free; "none": the crystal as it is.
    max_force_eV_A : float
        Largest force that is left and, with the cell free, stress times volume by atom.
    max_steps : int
        Steps of ASE's BFGS after which it is given up.
    log : text stream, optional
        Gets a line for each step.

    Raises
    ------
    InputError
        For another word.
    ComputationError
        When it does not converge.
    """
    if what == "none":
        return crystal
    require(what in RELAX, f"relaxation {what!r} is not known: use {', '.join(RELAX)}")
    from ase.constraints import FixSymmetry
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    atoms = _atoms(crystal, calculator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        atoms.set_constraint(FixSymmetry(atoms, symprec=SYMPREC_A, verbose=False))
        target: Any = FrechetCellFilter(atoms) if what == "cell" else atoms
        search = BFGS(target, logfile=log, alpha=_SOFT_EV_A2)
        converged = search.run(fmax=max_force_eV_A, steps=max_steps)
    if not converged:
        raise ComputationError(f"{crystal.label} was not relaxed in {max_steps} steps: start"
                               " nearer to equilibrium or leave out --relax")
    positions = atoms.get_scaled_positions(wrap=False)
    return replace(crystal, lattice_A=atoms.cell.array, positions=positions)


def _atoms(crystal: Crystal, calculator: Any) -> Any:
    from ase import Atoms

    return Atoms(crystal.species, scaled_positions=crystal.positions, cell=crystal.lattice_A,
                 pbc=True, calculator=calculator)
