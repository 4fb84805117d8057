"""The input of ld1.x that a UPF file carries, as a recipe.

Many UPF files of version 2 hold, in PP_INPUTFILE, the input with which ld1.x made them. Taken over
as a recipe, with GIPAW projectors added, it gives the set without a hole and the one with a hole in
1s that XSpectra needs, and both pass the checks of every recipe. What cannot be taken over is
refused by its name. That nothing was lost on the way shows in ``check_remade``: the set made anew
has the potential and the projectors of the file.
"""

import math
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from perovskite_polaron.errors import ComputationError, InputError, require
from perovskite_polaron.espresso.pseudo import Recipe, make_set
from perovskite_polaron.espresso.pseudo_sets import functional_of
from perovskite_polaron.espresso.upf import Pseudopotential, numbers, read_upf, section
from perovskite_polaron.files import read_text

_NOBLE = {"He": "1s2", "Ne": "2s2 2p6", "Ar": "3s2 3p6", "Kr": "3d10 4s2 4p6",
          "Xe": "4d10 5s2 5p6", "Rn": "4f14 5d10 6s2 6p6"}
# Keys of the two namelists: those that make the set, and those that only say where output goes,
# what is printed, or what the recipe settles itself. A key in neither is refused.
_CARRIED = {"pseudotype", "tm", "rho0", "lloc", "rcloc", "nlcc", "new_core_ps", "rcore",
            "which_augfun", "rmatch_augfun", "rmatch_augfun_nc"}
_INPUT = {"title", "zed", "atom", "rel", "iswitch", "dft", "config", "prefix", "verbosity", "rpwe",
          "rlderiv", "eminld", "emaxld", "deld", "nld", "beta", "tr2"}
_INPUTP = _CARRIED | {"zval", "lpaw", "use_xsd", "author", "lgipaw_reconstruction", "lsave_wfc",
                      "use_paw_as_gipaw"}
_OUTPUT = re.compile(r"file_\w+")
# Values without which the set would be another kind than a recipe makes.
_NEEDED = {"rel": (1, "only scalar relativistic sets are made"), "iswitch": (3, "it makes no set")}
_SHELL = re.compile(r"([1-9][spdf])(-?\d*\.?\d+)", re.IGNORECASE)
_WORD = re.compile(r"(\w+(?:\(\d+\))?)\s*=\s*('[^']*'|\"[^\"]*\"|[^\s,/]+)")
# Where a second wave of l = 1 is not bound, Ry.
_SECOND_P_RY = 0.2
# How far a set made anew may be from the one in the file, as a share of the largest value: the
# digits of ld1.x differ between versions and processors.
_REMADE = 1e-4
_INNERMOST_BOHR = 0.05


@dataclass(frozen=True)
class _Deck:
    """An input of ld1.x: namelists (lower-case keys), and rows of the two tables of waves."""

    input: dict[str, Any]
    inputp: dict[str, Any]
    channels: tuple[tuple[Any, ...], ...]
    test: tuple[tuple[Any, ...], ...]


def recipe_from_upf(path: str | os.PathLike[str], element: str) -> Recipe:
    """Return the recipe that is in a UPF file, with GIPAW projectors for the K edge.

    These are every occupied shell of the valence at the outer radius of its angular momentum, and
    with them the next wave of l = 1 where that is only one: at its level if the file has one, else
    at 0.2 Ry. A file whose input has GIPAW projectors keeps its own.

    Parameters
    ----------
    path
        A UPF file of version 2 that ld1.x made. Of a PAW set the ultrasoft one is made that has
        the same waves, radii and energies.
    element
        Whose it must be.

    Raises
    ------
    InputError
        When the file carries no input of ld1.x, or one of which a key, a value or a shell cannot
        be taken over.
    """
    path = Path(path)
    pseudo = read_upf(path)
    require(pseudo.element == element, f"{path} is for {pseudo.element}, not {element}: name the"
            " element of the file")
    text = read_text(path, "UPF pseudopotential")
    deck = _read_deck(text, path)
    _check_keys(deck, path)
    functional = str(deck.input.get("dft", ""))
    same = functional_of(replace(pseudo, functional=functional)) == functional_of(pseudo)
    require(functional and same, f"{path}: its PP_INPUTFILE has dft = {functional!r}, its header"
            f" {pseudo.functional.strip()!r}: it is not certain which the set is for; take another"
            " file")
    core, valence = _shells(deck, path)
    charge = atomic_numbers[element] - sum(float(n) for _, n in _SHELL.findall(core))
    require(abs(charge - pseudo.z_valence) < 1e-6, f"{path}: the core in its PP_INPUTFILE ({core})"
            f" leaves {charge:g} valence electrons, its header says {pseudo.z_valence:g}: it is not"
            " the input of this set; take another file")
    gipaw = deck.test if deck.inputp.get("lgipaw_reconstruction") else ()
    if not gipaw:
        gipaw, valence = _projectors(deck, valence, path)
    inputp = {key: value for key, value in deck.inputp.items() if key in _CARRIED}
    waves = " ".join(row[0] for row in gipaw)
    kind = " (the ultrasoft partner of a PAW set)" if deck.inputp.get("lpaw") else ""
    return Recipe(element, f"the ld1.x input of {path.name}{kind}, GIPAW {waves}", core, valence,
                  inputp, deck.channels, _cutoffs(text, path, inputp), gipaw, functional)


def make_from_upf(path: str | os.PathLike[str], element: str,
                  hole: str = "none") -> tuple[Recipe, Pseudopotential]:
    """Return the recipe in a UPF file and the set made from it, without or with a hole.

    The set without a hole is made in any case and held against the file.

    Raises
    ------
    InputError, MissingProgramError, ComputationError, DamagedError
        As ``recipe_from_upf``, ``make_set`` and ``check_remade``.
    """
    recipe = recipe_from_upf(path, element)
    ground = make_set(recipe, "none")
    check_remade(read_upf(path), ground)
    return recipe, ground if hole == "none" else make_set(recipe, hole)


def check_remade(file: Pseudopotential, made: Pseudopotential) -> None:
    """Refuse a set made from the input in a file that is not the set in that file.

    Compared are the projectors (but for their scale, which the versions of ld1.x choose otherwise),
    the core charge and, unless the file is PAW, the local potential: that of PAW is for another
    augmentation charge.

    Raises
    ------
    ComputationError
        Naming the part that is another.
    """
    parts = {"projectors": r"PP_BETA\.\d+", "core charge": "PP_NLCC", "local potential": "PP_LOCAL"}
    for what, tag in parts.items():
        off = _largest_share(file, made, tag)
        require(off <= _REMADE or (tag == "PP_LOCAL" and file.kind == "PAW"), f"{what} of the set"
                f" made from the input in {file.path}: off by {off:.1%} of the largest value in the"
                " file, so that is not the input of this set, or this ld1.x reads it otherwise;"
                " take another file", ComputationError)


def _largest_share(file: Pseudopotential, made: Pseudopotential, tag: str) -> float:
    """Return the largest difference of the tables of one name, over their largest value; infinity
    when there are not as many.
    """
    ours, theirs = (_tables(pseudo, tag) for pseudo in (made, file))
    if len(ours) != len(theirs):
        return math.inf
    worst = 0.0
    for mine, other in zip(ours, theirs, strict=True):
        there = file.radius_bohr[: len(other)]
        kept = (there > _INNERMOST_BOHR) & (there <= made.radius_bohr[len(mine) - 1])
        value = np.interp(there[kept], made.radius_bohr[: len(mine)], mine)
        scale = value @ other[kept] / (value @ value) if tag.startswith("PP_BETA") else 1.0
        off = np.abs(scale * value - other[kept]).max() / np.abs(other[kept]).max()
        worst = max(worst, float(off))
    return worst


def _tables(pseudo: Pseudopotential, tag: str) -> list[NDArray[np.float64]]:
    text = read_text(pseudo.path, "UPF pseudopotential")
    return [numbers(body) for body in re.findall(rf"<{tag}(?=[\s>])[^>]*>([^<]*)</{tag}>", text)]


def _read_deck(text: str, path: Path) -> _Deck:
    require("<PP_INPUTFILE" in text, f"{path} carries no input of the program that made it (no"
            " section PP_INPUTFILE): name a file of a library that does, such as PSlibrary, or"
            " write a recipe")
    body = section(text, "PP_INPUTFILE", path).replace("&amp;", "&")
    # ld1.x writes @ for & into some files, and leaves the first line out of others. A comment
    # begins with ! outside quotes.
    lines = [re.sub(r"^[&@]", "&", re.sub(r"('[^']*'|\"[^\"]*\")|!.*", r"\1", line).strip())
             for line in body.strip().splitlines()]
    if lines and not lines[0].lower().startswith("&input"):
        lines.insert(0, "&input")
    require(any(line.lower().startswith("&inputp") for line in lines), f"{path}: its PP_INPUTFILE"
            " is of another program than ld1.x: take a file that ld1.x made, as those of PSlibrary,"
            " or write a recipe")
    try:
        first, rest = _namelist(lines, "input")
        second, rest = _namelist(rest, "inputp")
        channels, rest = _rows(rest)
        test: tuple[tuple[Any, ...], ...] = ()
        if rest:
            _, rest = _namelist(rest, "test")
            test, rest = _rows(rest) if rest else ((), [])
        if rest:
            raise ValueError(f"{rest[0]!r} is left over")
    except (ValueError, IndexError) as error:
        raise InputError(f"{path}: its PP_INPUTFILE is not a whole input of ld1.x ({error}): take"
                         " another file, or write a recipe") from None
    return _Deck(first, second, channels, test)


def _namelist(lines: list[str], name: str) -> tuple[dict[str, Any], list[str]]:
    """Return the namelist at the beginning of the lines, and the lines after it."""
    if not lines or lines[0].split()[0].lower() != f"&{name}":
        raise ValueError(f"there is no namelist &{name}")
    for n, line in enumerate(lines):
        # A slash in quotes ends no namelist.
        if re.sub(r"'[^']*'|\"[^\"]*\"", "", line).endswith("/") or line.lower() == "&end":
            inside = re.sub(r"(/|&end)\s*$", "", " ".join(
                [lines[0][len(name) + 1 :], *lines[1 : n + 1]]), flags=re.IGNORECASE)
            if left := _WORD.sub("", inside).replace(",", " ").split():
                raise ValueError(f"{left[0]!r} in &{name} is no key with a value")
            return {key.lower(): _value(word) for key, word in _WORD.findall(inside)}, [
                line for line in lines[n + 1 :] if line]
    raise ValueError(f"the namelist &{name} has no end")


def _value(word: str) -> Any:
    if word[0] in "'\"":
        return word[1:-1].strip()
    if re.fullmatch(r"\.?[tf](rue|alse)?\.?", word, re.IGNORECASE):
        return word.strip(".")[0].lower() == "t"
    number = float(re.sub("d", "e", word, flags=re.IGNORECASE))
    return int(number) if re.fullmatch(r"-?\d+", word) else number


def _rows(lines: list[str]) -> tuple[tuple[tuple[Any, ...], ...], list[str]]:
    """Return the table of waves at the beginning of the lines, and the lines after it."""
    count = int(lines[0])
    rows = [line.split() for line in lines[1 : count + 1]]
    if len(rows) < count or any(len(row) not in (7, 8) for row in rows):
        raise ValueError("a table of waves is incomplete")
    return tuple((row[0].upper(), int(row[1]), int(row[2]),
                  *(float(_value(word)) for word in row[3:7])) for row in rows), lines[count + 1 :]


def _check_keys(deck: _Deck, path: Path) -> None:
    given = {"input": deck.input, "inputp": deck.inputp}
    odd = [f"{key} in &{name}" for name, known in (("input", _INPUT), ("inputp", _INPUTP))
           for key in given[name] if key not in known and not _OUTPUT.fullmatch(key)]
    require(not odd, f"{path}: its PP_INPUTFILE sets {', '.join(odd)}, which a recipe cannot take"
            " over: take another file")
    for key, (needed, why) in _NEEDED.items():
        found = deck.input.get(key)
        require(found == needed, f"{path}: its PP_INPUTFILE has {key} ="
                f" {'no value' if found is None else found}, not {needed}: {why}; take another"
                " file")
    require(not deck.inputp.get("lpaw") or deck.inputp.get("pseudotype") == 3, f"{path}: its"
            " PP_INPUTFILE has lpaw without pseudotype = 3, so no ultrasoft set has the same waves:"
            " take another file")


def _shells(deck: _Deck, path: Path) -> tuple[str, str]:
    """Return the configuration of core and valence: what has a channel is valence."""
    config = str(deck.input.get("config", ""))
    words = config.split()
    if words and (noble := words[0].strip("[]")) in _NOBLE:
        gases = list(_NOBLE)
        words[:1] = [w for gas in gases[: gases.index(noble) + 1] for w in _NOBLE[gas].split()]
    odd = [word for n, word in enumerate(words) if not _SHELL.fullmatch(word)
           or word[:2].lower() in [other[:2].lower() for other in words[:n]]]
    require(words and not odd, f"{path}: its PP_INPUTFILE has config = {config!r}, of which"
            f" {odd[0] if odd else 'nothing'!r} cannot be read: take another file")
    channels = {row[0] for row in deck.channels}
    core = [w for w in words if w[:2].upper() not in channels and float(w[2:]) > 0]
    valence = [w for w in words if w not in core]
    level = next((w for w in core if w[:2].lower() == "1s"), "")
    require(level and float(level[2:]) == 2, f"{path}: 1s is not a full core level there"
            f" (config = {config!r}), so no electron can be taken out of it: take a set with 1s in"
            " the core")
    return _written(core), _written(valence)


def _written(shells: list[str]) -> str:
    """Return shells as recipes have them, without zeros after the point."""
    return " ".join(f"{shell[:2].lower()}{float(shell[2:]):g}" for shell in shells)


def _projectors(deck: _Deck, valence: str, path: Path) -> tuple[tuple[tuple[Any, ...], ...], str]:
    """Return the rows of the GIPAW projectors, and the valence with a second wave of l = 1."""
    place = {row[0]: row for row in reversed(deck.channels)}
    outer = {l: max(max(row[5:7]) for row in deck.channels if row[2] == l)
             for l in {row[2] for row in deck.channels}}  # noqa: E741
    shells = [(label.upper(), float(n)) for label, n in _SHELL.findall(valence)]
    rows = [(label, *place[label][1:3], occupation, 0.0, *[outer[place[label][2]]] * 2)
            for label, occupation in shells if label in place
            and (occupation > 0 or (occupation == 0 and place[label][2] == 1))]
    waves = [row for row in rows if row[2] == 1]
    require(waves, f"{path}: its PP_INPUTFILE has no bound wave of l = 1, into which 1s is excited:"
            " take another file")
    if len(waves) == 1:
        last = waves[0]
        label = f"{int(last[0][0]) + 1}P"
        if label not in dict(shells):
            valence += f" {label.lower()}-1"
        rows.append((label, last[1] + 1, 1, -1.0, _SECOND_P_RY, *last[5:]))
    return tuple(rows), valence


def _cutoffs(text: str, path: Path, inputp: dict[str, Any]) -> tuple[float, float]:
    """Return the cut-offs in the header in whole Ry; 0 for a norm-conserving set without them."""
    found = [re.search(rf'{key}_cutoff\s*=\s*"\s*([-+.\deE]+)', text) for key in ("wfc", "rho")]
    wave, density = (math.ceil(float(match[1])) if match else 0 for match in found)
    require(wave > 0 or inputp.get("pseudotype") != 3, f"{path} has no wfc_cutoff in its header,"
            " which the check in a box needs: take another file")
    return float(wave), float(max(density, 4 * wave))
