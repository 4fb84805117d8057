"""The options of every verb that reads measured spectra and treats them: one flag, one meaning."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from perovskite_polaron.errors import InputError
from perovskite_polaron.measured.readers import read_scans
from perovskite_polaron.measured.recipe import normalisation, read_steps
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.measured.treated import Measured, build_recipe, gather
from perovskite_polaron.spectra.spectrum import NORMALISATIONS
from perovskite_polaron.units import parse_quantity


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
    group.add_argument("--normalise", type=normalisation, choices=NORMALISATIONS, help="divide by this")
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
    choices = {
        "shift_eV": _quantity(args.shift), "crop_eV": _window(args.crop), "rebin_eV": _quantity(args.rebin),
        "preset": args.preset, "pre_edge_eV": _window(args.pre_edge), "normalise": args.normalise,
        "interval_eV": _window(args.interval), "adjacent": args.adjacent, "factor": args.factor,
    }  # fmt: skip
    if args.steps is None:
        name = references[0].name if references else None
        return gather(scans, references, build_recipe(combine=combine, reference=name, **choices))
    given = [k.removesuffix("_eV").replace("_", "-") for k, v in choices.items() if v is not None]
    if given:
        raise InputError(f"--steps says the whole treatment: leave out --{', --'.join(given)}")
    return gather(scans, references, read_steps(args.steps))


def _quantity(text: str | None) -> float | None:
    return None if text is None else parse_quantity(text, "energy")


def _window(text: str | None) -> tuple[float, float] | None:
    return None if text is None else window(text)


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
