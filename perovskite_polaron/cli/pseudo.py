"""``polaron pseudo``: make a pseudopotential, or check one you have."""

import argparse
from collections.abc import Iterator
from typing import Any

from perovskite_polaron.cli.options import emit, pick, share
from perovskite_polaron.cli.tables import Said, Table
from perovskite_polaron.errors import ComputationError, require
from perovskite_polaron.espresso.atom_box import (
    ALLOWED_EV, BoxCheck, check_levels_in_box, scan_cutoffs, sufficient, why_off)
from perovskite_polaron.espresso.ld1_input import make_from_upf
from perovskite_polaron.espresso.pseudo import (
    Recipe, check_partial_waves, load_recipe, make_set, read_levels, recipe_elements)
from perovskite_polaron.espresso.upf import Pseudopotential, check_for_xspectra, read_upf
from perovskite_polaron.files import write_atomically
from perovskite_polaron.units import RYDBERG_EV, parse_quantity


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    add = parser.add_argument
    add("element", metavar="ELEMENT", nargs="?", help="chemical symbol")
    add("--list", action="store_true", help="say which elements have a recipe")
    add("--core-hole", choices=("1s",), help="take an electron out of this level")
    add("--half", action="store_true", help="take out half an electron instead of a whole one")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--recipe", metavar="FILE.toml",
                        help="generation parameters (default: the built-in ones)")
    source.add_argument("--from", dest="source", metavar="FILE.UPF", help="generation parameters"
                        " from the ld1.x input that this file carries (PSlibrary's do)")
    source.add_argument("--check", metavar="FILE.UPF",
                        help="do not make a set: check this file for use as a K-edge absorber")
    box = parser.add_mutually_exclusive_group()
    box.add_argument("--no-box", action="store_true",
                     help="skip the plane-wave check of the atom in a box (half a minute)")
    box.add_argument("--cutoffs", type=_cutoffs_Ry, metavar="25Ry,35Ry,...",
                     help="make that check at several cut-offs and say which suffices")
    add("--out", metavar="FILE.UPF",
        help="write the set here too (it is kept in the cache in any case)")
    share(parser, "--json")


def run(args: argparse.Namespace) -> None:
    """Make or check one set, print what was found, and where the file is.

    Examples
    --------
    polaron pseudo Br --core-hole 1s  # the absorber with an empty 1s level
    polaron pseudo Pb --out Pb.UPF
    polaron pseudo --list
    polaron pseudo Br --check my_Br_gipaw.UPF
    polaron pseudo N --from N.pbe-n-rrkjus_psl.1.0.0.UPF --core-hole 1s --out N.1s.UPF
    polaron pseudo Br --cutoffs 25Ry,35Ry,50Ry
    """
    if args.list:
        emit(args, {"recipes": _recipes(args)}, _recipe_lines(_recipes(args)))
        return
    require(args.element, "which element? Give one, or --list for those with a recipe")
    require(args.core_hole or not args.half,
            "--half needs --core-hole 1s: say which level is half empty")
    require(not (args.check and args.cutoffs), "--cutoffs needs a set that is made here, for whose"
            " levels it looks: leave out --check")
    box, made_from = None, ""
    if args.check:
        pseudo = read_upf(args.check)
        require(pseudo.element == args.element,
                f"{args.check} is for {pseudo.element}, not {args.element}: name the element of the"
                " file")
        check_for_xspectra(pseudo)
    else:
        hole = "none" if not args.core_hole else "half" if args.half else "full"
        if args.source:
            recipe, pseudo = make_from_upf(args.source, args.element, hole)
            made_from = recipe.description
        else:
            recipe = load_recipe(args.element, args.recipe)
            pseudo = make_set(recipe, hole)
        box = _in_box(args, recipe, pseudo)
    waves = check_partial_waves(pseudo)
    enough = sufficient(box or ())
    if args.out and (enough or not box):
        write_atomically(args.out, pseudo.path.read_bytes())
    record = {
        "path": args.out if args.out and (enough or not box) else pseudo.path,
        "sha256": pseudo.digest, "made_from": made_from,
        **pick(pseudo, "element", "kind", "z_valence"),
        "core_orbitals": [o.label for o in pseudo.core_orbitals],
        "partial_waves": [pick(w, "label", "ratio_at_cutoff", "charge_difference") for w in waves],
        "levels": [pick(v, "label", "all_electron_eV", "plane_wave_eV")
                   for v in (box[-1].levels if box else ())],
        "cutoffs": [{**pick(c, "ecutwfc_Ry", "ecutrho_Ry", "agrees"), "level": c.worst.label,
                     "largest_error_eV": c.worst.error_eV} for c in box or ()],
        "sufficient_Ry": enough.ecutwfc_Ry if enough else None}
    emit(args, record, _lines(record))
    if box and not enough:
        raise ComputationError(why_off(pseudo.path.name, box))


def _cutoffs_Ry(text: str) -> list[float]:
    values = [parse_quantity(word, "energy") / RYDBERG_EV for word in text.split(",")]
    require(min(values) > 0, f"--cutoffs {text}: a cut-off is not positive; give such as 25Ry,35Ry")
    return [round(value, 6) for value in values]


def _in_box(args: argparse.Namespace, recipe: Recipe,
            pseudo: Pseudopotential) -> tuple[BoxCheck, ...]:
    """Return the checks of the atom in a box: none, that at the recipe's cut-off, or a scan."""
    levels = read_levels(pseudo.path.with_suffix(".ld1.out").read_text())
    wave, density = recipe.cutoffs_Ry
    if args.no_box:
        return ()
    if args.cutoffs:
        return scan_cutoffs(pseudo, levels, args.cutoffs, density / wave if wave else 4)
    require(wave > 0, f"{args.source} says no cut-off, at which the atom in a box would be checked:"
            " give --cutoffs, or --no-box")
    return (check_levels_in_box(pseudo, levels, recipe.cutoffs_Ry),)


def _recipes(args: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for element in recipe_elements(args.recipe):
        recipe = load_recipe(element, args.recipe)
        rows.append({"element": element, "absorber": bool(recipe.gipaw),
                     "ecutwfc_Ry": recipe.cutoffs_Ry[0], "ecutrho_Ry": recipe.cutoffs_Ry[1],
                     "description": recipe.description})
    return rows


def _recipe_lines(rows: list[dict[str, Any]]) -> Iterator[Said]:
    columns = {"element": "9s", "role": "11s", "cut-offs, Ry": ">12s", "  set": "2s"}
    yield Table(columns, [
        (row["element"], "absorber" if row["absorber"] else "neighbour",
         f"{row['ecutwfc_Ry']:g} / {row['ecutrho_Ry']:g}", f"  {row['description'].split(',')[0]}")
        for row in rows])
    yield ("other elements: name UPF files, or a folder with them, in [pseudopotentials] of the"
           " study")


def _lines(record: dict[str, Any]) -> Iterator[Said]:
    yield f"{record['element']} {record['kind']}, valence {record['z_valence']:g}, {record['path']}"
    if record["made_from"]:
        yield f"made from {record['made_from']}"
    levels = {"level": "7s", "all-electron (eV)": "20.3f",
              "atom in a box, pw.x (eV)": "27.3f", "from the highest occupied level": "34s"}
    if record["levels"]:
        yield Table(levels, [(*v.values(), "") for v in record["levels"]])
    scan = {"cut-off (Ry)": "12g", "density (Ry)": "15g", "largest level error (eV)": "26.3f",
            "level": ">8s"}
    if len(record["cutoffs"]) > 1:
        yield Table(scan, [(c["ecutwfc_Ry"], c["ecutrho_Ry"], c["largest_error_eV"], c["level"])
                           for c in record["cutoffs"]])
    if len(record["cutoffs"]) > 1 and record["sufficient_Ry"]:
        yield (f"{record['sufficient_Ry']:g} Ry suffice: levels within {ALLOWED_EV:g} eV from there"
               " on")
    waves = {"partial wave": "14s", "pseudo / all-electron at the matching radius": "46.4f",
             "charge inside, difference (e)": "32.4f"}
    if record["partial_waves"]:
        yield Table(waves, [tuple(w.values()) for w in record["partial_waves"]])
