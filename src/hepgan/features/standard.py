"""Physical columns as the standardised features that networks see, and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from hepgan.errors import InputError, RecipeError
from hepgan.features.parts.base import TransformSpec
from hepgan.features.precise import PreciseModule
from hepgan.features.reading import Refusal
from hepgan.features.transforms import PCA, Angle, Chain, Columns, QuantileNormal, Standardise, Transform
from hepgan.features.transforms import transform_from_config as make_transform
from hepgan.features.variables import Column

__all__ = ["StandardColumns"]

ROUNDING = 4 * 2.0**-23
NOTHING = 1e-6
"""In units of a column's scale: a constant within this of 0 is 0, and a spread below it is none."""

FAR = 9.0
"""The feature of a value on an edge of which there is none in the training events."""

FEW = 10
BULK = 1000
"""An edge is sharp if the outermost of so many shares of the entries is narrow."""

SHARP = 0.05


class StandardColumns(PreciseModule):
    """Drops constant columns, and transforms the others, each kind of transform at once.

    ``learn`` returns what ``set_up`` needs, as JSON can hold it; the transforms' own constants are in the
    ``state_dict``.
    """

    places: Tensor
    fixed: Tensor
    limits: Tensor
    kept: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.transform: Transform | None = None
        self.names: tuple[str, ...] = ()

    def learn(
        self,
        raw: Tensor,
        mask: Tensor | None,
        weight: Tensor,
        columns: Sequence[Column],
        specs: Sequence[TransformSpec],
        rotated: Sequence[int | None],
    ) -> dict[str, Any]:
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
        constants = [_constant(raw[:, i], present[:, i], c) for i, c in enumerate(columns)]
        kept = [i for i, c in enumerate(constants) if c is None]
        limits = [_bounds(columns[i], _steps(specs[i])[0], raw[:, i][present[:, i]]) for i in kept]
        names = [columns[i].name for i in kept]
        transform = None
        if kept:
            x = self._limited(raw[:, kept], _infinite(limits).to(raw.device))
            data = (x, present[:, kept], weight)
            # Beyond a sharp edge of the training events there is nothing to learn, so there are the limits.
            chosen = [replace(columns[i], low=b[0], high=b[1]) for i, b in zip(kept, limits, strict=True)]
            transform = _build(
                chosen, [specs[i] for i in kept], [rotated[i] for i in kept], present[:, kept]
            ).to(raw.device)
            transform.fit(*data)
        learned: dict[str, Any] = {
            "constants": constants,
            "limits": [list(b) for b in limits],
            "names": names,
        }
        learned["transform"] = None if transform is None else transform.config()
        self.set_up(learned)
        self.transform = transform
        return learned

    def refit(self, raw: Tensor, mask: Tensor | None, weight: Tensor) -> None:
        """Fits the transforms anew, without changes of what they are.

        Args:
            raw: (N, R) columns.
            mask: (N, D) where features exist.
            weight: (N,) event weights; events of weight 0 do not count at all.
        """
        if self.transform is None:
            return
        x = self._limited(raw[:, self.kept], self.limits)
        counts = (weight != 0).unsqueeze(1).expand_as(x)
        self.transform.fit(x, counts if mask is None else counts & mask, weight)

    def set_up(self, learned: Mapping[str, Any]) -> None:
        """Fixes the columns that are kept, and builds the transforms."""
        constants = learned["constants"]
        kept = [i for i, c in enumerate(constants) if c is None]
        dropped = [i for i, c in enumerate(constants) if c is not None]
        places = torch.tensor([*kept, *dropped], dtype=torch.int64).argsort()
        self.register_buffer("places", places, persistent=False)
        self.register_buffer("kept", torch.tensor(kept, dtype=torch.int64), persistent=False)
        fixed = torch.tensor([constants[i] for i in dropped], dtype=torch.float64)
        self.register_buffer("fixed", fixed, persistent=False)
        self.register_buffer("limits", _infinite(learned["limits"]), persistent=False)
        self.names = tuple(learned["names"])
        config = learned["transform"]
        self.transform = None if config is None else make_transform(config)
        self._straight = kept == list(range(len(constants)))

    @property
    def periodic(self) -> tuple[int, ...]:
        """The features that are angles, as they are."""
        if isinstance(self.transform, Angle):
            return tuple(range(self.transform.size))
        if not isinstance(self.transform, Columns):
            return ()
        groups = self.transform.indices
        return tuple(sorted(i for n, g in groups.items() if isinstance(self.transform[n], Angle) for i in g))

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
        x = self.transform(self._limited(raw[:, self.kept], self.limits))
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

    def log_abs_det(self, x: Tensor) -> Tensor:
        """Log |d feature / d column| (N, D) at features (N, D), whose sum is the log-determinant."""
        if self.transform is None:
            return x
        return self.transform.log_abs_det(self.transform.inverse(x))

    def inverse(self, x: Tensor) -> Tensor:
        """Columns (N, R) of features (N, D), in float64."""
        parts = [] if self.transform is None else [self.transform.inverse(x)]
        if self._straight and parts:
            return parts[0]
        parts.append(self.fixed.expand(len(x), -1))
        return torch.cat(parts, 1)[:, self.places]


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
    if high - low > ROUNDING * max(abs(low), abs(high)) + NOTHING * column.scale:
        return None
    middle = low if low == high else (low + high) / 2
    return 0.0 if abs(middle) <= NOTHING * column.scale else middle


def _build(
    columns: Sequence[Column],
    specs: Sequence[TransformSpec],
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
            groups.setdefault(_key(specs[i]), []).append(i)
        made = {k: _transform(json.loads(k), [columns[i] for i in g]) for k, g in groups.items()}
        for k, g in groups.items():
            if any(step["kind"] == PCA.kind for step in json.loads(k)):
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


def _steps(spec: TransformSpec) -> list[dict[str, Any]]:
    """A specification as a list of kinds with options, at least one."""
    steps = []
    for step in spec if isinstance(spec, list) else [spec]:
        options = {"kind": step} if isinstance(step, str) else dict(step)
        options["kind"] = str(options.get("kind", "")).replace("-", "_")
        steps.append(options)
    return steps


def _key(spec: TransformSpec) -> str:
    """What columns of one group have in common; quantile transforms differ in their bounds only."""
    steps = _steps(spec)
    if steps[0]["kind"] == QuantileNormal.kind:
        steps[0] = {k: v for k, v in steps[0].items() if k not in ("low", "high")}
    return json.dumps(steps, sort_keys=True)


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
            made.append(make_transform(options))
        except ValueError as error:
            msg = f"transform of {names[0]}: {error}"
            raise RecipeError(msg) from error
    if any(isinstance(m, Angle) for m in made):
        return _angle(made, columns)
    if not isinstance(made[-1], QuantileNormal | Standardise):
        made.append(Standardise(len(columns), names=names))
    return made[0] if len(made) == 1 else Chain(made)


def _angle(made: Sequence[Transform], columns: Sequence[Column]) -> Transform:
    if len(made) > 1:
        msg = f"transform of {columns[0].name}: an angle is as it is; no other transform goes with it"
        raise RecipeError(msg)
    for c in columns:
        if (c.low, c.high) not in ((-math.pi, math.pi), (None, None)):
            msg = f"transform of {c.name}: not an angle on the full circle; it is from {c.low} to {c.high}"
            raise RecipeError(msg)
    return made[0]


def _bounds(column: Column, options: Mapping[str, Any], values: Tensor) -> tuple[float | None, float | None]:
    """Where a column ends: by the recipe, by its meaning, where its data end sharply, or at 0."""
    if options["kind"] != QuantileNormal.kind:
        return column.low, column.high
    low, high = options.get("low", column.low), options.get("high", column.high)
    ordered = torch.sort(values).values
    smallest, largest = float(ordered[0]), float(ordered[-1])
    # Numbers that are computed may be 0 but for rounding.
    rounding = 1e-12 * max(abs(smallest), abs(largest))
    low = 0.0 if low is None and smallest >= -rounding else low
    high = 0.0 if high is None and largest <= rounding else high
    below, above = _sharp_edge(ordered, low), _sharp_edge(-ordered.flip(0), None if high is None else -high)
    # What the recipe says of this column is not for the data to sharpen.
    low = low if below is None or "low" in options else below
    high = high if above is None or "high" in options else -above
    return low, high


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
