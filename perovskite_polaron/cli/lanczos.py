"""``polaron lanczos``: one XSpectra save file, evaluated on any grid and width."""

import argparse

import numpy as np

from perovskite_polaron.cli.options import emit, quantity, share
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.espresso.lanczos import Filling, evaluate
from perovskite_polaron.espresso.savefile import read_save
from perovskite_polaron.files import write_atomically
from perovskite_polaron.units import BOLTZMANN_MEV_K, parse_kelvin, parse_quantity


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the verb."""
    add, energy = parser.add_argument, quantity("energy")
    add("file", metavar="FILE", help="x_save_file of xspectra.x")
    add("--emin", type=energy, required=True,
        help="first energy from the Fermi energy, such as -10eV")
    add("--emax", type=energy, required=True, help="last energy, such as 60eV")
    add("--points", type=int, required=True, help="number of energies")
    add("--hwhm", type=energy, required=True,
        help="half width of the Lorentzian, such as 1.5eV (xgamma)")
    add("--cut-occupied", action="store_true", help="leave out the states below the Fermi energy")
    add("--cut-smooth", type=energy,
        help="smooth this close to the cut (cut_desmooth); default 0.1eV")
    add("--cut-above", type=energy,
        help="cut so far above the Fermi energy; default 0eV, as XSpectra does")
    add("--filling", type=_filling, action="append", metavar="WEIGHT:LEVEL[:TEMPERATURE]",
        help="instead of a cut, leave out states by the sum of such Fermi functions, the level from"
        " the Fermi energy: 1:1.9eV:300K; without a temperature a step; may be repeated")
    add("--edge", choices=("K", "L1", "L2", "L3"),
        help="the edge that is wanted; needed for a file with two (edge='L23' of XSpectra)")
    add("--terminator", type=int, metavar="N", help="as xcheck_conv=N of XSpectra")
    add("--out", required=True, metavar="FILE.dat", help="file to write")
    share(parser, "--json")


def _filling(text: str) -> Filling:
    weight, _, rest = text.partition(":")
    level, _, temperature = rest.partition(":")
    try:
        kelvin = parse_kelvin(temperature) if temperature else 0.0
        return Filling(float(weight), parse_quantity(level, "energy"),
                       kelvin * BOLTZMANN_MEV_K / 1e3)
    except ValueError:
        raise InputError(f"--filling {text}: write it as 1:1.9eV:300K") from None


def run(args: argparse.Namespace) -> None:
    """Evaluate and write the columns.

    Examples
    --------
    polaron lanczos br.sav --emin -10eV --emax 60eV --points 600 --hwhm 1.5eV --cut-occupied
        --terminator 20 --out br.dat
    polaron lanczos br.sav --emin -10eV --emax 60eV --points 600 --hwhm 1.5eV --filling 1:1.9eV:300K
        --terminator 20 --out electrons.dat
    """
    require(2 <= args.points <= 1_000_000, f"--points is {args.points}: give at least 2,"
            " at most 1000000")
    require(args.emin < args.emax,
            f"--emin {args.emin:g}eV is not below --emax {args.emax:g}eV: swap them")
    for option, given in (("--cut-smooth", args.cut_smooth), ("--cut-above", args.cut_above)):
        require(given is None or args.cut_occupied,
                f"{option} has no effect without --cut-occupied: add it")
    sigma = evaluate(read_save(args.file, args.edge),
                     np.linspace(args.emin, args.emax, args.points), args.hwhm,
                     cut_occupied=args.cut_occupied, terminator=args.terminator,
                     cut_smooth_eV=0.1 if args.cut_smooth is None else args.cut_smooth,
                     cut_above_eV=args.cut_above or 0.0, occupation=args.filling)
    columns = {"energy_eV": sigma.energy_eV, "sigma": sigma.total}
    if sigma.up is not None and sigma.down is not None:
        columns |= {"sigma_up": sigma.up, "sigma_down": sigma.down}
    lines = ["# " + " ".join(columns)]
    for energy, *values in zip(*columns.values(), strict=True):
        lines.append(f"{energy:16.8f}" + "".join(f" {x:19.12e}" for x in values))
    write_atomically(args.out, "\n".join(lines) + "\n")
    emit(args, {"file": args.out, "columns": list(columns), "points": args.points,
                "hwhm_eV": args.hwhm},
         [f"{args.out}: {args.points} energies, half width {args.hwhm:g} eV"])
