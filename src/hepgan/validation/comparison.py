"""The result of a comparison: histograms, metrics with floors, plots and a report."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hepgan.observables import Observable
from hepgan.observables.table import Table
from hepgan.stats.histograms import binned, pulls
from hepgan.validation import report
from hepgan.validation.results import Result
from hepgan.validation.samples import Sample
from hepgan.validation.sections import Section
from hepgan.validation.verdicts import overall_rows, overview, shapes, verdicts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Comparison", "FeatureComparison"]


@dataclass(frozen=True)
class Comparison:
    """One or several generated samples against a reference.

    Attributes:
        observables: The observables compared.
        reference: The reference's histograms, by observable.
        results: What was found about each generated sample, by its label.
        tables: Per-event observables of some events of ``reference`` and of each label, for 2-D views.
        provenance: Files, numbers of events, versions.
        features: The same samples in the features of a model, where one was given.
        sections: What else the report tells, by the name that its numbers have in ``metrics.json``.

    Raises:
        InputError: If a label is a key of ``metrics.json`` besides, or cannot name a folder of a ROOT file.
    """

    observables: Mapping[str, Observable]
    reference: Mapping[str, Any]
    results: Mapping[str, Result]
    tables: Mapping[str, Table] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    features: FeatureComparison | None = None
    sections: Mapping[str, Section] = field(default_factory=dict)

    def __post_init__(self) -> None:
        report.check_labels(self.results, self.sections)

    @classmethod
    def from_histograms(
        cls,
        observables: Mapping[str, Observable],
        reference: Sample | Mapping[str, Any],
        generated: Mapping[str, Mapping[str, Any]],
        *,
        groups: Mapping[str, Any] | None = None,
        provenance: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> Comparison:
        """A comparison of histograms that were filled elsewhere; its only metric is chi2.

        Histograms of weighted observables are sums of weights per event.

        Args:
            observables: The observables.
            reference: Histograms of true events, by observable.
            generated: Histograms of each generated sample, by label and observable.
            groups: The reference's histograms split into random groups of events, for the floor.
            provenance: Where the histograms come from.
            seed: Seed of the floor's splits.
        """
        true = reference.histograms if isinstance(reference, Sample) else reference
        split = reference.groups if isinstance(reference, Sample) else groups or {}
        results = {
            label: Result(
                made,
                {
                    n: {
                        "chi2": binned(
                            true[n],
                            made[n],
                            n,
                            [split[n]] if n in split else [],
                            seed,
                            weighted=o.weight is not None,
                        )
                    }
                    for n, o in observables.items()
                },
                {n: pulls(true[n], made[n], weighted=o.weight is not None) for n, o in observables.items()},
                skipped=dict.fromkeys(
                    ("correlations", "classifier", "memorisation"), "only histograms were compared"
                ),
            )
            for label, made in generated.items()
        }
        return cls(dict(observables), true, results, provenance=provenance or {})

    @property
    def labels(self) -> tuple[str, ...]:
        """The generated samples' labels."""
        return tuple(self.results)

    @property
    def histograms(self) -> dict[str, tuple[Any, ...]]:
        """By observable: the reference's histogram, then that of each generated sample."""
        return {
            name: (self.reference[name], *(r.histograms[name] for r in self.results.values()))
            for name in self.observables
        }

    @property
    def metrics(self) -> dict[str, Any]:
        """All metrics, nested; each has ``value``, ``floor`` and ``ratio``.

        ``metrics["observables"]["m_mumu"]["ks"]["value"]``, ``metrics["classifier"]["auc"]``,
        ``metrics["correlations"]["max_difference"]``, ``metrics["memorisation"]["ratio_of_medians"]``,
        ``metrics["features"]["observables"]["Z.pt"]["ks"]``; with several generated samples the first key
        is the label.
        """
        found = {label: r.to_dict() for label, r in self.results.items()}
        if self.features is not None:
            for label, result in self.features.scaled.results.items():
                inside = result.to_dict()
                found[label]["features"] = {k: v for k, v in inside.items() if k != "skipped"}
        return next(iter(found.values())) if len(found) == 1 else found

    def __getitem__(self, label: str) -> Comparison:
        """The comparison of one of the generated samples with the reference.

        Raises:
            KeyError: If there is no sample of that label.
        """
        result = self._result(label)
        tables = {n: t for n, t in self.tables.items() if n in ("reference", label)}
        others = [other for other in self.labels if other != label]
        kinds = ("file", "sample", "faults")
        taken = {part for other in others for part in (other, *(f"{other} {kind}" for kind in kinds))}
        provenance = {k: v for k, v in self.provenance.items() if k not in taken}
        features = None if self.features is None else self.features.only(label)
        return replace(self, results={label: result}, tables=tables, provenance=provenance, features=features)

    @property
    def planes(self) -> list[tuple[str, str]]:
        """Pairs of observables whose planes the report shows."""
        return report.planes(self.results) if self.tables else []

    def plot(self, name: str, *, deviation: bool = False) -> Figure:
        """Densities of an observable, with their ratios to the reference below.

        Args:
            name: The observable.
            deviation: Whether to show |ratio - 1| in per cent, too, on a logarithmic axis.

        Raises:
            KeyError: If there is no such observable.
        """
        self._check(name)
        made = {label: r.histograms[name] for label, r in self.results.items()}
        from hepgan.plotting.densities import density

        errors = {
            label: np.sqrt(r.bands[name].variance) for label, r in self.results.items() if name in r.bands
        }
        return density(self.observables[name], self.reference[name], made, deviation=deviation, errors=errors)

    def plot_2d(self, x: str, y: str) -> Figure:
        """The plane of two per-event observables, one panel a sample, with the medians of y over x.

        Raises:
            KeyError: If there is no such per-event observable.
        """
        for name in (x, y):
            self._check(name)
            if any(name not in t.names for t in self.tables.values()) or not self.tables:
                msg = f"{name!r} is not one number an event, or the events were not kept"
                raise KeyError(msg)
        from hepgan.plotting import comparison as plots

        return plots.plane(self.observables[x], self.observables[y], self.tables)

    def plot_correlations(self, label: str | None = None) -> Figure:
        """Correlations of reference and generated events, and their difference.

        Args:
            label: Which sample; by default all, of which only the differences are shown if they are several.

        Raises:
            KeyError: If there is no sample of that label.
            ValueError: If correlations were not computed.
        """
        from hepgan.plotting import comparison as plots

        labels = {n: o.label or n for n, o in self.observables.items()}
        found = self._parts("correlations", label)
        if len(found) == 1:
            return plots.matrices(next(iter(found.values())), labels)
        return plots.differences(found, labels)

    def plot_classifier(self, label: str | None = None) -> Figure:
        """The classifier's weights D/(1-D), and the columns that give generated events away.

        Raises:
            ValueError: If no classifier was trained.
        """
        result = self._result(label)
        if result.classifier is None:
            raise ValueError(_missing(result, "classifier"))
        from hepgan.plotting import comparison as plots

        number = 0 if label is None else self.labels.index(label)
        return plots.classifier(result.classifier, number)

    def plot_memorisation(self, label: str | None = None) -> Figure:
        """Distances to the nearest training event.

        Args:
            label: Which sample; by default all.

        Raises:
            KeyError: If there is no sample of that label.
            ValueError: If there was no training sample.
        """
        from hepgan.plotting import comparison as plots

        return plots.memorisation(self._parts("memorisation", label), self.labels)

    def verdicts(self) -> list[str]:
        """The findings in plain words, a line each; with several samples, each line begins with the label."""
        found = self.all_verdicts()
        if len(found) == 1:
            return next(iter(found.values()))
        return [f"{label}: {line}" for label, lines in found.items() for line in lines]

    def all_verdicts(self) -> dict[str, list[str]]:
        """The findings in plain words, by label."""
        found = {label: verdicts(r) for label, r in self.results.items()}
        if (seen := self.features) is not None:
            for label, result in seen.scaled.results.items():
                found[label] += [
                    f"model {seen.model}: {line}" for line in shapes(result, what="scaled features")
                ]
                found[label] += seen.without_features(label)
        return found

    def overview(self) -> list[str]:
        """A line a sample, below a heading: classifier, observables at their floor, the worst of them."""
        return overview(self.results)

    def save(self, folder: str | Path, force: bool = False, *, deviation: bool = False) -> Path:
        """Writes ``report.html``, ``metrics.json`` and ``histograms.root``; each appears whole or not at all.

        Args:
            folder: Where to; created if need be.
            force: Whether earlier files of these names may be replaced.
            deviation: Whether its pictures show |ratio - 1| in per cent, too.

        Returns:
            The report's path.

        Raises:
            OutputError: If the folder exists and holds anything (without ``force``), or cannot be written.
        """
        return report.write_report(
            folder, partial(self._page, deviation), self._summary(), self._paths(), force=force
        )

    def _page(self, deviation: bool) -> str:
        """The report as one HTML page, with its pictures inside."""
        several = len(self.labels) > 1
        return report.render(
            {
                "labels": self.labels,
                "several": several,
                "verdicts": self.all_verdicts(),
                "overall": {label: report.overall(r) for label, r in self.results.items()},
                "compared": report.compared(overall_rows(self.results)) if several else [],
                "uneven": several and self._uneven(),
                "densities": {
                    n: report.picture(partial(self.plot, n, deviation=deviation), fits=True)
                    for n in report.drawn(self.results)
                },
                "deviation": deviation,
                "planes": [(pair, report.picture(partial(self.plot_2d, *pair))) for pair in self.planes],
                "sections": {label: self._of_one(label, several) for label in self.labels},
                "joint": self._of_all() if several else {},
                "skipped": {label: dict(r.skipped) for label, r in self.results.items()},
                "features": None if self.features is None else self.features.page(),
                "more": {name: report.told(section) for name, section in self.sections.items()},
                "transfer": report.transferred(self.results),
                "provenance": self.provenance,
                **report.measured(self.observables, self.results),
            }
        )

    def _uneven(self) -> bool:
        """Whether the samples' sizes differ so that their metrics cannot be compared."""
        found = [self.provenance.get(f"{label} sample", {}) for label in self.labels]
        sizes = [part.get("events_for_unbinned_metrics", 0) for part in found]
        return bool(max(sizes) > 1.2 * min(sizes))

    def _of_all(self) -> dict[str, str]:
        """Pictures of all samples together."""
        made = {"correlations": self.plot_correlations, "memorisation": self.plot_memorisation}
        return {
            name: report.picture(plot)
            for name, plot in made.items()
            if any(getattr(result, name) is not None for result in self.results.values())
        }

    def _of_one(self, label: str, several: bool) -> dict[str, str]:
        """Pictures of one sample, but for those that all samples share."""
        made: dict[str, Callable[[str], Figure]] = {
            "correlations": self.plot_correlations,
            "classifier": self.plot_classifier,
        }
        if not several:
            made["memorisation"] = self.plot_memorisation
        result = self.results[label]
        return {
            name: report.picture(partial(plot, label))
            for name, plot in made.items()
            if getattr(result, name) is not None
        }

    def _summary(self) -> dict[str, Any]:
        """What ``metrics.json`` holds."""
        return {
            "samples": list(self.labels),
            "verdicts": self.all_verdicts(),
            **self.metrics,
            **{name: dict(part.metrics) for name, part in self.sections.items() if part.metrics},
            "provenance": json.loads(json.dumps(dict(self.provenance), default=str)),
        }

    def _paths(self) -> dict[str, Any]:
        """All histograms by their paths in ``histograms.root``."""
        parts = {"": (self.observables, self.reference, self.results)}
        if (found := self.features) is not None:
            for folder, part in (("features/", found.scaled), ("columns/", found.physical)):
                parts[folder] = part.observables, part.reference, part.results
        paths = {}
        for folder, (observables, reference, results) in parts.items():
            for name in observables:
                paths[f"reference/{folder}{name}"] = reference[name]
                for label, result in results.items():
                    paths[f"{label}/{folder}{name}"] = result.histograms[name]
        for label, result in self.results.items():
            for name, images in result.images.items():
                for path, pair in images.histograms().items():
                    paths[f"reference/images/{name}/{path}"] = pair[0]
                    paths[f"{label}/images/{name}/{path}"] = pair[1]
        return paths

    def _check(self, name: str) -> None:
        if name not in self.observables:
            msg = f"no observable {name!r}; there are {', '.join(self.observables)}"
            raise KeyError(msg)

    def _parts(self, part: str, label: str | None) -> dict[str, Any]:
        """A part of the results of one or all samples, as far as they have it."""
        results = self.results if label is None else {label: self._result(label)}
        found = {name: getattr(r, part) for name, r in results.items()}
        known = {name: p for name, p in found.items() if p is not None}
        if not known:
            raise ValueError(_missing(next(iter(results.values())), part))
        return known

    def _result(self, label: str | None) -> Result:
        if label is None:
            return next(iter(self.results.values()))
        if label not in self.results:
            msg = f"no sample {label!r}; there are {', '.join(self.results)}"
            raise KeyError(msg)
        return self.results[label]


@dataclass(frozen=True)
class FeatureComparison:
    """The samples of a comparison in the features of a model.

    Attributes:
        model: The model's name.
        scaled: The features as the network sees them.
        physical: Histograms of the same columns before their transforms.
        lost: By sample, the number of events that have no features, and why the first has none.
    """

    model: str
    scaled: Comparison
    physical: Comparison
    lost: Mapping[str, tuple[int, str]] = field(default_factory=dict)

    def only(self, label: str) -> FeatureComparison:
        """The same for one of the samples."""
        return replace(self, scaled=self.scaled[label], physical=self.physical[label])

    def page(self) -> dict[str, Any]:
        """What the report's page shows of it."""
        images = {}
        for name in report.drawn(self.scaled.results):
            drawn = [self.scaled] if name not in self.physical.observables else [self.physical, self.scaled]
            images[name] = [report.picture(partial(c.plot, name), dpi=80, fits=True) for c in drawn]
        measured = report.measured(self.scaled.observables, self.scaled.results)
        return {"model": self.model, "images": images, **measured}

    def without_features(self, label: str) -> list[str]:
        """Sentences on events that have no features, of the reference and of a sample."""
        found = {part: self.lost.get(part, (0, "")) for part in ("reference", label)}
        return [
            f"{number} {part} events have no features of {self.model}; the first: {reason}"
            for part, (number, reason) in found.items()
            if number
        ]


def _missing(result: Result, part: str) -> str:
    return f"{part} not computed: {result.skipped.get(part, 'no reason known')}"
