"""``polaron ensemble``: snapshots of a crystal at a temperature."""

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from perovskite_polaron.cli.options import count, emit, quantity, share
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.lattice.crystal import Crystal, supercell
from perovskite_polaron.lattice.ensemble import Ensemble, refuse_folder, summary, write_ensemble
from perovskite_polaron.lattice.files import CRYSTALS, read_crystal
from perovskite_polaron.lattice.matching import POSITION_TOLERANCE_A
from perovskite_polaron.phonons.dynamics import calculator_of, molecular_dynamics
from perovskite_polaron.phonons.modes import BUILTIN
from perovskite_polaron.phonons.readers import read_all_modes
from perovskite_polaron.phonons.sampling import (
    IMAGINARY, NormalModes, harmonic_ensemble, normal_modes, special_ensemble)
from perovskite_polaron.phonons.trajectories import read_trajectory
from perovskite_polaron.units import parse_kelvin

# The built-in crystals that the built-in modes are of.
_KNOWN = {name: "cspbbr3" for name in CRYSTALS if name in ("cspbbr3-pbnm", "cspbbr3-pnma")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add, number = parser.add_argument, partial
    add("source", metavar="SOURCE", help="structure file or built-in name; or a trajectory"
        " (.extxyz, .traj, XDATCAR, .lammpstrj)")
    add("--temperature", metavar="T,T,...", help="as 25C,60C or 300K: a folder for each, named as"
        " written; of a trajectory the one it was run at")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--modes", metavar="FILE", help="harmonic: all modes at every wave vector of"
                     f" the cell (phonopy, Quantum ESPRESSO, a mode file, {', '.join(BUILTIN)};"
                     " default for CsPbBr3 in Pbnm: cspbbr3)")
    how.add_argument("--md", metavar="CALCULATOR", help="molecular dynamics with sevennet, a"
                     " calculator that ASE knows by name, or FILE.py:FUNCTION that makes one")
    add("--samples", type=number(count, option="--samples"), metavar="N",
        help="snapshots at each temperature")
    add("--seed", type=int, default=0, help="of the random numbers (default %(default)s)")
    share(parser, "--supercell")
    add("--independent", action="store_true", help="harmonic: no pairs u, −u")
    add("--special", action="store_true", help="harmonic: one special displacement and its opposite"
        " in place of random ones")
    add("--imaginary", choices=IMAGINARY, default="refuse", help="harmonic: modes of imaginary"
        " frequency; absolute: their energy without its sign (default %(default)s)")
    add("--match-tolerance", default=f"{POSITION_TOLERANCE_A}A", type=quantity("length"),
        help="how far atoms of modes and crystal may be apart (default %(default)s)")
    add("--timestep", type=quantity("time"), default="2fs", help="--md: (default %(default)s)")
    add("--equilibrate", type=quantity("time"), default="2ps",
        help="--md: left out at the beginning (default %(default)s)")
    add("--interval", type=quantity("time"), default="0.2ps",
        help="--md: from snapshot to snapshot (default %(default)s)")
    add("--friction-time", type=quantity("time"), default="0.5ps",
        help="--md: 1/friction of Langevin's bath (default %(default)s)")
    add("--every", type=number(count, option="--every"), metavar="N",
        help="trajectory: keep one frame of N (default 1)")
    add("--skip", type=int, default=0, metavar="N",
        help="trajectory: leave out the first N frames (default %(default)s)")
    add("--species", metavar="Cs,Pb,Br", help="trajectory: elements of the types of a LAMMPS dump"
        " that does not name them")
    add("--out", type=Path, required=True, metavar="DIR",
        help="folder: DIR/TEMPERATURE for each, or DIR itself for a trajectory")
    share(parser, "--overwrite", "--json")


def run(args: argparse.Namespace) -> None:
    """Sample, write and report.

    Examples
    --------
    polaron ensemble cspbbr3-pbnm --temperature 25C,140C --samples 20 --out hot
    polaron ensemble crystal.cif --modes phonopy_params.yaml --supercell 2 2 1
        --temperature 300K --samples 50 --out hot
    polaron ensemble cspbbr3-pbnm --md sevennet --temperature 25C --supercell 2 2 1
        --samples 50 --out dynamics
    polaron ensemble trajectory.extxyz --every 50 --temperature 300K --out frames
    """
    texts = args.temperature.split(",") if args.temperature else []
    kelvin = {text.strip(): parse_kelvin(text) for text in texts}
    require(len(kelvin) == len(texts), f"--temperature {args.temperature} says one twice")
    if _is_trajectory(args):
        made = {args.out: partial(_frames, args, kelvin)}
    else:
        made = _sampled(args, kelvin)
    for folder in made:
        refuse_folder(folder, overwrite=args.overwrite)
    rows, snapshots = [], []
    for folder, make in made.items():
        ensemble = make()
        paths = write_ensemble(ensemble, folder, overwrite=args.overwrite)
        origin = ensemble.origin
        snapshots += [{"path": path, "temperature_K": origin.temperature_K} for path in paths]
        rows.append({"folder": folder, **vars(origin), "snapshots": len(paths),
                     "atoms": len(ensemble.reference), **summary(ensemble)})
    emit(args, {"ensembles": rows, "snapshots": snapshots, "seed": rows[0]["seed"]}, _lines(rows))


def _is_trajectory(args: argparse.Namespace) -> bool:
    crystal = args.modes or args.md or args.source in _KNOWN
    require(args.source not in CRYSTALS or crystal, f"the modes of {args.source} are not built in:"
            " give --modes FILE or --md CALCULATOR")
    return not crystal


def _frames(args: argparse.Namespace, kelvin: dict[str, float]) -> Ensemble:
    require(len(kelvin) < 2, "a trajectory has one temperature: give it, or none")
    require(args.samples is None and tuple(args.supercell) == (1, 1, 1), "--samples and --supercell"
            " are for modes and --md; of a trajectory --every says which frames are kept")
    species = args.species.split(",") if args.species else ()
    return read_trajectory(args.source, args.every or 1, args.skip, species,
                           next(iter(kelvin.values()), None))


def _sampled(args: argparse.Namespace, kelvin: dict[str, float]) -> dict[Path, Any]:
    """Folder -> what makes its ensemble."""
    require(kelvin, "give the temperatures, such as --temperature 25C,140C")
    require(args.every is None, "--every is for trajectories; --interval for --md")
    require(args.special != (args.samples is not None), "give --samples N, or --special")
    crystal = supercell(read_crystal(args.source), tuple(args.supercell))
    if args.md:
        require(not args.special, "--special is for modes: leave it out with --md")
        calculator = calculator_of(args.md)
        return {args.out / text: partial(_dynamics, args, crystal, calculator, t)
                for text, t in kelvin.items()}
    modes = _modes(args, crystal)
    make: Any = special_ensemble
    if not args.special:
        make = partial(harmonic_ensemble, samples=args.samples, seed=args.seed,
                       antithetic=not args.independent)
    return {args.out / text: partial(make, modes, t) for text, t in kelvin.items()}


def _modes(args: argparse.Namespace, crystal: Crystal) -> NormalModes:
    source = args.modes or _KNOWN[args.source]
    try:
        sets = read_all_modes(source)
    except InputError as error:
        if "holds no crystal" not in str(error):
            raise
        sets = read_all_modes(source, args.source)
    return normal_modes(crystal, sets, args.imaginary, args.match_tolerance)


def _dynamics(args: argparse.Namespace, crystal: Crystal, calculator: tuple[Any, str],
              temperature_K: float) -> Ensemble:
    return molecular_dynamics(
        crystal, *calculator, temperature_K, args.samples, args.seed,
        timestep_fs=1e3 * args.timestep, equilibrate_ps=args.equilibrate,
        interval_ps=args.interval, friction_per_ps=1 / args.friction_time, log=sys.stderr)


def _lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        t = "unknown temperature" if row["temperature_K"] is None else f"{row['temperature_K']:g} K"
        yield f"{row['folder']}: {row['snapshots']} snapshots of {row['atoms']} atoms, {t}"
        rms = ", ".join(f"{s} {v:.3f}" for s, v in row["rms_displacement_A"].items())
        yield (f"  rms displacement {rms} Å; largest {row['largest_displacement_A']:.2f} Å; mean up"
               f" to {row['mean_from_reference_A']:.3f} Å from the reference")
        if row["order"] == "series":
            effective = row["snapshots"] / (2 * row["correlation"])
            yield (f"  autocorrelation time {row['correlation']:.2f} snapshots: as good as"
                   f" {effective:.1f} independent ones")
    yield f"{rows[0]['kind']}: {rows[0]['source']}"
    yield f"{rows[0]['rule']}" + ("" if rows[0]["seed"] is None else f"; seed {rows[0]['seed']}")
