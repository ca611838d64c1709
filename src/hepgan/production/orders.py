"""A plan as a file, by which any number of jobs make their parts, and what submits these jobs."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Literal, Self

from pydantic import ValidationError

from hepgan.arguments import checked
from hepgan.config import Config
from hepgan.errors import InputError
from hepgan.files import replacing
from hepgan.production.plan import Plan

__all__ = ["ENDING", "Order", "System", "submit_file"]

ENDING = ".plan.json"

System = Literal["slurm", "htcondor"]
"""Batch systems that hepgan writes submit files for."""


class Order(Config):
    """What a job needs to know.

    Attributes:
        model: The model file.
        output: The folder for the shards.
        conditions: What is given in generation, as ``hepgan generate --condition`` has it.
        plan: The plan.
    """

    model: str
    output: str
    conditions: tuple[str, ...] = ()
    plan: Plan

    @classmethod
    def read(cls, path: Path) -> Self:
        """The order in a file.

        Raises:
            InputError: If it cannot be read, or is not as `write` has written it.
        """
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            msg = "no such file" if isinstance(error, FileNotFoundError) else "cannot be read"
            raise InputError(msg, file=path) from error
        except ValidationError as error:
            msg = "is no plan that `hepgan plan` has written"
            raise InputError(msg, file=path) from error

    def write(self, path: Path, *, force: bool = False) -> None:
        """Writes the order.

        Raises:
            OutputError: If the file exists (without force), or cannot be written.
        """
        with replacing(path, force=force) as temporary:
            temporary.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


@checked
def submit_file(system: System, order: str | Path, jobs: int) -> str:
    """What submits jobs that make their parts of a plan, for machines that share their files.

    A job that is submitted again makes what is missing of its part.

    Args:
        system: The batch system.
        order: The file of the plan.
        jobs: The number of jobs.
    """
    path = Path(os.path.abspath(order))
    name = path.name.removesuffix(ENDING)
    text = _SLURM if system == "slurm" else _HTCONDOR
    quoted = shlex.quote if system == "slurm" else _quoted
    return text.format(
        name=name,
        jobs=jobs,
        python=quoted(sys.executable) if system == "slurm" else sys.executable,
        plan=quoted(str(path)),
    )


def _quoted(word: str) -> str:
    """A word among HTCondor's arguments."""
    return "'" + word.replace("'", "''").replace('"', '""') + "'"


_SLURM = """\
#!/bin/bash
# Change what your site asks for: partition, account, time.
#SBATCH --job-name={name}
#SBATCH --array=1-{jobs}
#SBATCH --cpus-per-task=1
#SBATCH --mem=3G
#SBATCH --time=08:00:00
#SBATCH --signal=TERM@60
#SBATCH --output={name}-%a.log
exec {python} -m hepgan generate {plan} --shards "$SLURM_ARRAY_TASK_ID/{jobs}" --workers 1
"""

_HTCONDOR = """\
# Change what your site asks for: time, accounting group. Folders must be shared with the machines of jobs.
universe       = vanilla
executable     = {python}
transfer_executable   = False
should_transfer_files = NO
Part           = $(Process) + 1
arguments      = "-m hepgan generate {plan} --shards $INT(Part)/{jobs} --workers 1"
request_cpus   = 1
request_memory = 3GB
output         = {name}-$INT(Part).log
error          = {name}-$INT(Part).log
log            = {name}.htcondor.log
queue {jobs}
"""
