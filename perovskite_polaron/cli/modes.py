"""``polaron modes``: the Γ modes of a crystal, what each is, and which of them dresses the carriers."""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.cli.launch import add_run_options, check_run_options, finished_seconds, launch
from perovskite_polaron.cli.structure import refuse_existing
from perovskite_polaron.errors import InputError
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.files import CRYSTALS, STRUCTURE_SUFFIXES, read_crystal
from perovskite_polaron.phonons.forces import MLIP_NAME, RELAX, ase_forces, displaced_cells, mlip_calculator, relax
from perovskite_polaron.phonons.modes import Modes, write_modes
from perovskite_polaron.phonons.readers import Calculation, Direction, from_file, from_forces
from perovskite_polaron.phonons.response import (
    Response,
    assumed_response,
    crystal_direction,
    neutral_response,
    read_born,
)
from perovskite_polaron.phonons.selection import (
    ModeRow,
    heat_capacity,
    mode_table,
    select,
    static_dielectric,
    thermal_displacements_A2,
    transverse_partner,
)
from perovskite_polaron.published_cspbbr3 import FORMULA, HOLE_MASS, MODE
from perovskite_polaron.units import MEV_PER_INVERSE_CM, MEV_PER_THZ, parse_quantity

EXAMPLE = (
    "  polaron modes cspbbr3-pbnm --forces mlip --direction c --out modes.json --figure modes.png\n"
    "  polaron modes phonopy_params.yaml --direction 0 0 1\n"
    "  polaron modes matdyn.modes"
)
_ROOM_K = 300.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="with --forces a structure file or built-in name; else a file of phonopy or Quantum ESPRESSO",
    )
    parser.add_argument(
        "--forces",
        choices=("mlip", "qe"),
        help=f"compute the modes, with the forces of: mlip, {MLIP_NAME}; qe, pw.x of Quantum ESPRESSO, with the charges"
        " of ph.x, as jobs that resume",
    )
    parser.add_argument(
        "--settings", metavar="FILE.toml", help="tables [pw], [relax], [response], [pseudopotentials] for --forces qe"
    )
    parser.add_argument(
        "--store",
        type=Path,
        default=Path("modes-results"),
        help="folder of the jobs of --forces qe (default %(default)s)",
    )
    add_run_options(parser)
    parser.add_argument(
        "--relax",
        choices=RELAX,
        help="what comes to rest before, symmetry kept (default: positions, the cell stays as given)",
    )
    parser.add_argument("--distance", default="0.01A", help="displacement of the atoms (default %(default)s)")
    parser.add_argument(
        "--direction",
        nargs="+",
        metavar="D",
        help="of q → 0 in the axes of SOURCE as given: a, b, c, or u v w meaning u·a + v·b + w·c",
    )
    parser.add_argument("--born", type=Path, metavar="FILE", help="Born charges and ε∞ in a BORN file of phonopy")
    parser.add_argument(
        "--crystal", metavar="FILE", help="crystal of a file of modes that holds none: best the .dyn file (default: one beside it)"
    )
    parser.add_argument(
        "--mass", type=float, metavar="M", help="effective mass for alpha, electron masses (CsPbBr3: 0.17, a bare hole)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the mode file, the chosen mode first")
    parser.add_argument("--figure", type=Path, help="draw who moves in the chosen mode (.png or .svg)")
    parser.add_argument("--overwrite", action="store_true", help="replace existing output files")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Compute or read the modes, judge them, choose, write and report."""
    refuse_existing([p for p in (args.out, args.figure) if p is not None], args.overwrite)
    direction = _direction(args.direction)
    if args.forces is None:
        if args.source in CRYSTALS or Path(args.source).suffix.lower() in STRUCTURE_SUFFIXES:
            raise InputError(f"{args.source} is a structure and holds no modes: add --forces mlip to compute them")
        calculation = from_file(args.source, direction, args.born, args.crystal)
    else:
        calculation = _computed(args, read_crystal(args.source), direction)
    modes = calculation.modes
    rows = mode_table(modes, calculation.response, _mass(args.mass, modes.crystal))
    index, why = select(rows)
    if args.figure is not None and index is None:
        raise InputError(f"--figure draws the chosen mode, and {why}")
    if args.out is not None:
        write_modes(_mode_set(calculation, rows, index), args.out)
    if args.figure is not None and index is not None:
        from perovskite_polaron.figures.lattice import write_modes_figure

        write_modes_figure(modes, rows, index, args.figure)
    record = _record(calculation, rows, index, why)
    print(json.dumps(record) if args.json else _table(record, modes.crystal))
    return 0


def _computed(args: argparse.Namespace, crystal: Crystal, direction: Direction | None) -> Calculation:
    """Modes from forces. A new source of forces goes here: relaxation, then forces, then its charges."""
    if args.forces == "qe":
        return _from_espresso(args, crystal, direction)
    relaxation = args.relax or "positions"
    response = _response(args.born, crystal)
    if direction is not None and response is None:
        raise InputError(
            f"a direction needs the Born charges and ε∞ of {crystal.label}, and none are built in for it: give --born"
            " FILE, or leave --direction out to see the transverse modes"
        )
    distance_A = parse_quantity(args.distance, "length")
    calculator = mlip_calculator()
    crystal = relax(crystal, calculator, relaxation)
    # The charges follow the atoms to where they came to rest.
    response = _response(args.born, crystal)
    provenance = f"{MLIP_NAME}; relaxed: {relaxation}; displacement {args.distance}"
    return from_forces(crystal, ase_forces(calculator), direction, response, distance_A, provenance)


def _from_espresso(args: argparse.Namespace, crystal: Crystal, direction: Direction | None) -> Calculation:
    from perovskite_polaron.workflow.forces import (
        ForceSettings,
        collect_forces,
        espresso_calculator,
        plan_forces,
        read_force_settings,
        response_source,
    )
    from perovskite_polaron.workflow.jobs import Job
    from perovskite_polaron.workflow.store import Store
    from perovskite_polaron.workflow.study import RunSettings

    if args.born is not None:
        raise InputError("--born does not go with --forces qe, which computes the charges with ph.x: leave it out")
    check_run_options(args)
    settings = read_force_settings(args.settings) if args.settings else ForceSettings()
    distance_A = parse_quantity(args.distance, "length")
    if direction is not None:
        crystal_direction(crystal, direction)  # a wrong one is refused before hours of work
    store, relaxation = Store(args.store), args.relax or "positions"

    def run(job: Job) -> None:
        launch(args, RunSettings(), [job], store, {})

    if relaxation != "none":
        displaced_cells(crystal, distance_A)  # a wrong distance is refused before hours of work, too
        crystal = relax(
            crystal,
            espresso_calculator(crystal, settings, store, run, stress=relaxation == "cell"),
            relaxation,
            settings.relax.max_force_eV_A,
            settings.relax.max_steps,
            sys.stderr,
        )
    cells, _ = displaced_cells(crystal, distance_A)
    jobs = plan_forces(crystal, cells, settings)
    launch(args, RunSettings(), jobs.all(), store, finished_seconds(jobs.all(), store))
    forces, field = collect_forces(jobs, store)
    pw = settings.pw
    response = neutral_response(
        crystal,
        field.epsilon_inf,
        field.born_e,
        response_source(settings),
        settings.response.neutrality_e_per_atom,
    )
    provenance = (
        f"Quantum ESPRESSO, PBE, {pw.ecutwfc_Ry:g}/{pw.ecutrho_Ry:g} Ry, k points"
        f" {pw.kpoints[0]}×{pw.kpoints[1]}×{pw.kpoints[2]}; relaxed: {relaxation}; displacement {args.distance}"
    )
    return from_forces(crystal, lambda _: forces, direction, response, distance_A, provenance)


def _response(born: Path | None, crystal: Crystal) -> Response | None:
    return assumed_response(crystal) if born is None else read_born(born, crystal)


def _direction(words: list[str] | None) -> Direction | None:
    if words is None:
        return None
    if len(words) == 1:
        return words[0]
    try:
        return [float(w) for w in words]
    except ValueError:
        raise InputError(
            f"--direction {' '.join(words)!r} is not understood: give a, b or c, or three numbers such as 0 0 1"
        ) from None


def _mass(mass: float | None, crystal: Crystal) -> float | None:
    return HOLE_MASS if mass is None and crystal.formula == FORMULA else mass


def _mode_set(calculation: Calculation, rows: list[ModeRow], index: int | None) -> Modes:
    """The stable optical modes, the chosen one first and the others by energy."""
    modes = calculation.modes
    order = sorted(np.flatnonzero(modes.optical).tolist(), key=lambda i: (i != index, i))
    names = tuple(f"{rows[i].irrep} {rows[i].kind}" for i in order)
    source = "" if calculation.response is None else f"; charges: {calculation.response.source}"
    return replace(modes[order], names=names, provenance=modes.provenance + source)


def _record(calculation: Calculation, rows: list[ModeRow], index: int | None, why: str) -> dict[str, Any]:
    modes, response = calculation.modes, calculation.response
    record: dict[str, Any] = {
        "modes": [
            {
                "energy_meV": r.energy_meV,
                "energy_THz": r.energy_meV / MEV_PER_THZ,
                "energy_per_cm": r.energy_meV / MEV_PER_INVERSE_CM,
                "kind": r.kind,
                "irrep": r.irrep,
                "unstable": r.unstable,
                "mode_charge": r.mode_charge,
                "mode_charge_vector_e": None if r.mode_charge_e is None else r.mode_charge_e.tolist(),
                "ir_intensity_D2_per_A2_amu": r.ir_intensity,
                "froehlich_meV_per_A": r.froehlich_meV_A,
                "alpha": r.alpha,
                "ratio": r.ratio,
                "a_to_axial": r.a_to_axial,
            }
            for r in rows
        ],
        "selected": index,
        "why": why,
        "direction_cartesian": None if modes.direction is None else modes.direction.tolist(),
        "unstable_modes": int(modes.unstable.sum()),
        "provenance": modes.provenance,
        "charges": None if response is None else response.source,
        "charge_residual_e": None if response is None else response.residual,
        "residuals": calculation.residuals,
    }
    if modes.optical.any() and len(rows) == 3 * len(modes.crystal):
        record["heat_capacity_300K_J_per_mol_K"] = float(heat_capacity(modes, _ROOM_K)[0])
        u2 = np.trace(thermal_displacements_A2(modes, _ROOM_K), axis1=1, axis2=2) / 3
        species = np.array(modes.crystal.species)
        record["rms_displacement_300K_A"] = {
            s: float(np.sqrt(u2[species == s].mean())) for s in dict.fromkeys(modes.crystal.species)
        }
    if index is not None and calculation.transverse is not None:
        partner, overlap = transverse_partner(modes, index, calculation.transverse)
        record["transverse_partner"] = {
            "energy_meV": float(calculation.transverse.energies_meV[partner]),
            "overlap": overlap,
        }
        if response is not None:
            record["epsilon_static"] = np.diag(static_dielectric(calculation.transverse, response)).tolist()
    if modes.crystal.formula == FORMULA:
        record["paper"] = MODE
    return record


def _table(record: dict[str, Any], crystal: Crystal) -> str:
    lines = [
        f"Γ modes of {crystal.label}: {record['provenance']}",
        f"charges: {record['charges'] or 'none given'}",
        f"{'':>3s}{'meV':>9s}{'THz':>8s}{'cm-1':>8s}  {'irrep':<6s}{'kind':<10s}{'charge, e':>10s}{'IR':>8s}"
        f"{'g, meV/Å':>10s}{'alpha':>8s}{'ax:eq':>8s}{'ax:B':>8s}{'A:ax':>8s}",
    ]
    for i, r in enumerate(record["modes"]):
        ratio = r["ratio"] or {}
        lines.append(
            f"{'>' if i == record['selected'] else ' '}{i:2d}{r['energy_meV']:9.3f}{r['energy_THz']:8.3f}"
            f"{r['energy_per_cm']:8.2f}  {r['irrep']:<6s}{r['kind']:<10s}{_cell(r['mode_charge'], 10)}"
            f"{_cell(r['ir_intensity_D2_per_A2_amu'], 8)}{_cell(r['froehlich_meV_per_A'], 10)}{_cell(r['alpha'], 8)}"
            f"{_cell(ratio.get('axial_to_equatorial'), 8)}{_cell(ratio.get('axial_to_B'), 8)}{_cell(r['a_to_axial'], 8)}"
            + ("  UNSTABLE: imaginary frequency" if r["unstable"] else "")
        )
    lines += [
        "charge: of the mode, along the direction if one is given; IR in (D/Å)²/amu; g = |q g_ν|, the Fröhlich matrix"
        " element; ratios of rms displacements (axial, equatorial X; B; A)",
        "",
        record["why"],
    ]
    if "transverse_partner" in record:
        p = record["transverse_partner"]
        lines.append(
            f"without the macroscopic field its nearest kin is the mode at {p['energy_meV']:.2f} meV (overlap {p['overlap']:.2f})"
        )
    if record["selected"] is not None and "paper" in record:
        row, paper = record["modes"][record["selected"]], record["paper"]
        ratio = row["ratio"] or {}
        lines += [
            f"{'':34s}{'here':>8s}{'paper':>8s}  (Cannelli et al., J. Am. Chem. Soc. 143, 9048 (2021); LO along c)",
            f"{'energy, meV':34s}{row['energy_meV']:8.2f}{paper['energy_meV']:8.1f}",
            f"{'axial : equatorial':34s}{_cell(ratio.get('axial_to_equatorial'), 8)}{paper['axial_to_equatorial']:8.1f}",
            f"{'axial : B':34s}{_cell(ratio.get('axial_to_B'), 8)}{paper['axial_to_B']:8.1f}",
            f"{'A : axial':34s}{_cell(row['a_to_axial'], 8)}{'marginal':>9s}",
        ]
    lines += _notes(record)
    return "\n".join(lines)


def _notes(record: dict[str, Any]) -> list[str]:
    lines = []
    if "epsilon_static" in record:
        lines.append("ε0 (diagonal): " + ", ".join(f"{v:.1f}" for v in record["epsilon_static"]))
    if record["residuals"]:
        r = record["residuals"]
        lines.append(
            f"{r['displaced_cells']:.0f} displaced cells; acoustic sum rule missed by {r['acoustic_residual_eV_A2']:.1e} eV/Å²"
            f" before it was enforced, reciprocity by {r['reciprocity_residual_eV_A2']:.1e} eV/Å², space group by"
            f" {r['symmetry_residual_eV_A2']:.1e} eV/Å²"
        )
    if record["charge_residual_e"] is not None:
        lines.append(f"Born charges missed neutrality by {record['charge_residual_e']:.3f} e in the cell; enforced")
    if "heat_capacity_300K_J_per_mol_K" in record:
        moved = ", ".join(f"{s} {v:.3f}" for s, v in record["rms_displacement_300K_A"].items())
        lines.append(
            f"at 300 K: C_V {record['heat_capacity_300K_J_per_mol_K']:.1f} J/mol/K; rms displacement along one axis at"
            f" least (Γ modes only) {moved} Å"
        )
    if record["unstable_modes"]:
        lines.append(
            f"{record['unstable_modes']} modes have imaginary frequencies (negative here): the crystal is not at a minimum"
            " of these forces; relax it, or expect it to distort along them"
        )
    return lines


def _cell(value: float | None, width: int) -> str:
    return f"{'-':>{width}s}" if value is None else f"{value:{width}.3f}" if abs(value) < 1e4 else f"{value:{width}.1e}"
