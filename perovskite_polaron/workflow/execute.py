"""Running a study's jobs in order, resumable, with several runners side by side if need be."""

import math
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED, BrokenExecutor, Executor, Future, ThreadPoolExecutor, wait)
from contextlib import contextmanager
from dataclasses import dataclass, field

from perovskite_polaron.errors import (
    ComputationError, InterruptedRunError, OutOfTimeError, PolaronError)
from perovskite_polaron.espresso.upf import Pseudopotential
from perovskite_polaron.workflow.attempt import Outcome, attempt, attempt_there
from perovskite_polaron.workflow.jobs import Job, by_digest
from perovskite_polaron.workflow.store import Store, make_folder, needed_densities

# Below this much work for each process (in the unit of Job.cost), another job is a better use of a
# core.
_COST_PER_RANK = 10.0
_PATIENCE_SECONDS = 0.5
_CHECKPOINTS = 100
_TIDYING = 20


def ranks_for(job: Job, most: int) -> int:
    """Return the number of MPI processes for a job, from its cost and its k points.

    Up to the number of k points, each process is a pool of its own, and the fewest that need the
    same number of rounds are taken: 4 points on 3 processes take as long as on 2. Beyond it, whole
    multiples of the k points are taken.

    Parameters
    ----------
    job
        The job.
    most
        The largest number.
    """
    if job.runs.one_process:
        return 1
    worth = max(1, min(most, int(job.cost / _COST_PER_RANK)))
    if worth <= job.kpoints:
        return math.ceil(job.kpoints / math.ceil(job.kpoints / worth))
    return worth // job.kpoints * job.kpoints


@dataclass(frozen=True)
class Event:
    """What the runner reports of a job.

    Attributes
    ----------
    what
        ``started``, ``running`` (with a detail), ``finished``, ``failed``, ``again`` (tried again,
        with the reason), or ``elsewhere``, in the hands of another runner. An executor's own queue
        is not seen: there, started means handed over.
    """

    what: str
    job: Job
    detail: str = ""
    seconds: float = 0.0


class _Stop(BaseException):
    """Raised in a worker when the runner is told to end."""


def run_jobs(jobs: Sequence[Job], store: Store, *, ranks: int | Callable[[Job], int],
             jobs_at_once: int, cores: int | None = None,
             report: Callable[[Event], None] = lambda event: None, executor: Executor | None = None,
             retries: int = 2, allocation_seconds: float | None = None) -> None:
    """Run the jobs that have no result yet, each after those it starts from; return when all are
    done.

    A job that another runner works on is left to it and its result is awaited. When a job fails,
    the jobs that do not depend on it still run. On Ctrl-C or SIGTERM the programs started here are
    ended and KeyboardInterrupt is raised; finished jobs keep their results.

    Parameters
    ----------
    jobs, store
        What is computed, and where its results are kept.
    ranks
        MPI processes of every job, or a function that says it for each.
    jobs_at_once
        How many run at a time.
    cores
        With it, also no more run than their ranks fit into.
    report
        Called with what happens.
    executor
        Any concurrent.futures executor, of other processes or machines that see the store under the
        same path (default: threads here).
    retries
        How often a job is tried again after its program was killed or its machine lost; other
        failures are not tried again.
    allocation_seconds
        Wall time of the executor's allocations, before whose end programs that can stop with a
        checkpoint.

    Raises
    ------
    ComputationError
        Naming the first failure, and how many jobs failed.
    """
    width = ranks if callable(ranks) else (lambda job: ranks)
    queue = _Queue(jobs, store)
    if queue.ready:
        # Where no locks are kept this says so, once and before anything is started.
        make_folder(store.root)
        with store.lock_folder(store.root):
            pass
    stop = threading.Event()
    pool = executor or ThreadPoolExecutor(jobs_at_once)

    def submit(job: Job, descendants: list[Job]) -> Future[Outcome]:
        if executor is None:
            return pool.submit(_attempt_here, job, descendants, store, width(job), report, stop)
        for pseudo in (*(p for _, p in job.pseudos), job.core):
            if isinstance(pseudo, Pseudopotential):
                store.keep(pseudo)
        report(Event("started", job))
        slim = [one.slim() for one in descendants]
        return pool.submit(attempt_there, job.slim(), slim, str(store.root.absolute()), width(job),
                           allocation_seconds)

    runner = _Runner(queue, submit, width, jobs_at_once, cores, report,
                     _Patience(retries), stop.wait)
    try:
        with _terminate_as_interrupt():
            runner.run()
    except BaseException:
        stop.set()
        raise
    finally:
        if executor is None:
            pool.shutdown(wait=True, cancel_futures=True)
    if runner.failures:
        first, *others = runner.failures
        more = f" (and {len(others)} more jobs failed)" if others else ""
        raise ComputationError(f"{first}{more}; finished jobs are kept, correct this and run again")


@dataclass(eq=False)
class _Runner:
    """Hands out the jobs of a queue as they fit, and takes in how they ended."""

    queue: "_Queue"
    submit: Callable[[Job, list[Job]], Future[Outcome]]
    width: Callable[[Job], int]
    jobs_at_once: int
    cores: int | None
    report: Callable[[Event], None]
    patience: "_Patience"
    pause: Callable[[float], object]
    running: dict[Future[Outcome], Job] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Return when nothing is left to do."""
        queue = self.queue
        while queue.ready or queue.elsewhere or self.running:
            while queue.ready and self._fits(queue.ready[0]):
                job = queue.ready.popleft()
                self.running[self.submit(job, queue.descendants(job))] = job
            if not self.running:
                self.pause(_PATIENCE_SECONDS)
            patience = _PATIENCE_SECONDS if queue.elsewhere else None
            for future in wait(self.running, patience, FIRST_COMPLETED).done:
                self._take(future)
            queue.look_elsewhere()
            queue.drop_rest()
        # A program that is being started lets go of our locks in a moment; another runner clears up
        # itself.
        for _ in range(_TIDYING):
            if queue.drop_rest():
                break
            self.pause(_PATIENCE_SECONDS / 5)

    def _fits(self, job: Job) -> bool:
        if len(self.running) >= self.jobs_at_once:
            return False
        used = sum(map(self.width, self.running.values()))
        return self.cores is None or not self.running or used + self.width(job) <= self.cores

    def _take(self, future: Future[Outcome]) -> None:
        job = self.running.pop(future)
        try:
            outcome = future.result()
        except BrokenExecutor as error:
            raise ComputationError(f"the executor broke ({error}); finished jobs are kept, run"
                                   " again") from None
        except Exception as error:
            self._take_failure(job, error)
            return
        if outcome.what == "elsewhere":
            self.report(Event("elsewhere", job))
            self.queue.elsewhere.append(job)
            return
        if outcome.what == "finished":
            self.report(Event("finished", job, outcome.detail, outcome.seconds))
        self.queue.finish(job)

    def _take_failure(self, job: Job, error: Exception) -> None:
        lost = isinstance(error, InterruptedRunError) or _from_parsl(error)
        if not lost and not isinstance(error, PolaronError):
            raise error
        if lost and self.patience.allows(job, error):
            self.report(Event("again", job, str(error)))
            self.queue.ready.appendleft(job)
            return
        self.failures.append(f"{job.label}: {error}")
        self.report(Event("failed", job, str(error)))
        self.queue.give_up(job)


class _Patience:
    """Counts how often each job was tried again.

    Being out of time is not of the job's own making and has a count of its own: a run that goes on
    from its checkpoint comes nearer to its end each time, and one that had no time left to begin,
    and then was lost with its allocation, has cost nothing.

    Parameters
    ----------
    retries
        How often for a program that was killed or a machine that was lost.
    """

    def __init__(self, retries: int) -> None:
        self._allowed = {True: _CHECKPOINTS, False: retries}
        self._tries: Counter[tuple[str, bool]] = Counter()
        self._waited: set[str] = set()

    def allows(self, job: Job, error: Exception) -> bool:
        """Count a failure that may pass, and tell whether the job is tried again."""
        out_of_time = isinstance(error, OutOfTimeError)
        patient = out_of_time or job.digest in self._waited
        (self._waited.add if out_of_time else self._waited.discard)(job.digest)
        self._tries[job.digest, patient] += 1
        return self._tries[job.digest, patient] <= self._allowed[patient]


def _from_parsl(error: Exception) -> bool:
    """Tell, without importing Parsl, whether it lost a worker; raise when it can start none."""
    kind = type(error)
    if kind.__module__.partition(".")[0] != "parsl":
        return False
    if kind.__name__ in ("BadStateException", "ScalingFailed"):
        raise ComputationError(f"the cluster starts no workers: {error}; correct the executor file"
                               " and run again") from None
    return True


class _Queue:
    """The jobs still to do. Every step costs what it changes, not the number of jobs: ten thousand
    are no burden.

    Attributes
    ----------
    ready
        Those that can start, the children of a finished job first, so that few densities lie on the
        disk at a time.
    elsewhere
        Those in the hands of another runner.
    children
        Jobs that work on a job's density; those that only begin with it are its followers too.
    """

    def __init__(self, jobs: Sequence[Job], store: Store) -> None:
        self._store = store
        unique = by_digest(jobs)
        self.children: dict[str, list[Job]] = {}
        self._followers: dict[str, list[Job]] = {}
        for job in unique.values():
            if job.parent is not None:
                self.children.setdefault(job.parent.digest, []).append(job)
            for start in job.after:
                self._followers.setdefault(start.digest, []).append(job)
        todo = {digest: job for digest, job in unique.items() if store.result(job) is None}
        # A job needs its parent's density, which is dropped once all the parent's children are
        # done; it is made again from that of the parent's own parent.
        parents = by_digest(job.parent for job in todo.values() if job.parent is not None)
        while parents:
            parent = parents.pop(next(iter(parents)))
            if parent.digest not in todo and not store.has_whole_density(parent):
                todo[parent.digest] = unique.get(parent.digest, parent)
                if parent.parent is not None:
                    parents.setdefault(parent.parent.digest, parent.parent)
        self._todo = todo
        self._undropped: list[Job] = []
        self._open_followers = {digest: sum(one.digest in todo for one in followers)
                                for digest, followers in self._followers.items()}
        # Other studies in this store may still need what this one does not.
        self._needed = needed_densities(store, done_or_here=unique)
        for job in unique.values():
            # A runner that was killed between a result and its cleaning leaves a density.
            self._drop_unneeded(job)
        self.ready = deque(job for job in todo.values() if self._can_start(job))
        self.elsewhere: list[Job] = []

    def descendants(self, job: Job) -> list[Job]:
        """Return the jobs that work on a job's density, and those that work on theirs."""
        children = self.children.get(job.digest, [])
        return [*children, *(one for child in children for one in self.descendants(child))]

    def finish(self, job: Job) -> None:
        """Take a job off the list, let its followers start, and drop densities that nothing needs
        any more.
        """
        del self._todo[job.digest]
        for start in job.after:
            self._open_followers[start.digest] -= 1
        for owner in (job, *job.after):
            self._drop_unneeded(owner)
        self.ready.extendleft(one for one in reversed(self._followers.get(job.digest, []))
                              if one.digest in self._todo and self._can_start(one))

    def give_up(self, job: Job) -> None:
        """Take a failed job and all that depends on it off the list; densities stay for another
        run.

        What would only have begun with its density starts from free atoms.
        """
        del self._todo[job.digest]
        for one in self._followers.get(job.digest, []):
            if one.digest not in self._todo:
                continue
            if one.parent is not None:
                self.give_up(one)
            elif self._can_start(one):
                self.ready.append(one)

    def _can_start(self, job: Job) -> bool:
        return not any(start.digest in self._todo for start in job.after)

    def _drop_unneeded(self, job: Job) -> None:
        if job.digest not in self._todo and not self._open_followers.get(job.digest, 0):
            self._drop(job)

    def _drop(self, job: Job) -> None:
        folder = self._store.folder(job)
        if folder.name in self._needed or not self._store.has_density(job):
            return
        # Who holds the lock is at work in there (another runner makes this density again, for a
        # study of its own), or is a program that was just forked and still holds what its runner
        # had open.
        with self._store.lock_folder(folder) as descriptor:
            if descriptor is None:
                self._undropped.append(job)
            else:
                self._store.drop_density(job)

    def drop_rest(self) -> bool:
        """Drop the densities that were locked when their turn came, and tell whether all are gone.
        """
        waiting, self._undropped = self._undropped, []
        for job in waiting:
            self._drop(job)
        return not self._undropped

    def look_elsewhere(self) -> None:
        """Take in what other runners have finished, and take over what they left."""
        waiting, self.elsewhere = self.elsewhere, []
        for job in waiting:
            (self.elsewhere if self._store.is_locked(job) else self.ready).append(job)


def _attempt_here(job: Job, descendants: Sequence[Job], store: Store, ranks: int,
                  report: Callable[[Event], None], stop: threading.Event) -> Outcome:
    def progress(detail: str) -> None:
        if stop.is_set():
            raise _Stop
        report(Event("running", job, detail))

    return attempt(job, descendants, store, ranks, lambda: report(Event("started", job)), progress)


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """Let SIGTERM (a batch system's wall time, a shutdown) end the programs as Ctrl-C does; main
    thread only.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
