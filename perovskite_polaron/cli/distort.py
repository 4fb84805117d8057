"""``polaron distort``: displace a crystal along phonon modes, one structure for each amplitude."""

import argparse
import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.cli.structure import describe_absorbers, refuse_existing
from perovskite_polaron.errors import InputError
from perovskite_polaron.files import write_atomically
from perovskite_polaron.lattice.crystal import supercell
from perovskite_polaron.lattice.files import FORMATS, read_crystal, write_crystal
from perovskite_polaron.lattice.matching import POSITION_TOLERANCE_A
from perovskite_polaron.lattice.octahedra import find_framework, sweep_bonds
from perovskite_polaron.lattice.symmetry import find_symmetry
from perovskite_polaron.phonons.distortion import Distortion, distort, real_patterns, sign_equivalent
from perovskite_polaron.phonons.modes import BUILTIN, Modes, read_modes
from perovskite_polaron.units import parse_quantity, split_quantity

EXAMPLE = (
    "  polaron distort cspbbr3-pbnm --mode lo-c --max-displacement 0.1A --out lo\n"
    "  polaron distort ground.cif --mode modes.json --select 0 3 --amplitude=-1zp,1zp --format cif xsf --out sweep"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("file", metavar="FILE", help="structure file or built-in name")
    parser.add_argument("--mode", required=True, metavar="MODEFILE", help=f"mode file, or {', '.join(BUILTIN)}")
    parser.add_argument(
        "--select", type=int, nargs="+", default=[0], metavar="I", help="modes of the file, from 0 (default 0)"
    )
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--max-displacement", metavar="LENGTHS", help="largest atomic displacement: 0.1A, or 0.05A,0.1A")
    how.add_argument(
        "--amplitude", metavar="AMPLITUDES", help="normal coordinate: 2A*sqrt(amu) or, in zero-point units, 1zp"
    )
    parser.add_argument("--supercell", type=int, nargs=3, metavar="N", default=(1, 1, 1), help="repeat the cell first")
    parser.add_argument("--phase", default="0rad", help="phase of the wave, for q ≠ 0: 90deg or 1.57rad")
    parser.add_argument(
        "--match-tolerance",
        default=f"{POSITION_TOLERANCE_A}A",
        help="how far atoms of mode file and crystal may be apart (default %(default)s)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the structures")
    parser.add_argument("--format", nargs="+", choices=FORMATS, default=["cif"], help="formats to write (default cif)")
    parser.add_argument("--csv", type=Path, help="write the sweep, with its mean bonds, to a CSV file")
    parser.add_argument("--figure", type=Path, help="draw bonds against amplitude (.png or .svg)")
    parser.add_argument("--overwrite", action="store_true", help="replace existing output files")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Displace, write the structures and report."""
    amplitudes, unit = _amplitudes(args)
    modes = _select(args.mode, args.select)
    crystal = supercell(read_crystal(args.file), tuple(args.supercell))
    tolerance, phase = parse_quantity(args.match_tolerance, "length"), _phase(args.phase)
    points = distort(crystal, modes, amplitudes, unit, phase, position_tolerance_A=tolerance)
    paths = [[args.out / f"{i:03d}.{extension}" for extension in args.format] for i in range(len(points))]
    extra = [p for p in (args.csv, args.figure) if p is not None]
    refuse_existing([p for group in paths for p in group] + extra, args.overwrite)
    patterns = real_patterns(crystal, modes, phase, position_tolerance_A=tolerance) if extra else None
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{args.out} cannot be made: {error.strerror}; choose another folder") from None
    for group, point in zip(paths, points, strict=True):
        for path in group:
            write_crystal(point.crystal, path, point.displacement_A)
    if patterns is not None:
        framework = find_framework(crystal)
        q = np.array([p.amplitude_sqrt_amu_A for p in points])
        octahedra = sweep_bonds(framework, patterns, q)
        if args.csv is not None:
            write_atomically(args.csv, _csv(points, octahedra.lengths_A, octahedra.offcentring_A))
        if args.figure is not None:
            from perovskite_polaron.figures.lattice import write_sweep_figure

            write_sweep_figure(framework, patterns, q, args.figure)
    symmetry = find_symmetry(crystal)
    equivalent = all(sign_equivalent(crystal, p.displacement_A, symmetry) for p in points)
    record = {
        "structures": [_row(point, group[0]) for group, point in zip(paths, points, strict=True)],
        "sign_equivalent": equivalent,
        "parent_space_group": symmetry.symbol,
        "mode": list(modes.names),
        "amplitude_convention": "sum(m|u|^2) = Q^2 over the primitive cell",
    }
    print(json.dumps(record) if args.json else _table(record))
    return 0


def _amplitudes(args: argparse.Namespace) -> tuple[list[float], str]:
    if args.max_displacement is not None:
        return [parse_quantity(t, "length") for t in args.max_displacement.split(",")], "max_A"
    values = [split_quantity(t) for t in args.amplitude.split(",")]
    units = {"zp": "zero_point", "A*sqrt(amu)": "sqrt_amu_A"}
    if len({u for _, u in values}) != 1 or values[0][1] not in units:
        raise InputError(
            f"--amplitude {args.amplitude!r} is not understood: write 1zp or 2A*sqrt(amu), one unit for all"
        )
    return [v for v, _ in values], units[values[0][1]]


def _phase(text: str) -> float:
    value, unit = split_quantity(text)
    if unit not in ("deg", "rad"):
        raise InputError(f"--phase {text!r} is not understood: write 90deg or 1.57rad")
    return float(np.deg2rad(value)) if unit == "deg" else value


def _select(source: str, indices: list[int]) -> Modes:
    modes = read_modes(source)
    wrong = next((i for i in indices if not 0 <= i < len(modes)), None)
    if wrong is not None:
        raise InputError(f"--select {wrong} is not in {source}: it holds modes 0 to {len(modes) - 1}")
    return modes[indices]


def _one_or_all(values: tuple[float, ...]) -> float | list[float]:
    return values[0] if len(values) == 1 else list(values)


def _row(point: Distortion, path: Path) -> dict[str, Any]:
    return {
        "path": str(path),
        "amplitude_sqrt_amu_A": _one_or_all(point.amplitude_sqrt_amu_A),
        "amplitude_zero_point": _one_or_all(point.amplitude_zero_point),
        "max_displacement_A": point.max_displacement_A,
        "space_group": point.symmetry.symbol,
        "space_group_number": point.symmetry.number,
        "setting": point.symmetry.setting,
        "symprec_A": point.symmetry.symprec_A,
        "absorbers": describe_absorbers(point.crystal, point.symmetry),
    }


def _csv(points: tuple[Distortion, ...], lengths_A: Any, offcentring_A: Any) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    count = len(points[0].amplitude_sqrt_amu_A)
    writer.writerow(
        [
            *(f"amplitude_{i}_sqrt_amu_A" for i in range(count)),
            "max_displacement_A",
            "axial_A",
            "equatorial_A",
            "offcentring_A",
            "space_group_number",
        ]
    )
    for point, lengths, off in zip(points, lengths_A, offcentring_A, strict=True):
        writer.writerow(
            [
                *point.amplitude_sqrt_amu_A,
                point.max_displacement_A,
                lengths[:, 4:].mean(),
                lengths[:, :4].mean(),
                off.mean(),
                point.symmetry.number,
            ]
        )
    return text.getvalue()


def _table(record: dict[str, Any]) -> str:
    lines = [f"{'file':30s}{'Q, Å√amu':>12s}{'max, Å':>10s}{'group':>10s}  inequivalent sites (from parent)"]
    for row in record["structures"]:
        q = row["amplitude_sqrt_amu_A"]
        sites = "  ".join(
            f"{e}: " + ", ".join(f"{s['multiplicity']} ({s['parent']})" for s in rows)
            for e, rows in row["absorbers"].items()
        )
        shown = f"{q:.4f}" if isinstance(q, float) else ",".join(f"{v:.3f}" for v in q)
        lines.append(
            f"{row['path']:30s}{shown:>12s}{row['max_displacement_A']:10.4f}{row['space_group']:>10s}  {sites}"
        )
    image = "is" if record["sign_equivalent"] else "is not"
    lines.append(f"−Q {image} the image of +Q under a symmetry of the parent ({record['parent_space_group']})")
    return "\n".join(lines)
