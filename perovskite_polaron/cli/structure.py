"""``polaron structure``: write a built-in or given crystal, and describe its symmetry and absorbers."""

import argparse
import json
from pathlib import Path
from typing import Any

from perovskite_polaron.errors import InputError
from perovskite_polaron.lattice.crystal import Crystal, supercell
from perovskite_polaron.lattice.files import read_crystal, write_crystal
from perovskite_polaron.lattice.symmetry import Symmetry, absorbers, find_symmetry
from perovskite_polaron.units import parse_quantity

EXAMPLE = "  polaron structure cspbbr3-pbnm --out ground.cif\n  polaron structure CONTCAR --element Br --json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    from perovskite_polaron.lattice.files import CRYSTALS

    parser.add_argument("file", metavar="FILE", help=f"structure file, or one of {', '.join(CRYSTALS)}")
    parser.add_argument("--element", help="describe the absorbers of this element only")
    parser.add_argument("--supercell", type=int, nargs=3, metavar="N", default=(1, 1, 1), help="repeat the cell")
    parser.add_argument("--symprec", default="1e-3A", help="tolerance of the symmetry search (default 1e-3A)")
    parser.add_argument("--out", type=Path, help="write the crystal: .cif .vasp .extxyz .xsf")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output file")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Describe the crystal, and write it when asked."""
    symprec_A = parse_quantity(args.symprec, "length")
    if symprec_A <= 0:
        raise InputError(f"--symprec {args.symprec} is not possible: give a positive length, such as 1e-3A")
    crystal = supercell(read_crystal(args.file), tuple(args.supercell))
    symmetry = find_symmetry(crystal, symprec_A)
    sites = describe_absorbers(crystal, symmetry, args.element)
    if args.out is not None:
        refuse_existing([args.out], args.overwrite)
        write_crystal(crystal, args.out)
    if args.json:
        print(
            json.dumps(
                {
                    "name": crystal.name,
                    "atoms": len(crystal),
                    "lattice_A": crystal.lattice_A.tolist(),
                    "volume_A3": crystal.volume_A3,
                    "space_group": symmetry.symbol,
                    "space_group_number": symmetry.number,
                    "setting": symmetry.setting,
                    "symprec_A": symprec_A,
                    "absorbers": sites,
                    "path": None if args.out is None else str(args.out),
                }
            )
        )
        return 0
    print(f"{crystal.name}: {len(crystal)} atoms, {crystal.volume_A3:.3f} Å3")
    print(f"space group {symmetry.symbol} ({symmetry.number}), here as {symmetry.setting}, found at {symprec_A:g} Å")
    print(f"{'element':8s}{'site':>6s}{'parent':>8s}{'atoms':>7s}  first atom")
    for element, rows in sites.items():
        for row in rows:
            print(
                f"{element:8s}{row['site']:>6s}{row['parent'] or '-':>8s}{row['multiplicity']:7d}  {row['index'] + 1}"
            )
    if args.out is not None:
        print(f"written to {args.out}")
    return 0


def describe_absorbers(
    crystal: Crystal, symmetry: Symmetry, element: str | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Return {element: [{site, parent, multiplicity, index}]} for one element or all."""
    elements = [element] if element else list(dict.fromkeys(crystal.species))
    return {
        e: [
            {"site": a.site, "parent": a.parent, "multiplicity": a.multiplicity, "index": a.index}
            for a in absorbers(crystal, e, symmetry)
        ]
        for e in elements
    }


def refuse_existing(paths: list[Path], overwrite: bool) -> None:
    """Refuse, before anything is written, to replace files the user did not ask to replace."""
    existing = next((p for p in paths if p.exists()), None)
    if existing is not None and not overwrite:
        raise InputError(f"{existing} exists already: choose another name, or add --overwrite")
