"""``polaron reproduce``: an article's public archive in, its figures and our numbers out."""

import argparse
import contextlib
import io
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from perovskite_polaron.analysis.mapping import LATER, ROLES, Mapped, draft, read_mapping
from perovskite_polaron.analysis.reproduction import Number, Step, heat_verdict, numbers, reproduce
from perovskite_polaron.cli.main import load
from perovskite_polaron.cli.options import emit, make_folder, refuse_existing, share
from perovskite_polaron.cli.profile import set_options
from perovskite_polaron.cli.tables import Said, Table
from perovskite_polaron.errors import require
from perovskite_polaron.files import write_atomically, write_csv
from perovskite_polaron.measured.archive import Found, look, md5_of, unpacked
from perovskite_polaron.measured.readers import read_scans
from perovskite_polaron.published import Archive
from perovskite_polaron.report.subject import ARTICLES

#: Articles whose data are public, by the names that the verb takes.
_BY_KEY = {article.archive.key: (article, article.archive) for article in ARTICLES
           if article.archive is not None}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    known = ", ".join(f"{key} ({article.source}; {archive.place}, doi {archive.doi})"
                      for key, (article, archive) in _BY_KEY.items())
    add = parser.add_argument
    add("article", metavar="ARTICLE", choices=tuple(_BY_KEY), help=f"whose archive it is: {known}")
    add("archive", metavar="ARCHIVE", type=Path, help="folder of its files, or the .zip or .tar as"
        " it was fetched. This program has not been run on the archive itself: it is tested on"
        " files of the layout that the beamline documents, so look at what it says it found")
    add("--mapping", type=Path, metavar="FILE.toml", help="which file is what; where it is not"
        " there, a draft is written, whose guesses are comments for you to confirm, and nothing is"
        " computed (default: ARTICLE.toml)")
    add("--out", type=Path, metavar="FOLDER", help="of the results (default: ARTICLE)")
    share(parser, "--overwrite", "--json")


def run(args: argparse.Namespace) -> None:
    """Look, draft or compute, and print.

    Examples
    --------
    polaron reproduce cannelli2021 dataset.tar.gz  # what is there, and a draft of cannelli2021.toml
    polaron reproduce cannelli2021 dataset.tar.gz --out figures  # with the mapping you confirmed
    """
    article, archive = _BY_KEY[args.article]
    mapping = args.mapping or Path(f"{args.article}.toml")
    out = args.out or Path(args.article)
    if mapping.exists():
        refuse_existing(args, out / "commands.sh")
    folder = unpacked(args.archive, out / "archive")
    found = look(folder, archive.edges)
    record: dict[str, Any] = {"archive": _archive(args.archive, archive),
                              "folder": folder, "out": out, "mapping": mapping, "files": found}
    if not mapping.exists():
        write_atomically(mapping, draft(found, article))
        emit(args, record | {"steps": None, "numbers": None}, _looked(record))
        return
    mapped = read_mapping(mapping, folder)
    for entry in mapped.entries:
        _check(ROLES[entry.role][0], entry.options, f"{mapping}: {entry.place}")
    for verb, options in mapped.later.items():
        _check(verb, options, f"{mapping}: {verb}")
    commands: list[str] = []
    steps = reproduce(mapped, make_folder(out), article, _runner(commands))
    write_atomically(out / "commands.sh", "\n".join(["# Each step again, by hand:", *commands, ""]))
    _draw_spectra(steps, out)
    results = numbers(steps, article)
    columns = {"quantity": "name", "value": "value", "error": "err", "published": "published",
               "published_error": "published_err", "remark": "words"}
    write_csv(out / "numbers.csv", {title: [getattr(r, attribute) for r in results]
                                    for title, attribute in columns.items()})
    record |= {"steps": steps, "numbers": results, "heat_verdict": heat_verdict(steps),
               "not_used": _unused(found, mapped, folder)}
    emit(args, record, _computed(record, steps, results, mapped))
    refused = [step for step in steps if step.refused]
    require(not refused, f"{len(refused)} of {len(steps)} steps were refused (first: "
            f"{refused[0].name if refused else ''}): correct {mapping}, and add --overwrite")


def _parser(verb: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"polaron {verb}")
    load(verb).add_arguments(parser)
    return parser


def _check(verb: str, options: Mapping[str, Any], source: str) -> None:
    """Refuse options that a verb does not have, or of another kind, all at once."""
    set_options(_parser(verb), argparse.Namespace(), options, source)


def _runner(commands: list[str]) -> Callable[..., dict[str, Any]]:
    """Return what runs a verb and keeps its command line."""

    def run_verb(verb: str, words: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
        parser = _parser(verb)
        line = [*words, *_words(parser, options)]
        commands.append(shlex.join(["polaron", verb, *line]))
        printed, said = io.StringIO(), sys.stderr
        # What later verbs say of their files is said of files that were just written.
        if verb in LATER:
            said = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
            load(verb).run(parser.parse_args([*line, "--json"]))
        return dict(json.loads(printed.getvalue()))

    return run_verb


def _words(parser: argparse.ArgumentParser, options: Mapping[str, Any]) -> Iterator[str]:
    """Return options as they are written on a command line."""
    actions = {name: action for action in parser._actions for name in action.option_strings}
    for key, value in options.items():
        action = actions[f"--{key}"]
        if action.nargs == 0:
            if value or f"--no-{key}" in actions:
                yield f"--{key}" if value else f"--no-{key}"
        elif action.nargs == "+":
            yield from (f"--{key}", *map(str, value if isinstance(value, list) else [value]))
        else:
            yield from (f"--{key}={one}" for one in (value if isinstance(value, list) else [value]))


def _draw_spectra(steps: Sequence[Step], out: Path) -> None:
    """Draw the steady states and transients of all edges in one figure, as the article does."""
    from perovskite_polaron.figures import reproduction, style

    paths: dict[str, dict[str, list[str]]] = {}
    for step in steps:
        entry = step.entry
        if step.record is not None and entry is not None and entry.role in ("steady", "transient"):
            rows = paths.setdefault(entry.edge, {"steady": [], "transient": []})
            rows[entry.role] += [row["path"] for row in step.record["outputs"]]
    if paths:
        shown = {edge: (read_scans(rows["steady"]), read_scans(rows["transient"]))
                 for edge, rows in paths.items()}
        style.save(reproduction.draw_edges(shown), out / "steady-and-transients.png")


def _archive(path: Path, archive: Archive) -> dict[str, Any]:
    """Return what is known of the archive that was given."""
    same = path.is_file() and md5_of(path) == archive.md5
    return {"place": archive.place, "doi": archive.doi, "licence": archive.licence,
            "is_the_published_file": same if path.is_file() else None}


def _unused(found: Sequence[Found], mapped: Mapped, folder: Path) -> list[str]:
    used = {Path(file) for entry in mapped.entries
            for file in (*entry.files, *entry.options.get("reference", ()))}
    return [one.path for one in found if folder / one.path not in used]


def _looked(record: Mapping[str, Any]) -> Iterator[Said]:
    yield from _first_lines(record)
    placed = [f for f in record["files"] if f.role]
    yield Table({"file": "44s", "may be": "12s", "because": "34s"},
                [(f.path, f.role, f.because) for f in placed])
    others = [f for f in record["files"] if not f.role]
    if others:
        yield f"\nnot placed: {len(others)} of {len(record['files'])} files"
        yield from (f"  {f.path}: {f.words[:160]}" for f in others[:60])
        if len(others) > 60:
            yield f"  ... and {len(others) - 60} more (--json lists them)"
    yield ""
    yield (f"A draft of the mapping is in {record['mapping']}. Its guesses are comments: confirm or"
           " correct them, then run the same command again. Nothing was computed.")


def _first_lines(record: Mapping[str, Any]) -> Iterator[str]:
    known = record["archive"]
    same = {True: "this is its file, by the checksum",
            None: "a folder, whose origin is not checked",
            False: "this file has another checksum than the published one"}
    yield f"{known['place']}, doi {known['doi']}: {same[known['is_the_published_file']]}"


def _computed(record: Mapping[str, Any], steps: Sequence[Step], results: Sequence[Number],
              mapped: Mapped) -> Iterator[Said]:
    yield from _first_lines(record)
    columns = {"quantity": "44s", "here": "12.7g", "error": "10.2g", "published": "12.5g",
               "its error": "10.2g"}
    yield Table(columns, [(r.name, r.value, r.err, r.published, r.published_err)
                          for r in results])
    yield ""
    yield from (f"{r.name}: {r.words}" for r in results if r.words)
    for step in steps:
        if step.verb in ("compare", "heat") and step.record is not None:
            yield f"\n{step.name}"
            yield from (f"  {words}" for words in step.record["statements"])
    yield "\nCan it be heat?"
    yield from (f"  {words}" for words in record["heat_verdict"])
    missing = [role for role in ROLES if not mapped.of(role)]
    yield ""
    if missing:
        yield f"not mapped: {', '.join(missing)}"
    yield from (f"refused: {step.name}: {step.refused}" for step in steps if step.refused)
    yield f"files that the mapping leaves out: {len(record['not_used'])}"
    yield f"figures, spectra, numbers.csv and commands.sh: {record['out']}"
