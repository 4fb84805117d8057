"""Imports point one way: the lattice and the formats know nothing of the workflow, the spectra nothing of the program."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "perovskite_polaron"
# room -> rooms it must never import
FORBIDDEN = {
    "kernels": ("espresso", "workflow", "spectra", "experiment", "report", "cli"),
    "espresso": ("workflow", "spectra", "experiment", "report", "cli"),
    "phonons": ("espresso", "workflow", "spectra", "experiment", "report", "cli"),
    "spectra": ("espresso", "workflow", "experiment", "report", "cli"),
    "experiment": ("espresso", "workflow", "report", "cli"),
    "workflow": ("report", "cli"),
    "report": ("cli",),
}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {n.removeprefix("perovskite_polaron.").split(".")[0] for n in names if n.startswith("perovskite_polaron.")}


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_imports_only_from_its_left(room: str) -> None:
    files = list((ROOT / room).glob("*.py"))
    assert files
    for path in files:
        assert not imported(path) & set(FORBIDDEN[room]), path


def test_the_lattice_stands_alone() -> None:
    for path in ROOT.glob("*.py"):
        assert not imported(path) & {"phonons", "espresso", "workflow", "spectra", "experiment", "report", "cli"}, path


def test_no_module_is_over_500_lines() -> None:
    for path in (*ROOT.rglob("*.py"), *(ROOT.parent / "ext").glob("*.pyx")):
        assert len(path.read_text().splitlines()) <= 500, path
