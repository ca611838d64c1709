"""Reduced cross sections of inclusive deep inelastic scattering, versus Q2 in bins of x."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import awkward as ak
import hist
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from hepgan.arguments import checked
from hepgan.errors import InputError
from hepgan.events import event_weights, schema_of
from hepgan.validation.samples import members_of
from hepgan.vectors.kinematics import Kinematics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ReducedCrossSection", "reduced_cross_section"]

Floats = NDArray[np.float64]

ALPHA = 1 / 137.035999
"""The fine-structure constant."""

PB_GEV2 = 0.3893793721e9
"""(hbar c)^2 in pb GeV^2."""

FINE = 400
"""Points at which the width of a bin in Q2 is taken, for its area within phase space."""


@dataclass(frozen=True)
class ReducedCrossSection:
    """A reduced cross section in bins of x and Q2.

    Attributes:
        x_edges: Edges of the bins in x (I + 1,).
        Q2_edges: Edges of the bins in Q2 (J + 1,), in GeV^2.
        values: Mean over the part of each bin that is within phase space (I, J); NaN where no part is.
        errors: Statistical standard deviations (I, J).
        spread: Standard deviations over the members of an ensemble (I, J); None without members.
        inside: Share of each bin that is within phase space (I, J).
        entries: Numbers of events (I, J).
    """

    x_edges: Floats
    Q2_edges: Floats
    values: Floats
    errors: Floats
    spread: Floats | None
    inside: Floats
    entries: NDArray[np.int64]

    @property
    def band(self) -> Floats:
        """The spread over members, the statistical errors where there are none (I, J)."""
        return self.errors if self.spread is None else self.spread

    def hist(self) -> hist.Hist:
        """Values and squared statistical errors as a histogram; 0 outside phase space."""
        axes = [
            hist.axis.Variable(self.x_edges, name="x", label="$x$", flow=False),
            hist.axis.Variable(self.Q2_edges, name="Q2", label="$Q^2$ [GeV$^2$]", flow=False),
        ]
        made = hist.Hist(*axes, storage=hist.storage.Weight())
        made.view()["value"] = np.nan_to_num(self.values)
        made.view()["variance"] = np.nan_to_num(self.errors) ** 2
        return made

    def plot(self, generated: Mapping[str, ReducedCrossSection] | None = None) -> Figure:
        """A figure of this, of true events, versus Q2, those of each bin of x times 2^i.

        True events are points with statistical errors, generated ones lines with bands. Bins of fewer than
        10 true events, or of which less than half is within phase space, are left out.

        Args:
            generated: Of generated events, by label, in the same bins.

        Raises:
            ValueError: If the bins differ.
        """
        # Who wants no picture need not wait for matplotlib.
        from hepgan.plotting.cross_sections import plot_reduced

        return plot_reduced(self, generated or {})


@checked
def reduced_cross_section(
    events: ak.Array,
    *,
    luminosity: float,
    x_edges: ArrayLike,
    Q2_edges: ArrayLike,
    beams: tuple[float | str, float | str] = ("beam_energy", "beam_energy"),
    lepton: str = "Electron",
    direction: Literal[-1, 1] = 1,
    y_range: tuple[float, float] = (0.0, 1.0),
    alpha: float = ALPHA,
) -> ReducedCrossSection:
    r"""The reduced cross section of l h -> l X, all masses neglected, from events.

    .. math:: \sigma_r(x, Q^2) = \frac{x Q^4}{2 \pi \alpha^2 Y_+} \frac{d^2\sigma}{dx\,dQ^2},
        \qquad Y_+ = 1 + (1 - y)^2

    which is F2 for the exchange of one photon if F_L is 0. Each event counts with the first factor at its
    own x and Q2, so that values are means over bins however steeply the cross section falls. Where a bin
    reaches beyond phase space, or beyond ``y_range``, the mean is over the part that is inside.

    Args:
        events: N events with one scattered lepton each, and weights if their schema has any.
        luminosity: What the events amount to, in 1/pb. Of n generated events of a sample of N events of
            luminosity L, it is L n / N; of n events of cross section sigma it is n / sigma.
        x_edges: Edges of bins in x, ascending between 0 and 1.
        Q2_edges: Edges of bins in Q2, ascending, in GeV^2, whatever the events' unit.
        beams: Energies of the lepton's and of the hadron's beam: numbers in GeV, or numbers of the event,
            which have to be the same in all events.
        lepton: The collection that holds the scattered lepton.
        direction: 1 if the lepton's beam goes along +z, -1 if along -z.
        y_range: The range of y that counts.
        alpha: The fine-structure constant.

    Returns:
        Values, errors, and, where the events tell the members of the ensemble that made them, the spread over
        these.

    Raises:
        InputError: If there is not one lepton in each event, or no such beam, or several energies of one.
        ValueError: If edges, luminosity or range are not usable.
    """
    edges = _edges("x_edges", x_edges, 1.0), _edges("Q2_edges", Q2_edges, math.inf)
    if not 0 < luminosity < math.inf:
        msg = f"the luminosity must be a positive number of 1/pb, not {luminosity}"
        raise ValueError(msg)
    if not 0 <= y_range[0] < y_range[1] <= 1:
        msg = f"y_range must ascend between 0 and 1, not {y_range}"
        raise ValueError(msg)
    gev = schema_of(events).gev
    energies = tuple(_energy(events, beam, gev) for beam in beams)
    x, q2, y = _kinematics(events, lepton, direction, energies, gev)
    weight = event_weights(events)
    good = (y > y_range[0]) & (y <= y_range[1])
    factor = x * q2**2 / (2 * math.pi * alpha**2 * (1 + (1 - y) ** 2)) / PB_GEV2
    share = np.where(good, weight * factor, 0.0)
    area = _areas(*edges, 4 * energies[0] * energies[1], y_range)
    whole = np.outer(np.diff(edges[0]), np.diff(edges[1]))
    unit = np.where(area > 0, area * luminosity, np.nan)

    def filled(content: Floats) -> Floats:
        return np.asarray(np.histogram2d(x[good], q2[good], edges, weights=content[good])[0])

    spread = None
    member = members_of(events, schema_of(events))
    if member is not None:
        parts = [member == m for m in np.unique(member)]
        if len(parts) > 1:
            # Each member stands for all of the luminosity.
            each = [filled(np.where(part, share, 0.0)) / unit / part.mean() for part in parts]
            spread = np.std(each, axis=0, ddof=1)
    return ReducedCrossSection(
        *edges,
        values=filled(share) / unit,
        errors=np.sqrt(filled(share**2)) / unit,
        spread=spread,
        inside=area / whole,
        entries=filled(np.ones(len(x))).astype(np.int64),
    )


def _edges(name: str, edges: ArrayLike, most: float) -> Floats:
    found = np.asarray(edges, dtype=np.float64)
    ascending = found.ndim == 1 and len(found) > 1 and bool((np.diff(found) > 0).all())
    if not ascending or not (found[0] > 0 and found[-1] <= most):
        msg = f"{name} must ascend above 0" + (f" and up to {most:g}" if most < math.inf else "")
        msg += f", not {edges!r}"
        raise ValueError(msg)
    return found


def _energy(events: ak.Array, beam: float | str, gev: float) -> float:
    """A beam's energy in GeV."""
    if not isinstance(beam, str):
        return float(beam)
    if beam not in events.fields:
        msg = f"beams: no {beam!r} in the events; they have {', '.join(events.fields)}"
        raise InputError(msg)
    values = ak.to_numpy(events[beam]).astype(np.float64)
    low, high = values.min(), values.max()
    if high - low > 1e-6 * high:
        msg = f"{beam} is {low:g} to {high:g}; a reduced cross section needs events of one energy"
        raise InputError(msg)
    return float(values.mean()) / gev


def _kinematics(
    events: ak.Array, lepton: str, direction: int, energies: Sequence[float], gev: float
) -> tuple[Floats, Floats, Floats]:
    """x, Q2 in GeV^2 and y (N,), in float64, in forms that lose no digits at small angles."""
    if lepton not in events.fields:
        msg = f"the events have no {lepton}; lepton names the scattered one, of {', '.join(events.fields)}"
        raise InputError(msg)
    objects = events[lepton]
    if objects.ndim > 1:
        wrong = ak.num(objects) != 1
        if ak.any(wrong):
            msg = f"{int(ak.num(objects)[wrong][0])} {lepton} instead of one scattered lepton"
            raise InputError(msg, entry=int(ak.argmax(wrong)))
        objects = objects[:, 0]
    momenta = Kinematics(
        {c: torch.from_numpy(np.array(getattr(objects, c), np.float64) / gev) for c in ("px", "py", "pz")}
    )
    plus, minus = (momenta[n].numpy() for n in (("plus", "minus") if direction > 0 else ("minus", "plus")))
    y = 1 - plus / (2 * energies[0])
    q2 = 2 * energies[0] * minus
    with np.errstate(divide="ignore", invalid="ignore"):
        return q2 / (4 * energies[0] * energies[1] * y), q2, y


def _areas(x: Floats, q2: Floats, s: float, y_range: tuple[float, float]) -> Floats:
    """Areas (I, J) of the bins within a range of y = Q2 / (x s)."""
    area = np.zeros((len(x) - 1, len(q2) - 1))
    for i, (low, high) in enumerate(pairwise(x)):
        at = np.linspace(low, high, FINE + 1)[:, None]
        tops = np.minimum(q2[1:], y_range[1] * s * at)
        bottoms = np.maximum(q2[:-1], y_range[0] * s * at)
        width = np.maximum(tops - bottoms, 0.0)
        area[i] = ((width[1:] + width[:-1]) / 2).sum(axis=0) * (high - low) / FINE
    return area
