"""Phonons as phonopy writes them: its parameters with forces or force constants, and its tables of eigenvectors.

phonopy's eigenvectors e belong to exp(2πi q·r) with the position r of the atom, so that
pattern_k = e_k exp(2πi q·τ_k) / sqrt(m_k) in this project's convention, with τ_k the fractional position.
"""

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perovskite_polaron.errors import InputError, MissingExtraError
from perovskite_polaron.files import read_text
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.phonons.modes import PhononModes
from perovskite_polaron.units import BOHR_ANGSTROM, MEV_PER_THZ


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Return a YAML file that holds a mapping; InputError with file and line when it does not."""
    try:
        import yaml
    except ImportError:
        raise MissingExtraError("PyYAML", "phonons") from None
    text = read_text(path, "phonopy file")
    try:
        document = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        raise InputError(
            f"{path}{line}: this is not YAML ({getattr(error, 'problem', error)}): write it again"
        ) from None
    if not isinstance(document, dict):
        raise InputError(f"{path}:1: this is no phonopy file: a mapping of keys belongs here")
    return document


def modes_from_table(
    path: str | Path, document: dict[str, Any], crystal: Crystal | None = None, masses_amu: ArrayLike | None = None
) -> tuple[PhononModes, ...]:
    """Return the modes in a band.yaml, mesh.yaml or qpoints.yaml, one set for each wave vector.

    crystal, masses_amu  needed for qpoints.yaml, which holds neither; the others carry their own cell

    These tables do not say their unit of length: it is Å, or bohr where the crystal given has the lattice only then
    (phonopy counts in bohr for Quantum ESPRESSO, Abinit and others). Without a crystal it is taken as Å.
    Raises InputError for missing eigenvectors, another number of atoms, NaN, a truncated file, a missing crystal.
    """
    points = document.get("phonon")
    try:
        n = int(document["natom"])
        if document.get("points"):
            crystal = _cell(document, Path(path).name, crystal)
            masses = np.array([float(p["mass"]) for p in document["points"]])
        elif crystal is None:
            raise InputError(f"{path} holds no crystal: give the phonopy.yaml or the structure it was computed for")
        else:
            masses = np.array(crystal.masses_amu if masses_amu is None else masses_amu, dtype=np.float64)
        if not isinstance(points, list) or len(points) != int(document.get("nqpoint", len(points or ()))):
            raise InputError(
                f"{path} is truncated: it announces {document.get('nqpoint')} wave vectors; write it again"
            )
        if len(crystal) != n:
            raise InputError(
                f"{path} has {n} atoms, {crystal.label} has {len(crystal)}: give the primitive cell it is for"
            )
        if "reciprocal_lattice" in document:
            _same_lattice(path, crystal, np.array(document["reciprocal_lattice"], dtype=np.float64))
        return tuple(_point(path, crystal, masses, point) for point in points)
    except KeyError as error:
        raise InputError(
            f"{path} lacks the key {error}: it is truncated or no table of phonopy; write it again"
        ) from None
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(f"{path} is damaged ({error}): write it again") from None


def modes_from_parameters(
    path: str | Path,
    q: ArrayLike = (0.0, 0.0, 0.0),
    axis: ArrayLike | None = None,
) -> PhononModes:
    """Return the modes at q of a phonopy_params.yaml or phonopy.yaml, through the phonopy library.

    Forces or force constants stand in the file, or beside it as FORCE_SETS, FORCE_CONSTANTS or
    force_constants.hdf5; Born charges in the file or beside it as BORN.
    q     (3,) in reciprocal-lattice coordinates of phonopy's primitive cell (the unit cell if that is as small)
    axis  (3,) direction [u v w] in the lattice vectors of the file's unit cell along which q → 0, or None for no
          non-analytic term at Γ

    Where phonopy's primitive cell is the unit cell with its axes permuted, the unit cell is used as it stands.
    Raises MissingExtraError without phonopy, InputError for missing forces, or an axis without Born charges.
    """
    phonopy = _load(path)
    if axis is not None and phonopy.nac_params is None:
        raise InputError(
            f"{path} has no Born charges, so the direction of q has no effect: put a BORN file beside it, or leave"
            " the direction out"
        )
    from phonopy.interface.calculator import get_calculator_physical_units

    to_A = float(get_calculator_physical_units(phonopy.calculator).distance_to_A)
    cell = phonopy.primitive
    crystal = Crystal(cell.cell * to_A, tuple(cell.symbols), cell.scaled_positions, Path(path).name)
    masses = np.array(cell.masses, dtype=np.float64)
    direction = None if axis is None else np.asarray(axis, dtype=np.float64) @ (phonopy.unitcell.cell * to_A)
    q = np.asarray(q, dtype=np.float64)
    along = None
    if direction is not None and not q.any():
        # phonopy wants the direction in reciprocal coordinates of its primitive cell: q_i = a_i · d.
        along = crystal.lattice_A @ direction
    phonopy.run_qpoints([q], with_eigenvectors=True, nac_q_direction=along)
    found = phonopy.qpoints
    patterns = _patterns(crystal, masses, q, np.asarray(found.eigenvectors[0]).T)
    energies = np.asarray(found.frequencies[0]) * MEV_PER_THZ
    return PhononModes(
        crystal, masses, q, direction if along is not None else None, energies, patterns, Path(path).name
    )


def field_of_parameters(
    path: str | Path,
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """Return the unit cell (3, 3) of the file in Å, rows, and ε∞ (3, 3) and Born charges (n, 3, 3) or None for both.

    The charges, in e, field first, belong to the atoms of modes_from_parameters, whose cell may be smaller than the unit
    cell but has the same Cartesian axes. Errors as there.
    """
    from phonopy.interface.calculator import get_calculator_physical_units

    phonopy = _load(path)
    lattice = phonopy.unitcell.cell * float(get_calculator_physical_units(phonopy.calculator).distance_to_A)
    field = phonopy.nac_params
    if field is None:
        return lattice, None, None
    return lattice, np.array(field["dielectric"], dtype=np.float64), np.array(field["born"], dtype=np.float64)


def _load(path: str | Path) -> Any:
    try:
        import phonopy
    except ImportError:
        raise MissingExtraError("phonopy", "phonons") from None
    folder = Path(path).parent
    document = load_yaml(path)
    beside: dict[str, Any] = {}
    for name, keyword in (
        ("FORCE_CONSTANTS", "force_constants_filename"),
        ("force_constants.hdf5", "force_constants_filename"),
        ("FORCE_SETS", "force_sets_filename"),
        ("BORN", "born_filename"),
    ):
        if (folder / name).is_file() and keyword not in beside:
            beside[keyword] = folder / name
    inside = "force_constants" in document or "displacements" in document or "dataset" in document
    if not inside and len(set(beside) - {"born_filename"}) == 0:
        raise InputError(
            f"{path} holds no forces, and there is no FORCE_SETS, FORCE_CONSTANTS or force_constants.hdf5 beside it:"
            " put one there"
        )
    if "force_constants" in document:
        beside.pop("force_constants_filename", None)
    if "force_constants_filename" in beside or "force_constants" in document:
        beside.pop("force_sets_filename", None)
    matrix = np.array(document.get("primitive_matrix", np.eye(3)), dtype=np.float64)
    if abs(abs(np.linalg.det(matrix)) - 1) < 1e-6:
        beside["primitive_matrix"] = "P"
    # Left alone, phonopy takes a BORN file of the working directory, whatever crystal it is of.
    charges = "born_filename" in beside or "born_effective_charge" in document
    try:
        # phonopy prints what it reads; a library stays silent.
        with contextlib.redirect_stdout(io.StringIO()):
            loaded = phonopy.load(path, log_level=0, is_nac=charges, **beside)
            constants = loaded.force_constants
    except Exception as error:  # phonopy raises anything at all on a damaged file
        text = " ".join(str(error).split())
        raise InputError(
            f"phonopy cannot read {path} ({type(error).__name__}: {text}): write the files again"
        ) from None
    if constants is None:
        raise InputError(f"{path} gives phonopy no force constants: put FORCE_SETS or FORCE_CONSTANTS beside it")
    if not np.isfinite(constants).all():
        raise InputError(f"{path}: a force constant is not a finite number: compute the forces again")
    return loaded


def _cell(document: dict[str, Any], name: str, like: Crystal | None) -> Crystal:
    points = document["points"]
    lattice = np.array(document["lattice"], dtype=np.float64)
    if like is not None and _in_bohr(lattice, len(points), like):
        lattice = lattice * BOHR_ANGSTROM
    return Crystal(lattice, tuple(str(p["symbol"]) for p in points), np.array([p["coordinates"] for p in points]), name)


def _in_bohr(lattice: NDArray[np.float64], n: int, like: Crystal) -> bool:
    """Whether the volume of an atom fits that of the crystal in bohr better than in Å."""
    ratio = abs(np.linalg.det(lattice)) / n / (like.volume_A3 / len(like))
    return bool(abs(np.log(ratio * BOHR_ANGSTROM**3)) < abs(np.log(ratio)))


def _point(path: str | Path, crystal: Crystal, masses: NDArray[np.float64], point: dict[str, Any]) -> PhononModes:
    bands = point["band"]
    if any("eigenvector" not in band for band in bands):
        raise InputError(f"{path} has no eigenvectors: run phonopy again with EIGENVECTORS = .TRUE.")
    q = np.array(point["q-position"], dtype=np.float64)
    vectors = np.array([band["eigenvector"] for band in bands], dtype=np.float64)
    if vectors.shape != (len(bands), len(crystal), 3, 2):
        raise InputError(
            f"{path} has eigenvectors of shape {vectors.shape} at q = {q.tolist()}, not those of the {len(crystal)}"
            f" atoms of {crystal.label}: give the crystal it is for"
        )
    energies = np.array([band["frequency"] for band in bands], dtype=np.float64) * MEV_PER_THZ
    patterns = _patterns(crystal, masses, q, (vectors[..., 0] + 1j * vectors[..., 1]).reshape(len(bands), -1))
    return PhononModes(crystal, masses, q, None, energies, patterns, Path(path).name)


def _patterns(
    crystal: Crystal, masses: NDArray[np.float64], q: NDArray[np.float64], rows: NDArray[np.complex128]
) -> NDArray[np.complex128]:
    phase = np.exp(2j * np.pi * crystal.positions @ q) / np.sqrt(masses)
    return np.asarray(rows.reshape(len(rows), -1, 3) * phase[:, None])


def _same_lattice(path: str | Path, crystal: Crystal, reciprocal: NDArray[np.float64]) -> None:
    lattice = np.asarray(np.linalg.inv(reciprocal).T, dtype=np.float64)
    if _in_bohr(lattice, len(crystal), crystal):
        lattice = lattice * BOHR_ANGSTROM
    if np.abs(lattice - crystal.lattice_A).max() > 0.02 * np.linalg.norm(crystal.lattice_A, axis=1).max():
        mine, other = (" ".join(f"{v:.3f}" for v in np.linalg.norm(m, axis=1)) for m in (crystal.lattice_A, lattice))
        raise InputError(
            f"{path} is for a cell with vectors of {other} in its own axes, {crystal.label} has {mine} Å in its axes:"
            " give the primitive cell in the setting of the calculation"
        )
