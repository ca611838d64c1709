"""A file through the four commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from shortened import shorten

from hepgan.cli import cli
from hepgan.cli.console import run
from hepgan.events import count_events
from hepgan.events.formats import ENDINGS, format_of


def whole_way(file: str, generated: Path, patch: pytest.MonkeyPatch) -> None:
    """Learns a file in a few steps, and compares it with what is generated, into a file and into a folder."""
    shorten(patch)
    quick = ["--set", "training.steps=30", "--set", "training.batch_size=128"]
    found = format_of(generated.name)
    shards = ["--shard-size", "200", "--format", str(found)]
    for line in (
        ["init", file, "-o", "my.yaml"],
        ["train", "my.yaml", file, "-o", "my.safetensors", *quick],
        ["generate", "my.safetensors", "-n", "300", "-o", str(generated), "--seed", "1"],
        ["generate", "my.safetensors", "-n", "300", "-o", "shards", *shards],
        ["validate", file, str(generated), "-o", "report", "--recipe", "my.yaml"],
    ):
        assert run(cli, line) == 0, line
    assert count_events(f"shards/*{ENDINGS[found][0]}") == 300
