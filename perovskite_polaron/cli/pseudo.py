"""``polaron pseudo``: make a pseudopotential, or check one you have."""

import argparse
from collections.abc import Iterator
from typing import Any

from perovskite_polaron.cli.options import emit, pick, share
from perovskite_polaron.cli.tables import Said, Table
from perovskite_polaron.errors import require
from perovskite_polaron.espresso.pseudo import (
    check_levels_in_box, check_partial_waves, load_recipe, make_pseudo, read_levels,
    recipe_elements)
from perovskite_polaron.espresso.upf import check_for_xspectra, read_upf
from perovskite_polaron.files import write_atomically


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    add = parser.add_argument
    add("element", metavar="ELEMENT", nargs="?", help="chemical symbol")
    add("--list", action="store_true", help="say which elements have a recipe")
    add("--core-hole", choices=("1s",), help="take an electron out of this level")
    add("--half", action="store_true", help="take out half an electron instead of a whole one")
    add("--recipe", metavar="FILE.toml", help="generation parameters (default: the built-in ones)")
    add("--check", metavar="FILE.UPF",
        help="do not make a set: check this file for use as a K-edge absorber")
    add("--no-box", action="store_true",
        help="skip the plane-wave check of the atom in a box (half a minute)")
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
    """
    if args.list:
        emit(args, {"recipes": _recipes(args)}, _recipe_lines(_recipes(args)))
        return
    require(args.element, "which element? Give one, or --list for those with a recipe")
    require(args.core_hole or not args.half,
            "--half needs --core-hole 1s: say which level is half empty")
    box = None
    if args.check:
        pseudo = read_upf(args.check)
        require(pseudo.element == args.element,
                f"{args.check} is for {pseudo.element}, not {args.element}: name the element of the"
                " file")
        check_for_xspectra(pseudo)
    else:
        hole = "none" if not args.core_hole else "half" if args.half else "full"
        pseudo = make_pseudo(args.element, hole, args.recipe)
        levels = read_levels(pseudo.path.with_suffix(".ld1.out").read_text())
        if not args.no_box:
            cutoffs = load_recipe(args.element, args.recipe).cutoffs_Ry
            box = check_levels_in_box(pseudo, levels, cutoffs)
    waves = check_partial_waves(pseudo)
    if args.out:
        write_atomically(args.out, pseudo.path.read_bytes())
    record = {
        "path": args.out or pseudo.path, "sha256": pseudo.digest,
        **pick(pseudo, "element", "kind", "z_valence"),
        "core_orbitals": [o.label for o in pseudo.core_orbitals],
        "partial_waves": [pick(w, "label", "ratio_at_cutoff", "charge_difference") for w in waves],
        "levels": [pick(v, "label", "all_electron_eV", "plane_wave_eV") for v in box or ()]}
    emit(args, record, _lines(record))


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
    levels = {"level": "7s", "all-electron (eV)": "20.3f",
              "atom in a box, pw.x (eV)": "27.3f", "from the highest occupied level": "34s"}
    if record["levels"]:
        yield Table(levels, [(*v.values(), "") for v in record["levels"]])
    waves = {"partial wave": "14s", "pseudo / all-electron at the matching radius": "46.4f",
             "charge inside, difference (e)": "32.4f"}
    if record["partial_waves"]:
        yield Table(waves, [tuple(w.values()) for w in record["partial_waves"]])
