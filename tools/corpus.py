"""Does the package read a folder of other people's files as other programs do, or refuse them?

    python tools/corpus.py FOLDER [--kind structures] [--csv rows.csv] [--markdown table.md]
                           [--at-most 150]

Every file below the folder is read by the package and by an independent program, in a child process
with a limit of time and memory, and the numbers are compared: cell, atoms and space group; columns,
energies and spectra; the energies of modes and what each atom has in them. Where the first folder
is named structures, measured or phonons, that is the kind of its files; --kind says one for all.
Where the package asks for an option (``--signal``, the unit, the crystal) the file is read again
with the first that its message names. It needs pymatgen, gemmi, ASE, qe-tools, xraylarch, h5py and
phonopy.

The next folder is where the files are from: with --at-most, of the files of one format from one
place so many are drawn, the same ones each time. Rows are written as they are found; the next run
with the same --csv goes on where one ended, and reads again what has changed since, or all if the
readers have.

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
import importlib.metadata
import multiprocessing
import os
import random
import re
import resource
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from corpus_kinds import measured, phonons, structures

import perovskite_polaron
from perovskite_polaron.errors import PolaronError

LIMIT_BYTES = 6 << 30
PROGRAMS = ("ase.io", "gemmi", "spglib", "pymatgen.io.cif", "phonopy", "larch.io",
            "qe_tools.parsers", "h5py", "perovskite_polaron.phonons.readers")
KINDS = {"structures": structures, "measured": measured, "phonons": phonons}
FIELDS = ("kind", "format", "file", "verdict", "by", "why", "state")


class Found(NamedTuple):
    """A file to be read: its kind, format, where it is from, and the digest of its content."""

    kind: str
    form: str
    place: str
    path: Path
    digest: str


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


def judge(found: Found, apart: Apart) -> dict[str, str]:
    """Return a row of the table: format, verdict, and why."""
    kind, form, path = found.kind, found.form, found.path
    room = KINDS[kind]
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


def walk(folder: Path, kind: str | None) -> list[Found]:
    """Return every file of a known format, each content once (but phonons: files beside count)."""
    found, seen = [], set()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size):
        parts = path.relative_to(folder).parts
        here, place = (kind, parts[0]) if kind else (parts[0], "".join(parts[1:2]))
        if here not in KINDS or path.stat().st_size > 50_000_000:
            continue
        form = KINDS[here].format_of(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if form and (here == "phonons" or (here, digest) not in seen):
            found.append(Found(here, form, place, path, digest))
        seen.add((here, digest))
    return found


def drawn(found: list[Found], at_most: int) -> list[Found]:
    """Return at most so many files of one format from one place: a sample with a fixed seed."""
    groups = defaultdict(list)
    for one in found:
        groups[one[:3]].append(one)
    return [one for key, group in groups.items() for one in (
        group if len(group) <= at_most else
        sorted(random.Random("/".join(key)).sample(group, at_most)))]


VERDICTS = ("right", "asked", "refused", "needless", "wrong", "unchecked", "traceback", "hung",
            "died")


def readers_state() -> str:
    """Return a digest of the source of the package and of these tools, and of what is installed."""
    rooms = Path(perovskite_polaron.__file__).parent, Path(__file__).parent / "corpus_kinds"
    sources = [Path(__file__), *(p for room in rooms for p in sorted(room.rglob("*.py")))]
    there = sorted(f"{d.name} {d.version}" for d in importlib.metadata.distributions())
    return hashlib.sha256(b"".join(p.read_bytes() for p in sources) + repr(there).encode()
                          ).hexdigest()


def judged(files: list[Found], folder: Path, kept: Path | None,
           seconds: float) -> Iterator[dict[str, str]]:
    """Yield the row of each file: an earlier run's where nothing has changed, else a new one."""
    readers, known = readers_state(), {}
    if kept is not None and kept.is_file():
        with open(kept, newline="") as handle:
            known = {row["state"]: row for row in csv.DictReader(handle) if row.get("state")}
    with open(kept or os.devnull, "w", newline="") as handle:
        writer = csv.DictWriter(handle, FIELDS)
        writer.writeheader()
        apart = Apart(seconds)
        states = {one: hashlib.sha256(f"{one} {readers}".encode()).hexdigest() for one in files}
        # What is known is written first, so that no interruption loses it.
        for one in sorted(files, key=lambda one: states[one] not in known):
            row = known.get(states[one]) or judge(one, apart) | {
                "file": str(one.path.relative_to(folder)), "state": states[one]}
            writer.writerow(row)
            handle.flush()
            yield row


def markdown(rows: list[dict[str, str]], found: list[Found]) -> str:
    """Return the table of counts, and that of the reasons of refusals."""
    head = ("read rightly", "after the option it asked for", "refused with need",
            "refused without need", "wrong", "read, nothing to check against", "traceback, hung")
    lines = ["| files | found | tried | " + " | ".join(head) + " |", "|---" * (len(head) + 3) + "|"]
    kinds = [(k, f) for k, room in KINDS.items() for f in room.FORMATS]
    for kind, form in [*kinds, ("", "all")]:
        some = [r["verdict"] for r in rows if not kind or (r["kind"], r["format"]) == (kind, form)]
        counts = [some.count(v) for v in VERDICTS[:6]] + [sum(some.count(v) for v in VERDICTS[6:])]
        there = sum(not kind or one[:2] == (kind, form) for one in found)
        if some:
            cells = map(str, (form, there, len(some), *counts))
            lines.append("| " + " | ".join(cells) + " |")
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
    parser.add_argument("--at-most", type=int, default=sys.maxsize, metavar="N",
                        help="files of one format from one place (default: all)")
    parser.add_argument("--csv", type=Path, help="rows, written as they are found; also where an"
                        " earlier run's are kept")
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
    found = [one for one in walk(options.folder, options.kind) if options.only in str(one.path)]
    rows = []
    for row in judged(drawn(found, options.at_most), options.folder, options.csv, options.seconds):
        rows.append(row)
        if row["verdict"] not in ("right", "asked", "refused"):
            print(f"{row['verdict']}: {row['file']}: {row['why'][:300]}", flush=True)
    table = markdown(rows, found)
    print(table)
    if options.markdown:
        options.markdown.write_text(table)
    return int(any(r["verdict"] in ("wrong", "traceback", "hung", "died") for r in rows))


if __name__ == "__main__":
    sys.exit(main())
