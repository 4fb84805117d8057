"""One attempt at one job, in this process or on another machine: under the job's lock, complete or nothing."""

import hashlib
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron import __version__
from perovskite_polaron.errors import ComputationError, InterruptedRunError, OutOfTimeError
from perovskite_polaron.espresso import density, ph, projwfc, pw, xspectra
from perovskite_polaron.espresso.density import add_difference, move_density, read_atoms, turn_density
from perovskite_polaron.espresso.program import OUT_OF_TIME, mpi_command, program_version, run_program
from perovskite_polaron.espresso.savefile import LanczosSave, read_save
from perovskite_polaron.files import write_atomically
from perovskite_polaron.workflow.jobs import Job
from perovskite_polaron.workflow.store import CHECKPOINT, Store

_PROGRESS = {"pw.x": pw.progress, "ph.x": ph.progress, "xspectra.x": xspectra.progress}
_DONE = {"pw.x": "JOB DONE", "ph.x": "JOB DONE", "projwfc.x": "JOB DONE", "xspectra.x": "END JOB XSpectra"}


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: ``finished`` (a new result), ``done`` (it had one), ``elsewhere`` (another runner has it).

    seconds: wall time of the program, 0 if a finished run was taken in.
    """

    what: str
    detail: str = ""
    seconds: float = 0.0


@cache
def _store(root: str) -> Store:
    return Store(Path(root))


def attempt_there(
    job: Job, descendants: Sequence[Job], root: str, ranks: int, allocation_seconds: float | None
) -> Outcome:
    """Do one job wherever an executor runs this; root is the store's folder, which that machine must see too.

    allocation_seconds: how long the allocation lasts in all that the parent of this process began with. A pw.x that would
    outlive it stops in time; where hardly any time is left, this waits for the end. Raises as attempt does.
    """
    left = None
    if allocation_seconds is not None:
        # Enough for pw.x to end an iteration's k point and write its checkpoint.
        margin = min(120.0, 0.1 * allocation_seconds)
        left = allocation_seconds - _age_seconds(os.getppid()) - margin
        if left < margin:
            # Batch systems end an allocation up to minutes late; meanwhile the job is not handed back and forth.
            time.sleep(min(max(left + margin, margin), 30.0))
            raise OutOfTimeError(f"the allocation ends before {job.label} could begin")
    return attempt(job, descendants, _store(root), ranks, max_seconds=left)


def _age_seconds(process: int) -> float:
    """Return how long ago a process started (Linux)."""
    started = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19])
    return float(Path("/proc/uptime").read_text().split()[0]) - started / os.sysconf("SC_CLK_TCK")


def attempt(
    job: Job,
    descendants: Sequence[Job],
    store: Store,
    ranks: int,
    started: Callable[[], None] = lambda: None,
    progress: Callable[[str], None] = lambda detail: None,
    max_seconds: float | None = None,
) -> Outcome:
    """Do one job under its lock, or take in what was run by hand; a finished job is left alone.

    It is run again only if its density is gone and one of its descendants (the jobs that work on its density, and those
    that work on theirs) still has to start from it. started is called when the program starts, progress a few times a
    second; what they raise ends the program. max_seconds: after so long pw.x stops with a checkpoint.
    Raises ComputationError when the program fails, InterruptedRunError when it was killed, OutOfTimeError when it
    stopped in time; the next attempt then goes on.
    """
    with _told(job), store.lock(job) as descriptor:
        if descriptor is None:
            return Outcome("elsewhere")
        again = False
        if store.result(job) is not None:
            again = not store.has_density(job) and _is_needed(job, descendants, store)
            if not again:
                return Outcome("done")
        record = None if again else _harvest(job, store)
        seconds = 0.0
        if record is None:
            begun = datetime.now(UTC).isoformat(timespec="seconds")
            started()
            seconds = _run_from_best(job, store, ranks, progress, descriptor, max_seconds)
            record = _harvest(job, store)
            if record is None:
                raise ComputationError(
                    f"{job.program} ended without a result in {store.folder(job)}: see its output there"
                )
            record |= {
                "started": begun,
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "wall_seconds": round(seconds, 1),
                "ranks": ranks,
            }
        store.complete(job, record)
        if job.parent is not None and not descendants:
            store.drop_density(job)
        return Outcome("finished", _summary(record), seconds)


@contextmanager
def _told(job: Job) -> Iterator[None]:
    """Turn a disk that fails anywhere in a job into one line; a store can become read-only between any two steps."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise ComputationError(f"{job.label}: {error.strerror or error}{where}; mend the disk or its rights and run again") from None


def _is_needed(job: Job, descendants: Sequence[Job], store: Store) -> bool:
    """Tell whether an unfinished job works on this one's density, or on one that has to be made from it again."""
    return any(
        store.result(one) is None and (one.parent.digest == job.digest or not store.has_density(one.parent))
        for one in descendants
        if one.parent is not None
    )


def _run_from_best(
    job: Job,
    store: Store,
    ranks: int,
    progress: Callable[[str], None],
    descriptor: int,
    max_seconds: float | None,
) -> float:
    """Run the job's program; where it fails from a neighbour's density, run it once more from free atoms."""
    try:
        return _run(job, store, ranks, progress, descriptor, max_seconds)
    except InterruptedRunError:
        raise
    except ComputationError:
        output = store.folder(job) / store.output_name(job)
        if not job.seeds or not output.exists() or not pw.started_from_density(output.read_text(errors="replace")):
            raise
    return _run(replace(job, seeds=()), store, ranks, progress, descriptor, max_seconds)


def _run(
    job: Job,
    store: Store,
    ranks: int,
    progress: Callable[[str], None],
    descriptor: int,
    max_seconds: float | None,
) -> float:
    if job.version and program_version(job.program) != job.version:
        raise ComputationError(
            f"{job.program} is version {program_version(job.program)} on {platform.node()}, the study was planned for "
            f"{job.version}: give all machines the same, or set POLARON_ESPRESSO_BIN"
        )
    folder = store.prepare(job)
    # Half of the work of ph.x is the same for all k points: pools would each do all of it.
    most = 1 if job.program == "ph.x" else min(ranks, job.kpoints)
    pools = next(n for n in range(most, 0, -1) if ranks % n == 0)
    resumed = job.program == "pw.x" and (folder / CHECKPOINT).exists() and store.has_density(job)
    text = job.deck
    # ph.x goes on from its own checkpoint, which it has only after it began, that is after a whole copy.
    if resumed:
        (folder / CHECKPOINT).unlink()
        (folder / store.output_name(job)).unlink(missing_ok=True)
    elif not (job.program == "ph.x" and (folder / pw.OUTDIR / "_ph0").is_dir()):
        store.clear(job)
        text = _lay_out(job, store, pools)
    if job.program == "pw.x" and (resumed or max_seconds is not None):
        text = pw.with_checkpoint(text, max_seconds=max_seconds, restart=resumed)
    deck = folder / store.deck_name(job)
    if text != job.deck:
        # What is run differs from what names the job in the way to the result alone.
        deck = write_atomically(deck.with_suffix(".run.in"), text, durable=False)
    try:
        return run_program(
            mpi_command(job.program, ranks, pools),
            deck,
            folder / store.output_name(job),
            done=_DONE[job.program],
            keep_open=(descriptor,),
            on_poll=lambda output: _report(job.program, output, progress),
        )
    except OutOfTimeError:
        write_atomically(folder / CHECKPOINT, "pw.x stopped by itself; outdir is whole\n")
        raise
    except InterruptedRunError:
        # Only ph.x writes its checkpoint as it goes; should the blow have damaged it, the next failure removes it.
        if job.program != "ph.x":
            store.drop_density(job)
        raise
    except Exception:
        # A failed program leaves nothing worth going on from; a stopped one (not an Exception) may.
        store.drop_density(job)
        raise


def _report(program: str, output: Path, progress: Callable[[str], None]) -> None:
    say = _PROGRESS.get(program)
    progress(say(output.read_text(errors="replace")) if say else "")


def _lay_out(job: Job, store: Store, pools: int) -> str:
    """Put into the job's folder what its program starts from, and return the input that says so."""
    folder = store.folder(job)
    if job.parent is not None:
        _copy(store.folder(job.parent) / pw.OUTDIR, folder / pw.OUTDIR)
        if job.time_reversal:
            fermi_eV = (store.result(job.parent) or {})["fermi_eV"]
            begun = density.begin(job.deck, fermi_eV, pools)
            if begun is not None:
                write_atomically(folder / xspectra.SAVE_FILE, begun[1], durable=False)
                return begun[0]
    elif job.seeds and _sow(job, store):
        return pw.from_neighbour(job.deck, waves=job.seeds[0].kpoints == job.kpoints and job.turn is None)
    return job.deck


def _sow(job: Job, store: Store) -> bool:
    """Bring the density (and wave functions) of a like calculation, moved to the job's atoms; tell whether it was there.

    Without it the job starts from free atoms, as it would have anyway.
    """
    there = [store.result(s) is not None and store.has_density(s) and not store.is_locked(s) for s in job.seeds]
    # What was turned moves with the atoms only as the difference of the other two.
    if not there[0] or (job.turn is not None and not all(there)):
        return False
    first, *pair = map(store.folder, job.seeds)
    target = store.folder(job)
    try:
        _copy(first / pw.OUTDIR, target / pw.OUTDIR)
        if job.turn is not None:
            turn_density(target / pw.DENSITY, *job.turn)
        if pair and all(there):
            add_difference(target / pw.DENSITY, pair[0] / pw.DENSITY, pair[1] / pw.DENSITY)
        else:
            name = store.deck_name(job)
            move_density(target / pw.DENSITY, read_atoms(first / name), read_atoms(target / name))
    except (OSError, ComputationError):
        # Another runner may have dropped it in this moment.
        shutil.rmtree(target / pw.OUTDIR, ignore_errors=True)
        return False
    return True


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


@cache
def _revision() -> str | None:
    """Git revision of this package, with ``+`` if its files were changed since; None if it is not run from a repository."""
    here = Path(__file__).parent
    try:
        words = ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _harvest(job: Job, store: Store) -> dict[str, Any] | None:
    """Return the record of a finished program run in the job's folder, or None if there is none."""
    folder = store.folder(job)
    output = folder / store.output_name(job)
    deck = folder / store.deck_name(job)
    if not output.exists() or not deck.exists() or deck.read_text() != job.deck:
        return None
    text = output.read_text(errors="replace")
    if _DONE[job.program] not in text or OUT_OF_TIME in text:
        return None
    record: dict[str, Any] = {
        "kind": job.kind,
        "label": job.label,
        "digest": job.digest,
        "parent": job.parent.digest if job.parent else None,
        "program": job.program,
        "program_version": program_version(job.program),
        "polaron_version": __version__,
        "polaron_revision": _revision(),
        "machine": platform.node(),
        "system": platform.platform(),
        "pseudopotentials": {name: p.digest for name, p in job.pseudos},
    }
    if job.kind == "xas":
        save = read_save(folder / xspectra.SAVE_FILE)
        if np.any(save.norms == 0):
            density.complete(folder / xspectra.SAVE_FILE, job.deck)
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
    elif job.kind == "bands":
        record |= asdict(pw.read_pw_bands(folder / pw.OUTDIR))
    elif job.kind == "pdos":
        projections = projwfc.read_projections(folder, text)
        path = projwfc.write_projections(folder / projwfc.PROJECTIONS, projections)
        record |= {
            "projections_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "spilling": projections.printed_spilling,
        }
    else:
        record |= asdict(pw.read_pw_result(folder / pw.OUTDIR))
        if job.seeds:
            record["started_from"] = job.seeds[0].digest if pw.started_from_density(text) else None
        if job.kind == "force":
            record |= {"forces_eV_A": pw.read_forces_eV_A(folder / pw.OUTDIR).tolist()}
            stress = pw.read_stress_eV_A3(folder / pw.OUTDIR)
            record |= {} if stress is None else {"stress_eV_A3": stress.tolist()}
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
    if record["kind"] == "bands":
        return f"gap {record['lowest_empty_eV'] - record['highest_occupied_eV']:.2f} eV"
    if record["kind"] == "pdos":
        return f"spilling {record['spilling']:.4f}"
    if record["kind"] == "response":
        return "epsilon " + " ".join(f"{record['epsilon_inf'][k][k]:.2f}" for k in range(3))
    return f"{record['iterations']} iterations"
