"""``polaron treat``: average repeated scans, treat them, subtract a reference, and write what was done into the result."""

import argparse
import json
from pathlib import Path
from typing import Any

from perovskite_polaron.cli.treatment_options import add_reading_arguments, add_treatment_arguments, read_measured
from perovskite_polaron.errors import InputError
from perovskite_polaron.measured.recipe import format_steps
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.measured.treated import flag_outliers, treat
from perovskite_polaron.measured.xdi import write_xdi

EXAMPLE = """  polaron treat run*_100ps.dat --preset pump-probe --edge Br-K --out br_100ps.xdi
  polaron treat heated/*.xdi --preset thermal --pre-edge 13.44keV:13.46keV --reference heated/25C.xdi --out treated
  polaron treat run*_10ns.dat --steps br_100ps.xdi --edge Br-K --out br_10ns.xdi"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument(
        "files", metavar="FILES", nargs="+", help="scans: XDI, text, CSV, HDF5, .prj; those of one delay and temperature "
        "are repeats and are averaged, with errors from their scatter",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, required=True, help="an .xdi file for one condition, or a folder for a series"
    )
    parser.add_argument("--edge", metavar="ELEMENT-EDGE", help="as Br-K; for files that are not XDI")
    parser.add_argument(
        "--outliers", type=float, default=5.0, metavar="N",
        help="flag points that miss the other repeats (a single scan: their neighbours) by N robust standard deviations "
        "(default: 5); nothing is removed",
    )  # fmt: skip
    add_reading_arguments(parser)
    parser.add_argument("--figure", type=Path, help="draw the treated spectra (.png or .svg)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_treatment_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Read, treat, write and print."""
    if not args.outliers > 0:
        raise InputError(f"--outliers {args.outliers:g}: it must be positive")
    measured = read_measured(args, combine=True)
    done = treat(measured, args.edge)
    flags = flag_outliers(measured, args.outliers)
    paths = _paths(args.out, [treated.scan for treated in done])
    for path, treated in zip(paths, done, strict=True):
        write_xdi(path, treated.record)
    if args.figure is not None:
        from perovskite_polaron.figures.measured import write_treatment_figure

        write_treatment_figure([treated.scan for treated in done], args.figure)
    rows = [
        {
            "path": str(path), "label": t.scan.label, "delay_ps": t.scan.delay_ps,
            "temperature_C": t.scan.temperature_C, "scans": len(t.group), "points": len(t.scan.energy_eV),
            "has_errors": t.scan.variance is not None, "errors_correlated": t.correlated,
        }
        for path, t in zip(paths, done, strict=True)
    ]  # fmt: skip
    steps = json.loads(format_steps(measured.recipe.steps))
    if args.json:
        flagged = [{"scan": name, "energy_eV": energies} for name, energies in flags.items()]
        print(json.dumps({"outputs": rows, "treatment": steps, "flagged": flagged}))
    else:
        print(_table(rows, steps, flags))
    return 0


def _table(rows: list[dict[str, Any]], steps: list[dict[str, Any]], flags: dict[str, list[float]]) -> str:
    lines = [f"{'written':44s}{'scans':>6s}{'points':>8s}{'delay (ps)':>12s}{'T (C)':>8s}"]
    for row in rows:
        delay, temperature = ("-" if row[k] is None else f"{row[k]:.4g}" for k in ("delay_ps", "temperature_C"))
        lines.append(f"{row['path'][-43:]:44s}{row['scans']:6d}{row['points']:8d}{delay:>12s}{temperature:>8s}")
    lines.append("steps: " + ("; ".join(_step_words(step) for step in steps) or "none"))
    lines += [
        f"outliers? {name}: " + ", ".join(f"{e:g}" for e in energies[:8]) + (" ... eV" if len(energies) > 8 else " eV")
        for name, energies in flags.items()
    ]
    if not all(row["has_errors"] for row in rows):
        lines.append("No errors where there is a single scan without an error column: give repeats or error columns.")
    if any(row["errors_correlated"] for row in rows):
        lines.append(
            "The treatment correlates the errors of the points; the file keeps their sizes only. For C with the correlation, "
            "hand the raw scans and the same treatment (--combine --steps FILE) to polaron cparam."
        )
    return "\n".join(lines)


def _step_words(step: dict[str, Any]) -> str:
    values = ", ".join(f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in step.items()
                       if k != "step" and v is not None)  # fmt: skip
    return step["step"] + (f" ({values})" if values else "")


def _paths(out: Path, scans: list[Scan]) -> list[Path]:
    if out.suffix.lower() == ".xdi":
        if len(scans) > 1:
            raise InputError(
                f"--out {out}: the scans are of {len(scans)} conditions (delay, temperature, or column): give a folder"
            )
        return [out]
    if out.suffix:
        raise InputError(f"--out {out}: results are written as XDI; end the name with .xdi, or name a folder")
    if not out.parent.is_dir():
        raise InputError(f"--out {out}: the folder {out.parent} does not exist; create it first")
    out.mkdir(exist_ok=True)
    names = ["".join(c if c.isalnum() or c in "-_.+" else "_" for c in scan.name) for scan in scans]
    twice = {name for name in names if names.count(name) > 1}
    return [out / f"{name}_{i}.xdi" if name in twice else out / f"{name}.xdi" for i, name in enumerate(names, start=1)]
