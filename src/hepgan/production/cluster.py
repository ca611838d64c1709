"""Clusters that run the work of a production or an analysis: Dask's own, or jobs of a batch system."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Any, Literal, get_args

from hepgan.arguments import checked, whole
from hepgan.errors import InputError
from hepgan.runtime import cores

__all__ = ["CLUSTERS", "ClusterName", "connected"]

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
        InputError: If a package is missing, the scheduler does not answer, or the batch system is not there
            or not described.
        ValueError: If jobs is not positive.
    """
    if (scheduler is None) == (cluster is None):
        msg = "needs the address of a scheduler, or the name of a cluster, not both"
        raise InputError(msg)
    return _connected(scheduler, cluster, None if jobs is None else whole("jobs", jobs))


@contextmanager
def _connected(scheduler: str | None, cluster: ClusterName | None, jobs: int | None) -> Iterator[Any]:
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        msg = 'clusters need the extra `dask` (in a clone: pip install ".[dask]")'
        raise InputError(msg) from error
    with ExitStack() as held:
        if scheduler is not None:
            address: Any = scheduler
        elif cluster == "local":
            address = LocalCluster(
                n_workers=jobs or cores(),
                threads_per_worker=1,
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
            )
            held.callback(_close, address)
        else:
            address = _batch(str(cluster))
            held.callback(_close, address)
            address.scale(jobs=jobs or JOBS)
        try:
            client = Client(address, timeout=_SECONDS_TO_CONNECT)
        except (OSError, ValueError) as error:
            msg = f"no scheduler of Dask answers at {scheduler}: {str(error) or type(error).__name__}"
            raise InputError(msg) from error
        yield held.enter_context(client)


def _close(cluster: Any) -> None:
    """Ends a cluster; a worker that does not end in time, as one that is just starting, spoils no result."""
    with suppress(TimeoutError, OSError):
        cluster.close()


def _batch(name: str) -> Any:
    """A cluster of jobs of a batch system, of which none runs yet."""
    try:
        import dask
        import dask_jobqueue as batch
    except ImportError as error:
        msg = f'a cluster of {name} needs the extra `dask` (in a clone: pip install ".[dask]")'
        raise InputError(msg) from error
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
    return kinds[name](silence_logs=logging.CRITICAL)
