"""Phonons as phonopy writes them: parameters with forces, and tables of eigenvectors.

phonopy's eigenvectors e belong to exp(2πi q·r) with the position r of the atom, so that pattern_k =
e_k exp(2πi q·τ_k) / √m_k in this project's convention, with τ_k the fractional position.
"""

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import InputError, extra, require
from perovskite_polaron.files import read_text
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.phonons.modes import Modes, canonical_modes
from perovskite_polaron.units import BOHR_ANGSTROM, MEV_PER_THZ

# What phonopy may find beside its parameters: the first of a kind is taken.
_BESIDE = (("FORCE_CONSTANTS", "force_constants_filename"),
           ("force_constants.hdf5", "force_constants_filename"),
           ("FORCE_SETS", "force_sets_filename"), ("BORN", "born_filename"))


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Return a YAML file that holds a mapping; InputError with file and line when it does not."""
    with extra("PyYAML", "phonons"):
        import yaml
    text = read_text(path, "phonopy file")
    try:
        document = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", error)
        raise InputError(f"{path}{line}: this is not YAML ({problem}): write it again") from None
    require(isinstance(document, dict),
            f"{path}:1: this is no phonopy file: a mapping of keys belongs here")
    return document


def modes_from_table(path: Path, document: dict[str, Any], crystal: Crystal | None,
                     masses_amu: Array | None) -> tuple[Modes, ...]:
    """Return the modes in a band.yaml, mesh.yaml or qpoints.yaml, one set for each wave vector.

    Parameters
    ----------
    path : path
        The file.
    document : dict
        What stands in it.
    crystal : Crystal, optional
        Needed for qpoints.yaml; the others carry their own cell.
    masses_amu : (n,) float64, optional
        Needed with the crystal.

    Raises
    ------
    InputError
        For missing eigenvectors, another number of atoms, NaN, a truncated file, a missing crystal.

    Notes
    -----
    These tables do not say their unit of length: it is Å, or bohr where the crystal given has the
    lattice only then (phonopy counts in bohr for Quantum ESPRESSO, Abinit and others). Without a
    crystal it is taken as Å.
    """
    points = document.get("phonon")
    try:
        n = int(document["natom"])
        if document.get("points"):
            crystal = _cell(document, path.name, crystal)
            masses_amu = np.array([float(p["mass"]) for p in document["points"]])
        if crystal is None or masses_amu is None:
            raise InputError(f"{path} holds no crystal: give the phonopy.yaml or the structure it"
                             " was computed for")
        announced = document.get("nqpoint", len(points or ()))
        if not isinstance(points, list) or len(points) != int(announced):
            raise InputError(f"{path} is truncated: it announces {announced} wave vectors; write"
                             " it again")
        require(len(crystal) == n, f"{path} has {n} atoms, {crystal.label} has {len(crystal)}: give"
                " the primitive cell it is for")
        if "reciprocal_lattice" in document:
            _same_lattice(path, crystal, np.array(document["reciprocal_lattice"], dtype=np.float64))
        return tuple(_point(path, crystal, masses_amu, point) for point in points)
    except KeyError as error:
        raise InputError(f"{path} lacks the key {error}: it is truncated or no table of phonopy;"
                         " write it again") from None
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(f"{path} is damaged ({error}): write it again") from None


def read_parameters(path: Path) -> tuple[Modes, Array, Array | None, Array | None]:
    """Return the modes at Γ of a phonopy_params.yaml or phonopy.yaml, and what else it says.

    The modes are those without a macroscopic field.

    Forces or force constants stand in the file, or beside it as FORCE_SETS, FORCE_CONSTANTS or
    force_constants.hdf5; Born charges in the file or beside it as BORN.

    Returns
    -------
    modes : Modes
        Of phonopy's primitive cell; where that is the unit cell with its axes permuted, of the unit
        cell as it stands.
    lattice_A : (3, 3) float64
        Vectors of the unit cell, Å, in the same Cartesian axes.
    epsilon_inf : (3, 3) float64 or None
        High-frequency dielectric tensor.
    born_e : (n, 3, 3) float64 or None
        Charges of the atoms of the modes, field first.

    Raises
    ------
    MissingExtraError
        Without phonopy.
    InputError
        For missing forces or a damaged file.
    """
    phonopy = _load(path)
    from phonopy.interface.calculator import get_calculator_physical_units

    to_A = float(get_calculator_physical_units(phonopy.calculator).distance_to_A)
    cell = phonopy.primitive
    crystal = Crystal(cell.cell * to_A, tuple(cell.symbols), cell.scaled_positions, path.name)
    masses = np.array(cell.masses, dtype=np.float64)
    phonopy.run_qpoints([np.zeros(3)], with_eigenvectors=True)
    found = phonopy.qpoints
    rows, thz = np.asarray(found.eigenvectors[0]).T, np.asarray(found.frequencies[0])
    modes = _modes(path, crystal, masses, np.zeros(3), rows, thz)
    field = phonopy.nac_params
    tensors = (None, None) if field is None else (np.array(field["dielectric"]),
                                                  np.array(field["born"]))
    return modes, phonopy.unitcell.cell * to_A, *tensors


def _load(path: Path) -> Any:
    with extra("phonopy", "phonons"):
        import phonopy
    document = load_yaml(path)
    beside: dict[str, Any] = {}
    for name, keyword in _BESIDE:
        if (path.parent / name).is_file():
            beside.setdefault(keyword, path.parent / name)
    inside = "force_constants" in document or "displacements" in document or "dataset" in document
    require(inside or set(beside) - {"born_filename"}, f"{path} holds no forces, and there is no"
            " FORCE_SETS, FORCE_CONSTANTS or force_constants.hdf5 beside it: put one there")
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
        raise InputError(f"phonopy cannot read {path} ({type(error).__name__}: {text}): write the"
                         " files again") from None
    if constants is None:
        raise InputError(f"{path} gives phonopy no force constants: put FORCE_SETS or"
                         " FORCE_CONSTANTS beside it")
    require(np.isfinite(constants).all(),
            f"{path}: a force constant is not a finite number: compute the forces again")
    return loaded


def _cell(document: dict[str, Any], name: str, like: Crystal | None) -> Crystal:
    points = document["points"]
    lattice = np.array(document["lattice"], dtype=np.float64)
    if like is not None and _in_bohr(lattice, len(points), like):
        lattice = lattice * BOHR_ANGSTROM
    return Crystal(lattice, tuple(str(p["symbol"]) for p in points),
                   np.array([p["coordinates"] for p in points]), name)


def _in_bohr(lattice: Array, n: int, like: Crystal) -> bool:
    """Whether the volume of an atom fits that of the crystal in bohr better than in Å."""
    ratio = abs(np.linalg.det(lattice)) / n / (like.volume_A3 / len(like))
    return bool(abs(np.log(ratio * BOHR_ANGSTROM**3)) < abs(np.log(ratio)))


def _point(path: Path, crystal: Crystal, masses: Array, point: dict[str, Any]) -> Modes:
    bands = point["band"]
    require(all("eigenvector" in band for band in bands),
            f"{path} has no eigenvectors: run phonopy again with EIGENVECTORS = .TRUE.")
    q = np.array(point["q-position"], dtype=np.float64)
    vectors = np.array([band["eigenvector"] for band in bands], dtype=np.float64)
    require(vectors.shape == (len(bands), len(crystal), 3, 2),
            f"{path} has eigenvectors of shape {vectors.shape} at q = {q.tolist()}, not those of"
            f" the {len(crystal)} atoms of {crystal.label}: give the crystal it is for")
    rows = vectors[..., 0] + 1j * vectors[..., 1]
    return _modes(path, crystal, masses, q, rows,
                  np.array([band["frequency"] for band in bands], dtype=np.float64))


def _modes(path: Path, crystal: Crystal, masses: Array, q: Array,
           rows: NDArray[np.complex128], thz: Array) -> Modes:
    phase = np.exp(2j * np.pi * crystal.positions @ q) / np.sqrt(masses)
    patterns = rows.reshape(len(rows), -1, 3) * phase[:, None]
    return canonical_modes(crystal, masses, thz * MEV_PER_THZ, patterns, q, provenance=path.name)


def _same_lattice(path: Path, crystal: Crystal, reciprocal: Array) -> None:
    lattice = np.asarray(np.linalg.inv(reciprocal).T, dtype=np.float64)
    if _in_bohr(lattice, len(crystal), crystal):
        lattice = lattice * BOHR_ANGSTROM
    longest = np.linalg.norm(crystal.lattice_A, axis=1).max()
    if np.abs(lattice - crystal.lattice_A).max() > 0.02 * longest:
        mine, other = (" ".join(f"{v:.3f}" for v in np.linalg.norm(m, axis=1))
                       for m in (crystal.lattice_A, lattice))
        raise InputError(f"{path} is for a cell with vectors of {other} in its own axes,"
                         f" {crystal.label} has {mine} Å in its axes: give the primitive cell in"
                         " the setting of the calculation")
