"""What a person says of an archive's files: a TOML file with a table for each set of files.

A table ``[[ROLE]]`` has ``files`` and the options by which ``polaron treat`` (or ``kinetics``)
reads them, by their names. The draft of such a file has nothing but comments: guesses, which a
person confirms by removing the ``#``.
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path, PurePosixPath
from typing import Any

import tomli_w

from perovskite_polaron.errors import require
from perovskite_polaron.files import read_toml
from perovskite_polaron.measured.archive import Found
from perovskite_polaron.measured.columns import written
from perovskite_polaron.published import Article

#: Role of files -> the verb whose options say how they are read, and what they are.
ROLES = {
    "steady": ("treat", "the steady state of an edge"),
    "transient": ("treat", "difference spectra, or pairs with and without laser, at their delays"),
    "thermal": ("treat", "hot minus cold, or spectra with a reference to subtract: for C"),
    "heated": ("treat", "spectra at their temperatures, normalised as the transient: for the heated"
               " lattice that compare knows"),
    "kinetics": ("kinetics", "traces against delay; those of one table share lifetimes")}
#: Verbs that run on what comes of the files; a table ``[VERB]`` has options for them.
LATER = ("match", "compare", "cparam", "heat")
@dataclass(frozen=True)
class Entry:
    """Files of one role: what the mapping calls them, their paths, and how they are read."""

    role: str
    place: str
    files: tuple[str, ...]
    options: Mapping[str, Any]

    @property
    def edge(self) -> str:
        """As ``Br-K``; "" for traces."""
        return str(self.options.get("edge", ""))


@dataclass(frozen=True)
class Mapped:
    """What a person says of an archive.

    Attributes
    ----------
    entries
        In the order of ROLES.
    later
        Verb -> its options.
    study
        Study to compare with, None for the built-in set.
    """

    entries: tuple[Entry, ...]
    later: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    study: str | None = None

    def of(self, role: str) -> list[Entry]:
        """Return the entries of a role."""
        return [entry for entry in self.entries if entry.role == role]


def read_mapping(path: Path, folder: Path) -> Mapped:
    """Return the mapping in a TOML file, with the files of a folder.

    Raises
    ------
    InputError
        With everything that is wrong with it: tables and keys that are not known, files that are
        not there, an edge that is missing; or when it maps nothing.
    """
    table = read_toml(path, "mapping (TOML)")
    problems, entries, later = [], list[Entry](), dict[str, Mapping[str, Any]]()
    known = (*ROLES, *LATER, "study")
    for key, value in table.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            problems.append(f"unknown table {key!r}; " + (f"did you mean {close[0]!r}?" if close
                                                          else f"it knows {', '.join(known)}"))
        elif key in ROLES:
            rows = value if isinstance(value, list) else [value]
            for i, row in enumerate(rows, start=1):
                place = f"{key} {i}" if len(rows) > 1 else key
                if not isinstance(row, dict):
                    problems.append(f"{place}: write it as a table [[{key}]]")
                    continue
                wrong, files = _files(row.get("files"), folder)
                problems += [f"{place}: {what}" for what in wrong]
                options = {name: one for name, one in row.items() if name != "files"}
                if ROLES[key][0] == "treat":
                    if "edge" not in options:
                        problems.append(f'{place}: say the edge, as edge = "Br-K"')
                    if "reference" in options:
                        wrong, references = _files(options["reference"], folder)
                        problems += [f"{place}: reference: {what}" for what in wrong]
                        options["reference"] = list(references)
                entries.append(Entry(key, place, files, options))
        elif key == "study" and not isinstance(value, str):
            problems.append('study: write the name of a file, as study = "cspbbr3.toml"')
        elif key != "study" and not isinstance(value, dict):
            problems.append(f"{key}: write it as a table [{key}] with options of polaron {key}")
        elif key != "study":
            later[key] = value
    require(not problems, f"{path}: " + " | ".join(problems))
    require(entries, f"{path} maps no file: what it guesses is commented out; look at each guess,"
            " and remove the # before the lines that are right")
    order = list(ROLES)
    return Mapped(tuple(sorted(entries, key=lambda e: order.index(e.role))), later,
                  table.get("study"))


def _files(said: object, folder: Path) -> tuple[list[str], tuple[str, ...]]:
    """Return what is wrong with names or wildcards of files, and the files."""
    names = [said] if isinstance(said, str) else said
    if not isinstance(names, list) or not names or not all(isinstance(n, str) and n for n in names):
        return ['name its files, as files = ["fig2/*.dat"]'], ()
    wrong, files = [], []
    for name in names:
        if (folder / name).is_file():
            files.append(str(folder / name))
            continue
        inside = not Path(name).is_absolute() and ".." not in Path(name).parts
        fits = sorted(str(p) for p in folder.glob(name) if p.is_file()) if inside else []
        if not fits:
            wrong.append(f"no file in {folder} is called {name!r}")
        files += fits
    return wrong, tuple(dict.fromkeys(files))


def draft(found: Sequence[Found], article: Article) -> str:
    """Return a mapping in which every guess is a comment, with what it is guessed from."""
    archive, lines = article.archive, list[str]()
    if archive is not None:
        lines += [f"# Which file is what: {archive.place}, doi {archive.doi}, of {article.source}"]
    lines += ["#", "# GUESSES, to be confirmed: nothing is computed from what is commented out.",
              "# Remove one # before the lines of a table that is right, correct those that are",
              "# not, and run the same command again. Roles:"]
    lines += [f"#   [[{role}]]  {words}" for role, (_, words) in ROLES.items()]
    lines += ["# Besides files (names or wildcards, from the archive's folder) a table takes the",
              "# options of polaron treat by their names, [[kinetics]] those of polaron kinetics;",
              f"# {', '.join(f'[{verb}]' for verb in LATER)} take those of their verbs.",
              '# study = "cspbbr3.toml" names a study of yours in place of the built-in set.', ""]
    groups: dict[tuple[object, ...], list[Found]] = {}
    for one in found:
        if one.role in ROLES:
            key = (one.role, one.edge, one.unit, one.columns, str(PurePosixPath(one.path).parent))
            groups.setdefault(key, []).append(one)
    order = list(ROLES)
    for group in sorted(groups.values(), key=lambda g: (order.index(g[0].role), g[0].path)):
        lines += [f"#{line}" for line in _guess(group, article)] + [""]
    if not groups:
        lines += ["# No file was recognised. Write tables such as this one:", "#[[transient]]",
                  '#files = ["fig2/*.dat"]', '#edge = "Br-K"', '#energy-unit = "keV"', ""]
    places = [f.energy_eV for f in article.features if f.structural]
    if places:
        lines += ["## Beyond the edge displaced atoms make the transient, near it carriers.",
                  "#[compare]", f'#window = "{min(places) - 10:g}eV:{max(places) + 12:g}eV"',
                  "#like-steady = true  # transients are in the unit of the steady state", ""]
    return "\n".join(lines)


def _guess(group: Sequence[Found], article: Article) -> Iterator[str]:
    """Return the lines of a table for files of one layout."""
    one = group[0]
    yield f"# {one.role}? {one.because}: {one.words[:300]}"
    yield f"[[{one.role}]]"
    yield from _said(files=[f.path for f in group])
    if one.role == "kinetics":
        if not re.search(r"[fpn]s\b", one.words):
            yield 'delay-unit = "ps"  # or ns: no column says it'
        if article.pump_probe is not None:
            yield f'irf-sigma = "{article.pump_probe.irf_sigma_ps:g}ps"  # published'
        return
    yield from _said(edge=one.edge)
    if one.energy:
        yield from _said(energy=one.energy)
    if one.unit:
        yield f'energy-unit = "{one.unit}"  # its numbers fit; no column says it'
    yield from _columns(one)
    quantity = "delay" if one.role == "transient" else "temperature"
    if one.role != "steady" and all(written(name, quantity) is None
                                    for f in group for name in (f.path, *f.columns)):
        example = "100ps" if quantity == "delay" else "60C"
        yield f'at = "{example}"  # no name says the {quantity}: a table for each'
    if one.role == "thermal":
        cold = min(group, key=lambda f: written(f.path, "temperature") or inf)
        yield "# The rest only for spectra that are no differences yet:"
        yield from _said(reference=[cold.path], preset="thermal")
        yield 'pre-edge = "LOW:HIGH"  # below the edge, as 13.44keV:13.46keV'


def _columns(one: Found) -> Iterator[str]:
    """Return which columns may be the signal."""
    marks = {side: [n for n in one.columns if side in n.lower().replace("_", " ").split()
                    or f"boxcar{side}" in n.lower()] for side in ("on", "off")}
    if all(len(names) == 1 for names in marks.values()):
        yield from _said(**{side: names[0] for side, names in marks.items()})
    elif len(one.signals) != 1 and len(one.columns) > 2:
        first = one.columns.index(one.signals[0]) + 1 if one.signals else len(one.columns)
        yield f'signal = "{first}"  # or another column, a wildcard, a formula; or on = and off ='


def _said(**values: str | list[str]) -> list[str]:
    """Return keys and values as lines of TOML."""
    return tomli_w.dumps(values).splitlines()
