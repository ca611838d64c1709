"""No test can stop the others for ever.

After ``timeout`` seconds (pyproject.toml) pytest-timeout interrupts what is in Python: it fails, with stacks
of all threads. What no signal can interrupt (a call into C that waits) ends its process a minute later, by a
watch that needs no Python: the stacks stand in the log, and the others go on in another process.
Each phase is watched anew, since an interrupted test may leave something for which its teardown waits.

Nor does one file keep the others waiting: those that take longest begin first.
"""

from __future__ import annotations

import faulthandler
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

FOLDER = Path(__file__).parent

MORE = 60.0
"""Seconds that an interrupted test has to end by itself."""

LONGEST = (
    "benchmarks/test_smoke.py",
    "export/test_onnx.py",
    "test_docs.py",
    "generator/test_where.py",
    "reweighting/test_reweighting.py",
    "training/test_trainer.py",
    "production/test_clusters.py",
    "test_arguments.py",
    "test_stories.py",
    "models/test_flow_matching.py",
    "networks/test_sets.py",
)
"""Files of at least half a minute of computing; of the others, those with most tests come first."""

ERRORS = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """Keeps the stderr of the process, which a test would capture."""
    config.stash[ERRORS] = os.dup(2)


def watched(config: pytest.Config) -> Iterator[None]:
    """Ends this process, with all stacks, where what is run here takes too long."""
    limit = float(config.getoption("timeout") or config.getini("timeout") or 0)
    if limit:
        faulthandler.dump_traceback_later(limit + MORE, exit=True, file=config.stash[ERRORS])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Watches fixtures."""
    return (yield from watched(item.config))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Watches the test."""
    return (yield from watched(item.config))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Watches what fixtures do in the end."""
    return (yield from watched(item.config))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The order of files, where processes share them."""
    if not hasattr(config, "workerinput"):
        return
    ranks = {FOLDER / name: rank for rank, name in enumerate(LONGEST)}
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (ranks.get(item.path, len(ranks)), -tests[item.path]))


class Files(LoadFileScheduling):
    """Whole files to each process, as ``--dist loadfile``, which also ends when a process has not.

    As it is, the test that has ended a process is run again, and ends the next one; and a process that
    comes for a file's last test waits for the test after it.
    """

    def remove_node(self, node: Any) -> str | None:
        """The test that has ended a process, which is not tried again; the rest of its files is."""
        units = self.assigned_work[node].values()
        tests = ((unit, name) for unit in units for name, done in unit.items() if not done)
        unit, crashed = next(tests, (None, None))
        if unit is not None:
            unit[crashed] = True
        super().remove_node(node)
        return crashed

    def _reschedule(self, node: Any) -> None:
        if node in self.registered_collections:
            super()._reschedule(node)
            while self._pending_of(self.assigned_work[node]) < 2 and not node.shutting_down:
                super()._reschedule(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Files | None:
    """Takes the place of ``--dist loadfile``."""
    if config.getoption("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False
    return Files(config, log)
