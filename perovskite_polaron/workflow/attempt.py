"""One attempt at one job, in this process or on another machine: under the job's lock, complete or
nothing.
"""

import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from perovskite_polaron import __version__
from perovskite_polaron.errors import ComputationError, InterruptedRunError, OutOfTimeError, require
from perovskite_polaron.espresso.density import (
    Atoms, add_difference, move_density, move_hole, transform_density)
from perovskite_polaron.espresso.pw import DENSITY, PwCalculation, started_from_density
from perovskite_polaron.files import write_atomically
from perovskite_polaron.programs import (
    CHECKPOINT, OUT_OF_TIME, OUTDIR, PLAIN, PREFIX, Way, run_program)
from perovskite_polaron.systems import age_seconds
from perovskite_polaron.workflow.jobs import Job
from perovskite_polaron.workflow.store import DENSITY_SEAL, Store, density_digest


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended.

    Attributes
    ----------
    what
        ``finished`` (a new result), ``done`` (it had one), ``elsewhere`` (another runner has it).
    detail
        The result in a few words.
    seconds
        Wall time of the program, 0 if a finished run was taken in.
    """

    what: str
    detail: str = ""
    seconds: float = 0.0


@cache
def _store(root: str) -> Store:
    return Store(Path(root))


def attempt_there(job: Job, descendants: Sequence[Job], root: str, ranks: int,
                  allocation_seconds: float | None) -> Outcome:
    """Do one job wherever an executor runs this.

    A program that can stop in time does so before the allocation ends; where hardly any time is
    left, this waits for the end.

    Parameters
    ----------
    job, descendants, ranks
        As for ``attempt``.
    root
        The store's folder, which that machine must see too.
    allocation_seconds
        How long the allocation lasts that the parent of this process began with.

    Raises
    ------
    OutOfTimeError
        When the job cannot begin any more; others as ``attempt``.
    """
    left = None
    if allocation_seconds is not None:
        # Enough for pw.x to end an iteration's k point and write its checkpoint.
        margin = min(120.0, 0.1 * allocation_seconds)
        left = allocation_seconds - age_seconds(os.getppid()) - margin
        if left < margin:
            # Batch systems end an allocation up to minutes late; meanwhile the job is not handed
            # back and forth.
            time.sleep(min(max(left + margin, margin), 30.0))
            raise OutOfTimeError(f"the allocation ends before {job.label} could begin")
    return attempt(job, descendants, _store(root), ranks, max_seconds=left)


def attempt(job: Job, descendants: Sequence[Job], store: Store, ranks: int,
            started: Callable[[], None] = lambda: None,
            progress: Callable[[str], None] = lambda detail: None,
            max_seconds: float | None = None) -> Outcome:
    """Do one job under its lock, or take in what was run by hand; a finished job is left alone.

    It is run again only if its density is gone and one of its descendants still has to start from
    it.

    Parameters
    ----------
    job
        The job.
    descendants
        The jobs that work on its density, and those that work on theirs.
    store, ranks
        Where, and on how many MPI processes.
    started, progress
        Called when the program starts, and a few times a second; what they raise ends the program.
    max_seconds
        After so long a program that can stops with a checkpoint.

    Raises
    ------
    ComputationError
        When the program fails.
    InterruptedRunError
        When it was killed.
    OutOfTimeError
        When it stopped in time; the next attempt then goes on.
    """
    with _disk_errors_in_one_line(job), store.lock(job) as descriptor:
        if descriptor is None:
            return Outcome("elsewhere")
        done = store.result(job) is not None
        if done and (not _is_needed(job, descendants, store) or store.has_whole_density(job)):
            return Outcome("done")
        if not done:
            store.forget(job)
        run = _Run(job, store, ranks, descriptor, progress, max_seconds)
        record, seconds = None if done else run.record(), 0.0
        if record is None:
            begun = _now()
            started()
            seconds = run.from_best_density()
            record = run.record()
            if record is None:
                raise ComputationError(f"{job.runs.program} ended without a result in"
                                       f" {store.folder(job)}: see its output there")
            record |= {"started": begun, "finished": _now(), "wall_seconds": round(seconds, 1),
                       "ranks": ranks}
        if store.has_density(job) and (descendants or job.parent is None):
            record[DENSITY_SEAL] = density_digest(run.folder)
        store.complete(job, record)
        if job.parent is not None and not descendants:
            store.drop_density(job)
        return Outcome("finished", job.runs.summary(record), seconds)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def _disk_errors_in_one_line(job: Job) -> Iterator[None]:
    """Name the job when the disk fails; a store can become read-only between any two steps."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise ComputationError(f"{job.label}: {error.strerror or error}{where};"
                               " free the disk or correct its rights, and run again") from None


def _is_needed(job: Job, descendants: Sequence[Job], store: Store) -> bool:
    """Tell whether an unfinished job works on this density, or on one made from it again."""
    return any(store.result(one) is None
               and (one.parent.digest == job.digest or not store.has_density(one.parent))
               for one in descendants if one.parent is not None)


@dataclass(frozen=True)
class _Run:
    """A job, where and how it is run; descriptor is that of its lock."""

    job: Job
    store: Store
    ranks: int
    descriptor: int
    progress: Callable[[str], None]
    max_seconds: float | None

    @property
    def folder(self) -> Path:
        return self.store.folder(self.job)

    @property
    def output(self) -> Path:
        return self.folder / self.job.output_name

    def from_best_density(self) -> float:
        """Run the program; where it fails with the density of a like job, once more from free
        atoms.
        """
        try:
            return self.start()
        except InterruptedRunError:
            raise
        except ComputationError:
            if not (self.job.initial and self.output.exists()
                    and started_from_density(self.output.read_text(errors="replace"))):
                raise
        return replace(self, job=replace(self.job, initial=())).start()

    def start(self) -> float:
        """Run the program, from where it stopped if it can go on; return its wall time (s)."""
        job, store, runs = self.job, self.store, self.job.runs
        if job.version and runs.version() != job.version:
            raise ComputationError(f"{runs.program} is version {runs.version()} on"
                                   f" {platform.node()}, the study was planned for {job.version}:"
                                   " give all machines the same")
        folder = store.prepare(job)
        most = min(self.ranks, job.kpoints) if runs.shares_kpoints else 1
        pools = next(n for n in range(most, 0, -1) if self.ranks % n == 0)
        if runs.can_go_on(folder):
            way = Way(restart=True)
            # Gone before it starts, for when it is killed its output folder is not whole any more.
            (folder / CHECKPOINT).unlink(missing_ok=True)
            self.output.unlink(missing_ok=True)
        else:
            store.clear(job)
            way = self.stage(pools)
        if runs.stops_in_time:
            way = replace(way, max_seconds=self.max_seconds)
        deck, text = folder / job.input_name, job.calculation.deck(way)
        if text != job.deck:
            # What is run differs from what names the job in the way to the result alone.
            deck = write_atomically(deck.with_suffix(".run.in"), text, durable=False)
        command = job.calculation.command(self.ranks, pools)
        try:
            return run_program(command, deck, self.output, done=runs.done,
                               keep_open=(self.descriptor,), on_poll=self.say)
        except OutOfTimeError:
            write_atomically(folder / CHECKPOINT, "stopped by itself; outdir is whole\n")
            raise
        except InterruptedRunError:
            # Should the end have damaged what a program goes on from, its next failure removes it.
            if not runs.can_go_on(folder):
                store.drop_density(job)
            raise
        except Exception:
            # A failed program leaves nothing worth going on from; a stopped one (not an Exception)
            # may.
            store.drop_density(job)
            raise

    def say(self, output: Path) -> None:
        """Report how far the program has come."""
        self.progress(self.job.runs.progress(output.read_text(errors="replace")))

    def stage(self, pools: int) -> Way:
        """Put into the job's folder what its program begins with, and return how it does."""
        job = self.job
        if job.parent is not None:
            source, parent = self.store.folder(job.parent), self.store.result(job.parent) or {}
            _copy(source / OUTDIR, self.folder / OUTDIR)
            require(parent.get(DENSITY_SEAL) in (None, density_digest(self.folder)),
                    f"{source / OUTDIR} was changed since {job.parent.label} wrote it: delete that"
                    " folder and run again", ComputationError)
            return job.calculation.stage(self.folder, parent, pools)
        if not self.stage_density():
            return PLAIN
        return Way(density=True, waves=job.initial[0].kpoints == job.kpoints
                   and job.operation is None)

    def stage_density(self) -> bool:
        """Bring the density (and wave functions) of a like job, moved to this job's atoms, if it is
        there.

        Without it the job starts from free atoms.
        """
        job, store, target = self.job, self.store, self.folder / DENSITY
        there = [store.result(one) is not None and store.has_density(one)
                 and not store.is_locked(one) for one in job.initial]
        # What a symmetry operation was applied to moves with the atoms only as the difference of
        # the other two.
        if not there or not there[0] or (job.operation is not None and not all(there)):
            return False
        first, *pair = map(store.folder, job.initial)
        new, old, *cells = map(self.atoms, (job, *job.initial))
        try:
            _copy(first / OUTDIR, self.folder / OUTDIR)
            if job.operation is not None:
                transform_density(target, *job.operation)
            if pair and all(there):
                add_difference(target, pair[0] / DENSITY, pair[1] / DENSITY)
                move_hole(target, new, *cells)
            else:
                move_density(target, old, new)
        except (OSError, ComputationError):
            # Another runner may have dropped it in this moment.
            shutil.rmtree(self.folder / OUTDIR, ignore_errors=True)
            return False
        return True

    def atoms(self, job: Job) -> Atoms:
        """Return the atoms of a job of pw.x."""
        assert isinstance(job.calculation, PwCalculation)
        return job.calculation.atoms(self.store.folder(job))

    def record(self) -> dict[str, Any] | None:
        """Return the record of a finished run in the job's folder, or None if there is none."""
        job, deck = self.job, self.folder / self.job.input_name
        if not self.output.exists() or not deck.exists() or deck.read_text() != job.deck:
            return None
        text = self.output.read_text(errors="replace")
        if job.runs.done not in text or OUT_OF_TIME in text:
            return None
        record: dict[str, Any] = {
            "kind": job.kind, "label": job.label, "digest": job.digest,
            "parent": job.parent.digest if job.parent else None,
            "program": job.runs.program, "program_version": job.runs.version(),
            "polaron_version": __version__, "polaron_revision": _revision(),
            "machine": platform.node(), "system": platform.platform(),
            "pseudopotentials": {name: p.digest for name, p in job.pseudos}}
        parent = self.store.result(job.parent) if job.parent else None
        record |= job.calculation.read_result(self.folder, text, parent or {})
        if job.initial:
            record["started_from"] = job.initial[0].digest if started_from_density(text) else None
        return record


def _copy(source: Path, target: Path) -> None:
    # Each xspectra.x works on its own copy: two polarisations may run at once, and the program
    # writes beside what it reads. The files of wave functions by process are not needed.
    own = shutil.ignore_patterns(f"{PREFIX}.wfc*")
    try:
        shutil.copytree(source, target, ignore=own)
    except (OSError, shutil.Error) as error:
        shutil.rmtree(target, ignore_errors=True)
        raise ComputationError(f"{source} could not be copied to {target} ({error}): free the disk"
                               " and run again") from None


@cache
def _revision() -> str | None:
    """Git revision of this package, with ``+`` if its files were changed since; None without a
    repository.
    """
    words = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40",
             "--exclude=*", "--dirty=+"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
