"""The built-in phases of CsPbBr3.

Pbnm and Pnma are one structure in two settings: Stoumpos et al., Cryst. Growth Des. 13, 2722 (2013), 300 K,
COD 4510745.
Pm-3m: Cottingham and Brutchey, Chem. Mater. 30, 6711 (2018).
P4/mbm is a model, not a refinement: a cell from density-functional theory (a 8.1656, c 6.0171 Å) in which the octahedra
are rotated about c until the equatorial Pb-Br bond has the length measured in the orthorhombic phase, 2.964 Å (a tilt
of 13.1 degrees). Its axial Pb-Br is c/2 = 3.0086 Å.

Structure files: read through ASE, written here, because ASE's writers round to eight decimals or re-order atoms.
"""

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perovskite_polaron.arrays import floats
from perovskite_polaron.errors import InputError
from perovskite_polaron.files import read_text, write_atomically
from perovskite_polaron.lattice.crystal import Crystal

_PBNM_LATTICE_A = (8.1982, 8.2440, 11.7351)
_PBNM_ORBITS = {
    "Pb": [(0.0, 0.0, 0.0)],
    "Cs": [(0.00702, 0.5310, 0.25)],
    "Br": [(0.0455, 0.0037, 0.75), (0.20607, 0.29347, 0.47611)],
}
_P4MBM_A, _P4MBM_C = 8.1656, 6.0171
_P4MBM_EQUATORIAL_A = 2.964


def _pbnm_images(x: float, y: float, z: float) -> list[NDArray[np.float64]]:
    """Distinct images of a point under the eight operations of Pbnm, within the unit cell."""
    h = 0.5
    half = [(x, y, z), (h - x, h + y, z), (h + x, h - y, h + z), (-x, -y, h + z)]
    images: list[NDArray[np.float64]] = []
    for image in [*half, *[(-u, -v, -w) for u, v, w in half]]:
        point = np.mod(np.round(image, 12), 1.0)
        if not any(np.abs((point - other) - np.rint(point - other)).max() < 1e-6 for other in images):
            images.append(point)
    return images


def _pbnm_atoms() -> tuple[tuple[str, ...], NDArray[np.float64]]:
    pairs = [(s, p) for s, orbit in _PBNM_ORBITS.items() for first in orbit for p in _pbnm_images(*first)]
    return tuple(s for s, _ in pairs), np.array([p for _, p in pairs])


def pbnm() -> Crystal:
    """Orthorhombic, Pbnm setting (c is the long, axial direction), 20 atoms."""
    species, positions = _pbnm_atoms()
    return Crystal(np.diag(_PBNM_LATTICE_A), species, positions, "cspbbr3-pbnm")


def pnma() -> Crystal:
    """The same structure in the standard Pnma setting (b is the long direction), 20 atoms."""
    species, positions = _pbnm_atoms()
    order = [1, 2, 0]
    return Crystal(np.diag(np.take(_PBNM_LATTICE_A, order)), species, positions[:, order], "cspbbr3-pnma")


def p4mbm() -> Crystal:
    """Tetragonal model, 10 atoms (see the module's description for what is assumed)."""
    x = 0.25 - math.sqrt(((_P4MBM_EQUATORIAL_A / _P4MBM_A) ** 2 - 0.125) / 2)
    h = 0.5
    positions = [
        (0, 0, 0),
        (h, h, 0),
        (0, h, h),
        (h, 0, h),
        (0, 0, h),
        (h, h, h),
        (x, x + h, 0),
        (1 - x, h - x, 0),
        (h - x, x, 0),
        (x + h, 1 - x, 0),
    ]
    species = ("Pb",) * 2 + ("Cs",) * 2 + ("Br",) * 6
    return Crystal(np.diag([_P4MBM_A, _P4MBM_A, _P4MBM_C]), species, np.array(positions), "cspbbr3-p4mbm")


def pm3m() -> Crystal:
    """Cubic, 5 atoms."""
    h = 0.5
    positions = [(0, 0, 0), (h, h, h), (h, 0, 0), (0, h, 0), (0, 0, h)]
    return Crystal(5.871 * np.eye(3), ("Pb", "Cs", "Br", "Br", "Br"), np.array(positions), "cspbbr3-pm3m")


CRYSTALS = {"cspbbr3-pbnm": pbnm, "cspbbr3-pnma": pnma, "cspbbr3-p4mbm": p4mbm, "cspbbr3-pm3m": pm3m}



_PARENT = "polaron_parent_site"
_READERS = {
    ".cif": "cif",
    ".vasp": "vasp",
    ".poscar": "vasp",
    ".xyz": "extxyz",
    ".extxyz": "extxyz",
    ".xsf": "xsf",
    ".in": "espresso-in",
    ".pwi": "espresso-in",
    ".out": "espresso-out",
    ".pwo": "espresso-out",
}


def read_crystal(source: str | Path) -> Crystal:
    """Return a built-in crystal by name, or the crystal in a file: CIF, POSCAR/CONTCAR, extended
    XYZ, XSF, or pw.x input or output (its last structure).

    Raises InputError for a missing, empty or unreadable file, partial occupancy, no atoms, no lattice, zero volume or
    overlapping atoms.
    """
    if str(source) in CRYSTALS:
        return CRYSTALS[str(source)]()
    path = Path(source)
    read_text(
        path, "structure file (CIF, POSCAR, extxyz, XSF, pw.x input or output) or a built-in name like cspbbr3-pbnm"
    )
    kind = _kind(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ASE warns of harmless gaps in CIFs; what matters is checked below
            atoms, parents = _read_cif(path) if kind == "cif" else _read_other(path, kind)
            positions = atoms.get_scaled_positions(wrap=False) if atoms.cell.rank == 3 else None
    except InputError:
        raise
    except Exception as error:  # the parsers of ASE raise anything at all on a damaged file
        raise InputError(
            f"{path} cannot be read as {kind} ({type(error).__name__}: {error}): check the file and its extension"
        ) from None
    if len(atoms) == 0:
        raise InputError(f"{path} has no atoms: give a structure file with atomic positions")
    if positions is None:
        raise InputError(f"{path} has a cell of zero volume or none: a crystal needs three independent lattice vectors")
    return Crystal(atoms.cell.array, tuple(atoms.get_chemical_symbols()), positions, path.name, parents)


def write_crystal(crystal: Crystal, path: str | Path, displacement_A: ArrayLike | None = None) -> Path:
    """Write a crystal as .cif, .vasp (also POSCAR, CONTCAR), .xyz, .extxyz or .xsf, twelve decimals, order kept.

    displacement_A (n, 3), Cartesian Å, becomes the arrows of an XSF file or a column of an extended XYZ file.
    CIF and extended XYZ also keep the parent sites. Raises InputError for another extension.
    """
    path = Path(path)
    kind = _READERS.get(path.suffix.lower(), "vasp" if path.name.upper().startswith(("POSCAR", "CONTCAR")) else "")
    writers = {"cif": _cif, "vasp": _poscar, "extxyz": _extxyz, "xsf": _xsf}
    if kind not in writers:
        raise InputError(f"{path} has no extension this program writes: use .cif, .vasp, .extxyz or .xsf")
    arrows = None if displacement_A is None else floats(displacement_A, "displacement_A", (len(crystal), 3))
    return write_atomically(path, "\n".join(writers[kind](crystal, arrows)) + "\n")


def _kind(path: Path) -> str:
    if path.suffix.lower() in _READERS:
        return _READERS[path.suffix.lower()]
    if path.name.upper().startswith(("POSCAR", "CONTCAR")):
        return "vasp"
    raise InputError(
        f"{path} has an unknown extension: name it .cif, .vasp, .extxyz, .xsf, .in (pw.x input) or .out (pw.x output)"
    )


def _read_other(path: Path, kind: str) -> tuple[Any, tuple[str, ...] | None]:
    from ase.io import read as ase_read

    atoms: Any = ase_read(path, format=kind)
    parents = atoms.arrays.get(_PARENT)
    return atoms, None if parents is None else tuple(str(p) for p in parents)


def _read_cif(path: Path) -> tuple[Any, tuple[str, ...] | None]:
    from ase import Atoms
    from ase.io.cif import parse_cif

    blocks = [
        block for block in parse_cif(str(path)) if block.get("_atom_site_fract_x") or block.get("_atom_site_cartn_x")
    ]
    if not blocks:
        return Atoms(), None
    if len(blocks) > 1:
        raise InputError(f"{path} holds {len(blocks)} structures: keep one data block in the file")
    block = blocks[0]
    occupancy = block.get("_atom_site_occupancy") or []
    for label, value in zip(block.get("_atom_site_label") or range(1, len(occupancy) + 1), occupancy, strict=False):
        if value is not None and value != "?" and abs(float(str(value).split("(")[0]) - 1) > 1e-6:
            raise InputError(f"{path} has partial occupancy ({label}: {value}): give an ordered structure")
    if len(block.get_spacegroup(True).get_op()[0]) == 1:
        # No symmetry to apply: keep the listed order and wrapping, which ASE's expansion would change.
        parents = block.get(f"_atom_site_{_PARENT}")
        return block.get_unsymmetrized_structure(), None if parents is None else tuple(str(p) for p in parents)
    return block.get_atoms(), None


def _numbers(rows: NDArray[np.float64]) -> list[str]:
    return [" ".join(f"{v:18.12f}" for v in row) for row in rows]


def _title(crystal: Crystal) -> str:
    return " ".join(crystal.name.split()) or "crystal"


def _cif(crystal: Crystal, arrows: NDArray[np.float64] | None) -> list[str]:
    from ase.geometry import cell_to_cellpar

    cell = cell_to_cellpar(crystal.lattice_A)
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    block = "".join(c if c.isalnum() or c in "-_." else "_" for c in _title(crystal))
    columns = ["label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy"]
    parents = crystal.parent_sites
    if parents is not None:
        columns.append(_PARENT)
    rows = [
        f"{s}{i} {s} {x} 1.0" + ("" if parents is None else f" {parents[i - 1]}")
        for i, (s, x) in enumerate(zip(crystal.species, _numbers(crystal.positions), strict=True), 1)
    ]
    return [
        f"data_{block}",
        *[f"_cell_{n} {v:.12f}" for n, v in zip(names, cell, strict=True)],
        "_symmetry_space_group_name_H-M 'P 1'",
        "_symmetry_Int_Tables_number 1",
        "loop_",
        "_symmetry_equiv_pos_as_xyz",
        "'x, y, z'",
        "loop_",
        *[f"_atom_site_{c}" for c in columns],
        *rows,
    ]


def _poscar(crystal: Crystal, arrows: NDArray[np.float64] | None) -> list[str]:
    runs: list[list[Any]] = []
    for s in crystal.species:  # a symbol may come twice: that is how POSCAR keeps an order that mixes the species
        if runs and runs[-1][0] == s:
            runs[-1][1] += 1
        else:
            runs.append([s, 1])
    return [
        _title(crystal),
        "1.0",
        *_numbers(crystal.lattice_A),
        " ".join(s for s, _ in runs),
        " ".join(str(k) for _, k in runs),
        "Direct",
        *_numbers(crystal.positions),
    ]


def _extxyz(crystal: Crystal, arrows: NDArray[np.float64] | None) -> list[str]:
    lattice = " ".join(f"{v:.12f}" for v in crystal.lattice_A.ravel())
    columns = [crystal.species, _numbers(crystal.cartesian_A)]
    properties = "species:S:1:pos:R:3"
    if crystal.parent_sites is not None:
        columns.append(crystal.parent_sites)
        properties += f":{_PARENT}:S:1"
    if arrows is not None:
        columns.append(_numbers(arrows))
        properties += ":displacement:R:3"
    rows = [" ".join(row) for row in zip(*columns, strict=True)]
    return [str(len(crystal)), f'Lattice="{lattice}" Properties={properties} pbc="T T T"', *rows]


def _xsf(crystal: Crystal, arrows: NDArray[np.float64] | None) -> list[str]:
    from ase.data import atomic_numbers

    columns = [[str(atomic_numbers[s]) for s in crystal.species], _numbers(crystal.cartesian_A)]
    if arrows is not None:
        columns.append(_numbers(arrows))
    rows = [" ".join(row) for row in zip(*columns, strict=True)]
    return ["CRYSTAL", "PRIMVEC", *_numbers(crystal.lattice_A), "PRIMCOORD", f"{len(crystal)} 1", *rows]
