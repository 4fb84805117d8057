"""Live progress of a study's jobs, with an estimate of the time left; ``polaron run`` prints it."""

import os
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TextIO

import numpy as np

from perovskite_polaron.workflow.execute import Event
from perovskite_polaron.workflow.jobs import Job
from perovskite_polaron.workflow.status import work_left


class Progress:
    """Prints a line per finished job, and on a terminal keeps one live line below them.

    The live line and those of finished jobs are cut at the terminal's width; what went wrong is
    not. There is no live line where TERM is dumb.

    The time left is the cost of the jobs to do times the seconds per unit of cost seen so far in
    this study, over the number of jobs that run at once. Every event costs the same, however many
    jobs there are.

    Parameters
    ----------
    jobs
        All jobs of the study.
    done
        Digest -> wall seconds of the jobs that were finished before (0 if not known).
    jobs_at_once
        How many jobs run side by side.
    stream
        Where to print; default standard error.
    """

    def __init__(self, jobs: Sequence[Job], done: Mapping[str, float], jobs_at_once: int = 1,
                 stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._total, self._at_once = len(jobs), jobs_at_once
        self._open: dict[str, Job] = {job.digest: job for job in jobs}
        self._open_cost = defaultdict[str, float](float)
        # kind of job -> seconds and cost of those whose time is known
        self._spent: dict[str, np.ndarray] = {}
        self._started: dict[str, float] = {}
        self._waiting: set[str] = set()
        self._shown = 0.0
        for job in jobs:
            self._open_cost[job.kind] += job.cost
        for digest, seconds in done.items():
            self._close(digest, seconds)

    def _close(self, digest: str, seconds: float) -> None:
        job = self._open.pop(digest, None)
        if job is None:
            return
        self._open_cost[job.kind] -= job.cost
        if seconds > 0:
            self._spent[job.kind] = self._spent.get(job.kind, 0) + np.array([seconds, job.cost])

    def __call__(self, event: Event) -> None:
        """Take in one event of the runner."""
        digest, now = event.job.digest, time.monotonic()
        name = f"{event.job.kind:6} {event.job.label}"
        if event.what == "started":
            self._started[digest] = now
        elif event.what == "finished":
            self._close(digest, event.seconds)
            took = _clock(event.seconds) if event.seconds else "found finished"
            said = f"[{self._count()}] {name}: {event.detail}, {took}, {self.left()}"
            self._line(self._cut(said) if self._live else said)
        elif event.what in ("failed", "again"):
            self._line(f"[{event.what}] {name}: {event.detail}")
        elif event.what == "elsewhere" and digest not in self._waiting:
            self._waiting.add(digest)
            self._line(f"[waiting] {name} is being computed by another runner")
        elif event.what == "running" and self._live and now - self._shown > 0.5:
            self._shown = now
            elapsed = _clock(now - self._started.get(digest, now))
            job = f"{event.job.kind} {event.job.label}: {event.detail}, {elapsed}"
            self._write(self._cut(f"[{self._count()}] {job}, {self.left()}"))
        if event.what in ("finished", "failed", "again"):
            self._started.pop(digest, None)

    def _count(self) -> str:
        return f"{self._total - len(self._open)}/{self._total}"

    def left(self) -> str:
        """Return the estimated time left in words."""
        if not self._open:
            return "all done"
        seconds = work_left(self._open_cost, self._spent)
        running = sum(time.monotonic() - start for start in self._started.values())
        return f"about {_clock(max(seconds - running, 0.0) / self._at_once)} left"

    def _line(self, text: str) -> None:
        self._write(" ".join(text.split("\n")) + "\n")

    def _write(self, text: str) -> None:
        self._stream.write(("\r\x1b[K" if self._live else "") + text)
        self._stream.flush()

    def _cut(self, text: str) -> str:
        try:
            width = os.get_terminal_size(self._stream.fileno()).columns
        except (OSError, ValueError):
            width = 80
        # The cursor needs a column of its own.
        return text if len(text) < width else f"{text[:width - 2]}…"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
