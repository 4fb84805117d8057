"""The verbs about a whole study: ``prepare``, ``run``, ``status``, ``gc`` and ``export``."""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from perovskite_polaron.cli.launch import finished_seconds, launch
from perovskite_polaron.cli.options import RUN_OPTIONS, Verb, count, emit, refuse_existing, share
from perovskite_polaron.cli.tables import Said, Table
from perovskite_polaron.errors import require
from perovskite_polaron.workflow.batches import run_until
from perovskite_polaron.workflow.export import job_records, write_archive, write_hdf5
from perovskite_polaron.workflow.jobs import plan, study_jobs
from perovskite_polaron.workflow.prepare import record_study, warnings, write_decks
from perovskite_polaron.workflow.results import collect
from perovskite_polaron.workflow.spectra import study_spectra
from perovskite_polaron.workflow.status import study_status
from perovskite_polaron.workflow.store import Store, find_garbage, remove
from perovskite_polaron.workflow.study import need_xspectra, read_study

# Jobs that polaron status lists without --all.
_LISTED = 40


def study_options(*names: str, **flags: str) -> Callable[[argparse.ArgumentParser], None]:
    """Return what declares STUDY.toml, switches (name -> help) and shared options."""

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("study", metavar="STUDY.toml", type=Path, help="study file")
        for name, words in flags.items():
            parser.add_argument(f"--{name.replace('_', '-')}", action="store_true", help=words)
        share(parser, *names)

    return add_arguments


def prepare(args: argparse.Namespace) -> None:
    """Write one folder per job and a script that runs them in order.

    Examples
    --------
    polaron prepare examples/cspbbr3.toml
    sh examples/cspbbr3-results/run-all.sh     # here or on another machine
    polaron run examples/cspbbr3.toml          # takes in what was run
    """
    study = read_study(args.study)
    need_xspectra(study, "polaron prepare")
    structures, store = plan(study), Store(study.store_folder)
    for line in warnings(study, structures):
        print(f"note: {line}", file=sys.stderr)
    record_study(study, structures, store)
    labels, script = list(write_decks(structures, store)), store.root / "run-all.sh"
    emit(args, {"jobs": labels, "folder": store.jobs_root, "script": script}, labels)
    print(f"decks are in {store.jobs_root}; run them with sh {script}", file=sys.stderr)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``polaron run``."""
    study_options(*RUN_OPTIONS, "--json", dry_run="list the jobs and what is already done, start"
                  " nothing")(parser)
    parser.add_argument("--tolerance", metavar="PERCENT", type=_percent, help="of studies with"
                        " ensembles: stop when the standard error of every difference is at most so"
                        " many %% of its largest value")
    parser.add_argument("--batch", metavar="N", type=partial(count, option="--batch"), default=8,
                        help="with --tolerance: snapshots between two looks (default %(default)s)")


def _percent(text: str) -> float:
    value = float(text)
    require(0 < value <= 100, f"--tolerance {text} is not between 0 and 100 %")
    return value


def run(args: argparse.Namespace) -> None:
    """Run the jobs that have no result yet; the same command resumes after any interruption.

    Examples
    --------
    polaron run examples/cspbbr3.toml
    polaron run examples/cspbbr3.toml --executor slurm.toml
    polaron run hot.toml --tolerance 10      # ensembles: until the differences are known to 10 %
    """
    study = read_study(args.study)
    structures, store = plan(study), Store(study.store_folder)
    jobs = study_jobs(structures)
    for line in warnings(study, structures):
        print(f"note: {line}", file=sys.stderr)
    done = finished_seconds(jobs, store)
    if args.dry_run:
        rows = [("done" if j.digest in done else "to do", j.kind, j.label) for j in jobs]
        record = {"jobs": [dict(zip(("state", "kind", "label"), row, strict=True)) for row in rows]}
        emit(args, record, Table({"": "7s", " ": "8s", "  ": "31s"}, rows))
        return
    record_study(study, structures, store)
    if args.tolerance is not None:
        enough = run_until(study, structures, store, args.tolerance, args.batch,
                           lambda part: launch(args, study.run, part, store),
                           lambda line: print(line, file=sys.stderr))
        words = "is reached" if enough else "is not reached with all snapshots: make more of them"
        emit(args, {"tolerance_percent": args.tolerance, "reached": enough, "folder": store.root},
             [f"the tolerance {words}"])
        print(f"next: polaron spectra {args.study}", file=sys.stderr)
        return
    launch(args, study.run, jobs, store, done)
    emit(args, {"jobs": len(jobs), "done_before": len(done), "folder": store.root},
         [f"results are in {store.root}"])
    print(f"all {len(jobs)} jobs are done; next: polaron spectra {args.study}", file=sys.stderr)


def status(args: argparse.Namespace) -> None:
    """Print the state of the jobs, from the store alone; Quantum ESPRESSO need not be installed.

    Examples
    --------
    polaron status examples/cspbbr3.toml
    polaron status examples/cspbbr3.toml --all
    """
    found = study_status(read_study(args.study))
    rows, left = found.rows, found.core_hours_left
    if not args.all and len(rows) > _LISTED:
        rows = [r for r in rows if r.state != "done"][:_LISTED]
    took = ("" if r.wall_seconds is None else f"{r.wall_seconds:.0f} s" for r in rows)
    columns = {"": "9s", " ": "8s", "  ": "31s", "   ": ">8s"}
    lines: list[Said] = [Table(columns, [(r.state, r.kind, r.label, time)
                                         for r, time in zip(rows, took, strict=True)])]
    if len(rows) < len(found.rows):
        lines.append(f"... {len(found.rows) - len(rows)} more; --all lists them")
    counts = ", ".join(f"{n} {state}" for state, n in found.count.items())
    spent = f"; {found.core_hours:.2f} core-hours spent"
    lines.append(counts + spent + ("" if left is None else f", about {left:.2f} left"))
    hours = {"core_hours": round(found.core_hours, 4),
             "core_hours_left": None if left is None else round(left, 4)}
    emit(args, {**found.count, **hours}, lines)


def collect_garbage(args: argparse.Namespace) -> None:
    """List, and remove when asked, unused densities and temporary files of killed runs.

    Examples
    --------
    polaron gc examples/cspbbr3.toml              # says how much
    polaron gc examples/cspbbr3.toml --delete
    """
    study = read_study(args.study)
    store = Store(study.store_folder)
    garbage = find_garbage(store, study_jobs(plan(study)))
    size = remove(store, garbage) if args.delete else sum(g.size_bytes for g in garbage)
    lines = [f"{g.size_bytes / 1e6:10.1f} MB  {g.path.relative_to(store.root)}: {g.why}"
             for g in garbage]
    lines.append(f"{size / 1e6:.1f} MB {'freed' if args.delete else 'can be freed: add --delete'}")
    emit(args, {"deleted": args.delete, "bytes": size, "paths": [g.path for g in garbage]}, lines)


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``polaron export``."""
    study_options()(parser)
    parser.add_argument("--out", metavar="FILE.h5", type=Path, required=True,
                        help="HDF5 file (NeXus, NXxas)")
    parser.add_argument("--archive", metavar="FILE.tar.gz", type=Path,
                        help="also pack what is needed to reproduce it")
    share(parser, "--overwrite", "--json")


def export(args: argparse.Namespace) -> None:
    """Gather, evaluate and write: for another group, and to compute it all again.

    Examples
    --------
    polaron export examples/cspbbr3.toml --out cspbbr3.h5 --archive cspbbr3.tar.gz
    """
    refuse_existing(args, args.out, args.archive)
    study = read_study(args.study)
    structures, store = plan(study), Store(study.store_folder)
    jobs = study_jobs(structures)
    results = collect(study, structures, store)
    spectra = study_spectra(results, study.spectra)
    written = [write_hdf5(results, spectra, job_records(jobs, store), args.out)]
    if args.archive is not None:
        written.append(write_archive(study, structures, store, args.archive))
    record = {"files": written, "jobs": len(jobs), "structures": len(structures)}
    emit(args, record, [f"{path}: {path.stat().st_size / 1e6:.2f} MB" for path in written])


VERBS = {
    "prepare": Verb(study_options("--json"), prepare),
    "run": Verb(add_run_arguments, run),
    "status": Verb(study_options("--json", all="list every job (default: at most 40, what is done"
                                 " last)"), status),
    "gc": Verb(study_options("--json", delete="remove it (default: say what would be removed)"),
               collect_garbage),
    "export": Verb(add_export_arguments, export)}
