"""What the workers of a Dask cluster make of many pieces of work, in the order of the pieces."""

from __future__ import annotations

import queue
import secrets
import warnings
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from hepgan.errors import ClusterError, InputError
from hepgan.production.cluster import Watch

__all__ = ["check_client", "made_in_order"]

_AHEAD = 3
"""Pieces for each thread of the workers that are under way, or wait here for earlier ones."""

Piece = TypeVar("Piece")
Made = TypeVar("Made")


def check_client(client: Any) -> None:
    """Sees whether something is a client of Dask.

    Raises:
        InputError: If it is not.
    """
    if client is not None and not hasattr(client, "subscribe_topic"):
        msg = f"client must be a client of Dask (distributed.Client), not {type(client).__name__}"
        raise InputError(msg)


def made_in_order(
    client: Any, work: Callable[[Piece], Made], pieces: Sequence[Piece], what: str
) -> Generator[Made, None, None]:
    """Lets the workers of a cluster do a piece of work after another, and gives what they make in order.

    A piece whose worker has died is made by another one. No more is kept here than what a few workers make.

    Args:
        client: The cluster's client.
        work: What is done with a piece; it goes to each worker once.
        pieces: The pieces.
        what: What waits for it, for messages.

    Yields:
        What each piece has become.

    Raises:
        ClusterError: If workers die with a piece again and again, or the scheduler is gone.
    """
    from distributed import KilledWorker

    with warnings.catch_warnings():
        # It goes by the scheduler, so that it outlives each worker.
        warnings.filterwarnings("ignore", "Sending large graph|Large object", UserWarning)
        carried = client.submit(_same, work, key=f"hepgan-work-{secrets.token_hex(4)}", pure=False)
    watch = Watch(client, what, "run it again")
    done: queue.Queue[Any] = queue.Queue()
    running: dict[str, tuple[int, Any]] = {}
    ready: dict[int, Made] = {}
    waiting = deque(range(len(pieces)))
    given, more = 0, False

    def begin(number: int) -> None:
        key = f"hepgan-piece-{number}-{secrets.token_hex(4)}"
        future = client.submit(_done, carried, pieces[number], key=key, pure=False, priority=-number)
        running[key] = (number, future)
        future.add_done_callback(done.put)

    try:
        while given < len(pieces):
            threads, more = watch.threads(done=more), False
            while waiting and len(running) + len(ready) < _AHEAD * max(threads, 1):
                begin(waiting.popleft())
            with suppress(queue.Empty):
                future = done.get(timeout=0.25)
                number, _ = running.pop(future.key)
                if future.status == "cancelled":  # the scheduler has lost it
                    watch.check()
                    begin(number)
                    continue
                try:
                    ready[number] = future.result()
                except KilledWorker as error:
                    msg = f"workers have died again and again at the {what}; they may need more memory"
                    raise ClusterError(msg) from error
                more = True
            while given in ready:
                made = ready.pop(given)
                given += 1
                yield made
    finally:
        for _, future in running.values():
            with suppress(Exception):
                future.cancel()


def _same(work: Any) -> Any:
    return work


def _done(work: Callable[[Any], Any], piece: Any) -> Any:
    return work(piece)
