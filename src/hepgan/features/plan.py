"""Which part covers what: those of the recipe, and others for all that it does not mention."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from difflib import get_close_matches

from hepgan.errors import RecipeError
from hepgan.events.schema import Address, EventSchema
from hepgan.features.config import FeaturesConfig
from hepgan.features.facts import Facts
from hepgan.features.parts import (
    AnyConfig,
    CellsConfig,
    CellsPart,
    DecayConfig,
    DecayPart,
    FieldsConfig,
    FieldsPart,
    GridConfig,
    GridPart,
    ObjectsConfig,
    ObjectsPart,
    PairsConfig,
    PairsPart,
    Planned,
    ReferencesConfig,
    ReferencesPart,
    ResponseConfig,
    ResponsePart,
    ScatteringConfig,
    ScatteringPart,
    SystemsConfig,
    SystemsPart,
    TransformSpec,
    TreeConfig,
    TreePart,
)
from hepgan.features.parts.decay import Chain
from hepgan.features.parts.fields import slots_of
from hepgan.features.parts.objects import coordinates_of, is_partial
from hepgan.features.parts.response import differences

__all__ = ["check_addresses", "plan"]

PARTIAL = ("pt", "px", "py", "pz", "phi", "eta", "theta", "energy")
"""Fields that are taken as a momentum's coordinates even where others are missing."""

_DERIVED = {2: ("pt", "phi", "px", "py"), 3: ("pt", "phi", "px", "py", "eta", "pz")}


def plan(config: FeaturesConfig, facts: Facts, conditions: Collection[str]) -> list[Planned]:
    """The parts that cover everything once; those of the recipe come first, in its order.

    Raises:
        RecipeError: If the recipe covers something twice, or names what the events do not have.
    """
    planner = _Planner(config, facts, conditions)
    parts = [planner.part(b) for b in config.blocks]
    for described in facts.schema.collections:
        if described.name not in facts.given:
            parts += planner.rest_of(described.name)
    given = {*conditions, facts.schema.weight}
    scalars = [s for s in facts.schema.scalar_names if s not in given and not planner.covers(None, s)]
    shaped = [s for s in scalars if facts.schema.scalar(s).shape]
    parts += [planner.grid(GridConfig(fields=(s,))) for s in shaped]
    scalars = [s for s in scalars if s not in shaped]
    if scalars:
        texts = tuple(str(Address(None, None, s)) for s in scalars)
        parts.append(planner.fields(FieldsConfig(fields=texts)))
    for section, text in _own_ways(config):
        address = Address.parse(text)
        if not planner.covers(address.collection, address.field):
            why = "is given or the weight" if address.collection is None else "belongs to the momentum"
            msg = f"{section}: {text} {why}, so it is not learned as a number of its own"
            raise RecipeError(msg)
        if (address.collection, address.field) in planner.pointing:
            msg = f"{section}: {text} is in a references block, which learns it as what it points to"
            raise RecipeError(msg)
    return parts


def _own_ways(config: FeaturesConfig) -> list[tuple[str, str]]:
    """The numbers that a recipe wants to be learned in a way of their own, after the setting."""
    return [*(("discrete", t) for t in config.discrete), *(("populations", t) for t in config.populations)]


def check_addresses(config: FeaturesConfig, schema: EventSchema, given: Collection[str] = ()) -> None:
    """Checks that everything that the recipe names is in the events, and what is given is not generated.

    Raises:
        RecipeError: If something is not so.
    """
    for section, text in (*(("bounds", text) for text in config.bounds), *_own_ways(config)):
        if Address.parse(text).name in given:
            msg = f"{section}: {text} is a condition, which is given as it is"
            raise RecipeError(msg)
        address = Address.parse(text, schema.collection_names)
        _check_number(address, schema, section)
        if address.collection is None:
            _check_single(address.field, schema, section)
    for section, text in _own_ways(config):
        address = Address.parse(text)
        if address.slot is not None or address.field not in _stored(address, schema):
            every = address._replace(slot=None)
            why = "it is not stored" if address.slot is None else f"say {every}, of all objects alike"
            msg = f"{section}: {text} cannot be learned in a way of its own: {why}"
            raise RecipeError(msg)
    for name in config.masses:
        if name in given:
            msg = f"masses: {name} is a condition, which is given as it is"
            raise RecipeError(msg)
        _check_objects(Address(name, None, ""), schema, "masses")
    from_given = [a.collection in given for a in config.azimuth_objects]
    if given and not all(from_given):
        msg = (
            f"azimuth: {config.azimuth} has to be of given objects ({', '.join(given)}) where there are some"
        )
        raise RecipeError(msg)
    for block in config.blocks:
        if isinstance(block, ResponseConfig):
            for name in (block.collection, block.of):
                _check_objects(Address(name, None, ""), schema, "response")
            if block.of not in given or block.collection in given:
                msg = f"response: {block.of} has to be a condition, and {block.collection} none"
                raise RecipeError(msg)
    pairs = [p for b in config.blocks if isinstance(b, SystemsConfig) for p in b.pairs]
    paired = {b.collection for b in (*config.blocks, *pairs) if isinstance(b, PairsConfig)}
    for address in config.azimuth_objects:
        _check_objects(address, schema, "azimuth")
        described = schema.collection(address.name)
        varying = address.slot is None and (described.max_count > 1 or not described.fixed)
        if address.name in paired and not varying:
            msg = (
                f"azimuth: {address.name} is in a pairs block, whose objects change places; take all, "
                f"{address._replace(slot=None)}, or others"
            )
            raise RecipeError(msg)
        always = address.collection in given or varying or (address.slot or 0) < described.min_count
        if len(described.coordinates) < 2 or not always:
            msg = f"azimuth: {address} has no momentum, or is not in every event"
            raise RecipeError(msg)


def _stored(address: Address, schema: EventSchema) -> tuple[str, ...]:
    return (
        schema.scalar_names
        if address.collection is None
        else schema.collection(address.collection).field_names
    )


def _check_objects(address: Address, schema: EventSchema, section: str) -> None:
    """Checks that objects are in the events.

    Raises:
        RecipeError: If they are not.
    """
    name = address.name
    if name not in schema.collection_names:
        known = (*schema.collection_names, *schema.scalar_names)
        msg = f"{section}: no {name!r} in the events{_hint(name, known)}"
        raise RecipeError(msg)
    most = schema.collection(name).max_count
    if address.slot is not None and address.slot >= most:
        msg = f"{section}: {address}, but there are at most {most} {name}"
        raise RecipeError(msg)


def _check_number(address: Address, schema: EventSchema, section: str) -> None:
    """Checks that a number is in the events, or follows from what is.

    Raises:
        RecipeError: If it does not.
    """
    if address.collection is None and address.field in schema.scalar_names:
        return
    _check_objects(address, schema, section)
    described = schema.collection(address.name)
    known = described.field_names
    if not address.field:
        msg = f"{section}: {address} is an object; name its fields, as in {address}.{known[0]}"
        raise RecipeError(msg)
    size = len(described.coordinates)
    derived = _DERIVED.get(size, (*_DERIVED[3], "mass", "energy") if size else ())
    if address.field not in (*known, *derived):
        msg = f"{section}: {address.name} has no field {address.field!r}{_hint(address.field, known)}"
        raise RecipeError(msg)


def _check_single(name: str, schema: EventSchema, section: str) -> None:
    """Checks that a scalar is one number.

    Raises:
        RecipeError: If it has a shape.
    """
    shape = schema.scalar(name).shape if name in schema.scalar_names else ()
    if shape:
        cells = " x ".join(map(str, shape))
        msg = f"{section}: {name} is a field of {cells} cells and no single number; learn it in a grid block"
        raise RecipeError(msg)


def _hint(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, 1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known) or 'none'}"


class _Planner:
    def __init__(self, config: FeaturesConfig, facts: Facts, conditions: Collection[str]) -> None:
        self.config, self.facts, self._conditions = config, facts, conditions
        self._discrete = {str(Address.parse(k)): v for k, v in config.discrete.items()}
        self._bounds = {str(Address.parse(k)): v for k, v in config.bounds.items()}
        self._populations = {str(Address.parse(k)): v for k, v in config.populations.items()}
        self._momenta: dict[str, set[int]] = {}
        self.pointing: set[tuple[str | None, str]] = set()
        self._lists = False
        self._fields: dict[tuple[str | None, str], set[int]] = {}
        self._objects = {b.collection: b for b in config.blocks if isinstance(b, ObjectsConfig)}
        for name in self._objects:
            _check_objects(Address(name, None, ""), facts.schema, "blocks")
        decays = [Chain.of(b) for b in config.blocks if isinstance(b, DecayConfig)]
        for name, number in Counter(s.name for chain in decays for s in chain.systems).items():
            if number > 1:
                msg = f"blocks: {number} systems are called {name!r}; give each a name of its own"
                raise RecipeError(msg)
        for chain in decays:
            chain.check(facts)
            for leaf in chain.leaves:
                self._take(str(leaf.collection), (leaf.slot or 0,))

    def covers(self, collection: str | None, field: str) -> bool:
        """Whether a field, or scalar, is learned as a number of its own."""
        none = collection is not None and self.facts.collection(collection).max_count == 0
        return none or (collection, field) in self._fields

    def _take(self, collection: str, slots: Sequence[int]) -> None:
        if collection in self.facts.given:
            msg = f"blocks: {collection} is a condition, which is given instead of generated"
            raise RecipeError(msg)
        taken = self._momenta.setdefault(collection, set())
        twice = taken.intersection(slots)
        if twice:
            msg = f"blocks: the momentum of {collection}[{min(twice)}] is in two blocks"
            raise RecipeError(msg)
        taken.update(slots)

    def part(self, config: AnyConfig) -> Planned:
        """The part of a recipe's settings."""
        if isinstance(config, DecayConfig):
            return Planned(DecayPart, config, {})
        if isinstance(config, ObjectsConfig):
            return self.objects(config)
        if isinstance(config, FieldsConfig):
            return self.fields(config)
        if isinstance(config, GridConfig):
            return self.grid(config)
        if isinstance(config, CellsConfig):
            return self.cells(config)
        if isinstance(config, ResponseConfig):
            return self.response(config)
        if isinstance(config, SystemsConfig):
            return self.systems(config)
        if isinstance(config, ReferencesConfig):
            return self.references(config)
        name = config.lepton if isinstance(config, ScatteringConfig) else config.collection
        _check_objects(Address(name, None, ""), self.facts.schema, "blocks")
        if isinstance(config, ScatteringConfig):
            self._take(name, (0,))
            return Planned(ScatteringPart, config, {})
        self._take(name, range(self.facts.collection(name).max_count))
        if isinstance(config, PairsConfig):
            return Planned(PairsPart, config, {"edges": self._edges(name)})
        return Planned(TreePart, config, {})

    def systems(self, config: SystemsConfig) -> Planned:
        """The part of all collections with pairs."""
        names = [p.collection for p in config.pairs]
        for name in names:
            _check_objects(Address(name, None, ""), self.facts.schema, "blocks")
            self._take(name, range(self.facts.collection(name).max_count))
        return Planned(SystemsPart, config, {"edges": {name: self._edges(name) for name in names}})

    def response(self, config: ResponseConfig) -> Planned:
        """The part of a detector's objects."""
        number = len(self.facts.places[config.collection].found)
        self._take(config.collection, range(number))
        for field in differences(config, self.facts.schema):
            self._fields[config.collection, field] = set(range(number))
        return Planned(ResponsePart, config, {})

    def references(self, config: ReferencesConfig) -> Planned:
        """The part of indices into other collections.

        Raises:
            RecipeError: If one cannot be learned as such.
        """
        if self.pointing:
            msg = "blocks: there are two of references; one has all indices"
            raise RecipeError(msg)
        for text, said in config.fields.items():
            address = Address.parse(text)
            name, to = address.name, said.to or Address.parse(said.back or "").name
            self._check_field(address)
            _check_objects(Address(to, None, ""), self.facts.schema, "references")
            key = (name, address.field)
            field = self.facts.collection(name).field(address.field)
            trees = {b.collection for b in self.config.blocks if isinstance(b, TreeConfig)}
            reason = (
                f"is not made of whole numbers, but of {field.dtype}"
                if "int" not in field.dtype
                else f"points into {to} itself, and chains of objects (mothers) are not learned"
                if name == to
                else f"points into {to}, which is given, has places or thresholds, or is a tree"
                if to in {*self.facts.given, *self.facts.padded, *self.facts.places, *trees}
                else "belongs to objects that have places or thresholds"
                if name in {*self.facts.padded, *self.facts.places}
                else "is in two blocks"
                if key in self._fields
                else ""
            )
            if reason:
                msg = f"references: {text} {reason}"
                raise RecipeError(msg)
            self._fields[key] = set(range(self.facts.collection(name).max_count))
            self.pointing.add(key)
        free = frozenset(n for n in self.facts.schema.collection_names if self._directed(n))
        return Planned(ReferencesPart, config, {"free": free})

    def _directed(self, name: str) -> bool:
        """Whether the momenta of all objects of a collection are learned as pt, eta and phi."""
        taken = {
            str(leaf.collection)
            for b in self.config.blocks
            if isinstance(b, DecayConfig)
            for leaf in Chain.of(b).leaves
        }
        for b in self.config.blocks:
            if isinstance(b, ScatteringConfig):
                taken.add(b.lepton)
            elif isinstance(b, SystemsConfig):
                taken |= {p.collection for p in b.pairs}
            elif isinstance(b, PairsConfig | TreeConfig | ResponseConfig):
                taken.add(b.collection)
        if name in {*taken, *self.facts.given} or is_partial(self.facts, name):
            return False
        block = self._objects.get(name, ObjectsConfig(collection=name))
        apart = any(self.facts.deviation(name, c) is not None for c in ("eta", "phi"))
        plain = not block.pca and not {"eta", "phi"} & set(block.ranges)
        return plain and not apart and set(coordinates_of(block, self.facts)) == {"pt", "eta", "phi"}

    def objects(self, config: ObjectsConfig) -> Planned:
        """The part of those objects of a collection that are in no other."""
        name = config.collection
        taken = self._momenta.get(name, set())
        slots = tuple(i for i in range(self.facts.collection(name).max_count) if i not in taken)
        if not slots:
            msg = f"blocks: the momenta of {name} are all in other blocks"
            raise RecipeError(msg)
        self._take(name, slots)
        if is_partial(self.facts, name):
            for coordinate in coordinates_of(config, self.facts):
                if (name, coordinate) in self._fields:
                    msg = f"blocks: {name}.{coordinate} is in two blocks"
                    raise RecipeError(msg)
                self._fields[name, coordinate] = set(slots)
        return Planned(ObjectsPart, config, {"slots": slots, "edges": self._edges(name)})

    def _edges(self, name: str) -> dict[str, tuple[float | None, float | None]]:
        """The recipe's bounds on coordinates of all objects of a collection."""
        every = ((Address.parse(k), v) for k, v in self._bounds.items())
        return {
            a.field: bound
            for a, bound in every
            if a.collection == name and a.slot is None and self.facts.deviation(name, a.field) is None
        }

    def fields(self, config: FieldsConfig) -> Planned:
        """The part of some fields and scalars.

        Raises:
            RecipeError: If one is covered already, or cannot be learned by itself.
        """
        for text in config.fields:
            self._check_field(Address.parse(text, self.facts.schema.collection_names))
        for (collection, name), slots in slots_of(config, self.facts).items():
            taken = self._fields.setdefault((collection, name), set())
            if taken.intersection(slots):
                address = self.facts.address(collection, min(taken.intersection(slots)), name)
                msg = f"blocks: {address} is in two blocks"
                raise RecipeError(msg)
            taken.update(slots)
        more = {"discrete": self._discrete, "bounds": self._bounds, "populations": self._populations}
        return Planned(FieldsPart, config, more)

    def grid(self, config: GridConfig) -> Planned:
        """The part of fields with a shape.

        Raises:
            RecipeError: If one has none, is not there, or is in two blocks.
        """
        for name in config.fields:
            _check_number(Address(None, None, name), self.facts.schema, "blocks")
            if not self.facts.schema.scalar(name).shape:
                msg = f"blocks: {name} is one number, and a grid is of fields with a shape"
                raise RecipeError(msg)
            if (None, name) in self._fields:
                msg = f"blocks: {name} is in two blocks"
                raise RecipeError(msg)
            self._fields[None, name] = {0}
        return Planned(GridPart, config, {})

    def cells(self, config: CellsConfig) -> Planned:
        """The part of the list of an image's cells.

        Raises:
            RecipeError: If the field has no shape, is not there or in two blocks, or there is such a list
                already.
        """
        name = config.field
        _check_number(Address(None, None, name), self.facts.schema, "blocks")
        reason = (
            "is a condition, which is given instead of generated"
            if name in self._conditions
            else "is one number, and a list of cells is of a field with a shape"
            if not self.facts.schema.scalar(name).shape
            else "is in two blocks"
            if (None, name) in self._fields
            else "is the second list of cells, and models know one"
            if self._lists
            else ""
        )
        if reason:
            msg = f"blocks: {name} {reason}"
            raise RecipeError(msg)
        self._lists = True
        self._fields[None, name] = {0}
        return Planned(CellsPart, config, {})

    def _check_field(self, address: Address) -> None:
        _check_number(address, self.facts.schema, "blocks")
        collection = address.collection
        if collection is None:
            _check_single(address.field, self.facts.schema, "blocks")
            return
        if collection in self.facts.given:
            msg = f"blocks: {address} is a condition already"
            raise RecipeError(msg)
        if address.field not in self.facts.plain_fields(collection):
            msg = f"blocks: {address} follows from the momentum; it belongs to an objects or decay block"
            raise RecipeError(msg)

    def rest_of(self, collection: str) -> list[Planned]:
        """Parts for what is not covered yet."""
        parts: list[Planned] = []
        width = self.facts.collection(collection).max_count
        if width == 0:
            return parts
        names = self.facts.collection(collection).field_names
        movable = self.facts.dimensions(collection) > 0 or any(n in PARTIAL for n in names)
        if movable and len(self._momenta.get(collection, ())) < width:
            config = ObjectsConfig(collection=collection)
            if is_partial(self.facts, collection):
                every = coordinates_of(config, self.facts)
                left = tuple(c for c in every if (collection, c) not in self._fields)
                config = config if left == every else config.model_copy(update={"coordinates": left})
            if config.coordinates != ():
                parts.append(self.objects(config))
        texts = [t for f in self.facts.plain_fields(collection) for t in self._left(collection, f, width)]
        if texts:
            block = self._objects.get(collection)
            mass: dict[str, TransformSpec] = {}
            if block is not None:
                mass = {k: v for k, v in block.transforms.items() if k.endswith("mass")}
            parts.append(self.fields(FieldsConfig(fields=tuple(texts), transforms=mass)))
        return parts

    def _left(self, collection: str, field: str, width: int) -> list[str]:
        """What is left of a field: all of it, nothing, or what belongs to a detector's fakes."""
        taken = self._fields.get((collection, field))
        if taken is None:
            return [str(Address(collection, None, field))]
        if collection not in self.facts.places:
            return []
        return [str(Address(collection, slot, field)) for slot in range(width) if slot not in taken]
