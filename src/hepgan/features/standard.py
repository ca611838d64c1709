"""Physical columns as the standardised features that networks see, and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor

from hepgan.config import Config
from hepgan.errors import InputError, RecipeError
from hepgan.features.parts.base import TransformSpec
from hepgan.features.precise import PreciseModule
from hepgan.features.reading import Refusal
from hepgan.features.transforms import (
    PCA,
    Angle,
    AsIs,
    Chain,
    Columns,
    LogEdge,
    PeriodicAngle,
    QuantileNormal,
    QuantileTable,
    Rectified,
    SignedLog,
    Standardise,
    Transform,
)
from hepgan.features.variables import SINGLE, Column

__all__ = ["LearnedColumns", "StandardColumns", "spans_decades"]

ROUNDING = 4.0
"""A spread below so many steps between neighbouring numbers of a type is none."""

NOTHING = 1e-6 / SINGLE
"""Of a column's scale, in such steps: a constant within this of 0 is 0, and a spread below it is none."""

FAR = 9.0
"""The feature of a value on an edge of which there is none in the training events."""

RESOLVED = 1e-9
"""In units of a column's spread: what straight lines between quantiles tell apart."""

SPAN, OUTSIDE = 1e3, 0.02
"""Numbers span decades if they differ by such a factor in size, the outermost share of them left aside."""

DIGITS = 1e-3
"""How well a network must tell numbers: in units of the range of all but the outermost, and of how far one is
outside."""

FEW_SMALL = 5e-3
"""Share of the numbers that need not be told from 0, or from each other."""

SEVERAL = 10_000
"""Numbers that tell how wide their distribution is."""

MAX = torch.finfo(torch.float64).max

FEW = 10
BULK = 1000
"""An edge is sharp if the outermost of so many shares of the entries is narrow."""

SHARP = 0.05

ENOUGH, EVEN = 400, 1.8
"""Of so many numbers, those at an end tell whether it is an edge: the widths of two neighbouring ranges of as
many have the ratio 1 there, and 2.4 if the density falls linearly to 0."""


FRAMED = {
    "quantile": ("low", "high"),
    "standardise": (),
    "min_max": (),
    "pca": (),
    "log_edge": ("edge",),
    "logit": ("low", "high"),
    "signed_log": ("scale",),
}
"""Transforms that mean the same in any frame (``signed_log``: in any unit), and their options that change."""

ALIKE = 1e-6
"""Numbers that are spread over less of their size than this are counted from among them."""

EXTREME = 1e100
"""A spread above this, or below its inverse, is no unit to compute in."""

MOST = 2.0**1000
"""No number is larger in its frame."""


class Frame(Config):
    """The origin and the unit in which numbers have digits to tell them apart.

    Attributes:
        offset: The origin; 0 unless all numbers are nearly the same.
        unit: A power of two, which loses no digits; 1 unless numbers are very large or very small.
        largest: What generated numbers never exceed, if there are such as their type hardly holds.
    """

    offset: float = 0.0
    unit: float = 1.0
    largest: float | None = None

    def of(self, value: float | None) -> float | None:
        """A number in the frame."""
        return None if value is None else (value - self.offset) / self.unit

    def applied(self, steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Transforms, the first of which says where numbers end, in the frame."""
        first = dict(steps[0])
        for name in FRAMED.get(first["kind"], ()):
            value = first.get(name)
            if value is not None:
                values = [self.of(v) for v in value] if isinstance(value, list) else self.of(value)
                first[name] = values
        return [first, *steps[1:]]


class LearnedColumns(Config):
    """All that was learned of columns, but the tensors of their transforms.

    Attributes:
        constants: Of each column the value that it always has; None if it is a feature.
        limits: Of each feature where it ends, in its frame; None for no end.
        names: What messages call the features.
        transform: What the features' transforms are (see ``Transform.state``); None if there are none.
        frames: Of each feature its frame; empty if all numbers are as they are.
        hard: Of each feature whether its density ends abruptly at its least and at its largest value; empty
            in models that do not know.
    """

    constants: tuple[float | None, ...]
    limits: tuple[tuple[float | None, float | None], ...]
    names: tuple[str, ...]
    transform: dict[str, Any] | None
    frames: tuple[Frame, ...] = ()
    hard: tuple[tuple[bool, bool], ...] = ()


class StandardColumns(PreciseModule):
    """Drops constant columns, and transforms the others, each kind of transform at once.

    Columns whose numbers are alike but for their last digits, very large or very small are moved and scaled
    first (see ``Frame``), and those over many orders of magnitude become logarithms.

    Args:
        learned: What was learned; ``load_state_dict`` then restores the transforms.
    """

    places: Tensor
    fixed: Tensor
    limits: Tensor
    frames: Tensor
    kept: Tensor

    def __init__(self, learned: LearnedColumns) -> None:
        super().__init__()
        self.learned, self.names = learned, learned.names
        constants = learned.constants
        kept = [i for i, c in enumerate(constants) if c is None]
        dropped = [i for i, c in enumerate(constants) if c is not None]
        places = torch.tensor([*kept, *dropped], dtype=torch.int64).argsort()
        self.register_buffer("places", places, persistent=False)
        self.register_buffer("kept", torch.tensor(kept, dtype=torch.int64), persistent=False)
        fixed = torch.tensor([constants[i] for i in dropped], dtype=torch.float64)
        self.register_buffer("fixed", fixed, persistent=False)
        self.register_buffer("limits", _infinite(learned.limits), persistent=False)
        self.register_buffer("frames", _edges(learned.frames), persistent=False)
        self.transform = None if learned.transform is None else Transform.from_state(learned.transform)
        self._straight = kept == list(range(len(constants)))

    @classmethod
    def learn(
        cls,
        raw: Tensor,
        mask: Tensor | None,
        weight: Tensor,
        columns: Sequence[Column],
        specs: Sequence[TransformSpec],
        rotated: Sequence[int | None],
    ) -> Self:
        """Fits to columns.

        Args:
            raw: (N, R) columns.
            mask: (N, R) where they exist.
            weight: (N,) event weights.
            columns: What they are.
            specs: Their transforms.
            rotated: The number of the block with which each is to be decorrelated, or None.

        Raises:
            InputError: If a value is not finite, or outside what its transform can take.
            RecipeError: If a transform can't be what the recipe says.
        """
        present = torch.ones_like(raw, dtype=torch.bool) if mask is None else mask
        _require_finite(raw, present, columns)
        constants = [
            None if c.cell or _is_plain(specs[i]) else _constant(raw[:, i], present[:, i], c)
            for i, c in enumerate(columns)
        ]
        kept = [i for i, c in enumerate(constants) if c is None]
        chosen, exists = [columns[i] for i in kept], present[:, kept]
        steps = [_steps(specs[i]) for i in kept]
        frames = [
            Frame() if c.cell else _frame(c, s[0], raw[:, i][present[:, i]])
            for i, c, s in zip(kept, chosen, steps, strict=True)
        ]
        x = _framed(raw[:, kept], _edges(frames, raw.device))
        steps = [f.applied(s) for f, s in zip(frames, steps, strict=True)]
        chosen = [replace(c, low=f.of(c.low), high=f.of(c.high)) for c, f in zip(chosen, frames, strict=True)]
        limits = [
            (c.low, c.high) if c.cell else _bounds(c, s[0], x[:, k][exists[:, k]])
            for k, (c, s) in enumerate(zip(chosen, steps, strict=True))
        ]
        # Of a quantile transform, which rises with its column, the ends are those of the feature.
        hard = [
            _hard(x[:, k][exists[:, k]])
            if s[0]["kind"] == QuantileNormal.kind and rotated[i] is None and not chosen[k].cell
            else (False, False)
            for k, (i, s) in enumerate(zip(kept, steps, strict=True))
        ]
        transform = None
        if kept:
            x = cls._limited(x, _infinite(limits).to(raw.device))
            # Beyond a sharp edge of the training events there is nothing to learn, so there are the limits.
            chosen = [replace(c, low=b[0], high=b[1]) for c, b in zip(chosen, limits, strict=True)]
            steps = [
                s if c.cell else _over_decades(c, s, x[:, k][exists[:, k]], f.unit)
                for k, (c, s, f) in enumerate(zip(chosen, steps, frames, strict=True))
            ]
            transform = _build(chosen, steps, [rotated[i] for i in kept], exists).to(raw.device)
            transform.fit(x, exists, weight)
        made = cls(
            LearnedColumns(
                constants=tuple(constants),
                limits=tuple(limits),
                names=tuple(c.name for c in chosen),
                transform=None if transform is None else transform.state(),
                frames=tuple(frames) if any(f != Frame() for f in frames) else (),
                hard=tuple(hard),
            )
        ).to(raw.device)
        made.transform = transform
        return made

    def refit(self, raw: Tensor, mask: Tensor | None, weight: Tensor) -> None:
        """Fits the transforms anew, without changes of what they are.

        Args:
            raw: (N, R) columns.
            mask: (N, D) where features exist.
            weight: (N,) event weights; events of weight 0 do not count at all.
        """
        if self.transform is None:
            return
        x = self._limited(_framed(raw[:, self.kept], self.frames), self.limits)
        counts = (weight != 0).unsqueeze(1).expand_as(x)
        self.transform.fit(x, counts if mask is None else counts & mask, weight)

    @property
    def periodic(self) -> tuple[int, ...]:
        """The features that are angles, as they are."""
        return () if self.transform is None else tuple(sorted(_where(self.transform, Angle)))

    @property
    def empty_below(self) -> tuple[int, ...]:
        """The features of which all that is negative means an empty cell."""
        if self.transform is None:
            return ()
        return tuple(sorted(_where(self.transform, Rectified)))

    @property
    def plain(self) -> tuple[int, ...]:
        """The features that are columns as they are."""
        return () if self.transform is None else tuple(sorted(_where(self.transform, AsIs)))

    @staticmethod
    def _limited(x: Tensor, limits: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(x, limits[0]), limits[1])

    def forward(self, raw: Tensor, mask: Tensor | None, refuse: Refusal | None = None) -> Tensor:
        """Features (N, D) of columns (N, R), 0 where they don't exist in ``mask`` (N, D).

        Raises:
            InputError: If a column is outside what its transform can take.
        """
        if self.transform is None:
            return raw[:, :0]
        x = self.transform(self._limited(_framed(raw[:, self.kept], self.frames), self.limits))
        # On an edge of which there was no data the transform is infinite.
        x = torch.where(torch.isinf(x), x.clamp(-FAR, FAR), x)
        x = x if mask is None else torch.where(mask, x, 0.0)
        bad = torch.isnan(x)

        def error(event: int) -> InputError:
            column = int(bad[event].nonzero()[0])
            value = float(raw[event, self.kept[column]])
            msg = f"{self.names[column]} is {value:g}, which its transform cannot take"
            return InputError(msg, entry=event)

        (Refusal() if refuse is None else refuse)(bad.any(1), error)
        return torch.where(bad, 0.0, x)

    def require_digits(self, raw: Tensor, mask: Tensor | None) -> None:
        """Refuses transforms that leave too few digits of columns to a network, which has single precision.

        Args:
            raw: (N, R) columns.
            mask: (N, D) where features exist.

        Raises:
            RecipeError: If one does.
        """
        if self.transform is None:
            return
        back = self.inverse(self(raw, mask).to(torch.float32))[:, self.kept]
        raw = raw[:, self.kept]
        present = torch.ones_like(raw, dtype=torch.bool) if mask is None else mask
        spared = set(_where(self.transform, (Angle, PeriodicAngle, QuantileTable, Rectified)))
        for k, name in enumerate(self.names):
            if k in spared:
                continue
            values = raw[:, k][present[:, k]]
            if not len(values) or bool((values == values[0]).all()):
                continue
            ordered = torch.sort(values).values
            size = _spread(ordered, OUTER) + (values - ordered[len(ordered) // 2]).abs()
            size = DIGITS * size + ROUNDING * 2.0**-52 * values.abs()
            off = (back[:, k][present[:, k]] - values).abs()
            wrong = ~(off <= size)
            if int(wrong.sum()) > FEW_SMALL * len(values):
                msg = (
                    f"transform of {name}: leaves too few digits of {int(wrong.sum())} of {len(values)} "
                    f"numbers, such as {float(values[wrong][0]):g}; quantile tells them from each other"
                )
                raise RecipeError(msg)

    def log_abs_det(self, x: Tensor) -> Tensor:
        """Log |d feature / d column| (N, D) at features (N, D), whose sum is the log-determinant."""
        if self.transform is None:
            return x
        found = self.transform.log_abs_det(self.transform.inverse(x))
        return found - self.frames[1].log() if self.frames.numel() else found

    def inverse(self, x: Tensor) -> Tensor:
        """Columns (N, R) of features (N, D), in float64."""
        parts = [] if self.transform is None else [_unframed(self.transform.inverse(x), self.frames)]
        if self._straight and parts:
            return parts[0]
        parts.append(self.fixed.expand(len(x), -1))
        return torch.cat(parts, 1)[:, self.places]

    def moved(self, raw: Tensor, x: Tensor, feature: int) -> Tensor:
        """Columns (N, R) of features (N, D), of those ``raw`` of others that differ in one feature only."""
        if not isinstance(self.transform, Columns):
            return self.inverse(x)
        group, transform = self.transform.around(feature)
        frames = self.frames[:, group] if self.frames.numel() else self.frames
        moved = _unframed(transform.inverse(x[:, group].to(torch.float64)), frames)
        return raw.index_copy(1, self.kept[group], moved)


def _frame(column: Column, first: Mapping[str, Any], values: Tensor) -> Frame:
    if first["kind"] not in FRAMED:
        return Frame()
    ordered = _some(values)
    spread, middle = _spread(ordered), float(ordered[len(ordered) // 2])
    smallest, greatest = float(values.min()), float(values.max())
    move = spread < ALIKE * abs(middle) and first["kind"] != SignedLog.kind
    offset = middle if move else 0.0
    # Halves, since the difference of two numbers may be no number.
    size = max(abs(smallest / 2 - offset / 2), abs(greatest / 2 - offset / 2))
    exponent = 0 if 1 / EXTREME < spread < EXTREME else math.frexp(spread)[1]
    if exponent > 0:
        # Small numbers must stay numbers.
        exponent = min(exponent, math.frexp(float(values[values != 0].abs().min()))[1] + 1000)
    exponent = min(max(exponent, math.frexp(size)[1] - 999), 1000)
    largest = max(abs(smallest), abs(greatest))
    return Frame(
        offset=offset,
        unit=math.ldexp(1.0, exponent),
        largest=column.largest if largest > 1e-3 * column.largest else None,
    )


def _where(transform: Transform, kinds: Any) -> list[int]:
    """The columns whose (first) transform is of one of some kinds."""
    if isinstance(transform, Columns):
        groups = transform.indices
        return [groups[n][k] for n in groups for k in _where(transform[n], kinds)]
    if isinstance(transform, Chain):
        return _where(next(iter(transform)), kinds)
    return list(range(transform.size)) if isinstance(transform, kinds) else []


def _some(values: Tensor) -> Tensor:
    """Some of the numbers, and always the least and the greatest, in ascending order."""
    if len(values) <= SEVERAL:
        return torch.sort(values).values
    some = values[:: -(-len(values) // SEVERAL)]
    return torch.sort(torch.cat([some, values.min().reshape(1), values.max().reshape(1)])).values


TAILS = (0.25, 0.05, 0.01, 0.0)
OUTER = TAILS[2:]


def _spread(ordered: Tensor, tails: Sequence[float] = TAILS) -> float:
    """A width of the bulk of ascending numbers: of the narrowest central part that are not all the same."""
    last = len(ordered) - 1
    for tail in tails:
        inner = round(tail * last)
        width = float(ordered[last - inner]) - float(ordered[inner])
        if width > 0:
            return min(width, MAX)
    return 0.0


def _edges(frames: Sequence[Frame], device: torch.device | None = None) -> Tensor:
    """Offsets, units and largest numbers (3, D); (3, 0) if all numbers are as they are."""
    frames = frames if any(f != Frame() for f in frames) else ()
    rows = [[f.offset for f in frames], [f.unit for f in frames]]
    rows.append([math.inf if f.largest is None else f.largest for f in frames])
    return torch.tensor(rows, dtype=torch.float64, device=device)


def _framed(raw: Tensor, frames: Tensor) -> Tensor:
    return (raw - frames[0]) / frames[1] if frames.numel() else raw


def _unframed(x: Tensor, frames: Tensor) -> Tensor:
    if not frames.numel():
        return x
    raw = x * frames[1] + frames[0]
    return torch.minimum(torch.maximum(raw, -frames[2]), frames[2])


def spans_decades(values: Tensor) -> bool:
    """Whether numbers (n,) are of so different sizes that their logarithm is what tells them apart."""
    some = _some(values)
    sizes = torch.sort(some[some != 0].abs()).values
    if len(sizes) < FEW:
        return False
    last = len(sizes) - 1
    small, large = float(sizes[round(OUTSIDE * last)]), float(sizes[round((1 - OUTSIDE) * last)])
    unresolved = int((sizes < RESOLVED * _spread(some)).sum())
    return small < large / SPAN or unresolved > FEW_SMALL * len(some)


def _over_decades(
    column: Column, steps: list[dict[str, Any]], values: Tensor, unit: float
) -> list[dict[str, Any]]:
    """Transforms that begin with the logarithm, if numbers span decades; none is below the smallest decade.

    Numbers that are computed may be rounding where they are small.
    """
    if column.dtype is None or steps[0]["kind"] != QuantileNormal.kind or not spans_decades(values):
        return steps
    sizes = values.abs()
    if float(values.min()) > 0:
        smallest = 10.0 ** math.floor(math.log10(float(values.min()) * unit)) / unit or float(values.min())
        low = smallest if column.low is None else max(column.low, smallest)
        ends = {"low": math.log(low), "high": None if column.high is None else math.log(column.high)}
        return [{"kind": LogEdge.kind, "edge": 0.0}, {**steps[0], **ends}, *steps[1:]]
    scale = max(float(sizes[sizes > 0].min()), float(sizes.max()) / EXTREME**3)

    def image(end: float | None) -> float | None:
        return None if end is None else math.copysign(math.log1p(abs(end) / scale), end)

    bounds = {"low": image(column.low), "high": image(column.high)}
    return [{"kind": SignedLog.kind, "scale": scale}, {**steps[0], **bounds}, *steps[1:]]


def _infinite(limits: Sequence[Sequence[float | None]]) -> Tensor:
    low = [-math.inf if a is None else a for a, _ in limits]
    high = [math.inf if b is None else b for _, b in limits]
    return torch.tensor([low, high], dtype=torch.float64)


def _require_finite(raw: Tensor, present: Tensor, columns: Sequence[Column]) -> None:
    bad = present & ~torch.isfinite(raw)
    if bool(bad.any()):
        entry, column = (int(i) for i in bad.nonzero()[0])
        name, value = columns[column].name, float(raw[entry, column])
        msg = f"{name} is {value}, but must be finite ({int(bad[:, column].sum())} such)"
        raise InputError(msg, entry=entry)


def _constant(values: Tensor, present: Tensor, column: Column) -> float | None:
    """The value that a column always has, or None; 0 if it never exists."""
    values = values[present]
    if not len(values):
        return 0.0
    low, high = float(values.min()), float(values.max())
    step = column.precision
    if high - low > ROUNDING * step * max(abs(low), abs(high)) + NOTHING * step * column.scale:
        return None
    middle = low if low == high else low / 2 + high / 2
    return 0.0 if abs(middle) <= NOTHING * step * column.scale else middle


def _build(
    columns: Sequence[Column],
    specs: Sequence[list[dict[str, Any]]],
    rotated: Sequence[int | None],
    present: Tensor,
) -> Transform:
    """The transform of all columns, those of one kind together."""
    blocks = sorted({-1 if r is None else r for r in rotated})
    transforms: dict[str, Transform] = {}
    indices: dict[str, list[int]] = {}
    for block in blocks:
        members = [i for i, r in enumerate(rotated) if (-1 if r is None else r) == block]
        groups: dict[str, list[int]] = {}
        for i in members:
            groups.setdefault(_key(specs[i], columns[i]), []).append(i)
        made = {k: _transform(_steps_of(k), [columns[i] for i in g]) for k, g in groups.items()}
        for k, g in groups.items():
            if any(step["kind"] == PCA.kind for step in _steps_of(k)):
                _require_existence(columns, g, present)
        if block < 0:
            transforms.update(made)
            indices.update(groups)
            continue
        whole = [i for group in groups.values() for i in group]
        angles = [i for k, g in groups.items() if isinstance(made[k], Angle) for i in g]
        if angles:
            msg = f"transform of {columns[angles[0]].name}: an angle and pca don't go together"
            raise RecipeError(msg)
        _require_existence(columns, whole, present)
        chain = Chain([Columns(made), PCA(len(whole))])
        transforms[f"pca:{block}"], indices[f"pca:{block}"] = chain, whole
    if len(transforms) == 1 and indices[next(iter(indices))] == list(range(len(columns))):
        return next(iter(transforms.values()))
    return Columns(transforms, indices=indices)


def _require_existence(columns: Sequence[Column], mixed: Sequence[int], present: Tensor) -> None:
    """Columns that don't exist in every event can't be mixed with others."""
    missing = [i for i in mixed if not bool(present[:, i].all())]
    if missing and len(mixed) > 1:
        others = ", ".join(columns[i].name for i in mixed if i != missing[0])
        msg = f"pca mixes {columns[missing[0]].name} with {others}, so it must exist in every event"
        raise RecipeError(msg)


def _is_plain(spec: TransformSpec) -> bool:
    """Whether a column is a feature as it is, even if it never varies."""
    return bool(_steps(spec)[-1]["kind"] == AsIs.kind)


def _steps(spec: TransformSpec) -> list[dict[str, Any]]:
    """A specification as a list of kinds with options, at least one."""
    steps = []
    for step in spec if isinstance(spec, list) else [spec]:
        options = {"kind": step} if isinstance(step, str) else dict(step)
        options["kind"] = str(options.get("kind", "")).replace("-", "_")
        steps.append(options)
    return steps


def _key(steps: list[dict[str, Any]], column: Column) -> str:
    """What columns of one group have in common; quantile transforms differ in their bounds only.

    Cells have theirs in common with those of their field alone.
    """
    steps = list(steps)
    if steps[0]["kind"] == QuantileNormal.kind:
        steps[0] = {k: v for k, v in steps[0].items() if k not in ("low", "high")}
    return json.dumps([*steps, column.aliases[0]] if column.cell else steps, sort_keys=True)


def _steps_of(key: str) -> list[dict[str, Any]]:
    return [step for step in json.loads(key) if isinstance(step, dict)]


def _transform(
    steps: list[dict[str, Any]],
    columns: Sequence[Column],
) -> Transform:
    names = [c.name for c in columns]
    made: list[Transform] = []
    for number, step in enumerate(steps):
        options: dict[str, Any] = {**step, "size": len(columns), "names": names}
        if step["kind"] == QuantileNormal.kind and number == 0:
            options["low"], options["high"] = [c.low for c in columns], [c.high for c in columns]
        try:
            made.append(Transform.from_state(options))
        except ValueError as error:
            msg = f"transform of {names[0]}: {error}"
            raise RecipeError(msg) from error
    if any(isinstance(m, Angle) for m in made):
        return _angle(made, columns)
    if not isinstance(made[-1], AsIs | QuantileNormal | QuantileTable | Rectified | Standardise):
        made.append(Standardise(len(columns), names=names))
    return made[0] if len(made) == 1 else Chain(made)


def _angle(made: Sequence[Transform], columns: Sequence[Column]) -> Transform:
    if len(made) > 1:
        msg = f"transform of {columns[0].name}: an angle is as it is; no other transform goes with it"
        raise RecipeError(msg)
    angle = made[0]
    assert isinstance(angle, Angle)
    turn = (angle.low, angle.high)
    for c in columns:
        if (c.low, c.high) not in (turn, (None, None)):
            whole = (
                "the full circle" if not angle.options else f"the full turn from {turn[0]:g} to {turn[1]:g}"
            )
            msg = f"transform of {c.name}: not an angle on {whole}; it is from {c.low} to {c.high}"
            raise RecipeError(msg)
    return angle


def _bounds(column: Column, options: Mapping[str, Any], values: Tensor) -> tuple[float | None, float | None]:
    """Where a column ends: by the recipe, by its meaning, where its data end sharply, or at 0."""
    if options["kind"] != QuantileNormal.kind:
        return column.low, column.high
    low, high = options.get("low", column.low), options.get("high", column.high)
    ordered = torch.sort(values).values
    smallest, largest = float(ordered[0]), float(ordered[-1])
    # Numbers that are computed may be 0 but for rounding.
    rounding = 1e-12 * _size(values) if smallest < 0 < largest else 0.0
    low = 0.0 if low is None and smallest >= -rounding else low
    high = 0.0 if high is None and largest <= rounding else high
    below, above = _sharp_edge(ordered, low), _sharp_edge(-ordered.flip(0), None if high is None else -high)
    # What the recipe says of this column is not for the data to sharpen.
    low = low if below is None or "low" in options else below
    high = high if above is None or "high" in options else -above
    return low, high


def _size(values: Tensor) -> float:
    """Of how large numbers are that are not 0, but for one in a hundred."""
    some = _some(values)
    sizes = torch.sort(some[some != 0].abs()).values
    return float(sizes[int(0.99 * (len(sizes) - 1))])


def _hard(values: Tensor) -> tuple[bool, bool]:
    """Whether the density of numbers (n,) is the same up to their lower and their upper end."""
    ordered = torch.sort(values).values
    n = len(ordered)
    k = max(n // 50, FEW)
    if n < ENOUGH:
        return False, False

    def ends(distances: Tensor) -> bool:
        near, next_to = (float(distances[b]) - float(distances[a]) for a, b in ((0, k), (k, 2 * k)))
        return next_to > 0 and near < EVEN * next_to

    return ends(ordered), ends(-ordered.flip(0))


def _sharp_edge(ordered: Tensor, limit: float | None) -> float | None:
    """A value just below the smallest of ascending numbers, if their density doesn't fade out towards it.

    There is none if the numbers come down to the lower limit that they have anyway.
    """
    n = len(ordered)
    smallest, middle = float(ordered[0]), float(ordered[n // 2])
    inner = min(max(n // BULK, FEW), n - 1)
    width = float(ordered[inner]) - smallest
    if inner < 1 or not 0 < width < SHARP * (middle - smallest):
        return None
    if limit is not None and smallest - limit <= width:
        return None
    return smallest - max(width / inner, 1e-6 * abs(smallest), 1e-6 * (middle - smallest))
