"""Numbers of objects beside their momenta, and numbers of the event."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hepgan.errors import InputError, RecipeError
from hepgan.events.schema import Field, Kind
from hepgan.features.config import Reference, TransformSpec
from hepgan.features.layout import NEVER, Column, Gate, Layout
from hepgan.features.parts.base import Block, Variable
from hepgan.features.refusal import Refusal
from hepgan.features.view import Builder, View

__all__ = ["MAX_CLASSES", "FieldsBlock"]

MAX_CLASSES = 256
"""Integers with more values than this are learned as continuous numbers."""

FEW_VALUES = 16
"""A continuous number with so few values, in at least ``ENOUGH`` objects, is learned as classes."""

ENOUGH = 1000

SMEARING = 0.5


class FieldsBlock(Block):
    """Fields of one collection, or scalars: integers and categories as classes, the others as columns.

    A continuous number with atoms (values of finite probability) has a discrete variable that says which
    atom it is, or none (class 0); its column exists only in the latter case. A coordinate that is measured
    apart from the momentum is learned as its deviation from it, and called ``Muon[0].pt:own``.

    Args:
        layout: What is known of the collections.
        references: The fields.
        discrete: How numbers are learned, where the recipe says so, by field.
        bounds: Ranges of fields, where the recipe has them.
        transforms: Transforms, by field.
        fill: What a field holds in objects for which it is not learned.
        pca: Whether to decorrelate the columns.
    """

    def __init__(
        self,
        layout: Layout,
        references: tuple[Reference, ...],
        *,
        discrete: Mapping[str, str],
        bounds: Mapping[str, tuple[float | None, float | None]],
        transforms: dict[str, TransformSpec],
        fill: float = 0.0,
        pca: bool = False,
    ) -> None:
        super().__init__(layout, transforms, pca)
        self.discrete, self.bounds, self.fill = discrete, bounds, fill
        self._targets = self._grouped(references)
        self._entries: list[dict[str, Any]] = []

    @property
    def optional(self) -> frozenset[str]:
        """All fields, of which some are learned as classes; and what the momenta's block hands on."""
        names = {name for _, name in self._targets}
        return frozenset({*names, *(f"{n}:own" for n in names), "mass"})

    def _grouped(self, references: tuple[Reference, ...]) -> dict[tuple[str | None, str], list[int]]:
        """The slots of each field; a scalar has one."""
        groups: dict[tuple[str | None, str], list[int]] = {}
        for r in references:
            if r.field is None:
                groups[None, r.name] = [0]
                continue
            width = self.layout.collection(r.name).max_count
            slots = range(width) if r.slot is None else [r.slot]
            groups.setdefault((r.name, r.field), []).extend(slots)
        return {key: sorted(set(slots)) for key, slots in groups.items()}

    def _field(self, collection: str | None, name: str) -> Field:
        schema = self.layout.schema
        if collection is None:
            return schema.scalar(name)
        described = schema.collection(collection)
        deviation = self.layout.deviation(collection, name)
        if deviation is not None:
            atoms = (0.0,) if deviation.rounding else ()
            return Field(name=name, branches=described.field(name).branches, atoms=atoms)
        if name in described.field_names:
            return described.field(name)
        mass = self.layout.masses[collection]
        return Field(name=name, branches=(f"{collection}_{name}",), atoms=(0.0,) if mass.noise else ())

    # ------------------------------------------------------------------ learning

    def learn(self, view: View) -> dict[str, Any]:
        """How each number is learned, and the values of those learned as classes."""
        entries = []
        for (collection, name), slots in self._targets.items():
            values = view.values(collection, name)[:, slots]
            mask = None if collection is None else view.mask(collection)
            mask = torch.ones_like(values, dtype=torch.bool) if mask is None else mask[:, slots]
            entries.append(self._learn_field(collection, name, slots, values, mask))
        return {"entries": entries}

    def _learn_field(
        self, collection: str | None, name: str, slots: list[int], values: Tensor, mask: Tensor
    ) -> dict[str, Any]:
        field = self._field(collection, name)
        known = torch.unique(values[mask])
        asked = self._asked(field, collection, known)
        mode = asked or self._mode(field, known, int(mask.sum()))
        columns = [values[:, i][mask[:, i]] for i in range(len(slots))]
        entry: dict[str, Any] = {
            "collection": collection,
            "name": name,
            "slots": slots,
            "mode": mode,
            "dtype": str(values.dtype).removeprefix("torch."),
            "ordinal": field.kind is not Kind.CATEGORY and name != "mass",
            "low": float(known[0]) if len(known) else 0.0,
            "high": float(known[-1]) if len(known) else 0.0,
        }
        if mode == "classes":
            entry["tables"] = [[_plain(v) for v in torch.unique(c).tolist()] for c in columns]
        elif mode == "continuous":
            atoms = [] if asked else [a for a in field.atoms if bool((known == a).any())]
            entry["atoms"] = atoms
            entry["tables"] = [_kinds(c, atoms) for c in columns]
        return entry

    def _asked(self, field: Field, collection: str | None, known: Tensor) -> str | None:
        """How the recipe says that a field is to be learned; ``continuous`` leaves atoms to the network."""
        wanted = None
        for key in (field.name, f"{collection}.{field.name}"):
            wanted = self.discrete.get(key, wanted)
        if wanted in ("smear", "dequantise") and bool((known != known.round()).any()):
            msg = f"discrete: {field.name} is not an integer, so it cannot be learned by {wanted}"
            raise RecipeError(msg, branch=field.branch)
        return wanted

    @staticmethod
    def _mode(field: Field, known: Tensor, number: int) -> str:
        if field.kind is Kind.CATEGORY:
            return "classes"
        if field.kind is Kind.INTEGER:
            return "classes" if len(known) <= MAX_CLASSES else "dequantise"
        few = len(known) <= FEW_VALUES and number >= ENOUGH
        return "classes" if few else "continuous"

    def set_up(self, learned: dict[str, Any]) -> None:
        """Fixes the columns and variables."""
        self._entries = learned["entries"]
        columns: list[Column] = []
        variables: list[Variable] = []
        for i, entry in enumerate(self._entries):
            before = len(variables), len(columns)
            for j, slot in enumerate(entry["slots"]):
                self._set_up_slot(entry, j, slot, columns, variables)
            entry["variables"] = (before[0], len(variables))
            entry["columns"] = (before[1], len(columns))
            self._set_up_tables(i, entry)
        self.columns, self.variables = tuple(columns), tuple(variables)

    def _set_up_slot(
        self, entry: dict[str, Any], j: int, slot: int, columns: list[Column], variables: list[Variable]
    ) -> None:
        collection, name, mode = entry["collection"], entry["name"], entry["mode"]
        if collection is not None and self.layout.deviation(collection, name) is not None:
            # Beside the coordinate of the momentum itself.
            name = f"{name}:own"
        full = name if collection is None else f"{self.layout.label(collection, slot)}.{name}"
        keys = (full, name) if collection is None else (full, f"{collection}.{name}", name)
        gate = None if collection is None else self.layout.gate(collection, slot + 1)
        where = None if collection is None else slot
        if mode == "classes":
            table = entry["tables"][j]
            if len(table) > 1:
                variables.append(Variable(full, tuple(table), collection, where, entry["ordinal"]))
            return
        if mode in ("smear", "dequantise"):
            # The floor of the upper limit must still be the highest value.
            limits = (entry["low"], entry["high"] + 1 - 1e-6) if mode == "dequantise" else (None, None)
            columns.append(Column(full, keys, limits[0], limits[1], gate, rounded=True))
            return
        kinds = entry["tables"][j]
        if len(kinds) > 1:
            variable = Variable(f"{full}:atom", tuple(map(float, kinds)), collection, where, False)
            variables.append(variable)
            gate = Gate(variable.name, 0, 0) if 0 in kinds else NEVER
        elif kinds[0] > 0:
            gate = NEVER
        low, high = next((self.bounds[k] for k in keys if k in self.bounds), (None, None))
        columns.append(Column(full, keys, low, high, gate))

    def _set_up_tables(self, i: int, entry: dict[str, Any]) -> None:
        if "tables" not in entry:
            return
        tables = [t or [0] for t in entry["tables"]]
        if entry["mode"] == "continuous":
            values = [0.0, *entry["atoms"]]
            tables = [[values[k] for k in t] for t in tables]
        longest = max(map(len, tables), default=1)
        self.constant(f"table{i}", [t + [t[-1]] * (longest - len(t)) for t in tables])
        own = [j for j, t in enumerate(entry["tables"]) if len(t) > 1]
        self.constant(f"own{i}", own, torch.int64)
        if entry["mode"] == "continuous":
            self.constant(f"atomic{i}", [t[0] > 0 for t in entry["tables"]], torch.bool)

    # ------------------------------------------------------------------ encoding

    def encode(self, view: View) -> tuple[Tensor, Tensor]:
        """Columns (N, D) and classes (N, K)."""
        columns: list[Tensor] = [torch.zeros(len(view), 0, dtype=torch.float64, device=view.device)]
        classes: list[Tensor] = [torch.zeros(len(view), 0, dtype=torch.int64, device=view.device)]
        for entry in self._entries:
            slots = entry["slots"]
            values = view.values(entry["collection"], entry["name"])[:, slots].to(torch.float64)
            mask = None if entry["collection"] is None else view.mask(entry["collection"])
            mask = torch.ones_like(values, dtype=torch.bool) if mask is None else mask[:, slots]
            if entry["mode"] == "classes":
                classes.extend(self._classes(entry, values, mask, view.refuse))
                continue
            if entry["mode"] == "continuous":
                classes.extend(self._atoms(entry, values, mask))
            else:
                values = values + self._noise(entry, values)
            columns.append(values)
        return torch.cat(columns, 1), torch.cat(classes, 1)

    def _classes(self, entry: dict[str, Any], values: Tensor, mask: Tensor, refuse: Refusal) -> list[Tensor]:
        found = []
        for j, table in enumerate(entry["tables"]):
            known = torch.tensor(table, dtype=torch.float64, device=values.device)
            if len(known) == 0:
                continue
            v, present = values[:, j].contiguous(), mask[:, j]
            right = torch.searchsorted(known, v).clamp(max=len(table) - 1)
            left = (right - 1).clamp(min=0)
            index = torch.where((v - known[left]).abs() < (known[right] - v).abs(), left, right)
            # A number that did not occur is like its neighbours, but no event that can be generated.
            if not entry["ordinal"] or refuse.events is not None:
                refuse(present & (known[index] != v), partial(self._unknown, entry, v))
            if len(table) > 1:
                found.append(torch.where(present, index, -1).unsqueeze(1))
        return found

    def _unknown(self, entry: dict[str, Any], values: Tensor, event: int) -> InputError:
        field = self._field(entry["collection"], entry["name"])
        msg = f"{float(values[event]):g} did not occur in the events that were learned from"
        return InputError(msg, branch=field.branch, entry=event)

    def _atoms(self, entry: dict[str, Any], values: Tensor, mask: Tensor) -> list[Tensor]:
        atom = torch.zeros_like(values, dtype=torch.int64)
        for k, value in enumerate(entry["atoms"]):
            atom = torch.where(values == value, k + 1, atom)
        found = []
        for j, kinds in enumerate(entry["tables"]):
            if len(kinds) > 1:
                order = torch.tensor(
                    [kinds.index(k) if k in kinds else 0 for k in range(len(entry["atoms"]) + 1)]
                )
                classes = order.to(values.device)[atom[:, j]]
                found.append(torch.where(mask[:, j], classes, -1).unsqueeze(1))
        return found

    def _noise(self, entry: dict[str, Any], values: Tensor) -> Tensor:
        """Noise that makes an integer continuous; the same for the same events."""
        seed = zlib.crc32(f"{entry['collection']}.{entry['name']}".encode())
        generator = torch.Generator().manual_seed(seed)
        if entry["mode"] == "dequantise":
            noise = torch.rand(values.shape, generator=generator, dtype=torch.float64)
        else:
            # Around the middle of [n, n + 1), so that the floor is unbiased.
            noise = 0.5 + SMEARING * torch.randn(values.shape, generator=generator, dtype=torch.float64)
        return noise.to(values.device)

    # ------------------------------------------------------------------ decoding

    def decode(self, columns: Tensor, discrete: Tensor, builder: Builder) -> None:
        """Puts in the fields."""
        for i, entry in enumerate(self._entries):
            raw = columns[:, slice(*entry["columns"])]
            classes = discrete[:, slice(*entry["variables"])]
            values = self._values(i, entry, raw, classes, builder)
            if entry["dtype"] in ("int64", "int32", "int16", "int8", "uint8"):
                values = values.round().to(torch.int64)
            elif entry["dtype"] == "bool":
                values = values > 0.5
            builder.put_field(entry["collection"], entry["name"], self._filled(entry, values))

    def _values(
        self, i: int, entry: dict[str, Any], raw: Tensor, classes: Tensor, builder: Builder
    ) -> Tensor:
        if entry["mode"] in ("smear", "dequantise"):
            return raw.floor()
        table: Tensor = getattr(self, f"table{i}")
        own: Tensor = getattr(self, f"own{i}")
        if entry["mode"] == "continuous" and not entry["atoms"]:
            return raw
        if classes.shape[1] == len(table):
            index = classes.clamp(min=0)
        else:
            index = classes.new_zeros((builder.size, len(table)))
            index[:, own] = classes.clamp(min=0)
        values = table[torch.arange(len(table), device=table.device), index]
        if entry["mode"] == "classes":
            return values
        continuous = (index == 0) & ~getattr(self, f"atomic{i}")
        return torch.where(continuous, raw, values)

    def _filled(self, entry: dict[str, Any], values: Tensor) -> Tensor:
        if entry["collection"] is None:
            return values
        width = self.layout.collection(entry["collection"]).max_count
        if len(entry["slots"]) == width:
            return values
        whole = torch.full((len(values), width), self.fill, dtype=values.dtype, device=values.device)
        whole[:, entry["slots"]] = values
        return whole


def _kinds(values: Tensor, atoms: list[float]) -> list[int]:
    """Which occur: 0 for values other than atoms, k for the k-th atom."""
    at = [bool((values == a).any()) for a in atoms]
    elsewhere = torch.ones_like(values, dtype=torch.bool)
    for a in atoms:
        elsewhere &= values != a
    return ([0] if bool(elsewhere.any()) or not any(at) else []) + [
        k + 1 for k, seen in enumerate(at) if seen
    ]


def _plain(value: float | int | bool) -> float | int:
    return int(value) if isinstance(value, bool) else value
