"""``polaron spectra``: aligned, averaged spectra of a study and their differences."""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from perovskite_polaron.analysis.matched import read_matched
from perovskite_polaron.cli.options import emit, make_folder, pick, quantity, share
from perovskite_polaron.cli.tables import Said, Table
from perovskite_polaron.errors import require
from perovskite_polaron.figures.spectra import (
    draw_alignment, draw_difference, draw_engines, draw_sites)
from perovskite_polaron.figures.style import save
from perovskite_polaron.workflow.control import controlled, write_controlled
from perovskite_polaron.workflow.engines import ENGINES, agreements
from perovskite_polaron.workflow.needed import coarser
from perovskite_polaron.workflow.results import StudyResults, write_results
from perovskite_polaron.workflow.spectra import (
    StudySpectra, calculation_error_percent, largest_percent, load_results, other_alignment,
    study_spectra, write_tables)
from perovskite_polaron.workflow.steady_state import matched_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    add = parser.add_argument
    add("source", metavar="STUDY.toml|FOLDER", type=Path,
        help="study file, or a folder with results.json and chains.npz")
    add("--alignment", choices=("delta-scf", "fermi"),
        help="energy axis of the sites (default: the study's)")
    add("--hwhm", metavar="1.26eV", type=quantity("energy"),
        help="core-hole half width (default: the study's)")
    share(parser, "--match")
    add("--edge", metavar="13472eV", type=quantity("energy"),
        help="photon energy of the calculated zero, for the figure's axis")
    add("--engines", metavar="OTHER", type=Path,
        help="study file or folder of the same structures from another engine: also say how far"
        " the differences disagree")
    add("--control", metavar="OTHER", type=Path,
        help="study file or folder of the same ensembles from a cheap engine, with more snapshots:"
        " its control variate for the differences over snapshots")
    add("--out", metavar="DIR", type=Path,
        help="folder for tables, figures and, of a study, results.json and chains.npz (default:"
        " the name of STUDY or FOLDER + -spectra)")
    share(parser, "--json")


def run(args: argparse.Namespace) -> None:
    """Write spectra, differences, sites and shifts as tables, and figures; print the shifts.

    Examples
    --------
    polaron spectra examples/cspbbr3.toml
    polaron spectra examples/cspbbr3.toml --alignment fermi --out fermi-aligned
    polaron spectra examples/cspbbr3.toml --match match.toml  # zero and widths of a measurement
    polaron spectra fermi-aligned --out again  # its results.json and chains.npz alone
    polaron spectra feff.toml --engines perovskite_polaron/data/cspbbr3
    """
    require(args.match is None or (args.hwhm is None and args.edge is None),
            "--match knows the zero and the widths: leave out --edge and --hwhm")
    results, settings, _ = load_results(args.source)
    if args.alignment:
        settings = replace(settings, alignment=args.alignment)
    if args.hwhm:
        settings = replace(settings, core_hole_hwhm_eV=args.hwhm)
    edge_eV = args.edge
    if args.match is not None:
        matched = read_matched(args.match)
        settings = matched_settings(results, settings, matched, str(args.match))
        edge_eV = matched.axis.e0_eV
    spectra, other = study_spectra(results, settings), other_alignment(results, settings)
    agreed, engines = [], [ENGINES[results.study.engine.kind]]
    if args.engines:
        beside, *_ = load_results(args.engines)
        agreed = agreements(results, beside)
        engines.append(ENGINES[beside.study.engine.kind])
    source = args.source.absolute()
    out = make_folder(args.out or source.with_name(f"{source.name.removesuffix('.toml')}-spectra"))
    written = write_tables(spectra, out)
    if not source.is_dir():
        written += write_results(results, out)
    corrected = []
    if args.control:
        corrected = controlled(results, load_results(args.control)[0])
        written.append(write_controlled(corrected, out))
    figures = {"difference": draw_difference(spectra, edge_eV)[0],
               "sites": draw_sites(spectra, edge_eV)}
    if spectra.differences:
        figures["alignment"] = draw_alignment(spectra, other, list(spectra.differences),
                                              edge_eV=edge_eV)
    if agreed:
        figures["engines"] = draw_engines(agreed, *engines)
    written += [save(figure, out / f"{name}{suffix}") for suffix in (".png", ".svg")
                for name, figure in figures.items()]
    mine, errors = largest_percent(spectra, spectra), calculation_error_percent(spectra)
    found = [{"name": name, "minus": spectra.base_of(name), "largest_percent": mine[name],
              "calculation_error_percent": errors[name], **_sampled(spectra, name)}
             for name in mine]
    coarse = coarser(results.study, {s.name: s.lattice_A for s in results.structures})
    record = {"files": written, "alignment": settings.alignment, "reference": spectra.reference,
              "differences": found, "warnings": coarse, "shifts_eV": [
                  pick(s, "structure", "absorber", "shift_eV", "caveat") for s in spectra.shifts]}
    if agreed:
        record["engines"] = [pick(a, "name", "correlation", "same_sign_percent", "ratio", "from_eV",
                                  "to_eV") for a in agreed]
    if corrected:
        record["control"] = [
            {**pick(c, "name", "minus", "snapshots", "more"), "coefficient": c.found.coefficient,
             "standard_error_percent": c.found.sigma.max(), "variance_saved": c.found.saved}
            for c in corrected]
    said = [*lines(spectra, other), *_of_snapshots(results, spectra)]
    if None in errors.values() and results.study.engine.kind == "xspectra":
        said.append("polaron converge estimates what the settings may still change")
    said += [f"note: {line}" for line in coarse]
    if agreed:
        said.append(f"beside {args.engines}, from {agreed[0].from_eV:g} to {agreed[0].to_eV:.0f}"
                     " eV above the first maximum")
        said.append(Table(
            {"difference": "22s", "correlation": "12.2f", "energies of one sign (%)": "26.0f",
             "ratio of sizes": "16.2f"},
            [(a.name, a.correlation, a.same_sign_percent, a.ratio) for a in agreed]))
    said += [f"with {args.control} as control variate: {c.name} minus {c.minus} from {c.snapshots}"
              f" snapshots of both and {c.more} more, standard error {c.found.sigma.max():.3f} %,"
              f" variance divided by {c.found.saved:.2f} (coefficient {c.found.coefficient:.2f})"
              for c in corrected]
    emit(args, record, [*said, f"tables and figures are in {out}"])


def lines(spectra: StudySpectra, other: StudySpectra | None = None) -> Iterator[Said]:
    """Return shifts and differences for people; other: the same with the other alignment."""
    yield (f"alignment: {spectra.settings.alignment}; shifts of each site, relative to the mean"
           f" edge of {spectra.reference}")
    if spectra.part:
        yield f"polarisation {spectra.part}: these are no powder averages"
    yield Table({"structure": "22s", "absorber": "13s", "shift (eV)": "+10.3f", "": "s"},
                [(s.structure, s.absorber, s.shift_eV, s.caveat) for s in spectra.shifts])
    also = [", standard error over snapshots"] * bool(spectra.errors)
    also += [", with the other alignment"] * bool(other)
    yield ("largest difference, in % of the reference's maximum: with this alignment, what the"
           f" settings may still change (1σ){''.join(also)}")
    errors = calculation_error_percent(spectra)
    said = {name: "not estimated" if e is None else f"±{e:.2f}" for name, e in errors.items()}
    columns = {"difference": "22s", "this alignment": "16.2f", "settings": ">15s"}
    mine = largest_percent(spectra, spectra)
    rows: list[tuple[Any, ...]] = [(name, mine[name], said[name]) for name in mine]
    if spectra.errors:
        columns["snapshots"] = ">12s"
        found = {name: spectra.error_percent(name) for name in mine}
        rows = [(*row, "-" if (e := found[row[0]]) is None else f"±{e.max():.2f}") for row in rows]
    if other:
        columns["other alignment"] = "16.2f"
        theirs = largest_percent(other, spectra)
        rows = [(*row, theirs[row[0]]) for row in rows]
    yield Table(columns, rows)


def _sampled(spectra: StudySpectra, name: str) -> dict[str, Any]:
    """The standard error of a difference over snapshots, for JSON; nothing without snapshots."""
    error, percent = spectra.errors.get(name), spectra.error_percent(name)
    if error is None or percent is None:
        return {}
    return {"standard_error_percent": float(percent.max()), "samples": error.samples,
            "effective_samples": error.effective, "paired": error.paired}


def _of_snapshots(results: StudyResults, spectra: StudySpectra) -> Iterator[Said]:
    hot = [one for one in results.structures if one.ensemble is not None]
    if not hot:
        return
    yield ("over snapshots: the largest standard error is 1σ in % of the reference's maximum;"
           " common: both structures have the same random numbers")
    rows = []
    for one in hot:
        assert one.ensemble is not None
        done, planned = len(one.samples), one.ensemble["snapshots"]
        part = f"{done} of {planned} snapshots" if done < planned else f"{done} snapshots"
        if one.name == spectra.reference:
            rows.append((one.name, "(the reference)", "", "", "", part))
            continue
        error, percent = spectra.errors.get(one.name), spectra.error_percent(one.name)
        if error is None or percent is None:
            rows.append((one.name, spectra.base_of(one.name), "too few", "", "", part))
            continue
        rows.append((one.name, spectra.base_of(one.name), f"{percent.max():.3f}",
                     f"{error.effective:.1f}", "yes" if error.paired else "no", part))
    yield Table({"difference": "22s", "from": "18s", "standard error": ">15s",
                 "independent": ">12s", "common": ">8s", "  of": "22s"},
                [(*row[:-1], f"  {row[-1]}") for row in rows])
