"""The modes of a crystal with what belongs to them, from forces or from another program's file.

Formats are told by their content, and the crystal is checked. phonopy: ``phonopy_params.yaml``,
``phonopy.yaml``; ``band.yaml``, ``mesh.yaml``, ``qpoints.yaml`` with eigenvectors. Quantum
ESPRESSO: ``.dyn`` and ``.dyn.xml``; modes of matdyn.x and dynmat.x. This project's own mode files
and built-in modes. Imaginary frequencies come out as negative energies.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import ComputationError, InputError, require
from perovskite_polaron.files import read_text
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.lattice.matching import match
from perovskite_polaron.phonons.canonical import canonical_modes
from perovskite_polaron.phonons.field import require_symmetry, with_field, without_field
from perovskite_polaron.phonons.forces import DISTANCE_A, Forces, displaced_cells, force_constants
from perovskite_polaron.phonons.matdyn_files import (
    TITLE, XML_ROOT, read_dynamical_matrices, read_matdyn_modes)
from perovskite_polaron.phonons.modes import BUILTIN, Modes, check_masses, read_mode_file
from perovskite_polaron.phonons.phonopy_files import (
    cell_of, load_yaml, modes_from_table, read_parameters, supercell_modes)
from perovskite_polaron.phonons.response import (
    Response, crystal_direction, neutral_response, phonon_modes, read_born, unit_vector)
from perovskite_polaron.units import UNITS

Direction = str | Sequence[float]
#: A BORN file, or what returns the charges of a crystal.
Charges = str | Path | Callable[[Crystal], Response]
_FORMATS = ("phonopy_params.yaml, band.yaml, mesh.yaml, qpoints.yaml, a .dyn or .dyn.xml file,"
            " modes of matdyn.x or dynmat.x, or a mode file of this project")


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
    reading : str
        How a file was understood, and what was assumed.
    """

    modes: Modes
    transverse: Modes | None
    response: Response | None
    residuals: dict[str, float]
    reading: str = ""


class _Cell(NamedTuple):
    """The crystal of a calculation, as the user named it; alat_A if a .dyn file describes it."""

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


def from_file(path: str | Path, direction: Direction | None = None, born: Charges | None = None,
              crystal: str | Path | None = None, frequency_unit: str = "THz") -> Calculation:
    """Return the Γ modes in a file of phonopy or Quantum ESPRESSO, or of this project.

    Parameters
    ----------
    path : str or path
        phonopy's parameters and .dyn files are diagonalised with the field of the direction; a file
        of modes has the field it was computed with, and the direction then says which. This
        project's own files, and the built-in names, say it themselves and take any direction if
        they hold charges and all modes.
    direction : str or (3,), optional
        In the axes of the crystal in the file (phonopy: of its unit cell), as in
        response.crystal_direction.
    born : str, path or callable, optional
        A BORN file, or what returns the charges of the crystal; it comes before the charges that
        the file itself may hold, and those before a BORN file beside phonopy's parameters.
    crystal : str or path, optional
        For files without one, as in read_phonons.
    frequency_unit : str
        A unit of energy in units.UNITS: of the tables of phonopy, which do not say it.

    Raises
    ------
    InputError
        For missing charges with a direction, a file without Γ, modes that lack the symmetry of
        their crystal or have another field than the direction makes, and as read_phonons does.
    """
    kind, document = _kind(path)
    if kind == "own":
        return _own(str(path), direction, born)
    path = Path(path)
    if kind in ("modes", "table"):
        return _as_computed(path, kind, document, direction, born, crystal, frequency_unit)
    if kind == "dyn":
        matrix = next((m for m in read_dynamical_matrices(path) if not m.q.any()), None)
        if matrix is None:
            raise InputError(f"{path} holds no modes at the wave vector 0 0 0: give the .dyn file"
                             " of Γ")
        transverse, lattice_A = matrix.modes(path.name), matrix.crystal.lattice_A
        epsilon, charges, what = matrix.epsilon_inf, matrix.born_charges, "dynamical matrix"
    else:
        transverse, lattice_A, epsilon, charges, forces = read_parameters(path, document)
        what = f"phonopy's parameters with the {forces}"
        if crystal is not None:
            _same_crystal(transverse, _cell_of(crystal), path)
        if charges is None and born is None and (path.parent / "BORN").is_file():
            born = path.parent / "BORN"
    response, reading = None, f"{path.name}: {what}, Γ"
    try:
        if born is not None:
            response = charges_of(born, transverse.crystal)
        elif epsilon is not None and charges is not None:
            response = neutral_response(transverse.crystal, epsilon, charges, str(path))
    except ComputationError as error:
        # Transverse modes need no charges.
        if direction is not None or born is not None:
            raise
        reading += f"; its charges are not used: {error}"
    if direction is None:
        return Calculation(transverse, transverse, response, {}, f"{reading}; no macroscopic field")
    if response is None:
        raise InputError("the longitudinal modes along a direction need Born charges, which"
                         f" {path} does not hold: give --born FILE")
    modes = with_field(transverse, response, unit_vector(lattice_A, direction))
    return Calculation(modes, transverse, response, {}, f"{reading}; with the macroscopic field of"
                       f" the charges of {response.source}")


def charges_of(born: Charges, crystal: Crystal) -> Response:
    """Return the charges of a crystal; errors as read_born."""
    return born(crystal) if callable(born) else read_born(born, crystal)


def _as_computed(path: Path, kind: str, document: dict[str, Any], direction: Direction | None,
                 born: Charges | None, crystal: str | Path | None, unit: str) -> Calculation:
    """The Γ modes in a file of modes, held to the direction and the charges that are given."""
    found = [m for m in _sets(path, kind, document, crystal, direction, unit) if m.at_gamma]
    require(found, f"{path} holds no modes at the wave vector 0 0 0: give a file that does")
    if kind == "table" and direction is not None:
        along = crystal_direction(found[0].crystal, direction)
        found = [replace(m, direction=along) for m in found]
    fitting, problem = [], None
    for modes in found:
        try:
            require_symmetry(modes, path)
            fitting.append(modes)
        except InputError as error:
            problem = error
    if not fitting:
        assert problem is not None
        raise problem
    modes = fitting[0]
    require(all(np.allclose(modes.energies_meV, m.energies_meV, atol=0.01) for m in fitting),
            f"{path} has several sets of modes at Γ, with the field of one direction each, and the"
            " symmetry does not tell which is meant: write qpoints.yaml for the one direction")
    response = None if born is None else charges_of(born, modes.crystal)
    transverse: Modes | None = modes
    if direction is not None:
        whole = response is not None and len(modes) == 3 * len(modes.crystal)
        transverse = without_field(modes, response, path) if response and whole else None
    counted = f"; frequencies in {unit} (assumed unless --frequency-unit says it)"
    field = "with" if direction is not None else "without"
    return Calculation(modes, transverse, response, {}, f"{path.name}: modes as computed, Γ"
                       f"{counted if kind == 'table' else ''}; {field} a macroscopic field")


def _own(source: str, direction: Direction | None, born: Charges | None) -> Calculation:
    """The modes in a file of this project, for another direction where charges and modes allow."""
    modes, charges, _ = read_mode_file(source)
    require(modes.at_gamma, f"{source} holds modes at another wave vector than 0 0 0: give a file"
            " of modes at Γ")
    response = None
    if born is not None:
        response = charges_of(born, modes.crystal)
    elif charges:
        try:
            response = replace(
                neutral_response(modes.crystal, charges["epsilon_inf"], charges["born_e"],
                                 str(charges.get("source", source))),
                residual=float(charges.get("residual_e", 0.0)))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{source} is a damaged mode file ({str(error)[:200]}): write it"
                             " again") from None
    along = None if direction is None else crystal_direction(modes.crystal, direction)
    n, transverse = len(modes.crystal), None
    if len(modes) == 3 * n - 3:
        modes = _with_translations(modes)
        transverse = modes
        if modes.direction is not None:
            transverse = None if response is None else without_field(modes, response, source)
    same = (along is None) == (modes.direction is None) and (
        along is None or modes.direction is None or abs(along @ modes.direction) > 1 - 1e-9)
    if not same:
        require(transverse is not None and (along is None or response is not None), f"{source}"
                f" holds {len(modes)} modes of {3 * n}{'' if response else ' and no charges'}: it"
                " has no other direction than that it was computed with; give that, or none")
        assert transverse is not None
        modes = transverse
        if along is not None and response is not None:
            modes = with_field(transverse, response, along)
    return Calculation(modes, transverse, response, {}, f"{source}: modes of this project, Γ")


def _with_translations(modes: Modes) -> Modes:
    """Add to all optical modes the rigid translations, which mode files leave out."""
    rigid = np.broadcast_to(np.eye(3)[:, None], (3, len(modes.crystal), 3))
    return canonical_modes(
        modes.crystal, modes.masses_amu, np.concatenate([np.zeros(3), modes.energies_meV]),
        np.concatenate([rigid, modes.patterns]), (0.0, 0.0, 0.0), modes.direction,
        modes.provenance)


def read_phonons(path: str | Path, crystal: Crystal | str | Path | None = None,
                 direction: Direction | None = None) -> tuple[Modes, ...]:
    """Return the modes in a file of phonopy or Quantum ESPRESSO, one set for each wave vector.

    Parameters
    ----------
    path : str or path
        The file; of phonopy's parameters the modes at Γ.
    crystal : Crystal, str or path, optional
        Needed for qpoints.yaml and for modes of matdyn.x or dynmat.x, in the axes and the order of
        atoms of the calculation: a Crystal, a structure file, or best the phonopy.yaml or a .dyn
        file of the calculation, which also has the masses and alat. Without one, modes of matdyn.x
        and dynmat.x take the .dyn files in their folder, if these are of one crystal. Files that
        hold their crystal are checked against it (it may be another setting).
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
    kind, document = _kind(path)
    if kind == "own":
        return (read_mode_file(path).modes,)
    require(direction is None or kind == "modes",
            f"{path} holds modes as computed, a direction cannot be given to them: leave it out, or"
            " give phonopy_params.yaml with Born charges")
    found = _sets(Path(path), kind, document, crystal, direction)
    if kind == "modes" or (kind == "table" and not document.get("points")):
        for modes in found:
            require_symmetry(modes, path)
    return found


def read_all_modes(path: str | Path, crystal: str | Path | None = None) -> tuple[Modes, ...]:
    """Return all modes of a source at every wave vector that it knows, without macroscopic field.

    Of phonopy's parameters these are the wave vectors that are periodic in the supercell of the
    forces; of other files those that they hold. At Γ a crystal that is one periodic cell feels no
    macroscopic field, so modes that were computed with one are taken without it where charges
    allow. Parameters and errors as read_phonons and from_file.
    """
    kind, document = _kind(path)
    if kind == "own":
        modes = read_mode_file(path)[0]
        if modes.at_gamma:
            return (from_file(path).modes,)
        groups = {tuple(np.round(q, 6).tolist()): np.abs(modes.q - q).max(axis=1) < 1e-6
                  for q in modes.q}
        return tuple(modes[rows] for rows in groups.values())
    if kind == "parameters":
        found = supercell_modes(Path(path), document)
        if crystal is not None:
            _same_crystal(found[0], _cell_of(crystal), Path(path))
        return found
    return read_phonons(path, crystal)


def _sets(path: Path, kind: str, document: dict[str, Any], crystal: Crystal | str | Path | None,
          direction: Direction | None, unit: str = "THz") -> tuple[Modes, ...]:
    cell = None if crystal is None else _cell_of(crystal)
    if kind == "modes":
        cell = cell or _cell_beside(path)
        along = None if direction is None else crystal_direction(cell.crystal, direction)
        return read_matdyn_modes(path, *cell, along)
    if kind == "dyn":
        found = tuple(matrix.modes(path.name) for matrix in read_dynamical_matrices(path))
    elif kind == "table":
        require(unit in UNITS["energy"], f"{unit!r} is not a unit of frequencies: use one of"
                f" {', '.join(UNITS['energy'])}")
        own, masses = cell[:2] if cell else (None, None)
        found = modes_from_table(path, document, own, masses, UNITS["energy"][unit] * 1e3)
    else:
        found = (read_parameters(path, document).modes,)
    if cell is not None and (kind != "table" or document.get("points")):
        for modes in found:
            _same_crystal(modes, cell, path)
    return found


def _kind(path: str | Path) -> tuple[str, dict[str, Any]]:
    """Which format a file has, and its content if it is YAML.

    "own", "dyn", "modes", "table" or "parameters".
    """
    if str(path) in BUILTIN:
        return "own", {}
    text = read_text(path, f"file of phonons ({_FORMATS})")
    head = text[:4000]
    if head.lstrip().startswith("{"):
        return "own", {}
    if "Dynamical  Matrix in cartesian axes" in text or _is_dynamical_matrix(head):
        return "dyn", {}
    if "iagonalizing the dynamical matrix" in head:
        return "modes", {}
    if Path(path).suffix.lower() in (".yaml", ".yml"):
        document = load_yaml(path)
        if "phonon" in document:
            return "table", document
        if "unit_cell" in document or "primitive_cell" in document:
            return "parameters", document
        raise InputError(f"{path} is no phonopy file with modes (it is truncated, or another"
                         f" YAML): give {_FORMATS}")
    raise InputError(f"{path}:1: this is no file of phonons that is known here: give {_FORMATS}")


def _cell_of(crystal: Crystal | str | Path) -> _Cell:
    if isinstance(crystal, str | Path):
        if Path(crystal).is_file() and _is_dynamical_matrix(_head(Path(crystal))):
            return _of_matrix(Path(crystal))
        if Path(crystal).suffix.lower() in (".yaml", ".yml"):
            return _Cell(*cell_of(Path(crystal)))
        crystal = read_crystal(crystal)
    return _Cell(crystal, crystal.masses_amu)


def _of_matrix(path: Path) -> _Cell:
    matrix = read_dynamical_matrices(path)[0]
    return _Cell(matrix.crystal, matrix.masses_amu, matrix.alat_A)


def _cell_beside(path: Path) -> _Cell:
    """Return the cell of the .dyn files beside a file of modes; refuse none, or several cells."""
    files = [p for p in sorted(path.parent.iterdir()) if p != path and p.is_file()]
    found = []
    for beside in files:
        with suppress(InputError):  # the force constants of q2r.x, say
            if _is_dynamical_matrix(_head(beside)):
                found.append(_of_matrix(beside))
    if not found or any(_differ(found[0].crystal, other.crystal) for other in found[1:]):
        there = "none is" if not found else f"the {len(found)} of several crystals are"
        raise InputError(f"{path} holds no crystal: give the .dyn file of the calculation (best;"
                         f" {there} beside it) or its structure file with --crystal")
    return found[0]


def _head(path: Path) -> str:
    with open(path, "rb") as handle:
        return handle.read(500).decode(errors="replace")


def _is_dynamical_matrix(head: str) -> bool:
    return head.lstrip().startswith(TITLE) or XML_ROOT in head[:500]


def _differ(one: Crystal, other: Crystal) -> bool:
    pairs = ((one.lattice_A, other.lattice_A), (one.positions, other.positions))
    return one.species != other.species or not all(np.allclose(a, b, atol=1e-6) for a, b in pairs)


def _same_crystal(modes: Modes, cell: _Cell, path: Path) -> None:
    """Refuse a crystal that is not, in any setting, the one in the file, or has other masses."""
    theirs = modes.masses_amu[match(cell.crystal, modes.crystal).atoms]
    calculated = None if cell.alat_A is None else cell.masses_amu
    check_masses(cell.crystal, theirs, f"the calculation of {path}", calculated)
