"""``polaron project``: say how much of which mode the displacement between two structures holds."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.cli.options import AMPLITUDE_CONVENTION, emit, pick, quantity, share
from perovskite_polaron.cli.tables import Said, Table
from perovskite_polaron.errors import require
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.lattice.matching import POSITION_TOLERANCE_A, displacement
from perovskite_polaron.phonons.modes import BUILTIN, Modes, joined, read_modes
from perovskite_polaron.phonons.projection import Projection, project
from perovskite_polaron.phonons.readers import read_phonons


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add = parser.add_argument
    add("displaced", metavar="DISPLACED", help="structure file of the displaced crystal")
    add("reference", metavar="REFERENCE",
        help="structure file or built-in name of the equilibrium structure")
    add("--modes", required=True, metavar="FILE", help="mode file of this project, file of phonopy"
        f" or Quantum ESPRESSO, or {', '.join(BUILTIN)}")
    add("--crystal", metavar="FILE",
        help="crystal of a mode file that holds none: best the .dyn file")
    add("--match-tolerance", default=f"{POSITION_TOLERANCE_A}A", type=quantity("length"),
        help="how far atoms of the structures and of the mode file may be apart"
        " (default %(default)s)")
    share(parser, "--json")


def run(args: argparse.Namespace) -> None:
    """Match the structures, project, and report the modes by their share.

    Examples
    --------
    polaron project displaced.cif ground.cif --modes lo-c
    polaron project displaced.cif ground.cif --modes dynmat.out --crystal crystal.dyn --json
    """
    near_A = args.match_tolerance
    reference = read_crystal(args.reference)
    moved = displacement(read_crystal(args.displaced), reference, near_A)
    record = _record(project(moved, reference, _modes(args.modes, args.crystal), near_A))
    emit(args, record, _lines(record))


def _modes(source: str, crystal: str | None) -> Modes:
    """The modes of any file; those of all its wave vectors together."""
    if source in BUILTIN or Path(source).suffix.lower() == ".json":
        require(crystal is None, f"{source} holds its own crystal: leave --crystal out")
        return read_modes(source)
    return joined(read_phonons(source, crystal))


def _record(found: Projection) -> dict[str, Any]:
    modes = found.modes
    zero_point = modes.zero_point_sqrt_amu_A
    moved_A = np.linalg.norm(found.displacement_A - found.translation_A, axis=1)
    return {
        "modes": [
            {"name": name, "energy_meV": modes.energies_meV[i], "q": modes.q[i],
             "Q_sqrt_amu_A": found.Q_sqrt_amu_A[i],
             "Q_zero_point": (None if np.isnan(zero_point[i])
                              else found.Q_sqrt_amu_A[i] / zero_point[i]),
             "phase_rad": found.phase_rad[i], "share": found.share[i]}
            for i, name in enumerate(modes.names)],
        "remainder_max_A": np.linalg.norm(found.remainder_A, axis=1).max(),
        **pick(found, "translation_A", "norm_sqrt_amu_A", remainder_share="remainder"),
        "max_displacement_A": moved_A.max(),
        "amplitude_convention": AMPLITUDE_CONVENTION + ", centre of mass at rest"}


def _lines(record: dict[str, Any]) -> Iterator[Said]:
    rows = sorted(record["modes"], key=lambda row: -row["share"])
    shown = [row for row in rows if row["share"] >= 5e-5] or rows[:1]
    first = rows[0]
    yield (f"this distortion is {100 * first['share']:.1f} % {first['name']}"
           f" ({first['energy_meV']:.2f} meV)")
    columns = {"mode": "40s", "energy, meV": "13.3f", "Q, Å√amu": "13.6f", "Q, zero-point": "15.4f",
               "share, %": "10.2f"}
    names = ("name", "energy_meV", "Q_sqrt_amu_A", "Q_zero_point")
    yield Table(columns, [(*(r[name] for name in names), 100 * r["share"]) for r in shown])
    if len(shown) < len(rows):
        yield f"{len(rows) - len(shown)} modes with less than 0.01 % are left out"
    yield (f"not in these modes: {100 * record['remainder_share']:.2f} % (at most"
           f" {record['remainder_max_A']:.5f} Å)")
    moved = " ".join(f"{v:.5f}" for v in record["translation_A"])
    yield f"rigid translation removed: {moved} Å"
    yield (f"norm {record['norm_sqrt_amu_A']:.6f} Å√amu, largest displacement"
           f" {record['max_displacement_A']:.5f} Å")
