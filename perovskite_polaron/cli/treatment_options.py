"""The options of every verb that reads measured spectra and treats them: one flag, one meaning."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from perovskite_polaron.errors import InputError
from perovskite_polaron.measured.readers import read_scans
from perovskite_polaron.measured.recipe import COMBINE, Recipe, conditions, read_steps
from perovskite_polaron.measured.scan import Scan, Step
from perovskite_polaron.measured.treatment import pump_probe, thermal
from perovskite_polaron.units import parse_quantity


@dataclass(frozen=True, eq=False)
class Measured:
    """What the files hold: the scans of each condition, the scans of the reference, and what is to be done with them."""

    groups: tuple[tuple[Scan, ...], ...]
    references: tuple[Scan, ...]
    recipe: Recipe


def add_reading_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how files are read."""
    parser.add_argument("--signal", help="column to read, by name or number (default: every signal column)")
    parser.add_argument("--energy-unit", choices=("eV", "keV"), help="for files that do not say it")
    parser.add_argument(
        "--name-pattern", metavar="PATTERN",
        help="where file names keep delay and temperature, as 'br_{delay_ps}_*' or '*_{temperature_C}'"
        " (default: from the header, or a number with its unit in the name)",
    )  # fmt: skip


def add_treatment_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is done with the scans; the steps happen in the order in which they stand here."""
    group = parser.add_argument_group("treatment, in this order")
    group.add_argument("--steps", type=Path, help="replay the treatment kept in a JSON file or in a treated XDI file")
    group.add_argument(
        "--preset", choices=("pump-probe", "thermal"), help="published recipes: "
        "pump-probe (minus --reference if given, over absolute area); "
        "thermal (baseline, over area, minus --reference, 3-point average)",
    )  # fmt: skip
    group.add_argument("--shift", help="calibration: add to every energy, as 0.3eV")
    group.add_argument("--crop", metavar="LOW:HIGH", help="keep this interval only, as 13.45keV:13.52keV")
    group.add_argument("--rebin", help="average in bins of this width, as 0.5eV")
    group.add_argument("--pre-edge", metavar="LOW:HIGH", help="subtract the mean of this interval (thermal needs it)")
    group.add_argument("--normalise", choices=("last", "edge_step", "area", "absolute_area"), help="divide by this")
    group.add_argument("--interval", metavar="LOW:HIGH", help="interval of the edge step or area (default: all)")
    group.add_argument("--reference", nargs="+", metavar="FILE", help="scans to subtract, treated alike up to there")
    group.add_argument("--adjacent", type=int, metavar="N", help="average each point with its neighbours, N in all")
    group.add_argument("--factor", type=float, help="multiply by this, for display")


def read_measured(args: argparse.Namespace, combine: bool) -> Measured:
    """Read the files and the reference of a command line, and the recipe its options spell.

    combine: whether the scans of one delay and temperature are repeats, to be averaged (a recipe from a file says it
    itself); else every scan is a group of its own.
    """
    scans = read_scans(args.files, args.signal, args.energy_unit, args.name_pattern)
    references = () if not args.reference else read_scans(args.reference, args.signal, args.energy_unit)
    warn((*scans, *references))
    recipe = _recipe(args, combine, references[0].name if references else None)
    if references and recipe.reference is None:
        raise InputError("--reference is given, but the treatment of --steps subtracts nothing: leave one of them out")
    combined = any(step.name == COMBINE for step in recipe.steps)
    sources = {scan.source for scan in references}
    kept = [scan for scan in scans if scan.source not in sources]
    if not kept:
        raise InputError("every file is a reference file: nothing is left to subtract it from")
    return Measured(conditions(kept) if combined else tuple((scan,) for scan in kept), references, recipe)


def _recipe(args: argparse.Namespace, combine: bool, reference: str | None) -> Recipe:
    own = {name: getattr(args, name) for name in
           ("shift", "crop", "rebin", "pre_edge", "normalise", "interval", "adjacent", "factor")}  # fmt: skip
    if args.steps is not None:
        given = [name.replace("_", "-") for name, value in {**own, "preset": args.preset}.items() if value is not None]
        if given:
            raise InputError(f"--steps says the whole treatment: leave out --{', --'.join(given)}")
        return read_steps(args.steps)
    steps = []
    if args.shift is not None:
        steps.append(Step("calibrate", {"shift_eV": parse_quantity(args.shift, "energy")}))
    if args.crop is not None:
        steps.append(Step("crop", _ends(window(args.crop))))
    if args.rebin is not None:
        steps.append(Step("rebin", {"step_eV": parse_quantity(args.rebin, "energy")}))
    if combine:
        steps.append(Step(COMBINE))
    ends = _ends(window(args.interval)) if args.interval else {"from_eV": None, "to_eV": None}
    if args.preset is not None and (args.normalise or args.adjacent):
        raise InputError(f"--preset {args.preset} says how to normalise and average: leave out --normalise, --adjacent")
    if args.preset == "thermal":
        if args.pre_edge is None or reference is None:
            raise InputError("--preset thermal needs --pre-edge LOW:HIGH and --reference FILE (the 25 C spectrum)")
        steps += thermal(reference, window(args.pre_edge), **ends)
    else:
        if args.pre_edge is not None:
            steps.append(Step("baseline", {**_ends(window(args.pre_edge)), "order": 0}))
        if args.interval and not (args.normalise or args.preset):
            raise InputError("--interval is that of --normalise or of a preset: give one of them")
        if args.normalise is not None:
            steps.append(Step("normalise", {"by": args.normalise, **ends}))
        if reference is not None:
            steps.append(Step("subtract", {"reference": reference}))
        if args.preset == "pump-probe":
            steps += pump_probe(**ends)
        if args.adjacent is not None:
            steps.append(Step("average_adjacent", {"points": args.adjacent}))
    if args.factor is not None:
        steps.append(Step("scale", {"factor": args.factor}))
    return Recipe(tuple(steps))


def _ends(interval_eV: tuple[float, float]) -> dict[str, float]:
    return {"from_eV": interval_eV[0], "to_eV": interval_eV[1]}


def warn(scans: Sequence[Scan]) -> None:
    """Say on stderr what the readers objected to: once each, with the first file it is about and how many others."""
    about: dict[str, list[str]] = {}
    for scan in scans:
        for text in scan.warnings:
            about.setdefault(text.removeprefix(scan.source), []).append(scan.source)
    for text, sources in about.items():
        others = len(set(sources)) - 1
        more = f" (and in {others} more {'file' if others == 1 else 'files'})" if others else ""
        print(f"polaron: warning: {sources[0]}{text}{more}", file=sys.stderr)


def window(text: str) -> tuple[float, float]:
    """Return LOW:HIGH, each with its unit, in eV."""
    low, colon, high = text.partition(":")
    if not colon:
        raise InputError(f"{text!r} is no window: write it as 13.471keV:13.472keV")
    return parse_quantity(low, "energy"), parse_quantity(high, "energy")
