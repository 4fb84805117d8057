"""What a store holds that nothing needs any more: densities and wave functions, and the crumbs of killed runs."""

import json
import os
import shutil
import time
from collections.abc import Container, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from perovskite_polaron.espresso.pw import OUTDIR
from perovskite_polaron.workflow.jobs import Job
from perovskite_polaron.workflow.store import CHECKPOINT, RESULT, Store

# A temporary file younger than this may belong to a runner that is writing it.
_OLD_SECONDS = 3600.0


@dataclass(frozen=True)
class Garbage:
    """A file or folder to remove, its size, why nothing needs it, and the job's folder whose lock protects it."""

    path: Path
    size_bytes: int
    why: str
    folder: Path


def find_garbage(store: Store, jobs: Sequence[Job]) -> list[Garbage]:
    """Return what can be removed from a store: never a result, an input, or a density that a job still starts from.

    jobs: those of the study asked about; plans of other studies in the same store are honoured too. Locked folders are
    left alone.
    """
    needed = {store.folder(j.parent).name for j in jobs if j.parent is not None and store.result(j) is None}
    needed |= needed_densities(store)
    found = []
    now = time.time()
    for folder in sorted(store.jobs_root.glob("*/")):
        for path in folder.glob(".tmp-*"):
            if now - path.stat().st_mtime > _OLD_SECONDS:
                found.append(Garbage(path, path.stat().st_size, "left by a killed run", folder))
        outdir = folder / OUTDIR
        if not outdir.is_dir() or folder.name in needed:
            continue
        resumable = (outdir / "_ph0").is_dir() or (folder / CHECKPOINT).exists()
        if resumable and not (folder / RESULT).exists():
            continue
        why = "no job starts from it" if (folder / RESULT).exists() else "left by an unfinished run"
        found.append(Garbage(outdir, _size(outdir), why, folder))
    return found


def needed_densities(store: Store, done_or_here: Container[str] = ()) -> set[str]:
    """Return the folders whose densities the unfinished jobs of the store's plans work on.

    done_or_here: digests of jobs that need not be looked at. A plan that is being written or damaged counts for nothing.
    """
    rows = []
    for path in store.root.glob("plan-*.json"):
        with suppress(OSError, ValueError, KeyError):
            rows += json.loads(path.read_bytes())["jobs"]
    open_rows = [(digest, parent) for _, _, digest, _, parent in rows if parent and digest not in done_or_here]
    if not open_rows:
        return set()
    done = {path.parent.name.rpartition("-")[2] for path in store.jobs_root.glob(f"*/{RESULT}")}
    return {parent for digest, parent in open_rows if digest[:12] not in done}


def remove(store: Store, garbage: Sequence[Garbage]) -> int:
    """Remove garbage, each piece under the lock of its folder, and return the bytes freed; what is in use now stays."""
    freed = 0
    for one in garbage:
        with store.lock_folder(one.folder) as descriptor:
            if descriptor is None or not one.path.exists():
                continue
            if one.path.is_dir():
                shutil.rmtree(one.path, ignore_errors=True)
            else:
                one.path.unlink(missing_ok=True)
            freed += one.size_bytes
    return freed


def _size(folder: Path) -> int:
    return sum(os.lstat(path).st_size for path in folder.rglob("*"))
