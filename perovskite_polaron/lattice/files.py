"""Structure files: read through gemmi (CIF) and ASE, written here.

Other writers round or re-order atoms. The built-in phases of CsPbBr3 are CIF files of this package,
in whose comments stand their sources.
"""

import json
import re
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from importlib import resources
from io import StringIO
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from perovskite_polaron.arrays import Array, floats
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.files import read_text, write_atomically
from perovskite_polaron.lattice.crystal import ISOTOPES, Crystal, isotopes_amu
from perovskite_polaron.lattice.pw_files import read_pw_input, read_pw_output
from perovskite_polaron.lattice.symmetry import find_symmetry

#: Names of the built-in crystals.
CRYSTALS = ("cspbbr3-pbnm", "cspbbr3-pnma", "cspbbr3-p4mbm", "cspbbr3-pm3m")
_PARENT = "polaron_parent_site"
# Images of a site nearer than this are one atom, whose coordinates were rounded (0.33 for 1/3); the
# atom is put on the site where rounding moved it by more than the second, else kept to the bit.
_MERGE_A, _ROUNDED_A = 0.1, 1e-4
# By how much tables of atomic masses differ.
_USUAL_MASS = 0.02
# Vacancies, dummies, water and ions that crystallographers write in the place of an element.
_NO_ATOMS = ("VA", "VAC", "WAT", "DU", "DUM", "MA", "FA", "GUA", "LP")
_READERS = {".cif": "cif", ".vasp": "vasp", ".poscar": "vasp", ".xyz": "extxyz",
            ".extxyz": "extxyz", ".xsf": "xsf", ".in": "espresso-in", ".pwi": "espresso-in",
            ".out": "espresso-out", ".pwo": "espresso-out", ".json": "modes"}
#: Formats that are written.
FORMATS = ("cif", "vasp", "extxyz", "xsf")
# Kinds of files that may hold something else than a structure: an output of pw.x looks like one of
# dynmat.x.
_NOT_ALONE = ("", "espresso-out", "modes")


def read_crystal(source: str | Path) -> Crystal:
    """Return a built-in crystal by name, or the crystal in a file.

    Parameters
    ----------
    source : str or path
        One of CRYSTALS, or a CIF, POSCAR or CONTCAR, extended XYZ, XSF, pw.x input or output (its
        last structure), or a mode file of this project, for the crystal that its modes are of.

    Raises
    ------
    InputError
        For a missing, empty or unreadable file, partial occupancy, no atoms, no lattice, zero
        volume or overlapping atoms.
    """
    if str(source) in CRYSTALS:
        file = resources.files("perovskite_polaron") / "data" / "crystals" / f"{source}.cif"
        return replace(_read_cif(Path(f"{source}.cif"), file.read_text("utf-8")), name=str(source))
    path = Path(source)
    kind, text = _kind(path), _decoded(path)
    require(kind, f"{path} has an unknown extension: name it .cif, .vasp, .extxyz, .xsf, .in (pw.x"
            " input) or .out (pw.x output); the crystal of modes is in their .json")
    own = {"cif": _read_cif, "espresso-in": read_pw_input, "espresso-out": read_pw_output,
           "modes": _read_modes}
    try:
        return own[kind](path, text) if kind in own else _read_other(path, text, kind)
    except InputError:
        raise
    except Exception as error:  # parsers raise anything at all on a damaged file
        why = " ".join(str(error).split())
        raise InputError(f"{path} cannot be read as {kind} ({type(error).__name__}: {why}): check"
                         " the file and its extension") from None


def is_structure(source: str | Path) -> bool:
    """Tell by its name whether a source is a built-in crystal, or a file of a structure alone."""
    return str(source) in CRYSTALS or _kind(Path(source)) not in _NOT_ALONE


def write_crystal(crystal: Crystal, path: str | Path,
                  displacement_A: ArrayLike | None = None) -> Path:
    """Write a crystal to a structure file with twelve decimals, its order kept.

    Parameters
    ----------
    crystal : Crystal
        CIF and extended XYZ also keep its parent sites, extended XYZ all isotopes, CIF D and T.
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
    if crystal.isotopes_amu is not None and _kind(path) != "extxyz":
        said = [s in ISOTOPES and _kind(path) == "cif" for s in _symbols(crystal)]
        if (np.isfinite(crystal.isotopes_amu) & ~np.array(said)).any():
            warnings.warn(f"{path} cannot hold isotopes: go on from an .extxyz", stacklevel=2)
    arrows = None
    if displacement_A is not None:
        arrows = floats(displacement_A, "displacement_A", (len(crystal), 3))
    return write_atomically(path, "\n".join(_WRITERS[_kind(path)](crystal, arrows)) + "\n")


def _read_modes(path: Path, text: str) -> Crystal:
    record = json.loads(text)
    require(isinstance(record, dict) and "fractional_positions" in record,
            f"{path} holds no crystal: give a mode file of polaron modes, or a structure file")
    crystal = Crystal(record["lattice_A"], tuple(record["species"]), record["fractional_positions"],
                      path.name)
    # The mode file has a mass for every atom, and those that are not the usual ones are isotopes.
    masses = np.array(record.get("masses_amu", crystal.masses_amu), dtype=np.float64)
    odd = np.abs(masses / crystal.masses_amu - 1) > _USUAL_MASS
    return replace(crystal, isotopes_amu=np.where(odd, masses, np.nan)) if odd.any() else crystal


def _kind(path: Path) -> str:
    """The format that the name of a file says, or nothing."""
    return _READERS.get(path.suffix.lower(),
                        "vasp" if path.name.upper().startswith(("POSCAR", "CONTCAR")) else "")


def _decoded(path: Path) -> str:
    """The text of a structure file in UTF-8 or UTF-16; other characters are lost with a warning."""
    data = b""
    with suppress(OSError):  # of which read_text says more
        data = path.read_bytes() if path.is_file() else b""
    wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    text = data.decode("utf-16" if wide else "utf-8-sig", "replace")
    if not text.strip():
        read_text(path, "structure file (CIF, POSCAR, extxyz, XSF, pw.x input or output) or a"
                        " built-in name like cspbbr3-pbnm")
    if "\ufffd" in text:
        warnings.warn(f"{path} is not UTF-8, other characters are ignored: check the file",
                      stacklevel=3)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _read_other(path: Path, text: str, kind: str) -> Crystal:
    from ase.data import atomic_numbers
    from ase.io import read as ase_read

    lines = text.splitlines()
    if kind == "vasp" and re.match(r"\s*\d", lines[5]):  # VASP 4 has symbols in the title, or none
        names = lines[0].split()
        require(len(names) == len(lines[5].split()) and {*names} <= {*atomic_numbers},
                f"{path} names no elements: write their symbols above the numbers of atoms")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ASE warns of harmless gaps; what matters is checked here
        frames = slice(None if kind == "vasp" else -2, None)
        *before, atoms = ase_read(StringIO(text), format=kind, index=frames)
    if before:
        warnings.warn(f"{path} holds several structures: the last is taken", stacklevel=3)
    require(len(atoms) > 0, f"{path} has no atoms: give a structure file with atomic positions")
    require(atoms.cell.rank == 3, f"{path} has a cell of zero volume or none: a crystal needs three"
            " independent lattice vectors")
    require(atoms.pbc.all(), f"{path} says that it is not periodic in every direction, as a slab or"
            " a molecule: a crystal is; state it (pbc=\"T T T\", CRYSTAL) if this is one")
    parents, species = atoms.arrays.get(_PARENT), tuple(atoms.get_chemical_symbols())
    if kind == "vasp":
        _check_rows(path, lines, species)
    return Crystal(atoms.cell.array, species, atoms.get_scaled_positions(wrap=False), path.name,
                   None if parents is None else tuple(map(str, parents)),
                   isotopes_amu(species, atoms.arrays.get("mass", atoms.get_masses())))


def _check_rows(path: Path, lines: list[str], species: tuple[str, ...]) -> None:
    """Refuse a POSCAR whose rows name other elements than its head, or are more than its atoms."""
    from ase.data import atomic_numbers

    start = 7 if re.match(r"\s*\d", lines[5]) else 8
    start += lines[start - 1].lstrip()[:1] in ("s", "S")  # selective dynamics
    for k, line in enumerate(lines[start:start + len(species)]):
        said = next((w for w in line.split()[3:] if w.strip(".") not in ("T", "F")), "")
        require(atomic_numbers.get(said, 0) == 0 or said == species[k], f"{path} has {said} in the"
                f" row of atom {k + 1}, {species[k]} by its head: correct the numbers of atoms")
    after = [*lines[start + len(species):], ""][0].split()[:3]
    require(not all(re.match(r"[-+.\d]*\d", word) for word in after) or len(after) < 3,
            f"{path} has more rows than the {len(species)} atoms of its head: correct the numbers")


def _read_cif(path: Path, text: str) -> Crystal:
    """Read a CIF; what it declares and its atoms do not have is refused or a warning.

    Symmetry comes from the operations, else from the Hall symbol, the Hermann-Mauguin symbol or the
    number; P 1 only where it is stated, or formula and Z are those of the atoms. Where the atoms
    contradict the declared formula, the other origin is tried.
    """
    import gemmi
    from ase.formula import Formula

    blocks = [b for b in gemmi.cif.read_string(text) if b.find_values("_atom_site_fract_x")]
    require(blocks, f"{path} has no atoms: give a structure file with fractional positions")
    require(len(blocks) == 1,
            f"{path} holds {len(blocks)} structures: keep one data block in the file")
    cif = gemmi.make_small_structure_from_block(blocks[0])
    require(cif.cell.is_crystal() and not re.search("_cell_modulation_dim|_ssg_", text),
            f"{path} lacks a length or angle of its cell, or is modulated: give a whole cell")
    for site in cif.sites:
        require(abs(site.occ - 1) < 1e-6, f"{path} has partial occupancy ({site.label}:"
                f" {site.occ:g}): give an ordered structure")
    parts = {abs(site.disorder_group) for site in cif.sites} - {0}
    require(len(parts) < 2, f"{path} has disorder groups, of which one excludes the other: give an"
            " ordered structure")
    sites, symbol = [_element(path, site) for site in cif.sites], cif.spacegroup_hm
    number = cif.spacegroup_number
    standard = gemmi.find_spacegroup_by_number(number).hm if number else ""
    group = gemmi.find_spacegroup_by_name(symbol or standard, cif.cell.alpha, cif.cell.gamma)
    numbers = {group.number if group else 0, number} - {0}
    origins = [group] + [g for g in gemmi.spacegroup_table() if g.hm == group.hm] if group else []
    settings = [(g.xhm(), list(g.operations())) for g in origins]
    if cif.symops:
        settings.insert(0, ("its operations", [gemmi.Op(s) for s in cif.symops]))
    elif cif.spacegroup_hall:
        settings.insert(0, ("its Hall symbol", list(gemmi.symops_from_hall(cif.spacegroup_hall))))
    require(settings or not symbol,
            f"{path} has the space group {symbol!r}, which is not known: list its operations")
    declared, z = ((blocks[0].find_value(tag) or "?").strip("'\" ")
                   for tag in ("_chemical_formula_sum", "_cell_formula_units_Z"))
    wanted, each = None, 1
    with suppress(ValueError):  # a question mark, decimals
        plain = re.sub(r"\b[DT](?=\d|\s|$)", "H", declared)
        wanted, each = Formula(plain.replace(" ", "")).reduce()
    settings = settings or [("", [])]
    for option in settings:
        setting, (lattice_A, positions, kinds) = option[0], _expanded(cif, sites, option[1])
        species = ["H" if sites[k] in ISOTOPES else sites[k] for k in kinds]
        atoms, units = Formula.from_dict(Counter(species)).reduce()
        if not wanted or wanted.count() == atoms.count():
            break
    else:
        raise InputError(f"{path} declares {declared} but its atoms are {atoms}: correct the"
                         " formula, the space group or the atoms")
    parents = tuple(blocks[0].find_values(f"_atom_site_{_PARENT}"))
    masses = [ISOTOPES.get(sites[k], np.nan) for k in kinds] if {*sites} & {*ISOTOPES} else None
    crystal = Crystal(lattice_A, tuple(species), positions, path.name,
                      tuple(parents[k] for k in kinds if parents) or None, masses)
    # Some writers mean by Z that of the reduced formula.
    whole = z.isdigit() and units in (int(z), int(z) * each)
    require(setting or (wanted and whole), f"{path} gives no space group, nor a formula and a Z"
            " that its atoms have: state P 1 if they are the whole cell")
    if group and setting == "its operations" and len(cif.symops) < len(list(group.operations())):
        require((wanted and whole) or find_symmetry(crystal, _MERGE_A).number == group.number,
                f"{path} declares {group.xhm()}, but lists {len(cif.symops)} of its operations, and"
                " its atoms have no others: list all, or state P 1 if they are the whole cell")
    found = find_symmetry(crystal).number if numbers - {1} else 1
    groups = [] if not numbers - {1, found} else [
        f"{gemmi.find_spacegroup_by_number(find_symmetry(crystal, symprec_A).number).hm} at"
        f" {symprec_A:g} Å" for symprec_A in (1e-3, 1e-2)]
    for wrong, what in (
            (setting != settings[0][0],
             f"has another formula with {settings[0][0]}, {setting} is taken"),
            (not cif.symops and not cif.spacegroup_hall and not symbol and numbers - {1},
             f"gives a number and no symbol: {setting} is taken"),
            (setting[-2:] in (":1", ":2") and ":" not in symbol, f"gives no origin: {setting}"),
            (z.isdigit() and not whole, f"declares Z = {z}, its atoms are {units}"
             f" {crystal.formula}"),
            (groups, f"declares the space group {symbol or numbers}, its atoms have"
             f" {', '.join(groups)}")):
        if wrong:
            warnings.warn(f"{path} {what}: check the file", stacklevel=3)
    return crystal


def _element(path: Path, site: Any) -> str:
    """Return the element, D or T of a site: of its type symbol or, failing it, its label."""
    from ase.data import atomic_numbers

    letters = re.match("[A-Za-z]*", site.type_symbol)[0]  # type: ignore[index]
    is_label = site.type_symbol == site.label
    require(letters.upper() not in _NO_ATOMS, f"{path} holds {site.type_symbol!r}, which is not an"
            " atom: give atoms of chemical elements")
    both = [s for s in dict.fromkeys((letters[:2].capitalize(), letters[:1].upper()))
            if atomic_numbers.get(s) or s in ISOTOPES]
    require(both, f"{path} holds {site.type_symbol!r}, which is not a chemical element: correct it")
    require(is_label or len(both[0]) == len(letters), f"{path} holds {site.type_symbol!r}, which is"
            " not a chemical element: correct it")
    require(len(both) == 1 or not is_label or not letters[:2].isupper(),
            f"{path} has the label {site.label}, {' or '.join(both)}: add _atom_site_type_symbol")
    return both[0]


def _expanded(cif: Any, sites: list[str], operations: list[Any]) -> tuple[Array, Array, list[int]]:
    """Return lattice, positions and the number of each atom's site: site by site, in order."""
    x = np.array([s.fract.tolist() for s in cif.sites])
    if len(operations) < 2:  # order and wrapping are kept; no zero is to be printed as -0
        return np.array(cif.cell.orth.mat.tolist()).T + 0.0, x, list(range(len(x)))
    from ase.cell import Cell

    cell = Cell.new(cif.cell.parameters)
    turns, shifts = (np.array([getattr(o, p) for o in operations]) / 24 for p in ("rot", "tran"))
    rows: list[tuple[int, Array]] = []
    for kind, site in enumerate(cell.scaled_positions(x @ cell.array) % 1.0):
        apart = turns @ site + shifts - site
        apart -= np.rint(apart)
        special = apart[np.linalg.norm(apart @ cell.array, axis=1) < _MERGE_A].mean(axis=0)
        if np.linalg.norm(special @ cell.array) > _ROUNDED_A:
            site = site + special
        for image in (turns @ site + shifts % 1.0) % 1.0:
            apart = np.reshape([r - image for k, r in rows if sites[k] == sites[kind]], (-1, 3))
            if (np.linalg.norm((apart - np.rint(apart)) @ cell.array, axis=1) >= _MERGE_A).all():
                rows.append((kind, image))
    kinds, images = zip(*rows, strict=True)
    return cell.array, cell.scaled_positions(np.array(images) @ cell.array), list(kinds)


def _numbers(rows: Array) -> list[str]:
    return [" ".join(f"{v:18.12f}" for v in row) for row in rows]


def _symbols(crystal: Crystal) -> list[str]:
    """Symbols as a CIF has them: D and T are some, other isotopes have none."""
    heavy = {round(mass): s for s, mass in ISOTOPES.items()}
    return [heavy.get(round(mass), s) if s == "H" else s
            for s, mass in zip(crystal.species, crystal.masses_amu, strict=True)]


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
    atoms = enumerate(zip(_symbols(crystal), _numbers(crystal.positions), strict=True), 1)
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
    if crystal.isotopes_amu is not None:
        columns.append([f"{mass:.8f}" for mass in crystal.masses_amu])
        properties += ":mass:R:1"
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
