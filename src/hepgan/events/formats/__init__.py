"""The formats of files that events come from and go to, behind one face: TTree, RNTuple and Parquet."""

from __future__ import annotations

from hepgan.events.formats.array import ArraySource
from hepgan.events.formats.opening import open_source, tree_names
from hepgan.events.formats.parquet import ParquetSink, is_parquet
from hepgan.events.formats.paths import UNFINISHED, locate, overlap, reads
from hepgan.events.formats.rntuple import RNTupleSink
from hepgan.events.formats.source import PathLike, Sink, Source
from hepgan.events.formats.ttree import TTreeSink

__all__ = [
    "FORMATS",
    "UNFINISHED",
    "ArraySource",
    "ParquetSink",
    "PathLike",
    "RNTupleSink",
    "Sink",
    "Source",
    "TTreeSink",
    "is_parquet",
    "locate",
    "open_source",
    "overlap",
    "reads",
    "tree_names",
]

FORMATS: dict[str, type[Sink]] = {"ttree": TTreeSink, "rntuple": RNTupleSink, "parquet": ParquetSink}
"""The formats by name."""
