"""What a recipe says about the representation of events."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field as Setting
from pydantic import field_validator, model_validator

from hepgan.config import Config
from hepgan.errors import RecipeError
from hepgan.features.reflections import Axis
from hepgan.observables.language import parse

__all__ = [
    "BlockConfig",
    "DecayConfig",
    "End",
    "FeaturesConfig",
    "FieldsConfig",
    "ObjectsConfig",
    "Reference",
    "ResponseConfig",
    "ScatteringConfig",
    "TransformSpec",
    "TreeConfig",
]

TransformSpec = str | dict[str, Any] | list[str | dict[str, Any]]
"""A transform's kind (``quantile``), its kind with options (``{kind: log_edge, edge: 10}``), or a chain."""

End = float | str | None
"""An end of a range: a number, an expression, or none."""

_REFERENCE = re.compile(r"\s*([A-Za-z_]\w*)(?:\[(\d+)\])?(?:\.([A-Za-z_]\w*))?\s*")


class Reference(NamedTuple):
    """What ``Muon[0].pt``, ``Muon.pt``, ``Muon[0]`` or ``beam_energy`` stands for.

    Attributes:
        name: A collection or a scalar.
        slot: Which object; None for all.
        field: Which field; None for the object as a whole, or for a scalar.
    """

    name: str
    slot: int | None = None
    field: str | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Reads one.

        Raises:
            ValueError: If it is malformed.
        """
        found = _REFERENCE.fullmatch(text)
        if found is None:
            msg = f"cannot read {text!r}: expected Muon[0].pt, Muon.pt, Muon[0] or the name of a scalar"
            raise ValueError(msg)
        name, slot, field = found.groups()
        return cls(name, None if slot is None else int(slot), field)

    def __str__(self) -> str:
        slot = "" if self.slot is None else f"[{self.slot}]"
        return f"{self.name}{slot}" + ("" if self.field is None else f".{self.field}")


def _readable(texts: tuple[str, ...] | dict[str, Any]) -> None:
    for text in texts:
        Reference.parse(text)


class DecayConfig(Config):
    """A system that decays into two or more objects, of which some may be such systems themselves.

    Its columns are ``mass`` (above the sum of the children's masses, or of two objects above the largest
    such sum, if all events are above that), ``pt``, ``y`` and ``phi`` of the outermost system, and for each
    system ``cos_theta`` and ``phi_star`` of its first child in its rest frame; so energy and momentum are
    conserved and no mass falls below its threshold, whatever a network makes of them. The rest frame is
    reached by a boost along the beam and one along the system's transverse momentum, which is its x axis; z
    is the beam. Then phi* in (-pi/2, pi/2) if and only if the first of two children of equal mass has the
    larger pt.

    Attributes:
        name: The system's name.
        children: Objects (``Muon[0]``) or systems, at least two; of more than two, the first recoils
            against the system of the others.
        ordered: Whether the first of two children has the larger pt; None to find out from the events.
        transforms: Transforms by column: ``mass`` for all systems, ``Z.mass`` for one.
        pca: Whether to decorrelate the columns.
    """

    kind: Literal["decay"] = "decay"
    name: str
    children: tuple[str | DecayConfig, ...] = Setting(min_length=2)
    ordered: bool | None = None
    transforms: dict[str, TransformSpec] = Setting(default_factory=dict)
    pca: bool = False

    @field_validator("children")
    @classmethod
    def _children_are_objects(cls, value: tuple[str | DecayConfig, ...]) -> tuple[str | DecayConfig, ...]:
        for child in value:
            if isinstance(child, str) and Reference.parse(child).field is not None:
                msg = f"{child!r} is a number; a decay's children are objects, such as Muon[0]"
                raise ValueError(msg)
        return value


class ObjectsConfig(Config):
    """The momenta of a collection's objects.

    Attributes:
        collection: The collection.
        coordinates: What stands for the momentum, the mass aside: an azimuthal part (``px, py`` or ``pt,
            phi``) with one of ``pz, eta, theta, y``; or a length (``p``, ``energy``) with ``theta`` or
            ``costheta`` and ``phi``; or, of objects that are nearly massless, the light-cone momenta ``plus``
            (E + pz) and ``minus`` (E - pz) with ``phi``. With ``energy`` added to ``px, py, pz`` the energy
            is generated too, and the mass shell is left to the network, as some published systems have it. By
            default ``pt, eta, phi`` where the file has pt, else ``px, py, pz``; ``px, py`` for one transverse
            object. A file that has only some of them (``pt``) has just these as columns.
        order: The coordinate by which the objects descend (kept by construction), False if they do not;
            None to find out from the events.
        count: ``class``: the number of objects is drawn first. ``threshold``: absent objects are zeros, and
            objects count if they pass ``threshold``, as some published systems have it.
        threshold: Least value of coordinates, for ``count: threshold``.
        ranges: Lowest and highest value of coordinates, which no generated object exceeds: numbers, null for
            an open end, or expressions of numbers of the event and of coordinates listed before, as in
            ``{pz: [null, beam_energy]}``. With two ends the column is the share of the range below the value,
            with one end the distance from it.
        conserve: Components (``px``, ``py``, ``pz``) whose sum over the objects has a given value; the last
            object's are solved for.
        transforms: Transforms by column: ``pt`` for all objects, ``Jet[0].pt`` for one; ``pt_ratio`` for the
            ratio to the previous object, where they are ordered; ``mass`` for their masses.
        pca: Whether to decorrelate the columns.
    """

    kind: Literal["objects"] = "objects"
    collection: str
    coordinates: tuple[str, ...] | None = None
    order: str | Literal[False] | None = None
    count: Literal["class", "threshold"] = "class"
    threshold: dict[str, float] = Setting(default_factory=dict)
    ranges: dict[str, tuple[End, End]] = Setting(default_factory=dict)
    conserve: dict[Literal["px", "py", "pz"], float] = Setting(default_factory=dict)
    transforms: dict[str, TransformSpec] = Setting(default_factory=dict)
    pca: bool = False

    @model_validator(mode="after")
    def _threshold_belongs_to_its_count(self) -> ObjectsConfig:
        if (self.count == "threshold") != bool(self.threshold):
            msg = f"{self.collection}: count: threshold goes with threshold: {{pt: 15}}"
            raise ValueError(msg)
        return self

    @field_validator("ranges")
    @classmethod
    def _ranges_are_of_the_language(cls, value: dict[str, tuple[End, End]]) -> dict[str, tuple[End, End]]:
        for name, ends in value.items():
            for end in ends:
                try:
                    parse(end if isinstance(end, str) else "1")
                except RecipeError as error:
                    msg = f"{name}: {error.message}"
                    raise ValueError(msg) from None
        return value


class ScatteringConfig(Config):
    """The lepton that is scattered inelastically off a hadron beam, l h -> l X, all masses neglected.

    Its columns are ``Q2`` (the momentum transfer squared), ``x`` (Bjorken's) and ``phi``. Every generated
    event has 0 < x < 1 and 0 < y < 1, whatever the energies of the beams; with equal beams that is the same
    as an energy below the beam's.

    Attributes:
        lepton: The collection that holds the scattered lepton, one in every event.
        beams: Energies of the lepton's and of the hadron's beam: numbers, or numbers of the event.
        direction: 1 if the lepton's beam goes along +z, -1 if along -z.
        transforms: Transforms by column: ``Q2``, ``x``, ``phi``.
        pca: Whether to decorrelate the columns.
    """

    kind: Literal["scattering"] = "scattering"
    lepton: str = "Electron"
    beams: tuple[float | str, float | str] = ("beam_energy", "beam_energy")
    direction: Literal[1, -1] = 1
    transforms: dict[str, TransformSpec] = Setting(default_factory=dict)
    pca: bool = False

    @field_validator("beams")
    @classmethod
    def _beams_have_energy(cls, value: tuple[float | str, float | str]) -> tuple[float | str, float | str]:
        for energy in value:
            if isinstance(energy, (int, float)) and not 0.0 < energy < math.inf:
                msg = f"the energy of a beam cannot be {energy} GeV"
                raise ValueError(msg)
        return value


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


class ResponseConfig(Config):
    """The objects of a detector, by how they deviate from given ones: its response.

    An object belongs to the nearest given one that is near enough, one to one. For each given object there
    is a discrete variable that tells whether it was found (where that varies), so an efficiency, and for
    those found the columns ``log_p`` (the logarithm of the ratio of measured to true momentum), ``tilt`` and
    ``turn`` (the angles by which the direction is off towards larger theta and larger phi); or ``log_pt``,
    ``deta`` and ``dphi``. Continuous fields that both collections have are their difference. Objects that
    belong to none, the fakes, are counted by one more variable, and described as any objects are. There are
    no more objects than in any training event: those in excess are left out, the softest first where objects
    are in order.

    Attributes:
        collection: The detector's collection.
        of: The collection of true objects, which is a condition.
        coordinates: ``polar`` or ``transverse``; None for ``transverse`` where the detector's objects are
            stored with pt, else ``polar``.
        within: Largest distance of objects that belong together: the angle between them (``polar``), or
            delta R. Where every event has one object of each, they belong together, however far apart.
        transforms: Transforms by column; columns of this block are standardised by default.
        pca: Whether to decorrelate the columns.
    """

    kind: Literal["response"] = "response"
    collection: str
    of: str
    coordinates: Literal["polar", "transverse"] | None = None
    within: float = Setting(default=0.4, gt=0.0)
    transforms: dict[str, TransformSpec] = Setting(default_factory=dict)
    pca: bool = False


class FieldsConfig(Config):
    """Numbers of objects other than their momentum, and numbers of the event.

    Coordinates that a file has beside others, and that disagree with them beyond rounding, are such numbers
    too (``Muon.pt`` beside ``px, py``): they are learned as the difference from the momentum's own, that of
    pt as the logarithm of the ratio.

    Attributes:
        fields: ``Muon.isoCh`` for all objects, ``Muon[0].isoCh`` for one, or a scalar's name.
        fill: What a field holds in objects that were left out.
        transforms: Transforms by field: ``isoCh``, ``Muon.isoCh`` or ``Muon[0].isoCh``; ``pt:own`` for a
            coordinate that disagrees with the momentum.
        pca: Whether to decorrelate the columns.
    """

    kind: Literal["fields"] = "fields"
    fields: tuple[str, ...] = Setting(min_length=1)
    fill: float = 0.0
    transforms: dict[str, TransformSpec] = Setting(default_factory=dict)
    pca: bool = False

    @field_validator("fields")
    @classmethod
    def _fields_are_readable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        _readable(value)
        return value


BlockConfig = Annotated[
    DecayConfig | TreeConfig | ObjectsConfig | ScatteringConfig | ResponseConfig | FieldsConfig,
    Setting(discriminator="kind"),
]


class FeaturesConfig(Config):
    """How events become numbers. What no block names is covered automatically.

    Attributes:
        azimuth: Objects whose summed momentum sets phi = 0 (``Muon[0] + Muon[1]``); the angle is drawn
            uniformly in generation, or that of the objects if they are given. None keeps phi as it is.
        reflections: Axes that can be reversed without changing the distribution of the events; each doubles
            the events to learn from. ``z``: both beams are alike; ``y``: nothing tells left from right.
        blocks: The parts of the representation.
        discrete: How numbers are learned, by field: as ``classes``; as a column with uniform noise
            (``dequantise``); as one with Gaussian noise of width 0.5 (``smear``); or ``continuous``, even
            values of finite probability.
        masses: Where masses come from, by collection: a number, ``field``, ``from_energy``, ``massless`` or
            ``auto``.
        bounds: Range of a field, null for an open end; events outside are drawn anew.
        transform: The transform of columns that have none of their own.
    """

    azimuth: str | None = None
    reflections: tuple[Axis, ...] = ()
    blocks: tuple[BlockConfig, ...] = ()
    discrete: dict[str, Literal["classes", "dequantise", "smear", "continuous"]] = Setting(
        default_factory=dict
    )
    masses: dict[str, float | Literal["field", "from_energy", "massless", "auto"]] = Setting(
        default_factory=dict
    )
    bounds: dict[str, tuple[float | None, float | None]] = Setting(default_factory=dict)
    transform: TransformSpec = "quantile"

    @field_validator("azimuth")
    @classmethod
    def _azimuth_is_a_sum_of_objects(cls, value: str | None) -> str | None:
        for text in (value or "").split("+") if value is not None else ():
            if Reference.parse(text).field is not None:
                msg = f"{text.strip()!r} is a number; azimuth is a sum of objects, as in Muon[0] + Muon[1]"
                raise ValueError(msg)
        return value

    @field_validator("masses")
    @classmethod
    def _masses_are_not_negative(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name, mass in value.items():
            if isinstance(mass, float) and not 0.0 <= mass < math.inf:
                msg = f"the mass of {name} cannot be {mass} GeV"
                raise ValueError(msg)
        return value

    @field_validator("bounds")
    @classmethod
    def _bounds_are_in_order(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name, (low, high) in value.items():
            if low is not None and high is not None and not low < high:
                msg = f"the bounds of {name} must be (low, high) with low < high, not {low}, {high}"
                raise ValueError(msg)
        return value

    @field_validator("discrete", "bounds")
    @classmethod
    def _keys_are_readable(cls, value: dict[str, Any]) -> dict[str, Any]:
        _readable(value)
        return value

    @field_validator("reflections")
    @classmethod
    def _axes_are_different(cls, value: tuple[Axis, ...]) -> tuple[Axis, ...]:
        if len(set(value)) != len(value):
            msg = f"{', '.join(value)}: an axis is reversed once"
            raise ValueError(msg)
        return value

    @property
    def azimuth_objects(self) -> tuple[Reference, ...]:
        """The objects that set phi = 0."""
        return () if self.azimuth is None else tuple(map(Reference.parse, self.azimuth.split("+")))
