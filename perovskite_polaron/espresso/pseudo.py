"""Making pseudopotentials with ld1.x, with or without a core hole, and keeping each set once.

A set is generated from a recipe (data/pseudo/recipes.toml, or the user's own file of the same shape), checked, and
kept in a cache under a name made of its deck and the version of ld1.x, so the same set is never made twice.

Is a pseudopotential fit for use? Levels of the atom in a box against the all-electron atom, and the partial waves.
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

import numpy as np
from ase.data import atomic_numbers

from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.espresso.program import find_program, program_version, run_program
from perovskite_polaron.espresso.pw import OUTDIR, PwSettings, namelist, pw_deck, read_levels_eV
from perovskite_polaron.espresso.upf import Pseudopotential, check_for_xspectra, read_upf
from perovskite_polaron.files import read_text, write_atomically
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.units import RYDBERG_EV

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
    atom = {"title": recipe.element, "zed": float(zed), "rel": 1, "iswitch": 3, "dft": "PBE"}
    pseudo = {"file_pseudopw": "set.UPF", "author": "perovskite_polaron", "lgipaw_reconstruction": bool(recipe.gipaw)}
    lines = [
        namelist("input", atom | {"config": f"{core} {recipe.valence}"}),
        namelist("inputp", pseudo | {"zval": z_valence} | recipe.inputp),
        *_table(recipe.channels),
    ]
    if recipe.gipaw:
        lines += [namelist("test", {}), *_table(recipe.gipaw)]
    return "\n".join(lines) + "\n"


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



_L = {"S": 0, "P": 1, "D": 2, "F": 3}


@dataclass(frozen=True)
class PartialWaveCheck:
    """One GIPAW projector: the pseudo wave over the all-electron one at the matching radius (1 is perfect), and the
    charge inside that radius, pseudo minus all-electron, in electrons."""

    label: str
    ratio_at_cutoff: float
    charge_difference: float


def check_partial_waves(
    pseudo: Pseudopotential, channel: int = 1, tolerance: float = 0.05
) -> tuple[PartialWaveCheck, ...]:
    """Compare the GIPAW partial waves with the all-electron ones; refuse a bad match in the absorbed channel.

    The matrix element of the absorption is taken with the all-electron wave scaled to the pseudo one, so a mismatch at
    the matching radius is a relative error of that projector's share. Raises ComputationError above the tolerance.
    """
    rows = []
    radius = pseudo.radius_bohr
    for wave in pseudo.partial_waves:
        n = int(np.searchsorted(radius, wave.cutoff_bohr))
        charge = np.trapezoid(wave.pseudo[: n + 1] ** 2 - wave.all_electron[: n + 1] ** 2, radius[: n + 1])
        rows.append(PartialWaveCheck(wave.label, float(wave.pseudo[n] / wave.all_electron[n]), float(charge)))
        if wave.l == channel and abs(rows[-1].ratio_at_cutoff - 1) > tolerance:
            raise ComputationError(
                f"the {wave.label} partial wave of {pseudo.path.name} is {rows[-1].ratio_at_cutoff:.3f} of the all-electron one at "
                f"{wave.cutoff_bohr:g} bohr (allowed 1 ± {tolerance:g}): change its reference energy or radius in the recipe"
            )
    return tuple(rows)


@dataclass(frozen=True)
class BoxLevel:
    """A level of the isolated atom: all-electron, and as pw.x finds it, both in eV relative to the highest occupied one."""

    label: str
    all_electron_eV: float
    plane_wave_eV: float


def check_levels_in_box(
    pseudo: Pseudopotential,
    levels: tuple[Level, ...],
    cutoffs_Ry: tuple[float, float],
    box_A: float = 12.0,
    tolerance_eV: float = 0.1,
) -> tuple[BoxLevel, ...]:
    """Compute the atom in a periodic box with pw.x and compare its levels with the all-electron atom.

    levels: what ld1.x printed for this set. A ghost state shows as a level where none should be, and shifts every one
    above it. Occupations are spread over each shell, as in the spherical atom. Raises ComputationError above the
    tolerance, which covers the box (images, cut-off), not physics.
    """
    occupied = sorted((v for v in levels if v.occupation > 0), key=lambda v: v.all_electron_Ry)
    count = sum(2 * _L[v.label[1]] + 1 for v in occupied)
    electrons = sum(v.occupation for v in occupied)
    atom = Crystal(np.eye(3) * box_A, (pseudo.element,), np.zeros((1, 3)), f"{pseudo.element} in a box")
    settings = PwSettings(
        ecutwfc_Ry=cutoffs_Ry[0],
        ecutrho_Ry=cutoffs_Ry[1],
        kpoints=(1, 1, 1),
        kpoint_shift=(0, 0, 0),
        conv_thr_Ry=1e-6,
        occupations="smearing",
        degauss_Ry=0.005,
        system={"nbnd": count + 4},
    )
    name = f"{pseudo.element}.UPF"
    deck = pw_deck(atom, {pseudo.element: name}, settings, electrons=electrons, charge=pseudo.z_valence - electrons)
    with tempfile.TemporaryDirectory(prefix="polaron-atom-") as folder:
        (Path(folder) / "pseudo").mkdir()
        write_atomically(Path(folder) / "pseudo" / name, pseudo.path.read_bytes())
        write_atomically(Path(folder) / "pw.in", deck)
        run_program([str(find_program("pw.x"))], Path(folder) / "pw.in", Path(folder) / "pw.out")
        found = np.sort(read_levels_eV(Path(folder) / OUTDIR).ravel())[:count]
    top = occupied[-1]
    width = 2 * _L[top.label[1]] + 1
    zero = found[-width:].mean()
    rows, start = [], 0
    for level in occupied:
        width = 2 * _L[level.label[1]] + 1
        value = float(found[start : start + width].mean() - zero)
        spread = float(np.ptp(found[start : start + width]))
        expected = (level.all_electron_Ry - top.all_electron_Ry) * RYDBERG_EV
        rows.append(BoxLevel(level.label, expected, value))
        if abs(value - expected) > tolerance_eV or spread > tolerance_eV:
            raise ComputationError(
                f"level {level.label} of {pseudo.path.name} lies at {value:.2f} eV in a box, {expected:.2f} eV in the all-electron atom: "
                "a ghost state, or radii too large; change the recipe"
            )
        start += width
    return tuple(rows)
