"""A converged charge density of pw.x, moved along with the atoms: the initial density of a like
calculation.

From the density of the finished calculation the densities of its free atoms are subtracted where
they were, and those of the new atoms added where they are now. What the atoms share by bonding
stays; molecular dynamics extrapolates like this. Where the same cells without the core hole are
known, the difference of their densities says it better, and what the hole adds to the density of
its own free atom goes with that atom: what is left is only how hole and displacement act on each
other.

This runs in threads, beside others that start programs. OpenBLAS shuts its threads down at a fork,
and a product that it is just computing then never ends: large products are einsum's here, which
computes them by itself.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perovskite_polaron.errors import ComputationError, require
from perovskite_polaron.espresso.upf import numbers, section
from perovskite_polaron.files import write_atomically
from perovskite_polaron.units import BOHR_ANGSTROM

_MARKER = np.dtype("<i4")
_Q_STEP = 0.005  # 1/bohr; the form factor is smooth on the scale of 1/(radius of an atom)
_ATOM_RADIUS_BOHR = 10.0


@dataclass(frozen=True, eq=False)
class Atoms:
    """The atoms of a pw.x calculation.

    Attributes
    ----------
    lattice_A
        Lattice vectors (3, 3), Å.
    positions
        Fractional coordinates (n, 3).
    files
        The UPF file of each atom.
    """

    lattice_A: NDArray[np.float64]
    positions: NDArray[np.float64]
    files: tuple[Path, ...]


def move_density(path: Path, old: Atoms, new: Atoms) -> None:
    """Move a ``charge-density.dat``, which belongs to the old atoms, to the new ones, in the same
    cell.

    The total charge need not agree: pw.x scales it.

    Raises
    ------
    ComputationError
        When the file is not one of pw.x.
    """
    records, miller, density = _read(path)
    # Atoms that stay what and where they are cancel.
    moved = [k for k, (a, b) in enumerate(zip(old.files, new.files, strict=True))
             if a.name != b.name or not np.array_equal(old.positions[k], new.positions[k])]
    density += _free_atoms(new, moved, miller) - _free_atoms(old, moved, miller)
    _write(path, records, density)


def add_difference(path: Path, plus: Path, minus: Path) -> None:
    """Add the difference of two densities of the same cell and cut-off to a third.

    Raises
    ------
    ComputationError
        When one is not a density of pw.x, or is on another grid.
    """
    records, miller, density = _read(path)
    for other, sign in ((plus, 1.0), (minus, -1.0)):
        _, theirs, more = _read(other)
        require(np.array_equal(theirs, miller), f"{other} is on another grid than {path}: run the"
                " job from free atoms", ComputationError)
        density += sign * more
    _write(path, records, density)


def move_hole(path: Path, atoms: Atoms, plus: Atoms, minus: Atoms) -> None:
    """Let the core hole go with its atom, which ``add_difference`` moved as it is without a hole.

    Parameters
    ----------
    path
        The density of the cell with the hole, after the difference was added.
    atoms
        The atoms that it shall belong to, one of them with the hole.
    plus, minus
        The atoms of the two densities of the difference.
    """
    (k,) = (k for k, file in enumerate(atoms.files) if file.name != plus.files[k].name)
    files, ends = (atoms.files[k], plus.files[k]), np.stack([minus.positions[k], plus.positions[k]])
    move_density(path, Atoms(atoms.lattice_A, ends, files),
                 Atoms(atoms.lattice_A, ends[::-1], files))


def transform_density(path: Path, rotation: ArrayLike, translation: ArrayLike) -> None:
    """Replace a density by its image under x' = R x + t, an isometry of the lattice.

    Parameters
    ----------
    path
        The density.
    rotation, translation
        R (3, 3) of integers and t (3,), in fractional coordinates.

    Raises
    ------
    ComputationError
        When the file is not a density of pw.x, or holds half of the reciprocal lattice only.
    """
    records, miller, density = _read(path)
    # exp(2πi G·R⁻¹(x − t)): G goes to R⁻ᵀG.
    inverse = np.linalg.inv(np.asarray(rotation, dtype=np.float64))
    image = np.rint(np.einsum("gi,ij->gj", miller, inverse)).astype(np.int64)
    span = 2 * np.abs(miller).max() + 1
    radix = np.array([span**2, span, 1])
    keys, wanted = miller.astype(np.int64) @ radix, image @ radix
    order = np.argsort(keys)
    place = order[np.searchsorted(keys, wanted, sorter=order).clip(max=len(keys) - 1)]
    require(np.array_equal(keys[place], wanted), f"{path} does not hold the images of all its"
            " waves: run the job from free atoms", ComputationError)
    shift = np.einsum("gi,i->g", image, np.asarray(translation, dtype=np.float64))
    transformed = np.empty_like(density)
    transformed[place] = density * np.exp(-2j * np.pi * shift)
    _write(path, records, transformed)


def _read(path: Path) -> tuple[list[bytes], NDArray[np.int32], NDArray[np.complex128]]:
    """Return a density's records, its Miller indices (n, 3), and its coefficients (n,), e/bohr³."""
    data = path.read_bytes()
    # Fortran, unformatted: three records of the grid, then one (or two, with spin) of densities.
    records, at = [], 0
    while at < len(data):
        size = int(np.frombuffer(data, _MARKER, 1, at)[0])
        records.append(data[at + 4 : at + 4 + size])
        at += size + 8
        if size < 0 or at > len(data):
            raise ComputationError(f"{path} is damaged: delete its folder and run again")
    require(len(records) >= 4 and len(records[2]) * 4 == len(records[3]) * 3, f"{path} is not a"
            " charge density of pw.x: delete its folder and run again", ComputationError)
    miller = np.frombuffer(records[2], _MARKER).reshape(-1, 3)
    return records, miller, np.frombuffer(records[3], np.complex128).copy()


def _write(path: Path, records: list[bytes], density: NDArray[np.complex128]) -> None:
    parts = []
    for record in (*records[:3], density.tobytes(), *records[4:]):
        marker = np.array(len(record), _MARKER).tobytes()
        parts += [marker, record, marker]
    write_atomically(path, b"".join(parts), durable=False)


def _free_atoms(atoms: Atoms, which: list[int],
                miller: NDArray[np.int32]) -> NDArray[np.complex128]:
    """Return the Fourier coefficients, e/bohr³, of the superposed densities of some free atoms."""
    lattice_bohr = atoms.lattice_A / BOHR_ANGSTROM
    volume = abs(np.linalg.det(lattice_bohr))
    reciprocal = 2 * np.pi * np.linalg.inv(lattice_bohr)
    q = np.linalg.norm(np.einsum("gi,ji->gj", miller, reciprocal), axis=1)
    total = np.zeros(len(miller), np.complex128)
    for file in dict.fromkeys(atoms.files[k] for k in which):
        phases = np.zeros(len(miller), np.complex128)
        for k in which:
            if atoms.files[k] == file:
                phase = np.ones(len(miller), np.complex128)
                for index, x in zip(miller.T, atoms.positions[k], strict=True):
                    along = np.exp(-2j * np.pi * np.arange(index.min(), index.max() + 1) * x)
                    phase *= along[index - index.min()]
                phases += phase
        total += phases * form_factor(file, q) / volume
    return total


def form_factor(file: Path, q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ∫ 4πr² ρ(r) sin(qr)/(qr) dr of the free atom of a UPF file (e), q in 1/bohr."""
    text = file.read_text(encoding="utf-8", errors="replace")
    radius, density = (numbers(section(text, tag, file)) for tag in ("PP_R", "PP_RHOATOM"))
    # Beyond this radius the tables of free atoms are noise; pw.x cuts there too.
    inside = radius <= _ATOM_RADIUS_BOHR
    radius, density = radius[inside], density[inside]
    grid = np.arange(0, q.max() + 2 * _Q_STEP, _Q_STEP)
    weight = density * np.gradient(radius)
    table = np.array([np.sum(weight * np.sinc(one * radius / np.pi)) for one in grid])
    return np.interp(q, grid, table)
