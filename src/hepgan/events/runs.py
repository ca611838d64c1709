"""How many events there were before a selection, and what they weighed, as the ``Runs`` of NanoAOD has it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import uproot
from pydantic import Field as Setting
from pydantic import ValidationError

from hepgan.arguments import checked
from hepgan.config import Config
from hepgan.errors import InputError
from hepgan.events.formats import Format, PathLike, format_of, locate

__all__ = ["RUNS", "Runs", "read_runs"]

RUNS = "Runs"
"""The tree, or the key in the metadata of a Parquet file."""

_COUNT, _SUM, _SQUARES = "genEventCount", "genEventSumw", "genEventSumw2"


class Runs(Config):
    """What was generated, before any selection.

    Attributes:
        count: Number of events.
        sum_of_weights: Their sum of weights.
        sum_of_squares: Their sum of squared weights.
    """

    count: int = Setting(gt=0)
    sum_of_weights: float = Setting(gt=0, allow_inf_nan=False)
    sum_of_squares: float = Setting(gt=0, allow_inf_nan=False)

    def columns(self, run: int) -> dict[str, np.ndarray[Any, Any]]:
        """The branches of the tree, of one run."""
        return {
            "run": np.array([run], np.uint32),
            _COUNT: np.array([self.count], np.int64),
            _SUM: np.array([self.sum_of_weights], np.float64),
            _SQUARES: np.array([self.sum_of_squares], np.float64),
        }


@checked
def read_runs(paths: PathLike | Sequence[PathLike]) -> Runs | None:
    """The sums over the ``Runs`` of files; None if they have none.

    A warning tells where some of the files have it, and others do not.

    Args:
        paths: As in `read_events`.

    Raises:
        InputError: If there is no such file, or what is there makes no sense.
    """
    files = list(dict.fromkeys(path for path, _ in locate(paths)))
    found = {path: sums for path in files if (sums := _sums(path)) is not None}
    if not found:
        return None
    if len(found) < len(files):
        lacking = next(path for path in files if path not in found)
        message = f"{lacking} has no {RUNS} with {_SUM}, so those of {len(found)} other files are not used"
        warnings.warn(message, UserWarning, stacklevel=2)
        return None
    count, weights, squares = (sum(sums[k] for sums in found.values()) for k in range(3))
    try:
        return Runs(count=round(count), sum_of_weights=weights, sum_of_squares=squares)
    except ValidationError:
        message = (
            f"{RUNS} has {count:g} events, with a sum of weights of {weights:g} and {squares:g} of squares"
        )
        raise InputError(message, file=", ".join(files)) from None


def _sums(path: str) -> tuple[float, float, float] | None:
    """Count, sum of weights and of squares of one file."""
    reader = _READERS.get(format_of(path) or "ttree")
    columns = None if reader is None else reader(path)
    if columns is None:
        return None
    return tuple(float(np.sum(np.asarray(columns[n], np.float64))) for n in (_COUNT, _SUM, _SQUARES))  # type: ignore[return-value]


def _of_root(path: str) -> dict[str, Any] | None:
    try:
        with uproot.open(path) as file:
            names = file.keys(recursive=False, cycle=False)
            if RUNS not in names:
                return None
            tree = file[RUNS]
            names = set(tree.keys())
            # Early versions of NanoAOD write a "_" at the end.
            there = {n: k for n in (_COUNT, _SUM, _SQUARES) for k in (f"{n}_", n) if k in names}
            if len(there) < 3:
                return None
            return {n: tree[k].array(library="np") for n, k in there.items()}
    except Exception as error:
        message = f"cannot be read ({type(error).__name__})"
        raise InputError(message, file=f"{path}:{RUNS}") from error


def _of_parquet(path: str) -> dict[str, Any] | None:
    import pyarrow.parquet as pq

    with suppress(OSError, ValueError), Path(path).open("rb") as handle:
        metadata = pq.read_metadata(handle).metadata or {}
        found = json.loads(metadata.get(RUNS.encode(), b"null"))
        if isinstance(found, dict) and {_COUNT, _SUM, _SQUARES} <= found.keys():
            return found
    return None


_READERS: dict[Format, Callable[[str], dict[str, Any] | None]] = {"ttree": _of_root, "parquet": _of_parquet}
