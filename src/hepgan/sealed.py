"""Tensors and a JSON document in one safetensors file, with a digest of both: models, checkpoints.

Nothing in a file is executed. Whoever reads one must expect any document and any tensors: a digest tells
damage, not intent.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from hepgan.errors import HepganError

__all__ = ["DAMAGE", "Sealed", "digest_of", "parsed", "seal", "unseal"]

DAMAGE = (
    HepganError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    RuntimeError,
    ArithmeticError,
    MemoryError,
)
"""What it may end in to take a document, or tensors, for what they are not."""

_DIGEST = "digest"


class Sealed(NamedTuple):
    """What a file holds.

    Attributes:
        texts: Its texts by name: JSON documents.
        tensors: Its tensors by name.
    """

    texts: dict[str, str]
    tensors: dict[str, Tensor]

    def is_whole(self, name: str) -> bool | None:
        """Whether the document of that name, and the tensors, are what was written; None without a digest."""
        digest = self.texts.get(_DIGEST)
        return None if digest is None else digest == json.dumps(digest_of(self.texts[name], self.tensors))


def seal(name: str, document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """The content of a file.

    Args:
        name: What the document is called, which tells kinds of files apart.
        document: Anything that JSON can hold.
        tensors: The tensors, on any device.
    """
    ready = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    text = json.dumps(document)
    return save(ready, {name: text, _DIGEST: json.dumps(digest_of(text, ready))})


def unseal(data: bytes) -> Sealed:
    """What a file holds, which need not be what was written.

    Raises:
        ValueError: If this is no safetensors file, or not a whole one.
    """
    try:
        tensors = load(data)
        (size,) = struct.unpack("<Q", data[:8])
        texts = parsed(data[8 : 8 + size]).get("__metadata__", {})
    except (SafetensorError, struct.error, AttributeError, RuntimeError) as error:
        raise ValueError(str(error)) from error
    return Sealed(texts, tensors)


def parsed(text: str | bytes) -> Any:
    """What JSON says.

    Raises:
        ValueError: If it is none, or deeper than anything that hepgan writes.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        msg = "too deep"
        raise ValueError(msg) from error


def digest_of(text: str, tensors: Mapping[str, Tensor]) -> str:
    """A digest of a text, and of all names, kinds, shapes and numbers of tensors."""
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16)
    for name in sorted(tensors):
        values = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
