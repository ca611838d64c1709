"""The formats of files that events come from and go to, behind one face: a source and a sink for each."""

from __future__ import annotations

from hepgan.events.formats.array import ArraySource
from hepgan.events.formats.arrow import FeatherSink, TableSource
from hepgan.events.formats.csv import CSVSink
from hepgan.events.formats.hdf5 import HDF5Sink
from hepgan.events.formats.hepmc import HepMCSink
from hepgan.events.formats.lhe import LHESink
from hepgan.events.formats.names import (
    ENDINGS,
    Format,
    all_endings,
    ending_of,
    format_for,
    format_of,
    named_format,
)
from hepgan.events.formats.opening import kept_open, open_source, tree_names
from hepgan.events.formats.parquet import ParquetSink
from hepgan.events.formats.paths import UNFINISHED, locate, overlap, reads
from hepgan.events.formats.rntuple import RNTupleSink
from hepgan.events.formats.source import Content, PathLike, Sink, Source
from hepgan.events.formats.ttree import TTreeSink

__all__ = [
    "ENDINGS",
    "FORMATS",
    "UNFINISHED",
    "ArraySource",
    "Content",
    "Format",
    "ParquetSink",
    "PathLike",
    "RNTupleSink",
    "Sink",
    "Source",
    "TTreeSink",
    "TableSource",
    "all_endings",
    "ending_of",
    "format_for",
    "format_of",
    "kept_open",
    "locate",
    "named_format",
    "open_source",
    "overlap",
    "reads",
    "tree_names",
]

FORMATS: dict[Format, type[Sink]] = {
    "ttree": TTreeSink,
    "rntuple": RNTupleSink,
    "parquet": ParquetSink,
    "feather": FeatherSink,
    "csv": CSVSink,
    "hdf5": HDF5Sink,
    "lhe": LHESink,
    "hepmc": HepMCSink,
}
"""What writes each format."""
