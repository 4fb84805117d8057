"""``polaron view``: one structure, mode, measured file or study, as a page in the browser."""

import argparse
import tempfile
import webbrowser
from contextlib import suppress
from pathlib import Path

from perovskite_polaron.cli.options import (
    READING, emit, reading_options, refuse_existing, share, warn)
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.files import write_atomically
from perovskite_polaron.lattice.files import CRYSTALS, is_structure, read_crystal
from perovskite_polaron.measured.readers import read_scans
from perovskite_polaron.phonons.modes import BUILTIN, mode_of, read_modes
from perovskite_polaron.report.one_page import measured_page, mode_page, structure_page
from perovskite_polaron.report.page import Page
from perovskite_polaron.report.study_page import study_page
from perovskite_polaron.report.subject import Subject


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add = parser.add_argument
    add("file", metavar="FILE", help="structure, mode file, measured spectra, study file or folder"
        " of results; or a built-in name of a structure or mode")
    add("--mode", type=int, metavar="N", help="mode of a mode file by its number in the table"
        " of polaron modes (default: the chosen one)")
    add("--out", type=Path, help="the page (default: in a temporary folder)")
    add("--no-open", action="store_true", help="write the page and open no browser")
    share(parser, *READING, "--overwrite", "--json")


def run(args: argparse.Namespace) -> None:
    """Read, write the page and open it.

    Examples
    --------
    polaron view cspbbr3-pbnm
    polaron view lo-c
    polaron view br_100ps.xdi --no-open --out br.html
    """
    refuse_existing(args, args.out)
    page = _page(args)
    path = args.out or Path(tempfile.mkdtemp(prefix="polaron-")) / "view.html"
    written = write_atomically(path, page.html())
    opened = not args.no_open and webbrowser.open(path.resolve().as_uri())
    lines = [f"page: {written}"]
    if not (opened or args.no_open):
        lines.append("no browser could be opened: open the page by hand")
    emit(args, {"page": written, "opened": opened}, lines)


def _page(args: argparse.Namespace) -> Page:
    """Return the page of what a file holds; its name says what that is, or what can be read."""
    source, path = str(args.file), Path(args.file)
    suffix = path.suffix.lower()
    if is_structure(source):
        return structure_page(read_crystal(source), path.name)
    if source in BUILTIN or suffix == ".json":
        return mode_page(read_modes(source), mode_of(source, args.mode), path.name)
    require(path.exists(), f"{source} does not exist: give a file, or one of "
            f"{', '.join([*CRYSTALS, *BUILTIN])}")
    if path.is_dir() or suffix == ".toml":
        return study_page(Subject.read(path), path.name)
    if suffix == ".out":
        # Of pw.x, or a table of another program.
        with suppress(InputError):
            return structure_page(read_crystal(source), path.name)
    scans = read_scans([path], **reading_options(args))
    warn(scans)
    return measured_page(scans, path.name)
