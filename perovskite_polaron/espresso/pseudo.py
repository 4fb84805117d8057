"""Making pseudopotentials with ld1.x, with or without a core hole, checking them, and keeping each
set once.

A set is generated from a recipe (data/pseudo/recipes.toml, or the user's own file of the same
shape), checked, and kept in a cache under a name made of its input and the version of ld1.x, so the
same set is never made twice. Those of CsPbBr3 come with the package (data/pseudo/sets.tar.xz): the
last digits of ld1.x depend on the processor, and with them would the digest of every job. A set is
fit for use if the levels of the atom, and of the atom in a box,
are those of the all-electron atom, and so are the partial waves.
"""

import functools
import hashlib
import os
import re
import shutil
import tarfile
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from ase.data import atomic_numbers

from perovskite_polaron.errors import ComputationError, InputError, require
from perovskite_polaron.espresso.program import find_program, namelist, program_version
from perovskite_polaron.espresso.upf import (
    Pseudopotential, check_for_xspectra, read_sealed_upf, read_upf)
from perovskite_polaron.files import read_toml, write_atomically
from perovskite_polaron.programs import run_program

_BUILT_IN = resources.files("perovskite_polaron") / "data" / "pseudo" / "recipes.toml"
# kind of core hole -> electrons taken out of the level
HOLES = {"none": 0.0, "half": 0.5, "full": 1.0}
_CORE_LEVEL = "1s"
# How far levels and partial waves may be off.
_LEVEL_RY = 2e-3
_PARTIAL_WAVE = 0.05


@dataclass(frozen=True)
class Recipe:
    """The generation parameters of one element's pseudopotential; energies Ry, radii bohr.

    Attributes
    ----------
    core, valence
        The configuration.
    inputp
        Further keys of that namelist.
    channels, gipaw
        Rows as in ld1.x, of the pseudopotential and of the GIPAW projectors.
    cutoffs_Ry
        Of wave functions and density, for the check in a box.
    functional
        In the words of ld1.x.
    """

    element: str
    description: str
    core: str
    valence: str
    inputp: dict[str, Any]
    channels: tuple[tuple[Any, ...], ...]
    cutoffs_Ry: tuple[float, float]
    gipaw: tuple[tuple[Any, ...], ...] = ()
    functional: str = "PBE"


@functools.cache
def load_recipe(element: str, path: str | None = None) -> Recipe:
    """Return the recipe of an element, from the built-in table or a TOML file of the same shape.

    Raises
    ------
    InputError
        When there is none, or a key is missing or unknown.
    """
    table = read_toml(path or str(_BUILT_IN), "TOML file with a pseudopotential recipe")
    source = path or "the built-in recipes"
    require(element in table, f"no recipe for element {element!r} in {source} (it has"
            f" {', '.join(table)}): give your own with --recipe FILE, or name your own UPF files in"
            " the study")
    try:
        entry = dict(table[element])
        for key in {"channels", "gipaw"} & entry.keys():
            entry[key] = tuple(map(tuple, entry[key]))
        return Recipe(element=element, **entry | {"cutoffs_Ry": tuple(entry["cutoffs_Ry"])})
    except (KeyError, TypeError) as error:
        raise InputError(f"{source}: the recipe of {element} is incomplete or has an unknown key:"
                         f" {error}") from None


def recipe_elements(path: str | None = None) -> tuple[str, ...]:
    """Return the elements that have a recipe, built in or in a file; errors as ``read_toml``."""
    return tuple(read_toml(path or str(_BUILT_IN), "TOML file with a pseudopotential recipe"))


def ld1_deck(recipe: Recipe, hole: str = "none") -> str:
    """Return the ld1.x input of a recipe; ``hole``, one of HOLES, empties the 1s level by so much.

    Raises
    ------
    InputError
        For a hole in a recipe without GIPAW projectors, which could not be used as an absorber.
    """
    require(hole in HOLES, f"unknown core hole {hole!r}: choose one of {', '.join(HOLES)}")
    require(hole == "none" or recipe.gipaw, f"the recipe of {recipe.element} has no GIPAW"
            " projectors, so it cannot be an absorber: give a recipe with gipaw = [...]")
    core = re.sub(rf"\b{_CORE_LEVEL}2(?:\.0)?\b", f"{_CORE_LEVEL}{2 - HOLES[hole]:g}", recipe.core)
    require(hole == "none" or core != recipe.core, f"the recipe of {recipe.element} has no full"
            f" {_CORE_LEVEL} in its core ({recipe.core}): write {_CORE_LEVEL}2 there")
    zed = atomic_numbers[recipe.element]
    z_valence = zed - sum(float(n) for n in re.findall(r"\d[spdf]([\d.]+)", core))
    atom = {"title": recipe.element, "zed": float(zed), "rel": 1, "iswitch": 3,
            "dft": recipe.functional}
    pseudo = {"file_pseudopw": "set.UPF", "author": "perovskite_polaron",
              "lgipaw_reconstruction": bool(recipe.gipaw)}
    lines = [
        namelist("input", atom | {"config": f"{core} {recipe.valence}"}),
        namelist("inputp", pseudo | {"zval": z_valence} | recipe.inputp), *_table(recipe.channels)]
    if recipe.gipaw:
        lines += [namelist("test", {}), *_table(recipe.gipaw)]
    return "\n".join(lines) + "\n"


def _table(rows: tuple[tuple[Any, ...], ...]) -> list[str]:
    return [str(len(rows))] + [" ".join([*map(str, r[:3]), *map(_decimal, r[3:7]), "0.0"])
                               for r in rows]


def _decimal(value: float) -> str:
    """Return a number with two decimals, or with as many as it has."""
    return max(f"{value:.2f}", f"{value:.10g}", key=len)


def cache_folder() -> Path:
    """Return the folder of generated sets: POLARON_CACHE, else the user's cache directory.

    Raises
    ------
    InputError
        When the user has no home folder.
    """
    if own := os.environ.get("POLARON_CACHE"):
        return Path(own) / "pseudo"
    try:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        raise InputError("this user has no home folder, where pseudopotentials are cached:"
                         " set POLARON_CACHE to a folder that may be written") from None
    return caches / "polaron" / "pseudo"


def writable_cache() -> Path:
    """Return the folder of generated sets, made if need be; ComputationError if it is read-only."""
    folder = cache_folder()
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    require(os.access(folder, os.W_OK), f"the cache {folder} cannot be written: set POLARON_CACHE"
            " to a folder that may be", ComputationError)
    return folder


def make_pseudo(element: str, hole: str = "none",
                recipe_file: str | None = None) -> Pseudopotential:
    """Return the pseudopotential of an element, unpacked or generated on first use, then from the
    cache.

    It has passed ``check_levels`` and, if it has GIPAW projectors, ``check_for_xspectra``. The
    cache holds its SHA-256 too, against which it is held each time; one of an earlier version,
    which has none, is made again and compared.

    Parameters
    ----------
    element
        Chemical symbol.
    hole
        ``none``, ``half`` or ``full`` (1s).
    recipe_file
        TOML file with the recipe (default: the built-in ones).

    Raises
    ------
    InputError
        When there is no recipe.
    MissingProgramError, ComputationError
        When ld1.x is missing or fails, or a check does, or the cache may not be written.
    DamagedError
        When the set in the cache is not the one that was made.
    """
    return make_set(load_recipe(element, recipe_file), hole)


def make_set(recipe: Recipe, hole: str) -> Pseudopotential:
    """Return the pseudopotential of a recipe; everything else as ``make_pseudo``."""
    deck, element = ld1_deck(recipe, hole), recipe.element
    name = hashlib.sha256((deck + program_version("ld1.x")).encode()).hexdigest()[:12]
    target = cache_folder() / f"{element}-{hole}-{name}.UPF"
    digest = target.with_suffix(".sha256")
    if not (target.exists() and digest.exists()):
        # The folder of a failed attempt stays, for the messages point into it.
        folder = Path(tempfile.mkdtemp(prefix=f"{target.stem}-", dir=writable_cache()))
        write_atomically(folder / "ld1.in", deck)
        if not _unpack(target.stem, folder):
            run_program([str(find_program("ld1.x"))], folder / "ld1.in", folder / "ld1.out",
                        done="End of pseudopotential test")
        text = (folder / "ld1.out").read_text(errors="replace")
        check_levels(text, element)
        if recipe.gipaw:
            check_for_xspectra(read_upf(folder / "set.UPF"))
        write_atomically(target.with_suffix(".ld1.out"), text)
        write_atomically(target.with_suffix(".ld1.in"), deck)
        if not target.exists():
            write_atomically(target, (folder / "set.UPF").read_bytes())
        # The digest comes last: its presence means that the set is whole and has passed.
        write_atomically(digest, read_upf(folder / "set.UPF").digest)
        shutil.rmtree(folder)
    return read_sealed_upf(target, digest.read_text(errors="replace"))


def _unpack(stem: str, folder: Path) -> bool:
    """Write a set that comes with the package as ld1.x would; return whether there is one."""
    packed = resources.files("perovskite_polaron") / "data" / "pseudo" / "sets.tar.xz"
    with resources.as_file(packed) as path, tarfile.open(path) as sets:
        if f"{stem}.UPF" not in sets.getnames():
            return False
        for member, name in ((f"{stem}.UPF", "set.UPF"), (f"{stem}.ld1.out", "ld1.out")):
            (folder / name).write_bytes(cast(IO[bytes], sets.extractfile(member)).read())
    return True


@dataclass(frozen=True)
class Level:
    """One level of the free atom, all-electron and pseudo, in Ry."""

    label: str
    occupation: float
    all_electron_Ry: float
    pseudo_Ry: float


def read_levels(ld1_output: str) -> tuple[Level, ...]:
    """Return the levels that ld1.x compares between the all-electron and the pseudo atom, bound
    ones first.
    """
    rows = re.findall(
        r"^\s+\d+\s+\d+\s+(\d[A-Z])\s+\d\(\s*([-\d.]+)\)\s+(-?[\d.]+)\s+(-?[\d.]+)\s+-?[\d.]+\s*$",
        ld1_output.partition("e AE (Ry)")[2], re.MULTILINE)
    return tuple(Level(label, *map(float, numbers)) for label, *numbers in rows)


def check_levels(ld1_output: str, element: str) -> None:
    """Refuse a set whose occupied pseudo levels are off the all-electron ones.

    Raises
    ------
    ComputationError
        When a level is off, or the output holds no comparison.
    """
    levels = read_levels(ld1_output)
    require(levels, f"ld1.x printed no levels for {element}: the recipe did not converge; change"
            " its radii", ComputationError)
    for level in levels:
        off = level.pseudo_Ry - level.all_electron_Ry
        require(level.occupation <= 0 or abs(off) <= _LEVEL_RY, f"the pseudo {level.label} level of"
                f" {element} is off by {off:+.4f} Ry (allowed {_LEVEL_RY:g}): change the radii or"
                " reference energies of its recipe", ComputationError)


@dataclass(frozen=True)
class PartialWaveCheck:
    """One GIPAW projector against the all-electron wave.

    Attributes
    ----------
    ratio_at_cutoff
        The pseudo wave over the all-electron one at the matching radius (1 is perfect).
    charge_difference
        The charge inside that radius, pseudo minus all-electron, in electrons.
    """

    label: str
    ratio_at_cutoff: float
    charge_difference: float


def check_partial_waves(pseudo: Pseudopotential) -> tuple[PartialWaveCheck, ...]:
    """Compare the GIPAW partial waves with the all-electron ones; refuse a bad match in the channel
    l = 1.

    The matrix element of the absorption is taken with the all-electron wave scaled to the pseudo
    one, so a mismatch at the matching radius is a relative error of that projector's share.

    Raises
    ------
    ComputationError
        When a wave is off.
    """
    rows = []
    radius = pseudo.radius_bohr
    for wave in pseudo.partial_waves:
        matched_bohr = max(wave.cutoff_bohr, wave.ultrasoft_bohr)
        n = int(np.searchsorted(radius, matched_bohr))
        charge = np.trapezoid((wave.pseudo**2 - wave.all_electron**2)[: n + 1], radius[: n + 1])
        ratio = float(wave.pseudo[n] / wave.all_electron[n])
        rows.append(PartialWaveCheck(wave.label, ratio, float(charge)))
        require(wave.l != 1 or abs(ratio - 1) <= _PARTIAL_WAVE, f"the {wave.label} partial wave of"
                f" {pseudo.path.name} is {ratio:.3f} of the all-electron one at"
                f" {matched_bohr:g} bohr (allowed 1 ± {_PARTIAL_WAVE:g}): change its reference"
                " energy or radius in the recipe", ComputationError)
    return tuple(rows)
