"""Events: their schema, their tensors, and the files that they come from and go to."""

from __future__ import annotations

from hepgan.events.axes import Axis
from hepgan.events.batch import EventBatch, Objects
from hepgan.events.cells import to_cells, to_grid
from hepgan.events.checks import check_events
from hepgan.events.convert import to_awkward, to_batch
from hepgan.events.filesets import fileset, write_fileset
from hepgan.events.formats import overlap, reads
from hepgan.events.inference import event_weights, schema_of
from hepgan.events.memory import EventsLike, as_events
from hepgan.events.reading import count_events, infer_schema, iterate_events, read_events
from hepgan.events.runs import Runs, read_runs
from hepgan.events.schema import (
    COORDINATES,
    Address,
    Collection,
    EventSchema,
    Field,
    Kind,
    coordinates,
    select,
    with_kinds,
)
from hepgan.events.shapes import with_grids
from hepgan.events.weights import weighted_by
from hepgan.events.writing import EventWriter, write_events

__all__ = [
    "COORDINATES",
    "Address",
    "Axis",
    "Collection",
    "EventBatch",
    "EventSchema",
    "EventWriter",
    "EventsLike",
    "Field",
    "Kind",
    "Objects",
    "Runs",
    "as_events",
    "check_events",
    "coordinates",
    "count_events",
    "event_weights",
    "fileset",
    "infer_schema",
    "iterate_events",
    "overlap",
    "read_events",
    "read_runs",
    "reads",
    "schema_of",
    "select",
    "to_awkward",
    "to_batch",
    "to_cells",
    "to_grid",
    "weighted_by",
    "with_grids",
    "with_kinds",
    "write_events",
    "write_fileset",
]
