"""``polaron structure``: write a crystal, and describe its symmetry and absorbers."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.cli.options import emit, pick, quantity, refuse_existing, share
from perovskite_polaron.cli.tables import Said, Table
from perovskite_polaron.errors import require
from perovskite_polaron.lattice.crystal import Crystal, supercell
from perovskite_polaron.lattice.files import CRYSTALS, read_crystal, write_crystal
from perovskite_polaron.lattice.symmetry import Symmetry, absorbers, find_symmetry, primitive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add = parser.add_argument
    add("file", metavar="FILE", help=f"structure file, or one of {', '.join(CRYSTALS)}")
    add("--element", help="describe the absorbers of this element only")
    share(parser, "--primitive", "--supercell")
    add("--symprec", default="1e-3A", type=quantity("length"),
        help="tolerance of the symmetry search (default 1e-3A)")
    add("--out", type=Path, help="write the crystal: .cif .vasp .extxyz .xsf")
    share(parser, "--overwrite", "--json")


def run(args: argparse.Namespace) -> None:
    """Describe the crystal, and write it when asked.

    Examples
    --------
    polaron structure cspbbr3-pbnm --out ground.cif
    polaron structure CONTCAR --element Br --json
    """
    require(args.symprec > 0,
            f"--symprec {args.symprec:g}A is not possible: give a positive length, such as 1e-3A")
    crystal = read_crystal(args.file)
    if args.primitive:
        crystal = primitive(crystal, args.symprec)
    crystal = supercell(crystal, tuple(args.supercell))
    symmetry = find_symmetry(crystal, args.symprec)
    sites = describe_absorbers(crystal, symmetry, args.element)
    if args.out is not None:
        refuse_existing(args, args.out)
        write_crystal(crystal, args.out)
    record = {
        "name": crystal.name, "atoms": len(crystal), "lattice_A": crystal.lattice_A,
        "volume_A3": crystal.volume_A3, **group_record(symmetry), "symprec_A": args.symprec,
        "absorbers": sites, "path": args.out}
    emit(args, record, [*lines(crystal, symmetry, sites),
                        *([] if args.out is None else [f"written to {args.out}"])])


def lines(crystal: Crystal, symmetry: Symmetry,
          sites: dict[str, list[dict[str, Any]]]) -> Iterator[Said]:
    """Return what people read of a crystal; sites as from ``describe_absorbers``."""
    lengths = " × ".join(f"{x:.4f}" for x in np.linalg.norm(crystal.lattice_A, axis=1))
    yield (f"{crystal.label}: {crystal.formula}, {len(crystal)} atoms in {lengths} Å,"
           f" {crystal.volume_A3:.3f} Å3")
    yield (f"space group {symmetry.symbol} ({symmetry.number}), here as {symmetry.setting}, found"
           f" at {symmetry.symprec_A:g} Å")
    columns = {"element": "8s", "site": ">6s", "parent": ">8s", "atoms": "7d",
               "  first atom": "13s"}
    yield Table(columns, [(e, r["site"], r["parent"], r["multiplicity"], f"  {r['index'] + 1}")
                          for e, found in sites.items() for r in found])


def group_record(symmetry: Symmetry) -> dict[str, Any]:
    """Return the space group as the verbs that change structures report it."""
    return pick(symmetry, "setting", "symprec_A", space_group="symbol", space_group_number="number")


def describe_absorbers(crystal: Crystal, symmetry: Symmetry,
                       element: str | None = None) -> dict[str, list[dict[str, Any]]]:
    """Return {element: [{site, parent, multiplicity, index}]} for one element or all."""
    return {e: [pick(a, "site", "parent", "multiplicity", "index")
                for a in absorbers(crystal, e, symmetry)]
            for e in ([element] if element else dict.fromkeys(crystal.species))}
