"""``polaron converge``: how far the difference moves with the settings of the engine."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

from perovskite_polaron.analysis.matched import read_matched
from perovskite_polaron.cli.launch import launch
from perovskite_polaron.cli.options import RUN_OPTIONS, emit, make_folder, share
from perovskite_polaron.cli.tables import Table
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.figures.spectra import draw_converge
from perovskite_polaron.figures.style import save
from perovskite_polaron.files import write_csv
from perovskite_polaron.spectra.budget import merged, read_budget, write_budget
from perovskite_polaron.workflow.converge import SETTINGS, SETTINGS_OF, converge
from perovskite_polaron.workflow.escalate import ESCALATED, Step, escalate, value_of
from perovskite_polaron.workflow.jobs import Job
from perovskite_polaron.workflow.spectra import load_results
from perovskite_polaron.workflow.steady_state import matched_settings
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.study import Study, need_single, read_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    add = parser.add_argument
    add("study", metavar="STUDY.toml", type=Path,
        help="study file with a reference and a distorted one")
    add("--cutoff", metavar="25Ry,30Ry,...", help="cut-offs of the wave functions, best last")
    add("--kpoints", metavar="1x1x1,2x2x2,...",
        help="k grids of the density, or spacings of k points as 0.4/A")
    add("--spectrum-kpoints", metavar="1x1x1,2x2x2,...", help="the same of the spectrum")
    add("--relative-error", metavar="0.05,0.01,...", help="at which the chains end")
    add("--supercell", metavar="1x1x1,2x1x1,...", help="repeats of the cell; k grids are divided")
    add("--absorber-sets", metavar="A.UPF:A-hole.UPF,...", help="pseudopotentials of the absorber,"
        " without and with the hole (such as with other second p projectors)")
    add("--r-paw", metavar="1,1.5,...",
        help="radius of XSpectra's spheres, in matching radii of the absorber's p projectors")
    add("--cut-above", metavar="0.1eV,0.3eV,...", help="where occupied states end, above the last")
    add("--cluster-radius", metavar="5A,6.5A,...", help="of FEFF's atoms that scatter")
    add("--scf-radius", metavar="4A,5A,...", help="of its self-consistent potentials")
    add("--l-max", metavar="2,3,...", help="of its waves")
    add("--exchange", metavar="dirac-hara,hedin-lundqvist,...", help="its self-energies")
    add("--lanczos", type=_steps, default=[], metavar="40,80,...",
        help="Lanczos steps, cut from the chains of the study itself")
    add("--tolerance", type=float, default=2.0, metavar="PERCENT",
        help="allowed change of the difference (default: 2)")
    add("--share", type=float, default=0.6, metavar="FRACTION", help="without a setting named: the"
        " sites and polarisations that are computed miss no more than the rest to one of the"
        " difference (default: 0.6)")
    add("--step", action="append", default=[], metavar="SETTING=VALUE", help="without a setting"
        " named: also a row of the error budget for this one value, as supercell=1x2x1 or"
        " r-paw=1; may be repeated")
    add("--out", metavar="DIR", type=Path,
        help="folder of table and figure (default: in the results)")
    share(parser, "--match", "--json", *RUN_OPTIONS)


def run(args: argparse.Namespace) -> None:
    """Compute what is missing, compare, and write convergence.csv and convergence.png.

    Without a setting it makes each setting better, the cheapest first, until the difference above
    the edge keeps the tolerance, and writes steps.csv and the error budget. That budget is for the
    widths of the study, or for those of a match, whichever is to be compared with a transient.

    Examples
    --------
    polaron converge study.toml  # which settings the study needs, and what they may still change
    polaron converge study.toml --step supercell=1x2x1  # and a cell twice as long along b
    polaron converge study.toml --match match.toml  # for polaron compare --match
    polaron converge study.toml --cutoff 25Ry,30Ry,35Ry --kpoints 1x1x1,2x2x1,3x3x2
    polaron converge feff.toml --cluster-radius 5A,6.5A,8A --scf-radius 4A,5A
    polaron converge study.toml --lanczos 40,80,120  # from the chains there are; computes nothing
    """
    study = read_study(args.study)
    need_single(study, "polaron converge")
    if args.match is not None:
        results, settings, _ = load_results(args.study)
        matched = matched_settings(results, settings, read_matched(args.match), str(args.match))
        study = replace(study, spectra=matched)
    asked = {s: v.split(",") for s in SETTINGS if (v := getattr(args, s.replace("-", "_")))}
    store = Store(study.store_folder)

    def execute(jobs: Sequence[Job]) -> None:
        launch(args, study.run, jobs, store)

    given = [(name, value) for name, _, value in (step.partition("=") for step in args.step)]
    odd = [name for name, value in given if name not in SETTINGS or not value]
    require(not odd, f"--step {', '.join(odd)}: write SETTING=VALUE with one of"
            f" {', '.join(SETTINGS_OF[study.engine.kind])}")
    if not asked and not args.lanczos:
        _escalate(args, study, given, store, execute)
        return
    require(not given, "--step goes with no other setting: it is for the error budget")
    moved = converge(study, asked, args.lanczos, store, execute)
    out = make_folder(args.out or store.root / "convergence")
    files = [write_csv(out / "convergence.csv", moved.table())]
    figure = draw_converge(moved.found, args.tolerance)
    files += [save(figure, out / f"convergence{suffix}") for suffix in (".png", ".svg")]
    advice = moved.recommendations(args.tolerance)
    columns = {"setting": "18s", "value": ">10s", "difference (%)": "16.2f",
               "spectrum (%)": "14.2f", "shift (eV)": "12.4f", "core-hours": "12.3f"}
    rows = [asdict(row) for row in moved.rows]
    record = {"rows": rows, "recommendation": advice, "files": files}
    emit(args, record, [Table(columns, [tuple(row.values()) for row in rows]), *advice])
    print(f"table and figure are in {out}", file=sys.stderr)


def _escalate(args: argparse.Namespace, study: Study, given: Sequence[tuple[str, str]],
              store: Store, execute: Callable[[Sequence[Job]], None]) -> None:
    """Make the settings better until the difference is stable; write the error budget."""
    found = escalate(study, store, execute, tolerance_percent=args.tolerance, share=args.share,
                     given=given, announce=lambda words: print(words, file=sys.stderr, flush=True))
    out = make_folder(args.out or store.root / "convergence")
    columns = [field.name for field in fields(Step)]
    files = [write_csv(out / "steps.csv", {c: [getattr(s, c) for s in found.steps]
                                           for c in columns})]
    files.append(write_budget(merged(read_budget(store.root), found.budget), store.root))
    needed = {setting: value_of(found.study, setting) for setting in ESCALATED[study.engine.kind]}
    changed = {s: v for s, v in needed.items() if v != value_of(study, s)}
    record = {"steps": found.steps, "converged": not changed, "needed": needed,
              "part": found.part.words(), "files": files}
    widths = {"setting": "18s", "from": ">10s", "to": ">10s", "above edge (%)": "16.2f",
              "all (%)": "10.2f", "spectrum (%)": "14.2f", "shift (eV)": "12.3f",
              "core-hours": "12.3f"}
    rows = [(s.setting, s.value, s.better, s.change_difference_percent, s.change_edge_percent,
             s.change_spectrum_percent, s.shift_eV, s.core_hours) for s in found.steps]
    advice = ("the study's settings keep the tolerance" if not changed else "needed: "
              + ", ".join(f"{s} {v}" for s, v in changed.items())
              + "; set them in the study and run it")
    emit(args, record, [Table(widths, rows), advice])


def _steps(text: str) -> list[int]:
    try:
        return [int(n) for n in text.split(",")]
    except ValueError:
        raise InputError(
            f"--lanczos {text} is not a list of whole numbers, such as 40,80,120") from None
