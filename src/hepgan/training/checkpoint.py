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
_VERSION = 2


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write a checkpoint; a reader sees the one before or this one, never a part.

    Args:
        path: The file.
        tensors: Tensors by name.
        state: Anything that JSON can hold.

    Raises:
        OutputError: If it can't be written.
    """
    metadata = {_KEY: json.dumps({"version": _VERSION, **state})}
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path, force=True) as temporary:
        write_tensors(temporary, content, metadata)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the state of a checkpoint.

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
        state = json.loads(metadata[_KEY])
    except (KeyError, ValueError) as error:
        msg = "not a checkpoint of a training"
        raise ModelFileError(msg, file=path) from error
    if state.pop("version", None) != _VERSION:
        msg = "a checkpoint of another version of hepgan"
        raise ModelFileError(msg, file=path)
    return tensors, state
