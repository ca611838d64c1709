"""A test that waits for ever, or ends its process, fails by name; all others run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import patience

TESTS = """\
import os, time
def test_first(): pass
def test_waits(): time.sleep(1000)
def test_between(): pass
def test_dies(): os._exit(3)
def test_last(): pass
"""


def test_the_others_go_on(tmp_path):
    """In one process: the last test needs one that takes the place of that which has ended."""
    (tmp_path / "pytest.ini").touch()
    (tmp_path / "conftest.py").write_text("pytest_plugins = ['patience']")
    (tmp_path / "test_some.py").write_text(TESTS)
    without = [f"-pno:{name}" for name in ("hypothesispytest", "boost_histogram", "anyio")]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *without, "-n1", "--dist=loadfile", "--timeout=2", "-rA"],
        cwd=tmp_path,
        env={"PATH": "", "PYTHONPATH": str(Path(patience.__file__).parent)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    said = [line.split(" - ")[0] for line in run.stdout.splitlines() if line.startswith(("PASSED", "FAILED"))]
    assert sorted(said) == [
        "FAILED test_some.py::test_dies",
        "FAILED test_some.py::test_waits",
        *(f"PASSED test_some.py::test_{name}" for name in ("between", "first", "last")),
    ], run.stdout + run.stderr
    assert "Timeout (>2.0s)" in run.stdout
    assert "2 failed, 3 passed" in run.stdout


def test_the_files_that_take_longest_are_there():
    assert all((patience.FOLDER / name).is_file() for name in patience.LONGEST)
