"""What other programs, or a plain parse, find in the files of a corpus (see corpus.py).

Every reader here returns plain data: a structure is (lattice (3, 3) in Å, symbols, fractional
positions), measured data are tables of names and columns, phonons are the energies at Γ in meV. The
facts of a file are words for what a reader may rightly refuse it for.
"""

import contextlib
import io
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np

BOHR_A = 0.529177210903
MEV_PER_THZ = 4.135667696
HC_EV_A = 12398.419843

Structure = tuple[np.ndarray, list[str], np.ndarray]
_FLOAT = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[EeDd][-+]?\d+)?")
# Names of columns that are no spectrum, in lower case.
_NO_SIGNAL = re.compile(
    r"i_?[0-4tfr]|itrans|i?fluor|if|iref\w*|murefer|.*(time|epoch|angle|theta|clock|second|dwell)"
    r".*|(pre|post|der|sec|bkg|nbkg|flat|nder|chie|norm|nnorm)\w*|index|point|k|energy|e|i1|i2|i0")
_SPECTRUM = ("mutrans", "xmu", "mufluor", "mu", "mu(e)", "absorption", "mux", "norm")


def text(path: Path) -> str:
    """Return a text in whatever encoding."""
    return path.read_bytes().decode("utf-8-sig", "replace")


# Structures


def by_pymatgen(path: Path) -> Structure:
    """Read a structure with pymatgen: CIF, POSCAR, XSF."""
    from pymatgen.core import Structure as Read
    from pymatgen.io.cif import CifParser
    from pymatgen.io.xcrysden import XSF

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if path.suffix.lower() == ".cif":
            found = CifParser(path).parse_structures(primitive=False, on_error="raise")[-1]
        elif path.suffix.lower() == ".xsf":
            found = XSF.from_str(text(path)).structure
        else:
            found = Read.from_str(text(path), fmt="poscar")
    if not found.is_ordered:
        raise ValueError("partial occupancy")
    return (np.array(found.lattice.matrix), [site.specie.symbol for site in found],
            np.array(found.frac_coords))


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

    with contextlib.redirect_stdout(io.StringIO()):
        found = PwInputFile(text(path), validate_species_names=False)
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
    alat = float(re.search(r"lattice parameter \(alat\)\s*=\s*([\d.]+)", content)[1]) * BOHR_A
    axes = np.array([_FLOAT.findall(row.split("=")[1])[:3] for row in re.findall(
        r"a\([123]\) = \(.*", content)[:3]], dtype=float) * alat
    start = content.index("site n.     atom")
    sites = re.findall(r"^\s*\d+\s+(\w+)\s+tau\(\s*\d+\) = \((.*)\)", content[start:], re.M)
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
    return by_pw_output(path.with_suffix(".out"), last=False)


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


def facts_of_structure(path: Path) -> set[str]:
    """Return what stands against a structure: no atoms, several, disordered, molecule ..."""
    import gemmi

    content, facts = text(path), set()
    if path.suffix.lower() == ".cif":
        blocks = [b for b in gemmi.cif.read_string(content)
                  if b.find_values("_atom_site_fract_x") or b.find_values("_atom_site_cartn_x")]
        facts |= {"several"} if len(blocks) > 1 else set() if blocks else {"no atoms"}
        occupied = [gemmi.cif.as_number(v) for b in blocks
                    for v in b.find_values("_atom_site_occupancy")]
        facts |= {"disordered"} if any(abs(o - 1) > 1e-6 for o in occupied) else set()
        facts |= {"disordered"} if any(v not in "?." for b in blocks for v in b.find_values(
            "_atom_site_disorder_group")) else set()
        facts |= {"macromolecule"} if "_atom_site.Cartn_x" in content else set()
    if path.suffix.lower() in (".xyz", ".extxyz"):
        counts = re.findall(r"^\s*(\d+)\s*$", content, re.M)
        facts |= {"several"} if len(counts) > 1 else set()
        facts |= set() if "Lattice=" in content else {"no lattice"}
    if path.suffix.lower() == ".out":
        facts |= {"failed"} if "Error in routine" in content or "%%%%%" in content else set()
        facts |= {"unfinished"} if (
            "JOB DONE" not in content or "ot converged" in content
            or "maximum number of steps has been reached" in content
            or "CELL_PARAMETERS" in content and "Begin final" not in content) else set()
        facts |= {"no atoms"} if "site n.     atom" not in content else set()
    if path.suffix.lower() in (".in", ".pwi"):
        facts |= {"path"} if re.search("BEGIN_PATH|FIRST_IMAGE", content) else set()
        facts |= {"formula"} if re.search(r"ATOMIC_POSITIONS\s*[{(]?\s*\w*_sg", content) else set()
        facts |= {"template"} if re.search(r"[$`]", content) else set()
    for reader in readers_of("structures", format_of(path)).values():
        with contextlib.suppress(Exception):
            lattice, symbols, positions = reader(path)
            apart = positions[:, None] - positions[None]
            far = np.linalg.norm((apart - np.rint(apart)) @ lattice, axis=-1)
            if (far + 9 * np.eye(len(far)) < 0.5).any():
                facts.add("overlap")
            declared = re.search(r"^_chemical_formula_sum\s+'?([^'\n]*)", content, re.M)
            if declared and _ratios(declared[1]) != _ratios(" ".join(symbols)):
                facts.add("other formula")
    return facts


def _ratios(formula: str) -> dict[str, float]:
    counts: dict[str, float] = {}
    for symbol, number in re.findall(r"([A-Z][a-z]?)([\d.]*)", formula):
        symbol = "H" if symbol in "DT" else symbol
        counts[symbol] = counts.get(symbol, 0) + float(number or 1)
    return {s: round(n / min(counts.values()), 3) for s, n in sorted(counts.items())}


# Measured data


def plain_table(path: Path) -> dict[str, Any]:
    """Parse a table: the rows of numbers, and the names that the header gives them."""
    content = text(path)
    rows, header, blocks, comma = [], [], 0, False
    for line in content.splitlines():
        words = [w for w in re.split(r"[,;\t\s]+", line.strip()) if w]
        try:
            values = [float(w) for w in words]
        except ValueError:
            values = []
        if values and (not rows or len(values) == len(rows[-1])):
            rows.append(values)
        elif words and rows and len(values) > 2:
            blocks += 1
        elif words and not rows:
            header.append(line.strip())
    columns = np.array(rows).T
    named = dict(re.findall(r"^#\s*Column\.(\d+):\s*(.*?)\s*$", content, re.M))
    names = [re.split(r"\s*\|\||\s*\(", named.get(str(k + 1), ""))[0] for k in range(len(columns))]
    if not all(names):
        last = header[-1] if header else ""
        last = re.sub(r"^(#L|#C|#|%|;|\*|!)\s*", "", last).strip().strip('"')
        for split in (r"[,;]", r"\t+", r"\s{2,}", r"\s+"):
            found = [w.strip(' "') for w in re.split(split, last) if w.strip()]
            if len(found) == len(columns):
                names = found
                break
        else:
            names = []
    units = [(re.search(r"[\s_(](k?eV|deg\w*)\b", name, re.I) or [""] * 2)[1] for name in names]
    names = [re.sub(r"[\s_(]+(k?eV|degrees?)\)?$", "", name, flags=re.I) for name in names]
    return {"names": names, "units": units, "columns": columns, "blocks": blocks + 1,
            "content": content, "comma": comma}


def expected_energy(table: dict[str, Any], unit: str | None) -> np.ndarray | None:
    """Return the energies of a table in eV, where its header or the unit asked for says so."""
    names = [n.lower() for n in table["names"]]
    column = next((i for i, n in enumerate(names) if re.match(r"e$|energy|e\(|mono_?e", n)), 0)
    values = table["columns"][column]
    said = (table["units"][column] if names else "").lower()
    if said.startswith("deg") or (names and names[column] in ("angle", "theta")):
        spacing = re.search(r"d_spacing:\s*([\d.]+)", table["content"])
        return None if not spacing else HC_EV_A / 2 / float(spacing[1]) / np.sin(np.radians(values))
    return values * (1000 if (said or (unit or "").lower()) == "kev" else 1)


def expected_signal(table: dict[str, Any], asked: str | None,
                    known: list[str]) -> np.ndarray | None:
    """Return the spectrum of a table: what was asked for, else the only one its header allows.

    Parameters
    ----------
    table : dict
        Of plain_table.
    asked : str or None
        A column, or ``ln(A/B)``, ``A/B``, ``A-B``.
    known : list of str
        Names by which the columns may be asked for.
    """
    columns = dict(zip([n.lower() for n in known], table["columns"], strict=False))
    if asked:
        inner = re.fullmatch(r"ln\((.*)\)", asked)
        for sign, make in (("/", np.divide), ("-", np.subtract)):
            for cut in re.finditer(sign, inner[1] if inner else asked):
                body = (inner[1] if inner else asked).lower()
                a, b = body[:cut.start()].strip(), body[cut.end():].strip()
                if a in columns and b in columns:
                    with np.errstate(all="ignore"):
                        value = make(columns[a], columns[b])
                        return np.log(value) if inner else value
        return columns.get(asked.lower())
    names = [n.lower() for n in table["names"]]
    if len(table["columns"]) == 2:
        return table["columns"][1]
    named = [i for i, n in enumerate(names) if n in _SPECTRUM]
    if len(named) == 1:
        return table["columns"][named[0]]
    left = [i for i, n in enumerate(names) if i and not _NO_SIGNAL.fullmatch(n)]
    return table["columns"][left[0]] if len(left) == 1 else None


def by_larch_project(path: Path) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Read an Athena project with larch: label, energy and µ of each group."""
    from larch.io.athena_project import AthenaProject

    project = AthenaProject()
    with contextlib.redirect_stdout(io.StringIO()):
        project.read(str(path), do_preedge=False, do_bkg=False, use_hashkey=True)
    found = []
    for group in project.groups.values():
        energy, mu = getattr(group, "energy", None), getattr(group, "mu", None)
        if energy is not None and mu is not None and len(energy):
            found.append((str(group.label), np.array(energy), np.array(mu)))
    return found


def by_larch_table(path: Path) -> np.ndarray:
    """Read the numbers of a text table with larch, (columns, rows)."""
    from larch.io import read_ascii

    with contextlib.redirect_stdout(io.StringIO()):
        return np.array(read_ascii(str(path)).data)


def by_h5py(path: Path) -> list[np.ndarray]:
    """Read every array of one dimension in an HDF5 file."""
    import h5py

    found: list[np.ndarray] = []

    def keep(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim == 1 and item.dtype.kind in "fiu":
            found.append(np.array(item, dtype=float))

    with h5py.File(path) as file:
        file.visititems(keep)
    return found


def not_xdi(table: dict[str, Any]) -> str:
    """Return which rule of the specification of XDI a file breaks, or nothing."""
    from ase.data import atomic_numbers

    content = table["content"]
    head, ruled, body = content.partition("\n#---")
    head = head if ruled else re.match(r"(#.*\n)*", content)[0]  # type: ignore[index]
    fields = {k.lower(): v.strip() for k, v in re.findall(r"^#\s*([\w.]+):(.*)", head, re.M)}
    rows = [line.split() for line in body.splitlines()[1:] if line[:1] not in ("#", "")]
    labels = next((line[1:].split() for line in body.splitlines() if line[:1] == "#"), [])
    named = [re.split(r"\s", fields.get(f"column.{k + 1}", "") + " ")[0]
             for k in range(len(rows[0]) if rows else 0)]
    rules = {
        "first line": re.match(r"#\s*XDI/\d", content),
        "element": fields.get("element.symbol", "").capitalize() in atomic_numbers,
        "edge": re.fullmatch(r"[KLMNO]\d?(,\d)?|[LM]\d,\d", fields.get("element.edge", ""), re.I),
        "end of header": ruled, "header": all(line[:1] == "#" for line in head.splitlines()),
        "rows": len({len(row) for row in rows}) == 1,
        "comments among the data": not re.search(r"\n#.*\n\s*[-\d.].*\n#", body),
        "numbers": all(_FLOAT.fullmatch(w) for row in rows for w in row),
        "labels": all(not n or n.lower() == lab.lower()
                      for n, lab in zip(named, labels, strict=False)),
        "spacing": "angle" not in named or "energy" in named or "mono.d_spacing" in fields}
    return ", ".join(rule for rule, held in rules.items() if not held)


def facts_of_measured(path: Path) -> set[str]:
    """Return what stands against a table: several scans, NaN, doubled energies, no spectrum."""
    if path.suffix.lower() in (".prj", ".h5", ".hdf5", ".nxs"):
        return set()
    table, facts = plain_table(path), set()
    facts |= {"bad XDI"} if path.suffix.lower() == ".xdi" and not_xdi(table) else set()
    content, names = table["content"], [n.lower() for n in table["names"]]
    if not len(table["columns"]):
        return {"no numbers"}
    facts |= {"several"} if table["blocks"] > 1 or len(re.findall(r"^#S ", content, re.M)) > 1 \
        else set()
    facts |= {"not finite"} if re.search(r"^[^#]*\bnan\b", content, re.M | re.I) else set()
    for column in table["columns"][:3]:
        facts |= {"twice"} if (np.diff(np.sort(column)) <= 0).any() else set()
    said = any(u for u in table["units"])
    facts |= set() if said else {"no unit"}
    facts |= {"no spectrum"} if re.search(r"feff|pot.*absorber|path", content[:3000], re.I) \
        or "k" in names[:1] or names[:1] == ["r"] else set()
    facts |= {"open"} if expected_signal(table, None, table["names"]) is None else set()
    facts |= set() if all(names) and names else {"no names"}
    facts |= {"angle"} if names and not any(n.startswith("e") for n in names) else set()
    return facts


# Phonons


def by_phonopy(path: Path) -> np.ndarray:
    """Return the energies at Γ, without a field, that phonopy computes from its own file."""
    import phonopy

    beside = {name: str(path.parent / file) for name, file in (
        ("force_sets_filename", "FORCE_SETS"), ("force_constants_filename", "FORCE_CONSTANTS"))
        if (path.parent / file).is_file()}
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = phonopy.load(path, is_nac=False, log_level=0, **dict(list(beside.items())[:1]))
        loaded.run_qpoints([[0, 0, 0]])
    return np.sort(loaded.qpoints.frequencies[0]) * MEV_PER_THZ


def by_yaml(path: Path) -> np.ndarray:
    """Return the energies that a table of phonopy lists at Γ."""
    import yaml

    document = yaml.load(text(path), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    point = next(p for p in document["phonon"] if not np.any(p["q-position"]))
    return np.sort([band["frequency"] for band in point["band"]]) * MEV_PER_THZ


def by_printed(path: Path) -> np.ndarray:
    """Return the energies at Γ that ph.x, matdyn.x or dynmat.x printed into their file."""
    parts = re.split(r"^\s*q\s*=", text(path)[text(path).index("iagonalizing"):], flags=re.M)[1:]
    at = next(p for p in parts if not np.any(
        np.array(_FLOAT.findall(p.splitlines()[0])[:3], dtype=float)))
    found = re.findall(r"(?:freq|omega)\s*\(\s*\d+\)\s*=\s*([-\d.]+)", at)
    return np.sort(np.array(found, dtype=float)) * MEV_PER_THZ


def facts_of_phonons(path: Path) -> set[str]:
    """Return what stands against a file of phonons: no Γ, no eigenvectors, no forces, no cell."""
    import yaml

    content, facts = text(path), set()
    if path.suffix.lower() in (".yaml", ".yml"):
        document = yaml.load(content, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}
        facts |= {"other"} if not {"phonon", "unit_cell", "primitive_cell"} & set(document) \
            else set()
        points = document.get("phonon") or []
        facts |= {"no eigenvectors"} if points and "eigenvector" not in points[0]["band"][0] \
            else set()
        facts |= {"no gamma"} if points and all(np.any(p["q-position"]) for p in points) else set()
        facts |= {"no cell"} if points and not document.get("points") else set()
        beside = [path.parent / name for name in ("FORCE_SETS", "FORCE_CONSTANTS",
                                                  "force_constants.hdf5")]
        facts |= {"no forces"} if not points and not any(p.is_file() for p in beside) \
            and "forces:" not in content and "\nforce_constants:" not in content else set()
    elif "iagonalizing the dynamical matrix" in content[:4000]:
        facts.add("no cell")
    if "****" in content and "=****" in content.replace(" ", ""):
        facts.add("overflow")
    with contextlib.suppress(Exception):
        by_printed(path)
        return facts
    return facts | ({"no gamma"} if "q = (" in content else set())


# What reads what

FORMATS: dict[str, dict[str, dict[str, Any]]] = {
    "structures": {
        "CIF": {"pymatgen": by_pymatgen, "ASE": by_ase, "gemmi": by_gemmi},
        "POSCAR": {"pymatgen": by_pymatgen}, "extended XYZ": {"a parse": by_lines_xyz},
        "XSF": {"pymatgen": by_pymatgen, "ASE": by_ase},
        "pw.x input": {"pw.x": by_output_beside, "qe-tools": by_qe_tools, "ASE": by_ase},
        "pw.x output": {"a parse": by_pw_output}},
    "measured": {
        "XDI": {"a parse": plain_table, "larch": by_larch_table},
        "Athena project": {"larch": by_larch_project},
        "column file": {"a parse": plain_table, "larch": by_larch_table},
        "HDF5": {"h5py": by_h5py}},
    "phonons": {
        "phonopy parameters": {"phonopy": by_phonopy}, "phonopy table": {"a parse": by_yaml},
        ".dyn": {"ph.x": by_printed}, "modes of QE": {"matdyn.x, dynmat.x": by_printed},
        ".dyn.xml": {}}}
FACTS = {"structures": facts_of_structure, "measured": facts_of_measured,
         "phonons": facts_of_phonons}


def readers_of(kind: str, form: str) -> dict[str, Any]:
    """Return the independent readers of a format: name -> function."""
    return FORMATS[kind][form]


def format_of(path: Path, kind: str = "structures") -> str:
    """Return the format of a file, by its name and its first lines; "" where it is another kind."""
    suffix, name = path.suffix.lower(), path.name.upper()
    with open(path, "rb") as handle:
        head = handle.read(20000).decode("utf-8", "replace")
    low = head.lower()
    if kind == "structures":
        known = {".cif": "CIF", ".vasp": "POSCAR", ".poscar": "POSCAR", ".xsf": "XSF",
                 ".xyz": "extended XYZ", ".extxyz": "extended XYZ"}
        if suffix in (".in", ".pwi") and "&system" in low and "atomic_species" in low:
            return "pw.x input"
        if suffix in (".out", ".pwo") and "program pwscf" in low:
            return "pw.x output"
        return known.get(suffix, "POSCAR" if name.startswith(("POSCAR", "CONTCAR")) else "")
    if kind == "measured":
        known = {".xdi": "XDI", ".prj": "Athena project", ".h5": "HDF5", ".hdf5": "HDF5",
                 ".nxs": "HDF5"}
        return known.get(suffix, "XDI" if head.startswith("# XDI/") else "column file"
                         if "\0" not in head and len(_FLOAT.findall(head)) > 20 else "")
    if head.lstrip().startswith("Dynamical matrix file"):
        return ".dyn"
    if "iagonalizing the dynamical matrix" in head[:4000]:
        return "modes of QE"
    if suffix == ".xml" and "<dynamical" in low or "dynamical_mat_" in low:
        return ".dyn.xml"
    if suffix in (".yaml", ".yml"):
        if re.search(r"^phonon:", text(path), re.M):
            return "phonopy table"
        if re.search(r"^(phonopy|unit_cell|primitive_cell):", head, re.M):
            return "phonopy parameters"
    return ""
