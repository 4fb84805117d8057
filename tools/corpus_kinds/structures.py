"""Structures: what the package and what other programs find, and whether that is the same.

A structure is (lattice (3, 3) in Å, symbols, fractional positions).
"""

import contextlib
import functools
import io
import re
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from corpus_kinds.common import head_of, text

Structure = tuple[np.ndarray, list[str], np.ndarray]
BOHR_A = 0.529177210903
MANY = 2000  # atoms, beyond which spglib takes minutes
_FLOAT = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[EeDd][-+]?\d+)?")


def ours(path: Path, options: dict[str, str]) -> dict[str, Any]:
    """Return lattice, symbols, positions, the space group and what was warned of."""
    from perovskite_polaron.lattice.files import read_crystal
    from perovskite_polaron.lattice.symmetry import find_symmetry

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        crystal = read_crystal(path)
    symbols = ["D" if s == "H" and abs(m - 2.014) < 0.01 else s
               for s, m in zip(crystal.species, crystal.masses_amu, strict=True)]
    return {"structure": (crystal.lattice_A, symbols, crystal.positions),
            "group": find_symmetry(crystal).number if len(crystal) <= MANY else 0,
            "said": [str(w.message) for w in caught]}


def as_declared(reader: Callable[[Path], Structure]) -> Callable[[Path], Structure]:
    """Let a program count only where the atoms it finds have the formula that a CIF declares."""
    @functools.wraps(reader)
    def read(path: Path) -> Structure:
        found = reader(path)
        if path.suffix.lower() == ".cif" and _of_other_formula(text(path), found[1]):
            raise ValueError("its atoms are not the formula that the file declares")
        return found
    return read


def _of_other_formula(content: str, symbols: list[str]) -> bool:
    declared = re.search(r"^_chemical_formula_sum\s+'?([^'\n]*[A-Z][^'\n]*)", content, re.M)
    return bool(declared) and _ratios(declared[1]) != _ratios(" ".join(symbols))


@as_declared
def by_pymatgen(path: Path) -> Structure:
    """Read a structure with pymatgen: CIF, POSCAR, XSF."""
    from pymatgen.io.cif import CifParser
    from pymatgen.io.vasp import Poscar
    from pymatgen.io.xcrysden import XSF

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if path.suffix.lower() == ".cif":
            found = CifParser(path).parse_structures(primitive=False, on_error="raise")[-1]
        elif path.suffix.lower() == ".xsf":
            found = XSF.from_str(text(path)).structure
        else:
            poscar = Poscar.from_str(text(path))
            if not poscar.true_names:
                raise ValueError("no symbols")
            found = poscar.structure
    if not found.is_ordered:
        raise ValueError("partial occupancy")
    return (np.array(found.lattice.matrix), [site.specie.symbol for site in found],
            np.array(found.frac_coords))


@as_declared
def by_ase(path: Path) -> Structure:
    """Read a structure with ASE."""
    from ase.io import read

    names = {".cif": "cif", ".xsf": "xsf", ".in": "espresso-in", ".pwi": "espresso-in"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        atoms: Any = read(path, format=names[path.suffix.lower()])
    if not atoms.cell.rank == 3:
        raise ValueError("no lattice")
    return atoms.cell.array, atoms.get_chemical_symbols(), atoms.get_scaled_positions(wrap=False)


@as_declared
def by_gemmi(path: Path) -> Structure:
    """Read a CIF with gemmi: its cell, its operations, its images of every site."""
    import gemmi

    block = next(b for b in gemmi.cif.read(str(path)) if b.find_values("_atom_site_fract_x"))
    small = gemmi.make_small_structure_from_block(block)
    sites = small.get_all_unit_cell_sites()
    return (np.array(small.cell.orth.mat.tolist()).T, [site.element.name for site in sites],
            np.array([site.fract.tolist() for site in sites]))


def by_qe_tools(path: Path) -> Structure:
    """Read an input of pw.x with qe-tools, which knows ibrav."""
    from qe_tools.parsers import PwInputFile

    # It wants both said: the unit, by default alat in pw.x and bohr in cp.x, and k points.
    content = text(path)
    default = "bohr" if re.search(r"calculation\s*=\s*['\"](vc-)?cp", content) else "alat"
    content = re.sub(r"(?im)^(\s*ATOMIC_POSITIONS)\s*$", rf"\1 {default}", content)
    if "K_POINTS" not in content.upper():
        content += "\nK_POINTS gamma\n"
    with contextlib.redirect_stdout(io.StringIO()):
        found = PwInputFile(content, validate_species_names=False)
    count = re.search(r"(?i)\bnat\s*=\s*(\d+)", content)
    if count and int(count[1]) != len(found.structure["atom_names"]):
        raise ValueError("it did not read all atoms")
    lattice = np.array(found.structure["cell"])
    labels = dict(zip(found.structure["species"]["names"], found.structure["species"][
        "pseudo_file_names"], strict=True))
    symbols = [element_of(name, labels[name]) for name in found.structure["atom_names"]]
    return lattice, symbols, np.array(found.structure["positions"]) @ np.linalg.inv(lattice)


def element_of(label: str, pseudo: str = "") -> str:
    """Return the element of a label of pw.x; the pseudopotential's name tells N+h from Nh."""
    from ase.data import atomic_numbers

    letters = re.match("[A-Za-z]*", label)[0]  # type: ignore[index]
    both = [s for s in (letters[:2].capitalize(), letters[:1].upper()) if s in atomic_numbers]
    named = re.match("[A-Za-z]{1,2}", pseudo)
    return next((s for s in both if named and named[0].capitalize() == s), both[0])


def by_pw_output(path: Path, last: bool = True) -> Structure:
    """Read an output of pw.x line by line: its last structure, or the one it begins with."""
    content = text(path)
    if last and re.search(r"^ *Program PWSCF", content, re.M):
        content = content[[m.start() for m in re.finditer("Program PWSCF", content)][-1]:]
    alat = BOHR_A * float(
        re.search(r"lattice parameter \((?:alat|a_0)\)\s*=\s*([\d.]+)", content)[1])
    axes = np.array([_FLOAT.findall(row.split("=")[1])[:3] for row in re.findall(
        r"a\([123]\) = \(.*", content)[:3]], dtype=float) * alat
    start = content.index("site n.     atom")
    sites = re.findall(r"^\s*\d+\s+(\S+)\s+tau\(\s*\d+\) = \((.*)\)", content[start:], re.M)
    count = int(re.search(r"number of atoms/cell\s*=\s*(\d+)", content)[1])
    lattice, symbols = axes, [element_of(label) for label, _ in sites[:count]]
    places = np.array([_FLOAT.findall(row)[:3] for _, row in sites[:count]], dtype=float) * alat
    positions = places @ np.linalg.inv(lattice)
    if last:
        for unit, block in re.findall(r"CELL_PARAMETERS \((.*)\)\n((?:.*\n){3})", content):
            scale = (float(unit.split("=")[1]) * BOHR_A if "alat" in unit else
                     1.0 if unit == "angstrom" else BOHR_A)
            lattice = np.array(_FLOAT.findall(block), dtype=float).reshape(3, 3) * scale
        moved = re.findall(rf"ATOMIC_POSITIONS \((.*)\)\n((?:.*\n){{{count}}})", content)
        for unit, block in moved[-1:]:
            rows = np.array([line.split()[1:4] for line in block.splitlines()], dtype=float)
            scale = {"angstrom": 1.0, "bohr": BOHR_A}.get(unit, alat)
            positions = rows if unit == "crystal" else rows * scale @ np.linalg.inv(lattice)
    return lattice, symbols, positions


def by_output_beside(path: Path) -> Structure:
    """Read what pw.x printed for an input: the structure at the start of the output beside it."""
    beside = path.with_suffix(".out")
    if "Program PWSCF" not in head_of(beside) or "&energy_current" in head_of(path):
        raise ValueError("the output beside it is not of pw.x")
    if "read from directory" in text(beside):
        raise ValueError("that run took its structure from another")
    return by_pw_output(beside, last=False)


def by_lines_xyz(path: Path) -> Structure:
    """Read the last frame of an extended XYZ file line by line."""
    lines = text(path).splitlines()
    start = 0
    while start + 2 + int(lines[start]) < len(lines) and lines[start + 2 + int(lines[start])]:
        start += 2 + int(lines[start])
    n, title = int(lines[start]), lines[start + 1]
    lattice = np.array(re.search(r'Lattice="(.*?)"', title)[1].split(), dtype=float).reshape(3, 3)
    fields = re.search(r"Properties=(\S+)", title)[1].split(":")
    at = {name: sum(map(int, fields[2:3 * k:3])) for k, name in enumerate(fields[::3])}
    rows = [line.split() for line in lines[start + 2:start + 2 + n]]
    places = np.array([row[at["pos"]:at["pos"] + 3] for row in rows], dtype=float)
    return lattice, [row[at["species"]] for row in rows], places @ np.linalg.inv(lattice)


def by_lines_poscar(path: Path) -> Structure:
    """Read a POSCAR line by line, of VASP 4 only where its title is nothing but the symbols."""
    from ase.data import atomic_numbers

    lines = text(path).splitlines()
    scale = [float(w) for w in lines[1].split()]
    lattice = np.array([line.split()[:3] for line in lines[2:5]], dtype=float)
    volume = abs(np.linalg.det(lattice))
    factor = (-scale[0] / volume) ** (1 / 3) if scale[0] < 0 else np.array(scale)
    lattice = lattice * factor
    at = 5 if lines[5].split()[0].isdigit() else 6
    names = [re.split(r"[_/]", w)[0] for w in (lines[0] if at == 5 else lines[5]).split()]
    counts = [int(w) for w in re.match(r"[\d\s]*", lines[at])[0].split()]  # type: ignore[index]
    if len(names) != len(counts) or not all(name in atomic_numbers for name in names):
        raise ValueError("no symbols")
    at += 2 if lines[at + 1].strip()[:1] in "sS" else 1
    rows = np.array([line.split()[:3] for line in lines[at + 1:at + 1 + sum(counts)]], dtype=float)
    if lines[at].strip()[0] in "cCkK":
        rows = rows * factor @ np.linalg.inv(lattice)
    return lattice, [s for s, k in zip(names, counts, strict=True) for _ in range(k)], rows


def facts(path: Path) -> set[str]:
    """Return what stands against a structure: no atoms, several, disordered, molecule ..."""
    import gemmi
    from ase.data import atomic_numbers

    content, found = text(path), set()
    if path.suffix.lower() == ".cif":
        blocks = [b for b in gemmi.cif.read_string(content)
                  if b.find_values("_atom_site_fract_x") or b.find_values("_atom_site_cartn_x")]
        found |= {"several"} if len(blocks) > 1 else set() if blocks else {"no atoms"}
        occupied = [gemmi.cif.as_number(v) for b in blocks
                    for v in b.find_values("_atom_site_occupancy")]
        found |= {"disordered"} if any(abs(o - 1) > 1e-6 for o in occupied) else set()
        found |= {"disordered"} if any(v not in "?." for b in blocks for v in b.find_values(
            "_atom_site_disorder_group")) else set()
        found |= set() if re.search("^ *_(symmetry|space_group)_", content, re.M) else {"no group"}
        kinds = {re.sub("[^A-Za-z].*", "", v).capitalize() for b in blocks
                 for v in b.find_values("_atom_site_type_symbol")}
        found |= {"no element"} if kinds - {*atomic_numbers, "D", "T"} else set()
        found |= {"macromolecule"} if "_atom_site.Cartn_x" in content else set()
    if path.suffix.lower() in (".xyz", ".extxyz"):
        counts = re.findall(r"^\s*(\d+)\s*$", content, re.M)
        found |= {"several"} if len(counts) > 1 else set()
        found |= set() if "Lattice=" in content else {"no lattice"}
        found |= {"slab"} if re.search(r'pbc="[^"]*F', content) else set()
    if path.suffix.lower() == ".out":
        found |= {"failed"} if "Error in routine" in content or "%%%%%" in content else set()
        found |= {"unfinished"} if (
            "JOB DONE" not in content or "ot converged" in content
            or "maximum number of steps has been reached" in content
            or ("CELL_PARAMETERS" in content and "Begin final" not in content)) else set()
        found |= {"no atoms"} if "site n.     atom" not in content else set()
    if path.suffix.lower() in (".in", ".pwi"):
        found |= {"path"} if re.search("BEGIN_PATH|FIRST_IMAGE|BEGIN_ENGINE", content) else set()
        found |= {"formula"} if re.search(r"ATOMIC_POSITIONS\s*[{(]?\s*\w*_sg", content) else set()
        found |= {"template"} if re.search(r"[$`]", content) else set()
    if format_of(path) == "POSCAR":
        with contextlib.suppress(IndexError):
            found |= {"no symbols"} if content.splitlines()[5].split()[:1][0].isdigit() else set()
    for reader in FORMATS[format_of(path)].values():
        with contextlib.suppress(Exception):
            lattice, symbols, positions = getattr(reader, "__wrapped__", reader)(path)
            if len(symbols) > MANY:
                continue
            apart = positions[:, None] - positions[None]
            far = np.linalg.norm((apart - np.rint(apart)) @ lattice, axis=-1)
            heavy = np.array(symbols) != "H"  # no bond without hydrogen is shorter than 1.1 Å
            least = np.where(heavy[:, None] & heavy[None], 0.9, 0.5)
            if (far + 9 * np.eye(len(far)) < least).any():
                found.add("overlap")
            if _of_other_formula(content, symbols):
                found.add("other formula")
    return found


def _ratios(formula: str) -> dict[str, float]:
    counts: dict[str, float] = {}
    for symbol, number in re.findall(r"([A-Z][a-z]?)([\d.]*)", formula):
        symbol = "H" if symbol in "DT" else symbol
        counts[symbol] = counts.get(symbol, 0) + float(number or 1)
    return {s: round(n / min(counts.values()), 3) for s, n in sorted(counts.items())}


def differ(ours: dict[str, Any], other: Any) -> str:
    """Compare cell, composition, every atom's place, and the space group at 0.001 Å."""
    import spglib
    from scipy.spatial import KDTree

    (lattice, symbols, places), (their_lattice, their_symbols, their_places) = (
        ours["structure"], other)
    if len(symbols) != len(their_symbols):
        return f"{len(symbols)} atoms, not {len(their_symbols)}"
    if "D" not in their_symbols:  # most programs know no isotopes
        symbols = ["H" if s == "D" else s for s in symbols]
    if Counter(symbols) != Counter(their_symbols):
        return f"{dict(Counter(symbols))}, not {dict(Counter(their_symbols))}"
    metric, theirs = lattice @ lattice.T, their_lattice @ their_lattice.T
    if np.abs(metric - theirs).max() > 2e-4 * np.abs(metric).max():
        return f"edges {np.sqrt(np.diag(metric)).round(4)}, not {np.sqrt(np.diag(theirs)).round(4)}"
    kinds, their_kinds = np.array(symbols), np.array(their_symbols)
    for kind in set(symbols):
        mine, theirs = places[kinds == kind], their_places[their_kinds == kind]
        # Where the same atom is there, it is the nearest in fractional coordinates too.
        inside = [np.where((x % 1) < 1, x % 1, 0) for x in (theirs, mine)]
        nearest = KDTree(inside[0], boxsize=1).query(inside[1])[1]
        rows = mine - theirs[nearest]
        far = np.linalg.norm((rows - np.rint(rows)) @ lattice, axis=-1)
        if far.max() > 0.02 or len(set(nearest)) < len(far):
            return f"{kind} is {far.max():.3f} Å away"
    if len(symbols) > MANY:
        return ""
    numbers = np.unique(their_symbols, return_inverse=True)[1]
    groups = [getattr(spglib.get_symmetry_dataset((their_lattice, their_places, numbers), e),
                      "number", 0) for e in (1e-3, 2e-4, 5e-3)]
    return "" if ours["group"] in groups else f"group {ours['group']}, not {groups[0]}"




FORMATS = {
    "CIF": {"pymatgen": by_pymatgen, "ASE": by_ase, "gemmi": by_gemmi},
    "POSCAR": {"pymatgen": by_pymatgen, "a parse": by_lines_poscar},
    "extended XYZ": {"a parse": by_lines_xyz}, "XSF": {"pymatgen": by_pymatgen, "ASE": by_ase},
    "pw.x input": {"pw.x": by_output_beside, "qe-tools": by_qe_tools, "ASE": by_ase},
    "pw.x output": {"a parse": by_pw_output}}
NEEDFUL = (
    (r"partial occupancy|disorder", "disordered", "disordered structure"),
    (r"holds \d+ structures|several", "several", "several structures in one file"),
    (r"no atoms", "no atoms", "no atoms in it"),
    (r"zero volume|no lattice|Lattice", "no lattice", "a molecule without a lattice"),
    (r"overlap|apart", "overlap", "two atoms in one place"),
    (r"not periodic", "slab", "a slab or a molecule in a box"),
    (r"declares .* but its atoms", "other formula", "its atoms are not the formula it declares"),
    (r"", "macromolecule", "a macromolecule"),
    (r"not a chemical element|not an atom", "no element", "a symbol that is no element"),
    (r"no space group", "no group", "a CIF that says no space group"),
    (r"symbol|element", "no symbols", "a POSCAR that names no elements"),
    (r"", "failed", "the run stopped with an error"),
    (r"converge|unfinished|not finished|stopped|last|final|complete", "unfinished",
     "the run did not come to an end"),
    (r"", "path", "a path of images"), (r"", "template", "a template, no input"))


def format_of(path: Path) -> str:
    """Return the format of a file, by its name and its first lines; "" where it is another."""
    suffix, low = path.suffix.lower(), head_of(path).lower()
    if suffix in (".in", ".pwi") and "&system" in low and "atomic_species" in low:
        return "pw.x input"
    if suffix in (".out", ".pwo") and "program pwscf" in low:
        return "pw.x output"
    known = {".cif": "CIF", ".vasp": "POSCAR", ".poscar": "POSCAR", ".xsf": "XSF",
             ".xyz": "extended XYZ", ".extxyz": "extended XYZ"}
    named = path.name.upper().startswith(("POSCAR", "CONTCAR")) and suffix != ".gz"
    return known.get(suffix, "POSCAR" if named else "")


def asked_for(message: str, options: dict[str, str], path: Path) -> dict[str, str]:
    """Return the option that a refusal asks for: structures have none."""
    return {}
