"""``polaron xrd``: powder patterns of crystals and ensembles."""

import argparse
from pathlib import Path

import numpy as np

from perovskite_polaron.cli.options import emit, quantity, refuse_existing, share
from perovskite_polaron.cli.tables import Table
from perovskite_polaron.errors import require
from perovskite_polaron.files import write_csv
from perovskite_polaron.lattice.diffraction import COPPER_K_ALPHA_1_A, Powder, powder_pattern
from perovskite_polaron.lattice.ensemble import RECORD, read_ensemble
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.units import split_quantity

_STEP_DEG = 0.01


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add = parser.add_argument
    add("sources", metavar="SOURCE", nargs="+", help="structure files, built-in names, folders of"
        " polaron ensemble")
    add("--wavelength", type=quantity("length"), default=f"{COPPER_K_ALPHA_1_A}A",
        help="(default %(default)s, copper Kα1)")
    add("--range", type=_range, default="10deg:60deg", metavar="LOW:HIGH",
        help="of 2θ (default %(default)s)")
    add("--fwhm", type=_degrees, default="0.1deg", help="of each reflection (default %(default)s)")
    add("--csv", type=Path, help="write the patterns to a CSV file")
    add("--figure", type=Path, help="draw them (.png or .svg)")
    share(parser, "--overwrite", "--json")


def run(args: argparse.Namespace) -> None:
    """Compute, write and list the strongest reflections.

    Examples
    --------
    polaron xrd cspbbr3-pbnm cspbbr3-pm3m --figure phases.png
    polaron xrd cspbbr3-pbnm hot/25C hot/140C --csv hot.csv
    """
    refuse_existing(args, args.csv, args.figure)
    low, high = args.range
    found = {name: _pattern(name, low, high, args.wavelength) for name in args.sources}
    require(len(found) == len(args.sources), "a source is named twice: name each once")
    grid = np.arange(low, high + _STEP_DEG / 2, _STEP_DEG)
    curves = {name: one.curve(grid, args.fwhm) for name, one in found.items()}
    if args.csv is not None:
        write_csv(args.csv, {"two_theta_deg": grid} | curves)
    if args.figure is not None:
        from perovskite_polaron.figures import lattice, style

        style.save(lattice.draw_powder(grid, curves), args.figure)
    rows = {name: _strongest(one) for name, one in found.items()}
    record = {"wavelength_A": args.wavelength, "patterns": [
        {"source": name, "reflections": [
            {"two_theta_deg": t, "hkl": hkl, "relative_intensity": size}
            for t, hkl, size in rows[name]]} for name in found]}
    columns = {"source": "24s", "2θ (deg)": "10.3f", "  h k l": "12s", "% of largest": "14.2f"}
    cells = [(name, t, "  " + " ".join(map(str, hkl)), size)
             for name, those in rows.items() for t, hkl, size in those]
    emit(args, record, Table(columns, cells))


def _pattern(name: str, low: float, high: float, wavelength_A: float) -> Powder:
    hot = (Path(name) / RECORD).is_file()
    crystals = read_ensemble(name).snapshots if hot else (read_crystal(name),)
    return powder_pattern(crystals, low, high, wavelength_A)


def _strongest(one: Powder, count: int = 8) -> list[tuple[float, list[int], float]]:
    largest = np.sort(one.intensity.argsort()[::-1][:count])
    scale = 100 / one.intensity.max()
    return [(float(one.two_theta_deg[i]), one.hkl[i].tolist(), float(scale * one.intensity[i]))
            for i in largest]


def _degrees(text: str) -> float:
    value, unit = split_quantity(text)
    require(unit == "deg", f"{text!r} is not an angle: write it as 0.1deg")
    return value


def _range(text: str) -> tuple[float, float]:
    low, colon, high = text.partition(":")
    require(colon, f"{text!r} is no range: write it as 10deg:60deg")
    return _degrees(low), _degrees(high)
