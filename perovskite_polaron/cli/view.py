"""``polaron view``: one structure, mode, measured file or study, as a page in the browser."""

import argparse
import tempfile
import webbrowser
from collections.abc import Callable
from pathlib import Path

from perovskite_polaron.cli.options import refuse_existing, share
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.files import write_atomically
from perovskite_polaron.lattice.files import CRYSTALS, STRUCTURE_SUFFIXES, read_crystal
from perovskite_polaron.measured.readers import read_scans
from perovskite_polaron.phonons.modes import BUILTIN, read_modes
from perovskite_polaron.report.one_page import measured_page, mode_page, structure_page
from perovskite_polaron.report.page import Page
from perovskite_polaron.report.study_page import study_page
from perovskite_polaron.report.subject import Subject


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add = parser.add_argument
    add("file", metavar="FILE", help="structure, mode file, measured spectra, study file or folder"
        " of results; or a built-in name of a structure or mode")
    add("--mode", type=int, default=1, metavar="N", help="which mode of a mode file (default: 1)")
    add("--out", type=Path, help="the page (default: in a temporary folder)")
    add("--no-open", action="store_true", help="write the page and open no browser")
    share(parser, "--overwrite")


def run(args: argparse.Namespace) -> None:
    """Read, write the page and open it.

    Examples
    --------
    polaron view cspbbr3-pbnm
    polaron view lo-c
    polaron view br_100ps.xdi --no-open --out br.html
    """
    refuse_existing(args, args.out)
    page = _page(args.file, args.mode)
    path = args.out or Path(tempfile.mkdtemp(prefix="polaron-")) / "view.html"
    print(f"page: {write_atomically(path, page.html())}", flush=True)
    if not args.no_open and not webbrowser.open(path.resolve().as_uri()):
        print("no browser could be opened: open the page by hand")


def _page(source: str, number: int) -> Page:
    """Return the page of what a file holds; its name says what that is, or what can be read."""
    path = Path(source)
    known: dict[str, Callable[[], Page]] = {
        "structure": lambda: structure_page(read_crystal(source), path.name),
        "mode file": lambda: mode_page(read_modes(source), number, path.name),
        "study": lambda: study_page(Subject.read(path), path.name),
        "measured spectra": lambda: measured_page(read_scans([path]), path.name)}
    if source in CRYSTALS or path.suffix.lower() in STRUCTURE_SUFFIXES:
        return known["structure"]()
    if source in BUILTIN or path.suffix.lower() == ".json":
        return known["mode file"]()
    require(path.exists(), f"{source} does not exist: give a file, or one of "
            f"{', '.join([*CRYSTALS, *BUILTIN])}")
    if path.is_dir() or path.suffix.lower() == ".toml":
        return known["study"]()
    failed = []
    for what in ("measured spectra", "structure"):
        try:
            return known[what]()
        except InputError as error:
            failed.append(f"not as {what} ({error})")
    raise InputError(f"{source} cannot be shown: {'; '.join(failed)}")
