"""The command that gives generated events weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hepgan.cli.console import Command, Count, say
from hepgan.cli.options import FILE, OVERWRITE, SEED
from hepgan.errors import InputError
from hepgan.runtime import progress

__all__ = ["reweight"]


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
    from hepgan.events import overlap
    from hepgan.files import claim
    from hepgan.recipes import load_recipe
    from hepgan.reweighting import reweight_file
    from hepgan.reweighting.files import check_output
    from hepgan.validation import claim_report, compare_reweighted

    if (report is None) != (testing is None):
        msg = "--report and --test go together: weights are judged by events that made none of them"
        raise InputError(msg)
    if testing is not None and overlap(testing, reference):
        msg = "is both the reference and the test sample; judge by events that the classifiers have not seen"
        raise InputError(msg, file=reference)
    claim(output, force=force, make=False)
    if report is not None:
        claim_report(report, force=force)
    if testing is not None:
        check_output(output, testing)
    observables = {} if recipe is None else load_recipe(recipe).make_observables()
    made = reweight_file(
        reference,
        generated,
        output,
        observables,
        events=events,
        name=name,
        keep=unweight,
        quantile=quantile,
        seed=seed,
        force=force,
        on_read=lambda made, true: say(f"{made:,} generated and {true:,} true events to learn from"),
        classifier=classifier,
        members=members,
        calibration=None if calibration == "none" else calibration,
    )
    for line in made.lines():
        say(line)
    say(f"events in {output}")
    if report is not None and testing is not None:
        with progress("comparing", 1) as advance:
            comparison = compare_reweighted(testing, generated, made, observables, train=reference, seed=seed)
            advance(1)
        comparison.save(report, force=True)
        for line in comparison.overview():
            say(line)
        say(f"report in {report / 'report.html'}")
