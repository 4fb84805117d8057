"""``polaron doctor``: what is installed, in which version, and what is missing."""

import argparse
import importlib.metadata
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from perovskite_polaron import __version__
from perovskite_polaron.cli.options import emit, share
from perovskite_polaron.cli.tables import Said, Table
from perovskite_polaron.errors import MissingProgramError, PolaronError, install_hint
from perovskite_polaron.espresso.program import (
    INSTALL_HINT, PROGRAMS, find_program, program_version, reference_blas)
from perovskite_polaron.espresso.pseudo import writable_cache
from perovskite_polaron.kernels import load
from perovskite_polaron.workflow.store import try_locks

_PACKAGES = ("numpy", "scipy", "spglib", "ase", "gemmi", "h5py", "matplotlib", "pydantic",
             "tomli-w")
# package -> extra that brings it, and what it is for
_OPTIONAL = {
    "phonopy": ("phonons", "polaron modes"),
    "sevenn": ("mlip", "polaron modes --forces mlip"),
    "parsl": ("cluster", "--executor"),
    "feff10-rs": ("feff", '[engine] kind = "feff"'),
    "hypothesis": ("test", "make test"),
    "pytest-benchmark": ("test", "make bench")}
_CORE = "compiled core: "
# Name, version, where it is or what to do, and whether the main job can go on.
_Row = tuple[str, str, str, bool]
_KERNELS = ("displacement", "geometry", "convolution", "heating", "lanczos")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    share(parser, "--json")


def run(args: argparse.Namespace) -> int:
    """Print a line per component; exit status 1 if one that the main job needs is missing.

    Examples
    --------
    polaron doctor
    """
    rows = list(_components())
    missing = [name for name, _, _, fine in rows if not fine]
    parts = {name: {"version": v, "where": w, "usable": fine} for name, v, w, fine in rows}
    emit(args, {"components": parts, "missing": missing}, _lines(rows, missing))
    return 1 if missing else 0


def _lines(rows: Sequence[_Row], missing: Sequence[str]) -> Iterator[Said]:
    # The modules of the compiled core lie in one folder, or are not there.
    core = [(name, version, str(Path(where).parent)) for name, version, where, fine in rows
            if name.startswith(_CORE) and fine]
    shown = [row for row in rows if row[0] not in {name for name, *_ in core[1:]}]
    cells = [("ok" if fine else "MISSING",
              *(("compiled core", *core[0][1:]) if core and name == core[0][0] else
                (name, version, where))) for name, version, where, fine in shown]
    yield Table({"": "8s", "component": "s", "version": "s", "where, or what to do": "s"},
                cells)
    yield (f"missing: {', '.join(missing)}" if missing else "everything the main job needs is here")


def _components() -> Iterator[_Row]:
    yield "perovskite_polaron", __version__, "", True
    yield "python", sys.version.split()[0], sys.executable, True
    for name in _KERNELS:
        try:
            yield _CORE + name, "built", str(load(name).__file__), True
        except PolaronError as error:
            yield _CORE + name, "", str(error), False
    for program in PROGRAMS:
        try:
            yield program, program_version(program), str(find_program(program)), True
        except PolaronError as error:
            hint = INSTALL_HINT if isinstance(error, MissingProgramError) else str(error)
            yield program, "", hint, False
            continue
        if program == "pw.x" and reference_blas(program):
            yield ("BLAS of pw.x", "reference",
                   "slower than OpenBLAS: apt install libopenblas0-serial", True)
    launcher = shutil.which("mpirun")
    yield ("mpirun", "found" if launcher else "",
           launcher or "install Open MPI (apt install openmpi-bin)", launcher is not None)
    for package in _PACKAGES:
        yield package, *_package(package, f"pip install {package}"), True
    for package, (extra, purpose) in _OPTIONAL.items():
        hint = f"for {purpose}: {install_hint(extra)}"
        yield f"{package} (optional)", *_package(package, hint), True
    for name, tried in (("pseudopotential cache", writable_cache),
                        ("locks in this folder", try_locks)):
        try:
            yield name, "", str(tried()), True
        except PolaronError as error:
            yield name, "", str(error), False


def _package(name: str, hint: str) -> tuple[str, str]:
    try:
        return importlib.metadata.version(name), ""
    except importlib.metadata.PackageNotFoundError:
        return "-", hint
