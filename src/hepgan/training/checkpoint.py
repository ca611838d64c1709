"""Checkpoints: one sealed file, which is either whole or not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from hepgan.errors import ModelFileError
from hepgan.files import Reservation, replacing
from hepgan.networks.parallel import processes
from hepgan.sealed import DAMAGE, parsed, seal, unseal

__all__ = ["ENDED", "damaged", "has_ended", "read_checkpoint", "reserved", "write_checkpoint"]

_KEY = "hepgan_checkpoint"
_VERSION = 4
ENDED = ("finished", "time", "patience")
"""The states of trainings that have come to their end."""
_TENSOR = "tensor:"
"""What stands in place of a tensor in the description, before its name."""


@contextmanager
def reserved(path: str | Path | None) -> Iterator[None]:
    """Keeps a checkpoint for one training, from before its first step to its end.

    Of several processes that train together the leading one has it.

    Args:
        path: The file; None for none.

    Raises:
        OutputError: If another training has it, or it cannot be written.
    """
    if path is None or not processes().leads:
        yield
        return
    with Reservation(Path(path), force=True):
        yield


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint; a reader sees the one before or this one, never a part.

    Args:
        path: The file.
        state: Tensors, and anything that JSON can hold, in mappings within mappings; keys become strings.

    Raises:
        OutputError: If it can't be written.
    """
    tensors: dict[str, Tensor] = {}
    described = _described(state, "", tensors)
    content = seal(_KEY, {"version": _VERSION, "state": described}, tensors)
    with replacing(path, force=True) as temporary:
        temporary.write_bytes(content)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state that a checkpoint keeps.

    Raises:
        ModelFileError: If the file isn't there, isn't whole, or is something else.
    """
    try:
        found = unseal(path.read_bytes())
    except OSError as error:
        msg = f"cannot read the checkpoint: {error.strerror}"
        raise ModelFileError(msg, file=path) from error
    except ValueError as error:
        raise damaged(path, error) from error
    if _KEY not in found.texts:
        msg = "not a checkpoint of a training"
        raise ModelFileError(msg, file=path)
    whole = found.is_whole(_KEY)
    if whole is False:
        msg = "it does not hold what was written"
        raise damaged(path, msg)
    try:
        document = parsed(found.texts[_KEY])
        version = document["version"]
        state: dict[str, Any] = dict(_whole(document["state"], found.tensors))
    except DAMAGE as error:
        raise damaged(path, error) from error
    if whole is None or version != _VERSION:
        msg = "a checkpoint of another version of hepgan: begin the training anew (--force)"
        raise ModelFileError(msg, file=path)
    return state


def has_ended(path: Path) -> bool:
    """Whether there is a checkpoint of a training that has come to its end."""
    try:
        return read_checkpoint(path).get("status") in ENDED
    except ModelFileError:
        return False


def damaged(path: Path, why: object) -> ModelFileError:
    """The error of a checkpoint that is not what was written, or fits nothing."""
    reason = " ".join(str(why).split())[:200]
    msg = f"a damaged checkpoint ({reason}): begin the training anew (--force)"
    return ModelFileError(msg, file=path)


def _described(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """The value with tensors' names in place of the tensors, which are put among the others."""
    if isinstance(value, Tensor):
        tensors[name] = value
        return _TENSOR + name
    if isinstance(value, Mapping):
        return {str(k): _described(v, f"{name}/{k}" if name else str(k), tensors) for k, v in value.items()}
    return value


def _whole(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The value with the tensors in place of their names."""
    if isinstance(value, str) and value.startswith(_TENSOR):
        return tensors[value.removeprefix(_TENSOR)]
    if isinstance(value, dict):
        return {k: _whole(v, tensors) for k, v in value.items()}
    return value
