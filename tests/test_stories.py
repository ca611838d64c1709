"""The stories of users' files run as the page tells them, one after another in one folder."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from pathlib import Path

import matplotlib as mpl
import pytest
from shortened import shorten

from hepgan.cli import main as cli_main

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "stories.md"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def stories() -> dict[str, list[tuple[str, str]]]:
    """The blocks of each story, by its heading."""
    _, *parts = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    named = {part.partition("\n")[0]: FENCE.findall(part) for part in parts}
    return {heading: blocks for heading, blocks in named.items() if blocks}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A folder with the files that the page makes; trainings are short, and reports have no pictures."""
    folder = tmp_path_factory.mktemp("stories")
    (words,) = (shlex.split(b)[2:] for _, b in FENCE.findall(PAGE.read_text().partition("\n## ")[0]))
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(ROOT / "benchmarks"))
    patch.chdir(folder)
    patch.setattr(sys, "argv", words)
    before = {name: sys.modules.pop(name, None) for name in ("common", "field_files", "showers")}
    described = importlib.util.spec_from_file_location("field_files", ROOT / words[0])
    module = importlib.util.module_from_spec(described)
    sys.modules["field_files"] = module
    described.loader.exec_module(module)
    module.main()
    shorten(patch, "training.steps=20")
    with mpl.rc_context({"backend": "agg"}):
        yield folder
    patch.undo()
    for name, known in before.items():
        sys.modules.pop(name, None)
        if known is not None:
            sys.modules[name] = known


def without_numbers(line: str) -> str:
    """Digits depend on the machine."""
    return re.sub(r"\d+(\.\d+)?", "#", line).strip()


def test_there_are_six_stories():
    assert len(stories()) == 6


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("heading", stories())
def test_a_story_runs_and_says_what_the_page_says(heading, files, monkeypatch, capsys):
    monkeypatch.chdir(files)
    said = ""
    for kind, text in stories()[heading]:
        if kind == "python":
            exec(compile(text, heading, "exec"), {"__name__": "story"})
            continue
        if kind == "text":
            told = {without_numbers(line) for line in said.splitlines()}
            assert [line for line in text.splitlines() if without_numbers(line) not in told] == []
            continue
        for line in text.splitlines():
            words = shlex.split(line.removeprefix("$ hepgan "))
            with pytest.raises(SystemExit) as ended:
                cli_main(["2000" if w == "300_000" else w for w in words])
            said = capsys.readouterr().out
            assert ended.value.code in (0, None), (words, said)
