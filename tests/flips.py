"""Change one byte of a store after the other, and see what every reading command makes of it.

    python tests/flips.py --flips 500

A study is computed once with the real programs (or taken with --study). Each flip changes one bit
of a file of it, of every kind, at random places. Then all that reads a store is asked, and must say
what it said before, or refuse in one line, or count the job as not done. Prints a table; status 1
if a number changed, or anything else was raised. With --verbs whole command lines are run, figures
and reports included, which takes a minute each.
"""

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
from conftest import polaron, write_tiny_study

from perovskite_polaron.cli.launch import finished_seconds
from perovskite_polaron.cli.main import main as command
from perovskite_polaron.errors import PolaronError
from perovskite_polaron.espresso.program import program_version
from perovskite_polaron.espresso.projwfc import PROJECTIONS, Projections, write_projections
from perovskite_polaron.espresso.pseudo import make_pseudo
from perovskite_polaron.files import sha256_of
from perovskite_polaron.spectra.projected import band_edges, read_states, write_states
from perovskite_polaron.workflow.export import job_files, job_records, write_archive
from perovskite_polaron.workflow.jobs import plan, study_jobs
from perovskite_polaron.workflow.pdos import collect_pdos, plan_pdos, subject_of_study
from perovskite_polaron.workflow.results import collect, read_results, write_results
from perovskite_polaron.workflow.spectra import study_spectra
from perovskite_polaron.workflow.status import study_status, write_plan
from perovskite_polaron.workflow.store import Store, find_garbage
from perovskite_polaron.workflow.study import Study, read_study

STORE = "tiny-results"
# Kind of file -> where it lies below the study's folder, and the looks that it can change beside
# those that are always made.
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "record of pw.x": (f"{STORE}/jobs/hole-*/result.json", ()),
    "record of xspectra.x": (f"{STORE}/jobs/xas-*/result.json", ()),
    "record of projwfc.x": (f"{STORE}/jobs/pdos-*/result.json", ()),
    "chain": (f"{STORE}/jobs/xas-*/chain.sav", ()),
    "projections": (f"{STORE}/jobs/pdos-*/projections.npz", ()),
    "plan": (f"{STORE}/plan-*.json", ()),
    "description": (f"{STORE}/jobs/*/job.toml", ("texts",)),
    "input": (f"{STORE}/jobs/*/*.in", ("texts",)),
    "output": (f"{STORE}/jobs/*/*.out", ("texts",)),
    "results.json": ("out/results.json", ("travelled",)),
    "chains.npz": ("out/chains.npz", ("travelled",)),
    "pdos.npz": ("out/pdos.npz", ("drawn_again",)),
    "inputs.json": (f"{STORE}/inputs.json", ("export", "plan_without_programs")),
    "study as resolved": (f"{STORE}/study.toml", ("export",)),
    "structure": (f"{STORE}/structures/*", ("export",)),
    "core orbital": (f"{STORE}/pseudo/*.wfc", ("used",)),
    "pseudopotential": (f"{STORE}/pseudo/*.UPF", ("used", "export", "plan_without_programs")),
    "set in the cache": ("cache/pseudo/*.UPF", ("plan_with_programs",)),
    "its digest": ("cache/pseudo/*.sha256", ("plan_with_programs",))}
ALWAYS = ("status", "dry_run", "garbage", "spectra", "pdos")
# Kinds whose looks take no time come three times as often.
ORDER = [*list(KINDS)[:12] * 3, *list(KINDS)[12:]]
PDOS_KPOINTS = (2, 2, 2)


def prepare(study: Path) -> None:
    """Complete a computed study with what travels, and a cache of its own."""
    os.environ["POLARON_CACHE"] = str(study.parent / "cache")
    for element, hole in (("Br", "none"), ("Br", "full"), ("Cs", "none"), ("Pb", "none")):
        make_pseudo(element, hole)
    settings = read_study(study)
    structures, store = plan(settings), Store(settings.store_folder)
    write_plan(settings, study_jobs(structures), store)
    _project(settings, store)
    (study.parent / "out").mkdir(exist_ok=True)
    write_results(collect(settings, structures, store), study.parent / "out")
    subject = subject_of_study(settings, None)
    states, record = collect_pdos(subject, plan_pdos(subject, PDOS_KPOINTS), store)
    write_states(study.parent / "out" / "pdos.npz", states, record)


def _project(study: Study, store: Store) -> None:
    """Store projections as projwfc.x leaves them, of random shares."""
    subject = subject_of_study(study, None)
    jobs = plan_pdos(subject, PDOS_KPOINTS)
    rng = np.random.default_rng(1)
    places = [(a, shell.index) for a, name in enumerate(subject.crystal.species)
              for shell in subject.sets[name].atomic_shells if shell.occupation >= 0]
    atom, shell = np.array(places).T
    energies = np.sort(rng.normal(size=(4, jobs.count)), axis=1)
    energies[:, round(subject.electrons / 2) :] += 9
    shares = rng.random((4, jobs.count, len(places)))
    shares /= shares.sum(axis=2, keepdims=True)
    raw = Projections(energies, np.eye(4, 3) / 2, np.full(4, 0.25), shares, atom, shell,
                      subject.electrons, 0.0, np.zeros(4), 0.0)
    for job in (jobs.bands, jobs.pdos):
        folder = store.prepare(job)
        (folder / job.output_name).write_text("JOB DONE")
        path = write_projections(folder / PROJECTIONS, raw)
        store.complete(job, {"digest": job.digest, "wall_seconds": 1.5,
                             "projections_sha256": sha256_of(path)})


class Looks:
    """All that reads a store, as functions that return what they found, to be compared."""

    def __init__(self, study: Path) -> None:
        self.path, self.folder = study, study.parent
        self.study = read_study(study)
        self.structures = plan(self.study)
        self.jobs = study_jobs(self.structures)
        self.subject = subject_of_study(self.study, None)
        self.pdos_jobs = plan_pdos(self.subject, PDOS_KPOINTS)
        self.settings = replace(self.study.spectra, points=40)
        self.users = [next(j for j in self.jobs if j.kind == kind) for kind in ("hole", "xas")]

    @property
    def store(self) -> Store:
        return Store(self.study.store_folder)

    def status(self) -> dict[str, object]:
        rows = study_status(self.study).rows
        return {row.label + row.kind: row.wall_seconds for row in rows if row.state == "done"}

    def dry_run(self) -> dict[str, object]:
        return dict(finished_seconds(self.jobs, self.store))

    def garbage(self) -> dict[str, object]:
        return {str(one.path): one.size_bytes for one in find_garbage(self.store, self.jobs)}

    def spectra(self) -> bytes:
        return self._curves(collect(self.study, self.structures, self.store))

    def travelled(self) -> bytes:
        return self._curves(read_results(self.folder / "out"))

    def _curves(self, results: object) -> bytes:
        found = study_spectra(results, self.settings)  # type: ignore[arg-type]
        curves = [one.average.intensity for one in found.structures.values()]
        return np.array([*curves, *(d.intensity for d in found.differences.values())]).tobytes()

    def pdos(self) -> bytes:
        states, record = collect_pdos(self.subject, self.pdos_jobs, self.store)
        return states.shares.tobytes() + states.energies_eV.tobytes() + json.dumps(record).encode()

    def drawn_again(self) -> str:
        states, record = read_states(self.folder / "out" / "pdos.npz")
        return repr(band_edges(states)) + json.dumps(record) + str(states.shares.tobytes())

    def export(self) -> bytes:
        text = json.dumps(job_records(self.jobs, self.store)).encode()
        with tempfile.TemporaryDirectory() as name:
            quick = partial(tarfile.open, compresslevel=0)
            with mock.patch("perovskite_polaron.workflow.export.tarfile.open", quick):
                path = write_archive(self.study, self.structures, self.store, Path(name) / "a.tar")
            with tarfile.open(path) as tar:
                assert all(one.isfile() or one.isdir() for one in tar)
                for one in sorted(tar.getnames()):
                    member = tar.extractfile(one) if tar.getmember(one).isfile() else None
                    text += one.encode() + (member.read() if member else b"")
        return text

    def texts(self) -> bytes:
        """What the archive holds of the jobs."""
        store = self.store
        return b"".join(f.read_bytes() for job in self.jobs for f in job_files(job, store))

    def plan_without_programs(self) -> list[str]:
        before = os.environ.get("POLARON_ESPRESSO_BIN")
        os.environ["POLARON_ESPRESSO_BIN"] = str(self.folder / "nowhere")
        program_version.cache_clear()
        try:
            return [job.digest for job in study_jobs(plan(self.study))]
        finally:
            os.environ.pop("POLARON_ESPRESSO_BIN")
            if before is not None:
                os.environ["POLARON_ESPRESSO_BIN"] = before

    def plan_with_programs(self) -> list[str]:
        return [job.digest for job in study_jobs(plan(self.study))]

    def used(self) -> bytes:
        """What the programs are given: pseudopotentials and the core orbital."""
        text = b""
        for job in self.users:
            folder = self.store.prepare(job)
            for path in sorted([*folder.glob("pseudo/*"), *folder.glob("core.wfc")]):
                text += path.read_bytes()
        return text


def verbs(study: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the command lines that read a study, as functions that return what they wrote."""
    words = {
        "status": "status S --json --all", "gc": "gc S --json",
        "spectra": "spectra S --out o", "report": "report S --out o",
        "export": "export S --out o.h5 --archive o.tgz --overwrite",
        "spectra FOLDER": "spectra out --out o", "pdos FILE": "pdos out/pdos.npz --out o",
        # The last: they compute again what is damaged.
        "pdos": "pdos S --kpoints 2x2x2 --out o", "converge": "converge S --lanczos 40,60 --out o",
        "run": "run S --ranks 1"}
    for name, line in words.items():
        yield f"polaron {name}", partial(
            _run, [str(study) if w == "S" else w for w in line.split()], study)


class Repaired(PolaronError):
    """A command said that a job is damaged, computed it again, and went on."""


def _run(words: list[str], study: Path) -> dict[str, bytes]:
    out, errors = io.StringIO(), io.StringIO()
    shutil.rmtree(study.parent / "o", ignore_errors=True)
    with (contextlib.chdir(study.parent), contextlib.redirect_stdout(out),
          contextlib.redirect_stderr(errors), warnings.catch_warnings()):
        warnings.simplefilter("always")  # a user sees them, too
        status = command(words)
    if status:
        raise PolaronError(errors.getvalue().strip().splitlines()[-1])
    if words[0] in ("pdos", "converge", "run") and "polaron run computes" in errors.getvalue():
        raise Repaired("computed again")
    tables = sorted(study.parent.glob("o/**/*.csv"))
    return {path.name: path.read_bytes() for path in tables}


def flip(path: Path, at: int, bit: int) -> None:
    """Change one bit of a file in place: all hard links to it see it."""
    mode = path.stat().st_mode
    path.chmod(0o644)
    with open(path, "r+b") as handle:
        handle.seek(at)
        old = handle.read(1)[0]
        handle.seek(at)
        handle.write(bytes([old ^ (1 << bit)]))
    path.chmod(mode)


def judge(look: Callable[[], object], before: object) -> str:
    """Return what a look at a changed store came to: same, less (jobs are not done), refused; or
    what is wrong with it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            now = look()
    except PolaronError as error:
        return "refused" if "\n" not in str(error).strip() else f"several lines: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if now == before:
        return "same"
    if isinstance(now, dict) and isinstance(before, dict) and now.items() <= before.items():
        return "less"
    return "another answer, in silence"


def try_flips(study: Path, count: int, seed: int,
              whole: bool = False) -> tuple[dict[str, Counter[str]], list[str]]:
    """Make so many flips, each undone after it; return kind -> counts, and what was wrong."""
    looks = Looks(study)
    names = dict.fromkeys((*ALWAYS, *(name for _, more in KINDS.values() for name in more)))
    truth = {name: getattr(looks, name)() for name in names}
    lines = dict(verbs(study)) if whole else {}
    truth |= {name: line() for name, line in lines.items()}
    rng = random.Random(seed)
    sound = study.parent.with_name(f"{study.parent.name}-sound")
    if whole:
        _copy(study.parent, sound)
    table: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    wrong = []
    for k in range(count):
        kind = ORDER[k % len(ORDER)]
        pattern, more = KINDS[kind]
        path = rng.choice(sorted(p for p in study.parent.glob(pattern) if p.stat().st_size))
        at, bit = rng.randrange(path.stat().st_size), rng.randrange(8)
        content, mode = path.read_bytes(), path.stat().st_mode
        flip(path, at, bit)
        found = {name: judge(getattr(looks, name), truth[name]) for name in (*ALWAYS, *more)}
        found |= {name: judge(line, truth[name]) for name, line in lines.items()}
        # In place, for the jobs' files are links to it; a file that was mended is another.
        path.chmod(0o644)
        path.write_bytes(content)
        path.chmod(mode)
        if whole:  # what "run" computed again took another time, and is another in its last digits
            shutil.rmtree(study.parent)
            _copy(sound, study.parent)
        answers = set(found.values())
        table[kind]["detected" if answers & {"less", "refused"} else "harmless"] += 1
        for name, answer in found.items():
            if answer not in ("same", "less", "refused"):
                table[kind]["wrong"] += 1
                wrong.append(f"{path.relative_to(study.parent)}, byte {at}, bit {bit}, {name}:"
                             f" {answer}")
    shutil.rmtree(sound, ignore_errors=True)
    return table, wrong


def _copy(folder: Path, to: Path) -> None:
    """Copy a folder with its hard links as links."""
    subprocess.run(["cp", "-a", str(folder), str(to)], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--study", type=Path, help="the small study of the tests, computed")
    parser.add_argument("--verbs", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="polaron-flips-") as name:
        study = Path(name) / "tiny.toml"
        if args.study:
            shutil.copy(args.study, study)
            shutil.copytree(args.study.parent / STORE, study.parent / STORE)
        else:
            write_tiny_study(Path(name))
            done = polaron("run", study.name, "--ranks", "1", cwd=study.parent)
            assert done.returncode == 0, done.stderr
        prepare(study)
        table, wrong = try_flips(study, args.flips, args.seed, args.verbs)
    print(*wrong, sep="\n")
    print(f"{'file':24}{'detected':>10}{'harmless':>10}{'wrong':>8}")
    for kind, row in table.items():
        print(f"{kind:24}{row['detected']:10}{row['harmless']:10}{row['wrong']:8}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
