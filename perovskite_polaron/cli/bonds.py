"""``polaron bonds``: measure B-X bonds, off-centring, tilts; of a structure, two, or snapshots.

A crystal without octahedra that share corners has coordination shells instead.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from perovskite_polaron.arrays import Array
from perovskite_polaron.cli.options import emit, pick, refuse_existing, share
from perovskite_polaron.cli.tables import Said, Table
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.files import write_csv
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.ensemble import RECORD, read_ensemble
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.lattice.octahedra import (
    BondReport, Displacements, bond_report, compare, find_framework)
from perovskite_polaron.lattice.shells import GAP_A, Shell, find_shells
from perovskite_polaron.lattice.statistics import (
    QUANTITIES, bond_distributions, shell_distributions)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add = parser.add_argument
    add("file", metavar="FILE", help="structure to measure (a file or a built-in name), or a folder"
        " of polaron ensemble: the distributions over its snapshots")
    add("reference", metavar="REFERENCE", nargs="?", help="structure it was displaced from")
    add("--b", metavar="ELEMENT", help="elements in the octahedra, as Ag,Bi (default: found)")
    add("--x", metavar="ELEMENT", help="elements at their corners, as I,Br (default: found)")
    add("--axial", choices=("a", "b", "c"), help="lattice vector of the axial bonds (default: the"
        " axis whose B-B step differs most; in a cubic crystal the one that its motion from"
        " REFERENCE singles out, else c)")
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
    reference = None if args.reference is None else read_crystal(args.reference)
    try:
        framework = find_framework(crystal, args.b, args.x, args.axial)
    except InputError as error:
        if args.b or args.x or args.axial:
            raise
        _shells(args, crystal, reference, str(error))
        return
    comparison = before = None
    if reference is not None:
        own = find_framework(reference, args.b, args.x, args.axial)
        own = own.by_motion(compare(crystal, reference, own).displacement_A)
        comparison, before = compare(crystal, reference, own), bond_report(reference, own)
        framework = framework.toward(own.axes[2]) if framework.is_cubic else framework
    report = bond_report(crystal, framework)
    record = summary(report, comparison)
    _files(args, record, lambda lattice: lattice.draw_bonds(report, before, comparison))
    emit(args, record, lines(report, before, comparison))


def _files(args: argparse.Namespace, record: dict[str, Any], draw: Callable[[Any], Any]) -> None:
    if args.csv is not None:
        names = ("b", "x", "class", "length_A")
        write_csv(args.csv, {name: [row[name] for row in record["bonds"]] for name in names})
    if args.figure is not None:
        from perovskite_polaron.figures import lattice, style

        style.save(draw(lattice), args.figure)


def _shells(args: argparse.Namespace, crystal: Crystal, reference: Crystal | None,
            reason: str) -> None:
    """Measure the coordination shells; with a reference those of the same pairs of atoms."""
    comparison = None if reference is None else compare(crystal, reference)
    shells = find_shells(crystal if reference is None else reference)
    record = shells_summary(crystal if reference is None else reference, shells, comparison)
    _files(args, record, lambda lattice: lattice.draw_shells(shells, comparison))
    emit(args, record | {"no_octahedra": reason}, shells_lines(shells, comparison, reason))


def _distributions(args: argparse.Namespace) -> None:
    require(args.reference is None, "an ensemble has its own reference: leave out the second file")
    ensemble = read_ensemble(args.file)
    try:
        framework = find_framework(ensemble.reference, args.b, args.x, args.axial)
    except InputError:
        if args.b or args.x or args.axial:
            raise
        found = shell_distributions(ensemble)
    else:
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
    cells = [(QUANTITIES.get(name, name), r["mean"], r["sigma"], r["percentile_5"],
              r["percentile_95"], r["reference"]) for name, r in rows.items()]
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


def shells_summary(crystal: Crystal, shells: Sequence[Shell],
                   comparison: Displacements | None = None) -> dict[str, Any]:
    """Return shells and every distance in them; without axes there are no axial bonds.

    With a comparison crystal is the reference, and lengths are those after the displacement.
    """
    names = [f"{element}{i}" for i, element in enumerate(crystal.species, 1)]
    moved = None if comparison is None else comparison.displacement_A
    result: dict[str, Any] = {
        "axial_A": None, "equatorial_A": None, "offcentring_A": None,
        "shells": [
            {"atom": names[s.first], "site": s.site, "neighbour": s.neighbour, "count": s.count,
             **_spread(s.lengths_A(moved), ""),
             **({} if moved is None else _spread(s.lengths_A(), "reference_"))} for s in shells],
        "bonds": [
            {"b": names[i], "x": names[j], "class": s.name, "length_A": length}
            for s in shells
            for i, j, length in zip(s.centres, s.others, s.lengths_A(moved), strict=True)]}
    if comparison is not None:
        result |= {**pick(comparison, displacement_A="classes_A", removed_shift_A="shift_A"),
                   "ratio": {}, "displacement_convention": "root mean square over the element,"
                   " centre of mass at rest"}
    return result


def _spread(lengths: Array, prefix: str) -> dict[str, float]:
    return {f"{prefix}mean_A": lengths.mean(), f"{prefix}shortest_A": lengths.min(),
            f"{prefix}longest_A": lengths.max()}


def shells_lines(shells: Sequence[Shell], comparison: Displacements | None,
                 reason: str) -> Iterator[Said]:
    """Return the shells for people; with a comparison, before and after side by side."""
    yield f"no axial and equatorial bonds: {reason}\n"
    states: dict[str, Array | None] = {"": None}
    if comparison is not None:
        states = {"before: ": None, "after: ": comparison.displacement_A}
    columns = {"neighbours": "18s"} | {f"{state}mean (range), Å": ">26s" for state in states}
    yield Table(columns, [(s.name, *(s.words(moved) for moved in states.values()))
                          for s in shells])
    yield f"distances further than {GAP_A:g} Å apart are of two shells"
    if comparison is not None:
        yield ""
        yield from displacement_lines(comparison)


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
    pairs = [r.by_pair() for r in reports]
    if len(pairs[0]) > 1:
        rows |= {f"{pair} {kind}, Å": [_mean(one.get(pair, {}).get(kind)) for one in pairs]
                 for pair in pairs[0] for kind in ("axial", "equatorial")}
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


def _mean(lengths: Array | None) -> str:
    return f"{lengths.mean():.4f}" if lengths is not None and len(lengths) else "–"


def displacement_lines(comparison: Displacements) -> Iterator[Said]:
    """Return who moved how far, for people."""
    yield "root-mean-square displacement, centre of mass at rest, Å"
    parts = [(name, f"{value:.5f}") for name, value in comparison.classes_A.items()]
    parts += [(name.replace("_", " "), "-" if value is None else f"{value:.3f}")
              for name, value in comparison.ratio.items()]
    yield Table({"": "34s", " ": ">20s"}, parts)
