"""``polaron treat``: average repeated scans, treat them, subtract a reference, and write what was done into the result."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron import __version__
from perovskite_polaron.cli.treatment_options import add_reading_arguments, add_treatment_arguments, read_measured
from perovskite_polaron.errors import InputError
from perovskite_polaron.files import read_text
from perovskite_polaron.measured.recipe import FIELD, conditions, format_steps
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.measured.treatment import outliers_among
from perovskite_polaron.measured.xdi import XDI, parse_xdi, write_xdi

EXAMPLE = """  polaron treat run*_100ps.dat --preset pump-probe --edge Br-K --out br_100ps.xdi
  polaron treat heated/*.xdi --preset thermal --pre-edge 13.44keV:13.46keV --reference heated/25C.xdi --out treated
  polaron treat run*_10ns.dat --steps br_100ps.xdi --edge Br-K --out br_10ns.xdi"""
OWN = "polaron."


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
    done: list[tuple[Scan, tuple[Scan, ...]]] = []
    for group in measured.groups:
        treated = measured.recipe.apply(group, measured.references)
        done += [(scan, group if len(treated) == 1 else (group[i],)) for i, scan in enumerate(treated)]
    flags = {
        scan.source + ("" if scan.label == Path(scan.source).stem else f" ({scan.label})"): scan.energy_eV[
            flagged
        ].tolist()
        for group in (*measured.groups, *conditions(measured.references))
        for scan, flagged in zip(group, outliers_among(group, threshold=args.outliers), strict=True)
        if flagged.any()
    }
    paths = _paths(args.out, [scan for scan, _ in done])
    base = _header(args.files[0], args.edge)
    for path, (scan, group) in zip(paths, done, strict=True):
        write_xdi(path, _record(scan, group, measured.references, base))
    if args.figure is not None:
        from perovskite_polaron.figures.measured import write_treatment_figure

        write_treatment_figure([scan for scan, _ in done], args.figure)
    rows = [
        {
            "path": str(path), "label": scan.label, "delay_ps": scan.delay_ps, "temperature_C": scan.temperature_C,
            "scans": len(group), "points": len(scan.energy_eV), "has_errors": scan.variance is not None,
            "errors_correlated": _correlated(scan),
        }
        for path, (scan, group) in zip(paths, done, strict=True)
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


def _header(first: str, edge: str | None) -> XDI:
    """Return the record whose header the results inherit: that of the first file if it is XDI, else a minimal one."""
    columns = np.zeros((2, 2))
    text = "" if Path(first).suffix.lower() in (".prj", ".h5", ".hdf5", ".hdf", ".nxs") else read_text(first, "scan")
    if text.startswith("# XDI/"):
        record = parse_xdi(text, first)
        fields = dict(record.fields)
        if edge is not None:
            fields = {k: v for k, v in fields.items() if k.lower() not in ("element.symbol", "element.edge")}
            fields |= _element(edge)
        return XDI(columns, ("energy", "signal"), ("eV", ""), fields, record.comments, record.applications)
    if edge is None:
        raise InputError(f"{first} does not say which edge it is, and XDI must: give it, as --edge Br-K")
    return XDI(columns, ("energy", "signal"), ("eV", ""), _element(edge))


def _element(edge: str) -> dict[str, str]:
    symbol, dash, name = edge.partition("-")
    if not dash:
        raise InputError(f"--edge {edge}: write element and edge with a hyphen, as Br-K or Pb-L3")
    return {"Element.symbol": symbol, "Element.edge": name}


def _record(scan: Scan, group: tuple[Scan, ...], references: tuple[Scan, ...], base: XDI) -> XDI:
    fields = {key: value for key, value in base.fields.items() if not key.lower().startswith(OWN)}
    if scan.temperature_C is not None:
        fields = {key: value for key, value in fields.items() if key.lower() != "sample.temperature"}
        fields["Sample.temperature"] = f"{_plain(scan.temperature_C)} C"
    if scan.delay_ps is not None:
        fields["Polaron.delay"] = f"{_plain(scan.delay_ps)} ps"
    fields["Polaron.scans"] = str(len(group))
    fields["Polaron.sources"] = _listed(group)
    if references:
        fields["Polaron.reference"] = _listed(references)
    if earlier := base.get(FIELD):
        fields["Polaron.source_treatment"] = earlier
    fields[FIELD] = format_steps(scan.history)
    columns, labels = [scan.energy_eV, scan.intensity], ["energy", "signal"]
    if scan.error is not None and (scan.error > 0).all():
        columns.append(scan.error)
        labels.append("signal_error")
    program = f"perovskite-polaron/{__version__}"
    applications = (*(a for a in base.applications if not a.startswith("perovskite-polaron/")), program)
    return XDI(np.array(columns), tuple(labels), ("eV", *[""] * (len(labels) - 1)), fields, base.comments, applications)


def _listed(scans: tuple[Scan, ...]) -> str:
    return ", ".join(dict.fromkeys(Path(scan.source).name for scan in scans))


def _plain(value: float) -> str:
    return np.format_float_positional(value, trim="-")


def _correlated(scan: Scan) -> bool:
    covariance = scan.variance
    return covariance is not None and covariance.ndim == 2 and bool(np.any(covariance - np.diag(np.diag(covariance))))
