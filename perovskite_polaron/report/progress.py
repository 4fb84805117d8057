"""Live progress of a study's jobs, with an estimate of the time left."""

import sys
import time
from collections.abc import Sequence
from typing import TextIO

from perovskite_polaron.workflow.execute import Event
from perovskite_polaron.workflow.jobs import Job


class Progress:
    """Prints a line per finished job, and on a terminal keeps one live line below them.

    The time left is the cost of the jobs to do times the seconds per unit of cost seen so far in this study, over the
    number of jobs that run at once. Every event costs the same, however many jobs there are.
    """

    def __init__(
        self, jobs: Sequence[Job], done: dict[str, float], stream: TextIO | None = None, jobs_at_once: int = 1
    ) -> None:
        """``done``: digest -> wall seconds of the jobs that were finished before (0 if not known)."""
        self._stream = stream or sys.stderr
        self._total = len(jobs)
        self._at_once = jobs_at_once
        self._open: dict[str, Job] = {job.digest: job for job in jobs}
        self._open_cost: dict[str, float] = {}
        self._spent: dict[str, list[float]] = {}
        for job in jobs:
            self._open_cost[job.kind] = self._open_cost.get(job.kind, 0.0) + job.cost
        for digest, seconds in done.items():
            self._close(digest, seconds)
        self._started: dict[str, float] = {}
        self._live = self._stream.isatty()
        self._shown = 0.0
        self._waiting: set[str] = set()

    def _close(self, digest: str, seconds: float) -> None:
        job = self._open.pop(digest, None)
        if job is None:
            return
        self._open_cost[job.kind] -= job.cost
        if seconds > 0:
            total = self._spent.setdefault(job.kind, [0.0, 0.0])
            total[0] += seconds
            total[1] += job.cost

    def __call__(self, event: Event) -> None:
        """Take in one event of the runner."""
        digest = event.job.digest
        name = f"{event.job.kind:6} {event.job.label}"
        if event.what == "started":
            self._started[digest] = time.monotonic()
        elif event.what == "finished":
            self._close(digest, event.seconds)
            self._started.pop(digest, None)
            took = f"{_clock(event.seconds)}" if event.seconds else "found finished"
            self._line(f"[{self._count()}] {name}: {event.detail}, {took}, {self.left()}")
        elif event.what == "failed":
            self._started.pop(digest, None)
            self._line(f"[failed] {name}: {event.detail}")
        elif event.what == "again":
            self._started.pop(digest, None)
            self._line(f"[again] {name}: {event.detail}")
        elif event.what == "elsewhere" and digest not in self._waiting:
            self._waiting.add(digest)
            self._line(f"[waiting] {name} is being computed by another runner")
        elif event.what == "running" and self._live and time.monotonic() - self._shown > 0.5:
            self._shown = time.monotonic()
            elapsed = _clock(time.monotonic() - self._started.get(digest, time.monotonic()))
            text = f"[{self._count()}] {event.job.kind} {event.job.label}: {event.detail}, {elapsed}, {self.left()}"
            self._stream.write("\r\x1b[K" + text[:118])
            self._stream.flush()

    def _count(self) -> str:
        return f"{self._total - len(self._open)}/{self._total}"

    def left(self) -> str:
        """Return the estimated time left in words."""
        if not self._open:
            return "all done"
        every = [float(sum(x)) for x in zip(*self._spent.values(), strict=True)] or [1.0, 1.0]
        seconds = sum(cost * _rate(self._spent.get(kind, every)) for kind, cost in self._open_cost.items())
        now = time.monotonic()
        seconds -= sum(now - start for start in self._started.values())
        return f"about {_clock(max(seconds, 0.0) / self._at_once)} left"

    def _line(self, text: str) -> None:
        self._stream.write(("\r\x1b[K" if self._live else "") + " ".join(text.split("\n")) + "\n")
        self._stream.flush()


def _rate(total: Sequence[float]) -> float:
    return total[0] / total[1]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
