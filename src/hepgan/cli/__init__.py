"""The command line: it only parses, checks and calls the library, and nothing imports it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hepgan.runtime import wait_briefly

if TYPE_CHECKING:
    from hepgan.cli.app import cli

__all__ = ["cli", "main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; a user's error is one line and exit status 2.

    Args:
        arguments: What stands after ``hepgan``; ``sys.argv`` if None.

    Raises:
        SystemExit: Always, with the exit status.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    wait_briefly()
    try:
        # Ctrl-C may strike while this imports.
        from hepgan.cli.app import cli
        from hepgan.cli.console import run

        status = run(cli, given)
        if arguments is None:  # the work is done: Ctrl-C while Python ends is nothing to tell of
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        # Of several processes that train together, the leading one tells of it.
        if sys.stderr is not None and os.environ.get("RANK", "0") == "0":
            print("hepgan: interrupted; nothing was begun", file=sys.stderr)
        status = 130
    sys.exit(status)


def __getattr__(name: str) -> Any:
    """Loads the commands where they are first asked for."""
    if name != "cli":
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from hepgan.cli.app import cli

    return cli
