"""``polaron treat``: average repeated scans, treat them, and keep a record of every step."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from perovskite_polaron.cli.options import add_treatment_arguments, emit, read_measured, share
from perovskite_polaron.cli.tables import Said, Table
from perovskite_polaron.errors import require
from perovskite_polaron.measured.recipe import COMBINE
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.measured.treated import flag_outliers, treat
from perovskite_polaron.measured.xdi import write_xdi


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add = parser.add_argument
    add("files", metavar="FILES", nargs="+", help="scans: XDI, text, CSV, HDF5, .prj; those of one"
        " delay and temperature are repeats and are averaged, with errors from their scatter")
    add("--out", type=Path, required=True,
        help="an .xdi file for one condition, or a folder for a series")
    add("--edge", metavar="ELEMENT-EDGE", help="as Br-K; for files that are not XDI")
    add("--each", action="store_true", help="average nothing: a file for each scan, as for the"
        " samples of an Athena project; --out is a folder")
    add("--outliers", type=float, default=5.0, metavar="N", help="flag points that miss the other"
        " repeats (a single scan: their neighbours) by N robust standard deviations (default: 5);"
        " nothing is removed")
    add_treatment_arguments(parser)
    add("--figure", type=Path, help="draw the treated spectra (.png or .svg)")
    share(parser, "--json")


def run(args: argparse.Namespace) -> None:
    """Read, treat, write and print.

    Examples
    --------
    polaron treat run*_100ps.dat --preset pump-probe --edge Br-K --out br_100ps.xdi
    polaron treat heated/*.xdi --preset thermal --pre-edge 13.44keV:13.46keV
        --reference heated/25C.xdi --out treated
    polaron treat run*_10ns.dat --steps br_100ps.xdi --edge Br-K --out br_10ns.xdi
    polaron treat run_*.asc --profile 7id.toml --on '*BoxcarON*' --off '*BoxcarOFF*'
        --align 13.46keV:13.485keV --out br_100ps.xdi
    polaron treat reference.prj --each --edge Cl-K --out references
    polaron treat next_*.asc --replay br_100ps.xdi --out br_1ns.xdi
    """
    require(not args.each or args.steps is None, "--steps and --replay say whether scans are"
            " averaged: leave out --each")
    require(args.outliers > 0, f"--outliers {args.outliers:g}: it must be positive")
    measured = read_measured(args, combine=not args.each)
    done = treat(measured, args.edge, args.read_by(args))
    flags = flag_outliers(measured, args.outliers)
    paths = _paths(args.out, [one.scan for one in done])
    for path, one in zip(paths, done, strict=True):
        write_xdi(path, one.record)
    if args.figure is not None:
        from perovskite_polaron.figures import measured as figures, style

        style.save(figures.draw_treated([one.scan for one in done]), args.figure)
    outputs = [
        {"path": path, "label": one.scan.label, "delay_ps": one.scan.delay_ps,
         "temperature_C": one.scan.temperature_C, "scans": len(one.group),
         "points": len(one.scan.energy_eV), "has_errors": one.scan.variance is not None,
         "errors_correlated": one.correlated, "reading": one.group[0].reading,
         "drifts_eV": [s.drift_eV for s in one.group if s.drift_eV is not None],
         **_of_mean(one.scan)}
        for path, one in zip(paths, done, strict=True)]
    steps = [step.as_dict() for step in measured.recipe.steps]
    flagged = [{"scan": scan, "energy_eV": energies} for scan, energies in flags.items()]
    record = {"outputs": outputs, "treatment": steps, "flagged": flagged}
    emit(args, record, _lines(record))


def _of_mean(scan: Scan) -> dict[str, Any]:
    """Return what the mean of repeats says of their scatter, or null."""
    said: dict[str, Any] = next((dict(s.parameters) for s in scan.history if s.name == COMBINE), {})
    return {name: said.get(name) for name in ("scatter_over_stated", "left_out")}


def _lines(record: dict[str, Any]) -> Iterator[Said]:
    outputs = record["outputs"]
    columns = {"written": "44s", "scans": "6d", "points": "8d", "delay (ps)": "12.4g",
               "T (C)": "8.4g"}
    names = ("scans", "points", "delay_ps", "temperature_C")
    yield Table(columns, [(str(r["path"]), *(r[n] for n in names)) for r in outputs])
    yield "steps: " + ("; ".join(map(_step_words, record["treatment"])) or "none")
    for row in outputs:
        if row["scatter_over_stated"] is not None:
            yield (f"{row['label']}: repeats scatter {row['scatter_over_stated']:.2f} times as much"
                   " as their own errors say; the errors written are those of the scatter")
        if row["left_out"]:
            yield f"{row['label']}: {row['left_out']} points left out of the mean"
        if row["drifts_eV"]:
            yield (f"{row['label']}: energies aligned by " + ", ".join(
                f"{d:.3f}" for d in row["drifts_eV"][:12]) + " eV")
    for one in record["flagged"]:
        energies = one["energy_eV"]
        more = " ... eV" if len(energies) > 8 else " eV"
        yield f"outliers? {one['scan']}: " + ", ".join(f"{e:g}" for e in energies[:8]) + more
    if not all(row["has_errors"] for row in outputs):
        yield ("No errors where there is a single scan without an error column: give repeats or"
               " error columns.")
    if any(row["errors_correlated"] for row in outputs):
        yield ("The treatment correlates the errors of the points; the file keeps their sizes only."
               " For C with the correlation, hand the raw scans and the same treatment (--combine"
               " --steps FILE) to polaron cparam.")


def _step_words(step: dict[str, Any]) -> str:
    given = {k: f"{v:g}" if isinstance(v, float) else v for k, v in step.items() if v is not None}
    name = given.pop("step")
    values = ", ".join(f"{k} {v}" for k, v in given.items())
    return f"{name} ({values})" if values else f"{name}"


def _paths(out: Path, scans: Sequence[Scan]) -> list[Path]:
    if out.suffix.lower() == ".xdi":
        require(len(scans) <= 1, f"--out {out}: the scans are of {len(scans)} conditions (delay,"
                " temperature, or column): give a folder")
        return [out]
    require(not out.suffix,
            f"--out {out}: results are written as XDI; end the name with .xdi, or name a folder")
    require(out.parent.is_dir(),
            f"--out {out}: the folder {out.parent} does not exist; create it first")
    out.mkdir(exist_ok=True)
    names = ["".join(c if c.isalnum() or c in "-_.+" else "_" for c in s.name) for s in scans]
    return [out / (f"{name}_{i}.xdi" if names.count(name) > 1 else f"{name}.xdi")
            for i, name in enumerate(names, start=1)]
