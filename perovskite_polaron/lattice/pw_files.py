"""Crystals in inputs and outputs of pw.x, and the lattice vectors of each ``ibrav``."""

import ast
import operator
import re
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.lattice.crystal import ISOTOPES, Crystal, isotopes_amu
from perovskite_polaron.units import BOHR_ANGSTROM

_CARD = re.compile(
    r"^[ \t]*(ATOMIC_\w+|CELL_PARAMETERS|\w*K_POINTS|CONSTRAINTS|OCCUPATIONS|SOLVENTS|HUBBARD"
    r"|\w+_POSITIONS|END_ENGINE\w+)\b(?!\s*=)(.*)", re.MULTILINE | re.IGNORECASE)
_SYSTEM = re.compile(r"^[ \t]*&system\b.*?(?=^[ \t]*&|/[ \t]*&end|\Z)",
                     re.MULTILINE | re.IGNORECASE | re.DOTALL)
# Twice the lattice vectors, in those of the conventional cell.
_BODY, _BASE = ((1, 1, 1), (-1, 1, 1), (-1, -1, 1)), ((1, 1, 0), (-1, 1, 0), (0, 0, 2))
_CENTRINGS = {
    **dict.fromkeys((1, 4, 6, 8, 12, -12, 14), ((2, 0, 0), (0, 2, 0), (0, 0, 2))),
    2: ((-1, 0, 1), (0, 1, 1), (-1, 1, 0)), -3: ((-1, 1, 1), (1, -1, 1), (1, 1, -1)), 3: _BODY,
    7: ((1, -1, 1), (1, 1, 1), (-1, -1, 1)), -9: ((1, -1, 0), (1, 1, 0), (0, 0, 2)), 9: _BASE,
    91: ((2, 0, 0), (0, 1, -1), (0, 1, 1)), 10: ((1, 0, 1), (1, 1, 0), (0, 1, 1)), 11: _BODY,
    13: ((1, 0, -1), (0, 2, 0), (1, 0, 1)), -13: _BASE}
_SIGNS: dict[type, Callable[[float], float]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_ALGEBRA: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: operator.pow}
# No heavier element has a pseudopotential: Nh is nitrogen with a core hole.
_HEAVIEST = 103


def bravais_lattice(ibrav: int, celldm: Sequence[float]) -> Array:
    """Return the lattice vectors (3, 3) of an ``ibrav`` of pw.x, in units of celldm(1).

    Parameters
    ----------
    ibrav : int
        Any but 0, as in the input description of pw.x; -13 as since its version 6.4.1 (before, it
        was the same lattice in other vectors).
    celldm : (6,)
        Lattice parameter, b/a, c/a, cosines; those that the ibrav does not need are not looked at.

    Raises
    ------
    InputError
        For an ibrav that pw.x does not have, and numbers that make no cell.
    """
    _, b, c, first, second, third = map(float, celldm)
    kind = abs(ibrav)
    require(kind == 5 or ibrav in _CENTRINGS,
            f"ibrav = {ibrav} is no lattice of pw.x: use ibrav = 0 and CELL_PARAMETERS")
    b, c = b if kind >= 8 else 1.0, c if kind >= 4 and kind != 5 else 1.0
    alpha, beta, gamma = {4: (0, 0, -0.5), 12: (0, 0, first), 13: (0, 0, first),
                          -12: (0, second, 0), -13: (0, second, 0),
                          14: (first, second, third)}.get(ibrav, (0, 0, 0))
    with np.errstate(invalid="ignore", divide="ignore"):
        if kind == 5:
            z, x = np.sqrt(1 + 2 * first), np.sqrt(1 - first)
            lattice = (z + x) / 3 - x * np.eye(3)
            if ibrav > 0:  # the same vectors, turned until their sum is along z
                x, y, z = x / np.sqrt(2), x / np.sqrt(6), z / np.sqrt(3)
                lattice = np.array([[x, -y, z], [0, 2 * y, z], [-x, -y, z]])
        else:
            sine = np.sqrt(1 - gamma**2)
            y = (alpha - beta * gamma) / sine
            plain = [[1, 0, 0], [b * gamma, b * sine, 0],
                     [c * beta, c * y, c * np.sqrt(1 - beta**2 - y**2)]]
            lattice = np.array(_CENTRINGS[ibrav]) / 2 @ plain
        possible = min(b, c) > 0 and np.linalg.det(lattice) > 1e-9
    require(possible, f"celldm = {list(celldm)} make no cell with ibrav = {ibrav}: correct them")
    return lattice


def element(label: str, mass_amu: float, file: str = "") -> str:
    """Return the element of a species label such as ``Brh`` or ``Fe_up``.

    It is the longest symbol that the label begins with, unless the mass is that of the shorter one
    and the name of the pseudopotential does not say the longer ("Hf1 1.008 H.upf" is H).
    """
    from ase.data import atomic_masses, atomic_numbers

    letters, named = (re.match("[A-Za-z]*", t)[0] for t in (label, file))  # type: ignore[index]
    found = [s for s in (letters[:2].capitalize(), letters[:1].upper())
             if 0 < atomic_numbers.get(s, 0) <= _HEAVIEST]
    require(found or letters in ISOTOPES, f"the label {label!r} begins with no element: rename it")
    if letters in ISOTOPES:
        return "H"
    apart = mass_amu / atomic_masses[atomic_numbers[found[-1]]] - 1
    return found[-1 if abs(apart) < 0.02 and named.capitalize() != found[0] else 0]


def read_pw_input(path: Path, text: str) -> Crystal:
    """Return the crystal of an input of pw.x.

    Raises
    ------
    InputError
        For what pw.x refuses too, and for a space group with some of the atoms.
    """
    import f90nml

    head, *found = _CARD.split(text)
    cards: dict[str, tuple[str, list[list[str]]]] = {}
    for name, unit, body in zip(found[::3], found[1::3], found[2::3], strict=True):
        require(name.upper() not in cards, f"{path} has {name} twice: keep one structure in it")
        rows = [line.split() for line in re.sub("[!#].*", "", body).splitlines()]
        cards[name.upper()] = re.sub("[!#].*|[^A-Z_]", "", unit.upper()), [r for r in rows if r]
    parser, group = f90nml.Parser(), _SYSTEM.search(head)
    parser.global_start_index = 1
    # It would drop values that it cannot place, and prints where it cannot go on.
    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("error")
        system: Any = parser.reads(group[0] + "\n/").get("system", {}) if group else {}
    require({"ATOMIC_SPECIES", "ATOMIC_POSITIONS"} <= {*cards} and {"nat", "ntyp"} <= {*system},
            f"{path} is no input of pw.x with a structure: &SYSTEM or ATOMIC_POSITIONS is missing")
    require(not system.get("space_group"),
            f"{path} has a space group and some of the atoms: give the output of pw.x")
    celldm = [float(v or 0) for v in (*np.ravel(system.get("celldm", 0)), *6 * [0])][:6]
    a, b, c, ab, ac, bc = (float(system.get(key) or 0)
                           for key in ("a", "b", "c", "cosab", "cosac", "cosbc"))
    ibrav, (unit, vectors) = system.get("ibrav"), cards.get("CELL_PARAMETERS", ("", []))
    require(ibrav is not None and (ibrav == 0) == bool(vectors)
            and bool(a) + bool(celldm[0]) + (unit in ("BOHR", "ANGSTROM")) < 2,
            f"{path} must say its cell once: ibrav with celldm or A, or CELL_PARAMETERS")
    if a:
        celldm = [a / BOHR_ANGSTROM, b / a, c / a, *((bc, ac, ab) if ibrav == 14 else (ab, ac, 0))]
    alat_A = celldm[0] * BOHR_ANGSTROM
    if vectors:
        lattice_A = _numbers(vectors[:3]) * _unit_A(path, unit, alat_A, alat_A or BOHR_ANGSTROM)
        alat_A = alat_A or float(np.linalg.norm(lattice_A[0]))
    else:
        lattice_A = bravais_lattice(ibrav, celldm) * alat_A
    kinds = {label: (element(label, _number(mass), Path(file).name), _number(mass))
             for label, mass, file, *_ in cards["ATOMIC_SPECIES"][1][: system["ntyp"]]}
    unit, rows = cards["ATOMIC_POSITIONS"]
    require(len(rows) == system["nat"], f"{path} says nat = {system['nat']}, but {len(rows)} atoms"
            " follow: correct it")
    return _crystal(path, lattice_A, kinds, rows, unit, alat_A)


def read_pw_output(path: Path, text: str) -> Crystal:
    """Return the last structure in an output of pw.x; a run that did not end well is a warning."""
    run = text.rpartition("Program PWSCF")[2]
    count, alat, exact = (re.search(pattern, run) for pattern in (
        r"number of atoms/cell += *(\d+)", r"lattice parameter \(\w+\) += *([\d.]+)",
        r"celldm\(1\)= *([\d.]+)"))
    kinds = {label: (element(label, float(mass), pseudo), float(mass)) for label, mass, pseudo in
             re.findall(r"^ +(\S+) +[\d.]+ +([\d.]+) +(?:(\w+) *)?\( *[\d.]+\)", run, re.MULTILINE)}
    axes = re.findall(r"a\(\d\) = \((.*)\)", run)[:3]
    atoms = re.findall(r"^ +\d+ +(\S+) +tau\( *\d+\) = \((.*)\)", run, re.MULTILINE)
    if not (count and alat and exact and len(axes) == 3 and len(atoms) >= int(count[1])):
        raise InputError(f"{path} holds no structure: it is no output of pw.x, or the run stopped"
                         " at once; give its input")
    n, alat_A = int(count[1]), float(alat[1]) * BOHR_ANGSTROM
    # A cell from another run, which the program read itself, is not that of celldm.
    if abs(float(exact[1]) - float(alat[1])) < 1e-4:
        alat_A = float(exact[1]) * BOHR_ANGSTROM
    lattice_A = _numbers([axis.split() for axis in axes]) * alat_A
    unit, rows = "ALAT", [[label, *x.split()] for label, x in atoms[:n]]
    steps = re.findall(r"^(?:CELL_PARAMETERS +\((.*)\)\n((?:.+\n){3})\n*)?"
                       rf"ATOMIC_POSITIONS +\((\w+)\)\n((?:\S.*\n){{{n}}})", run, re.MULTILINE)
    if steps:
        cell_unit, vectors, unit, block = steps[-1]
        rows = [line.split() for line in block.splitlines()]
        if vectors:
            lattice_A = _numbers([line.split() for line in vectors.splitlines()]) * _unit_A(
                path, cell_unit.upper().partition("=")[0], alat_A)
    done = re.search("bfgs converged|convergence achieved", run) or not re.search(
        "BFGS Geometry|Damped|FIRE", run)
    if not done or "JOB DONE" not in run:
        warnings.warn(f"{path} is of a run that did not end or not converge: its last structure is"
                      " taken", stacklevel=4)
    return _crystal(path, lattice_A, kinds, rows, unit.upper(), alat_A)


def _crystal(path: Path, lattice_A: Array, kinds: dict[str, tuple[str, float]],
             rows: list[list[str]], unit: str, alat_A: float) -> Crystal:
    """The crystal of some rows (label, three coordinates); kinds: label -> element and mass."""
    unknown = next((label for label, *_ in rows if label not in kinds), "")
    require(not unknown, f"{path} holds {unknown}, which is not among its species: correct it")
    positions = _numbers([row[1:4] for row in rows])
    if unit != "CRYSTAL":
        positions = positions * _unit_A(path, unit, alat_A, alat_A) @ np.linalg.inv(lattice_A)
    species, masses = zip(*(kinds[row[0]] for row in rows), strict=True)
    return Crystal(lattice_A, species, positions, path.name,
                   isotopes_amu=isotopes_amu(species, masses))


def _unit_A(path: Path, unit: str, alat_A: float, unsaid_A: float = 0.0) -> float:
    """The unit of a card in Å."""
    known = {"BOHR": BOHR_ANGSTROM, "ANGSTROM": 1.0, "ALAT": alat_A, "": unsaid_A}
    require(known.get(unit), f"{path} has positions or a cell in {unit.lower() or 'alat'}: give"
            " them in angstrom, bohr, crystal, or alat with celldm(1)")
    return known[unit]


def _numbers(rows: list[list[str]]) -> Array:
    return np.array([[_number(word) for word in row] for row in rows])


def _number(word: str) -> float:
    """A number as Fortran writes it, or an algebraic expression of numbers, as 2*(1/3)."""
    plain = word.lower().replace("d", "e")
    try:
        return float(plain)
    except ValueError:
        tree = ast.parse(plain[:200].replace("^", "**"), mode="eval")
        return _value(tree.body)


def _value(node: ast.expr) -> float:
    """The value of an expression of numbers, + - * / ^ and brackets; ValueError for any other.

    Powers of powers and -a^b are refused: programs differ in what they do first.
    """
    inner = [node.left, node.right] if isinstance(node, ast.BinOp) and isinstance(
        node.op, ast.Pow) else [node.operand] if isinstance(node, ast.UnaryOp) else []
    if any(isinstance(one, ast.BinOp) and isinstance(one.op, ast.Pow) for one in inner):
        raise ValueError(f"{ast.unparse(node)!r} is not clear: write the number")
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if isinstance(node, ast.UnaryOp) and type(node.op) in _SIGNS:
        return _SIGNS[type(node.op)](_value(node.operand))
    if isinstance(node, ast.BinOp) and type(node.op) in _ALGEBRA:
        return float(_ALGEBRA[type(node.op)](_value(node.left), _value(node.right)))
    raise ValueError(f"{ast.unparse(node)!r} is no number and no algebra of numbers")
