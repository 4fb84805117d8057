"""Phonons as Quantum ESPRESSO writes them: ``.dyn`` files, and modes of matdyn.x and dynmat.x.

A ``.dyn`` file, or ``.dyn.xml``, holds second derivatives of the energy in Ry/bohr² (without
masses), the cell, and masses in units of twice the electron's (in the XML in amu). The mode files
hold frequencies and, in six decimals, either displacements (``flvec``, ``filout``) or eigenvectors
of the dynamical matrix (``fleig``, ``fileig``), each scaled to Σ|u|² = 1 without masses, in the
same layout: which of the two it is shows in which of them is orthogonal. Both programs use the
phase exp(2πi q·R) of the cell, as this project does, and give q and positions in units of 2π/alat
and alat.
"""

import re
import warnings
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.files import LineReader, read_text
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.pw_files import bravais_lattice, element
from perovskite_polaron.phonons.canonical import ORTHOGONALITY, canonical_modes, diagonalise
from perovskite_polaron.phonons.modes import Modes
from perovskite_polaron.units import AMU_KG, BOHR_ANGSTROM, ELECTRON_KG, MEV_PER_THZ, RYDBERG_EV

_AMU_PER_RYDBERG_MASS = 2 * ELECTRON_KG / AMU_KG
_LARGEST_DENOMINATOR = 12
# Squares of energies that agree to so many meV², or 1 %, are those that ph.x printed.
_PRINTED_MEV2 = 1.0
#: How the files of dynamical matrices begin, as text and as XML.
TITLE, XML_ROOT = "Dynamical matrix file", "<GEOMETRY_INFO"


@dataclass(frozen=True, eq=False)
class DynamicalMatrix:
    """One wave vector of a ``.dyn`` file.

    Attributes
    ----------
    crystal : Crystal
        The cell, in the axes of the calculation.
    masses_amu : (n,) float64
        Masses of the atoms.
    alat_A : float
        Lattice parameter in which the file counts, Å.
    q : (3,) float64
        Wave vector in reciprocal-lattice coordinates.
    force_constants_eV_A2 : (3n, 3n) complex128
        Φ(q) without masses and without the non-analytic term.
    epsilon_inf : (3, 3) float64 or None
        High-frequency dielectric tensor.
    born_charges : (n, 3, 3) float64 or None
        [atom, field, displacement] in units of e.
    """

    crystal: Crystal
    masses_amu: Array
    alat_A: float
    q: Array
    force_constants_eV_A2: NDArray[np.complex128]
    epsilon_inf: Array | None
    born_charges: Array | None

    def modes(self, provenance: str = "") -> Modes:
        """Return the modes of this matrix as it stands: no sum rule, no non-analytic term."""
        return diagonalise(self.crystal, self.masses_amu, self.force_constants_eV_A2, self.q,
                           provenance=provenance)


def read_dynamical_matrices(path: str | Path) -> tuple[DynamicalMatrix, ...]:
    """Return every wave vector of a ``.dyn`` file (ph.x writes the whole star of q into one).

    ε∞ and Born charges, which the file of Γ may hold, go with each of them.

    Raises
    ------
    InputError
        With file and line for a truncated file, a number that is none, or a lattice it cannot
        build.
    """
    text = read_text(path, "dynamical-matrix file of ph.x")
    if XML_ROOT in text[:500]:
        return _read_xml(Path(path), text)
    lines = LineReader(path, text=text)
    crystal, masses, alat_A = _header(lines, Path(path).name)
    n = len(crystal)
    lines.require(len(lines.lines) >= 4 * n**2, f"{n} atoms need {n**2} blocks of four lines: the"
                  " file is truncated")
    blocks: list[tuple[Array, NDArray[np.complex128]]] = []
    epsilon = charges = None
    while title := lines.find("Dynamical", "Dielectric Tensor", "Effective Charges E-U",
                              "Diagonalizing"):
        if "Diagonalizing" in title:
            break
        if "Dynamical" in title:
            line = lines.find("q = ", expected="the wave vector of a dynamical matrix")
            q = _after_equals(lines, line, 3)
            phi = np.empty((n, 3, n, 3), dtype=np.complex128)
            for i in range(n):
                for j in range(n):
                    pair = lines.row(2)
                    lines.require(tuple(pair) == (i + 1, j + 1), f"atoms {pair[0]:g} {pair[1]:g}"
                                  f" where {i + 1} {j + 1} belong")
                    rows = np.array([lines.row(6) for _ in range(3)])
                    phi[i, :, j] = rows[:, ::2] + 1j * rows[:, 1::2]
            blocks.append((q, phi.reshape(3 * n, 3 * n) * RYDBERG_EV / BOHR_ANGSTROM**2))
        elif "Dielectric" in title:
            epsilon = np.array([lines.row(3) for _ in range(3)])
        else:
            charges = np.empty((n, 3, 3))
            for k in range(n):
                lines.find("atom #", expected=f"the effective charge of atom {k + 1}")
                charges[k] = [lines.row(3) for _ in range(3)]
    else:
        raise lines.ended("before the modes that ph.x writes last")
    lines.require(blocks, "no dynamical matrix is in the file")
    to_fractional = crystal.lattice_A.T / alat_A
    found = tuple(DynamicalMatrix(crystal, masses, alat_A, q @ to_fractional, phi, epsilon, charges)
                  for q, phi in blocks)
    _compare(found[0], "\n".join(lines.lines[lines.at:]), path)
    return found


def _compare(matrix: DynamicalMatrix, printed: str, path: str | Path) -> None:
    """Warn where the first matrix does not give the frequencies that ph.x printed below it."""
    n = 3 * len(matrix.crystal)
    words = re.findall(r"(?:freq|omega) *\( *\d+\) *= *(-?\d+\.?\d*)", printed)[:n]
    if len(words) < n:
        return
    theirs, mine = np.array(words, dtype=float) * MEV_PER_THZ, matrix.modes().energies_meV
    squares = [np.sort(e * np.abs(e)) for e in (mine, theirs)]
    off = np.abs(squares[0] - squares[1]) / np.maximum(_PRINTED_MEV2, 0.01 * np.abs(squares[1]))
    if off.max() > 1:
        k = int(off.argmax())
        mine_k, theirs_k = (np.sign(e[k]) * np.sqrt(abs(e[k])) for e in squares)
        warnings.warn(f"{path}: its matrix and masses give a mode of {mine_k:.3f} meV, ph.x printed"
                      f" {theirs_k:.3f} into it: one of them was changed; the matrix is taken",
                      stacklevel=3)


def read_matdyn_modes(path: Path, crystal: Crystal, masses_amu: Array, alat_A: float | None = None,
                      direction: Array | None = None) -> tuple[Modes, ...]:
    """Return the modes in a file of matdyn.x (``flvec``, ``fleig``) or dynmat.x (``filout``, ...).

    Parameters
    ----------
    path : path
        The file, which holds neither cell nor masses.
    crystal : Crystal
        The cell of the calculation in its own axes and order of atoms.
    masses_amu : (n,) float64
        Those of the calculation.
    alat_A : float, optional
        Lattice parameter of the calculation in Å, needed for q ≠ 0 only.
    direction : (3,) float64, optional
        Cartesian, along which q went to 0 in the run, if it did.

    Raises
    ------
    InputError
        With file and line for a damaged file, and naming the mismatch when atoms, masses or order
        of the crystal are not those of the file.
    """
    lines = LineReader(path, "file of modes from matdyn.x or dynmat.x")
    root = np.sqrt(masses_amu)[:, None]
    sets = []
    for q, energies, vectors in _blocks(lines, len(crystal)):
        require(alat_A is not None or not q.any(), f"{path} counts q = {q.tolist()} in 2π/alat,"
                " which it does not hold: give the .dyn file of the calculation with --crystal")
        if _overlap(vectors * root) > ORTHOGONALITY >= _overlap(vectors):
            vectors = vectors / root
        fractional = np.zeros(3) if alat_A is None else _fractional(q, crystal.lattice_A / alat_A)
        along = None if q.any() else direction
        sets.append(canonical_modes(crystal, masses_amu, energies, vectors, fractional, along,
                                    path.name))
    return tuple(sets)


def _blocks(lines: LineReader, n: int) -> list[tuple[Array, Array, NDArray[np.complex128]]]:
    """Wave vector (2π/alat), energies (3n,) in meV and vectors (3n, n, 3) of each block."""
    blocks = []
    while line := lines.find("q = "):
        q = _after_equals(lines, line, 3)
        energies, vectors = [], []
        for mode in range(3 * n):
            title = lines.next(f"mode {mode + 1} of {3 * n}")
            while "****" in title and mode == 0:
                title = lines.next("mode 1")
            # "omega" until version 5.
            lines.require("freq" in title or "omega" in title, f"mode {mode + 1} does not begin"
                          f" here: the file has another number of atoms than the {n} of the"
                          " crystal, or it is damaged; give that of the calculation with --crystal")
            energies.append(_after_equals(lines, title, 1)[0] * MEV_PER_THZ)
            vectors.append([_vector(lines, f"the {n} atoms of mode {mode + 1}") for _ in range(n)])
        rest = lines.next("the line of asterisks that ends a wave vector")
        lines.require("****" in rest, f"the file goes on after {3 * n} modes: it has more than the"
                      f" {n} atoms of the crystal: give that of the calculation with --crystal")
        blocks.append((q, np.array(energies), np.array(vectors)))
    lines.require(blocks, "no mode is in the file")
    return blocks


def _fractional(q: Array, lattice: Array) -> Array:
    """q in reciprocal-lattice coordinates; a simple fraction in four decimals is what was meant.

    0.3333 printed for 1/3 would fit no supercell.
    """
    exact = q @ lattice.T
    simple = np.array([float(Fraction(float(v)).limit_denominator(_LARGEST_DENOMINATOR))
                       for v in exact])
    digits = 0.5e-4 * np.abs(lattice).sum(axis=1) + 1e-12
    return np.where(np.abs(simple - exact) <= digits, simple, exact)


def _overlap(vectors: NDArray[np.complex128]) -> float:
    rows = vectors.reshape(len(vectors), -1)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1), 1e-12)[:, None]
    return float(np.abs(rows.conj() @ rows.T - np.eye(len(rows))).max())


def _header(lines: LineReader, name: str) -> tuple[Crystal, Array, float]:
    lines.find(TITLE, expected="the line that begins a dynamical-matrix file")
    lines.at += 1  # a title, which may be blank
    kinds, n, ibrav, *celldm = lines.row(9)
    lines.require(kinds >= 1 and n >= 1 and kinds == int(kinds) and n == int(n),
                  f"{kinds:g} kinds and {n:g} atoms are not possible")
    alat_A = celldm[0] * BOHR_ANGSTROM
    if ibrav == 0:
        lines.next("the title of the basis vectors")
        lattice = alat_A * np.array([lines.row(3) for _ in range(3)])
    else:
        lattice = alat_A * bravais_lattice(int(ibrav), celldm)
    described = []
    for _ in range(int(kinds)):
        parts = lines.next("a kind of atom").split("'")
        label = re.match(r"\s*([A-Za-z]+)", parts[1]) if len(parts) == 3 else None
        if label is None:
            raise lines.error("this line should hold a kind of atom: number, 'name', mass")
        mass = lines.numbers(parts[2], 1)[0] * _AMU_PER_RYDBERG_MASS
        described.append((element(label[1], mass), mass))
    atoms, positions = [], []
    for _ in range(int(n)):
        _, kind, *position = lines.row(5)
        lines.require(1 <= kind <= len(described),
                      f"an atom of kind {kind:g} is not described above")
        atoms.append(described[int(kind) - 1])
        positions.append(position)
    return *_crystal(lattice, atoms, np.array(positions) * alat_A, name), alat_A


def _crystal(lattice: Array, atoms: list[tuple[str, float]], positions_A: Array,
             name: str) -> tuple[Crystal, Array]:
    fractional = positions_A @ np.linalg.inv(lattice)
    crystal = Crystal(lattice, tuple(symbol for symbol, _ in atoms), fractional, name)
    return crystal, np.array([mass for _, mass in atoms])


def _read_xml(path: Path, text: str) -> tuple[DynamicalMatrix, ...]:
    """As read_dynamical_matrices, from the XML of ph.x: arrays there have Fortran's order."""
    def values(parent: Any, name: str, *shape: int) -> Array:
        numbers = str(parent.find(name).text).replace(",", " ").split()
        found = np.array([float(word) for word in numbers]).reshape(shape)
        require(np.isfinite(found).all(), f"{name} is not finite", ValueError)
        return found

    try:
        require("<!DOCTYPE" not in text, f"{path} declares a DOCTYPE, which ph.x does not write")
        root = ElementTree.fromstring(text)
        head: Any = root.find("GEOMETRY_INFO")
        alat_A = float(values(head, "CELL_DIMENSIONS", 6)[0]) * BOHR_ANGSTROM
        rows: list[Any] = [e for e in head if e.tag.startswith("ATOM.")]
        atoms = []
        for atom in rows:
            mass = float(values(head, f"MASS.{int(atom.get('INDEX'))}", 1)[0])
            atoms.append((element(atom.get("SPECIES").strip(), mass), mass))
        tau = np.array([[float(word) for word in atom.get("TAU").split()] for atom in rows])
        crystal, masses = _crystal(values(head, "AT", 3, 3) * alat_A, atoms, tau * alat_A,
                                   path.name)
        n, field = len(atoms), root.find("DIELECTRIC_PROPERTIES")
        epsilon = charges = None
        if field is not None and field.find("EPSILON") is not None:
            epsilon = values(field, "EPSILON", 3, 3).T
        if field is not None and field.find("ZSTAR") is not None:
            charges = np.array([values(field.find("ZSTAR"), f"Z_AT_.{k + 1}", 3, 3).T
                                for k in range(n)])
        found = []
        for block in (e for e in root if e.tag.startswith("DYNAMICAL_MAT_.")):
            q = values(block, "Q_POINT", 3) @ (crystal.lattice_A.T / alat_A)
            phi = np.array([[values(block, f"PHI.{i + 1}.{j + 1}", 3, 3, 2).swapaxes(0, 1)
                             for j in range(n)] for i in range(n)]).view(np.complex128)[..., 0]
            phi = phi.transpose(0, 2, 1, 3).reshape(3 * n, 3 * n) * RYDBERG_EV / BOHR_ANGSTROM**2
            found.append(DynamicalMatrix(crystal, masses, alat_A, q, phi, epsilon, charges))
    except (ElementTree.ParseError, AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no dynamical matrix of ph.x in XML, or damaged ({error}):"
                         " write it again") from None
    require(found, f"{path} holds no dynamical matrix: give the .dyn.xml of ph.x, not the force"
            " constants of q2r.x")
    return tuple(found)


def _after_equals(lines: LineReader, line: str, count: int) -> Array:
    return np.array(lines.numbers(line.partition("=")[2], count))


def _vector(lines: LineReader, expected: str) -> NDArray[np.complex128]:
    line = lines.next(expected)
    lines.require(line.lstrip().startswith("("), "a displacement belongs here, one for each of"
                  f" {expected}: give the right crystal with --crystal")
    values = lines.numbers(line, 6)
    return np.array(values[::2]) + 1j * np.array(values[1::2])
