"""What added carriers do to the potential of a core-hole spectrum: a check from first principles.

    python tools/screening_check.py examples/screening.toml --out TABLE.csv --figure FIGURE.png

The cubic crystal of five atoms with −δ, 0 and +δ electrons beside those of the insulator, with and
without the core hole. The states that are empty in the insulator are kept whole in every spectrum,
so that no state is blocked or opened: what changes is the potential, of the carriers themselves and
of all electrons that answer to them, and the total energies of both cells, which place the spectrum
on an absolute axis. To first order in δ the change by a pair is the sum of the changes by its
electron and its hole, and in that sum the uniform background of the charged cells cancels. Half of
δ tells how far the first order reaches.

Each cell has a hole and is full of carriers, they have all the time they want to gather around it,
and a shift has no dispersion: the change is what slow screening would do at most, in PBE.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.analysis.scenarios import ScenarioSet
from perovskite_polaron.errors import PolaronError
from perovskite_polaron.espresso.lanczos import evaluate
from perovskite_polaron.espresso.pw import PwCalculation
from perovskite_polaron.espresso.savefile import read_save
from perovskite_polaron.espresso.upf import Pseudopotential
from perovskite_polaron.espresso.xspectra import SAVE_FILE, XspectraCalculation
from perovskite_polaron.figures import style
from perovskite_polaron.files import csv_text, write_atomically
from perovskite_polaron.spectra.alignment import SiteEnergies, shifts
from perovskite_polaron.workflow.execute import Event, run_jobs
from perovskite_polaron.workflow.job import Job
from perovskite_polaron.workflow.jobs import plan
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.study import read_study

RANGE_EV = (-8.0, 30.0)
UNIT = "% of the maximum per 1e19 cm-3"


def charged(job: Job, charge: float) -> Job:
    """Return a job of pw.x with more charge (e), begun from the density of the neutral one."""
    calculation = job.calculation
    assert isinstance(calculation, PwCalculation)
    other = replace(calculation, charge=calculation.charge + charge,
                    electrons=calculation.electrons - charge)
    sets = {label: one for label, one in job.pseudos if isinstance(one, Pseudopotential)}
    made = Job.of(job.kind, f"{job.label}{-charge:+g}e", other, job.cost, job.kpoints, sets,
                  version=job.version)
    return replace(made, initial=(job,)) if charge else made


def absorption(job: Job, hole: Job) -> Job:
    """Return a job of xspectra.x in another density."""
    calculation, core = job.calculation, job.core
    assert isinstance(calculation, XspectraCalculation)
    assert isinstance(core, Pseudopotential)
    label = f"{hole.label}-{calculation.polarisation}"
    return Job.of("xas", label, replace(calculation, is_fixed=False), job.cost, job.kpoints,
                  core=core, parent=hole, version=job.version)


def draw(columns: dict[str, np.ndarray], share: float) -> Any:
    """Draw the neutral spectrum, and what carriers change in it."""
    x, *_ = columns.values()
    figure, (top, bottom) = style.panels(2, 1, (style.WIDTH_IN, 4.4), sharex=True)
    top.plot(x, columns["neutral"], color=style.INK)
    top.set_ylabel("absorption\n(first maximum = 1)")
    for word, colour in zip(("electron", "hole", "pair"), style.PALETTE, strict=False):
        for part, dash in ((share, "-"), (share / 2, "--")):
            bottom.plot(x, columns[f"{word} ({UNIT} at {part:g} per cell)"], dash, color=colour,
                        lw=1.3, label=word if part == share else None)
    style.zero_line(bottom)
    style.legend(bottom, ncols=3, loc="lower left", bbox_to_anchor=(0.0, 1.0), fontsize=8)
    bottom.set(xlabel="energy from the first maximum (eV)", ylabel="change (% of the\nmaximum per"
               " 10¹⁹ cm⁻³)")
    return figure


def _say(event: Event) -> None:
    if event.what != "running":
        print(event.what, event.job.label, flush=True)


def main() -> None:
    """Run the calculations and write the table."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="study of one structure with one absorber")
    parser.add_argument("--carriers", type=float, default=0.05, help="per cell, and half of them")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--figure", type=Path)
    args = parser.parse_args()
    study = read_study(args.study)
    (structure,) = plan(study)
    (site,) = structure.absorbers
    assert structure.ground is not None
    neutral, store, jobs = (structure.ground, site.hole), Store(study.store_folder), {}
    for electrons in (0.0, *(sign * args.carriers / n for n in (1, 2) for sign in (1, -1))):
        ground, hole = (charged(job, -electrons) for job in neutral)
        jobs[electrons] = ground, hole, [absorption(one, hole) for one in site.xas.values()]
    run_jobs([job for ground, hole, xas in jobs.values() for job in (ground, hole, *xas)], store,
             ranks=1, jobs_at_once=1, report=_say)

    records = {n: [store.result(job) or {} for job in (ground, hole)]
               for n, (ground, hole, _) in jobs.items()}
    gap = records[0.0][1]["lowest_empty_eV"] - records[0.0][1]["highest_occupied_eV"]
    grid = np.linspace(-20, 40, 301)

    saves = {n: [read_save(store.folder(job) / SAVE_FILE) for job in xas]
             for n, (_, _, xas) in jobs.items()}
    cell = tuple(map(tuple, structure.structure.crystal.lattice_A.tolist()))
    places = shifts([SiteEnergies(f"{n:g}", site.label, 1, "full", ground["total_energy_eV"],
                                  hole["total_energy_eV"], saves[n][0].fermi_energy_eV, cell_A=cell)
                     for n, (ground, hole) in records.items()], "0")
    shift = {n: place.shift_eV for n, place in zip(records, places, strict=True)}

    def spectrum(n: float) -> np.ndarray:
        """Into what is empty in the insulator, over energies from its Fermi level there."""
        fermi = records[n][1]["fermi_eV"]
        middle = (records[n][1]["highest_occupied_eV"] + gap / 2 if n == 0
                  else fermi - np.sign(n) * gap / 2)
        total = np.zeros_like(grid)
        for save in saves[n]:
            total += evaluate(save, grid - shift[n], study.spectra.core_hole_hwhm_eV,
                              cut_occupied=True, cut_smooth_eV=0,
                              cut_above_eV=middle - save.fermi_energy_eV,
                              terminator=study.xspectra.check_every,
                              taper=study.spectra.taper).total / len(saves[n])
        return total

    still = spectrum(0.0)
    first = int(np.abs(grid - ScenarioSet(grid, still, ()).first_maximum_eV).argmin())
    offset, slope = grid - grid[first], np.gradient(still, grid)
    inside = (offset >= RANGE_EV[0]) & (offset <= RANGE_EV[1])
    near = (offset >= RANGE_EV[0]) & (offset <= 1)
    per_19 = 1e-5 * structure.structure.crystal.volume_A3
    columns = {"from_first_maximum_eV": offset[inside].round(3),
               "neutral": (still[inside] / still[first]).round(6)}
    for share in (args.carriers, args.carriers / 2):
        change = {word: (spectrum(n) - still) / share
                  for word, n in (("electron", share), ("hole", -share))}
        change["pair"] = change["electron"] + change["hole"]
        for word, curve in change.items():
            moved, whole = (float(-curve[part] @ slope[part] / (slope[part] @ slope[part]))
                            for part in (near, inside))
            rest = curve[near] + moved * slope[near]
            alike = 1 - float(rest @ rest) / float(curve[near] @ curve[near])
            print(f"{share:g} per cell, {word}: edge moves {1e3 * moved * per_19:+.2f} meV per"
                  f" 1e19 cm-3 (up to the first maximum; {100 * alike:.0f} % of the change"
                  f" squared), the whole range {1e3 * whole * per_19:+.2f} meV")
            columns[f"{word} ({UNIT} at {share:g} per cell)"] = (
                (100 * per_19 * curve[inside] / still[first]).round(6))
    print(f"gap with the hole {gap:.2f} eV, 1e19 cm-3 = {per_19:.5f} per cell")
    write_atomically(args.out, csv_text(columns))
    if args.figure is not None:
        style.save(draw(columns, args.carriers), args.figure)


if __name__ == "__main__":
    try:
        main()
    except PolaronError as error:
        sys.exit(f"error: {error}")
