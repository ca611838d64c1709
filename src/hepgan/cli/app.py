"""The command line: parses, calls the library, says what happened and what comes next."""

from __future__ import annotations

import click

from hepgan import __version__
from hepgan.cli.console import Group
from hepgan.cli.generate import generate, plan
from hepgan.cli.judge import explain, info, validate
from hepgan.cli.learn import distill, refine, train, unfold
from hepgan.cli.produce import dataset, fold, init, quickstart, recipes, reweight
from hepgan.cli.share import export

__all__ = ["cli"]


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="hepgan")
def cli() -> None:
    """Learn an event generator from your own ROOT files, and know how far to trust it.

    Energies, momenta and masses are in the unit of your file (GeV, MeV or TeV), angles in radians. Files
    are named FILE.root:Tree; the tree may be left out if there is only one, or one called Events. Globs
    (in quotes) and Parquet files work too. Each command has its own --help.
    """


for command in (
    *(quickstart, dataset, recipes, init),
    *(train, distill, refine, unfold),
    *(generate, plan, fold, reweight),
    *(validate, explain, info, export),
):
    cli.add_command(command)
