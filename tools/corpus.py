"""Does the package read a folder of other people's files as other programs do, or refuse them?

    python tools/corpus.py FOLDER [--kind structures] [--csv rows.csv] [--markdown table.md]

Every file below the folder is read by the package and by an independent program, in a child process
with a limit of time and memory, and the numbers are compared: cell, atoms and space group; columns,
energies and spectra; the energies of modes and what each atom has in them. Where the first folder
is named structures, measured or phonons, that is the kind of its files; --kind says one for all.
Where the package asks for an option (``--signal``, the unit, the crystal) the file is read again
with the first that its message names. It needs pymatgen, gemmi, ASE, qe-tools, xraylarch, h5py and
phonopy.

The programs that can read a format stand in an order (FORMATS in corpus_kinds): the first that
reads the file decides, or the majority where that one disagrees. A refusal is needful when the file
really has what it is refused for, or when nobody else can read it either. What is refused without
need, read wrongly, or ends in a traceback, is listed; the exit status is 1 where anything is wrong
or ends so.
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
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from corpus_kinds import measured, phonons, structures

from perovskite_polaron.errors import PolaronError

LIMIT_BYTES = 6 << 30
PROGRAMS = ("ase.io", "gemmi", "spglib", "pymatgen.io.cif", "phonopy", "larch.io",
            "qe_tools.parsers", "h5py", "perovskite_polaron.phonons.readers")
KINDS = {"structures": structures, "measured": measured, "phonons": phonons}


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
        try:
            function, args = pipe.recv()
        except EOFError:
            return
        try:
            answer = "read", function(*args)
        except PolaronError as error:
            answer = "refused", str(error)
        except BaseException as error:  # whatever a reader raises is a row of the table
            answer = "traceback", f"{type(error).__name__}: {error}"
        pipe.send(answer)


def judge(kind: str, path: Path, apart: Apart) -> dict[str, str]:
    """Return a row of the table: format, verdict, and why."""
    room = KINDS[kind]
    form = room.format_of(path)
    row = {"kind": kind, "format": form, "file": str(path), "verdict": "", "why": "", "by": ""}
    options: dict[str, str] = {}
    state, ours = apart(room.ours, path, options)
    while state == "refused" and (more := room.asked_for(ours, options, path)):
        options |= more
        row["by"] = " ".join(f"--{k} {v}" for k, v in options.items())
        state, ours = apart(room.ours, path, options)
    others = room.FORMATS[form]
    if state == "refused":
        facts = apart(room.facts, path)[1]
        label = next((label for pattern, fact, label in room.NEEDFUL
                      if fact in facts and re.search(pattern, ours)), "")
        if not label:
            tried = [apart(reader, path) for reader in others.values()]
            if all(state != "read" and not str(what).startswith("ModuleNotFound")
                   for state, what in tried):
                label = "no other program reads it"
        why = f"{label}: {ours}" if label else ours
        return row | {"verdict": "refused" if label else "needless", "why": why}
    if state != "read":
        return row | {"verdict": state, "why": str(ours)}
    agree, against = [], []
    for name, reader in others.items():
        state, theirs = apart(reader, path)
        if state != "read":
            continue
        try:
            wrong = room.differ(ours, theirs)
        except Exception as error:  # what cannot be compared does not agree
            wrong = f"{type(error).__name__}: {error}"
        if wrong:
            against.append(f"{name}: {wrong}")
        else:
            agree.append(name)
        if agree and not against:
            break  # the first that can read it agrees
    row |= {"by": f"{', '.join(agree)} {row['by']}".strip(),
            "why": "; ".join([*against, *ours["said"]])}
    if len(agree) > len(against):
        return row | {"verdict": "asked" if options else "right"}
    return row | {"verdict": "wrong" if against else "unchecked"}


def walk(folder: Path, kind: str | None) -> list[tuple[str, Path]]:
    """Return kind and path of every file of a known format, each content once (but phonons)."""
    found, seen = [], set()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size):
        here = kind or path.relative_to(folder).parts[0]
        if here not in KINDS or path.stat().st_size > 50_000_000 or not KINDS[here].format_of(path):
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
    kinds = [(k, f) for k, room in KINDS.items() for f in room.FORMATS]
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
    parser.add_argument("--kind", choices=tuple(KINDS))
    parser.add_argument("--only", default="", help="a part of the paths to read")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--seconds", type=float, default=60, help="limit for one file")
    options = parser.parse_args(arguments)
    missing = []
    for name in PROGRAMS:  # once, here, so that a child has them at hand
        try:
            __import__(name)
        except ImportError:
            missing.append(name.split(".")[0])
    if missing:
        print(f"not installed, so nothing is held against {', '.join(missing)}")
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
