"""``polaron distort``: displace a crystal along phonon modes, one structure for each amplitude."""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.cli.options import (
    AMPLITUDE_CONVENTION, emit, make_folder, quantity, refuse_existing, share)
from perovskite_polaron.cli.structure import describe_absorbers, group_record
from perovskite_polaron.cli.tables import Said, Table
from perovskite_polaron.errors import require
from perovskite_polaron.files import write_csv
from perovskite_polaron.lattice.crystal import supercell
from perovskite_polaron.lattice.files import FORMATS, read_crystal, write_crystal
from perovskite_polaron.lattice.matching import POSITION_TOLERANCE_A
from perovskite_polaron.lattice.octahedra import find_framework, sweep_bonds
from perovskite_polaron.lattice.symmetry import find_symmetry
from perovskite_polaron.phonons.distortion import (
    Distortion, distort, real_patterns, sign_equivalent)
from perovskite_polaron.phonons.modes import BUILTIN, mode_of, read_modes
from perovskite_polaron.units import parse_quantity, split_quantity


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add = parser.add_argument
    add("file", metavar="FILE", help="structure file or built-in name")
    add("--mode", required=True, metavar="MODEFILE", help=f"mode file, or {', '.join(BUILTIN)}")
    add("--select", type=int, nargs="+", metavar="I",
        help="modes by their number in the table of polaron modes (default: the chosen one)")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--max-displacement", metavar="LENGTHS",
                     help="largest atomic displacement: 0.1A, or 0.05A,0.1A")
    how.add_argument("--amplitude", metavar="AMPLITUDES",
                     help="normal coordinate: 2A*sqrt(amu) or, in zero-point units, 1zp")
    share(parser, "--supercell", help="repeat the cell first")
    add("--phase", default="0rad", type=_phase,
        help="phase of the wave, for q ≠ 0: 90deg or 1.57rad")
    add("--match-tolerance", default=f"{POSITION_TOLERANCE_A}A", type=quantity("length"),
        help="how far atoms of mode file and crystal may be apart (default %(default)s)")
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the structures")
    add("--format", nargs="+", choices=FORMATS, default=["cif"],
        help="formats to write (default cif)")
    add("--csv", type=Path, help="write the sweep, with its mean bonds, to a CSV file")
    add("--figure", type=Path, help="draw bonds against amplitude (.png or .svg)")
    share(parser, "--overwrite", "--json")


def run(args: argparse.Namespace) -> None:
    """Displace, write the structures and report.

    Examples
    --------
    polaron distort cspbbr3-pbnm --mode lo-c --max-displacement 0.1A --out lo
    polaron distort ground.cif --mode modes.json --select 0 3 --amplitude=-1zp,1zp
        --format cif xsf --out sweep
    """
    amplitudes, unit = _amplitudes(args)
    modes = (mode_of(args.mode) if args.select is None
             else read_modes(args.mode).numbered(args.select))
    crystal = supercell(read_crystal(args.file), tuple(args.supercell))
    near = {"position_tolerance_A": args.match_tolerance}
    points = distort(crystal, modes, amplitudes, unit, args.phase, **near)
    paths = [[args.out / f"{i:03d}.{ending}" for ending in args.format] for i in range(len(points))]
    refuse_existing(args, *(p for group in paths for p in group), args.csv, args.figure)
    drawn = args.csv is not None or args.figure is not None
    patterns = real_patterns(crystal, modes, args.phase, **near) if drawn else None
    make_folder(args.out)
    for group, point in zip(paths, points, strict=True):
        for path in group:
            write_crystal(point.crystal, path, point.displacement_A)
    if patterns is not None:
        # Where an axis is singled out, it is that of the largest displacement.
        largest = max(points, key=lambda point: point.max_displacement_A)
        framework = find_framework(crystal).by_motion(largest.displacement_A)
        q = np.array([p.amplitude_sqrt_amu_A for p in points])
        if args.csv is not None:
            bonds = sweep_bonds(framework, patterns, q)
            means = {"axial_A": bonds.lengths_A[:, :, 4:].mean(axis=(1, 2)),
                     "equatorial_A": bonds.lengths_A[:, :, :4].mean(axis=(1, 2)),
                     "offcentring_A": bonds.offcentring_A.mean(axis=1)}
            write_csv(args.csv, {
                **{f"amplitude_{i}_sqrt_amu_A": column for i, column in enumerate(q.T)},
                "max_displacement_A": [p.max_displacement_A for p in points], **means,
                "space_group_number": [p.symmetry.number for p in points]})
        if args.figure is not None:
            from perovskite_polaron.figures import lattice, style

            style.save(lattice.draw_sweep(framework, patterns, q), args.figure)
    symmetry = find_symmetry(crystal)
    equivalent = all(sign_equivalent(crystal, p.displacement_A, symmetry) for p in points)
    record = {
        "structures": [{"path": group[0], **point_record(point)}
                       for group, point in zip(paths, points, strict=True)],
        "sign_equivalent": equivalent, "parent_space_group": symmetry.symbol, "mode": modes.names,
        "amplitude_convention": AMPLITUDE_CONVENTION}
    emit(args, record, _lines(record))


def _amplitudes(args: argparse.Namespace) -> tuple[list[float], str]:
    if args.max_displacement is not None:
        return [parse_quantity(t, "length") for t in args.max_displacement.split(",")], "max_A"
    values = [split_quantity(t) for t in args.amplitude.split(",")]
    units = {"zp": "zero_point", "A*sqrt(amu)": "sqrt_amu_A"}
    require(len({u for _, u in values}) == 1 and values[0][1] in units,
            f"--amplitude {args.amplitude!r} is not understood: write 1zp or 2A*sqrt(amu), one unit"
            " for all")
    return [v for v, _ in values], units[values[0][1]]


def _phase(text: str) -> float:
    value, unit = split_quantity(text)
    require(unit in ("deg", "rad"), f"--phase {text!r} is not understood: write 90deg or 1.57rad")
    return float(np.deg2rad(value)) if unit == "deg" else value


def point_record(point: Distortion) -> dict[str, Any]:
    """Return how far, and to which symmetry, one point of a sweep is displaced."""
    return {
        "amplitude_sqrt_amu_A": _one_or_all(point.amplitude_sqrt_amu_A),
        "amplitude_zero_point": _one_or_all([None if np.isnan(a) else a
                                             for a in point.amplitude_zero_point]),
        "max_displacement_A": point.max_displacement_A, **group_record(point.symmetry),
        "absorbers": describe_absorbers(point.crystal, point.symmetry)}


def _one_or_all(values: Sequence[float | None]) -> float | Sequence[float | None] | None:
    return values[0] if len(values) == 1 else values


def _lines(record: dict[str, Any]) -> Iterator[Said]:
    yield points_table("file", [(str(row["path"]), row) for row in record["structures"]])
    image = "is" if record["sign_equivalent"] else "is not"
    yield (f"−Q {image} the image of +Q under a symmetry of the parent"
           f" ({record['parent_space_group']})")


def points_table(title: str, points: Iterable[tuple[str, dict[str, Any]]]) -> Table:
    """Return points of a sweep as a table: what each is called, and its ``point_record``."""
    columns = {title: "30s", "Q, Å√amu": ">12s", "max, Å": "10.4f", "group": ">10s",
               "inequivalent sites (from parent)": "s"}
    rows = []
    for name, row in points:
        q = row["amplitude_sqrt_amu_A"]
        shown = f"{q:.4f}" if isinstance(q, float) else ",".join(f"{v:.3f}" for v in q)
        sites = [f"{element}: " + ", ".join(f"{s['multiplicity']} ({s['parent']})" for s in found)
                 for element, found in row["absorbers"].items()]
        rows.append((name, shown, row["max_displacement_A"], row["space_group"],
                     "; ".join(sites)))
    return Table(columns, rows)
