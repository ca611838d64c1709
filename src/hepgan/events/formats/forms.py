"""Branches as awkward arrays tell and hold them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import awkward as ak
import numpy as np

from hepgan.errors import InputError
from hepgan.events.buffers import Buffer, Jagged, buffer
from hepgan.events.formats.nested import LOOK, array_in, as_array, is_nested, told
from hepgan.events.formats.source import Source
from hepgan.events.schema import Branch

_DEEP = 2
"""How many dots there may be in the name of a record whose members are branches."""


class FormSource(Source):
    """A source whose branches are told by an awkward form."""

    @abstractmethod
    def _array(self, names: list[str], start: int, stop: int) -> ak.Array:
        """Events ``start`` to ``stop``, with what some branches are in."""

    def read(self, names: Iterable[str], start: int, stop: int) -> dict[str, Buffer]:
        """The columns of some branches."""
        wanted = list(dict.fromkeys(names))
        array = self._array(wanted, start, stop)
        lists = {n: array[n] for n in wanted if n in self._nested}
        found = columns(array, [n for n in wanted if n not in lists], self.label)
        return found | {
            n: as_array(ak.to_layout(v), b.shape, b.dtype, self.label, n, start)
            for n, v in lists.items()
            for b in (self._nested[n],)
        }

    def _look(self, forms: Mapping[str, Any]) -> None:
        """Takes what is in lists of lists of one shape; what is damaged stays left out."""
        self._nested: dict[str, Branch] = {}
        for name in [n for n in self.left_out if n in forms and is_nested(forms[n])]:
            with suppress(InputError):
                lists = self._array([name], 0, min(LOOK, self.entries))[name]
                if (found := array_in(ak.to_layout(lists))) is not None:
                    dtype = found.dtype.name.replace("float16", "float32")
                    self._nested[name] = Branch(name, dtype, shape=found.shape[1:])
        self.branches |= self._nested
        self.left_out = tuple(n for n in self.left_out if n not in self._nested)
        self.notes = {**self.notes, **{n: told(b.shape) for n, b in self._nested.items()}}

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
        self._look(dict(zip(form.fields, form.contents, strict=True)))


def _from_form(name: str, form: Any, *, inside: bool = False) -> list[Branch | str]:
    title = str(form.parameter("__doc__") or "")
    while form.is_option or form.is_indexed:
        form = form.content
    if form.parameter("__array__") == "string":
        return [name] if inside else [Branch(name, "string", title=title)]
    if (numbers := _numbers(form)) is not None and not (inside and numbers.shape):
        shape = () if numbers.shape == (1,) else numbers.shape
        return [replace(numbers, name=name, jagged=inside, shape=shape, title=title)]
    if form.is_list and not inside:
        found = _from_form(name, form.content, inside=True)
        size = form.size if form.is_regular else None
        if size is not None and not size:
            return [name]
        return [b if isinstance(b, str) else _in_list(b, size, title) for b in found]
    if form.is_record and not form.is_tuple and name.count(".") < _DEEP:
        # Members of records in a list have its lengths; lists in a record have lengths of their own.
        return [
            b if isinstance(b, str) else replace(b, record=inside or not (b.jagged or b.shape))
            for field, inner in zip(form.fields, form.contents, strict=True)
            for b in _from_form(f"{name}.{field}", inner, inside=inside)
        ]
    return [name]


def _numbers(form: Any) -> Branch | None:
    """A branch, without a name, of numbers, or of arrays of them of one shape."""
    shape: list[int] = []
    while form.is_option or form.is_indexed or (form.is_regular and form.parameter("__array__") is None):
        shape += [form.size] if form.is_regular else []
        form = form.content
    if not form.is_numpy or np.dtype(form.primitive).kind not in "biuf" or 0 in (*shape, *form.inner_shape):
        return None
    # No ROOT tree holds half precision.
    dtype = form.primitive.replace("float16", "float32")
    return Branch("", dtype, shape=(*shape, *form.inner_shape))


def _in_list(b: Branch, size: int | None, title: str) -> Branch:
    """A branch of what is in lists; in lists of one it is one number."""
    title = b.title or title
    if size is None:
        return replace(b, title=title)
    return replace(b, jagged=False, shape=(size,) if size > 1 else (), title=title, record=False)


def columns(
    array: ak.Array, names: Iterable[str], label: str, inside: Mapping[str, str] | None = None
) -> dict[str, Buffer]:
    """The columns of an array of events.

    Args:
        array: The events.
        names: Branches.
        label: The file, for errors.
        inside: What the array calls them, where that is something else; ``outer.inner`` is in a record.

    Raises:
        InputError: If the array is not sound.
    """
    fields = set(array.fields)
    result: dict[str, Buffer] = {}
    for name in names:
        key = name if inside is None else inside.get(name, name)
        layout = ak.to_layout(array[key] if key in fields else _member(array, key))
        if not layout.is_numpy and (wrong := ak.validity_error(layout)):
            message = f"damaged ({wrong.splitlines()[0]:.120})"
            raise InputError(message, file=label, branch=name)
        result[name] = buffer(layout, file=label, branch=name)
    return result


def _member(array: ak.Array, name: str) -> ak.Array:
    """What is in ``array[outer][inner]`` for ``outer.inner``; names may have dots themselves."""
    parts = name.split(".")
    for at in range(len(parts) - 1, 0, -1):
        outer, inner = ".".join(parts[:at]), ".".join(parts[at:])
        if outer in array.fields:
            return array[outer][inner] if inner in array[outer].fields else _member(array[outer], inner)
    return array[name]


def tops_of(branches: Iterable[Branch]) -> list[tuple[str, list[Branch]]]:
    """The fields of a file, in their order: branches, each by itself, and records, with their members."""
    tops: dict[str, list[Branch]] = {}
    for b in branches:
        tops.setdefault(b.name.partition(".")[0] if b.record else b.name, []).append(b)
    return list(tops.items())


def nested(members: Mapping[str, Any], record: Callable[[list[str], list[Any]], Any]) -> Any:
    """What stands for a record of members that are called ``momentum.x``, records in it included.

    Args:
        members: What stands for each member.
        record: Makes what stands for a record of the names and the contents of its fields.
    """
    fields: dict[str, dict[str, Any]] = {}
    for name, content in members.items():
        first, _, rest = name.partition(".")
        fields.setdefault(first, {})[rest] = content
    contents = [inner[""] if "" in inner else nested(inner, record) for inner in fields.values()]
    return record(list(fields), contents)


def layout(values: Buffer) -> Any:
    """The awkward layout of a column."""
    if isinstance(values, Jagged):
        return listed(values, layout(values.content))
    if values.dtype.kind == "U":
        return ak.to_layout(ak.from_iter(values.tolist()) if not len(values) else ak.from_numpy(values))
    return ak.contents.NumpyArray(np.ascontiguousarray(values)).to_RegularArray()


def listed(values: Buffer, content: Any) -> Any:
    """Some content in the lists of a column."""
    offsets = values.offsets if isinstance(values, Jagged) else np.zeros(1, np.int64)
    return ak.contents.ListOffsetArray(ak.index.Index64(offsets), content)
