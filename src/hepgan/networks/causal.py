"""Networks of sequences, in which each place knows those before it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from hepgan.networks.drawing import Linear

__all__ = ["CausalSets"]

_SUM = 0.1
"""Sums over places are seen in this unit, beside their means."""

_STEP = 0.03
"""Likewise numbers of places."""


class CausalSets(nn.Module):
    """Deep sets of the places so far: each place sees the mean and the sum of what these tell.

    What is kept of the places so far is one row of numbers for each block, so that a sequence can go on place
    by place without a look back.

    Args:
        width: Columns of each place.
        blocks: How many times places learn of those before them.
    """

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.width = width
        self.step = Linear(3, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(blocks))
        self.tell = nn.ModuleList(Linear(width, width) for _ in range(blocks))
        self.hear = nn.ModuleList(Linear(3 * width, width) for _ in range(blocks))
        self.know = nn.ModuleList(Linear(width, width, bias=False) for _ in range(blocks))
        self.change = nn.ModuleList(Linear(width, width) for _ in range(blocks))

    def forward(
        self, h: Tensor, start: Tensor, first: int = 0, before: list[Tensor] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Places that know those before them.

        Args:
            h: Places (N, T, width).
            start: What is known of the whole sequence (N, width).
            first: How many places there are before these.
            before: What was kept of those (N, width), of each block; None if there are none.

        Returns:
            The places (N, T, width), and what is to be kept (N, width), of each block.
        """
        k = torch.arange(first + 1, first + h.shape[1] + 1, device=h.device, dtype=h.dtype)[:, None]
        h = h + self.step(torch.cat([k * _STEP, k.log() / 4, 1 / k], 1))
        kept = []
        for number, (norm, tell, hear, know, change) in enumerate(
            zip(self.norms, self.tell, self.hear, self.know, self.change, strict=True)
        ):
            seen = norm(h)
            told = functional.silu(tell(seen))
            total = told.cumsum(1) if h.shape[1] > 1 else told
            if before is not None:
                total = total + before[number].unsqueeze(1)
            kept.append(total[:, -1])
            heard = hear(torch.cat([seen, total / k, total * _SUM], 2)) + know(start).unsqueeze(1)
            h = h + change(functional.silu(heard))
        return h, kept
