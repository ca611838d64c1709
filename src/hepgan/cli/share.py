"""The command that gives a model to programs of others."""

from __future__ import annotations

from pathlib import Path

import click

from hepgan.cli.console import Command, say
from hepgan.cli.options import FILE, OVERWRITE, output

__all__ = ["export"]


@click.command(
    cls=Command,
    short_help="Write a model as ONNX, to be run without hepgan.",
    example="hepgan export zmumu.safetensors -o zmumu.onnx",
)
@click.argument("model", type=FILE)
@output("ONNX file to write")
@click.option(
    "--member",
    type=click.IntRange(0),
    metavar="K",
    help="Of an ensemble the member K alone, from 0.  [default: all, chosen by an input]",
)
@OVERWRITE
def export(model: Path, output: Path, member: int | None, force: bool) -> None:
    """Write a MODEL as an ONNX file: random numbers and conditions in, branches of events out.

    onnxruntime runs it from C++, Python or other languages, without hepgan; its metadata say what each input
    and output is. It is compared with the model before it is kept. Needs the extra `onnx`.
    """
    from hepgan.export import export_onnx
    from hepgan.generator import EventGenerator

    made = export_onnx(EventGenerator.load(model, device="cpu"), output, member=member, force=force)
    for line in made.lines():
        say(line)
    say(f"ONNX file in {output}")
