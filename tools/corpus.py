"""Does the package read a folder of other people's files as other programs do, or refuse them?

    python tools/corpus.py FOLDER [--kind structures] [--csv rows.csv] [--markdown table.md]

Every file below the folder is read by the package and by an independent program, each in a child
process with a limit of time and memory, and the numbers are compared: cell, atoms and space group;
the columns, energies and spectra of a table; the energies of modes at Γ. Kinds are the first folder
below FOLDER where that is structures, measured or phonons; --kind says one for all. Where the
package asks for an option (``--signal``, the unit) the file is read again with the first that its
message names. It needs gemmi, pymatgen, ASE, qe-tools, xraylarch, h5py and phonopy.

A refusal is needful when the file really has what it is refused for, or when nobody else can read
it either. What is refused without need, read wrongly, or ends in a traceback, is listed; the exit
status is 1 where anything is wrong or ends so.
"""

import argparse
import csv
import gc
import hashlib
import multiprocessing
import os
import re
import resource
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from corpus_programs import (  # noqa: E402
    FACTS, FORMATS, expected_energy, expected_signal, format_of, plain_table, readers_of)

from perovskite_polaron.errors import PolaronError  # noqa: E402

LIMIT_BYTES = 6 << 30
#: Part of a message, the fact that makes it right, and how the table calls it. The fact "" needs
#: none: the message itself is checked by reading again.
NEEDFUL = (
    (r"partial occupancy|disorder", "disordered", "disordered structure"),
    (r"holds \d+ structures|several", "several", "several structures or scans in one file"),
    (r"no atoms", "no atoms", "no atoms in it"),
    (r"zero volume|no lattice|Lattice", "no lattice", "a molecule without a lattice"),
    (r"overlap|apart", "overlap", "two atoms in one place"),
    (r"declares .* but its atoms", "other formula", "its atoms are not the formula it declares"),
    (r"", "macromolecule", "a macromolecule"),
    (r"", "failed", "the run stopped with an error"),
    (r"converge|unfinished|not finished|stopped|last|final|complete", "unfinished",
     "the run did not come to an end"),
    (r"", "path", "a path of images"),
    (r"", "template", "a template, no input"),
    (r"", "bad XDI", "not XDI by its specification"),
    (r"NaN|finite|infinity", "not finite", "NaN in it"),
    (r"stands twice|doubl", "twice", "an energy stands twice"),
    (r"unit", "no unit", "no unit in it"),
    (r"signal|column", "open", "several columns could be the signal"),
    (r"signal|column|unit|k\b|feff|spectrum|number", "no spectrum", "chi(k) or a FEFF path"),
    (r"no row of numbers|column", "no numbers", "no numbers in it"),
    (r"wave vector 0 0 0|Γ", "no gamma", "no modes at Γ"),
    (r"eigenvector", "no eigenvectors", "no eigenvectors"),
    (r"force constants|FORCE_SETS|forces", "no forces", "no forces in it or beside it"),
    (r"holds no crystal|crystal", "no cell", "no crystal in it or beside it"),
    (r"no phonopy file", "other", "another YAML file"),
    (r"too wide|not finite", "overflow", "numbers too wide for their columns"))


class Apart:
    """A child process that runs readers; a new one takes its place where it hangs or dies."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.start()

    def start(self) -> None:
        """Begin with a child that has every module at hand."""
        context = multiprocessing.get_context("fork")
        self.pipe, other = context.Pipe()
        self.child = context.Process(target=_serve, args=(other, self.pipe), daemon=True)
        self.child.start()
        other.close()

    def __call__(self, function: Callable[..., Any], *args: Any) -> tuple[str, Any]:
        """Return ("read", result), ("refused", message), ("traceback", text), ("hung", "") or
        ("died", exit status) of function(*args).
        """
        try:
            self.pipe.send((function, args))
            if self.pipe.poll(self.seconds):
                answer: tuple[str, Any] = self.pipe.recv()
                return answer
            answer = "hung", f"no answer within {self.seconds:g} s"
        except (EOFError, OSError):
            self.child.join(5)
            answer = "died", f"exit status {self.child.exitcode}"
        self.child.kill()
        self.child.join()
        self.start()
        return answer


def _serve(pipe: Any, parents: Any) -> None:
    parents.close()
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    while True:
        function, args = pipe.recv()
        try:
            answer = "read", function(*args)
        except PolaronError as error:
            answer = "refused", str(error)
        except BaseException as error:  # whatever a reader raises is a row of the table
            answer = "traceback", f"{type(error).__name__}: {error}"
        pipe.send(answer)


# What the package reads


def our_structure(path: Path, options: dict[str, str]) -> dict[str, Any]:
    """Return lattice, symbols, positions, the space group and what was warned of."""
    from perovskite_polaron.lattice.files import read_crystal
    from perovskite_polaron.lattice.symmetry import find_symmetry

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        crystal = read_crystal(path)
    symbols = ["D" if s == "H" and abs(m - 2.014) < 0.01 else s
               for s, m in zip(crystal.species, crystal.masses_amu, strict=True)]
    return {"structure": (crystal.lattice_A, symbols, crystal.positions),
            "group": find_symmetry(crystal).number, "said": [str(w.message) for w in caught]}


def our_measured(path: Path, options: dict[str, str]) -> dict[str, Any]:
    """Return the tables and the scans of a file of measured data."""
    from perovskite_polaron.measured.readers import read_scans, read_tables

    tables, scans = read_tables(path), read_scans([path], **options)
    return {"tables": [(list(t.names), np.array(t.columns), t.label) for t in tables],
            "scans": [(s.label, np.array(s.energy_eV), np.array(s.intensity)) for s in scans],
            "options": options, "said": [w for t in tables for w in t.warnings]}


def our_phonons(path: Path, options: dict[str, str]) -> dict[str, Any]:
    """Return the energies at Γ without a field."""
    from perovskite_polaron.phonons.readers import from_file

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = from_file(path)
    return {"meV": np.sort(found.modes.energies_meV), "said": [str(w.message) for w in caught]}


OURS = {"structures": our_structure, "measured": our_measured, "phonons": our_phonons}


# Comparison: "" where the numbers agree, else what differs


def differ_structure(ours: dict[str, Any], other: Any) -> str:
    """Compare cell, composition, every atom's place, and the space group at 0.001 Å."""
    import spglib

    (lattice, symbols, places), (their_lattice, their_symbols, their_places) = (
        ours["structure"], other)
    if len(symbols) != len(their_symbols):
        return f"{len(symbols)} atoms, not {len(their_symbols)}"
    if Counter(symbols) != Counter(their_symbols):
        return f"{dict(Counter(symbols))}, not {dict(Counter(their_symbols))}"
    metric, theirs = lattice @ lattice.T, their_lattice @ their_lattice.T
    if np.abs(metric - theirs).max() > 2e-4 * np.abs(metric).max():
        return f"edges {np.sqrt(np.diag(metric)).round(4)}, not {np.sqrt(np.diag(theirs)).round(4)}"
    kinds, their_kinds = np.array(symbols), np.array(their_symbols)
    for kind in set(symbols):
        rows = places[kinds == kind][:, None] - their_places[their_kinds == kind][None]
        far = np.linalg.norm((rows - np.rint(rows)) @ lattice, axis=-1)
        if far.min(axis=1).max() > 0.02 or len(set(far.argmin(axis=1))) < len(far):
            return f"{kind} is {far.min(axis=1).max():.3f} Å away"
    numbers = np.unique(their_symbols, return_inverse=True)[1]
    groups = [getattr(spglib.get_symmetry_dataset((their_lattice, their_places, numbers), e),
                      "number", 0) for e in (1e-3, 2e-4, 5e-3)]
    return "" if ours["group"] in groups else f"group {ours['group']}, not {groups[0]}"


def differ_measured(ours: dict[str, Any], other: Any) -> str:
    """Compare columns, or spectra of groups, with those of another program."""
    if isinstance(other, dict):
        return _differ_table(ours, other)
    if isinstance(other, np.ndarray):
        columns = ours["tables"][0][1]
        same = other.shape == columns.shape and np.allclose(columns, other, 1e-9, 0)
        return "" if same else f"columns {columns.shape}, not {other.shape}"
    if other and isinstance(other[0], np.ndarray):
        missing = [name for names, columns, _ in ours["tables"]
                   for name, column in zip(names, columns, strict=True)
                   if not any(a.shape == column.shape and np.allclose(a, column, 1e-9, 0)
                              for a in other)]
        return f"no array is {', '.join(missing)}" if missing else ""
    left = list(other)
    for label, energy, mu in ours["scans"]:
        fits = [one for one in left if one[1].shape == energy.shape and np.allclose(
            np.sort(one[1]), energy, 0, 1e-3) and np.allclose(
                one[2][np.argsort(one[1], kind="stable")], mu, 1e-6, 1e-9)]
        if not fits:
            return f"the group {label} is not as there"
        left.remove(fits[0])
    return ""


def _differ_table(ours: dict[str, Any], table: dict[str, Any]) -> str:
    names, columns, _ = ours["tables"][0]
    if columns.shape != table["columns"].shape:
        return f"columns {columns.shape}, not {table['columns'].shape}"
    if not np.allclose(columns, table["columns"], 1e-9, 0):
        return "other numbers in the columns"
    energy = expected_energy(table, ours["options"].get("energy_unit"))
    signal = expected_signal(table, ours["options"].get("signal"), names)
    if energy is None or signal is None:
        return "a signal or energy taken that the header does not single out"
    order = np.argsort(energy, kind="stable")
    if len(ours["scans"]) != 1:
        return f"{len(ours['scans'])} scans in one table"
    _, got, intensity = ours["scans"][0]
    if got.shape != energy.shape or not np.allclose(energy[order], got, 1e-6):
        return f"energies from {got[0]:g}, not {energy[order][0]:g} eV"
    return "" if np.allclose(signal[order], intensity, 1e-7, 1e-12) else "another column is taken"


def differ_phonons(ours: dict[str, Any], other: np.ndarray) -> str:
    """Compare the energies at Γ: to 0.01 meV or 0.1 %, acoustic ones to what they are squared."""
    mine = ours["meV"]
    if mine.shape != other.shape:
        return f"{len(mine)} modes, not {len(other)}"
    squares = np.abs(np.sign(mine) * mine**2 - np.sign(other) * other**2)
    off = squares > np.maximum(0.3, 2e-3 * other**2)
    k = int(np.argmax(squares))
    return f"{mine[k]:.3f}, not {other[k]:.3f} meV" if off.any() else ""


DIFFER = {"structures": differ_structure, "measured": differ_measured, "phonons": differ_phonons}


# Verdicts


def judge(kind: str, path: Path, apart: Apart) -> dict[str, str]:
    """Return a row of the table: format, verdict, and why."""
    form = format_of(path, kind)
    row = {"kind": kind, "format": form, "file": str(path), "verdict": "", "why": "", "by": ""}
    options: dict[str, str] = {}
    state, ours = apart(OURS[kind], path, options)
    while state == "refused" and kind == "measured" and (more := asked_for(ours, options, path)):
        options |= more
        row["by"] = " ".join(f"--{k} {v}" for k, v in options.items())
        state, ours = apart(OURS[kind], path, options)
    others = readers_of(kind, form)
    if state == "refused":
        facts = apart(FACTS[kind], path)[1]
        label = next((label for pattern, fact, label in NEEDFUL
                      if fact in facts and re.search(pattern, ours)), "")
        if not label and all(apart(reader, path)[0] != "read"
                             for reader in others.values()):
            label = "no other program reads it"
        why = f"{label}: {ours}" if label else ours
        return row | {"verdict": "refused" if label else "needless", "why": why}
    if state != "read":
        return row | {"verdict": state, "why": str(ours)}
    against = []
    for name, reader in others.items():
        state, theirs = apart(reader, path)
        if state != "read":
            continue
        try:
            wrong = DIFFER[kind](ours, theirs)
        except Exception as error:  # what cannot be compared does not agree
            wrong = f"{type(error).__name__}: {error}"
        if not wrong:
            note = "; ".join([*against, *ours["said"]])
            return row | {"verdict": "asked" if options else "right", "why": note,
                          "by": f"{name} {row['by']}".strip()}
        against.append(f"{name}: {wrong}")
    why = "; ".join([*against, *ours["said"]])
    return row | {"verdict": "wrong" if against else "unchecked", "why": why}


def asked_for(message: str, options: dict[str, str], path: Path) -> dict[str, str]:
    """Return the option that a refusal asks for, as someone who knows the file would answer."""
    signal = re.search(r'--signal "(.*?)"', message)
    if signal and "signal" not in options and signal[1] not in ("NAME", "NAME*"):
        return {"signal": signal[1]}
    if "unit" in message and "energy_unit" not in options:
        table = plain_table(path)
        size = np.median(table["columns"][0]) if len(table["columns"]) else 0
        return {"energy_unit": "keV" if 0 < size < 150 else "eV"}
    return {}


def walk(folder: Path, kind: str | None) -> list[tuple[str, Path]]:
    """Return kind and path of every file of a known format, each content once (but phonons)."""
    found, seen = [], set()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size):
        here = kind or path.relative_to(folder).parts[0]
        if here not in FORMATS or path.stat().st_size > 50_000_000 or not format_of(path, here):
            continue
        digest = here, hashlib.sha256(path.read_bytes()).hexdigest()
        if here == "phonons" or digest not in seen:
            found.append((here, path))
        seen.add(digest)
    return found


VERDICTS = ("right", "asked", "refused", "needless", "wrong", "unchecked", "traceback", "hung",
            "died")


def markdown(rows: list[dict[str, str]]) -> str:
    """Return the table of counts, and that of the reasons of refusals."""
    head = ("read rightly", "after the option it asked for", "refused with need",
            "refused without need", "wrong", "read, nothing to check against", "traceback, hung")
    lines = ["| files | all | " + " | ".join(head) + " |", "|---" * (len(head) + 2) + "|"]
    kinds = [(k, f) for k in FORMATS for f in FORMATS[k]]
    for kind, form in [*kinds, ("", "all")]:
        some = [r["verdict"] for r in rows if not kind or (r["kind"], r["format"]) == (kind, form)]
        counts = [some.count(v) for v in VERDICTS[:6]] + [sum(some.count(v) for v in VERDICTS[6:])]
        if some:
            lines.append(f"| {form} | {len(some)} | " + " | ".join(map(str, counts)) + " |")
    why = Counter(r["why"].split(": ")[0] for r in rows if r["verdict"] == "refused")
    lines += ["", "| refused because | files |", "|---|---|",
              *(f"| {reason} | {count} |" for reason, count in why.most_common())]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Run the corpus, print the table and what is wrong, and write the rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kind", choices=tuple(FORMATS))
    parser.add_argument("--only", default="", help="a part of the paths to read")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--seconds", type=float, default=60, help="limit for one file")
    options = parser.parse_args(arguments)
    for name in ("ase.io", "gemmi", "spglib", "pymatgen.core", "pymatgen.io.cif", "phonopy",
                 "larch.io", "qe_tools.parsers", "h5py", "perovskite_polaron.phonons.readers"):
        __import__(name)  # once, here, so that a child has it at hand
    gc.freeze()
    rows, apart = [], Apart(options.seconds)
    for kind, path in walk(options.folder, options.kind):
        if options.only in str(path):
            row = judge(kind, path, apart)
            row["file"] = str(path.relative_to(options.folder))
            rows.append(row)
            if row["verdict"] not in ("right", "asked", "refused"):
                print(f"{row['verdict']}: {row['file']}: {row['why'][:300]}", flush=True)
    table = markdown(rows)
    print(table)
    if options.markdown:
        options.markdown.write_text(table)
    if options.csv:
        with open(options.csv, "w", newline="") as handle:
            writer = csv.DictWriter(handle, ["kind", "format", "file", "verdict", "by", "why"])
            writer.writeheader()
            writer.writerows(rows)
    return int(any(r["verdict"] in ("wrong", "traceback", "hung", "died") for r in rows))


if __name__ == "__main__":
    sys.exit(main())
