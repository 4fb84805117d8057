"""The crystals of tests/data/crystals: the patterns they are displaced along, and what they gave.

    python tools/crystals.py patterns tests/data/crystals   # write the mode files
    polaron run tests/data/crystals/zno.toml                # ... every study
    python tools/crystals.py record tests/data/crystals --figure docs/crystals.png

A pattern moves sublattices against each other, rigidly, with the centre of mass at rest. It is no
eigenvector and has no energy. ``record`` keeps of each study that was run its curves at every half
eV (``NAME.csv``), and of all of them one table with versions and dates (``record.json``).
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.figures import style
from perovskite_polaron.files import csv_text, write_atomically
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.lattice.symmetry import primitive
from perovskite_polaron.phonons.modes import Modes, write_modes
from perovskite_polaron.workflow.spectra import load_results, study_spectra

# Crystal -> two sublattices, and the axis that they move along; None: one towards the other.
PATTERNS: dict[str, tuple[str, str, int | None]] = {
    "srtio3": ("Ti", "O", 2), "anatase": ("Ti", "O", 2), "zno": ("Zn", "O", 2),
    "nio": ("Ni", "O", 2), "cspbi3": ("Pb", "I", 2), "cssnbr3": ("Sn", "Br", 2),
    "mapbbr3": ("Pb", "Br", 1), "cs2agbibr6": ("Br", "Bi", None), "cspbbr2cl": ("Pb", "Br Cl", 2)}
# What the field writes otherwise than the reduced formula, metals first.
USUAL = {"AgBiCs2Br6": "Cs2AgBiBr6", "PbBr3CH6N": "CH3NH3PbBr3"}
ENERGIES_EV = np.linspace(-10, 60, 141)


def pattern(crystal: Crystal, first: str, second: str, axis: int | None) -> Array:
    """Return displacements (n, 3) of two sublattices, in any scale."""
    moved, masses = np.zeros((len(crystal), 3)), crystal.masses_amu
    one, other = (np.isin(crystal.species, names.split()) for names in (first, second))
    if axis is None:
        for atom in np.flatnonzero(one):
            apart = crystal.positions[other] - crystal.positions[atom]
            apart = (apart - np.rint(apart)) @ crystal.lattice_A
            moved[atom] = apart[np.linalg.norm(apart, axis=1).argmin()]
    else:
        moved[one, axis] = 1 / masses[one].sum()
        moved[other, axis] = -1 / masses[other].sum()
    return moved


def write_patterns(folder: Path) -> None:
    """Write the mode file of each crystal beside it."""
    for name, (first, second, axis) in PATTERNS.items():
        crystal = primitive(read_crystal(folder / f"{name}.cif"))
        words = (f"{first} towards {second}" if axis is None else
                 f"{first} against {second.replace(' ', ' and ')} along {'abc'[axis]}")
        made = Modes(crystal, crystal.masses_amu, [0.0],  # type: ignore[arg-type]
                     pattern(crystal, first, second, axis)[None], names=[words],
                     provenance="A pattern of rigid sublattices, centre of mass at rest; no"
                     " eigenvector of the crystal, and without an energy")
        print(write_modes(made, folder / f"{name}.json"), words)


def record(study: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return what a study gave: numbers, and curves over ENERGIES_EV."""
    results, settings, _ = load_results(study)
    spectra = study_spectra(results, settings)
    ground = spectra.structures[spectra.reference].average
    top = float(ground.intensity.max())
    curves = {"energy (eV)": ENERGIES_EV,
              f"{spectra.reference} (maximum = 1)": np.interp(
                  ENERGIES_EV, ground.energy_eV, ground.intensity / top).round(5)}
    found = []
    for name, change in spectra.differences.items():
        percent = spectra.percent(name)
        k = int(np.abs(percent).argmax())
        found.append({"name": name, "largest_percent": round(float(percent[k]), 4),
                      "at_eV": round(float(change.energy_eV[k]), 2)})
        curves[f"{name} (% of the maximum)"] = np.interp(
            ENERGIES_EV, change.energy_eV, percent).round(5)
    *small, large = (spectra.percent(name) for name in spectra.differences)
    jobs = [json.loads(path.read_text())
            for path in sorted(results.study.store_folder.glob("jobs/*/result.json"))]
    scattering = [job for job in jobs if job["kind"] == "absorption"]
    formula = read_crystal(
        study.parent / str(results.study.structures[spectra.reference].crystal)).formula
    return {
        "study": study.stem, "formula": USUAL.get(formula, formula),
        "element": results.study.element, "edge": results.study.edge,
        "space_groups": [one.space_group for one in results.structures],
        "absorbers": {one.name: ", ".join(f"{site.multiplicity} × {site.site}"
                                          for site in one.sites) for one in results.structures},
        "atoms": max(job["atoms"] for job in scattering), "maximum_at_eV": round(
            float(ground.energy_eV[ground.intensity.argmax()]), 2),
        "differences": found,
        "large_over_small": (round(float(small[0] @ large / (small[0] @ small[0])), 3) if small
                             else None),
        "versions": sorted({job["program_version"] for job in jobs}),
        "finished": max(job["finished"] for job in jobs)[:10]}, curves


def row(one: dict[str, Any]) -> str:
    """Return the line of a study in the table of docs/crystals.md."""
    first, *_, last = one["absorbers"].values()
    change, ratio = one["differences"][-1], one["large_over_small"]
    return " | ".join([
        f"| {one['formula']}", f"{one['element']} {one['edge']}", str(one["atoms"]),
        " → ".join(dict.fromkeys(one["space_groups"])), f"{first} → {last}",
        f"{change['largest_percent']:+.2f} at {change['at_eV']:.1f}".replace("-", "−"),
        f"{ratio:.2f} |" if ratio else "– |"])


def draw(records: list[dict[str, Any]], curves: list[dict[str, Array]]) -> Any:
    """Draw the ground state and the larger difference of each study, a panel each."""
    rows = -(-len(records) // 2)
    figure, panels = style.panels(rows, 2, (7.0, 1.9 * rows), sharex=True)
    for axes, one, columns in zip(panels, records, curves, strict=False):
        x, ground, *changes = columns.values()
        scale = abs(one["differences"][-1]["largest_percent"])
        axes.plot(x, ground, color=style.GREY, lw=1)
        axes.plot(x, changes[-1] / scale * 0.45 - 0.6, color=style.ORANGE, lw=1.2)
        axes.axhline(-0.6, color="0.8", lw=0.6, zorder=0)
        axes.set_title(f"{one['formula']}, {one['element']} {one['edge']}: {scale:.1f} %",
                       fontsize=9)
        axes.set_yticks([])
    for axes in panels[len(records):]:
        axes.remove()
    figure.supxlabel("energy (eV)", fontsize=9)
    return figure


def main() -> None:
    """Write mode files, or the record and its figure."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("patterns", "record"))
    parser.add_argument("folder", type=Path, help="of the CIFs, or of the studies that were run")
    parser.add_argument("--out", type=Path, help="folder of the record (default: the same)")
    parser.add_argument("--figure", type=Path)
    args = parser.parse_args()
    if args.what == "patterns":
        write_patterns(args.folder)
        return
    out = args.out or args.folder
    found = [record(study) for study in sorted(args.folder.glob("*.toml"))]
    for one, columns in found:
        write_atomically(out / f"{one['study']}.csv",
                         csv_text(columns))  # type: ignore[arg-type]
    write_atomically(out / "record.json",
                     json.dumps([one for one, _ in found], indent=1, ensure_ascii=False) + "\n")
    print("\n".join(row(one) for one, _ in found))
    if args.figure:
        style.save(draw(*map(list, zip(*found, strict=True))), args.figure)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
