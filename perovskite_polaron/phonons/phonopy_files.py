"""Phonons as phonopy writes them: parameters with forces, and tables of eigenvectors.

phonopy's eigenvectors e belong to exp(2πi q·r) with the position r of the atom, so that pattern_k =
e_k exp(2πi q·τ_k) / √m_k in this project's convention, with τ_k the fractional position.
"""

import contextlib
import io
import re
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import InputError, extra, require
from perovskite_polaron.files import read_text
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.matching import commensurate
from perovskite_polaron.phonons.canonical import canonical_modes
from perovskite_polaron.phonons.modes import Modes
from perovskite_polaron.units import BOHR_ANGSTROM, MEV_PER_THZ

# What phonopy may find beside its parameters: the first of a kind is taken.
_BESIDE = (("FORCE_CONSTANTS", "force_constants_filename"),
           ("force_constants.hdf5", "force_constants_filename"),
           ("FORCE_SETS", "force_sets_filename"))
_DEEPEST = 20
_MOST_ATOMS = 20_000


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Return a YAML file that holds a mapping; InputError with file and line when it does not.

    phonopy writes no aliases and nests a dozen levels at most; what does is refused, before a small
    file has become a large object.
    """
    with extra("PyYAML", "phonons"):
        import yaml
    text, depth = read_text(path, "phonopy file"), 0
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        for event in yaml.parse(text, loader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            require(depth <= _DEEPEST and not isinstance(event, yaml.AliasEvent),
                    f"{path}:{event.start_mark.line + 1}: this is no phonopy file: it has an alias,"
                    " or is nested too deeply")
        document = yaml.load(text, loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", error)
        raise InputError(f"{path}{line}: this is not YAML ({problem}): write it again") from None
    except ValueError as error:  # a date or a number of 5000 digits
        raise InputError(f"{path} is damaged ({str(error)[:200]}): write it again") from None
    require(isinstance(document, dict),
            f"{path}:1: this is no phonopy file: a mapping of keys belongs here")
    return document


def modes_from_table(path: Path, document: dict[str, Any], crystal: Crystal | None,
                     masses_amu: Array | None, unit_meV: float = MEV_PER_THZ) -> tuple[Modes, ...]:
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
    unit_meV : float
        What the file counts frequencies in, which it does not say: THz unless phonopy was told
        otherwise.

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
                             " was computed for, with --crystal")
        announced = document.get("nqpoint", len(points or ()))
        if not isinstance(points, list) or len(points) != int(announced):
            raise InputError(f"{path} is truncated: it announces {announced} wave vectors; write"
                             " it again")
        require(len(crystal) == n, f"{path} has {n} atoms, {crystal.label} has {len(crystal)}: give"
                " the primitive cell it is for, with --crystal")
        if "reciprocal_lattice" in document:
            _same_lattice(path, crystal, np.array(document["reciprocal_lattice"], dtype=np.float64))
        return tuple(_point(path, crystal, masses_amu, point, unit_meV) for point in points)
    except KeyError as error:
        raise InputError(f"{path} lacks the key {error}: it is truncated or no table of phonopy;"
                         " write it again") from None
    except (TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise InputError(f"{path} is damaged ({str(error)[:200]}): write it again") from None


def cell_of(path: Path) -> tuple[Crystal, Array]:
    """Return the primitive cell that a phonopy.yaml describes, with its masses (n,) in amu."""
    document = load_yaml(path)
    try:
        unit = document.get("physical_unit", {}).get("length", "angstrom")
        require(unit.lower() == "angstrom", f"{path} counts lengths in {unit!r}: give the structure"
                " in another format")
        cell = document.get("primitive_cell") or document["unit_cell"]
        return _cell(cell, path.name, None), np.array([float(p["mass"]) for p in cell["points"]])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"{path} holds no cell ({error}): give a phonopy.yaml") from None


class Parameters(NamedTuple):
    """What phonopy's parameters say.

    Attributes
    ----------
    modes : Modes
        At Γ, without a macroscopic field, of phonopy's primitive cell; where that is the unit cell
        with its axes permuted, of the unit cell as it stands.
    lattice_A : (3, 3) float64
        Vectors of the unit cell, Å, in the same Cartesian axes.
    epsilon_inf : (3, 3) float64 or None
        High-frequency dielectric tensor, if the file holds it.
    born_e : (n, 3, 3) float64 or None
        Charges of the atoms of the modes, field first.
    forces : str
        Where the forces are from.
    """

    modes: Modes
    lattice_A: Array
    epsilon_inf: Array | None
    born_e: Array | None
    forces: str


def read_parameters(path: Path, document: dict[str, Any]) -> Parameters:
    """Return the modes at Γ of a phonopy_params.yaml or phonopy.yaml, and what else it says.

    Force constants in the file go first, then FORCE_CONSTANTS or force_constants.hdf5 beside it,
    then forces in the file, then FORCE_SETS beside it.

    Parameters
    ----------
    path, document
        The file, and what stands in it.

    Raises
    ------
    MissingExtraError
        Without phonopy.
    InputError
        For missing forces or a damaged file.
    """
    phonopy, forces = _load(path, document)
    crystal, to_A = _primitive(path, phonopy)
    masses = np.array(phonopy.primitive.masses, dtype=np.float64)
    modes, = _run_qpoints(path, phonopy, crystal, masses, np.zeros((1, 3)))
    # phonopy's own parser makes charges neutral and symmetric without a word, so it is not used.
    field = document.get("nac", document)
    tensors: list[Array | None] = []
    for key, shape in (("dielectric_constant", (3, 3)), ("born_effective_charge", (-1, 3, 3))):
        try:
            given = field.get(key)
            tensors.append(None if given is None else np.array(given, dtype=float).reshape(shape))
        except (AttributeError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{path} is damaged ({key}: {error}): write it again") from None
    return Parameters(modes, phonopy.unitcell.cell * to_A, tensors[0], tensors[1], forces)


def supercell_modes(path: Path, document: dict[str, Any]) -> tuple[Modes, ...]:
    """Return the modes at every wave vector that is periodic in the supercell of the forces.

    There they are exact: nothing is interpolated, and no macroscopic field is added. Errors as
    read_parameters.
    """
    phonopy, _ = _load(path, document)
    crystal, to_A = _primitive(path, phonopy)
    repeats = phonopy.supercell.cell * to_A @ np.linalg.inv(crystal.lattice_A)
    masses = np.array(phonopy.primitive.masses, dtype=np.float64)
    return _run_qpoints(path, phonopy, crystal, masses, commensurate(repeats))


def _primitive(path: Path, phonopy: Any) -> tuple[Crystal, float]:
    """Return phonopy's primitive cell, and its unit of length in Å."""
    from phonopy.interface.calculator import get_calculator_physical_units

    to_A = float(get_calculator_physical_units(phonopy.calculator).distance_to_A)
    cell = phonopy.primitive
    species = tuple(_element(str(symbol)) for symbol in cell.symbols)
    return Crystal(cell.cell * to_A, species, cell.scaled_positions, path.name), to_A


def _run_qpoints(path: Path, phonopy: Any, crystal: Crystal, masses: Array,
                 q: Array) -> tuple[Modes, ...]:
    phonopy.run_qpoints(q, with_eigenvectors=True)
    found = phonopy.qpoints
    return tuple(_modes(path, crystal, masses, one, np.asarray(vectors).T,
                        np.asarray(thz) * MEV_PER_THZ)
                 for one, vectors, thz in zip(q, found.eigenvectors, found.frequencies,
                                              strict=True))


def _load(path: Path, document: dict[str, Any]) -> tuple[Any, str]:
    """Return phonopy with force constants, and where these are from."""
    with extra("phonopy", "phonons"):
        import phonopy
    beside: dict[str, Any] = {}
    for name, keyword in _BESIDE:
        if (path.parent / name).is_file():
            beside.setdefault(keyword, (path.parent / name).absolute())
    inside = "force_constants" in document or "displacements" in document or "dataset" in document
    require(inside or beside, f"{path} holds no forces, and there is no FORCE_SETS, FORCE_CONSTANTS"
            " or force_constants.hdf5 beside it: put one there")
    if "force_constants" in document:
        beside.pop("force_constants_filename", None)
    if "force_constants_filename" in beside or "force_constants" in document:
        beside.pop("force_sets_filename", None)
    constants_beside = beside.get("force_constants_filename")
    said = ("force constants in it" if "force_constants" in document else
            f"{constants_beside.name} beside it" if constants_beside else
            "forces in it" if _has_forces(document.get("displacements")) else
            "FORCE_SETS beside it")
    limit = sys.getrecursionlimit()
    try:
        matrix = np.array(document.get("primitive_matrix", np.eye(3)), dtype=np.float64)
        if abs(abs(np.linalg.det(matrix)) - 1) < 1e-6:
            beside["primitive_matrix"] = "P"
        atoms = (document.get("unit_cell") or document["primitive_cell"])["points"]
        repeats = np.linalg.det(np.array(document["supercell_matrix"], dtype=np.float64))
        require(abs(repeats) * len(atoms) <= _MOST_ATOMS, f"{path} has a supercell of more than"
                f" {_MOST_ATOMS} atoms: write it again")
        parameters = _with_phonopys_units(path, document)
        # phonopy prints what it reads; a library stays silent. Left alone, it takes forces and
        # charges that lie in the working directory, whatever crystal they are of.
        with (contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as empty,
              contextlib.chdir(empty)):
            loaded = phonopy.load(parameters, log_level=0, is_nac=False, **beside)
        if "force_constants" in document:
            given = document["force_constants"]
            loaded.force_constants = np.reshape(given["elements"], (*given["shape"], 3, 3)).astype(
                np.float64)
        constants = loaded.force_constants
    except InputError:
        raise
    except Exception as error:  # phonopy raises anything at all on a damaged file
        text = " ".join(str(error).split())
        raise InputError(f"phonopy cannot read {path} ({type(error).__name__}: {text}): write the"
                         " files again") from None
    finally:
        sys.setrecursionlimit(limit)  # symfc, which phonopy imports, raises it beyond the stack
    if constants is None:
        raise InputError(f"{path} gives phonopy no force constants: put FORCE_SETS or"
                         " FORCE_CONSTANTS beside it")
    require(np.isfinite(constants).all(),
            f"{path}: a force constant is not a finite number: compute the forces again")
    return loaded, said


def _has_forces(displacements: Any) -> bool:
    """Whether displacements have their forces: one for each list of them, or for each atom."""
    while isinstance(displacements, list) and displacements:
        displacements = displacements[0]
    return isinstance(displacements, dict) and bool({"force", "forces"} & {*displacements})


def _with_phonopys_units(path: Path, document: dict[str, Any]) -> io.StringIO:
    """Return the file without its units, if they are those of its calculator in any letters.

    phonopy refuses the capital letters that it wrote itself in earlier versions. Force constants
    are left out, too: to read them twice takes long.
    """
    from phonopy.interface.calculator import get_calculator_physical_units

    header = document.get("phonopy") or {}
    calculator = header.get("calculator") or document.get("calculator")
    theirs = get_calculator_physical_units(calculator)
    for key, value in (document.get("physical_unit") or {}).items():
        wanted = getattr(theirs, f"{key}_unit", None)
        require(wanted is None or str(value).lower() == wanted.lower(), f"{path} counts {key} in"
                f" {value!r}, and {calculator or 'VASP'}, which it says computed the forces, in"
                f" {wanted!r}: give it the right calculator")
    text = read_text(path, "phonopy file") + "\n"
    return io.StringIO(re.sub(
        r"(?m)^(?:physical_unit|force_constants):.*\n(?:(?:[ \t#-].*)?\n)*", "", text))


def _cell(document: dict[str, Any], name: str, like: Crystal | None) -> Crystal:
    points = document["points"]
    lattice = np.array(document["lattice"], dtype=np.float64)
    if like is not None and _in_bohr(lattice, len(points), like):
        lattice = lattice * BOHR_ANGSTROM
    return Crystal(lattice, tuple(_element(str(p["symbol"])) for p in points),
                   np.array([p["coordinates"] for p in points]), name)


def _element(symbol: str) -> str:
    """The element of an extended symbol such as Br2, by which phonopy tells like atoms apart."""
    return symbol.rstrip("0123456789")


def _in_bohr(lattice: Array, n: int, like: Crystal) -> bool:
    """Whether the volume of an atom fits that of the crystal in bohr better than in Å."""
    ratio = abs(np.linalg.det(lattice)) / n / (like.volume_A3 / len(like))
    return bool(abs(np.log(ratio * BOHR_ANGSTROM**3)) < abs(np.log(ratio)))


def _point(path: Path, crystal: Crystal, masses: Array, point: dict[str, Any],
           unit_meV: float) -> Modes:
    bands = point["band"]
    require(all("eigenvector" in band for band in bands),
            f"{path} has no eigenvectors: run phonopy again with EIGENVECTORS = .TRUE.")
    q = np.array(point["q-position"], dtype=np.float64)
    vectors = np.array([band["eigenvector"] for band in bands], dtype=np.float64)
    require(vectors.shape == (len(bands), len(crystal), 3, 2),
            f"{path} has eigenvectors of shape {vectors.shape} at q = {q.tolist()}, not those of"
            f" the {len(crystal)} atoms of {crystal.label}: give the crystal it is for, with"
            " --crystal")
    rows = vectors[..., 0] + 1j * vectors[..., 1]
    return _modes(path, crystal, masses, q, rows,
                  np.array([band["frequency"] for band in bands], dtype=np.float64) * unit_meV)


def _modes(path: Path, crystal: Crystal, masses: Array, q: Array,
           rows: NDArray[np.complex128], energies_meV: Array) -> Modes:
    phase = np.exp(2j * np.pi * crystal.positions @ q) / np.sqrt(masses)
    patterns = rows.reshape(len(rows), -1, 3) * phase[:, None]
    return canonical_modes(crystal, masses, energies_meV, patterns, q, provenance=path.name)


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
                         " the setting of the calculation, with --crystal")
