"""Phonons: what the package and other programs find, and whether that is the same.

A wave vector is its energies in meV, rising, and what each atom has in them (shares).
"""

import contextlib
import io
import re
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from corpus_kinds.common import head_of, text

MEV_PER_THZ = 4.135667696
def ours(path: Path, options: dict[str, str]) -> dict[str, Any]:
    """Return the energies at each wave vector, and the atoms' shares in them."""
    from perovskite_polaron.phonons.readers import read_phonons

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sets = read_phonons(path, **options)
    return {"points": [(np.sort(m.energies_meV), shares(m.energies_meV, m.weighted.reshape(
        len(m), -1, 3))) for m in sets], "said": [str(w.message) for w in caught]}


Points = list[tuple[np.ndarray, np.ndarray | None]]


def by_phonopy(path: Path) -> Points:
    """Return what phonopy computes at Γ from its own file, without a field."""
    import phonopy
    import yaml

    document = yaml.load(text(path), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    beside = {name: str(path.parent / file) for name, file in (
        ("force_sets_filename", "FORCE_SETS"), ("force_constants_filename", "FORCE_CONSTANTS"),
        ("force_constants_filename", "force_constants.hdf5"))
        if (path.parent / file).is_file()}
    unit, primitive = (document.get(f"{name}_cell") for name in ("unit", "primitive"))
    if "primitive_matrix" not in document and unit and primitive and (
            len(unit["points"]) == len(primitive["points"])):
        beside["primitive_matrix"] = "P"  # else phonopy looks for a smaller one than the file's
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # phonopy does not take the capital letter of its own older versions.
        own = io.StringIO(text(path).replace("Angstrom", "angstrom"))
        loaded = phonopy.load(own, is_nac=False, log_level=0, **beside)
        loaded.run_qpoints([[0, 0, 0]], with_eigenvectors=True)
    meV = loaded.qpoints.frequencies[0] * MEV_PER_THZ
    vectors = loaded.qpoints.eigenvectors[0].T.reshape(len(meV), -1, 3)
    return [(np.sort(meV), shares(meV, vectors))]


def shares(meV: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return Σ ω|ω| |e|² of each atom: what degenerate modes and phases leave unchanged."""
    return np.einsum("m,mkx->k", meV * np.abs(meV), np.abs(vectors) ** 2)


def by_yaml(path: Path) -> Points:
    """Return what a table of phonopy lists for each wave vector."""
    import yaml

    document = yaml.load(text(path), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    found: Points = []
    for point in document["phonon"]:
        meV = np.array([band["frequency"] for band in point["band"]]) * MEV_PER_THZ
        parts = np.array([band["eigenvector"] for band in point["band"]], dtype=float)
        found.append((np.sort(meV), shares(meV, parts[..., 0] + 1j * parts[..., 1])))
    return found


def by_printed(path: Path) -> Points:
    """Return the energies that ph.x, matdyn.x or dynmat.x printed into their file."""
    content = text(path)
    parts = re.split(r"^\s*q\s*=", content[content.index("iagonalizing"):], flags=re.M)[1:]
    return [(np.sort(np.array(re.findall(
        r"(?:freq|omega)\s*\(\s*\d+\)\s*=\s*([-\d.]+)", part), dtype=float)) * MEV_PER_THZ, None)
        for part in parts]


def by_xml(path: Path) -> Points:
    """Return the energies that ph.x printed into a .dyn.xml."""
    found = re.findall(r"<OMEGA\.\d+[^>]*>\s*(\S+)", text(path))
    return [(np.sort(np.array(found, dtype=float)) * MEV_PER_THZ, None)]


def facts(path: Path) -> set[str]:
    """Return what stands against a file of phonons: no Γ, no eigenvectors, no forces, no cell."""
    import yaml

    content, found = text(path), set()
    if path.suffix.lower() in (".yaml", ".yml"):
        document = yaml.load(content, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}
        found |= {"other"} if not {"phonon", "unit_cell", "primitive_cell"} & set(document) \
            else set()
        points = document.get("phonon") or []
        found |= {"no eigenvectors"} if points and "eigenvector" not in points[0]["band"][0] \
            else set()
        found |= {"no cell"} if points and not document.get("points") else set()
        beside = [path.parent / name for name in ("FORCE_SETS", "FORCE_CONSTANTS",
                                                  "force_constants.hdf5")]
        found |= {"no forces"} if not points and not any(p.is_file() for p in beside) \
            and "forces:" not in content and "\nforce_constants:" not in content else set()
    elif "iagonalizing the dynamical matrix" in content[:4000]:
        found.add("no cell")
    if "****" in content and "=****" in content.replace(" ", ""):
        found.add("overflow")
    return found


def differ(ours: dict[str, Any], other: list[Any]) -> str:
    """Compare energies and shares of the atoms at each wave vector, squared: 0.3 meV² or 0.2 %."""
    if len(ours["points"]) < len(other):
        return f"{len(ours['points'])} wave vectors, not {len(other)}"
    for at, (mine, theirs) in enumerate(zip(ours["points"], other, strict=False)):
        for what, one, two in (("meV", *[p[0] * np.abs(p[0]) for p in (mine, theirs)]),
                               ("meV² of an atom", mine[1], theirs[1])):
            if two is None:
                continue
            if one.shape != two.shape:
                return f"{len(one)} modes or atoms, not {len(two)}"
            off = np.abs(one - two) - np.maximum(0.3, 2e-3 * np.abs(two))
            if (k := int(np.argmax(off))) >= 0 and off[k] > 0:
                power = 0.5 if what == "meV" else 1
                return (f"{abs(one[k])**power:.3f}, not {abs(two[k])**power:.3f} {what} at wave"
                        f" vector {at + 1}")
    return ""




FORMATS: dict[str, dict[str, Any]] = {
    "phonopy parameters": {"phonopy": by_phonopy}, "phonopy table": {"a parse": by_yaml},
    ".dyn": {"ph.x": by_printed}, "modes of QE": {"matdyn.x, dynmat.x": by_printed},
    ".dyn.xml": {"ph.x": by_xml}}
NEEDFUL = (
    (r"eigenvector", "no eigenvectors", "no eigenvectors"),
    (r"force constants|FORCE_SETS|forces", "no forces", "no forces in it or beside it"),
    (r"crystal", "no cell", "no crystal in it or beside it"),
    (r"no phonopy file", "other", "another YAML file"),
    (r"too wide|not finite", "overflow", "numbers too wide for their columns"))


def format_of(path: Path) -> str:
    """Return the format of a file, by its name and its first lines; "" where it is another."""
    suffix, head = path.suffix.lower(), head_of(path)
    if head.lstrip().startswith("Dynamical matrix file"):
        return ".dyn"
    if "iagonalizing the dynamical matrix" in head[:4000]:
        return "modes of QE"
    if suffix == ".xml" and "<DYNAMICAL_MAT_" in text(path):
        return ".dyn.xml"
    if suffix in (".yaml", ".yml"):
        if re.search(r"^phonon:", text(path), re.M):
            return "phonopy table"
        if re.search(r"^(phonopy|unit_cell|primitive_cell):", head, re.M):
            return "phonopy parameters"
    return ""


def asked_for(message: str, options: dict[str, str], path: Path) -> dict[str, str]:
    """Return what a refusal asks for.

    As the crystal a .dyn file, a phonopy.yaml or a POSCAR beside the file; the direction in which
    modes of matdyn.x go on from Γ.
    """
    if "direction" in message and "direction" not in options:
        return _direction(path)
    if "crystal" not in message or options:
        return {}
    files = [p for p in sorted(path.parent.iterdir()) if p.is_file() and p != path]
    named = [p for p in files if p.name.upper().startswith("POSCAR") or p.suffix == ".vasp"]
    beside = [p for form in (".dyn", "phonopy parameters") for p in files
              if format_of(p) == form] or named
    return {"crystal": str(beside[0])} if beside else {}


def _direction(path: Path) -> dict[str, Any]:
    from perovskite_polaron.phonons.readers import read_phonons

    q = [np.array(words.split()[:3], dtype=float)
         for words in re.findall(r"^\s*q\s*=\s*\(?([^)\n]*)", text(path), re.M)]
    matrix = next((p for p in sorted(path.parent.iterdir()) if p.is_file()
                   and format_of(p).startswith(".dyn")), None)
    after = next((b for a, b in pairwise(q) if not a.any() and b.any()), None)
    if matrix is None or after is None:
        return {}
    lattice = read_phonons(matrix)[0].crystal.lattice_A
    along = after @ np.linalg.inv(lattice)
    return {"direction": (along / np.abs(along).max()).round(6).tolist()}
