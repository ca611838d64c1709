"""An explanation of a generator: maps of its hidden layers, overlays, surfaces, in one folder."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hepgan.arguments import checked
from hepgan.errors import InputError
from hepgan.events import EventsLike
from hepgan.explanation.activations import Activations, activations
from hepgan.explanation.embedding import (
    Labels,
    Purity,
    clusters,
    labels_of,
    principal_components,
    purity,
    tsne,
)
from hepgan.explanation.filters import differences
from hepgan.explanation.judgements import Judgement, judgements
from hepgan.explanation.surfaces import LossSurface, loss_surface
from hepgan.files import claim_folder, replacing
from hepgan.stats.distances import ks, ks_floor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hepgan.generator import EventGenerator
    from hepgan.observables import Observable

__all__ = ["Explanation", "Map", "explain"]

Floats = NDArray[np.float64]

SHOWN = 4
"""Observables that label events if none are chosen."""


@dataclass(frozen=True)
class Map:
    """A map of a hidden layer's activations.

    Attributes:
        points: The map (n, 2).
        cluster: The cluster of each event (n,); -1 for none.
        labels: The labels of the events by observable.
        purities: How pure the clusters are in them.
    """

    points: Floats
    cluster: NDArray[np.int64]
    labels: dict[str, Labels]
    purities: dict[str, Purity]


@dataclass(frozen=True)
class Explanation:
    """What was found of a generator.

    Attributes:
        activations: Events and activations.
        maps: Maps of generated events by layer.
        overlays: Projections of true and generated events, with the shares of the variance: of the
            ``features``, and by layer of a critic.
        surfaces: Surfaces of terms of the loss.
        judgements: What critics think of events, by critic.
        responses: What layers of images make of mean differences of samples, by layer and difference.
    """

    activations: Activations
    maps: dict[str, Map]
    overlays: dict[str, tuple[Floats, Floats, Floats]] = field(default_factory=dict)
    surfaces: dict[str, LossSurface] = field(default_factory=dict)
    judgements: dict[str, Judgement] = field(default_factory=dict)
    responses: dict[str, dict[str, Floats]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """All numbers, for JSON."""
        return {
            "events": {
                "generated": len(self.activations.features),
                "true": len(self.activations.true_features),
            },
            "clusters": {
                layer: {
                    name: {"labels": list(found.labels[name].names), **p.to_dict()}
                    for name, p in found.purities.items()
                }
                for layer, found in self.maps.items()
            },
            "principal_components": {
                name: {"shares": shares.tolist(), "ks": _distances(true, made)}
                for name, (true, made, shares) in self.overlays.items()
            },
            "critics": {name: j.to_dict() for name, j in self.judgements.items()},
            "surfaces": {
                name: {
                    "phase": s.phase,
                    "roughness": s.roughness,
                    "coordinates": s.coordinates.tolist(),
                    "values": [[v if np.isfinite(v) else None for v in row] for row in s.values.tolist()],
                }
                for name, s in self.surfaces.items()
            },
        }

    def lines(self) -> list[str]:
        """What was found, for people."""
        said = []
        for layer, found in self.maps.items():
            for name, p in found.purities.items():
                if not p.clusters:
                    said.append(f"{layer}: no clusters; a larger eps or fewer min_samples finds some")
                    break
                said.append(
                    f"{layer}: {p.clusters} clusters of {100 * p.clustered:.0f}% of the events, "
                    f"purity in {name} {p.value:.2f} (by chance {p.floor:.2f})"
                )
        for name, (true, made, _) in self.overlays.items():
            first, second = _distances(true, made)
            said.append(
                f"{name}: KS of principal components {first['value']:.3f} and {second['value']:.3f} "
                f"(floor {first['floor']:.3f})"
            )
        said += [f"{name}: {line}" for name, j in self.judgements.items() if (line := j.line())]
        said += [f"{n}: roughness of the surface {s.roughness:.3f}" for n, s in self.surfaces.items()]
        return said

    def figures(self) -> dict[str, Figure]:
        """All pictures by name."""
        # Who wants no picture need not wait for matplotlib.
        from hepgan.plotting.explanation import plot_judgement, plot_map, plot_overlay, plot_surfaces
        from hepgan.plotting.filters import plot_filters

        made = {
            f"tsne-{layer}": plot_map(m.points, m.cluster, m.labels, layer) for layer, m in self.maps.items()
        }
        made |= {f"pca-{name}": plot_overlay(*parts, name) for name, parts in self.overlays.items()}
        made |= {f"critic-{n}": plot_judgement(j, n) for n, j in self.judgements.items() if j.observables}
        made |= {
            f"filters-{n}": plot_filters(layer, self.responses.get(n, {}), n)
            for n, layer in self.activations.images.items()
            if layer.filters.ndim == 3
        }
        return made | {f"surface-{name}": plot_surfaces({name: s}) for name, s in self.surfaces.items()}

    def save(self, folder: str | Path, *, force: bool = False) -> list[Path]:
        """Writes ``explanation.json`` and the pictures.

        Args:
            folder: Where to.
            force: Whether existing files may be replaced.

        Raises:
            OutputError: If a file exists (without force) or cannot be written.
        """
        folder = Path(folder)
        claim_folder(folder, folder, make=True)
        written = []
        for name, figure in self.figures().items():
            with replacing(folder / f"{name}.png", force=force) as temporary:
                figure.savefig(temporary, dpi=100)
            written.append(folder / f"{name}.png")
        with replacing(folder / "explanation.json", force=force) as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=1), encoding="utf-8")
        return [*written, folder / "explanation.json"]


@checked
def explain(
    generator: EventGenerator,
    events: EventsLike | None = None,
    *,
    layers: Sequence[str] | None = None,
    observables: Mapping[str, Observable] | Sequence[str] | None = None,
    condition: Mapping[str, Any] | None = None,
    n: int = 2000,
    perplexity: float = 100.0,
    eps: float | None = None,
    min_samples: int = 25,
    surfaces: Sequence[str] = (),
    seed: int = 0,
) -> Explanation:
    """What the hidden layers of a generator's networks have learned.

    Activations of generated events are mapped to two dimensions by t-SNE, and clustered there by DBSCAN;
    clusters are compared with labels of physics. With true events, the activations of critics, and the
    features, of true and generated events are projected on the principal components of the true ones.

    Args:
        generator: A trained generator.
        events: True events.
        layers: Which layers (:func:`hidden_layers`); the last hidden layer of what makes events, and of each
            critic, if None.
        observables: What labels the events: observables, or names of the recipe's; the recipe's first ones of
            one value for each event if None.
        condition: Conditions of the generated events.
        n: Number of events to generate, and the most true events to take.
        perplexity: Of t-SNE.
        eps: The distance of neighbours in the map, for DBSCAN; found in the map if None.
        min_samples: Neighbours of a point inside a cluster, for DBSCAN.
        surfaces: Terms of the loss whose surfaces to scan (:func:`loss_terms`, or ``total``); they need true
            events.
        seed: The same seed gives the same result.

    Raises:
        InputError: If there is no such layer, observable or term, or the events are not usable.
    """
    chosen = _observables(generator, observables)
    if surfaces and events is None:
        msg = "surfaces of the loss need true events"
        raise InputError(msg)
    found = activations(generator, events, layers=layers, n=n, condition=condition, seed=seed)
    shown = found.layers if layers is not None else _last(found.layers)
    labels = {name: labels_of(o, found.events) for name, o in chosen.items()}
    if observables is None:
        labels = dict([(k, v) for k, v in labels.items() if len(v.names) > 1][:SHOWN])
    maps = {}
    for layer in shown:
        points = tsne(found.generated[layer], perplexity=perplexity, seed=seed)
        cluster = clusters(points, eps=eps, min_samples=min_samples)
        purities = {name: purity(cluster, of, seed=seed) for name, of in labels.items()}
        maps[layer] = Map(points, cluster, labels, purities)
    overlays = {}
    if len(found.true_features):
        pairs = {"features": (found.true_features, found.features)}
        pairs |= {
            layer: (found.true[layer], found.generated[layer]) for layer in shown if layer in found.true
        }
        for name, (true, made) in pairs.items():
            if true.shape[1] > 1:
                (a, b), shares = principal_components(true, made)
                overlays[name] = (a, b, shares)
    seen = dict(list(chosen.items()) if observables is not None else _plain(chosen, found.events))
    thought = judgements(found.scores, seen, found.events, found.reference)
    classes = next(iter(labels.values()), None)
    named = (None, ()) if classes is None else (classes.number, classes.names)
    responses = {n: differences(layer, *named) for n, layer in found.images.items()}
    scans = {t: loss_surface(generator, events, t, seed=seed) for t in surfaces}
    return Explanation(found, maps, overlays, scans, thought, responses)


def _observables(
    generator: EventGenerator, wanted: Mapping[str, Observable] | Sequence[str] | None
) -> dict[str, Observable]:
    if isinstance(wanted, Mapping):
        return dict(wanted)
    known = generator.recipe.make_observables()
    for name in wanted or ():
        if name not in known:
            msg = f"no observable {name!r} in the recipe; there are {', '.join(known) or 'none'}"
            raise InputError(msg)
    if wanted is not None:
        return {name: known[name] for name in wanted}
    return {name: o for name, o in known.items() if o.weight is None}


def _plain(observables: Mapping[str, Observable], events: Any) -> list[tuple[str, Observable]]:
    """The first observables that are one number an event."""
    return [(n, o) for n, o in observables.items() if o.per_event(events)][:SHOWN]


def _last(layers: Sequence[str]) -> list[str]:
    """The last hidden layer of each network; of the layers of a flow, the first, which ends the sampling."""
    networks = {layer.rpartition(".")[0]: layer for layer in layers}
    kinds = {re.sub(r"\.\d+", "", network): network for network in reversed(networks)}
    return [layer for network, layer in networks.items() if network in kinds.values()]


def _distances(true: Floats, made: Floats) -> list[dict[str, float]]:
    floor = ks_floor(len(true), len(made))
    return [{"value": ks(a, b), "floor": floor} for a, b in zip(true.T, made.T, strict=True)]
