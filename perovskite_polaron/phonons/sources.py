"""A calculation of Γ modes, from forces or from another program's file: the modes, the charges, and what to know of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.crystal import Crystal
from perovskite_polaron.errors import InputError
from perovskite_polaron.files import read_text
from perovskite_polaron.phonons.dynamics import axis_numbers, crystal_direction, non_analytic, phonon_modes
from perovskite_polaron.phonons.finite_displacement import DISTANCE_A, Forces, displaced_cells, force_constants
from perovskite_polaron.phonons.matdyn_files import read_dynamical_matrices
from perovskite_polaron.phonons.phonopy_files import field_of_parameters, load_yaml
from perovskite_polaron.phonons.readers import read_phonons
from perovskite_polaron.phonons.response import Response, neutral_response, read_born
from perovskite_polaron.phonons.spectrum import PhononModes, diagonalise
from perovskite_polaron.units import HBAR2_PER_AMU_A2_EV

Direction = str | Sequence[float]


@dataclass(frozen=True, eq=False)
class Calculation:
    """Modes at Γ with what belongs to them.

    modes       with the macroscopic field along the direction, if one was asked for
    transverse  the same crystal without that field, or None where a file does not tell
    response    charges and ε∞, or None
    residuals   sum rules as they were before they were enforced: name with unit -> value
    """

    modes: PhononModes
    transverse: PhononModes | None
    response: Response | None
    residuals: dict[str, float]


def from_forces(
    crystal: Crystal,
    forces: Forces,
    direction: Direction | None = None,
    response: Response | None = None,
    distance_A: float = DISTANCE_A,
    provenance: str = "",
) -> Calculation:
    """Return the Γ modes of a crystal from the forces on its displaced cells; errors as the steps raise them.

    direction  as dynamics.crystal_direction describes; it needs a response, and that is asked for before any force.
    """
    along = None if direction is None else crystal_direction(crystal, direction)
    if along is not None and response is None:
        raise InputError(
            f"the longitudinal modes along a direction need Born charges and ε∞ of {crystal._label}: give them with"
            " --born FILE, or leave --direction out to see the transverse modes"
        )
    cells, displacements = displaced_cells(crystal, distance_A)
    constants = force_constants(displacements, forces(cells))
    transverse = phonon_modes(constants, provenance=provenance)
    modes = transverse if along is None else phonon_modes(constants, (0, 0, 0), response, along, provenance=provenance)
    residuals = {
        "displaced_cells": float(len(cells)),
        "acoustic_residual_eV_A2": constants.acoustic_residual_eV_A2,
        "symmetry_residual_eV_A2": constants.symmetry_residual_eV_A2,
        "reciprocity_residual_eV_A2": constants.reciprocity_residual_eV_A2,
    }
    return Calculation(modes, transverse, response, residuals)


def from_file(
    path: str | Path,
    direction: Direction | None = None,
    born: str | Path | None = None,
    crystal: Crystal | str | Path | None = None,
) -> Calculation:
    """Return the Γ modes in a file of phonopy or Quantum ESPRESSO.

    direction  in the axes of the crystal in the file (phonopy: of its unit cell). phonopy's parameters and .dyn files
               are diagonalised with its field; a file of modes has the field it was computed with, and the direction
               then says which
    born       a BORN file; it comes before the charges that the file itself may hold
    crystal    for files without one, see readers.read_phonons
    Raises InputError for missing charges with a direction, a file without Γ, and as read_phonons does.
    """
    text = read_text(path, "file of phonons")
    if text.lstrip().startswith("Dynamical matrix file"):
        matrix = next((m for m in read_dynamical_matrices(path) if not m.q.any()), None)
        if matrix is None:
            raise InputError(f"{path} holds no modes at the wave vector 0 0 0: give the .dyn file of Γ")
        transverse, lattice_A = matrix.modes(Path(path).name), matrix.crystal.lattice_A
        field = matrix.epsilon_inf, matrix.born_charges
    elif Path(path).suffix.lower() in (".yaml", ".yml") and "phonon" not in load_yaml(path):
        transverse = read_phonons(path, crystal)[0]
        lattice_A, *field_arrays = field_of_parameters(path)
        field = field_arrays[0], field_arrays[1]
    else:
        axis = None if direction is None else axis_numbers(direction)
        found = [m for m in read_phonons(path, crystal, axis=axis) if m.at_gamma]
        if not found:
            raise InputError(f"{path} holds no modes at the wave vector 0 0 0: give a file that does")
        response = None if born is None else read_born(born, found[0].crystal)
        return Calculation(found[0], None if direction is not None else found[0], response, {})
    if born is not None:
        response = read_born(born, transverse.crystal)
    elif field[0] is not None and field[1] is not None:
        response = neutral_response(transverse.crystal, field[0], field[1], str(path))
    else:
        response = None
    if direction is None:
        return Calculation(transverse, transverse, response, {})
    if response is None:
        raise InputError(
            f"the longitudinal modes along a direction need Born charges, which {path} does not hold: give --born FILE"
        )
    along = axis_numbers(direction) @ lattice_A
    return Calculation(_with_field(transverse, response, along / np.linalg.norm(along)), transverse, response, {})


def _with_field(transverse: PhononModes, response: Response, along: NDArray[np.float64]) -> PhononModes:
    """Add the field to modes: their dynamical matrix is Σ ω² e e*, and the term of the field is added to it."""
    squares = np.sign(transverse.energies_meV) * (transverse.energies_meV * 1e-3) ** 2 / HBAR2_PER_AMU_A2_EV
    rows = transverse.weighted * np.sqrt(np.repeat(transverse.masses_amu, 3))
    phi = np.einsum("m,mi,mj->ij", squares, rows, rows.conj()) + non_analytic(transverse.crystal, response, along)
    return diagonalise(transverse.crystal, transverse.masses_amu, phi, transverse.q, along, transverse.provenance)
