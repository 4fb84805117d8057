"""``polaron pseudo``: make a pseudopotential, or check one you have."""

import argparse
import json

EXAMPLE = (
    "  polaron pseudo Br --core-hole 1s         # the absorber with an empty 1s level\n"
    "  polaron pseudo Pb --out Pb.UPF\n"
    "  polaron pseudo Br --check my_Br_gipaw.UPF"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("element", metavar="ELEMENT", help="chemical symbol")
    parser.add_argument("--core-hole", choices=("1s",), help="take an electron out of this level")
    parser.add_argument("--half", action="store_true", help="take out half an electron instead of a whole one")
    parser.add_argument("--recipe", metavar="FILE.toml", help="generation parameters (default: the built-in ones)")
    parser.add_argument(
        "--check", metavar="FILE.UPF", help="do not make a set: check this file for use as a K-edge absorber"
    )
    parser.add_argument(
        "--no-box", action="store_true", help="skip the plane-wave check of the atom in a box (half a minute)"
    )
    parser.add_argument(
        "--out", metavar="FILE.UPF", help="write the set here too (it is kept in the cache in any case)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> None:
    """Make or check one set, print what was found, and where the file is."""
    from perovskite_polaron.errors import InputError
    from perovskite_polaron.espresso.pseudo import (
        check_levels_in_box,
        check_partial_waves,
        load_recipe,
        make_pseudo,
        read_levels,
    )
    from perovskite_polaron.espresso.upf import check_for_xspectra, read_upf
    from perovskite_polaron.files import write_atomically

    if args.half and not args.core_hole:
        raise InputError("--half needs --core-hole 1s: say which level is half empty")
    if args.check:
        pseudo = read_upf(args.check)
        if pseudo.element != args.element:
            raise InputError(f"{args.check} is for {pseudo.element}, not {args.element}: name the element of the file")
        check_for_xspectra(pseudo)
        box = None
    else:
        hole = "none" if not args.core_hole else "half" if args.half else "full"
        pseudo = make_pseudo(args.element, hole, args.recipe)
        levels = read_levels(pseudo.path.with_suffix(".ld1.out").read_text())
        cutoffs = load_recipe(args.element, args.recipe).cutoffs_Ry
        box = None if args.no_box else check_levels_in_box(pseudo, levels, cutoffs)
    waves = check_partial_waves(pseudo)
    if args.out:
        write_atomically(args.out, pseudo.path.read_bytes())
    record = {
        "path": args.out or str(pseudo.path),
        "element": pseudo.element,
        "kind": pseudo.kind,
        "z_valence": pseudo.z_valence,
        "sha256": pseudo.digest,
        "core_orbitals": [o.label for o in pseudo.core_orbitals],
        "partial_waves": [
            {"label": w.label, "ratio_at_cutoff": w.ratio_at_cutoff, "charge_difference": w.charge_difference}
            for w in waves
        ],
        "levels": [
            {"label": v.label, "all_electron_eV": v.all_electron_eV, "plane_wave_eV": v.plane_wave_eV}
            for v in box or ()
        ],
    }
    if args.json:
        print(json.dumps(record))
        return
    print(f"{pseudo.element} {pseudo.kind}, valence {pseudo.z_valence:g}, {record['path']}")
    if box is not None:
        print("level   all-electron (eV)   atom in a box, pw.x (eV)   from the highest occupied level")
        for v in box:
            print(f"{v.label:7} {v.all_electron_eV:17.3f} {v.plane_wave_eV:26.3f}")
    if waves:
        print("partial wave   pseudo / all-electron at the matching radius   charge inside, difference (e)")
        for w in waves:
            print(f"{w.label:14} {w.ratio_at_cutoff:46.4f} {w.charge_difference:31.4f}")
