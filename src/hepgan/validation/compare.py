"""Compares generated with true events, in memory or file by file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from hepgan.arguments import checked, whole
from hepgan.errors import RecipeError
from hepgan.events import EventsLike, schema_of, select
from hepgan.events.common import Files, names_in, placed
from hepgan.events.memory import events_in
from hepgan.events.momenta import with_momenta_of
from hepgan.events.reading import alike_of, files_of, gridded
from hepgan.events.schema import EventSchema
from hepgan.events.shapes import Grids
from hepgan.events.units import check_units
from hepgan.events.weights import NO_WEIGHT
from hepgan.observables import Observable, ObservableConfig, default_observables, from_config
from hepgan.observables.preparation import Preparation
from hepgan.observables.table import Table
from hepgan.production.ordered import check_client
from hepgan.runtime import doing
from hepgan.validation.comparison import Comparison, FeatureComparison
from hepgan.validation.features import FeatureSample, FeatureView
from hepgan.validation.gathering import Chunks, Gathering
from hepgan.validation.histograms import with_ranges
from hepgan.validation.images import images_section
from hepgan.validation.report import check_labels
from hepgan.validation.results import Result, evaluate
from hepgan.validation.samples import Paths, Sample, SampleBuilder, Stream, names_of
from hepgan.validation.sections import latent_section, members_section, weights_section
from hepgan.validation.sharing import layouts, shared_names
from hepgan.validation.weighting import told_weights, weighting

if TYPE_CHECKING:
    from hepgan.generator import EventGenerator
    from hepgan.reweighting import ReweightedFile

__all__ = ["compare", "compare_files", "compare_reweighted"]

PLANE_EVENTS = 200_000
"""Events of each sample that are kept for 2-D views."""


@checked
def compare(
    reference: EventsLike,
    generated: Mapping[str, EventsLike] | EventsLike,
    observables: Mapping[str, Observable | ObservableConfig | Mapping[str, Any] | str] | None = None,
    *,
    train: EventsLike | None = None,
    reference_weights: ArrayLike | None = None,
    generated_weights: ArrayLike | Mapping[str, ArrayLike] | None = None,
    train_weights: ArrayLike | None = None,
    weight: str | None = None,
    features: EventGenerator | str | Path | None = None,
    classifier: bool = True,
    efp: str | None = None,
    category: str | Sequence[str] | None = None,
    seed: int = 0,
    max_events: int = 1_000_000,
    classifier_events: int = 50_000,
    n_jobs: int | None = None,
    schema: EventSchema | None = None,
    prepared: Mapping[str, str] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Comparison:
    """Compares generated events with true events that the generator was not trained on.

    Every metric stands beside its floor, the same metric between true events: the training events against
    the reference, or two halves of the reference where there are none.

    Args:
        reference: True events, or anything of which ``hepgan.events.as_events`` makes them.
        generated: Generated events, or several samples of them by label.
        observables: What is histogrammed and measured (observables, or expressions); where they have no
            range, one is found from the reference; by default every field that all samples have, the
            numbers of objects and the masses of pairs.
        train: The events that the generator was trained on.
        reference_weights: Weights (N,), negative ones too; by default those of ``weight``.
        generated_weights: Weights of the generated events; a mapping where these are one.
        train_weights: Weights of the training events.
        weight: The number of true events that is their weight, or ``none``; by default that of the model of
            ``features``, else that which is the weight of generated events, else the schema's.
        features: A model (or its file) in whose features the samples are compared, too; one with a likelihood
            shows its latent space.
        classifier: Whether to train a classifier to tell the samples apart.
        efp: Objects (``Jet``, an expression) in whose 36 energy flow polynomials of at most four edges the
            Fréchet and kernel physics distances are computed, too.
        category: A number or text of the event with few values, which are classes: whether classifiers of
            them transfer from generated to true events is tested, and images are shown by class. Of several,
            the first that is one.
        seed: Seed of all that is random; the same seed gives the same comparison.
        max_events: Events of each sample that enter what is not histogrammed.
        classifier_events: Events of each class for the classifier.
        n_jobs: Threads of the classifier; by default OpenMP's, at most 4.
        schema: What the events hold; by default the reference's own.
        prepared: What is made of the events of each sample, where it has what that takes, as of a recipe's
            ``events.prepared``; by default that of the model of ``features``.
        provenance: What the report shall tell of the samples' origin.

    Raises:
        InputError: If a sample is empty, its weights are not finite or sum to nothing, its label cannot be
            one, or the events do not fit the model of ``features``.
        ModelFileError: If ``features`` is no model.
        RecipeError: If an observable does not fit the events.
        ValueError: If there are weights of no sample, or not one for each event.
    """
    several = isinstance(generated, Mapping)
    samples = {n: events_in(e) for n, e in generated.items()} if several else {"generated": generated}
    check_labels(samples)
    view = None if features is None else FeatureView(features)
    preparation = Preparation(prepared or ({} if view is None else view.prepared))
    reference = preparation(reference, strict=False)
    samples = {label: preparation(events, strict=False) for label, events in samples.items()}
    train = None if train is None else preparation(train, strict=False)
    weights: dict[str, ArrayLike | None] = dict.fromkeys(samples)
    if isinstance(generated_weights, Mapping):
        unknown = [label for label in generated_weights if label not in samples]
        if unknown:
            msg = f"generated_weights: no sample {unknown[0]!r}; there are {', '.join(samples)}"
            raise ValueError(msg)
        weights.update(generated_weights)
    else:
        weights = dict.fromkeys(samples, generated_weights)
    true = schema or schema_of(reference)
    for label, events in (samples if train is None else {**samples, "training": train}).items():
        check_units(reference, true, events, schema_of(events), file=None, of=label)
    known, schemas = weighting(
        true,
        {label: schema_of(events) for label, events in samples.items()},
        weight or (None if view is None else view.weight),
    )
    trained = {}
    if train is not None:
        trained["train"] = weighting(schema_of(train), schemas, weight or known.weight or NO_WEIGHT)[0]
    shared = shared_names(known, {**schemas, **trained}, tell=not observables)
    return _compare(
        [(reference, reference_weights)],
        {label: [(events, weights.get(label))] for label, events in samples.items()},
        None if train is None else [(train, train_weights)],
        with_ranges(observables or default_observables(select(known, shared)), reference),
        {"reference": known, **schemas, **trained},
        view=view,
        classifier=classifier,
        efp=efp,
        category=category,
        seed=seed,
        max_events=max_events,
        classifier_events=classifier_events,
        n_jobs=n_jobs,
        provenance=provenance or {},
    )


@checked
def compare_files(
    reference: Paths,
    generated: Paths | Mapping[str, Paths],
    observables: Mapping[str, Observable | ObservableConfig | Mapping[str, Any] | str] | None = None,
    *,
    train: Paths | None = None,
    weight: str | None = None,
    features: EventGenerator | str | Path | None = None,
    classifier: bool = True,
    efp: str | None = None,
    category: str | Sequence[str] | None = None,
    seed: int = 0,
    on_bad: Literal["raise", "keep"] = "raise",
    step: int = 100_000,
    max_events: int = 1_000_000,
    classifier_events: int = 50_000,
    n_jobs: int | None = None,
    schema: EventSchema | None = None,
    grids: Grids | None = None,
    prepared: Mapping[str, str] | None = None,
    provenance: Mapping[str, Any] | None = None,
    client: Any = None,
) -> Comparison:
    """Compares files of any size: as :func:`compare`, but read in chunks, in bounded memory.

    Histograms hold all events; other metrics use ``max_events`` random ones of each sample.
    With a client, the workers of its cluster read the chunks, fill the histograms and choose these events,
    and all else is done here; the result is the same to the last bit.

    Args:
        reference: Files of true events (``file.root:Events``, globs, lists).
        generated: Files of generated events, or several samples by label.
        observables: As for :func:`compare`.
        train: Files of the training events.
        weight: As for :func:`compare`.
        features: As for :func:`compare`.
        classifier: Whether to train a classifier.
        efp: As for :func:`compare`.
        category: As for :func:`compare`.
        seed: Seed of all that is random.
        on_bad: Whether generated events with NaN, E < abs(p) and the like are an error, or are judged like
            others, and counted in a warning and in the report.
        step: Events read at a time.
        max_events: Events of each sample that are kept.
        classifier_events: Events of each class for the classifier.
        n_jobs: Threads of the classifier; by default OpenMP's, at most 4.
        schema: What the events hold; by default inferred from the reference.
        grids: Axes of arrays, where the samples have them, as of `hepgan.events.with_grids`.
        prepared: As for :func:`compare`.
        provenance: What the report shall tell besides the files.
        client: The client of a Dask cluster (``distributed.Client``), whose workers must see the files under
            the same names.

    Raises:
        InputError: If a file cannot be read, or as for :func:`compare`.
        ClusterError: If the cluster fails.
        RecipeError: If an observable does not fit the events.
    """
    check_client(client)
    step = whole("step", step)
    samples: dict[str, Paths] = (
        dict(generated) if isinstance(generated, Mapping) else {"generated": generated}
    )
    check_labels(samples)
    view = None if features is None else FeatureView(features)
    preparation = Preparation(prepared or ({} if view is None else view.prepared))
    paths = {"reference": reference, **samples} | ({} if train is None else {"train": train})
    files = {label: files_of(p) if schema is None else _given(p, schema) for label, p in paths.items()}
    files = alike_of(files) if schema is None else files
    files = {n: gridded(f, grids or {}, all_there=False) for n, f in files.items()}
    files = {label: preparation.known(found) for label, found in files.items()}
    full = files["reference"].schema
    files = {n: replace(f, schema=with_momenta_of(f.schema, full)) for n, f in files.items()}
    known = layouts(
        {label: found.schema for label, found in files.items()},
        [o if isinstance(o, Observable) else from_config(o, n) for n, o in (observables or {}).items()],
        None if view is None else view.needs,
        weight or (None if view is None else view.weight),
        {label: found.named for label, found in files.items()},
        [*([] if efp is None else [efp]), *_scalars(category, full)],
    )
    for label, found in files.items():
        found.tell(names_in(known.read[label]))
    hint = "--keep-bad (on_bad='keep') judges such events, too"
    options: dict[str, Any] = {label: {"on_bad": on_bad, "hint": hint} for label in samples}
    streams = {
        label: Stream(found, known.read[label], step, preparation, **options.get(label, {}))
        for label, found in files.items()
    }
    true = streams["reference"]
    for label in samples:
        made = streams[label]
        check_units(true.first, true.schema, made.first, made.schema, file=files[label].named, of=label)
    ready = with_ranges(observables or default_observables(select(true.schema, known.shared)), true.first)
    result = _compare(
        true,
        {label: streams[label] for label in samples},
        streams.get("train"),
        ready,
        {label: stream.schema for label, stream in streams.items()},
        view=view,
        classifier=classifier,
        efp=efp,
        category=category,
        seed=seed,
        max_events=max_events,
        classifier_events=classifier_events,
        n_jobs=n_jobs,
        provenance={label: names_of(p) for label, p in paths.items()} | dict(provenance or {}),
        client=client,
    )
    faults = {f"{label} faults": streams[label].faults for label in samples if streams[label].faults}
    return replace(result, provenance={**result.provenance, **faults}) if faults else result


def _scalars(category: str | Sequence[str] | None, schema: EventSchema) -> list[str]:
    """Those of the names that are numbers of the event."""
    names = [category] if isinstance(category, str) else category or ()
    return [n for n in names if n in schema.scalar_names]


def _given(paths: Paths, schema: EventSchema) -> Files:
    """Files of which it is known what they hold."""
    return Files(", ".join(names_of(paths)), tuple(placed(paths)), 0, schema)


@checked
def compare_reweighted(
    test: Paths,
    generated: Paths,
    reweighted: ReweightedFile,
    observables: Mapping[str, Observable] | None = None,
    *,
    train: Paths | None = None,
    weight: str | None = None,
    prepared: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Comparison:
    """Compares a file of generated events before and after it has got weights.

    Args:
        test: Files of true events from which the weights were not learned.
        generated: The file without weights.
        reweighted: What :func:`hepgan.reweighting.reweight_file` has made of it.
        observables: As for :func:`compare`.
        train: Files of the true events from which the weights were learned.
        weight: As for :func:`compare`.
        prepared: As for :func:`compare`.
        seed: Seed of all that is random.

    Returns:
        The comparison, with a section on the weights.

    Raises:
        InputError: As for :func:`compare_files`.
    """
    samples: dict[str, Paths] = {"generated": generated, reweighted.label: reweighted.path}
    found = compare_files(
        test, samples, observables or None, train=train, weight=weight, prepared=prepared, seed=seed
    )
    planes = [(found.observables[x], found.observables[y]) for x, y in found.planes[:2]]
    table = found.tables[reweighted.label]
    section = weights_section(reweighted.reweighter, table, planes, reweighted.metrics)
    return replace(found, sections={"weights": section})


def _compare(
    reference: Chunks,
    generated: Mapping[str, Chunks],
    train: Chunks | None,
    observables: Mapping[str, Observable],
    schemas: Mapping[str, EventSchema],
    *,
    view: FeatureView | None,
    classifier: bool,
    efp: str | None,
    category: str | Sequence[str] | None,
    seed: int,
    max_events: int,
    classifier_events: int,
    n_jobs: int | None,
    provenance: Mapping[str, Any],
    client: Any = None,
) -> Comparison:
    def gather(chunks: Chunks, label: str) -> tuple[Sample, FeatureSample | None]:
        held = schemas[label]
        named = provenance.get(label) or f"{label} events"
        source = named if isinstance(named, str) else ", ".join(map(str, named))
        true = label in ("reference", "train")
        total = chunks.total if isinstance(chunks, Stream) else None
        limits: Any = {"seed": seed, "max_events": max_events, "groups": true, "total": total}
        builder = SampleBuilder(held, observables, source=source, **limits)
        doing(f"reading {label} events")
        try:
            if view is not None and label == "reference":
                first, weights = (chunks.first, None) if isinstance(chunks, Stream) else next(iter(chunks))
                view.prepare(first, builder.weights(first, weights), source)
            gathering = Gathering(builder, None if view is None else view.gather(source, **limits))
            if client is not None and isinstance(chunks, Stream):
                return gathering.by_workers(client, chunks)
            return gathering.here(chunks)
        except RecipeError as error:
            raise RecipeError(error.message, file=source) from error

    if efp is not None:
        for held in schemas.values():
            Observable("efp", f"efp({efp}, 1)").check(held)
    true, true_features = gather(reference, "reference")
    both = {label: gather(chunks, label) for label, chunks in generated.items()}
    trained, trained_features = (None, None) if train is None else gather(train, "train")
    made = {label: sample for label, (sample, _) in both.items()}
    results = evaluate(
        true,
        made,
        trained,
        classifier=classifier,
        efp=efp,
        category=category,
        seed=seed,
        classifier_events=classifier_events,
        n_jobs=n_jobs,
    )
    sources = {"reference": true} | ({} if trained is None else {"training": trained})
    for label, sample in made.items():
        shares = {name: share for name, other in sources.items() if (share := sample.copied(other))}
        results[label] = replace(results[label], copied=shares)
    bands = {label: r.bands for label, r in results.items() if r.bands}
    sections = {} if not bands else {"ensemble": members_section(observables, bands)}
    shown = images_section({label: r.images for label, r in results.items() if r.images})
    sections |= {} if shown is None else {"images": shown}
    everything = {"reference": true} | made | ({} if trained is None else {"train": trained})
    return Comparison(
        dict(observables),
        true.histograms,
        results,
        {label: _plane_table(s) for label, s in everything.items() if label != "train"},
        _provenance(
            {
                **provenance,
                "features": None if view is None else view.name,
                "convolutional network": _spent(results) or None,
                "weighted by": told_weights({k: s for k, s in schemas.items() if k != "train"}) or None,
            },
            everything,
            seed,
        ),
        None
        if view is None or true_features is None
        else _in_features(
            view.name,
            true_features,
            {label: encoded for label, (_, encoded) in both.items() if encoded is not None},
            trained_features,
            seed,
        ),
        sections
        | ({} if view is None or view.latents is None else {"latents": latent_section(*view.latents)}),
    )


def _in_features(
    model: str,
    reference: FeatureSample,
    generated: Mapping[str, FeatureSample],
    train: FeatureSample | None,
    seed: int,
) -> FeatureComparison:
    scaled = evaluate(
        reference.scaled,
        {label: sample.scaled for label, sample in generated.items()},
        None if train is None else train.scaled,
        classifier=False,
        distances=False,
        seed=seed,
    )
    return FeatureComparison(
        model,
        Comparison(reference.scaled.observables, reference.scaled.histograms, scaled),
        Comparison.from_histograms(
            reference.physical.observables,
            reference.physical,
            {label: sample.physical.histograms for label, sample in generated.items()},
            seed=seed,
        ),
        {label: sample.lost for label, sample in {"reference": reference, **generated}.items()},
    )


def _spent(results: Mapping[str, Result]) -> dict[str, str]:
    """What the convolutional network of each sample took."""
    tests = {label: r.convolution for label, r in results.items() if r.convolution is not None}
    return {n: f"{t.seconds:.0f} s of a processor, {t.steps} steps a training" for n, t in tests.items()}


def _plane_table(sample: Sample) -> Table:
    columns = sample.columns
    part = slice(PLANE_EVENTS)
    values = np.column_stack([v[part] for v in columns.values()]) if columns else np.empty((0, 0))
    return Table(tuple(columns), values, sample.weights[part], frozenset(columns))


def _provenance(given: Mapping[str, Any], samples: Mapping[str, Sample], seed: int) -> dict[str, Any]:
    files = {k: v for k, v in given.items() if v is not None}
    packages = ("hepgan", "awkward", "hist", "numpy", "scikit-learn", "scipy", "uproot", "vector")
    return {
        **{f"{k} file" if k in samples else k: v for k, v in files.items()},
        **{f"{label} sample": s.summary() for label, s in samples.items()},
        "seed": seed,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {p: version(p) for p in packages},
    }
