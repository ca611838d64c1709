"""Checkpoints: one safetensors file, which is either whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from hepgan.errors import ModelFileError
from hepgan.files import replacing, write_tensors

__all__ = ["read_checkpoint", "write_checkpoint"]

_KEY = "hepgan_checkpoint"
_VERSION = 3
_TENSOR = "tensor:"
"""What stands in place of a tensor in the description, before its name."""


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
    metadata = {_KEY: json.dumps({"version": _VERSION, "state": described})}
    with replacing(path, force=True) as temporary:
        write_tensors(temporary, tensors, metadata)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state that a checkpoint keeps.

    Raises:
        ModelFileError: If the file isn't there, isn't whole, or is something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        msg = f"cannot read the checkpoint: {error}"
        raise ModelFileError(msg, file=path) from error
    try:
        found = json.loads(metadata[_KEY])
        version = found.get("version")
    except (AttributeError, KeyError, ValueError) as error:
        msg = "not a checkpoint of a training"
        raise ModelFileError(msg, file=path) from error
    if version != _VERSION:
        msg = "a checkpoint of another version of hepgan"
        raise ModelFileError(msg, file=path)
    state: dict[str, Any] = _whole(found["state"], tensors)
    return state


def _described(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """The value with tensors' names in place of the tensors, which are put among the others."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().contiguous()
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
