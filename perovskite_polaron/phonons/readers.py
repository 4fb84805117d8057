"""The modes of a crystal with what belongs to them, from forces or from another program's file.

Formats are told by their content, and the crystal is checked. phonopy: ``phonopy_params.yaml``,
``phonopy.yaml``; ``band.yaml``, ``mesh.yaml``, ``qpoints.yaml`` with eigenvectors. Quantum
ESPRESSO: ``.dyn``; modes of matdyn.x and dynmat.x. Imaginary frequencies come out as negative
energies.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.files import read_text
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.lattice.matching import match
from perovskite_polaron.phonons.forces import DISTANCE_A, Forces, displaced_cells, force_constants
from perovskite_polaron.phonons.matdyn_files import read_dynamical_matrices, read_matdyn_modes
from perovskite_polaron.phonons.modes import Modes, diagonalise
from perovskite_polaron.phonons.phonopy_files import load_yaml, modes_from_table, read_parameters
from perovskite_polaron.phonons.response import (
    Response, axis_numbers, crystal_direction, neutral_response, non_analytic, phonon_modes,
    read_born)
from perovskite_polaron.phonons.symmetry import operations
from perovskite_polaron.units import HBAR2_PER_AMU_A2_EV

Direction = str | Sequence[float]
MASS_TOLERANCE = 0.02
_FORMATS = ("phonopy_params.yaml, band.yaml, mesh.yaml, qpoints.yaml, a .dyn file, or modes of"
            " matdyn.x or dynmat.x")
_DYN = "Dynamical matrix file"


@dataclass(frozen=True, eq=False)
class Calculation:
    """Modes at Γ with what belongs to them.

    Attributes
    ----------
    modes : Modes
        With the macroscopic field along the direction, if one was asked for.
    transverse : Modes or None
        The same crystal without that field; None where a file does not tell.
    response : Response or None
        Charges and ε∞.
    residuals : dict
        Sum rules as they were before they were enforced: name with unit -> value.
    """

    modes: Modes
    transverse: Modes | None
    response: Response | None
    residuals: dict[str, float]


class _Cell(NamedTuple):
    """The crystal of a calculation, as the user named it; alat_A is Quantum ESPRESSO's."""

    crystal: Crystal
    masses_amu: Array
    alat_A: float | None = None


def from_forces(crystal: Crystal, forces: Forces, direction: Direction | None = None,
                response: Response | None = None, distance_A: float = DISTANCE_A,
                provenance: str = "") -> Calculation:
    """Return the Γ modes of a crystal from the forces on its displaced cells.

    Parameters
    ----------
    crystal : Crystal
        The equilibrium structure.
    forces : callable
        Returns the forces (n, 3), eV/Å, on each of the crystals it is given.
    direction : str or (3,), optional
        As in response.crystal_direction. It needs a response, and that is asked for before any
        force.
    response : Response, optional
        Charges and ε∞.
    distance_A : float
        How far atoms are displaced.
    provenance : str
        Free text for the modes.
    """
    field = None
    if direction is not None:
        along = crystal_direction(crystal, direction)
        if response is None:
            raise InputError("the longitudinal modes along a direction need Born charges and ε∞ of"
                             f" {crystal.label}: give them with --born FILE, or leave --direction"
                             " out to see the transverse modes")
        field = response, along
    cells, phonon = displaced_cells(crystal, distance_A)
    constants = force_constants(crystal, phonon, forces(cells))
    transverse = phonon_modes(constants, provenance=provenance)
    modes = transverse if field is None else phonon_modes(constants, field, provenance)
    residuals = {"displaced_cells": float(len(cells)),
                 "acoustic_residual_eV_A2": constants.acoustic_residual_eV_A2,
                 "symmetry_residual_eV_A2": constants.symmetry_residual_eV_A2,
                 "reciprocity_residual_eV_A2": constants.reciprocity_residual_eV_A2}
    return Calculation(modes, transverse, response, residuals)


def from_file(path: str | Path, direction: Direction | None = None, born: str | Path | None = None,
              crystal: str | Path | None = None) -> Calculation:
    """Return the Γ modes in a file of phonopy or Quantum ESPRESSO.

    Parameters
    ----------
    path : str or path
        phonopy's parameters and .dyn files are diagonalised with the field of the direction; a file
        of modes has the field it was computed with, and the direction then says which.
    direction : str or (3,), optional
        In the axes of the crystal in the file (phonopy: of its unit cell), as in
        response.crystal_direction.
    born : str or path, optional
        A BORN file; it comes before the charges that the file itself may hold.
    crystal : str or path, optional
        For files without one, as in read_phonons.

    Raises
    ------
    InputError
        For missing charges with a direction, a file without Γ, and as read_phonons does.
    """
    path = Path(path)
    kind, document = _kind(path)
    if kind in ("modes", "table"):
        found = [m for m in _sets(path, kind, document, crystal, direction) if m.at_gamma]
        require(found, f"{path} holds no modes at the wave vector 0 0 0: give a file that does")
        response = None if born is None else read_born(born, found[0].crystal)
        return Calculation(found[0], None if direction is not None else found[0], response, {})
    if kind == "dyn":
        matrix = next((m for m in read_dynamical_matrices(path) if not m.q.any()), None)
        if matrix is None:
            raise InputError(f"{path} holds no modes at the wave vector 0 0 0: give the .dyn file"
                             " of Γ")
        transverse, lattice_A = matrix.modes(path.name), matrix.crystal.lattice_A
        epsilon, charges = matrix.epsilon_inf, matrix.born_charges
    else:
        transverse, lattice_A, epsilon, charges = read_parameters(path)
        if crystal is not None:
            _same_crystal(transverse, _cell_of(crystal), path)
    response = None
    if born is not None:
        response = read_born(born, transverse.crystal)
    elif epsilon is not None and charges is not None:
        response = neutral_response(transverse.crystal, epsilon, charges, str(path))
    if direction is None:
        return Calculation(transverse, transverse, response, {})
    if response is None:
        raise InputError("the longitudinal modes along a direction need Born charges, which"
                         f" {path} does not hold: give --born FILE")
    along = axis_numbers(direction) @ lattice_A
    return Calculation(_with_field(transverse, response, along / np.linalg.norm(along)), transverse,
                       response, {})


def read_phonons(path: str | Path, crystal: Crystal | str | Path | None = None,
                 direction: Direction | None = None) -> tuple[Modes, ...]:
    """Return the modes in a file of phonopy or Quantum ESPRESSO, one set for each wave vector.

    Parameters
    ----------
    path : str or path
        The file; of phonopy's parameters the modes at Γ.
    crystal : Crystal, str or path, optional
        Needed for qpoints.yaml and for modes of matdyn.x or dynmat.x, in the axes and the order of
        atoms of the calculation: a Crystal, a structure file, or best a .dyn file of the
        calculation, which also has the masses and alat. Without one, modes of matdyn.x and dynmat.x
        take the .dyn files in their folder, if these are of one crystal. Files that hold their
        crystal are checked against it (it may be another setting).
    direction : str or (3,), optional
        Along which q went to 0 when modes of matdyn.x or dynmat.x were computed, in the lattice
        vectors of the crystal.

    Raises
    ------
    InputError
        For an unknown format, a damaged file (with file and line), a crystal with another number of
        atoms, masses, lattice or setting, or a direction for a file that holds none.
    MissingExtraError
        When the file needs phonopy or PyYAML and it is not installed.
    """
    return _sets(Path(path), *_kind(Path(path)), crystal, direction)


def _sets(path: Path, kind: str, document: dict[str, Any], crystal: Crystal | str | Path | None,
          direction: Direction | None) -> tuple[Modes, ...]:
    cell = None if crystal is None else _cell_of(crystal)
    if kind == "modes":
        cell = cell or _of_matrix(_dynamical_matrix_beside(path))
        along = None if direction is None else crystal_direction(cell.crystal, direction)
        found = read_matdyn_modes(path, *cell, along)
    elif direction is not None:
        raise InputError(f"{path} holds modes as computed, a direction cannot be given to them:"
                         " leave it out, or give phonopy_params.yaml with Born charges")
    elif kind == "dyn":
        found = tuple(matrix.modes(path.name) for matrix in read_dynamical_matrices(path))
    elif kind == "table":
        found = modes_from_table(path, document, *(cell[:2] if cell else (None, None)))
    else:
        found = (read_parameters(path)[0],)
    without_crystal = kind == "modes" or (kind == "table" and not document.get("points"))
    for modes in found:
        if without_crystal:
            _fits(modes, path)
        elif cell is not None:
            _same_crystal(modes, cell, path)
    return found


def _kind(path: Path) -> tuple[str, dict[str, Any]]:
    """Which format a file has ("dyn", "modes", "table", "parameters"), and its content if YAML."""
    text = read_text(path, f"file of phonons ({_FORMATS})")
    if "Dynamical  Matrix in cartesian axes" in text or text.lstrip().startswith(_DYN):
        return "dyn", {}
    if "iagonalizing the dynamical matrix" in text[:4000]:
        return "modes", {}
    if path.suffix.lower() in (".yaml", ".yml"):
        document = load_yaml(path)
        if "phonon" in document:
            return "table", document
        if "unit_cell" in document or "primitive_cell" in document:
            return "parameters", document
        raise InputError(f"{path} is no phonopy file with modes (it is truncated, or another"
                         f" YAML): give {_FORMATS}")
    raise InputError(f"{path}:1: this is no file of phonons that is known here: give {_FORMATS}")


def _with_field(transverse: Modes, response: Response, along: Array) -> Modes:
    """Add the field to modes: its term is added to their dynamical matrix Σ ω² e e*."""
    crystal, masses = transverse.crystal, transverse.masses_amu
    energies_eV = transverse.energies_meV * 1e-3
    squares = np.sign(energies_eV) * energies_eV**2 / HBAR2_PER_AMU_A2_EV
    rows = transverse.weighted * np.sqrt(np.repeat(masses, 3))
    phi = np.einsum("m,mi,mj->ij", squares, rows, rows.conj())
    phi += non_analytic(crystal, response, along)
    return diagonalise(crystal, masses, phi, (0.0, 0.0, 0.0), along, transverse.provenance)


def _cell_of(crystal: Crystal | str | Path) -> _Cell:
    if isinstance(crystal, str | Path):
        if Path(crystal).is_file() and _is_dynamical_matrix(Path(crystal)):
            return _of_matrix(Path(crystal))
        crystal = read_crystal(crystal)
    return _Cell(crystal, crystal.masses_amu)


def _of_matrix(path: Path) -> _Cell:
    matrix = read_dynamical_matrices(path)[0]
    return _Cell(matrix.crystal, matrix.masses_amu, matrix.alat_A)


def _dynamical_matrix_beside(path: Path) -> Path:
    """Return a .dyn file in the folder of a file of modes; refuse none, or several crystals."""
    files = [p for p in sorted(path.parent.iterdir()) if p != path and p.is_file()]
    found = [p for p in files if _is_dynamical_matrix(p)]
    crystals = [_of_matrix(p).crystal for p in found]
    if not found or any(_differ(crystals[0], other) for other in crystals[1:]):
        there = "none is" if not found else f"the {len(found)} of several crystals are"
        raise InputError(f"{path} holds no crystal: give the .dyn file of the calculation (best;"
                         f" {there} beside it), or its structure file")
    return found[0]


def _is_dynamical_matrix(path: Path) -> bool:
    with open(path, "rb") as handle:
        return handle.read(len(_DYN) + 8).lstrip().startswith(_DYN.encode())


def _differ(one: Crystal, other: Crystal) -> bool:
    pairs = ((one.lattice_A, other.lattice_A), (one.positions, other.positions))
    return one.species != other.species or not all(np.allclose(a, b, atol=1e-6) for a, b in pairs)


def _same_crystal(modes: Modes, cell: _Cell, path: Path) -> None:
    """Refuse a crystal that is not, in any setting, the one in the file, or has other masses."""
    theirs = modes.masses_amu[match(cell.crystal, modes.crystal).atoms]
    wrong = np.abs(cell.masses_amu / theirs - 1)
    k = int(wrong.argmax())
    require(wrong[k] <= MASS_TOLERANCE, f"{path} was computed with a mass of {theirs[k]:.3f} amu"
            f" for {cell.crystal.species[k]} {k + 1}, {cell.crystal.label} has"
            f" {cell.masses_amu[k]:.3f}: give the masses of the calculation")


def _fits(modes: Modes, path: Path) -> None:
    """Refuse modes at Γ that have no rigid translation or not the symmetry of their crystal.

    That is how a file without a crystal shows that the atoms come in another order or the axes in
    another setting.
    """
    crystal, n = modes.crystal, len(modes.crystal)
    if not modes.at_gamma or len(modes) != 3 * n:
        return
    require(np.count_nonzero(modes.translation_share > 0.9) == 3,
            f"{path} has no three rigid translations with the masses and atoms of {crystal.label}:"
            " give the masses and the order of atoms of the calculation")
    strengths = np.sign(modes.energies_meV) * modes.energies_meV**2
    matrix = np.einsum("m,mi,mj->ij", strengths, modes.weighted, modes.weighted.conj())
    along = modes.direction
    for one in operations(crystal):
        if along is not None and abs(along @ one.rotation @ along) < 1 - 1e-6:
            continue
        moved = np.zeros((n, 3, n, 3))
        moved[one.place, :, np.arange(n), :] = one.rotation
        operation = moved.reshape(3 * n, 3 * n)
        if np.abs(operation @ matrix @ operation.T - matrix).max() > 0.02 * np.abs(matrix).max():
            how = "" if along is None else " for this direction"
            raise InputError(f"{path} does not have the symmetry of {crystal.label}{how}: axes,"
                             " setting or order of atoms are not those of the calculation, or q"
                             " went to 0 along a direction that must be given")
