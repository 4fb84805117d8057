"""Live progress of a study's jobs, with an estimate of the time left."""

import sys
import time
from collections.abc import Sequence
from typing import TextIO

from perovskite_polaron.workflow.execute import Event
from perovskite_polaron.workflow.jobs import Job


class Progress:
    """Prints a line per finished job, and on a terminal keeps one live line below them.

    The time left is the cost of the jobs to do times the seconds per unit of cost seen so far in this study.
    """

    def __init__(self, jobs: Sequence[Job], done: dict[str, float], stream: TextIO | None = None) -> None:
        """``done``: digest -> wall seconds of the jobs that were finished before (0 if not known)."""
        self._stream = stream or sys.stderr
        self._jobs = {job.digest: job for job in jobs}
        self._done = dict(done)
        self._started: dict[str, float] = {}
        self._live = self._stream.isatty()
        self._shown = 0.0
        self._waiting: set[str] = set()

    def __call__(self, event: Event) -> None:
        """Take in one event of the runner."""
        digest = event.job.digest
        if event.what == "started":
            self._started[digest] = time.monotonic()
        elif event.what == "finished":
            self._done[digest] = event.seconds
            took = f"{_clock(event.seconds)}" if event.seconds else "found finished"
            self._line(
                f"[{self._count()}/{len(self._jobs)}] {event.job.kind:6} {event.job.label}: {event.detail}, {took}, {self.left()}"
            )
        elif event.what == "failed":
            self._started.pop(digest, None)
            self._line(f"[failed] {event.job.kind:6} {event.job.label}: {event.detail}")
        elif event.what == "elsewhere" and digest not in self._waiting:
            self._waiting.add(digest)
            self._line(f"[waiting] {event.job.kind:6} {event.job.label} is being computed by another runner")
        elif event.what == "running" and self._live and time.monotonic() - self._shown > 0.5:
            self._shown = time.monotonic()
            elapsed = _clock(time.monotonic() - self._started.get(digest, time.monotonic()))
            text = f"[{self._count()}/{len(self._jobs)}] {event.job.kind} {event.job.label}: {event.detail}, {elapsed}, {self.left()}"
            self._stream.write("\r\x1b[K" + text[:118])
            self._stream.flush()

    def _count(self) -> int:
        return sum(digest in self._done for digest in self._jobs)

    def left(self) -> str:
        """Return the estimated time left in words."""
        open_jobs = [job for digest, job in self._jobs.items() if digest not in self._done]
        if not open_jobs:
            return "all done"
        spent: dict[str, list[float]] = {}
        for digest, seconds in self._done.items():
            job = self._jobs.get(digest)
            if job is not None and seconds > 0:
                total = spent.setdefault(job.kind, [0.0, 0.0])
                total[0] += seconds
                total[1] += job.cost
        every = [float(sum(x)) for x in zip(*spent.values(), strict=True)] or [1.0, 1.0]
        seconds = sum(job.cost * _rate(spent.get(job.kind, every)) for job in open_jobs)
        now = time.monotonic()
        seconds -= sum(now - start for digest, start in self._started.items() if digest not in self._done)
        return f"about {_clock(max(seconds, 0.0))} left"

    def _line(self, text: str) -> None:
        self._stream.write(("\r\x1b[K" if self._live else "") + text + "\n")
        self._stream.flush()


def _rate(total: Sequence[float]) -> float:
    return total[0] / total[1]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
