"""Which block covers what: those of the recipe, and others for all that it does not mention."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

from hepgan.errors import RecipeError
from hepgan.events.schema import EventSchema
from hepgan.features.config import (
    DecayConfig,
    FeaturesConfig,
    FieldsConfig,
    ObjectsConfig,
    Reference,
    ResponseConfig,
    ScatteringConfig,
    TransformSpec,
    TreeConfig,
)
from hepgan.features.layout import Layout
from hepgan.features.parts import (
    Block,
    DecayBlock,
    FieldsBlock,
    ObjectsBlock,
    ResponseBlock,
    ScatteringBlock,
    TreeBlock,
)

__all__ = ["check_references", "plan"]

PARTIAL = ("pt", "px", "py", "pz", "phi", "eta", "theta", "energy")
"""Fields that are taken as a momentum's coordinates even where others are missing."""


def plan(config: FeaturesConfig, layout: Layout, conditions: tuple[str, ...]) -> list[Block]:
    """The blocks that cover everything once; those of the recipe come first, in its order.

    Raises:
        RecipeError: If the recipe covers something twice, or names what the events do not have.
    """
    planner = _Planner(config, layout)
    blocks = [planner.block(b) for b in config.blocks]
    for described in layout.schema.collections:
        if described.name in layout.given:
            continue
        blocks += planner.rest_of(described.name)
    given = {*conditions, layout.schema.weight}
    scalars = [s for s in layout.schema.scalar_names if s not in given and s not in planner.scalars]
    if scalars:
        blocks.append(planner.fields(tuple(Reference(s) for s in scalars)))
    return blocks


def check_references(config: FeaturesConfig, schema: EventSchema, given: Collection[str] = ()) -> None:
    """Checks that everything that the recipe names is in the events, and what is given is not generated.

    Raises:
        RecipeError: If something is not so.
    """
    for section, texts in (
        ("bounds", config.bounds),
        ("discrete", config.discrete),
        ("masses", config.masses),
    ):
        for text in texts:
            if Reference.parse(text).name in given:
                msg = f"{section}: {text} is a condition, which is given as it is"
                raise RecipeError(msg)
    from_given = [r.name in given for r in config.azimuth_objects]
    if from_given and given and not all(from_given):
        msg = (
            f"azimuth: {config.azimuth} has to be of given objects ({', '.join(given)}) where there are some"
        )
        raise RecipeError(msg)
    for block in config.blocks:
        if isinstance(block, ResponseConfig):
            for name in (block.collection, block.of):
                check_reference(Reference(name), schema, "response")
            if block.of not in given or block.collection in given:
                msg = f"response: {block.of} has to be a condition, and {block.collection} none"
                raise RecipeError(msg)
    for section, texts in (("bounds", config.bounds), ("discrete", config.discrete)):
        for text in texts:
            check_reference(Reference.parse(text), schema, section)
    for reference in config.azimuth_objects:
        check_reference(reference, schema, "azimuth")
        described = schema.collection(reference.name)
        always = reference.name in given or (reference.slot or 0) < described.min_count
        if len(described.coordinates) < 2 or not always:
            msg = f"azimuth: {reference} has no momentum, or is not in every event"
            raise RecipeError(msg)
    for name in config.masses:
        check_reference(Reference(name), schema, "masses")


def check_reference(reference: Reference, schema: EventSchema, section: str) -> None:
    """Checks one.

    Raises:
        RecipeError: If it is not in the events.
    """
    if reference.slot is None and reference.field is None and reference.name in schema.scalar_names:
        return
    if reference.name not in schema.collection_names:
        known = (*schema.collection_names, *schema.scalar_names)
        msg = f"{section}: no {reference.name!r} in the events{_hint(reference.name, known)}"
        raise RecipeError(msg)
    described = schema.collection(reference.name)
    if reference.slot is not None and reference.slot >= described.max_count:
        msg = f"{section}: {reference}, but there are at most {described.max_count} {reference.name}"
        raise RecipeError(msg)
    known = described.field_names
    derived = ("pt", "eta", "phi", "px", "py", "pz", "mass", "energy") if described.coordinates else ()
    if reference.field is not None and reference.field not in (*known, *derived):
        msg = f"{section}: {reference.name} has no field {reference.field!r}{_hint(reference.field, known)}"
        raise RecipeError(msg)


def _hint(name: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(name, known, 1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known) or 'none'}"


class _Planner:
    def __init__(self, config: FeaturesConfig, layout: Layout) -> None:
        self.config, self.layout = config, layout
        self.scalars: set[str] = set()
        self._momenta: dict[str, set[int]] = {}
        self._fields: set[tuple[str, str]] = set()
        # Fields of objects in the first places, which a response has as differences.
        self._described: dict[tuple[str, str], int] = {}
        self._objects = {b.collection: b for b in config.blocks if isinstance(b, ObjectsConfig)}
        for b in config.blocks:
            if isinstance(b, ObjectsConfig):
                check_reference(Reference(b.collection), layout.schema, "blocks")
        self._decays = {id(b): DecayBlock(layout, b) for b in config.blocks if isinstance(b, DecayConfig)}
        for decay in self._decays.values():
            for collection, slot in decay.leaves:
                self._take(collection, (slot,))

    def _take(self, collection: str, slots: tuple[int, ...]) -> None:
        if collection in self.layout.given:
            msg = f"blocks: {collection} is a condition, which is given instead of generated"
            raise RecipeError(msg)
        taken = self._momenta.setdefault(collection, set())
        twice = taken.intersection(slots)
        if twice:
            msg = f"blocks: the momentum of {collection}[{min(twice)}] is in two blocks"
            raise RecipeError(msg)
        taken.update(slots)

    def block(
        self,
        config: DecayConfig | TreeConfig | ObjectsConfig | ScatteringConfig | ResponseConfig | FieldsConfig,
    ) -> Block:
        if isinstance(config, ResponseConfig):
            return self.response(config)
        if isinstance(config, TreeConfig):
            check_reference(Reference(config.collection), self.layout.schema, "blocks")
            self._take(config.collection, tuple(range(self.layout.collection(config.collection).max_count)))
            return TreeBlock(self.layout, config)
        if isinstance(config, DecayConfig):
            return self._decays[id(config)]
        if isinstance(config, ObjectsConfig):
            return self.objects(config)
        if isinstance(config, ScatteringConfig):
            check_reference(Reference(config.lepton), self.layout.schema, "blocks")
            self._take(config.lepton, (0,))
            return ScatteringBlock(self.layout, config)
        references = tuple(map(Reference.parse, config.fields))
        for r in references:
            check_reference(r, self.layout.schema, "blocks")
            if r.field is None:
                if r.name not in self.layout.schema.scalar_names:
                    msg = f"blocks: {r} is an object; name its fields, as in {r}.{self._any_field(r.name)}"
                    raise RecipeError(msg)
                self.scalars.add(r.name)
            elif r.field not in self.layout.plain_fields(r.name):
                msg = f"blocks: {r} follows from the momentum; it belongs to an objects or decay block"
                raise RecipeError(msg)
            elif r.name in self.layout.given or (r.name, r.field) in self._described:
                why = "a condition" if r.name in self.layout.given else "in the response block"
                msg = f"blocks: {r} is {why} already"
                raise RecipeError(msg)
            else:
                self._fields.add((r.name, r.field))
        return self.fields(references, config.transforms, config.fill, config.pca)

    def response(self, config: ResponseConfig) -> ResponseBlock:
        block = ResponseBlock(self.layout, config)
        self._take(config.collection, tuple(range(block.number)))
        self._described |= {(config.collection, f): block.number for f in block.differences}
        return block

    def _any_field(self, collection: str) -> str:
        return self.layout.collection(collection).field_names[0]

    def objects(self, config: ObjectsConfig) -> ObjectsBlock:
        name = config.collection
        taken = self._momenta.get(name, set())
        slots = tuple(i for i in range(self.layout.collection(name).max_count) if i not in taken)
        if not slots:
            msg = f"blocks: the momenta of {name} are all in other blocks"
            raise RecipeError(msg)
        self._take(name, slots)
        edges = {}
        for text, bound in self.config.bounds.items():
            r = Reference.parse(text)
            own = r.field is not None and self.layout.deviation(r.name, r.field) is not None
            if r.name == name and r.slot is None and r.field is not None and not own:
                edges[r.field] = bound
        block = ObjectsBlock(self.layout, config, slots, edges)
        if block.partial:
            self._fields.update((name, c) for c in block.coordinates)
        return block

    def fields(
        self,
        references: tuple[Reference, ...],
        transforms: dict[str, TransformSpec] | None = None,
        fill: float = 0.0,
        pca: bool = False,
    ) -> FieldsBlock:
        return FieldsBlock(
            self.layout,
            references,
            discrete=self.config.discrete,
            bounds=self.config.bounds,
            transforms=transforms or {},
            fill=fill,
            pca=pca,
        )

    def rest_of(self, collection: str) -> list[Block]:
        """Blocks for what is not covered yet."""
        blocks: list[Block] = []
        width = self.layout.collection(collection).max_count
        if width == 0:
            return blocks
        names = self.layout.collection(collection).field_names
        movable = self.layout.has_momentum(collection) or any(n in PARTIAL for n in names)
        if movable and len(self._momenta.get(collection, ())) < width:
            blocks.append(self.objects(ObjectsConfig(collection=collection)))
        plain = [f for f in self.layout.plain_fields(collection) if (collection, f) not in self._fields]
        if plain:
            config = self._objects.get(collection)
            mass = (
                {} if config is None else {k: v for k, v in config.transforms.items() if k.endswith("mass")}
            )
            references = [r for f in plain for r in self._references(collection, f, width)]
            if references:
                blocks.append(self.fields(tuple(references), mass))
        return blocks

    def _references(self, collection: str, field: str, width: int) -> list[Reference]:
        described = self._described.get((collection, field))
        if described is None:
            return [Reference(collection, None, field)]
        return [Reference(collection, slot, field) for slot in range(described, width)]
