"""What ``polaron --version`` and ``polaron --completion`` print."""

import argparse
import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import perovskite_polaron
from perovskite_polaron.errors import PolaronError

_PACKAGES = ("numpy", "scipy", "spglib", "ase", "h5py", "matplotlib", "gemmi", "pydantic",
             "feff10-rs", "phonopy", "parsl")


def print_version(full: bool) -> None:
    """Print name, version and revision; in full also what a report of a mistake needs."""
    print("\n".join(_full() if full else [_short()]))


def _short() -> str:
    revision = _revision()
    return f"polaron {perovskite_polaron.__version__}" + (f" ({revision})" if revision else "")


def _full() -> Iterator[str]:
    # Only here: what it imports would be most of the time of the short line.
    from perovskite_polaron.espresso.program import PROGRAMS, find_program, program_version

    yield _short()
    yield f"Python {sys.version.split()[0]} ({sys.executable})"
    yield f"{platform.platform()}, {platform.machine()}"
    for package in _PACKAGES:
        try:
            yield f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            yield f"{package}: not installed"
    for program in PROGRAMS:
        try:
            yield f"{program} {program_version(program)} ({find_program(program)})"
        except PolaronError as error:
            yield f"{program}: {str(error).partition(':')[0]}"


def _revision() -> str:
    """Return the revision of git that runs here: of the work tree, else the one that was built."""
    folder = Path(perovskite_polaron.__file__).parent
    if (folder.parent / ".git").exists():
        try:
            asked = subprocess.run(["git", "-C", folder, "describe", "--always", "--dirty",
                                    "--exclude=*"], capture_output=True, text=True, timeout=10,
                                   check=False)
        except (OSError, subprocess.SubprocessError):
            return ""
        return asked.stdout.strip()
    built = folder / "revision.txt"
    return built.read_text(encoding="ascii").strip() if built.exists() else ""


def print_completion(parser: argparse.ArgumentParser, shell: str) -> None:
    """Print the script that completes verbs, options, choices and files in a shell."""
    import shtab

    for one in _parsers(parser):
        for action in one._actions:
            # Whatever is no quantity, number or choice may be a file.
            if action.nargs != 0 and action.choices is None and action.type in (None, Path):
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(parser, shell))


def _parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()
