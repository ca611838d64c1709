"""The momenta of a collection as a tree of two-body decays, which clustering finds in each event."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Literal, NamedTuple, Self

import torch
from pydantic import Field as Setting
from torch import Tensor

from hepgan.config import Config
from hepgan.errors import InputError, RecipeError
from hepgan.events.batch import EventBatch
from hepgan.events.schema import GEV, Address, Unit
from hepgan.features.draft import Draft
from hepgan.features.facts import Facts
from hepgan.features.parts.base import Encoded, Part, Told, TransformSpec
from hepgan.features.parts.rest import Rest, RestFound, lacking
from hepgan.features.precise import constant
from hepgan.features.reading import Reading, Refusal
from hepgan.features.variables import Column, DiscreteVariable, Gate
from hepgan.vectors.frames import axes, boosted, direction, invariant_mass
from hepgan.vectors.kinematics import Kinematics, azimuth, safe_sqrt

__all__ = [
    "Distance",
    "Tree",
    "TreeConfig",
    "TreePart",
    "cluster",
    "depth_first",
    "grow",
    "label_hints",
    "shape_hints",
]


Distance = Literal["kt", "angle", "mass"]


class Tree(NamedTuple):
    """Binary trees of up to M objects, their nodes numbered depth first.

    A node precedes the nodes in it, those of its first child before those of its second. So node 0 holds all
    objects, and each node holds neighbours: a tree with n objects has the nodes 0 .. n - 2 and the objects
    (leaves) 0 .. n - 1, and the numbers of objects in the nodes' first children tell the whole tree.

    Attributes:
        child: (N, M - 1, 2) the two children of each node: a node's number, or M - 1 + l for leaf l; of nodes
            that don't exist, leaf 0.
        size: (N, M - 1) the number of objects in each node; 0 if it doesn't exist.
        parent: (N, M - 1) the node that each node is a child of; -1 for node 0 and where there is none.
        start: (N, M - 1) the first leaf of each node.
        first: (N, M - 1) the number of objects in each node's first child; 0 if it doesn't exist.
    """

    child: Tensor
    size: Tensor
    parent: Tensor
    start: Tensor
    first: Tensor


def grow(count: Tensor, first: Tensor) -> Tree:
    """The trees that numbers of objects in first children describe.

    Args:
        count: (N,) the number of objects in each event.
        first: (N, M - 1) for each node, what its first child holds; brought into 1 .. size - 1.
    """
    nodes = first.shape[1]
    shape = (len(count), nodes + 1)
    # One more node takes what is written for children that are leaves.
    size, parent, start = first.new_zeros(shape), first.new_full(shape, -1), first.new_zeros(shape)
    size[:, 0] = torch.where(count > 1, count, 0)
    child, chosen = first.new_full((len(count), nodes, 2), nodes), torch.zeros_like(first)
    for k in range(nodes):
        there = size[:, k] > 1
        number = torch.where(there, torch.minimum(first[:, k].clamp(min=1), size[:, k] - 1), 0)
        chosen[:, k] = number
        begin = start[:, k].clone()
        sides = ((number, k + 1 + 0 * number, begin), (size[:, k] - number, k + number, begin + number))
        for side, (objects, node, leaf) in enumerate(sides):
            composite = there & (objects > 1)
            place = torch.where(composite, node, nodes).unsqueeze(1)
            size.scatter_(1, place, objects.unsqueeze(1))
            start.scatter_(1, place, leaf.unsqueeze(1))
            parent.scatter_(1, place, first.new_full((len(count), 1), k))
            child[:, k, side] = torch.where(composite, node, torch.where(there, nodes + leaf, nodes))
    exists = size[:, :nodes] > 1
    return Tree(
        child,
        torch.where(exists, size[:, :nodes], 0),
        torch.where(exists, parent[:, :nodes], -1),
        torch.where(exists, start[:, :nodes], 0),
        chosen,
    )


def cluster(momenta: Tensor, count: Tensor, distance: Distance) -> tuple[Tensor, Tensor]:
    """Joins the nearest two objects of each event, and again, until one is left.

    The distances are those of algorithms for e+e- events: ``kt`` min(E_i, E_j)^2 (1 - cos theta_ij) (Durham;
    Catani et al., Phys. Lett. B 269 (1991) 432), ``angle`` 1 - cos theta_ij (Cambridge; Dokshitzer et al.,
    hep-ph/9707323), ``mass`` E_i E_j (1 - cos theta_ij) (JADE; Z. Phys. C 33 (1986) 23).

    Args:
        momenta: (N, M, 4) px, py, pz and energy; those of absent objects don't matter.
        count: (N,) the number of objects, which come first.
        distance: Which.

    Returns:
        The children (N, M - 1, 2) of each node, where node k is made when k + 2 objects are left: the number
        of a node, or M - 1 + l for object l; and the momenta (N, M - 1, 4) of the nodes.
    """
    number, width, _ = momenta.shape
    device, rows = momenta.device, torch.arange(number, device=momenta.device)
    slots = torch.arange(width, device=device)
    active = slots < count.unsqueeze(1)
    current = torch.where(active.unsqueeze(2), momenta, 0.0)
    name = (width - 1 + slots).repeat(number, 1)
    child = torch.full((number, width - 1, 2), width - 1, dtype=torch.int64, device=device)
    nodes = momenta.new_zeros((number, width - 1, 4))
    i, j = torch.triu_indices(width, width, 1, device=device)
    for left in range(width - 1, 0, -1):
        going = count > left
        apart = _distances(current, i, j, distance)
        apart = torch.where(active[:, i] & active[:, j], apart, torch.inf)
        nearest = apart.argmin(1)
        a, b = i[nearest], j[nearest]
        pair = torch.stack([name[rows, a], name[rows, b]], 1)
        joined = current[rows, a] + current[rows, b]
        child[:, left - 1] = torch.where(going.unsqueeze(1), pair, child[:, left - 1])
        nodes[:, left - 1] = torch.where(going.unsqueeze(1), joined, 0.0)
        current[rows, a] = torch.where(going.unsqueeze(1), joined, current[rows, a])
        name[rows, a] = torch.where(going, left - 1, name[rows, a])
        active[rows, b] &= ~going
    return child, nodes


def _distances(momenta: Tensor, i: Tensor, j: Tensor, distance: Distance) -> Tensor:
    direction = momenta[..., :3] / momenta[..., :3].norm(dim=-1, keepdim=True).clamp(min=1e-300)
    # Half the squared chord is 1 - cos theta, without its rounding at small angles.
    opening: Tensor = 0.5 * (direction[:, i] - direction[:, j]).square().sum(-1)
    if distance == "angle":
        return opening
    first, second = momenta[:, i, 3], momenta[:, j, 3]
    scale = first * second if distance == "mass" else torch.minimum(first, second).square()
    return opening * scale


def depth_first(child: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Renumbers the trees of ``cluster``.

    Args:
        child: (N, M - 1, 2) children, in which a node's number is less than those of the nodes in it.
        count: (N,) the number of objects.

    Returns:
        For each new node the number it had (N, M - 1); for each new leaf the object (N, M); and what the
        first child of each new node holds (N, M - 1), 0 if the node doesn't exist.
    """
    number, nodes, _ = child.shape
    rows = torch.arange(number, device=child.device)
    exists = torch.arange(nodes, device=child.device) < (count - 1).unsqueeze(1)
    size = torch.cat(
        [torch.zeros_like(child[..., 0]), torch.ones_like(child[:, :1, 0]).repeat(1, nodes + 1)], 1
    )
    for k in range(nodes - 1, -1, -1):
        size[:, k] = torch.where(exists[:, k], size[rows, child[:, k, 0]] + size[rows, child[:, k, 1]], 0)
    # New numbers of nodes, first leaves of nodes, and new numbers of leaves; the last column takes the rest.
    place = child.new_zeros((number, 2 * nodes + 2))
    start = torch.zeros_like(place)
    old = child.new_zeros((number, nodes + 1))
    first = torch.zeros_like(old)
    for k in range(nodes):
        a, b = child[:, k, 0], child[:, k, 1]
        within = torch.where(exists[:, k], size[rows, a], 0)
        here = torch.where(exists[:, k], place[:, k], nodes)
        old[rows, here] = k
        first[rows, here] = within
        for kid, node, leaf in (
            (a, place[:, k] + 1, start[:, k].clone()),
            (b, place[:, k] + within, start[:, k] + within),
        ):
            target = torch.where(exists[:, k], kid, 2 * nodes + 1)
            place[rows, target] = torch.where(kid < nodes, node, leaf)
            start[rows, target] = leaf
    leaves = torch.arange(nodes + 1, device=child.device)
    new_leaf = torch.where(leaves < count.unsqueeze(1), place[:, nodes : 2 * nodes + 1], leaves)
    return old[:, :nodes], new_leaf.argsort(1), first[:, :nodes]


def shape_hints(tree: Tree) -> Tensor:
    """Of each node: its children's sizes, and its place in the tree.

    Args:
        tree: N trees of up to M - 1 nodes.

    Returns:
        (N, H) in float64: the logarithms of the children's sizes, whether they are leaves, whether the node
        is its parent's first child, and which node its parent is.
    """
    nodes, device = tree.first.shape[1], tree.first.device
    exists = (tree.size > 1).to(torch.float64)
    first, second = tree.first, tree.size - tree.first
    parts = [torch.log(s.clamp(min=1).to(torch.float64)) for s in (first, second)]
    parts += [(s == 1).to(torch.float64) * exists for s in (first, second)]
    numbers = torch.arange(nodes, device=device)
    leading = tree.child[..., 0].gather(1, tree.parent.clamp(min=0)) == numbers
    parts.append(leading.to(torch.float64) * (tree.parent >= 0))
    i, j = torch.tril_indices(nodes, nodes, -1, device=device)
    parts.append((tree.parent[:, i] == j).to(torch.float64))
    return torch.cat(parts, 1)


def label_hints(
    tree: Tree, discrete: Tensor, labels: Sequence[tuple[int, Sequence[int]]], kinds: int
) -> list[Tensor]:
    """Of each node's first and second children the halved numbers of leaves of each kind.

    Args:
        tree: N trees of up to M leaves.
        discrete: (N, K) classes.
        labels: For each leaf the column of its class, and the kind (0 ... kinds) of each class.
        kinds: The number of kinds that are counted, from 1 on.

    Returns:
        Two tensors (N, (M - 1) kinds) in float64.
    """
    found = []
    for number, table in labels:
        chosen = discrete[:, number]
        label = constant(tuple(table), discrete.device, torch.int64)[chosen.clamp(min=0)]
        found.append(torch.where(chosen >= 0, label, 0))
    of_kind = torch.stack(found, 1).unsqueeze(2) == torch.arange(1, kinds + 1, device=discrete.device)
    # Sums over the neighbouring leaves of a node are differences of sums over all leaves before.
    sums = torch.nn.functional.pad(of_kind.to(torch.float64).cumsum(1), (0, 0, 1, 0))
    ends = (tree.start, tree.start + tree.first, tree.start + tree.size)
    start, middle, end = (sums.gather(1, e.unsqueeze(2).expand(-1, -1, kinds)) for e in ends)
    return [0.5 * (middle - start).flatten(1), 0.5 * (end - middle).flatten(1)]


MAX_OBJECTS = 16
MAX_LABELS = 8
"""Masses that are told apart in hints."""

_TINY = 1e-9
"""GeV: the least kinetic energy that a node has for its decay."""


class TreeConfig(Config):
    """The momenta of a collection as a tree of two-body decays, which clustering finds in each event.

    The nearest two objects are joined until one is left; so the tree, and the number of objects, differ from
    event to event. Its shape is a part of the discrete variables. Each node has the columns ``first`` and
    ``second``, the logarithms of the kinetic energies that go into its children's own decays in units of what
    goes into its own (they exist for children that decay); ``eta`` and ``phi`` of its first child in its rest
    frame, where the axis is its direction of flight and phi is counted from its sibling; for the outermost
    node ``cos_theta`` and ``phi`` in the laboratory. The first child is the one that goes forward.
    Whatever a network makes of these, momentum is conserved and no mass is below its threshold, and objects
    that are near each other (jets, collinear splittings) are so by one column. Objects that do not descend
    in any coordinate in the events are generated in the order of the tree's leaves.

    Attributes:
        collection: The collection, of 2 to 16 objects with momentum and mass.
        distance: What is near: ``kt`` (Durham), ``angle`` (Cambridge) or ``mass`` (JADE).
        total_energy: The energy of the whole in its rest frame, if that is the laboratory and the same in
            all events (91.188 GeV at LEP). What the objects lack of it (such as those beyond the largest
            number that the file holds) is then one more pseudo-particle, the ``rest``, which is generated
            too and not written; so energy and momentum of the whole are exact. None: the whole has the
            columns ``pt``, ``y``, ``phi`` and ``mass`` (less the objects' masses).
        transforms: Transforms by column: ``eta`` for all nodes, ``tree[0].first`` for one, ``rest.energy``.
    """

    kind: Literal["tree"] = "tree"
    collection: str
    distance: Literal["kt", "angle", "mass"] = "kt"
    total_energy: float | None = Setting(default=None, gt=0.0)
    transforms: dict[str, TransformSpec] = Setting(default_factory=dict)


class TreePart(Part):
    """The momenta of a collection as a tree of two-body decays; see ``TreeConfig`` for the columns.

    Attributes:
        settings: The recipe's settings.
        width: The largest number of objects.
        firsts: Of each node the numbers of objects that its first child can have.
        rest: What was found out about what the total lacks.
        labels: For each object the number of the variable that tells its mass, and the kind of each of its
            classes; none if the masses don't vary.
        label_count: The number of kinds of masses, but one.
        unit: What energies are in.
    """

    kind: Literal["tree"] = "tree"
    settings: TreeConfig
    width: int
    firsts: tuple[tuple[int, ...], ...]
    rest: RestFound | None
    labels: tuple[tuple[int, tuple[int, ...]], ...] = ()
    label_count: int = 0
    unit: Unit = "GeV"

    @property
    def _tiny(self) -> float:
        return _TINY * GEV[self.unit]

    @property
    def _nodes(self) -> int:
        return self.width - 1

    @cached_property
    def _rest(self) -> Rest | None:
        return None if self.rest is None else Rest(self.rest)

    # ------------------------------------------------------------------ learning

    @classmethod
    def learn(cls, settings: TreeConfig, reading: Reading) -> Self:
        """Finds which numbers of objects the nodes' first children have, and what the total lacks.

        Raises:
            RecipeError: If the collection has no momentum or mass, or too few or too many objects.
        """
        name, facts = settings.collection, reading.facts
        width = facts.collection(name).max_count
        if not facts.massive(name):
            msg = f"{name}: a tree needs objects with a momentum and a mass (see features.masses)"
            raise RecipeError(msg)
        if facts.always(name) < 2 or not 2 <= width <= MAX_OBJECTS:
            msg = (
                f"{name}: a tree needs 2 to {MAX_OBJECTS} objects in every event; there are "
                f"{facts.always(name)} to {width}"
            )
            raise RecipeError(msg)
        tree = grow(reading.count(name), reading.arrangements[name])
        # A node that no event has is a variable all the same, of one class.
        firsts = tuple(tuple(torch.unique(f[f > 0]).tolist()) or (1,) for f in tree.first.unbind(1))
        rest = None
        if settings.total_energy:
            momenta, mass = _momenta(name, reading), facts.masses[name]
            count, unit = reading.count(name), facts.schema.unit
            rest = Rest.find(name, settings.total_energy, mass, momenta, count, unit)
        return cls.make(settings, facts, firsts, rest)

    @classmethod
    def make(
        cls, settings: TreeConfig, facts: Facts, firsts: tuple[tuple[int, ...], ...], rest: RestFound | None
    ) -> Self:
        """The part of these constants.

        Args:
            settings: The recipe's settings.
            facts: What is known of the events.
            firsts: See the attributes.
            rest: Likewise.
        """
        name, width = settings.collection, facts.collection(settings.collection).max_count

        def column(
            part: str, what: str, low: float | None, high: float | None, gate: Gate | None = None
        ) -> Column:
            address = Address(name, None, f"{part}.{what}")
            return Column(address, low, high, gate, 1.0 if high else 0.0, aliases=(what,))

        variables = [
            DiscreteVariable.of(
                Address(name, None, f"tree[{k}]"), tuple(map(float, table)), k + 1, ordinal=True
            )
            for k, table in enumerate(firsts)
        ]
        if rest is None:
            columns = [
                column("total", "pt", 0.0, None),
                column("total", "phi", -math.pi, math.pi),
                column("total", "y", None, None),
                column("total", "mass", 0.0, None),
            ]
        else:
            columns = Rest(rest).columns
            variables.append(Rest(rest).variable)
        for k in range(width - 1):
            gate = facts.gate(name, k + 2)
            columns += [
                column(f"tree[{k}]", "first", None, None, gate),
                column(f"tree[{k}]", "second", None, None, gate),
                column(f"tree[{k}]", "eta", None, None, gate)
                if k
                else column(f"tree[{k}]", "cos_theta", -1.0, 1.0, gate),
                column(f"tree[{k}]", "phi", -math.pi, math.pi, gate),
            ]
        return cls(
            collection=name,
            columns=tuple(columns),
            variables=tuple(variables),
            settings=settings,
            width=width,
            firsts=firsts,
            rest=rest,
            unit=facts.schema.unit,
        )

    def joined(self, variables: Sequence[DiscreteVariable], facts: Facts) -> Self:
        """The part that knows which variables tell the leaves' masses, so that hints can count them."""
        mass = facts.masses[self.collection]
        field = mass.by if mass.source == "table" else "mass"
        numbers = {v.address: i for i, v in enumerate(variables)}
        labels: list[tuple[int, list[float]]] = []
        for slot in range(self.width):
            number = numbers.get(facts.address(self.collection, slot, field))
            if number is not None:
                known = torch.tensor(variables[number].values, dtype=torch.float64)
                labels.append((number, (mass.look_up(known) if mass.source == "table" else known).tolist()))
        different = sorted({v for _, table in labels for v in table})
        if len(labels) < self.width or not 1 < len(different) <= MAX_LABELS:
            return self
        found = tuple((n, tuple(different.index(v) for v in table)) for n, table in labels)
        return self.model_copy(update={"labels": found, "label_count": len(different) - 1})

    # ------------------------------------------------------------------ the tree

    @classmethod
    def arranged(cls, settings: TreeConfig, reading: Reading) -> Reading:
        """The events with the objects in the order of the tree's leaves."""
        name = settings.collection
        if not reading.facts.massive(name) or reading.facts.collection(name).max_count < 2:
            return reading
        count = reading.count(name)
        momenta = _in_rest_frame(_momenta(name, reading), settings.total_energy)
        child, nodes = cluster(momenta, count, settings.distance)
        child = _forward_first(child, torch.cat([nodes, momenta], 1))
        _, leaves, first = depth_first(child, count)
        objects = reading.events.collections[name]
        fields = {n: v.gather(1, leaves) for n, v in objects.fields.items()}
        return reading.with_objects(name, objects.with_fields(fields), first)

    # ------------------------------------------------------------------ encoding

    def read(self, reading: Reading) -> Encoded:
        """Columns (N, D) and classes (N, K).

        Raises:
            InputError: If a tree has a node or a rest such as no training event has.
        """
        name = self.collection
        tree, momenta = grow(reading.count(name), reading.arrangements[name]), _momenta(name, reading)
        total = momenta.sum(1)
        leaves = _in_rest_frame(momenta, self.settings.total_energy)
        mass = reading.kinematics(name).bounded("mass")
        known = torch.cat([torch.zeros_like(leaves[:, : self._nodes]), leaves], 1)
        masses = torch.cat([torch.zeros_like(mass[:, : self._nodes]), mass], 1)
        rows = torch.arange(len(reading), device=reading.device)
        for k in range(self._nodes - 1, -1, -1):
            a, b = tree.child[:, k, 0], tree.child[:, k, 1]
            known[:, k] = known[rows, a] + known[rows, b]
            masses[:, k] = masses[rows, a] + masses[rows, b]
        kinetic = (invariant_mass(known) - masses).clamp(min=self._tiny)
        kinetic[:, self._nodes :] = 0.0
        if self._rest is not None:
            kinetic[:, 0] = (self._rest.mass_of_others(total) - masses[:, 0]).clamp(min=self._tiny)
        columns = self._outermost(total, kinetic[:, 0], known, tree)
        for k in range(self._nodes):
            columns += self._decay(k, known, kinetic, tree)
        classes = [self._classes(k, tree, reading.refuse) for k in range(self._nodes)]
        if self._rest is not None:
            classes.append(self._rest.classes(total, reading.refuse))
        return Encoded(torch.stack(columns, 1), torch.stack(classes, 1))

    def _outermost(self, total: Tensor, kinetic: Tensor, known: Tensor, tree: Tree) -> list[Tensor]:
        if self._rest is not None:
            return self._rest.encode(total, *self._frame_of_rest(known, tree))
        k = Kinematics(dict(zip(("px", "py", "pz"), total.unbind(1), strict=False)))
        transverse = safe_sqrt(total[:, 3] ** 2 - total[:, 2] ** 2).clamp(min=self._tiny)
        return [k["pt"], k["phi"], torch.asinh(total[:, 2] / transverse), kinetic]

    def _classes(self, k: int, tree: Tree, refuse: Refusal) -> Tensor:
        table = constant(self.firsts[k], tree.first.device, torch.int64)
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
        own = (kinetic[:, k] - inner[0] - inner[1]).clamp(min=self._tiny)
        shares = [torch.log(i.clamp(min=self._tiny) / own) for i in inner]
        parent = known[:, k]
        # Nodes that don't exist have no momentum.
        energy = torch.where(parent[:, 3:] > 0, parent[:, 3:], 1.0)
        still = k == 0
        star = known[rows, a] if still else boosted(known[rows, a], -parent[:, :3] / energy)
        x, y, z = self._axes(k, known, tree)
        unit = direction(star[:, :3])
        phi = azimuth((unit * x).sum(1), (unit * y).sum(1))
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
        before = sibling.clamp(max=self._nodes - 1)
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
        chosen = torch.where(first < self._nodes, first, second)
        plane = known[rows, tree.child[rows, chosen.clamp(max=self._nodes - 1), 0], :3]
        reference = torch.where((chosen < self._nodes).unsqueeze(1), plane, unit[:, 2])
        return axes(known[rows, first, :3], reference)

    # ------------------------------------------------------------------ context

    @property
    def hint_count(self) -> int:
        """Columns of the hints."""
        nodes = self._nodes
        return 5 * nodes + nodes * (nodes - 1) // 2 + 2 * nodes * self.label_count

    def tell(self, discrete: Tensor, own: Tensor, count: Tensor) -> Told:
        """Which columns exist; and what the tree means for each node.

        A network would have to work it out from the tree's numbers: of each node the logarithms of its
        children's sizes, whether they are leaves, whether it is its parent's first child, which node its
        parent is, its children's numbers of leaves of each mass but the first.
        """
        tree = self._grown(own, count)
        there = tree.size > 1
        inner = [(tree.child[..., side] < self._nodes) & there for side in (0, 1)]
        nodes = torch.stack([*inner, there, there], 2).flatten(1)
        whole = torch.ones_like(nodes[:, :4]) if self._rest is None else self._rest.present(own[:, -1], count)
        hints = [shape_hints(tree)]
        if self.labels:
            hints += label_hints(tree, discrete, self.labels, self.label_count)
        return Told(torch.cat([whole, nodes], 1), torch.cat(hints, 1))

    def _grown(self, own: Tensor, count: Tensor) -> Tree:
        first = []
        for k, table in enumerate(self.firsts):
            values = constant(table, own.device, torch.int64)
            first.append(values[own[:, k].clamp(min=0)])
        return grow(count, torch.stack(first, 1))

    # ------------------------------------------------------------------ decoding

    def write(self, encoded: Encoded, draft: Draft) -> None:
        """Puts in the momenta."""
        columns, discrete = encoded
        count = draft.count(self.collection)
        tree = self._grown(discrete, count)
        slots = torch.arange(self.width, device=columns.device)
        mass = draft.mass(self.collection)
        if mass is None:
            mass = columns.new_zeros((len(columns), self.width))
        mass = torch.where(slots < count.unsqueeze(1), mass, 0.0)
        outer = columns[:, :4].unbind(1)
        masses = self._summed(mass, tree)
        if self._rest is None:
            total_mass = masses[:, 0] + outer[3].clamp(min=self._tiny)
            rest = None
        else:
            rest = self._rest.decode(columns[:, :4], discrete[:, -1], count, masses[:, 0])
            total_mass = rest.others_mass
        known = self._decays(columns[:, 4:], tree, masses, total_mass)
        leaves = known[:, self._nodes :]
        if rest is not None:
            velocity = rest.velocity(self._frame_of_rest(known, tree))
        else:
            pt, phi, y, _ = outer
            phi = phi if draft.azimuth is None else phi + draft.azimuth
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
        if rest is not None and draft.azimuth is not None:
            k = k.rotated(draft.azimuth.unsqueeze(1))
        draft.put_momenta(self.collection, tuple(range(self.width)), k)

    def _summed(self, mass: Tensor, tree: Tree) -> Tensor:
        """The summed masses of the leaves of each node, and those of the leaves, (N, 2 M - 1)."""
        sums = torch.nn.functional.pad(mass.cumsum(1), (1, 0))
        nodes = sums.gather(1, tree.start + tree.size) - sums.gather(1, tree.start)
        return torch.cat([nodes, mass], 1)

    def _decays(self, columns: Tensor, tree: Tree, masses: Tensor, total_mass: Tensor) -> Tensor:
        """The momenta (N, 2 M - 1, 4) of nodes and leaves, in the frame in which node 0 is at rest."""
        number, size = len(columns), 2 * self._nodes + 1
        zero = torch.zeros_like(total_mass)
        known = torch.stack([zero, zero, zero, total_mass], 1).unsqueeze(1)
        known = torch.nn.functional.pad(known, (0, 0, 0, size))
        kinetic = torch.nn.functional.pad(
            (total_mass - masses[:, 0]).clamp(min=self._tiny).unsqueeze(1), (0, size)
        )
        rows = torch.arange(number, device=columns.device)
        for k in range(self._nodes):
            first, second, angle, phi = columns[:, 4 * k : 4 * k + 4].unbind(1)
            a, b = tree.child[:, k, 0], tree.child[:, k, 1]
            there = tree.size[:, k] > 1
            available = kinetic[:, k]
            weights = torch.stack([zero, first, second], 1)
            absent = torch.stack([~there, a >= self._nodes, b >= self._nodes], 1)
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

    @property
    def judges(self) -> bool:
        """Whether there can be a rest, which can be too hard."""
        return self._rest is not None

    def possible(self, events: EventBatch, facts: Facts) -> Tensor | None:
        """Whether what is missing in the total is softer than the objects that are there (N,)."""
        if self._rest is None or facts.orders.get(self.collection) != "energy":
            return None
        momenta = _momenta(self.collection, Reading(events, facts))
        energy = torch.where(momenta[..., 3] > 0, momenta[..., 3], torch.inf)
        return self._rest.softer(momenta.sum(1), energy.amin(1))


def _momenta(name: str, reading: Reading) -> Tensor:
    """(N, M, 4), 0 where there is no object."""
    k = reading.kinematics(name)
    px, py, pz, mass = (k.bounded(c) for c in ("px", "py", "pz", "mass"))
    stacked = torch.stack([px, py, pz, safe_sqrt(px**2 + py**2 + pz**2 + mass**2)], 2)
    return torch.where(reading.mask(name).unsqueeze(2), stacked, 0.0)


def _in_rest_frame(momenta: Tensor, total_energy: float | None) -> Tensor:
    """Momenta (N, M, 4) where their sum is at rest, if it is known that it isn't."""
    total = momenta.sum(1)
    velocity = total[:, :3] / total[:, 3:]
    if total_energy is not None:
        velocity = torch.where(lacking(total, total_energy).unsqueeze(1), velocity, 0.0)
    return boosted(momenta, -velocity.unsqueeze(1))


def _forward_first(child: Tensor, momenta: Tensor) -> Tensor:
    """The children with the one first that goes forward in its parent's rest frame.

    Of the outermost node, which is at rest, it is the one with the larger energy.
    """
    rows = torch.arange(len(child), device=child.device)
    swapped = []
    for k in range(child.shape[1]):
        a, b = (momenta[rows, child[:, k, side]] for side in (0, 1))
        if k == 0:
            swapped.append(a[:, 3] < b[:, 3])
            continue
        parent = a + b
        star = boosted(a, -parent[:, :3] / parent[:, 3:].clamp(min=1e-300))
        swapped.append((star[:, :3] * parent[:, :3]).sum(1) < 0)
    return torch.where(torch.stack(swapped, 1).unsqueeze(2), child.flip(2), child)
