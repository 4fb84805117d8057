"""Where forces come from: any calculator of ASE, such as a machine-learned potential that ships its weights."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.crystal import Crystal
from perovskite_polaron.errors import ComputationError, InputError, MissingExtraError
from perovskite_polaron.phonons.finite_displacement import Forces
from perovskite_polaron.phonons.symmetry import SYMPREC_A

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
                    f"the calculator failed on displaced cell {i} of {crystal._label} ({type(error).__name__}: {error})"
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
            f"{crystal._label} did not come to rest in {max_steps} steps: start nearer to equilibrium or leave out --relax"
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
