"""``polaron bonds``: measure B-X bonds, off-centring, tilts; compare two structures."""

import argparse
import csv
import io
import json
from pathlib import Path
from typing import Any

from perovskite_polaron.cli.structure import refuse_existing
from perovskite_polaron.files import write_atomically
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.lattice.octahedra import BondReport, Displacements, bond_report, compare, find_framework

EXAMPLE = "  polaron bonds cspbbr3-pbnm\n  polaron bonds distorted.cif ground.cif --figure moved.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("file", metavar="FILE", help="structure to measure (a file or a built-in name)")
    parser.add_argument("reference", metavar="REFERENCE", nargs="?", help="structure it was displaced from")
    parser.add_argument("--b", metavar="ELEMENT", help="element in the octahedra (default: found from the bonds)")
    parser.add_argument("--x", metavar="ELEMENT", help="element at their corners (default: the commonest anion)")
    parser.add_argument(
        "--axial",
        choices=("a", "b", "c"),
        help="lattice vector of the axial bonds (default: the axis whose B-B step differs most; c if none)",
    )
    parser.add_argument("--csv", type=Path, help="write every bond to a CSV file")
    parser.add_argument("--figure", type=Path, help="draw bonds and displacements (.png or .svg)")
    parser.add_argument("--overwrite", action="store_true", help="replace existing output files")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Measure, compare and write."""
    refuse_existing([p for p in (args.csv, args.figure) if p is not None], args.overwrite)
    crystal = read_crystal(args.file)
    report = bond_report(crystal, find_framework(crystal, args.b, args.x, args.axial))
    comparison = reference_report = None
    if args.reference is not None:
        reference = read_crystal(args.reference)
        framework = find_framework(reference, args.b, args.x, args.axial)
        reference_report = bond_report(reference, framework)
        comparison = compare(crystal, reference, framework)
    if args.csv is not None:
        text = io.StringIO()
        writer = csv.DictWriter(text, ("b", "x", "class", "length_A"), lineterminator="\n")
        writer.writeheader()
        writer.writerows(bond_rows(report))
        write_atomically(args.csv, text.getvalue())
    if args.figure is not None:
        from perovskite_polaron.figures.lattice import write_bonds_figure

        write_bonds_figure(report, args.figure, reference_report, comparison)
    if args.json:
        print(json.dumps(summary(report, comparison)))
    else:
        print(table(report, reference_report, comparison))
    return 0


def bond_rows(report: BondReport) -> list[dict[str, Any]]:
    """Return one row for each bond: atoms as "Pb1" (element and position in the file, from 1), class and length."""
    f, species = report.framework, report.framework.crystal.species
    return [
        {
            "b": f"{f.b}{centre + 1}",
            "x": f"{species[atom]}{atom + 1}",
            "class": "axial" if slot >= 4 else "equatorial",
            "length_A": float(report.octahedra.lengths_A[0, i, slot]),
        }
        for i, centre in enumerate(f.centres)
        for slot, atom in enumerate(f.ligands[i])
    ]


def summary(report: BondReport, comparison: Displacements | None = None) -> dict[str, Any]:
    """Return the report as one object for JSON; means over the crystal, and each octahedron."""
    o = report.octahedra
    result: dict[str, Any] = {
        "axial_A": report.axial_A,
        "equatorial_A": report.equatorial_A,
        "bonds": bond_rows(report),
        "offcentring_A": float(o.offcentring_A.mean()),
        "axial_angle_deg": report.axial_angle_deg,
        "equatorial_angle_deg": report.equatorial_angle_deg,
        "octahedra": [
            {
                "b": f"{report.framework.b}{centre + 1}",
                "offcentring_A": float(o.offcentring_A[0, i]),
                "length_variance_A2": float(o.length_variance_A2[0, i]),
                "quadratic_elongation": float(o.elongation[0, i]),
                "angle_variance_deg2": float(o.angle_variance_deg2[0, i]),
                "tilts_deg": o.tilts_deg[0, i].tolist(),
            }
            for i, centre in enumerate(report.framework.centres)
        ],
    }
    if comparison is not None:
        result |= {
            "displacement_A": comparison.classes_A,
            "ratio": comparison.ratio,
            "removed_shift_A": comparison.shift_A.tolist(),
            "displacement_convention": "root mean square over the class, centre of mass at rest",
        }
    return result


def table(report: BondReport, reference: BondReport | None, comparison: Displacements | None) -> str:
    """Return the report for people; with a reference, before and after side by side."""
    f = report.framework
    reports = [report] if reference is None else [reference, report]
    rows = [
        (f"{f.b}-{f.x} axial, Å", "axial_A"),
        (f"{f.b}-{f.x} equatorial, Å", "equatorial_A"),
        (f"{f.b}-{f.x}-{f.b} axial, deg", "axial_angle_deg"),
        (f"{f.b}-{f.x}-{f.b} equatorial, deg", "equatorial_angle_deg"),
    ]
    lines = [f"{'':32s}" + "".join(f"{r.framework.crystal.name[:20]:>22s}" for r in reports)]
    lines += [f"{title:32s}" + "".join(f"{getattr(r, key):22.4f}" for r in reports) for title, key in rows]
    means = [
        (f"{f.b} off-centring, Å", "offcentring_A"),
        ("bond-length variance, Å2", "length_variance_A2"),
        ("quadratic elongation", "elongation"),
        ("angle variance, deg2", "angle_variance_deg2"),
    ]
    lines += [
        f"{title:32s}" + "".join(f"{getattr(r.octahedra, key).mean():22.5f}" for r in reports) for title, key in means
    ]
    lines.append(
        f"{'tilts (two equatorial, axial), deg':32s}"
        + "".join(f"{' '.join(f'{t:.2f}' for t in r.octahedra.tilts_deg[0].mean(axis=0)):>22s}" for r in reports)
    )
    if comparison is not None:
        c, ratio = comparison.classes_A, comparison.ratio
        lines += ["", "root-mean-square displacement, centre of mass at rest, Å"]
        lines += [f"  {name:30s}{value:22.5f}" for name, value in c.items()]
        lines += [
            f"  {name.replace('_', ' '):30s}" + (f"{v:22.3f}" if v is not None else f"{'-':>22s}")
            for name, v in ratio.items()
        ]
    return "\n".join(lines)
