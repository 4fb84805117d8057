"""What the verbs share: options, of which each has one meaning, and one way to print a result."""

import argparse
import inspect
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.analysis.kinetic_model import KineticModel
from perovskite_polaron.arrays import Array
from perovskite_polaron.cli.profile import add_profile
from perovskite_polaron.cli.tables import Said, print_lines
from perovskite_polaron.errors import ComputationError, InputError, require
from perovskite_polaron.measured.raw import Raw
from perovskite_polaron.measured.readers import read_scans
from perovskite_polaron.measured.recipe import normalisation, read_steps
from perovskite_polaron.measured.scan import Scan, Trace
from perovskite_polaron.measured.treated import Measured, build_recipe, gather
from perovskite_polaron.spectra.spectrum import NORMALISATIONS
from perovskite_polaron.units import UNITS, parse_quantity


def count(text: str, option: str) -> int:
    """Return the number of an option that must be one or more."""
    value = int(text)
    require(value >= 1, f"{option} {value} is not a positive number: give 1 or more")
    return value


def quantity(kind: str) -> Callable[[str], float]:
    """Return the reader of an option that is a quantity with its unit (see parse_quantity)."""
    return partial(parse_quantity, kind=kind)


SHARED: dict[str, dict[str, Any]] = {
    "--json": {"action": "store_true", "help": "print one JSON object"},
    "--overwrite": {"action": "store_true", "help": "replace existing output files"},
    "--primitive": {"action": "store_true", "help": "take the primitive cell of the crystal first"},
    "--supercell": {"type": int, "nargs": 3, "metavar": "N", "default": (1, 1, 1),
                    "help": "repeat the cell"},
    "--signal": {"help": "column to read, by name or number; 'NAME*' for columns that are repeats;"
                 " '{delay_ps}' for columns whose names are numbers; or 'ln(A/B)', 'A/B', 'A-B' of"
                 " two columns (default: the only signal column)"},
    "--group": {"metavar": "LABEL", "help": "groups of one sample in an Athena project, HDF5 or"
                " SPEC file, by label, as 'foil*' (default: all)"},
    "--energy": {"metavar": "COLUMN", "help": "column of the energies, by name or number (default:"
                 " by its name)"},
    "--energy-unit": {"choices": ("eV", "keV", "degrees", "radians"), "help": "for files that do"
                      " not say it"},
    "--decimal-comma": {"action": "store_true", "help": "text files write 0,5 for 0.5"},
    "--name-pattern": {
        "metavar": "PATTERN",
        "help": "where file names keep delay and temperature, as 'br_{delay_ps}_*' or"
        " '*_{temperature_C}' (default: from the header, or a number with its unit in the name)"},
    "--map": {"choices": ("down", "across"), "help": "a delay x energy matrix: the energies run"
              " down the first column, or across the first row"},
    "--delay": {"metavar": "PATH", "help": "where an HDF5 file keeps the delays of a map, as"
                " /t_axis; the matrix is --signal PATH, the energies --energy PATH"},
    "--delay-unit": {"choices": tuple(UNITS["time"]), "help": "of the delays of a map"},
    "--irf-sigma": {"type": quantity("time"),
                    "help": "standard deviation of the instrument response, as 45ps"},
    "--fit-sigma": {"action": "store_true", "help": "fit it, starting from the value given"},
    "--components": {"type": int, "default": 2, "help": "number of decays (default: 2)"},
    "--start": {"type": quantity("time"), "nargs": "+", "metavar": "LIFETIME", "help": "lifetimes"
                " to start from, as 100ps 1ns (default: several sets are tried)"},
    "--no-offset": {"action": "store_true", "help": "leave the flat offset out"},
    "--baseline": {"action": argparse.BooleanOptionalAction, "help": "fit a constant before time"
                   " zero (default: if three delays or more are before it)"},
    "--period": {"type": quantity("time"), "help": "time between pump pulses, as 767ns: what"
                 " earlier ones left is then part of the decays (default: nothing is left)"},
    "--t0": {"type": quantity("time"), "default": "0ps", "help": "time zero (default: 0ps)"},
    "--fit-t0": {"action": "store_true",
                 "help": "fit time zero, starting from the value given"},
    "--match": {"type": Path, "metavar": "FILE.toml", "help": "zero, stretch and widths, as"
                " polaron match found them with this study"},
    "--ranks": {"type": partial(count, option="--ranks"), "metavar": "N",
                "help": "MPI processes of one job (default: the study's, else by its size)"},
    "--jobs": {"type": partial(count, option="--jobs"), "metavar": "N",
               "help": "jobs at once (default: the study's, else as many as fit)"},
    "--executor": {"type": Path, "metavar": "FILE.toml",
                   "help": "run through Parsl on the cluster that this file describes"}}
RUN_OPTIONS = ("--ranks", "--jobs", "--executor")
MAP = ("--map", "--delay", "--delay-unit")
TIME_LAW = ("--fit-sigma", "--components", "--start", "--no-offset", "--baseline", "--period",
            "--t0", "--fit-t0")
READING = ("--signal", "--energy", "--energy-unit", "--decimal-comma")
AMPLITUDE_CONVENTION = "sum(m|u|^2) = Q^2 over the primitive cell"


@dataclass(frozen=True)
class Verb:
    """One verb of the command.

    Attributes
    ----------
    add_arguments
        Declares its options.
    run
        Does it, and returns the exit status, or None for success. The Examples of its docstring
        are command lines for the help.
    """

    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int | None]

    @property
    def example(self) -> str:
        """The command lines of the help."""
        return inspect.cleandoc(self.run.__doc__ or "").partition("Examples\n--------\n")[2]


def share(parser: argparse._ActionsContainer, *names: str, **changes: Any) -> None:
    """Declare options of the table SHARED; changes: what is said otherwise about all of them."""
    for name in names:
        parser.add_argument(name, **SHARED[name] | changes)


def window(text: str) -> tuple[float, float]:
    """Return LOW:HIGH, each with its unit, in eV."""
    low, colon, high = text.partition(":")
    require(colon, f"{text!r} is no window: write it as 13.471keV:13.472keV")
    return parse_quantity(low, "energy"), parse_quantity(high, "energy")


def refuse_existing(args: argparse.Namespace, *paths: Path | None) -> None:
    """Refuse, before anything is done, to replace files that the user did not ask to replace."""
    existing = next((p for p in paths if p is not None and p.exists()), None)
    require(existing is None or args.overwrite,
            f"{existing} exists already: choose another name, or add --overwrite")


def make_folder(path: Path) -> Path:
    """Make a folder for results, with its parents.

    Raises
    ------
    InputError
        When a file stands in its place; ComputationError when the disk refuses.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        wrong = isinstance(error, FileExistsError | NotADirectoryError)
        raise (InputError if wrong else ComputationError)(
            f"{path} cannot be made: {error.strerror}; choose another folder with --out") from None
    return path


def emit(args: argparse.Namespace, record: Mapping[str, Any], lines: Iterable[Said]) -> None:
    """Print a result: one JSON object with --json, else its lines for people."""
    if args.json:
        print(json.dumps(plain(record), allow_nan=False))
    else:
        print_lines(lines)


def pick(record: object, *names: str, **renamed: str) -> dict[str, Any]:
    """Return some attributes of a record for JSON: by their names, or as key=attribute."""
    return {key: getattr(record, name) for key, name in ({n: n for n in names} | renamed).items()}


def plain(value: Any) -> Any:
    """Return records, arrays and paths as JSON has them; a number that is not finite is null."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def warn(scans: Iterable[Scan | Trace]) -> None:
    """Say on stderr how scans or traces were read and what their readers objected to: once each,
    with the first file it is about.
    """
    about: dict[tuple[str, str], list[str]] = {}
    for scan in scans:
        said = [("", f": {scan.reading}")] if scan.reading else []
        for key in (*said, *(("warning: ", w.removeprefix(scan.source)) for w in scan.warnings)):
            about.setdefault(key, []).append(scan.source)
    for (mark, text), sources in about.items():
        others = len(set(sources)) - 1
        more = f" (and in {others} more {'file' if others == 1 else 'files'})" if others else ""
        print(f"polaron: {mark}{sources[0]}{text}{more}", file=sys.stderr)


def time_law(args: argparse.Namespace, delays_ps: Iterable[Array]) -> KineticModel:
    """Return the time law that the options --irf-sigma and TIME_LAW say, for traces at delays."""
    before = args.t0 - 3 * args.irf_sigma
    baseline = (all((delays < before).sum() >= 3 for delays in delays_ps) if args.baseline is None
                else args.baseline)
    return KineticModel(args.components, args.irf_sigma, not args.no_offset, args.fit_sigma,
                        args.t0, args.fit_t0, baseline, args.period)


def reading_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options READING of a command line, as read_scans takes them."""
    return {name: getattr(args, name) for name in (o[2:].replace("-", "_") for o in READING)}


def add_treatment_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how scans are read, and what is done with them: in the order that stands here."""
    add_profile(parser)
    share(parser, *READING, "--group", "--name-pattern")
    raw = parser.add_argument_group("raw data")
    add = raw.add_argument
    add("--on", metavar="COLUMN", help="signal with laser: column or formula, or 'scans:*_on_*' for"
        " whole scans by their labels (names of files, groups, SPEC numbers); the scan is on minus"
        " off, pair by pair")
    add("--off", metavar="COLUMN", help="signal without laser, said in the same way")
    add("--align-by", metavar="COLUMN", help="for --align, the reference channel, said in the same"
        " way (default: --off)")
    add("--counts", metavar="PATTERN", help="columns that are counts: their errors are those of"
        " counting")
    add("--dead-time", type=quantity("time"), dest="dead_time_ps", help="of these detectors, as"
        " 200ns; needs --count-time")
    add("--count-time", metavar="TIME", help="counting time of a point, as 1s, or COLUMN:s")
    add("--d-spacing", type=quantity("length"), dest="d_spacing_A", help="of the monochromator, as"
        " 3.1356A, where the energies are Bragg angles (--energy-unit degrees)")
    add("--average-doubles", action="store_true", help="average rows of one energy")
    add("--at", metavar="VALUE", help="delay or temperature of the files, as 100ps or 60C, where"
        " they do not say it")
    share(raw, *MAP)
    add = parser.add_argument_group("treatment, in this order").add_argument
    add("--steps", type=Path,
        help="replay the treatment kept in a JSON file or in a treated XDI file")
    add("--preset", choices=("pump-probe", "thermal"),
        help="published recipes: pump-probe (minus --reference if given, over absolute area);"
        " thermal (baseline, over area, minus --reference, 3-point average)")
    add("--align", type=window, metavar="LOW:HIGH", help="undo the drift of the energies: bring all"
        " spectra without laser (or --align-by) to the first in this interval of an edge")
    add("--shift", type=quantity("energy"), help="calibration: add to every energy, as 0.3eV")
    add("--deglitch", type=window, nargs="+", default=(), metavar="LOW:HIGH", help="leave out the"
        " points of these intervals, as where the monochromator glitches")
    add("--crop", type=window, metavar="LOW:HIGH",
        help="keep this interval only, as 13.45keV:13.52keV")
    add("--rebin", type=quantity("energy"), help="average in bins of this width, as 0.5eV, onto its"
        " multiples: one grid for all scans")
    add("--robust", type=float, metavar="N", help="leave points out of the mean that miss the other"
        " repeats by N robust standard deviations")
    add("--pre-edge", type=window, metavar="LOW:HIGH",
        help="subtract the mean of this interval (thermal needs it)")
    add("--normalise", type=normalisation, choices=NORMALISATIONS, help="divide by this")
    add("--interval", type=window, metavar="LOW:HIGH",
        help="interval of the edge step or area (default: all)")
    add("--reference", nargs="+", metavar="FILE", default=(),
        help="scans to subtract, treated alike up to there")
    add("--adjacent", type=int, metavar="N",
        help="average each point with its neighbours, N in all")
    add("--factor", type=float, help="multiply by this, for display")


def read_measured(args: argparse.Namespace, combine: bool) -> Measured:
    """Return the scans of a command line, and the recipe it spells.

    Parameters
    ----------
    args
        With the reading and the treatment options, and ``files``.
    combine
        Whether the scans of one condition are repeats, to be averaged (a recipe from a file says
        it itself).
    """
    reading = reading_options(args)
    raw = Raw(**{f.name: getattr(args, f.name) for f in fields(Raw)})
    scans = read_scans(args.files, name_pattern=args.name_pattern, group=args.group, raw=raw,
                       **reading)
    references = read_scans(args.reference, raw=raw, **reading)
    warn((*scans, *references))
    choices = {"align_eV": args.align, "shift_eV": args.shift,
               "deglitch_eV": args.deglitch or None, "robust": args.robust, "crop_eV": args.crop,
               "rebin_eV": args.rebin,
               "pre_edge_eV": args.pre_edge, "normalise": args.normalise,
               "interval_eV": args.interval, "adjacent": args.adjacent, "factor": args.factor,
               "preset": args.preset}
    if args.steps is None:
        name = references[0].name if references else None
        said = {key: value for key, value in choices.items() if value is not None}
        return gather(scans, references, build_recipe(combine=combine, reference=name, **said))
    given = [k.removesuffix("_eV").replace("_", "-") for k, v in choices.items() if v is not None]
    require(not given, f"--steps says the whole treatment: leave out --{', --'.join(given)}")
    return gather(scans, references, read_steps(args.steps))
