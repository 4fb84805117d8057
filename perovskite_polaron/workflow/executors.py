"""Clusters: a small file that names one, and Parsl's pool executor on it. The scheduler's language
stays Parsl's.
"""

import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perovskite_polaron.errors import InputError, MissingExtraError, extra
from perovskite_polaron.espresso.pseudo import cache_folder
from perovskite_polaron.files import read_toml
from perovskite_polaron.settings import fill, option, refuse

# name in the file -> (Parsl's class, the name it has there for what we call a queue)
_PROVIDERS = {
    "slurm": ("SlurmProvider", "partition"), "pbs": ("PBSProProvider", "queue"),
    "torque": ("TorqueProvider", "queue"), "lsf": ("LSFProvider", "queue"),
    "grid-engine": ("GridEngineProvider", "queue"), "kubernetes": ("KubernetesProvider", ""),
    "local": ("LocalProvider", "")}


@dataclass(frozen=True)
class ExecutorSettings:
    """A cluster: ``polaron run STUDY.toml --executor FILE.toml``.

    Attributes
    ----------
    cores
        Of one node, shared by as many of the study's jobs as fit.
    nodes_per_block, max_blocks
        Nodes of one allocation (a block), and allocations at a time.
    worker_init
        Shell lines that make this package and Quantum ESPRESSO known on the node, if they are not
        there under the same path.
    retries
        How often a job is tried again after wall time or a lost node.
    worker_address
        Of this machine as the nodes see it, if Parsl does not find it.
    options
        Further arguments of Parsl's provider class, passed through.
    """

    provider: str = option("slurm", choices=tuple(_PROVIDERS))
    cores: int = option(1, low=1, high=4096)
    nodes_per_block: int = option(1, low=1, high=10_000)
    max_blocks: int = option(1, low=1, high=10_000)
    queue: str = ""
    account: str = ""
    walltime: str = "01:00:00"
    worker_init: str = ""
    scheduler_options: str = ""
    retries: int = option(2, low=0, high=100)
    worker_address: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def jobs_per_node(self, ranks: int) -> int:
        """Return how many jobs of at most so many MPI processes share a node."""
        return max(1, self.cores // ranks)

    @property
    def allocation_seconds(self) -> float | None:
        """Wall time of an allocation; None where the provider has no such limit."""
        if self.provider in ("kubernetes", "local"):
            return None
        hours, minutes, seconds = (float(x) for x in self.walltime.split(":"))
        return 3600 * hours + 60 * minutes + seconds

    def places(self, ranks: int) -> int:
        """Return how many such jobs the allocations hold together."""
        return self.jobs_per_node(ranks) * self.nodes_per_block * self.max_blocks


def read_executor(path: Path) -> ExecutorSettings:
    """Read the description of a cluster.

    Raises
    ------
    InputError
        With every problem at once.
    """
    table = read_toml(path, "executor file (TOML)")
    problems: list[str] = []
    settings = fill(ExecutorSettings, table, "executor", problems)
    for key in ("queue", "account", "worker_address") if settings else ():
        # These become lines of a batch script; only worker_init and scheduler_options are meant to
        # hold more.
        if not re.fullmatch(r"[\w.:@+-]*", getattr(settings, key)):
            problems.append(f"executor: {key} is a single word of letters, digits and . : @ + -")
    if settings and not re.fullmatch(r"\d+:\d\d:\d\d", settings.walltime):
        problems.append(f"executor: walltime = {settings.walltime!r} is not hours:minutes:seconds,"
                        " such as 04:00:00")
    refuse(path, problems)
    assert settings is not None
    return settings


def _run_folder(root: Path) -> Path:
    """Return a folder for Parsl's scripts and logs: in the store, unless its path means something
    to a shell.

    Parsl writes this path into shell scripts as it is.

    Raises
    ------
    InputError
        When the cache's path will not do either.
    """
    for folder in (root.absolute() / "parsl", cache_folder().absolute().parent / "parsl"):
        if re.fullmatch(r"[\w./@+-]+", str(folder), re.ASCII):
            return folder
    raise InputError(f"{root} has characters that Parsl cannot take, and so has the cache: set"
                     " POLARON_CACHE to a plain folder that the nodes see")


@contextmanager
def start_executor(settings: ExecutorSettings, ranks: int, root: Path) -> Iterator[Executor]:
    """Start Parsl on a cluster; leaving the context ends the allocations and what still runs there.

    Parameters
    ----------
    settings
        The cluster.
    ranks
        The largest number of MPI processes of a job.
    root
        Folder of the store, for Parsl's logs; they go to the cache where its path is not plain.

    Raises
    ------
    MissingExtraError
        Without Parsl.
    InputError
        When the provider refuses the options.
    """
    with extra("parsl", "cluster"):
        import parsl
        from parsl.concurrent import ParslPoolExecutor
    from parsl import providers
    from parsl.executors import HighThroughputExecutor
    from parsl.launchers import SimpleLauncher, SingleNodeLauncher, SrunLauncher

    class_name, queue = _PROVIDERS[settings.provider]
    blocks = settings.max_blocks
    arguments: dict[str, Any] = {"init_blocks": 1, "min_blocks": 0, "max_blocks": blocks}
    if settings.provider != "kubernetes":
        # The nodes see the store, and so in most places this very environment too; worker_init can
        # name another.
        here = shlex.quote(str(Path(sys.executable).parent))
        arguments["worker_init"] = f"export PATH={here}:$PATH\n{settings.worker_init}"
        arguments["launcher"] = SingleNodeLauncher()
    if settings.provider not in ("kubernetes", "local"):
        arguments |= {"walltime": settings.walltime, "nodes_per_block": settings.nodes_per_block,
                      "scheduler_options": settings.scheduler_options}
        given = {queue: settings.queue, "account": settings.account}
        arguments |= {key: value for key, value in given.items() if value}
    if settings.provider == "slurm":
        arguments |= {"cores_per_node": settings.cores, "exclusive": False}
        arguments["launcher"] = SrunLauncher() if settings.nodes_per_block > 1 else SimpleLauncher()
    try:
        provider = getattr(providers, class_name)(**arguments | dict(settings.options))
    except (TypeError, ValueError) as error:
        raise InputError(f"Parsl's {class_name} refuses the options of the executor file:"
                         f" {error}") from None
    except ImportError as error:
        raise MissingExtraError(str(error), "cluster") from None
    # The affinity is left to the MPI launcher; a lost node is noticed after 40 s instead of two
    # minutes.
    executor = HighThroughputExecutor(
        label="polaron", provider=provider, max_workers_per_node=settings.jobs_per_node(ranks),
        cpu_affinity="none", encrypted=False, heartbeat_period=10, heartbeat_threshold=40,
        address=settings.worker_address or None, interchange_launch_cmd=[
            sys.executable, "-m", "parsl.executors.high_throughput.interchange"])
    config = parsl.Config(executors=[executor], run_dir=str(_run_folder(root)), retries=0,
                          usage_tracking=0, initialize_logging=True)
    pool = ParslPoolExecutor(config)
    try:
        yield pool
    finally:
        # Not shutdown(wait=True): after Ctrl-C it would wait for tasks that nobody wants any more.
        pool.shutdown(wait=sys.exc_info()[0] is None)
