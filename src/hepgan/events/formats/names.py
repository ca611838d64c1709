"""Which format a file has, by its name or by its first bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

from hepgan.errors import OutputError
from hepgan.events.formats.source import PathLike

Format: TypeAlias = Literal["ttree", "rntuple", "parquet", "feather", "csv", "hdf5", "lhe", "hepmc"]

ENDINGS: dict[Format, tuple[str, ...]] = {
    "ttree": (".root",),
    "rntuple": (".root",),
    "parquet": (".parquet", ".pq", ".parq"),
    "feather": (".feather", ".arrow"),
    "csv": (".csv", ".csv.gz"),
    "hdf5": (".h5", ".hdf5", ".hdf"),
    "lhe": (".lhe", ".lhe.gz"),
    "hepmc": (".hepmc", ".hepmc3", ".hepmc2", ".hepmc.gz", ".hepmc3.gz"),
}
"""How files of each format are called, the usual ending first."""

_FIRST_BYTES: dict[bytes, Format] = {
    b"root": "ttree",
    b"PAR1": "parquet",
    b"ARROW1": "feather",
    b"\x89HDF": "hdf5",
}


def all_endings() -> str:
    """The endings of all formats, in words."""
    return ", ".join(dict.fromkeys(e for endings in ENDINGS.values() for e in endings))


def named_format(path: PathLike) -> Format | None:
    """The format that a file's name tells; ``ttree`` stands for what is in ROOT files."""
    name = Path(path).name.lower()
    return next((f for f, endings in ENDINGS.items() if name.endswith(endings)), None)


def ending_of(path: PathLike) -> str:
    """What a file's name ends in: ``.csv.gz`` of ``a.csv.gz``; nothing where no format is called so."""
    name = Path(path).name.lower()
    found = [e for endings in ENDINGS.values() for e in endings if name.endswith(e)]
    return max(found, key=len, default="")


def format_of(path: PathLike) -> Format | None:
    """The format of a file that is to be read, by its name, or else by its first bytes.

    Files that are not on this machine are of ROOT where their names tell nothing.
    """
    found = named_format(path)
    if found is not None or "://" in str(path):
        return found or "ttree"
    with Path(path).open("rb") as handle:
        first = handle.read(8)
    return next((f for bytes_, f in _FIRST_BYTES.items() if first.startswith(bytes_)), None)


def format_for(path: PathLike, format: Format | None = None) -> Format:
    """The format of a file that is to be written.

    Args:
        path: The file.
        format: The format that was asked for; by the file's name if None.

    Raises:
        OutputError: If no format is called so, or another one.
    """
    if format is not None and Path(path).name.lower().endswith(ENDINGS[format]):
        return format
    found = named_format(path)
    if found is None and Path(path).is_dir():
        msg = "is a folder, not a file"
        raise OutputError(msg, file=path)
    if found is None:
        msg = f"events are written into files that end in {all_endings()}"
        raise OutputError(msg, file=path)
    if format is not None:
        msg = f"{format} files are called *{ENDINGS[format][0]}"
        raise OutputError(msg, file=path)
    return found
