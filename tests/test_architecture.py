"""The file list is the data flow: imports point from the command line towards the lattice.

docs/architecture.md says the same in words. A test does what import-linter would do here: the rules
are a table and three loops, and a new module that stands nowhere in the order is a failure.
"""

import ast
import functools
import graphlib
import re
import sys
from pathlib import Path

import pytest

PACKAGE = "perovskite_polaron"
REPOSITORY = Path(__file__).parent.parent
ROOT = REPOSITORY / PACKAGE
# A module of the root may import those before it.
ROOT_ORDER = ("errors", "files", "arrays", "units", "settings", "systems", "programs", "published",
              "published_cspbbr3")
# A module of the root that may import everything, and that nothing imports.
TOP = "notebook"
# A room may import itself, the rooms named here, which stand before it, and the modules of the
# root.
ALLOWED: dict[str, tuple[str, ...]] = {
    "kernels": (),
    "lattice": ("kernels",),
    "phonons": ("kernels", "lattice"),
    "espresso": ("kernels", "lattice"),
    "feff": ("kernels", "lattice"),
    "spectra": ("kernels", "lattice"),
    "measured": ("kernels", "lattice", "spectra"),
    "analysis": ("kernels", "lattice", "phonons", "spectra", "measured"),
    "workflow": ("kernels", "lattice", "phonons", "espresso", "feff", "spectra", "measured",
                 "analysis"),
    "figures": ("kernels", "lattice", "phonons", "spectra", "measured", "analysis", "workflow"),
    "report": ("kernels", "lattice", "phonons", "espresso", "spectra", "measured", "analysis",
               "workflow", "figures"),
}


def path_of(module: str) -> Path:
    return (ROOT / module.replace(".", "/")).with_suffix(".py")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


MODULES = sorted(name_of(p) for p in ROOT.rglob("*.py") if p.name != "__init__.py")
ROOMS = sorted(p.parent.name for p in ROOT.glob("*/__init__.py"))


def names(node: ast.AST) -> list[str]:
    """Return the modules that one import statement names, in full."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        own = [f"{base}.{alias.name}" for alias in node.names]
        return [o for o in own if o.removeprefix(f"{PACKAGE}.") in MODULES] or [base]
    return []


@functools.cache
def imports(module: str) -> tuple[tuple[str, bool], ...]:
    """Return what a module imports, and whether a function does it when it is called."""
    tree = ast.parse(path_of(module).read_text(encoding="utf-8"))
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    late = {id(inner) for function in functions for inner in ast.walk(function)}
    return tuple((name, id(node) in late) for node in ast.walk(tree) for name in names(node))


def own(module: str, *, late: bool | None = None) -> set[str]:
    """Return the modules of this package that a module imports (late: by a function, or not)."""
    found = {name.removeprefix(f"{PACKAGE}.") for name, lazily in imports(module)
             if name.startswith(f"{PACKAGE}.") and late in (None, lazily)}
    return {name for name in found if not name.startswith("_ext")}


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_from_its_left(room: str) -> None:
    modules = [m for m in MODULES if m.startswith(f"{room}.")]
    assert modules
    for module in modules:
        others = {name.split(".")[0] for name in own(module)} - set(ROOT_ORDER)
        assert others <= {room, *ALLOWED[room]}, module


def test_every_room_and_every_module_of_the_root_has_its_place() -> None:
    assert set(ROOMS) == {*ALLOWED, "cli", "_ext"}
    assert {m for m in MODULES if "." not in m} - {TOP} <= set(ROOT_ORDER)
    assert not [m for m in MODULES if TOP in own(m)]
    for room, before in ALLOWED.items():
        order = list(ALLOWED)
        assert set(before) <= set(order[: order.index(room)]), room


def test_a_module_of_the_root_imports_only_those_before_it() -> None:
    for place, module in enumerate(ROOT_ORDER):
        if path_of(module).exists():
            assert own(module) <= set(ROOT_ORDER[:place]), module


def test_no_imports_go_round_in_a_circle() -> None:
    graph = {module: own(module, late=False) for module in MODULES}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) >= len(MODULES)


def test_functions_import_only_third_party_packages() -> None:
    # The command line alone imports rooms late: `polaron --help` must not load them.
    for module in MODULES:
        if not module.startswith("cli."):
            assert not own(module, late=True), module
            late = {name.split(".")[0] for name, lazily in imports(module) if lazily}
            # `resource` is not there on every system.
            assert not (late & set(sys.stdlib_module_names)) - {"resource"}, module


def test_the_page_on_the_architecture_names_every_room_and_files_that_exist() -> None:
    page = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)/` \|.*\| ([^|]*) \|$", page, re.MULTILINE)
    assert [room for room, _ in rows] == [*ALLOWED, "cli"]
    for room, may in rows:
        if room in ALLOWED:
            assert tuple(re.findall(r"`(\w+)`", may)) == ALLOWED[room], room
    for name in re.findall(r"`((?:\w+/)+\w+\.\w+|\w+\.py)`", page):
        assert (ROOT / name).exists() or (REPOSITORY / name).exists(), name


def test_the_python_reference_has_every_room() -> None:
    pages = (REPOSITORY / "docs" / "api").glob("*.md")
    shown = {name for page in pages for name in re.findall(r"\{room\} (\S+)", page.read_text())}
    assert shown == {PACKAGE, *(f"{PACKAGE}.{room}" for room in ALLOWED)}


def test_no_module_is_over_450_lines() -> None:
    for path in (*ROOT.rglob("*.py"), *(REPOSITORY / "ext").glob("*.pyx")):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 450, path
