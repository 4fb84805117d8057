"""The store of a study's results: one folder per job, complete only when its ``result.json`` is
there.

What it holds that nothing needs any more: densities and wave functions, temporary files of killed
runs.
"""

import hashlib
import math
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from perovskite_polaron.errors import ComputationError, DamagedError
from perovskite_polaron.espresso.upf import Pseudopotential, core_orbital_text, read_sealed_upf
from perovskite_polaron.espresso.xspectra import CORE_FILE, CURVE_FILE
from perovskite_polaron.files import SEAL, read_sealed, sha256_of, write_atomically, write_sealed
from perovskite_polaron.programs import HANDED_ON, OUTDIR
from perovskite_polaron.systems import lock
from perovskite_polaron.workflow.job import KINDS, Job, JobName, PseudoName
from perovskite_polaron.workflow.records import lacking

RESULT = "result.json"
# Key of a record: file of the job -> SHA-256, and that of the density which others start from.
FILES, DENSITY_SEAL = "files_sha256", "density_sha256"
_LOCK = "lock"
_LOOK_AGAIN_SECONDS = 2.0
# A temporary file younger than this may belong to a runner that is writing it.
_OLD_SECONDS = 3600.0


class Store:
    """The folders of the jobs below one root.

    Safe with several runners: a job is worked on under a lock of its folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: dict[str, Path] = {}
        self._looked = -math.inf
        self._looked_at: int | None = None
        self._told: set[str] = set()

    def folder(self, job: JobName) -> Path:
        """Return the folder of a job, there or not; one met under another label keeps its own."""
        found = self._known(job)
        if found is None and self._changed():
            self._look()
            found = self._folders.get(job.digest[:12])
        return found or self.jobs_root / job.folder

    def _known(self, job: JobName) -> Path | None:
        key = job.digest[:12]
        if key not in self._folders:
            own = self.jobs_root / job.folder
            if not own.is_dir():
                return None
            self._folders[key] = own
        return self._folders[key]

    def _changed(self) -> bool:
        """Tell whether folders may have come since the last look, whose cost is their number."""
        try:
            now = os.stat(self.jobs_root).st_mtime_ns
        except FileNotFoundError:
            return False
        # A folder made in the same tick of the clock as the look would not show in the time.
        return now != self._looked_at or time.time() - now / 1e9 < 1.0

    def _look(self) -> None:
        self._looked, self._looked_at = time.monotonic(), os.stat(self.jobs_root).st_mtime_ns
        for entry in os.scandir(self.jobs_root):
            self._folders.setdefault(entry.name.rpartition("-")[2], Path(entry.path))

    def begun(self) -> set[str]:
        """Return the ends of the names of all jobs' folders: twelve characters of their digests."""
        with suppress(FileNotFoundError):
            self._look()
        return set(self._folders)

    @property
    def jobs_root(self) -> Path:
        """Folder of all jobs."""
        return self.root / "jobs"

    @property
    def pseudo_root(self) -> Path:
        """Folder of the pseudopotentials, each once; those in jobs' folders are links to them."""
        return self.root / "pseudo"

    def result(self, job: JobName) -> dict[str, Any] | None:
        """Return the stored result of a job, None without one, or without a sound one.

        Sound is what is whole, this job's, and has the file that belongs to it as it was written;
        of what is not a warning says why. Of what an earlier version stored only that is known
        which it wrote down: the SHA-256 of that file, and not of the record. Errors as
        ``read_sealed``.
        """
        path = self.folder(job) / RESULT
        try:
            record = read_sealed(path, "it does not count")
            self._check(record, job)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except DamagedError as error:
            self._tell(f"{error}; polaron run computes {job.label} again")
            return None
        if SEAL not in record:
            self._tell(f"{self.root} has results of an earlier version, without a checksum: a"
                       " number that was changed there would not be noticed")
        return record

    def _tell(self, words: str) -> None:
        if words not in self._told:
            self._told.add(words)
            warnings.warn(words, stacklevel=3)

    def _check(self, record: dict[str, Any], job: JobName) -> None:
        """Refuse, with DamagedError, a record that is not this job's or has lost its file."""
        path, (name, key) = self.folder(job) / RESULT, job.runs.kept
        missing = "" if SEAL in record else lacking(record, job.kind)
        if record.get("digest") != job.digest or missing:
            raise DamagedError(f"{path} is not the result of {job.label}"
                               + (f": it lacks {missing}" if missing else ""))
        if name:
            kept = path.with_name(name)
            try:
                digest = sha256_of(kept)
            except OSError as error:
                raise DamagedError(f"{kept} cannot be read: {error.strerror}") from None
            if digest != record.get(key, digest):
                raise DamagedError(f"{kept} is not the save file of {job.label}: it is not the file"
                                   " that this job wrote")

    def unfinished_state(self, job: JobName) -> str:
        """Return ``running``, ``failed`` (an output was left) or ``todo`` for a job without result.

        Works on a store that may only be read.
        """
        if self.is_locked(job):
            return "running"
        return "failed" if (self.folder(job) / job.output_name).exists() else "todo"

    def is_locked(self, job: JobName) -> bool:
        """Tell whether a runner works on the job just now."""
        try:
            descriptor = os.open(self.folder(job) / _LOCK, os.O_RDONLY)
        except OSError:
            return False
        try:
            lock(descriptor, shared=True)
        except OSError as error:
            # Where no locks are kept who runs is told, not who looks.
            return isinstance(error, BlockingIOError)
        finally:
            os.close(descriptor)
        return False

    def keep(self, pseudo: Pseudopotential) -> Path:
        """Put a pseudopotential into the store, if it is not there; return its path there."""
        path = self._kept(pseudo)
        if not path.exists():
            make_folder(self.pseudo_root)
            # Shared by hard links: a change in one job's folder would change it in all.
            os.chmod(write_atomically(path, pseudo.path.read_bytes()), 0o444)
        return path

    def _kept(self, pseudo: Pseudopotential | PseudoName) -> Path:
        return self.pseudo_root / f"{pseudo.element}-{pseudo.digest[:16]}.UPF"

    def prepare(self, job: "Job") -> Path:
        """Write everything that the job's program needs into its folder, whole, and return the
        folder.
        """
        folder = self.folder(job)
        make_folder(folder / "pseudo" if job.pseudos else folder)
        # What was being written when a runner was killed, or the disk failed; nobody writes here
        # now, for we hold the lock.
        for left in folder.rglob(".tmp-*"):
            left.unlink(missing_ok=True)
        files = [(f"pseudo/{label}.UPF", pseudo) for label, pseudo in job.pseudos]
        for name, pseudo in files + ([(CORE_FILE, job.core)] if job.core else []):
            kept = self.keep(pseudo) if isinstance(pseudo, Pseudopotential) else self._kept(pseudo)
            with _used(kept):
                found = kept.stat()
            orbitals = _core_orbitals(kept, found.st_mtime_ns, found.st_size)
            text = kept.with_suffix(".wfc")
            if not text.exists() or text.read_bytes() != orbitals:
                os.chmod(write_atomically(text, orbitals), 0o444)
            _link(kept.with_suffix(Path(name).suffix), folder / name)
        # A file that a crash leaves empty is seen when it is compared with the job: these need not
        # reach the disk.
        write_atomically(folder / "job.toml", job.description(), durable=False)
        write_atomically(folder / job.input_name, job.deck, durable=False)
        return folder

    @contextmanager
    def lock(self, job: JobName) -> Iterator[int | None]:
        """Hold the job's lock; yields its file descriptor, or None if another runner holds it.

        The lock belongs to the open file: it ends with the last process that has it, so a killed
        runner leaves none behind, and a program that outlives its runner still keeps others away.
        Between machines it is as good as the file system's flock: NFS version 4 (or 3 with its lock
        daemon) and Lustre mounted with ``flock`` keep it.
        """
        folder = self._known(job)
        if folder is None:
            # A runner makes folders all the time, so it does not look for another label before each
            # of them.
            if time.monotonic() - self._looked >= _LOOK_AGAIN_SECONDS and self.jobs_root.is_dir():
                self._look()
            folder = self._folders.get(job.digest[:12], self.jobs_root / job.folder)
            make_folder(folder)
            self._folders[job.digest[:12]] = folder
        with self.lock_folder(folder) as descriptor:
            yield descriptor

    @staticmethod
    @contextmanager
    def lock_folder(folder: Path) -> Iterator[int | None]:
        """Hold the lock of a job's folder, as lock does, whatever job it is.

        Raises
        ------
        ComputationError
            Where the file system keeps no locks.
        """
        with _used(folder):
            descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            yield descriptor if _locks(descriptor, folder) else None
        finally:
            os.close(descriptor)

    def forget(self, job: JobName) -> None:
        """Remove a result that does not count, with all it was made from, under the job's lock."""
        path = self.folder(job) / RESULT
        if path.exists():
            self.clear(job)
            path.unlink()

    def clear(self, job: JobName) -> None:
        """Remove what an unfinished attempt left, under the job's lock."""
        self.drop_density(job)
        for name in (job.output_name, *job.runs.leaves):
            (self.folder(job) / name).unlink(missing_ok=True)

    def has_density(self, job: JobName) -> bool:
        """Tell whether a finished pw.x job still has the files that xspectra.x starts from."""
        return (self.folder(job) / OUTDIR).is_dir()

    def has_whole_density(self, job: JobName) -> bool:
        """Tell whether these files are those of its result: a second run for them may have been
        killed.
        """
        record = self.result(job)
        return record is not None and self.has_density(job) and record.get(DENSITY_SEAL) in (
            None, density_digest(self.folder(job)))

    def drop_density(self, job: JobName) -> None:
        """Remove the big files of a pw.x job that nothing needs any more."""
        shutil.rmtree(self.folder(job) / OUTDIR, ignore_errors=True)

    def texts(self, job: JobName) -> list[Path]:
        """Return what tells of a job beside its result, as far as it is there."""
        way = job.input_name.replace(".in", ".run.in")
        names = ("job.toml", job.input_name, way, job.output_name)
        return [path for name in names if (path := self.folder(job) / name).is_file()]

    def complete(self, job: JobName, record: dict[str, Any]) -> None:
        """Make the job complete: its result is renamed into place."""
        folder = self.folder(job)
        record[FILES] = {path.name: sha256_of(path) for path in self.texts(job)}
        write_sealed(folder / RESULT, record)


def density_digest(folder: Path) -> str:
    """Return the SHA-256 over what others read of the output folder in a job's folder."""
    digest = hashlib.sha256()
    saved = folder / HANDED_ON
    for path in sorted(saved.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(saved)} {sha256_of(path)} ".encode())
    return digest.hexdigest()


@cache
def _core_orbitals(kept: Path, _mtime_ns: int, _size_bytes: int) -> bytes:
    """Hold a pseudopotential to its name, and return its core orbitals as XSpectra reads them.

    What was verified is so until its time or size change.
    """
    return core_orbital_text(read_sealed_upf(kept, kept.stem.rpartition("-")[2])).encode()


def try_locks() -> str:
    """Say whether a store in the working folder would keep locks; ComputationError if not."""
    try:
        with tempfile.TemporaryDirectory(dir=".") as folder, Store.lock_folder(Path(folder)):
            return "kept: several runners can share a store here"
    except OSError as error:
        return f"not tried, for it cannot be written: {error.strerror}"


def _locks(descriptor: int, folder: Path) -> bool:
    """Take a lock, and tell whether nobody else has it."""
    try:
        lock(descriptor)
    except BlockingIOError:
        return False
    except OSError as error:
        raise ComputationError(
            f"the file system of {folder} keeps no locks (flock: {error.strerror}), so two runners"
            " would compute the same job: choose a store on another disk ([run] store), or have"
            " this one mounted with locks (docs/clusters.md)") from None
    return True


def make_folder(folder: Path) -> None:
    """Make a folder of the store; ComputationError where the disk refuses."""
    with _used(folder):
        folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def _used(path: Path) -> Iterator[None]:
    """Say in one line what to do when the disk refuses a file or folder."""
    try:
        yield
    except OSError as error:
        raise ComputationError(f"{path} cannot be used: {error.strerror}; free the disk or choose"
                               " another store") from None


def _link(source: Path, target: Path) -> None:
    """Make target the same file as source, or a copy where the file system has no links; a whole
    one or none.
    """
    with suppress(OSError):
        if target.samefile(source):
            return
    temporary = Path(tempfile.mktemp(prefix=".tmp-", dir=target.parent))
    with _used(target):
        try:
            try:
                os.link(source, temporary)
            except PermissionError:
                shutil.copyfile(source, temporary)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


@dataclass(frozen=True)
class Garbage:
    """A file or folder to remove, its size, why nothing needs it, and the job's folder whose lock
    protects it.
    """

    path: Path
    size_bytes: int
    why: str
    folder: Path


def find_garbage(store: Store, jobs: Sequence[Job]) -> list[Garbage]:
    """Return what can be removed: never a result, an input, or a density that a job still starts
    from.

    Parameters
    ----------
    store
        The store; its locked folders are left alone.
    jobs
        Those of the study asked about; plans of other studies in the same store are honoured too.
    """
    needed = {store.folder(j.parent).name for j in jobs if j.parent is not None
              and store.result(j) is None}
    needed |= needed_densities(store)
    found, now = [], time.time()
    for folder in sorted(store.jobs_root.glob("*/")):
        for path in folder.glob(".tmp-*"):
            if now - path.stat().st_mtime > _OLD_SECONDS:
                found.append(Garbage(path, path.stat().st_size, "left by a killed run", folder))
        curve = folder / CURVE_FILE
        if curve.exists() and (folder / "xspectra.run.in").exists():
            why = "half of the intensity: of k alone, without -k"
            found.append(Garbage(curve, curve.stat().st_size, why, folder))
        outdir, done = folder / OUTDIR, (folder / RESULT).exists()
        if not outdir.is_dir() or folder.name in needed:
            continue
        runs = KINDS.get(folder.name.partition("-")[0])
        if done or not (runs and runs.can_go_on(folder)):
            why = "no job starts from it" if done else "left by an unfinished run"
            size = sum(os.lstat(path).st_size for path in outdir.rglob("*"))
            found.append(Garbage(outdir, size, why, folder))
    return found


def needed_densities(store: Store, done_or_here: Container[str] = ()) -> set[str]:
    """Return the folders whose densities the unfinished jobs of the store's plans work on.

    A plan that is being written or is damaged counts for nothing.

    Parameters
    ----------
    store
        The store.
    done_or_here
        Digests of jobs that need not be looked at.
    """
    rows: list[list[Any]] = []
    for path in store.root.glob("plan-*.json"):
        with suppress(OSError, ComputationError):
            record = read_sealed(path, "it is made again")
            rows += record["jobs"] if SEAL in record else []
    open_rows = [(digest, parent) for _, _, digest, _, parent in rows if parent
                 and digest not in done_or_here]
    if not open_rows:
        return set()
    done = {path.parent.name.rpartition("-")[2] for path in store.jobs_root.glob(f"*/{RESULT}")}
    return {parent for digest, parent in open_rows if digest[:12] not in done}


def remove(store: Store, garbage: Sequence[Garbage]) -> int:
    """Remove garbage, each piece under the lock of its folder; return the bytes freed. What is in
    use stays.
    """
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
