"""What is kept in a model file of how it came about."""

from __future__ import annotations

import hashlib
from typing import Any

from hepgan.features import FeatureBatch
from hepgan.training import History

__all__ = ["data_hash", "outcome"]


def data_hash(features: FeatureBatch) -> str:
    """A hash of all numbers of events."""
    digest = hashlib.blake2b(digest_size=16)
    for tensor in (features.x, features.discrete, features.condition, features.weight):
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def outcome(history: History) -> dict[str, Any]:
    """What the training came to: the last value of each loss, the metrics of the model that was kept."""
    rows = history.metrics.rows()
    kept = [row for row in rows if history.best_step in (None, row["step"])]
    return {
        "status": history.status,
        "steps": len(history.losses),
        "best_step": history.best_step,
        "events_per_second": round(history.events / max(history.seconds, 1e-9)),
        "losses": {n: float(history.losses[n][-1]) for n in history.losses.names} if history.losses else {},
        "metrics": kept[-1] if kept else {},
        "diagnostics": history.diagnostics.rows()[-1] if len(history.diagnostics) else {},
    }
