"""``polaron spectra``: aligned, averaged spectra of a study and their differences."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

EXAMPLE = (
    "  polaron spectra examples/cspbbr3.toml\n"
    "  polaron spectra examples/cspbbr3.toml --alignment fermi --out fermi-aligned\n"
    "  polaron spectra examples/cspbbr3-results        # results.json and chains.npz alone, without the calculations"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument(
        "source", metavar="STUDY.toml|FOLDER", help="study file, or a folder with results.json and chains.npz"
    )
    parser.add_argument(
        "--alignment", choices=("delta-scf", "fermi"), help="energy axis of the sites (default: the study's)"
    )
    parser.add_argument("--hwhm", metavar="1.26eV", help="core-hole half width (default: the study's)")
    parser.add_argument("--edge", metavar="13472eV", help="photon energy of the calculated zero, for the figure's axis")
    parser.add_argument(
        "--out", metavar="DIR", help="folder for tables and figures (default: spectra/ beside the results)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> None:
    """Write spectra.csv, differences.csv, sites.csv, shifts.csv and three figures, and print the shifts."""
    from dataclasses import replace

    from perovskite_polaron.figures.spectra import (
        write_alignment_figure,
        write_difference_figure,
        write_sites_figure,
    )
    from perovskite_polaron.units import parse_quantity
    from perovskite_polaron.workflow.spectra import (
        load_results, other_alignment, study_spectra, write_tables)

    edge = parse_quantity(args.edge, "energy") if args.edge else None
    results, settings, folder = load_results(Path(args.source))
    if args.alignment:
        settings = replace(settings, alignment=args.alignment)
    if args.hwhm:
        settings = replace(settings, core_hole_hwhm_eV=parse_quantity(args.hwhm, "energy"))
    spectra = study_spectra(results, settings)
    out = Path(args.out) if args.out else folder / "spectra"
    out.mkdir(parents=True, exist_ok=True)
    written = write_tables(spectra, out)
    other = other_alignment(results, settings)
    for suffix in (".png", ".svg"):
        written.append(write_difference_figure(spectra, out / f"difference{suffix}", edge))
        written.append(write_sites_figure(spectra, out / f"sites{suffix}"))
        if spectra.differences:
            written.append(write_alignment_figure(spectra, other, out / f"alignment{suffix}"))
    if args.json:
        print(
            json.dumps(
                {
                    "files": [str(p) for p in written],
                    "alignment": settings.alignment,
                    "reference": spectra.reference,
                    "shifts_eV": [
                        {"structure": s.structure, "absorber": s.absorber, "shift_eV": s.shift_eV, "caveat": s.caveat}
                        for s in spectra.shifts
                    ],
                }
            )
        )
        return
    print(f"alignment: {settings.alignment}; shifts of each site, relative to the mean edge of {spectra.reference}")
    for s in spectra.shifts:
        print(f"  {s.structure:20} {s.absorber:12} {s.shift_eV:+8.3f} eV   {s.caveat}")
    base = spectra.structures[spectra.reference].average.intensity.max()
    print("largest difference, in % of the reference's maximum, with this alignment and with the other")
    for name in spectra.differences:
        change = [
            100 * abs((o.structures[name].average - o.structures[o.reference].average).intensity).max() / base
            for o in (spectra, other)
        ]
        print(f"  {name:20} {change[0]:8.2f} {change[1]:8.2f}")
    print(f"tables and figures are in {out}")
