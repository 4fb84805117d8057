"""``polaron project``: say how much of which mode the displacement between two structures holds."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.errors import InputError
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.lattice.matching import POSITION_TOLERANCE_A, displacement
from perovskite_polaron.phonons.modes import BUILTIN, Modes, joined, read_modes
from perovskite_polaron.phonons.projection import Projection, project
from perovskite_polaron.phonons.readers import read_phonons
from perovskite_polaron.units import parse_quantity

EXAMPLE = (
    "  polaron project displaced.cif ground.cif --modes lo-c\n"
    "  polaron project displaced.cif ground.cif --modes dynmat.out --crystal crystal.dyn --json"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("displaced", metavar="DISPLACED", help="structure file of the displaced crystal")
    parser.add_argument("reference", metavar="REFERENCE", help="structure file or built-in name of the crystal at rest")
    parser.add_argument(
        "--modes",
        required=True,
        metavar="FILE",
        help=f"mode file of this project, file of phonopy or Quantum ESPRESSO, or {', '.join(BUILTIN)}",
    )
    parser.add_argument("--crystal", metavar="FILE", help="crystal of a mode file that holds none: best the .dyn file")
    parser.add_argument(
        "--match-tolerance",
        default=f"{POSITION_TOLERANCE_A}A",
        help="how far atoms of the structures and of the mode file may be apart (default %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Match the structures, project, and report the modes by their share."""
    tolerance_A = parse_quantity(args.match_tolerance, "length")
    reference = read_crystal(args.reference)
    moved = displacement(read_crystal(args.displaced), reference, tolerance_A)
    found = project(moved, reference, _modes(args.modes, args.crystal), tolerance_A)
    print(json.dumps(_record(found)) if args.json else _table(found))
    return 0


def _modes(source: str, crystal: str | None) -> Modes:
    """The modes of any file; those of all its wave vectors together."""
    if source in BUILTIN or Path(source).suffix.lower() == ".json":
        if crystal is not None:
            raise InputError(f"{source} holds its own crystal: leave --crystal out")
        return read_modes(source)
    return joined(read_phonons(source, crystal))


def _record(found: Projection) -> dict[str, Any]:
    modes = found.modes
    return {
        "modes": [
            {
                "name": modes.names[i],
                "energy_meV": float(modes.energies_meV[i]),
                "q": modes.q[i].tolist(),
                "Q_sqrt_amu_A": float(found.Q_sqrt_amu_A[i]),
                "Q_zero_point": float(found.Q_sqrt_amu_A[i] / modes.zero_point_sqrt_amu_A[i]),
                "phase_rad": float(found.phase_rad[i]),
                "share": float(found.share[i]),
            }
            for i in range(len(modes))
        ],
        "remainder_share": found.remainder,
        "remainder_max_A": float(np.linalg.norm(found.remainder_A, axis=1).max()),
        "translation_A": found.translation_A.tolist(),
        "norm_sqrt_amu_A": found.norm_sqrt_amu_A,
        "max_displacement_A": float(np.linalg.norm(found.displacement_A - found.translation_A, axis=1).max()),
        "amplitude_convention": "sum(m|u|^2) = Q^2 over the primitive cell, centre of mass at rest",
    }


def _table(found: Projection) -> str:
    record = _record(found)
    rows = sorted(record["modes"], key=lambda row: -row["share"])
    shown = [row for row in rows if row["share"] >= 5e-5] or rows[:1]
    lines = [
        f"this distortion is {100 * rows[0]['share']:.1f} % {rows[0]['name']} ({rows[0]['energy_meV']:.2f} meV)",
        f"{'mode':40s}{'energy, meV':>13s}{'Q, Å√amu':>13s}{'Q, zero-point':>15s}{'share, %':>10s}",
    ]
    lines += [
        f"{row['name']:40s}{row['energy_meV']:13.3f}{row['Q_sqrt_amu_A']:13.6f}{row['Q_zero_point']:15.4f}"
        f"{100 * row['share']:10.2f}"
        for row in shown
    ]
    if len(shown) < len(rows):
        lines.append(f"{len(rows) - len(shown)} modes with less than 0.01 % are left out")
    lines += [
        f"not in these modes: {100 * record['remainder_share']:.2f} % (at most {record['remainder_max_A']:.5f} Å)",
        "rigid translation removed: " + " ".join(f"{v:.5f}" for v in record["translation_A"]) + " Å",
        f"norm {record['norm_sqrt_amu_A']:.6f} Å√amu, largest displacement {record['max_displacement_A']:.5f} Å",
    ]
    return "\n".join(lines)
