"""``polaron lanczos``: one XSpectra save file, evaluated on any grid and width."""

import argparse

import numpy as np

from perovskite_polaron.errors import InputError
from perovskite_polaron.files import write_atomically
from perovskite_polaron.units import parse_quantity

EXAMPLE = (
    "  polaron lanczos br.sav --emin -10eV --emax 60eV --points 600 --hwhm 1.5eV --cut-occupied --terminator 20"
    "\n    --out br.dat"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the verb."""
    parser.add_argument("file", metavar="FILE", help="x_save_file of xspectra.x")
    parser.add_argument("--emin", required=True, help="first energy from the Fermi energy, such as -10eV")
    parser.add_argument("--emax", required=True, help="last energy, such as 60eV")
    parser.add_argument("--points", type=int, required=True, help="number of energies")
    parser.add_argument("--hwhm", required=True, help="half width of the Lorentzian, such as 1.5eV (xgamma)")
    parser.add_argument("--cut-occupied", action="store_true", help="leave out the states below the Fermi energy")
    parser.add_argument("--cut-smooth", help="smooth this close to the cut (cut_desmooth); default 0.1eV")
    parser.add_argument("--cut-above", help="cut so far above the Fermi energy; default 0eV, as XSpectra does")
    parser.add_argument("--terminator", type=int, metavar="N", help="as xcheck_conv=N of XSpectra")
    parser.add_argument("--out", required=True, metavar="FILE.dat", help="file to write")


def run(args: argparse.Namespace) -> None:
    """Evaluate and write the columns."""
    emin, emax, hwhm = (parse_quantity(text, "energy") for text in (args.emin, args.emax, args.hwhm))
    if args.points < 2:
        raise InputError(f"--points is {args.points}: give at least 2")
    if not emin < emax:
        raise InputError(f"--emin {args.emin} is not below --emax {args.emax}: swap them")
    for option, given in (("--cut-smooth", args.cut_smooth), ("--cut-above", args.cut_above)):
        if given and not args.cut_occupied:
            raise InputError(f"{option} has no effect without --cut-occupied: add it")
    from perovskite_polaron.espresso.lanczos import evaluate
    from perovskite_polaron.espresso.savefile import read_save

    sigma = evaluate(
        read_save(args.file),
        np.linspace(emin, emax, args.points),
        hwhm,
        cut_occupied=args.cut_occupied,
        cut_smooth_eV=parse_quantity(args.cut_smooth or "0.1eV", "energy"),
        cut_above_eV=parse_quantity(args.cut_above or "0eV", "energy"),
        terminator=args.terminator,
    )
    columns = {"energy_eV": sigma.energy_eV, "sigma": sigma.total}
    if sigma.up is not None and sigma.down is not None:
        columns |= {"sigma_up": sigma.up, "sigma_down": sigma.down}
    rows = np.column_stack(list(columns.values()))
    text = (
        "# "
        + " ".join(columns)
        + "\n"
        + "".join(f"{row[0]:16.8f}" + "".join(f" {x:19.12e}" for x in row[1:]) + "\n" for row in rows)
    )
    write_atomically(args.out, text)
    print(f"{args.out}: {args.points} energies, half width {hwhm:g} eV")
