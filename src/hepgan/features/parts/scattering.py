"""The lepton that a beam scatters inelastically: Q2 and x, whose limits are those of phase space."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from hepgan.errors import InputError, RecipeError
from hepgan.features.config import ScatteringConfig
from hepgan.features.layout import Column, Layout
from hepgan.features.parts.base import Block
from hepgan.features.view import Builder, View
from hepgan.vectors.kinematics import Kinematics, safe_sqrt, wrap

__all__ = ["ScatteringBlock"]

LIGHT = 1e-3
"""Largest mass of the lepton as a share of the beam's energy."""

SLACK = 1e-3
"""How far outside 0 < y < 1 or E < Eb a training event may be, as a share of the beam's energy."""

_TINY = 1e-12


class ScatteringBlock(Block):
    """The scattered lepton of l h -> l X as the columns ``Q2``, ``x`` and ``phi``; see ``ScatteringConfig``.

    Every Q2 > 0 and 0 < x < 1 makes an event with 0 < y < 1: what a network puts beyond y = 1, or beyond
    Q2 = s, is mirrored there, in the logarithm.

    Args:
        layout: What is known of the collections.
        config: The recipe's settings.

    Raises:
        RecipeError: If there is not one light lepton in every event, or no such beam energies.
    """

    def __init__(self, layout: Layout, config: ScatteringConfig) -> None:
        super().__init__(layout, config.transforms, config.pca)
        self.config, self.collection = config, config.lepton
        described = layout.collection(self.collection)
        if described.max_count != 1 or layout.always(self.collection) != 1:
            msg = f"{self.collection}: the scattered lepton has to be the only one, and in every event"
            raise RecipeError(msg)
        if layout.dimensions(self.collection) < 3:
            msg = f"{self.collection}: the scattered lepton has no three-dimensional momentum"
            raise RecipeError(msg)
        known = layout.schema.scalar_names
        for beam in config.beams:
            if isinstance(beam, str) and beam not in known:
                msg = f"beams: no {beam!r} in the events; their scalars are {', '.join(known) or 'none'}"
                raise RecipeError(msg)

    def learn(self, view: View) -> dict[str, Any]:
        """Nothing; checks the mass."""
        mass = view.kinematics(self.collection)["mass"] if self._massive else None
        lepton, _ = self._beams(view.events.scalars, len(view), view.device)
        if mass is not None and bool((mass[:, 0] > LIGHT * lepton).any()):
            msg = (
                f"{self.collection}: its mass is not negligible, as the scattering block has it; where it "
                f"is rounding of the file, say masses: {{{self.collection}: massless}}"
            )
            raise RecipeError(msg)
        return {}

    @property
    def _massive(self) -> bool:
        mass = self.layout.masses.get(self.collection)
        return mass is not None and mass.source != "none"

    def set_up(self, learned: dict[str, Any]) -> None:
        """Fixes the columns."""
        label = self.layout.label(self.collection, 0)
        limits = {"Q2": (0.0, None, 0.0), "x": (0.0, 1.0, 0.0), "phi": (-math.pi, math.pi, 1.0)}
        self.columns = tuple(
            Column(f"{label}.{name}", (f"{label}.{name}", name), low, high, None, scale)
            for name, (low, high, scale) in limits.items()
        )

    def _beams(
        self, scalars: dict[str, Tensor], size: int, device: torch.device | None
    ) -> tuple[Tensor, Tensor]:
        """Energies (N,) of the lepton's and of the hadron's beam."""
        found = []
        for beam in self.config.beams:
            if isinstance(beam, str):
                found.append(scalars[beam].to(torch.float64))
            else:
                found.append(torch.full((size,), float(beam), dtype=torch.float64, device=device))
        return found[0], found[1]

    def encode(self, view: View) -> tuple[Tensor, Tensor]:
        """Columns (N, 3); no classes.

        Raises:
            InputError: If an event is outside phase space by more than rounding.
        """
        k = view.kinematics(self.collection)
        lepton, hadron = self._beams(view.events.scalars, len(view), view.device)
        along, against = ("plus", "minus") if self.config.direction > 0 else ("minus", "plus")
        q2, y = 2 * lepton * k[against][:, 0], 1 - k[along][:, 0] / (2 * lepton)
        least = q2 / (4 * lepton * hadron)
        outside = (y < least - SLACK) | (least > 1 + SLACK)

        def error(event: int) -> InputError:
            msg = (
                f"{self.collection} is outside phase space: Q2 = {float(q2[event]):g} GeV^2, "
                f"y = {float(y[event]):g} ({int(outside.sum())} of {len(view)} events); "
                "are the beams and the direction right?"
            )
            return InputError(msg, entry=event)

        view.refuse(outside, error)
        x = (least / torch.maximum(y, least).clamp(min=1e-300)).clamp(max=1 - 1e-9)
        columns = torch.stack([q2, x, wrap(k["phi"][:, 0])], 1)
        return columns, torch.zeros(len(view), 0, dtype=torch.int64, device=view.device)

    def decode(self, columns: Tensor, discrete: Tensor, builder: Builder) -> None:
        """Puts in the momentum."""
        lepton, hadron = self._beams(builder.scalars, builder.size, builder.device)
        q2, x, phi = columns.unbind(1)
        log_s = torch.log(4 * lepton * hadron)
        depth = (log_s - q2.clamp(min=1e-300).log()).abs().clamp(min=_TINY)
        log_y = -_reflected(depth + x.clamp(1e-300, 1.0).log(), depth)
        plus = -2 * lepton * torch.expm1(log_y)
        minus = 2 * hadron * (-depth).exp()
        if builder.azimuth is not None:
            phi = phi + builder.azimuth
        pt, pz = safe_sqrt(plus * minus), self.config.direction * (plus - minus) / 2
        known = {"px": pt * torch.cos(phi), "py": pt * torch.sin(phi), "pz": pz}
        mass = builder.mass(self.collection)
        if mass is not None:
            known["mass"] = mass[:, 0]
        builder.put_momenta(self.collection, (0,), Kinematics({n: v.unsqueeze(1) for n, v in known.items()}))


def _reflected(value: Tensor, width: Tensor) -> Tensor:
    """Value folded into [0, width] by reflection at either end."""
    inside = (value >= 0) & (value <= width)
    folded = width - (width - torch.remainder(value, 2 * width)).abs()
    return torch.where(inside, value, folded)
