"""How samples are gathered: chunk by chunk in this process, or by the workers of a cluster."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import awkward as ak
from numpy.typing import ArrayLike

from hepgan.production.ordered import made_in_order
from hepgan.validation.features import FeatureGatherer, FeaturePortion, FeatureSample
from hepgan.validation.samples import Portion, Sample, SampleBuilder, Source, Span, Stream

__all__ = ["Chunks", "Gathering"]

Chunks = Iterable[tuple[ak.Array, ArrayLike | None]]

_Found = tuple[Portion, FeaturePortion | None]


class Gathering:
    """Gathers a sample of events, and the same in the features of a model.

    Args:
        builder: Gathers the events.
        encoded: Gathers their features; None for none.
    """

    def __init__(self, builder: SampleBuilder, encoded: FeatureGatherer | None) -> None:
        self._builder, self._encoded = builder, encoded

    def portion(self, events: ak.Array, weights: ArrayLike | None, number: int, before: int) -> _Found:
        """What a chunk adds; see `hepgan.validation.samples.SampleBuilder.portion`."""
        found = self._builder.portion(events, weights, number=number, before=before)
        if self._encoded is None:
            return found, None
        known = self._builder.weights(events, weights, before)
        return found, self._encoded.portion(events, known, number=number, before=before)

    def here(self, chunks: Chunks) -> tuple[Sample, FeatureSample | None]:
        """The sample of all chunks.

        Raises:
            InputError: If they cannot be used.
        """
        before = 0
        for number, (events, weights) in enumerate(chunks):
            if not number:
                self._builder.begin(events)
            self._take(self.portion(events, weights, number, before))
            before += len(events)
        if isinstance(chunks, Stream):
            chunks.tell(before)
        return self._finish()

    def by_workers(self, client: Any, stream: Stream) -> tuple[Sample, FeatureSample | None]:
        """The same sample, whose chunks the workers of a cluster read and reduce.

        Raises:
            InputError: If they cannot be used.
            ClusterError: If the cluster fails.
        """
        self._builder.begin(stream.first)
        work = _Work(stream.source, self)
        with stream.hinted():
            for faults, found, encoded in made_in_order(client, work, stream.spans, "comparison"):
                stream.count(faults)
                mine = replace(found, events=_unpacked(found.events, stream.first))
                self._take((mine, None if encoded is None else encoded.over(_unpacked)))
        stream.tell(stream.total)
        return self._finish()

    def _take(self, found: _Found) -> None:
        portion, encoded = found
        self._builder.take(portion)
        if self._encoded is not None and encoded is not None:
            self._encoded.take(encoded)

    def _finish(self) -> tuple[Sample, FeatureSample | None]:
        return self._builder.finish(), None if self._encoded is None else self._encoded.finish()


class _Work:
    """What a worker does with a chunk."""

    def __init__(self, source: Source, gathering: Gathering) -> None:
        self._source, self._gathering = source, gathering

    def __call__(self, span: Span) -> tuple[dict[str, int], Portion, FeaturePortion | None]:
        events = self._source.read(span)
        found, encoded = self._gathering.portion(events, None, span.number, span.before)
        mine = replace(found, events=_packed(found.events), flat={})
        return self._source.faults(events), mine, None if encoded is None else encoded.over(_packed)


def _packed(events: ak.Array) -> Any:
    """Events as plain arrays, which go to other processes without their behaviours."""
    return ak.to_buffers(ak.to_packed(events))


def _unpacked(parts: Any, like: ak.Array | None = None) -> ak.Array:
    """The events again, with the behaviours and the schema that others have."""
    if like is None:
        return ak.from_buffers(*parts)
    return ak.from_buffers(*parts, behavior=like.behavior, attrs=dict(like.attrs))
