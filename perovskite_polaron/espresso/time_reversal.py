"""Half the Lanczos runs: the chains of k and -k are the same when the crystal has time-reversal symmetry.

xspectra.x always runs over the full grid. Given a save file that calls some k points done, it goes on with the others
(its own restart); the chains it was spared are then put in from their partners. H(-k) is the complex conjugate of H(k),
and so is the starting vector of a real polarisation, so that norms and coefficients, which are real, are equal.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from perovskite_polaron.errors import ComputationError
from perovskite_polaron.files import read_text, write_atomically

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
