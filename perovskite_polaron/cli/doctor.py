"""``polaron doctor``: what is installed, in which version, and what is missing."""

import argparse
import importlib.metadata
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from perovskite_polaron import __version__
from perovskite_polaron.cli.options import emit, share
from perovskite_polaron.errors import MissingProgramError, PolaronError
from perovskite_polaron.espresso.program import (
    INSTALL_HINT, PROGRAMS, find_program, program_version, reference_blas)
from perovskite_polaron.espresso.pseudo import cache_folder
from perovskite_polaron.kernels import load
from perovskite_polaron.workflow.store import Store

_PACKAGES = ("numpy", "scipy", "spglib", "ase", "gemmi", "h5py", "matplotlib", "pydantic",
             "tomli-w")
# package -> extra that brings it, and what it is for
_OPTIONAL = {
    "phonopy": ("phonons", "polaron modes"),
    "sevenn": ("mlip", "polaron modes --forces mlip"),
    "emcee": ("emcee", "polaron compare --sample"),
    "parsl": ("cluster", "--executor"),
    "hypothesis": ("test", "make test"),
    "pytest-benchmark": ("test", "make bench")}
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
    lines = [f"{'ok' if fine else 'MISSING':8} {n:28} {v:12} {w}" for n, v, w, fine in rows]
    lines.append(f"missing: {', '.join(missing)}" if missing
                 else "everything the main job needs is here")
    emit(args, {"components": parts, "missing": missing}, lines)
    return 1 if missing else 0


def _components() -> Iterator[tuple[str, str, str, bool]]:
    """Yield name, version, where it is or what to do, and whether the main job can go on."""
    yield "perovskite_polaron", __version__, "", True
    yield "python", sys.version.split()[0], sys.executable, True
    for name in _KERNELS:
        try:
            yield f"compiled core: {name}", "built", str(load(name).__file__), True
        except PolaronError as error:
            yield f"compiled core: {name}", "", str(error), False
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
        hint = f"for {purpose}: pip install 'perovskite-polaron[{extra}]'"
        yield f"{package} (optional)", *_package(package, hint), True
    yield "pseudopotential cache", "", *_cache()
    yield "locks in this folder", "", *_locks()


def _cache() -> tuple[str, bool]:
    """Tell where pseudopotentials are cached, or what to do, and whether they can be."""
    try:
        folder = cache_folder()
    except PolaronError as error:
        return str(error), False
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not os.access(there, os.W_OK):
        return f"{folder} cannot be written: set POLARON_CACHE to a folder that may be", False
    return str(folder), True


def _locks() -> tuple[str, bool]:
    """Tell whether a store in the working folder would keep locks, or what to do."""
    try:
        with tempfile.TemporaryDirectory(dir=".") as folder, Store.lock_folder(Path(folder)):
            return "kept: several runners can share a store here", True
    except PolaronError as error:
        return str(error), False
    except OSError as error:
        return f"not tried, for it cannot be written: {error.strerror}", True


def _package(name: str, hint: str) -> tuple[str, str]:
    try:
        return importlib.metadata.version(name), ""
    except importlib.metadata.PackageNotFoundError:
        return "-", hint
