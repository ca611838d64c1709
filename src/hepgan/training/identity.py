"""Which training a checkpoint is of: its settings, and a digest of all of its events."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hepgan.events import EventBatch
from hepgan.features.space import FeatureBatch

__all__ = ["digest_of_events", "first_difference", "flat"]

SAMPLE = "sample of "
"""How the places of digests begin, which nobody wants to read."""

_NOTHING = "nothing"


def digest_of_events(events: FeatureBatch | EventBatch) -> str:
    """A digest of all numbers of events, in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in _tensors(events):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _tensors(events: FeatureBatch | EventBatch) -> Iterator[tuple[str, Tensor]]:
    if isinstance(events, FeatureBatch):
        found: dict[str, Tensor | None] = vars(events)
        yield from ((name, tensor) for name, tensor in found.items() if tensor is not None)
        return
    for name, objects in events.collections.items():
        if not objects.full:
            yield name, objects.mask
        yield from ((f"{name}.{field}", tensor) for field, tensor in objects.fields.items())
    yield from events.scalars.items()


def flat(settings: Any) -> dict[str, Any]:
    """Settings by their place, ``model.network.widths.0``, as JSON gives them back."""
    found: dict[str, Any] = {}
    _flatten(json.loads(json.dumps(settings)), "", found)
    return found


def _flatten(value: Any, place: str, found: dict[str, Any]) -> None:
    inner: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        inner = value.items()
    elif isinstance(value, Sequence) and not isinstance(value, str):
        inner = enumerate(value)
    else:
        found[place] = value
    for key, part in inner:
        _flatten(part, f"{place}.{key}" if place else str(key), found)


def first_difference(theirs: Mapping[str, Any], own: Mapping[str, Any]) -> str | None:
    """The first setting of :func:`flat` ones that is another, in words; None if there is none."""
    for place in {**own, **theirs}:
        there, here = theirs.get(place, _NOTHING), own.get(place, _NOTHING)
        if there != here or isinstance(there, bool) is not isinstance(here, bool):
            values = "" if place.startswith(SAMPLE) else f": {_said(there)}, not {_said(here)}"
            return f"its {place} differs{values}"
    return None


def _said(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
