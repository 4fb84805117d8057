"""A calculation of Γ modes, from forces or from another program's file: the modes, the charges, and what to know of them.

The door for files of other programs that hold phonons: tells the format by its content and checks the crystal.

phonopy: ``phonopy_params.yaml``, ``phonopy.yaml``; ``band.yaml``, ``mesh.yaml``, ``qpoints.yaml`` with eigenvectors.
Quantum ESPRESSO: ``.dyn``; modes of matdyn.x and dynmat.x. Imaginary frequencies come out as negative energies.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perovskite_polaron.errors import InputError
from perovskite_polaron.files import read_text
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.lattice.matching import match
from perovskite_polaron.phonons.forces import DISTANCE_A, Forces, displaced_cells, force_constants
from perovskite_polaron.phonons.matdyn_files import read_dynamical_matrices, read_matdyn_modes
from perovskite_polaron.phonons.modes import PhononModes, diagonalise
from perovskite_polaron.phonons.phonopy_files import (
    field_of_parameters,
    load_yaml,
    modes_from_parameters,
    modes_from_table,
)
from perovskite_polaron.phonons.response import (
    Response,
    axis_numbers,
    crystal_direction,
    neutral_response,
    non_analytic,
    phonon_modes,
    read_born,
)
from perovskite_polaron.phonons.symmetry import operations
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
            f"the longitudinal modes along a direction need Born charges and ε∞ of {crystal.label}: give them with"
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



MASS_TOLERANCE = 0.02
_FORMATS = "phonopy_params.yaml, band.yaml, mesh.yaml, qpoints.yaml, a .dyn file, or modes of matdyn.x or dynmat.x"


def read_phonons(
    path: str | Path,
    crystal: Crystal | str | Path | None = None,
    *,
    masses_amu: ArrayLike | None = None,
    alat_A: float | None = None,
    q: ArrayLike = (0.0, 0.0, 0.0),
    axis: ArrayLike | None = None,
) -> tuple[PhononModes, ...]:
    """Return the modes in a file of phonopy or Quantum ESPRESSO, one set for each wave vector it holds.

    crystal     needed for qpoints.yaml and for modes of matdyn.x or dynmat.x, in the axes and the order of atoms of the
                calculation: a Crystal, a structure file, or best a .dyn file of the calculation, which also has the
                masses and alat. Without one, modes of matdyn.x and dynmat.x take the .dyn files in their folder, if
                these are of one crystal. Files that hold their crystal are checked against it (it may be another
                setting).
    masses_amu  (n,) for files without; default: those of the .dyn file, or standard atomic masses
    alat_A      lattice parameter of Quantum ESPRESSO's input, Å, for q ≠ 0 in a file of modes
    q           (3,) wave vector for phonopy_params.yaml, which holds all of them
    axis        (3,) direction [u v w] in lattice vectors (phonopy: of its unit cell) along which q → 0. phonopy
                computes with it; for a file of modes it says how the file was computed; a .dyn file and phonopy's
                tables refuse it, as they hold no direction.

    Raises InputError for an unknown format, a damaged file (with file and line), or a crystal with another number of
    atoms, masses, lattice or setting; MissingExtraError when the file needs phonopy or PyYAML and it is not installed.
    """
    path = Path(path)
    text = read_text(path, f"file of phonons ({_FORMATS})")
    cell, masses, alat_A = _calculation(crystal, masses_amu, alat_A)
    head = text[:4000]
    if "iagonalizing the dynamical matrix" in head and "Dynamical  Matrix in cartesian axes" not in text:
        if cell is None:
            cell, masses, alat_A = _of_matrix(_dynamical_matrix_beside(path), masses, alat_A)
        along = None if axis is None else np.asarray(axis, dtype=np.float64) @ cell.lattice_A
        found = read_matdyn_modes(path, cell, masses, alat_A, along)
        for modes in found:
            _fits(modes, path)
        return found
    if "Dynamical  Matrix in cartesian axes" in text or head.lstrip().startswith("Dynamical matrix file"):
        _refuse_axis(path, axis)
        found = tuple(matrix.modes(path.name) for matrix in read_dynamical_matrices(path))
    elif path.suffix.lower() in (".yaml", ".yml"):
        document = load_yaml(path)
        if "phonon" in document:
            _refuse_axis(path, axis)
            found = modes_from_table(path, document, cell, masses)
            if not document.get("points"):
                for modes in found:
                    _fits(modes, path)
        elif "unit_cell" in document or "primitive_cell" in document:
            found = (modes_from_parameters(path, q, axis),)
        else:
            raise InputError(
                f"{path} is no phonopy file with modes (it is truncated, or another YAML): give {_FORMATS}"
            )
    else:
        raise InputError(f"{path}:1: this is no file of phonons that is known here: give {_FORMATS}")
    if cell is not None:
        for modes in found:
            _same_crystal(modes, cell, masses, path)
    return found


def _calculation(
    crystal: Crystal | str | Path | None, masses_amu: ArrayLike | None, alat_A: float | None
) -> tuple[Crystal | None, NDArray[np.float64] | None, float | None]:
    masses = None if masses_amu is None else np.asarray(masses_amu, dtype=np.float64)
    if crystal is None or isinstance(crystal, Crystal):
        return crystal, masses, alat_A
    if Path(crystal).is_file() and read_text(crystal, "crystal").lstrip().startswith("Dynamical matrix file"):
        return _of_matrix(Path(crystal), masses, alat_A)
    return read_crystal(str(crystal)), masses, alat_A


def _of_matrix(
    path: Path, masses: NDArray[np.float64] | None, alat_A: float | None
) -> tuple[Crystal, NDArray[np.float64], float]:
    matrix = read_dynamical_matrices(path)[0]
    return matrix.crystal, matrix.masses_amu if masses is None else masses, alat_A or matrix.alat_A


def _dynamical_matrix_beside(path: Path) -> Path:
    """Return a .dyn file in the folder of a file of modes; refuse none, or several that are not of one crystal."""
    found = [p for p in sorted(path.parent.iterdir()) if p != path and p.is_file() and _is_dynamical_matrix(p)]
    crystals = [read_dynamical_matrices(p)[0].crystal for p in found]
    if not found or any(_differ(crystals[0], other) for other in crystals[1:]):
        there = "none is" if not found else f"the {len(found)} of several crystals are"
        raise InputError(
            f"{path} holds no crystal: give the .dyn file of the calculation (best; {there} beside it), or its structure"
            " file"
        )
    return found[0]


def _is_dynamical_matrix(path: Path) -> bool:
    start = b"Dynamical matrix file"
    with open(path, "rb") as handle:
        return handle.read(len(start) + 8).lstrip().startswith(start)


def _differ(one: Crystal, other: Crystal) -> bool:
    return (
        one.species != other.species
        or not np.allclose(one.lattice_A, other.lattice_A, atol=1e-6)
        or not np.allclose(one.positions, other.positions, atol=1e-6)
    )


def _refuse_axis(path: Path, axis: ArrayLike | None) -> None:
    if axis is not None:
        raise InputError(
            f"{path} holds modes as computed, a direction cannot be given to them: leave it out, or give"
            " phonopy_params.yaml with Born charges"
        )


def _same_crystal(modes: PhononModes, crystal: Crystal, masses: NDArray[np.float64] | None, path: Path) -> None:
    """Refuse a crystal that is not, in any setting, the one in the file, or has other masses."""
    found = match(crystal, modes.crystal)
    mine = crystal.masses_amu if masses is None else masses
    wrong = np.abs(mine / modes.masses_amu[found.atoms] - 1)
    if wrong.max() > MASS_TOLERANCE:
        k = int(wrong.argmax())
        raise InputError(
            f"{path} was computed with a mass of {modes.masses_amu[found.atoms[k]]:.3f} amu for {crystal.species[k]}"
            f" {k + 1}, {crystal.label} has {mine[k]:.3f}: give the masses of the calculation"
        )


def _fits(modes: PhononModes, path: Path) -> None:
    """Refuse modes at Γ that, on this crystal, have no rigid translation or not the crystal's symmetry.

    That is how a file without a crystal shows that the atoms come in another order or the axes in another setting.
    """
    if not modes.at_gamma or len(modes) != 3 * len(modes.crystal):
        return
    label = modes.crystal.label
    if np.count_nonzero(modes.translation_share > 0.9) != 3:
        raise InputError(
            f"{path} has no three rigid translations with the masses and atoms of {label}: give the masses and the"
            " order of atoms of the calculation"
        )
    strengths = np.sign(modes.energies_meV) * modes.energies_meV**2
    matrix = np.einsum("m,mi,mj->ij", strengths, modes.weighted, modes.weighted.conj())
    crystal, n = modes.crystal, len(modes.crystal)
    for one in operations(crystal):
        if modes.direction is not None and abs(modes.direction @ one.rotation @ modes.direction) < 1 - 1e-6:
            continue
        moved = np.zeros((n, 3, n, 3))
        moved[one.place, :, np.arange(n), :] = one.rotation
        operation = moved.reshape(3 * n, 3 * n)
        if np.abs(operation @ matrix @ operation.T - matrix).max() > 0.02 * np.abs(matrix).max():
            how = "" if modes.direction is None else " for this direction"
            raise InputError(
                f"{path} does not have the symmetry of {label}{how}: axes, setting or order of atoms are not those of"
                " the calculation, or q went to 0 along a direction that must be given"
            )
