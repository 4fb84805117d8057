"""The store of a study's results: one folder per job, complete only when its ``result.json`` is there."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from perovskite_polaron.errors import ComputationError
from perovskite_polaron.espresso.pw import OUTDIR
from perovskite_polaron.espresso.upf import write_core_orbital
from perovskite_polaron.espresso.xspectra import CORE_FILE
from perovskite_polaron.files import write_atomically
from perovskite_polaron.workflow.jobs import Job

RESULT = "result.json"
_LOCK = "lock"


class Store:
    """The folders of the jobs below one root. Safe with several runners: a job is worked on under a lock of its folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: dict[str, Path] = {}

    def folder(self, job: Job) -> Path:
        """Return the folder of a job, whether or not it exists; a job met before under another label keeps its folder."""
        key = job.digest[:12]
        if key not in self._folders and self.jobs_root.is_dir():
            self._folders = {entry.name.rpartition("-")[2]: Path(entry.path) for entry in os.scandir(self.jobs_root)}
        return self._folders.setdefault(key, self.jobs_root / job.folder)

    @property
    def jobs_root(self) -> Path:
        """Folder of all jobs."""
        return self.root / "jobs"

    def result(self, job: Job) -> dict[str, Any] | None:
        """Return the stored result of a job, or None if it is not complete. Raises ComputationError if it is damaged."""
        path = self.folder(job) / RESULT
        try:
            record: dict[str, Any] = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        except (OSError, json.JSONDecodeError) as error:
            raise ComputationError(f"{path} cannot be read ({error}): delete that job's folder and run again") from None
        return record

    def state(self, job: Job) -> tuple[str, dict[str, Any] | None]:
        """Return ``done`` with the result, or ``running``, ``failed`` (its last attempt left an output) or ``todo``."""
        record = self.result(job)
        if record is not None:
            return "done", record
        folder = self.folder(job)
        if not folder.is_dir():
            return "todo", None
        with self.lock(job) as descriptor:
            if descriptor is None:
                return "running", None
        return ("failed" if (folder / self.output_name(job)).exists() else "todo"), None

    def prepare(self, job: Job) -> Path:
        """Write everything that the job's program needs into its folder, whole, and return the folder."""
        folder = self.folder(job)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if job.pseudos:
                (folder / "pseudo").mkdir(exist_ok=True)
        except OSError as error:
            raise ComputationError(
                f"{folder} cannot be made: {error.strerror}; free the disk or choose another store"
            ) from None
        for label, pseudo in job.pseudos:
            write_atomically(folder / "pseudo" / f"{label}.UPF", pseudo.path.read_bytes())
        if job.core is not None:
            write_core_orbital(job.core, folder / CORE_FILE)
        write_atomically(folder / self.deck_name(job), job.deck)
        return folder

    @staticmethod
    def deck_name(job: Job) -> str:
        """File name of a job's input."""
        return job.program.replace(".x", ".in")

    @staticmethod
    def output_name(job: Job) -> str:
        """File name of a job's standard output."""
        return job.program.replace(".x", ".out")

    @contextmanager
    def lock(self, job: Job) -> Iterator[int | None]:
        """Hold the job's lock; yields its file descriptor, or None if another runner holds it.

        The lock belongs to the open file: it ends with the last process that has it, so a killed runner leaves none
        behind, and a program that outlives its runner still keeps others away.
        """
        folder = self.folder(job)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise ComputationError(
                f"{folder} cannot be used: {error.strerror}; free the disk or choose another store"
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield descriptor
        except BlockingIOError:
            yield None
        finally:
            os.close(descriptor)

    def clear(self, job: Job) -> None:
        """Remove what an unfinished attempt left, under the job's lock."""
        folder = self.folder(job)
        shutil.rmtree(folder / OUTDIR, ignore_errors=True)
        for name in (self.output_name(job), "chain.sav", "xanes.dat"):
            (folder / name).unlink(missing_ok=True)

    def has_density(self, job: Job) -> bool:
        """Tell whether a finished pw.x job still has the files that xspectra.x starts from."""
        return (self.folder(job) / OUTDIR).is_dir()

    def drop_density(self, job: Job) -> None:
        """Remove the big files of a pw.x job that nothing needs any more."""
        shutil.rmtree(self.folder(job) / OUTDIR, ignore_errors=True)

    def complete(self, job: Job, record: dict[str, Any]) -> None:
        """Make the job complete: its result is renamed into place."""
        write_atomically(self.folder(job) / RESULT, json.dumps(record, indent=1) + "\n")
