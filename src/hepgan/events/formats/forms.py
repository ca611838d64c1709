"""Branches as awkward arrays tell and hold them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import awkward as ak
import numpy as np

from hepgan.errors import InputError
from hepgan.events.buffers import Buffer, Jagged, buffer
from hepgan.events.formats.source import Source
from hepgan.events.schema import Branch


class FormSource(Source):
    """A source whose branches are told by an awkward form."""

    def _take(self, form: Any) -> None:
        self.branches, left_out = {}, []
        for name, inner in zip(form.fields, form.contents, strict=True):
            if name.startswith("_collection"):
                continue
            if not name:
                left_out.append("(a branch without a name)")
                continue
            for described in _from_form(name, inner):
                if isinstance(described, Branch):
                    self.branches[described.name] = described
                else:
                    left_out.append(described)
        self.left_out = tuple(left_out)


def _from_form(name: str, form: Any, *, inside: bool = False) -> list[Branch | str]:
    title = str(form.parameter("__doc__") or "")
    while form.is_option or form.is_indexed:
        form = form.content
    if form.parameter("__array__") == "string":
        return [name] if inside else [Branch(name, "string", title=title)]
    if form.is_numpy and not form.inner_shape and np.dtype(form.primitive).kind in "biuf":
        # No ROOT tree holds half precision.
        return [Branch(name, form.primitive.replace("float16", "float32"), inside, title=title)]
    if form.is_list and not inside:
        return (
            _from_form(name, form.content, inside=True)
            if not title
            else [
                b if isinstance(b, str) else Branch(b.name, b.dtype, True, title=b.title or title)
                for b in _from_form(name, form.content, inside=True)
            ]
        )
    if form.is_record and not form.is_tuple and "." not in name:
        return [
            b
            for field, inner in zip(form.fields, form.contents, strict=True)
            for b in _from_form(f"{name}.{field}", inner, inside=inside)
        ]
    return [name]


def columns(array: ak.Array, names: Iterable[str], label: str) -> dict[str, Buffer]:
    """The columns of an array of events.

    Raises:
        InputError: If the array is not sound.
    """
    fields = set(array.fields)
    result: dict[str, Buffer] = {}
    for name in names:
        outer, _, field = name.partition(".")
        layout = ak.to_layout(array[name] if name in fields else array[outer][field])
        if not layout.is_numpy and (wrong := ak.validity_error(layout)):
            message = f"damaged ({wrong.splitlines()[0]:.120})"
            raise InputError(message, file=label, branch=name)
        result[name] = buffer(layout, file=label, branch=name)
    return result


def layout(values: Buffer) -> Any:
    """The awkward layout of a column."""
    if isinstance(values, Jagged):
        return listed(values, layout(values.content))
    if values.dtype.kind == "U":
        return ak.to_layout(ak.from_iter(values.tolist()) if not len(values) else ak.from_numpy(values))
    return ak.contents.NumpyArray(values)


def listed(values: Buffer, content: Any) -> Any:
    """Some content in the lists of a column."""
    offsets = values.offsets if isinstance(values, Jagged) else np.zeros(1, np.int64)
    return ak.contents.ListOffsetArray(ak.index.Index64(offsets), content)
