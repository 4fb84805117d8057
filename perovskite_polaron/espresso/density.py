"""A converged charge density of pw.x, moved along with the atoms: where the next, alike calculation starts.

To the density of the finished calculation the densities of its free atoms are subtracted where they were, and those of
the new atoms added where they are now. What the atoms share by bonding stays; this is how molecular dynamics extrapolates.
Where the same cells without the core hole are known, the difference of their densities says it better: what is left is
only how hole and displacement act on each other.

This runs in threads, beside others that start programs. OpenBLAS shuts its threads down at a fork, and a product that it is
just computing then never ends: large products are einsum's here, which computes them by itself.

Half the Lanczos runs: the chains of k and -k are the same when the crystal has time-reversal symmetry.

xspectra.x always runs over the full grid. Given a save file that calls some k points done, it goes on with the others
(its own restart); the chains it was spared are then put in from their partners. H(-k) is the complex conjugate of H(k),
and so is the starting vector of a real polarisation, so that norms and coefficients, which are real, are equal.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perovskite_polaron.errors import ComputationError
from perovskite_polaron.files import read_text, write_atomically
from perovskite_polaron.units import BOHR_ANGSTROM

_MARKER = np.dtype("<i4")
_Q_STEP = 0.005  # 1/bohr; the form factor is smooth on the scale of 1/(radius of an atom)
_ATOM_RADIUS_BOHR = 10.0


@dataclass(frozen=True)
class Atoms:
    """The atoms of a pw.x input: lattice (3, 3) in Å, fractional positions (n, 3), and the UPF file of each."""

    lattice_A: NDArray[np.float64]
    positions: NDArray[np.float64]
    files: tuple[Path, ...]


def read_atoms(deck: Path) -> Atoms:
    """Read the atoms of an input that pw_deck wrote; its pseudopotentials lie in ``pseudo`` beside it."""
    lines = deck.read_text().split("\n")

    def card(name: str, count: int) -> list[list[str]]:
        start = next(k for k, line in enumerate(lines) if line.startswith(name)) + 1
        return [line.split() for line in lines[start : start + count]]

    count, species = (int(re.search(rf"^\s*{key} = (\d+)$", "\n".join(lines), re.MULTILINE)[1]) for key in ("nat", "ntyp"))  # type: ignore[index]
    file = {label: deck.parent / "pseudo" / name for label, _, name in card("ATOMIC_SPECIES", species)}
    rows = card("ATOMIC_POSITIONS", count)
    return Atoms(
        np.array(card("CELL_PARAMETERS", 3), dtype=np.float64),
        np.array([row[1:4] for row in rows], dtype=np.float64),
        tuple(file[row[0]] for row in rows),
    )


def move_density(path: Path, old: Atoms, new: Atoms) -> None:
    """Move a ``charge-density.dat``, which belongs to the old atoms, to the new ones, in the same cell.

    Raises ComputationError when the file is not one of pw.x. The total charge need not agree: pw.x scales it.
    """
    records, miller, density = _read(path)
    for atoms, other, sign in ((old, new, -1.0), (new, old, 1.0)):
        # Atoms that stay what and where they are cancel.
        moved = [
            k
            for k in range(len(atoms.files))
            if atoms.files[k].name != other.files[k].name or not np.array_equal(atoms.positions[k], other.positions[k])
        ]
        density += sign * _free_atoms(atoms, moved, miller)
    _write(path, records, density)


def add_difference(path: Path, plus: Path, minus: Path) -> None:
    """Add the difference of two densities of the same cell and cut-off to a third.

    Raises ComputationError when one is not a density of pw.x, or is on another grid.
    """
    records, miller, density = _read(path)
    for other, sign in ((plus, 1.0), (minus, -1.0)):
        _, theirs, more = _read(other)
        if not np.array_equal(theirs, miller):
            raise ComputationError(f"{other} is on another grid than {path}: run the job from free atoms")
        density += sign * more
    _write(path, records, density)


def turn_density(path: Path, rotation: ArrayLike, translation: ArrayLike) -> None:
    """Replace a density by its image under x' = R x + t, an isometry of the lattice, in fractional coordinates.

    rotation (3, 3) int, translation (3,). Raises ComputationError when the file is not a density of pw.x, or holds half of
    the reciprocal lattice only.
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
    if not np.array_equal(keys[place], wanted):
        raise ComputationError(f"{path} does not hold the images of all its waves: run the job from free atoms")
    turned = np.empty_like(density)
    turned[place] = density * np.exp(-2j * np.pi * np.einsum("gi,i->g", image, np.asarray(translation, dtype=np.float64)))
    _write(path, records, turned)


def _read(path: Path) -> tuple[list[bytes], NDArray[np.int32], NDArray[np.complex128]]:
    """Return the records of a density, its Miller indices (n, 3), and its coefficients (n,), e/bohr³."""
    records = _records(path)
    if len(records) < 4 or len(records[2]) * 4 != len(records[3]) * 3:
        raise ComputationError(f"{path} is not a charge density of pw.x: delete its folder and run again")
    miller = np.frombuffer(records[2], _MARKER).reshape(-1, 3)
    return records, miller, np.frombuffer(records[3], np.complex128).copy()


def _write(path: Path, records: list[bytes], density: NDArray[np.complex128]) -> None:
    parts = []
    for record in (*records[:3], density.tobytes(), *records[4:]):
        marker = np.array(len(record), _MARKER).tobytes()
        parts += [marker, record, marker]
    write_atomically(path, b"".join(parts), durable=False)


def _records(path: Path) -> list[bytes]:
    """Return the records of a Fortran unformatted file: three of the grid, then one (or two, with spin) densities."""
    data = path.read_bytes()
    records, at = [], 0
    while at < len(data):
        size = int(np.frombuffer(data, _MARKER, 1, at)[0])
        records.append(data[at + 4 : at + 4 + size])
        at += size + 8
        if size < 0 or at > len(data):
            raise ComputationError(f"{path} is damaged: delete its folder and run again")
    return records


def _free_atoms(atoms: Atoms, which: list[int], miller: NDArray[np.int32]) -> NDArray[np.complex128]:
    """Return the Fourier coefficients, e/bohr³, of the superposed densities of some atoms, one for each Miller index."""
    lattice_bohr = atoms.lattice_A / BOHR_ANGSTROM
    volume = abs(np.linalg.det(lattice_bohr))
    q = np.linalg.norm(np.einsum("gi,ji->gj", miller, 2 * np.pi * np.linalg.inv(lattice_bohr)), axis=1)
    total = np.zeros(len(miller), np.complex128)
    for file in dict.fromkeys(atoms.files[k] for k in which):
        phases = np.zeros(len(miller), np.complex128)
        for k in which:
            if atoms.files[k] == file:
                phase = np.ones(len(miller), np.complex128)
                for axis in range(3):
                    low, high = miller[:, axis].min(), miller[:, axis].max()
                    turns = np.exp(-2j * np.pi * np.arange(low, high + 1) * atoms.positions[k, axis])
                    phase *= turns[miller[:, axis] - low]
                phases += phase
        total += phases * form_factor(file, q) / volume
    return total


def form_factor(file: Path, q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ∫ 4πr² ρ(r) sin(qr)/(qr) dr of the free atom of a UPF file (electrons) at wave numbers q (1/bohr)."""
    text = file.read_text(encoding="utf-8", errors="replace")
    radius, density = (
        np.array(re.search(rf"<{tag}(?=[\s>])[^>]*>(.*?)</{tag}>", text, re.DOTALL)[1].split(), dtype=np.float64)  # type: ignore[index]
        for tag in ("PP_R", "PP_RHOATOM")
    )
    # Beyond this radius the tables of free atoms are noise; pw.x cuts there too.
    inside = radius <= _ATOM_RADIUS_BOHR
    radius, density = radius[inside], density[inside]
    grid = np.arange(0, q.max() + 2 * _Q_STEP, _Q_STEP)
    weight = density * np.gradient(radius)
    table = np.array([np.sum(weight * np.sinc(one * radius / np.pi)) for one in grid])
    return np.interp(q, grid, table)



_WHAT = "save file of XSpectra"


@dataclass(frozen=True)
class KGrid:
    """The grid of an xspectra.x input: divisions and shifts (0 or 1), in the order in which the program counts it."""

    divisions: tuple[int, int, int]
    shift: tuple[int, int, int]

    def partners(self) -> list[int]:
        """Return for every k point the index of -k, the third direction counted fastest; some are their own partners."""
        n1, n2, n3 = self.divisions
        s1, s2, s3 = self.shift
        return [
            ((-i - s1) % n1 * n2 + (-j - s2) % n2) * n3 + (-k - s3) % n3
            for i in range(n1)
            for j in range(n2)
            for k in range(n3)
        ]


def grid_of(deck: str) -> KGrid:
    """Return the grid of an xspectra.x input: its last line."""
    n1, n2, n3, s1, s2, s3 = map(int, deck.split("\n")[-2].split())
    return KGrid((n1, n2, n3), (s1, s2, s3))


def skipped(partners: list[int], pools: int) -> list[bool]:
    """Return which k points need not be run, one of each pair, so that every pool of processes has about as much to do."""
    count = len(partners)
    # XSpectra deals the points out in blocks, the first pools taking one more where they do not divide evenly.
    pool = [p for p in range(pools) for _ in range(count // pools + (p < count % pools))]
    load = [0] * pools
    for k, partner in enumerate(partners):
        load[pool[k]] += partner == k
    left_out = [False] * count
    pairs = [(k, partner) for k, partner in enumerate(partners) if k < partner]
    # Those within one pool leave no choice, so they are counted first.
    for pair in sorted(pairs, key=lambda pair: pool[pair[0]] != pool[pair[1]]):
        kept, spared = sorted(pair, key=lambda point: load[pool[point]])
        load[pool[kept]] += 1
        left_out[spared] = True
    return left_out


def begin(deck: str, fermi_eV: float, pools: int) -> tuple[str, str] | None:
    """Return the input that goes on from a save file, and that save file; None where no two k points are partners.

    fermi_eV: the level that XSpectra would take itself; it believes the file. The points to skip have a chain of norm 0,
    long enough for the terminator.
    """
    grid = grid_of(deck)
    left_out = skipped(grid.partners(), pools)
    if not any(left_out):
        return None
    most, check = (int(re.search(rf"^\s*{key} = (\d+)$", deck, re.MULTILINE)[1]) for key in ("xniter", "xcheck_conv"))  # type: ignore[index]
    count, length = len(left_out), min(check, most)
    lines = [
        "# save_file_version=       2",
        "# save_file_kind   =unfinished                      ",
        "# date=        ",
        "# number of lanczos stored=   1",
        "#",
        "#",
        " F 1",
        f" 1 {count} {most}",
        f" {length}",
        f" 0.0 {fermi_eV!r}",
        " 0.0 0.0 0.0",
        " 0.0 0.0 0.0",
        " " + " ".join(str(int(skip)) for skip in left_out),
        " 0.0" * count,
        f" {length}" * count,
        *[" 0.0" * length] * count,
        *[" 1.0" * length] * count,
    ]
    restarting = deck.replace("&input_xspectra", "&input_xspectra\n  restart_mode = 'restart'", 1)
    return restarting, "\n".join(lines) + "\n"


def complete(path: Path, deck: str) -> None:
    """Give the chains that a finished save file has for k alone to -k as well; a file that has them all is left alone.

    Raises ComputationError when neither partner has one.
    """
    lines = read_text(path, _WHAT).split("\n")
    head = [n for n, line in enumerate(lines) if line.startswith("#")]
    words = " ".join(lines[len(head) :]).split()
    # spin flag, spins; l, k points, most steps; longest chain; core and Fermi energy; two vectors
    count, longest, start = int(words[3]), int(words[5]), 14
    norms, lengths = words[start : start + count], words[start + count : start + 2 * count]
    missing = {k for k, norm in enumerate(norms) if float(norm) == 0.0}
    if not missing:
        return
    tables = start + 2 * count
    a, b = (
        [words[t + k * longest : t + (k + 1) * longest] for k in range(count)]
        for t in (tables, tables + count * longest)
    )
    for k, partner in enumerate(grid_of(deck).partners()):
        if k in missing:
            if partner in missing:
                raise ComputationError(f"{path} has no chain of k point {k + 1}: delete that job's folder and run again")
            norms[k], lengths[k], a[k], b[k] = norms[partner], lengths[partner], a[partner], b[partner]
    rows = [norms, lengths, *a, *b]
    text = lines[: len(head)] + [" ".join(words[m:n]) for m, n in ((0, 2), (2, 5), (5, 6), (6, 8), (8, 11), (11, 14))]
    write_atomically(path, "\n".join([*text, *(" ".join(row) for row in rows)]) + "\n")
