"""``polaron bonds``: measure B-X bonds, off-centring, tilts; of a structure, two, or snapshots."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perovskite_polaron.cli.options import emit, pick, refuse_existing, share
from perovskite_polaron.cli.tables import Said, Table
from perovskite_polaron.errors import require
from perovskite_polaron.files import write_csv
from perovskite_polaron.lattice.ensemble import RECORD, read_ensemble
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.lattice.octahedra import (
    BondReport, Displacements, bond_report, compare, find_framework)
from perovskite_polaron.lattice.statistics import QUANTITIES, bond_distributions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add = parser.add_argument
    add("file", metavar="FILE", help="structure to measure (a file or a built-in name), or a folder"
        " of polaron ensemble: the distributions over its snapshots")
    add("reference", metavar="REFERENCE", nargs="?", help="structure it was displaced from")
    add("--b", metavar="ELEMENT", help="elements in the octahedra, as Ag,Bi (default: found)")
    add("--x", metavar="ELEMENT", help="elements at their corners, as I,Br (default: found)")
    add("--axial", choices=("a", "b", "c"), help="lattice vector of the axial bonds (default: the"
        " axis whose B-B step differs most; c if none)")
    add("--csv", type=Path, help="write every bond to a CSV file")
    add("--figure", type=Path, help="draw bonds and displacements (.png or .svg)")
    share(parser, "--overwrite", "--json")


def run(args: argparse.Namespace) -> None:
    """Measure, compare and write.

    Examples
    --------
    polaron bonds cspbbr3-pbnm
    polaron bonds distorted.cif ground.cif --figure moved.png
    polaron bonds hot/140C --csv hot.csv
    """
    refuse_existing(args, args.csv, args.figure)
    if (Path(args.file) / RECORD).is_file():
        _distributions(args)
        return
    crystal = read_crystal(args.file)
    report = bond_report(crystal, find_framework(crystal, args.b, args.x, args.axial))
    comparison = before = None
    if args.reference is not None:
        reference = read_crystal(args.reference)
        framework = find_framework(reference, args.b, args.x, args.axial)
        before = bond_report(reference, framework)
        comparison = compare(crystal, reference, framework)
    record = summary(report, comparison)
    if args.csv is not None:
        names = ("b", "x", "class", "length_A")
        write_csv(args.csv, {name: [row[name] for row in record["bonds"]] for name in names})
    if args.figure is not None:
        from perovskite_polaron.figures import lattice, style

        style.save(lattice.draw_bonds(report, before, comparison), args.figure)
    emit(args, record, lines(report, before, comparison))


def _distributions(args: argparse.Namespace) -> None:
    require(args.reference is None, "an ensemble has its own reference: leave out the second file")
    ensemble = read_ensemble(args.file)
    framework = find_framework(ensemble.reference, args.b, args.x, args.axial)
    found = bond_distributions(ensemble, framework)
    if args.csv is not None:
        write_csv(args.csv, {
            "quantity": [name for name, one in found.items() for _ in one.values],
            "value": [value for one in found.values() for value in one.values.tolist()]})
    if args.figure is not None:
        from perovskite_polaron.figures import lattice, style

        style.save(lattice.draw_distributions(found), args.figure)
    rows = {name: {**pick(one, "mean", "sigma", "reference"),
                   "percentile_5": one.percentile(5), "percentile_95": one.percentile(95)}
            for name, one in found.items()}
    columns = {"": "36s", "mean": "10.4f", "sigma": "10.4f", "5 %": "10.4f", "95 %": "10.4f",
               "at rest": "10.4f"}
    cells = [(QUANTITIES[name], r["mean"], r["sigma"], r["percentile_5"], r["percentile_95"],
              r["reference"]) for name, r in rows.items()]
    emit(args, {"snapshots": len(ensemble), "temperature_K": ensemble.origin.temperature_K,
                "distributions": rows}, Table(columns, cells))


def summary(report: BondReport, comparison: Displacements | None = None) -> dict[str, Any]:
    """Return means over the crystal, every bond, each octahedron; atoms are as ``Pb1``, from 1."""
    f, o = report.framework, report.octahedra
    names = [f"{element}{i}" for i, element in enumerate(f.crystal.species, 1)]
    result: dict[str, Any] = {
        **pick(report, "axial_A", "equatorial_A", "axial_angle_deg", "equatorial_angle_deg"),
        "bonds": [
            {"b": names[centre], "x": names[atom], "class": "axial" if slot >= 4 else "equatorial",
             "length_A": o.lengths_A[0, i, slot]}
            for i, centre in enumerate(f.centres) for slot, atom in enumerate(f.ligands[i])],
        "set_aside": [names[atom] for atom in f.set_aside], "offcentring_A": o.offcentring_A.mean(),
        "octahedra": [
            {"b": names[centre], "offcentring_A": o.offcentring_A[0, i],
             "length_variance_A2": o.length_variance_A2[0, i],
             "quadratic_elongation": o.elongation[0, i],
             "angle_variance_deg2": o.angle_variance_deg2[0, i], "tilts_deg": o.tilts_deg[0, i]}
            for i, centre in enumerate(f.centres)]}
    if comparison is not None:
        result |= {
            **pick(comparison, "ratio", displacement_A="classes_A", removed_shift_A="shift_A"),
            "displacement_convention": "root mean square over the class, centre of mass at rest"}
    return result


def lines(report: BondReport, reference: BondReport | None = None,
          comparison: Displacements | None = None) -> Iterator[Said]:
    """Return the report for people; with a reference, before and after side by side."""
    f = report.framework
    reports = [report] if reference is None else [reference, report]
    texts = {f"{f.b}-{f.x} axial, Å": "axial_A", f"{f.b}-{f.x} equatorial, Å": "equatorial_A",
             f"{f.b}-{f.x}-{f.b} axial, deg": "axial_angle_deg",
             f"{f.b}-{f.x}-{f.b} equatorial, deg": "equatorial_angle_deg"}
    means = {f"{f.b} off-centring, Å": "offcentring_A",
             "bond-length variance, Å2": "length_variance_A2",
             "quadratic elongation": "elongation", "angle variance, deg2": "angle_variance_deg2"}
    tilts = [r.octahedra.tilts_deg[0].mean(axis=0) for r in reports]
    # Two structures may have one name, which titles may not.
    rows = {"": [r.framework.crystal.name[:20] for r in reports]}
    rows |= {title: ["–" if (v := getattr(r, name)) is None else f"{v:.4f}" for r in reports]
             for title, name in texts.items()}
    rows |= {title: [f"{getattr(r.octahedra, name).mean():.5f}" for r in reports]
             for title, name in means.items()}
    shown = [" ".join(f"{t:.2f}" for t in one) for one in tilts]
    rows["tilts (two equatorial, axial), deg"] = shown
    if f.set_aside.size:
        rows[f"{f.b} without an octahedron, set aside"] = [str(r.framework.set_aside.size)
                                                           for r in reports]
    columns = {"": "34s"} | {" " * i: ">22s" for i in range(1, len(reports) + 1)}
    yield Table(columns, [(title, *cells) for title, cells in rows.items()])
    if comparison is not None:
        yield ""
        yield from displacement_lines(comparison)


def displacement_lines(comparison: Displacements) -> Iterator[Said]:
    """Return who moved how far, for people."""
    yield "root-mean-square displacement, centre of mass at rest, Å"
    parts = [(name, f"{value:.5f}") for name, value in comparison.classes_A.items()]
    parts += [(name.replace("_", " "), "-" if value is None else f"{value:.3f}")
              for name, value in comparison.ratio.items()]
    yield Table({"": "34s", " ": ">20s"}, parts)
