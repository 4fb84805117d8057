"""``polaron export``: a finished study for another group: spectra in one HDF5 file, and an archive to compute it again."""

import argparse
import json
from pathlib import Path

EXAMPLE = "  polaron export examples/cspbbr3.toml --out cspbbr3.h5 --archive cspbbr3.tar.gz"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("study", metavar="STUDY.toml", type=Path, help="study file")
    parser.add_argument("--out", metavar="FILE.h5", type=Path, required=True, help="HDF5 file (NeXus, NXxas)")
    parser.add_argument("--archive", metavar="FILE.tar.gz", type=Path, help="also pack what is needed to reproduce it")
    parser.add_argument("--overwrite", action="store_true", help="replace existing output files")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> None:
    """Gather, evaluate and write."""
    from perovskite_polaron.cli.structure import refuse_existing
    from perovskite_polaron.workflow.export import job_records, write_archive, write_hdf5
    from perovskite_polaron.workflow.jobs import plan, study_jobs
    from perovskite_polaron.workflow.results import collect
    from perovskite_polaron.workflow.spectra import study_spectra
    from perovskite_polaron.workflow.store import Store
    from perovskite_polaron.workflow.study import read_study

    refuse_existing([p for p in (args.out, args.archive) if p is not None], args.overwrite)
    study = read_study(args.study)
    structures = plan(study)
    store, jobs = Store(study.store_folder), study_jobs(structures)
    results = collect(study, structures, store)
    records = job_records(jobs, store)
    written = [write_hdf5(results, study_spectra(results, study.spectra), records, args.out)]
    if args.archive is not None:
        written.append(write_archive(study, jobs, store, args.archive))
    if args.json:
        print(json.dumps({"files": [str(p) for p in written], "jobs": len(jobs), "structures": len(structures)}))
        return
    for path in written:
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
