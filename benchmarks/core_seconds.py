"""Core-seconds of one difference spectrum: the recipe of the nearest peer against this project's,
job by job.

    python benchmarks/core_seconds.py --store FOLDER                        # CsPbBr3, 20 atoms:
    hours on two cores python benchmarks/core_seconds.py --store FOLDER --study
    examples/converge.toml       # the 5-atom cell: minutes python benchmarks/core_seconds.py
    --store FOLDER --report-only          # the table of what is done so far

Both recipes run with the real pw.x and xspectra.x, on the same structures, pseudopotentials,
cut-offs, k grids and Lanczos settings. They can be stopped at any time and go on when called again.

The peer is aiida-qe-xspec 0.4.1 (workflows/protocols/xspectra/base.yaml, core.yaml, crystal.yaml)
on aiida-quantumespresso 5.1.0 (workflows/protocols/pw/base.yaml), protocol "balanced": every
symmetry-inequivalent absorber of every structure it is given (so both signs of the amplitude),
three polarisations, each cycle from free atoms with conv_thr = 0.2e-9 Ry per atom, xspectra.x on
all k points. Our cycles end at the study's own conv_thr_Ry. Both recipes run the study's Lanczos
settings: with the peer's own (xerror = 0.001 on a spectrum of xgamma = 0.5 eV from -10 to 30 eV)
the chains end so early that two difference spectra of the same structure are 22 % of their largest
value apart. Left out of the peer's bill, in its favour: forces and stress, which it computes in
every cycle; its default k grid (0.15/Å, which is 6 x 6 x 4 here). Its ground states are counted,
for without them no sites could be aligned.

Seconds are those the programs print as CPU, times the number of processes, so that a busy machine
does not change them.
"""

import argparse
import csv
import dataclasses
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from perovskite_polaron.lattice.files import write_crystal
from perovskite_polaron.phonons.distortion import distort
from perovskite_polaron.phonons.modes import read_modes
from perovskite_polaron.workflow.execute import run_jobs
from perovskite_polaron.workflow.jobs import Job, StructureJobs, plan, study_jobs
from perovskite_polaron.workflow.results import collect
from perovskite_polaron.workflow.spectra import study_spectra
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.structures import study_structures
from perovskite_polaron.workflow.study import (
    AMPLITUDES, StructureSettings, Study, read_study, resolved_toml)

ROOT = Path(__file__).parent.parent
CONV_THR_PER_ATOM_RY = 0.2e-9
REQUIRED = 2.5
CPU = re.compile(r"^\s*(?:PWSCF|xanes)\s*:\s*(.*?)\s*CPU", re.MULTILINE)


def recipes(study: Study, folder: Path, which: int) -> dict[str, Study]:
    """Return the peer's study and ours, written into the folder; the study gives structures and
    numerical settings.

    which: place of the amplitude in the study's sweep.
    """
    reference = study.structures[study.reference]
    name, swept = next((n, s) for n, s in study.structures.items() if s.modes)
    key = next(k for k in AMPLITUDES if getattr(swept, k) is not None)
    amplitude = getattr(swept, key)[which]
    base = next(s
                for s in study_structures(
                    dataclasses.replace(study, structures={study.reference: reference})))
    modes = [read_modes(study.file(source)) for source in swept.modes]
    folder.mkdir(parents=True, exist_ok=True)
    computed = {study.reference: reference}
    for sign, label in ((1, "plus"), (-1, "minus")):
        # As structures of their own: nobody is told that one is the image of the other.
        point = distort(base.crystal, modes, [sign * amplitude], unit=AMPLITUDES[key])[0]
        write_crystal(point.crystal, folder / f"{label}.extxyz")
        computed[label] = StructureSettings(str(folder / f"{label}.extxyz"), kpoints=swept.kpoints)
    tight = dataclasses.replace(study.pw, conv_thr_Ry=CONV_THR_PER_ATOM_RY * len(base.crystal))
    both = {name: dataclasses.replace(swept, **{key: (amplitude, -amplitude)})}
    absolute = {n: dataclasses.replace(s, modes=tuple(map(study.file, s.modes)))
                for n, s in both.items()}
    result = {}
    for recipe, structures, pw, reversal in (
        ("peer", computed, tight, False),
        ("ours", {study.reference: reference, **absolute}, study.pw, True),
    ):
        run = dataclasses.replace(study.run, store=recipe, time_reversal=reversal)
        path = folder / f"{recipe}.toml"
        one = dataclasses.replace(study, structures=structures, pw=pw, run=run, path=path)
        one.path.write_text(resolved_toml(one))
        result[recipe] = read_study(one.path)
    return result


def core_seconds(job: Job, store: Store) -> float | None:
    """Return what a finished job cost, CPU seconds as its program printed them times its processes;
    None if not done.
    """
    record = store.result(job)
    if record is None:
        return None
    words = CPU.findall((store.folder(job) / job.output_name).read_text())[-1]
    units = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
    return float(record["ranks"]
                 * sum(float(n) * units[u] for n, u in re.findall(r"([\d.]+)\s*([dhms])", words)))


def iterations_to(threshold_Ry: float, job: Job, store: Store) -> int:
    """Return after how many iterations a finished cycle was within a threshold."""
    output = (store.folder(job) / job.output_name).read_text()
    accuracies = [float(x) for x in re.findall(r"estimated scf accuracy\s*<\s*(\S+)", output)]
    # The printed digits may round the last one up to the threshold itself.
    return 1 + next((n for n, accuracy in enumerate(accuracies) if accuracy < threshold_Ry),
                    len(accuracies) - 1)


def table(
    plans: dict[str, tuple[StructureJobs, ...]], stores: dict[str, Store], threshold_Ry: float
) -> Iterator[dict[str, object]]:
    """Yield a row for each job: recipe, structure, kind, label, iterations (all, and to our
    threshold), core-seconds.
    """
    for recipe, structures in plans.items():
        for job in study_jobs(structures):
            record = stores[recipe].result(job) or {}
            structure = next(s.structure for s in structures if job in s.all())
            yield {"recipe": recipe, "structure": structure.name, "kind": job.kind,
                   "label": job.label,
                   "start": "neighbour" if record.get("started_from") else "atoms"
                   if job.kind != "xas" else "", "iterations": record.get("iterations", ""),
                   "to_threshold": iterations_to(threshold_Ry, job, stores[recipe]) if record
                   and job.kind != "xas" else "", "core_seconds": core_seconds(job, stores[recipe])}


def report(rows: list[dict[str, object]]) -> list[str]:
    """Return the comparison as Markdown: what each recipe spends on each kind of job, and where the
    saving comes from.
    """

    def total(recipe: str, *kinds: str, without: str = "") -> float:
        chosen = [r for r in rows if r["recipe"] == recipe and r["kind"] in kinds
                  and r["structure"] != without]
        return sum(float(r["core_seconds"]) for r in chosen)  # type: ignore[arg-type]

    def count(recipe: str, *kinds: str) -> int:
        return sum(r["recipe"] == recipe and r["kind"] in kinds for r in rows)

    every = ("ground", "hole", "xas")
    lines = ["| work | peer: jobs | core-s | ours: jobs | core-s |", "|---|---|---|---|---|"]
    for title, kinds in (("ground states", every[:1]), ("core holes", every[1:2]),
                         ("Lanczos runs", every[2:]), ("all", every)):
        cells = [f"{count(r, *kinds)} | {total(r, *kinds):.0f}" for r in ("peer", "ours")]
        lines.append(f"| {title} | {cells[0]} | {cells[1]} |")
    peer, ours = total("peer", *every), total("ours", *every)
    one_sign = total("peer", *every, without="minus")
    # A tighter threshold adds iterations at the end, all of about the same length.
    fields = ("core_seconds", "to_threshold", "iterations")
    tighter = [[float(r[k]) for k in fields]  # type: ignore[arg-type]
               for r in rows
               if r["recipe"] == "peer" and r["kind"] != "xas" and r["structure"] != "minus"]
    longer = sum(seconds * (1 - enough / all_) for seconds, enough, all_ in tighter)
    cycles = total("peer", *every[:2], without="minus") - longer - total("ours", *every[:2])
    lanczos = total("peer", "xas", without="minus") - total("ours", "xas")
    lines += ["", "| where it comes from | core-s saved | of the peer's |", "|---|---|---|",
              f"| -Q is the image of +Q | {peer - one_sign:.0f} |"
              f" {100 * (peer - one_sign) / peer:.0f} % |", "| threshold of the cycles: the"
              f" study's, not the peer's default | {longer:.0f} | {100 * longer / peer:.0f} % |",
              f"| cycles start from a neighbour | {cycles:.0f} | {100 * cycles / peer:.0f} % |",
              f"| k and -k have the same chains | {lanczos:.0f} | {100 * lanczos / peer:.0f} % |",
              f"| all | {peer - ours:.0f} | **{peer / ours:.2f} times fewer** (required:"
              f" {REQUIRED}) |"]
    return lines


def agreement(studies: dict[str, Study], plans: dict[str, tuple[StructureJobs, ...]],
              stores: dict[str, Store]) -> str:
    """Return how far the two recipes' difference spectra are apart, in % of the difference's
    largest value.
    """
    spectra = {r: study_spectra(collect(s, plans[r], stores[r]), s.spectra)
               for r, s in studies.items()}
    reference = studies["peer"].reference
    peer = np.mean([spectra["peer"].differences[name].intensity for name in ("plus", "minus")],
                   axis=0)
    ours = next(d.intensity for name, d in spectra["ours"].differences.items() if name != reference
                and np.any(d.intensity))
    energy_eV = spectra["peer"].differences["plus"].energy_eV
    apart = 100 * np.abs(ours - peer) / np.abs(peer).max()
    return (f"The difference spectra are equal within {apart.max():.2f} % of the largest value of"
            " the difference (required: 1 %), "
            f"from {energy_eV[0]:g} to {energy_eV[-1]:g} eV.")


def main() -> None:
    """Run what is missing, then write the table of jobs and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True, help="folder of both recipes' results")
    parser.add_argument("--study", type=Path, default=ROOT / "examples" / "cspbbr3.toml")
    parser.add_argument("--which", type=int, default=-1,
                        help="place of the amplitude in the sweep (default: the last)")
    parser.add_argument("--ranks", default="1", help="MPI processes of a job (default: 1)")
    parser.add_argument("--jobs", default="1", help="jobs at once (default: 1)")
    parser.add_argument("--out", type=Path, help="CSV of the jobs (default: in the store)")
    parser.add_argument("--report-only", action="store_true")
    args = parser.parse_args()
    studies = recipes(read_study(args.study), args.store.absolute(), args.which)
    plans = {recipe: plan(study) for recipe, study in studies.items()}
    stores = {recipe: Store(study.store_folder) for recipe, study in studies.items()}
    if not args.report_only:
        words = ["run", str(studies["ours"].path), "--ranks", args.ranks, "--jobs", args.jobs]
        subprocess.run([sys.executable, "-m", "perovskite_polaron.cli.main", *words], check=True)
        # The peer begins every cycle from free atoms.
        unseeded = [dataclasses.replace(job, initial=(), operation=None)
                    for job in study_jobs(plans["peer"])]
        run_jobs(unseeded, stores["peer"], ranks=int(args.ranks), jobs_at_once=int(args.jobs))
    rows = list(table(plans, stores, studies["ours"].pw.conv_thr_Ry))
    with open(args.out or args.store / "core-seconds.csv", "w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(row
                         | {"core_seconds": "" if (s := row["core_seconds"]) is None
                            else f"{s:.1f}"} for row in rows)
    missing = [f"{row['recipe']} {row['label']}" for row in rows if row["core_seconds"] is None]
    if missing:
        print(f"{len(missing)} of {len(rows)} jobs are not done yet: {', '.join(missing)}")
        return
    print("\n".join(report(rows)))
    print("\n" + agreement(studies, plans, stores))


if __name__ == "__main__":
    main()
