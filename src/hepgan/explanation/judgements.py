"""What critics think of events, against the events' observables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from hepgan.stats.distances import ks, ks_floor

if TYPE_CHECKING:
    from hepgan.observables import Observable

__all__ = ["Judgement", "judgements"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Judgement:
    """The outputs of a critic, and observables of the same events.

    Attributes:
        generated: Outputs for generated events (n,).
        true: Outputs for true events (m,); none without true events.
        observables: By name, the title and the values of generated (n,) and of true (m,) events; NaN where
            an event has none.
    """

    generated: Floats
    true: Floats
    observables: Mapping[str, tuple[str, Floats, Floats]]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able numbers: how far outputs are apart, and how they follow observables (Spearman's rank)."""
        found: dict[str, Any] = {
            "rank_correlations": {
                name: {"generated": _rank(self.generated, made), "true": _rank(self.true, true)}
                for name, (_, made, true) in self.observables.items()
            }
        }
        if len(self.true):
            value, floor = ks(self.true, self.generated), ks_floor(len(self.true), len(self.generated))
            found["ks"] = {"value": value, "floor": floor}
        return found

    def line(self) -> str:
        """What was found, for people."""
        found = self.to_dict()
        ranks = {
            n: r["generated"] for n, r in found["rank_correlations"].items() if r["generated"] is not None
        }
        parts = []
        if "ks" in found:
            parts.append(
                f"KS of its output for true and generated events {found['ks']['value']:.3f} "
                f"(floor {found['ks']['floor']:.3f})"
            )
        if ranks:
            most = max(ranks, key=lambda n: abs(ranks[n]))
            parts.append(f"its output for generated events follows {most} most (rank {ranks[most]:+.2f})")
        return "; ".join(parts)


def judgements(
    scores: Mapping[str, tuple[Floats, Floats]],
    observables: Mapping[str, Observable],
    events: ak.Array,
    reference: ak.Array,
) -> dict[str, Judgement]:
    """Outputs of critics beside the observables that are one number an event.

    Args:
        scores: By critic, its outputs for generated (n,) and for true events (m,).
        observables: The observables.
        events: Generated events (n).
        reference: True events (m).
    """
    if not scores:
        return {}
    seen = {
        name: (o.title, o.column(events), o.column(reference) if len(reference) else np.zeros(0))
        for name, o in observables.items()
        if o.per_event(events)
    }
    return {critic: Judgement(made, true, seen) for critic, (made, true) in scores.items()}


def _rank(score: Floats, values: Floats) -> float | None:
    good = np.isfinite(values) & np.isfinite(score) if len(values) == len(score) else np.zeros(0, bool)
    if good.sum() < 3 or np.ptp(values[good]) == 0 or np.ptp(score[good]) == 0:
        return None
    return float(spearmanr(score[good], values[good]).statistic)
