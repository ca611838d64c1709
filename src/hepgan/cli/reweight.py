"""The command that gives generated events weights."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hepgan.cli.console import Command, Count, say
from hepgan.cli.options import FILE, OVERWRITE, SEED
from hepgan.errors import InputError, OutputError
from hepgan.runtime import progress

if TYPE_CHECKING:
    from hepgan.events import EventSchema
    from hepgan.reweighting import Reweighter

__all__ = ["reweight"]

CHUNK = 100_000

LITTLE = 0.8
"""A smaller share of true events that generated ones reach is told: classifiers err by less."""


@click.command(
    cls=Command,
    short_help="Give generated events weights.",
    example="hepgan reweight zmumu_train.root:Events generated.root:Events -o reweighted.root",
)
@click.argument("reference")
@click.argument("generated")
@click.option("-o", "--output", type=FILE, required=True, help="File to write.")
@click.option(
    "--recipe",
    help="Recipe whose observables the classifiers see, too, and that are compared.  [default: none]",
)
@click.option(
    "--classifier",
    type=click.Choice(["mlp", "trees"]),
    default="mlp",
    show_default=True,
    help="What learns.",
)
@click.option("--members", type=click.IntRange(2), default=5, show_default=True, help="Size of the ensemble.")
@click.option(
    "--calibration",
    type=click.Choice(["temperature", "isotonic", "none"]),
    default="temperature",
    show_default=True,
    help="How outputs become probabilities.",
)
@click.option(
    "--events", type=Count(), default=500_000, show_default=True, help="Generated events to learn from."
)
@click.option("--name", default="weight", show_default=True, help="Branch of the weights.")
@click.option("--unweight", is_flag=True, help="Keep events by their weights, and write none.")
@click.option(
    "--quantile",
    type=click.FloatRange(0.5, 1.0),
    default=0.999,
    show_default=True,
    help="The largest weight of --unweight, as a quantile of all.",
)
@click.option(
    "--report",
    type=FILE,
    help="Folder for a comparison before and after; needs --test.  [default: none]",
)
@click.option(
    "--test",
    "testing",
    help="True events (FILE.root:Tree) that the classifiers have not seen.  [default: none]",
)
@SEED
@OVERWRITE
def reweight(
    reference: str,
    generated: str,
    output: Path,
    recipe: str | None,
    classifier: Any,
    members: int,
    calibration: Any,
    events: int,
    name: str,
    unweight: bool,
    quantile: float,
    report: Path | None,
    testing: str | None,
    seed: int,
    force: bool,
) -> None:
    """Give GENERATED events weights by which they follow the distribution of REFERENCE events.

    Each is FILE.root:Tree. An ensemble of classifiers learns to tell them apart, and D/(1-D) is the weight.
    What is written has the branches weight and weight_error besides those of GENERATED; or with --unweight,
    fewer events and no weights.
    """
    import numpy as np

    from hepgan.events import infer_schema, read_events
    from hepgan.files import claim
    from hepgan.recipes import load_recipe
    from hepgan.reweighting import Reweighter, effective_sample_size
    from hepgan.reweighting import unweight as unweighted
    from hepgan.reweighting.apply import check_name
    from hepgan.validation import claim_report

    if (report is None) != (testing is None):
        msg = "--report and --test go together: weights are judged by events that made none of them"
        raise InputError(msg)
    if testing is not None and _files(testing) & _files(reference):
        msg = "is both the reference and the test sample; judge by events that the classifiers have not seen"
        raise InputError(msg, file=reference)
    claim(output, force=force, make=False)
    if report is not None:
        claim_report(report, force=force)
    for source in (reference, generated, *([] if testing is None else [testing])):
        if any(path == output.resolve() for path, _ in _files(source)):
            msg = "is read and cannot be written, too: choose another --output"
            raise OutputError(msg, file=output)
    # What cannot be written is better known before anything is learned.
    schema = infer_schema(generated)
    if not unweight:
        check_name(schema, name)
    elif schema.weight is not None:
        msg = f"the events have weights ({schema.weight}) already, which --unweight would not do without"
        raise InputError(msg, file=generated)
    observables = {} if recipe is None else load_recipe(recipe).make_observables()
    true = read_events(reference)
    made = read_events(generated, schema=schema, entry_stop=events)
    say(f"{len(made):,} generated and {len(true):,} true events to learn from")
    reweighter = Reweighter(
        observables,
        classifier=classifier,
        members=members,
        calibration=None if calibration == "none" else calibration,
        seed=seed,
    ).fit(true, made)
    written, kept = _write(
        reweighter, generated, schema, output, len(made), name, unweight, quantile, seed, force
    )
    w = reweighter.fitted_weights.weight
    low, high = np.quantile(w, (0.01, 0.99))
    say(f"effective sample size {effective_sample_size(w) / len(w):.1%} of the events")
    if reweighter.reach < LITTLE:
        say(f"generated events reach only {reweighter.reach:.1%} of the true ones: no weights mend the rest")
    say(f"1% of the weights below {low:.3g}, 1% above {high:.3g}")
    found: dict[str, Any] = {}
    if unweight:
        lost = unweighted(w, quantile=quantile).overweight
        say(f"{kept:,} of {written:,} events kept, which need no weights")
        say(f"{lost:.2%} of the weight was beyond the largest that --quantile allows, and is lost")
        found = {"efficiency": kept / written, "overweight": lost}
    say(f"events in {output}")
    if report is not None and testing is not None:
        _report(reweighter, observables, reference, testing, generated, output, report, found, seed)


def _files(source: str) -> set[tuple[Path, str | None]]:
    """The files that FILE.root:Tree stands for, and the tree."""
    from hepgan.events.formats import locate

    return {(Path(path).resolve(), tree) for path, tree in locate(source)}


def _write(
    reweighter: Reweighter,
    generated: str,
    schema: EventSchema,
    output: Path,
    known: int,
    name: str,
    unweight: bool,
    quantile: float,
    seed: int,
    force: bool,
) -> tuple[int, int]:
    """Writes all generated events, those that were learned from with weights of members that knew them not.

    Returns:
        The numbers of events read and written.
    """
    import numpy as np

    from hepgan.events import EventWriter, iterate_events, schema_of
    from hepgan.reweighting import Weights
    from hepgan.reweighting.apply import weighted
    from hepgan.stats.weights import accepted

    fitted = reweighter.fitted_weights
    top = float(np.quantile(fitted.weight, quantile))
    done = kept = 0
    with ExitStack() as stack:
        writer: EventWriter | None = None
        for chunk in iterate_events(generated, step=CHUNK, schema=schema):
            old = max(0, min(known - done, len(chunk)))
            parts = [fitted.weight[done : done + old]], [fitted.error[done : done + old]]
            if old < len(chunk):
                new = reweighter(chunk[old:])
                parts[0].append(new.weight)
                parts[1].append(new.error)
            found = Weights(*(np.concatenate(p) for p in parts))
            if unweight:
                rng = np.random.default_rng([seed, done])
                events = chunk[accepted(found.weight, top, rng)]
            else:
                events = weighted(chunk, found, name)
            if writer is None:
                writer = stack.enter_context(EventWriter(output, schema_of(events), force=force))
            writer.extend(events)
            done, kept = done + len(chunk), kept + len(events)
    return done, kept


def _report(
    reweighter: Reweighter,
    observables: Any,
    reference: str,
    testing: str,
    generated: str,
    output: Path,
    report: Path,
    found: dict[str, Any],
    seed: int,
) -> None:
    """Writes a comparison of events before and after, and what is to be known of the weights."""
    from dataclasses import replace

    from hepgan.plotting.weights import weights_section
    from hepgan.validation import compare_files

    label = "unweighted" if found else "reweighted"
    with progress("comparing", 1) as advance:
        comparison = compare_files(
            testing,
            {"generated": generated, label: str(output)},
            observables or None,
            train=reference,
            seed=seed,
        )
        advance(1)
    section = weights_section(reweighter, comparison, label, found)
    replace(comparison, sections={"weights": section}).save(report, force=True)
    for line in comparison.overview():
        say(line)
    say(f"report in {report / 'report.html'}")
