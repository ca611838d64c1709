"""Models that make in one step, or a few, what another model makes in many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from hepgan.errors import RecipeError
from hepgan.features.batch import FeatureBatch
from hepgan.features.tokens import Tokens
from hepgan.models.base import in_chunks
from hepgan.models.circles import Circles
from hepgan.models.config import OptimiserConfig, StudentConfig
from hepgan.models.guided import GuidedModel, Scene
from hepgan.models.view import Decode, TensorObservable
from hepgan.networks import FourierTime, build_network
from hepgan.objectives import Term

__all__ = ["Student"]


class Student(GuidedModel):
    """A network that has learned where the paths of another model, the teacher, lead.

    From the same noise and context it makes nearly the teacher's event. The teacher's map is deterministic
    and smooth, so it is learned by regression on pairs of noise and event, of which the teacher makes any
    number. With several steps, each leads to the next of as many points on the path.

    It learns from batches whose ``x`` holds whole paths, (N, (steps + 1) D): their start, the points
    between and their end. Critics and penalties, if there are any, compare with the teacher's events, the
    paths' ends.

    Reference: Luhman and Luhman, Knowledge distillation in iterative generative models, arXiv:2101.02388.

    Args:
        config: The recipe's choice.
        size: Number of features D.
        context_size: Columns of the context C.
        decode: Events of features.
        observables: The observables that critics and penalties name.
        periodic: Numbers of the features that are angles in (-pi, pi].
        tokens: Which features belong to which object, for networks of sets.

    Raises:
        RecipeError: If a critic or a penalty names an observable that isn't there, or a network of sets is
            chosen where there are no objects for it.
    """

    config: StudentConfig
    maker: ClassVar[str] = "student"
    default_optimiser: ClassVar[OptimiserConfig] = OptimiserConfig(
        kind="adamw", lr=2e-3, betas=(0.9, 0.99), weight_decay=1e-4
    )
    default_ema: ClassVar[float] = 0.998

    def __init__(
        self,
        config: StudentConfig,
        *,
        size: int,
        context_size: int,
        decode: Decode,
        observables: Mapping[str, TensorObservable],
        periodic: Sequence[int] = (),
        tokens: Sequence[Tokens] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.noise_size = size
        self.context_size = context_size
        self.circles = Circles(size, periodic)
        self.time = FourierTime(config.time_frequencies) if config.steps > 1 else None
        self.network = build_network(
            config.network,
            self.circles.inputs,
            size,
            context=context_size,
            time=0 if self.time is None else self.time.size,
            tokens=tokens,
            owners=self.circles.owners,
        )
        self.chunk = self.network.chunk
        self._guide(config, size=size, decode=decode, observables=observables)

    def sample(self, noise: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """Features (N, D) of the events that the teacher makes of the noise (N, D), nearly."""
        return in_chunks(self._made, noise, context, mask, self.chunk)

    def sampling_modules(self) -> Iterable[nn.Module]:
        """The network of the steps."""
        return (self.network,)

    def noise_mask(self, mask: Tensor | None) -> Tensor | None:
        """Each feature has its noise."""
        return mask

    def prepare(self, data: FeatureBatch) -> None:
        """Take from the teacher's events what critics need.

        Raises:
            RecipeError: If the data are events instead of paths.
        """
        if data.x.shape[1] != (self.config.steps + 1) * self.noise_size:
            msg = "a student does not learn from events: train its teacher, and distil that (hepgan distill)"
            raise RecipeError(msg)
        super().prepare(self._part(data))

    def _made(self, noise: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        hidden = None if mask is None else ~mask
        bound = self.network.bind(context if self.context_size else None, mask)
        x = self.circles.start(noise)
        x = x if hidden is None else x.masked_fill(hidden, 0.0)
        for k in range(self.config.steps):
            way = bound(self.circles.seen(x), self._times(torch.full((1,), k, device=x.device), x))
            x = torch.add(x, way if hidden is None else way.masked_fill(hidden, 0.0), alpha=self._length)
        return self.circles.wrapped(x)

    @property
    def _length(self) -> float:
        """What the network's outputs are multiplied by, so that they are of order 1."""
        return 1.0 / self.config.steps

    def _times(self, steps: Tensor, like: Tensor) -> Tensor | None:
        return None if self.time is None else self.time(steps.to(like.dtype) / self.config.steps)

    def _makers(self) -> tuple[nn.Parameter, ...]:
        return tuple(self.network.parameters())

    def _own_terms(
        self, batch: FeatureBatch, generator: torch.Generator, share: float, *, everything: bool = False
    ) -> list[Term]:
        """The squared error of one step of each path, of the features that exist, in units of a step."""
        points = batch.x.reshape(len(batch), self.config.steps + 1, self.noise_size)
        rows = torch.arange(len(batch), device=batch.x.device)
        # Equally many events make each step.
        first = torch.randint(self.config.steps, (), generator=generator, device=rows.device)
        k = (rows + first) % self.config.steps
        start, end = points[rows, k], points[rows, k + 1]
        context = batch.context if self.context_size else None
        way = self.network(self.circles.seen(start), context, self._times(k, start), batch.mask)
        # On a circle any number of turns will do, so that the way may be smooth where its end is cut.
        error = self.circles.between(end, torch.add(start, way, alpha=self._length)) / self._length
        if batch.mask is not None:
            error = error * batch.mask
        return [Term("path", (batch.weight * error.square().mean(dim=1)).mean())]

    def _own_floors(self, scene: Scene) -> list[Term]:
        return [Term("path", scene.real.batch.x.new_zeros(()))]

    def _part(self, batch: FeatureBatch) -> FeatureBatch:
        """The events at the ends of the paths."""
        return batch.with_x(self.circles.wrapped(batch.x[:, -self.noise_size :]))
