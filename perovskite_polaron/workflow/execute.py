"""Running the jobs of a study: each once, in order, resumable, with several runners side by side if need be."""

import platform
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron import __version__
from perovskite_polaron.errors import ComputationError, PolaronError
from perovskite_polaron.espresso import ph, pw, xspectra
from perovskite_polaron.espresso.programs import mpi_command, program_version, run_program
from perovskite_polaron.espresso.savefile import LanczosSave, read_save
from perovskite_polaron.workflow.jobs import Job, StructureJobs
from perovskite_polaron.workflow.store import Store

_PATIENCE_SECONDS = 0.5
_PROGRESS = {"pw.x": pw.progress, "ph.x": ph.progress, "xspectra.x": xspectra.progress}
_DONE = {"pw.x": "JOB DONE", "ph.x": "JOB DONE", "xspectra.x": "END JOB XSpectra"}


@dataclass(frozen=True)
class Event:
    """What the runner reports: a job that ``started``, is ``running`` (with a detail), ``finished``, ``failed``, or is ``elsewhere``."""

    what: str
    job: Job
    detail: str = ""
    seconds: float = 0.0


class _Stop(BaseException):
    """Raised in a worker when the runner is told to end."""


def run_jobs(
    jobs: Sequence[Job],
    store: Store,
    *,
    ranks: int,
    jobs_at_once: int,
    report: Callable[[Event], None] = lambda event: None,
    executor: Executor | None = None,
) -> None:
    """Run the jobs that have no result yet, each after the one it starts from; return when all are done.

    executor: any concurrent.futures executor of threads (default: a pool of jobs_at_once). A job that another runner
    works on is left to it and its result is awaited. When a job fails, the jobs that do not depend on it still run.
    On Ctrl-C or SIGTERM the programs are ended and KeyboardInterrupt is raised; finished jobs keep their results.
    Raises ComputationError naming the first failure, and how many jobs it kept from running.
    """
    unique: dict[str, Job] = {}
    for job in jobs:
        unique.setdefault(job.digest, job)
    todo = {digest: job for digest, job in unique.items() if store.result(job) is None}
    for job in list(todo.values()):
        # xspectra.x needs its parent's density, which is dropped once all the parent's children are done.
        if job.parent is not None and job.parent.digest not in todo and not store.has_density(job.parent):
            todo[job.parent.digest] = job.parent
    failures: list[str] = []
    stop = threading.Event()
    pool = executor or ThreadPoolExecutor(jobs_at_once)
    running: dict[Future[bool], Job] = {}
    children: dict[str, list[Job]] = {}
    for job in unique.values():
        if job.parent is not None:
            children.setdefault(job.parent.digest, []).append(job)
    try:
        with _terminate_as_interrupt():
            while todo or running:
                for job in _ready(todo, running, jobs_at_once):
                    running[pool.submit(_attempt, job, children.get(job.digest, []), store, ranks, report, stop)] = job
                if not running:
                    break
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                busy_elsewhere = False
                for future in done:
                    job = running.pop(future)
                    try:
                        if not future.result():
                            busy_elsewhere = True
                            continue
                        del todo[job.digest]
                        _drop_unneeded(job, todo, store)
                    except PolaronError as error:
                        failures.append(f"{job.label}: {error}")
                        report(Event("failed", job, str(error)))
                        for digest in [
                            job.digest,
                            *(d for d, j in todo.items() if j.parent and j.parent.digest == job.digest),
                        ]:
                            todo.pop(digest, None)
                if busy_elsewhere and not running:
                    time.sleep(_PATIENCE_SECONDS)
    except BaseException:
        stop.set()
        raise
    finally:
        if executor is None:
            pool.shutdown(wait=True, cancel_futures=True)
    if failures:
        more = f" (and {len(failures) - 1} more jobs failed)" if len(failures) > 1 else ""
        raise ComputationError(f"{failures[0]}{more}; finished jobs are kept, run again after mending")


def _ready(todo: dict[str, Job], running: dict[Future[bool], Job], limit: int) -> list[Job]:
    busy = {job.digest for job in running.values()}
    free = [
        job
        for digest, job in todo.items()
        if digest not in busy and (job.parent is None or job.parent.digest not in todo)
    ]
    return free[: max(0, limit - len(running))]


def _drop_unneeded(job: Job, todo: dict[str, Job], store: Store) -> None:
    owner = job.parent or job
    if (
        not any(j.parent is not None and j.parent.digest == owner.digest for j in todo.values())
        and owner.digest not in todo
    ):
        store.drop_density(owner)


def _attempt(
    job: Job,
    children: Sequence[Job],
    store: Store,
    ranks: int,
    report: Callable[[Event], None],
    stop: threading.Event,
) -> bool:
    """Do one job under its lock; False if another runner has it. Also takes in what was run elsewhere by hand.

    A finished job is run again only if its density is gone and one of its children still has to start from it.
    """
    with store.lock(job) as descriptor:
        if descriptor is None:
            report(Event("elsewhere", job))
            return False
        again = False
        if store.result(job) is not None:
            again = not store.has_density(job) and any(store.result(child) is None for child in children)
            if not again:
                return True
        record = None if again else _harvest(job, store)
        seconds = 0.0
        if record is None:
            started = datetime.now(UTC).isoformat(timespec="seconds")
            report(Event("started", job))
            seconds = _run(job, store, ranks, report, stop, descriptor)
            record = _harvest(job, store)
            if record is None:
                raise ComputationError(
                    f"{job.program} ended without a result in {store.folder(job)}: see its output there"
                )
            record |= {"started": started, "wall_seconds": round(seconds, 1), "ranks": ranks}
        store.complete(job, record)
        if job.parent is not None:
            store.drop_density(job)
        report(Event("finished", job, _summary(record), seconds))
        return True


def _run(
    job: Job, store: Store, ranks: int, report: Callable[[Event], None], stop: threading.Event, descriptor: int
) -> float:
    folder = store.prepare(job)
    # ph.x goes on from its own checkpoint, which it has only after it began, that is after a whole copy.
    if not (job.program == "ph.x" and (folder / pw.OUTDIR / "_ph0").is_dir()):
        store.clear(job)
        if job.parent is not None:
            _copy(store.folder(job.parent) / pw.OUTDIR, folder / pw.OUTDIR)

    def poll(output: Path) -> None:
        if stop.is_set():
            raise _Stop
        report(Event("running", job, _PROGRESS[job.program](output.read_text(errors="replace"))))

    pools = next(n for n in range(min(ranks, job.kpoints), 0, -1) if ranks % n == 0)
    try:
        return run_program(
            mpi_command(job.program, ranks, pools),
            folder / store.deck_name(job),
            folder / store.output_name(job),
            done=_DONE[job.program],
            keep_open=(descriptor,),
            on_poll=poll,
        )
    except Exception:
        # A failed program leaves nothing worth going on from; a stopped one (not an Exception) may.
        store.drop_density(job)
        raise


def _copy(source: Path, target: Path) -> None:
    # Each xspectra.x works on its own copy: two polarisations may run at once, and the program writes beside what it reads.
    try:
        shutil.copytree(
            source, target, ignore=lambda folder, names: [n for n in names if n.startswith(f"{pw.PREFIX}.wfc")]
        )
    except (OSError, shutil.Error) as error:
        shutil.rmtree(target, ignore_errors=True)
        raise ComputationError(
            f"{source} could not be copied to {target} ({error}): free the disk and run again"
        ) from None


def _harvest(job: Job, store: Store) -> dict[str, Any] | None:
    """Return the record of a finished program run in the job's folder, or None if there is none."""
    folder = store.folder(job)
    output = folder / store.output_name(job)
    deck = folder / store.deck_name(job)
    if not output.exists() or not deck.exists() or deck.read_text() != job.deck:
        return None
    text = output.read_text(errors="replace")
    if _DONE[job.program] not in text:
        return None
    record: dict[str, Any] = {
        "kind": job.kind,
        "label": job.label,
        "digest": job.digest,
        "parent": job.parent.digest if job.parent else None,
        "program": job.program,
        "program_version": program_version(job.program),
        "polaron_version": __version__,
        "machine": platform.node(),
        "pseudopotentials": {name: p.digest for name, p in job.pseudos},
    }
    if job.kind == "xas":
        save = read_save(folder / xspectra.SAVE_FILE)
        check_chain(save, job, store)
        summary = xspectra.read_summary(text)
        if summary.converged < summary.kpoints_seen:
            raise ComputationError(
                f"the Lanczos run of {job.label} did not converge at {summary.kpoints_seen - summary.converged} of "
                f"{summary.kpoints_seen} k points: raise xspectra.max_iterations in the study"
            )
        record |= {
            "chain_sha256": save.sha256,
            "fermi_eV": save.fermi_energy_eV,
            "core_eV": save.core_energy_eV,
            **asdict(summary),
        }
    elif job.kind == "response":
        found = ph.read_response(text)
        record |= {"epsilon_inf": found.epsilon_inf.tolist(), "born_e": found.born_e.tolist()}
    else:
        record |= asdict(pw.read_pw_result(folder / pw.OUTDIR))
        if job.kind == "force":
            record |= {"forces_eV_A": pw.read_forces_eV_A(folder / pw.OUTDIR).tolist()}
    return record


def check_chain(save: LanczosSave, job: Job, store: Store) -> None:
    """Refuse chains that do not belong to a job.

    A finished job keeps the digest of its save file. Before that, polarisation and Fermi energy must be those of the job;
    the Fermi energy is compared for fixed occupations only, with smearing XSpectra takes another level than pw.x.
    """
    record = store.result(job)
    parent = store.result(job.parent) if job.parent is not None else None
    fixed = job.parent is not None and "occupations = 'fixed'" in job.parent.deck
    if record is not None and record["chain_sha256"] != save.sha256:
        why = "it is not the file that this job wrote"
    elif xspectra.POLARISATIONS[job.label[-1]][int(np.argmax(np.abs(save.polarisation)))] != 1.0:
        why = "its polarisation is another"
    elif fixed and parent is not None and abs(parent["fermi_eV"] - save.fermi_energy_eV) > 1e-3:
        why = f"its Fermi energy is {save.fermi_energy_eV:.4f} eV, that of the density it starts from {parent['fermi_eV']:.4f} eV"
    else:
        return
    path = store.folder(job) / xspectra.SAVE_FILE
    raise ComputationError(f"{path} is not the save file of {job.label}: {why}; delete that job's folder and run again")


def _summary(record: dict[str, Any]) -> str:
    if record["kind"] == "xas":
        return f"relative error {record['worst_error']:.1e}"
    if record["kind"] == "response":
        return "epsilon " + " ".join(f"{record['epsilon_inf'][k][k]:.2f}" for k in range(3))
    return f"{record['iterations']} iterations"


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """Let SIGTERM (a batch system's wall time, a shutdown) end the programs as Ctrl-C does; main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def study_jobs(structures: Sequence[StructureJobs]) -> list[Job]:
    """Return every job of a study once, in an order that respects what each starts from."""
    unique: dict[str, Job] = {}
    for one in structures:
        for job in one.all():
            unique.setdefault(job.digest, job)
    return list(unique.values())
