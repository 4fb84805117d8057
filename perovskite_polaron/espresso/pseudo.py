"""Making pseudopotentials with ld1.x, with or without a core hole, and keeping each set once.

A set is generated from a recipe (data/pseudo/recipes.toml, or the user's own file of the same shape), checked, and
kept in a cache under a name made of its deck and the version of ld1.x, so the same set is never made twice.
"""

import functools
import hashlib
import os
import re
import shutil
import tempfile
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from ase.data import atomic_numbers

from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.espresso.programs import find_program, program_version, run_program
from perovskite_polaron.espresso.upf import Pseudopotential, check_for_xspectra, read_upf
from perovskite_polaron.files import read_text, write_atomically

_BUILT_IN = resources.files("perovskite_polaron") / "data" / "pseudo"
# kind of core hole -> electrons taken out of the level
HOLES = {"none": 0.0, "half": 0.5, "full": 1.0}
_CORE_LEVEL = "1s"


@dataclass(frozen=True)
class Recipe:
    """The generation parameters of one element's pseudopotential; energies Ry, radii bohr (columns as in ld1.x)."""

    element: str
    description: str
    core: str
    valence: str
    inputp: dict[str, Any]
    channels: tuple[tuple[Any, ...], ...]
    gipaw: tuple[tuple[Any, ...], ...]
    cutoffs_Ry: tuple[float, float]


@functools.cache
def load_recipe(element: str, path: str | None = None) -> Recipe:
    """Return the recipe of an element, from the built-in table or a TOML file of the same shape.

    Raises InputError when there is none, or a key is missing or unknown.
    """
    if path is None:
        text = _BUILT_IN.joinpath("recipes.toml").read_text(encoding="utf-8")
    else:
        text = read_text(path, "TOML file with a pseudopotential recipe")
    source = path or "the built-in recipes"
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{source} is not valid TOML: {error}; mend that line") from None
    if element not in table:
        raise InputError(
            f"no recipe for element {element!r} in {source} (it has {', '.join(table)}): "
            "give your own with --recipe FILE, or name your own UPF files in the study"
        )
    try:
        entry = dict(table[element])
        entry.setdefault("gipaw", [])
        entry["channels"] = tuple(map(tuple, entry["channels"]))
        entry["gipaw"] = tuple(map(tuple, entry["gipaw"]))
        entry["cutoffs_Ry"] = tuple(entry["cutoffs_Ry"])
        return Recipe(element=element, **entry)
    except (KeyError, TypeError) as error:
        raise InputError(f"{source}: the recipe of {element} is incomplete or has an unknown key: {error}") from None


@functools.cache
def response_recipe(element: str) -> str | None:
    """Return the built-in file with the recipe of an element for the field response; None if it has none of its own."""
    path = str(_BUILT_IN.joinpath("response.toml"))
    return path if element in tomllib.loads(read_text(path, "TOML file with pseudopotential recipes")) else None


def ld1_deck(recipe: Recipe, hole: str = "none") -> str:
    """Return the ld1.x input of a recipe; ``hole`` is one of HOLES and empties the 1s level by so much.

    Raises InputError for a hole in a recipe without GIPAW projectors, which could not be used as an absorber.
    """
    if hole not in HOLES:
        raise InputError(f"unknown core hole {hole!r}: choose one of {', '.join(HOLES)}")
    if hole != "none" and not recipe.gipaw:
        raise InputError(
            f"the recipe of {recipe.element} has no GIPAW projectors, so it cannot be an absorber: give a recipe with gipaw = [...]"
        )
    core = re.sub(rf"\b{_CORE_LEVEL}2(?:\.0)?\b", f"{_CORE_LEVEL}{2 - HOLES[hole]:g}", recipe.core)
    zed = atomic_numbers[recipe.element]
    z_valence = zed - sum(float(n) for n in re.findall(r"\d[spdf]([\d.]+)", core))
    lines = [
        "&input",
        f"  title='{recipe.element}', zed={zed}., rel=1, iswitch=3, dft='PBE',",
        f"  config='{core} {recipe.valence}'",
        "/",
        "&inputp",
        "  file_pseudopw='set.UPF', author='perovskite_polaron', "
        f"lgipaw_reconstruction={_fortran(bool(recipe.gipaw))}, zval={z_valence:g},",
        "  " + ", ".join(f"{key}={_fortran(value)}" for key, value in recipe.inputp.items()),
        "/",
        *_table(recipe.channels),
    ]
    if recipe.gipaw:
        lines += ["&test", "/", *_table(recipe.gipaw)]
    return "\n".join(lines) + "\n"


def _fortran(value: object) -> str:
    if isinstance(value, bool):
        return ".true." if value else ".false."
    return f"'{value}'" if isinstance(value, str) else str(value)


def _table(rows: tuple[tuple[Any, ...], ...]) -> list[str]:
    return [str(len(rows))] + [f"{r[0]} {r[1]} {r[2]} {r[3]:.2f} {r[4]:.2f} {r[5]:.2f} {r[6]:.2f} 0.0" for r in rows]


def cache_folder() -> Path:
    """Return the folder of generated sets: POLARON_CACHE, else the user's cache directory."""
    base = (
        os.environ.get("POLARON_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "polaron"
    )
    return Path(base) / "pseudo"


def make_pseudo(element: str, hole: str = "none", recipe_file: str | None = None) -> Pseudopotential:
    """Return the pseudopotential of an element, generated on first use and taken from the cache after.

    hole: ``none``, ``half`` or ``full`` (1s). The set has passed check_levels and, if it has GIPAW projectors,
    check_for_xspectra. Raises InputError (no recipe), MissingProgramError, ComputationError (ld1.x or a check failed).
    """
    recipe = load_recipe(element, recipe_file)
    deck = ld1_deck(recipe, hole)
    name = hashlib.sha256((deck + program_version("ld1.x")).encode()).hexdigest()[:12]
    target = cache_folder() / f"{element}-{hole}-{name}.UPF"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        # The folder of a failed attempt stays, for the messages point into it.
        folder = Path(tempfile.mkdtemp(prefix=f"{target.stem}-", dir=target.parent))
        write_atomically(folder / "ld1.in", deck)
        run_program(
            [str(find_program("ld1.x"))], folder / "ld1.in", folder / "ld1.out", done="End of pseudopotential test"
        )
        text = (folder / "ld1.out").read_text(errors="replace")
        check_levels(text, element)
        if recipe.gipaw:
            check_for_xspectra(read_upf(folder / "set.UPF"))
        write_atomically(target.with_suffix(".ld1.out"), text)
        write_atomically(target.with_suffix(".ld1.in"), deck)
        # The UPF comes last: its presence means that the set is whole and has passed.
        write_atomically(target, (folder / "set.UPF").read_bytes())
        shutil.rmtree(folder)
    return read_upf(target)


@dataclass(frozen=True)
class Level:
    """One level of the free atom, all-electron and pseudo, in Ry."""

    label: str
    occupation: float
    all_electron_Ry: float
    pseudo_Ry: float


def read_levels(ld1_output: str) -> tuple[Level, ...]:
    """Return the levels that ld1.x compares between the all-electron and the pseudo atom, bound ones first."""
    comparison = ld1_output.partition("e AE (Ry)")[2]
    rows = re.findall(
        r"^\s+\d+\s+\d+\s+(\d[A-Z])\s+\d\(\s*([-\d.]+)\)\s+(-?[\d.]+)\s+(-?[\d.]+)\s+-?[\d.]+\s*$",
        comparison,
        re.MULTILINE,
    )
    return tuple(Level(label, float(occ), float(ae), float(ps)) for label, occ, ae, ps in rows)


def check_levels(ld1_output: str, element: str, tolerance_Ry: float = 2e-3) -> tuple[Level, ...]:
    """Refuse a set whose occupied pseudo levels differ from the all-electron ones by more than the tolerance.

    Raises ComputationError when a level is off, or the output holds no comparison.
    """
    levels = read_levels(ld1_output)
    if not levels:
        raise ComputationError(f"ld1.x printed no levels for {element}: the recipe did not converge; change its radii")
    for level in levels:
        if level.occupation > 0 and abs(level.all_electron_Ry - level.pseudo_Ry) > tolerance_Ry:
            raise ComputationError(
                f"the pseudo {level.label} level of {element} is off by {level.pseudo_Ry - level.all_electron_Ry:+.4f} Ry "
                f"(allowed {tolerance_Ry:g}): change the radii or reference energies of its recipe"
            )
    return levels
