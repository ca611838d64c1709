"""A collection of varying number as a tree of two-body decays, found by clustering."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hepgan.errors import InputError, RecipeError
from hepgan.events.batch import EventBatch
from hepgan.features.config import TreeConfig
from hepgan.features.layout import Column, Gate, Layout
from hepgan.features.parts.base import Block, Variable
from hepgan.features.parts.rest import Rest
from hepgan.features.parts.tree_hints import label_hints, shape_hints
from hepgan.features.parts.trees import Tree, cluster, depth_first, grow
from hepgan.features.refusal import Refusal
from hepgan.features.view import Builder, View
from hepgan.vectors.frames import axes, boosted, direction, invariant_mass
from hepgan.vectors.kinematics import Kinematics, safe_sqrt

__all__ = ["TreeBlock"]

MAX_OBJECTS = 16
_TINY = 1e-9
"""GeV: the least kinetic energy that a node has for its decay."""


class TreeBlock(Block):
    """The momenta of a collection as a tree of two-body decays; see ``TreeConfig`` for the columns.

    Args:
        layout: What is known of the collections.
        config: The recipe's settings.

    Raises:
        RecipeError: If the collection has no momentum or mass, or too few or too many objects.
    """

    structured = True

    def __init__(self, layout: Layout, config: TreeConfig) -> None:
        super().__init__(layout, config.transforms)
        self.config, self.collection = config, config.collection
        self.width = layout.collection(self.collection).max_count
        self.nodes = self.width - 1
        mass = layout.masses.get(self.collection)
        if mass is None or mass.source == "none":
            msg = f"{self.collection}: a tree needs objects with a momentum and a mass (see features.masses)"
            raise RecipeError(msg)
        if layout.always(self.collection) < 2 or not 2 <= self.width <= MAX_OBJECTS:
            msg = (
                f"{self.collection}: a tree needs 2 to {MAX_OBJECTS} objects in every event; there are "
                f"{layout.always(self.collection)} to {self.width}"
            )
            raise RecipeError(msg)
        self.rest = Rest(self.collection, config.total_energy, mass) if config.total_energy else None
        self._labels: list[tuple[int, list[int]]] = []
        self._label_count = 0

    # ------------------------------------------------------------------ learning

    def learn(self, view: View) -> dict[str, Any]:
        """Which numbers of objects the nodes' first children have, and what is missing in the total."""
        tree, momenta = self._tree(view), self._momenta(view)
        # A node that no event has is a variable all the same, of one class.
        tables = [torch.unique(f[f > 0]).tolist() or [1] for f in tree.first.unbind(1)]
        learned: dict[str, Any] = {"first": tables, "rest": None}
        if self.rest is not None:
            learned["rest"] = self.rest.learn(momenta, view.count(self.collection))
        self.set_up(learned)
        return learned

    def set_up(self, learned: dict[str, Any]) -> None:
        """Fixes the columns and variables."""
        name = self.collection
        self._first = [[int(v) for v in table] for table in learned["first"]]
        variables = [
            Variable(f"{name}.tree[{k}]", tuple(float(v) for v in table), name, k + 1, ordinal=True)
            for k, table in enumerate(self._first)
        ]
        columns: list[Column] = []
        if self.rest is None:
            columns += [
                self._column("total", "pt", 0.0, None),
                self._column("total", "phi", -math.pi, math.pi),
                self._column("total", "y", None, None),
                self._column("total", "mass", 0.0, None),
            ]
        else:
            self.rest.set_up(learned["rest"])
            variables.append(self.rest.variable)
            columns += self.rest.columns
        for k in range(self.nodes):
            gate = self.layout.gate(name, k + 2)
            columns += [
                self._column(f"tree[{k}]", "first", None, None, gate),
                self._column(f"tree[{k}]", "second", None, None, gate),
                self._column(f"tree[{k}]", "eta", None, None, gate)
                if k
                else self._column(f"tree[{k}]", "cos_theta", -1.0, 1.0, gate),
                self._column(f"tree[{k}]", "phi", -math.pi, math.pi, gate),
            ]
        self.columns, self.variables = tuple(columns), tuple(variables)

    def _column(
        self, part: str, name: str, low: float | None, high: float | None, gate: Gate | None = None
    ) -> Column:
        full = f"{self.collection}.{part}.{name}"
        return Column(full, (full, f"{part}.{name}", name), low, high, gate, 1.0 if high else 0.0)

    # ------------------------------------------------------------------ the tree

    def arranged(self, view: View) -> View:
        """The events with the objects in the order of the tree's leaves."""
        count = view.count(self.collection)
        momenta = self._in_rest_frame(self._momenta(view))
        child, nodes = cluster(momenta, count, self.config.distance)
        child = self._forward_first(child, torch.cat([nodes, momenta], 1))
        _, leaves, first = depth_first(child, count)
        objects = view.events.collections[self.collection]
        fields = {n: v.gather(1, leaves) for n, v in objects.fields.items()}
        collections = {**view.events.collections, self.collection: objects.with_fields(fields)}
        events = EventBatch(view.events.schema, collections, view.events.scalars)
        return view.with_events(events, {**view.trees, self.collection: first})

    def _forward_first(self, child: Tensor, momenta: Tensor) -> Tensor:
        """The children with the one first that goes forward in its parent's rest frame.

        Of the outermost node, which is at rest, it is the one with the larger energy.
        """
        rows = torch.arange(len(child), device=child.device)
        swapped = []
        for k in range(self.nodes):
            a, b = (momenta[rows, child[:, k, side]] for side in (0, 1))
            if k == 0:
                swapped.append(a[:, 3] < b[:, 3])
                continue
            parent = a + b
            star = boosted(a, -parent[:, :3] / parent[:, 3:].clamp(min=1e-300))
            swapped.append((star[:, :3] * parent[:, :3]).sum(1) < 0)
        return torch.where(torch.stack(swapped, 1).unsqueeze(2), child.flip(2), child)

    def _momenta(self, view: View) -> Tensor:
        """(N, M, 4), 0 where there is no object."""
        k = view.kinematics(self.collection)
        px, py, pz, mass = (k.bounded(c) for c in ("px", "py", "pz", "mass"))
        stacked = torch.stack([px, py, pz, safe_sqrt(px**2 + py**2 + pz**2 + mass**2)], 2)
        mask = view.mask(self.collection)
        return stacked if mask is None else torch.where(mask.unsqueeze(2), stacked, 0.0)

    def _in_rest_frame(self, momenta: Tensor) -> Tensor:
        total = momenta.sum(1)
        velocity = total[:, :3] / total[:, 3:]
        if self.rest is not None:
            velocity = torch.where(self.rest.there(total).unsqueeze(1), velocity, 0.0)
        return boosted(momenta, -velocity.unsqueeze(1))

    def _tree(self, view: View) -> Tree:
        return grow(view.count(self.collection), view.trees[self.collection])

    # ------------------------------------------------------------------ encoding

    def encode(self, view: View) -> tuple[Tensor, Tensor]:
        """Columns (N, D) and classes (N, K).

        Raises:
            InputError: If a tree has a node or a rest such as no training event has.
        """
        tree, momenta = self._tree(view), self._momenta(view)
        total = momenta.sum(1)
        leaves = self._in_rest_frame(momenta)
        mass = view.kinematics(self.collection).bounded("mass")
        known = torch.cat([torch.zeros_like(leaves[:, : self.nodes]), leaves], 1)
        masses = torch.cat([torch.zeros_like(mass[:, : self.nodes]), mass], 1)
        rows = torch.arange(len(view), device=view.device)
        for k in range(self.nodes - 1, -1, -1):
            a, b = tree.child[:, k, 0], tree.child[:, k, 1]
            known[:, k] = known[rows, a] + known[rows, b]
            masses[:, k] = masses[rows, a] + masses[rows, b]
        kinetic = (invariant_mass(known) - masses).clamp(min=_TINY)
        kinetic[:, self.nodes :] = 0.0
        if self.rest is not None:
            kinetic[:, 0] = (self.rest.mass_of_others(total) - masses[:, 0]).clamp(min=_TINY)
        columns = self._outermost(total, kinetic[:, 0], known, tree)
        for k in range(self.nodes):
            columns += self._decay(k, known, kinetic, tree)
        classes = [self._classes(k, tree, view.refuse) for k in range(self.nodes)]
        if self.rest is not None:
            classes.append(self.rest.classes(total, view.refuse))
        return torch.stack(columns, 1), torch.stack(classes, 1)

    def _outermost(self, total: Tensor, kinetic: Tensor, known: Tensor, tree: Tree) -> list[Tensor]:
        if self.rest is not None:
            return self.rest.encode(total, *self._frame_of_rest(known, tree))
        k = Kinematics(dict(zip(("px", "py", "pz"), total.unbind(1), strict=False)))
        transverse = safe_sqrt(total[:, 3] ** 2 - total[:, 2] ** 2).clamp(min=_TINY)
        return [k["pt"], k["phi"], torch.asinh(total[:, 2] / transverse), kinetic]

    def _classes(self, k: int, tree: Tree, refuse: Refusal) -> Tensor:
        table = torch.tensor(self._first[k], dtype=torch.int64, device=tree.first.device)
        first = tree.first[:, k].contiguous()
        found = torch.searchsorted(table, first).clamp(max=len(table) - 1)
        there = tree.size[:, k] > 1
        unknown = there & (table[found] != first)

        def error(event: int) -> InputError:
            msg = (
                f"{self.collection}: {int(first[event])} objects in the first child of node {k} of the tree "
                "did not occur in the events that were learned from"
            )
            return InputError(msg, entry=event)

        refuse(unknown, error)
        return torch.where(there, found, -1)

    def _decay(self, k: int, known: Tensor, kinetic: Tensor, tree: Tree) -> list[Tensor]:
        rows = torch.arange(len(known), device=known.device)
        a, b = tree.child[:, k, 0], tree.child[:, k, 1]
        inner = [kinetic[rows, c] for c in (a, b)]
        own = (kinetic[:, k] - inner[0] - inner[1]).clamp(min=_TINY)
        shares = [torch.log(i.clamp(min=_TINY) / own) for i in inner]
        parent = known[:, k]
        # Nodes that don't exist have no momentum.
        energy = torch.where(parent[:, 3:] > 0, parent[:, 3:], 1.0)
        still = k == 0
        star = known[rows, a] if still else boosted(known[rows, a], -parent[:, :3] / energy)
        x, y, z = self._axes(k, known, tree)
        unit = direction(star[:, :3])
        phi = torch.atan2((unit * y).sum(1), (unit * x).sum(1))
        if still:
            return [*shares, (unit * z).sum(1).clamp(-1.0, 1.0), phi]
        ahead, behind = ((unit + sign * z).square().sum(1).clamp(min=1e-24) for sign in (1, -1))
        return [*shares, 0.5 * torch.log(ahead / behind), phi]

    def _axes(self, k: int, known: Tensor, tree: Tree) -> tuple[Tensor, Tensor, Tensor]:
        """The axes of a node's rest frame: z is its direction of flight, x is on the side of its sibling.

        The outermost node has the axes of the laboratory. Since its children are back to back, one of them
        takes the beam for x; the other, if both decay, the first child of the first.
        """
        unit = torch.eye(3, dtype=known.dtype, device=known.device).expand(len(known), 3, 3)
        if k == 0:
            return unit[:, 0], unit[:, 1], unit[:, 2]
        rows = torch.arange(len(known), device=known.device)
        parent = tree.parent[:, k].clamp(min=0)
        a, b = tree.child[rows, parent, 0], tree.child[rows, parent, 1]
        sibling = torch.where(a == k, b, a)
        # The sibling of a child of the outermost node that was decayed before, and its first child.
        before = sibling.clamp(max=self.nodes - 1)
        plane = known[rows, tree.child[rows, before, 0], :3]
        beam = torch.where(((sibling < k) & (parent == 0)).unsqueeze(1), plane, unit[:, 2])
        reference = torch.where((parent == 0).unsqueeze(1), beam, known[rows, sibling, :3])
        axis = known[:, k, :3]
        there = tree.size[:, k : k + 1] > 1
        return axes(torch.where(there, axis, unit[:, 2]), torch.where(there, reference, unit[:, 0]))

    def _frame_of_rest(self, known: Tensor, tree: Tree) -> tuple[Tensor, Tensor, Tensor]:
        """The axes in which the direction of the rest is told: along the outermost node's first child."""
        unit = torch.eye(3, dtype=known.dtype, device=known.device).expand(len(known), 3, 3)
        rows = torch.arange(len(known), device=known.device)
        first, second = tree.child[:, 0, 0], tree.child[:, 0, 1]
        chosen = torch.where(first < self.nodes, first, second)
        plane = known[rows, tree.child[rows, chosen.clamp(max=self.nodes - 1), 0], :3]
        reference = torch.where((chosen < self.nodes).unsqueeze(1), plane, unit[:, 2])
        return axes(known[rows, first, :3], reference)

    # ------------------------------------------------------------------ context

    def attach(self, names: Sequence[str], values: Sequence[Sequence[float]]) -> None:
        """Finds the variables that tell the leaves' masses, so that ``hints`` can count them in each node."""
        mass = self.layout.masses[self.collection]
        field = mass.by if mass.source == "table" else "mass"
        labels: list[tuple[int, list[float]]] = []
        for slot in range(self.width):
            name = f"{self.layout.label(self.collection, slot)}.{field}"
            if name in names:
                number = list(names).index(name)
                known = torch.tensor(values[number], dtype=torch.float64)
                labels.append((number, (mass.look_up(known) if mass.source == "table" else known).tolist()))
        different = sorted({v for _, table in labels for v in table})
        self._label_count = len(different) - 1 if len(labels) == self.width and len(different) <= 8 else 0
        self._labels = (
            [(n, [different.index(v) for v in table]) for n, table in labels] if self._label_count > 0 else []
        )

    @property
    def hint_count(self) -> int:
        """Columns of ``hints``."""
        nodes = self.nodes
        return 4 * nodes + nodes + nodes * (nodes - 1) // 2 + 2 * nodes * max(self._label_count, 0)

    def hints(self, discrete: Tensor, own: Tensor, count: Tensor) -> Tensor:
        """What the tree means for each node, which a network would have to work out from its numbers.

        Args:
            discrete: (N, K) all classes.
            own: (N, own K) those of this block.
            count: (N,) the number of objects.

        Returns:
            (N, H): of each node the logarithms of its children's sizes, whether they are leaves, whether it
            is its parent's first child, which node its parent is, its children's numbers of leaves of each
            mass but the first.
        """
        tree = self._grown(own, count)
        told = [shape_hints(tree)]
        if self._labels:
            told += label_hints(tree, discrete, self._labels, self._label_count)
        return torch.cat(told, 1)

    def _grown(self, own: Tensor, count: Tensor) -> Tree:
        first = []
        for k, table in enumerate(self._first):
            values = torch.tensor(table, dtype=torch.int64, device=own.device)
            first.append(values[own[:, k].clamp(min=0)])
        return grow(count, torch.stack(first, 1))

    def present(self, own: Tensor, count: Tensor) -> Tensor:
        """Which columns (N, D) exist."""
        tree = self._grown(own, count)
        there = tree.size > 1
        inner = [(tree.child[..., side] < self.nodes) & there for side in (0, 1)]
        nodes = torch.stack([*inner, there, there], 2).flatten(1)
        if self.rest is None:
            return torch.cat([torch.ones_like(nodes[:, :4]), nodes], 1)
        return torch.cat([self.rest.present(own[:, -1], count), nodes], 1)

    # ------------------------------------------------------------------ decoding

    def decode(self, columns: Tensor, discrete: Tensor, builder: Builder) -> None:
        """Puts in the momenta."""
        count = builder.counts.get(self.collection)
        if count is None:
            count = discrete.new_full((len(discrete),), self.width)
        tree = self._grown(discrete, count)
        slots = torch.arange(self.width, device=columns.device)
        mass = builder.mass(self.collection)
        if mass is None:
            mass = columns.new_zeros((len(columns), self.width))
        mass = torch.where(slots < count.unsqueeze(1), mass, 0.0)
        outer = columns[:, :4].unbind(1)
        masses = self._summed(mass, tree)
        if self.rest is None:
            total_mass = masses[:, 0] + outer[3].clamp(min=_TINY)
            rest = None
        else:
            rest = self.rest.decode(columns[:, :4], discrete[:, -1], count, masses[:, 0])
            total_mass = rest.others_mass
        known = self._decays(columns[:, 4:], tree, masses, total_mass)
        leaves = known[:, self.nodes :]
        if rest is not None:
            velocity = rest.velocity(self._frame_of_rest(known, tree))
        else:
            pt, phi, y, _ = outer
            phi = phi if builder.azimuth is None else phi + builder.azimuth
            mt = torch.sqrt(total_mass**2 + pt**2)
            energy = mt * torch.cosh(y)
            velocity = torch.stack([pt * torch.cos(phi), pt * torch.sin(phi), mt * torch.sinh(y)], 1)
            velocity = velocity / energy.unsqueeze(1)
        leaves = boosted(leaves, velocity.unsqueeze(1))
        there = (slots < count.unsqueeze(1)).unsqueeze(2)
        # Absent objects get a momentum whose kinematics are harmless.
        leaves = torch.where(there, leaves, leaves.new_tensor([1.0, 0.0, 0.0, 1.0]))
        px, py, pz, _ = leaves.unbind(2)
        k = Kinematics({"px": px, "py": py, "pz": pz, "mass": mass})
        if rest is not None and builder.azimuth is not None:
            k = k.rotated(builder.azimuth.unsqueeze(1))
        builder.put_momenta(self.collection, tuple(range(self.width)), k)

    def _summed(self, mass: Tensor, tree: Tree) -> Tensor:
        """The summed masses of the leaves of each node, and those of the leaves, (N, 2 M - 1)."""
        sums = torch.nn.functional.pad(mass.cumsum(1), (1, 0))
        nodes = sums.gather(1, tree.start + tree.size) - sums.gather(1, tree.start)
        return torch.cat([nodes, mass], 1)

    def _decays(self, columns: Tensor, tree: Tree, masses: Tensor, total_mass: Tensor) -> Tensor:
        """The momenta (N, 2 M - 1, 4) of nodes and leaves, in the frame in which node 0 is at rest."""
        number, size = len(columns), 2 * self.nodes + 1
        zero = torch.zeros_like(total_mass)
        known = torch.stack([zero, zero, zero, total_mass], 1).unsqueeze(1)
        known = torch.nn.functional.pad(known, (0, 0, 0, size))
        kinetic = torch.nn.functional.pad(
            (total_mass - masses[:, 0]).clamp(min=_TINY).unsqueeze(1), (0, size)
        )
        rows = torch.arange(number, device=columns.device)
        for k in range(self.nodes):
            first, second, angle, phi = columns[:, 4 * k : 4 * k + 4].unbind(1)
            a, b = tree.child[:, k, 0], tree.child[:, k, 1]
            there = tree.size[:, k] > 1
            available = kinetic[:, k]
            weights = torch.stack([zero, first, second], 1)
            absent = torch.stack([~there, a >= self.nodes, b >= self.nodes], 1)
            share = torch.softmax(weights.masked_fill(absent, -torch.inf).nan_to_num(), 1)
            share = torch.where(there.unsqueeze(1), share, 0.0)
            own, ka, kb = (share * available.unsqueeze(1)).unbind(1)
            own = own.clamp(min=1e-12)
            mass_a, mass_b = ka + masses[rows, a], kb + masses[rows, b]
            mass = mass_a + mass_b + own
            squares = own * (mass + mass_a + mass_b) * (mass - mass_a + mass_b) * (mass + mass_a - mass_b)
            length = safe_sqrt(squares) / (2.0 * mass)
            if k:
                cos, sin = torch.tanh(angle), 1.0 / torch.cosh(angle)
            else:
                cos, sin = angle, safe_sqrt((1.0 - angle) * (1.0 + angle))
            x, y, z = self._axes(k, known, tree)
            sides = sin * torch.cos(phi), sin * torch.sin(phi), cos
            unit = sum(s.unsqueeze(1) * v for s, v in zip(sides, (x, y, z), strict=True))
            momentum = length.unsqueeze(1) * unit
            energies = [safe_sqrt(length**2 + m**2) for m in (mass_a, mass_b)]
            parent = known[:, k]
            velocity = parent[:, :3] / torch.where(there, parent[:, 3], 1.0).unsqueeze(1)
            # What does not exist is written to a place that nothing reads.
            for node, sign, energy, inner in ((a, 1.0, energies[0], ka), (b, -1.0, energies[1], kb)):
                made = boosted(torch.cat([sign * momentum, energy.unsqueeze(1)], 1), velocity)
                place = torch.where(there, node, size).unsqueeze(1)
                known = known.scatter(1, place.unsqueeze(2).expand(-1, -1, 4), made.unsqueeze(1))
                kinetic = kinetic.scatter(1, place, inner.unsqueeze(1))
        return known[:, :size]

    def valid(self, events: EventBatch) -> Tensor | None:
        """Whether what is missing in the total is softer than the objects that are there (N,)."""
        if self.rest is None or self.layout.orders.get(self.collection) != "energy":
            return None
        momenta = self._momenta(View(events, self.layout))
        energy = torch.where(momenta[..., 3] > 0, momenta[..., 3], torch.inf)
        return self.rest.softer(momenta.sum(1), energy.amin(1))
