"""What a generator's networks have learned: maps of hidden layers, overlays, surfaces of the loss."""

from __future__ import annotations

from hepgan.explanation.activations import Activations, activations, hidden_layers
from hepgan.explanation.embedding import (
    Labels,
    Purity,
    clusters,
    labels_of,
    principal_components,
    purity,
    tsne,
)
from hepgan.explanation.explain import Explanation, Map, explain
from hepgan.explanation.judgements import Judgement
from hepgan.explanation.surfaces import LossSurface, loss_surface, loss_terms

__all__ = [
    "Activations",
    "Explanation",
    "Judgement",
    "Labels",
    "LossSurface",
    "Map",
    "Purity",
    "activations",
    "clusters",
    "explain",
    "hidden_layers",
    "labels_of",
    "loss_surface",
    "loss_terms",
    "principal_components",
    "purity",
    "tsne",
]
