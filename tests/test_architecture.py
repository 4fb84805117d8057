"""Imports point one way: the lattice and the formats know nothing of the workflow, the spectra nothing of the program."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "perovskite_polaron"
# Every room may import from itself, from those before it that are named here, and from the modules of the root.
ALLOWED = {
    "kernels": (),
    "lattice": ("kernels",),
    "phonons": ("kernels", "lattice"),
    "espresso": ("kernels", "lattice"),
    "spectra": ("kernels", "lattice"),
    "measured": ("kernels", "lattice", "spectra"),
    "analysis": ("kernels", "lattice", "phonons", "spectra", "measured"),
    "workflow": ("kernels", "lattice", "phonons", "espresso", "spectra", "measured", "analysis"),
    "figures": ("kernels", "lattice", "phonons", "spectra", "measured", "analysis", "workflow"),
    "report": ("kernels", "lattice", "phonons", "espresso", "spectra", "measured", "analysis", "workflow", "figures"),
}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    rooms = {p.name for p in ROOT.iterdir() if (p / "__init__.py").exists()}
    return {n.split(".")[1] for n in names if n.startswith("perovskite_polaron.")} & rooms


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_from_its_left(room: str) -> None:
    files = list((ROOT / room).glob("*.py"))
    assert files
    for path in files:
        assert imported(path) - {"_ext"} <= {room, *ALLOWED[room]}, path


def test_the_root_stands_alone() -> None:
    for path in ROOT.glob("*.py"):
        assert not imported(path), path


def test_no_module_is_over_450_lines() -> None:
    for path in (*ROOT.rglob("*.py"), *(ROOT.parent / "ext").glob("*.pyx")):
        assert len(path.read_text().splitlines()) <= 450, path
