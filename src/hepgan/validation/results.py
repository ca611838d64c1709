"""The metrics of one generated sample against the reference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any

import numpy as np

from hepgan.events.schema import Field
from hepgan.observables.table import Table, event_table, plan_table
from hepgan.runtime import doing
from hepgan.stats.convolution import ConvolutionTest, convolution_test
from hepgan.stats.correlations import Correlations, correlations
from hepgan.stats.frechet import PhysicsDistances
from hepgan.stats.histograms import Band, band, binned, pulls
from hepgan.stats.image_distances import ImageComparison
from hepgan.stats.memorisation import Memorisation, memorisation
from hepgan.stats.metrics import Metric, Once, random_for, unbinned
from hepgan.stats.transfer import Transfer
from hepgan.stats.two_sample import MIN_EVENTS, ClassifierTest, two_sample_test
from hepgan.validation.classes import Classes, classes_of, transfers
from hepgan.validation.distances import distances_in_observables, distances_in_polynomials
from hepgan.validation.images import compared_images, grids_of, shaped_fields
from hepgan.validation.samples import Sample

__all__ = ["Result", "evaluate"]


@dataclass(frozen=True)
class Result:
    """All that was found about one generated sample.

    Attributes:
        histograms: The generated sample's histograms, by observable.
        observables: Metrics of each observable: ``ks``, ``wasserstein``, ``chi2`` (over ndf).
        pulls: Pulls of each observable's bins, in which only the statistical errors count.
        correlations: None where there are fewer than two per-event observables.
        classifier: None where it was not run.
        memorisation: None without a training sample.
        skipped: Why a part is missing.
        bands: Of the events of an ensemble, the uncertainties of each observable's bins.
        copied: The share of events that are ``reference`` or ``training`` events, number by number, where
            that is no chance.
        distances: Fréchet and kernel physics distances, in ``observables`` and in the energy flow polynomials
            of objects, by these.
        convolution: What a convolutional classifier of fields with a shape found; None without such fields.
        images: Comparisons of these fields, by name.
        transfers: Whether classifiers of a class transfer, in ``observables`` and ``arrays``.
    """

    histograms: Mapping[str, Any]
    observables: Mapping[str, Mapping[str, Metric]]
    pulls: Mapping[str, np.ndarray[Any, np.dtype[np.float64]]]
    correlations: Correlations | None = None
    classifier: ClassifierTest | None = None
    memorisation: Memorisation | None = None
    skipped: Mapping[str, str] = field(default_factory=dict)
    bands: Mapping[str, Band] = field(default_factory=dict)
    copied: Mapping[str, Metric] = field(default_factory=dict)
    distances: Mapping[str, PhysicsDistances] = field(default_factory=dict)
    convolution: ConvolutionTest | None = None
    images: Mapping[str, ImageComparison] = field(default_factory=dict)
    transfers: Mapping[str, Transfer] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able metrics; each has ``value``, ``floor`` and ``ratio``."""
        result: dict[str, Any] = {
            "observables": {
                name: {m: metric.to_dict() for m, metric in metrics.items()}
                | {"pulls": [float(p) if math.isfinite(p) else None for p in self.pulls[name]]}
                | ({"ensemble": self.bands[name].to_dict()} if name in self.bands else {})
                for name, metrics in self.observables.items()
            }
        }
        if (c := self.correlations) is not None:
            result["correlations"] = {
                "max_difference": c.max_difference.to_dict(),
                "observables": list(c.names),
                "worst_pair": c.worst,
                "left_out": c.left_out,
                "reference": _listed(c.reference),
                "generated": _listed(c.generated),
            }
        if (t := self.classifier) is not None:
            result["classifier"] = {
                "auc": t.auc.to_dict(),
                "weight_low": t.weight_low.to_dict(),
                "weight_high": t.weight_high.to_dict(),
                "importance": dict(t.importance),
                "events": list(t.n_events),
            }
        if (m := self.memorisation) is not None:
            result["memorisation"] = {
                "ratio_of_medians": m.ratio_of_medians.to_dict(),
                "close_fraction": m.close_fraction.to_dict(),
                "train_events": m.n_train,
            }
        if self.distances:
            result["physics_distances"] = {
                what: {
                    "fpd": d.fpd.to_dict(),
                    "kpd": d.kpd.to_dict(),
                    "features": list(d.features),
                    "events": list(d.n_events),
                    "largest_batches": list(d.batches),
                }
                for what, d in self.distances.items()
            }
        if (v := self.convolution) is not None:
            result["convolution"] = {
                "auc": v.auc.to_dict(),
                "fields": list(v.fields),
                "events": list(v.n_events),
                "steps": v.steps,
            }
        if self.images:
            result["images"] = {name: found.to_dict() for name, found in self.images.items()}
        if self.transfers:
            result["transfer"] = {
                what: {
                    "generated_to_true": x.generated_to_true.to_dict(),
                    "true_to_generated": x.true_to_generated.to_dict(),
                    "found": x.found.to_dict(),
                    "grey": x.grey.to_dict(),
                    "classes": list(x.classes),
                    "events": list(x.n_events),
                }
                for what, x in self.transfers.items()
            }
        if self.copied:
            result["copied"] = {name: share.to_dict() for name, share in self.copied.items()}
        if self.skipped:
            result["skipped"] = dict(self.skipped)
        return result


def evaluate(
    reference: Sample,
    generated: Mapping[str, Sample],
    train: Sample | None = None,
    *,
    classifier: bool = True,
    distances: bool = True,
    efp: str | None = None,
    category: str | Sequence[str] | None = None,
    seed: int = 0,
    classifier_events: int = 50_000,
    n_jobs: int | None = None,
) -> dict[str, Result]:
    """Compares generated samples with the reference sample in every way.

    All are compared in the columns that all have.

    Args:
        reference: True events, with histograms of groups where there is no training sample.
        generated: Generated events, by label.
        train: The events that the generator was trained on.
        classifier: Whether to train a classifier.
        distances: Whether to compute Fréchet and kernel physics distances.
        efp: Objects in whose energy flow polynomials they are computed, too.
        category: The number of the event whose values are classes; of several the first that has few.
        seed: Seed of all that is random.
        classifier_events: Events of each class for the classifier.
        n_jobs: Threads of the classifier; by default OpenMP's, at most 4.
    """
    size = max(classifier_events * 2, 200_000)
    true, tables, trained = _tables(reference, generated, train, size, seed)
    once = Once()
    results = {
        label: Result(
            sample.histograms,
            _distances(reference, sample, train, seed, once),
            {
                n: pulls(reference.histograms[n], sample.histograms[n], weighted=o.weight is not None)
                for n, o in reference.observables.items()
            },
            *_of_events(
                true,
                tables[label],
                trained,
                seed,
                once,
                {"max_events": classifier_events, "n_jobs": n_jobs} if classifier else None,
            ),
            bands=_bands(reference, sample),
        )
        for label, sample in generated.items()
    }
    if distances:
        for label, sample in generated.items():
            parts = {"observables": distances_in_observables(true, tables[label], trained, seed, once)}
            if efp is not None:
                parts[efp] = distances_in_polynomials(efp, reference, sample, train, seed, once)
            results[label] = _with_distances(results[label], parts)
    everything = {"reference": reference, **generated} | ({} if train is None else {"train": train})
    classes = None if category is None else _classes(category, everything)
    fields = shaped_fields(reference, [s for n, s in everything.items() if n != "reference"])
    for label in generated:
        part = {n: everything[n] for n in ("reference", label, "train") if n in everything}
        if isinstance(classes, str):
            reasons = {**results[label].skipped, "transfer": classes}
            results[label] = replace(results[label], skipped=reasons)
        elif classes is not None:
            results[label] = _with_transfers(
                results[label], transfers(classes, part, label, fields, seed, once)
            )
        if fields:
            told = None if isinstance(classes, str) else classes
            numbers = [] if told is None else [told.numbers[n] for n in part]
            results[label] = _with_images(results[label], part, fields, told, numbers, classifier, seed, once)
    return results


def _classes(category: str | Sequence[str], samples: Mapping[str, Sample]) -> Classes | str | None:
    """The classes, or why what was asked for is none; of several the first that is one, if there is any."""
    if isinstance(category, str):
        return classes_of(category, samples)
    found = (classes_of(name, samples) for name in category)
    return next((one for one in found if not isinstance(one, str)), None)


def _with_transfers(result: Result, parts: Mapping[str, Transfer | str]) -> Result:
    reasons = {f"transfer of {what}": why for what, why in parts.items() if isinstance(why, str)}
    return replace(
        result,
        transfers={what: t for what, t in parts.items() if not isinstance(t, str)},
        skipped={**result.skipped, **reasons},
    )


def _with_images(
    result: Result,
    samples: Mapping[str, Sample],
    fields: Mapping[str, Field],
    classes: Classes | None,
    numbers: Sequence[np.ndarray[Any, np.dtype[np.int64]]],
    classifier: bool,
    seed: int,
    once: Once,
) -> Result:
    """The result with what fields with a shape tell; samples are true, generated and training events."""
    names = () if classes is None else classes.names
    reference, generated, *others = samples.values()
    train = others[0] if others else None
    found = compared_images(reference, generated, train, fields, names, numbers, seed, once)
    test, reasons = None, dict(result.skipped)
    if classifier:
        doing(f"telling generated from true events by {', '.join(fields)}")
        grids = [
            grids_of(s, fields, seed, k[:, None].astype(np.float64) if k is not None else None)
            for s, k in zip_longest(samples.values(), numbers)
        ]
        test = convolution_test(grids[0], grids[1], grids[2] if others else None, seed=seed, once=once)
        if test is None:
            reasons["convolution"] = f"needs {MIN_EVENTS} events of each sample"
    return replace(result, images=found, convolution=test, skipped=reasons)


def _with_distances(result: Result, parts: Mapping[str, PhysicsDistances | str]) -> Result:
    """The result with what was found, and the reasons for what was not."""
    found = {what: d for what, d in parts.items() if not isinstance(d, str)}
    reasons = {
        f"physics distances in {_of(what)}": why for what, why in parts.items() if isinstance(why, str)
    }
    return replace(result, distances=found, skipped={**result.skipped, **reasons})


def _of(what: str) -> str:
    return what if what == "observables" else f"energy flow of {what}"


def _bands(reference: Sample, generated: Sample) -> dict[str, Band]:
    """The uncertainties of an ensemble's histograms; none of other events."""
    found = {
        name: band(
            reference.histograms[name], generated.histograms[name], parts, weighted=o.weight is not None
        )
        for name, parts in generated.members.items()
        for o in (reference.observables[name],)
    }
    return {name: b for name, b in found.items() if b is not None}


def _distances(
    reference: Sample, generated: Sample, train: Sample | None, seed: int, once: Once
) -> dict[str, dict[str, Metric]]:
    """The metrics of each observable."""
    doing(f"distances of {len(reference.observables)} observables")
    groups = [s.groups for s in (reference, train) if s is not None]
    return {
        name: unbinned(
            reference.values(name),
            generated.values(name),
            None if train is None else train.values(name),
            rng=random_for(seed, name),
            name=name,
            once=once,
        )
        | {
            "chi2": binned(
                reference.histograms[name],
                generated.histograms[name],
                name,
                [g[name] for g in groups if name in g],
                seed,
                weighted=observable.weight is not None,
                once=once,
            )
        }
        for name, observable in reference.observables.items()
    }


def _of_events(
    true: Table,
    made: Table,
    trained: Table | None,
    seed: int,
    once: Once,
    classifier: Mapping[str, Any] | None,
) -> tuple[Correlations | None, ClassifierTest | None, Memorisation | None, dict[str, str]]:
    """What takes whole events, and why a part of it is missing."""
    skipped: dict[str, str] = {}

    def chosen(names: Sequence[str]) -> tuple[Table, Table, Table | None]:
        return true.select(names), made.select(names), None if trained is None else trained.select(names)

    names = [n for n in true.names if n in true.observables]
    found = None
    if len(names) < 2:
        skipped["correlations"] = "needs two observables that are one number an event"
    else:
        doing(f"correlations of {len(names)} observables")
        found = correlations(*chosen(names), rng=random_for(seed, "correlations"), once=once)
        apart = ~np.eye(len(found.difference), dtype=np.bool_)
        if not np.isfinite(found.difference[apart]).any():
            found = None
            signs = (
                "; by weights of either sign a variance may be negative" if (true.weights < 0).any() else ""
            )
            skipped["correlations"] = f"needs two observables that vary{signs}"
    test = None
    if classifier is None:
        skipped["classifier"] = "not asked for"
    else:
        doing(f"telling {len(made):,} generated from {len(true):,} true events")
        test = two_sample_test(true, made, trained, seed=seed, once=once, **classifier)
        if test is None:
            skipped["classifier"] = (
                f"needs {MIN_EVENTS} events of each sample; there are {len(true)} and {len(made)}"
            )
    copies = None
    if trained is None:
        skipped["memorisation"] = "needs the training events"
    else:
        fields = [n for n in true.names if n not in true.observables]
        varying = [n for n in fields or names if _vary(n, [trained])]
        a, b, c = chosen(varying)
        if not varying:
            skipped["memorisation"] = "no number varies in the training events"
        elif c is not None:
            doing("looking for copies of training events")
            copies = memorisation(a, b, c, rng=random_for(seed, "memorisation"), once=once)
            if not math.isfinite(copies.ratio_of_medians.value):
                copies = None
                skipped["memorisation"] = (
                    "half of the true events have the same numbers as training events, or more"
                )
    return found, test, copies, skipped


def _tables(
    reference: Sample, generated: Mapping[str, Sample], train: Sample | None, size: int, seed: int
) -> tuple[Table, dict[str, Table], Table | None]:
    """Tables of at most ``size`` events of each sample, with the columns that all have."""
    rng = random_for(seed, "tables")
    trained = [] if train is None else [train]
    samples = [reference, *generated.values(), *trained]
    rows = [_rows(len(reference.weights), size, rng)]
    # A sample has the same rows whether it is compared alone or with others.
    state = rng.bit_generator.state
    for sample in generated.values():
        rng.bit_generator.state = state
        rows.append(_rows(len(sample.weights), size, rng))
    rows += [_rows(len(s.weights), size, rng) for s in trained]
    events = [s.events if r is None else s.events[r] for s, r in zip(samples, rows, strict=True)]
    plan = plan_table([(e, s.schema) for s, e in zip(samples, events, strict=True)])
    tables = []
    for s, e, r in zip(samples, events, rows, strict=True):
        part: Any = slice(None) if r is None else r
        columns = {n: v[part] for n, v in s.columns.items()}
        tables.append(event_table(e, s.schema, s.weights[part], columns, plan))
    common = [n for n in tables[0].names if all(n in t.names for t in tables)]
    # What is the same number in all events tells nothing of them.
    observed = tables[0].observables
    tables = [t.select([n for n in common if n in observed or _vary(n, tables)]) for t in tables]
    made = dict(zip(generated, tables[1 : 1 + len(generated)], strict=True))
    return tables[0], made, None if train is None else tables[-1]


def _vary(name: str, tables: Sequence[Table]) -> bool:
    """Whether a column is not the same number in all events of the samples."""
    columns = [t.column(name) for t in tables]
    return any(not np.array_equal(c, np.full_like(c, columns[0][0]), equal_nan=True) for c in columns)


def _rows(size: int, wanted: int, rng: np.random.Generator) -> Any:
    return None if size <= wanted else np.sort(rng.choice(size, wanted, replace=False))


def _listed(matrix: np.ndarray[Any, np.dtype[np.float64]]) -> list[list[float | None]]:
    return [[float(x) if math.isfinite(x) else None for x in row] for row in matrix]
