"""``polaron modes``: the Γ modes of a crystal, and which of them dresses the carriers."""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.cli.launch import launch
from perovskite_polaron.cli.options import RUN_OPTIONS, emit, pick, quantity, refuse_existing, share
from perovskite_polaron.cli.tables import Said, Table
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.files import is_structure, read_crystal
from perovskite_polaron.lattice.symmetry import primitive
from perovskite_polaron.phonons.forces import MLIP_NAME, RELAX, ase_forces, mlip_calculator, relax
from perovskite_polaron.phonons.modes import BUILTIN, Modes, write_modes
from perovskite_polaron.phonons.readers import (
    Calculation, Charges, Direction, charges_of, from_file, from_forces)
from perovskite_polaron.phonons.response import Response, assumed_response, nominal_response
from perovskite_polaron.phonons.selection import (
    ModeRow, direction_table, heat_capacity, held_by_field, mode_table, select, spherical_alpha,
    static_dielectric, thermal_displacements_A2, transverse_partner)
from perovskite_polaron.published_cspbbr3 import FORMULA, HOLE_MASS, MODE, SOURCE
from perovskite_polaron.units import MEV_PER_INVERSE_CM, MEV_PER_THZ, UNITS
from perovskite_polaron.workflow.forces import ForceSettings, espresso_modes, read_force_settings
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.study import RunSettings

_ROOM_K = 300.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add = parser.add_argument
    add("source", metavar="SOURCE", help="with --forces a structure file or built-in name; else a"
        " file of phonopy or Quantum ESPRESSO, a mode file, or built-in modes"
        f" ({', '.join(BUILTIN)})")
    add("--forces", choices=("mlip", "qe"), help="compute the modes, with the forces of: mlip,"
        f" {MLIP_NAME}; qe, pw.x of Quantum ESPRESSO, with the charges of ph.x unless they are"
        " given, as jobs that resume")
    add("--settings", metavar="FILE.toml",
        help="tables [pw], [relax], [response], [pseudopotentials] for --forces qe")
    add("--store", type=Path, default=Path("modes-results"),
        help="folder of the jobs of --forces qe (default %(default)s)")
    share(parser, "--primitive", *RUN_OPTIONS)
    add("--relax", choices=RELAX, default="positions",
        help="what is relaxed before, symmetry kept (default: positions, the cell stays as given)")
    add("--distance", default="0.01A", type=quantity("length"),
        help="displacement of the atoms (default %(default)s)")
    add("--direction", nargs="+", metavar="D",
        help="of q → 0 in the axes of SOURCE as given: a, b, c, a*, b*, c*, or u v w meaning u·a +"
        " v·b + w·c; the table of a, b and c says which the rule for modes itself would take")
    add("--select", type=int, metavar="N", help="take this mode of the table instead of the one"
        " that the rule chooses")
    charges = parser.add_mutually_exclusive_group()
    charges.add_argument("--born", type=Path, metavar="FILE",
                         help="Born charges and ε∞ in a BORN file of phonopy")
    charges.add_argument("--nominal-charges", metavar="EL=Q,EL=Q",
                         help="approximate charges instead, one for each element, as Zn=2,O=-2;"
                         " with --epsilon-inf")
    add("--epsilon-inf", type=float, metavar="E", help="dielectric constant for --nominal-charges")
    add("--crystal", metavar="FILE", help="crystal of a file of modes that holds none: best the"
        " .dyn file (default: one beside it) or phonopy.yaml of the calculation")
    add("--frequency-unit", choices=UNITS["energy"], default="THz", metavar="UNIT",
        help="of band.yaml, mesh.yaml and qpoints.yaml, which do not say it: THz (default), cm-1,"
        " meV, Ha ...")
    add("--mass", type=float, metavar="M",
        help="effective mass for alpha, electron masses (CsPbBr3: 0.17, a bare hole)")
    add("--out", type=Path, metavar="FILE.json", help="write the mode file, the chosen mode first")
    add("--figure", type=Path, help="draw who moves in the chosen mode (.png or .svg)")
    share(parser, "--overwrite", "--json")


def run(args: argparse.Namespace) -> None:
    """Compute or read the modes, judge them, choose, write and report.

    Examples
    --------
    polaron modes cspbbr3-pbnm --forces mlip --direction c --out modes.json --figure modes.png
    polaron modes phonopy_params.yaml --direction 0 0 1
    polaron modes matdyn.modes
    """
    refuse_existing(args, args.out, args.figure)
    direction, charges = _direction(args.direction), _charges(args)
    require(not args.primitive or args.forces, "--primitive goes with --forces: the modes in a file"
            " are of the cell that they were computed in")
    if args.forces == "qe":
        calculation = _with_espresso(args, _crystal(args), direction, charges)
    elif args.forces is not None:
        calculation = _with_mlip(args, _crystal(args), direction, charges)
    elif is_structure(args.source):
        raise InputError(
            f"{args.source} is a structure and holds no modes: add --forces mlip to compute them")
    else:
        calculation = from_file(args.source, direction, charges, args.crystal,
                                args.frequency_unit)
        print(f"polaron: read {calculation.reading}", file=sys.stderr)
    modes = calculation.modes
    bare_hole = HOLE_MASS if modes.crystal.formula == FORMULA else None
    mass = bare_hole if args.mass is None else args.mass
    rows = mode_table(modes, calculation.response, mass)
    index, why = select(rows, held_by_field(modes, calculation.transverse))
    if args.select is not None:
        index, why = _by_hand(args.select, modes, why)
    require(args.figure is None or index is not None, f"--figure draws the chosen mode, and {why}")
    if args.out is not None:
        r = calculation.response
        response = None if r is None else {
            "source": r.source, "residual_e": r.residual, "epsilon_inf": r.epsilon_inf,
            "born_e": r.born_e}
        write_modes(_mode_set(calculation, rows, index), args.out, response,
                    chosen=index is not None)
    if args.figure is not None and index is not None:
        from perovskite_polaron.figures import lattice, style

        style.save(lattice.draw_modes(modes, rows, index), args.figure)
    record = {**_record(calculation, rows, index, why), **_directions(calculation, mass)}
    record["chosen_because"] = why + record.pop("rule", "")
    record["path"] = args.out
    emit(args, record, _lines(record, modes.crystal))


def _charges(args: argparse.Namespace) -> Charges | None:
    """What --born or --nominal-charges say of the charges."""
    require((args.nominal_charges is None) == (args.epsilon_inf is None),
            "--nominal-charges and --epsilon-inf go together: give both")
    if args.nominal_charges is None:
        return args.born
    try:
        pairs = [word.split("=") for word in args.nominal_charges.split(",")]
        given = {element.strip(): float(charge) for element, charge in pairs}
    except ValueError:
        raise InputError(f"--nominal-charges {args.nominal_charges!r} is not understood: write"
                         " Zn=2,O=-2") from None
    return partial(nominal_response, charges_e=given, epsilon_inf=args.epsilon_inf)


def _crystal(args: argparse.Namespace) -> Crystal:
    crystal = read_crystal(args.source)
    return primitive(crystal) if args.primitive else crystal


def _by_hand(number: int, modes: Modes, why: str) -> tuple[int, str]:
    require(0 <= number < len(modes), f"--select {number} is not in the table: it has modes 0 to"
            f" {len(modes) - 1}")
    require(modes.translation_share[number] < 0.5, f"--select {number} is a rigid translation:"
            " choose another mode")
    return number, f"mode {number} is chosen by hand (--select); without: {why}"


def _with_mlip(args: argparse.Namespace, crystal: Crystal, direction: Direction | None,
               charges: Charges | None) -> Calculation:
    def response_of(crystal: Crystal) -> Response | None:
        return assumed_response(crystal) if charges is None else charges_of(charges, crystal)

    require(direction is None or response_of(crystal) is not None,
            f"a direction needs the Born charges and ε∞ of {crystal.label}, and none are built in"
            " for it: give --born FILE or --nominal-charges, or leave --direction out to see the"
            " transverse modes")
    calculator = mlip_calculator()
    relaxed = relax(crystal, calculator, args.relax, log=sys.stderr)
    if args.relax != "none":
        moved_A = np.linalg.norm((relaxed.positions - crystal.positions) @ crystal.lattice_A,
                                 axis=1).max()
        print(f"polaron: relaxed {crystal.label}; an atom moved by {moved_A:.3f} Å at most",
              file=sys.stderr)
    provenance = f"{MLIP_NAME}; relaxed: {args.relax}; displacement {args.distance:g}A"
    forces = ase_forces(calculator, log=sys.stderr)
    # The charges follow the atoms to where they are now.
    return from_forces(relaxed, forces, direction, response_of(relaxed), args.distance, provenance)


def _with_espresso(args: argparse.Namespace, crystal: Crystal, direction: Direction | None,
                   charges: Charges | None) -> Calculation:
    settings = read_force_settings(args.settings) if args.settings else ForceSettings()
    store = Store(args.store)
    return espresso_modes(
        crystal, settings, store, lambda jobs: launch(args, RunSettings(), jobs, store),
        direction=direction, relaxation=args.relax, distance_A=args.distance, charges=charges,
        log=sys.stderr)


def _direction(words: list[str] | None) -> Direction | None:
    if words is None:
        return None
    if len(words) == 1:
        return words[0]
    try:
        return [float(w) for w in words]
    except ValueError:
        raise InputError(f"--direction {' '.join(words)!r} is not understood: give a, b, c, a*,"
                         " b* or c*, or three numbers such as 0 0 1") from None


def _mode_set(calculation: Calculation, rows: list[ModeRow], index: int | None) -> Modes:
    """All modes but the rigid translations, with their numbers in the table; the chosen one comes
    first.
    """
    modes = calculation.modes
    there = np.flatnonzero(modes.translation_share < 0.5).tolist()
    order = sorted(there, key=lambda i: (i != index, i))
    names = tuple(f"{rows[i].irrep} {rows[i].kind}{' unstable' * rows[i].unstable}" for i in order)
    source = "" if calculation.response is None else f"; charges: {calculation.response.source}"
    return replace(modes[order], names=names, numbers=tuple(order),
                   provenance=modes.provenance + source)


def _directions(calculation: Calculation, mass: float | None) -> dict[str, Any]:
    """What the rule chooses along a, b and c, and which of these it would choose itself."""
    transverse, response = calculation.transverse, calculation.response
    if transverse is None or response is None:
        return {}
    table = direction_table(transverse, response, mass)
    if not table:
        return {}
    alike = " or ".join(row["direction"] for row in table if row["relative_alpha"] > 0.98)
    weights = ", ".join(f"{row['direction']} {row['relative_alpha']:.2f}" for row in table)
    return {
        "directions": table,
        "rule_direction": max(table, key=lambda row: row["relative_alpha"])["direction"],
        "rule": f"; of a, b and c the same rule takes {alike} (relative α: {weights}): the"
                " direction is an input, --direction",
        "alpha_spherical_mean": (None if mass is None
                                 else spherical_alpha(transverse, response, mass))}


def mode_records(rows: Sequence[ModeRow]) -> list[dict[str, Any]]:
    """Return what ``mode_table`` says of each mode, for JSON and ``modes_lines``."""
    return [{**pick(r, "energy_meV", "kind", "irrep", "unstable", "mode_charge", "alpha", "ratio",
                    "a_to_axial", mode_charge_vector_e="mode_charge_e",
                    froehlich_meV_per_A="froehlich_meV_A",
                    ir_intensity_D2_per_A2_amu="ir_intensity"),
             "energy_THz": r.energy_meV / MEV_PER_THZ,
             "energy_per_cm": r.energy_meV / MEV_PER_INVERSE_CM}
            for r in rows]


def _record(calculation: Calculation, rows: list[ModeRow], index: int | None,
            why: str) -> dict[str, Any]:
    modes, response, crystal = calculation.modes, calculation.response, calculation.modes.crystal
    record: dict[str, Any] = {
        "modes": mode_records(rows),
        "selected": index, "why": why, "direction_cartesian": modes.direction,
        "unstable_modes": int(modes.unstable.sum()), "provenance": modes.provenance,
        "charges": None if response is None else response.source,
        "charge_residual_e": None if response is None else response.residual,
        "residuals": calculation.residuals, "read": calculation.reading or None}
    if modes.optical.any() and len(rows) == 3 * len(crystal):
        record["heat_capacity_300K_J_per_mol_K"] = float(heat_capacity(modes, _ROOM_K)[0])
        u2 = np.trace(thermal_displacements_A2(modes, _ROOM_K), axis1=1, axis2=2) / 3
        species = np.array(crystal.species)
        record["rms_displacement_300K_A"] = {
            s: float(np.sqrt(u2[species == s].mean())) for s in dict.fromkeys(crystal.species)}
    if index is not None and calculation.transverse is not None:
        partner, overlap = transverse_partner(modes, index, calculation.transverse)
        energy_meV = float(calculation.transverse.energies_meV[partner])
        record["transverse_partner"] = {"energy_meV": energy_meV, "overlap": overlap}
        if response is not None:
            record["epsilon_static"] = np.diag(static_dielectric(calculation.transverse, response))
    if crystal.formula == FORMULA:
        record["paper"] = MODE
    return record


def _lines(record: dict[str, Any], crystal: Crystal) -> Iterator[Said]:
    yield f"Γ modes of {crystal.label}: {record['provenance']}"
    yield f"charges: {record['charges'] or 'none given'}"
    yield from modes_lines(dict(enumerate(record["modes"])), record["selected"])
    yield ""
    yield record["chosen_because"]
    if "directions" in record:
        yield from _direction_lines(record)
    if "transverse_partner" in record:
        p = record["transverse_partner"]
        yield (f"without the macroscopic field its nearest kin is the mode at {p['energy_meV']:.2f}"
               f" meV (overlap {p['overlap']:.2f})")
    if record["selected"] is not None and "paper" in record:
        row, paper = record["modes"][record["selected"]], record["paper"]
        ratio = row["ratio"] or {}
        yield f"beside the LO mode along c of the paper ({SOURCE}):"
        yield Table({"": "20s", "here": ">8s", "paper": "10.1f"}, [
            ("energy, meV", f"{row['energy_meV']:.2f}", paper["energy_meV"]),
            *((f"axial : {title}", _short(ratio.get(name)), paper[name]) for title, name in
              (("equatorial", "axial_to_equatorial"), ("B", "axial_to_B"))),
            ("A : axial", _short(row["a_to_axial"]), "marginal")])
    yield from _notes(record)


def modes_lines(records: Mapping[int, dict[str, Any]], selected: int | None) -> Iterator[Said]:
    """Return the table of modes by their numbers; records as from ``mode_records``."""
    columns = {"": ">3s", "meV": "9.3f", "THz": "8.3f", "cm-1": "8.2f", "irrep": "8s",
               "kind": "10s", "charge, e": ">10s", "IR": ">8s", "g, meV/Å": ">10s",
               "alpha": ">8s", "ax:eq": ">8s", "ax:B": ">8s", "A:ax": ">8s", " ": "1s"}
    rows = []
    for i, r in records.items():
        ratio = r["ratio"] or {}
        numbers = (r["mode_charge"], r["ir_intensity_D2_per_A2_amu"], r["froehlich_meV_per_A"],
                   r["alpha"], ratio.get("axial_to_equatorial"), ratio.get("axial_to_B"),
                   r["a_to_axial"])
        rows.append((
            f"{'>' if i == selected else ' '}{i:2d}", r["energy_meV"], r["energy_THz"],
            r["energy_per_cm"], r["irrep"], r["kind"], *map(_short, numbers),
            "UNSTABLE" if r["unstable"] else ""))
    yield Table(columns, rows)
    yield ("charge: of the mode, along the direction if one is given; IR in (D/Å)²/amu; g = |q"
           " g_ν|, the Fröhlich matrix element; ratios of rms displacements (axial, equatorial X;"
           " B; A)")


def _direction_lines(record: dict[str, Any]) -> Iterator[Said]:
    columns = {"LO along": "10s", "meV": "9.3f", "g, meV/Å": ">10s", "alpha": ">8s",
               "all modes": ">11s", "ax:eq": ">8s", "ax:B": ">8s"}
    rows = []
    for row in record["directions"]:
        numbers = {**row, **(row["ratio"] or {})}
        names = ("froehlich_meV_per_A", "alpha", "alpha_all_modes", "axial_to_equatorial",
                 "axial_to_B")
        rows.append((row["direction"], row["energy_meV"], *(_short(numbers.get(n)) for n in names)))
    yield Table(columns, rows)
    if record["alpha_spherical_mean"] is not None:
        yield (f"alpha of all modes, mean over the directions of q:"
               f" {record['alpha_spherical_mean']:.3f}")


def _notes(record: dict[str, Any]) -> Iterator[str]:
    if "epsilon_static" in record:
        yield "ε0 (diagonal): " + ", ".join(f"{v:.1f}" for v in record["epsilon_static"])
    if record["residuals"]:
        r = record["residuals"]
        yield (f"{r['displaced_cells']:.0f} displaced cells; acoustic sum rule missed by"
            f" {r['acoustic_residual_eV_A2']:.1e} eV/Å² before it was enforced, reciprocity by"
            f" {r['reciprocity_residual_eV_A2']:.1e} eV/Å², space group by"
            f" {r['symmetry_residual_eV_A2']:.1e} eV/Å²")
    if record["charge_residual_e"] is not None:
        yield (f"Born charges missed neutrality by {record['charge_residual_e']:.3f} e in the cell;"
               " enforced")
    if "heat_capacity_300K_J_per_mol_K" in record:
        moved = ", ".join(f"{s} {v:.3f}" for s, v in record["rms_displacement_300K_A"].items())
        yield (f"at 300 K: C_V {record['heat_capacity_300K_J_per_mol_K']:.1f} J/mol/K; rms"
               f" displacement along one axis at least (Γ modes only) {moved} Å")
    if record["unstable_modes"]:
        yield (f"{record['unstable_modes']} modes have imaginary frequencies (negative here): the"
               " crystal is not at a minimum of these forces; relax it, or expect it to distort"
               " along them")
    if record["path"] is not None:
        yield (f"written to {record['path']}, with the numbers above; its crystal is the one above:"
               f' crystal = "{record["path"]}" takes it into a study')


def _short(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < 1e4 else f"{value:.1e}"
