"""Clusters that run the work of a production or an analysis: Dask's own, or jobs of a batch system."""

from __future__ import annotations

import logging
import shutil
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Any, Literal, NoReturn, get_args

from hepgan.arguments import checked, whole
from hepgan.errors import ClusterError, InputError
from hepgan.runtime import cores

__all__ = ["CLUSTERS", "ClusterName", "Watch", "connected"]

ClusterName = Literal["local", "slurm", "htcondor"]
"""Clusters that hepgan starts."""

CLUSTERS: tuple[str, ...] = get_args(ClusterName)

SUBMIT = {"slurm": "sbatch", "htcondor": "condor_submit"}
"""What submits a job."""

_DESCRIBED = ("cores", "memory")
"""What dask-jobqueue must know of a job."""

JOBS = 10
"""Jobs of a batch system, if nothing is said."""

_SECONDS_TO_CONNECT = 30

_SECONDS_TO_START = 300
"""In which a process of this machine must have started."""

_SECONDS_TO_CLOSE = 30

_SECONDS_TO_RESTART = "5 minutes"
"""After which Dask gives up a process here that has died and is not back; a busy machine takes a while."""

_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(1 << 29), "MALLOC_MMAP_THRESHOLD_": str(1 << 25)}
"""What glibc is told in workers: to keep what is freed for what comes next. Dask has it give memory back at
once, and a worker that makes events then spends a third of its time on pages that it had before."""

_LOOK = 2.0
"""Seconds between two looks at the processes of this machine."""

_PATIENT = 30.0
"""Seconds after which it is told that there is no worker."""

_SILENT = 900.0
"""Seconds after which it is told that workers finish nothing."""


@checked
def connected(
    scheduler: str | None = None, *, cluster: ClusterName | None = None, jobs: int | None = None
) -> AbstractContextManager[Any]:
    """The client (``distributed.Client``) of a cluster that runs, or of one that ends with the context.

    Args:
        scheduler: The address of a scheduler that runs, ``tcp://HOST:PORT``.
        cluster: What to start: ``local``, processes of this machine with one thread each; ``slurm`` or
            ``htcondor``, jobs of the batch system, as ``~/.config/dask/jobqueue.yaml`` describes them.
        jobs: How many; by default one for each core of this machine, or 10 jobs.

    Raises:
        InputError: If a package is missing, the scheduler does not answer, no process starts, or the batch
            system is not there or not described.
        ValueError: If jobs is not positive.
    """
    if (scheduler is None) == (cluster is None):
        msg = "needs the address of a scheduler, or the name of a cluster, not both"
        raise InputError(msg)
    return _connected(scheduler, cluster, None if jobs is None else whole("jobs", jobs))


@contextmanager
def _connected(scheduler: str | None, cluster: ClusterName | None, jobs: int | None) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError as error:
        msg = 'clusters need the extra `dask` (in a clone: pip install ".[dask]")'
        raise InputError(msg) from error
    with ExitStack() as held:
        if scheduler is not None:
            address: Any = scheduler
        elif cluster == "local":
            address = held.enter_context(_local())
        else:
            address = _batch(str(cluster))
            held.callback(_close, address)
            address.scale(jobs=jobs or JOBS)
        try:
            # What others compute in this process is not sent to it.
            client = Client(address, timeout=_SECONDS_TO_CONNECT, set_as_default=False)
        except (OSError, ValueError) as error:
            msg = f"no scheduler of Dask answers at {scheduler}: {str(error) or type(error).__name__}"
            raise InputError(msg) from error
        held.enter_context(client)
        if cluster == "local":
            held.callback(_kept(address, jobs or cores()))
            _started(client, jobs or cores())
        yield client


@contextmanager
def _local() -> Iterator[Any]:
    """A cluster of processes of this machine, of which none is there yet."""
    import dask
    from distributed import LocalCluster

    settings = {
        "distributed.deploy.lost-worker-timeout": _SECONDS_TO_RESTART,
        **{f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in _MEMORY.items()},
    }
    with dask.config.set(settings):
        cluster = LocalCluster(
            n_workers=0,
            threads_per_worker=1,
            # What Dask pauses for its memory may never go on.
            memory_limit=0,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        )
        try:
            yield cluster
        finally:
            _close(cluster)


def _kept(cluster: Any, number: int) -> Callable[[], None]:
    """Sees to it that a local cluster has so many workers, until what it returns is called.

    Dask starts a worker again that dies, but for one that dies while it starts.
    """
    from distributed import Status
    from tornado.ioloop import PeriodicCallback

    def look() -> None:
        for name, worker in list(cluster.workers.items()):
            if worker.status in (Status.closed, Status.failed):
                del cluster.workers[name]
        if len(cluster.workers) < number:
            cluster.scale(number)

    looks = PeriodicCallback(look, 1000 * _LOOK)
    cluster.loop.add_callback(look)
    cluster.loop.add_callback(looks.start)
    return lambda: cluster.loop.add_callback(looks.stop)


def _started(client: Any, number: int) -> None:
    """Waits for the processes of a local cluster; those that take too long may come later, if one is there.

    Raises:
        InputError: If none is there in time.
    """
    try:
        client.wait_for_workers(number, timeout=_SECONDS_TO_START)
    except TimeoutError as error:
        if not client.nthreads():
            msg = f"none of {number} processes for a local cluster has started in {_SECONDS_TO_START:g} s"
            raise InputError(msg) from error


def _close(cluster: Any) -> None:
    """Ends a cluster; a worker that does not end in time, as one that is just starting, spoils no result."""
    told = logging.getLogger("tornado.application")  # which would tell of each of them
    level = told.level
    told.setLevel(logging.CRITICAL)
    try:
        with suppress(Exception):
            cluster.close(timeout=_SECONDS_TO_CLOSE)
    finally:
        told.setLevel(level)


class Watch:
    """Looks at a cluster while its work is waited for, so that no wait is endless without a word.

    Args:
        client: The cluster's client.
        what: What waits, for messages.
        after: What to do when the cluster fails, for messages.
    """

    def __init__(self, client: Any, what: str, after: str) -> None:
        self._client, self._what, self._after = client, what, after
        self._worker = self._done = time.monotonic()
        self._told: set[str] = set()

    def threads(self, *, done: bool = False) -> int:
        """The number of threads of all workers.

        Args:
            done: Whether something has been done since the last call.

        Raises:
            ClusterError: If the scheduler is gone, or no process of a local cluster starts any more.
        """
        self.check()
        try:
            threads = int(sum(self._client.nthreads().values()))
        except (OSError, TimeoutError) as error:
            self._fail("the scheduler of the cluster is gone", error)
        now = time.monotonic()
        self._worker = now if threads else self._worker
        self._done = now if done or not threads else self._done
        if now - self._worker > _SECONDS_TO_START and _is_local(self._client):
            self._fail("no process of the local cluster starts any more")
        if now - self._worker > _PATIENT:
            self._tell(f"the cluster has no worker; the {self._what} goes on as soon as one comes")
        if now - self._done > _SILENT:
            self._tell(
                f"the workers have done nothing of the {self._what} for {_SILENT / 60:g} minutes: "
                "they may be short of memory or cores, or hang"
            )
        return threads

    def check(self) -> None:
        """Sees whether the scheduler is there.

        Raises:
            ClusterError: If it is not.
        """
        if self._client.status not in ("running", "connecting"):
            self._fail("the scheduler of the cluster is gone")

    def _fail(self, why: str, error: Exception | None = None) -> NoReturn:
        msg = f"{why}; {self._after}"
        raise ClusterError(msg) from error

    def _tell(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            warnings.warn(message, UserWarning, stacklevel=4)


def _is_local(client: Any) -> bool:
    from distributed import LocalCluster

    return isinstance(getattr(client, "cluster", None), LocalCluster)


def _dask_jobqueue(name: str) -> Any:
    """The package, whose import must not decide what Ctrl-C does to this process."""
    ours = signal.getsignal(signal.SIGINT)
    try:
        import dask_jobqueue
    except ImportError as error:
        msg = f'a cluster of {name} needs the extra `dask` (in a clone: pip install ".[dask]")'
        raise InputError(msg) from error
    except ValueError as error:  # its import asks for signals
        msg = f"a cluster of {name} can be started by a process's main thread only"
        raise InputError(msg) from error
    if ours is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, ours)
    return dask_jobqueue


def _batch(name: str) -> Any:
    """A cluster of jobs of a batch system, of which none runs yet."""
    import dask

    batch = _dask_jobqueue(name)
    if shutil.which(SUBMIT[name]) is None:
        msg = f"there is no {SUBMIT[name]} here, by which jobs of {name} are submitted"
        raise InputError(msg)
    known = dask.config.get(f"jobqueue.{name}", {})
    missing = [key for key in _DESCRIBED if not known.get(key)]
    if missing:
        msg = (
            f"~/.config/dask/jobqueue.yaml does not say what jobs of {name} need ({', '.join(missing)}); "
            "dask-jobqueue's documentation shows it"
        )
        raise InputError(msg)
    kinds = {"slurm": batch.SLURMCluster, "htcondor": batch.HTCondorCluster}
    # What is handed over takes the place of what is described, under its old name, too.
    prologue = known.get("job-script-prologue") or known.get("env-extra") or ()
    kept = [f"export {k}=${{{k}:-{v}}}" for k, v in _MEMORY.items()]
    return kinds[name](silence_logs=logging.CRITICAL, job_script_prologue=[*prologue, *kept])
