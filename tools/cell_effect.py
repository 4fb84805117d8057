"""How far a difference moves with the size of the cell, for the structures two studies share.

    python tools/cell_effect.py SMALL LARGE --out FIGURE.png --data TABLE.csv

SMALL and LARGE are folders with ``results.json``, as `polaron spectra` leaves them. Both are
evaluated with the [spectra] settings of LARGE. `polaron converge --supercell` does the same for one
study when both cells are still to be computed; this is for sets that are there already, and it
names the published features.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from perovskite_polaron.errors import InputError, PolaronError
from perovskite_polaron.figures.style import BLUE, ORANGE, panels, save
from perovskite_polaron.files import Column, write_csv
from perovskite_polaron.published_cspbbr3 import FEATURES
from perovskite_polaron.report.claims import feature_rows
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.workflow.converge import movements
from perovskite_polaron.workflow.results import StructureResult, StudyResults, read_results


def shared(results: StudyResults, other: StudyResults) -> StudyResults:
    """Return the results of the structures that the other study has too, under its names.

    The same structure is displaced as far, or has the same name and no displacement.
    """

    def key(one: StructureResult) -> str:
        return one.name if one.max_displacement_A is None else f"{one.max_displacement_A:.6f} Å"

    names = {key(s): s.name for s in other.structures}
    kept = tuple(replace(s, name=names[key(s)]) for s in results.structures if key(s) in names)
    chains = {name for s in kept for site in s.sites for name in site.chains.values()}
    return replace(results, structures=kept,
                   chains={n: c for n, c in results.chains.items() if n in chains})


def draw(subjects: Sequence[Subject], names: Sequence[str], cells: Sequence[str],
         path: Path) -> None:
    """Draw each difference in both cells from the first maximum; grey: the published features."""
    figure, found = panels(len(names), 1, (8.0, 3.2 * len(names)))
    for axes, name in zip(found, names, strict=True):
        for feature in FEATURES:
            if feature.structural:
                axes.axvline(feature.offset_eV, color="0.8", linewidth=4)
        for subject, cell, colour in zip(subjects, cells, (ORANGE, BLUE), strict=True):
            axes.plot(subject.energy_eV - subject.anchor_eV, subject.percent(name),
                      color=colour, label=cell)
        axes.axhline(0, color="0.6", linewidth=0.6)
        axes.set_xlabel("energy from the first maximum of the ground state (eV)")
        axes.set_ylabel(f"{name}: difference\n(% of the ground state's maximum)")
        axes.legend(frameon=False, title="supercell")
    save(figure, path)


def main() -> None:
    """Print the changes and the features in both cells; draw and write the differences."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("small", type=Path)
    parser.add_argument("large", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    both = [read_results(folder) for folder in (args.small, args.large)]
    both[0] = shared(both[0], both[1])
    names = {s.name for s in both[0].structures}
    if both[1].study.reference not in names or len(names) < 2:
        raise InputError(f"{args.small} and {args.large} share no structure beside a reference:"
                         " nothing to compare")
    both[1] = shared(both[1], both[0])
    settings = both[1].study.spectra
    both = [replace(one, study=replace(one.study, spectra=settings)) for one in both]
    subjects = [Subject(one, settings, folder, folder)
                for one, folder in zip(both, (args.small, args.large), strict=True)]
    study = subjects[1].study
    cells = ["x".join(map(str, s.study.structures[study.reference].supercell)) for s in subjects]
    rows, spectra = movements("supercell", cells, both, [None, None])
    moving = sorted(names - {study.reference})
    print(f"differences move by up to {rows[0].difference_percent:.1f} %,"
          f" the spectrum of {study.reference} by"
          f" {rows[0].spectrum_percent:.1f} %, shifts by up to {rows[0].shift_eV:.3f} eV")
    for name in moving:
        for cell, subject in zip(cells, subjects, strict=True):
            found = ", ".join(f"{f.feature.energy_eV / 1e3:g} keV {f.value:+.2f} ±"
                              f" {f.unconverged:.2f} % ({f.verdict})"
                              for f in feature_rows(subject, name))
            print(f"{name}, {cell}: {found}")
    draw(subjects, moving, cells, args.out)
    columns: dict[str, Column] = {"energy_eV": spectra[1].differences[moving[0]].energy_eV}
    for name in moving:
        columns |= {f"{name}, {cell}": one.differences[name].intensity
                    for cell, one in zip(cells, spectra, strict=True)}
    write_csv(args.data, columns)


if __name__ == "__main__":
    try:
        main()
    except PolaronError as error:
        sys.exit(f"error: {error}")
