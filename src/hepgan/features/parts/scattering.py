"""The lepton that a beam scatters inelastically: Q2 and x, whose limits are those of phase space."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, Self

import torch
from pydantic import Field as Setting
from pydantic import field_validator
from torch import Tensor

from hepgan.config import Config
from hepgan.errors import InputError, RecipeError
from hepgan.features.draft import Draft
from hepgan.features.facts import Facts
from hepgan.features.parts.base import Encoded, Part, TransformSpec
from hepgan.features.reading import Reading
from hepgan.features.variables import Column
from hepgan.vectors.kinematics import Kinematics, safe_sqrt, wrap

__all__ = ["ScatteringConfig", "ScatteringPart"]

LIGHT = 1e-3
"""Largest mass of the lepton as a share of the beam's energy."""

SLACK = 1e-3
"""How far outside 0 < y < 1 or E < Eb a training event may be, as a share of the beam's energy."""

AGAINST = 0.9
"""Above this y in most events, leptons that mostly go against their beam are those of the other direction."""

_TINY = 1e-12


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
                msg = f"the energy of a beam cannot be {energy}"
                raise ValueError(msg)
        return value


class ScatteringPart(Part):
    """The scattered lepton of l h -> l X as the columns ``Q2``, ``x`` and ``phi``; see ``ScatteringConfig``.

    Every Q2 > 0 and 0 < x < 1 makes an event with 0 < y < 1: what a network puts beyond y = 1, or beyond
    Q2 = s, is mirrored there, in the logarithm.

    Attributes:
        settings: The recipe's settings.
    """

    kind: Literal["scattering"] = "scattering"
    settings: ScatteringConfig

    @classmethod
    def learn(cls, settings: ScatteringConfig, reading: Reading) -> Self:
        """Checks that the events are of this kind.

        Raises:
            RecipeError: If there is not one light lepton in every event, there are no such beams, or the
                lepton's goes the other way.
        """
        made = cls.make(settings, reading.facts)
        name = settings.lepton
        lepton, _ = made._beams(reading.events.scalars, len(reading), reading.device)
        if reading.facts.massive(name) and bool(
            (reading.kinematics(name)["mass"][:, 0] > LIGHT * lepton).any()
        ):
            msg = (
                f"{name}: its mass is not negligible, as the scattering block has it; where it "
                f"is rounding of the file, say masses: {{{name}: massless}}"
            )
            raise RecipeError(msg)
        along, against = made._light_cone(reading)
        # At small Q2, and most of it is small, a lepton keeps the direction of its beam.
        backwards = (against > along) & (1 - along / (2 * lepton) > AGAINST)
        if 2 * int(backwards.sum()) > len(reading):
            msg = (
                f"{name}: the beam goes the other way: {int(backwards.sum())} of {len(reading)} leptons go "
                f"against the direction {settings.direction:+d}, with y above {AGAINST:g}; say direction: "
                f"{-settings.direction} in the scattering block"
            )
            raise RecipeError(msg, entry=int(backwards.nonzero()[0]))
        return made

    @classmethod
    def make(cls, settings: ScatteringConfig, facts: Facts) -> Self:
        """The part; it learns no constants.

        Raises:
            RecipeError: If there is not one light lepton in every event, or no such beam energies.
        """
        name = settings.lepton
        if facts.collection(name).max_count != 1 or facts.always(name) != 1:
            msg = f"{name}: the scattered lepton has to be the only one, and in every event"
            raise RecipeError(msg)
        if facts.dimensions(name) < 3:
            msg = f"{name}: the scattered lepton has no three-dimensional momentum"
            raise RecipeError(msg)
        known = facts.schema.scalar_names
        for beam in settings.beams:
            if isinstance(beam, str) and beam not in known:
                msg = f"beams: no {beam!r} in the events; their scalars are {', '.join(known) or 'none'}"
                raise RecipeError(msg)
        columns = (
            Column(facts.address(name, 0, "Q2"), 0.0),
            Column(facts.address(name, 0, "x"), 0.0, 1.0),
            Column(facts.address(name, 0, "phi"), -math.pi, math.pi, scale=1.0),
        )
        return cls(collection=name, columns=columns, settings=settings)

    def _beams(
        self, scalars: Mapping[str, Tensor], size: int, device: torch.device | None
    ) -> tuple[Tensor, Tensor]:
        """Energies (N,) of the lepton's and of the hadron's beam."""
        found = []
        for beam in self.settings.beams:
            if isinstance(beam, str):
                found.append(scalars[beam].to(torch.float64))
            else:
                found.append(torch.full((size,), float(beam), dtype=torch.float64, device=device))
        return found[0], found[1]

    def _light_cone(self, reading: Reading) -> tuple[Tensor, Tensor]:
        """The lepton's E + p (N,) along its beam's direction, and against it."""
        k = reading.kinematics(self.collection)
        along, against = ("plus", "minus") if self.settings.direction > 0 else ("minus", "plus")
        return k[along][:, 0], k[against][:, 0]

    def read(self, reading: Reading) -> Encoded:
        """Columns (N, 3); no classes.

        Raises:
            InputError: If an event is outside phase space by more than rounding.
        """
        lepton, hadron = self._beams(reading.events.scalars, len(reading), reading.device)
        along, against = self._light_cone(reading)
        q2, y = 2 * lepton * against, 1 - along / (2 * lepton)
        least = q2 / (4 * lepton * hadron)
        outside = (y < least - SLACK) | (least > 1 + SLACK)

        def error(event: int) -> InputError:
            msg = (
                f"{self.collection} is outside phase space: Q2 = {float(q2[event]):g} "
                f"{reading.facts.schema.unit}^2, "
                f"y = {float(y[event]):g} ({int(outside.sum())} of {len(reading)} events); "
                "are the beams and the direction right?"
            )
            return InputError(msg, entry=event)

        reading.refuse(outside, error)
        x = (least / torch.maximum(y, least).clamp(min=1e-300)).clamp(max=1 - 1e-9)
        phi = wrap(reading.kinematics(self.collection)["phi"][:, 0])
        return Encoded(torch.stack([q2, x, phi], 1), reading.no_classes())

    def write(self, encoded: Encoded, draft: Draft) -> None:
        """Puts in the momentum."""
        lepton, hadron = self._beams(draft.scalars, draft.size, draft.device)
        q2, x, phi = encoded.columns.unbind(1)
        log_s = torch.log(4 * lepton * hadron)
        depth = (log_s - q2.clamp(min=1e-300).log()).abs().clamp(min=_TINY)
        log_y = -_reflected(depth + x.clamp(1e-300, 1.0).log(), depth)
        plus = -2 * lepton * torch.expm1(log_y)
        minus = 2 * hadron * (-depth).exp()
        if draft.azimuth is not None:
            phi = phi + draft.azimuth
        pt, pz = safe_sqrt(plus * minus), self.settings.direction * (plus - minus) / 2
        known = {"px": pt * torch.cos(phi), "py": pt * torch.sin(phi), "pz": pz}
        mass = draft.mass(self.collection)
        if mass is not None:
            known["mass"] = mass[:, 0]
        draft.put_momenta(self.collection, (0,), Kinematics({n: v.unsqueeze(1) for n, v in known.items()}))


def _reflected(value: Tensor, width: Tensor) -> Tensor:
    """Value folded into [0, width] by reflection at either end."""
    inside = (value >= 0) & (value <= width)
    folded = width - (width - torch.remainder(value, 2 * width)).abs()
    return torch.where(inside, value, folded)
