"""Commands that generate events: at once, as jobs of a batch system, or on a cluster."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from os.path import abspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click
from click.core import ParameterSource

from hepgan.cli.console import Command, Count, Interrupted, Output, say, say_next
from hepgan.cli.options import (
    CONDITIONS,
    DEVICE,
    FILE,
    FORMAT,
    OVERWRITE,
    SEED,
    WHERE,
    WORKERS,
    connection,
    on_cluster,
    read_conditions,
    read_member,
)
from hepgan.errors import InputError, OutputError
from hepgan.runtime import progress

if TYPE_CHECKING:
    from hepgan.generator import EventGenerator
    from hepgan.production import Plan, Production

__all__ = ["generate", "plan"]

F = TypeVar("F", bound=Callable[..., Any])

SHARD_SIZE = 1_000_000


def _of_plans(function: F) -> F:
    """The options that say which events are to be made, and how they are to be written."""
    for option in reversed(
        (
            SEED,
            CONDITIONS,
            WHERE,
            click.option(
                "--member",
                metavar="K|all",
                help="Of an ensemble the events of member K alone, from 0, or of all in turn, with a branch "
                "`member`.  [default: all]",
            ),
            FORMAT,
            click.option(
                "--shard-size",
                type=Count(),
                default=SHARD_SIZE,
                show_default=True,
                help="Events in a file of a folder.",
            ),
            click.option(
                "--cross-section",
                type=click.FloatRange(0, min_open=True),
                metavar="PB",
                help="What weights sum to, in pb.  [default: the sum of the training sample, if it has "
                "weights]",
            ),
            click.option(
                "--luminosity",
                type=click.FloatRange(0, min_open=True),
                metavar="1/PB",
                help="Multiplies the cross section.  [default: 1]",
            ),
        )
    ):
        function = option(function)
    return function


PLANNED = (
    *("events", "output", "seed", "conditions", "where", "member", "file_format", "shard_size"),
    *("cross_section", "luminosity"),
)
"""What a plan says, so that it cannot be said beside it."""


@click.command(
    cls=Command,
    short_help="Generate events with a model.",
    example="hepgan generate zmumu.safetensors -n 1e6 --seed 1 -o generated.root",
)
@click.argument("model", type=FILE)
@click.option(
    "-n", "--events", type=Count(), help="Number of events, 1e6 for instance.  [default: the plan's]"
)
@click.option(
    "-o",
    "--output",
    type=Output(),
    help="File (.root, .parquet, .csv, ...), or a folder that is filled with shards.  [default: the plan's]",
)
@_of_plans
@on_cluster
@click.option(
    "--shards",
    metavar="K/JOBS",
    help="Make the part of the shards that job K of JOBS makes, from 1; the last job completes the folder.  "
    "[default: all]",
)
@WORKERS
@DEVICE
@OVERWRITE
def generate(
    model: Path,
    events: int | None,
    output: Path | str | None,
    seed: int,
    conditions: tuple[str, ...],
    where: tuple[str, ...],
    member: str | None,
    file_format: Any,
    shard_size: int,
    cross_section: float | None,
    luminosity: float | None,
    scheduler: str | None,
    cluster: Any,
    jobs: int | None,
    shards: str | None,
    device: str | None,
    force: bool,
) -> None:
    """Generate events with a MODEL, in the layout of the files that it learned.

    The events depend on the model and the seed alone, not on shards, workers or machines. A fileset for
    coffea's Runner is written beside them. MODEL may be a plan (*.plan.json) that `hepgan plan` has written.
    """
    from hepgan.generator import EventGenerator
    from hepgan.production import Order, Part, is_one_file, produce_plan, unfinished
    from hepgan.production.orders import ENDING
    from hepgan.production.remote import is_url

    part = None if shards is None else Part.parse(shards)
    if part is not None and (scheduler, cluster) != (None, None):
        msg = "--shards is for jobs that work alone, not for a cluster"
        raise InputError(msg)
    if model.name.endswith(ENDING):
        order = Order.read(model)
        _check_unsaid(model)
        output = order.output if is_url(order.output) else Path(order.output)
        generator = EventGenerator.load(order.model, device=device)
        chosen = order.plan
        given = read_conditions(order.conditions, generator, chosen.events)
        if part is not None and part.jobs > len(chosen):
            say(f"{part.jobs} jobs share {len(chosen)} shards")
    else:
        if events is None or output is None:
            msg = f"needs {'-n' if events is None else '-o'}, or a plan (*{ENDING}) in the place of the model"
            raise InputError(msg)
        is_one_file(Path(output), file_format)
        generator = EventGenerator.load(model, device=device)
        given = read_conditions(conditions, generator, events)
        chosen = _planned(
            generator,
            output,
            events,
            given,
            force=force,
            seed=seed,
            where=where,
            member=read_member(member, generator),
            format=file_format,
            shard_size=shard_size,
            cross_section=cross_section,
            luminosity=luminosity,
        )
    try:
        size = sum(chosen.shard(k).size for k in chosen.numbers(part))
        with connection(scheduler, cluster, jobs) as client, progress("generating", size) as advance:
            production = produce_plan(
                generator,
                chosen,
                output,
                condition=given,
                force=force,
                client=client,
                part=part,
                on_progress=advance,
            )
    except KeyboardInterrupt as error:
        there = None if isinstance(output, str) else unfinished(output)
        if there is None:
            raise
        again = shlex.join(["hepgan", *click.get_current_context().find_root().obj])
        msg = f"{there[0]} of {there[1]} shards are whole in {output}; to go on: {again}"
        raise Interrupted(msg) from error
    _tell(production, chosen, generator, output)


def _check_unsaid(path: Path) -> None:
    """Sees to it that nothing is said beside a plan that the plan says.

    Raises:
        InputError: If something is.
    """
    context = click.get_current_context()
    names = {p.name: p.opts[-1] for p in context.command.params}
    for name in PLANNED:
        if context.get_parameter_source(name) != ParameterSource.DEFAULT:
            msg = f"the plan says what {names[name]} would: make another plan"
            raise InputError(msg, file=path)


def _planned(
    generator: EventGenerator,
    output: Path | str,
    events: int,
    given: dict[str, Any],
    *,
    force: bool,
    **options: Any,
) -> Plan:
    """The plan of what options ask for; measures and tells the efficiency of ``where``."""
    from hepgan.files import claim
    from hepgan.generator.where import enough, together
    from hepgan.production import is_one_file, plan_for

    where, section = options["where"], options["cross_section"]
    if where:
        if is_one_file(Path(output), options["format"]):
            claim(Path(output), force=force, make=False)
        passed = enough(events, weighted=generator.schema.weight is not None or section is not None)
        with progress("measuring the efficiency", passed) as advance:
            options["efficiency"] = generator.efficiency(
                where,
                n=events,
                passed=passed,
                seed=options["seed"],
                condition=given,
                member=options["member"],
                on_progress=advance,
            )
        say(f"where {together(where)}: {options['efficiency']} of generated events")
    return plan_for(generator, events, output, condition=given, **options)


def _tell(production: Production, chosen: Plan, generator: EventGenerator, output: Path | str) -> None:
    """Says what has been made."""
    from hepgan.generator.yields import YIELDS

    if production.kept:
        say(f"{production.kept} of {len(production.files)} shards were there already")
    one = chosen.file is not None
    held = "" if one else f"{len(production.files)} files of "
    say(f"{production.events:,} events in {held}{output} ({production.rate:,.0f} events/s)")
    if not production.whole:
        say("other jobs make the other shards; the last one writes the fileset")
        return
    known = chosen.normalisation is not None and chosen.normalisation.cross_section is not None
    if generator.schema.weight is not None or known:
        told = known or YIELDS in generator.summary
        why = "" if told else "; the model does not tell that of its training events, so each weighs 1"
        part = "" if chosen.efficiency is None else ", that of the selected part"
        say(f"sum of weights {production.sum_of_weights:.6g}{part}{why}")
    suffix = f".{chosen.shard(0).name.rpartition('.')[2]}"
    what = "fileset for coffea" if suffix == ".root" else "list of files"
    say(f"{what} in {production.fileset}")
    say_next("validate", "REFERENCE.root", output if one else f"{output}/*{suffix}", "-o", "report")


@click.command(
    cls=Command,
    short_help="Plan a production that jobs of a batch system share.",
    example="hepgan plan zmumu.safetensors -n 1e8 -o events --jobs 100 --submit slurm",
)
@click.argument("model", type=FILE)
@click.option("-n", "--events", type=Count(), required=True, help="Number of events, 1e6 for instance.")
@click.option("-o", "--output", type=Output(), required=True, help="Folder that is filled with shards.")
@_of_plans
@click.option(
    "--jobs", type=Count(), help="Jobs that share the shards.  [default: one for each shard, 100 at most]"
)
@click.option(
    "--submit",
    type=click.Choice(["slurm", "htcondor"]),
    help="Write a file, too, that submits the jobs.  [default: none]",
)
@WORKERS
@DEVICE
@OVERWRITE
def plan(
    model: Path,
    events: int,
    output: Path | str,
    seed: int,
    conditions: tuple[str, ...],
    where: tuple[str, ...],
    member: str | None,
    file_format: Any,
    shard_size: int,
    cross_section: float | None,
    luminosity: float | None,
    jobs: int | None,
    submit: Literal["slurm", "htcondor"] | None,
    device: str | None,
    force: bool,
) -> None:
    """Plan a production with a MODEL, and write the plan (FOLDER.plan.json) by which jobs make their parts.

    `hepgan generate FOLDER.plan.json --shards 1/100` makes the part of the first of 100 jobs; the last one
    that ends completes the folder. With --submit, FOLDER.slurm or FOLDER.sub submits them all.
    """
    from hepgan.files import claim, replacing
    from hepgan.generator import EventGenerator
    from hepgan.production import Order, is_one_file, submit_file
    from hepgan.production.orders import ENDING
    from hepgan.production.remote import is_url

    if is_one_file(Path(output), file_format):
        msg = "is one file, which one process writes; name a folder, without an ending"
        raise OutputError(msg, file=output)
    # Behind a URL, jobs could not read the plan as a file.
    name = Path(output).name if is_url(output) else str(output)
    target = Path(f"{name}{ENDING}")
    script = Path(f"{name}{'.slurm' if submit == 'slurm' else '.sub'}")
    for path in (target, script) if submit is not None else (target,):
        claim(path, force=force)
    generator = EventGenerator.load(model, device=device)
    given = read_conditions(conditions, generator, events)
    chosen = _planned(
        generator,
        output,
        events,
        given,
        force=force,
        seed=seed,
        where=where,
        member=read_member(member, generator),
        format=file_format,
        shard_size=shard_size,
        cross_section=cross_section,
        luminosity=luminosity,
    )
    count = min(jobs or 100, len(chosen))
    order = Order(
        model=abspath(model),
        output=str(output) if is_url(output) else abspath(output),
        conditions=tuple(map(_absolute, conditions)),
        plan=chosen,
    )
    order.write(target, force=force)
    say(f"{events:,} events in {len(chosen)} shards for {output}, by {count} jobs; plan in {target}")
    if submit is None:
        say_next("generate", target, "--shards", f"1/{count}")
        return
    with replacing(script, force=force) as temporary:
        temporary.write_text(submit_file(submit, target, count), encoding="utf-8")
    say(f"next: {'sbatch' if submit == 'slurm' else 'condor_submit'} {shlex.quote(str(script))}")


def _absolute(condition: str) -> str:
    """A condition whose file, if it names one, is named from the root of the file system."""
    name, _, value = condition.partition("=")
    file, colon, tree = value.partition(":")
    return f"{name}={abspath(file)}{colon}{tree}" if Path(file).is_file() else condition
