"""Commands of hepgan in processes of their own: forks of one that has imported everything."""

from __future__ import annotations

import atexit
import contextlib
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Outcome", "run", "start", "wait"]

LIMIT = 60.0
"""Seconds that a command may take at most."""

MEMORY = 4 * 2**30
"""Bytes that a command may take besides what it starts with."""


class Outcome(NamedTuple):
    """How a command ended: exit status (below zero for a signal), what it said on stderr, and seconds."""

    status: int
    said: str
    seconds: float


def start(arguments: Sequence[str], *, largest: int | None = None, closed: Sequence[int] = ()) -> int:
    """Forks a process that runs a command in the present folder; gives its number."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        os.setpgid(0, 0)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGXCPU):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        for stream, name in ((1, ".out"), (2, ".err")):
            target = os.open(name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_APPEND)
            os.dup2(target, stream)
            os.close(target)
        sys.stdout, sys.stderr = (
            open(n, "w", encoding="utf-8", errors=e, closefd=False)  # noqa: SIM115
            for n, e in ((1, "strict"), (2, "backslashreplace"))
        )
        for stream in closed:
            os.close(stream)
            setattr(sys, {0: "stdin", 1: "stdout", 2: "stderr"}[stream], None)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if largest is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
        from hepgan.cli import main

        try:
            sys.argv = ["hepgan", *arguments]
            main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        atexit._run_exitfuncs()
        for output in (sys.stdout, sys.stderr):
            if output is not None:
                with contextlib.suppress(OSError):
                    output.flush()
    except KeyboardInterrupt:
        status = 130
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def wait(
    process: int, *, after: float | None = None, number: int = signal.SIGKILL, limit: float = LIMIT
) -> Outcome:
    """Waits for a process, and sends it a signal after so many seconds."""
    begun, sent = time.monotonic(), False
    while True:
        done, ended = os.waitpid(process, os.WNOHANG)
        seconds = time.monotonic() - begun
        if done:
            break
        if after is not None and not sent and seconds >= after:
            os.kill(process, number)
            sent = True
        if seconds > limit:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return Outcome(-99, f"not ended after {limit:.0f} s", seconds)
        time.sleep(0.004)
    said = Path(".err").read_text(errors="backslashreplace") if Path(".err").exists() else ""
    return Outcome(os.waitstatus_to_exitcode(ended), said, seconds)


def run(arguments: Sequence[str], **options: Any) -> Outcome:
    """Runs a command to its end."""
    return wait(start(arguments, **options))
