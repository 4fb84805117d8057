"""Structure files: read through gemmi (CIF) and ASE, written here.

Other writers round or re-order atoms. The built-in phases of CsPbBr3 are CIF files of this package,
in whose comments stand their sources.
"""

import warnings
from collections.abc import Callable
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from perovskite_polaron.arrays import Array, floats
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.files import read_text, write_atomically
from perovskite_polaron.lattice.crystal import Crystal

CRYSTALS = ("cspbbr3-pbnm", "cspbbr3-pnma", "cspbbr3-p4mbm", "cspbbr3-pm3m")
"""Names of the built-in crystals."""
_PARENT = "polaron_parent_site"
_READERS = {".cif": "cif", ".vasp": "vasp", ".poscar": "vasp", ".xyz": "extxyz",
            ".extxyz": "extxyz", ".xsf": "xsf", ".in": "espresso-in", ".pwi": "espresso-in",
            ".out": "espresso-out", ".pwo": "espresso-out"}
FORMATS = ("cif", "vasp", "extxyz", "xsf")
"""Formats that are written."""
STRUCTURE_SUFFIXES = tuple(s for s, kind in _READERS.items() if kind != "espresso-out")
"""Extensions of files that hold a structure and nothing else; an output of pw.x looks like one of
dynmat.x."""


def read_crystal(source: str | Path) -> Crystal:
    """Return a built-in crystal by name, or the crystal in a file.

    Parameters
    ----------
    source : str or path
        One of CRYSTALS, or a CIF, POSCAR or CONTCAR, extended XYZ, XSF, or pw.x input or output
        (its last structure).

    Raises
    ------
    InputError
        For a missing, empty or unreadable file, partial occupancy, no atoms, no lattice, zero
        volume or overlapping atoms.
    """
    if str(source) in CRYSTALS:
        file = resources.files("perovskite_polaron") / "data" / "crystals" / f"{source}.cif"
        with resources.as_file(file) as path:
            return _read_cif(path, str(source))
    path = Path(source)
    read_text(path, "structure file (CIF, POSCAR, extxyz, XSF, pw.x input or output) or a built-in"
                    " name like cspbbr3-pbnm")
    kind = _kind(path)
    require(kind, f"{path} has an unknown extension: name it .cif, .vasp, .extxyz, .xsf, .in (pw.x"
            " input) or .out (pw.x output)")
    try:
        return _read_cif(path, path.name) if kind == "cif" else _read_other(path, kind)
    except InputError:
        raise
    except Exception as error:  # parsers raise anything at all on a damaged file
        text = " ".join(str(error).split())
        raise InputError(f"{path} cannot be read as {kind} ({type(error).__name__}: {text}): check"
                         " the file and its extension") from None


def write_crystal(crystal: Crystal, path: str | Path,
                  displacement_A: ArrayLike | None = None) -> Path:
    """Write a crystal to a structure file with twelve decimals, its order kept.

    Parameters
    ----------
    crystal : Crystal
        CIF and extended XYZ also keep its parent sites.
    path : str or path
        Its name says the format: .cif, .vasp, POSCAR, CONTCAR, .xyz, .extxyz or .xsf.
    displacement_A : (n, 3), optional
        Cartesian, Å: the arrows of an XSF file, or a column of an extended XYZ file.

    Raises
    ------
    InputError
        For another extension.
    """
    path = Path(path)
    require(_kind(path) in _WRITERS,
            f"{path} has no extension this program writes: use .cif, .vasp, .extxyz or .xsf")
    arrows = None
    if displacement_A is not None:
        arrows = floats(displacement_A, "displacement_A", (len(crystal), 3))
    return write_atomically(path, "\n".join(_WRITERS[_kind(path)](crystal, arrows)) + "\n")


def _kind(path: Path) -> str:
    """The format that the name of a file says, or nothing."""
    return _READERS.get(path.suffix.lower(),
                        "vasp" if path.name.upper().startswith(("POSCAR", "CONTCAR")) else "")


def _read_other(path: Path, kind: str) -> Crystal:
    from ase.io import read as ase_read

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ASE warns of harmless gaps; what matters is checked here
        atoms: Any = ase_read(path, format=kind)
    require(len(atoms) > 0, f"{path} has no atoms: give a structure file with atomic positions")
    require(atoms.cell.rank == 3, f"{path} has a cell of zero volume or none: a crystal needs three"
            " independent lattice vectors")
    parents = atoms.arrays.get(_PARENT)
    return Crystal(atoms.cell.array, tuple(atoms.get_chemical_symbols()),
                   atoms.get_scaled_positions(wrap=False), path.name,
                   None if parents is None else tuple(map(str, parents)))


def _read_cif(path: Path, name: str) -> Crystal:
    import gemmi

    columns = ("_atom_site_fract_x", "_atom_site_cartn_x")
    blocks = [b for b in gemmi.cif.read(str(path)) if any(b.find_values(c) for c in columns)]
    require(blocks, f"{path} has no atoms: give a structure file with atomic positions")
    require(len(blocks) == 1,
            f"{path} holds {len(blocks)} structures: keep one data block in the file")
    structure = gemmi.make_small_structure_from_block(blocks[0])
    for site in structure.sites:
        require(abs(site.occ - 1) < 1e-6, f"{path} has partial occupancy ({site.label}:"
                f" {site.occ:g}): give an ordered structure")
    if structure.spacegroup is None or structure.spacegroup.number > 1 or len(structure.symops) > 1:
        # ASE applies the symmetry; a file without any is kept as listed, order and wrapping, which
        # that would change.
        return _read_other(path, "cif")
    parents = tuple(blocks[0].find_values(f"_atom_site_{_PARENT}"))
    lattice_A = np.array(structure.cell.orth.mat.tolist()).T + 0.0  # no zero is to be printed as -0
    return Crystal(lattice_A, tuple(s.element.name for s in structure.sites),
                   np.array([s.fract.tolist() for s in structure.sites]), name, parents or None)


def _numbers(rows: Array) -> list[str]:
    return [" ".join(f"{v:18.12f}" for v in row) for row in rows]


def _title(crystal: Crystal) -> str:
    return " ".join(crystal.name.split()) or "crystal"


def _cif(crystal: Crystal, arrows: Array | None) -> list[str]:
    from ase.geometry import cell_to_cellpar

    cell = cell_to_cellpar(crystal.lattice_A)
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    block = "".join(c if c.isalnum() or c in "-_." else "_" for c in _title(crystal))
    columns = ["label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy"]
    parents = crystal.parent_sites
    if parents is not None:
        columns.append(_PARENT)
    atoms = enumerate(zip(crystal.species, _numbers(crystal.positions), strict=True), 1)
    rows = [f"{s}{i} {s} {x} 1.0" + ("" if parents is None else f" {parents[i - 1]}")
            for i, (s, x) in atoms]
    return [f"data_{block}", *[f"_cell_{n} {v:.12f}" for n, v in zip(names, cell, strict=True)],
            "_symmetry_space_group_name_H-M 'P 1'", "_symmetry_Int_Tables_number 1", "loop_",
            "_symmetry_equiv_pos_as_xyz", "'x, y, z'", "loop_",
            *[f"_atom_site_{c}" for c in columns], *rows]


def _poscar(crystal: Crystal, arrows: Array | None) -> list[str]:
    # A symbol may come twice: that is how POSCAR keeps an order that mixes the species.
    runs = [(s, len(list(same))) for s, same in groupby(crystal.species)]
    return [_title(crystal), "1.0", *_numbers(crystal.lattice_A), " ".join(s for s, _ in runs),
            " ".join(str(k) for _, k in runs), "Direct", *_numbers(crystal.positions)]


def _extxyz(crystal: Crystal, arrows: Array | None) -> list[str]:
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


def _xsf(crystal: Crystal, arrows: Array | None) -> list[str]:
    from ase.data import atomic_numbers

    columns = [[str(atomic_numbers[s]) for s in crystal.species], _numbers(crystal.cartesian_A)]
    if arrows is not None:
        columns.append(_numbers(arrows))
    rows = [" ".join(row) for row in zip(*columns, strict=True)]
    return ["CRYSTAL", "PRIMVEC", *_numbers(crystal.lattice_A), "PRIMCOORD", f"{len(crystal)} 1",
            *rows]


_WRITERS: dict[str, Callable[[Crystal, Array | None], list[str]]] = {
    "cif": _cif, "vasp": _poscar, "extxyz": _extxyz, "xsf": _xsf}
