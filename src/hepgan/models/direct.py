"""Models that make the features of events in one network call, or in a few: GANs and students."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from hepgan.errors import RecipeError
from hepgan.features.space import FeatureSpace
from hepgan.models.base import Circles, Model, in_chunks
from hepgan.models.config import GANConfig, StudentConfig
from hepgan.networks import FourierTime, Product, build_network

__all__ = ["GAN", "Student"]


class GAN(Model):
    """A generator: features are a function of noise and context.

    Reference: Goodfellow et al., Generative adversarial networks, arXiv:1406.2661.

    Args:
        config: The recipe's choice.
        space: The features. Where there is as much noise, objects have theirs, for a network of sets.

    Raises:
        RecipeError: If a network is chosen that does not fit the features, or there is neither noise nor
            context, or not both for their product.
    """

    def __init__(self, config: GANConfig, space: FeatureSpace) -> None:
        super().__init__()
        self.config, self.space = config, space
        self.noise_size = space.size if config.noise is None else config.noise
        if not self.noise_size + space.context_size:
            msg = "model.noise: without noise, features are a function of the context, and there is none"
            raise RecipeError(msg)
        product = config.conditioning == "product"
        if product and not (self.noise_size and space.context_size):
            what = "noise" if space.context_size else "context"
            msg = f"model.conditioning: there is no {what}, so no product of noise and context; say joined"
            raise RecipeError(msg)
        network = build_network(
            config.generator,
            self.noise_size,
            space.size,
            context=0 if product else space.context_size,
            space=space if self.noise_size == space.size else None,
            made=space.grid,
        )
        self.generator = Product(network, self.noise_size, space.context_size) if product else network
        self.chunk = self.generator.chunk

    def sample(self, noise: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """Features (N, D), 0 where masked."""
        return in_chunks(self._generated, noise, context, mask, self.chunk)

    def sampling_modules(self) -> Iterable[nn.Module]:
        """The generator."""
        return (self.generator,)

    def _generated(self, noise: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        x: Tensor = self.generator(noise, self.given(context), mask=mask)
        return x if mask is None else x.masked_fill(~mask, 0.0)


class Student(Model):
    """A network that has learned where the paths of another model, the teacher, lead.

    From the same noise and context it makes nearly the teacher's event. The teacher's map is deterministic
    and smooth, so it is learned by regression on pairs of noise and event, of which the teacher makes any
    number. With several steps, each leads to the next of as many points on the path.

    Reference: Luhman and Luhman, Knowledge distillation in iterative generative models, arXiv:2101.02388.

    Args:
        config: The recipe's choice.
        space: The features.

    Attributes:
        length: What the network's outputs are multiplied by, so that they are of order 1.

    Raises:
        RecipeError: If a network of sets is chosen where there are no objects for it.
    """

    def __init__(self, config: StudentConfig, space: FeatureSpace) -> None:
        super().__init__()
        self.config, self.space = config, space
        self.noise_size = space.size
        self.length = 1.0 / config.steps
        self.circles = Circles(space.size, space.periodic)
        self.time = FourierTime(config.time_frequencies) if config.steps > 1 else None
        self.network = build_network(
            config.network,
            self.circles.inputs,
            space.size,
            context=space.context_size,
            time=0 if self.time is None else self.time.size,
            space=space,
            owners=self.circles.owners,
        )
        self.chunk = self.network.chunk

    def sample(self, noise: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """Features (N, D) of the events that the teacher makes of the noise (N, D), nearly."""
        return in_chunks(self._made, noise, context, mask, self.chunk)

    def sampling_modules(self) -> Iterable[nn.Module]:
        """The network of the steps."""
        return (self.network,)

    def noise_mask(self, mask: Tensor | None) -> Tensor | None:
        """Each feature has its noise."""
        return mask

    def moved(self, x: Tensor, step: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """Where a step leads; for training, where events are at different steps.

        Args:
            x: Points on paths (N, D).
            step: The number of each event's step (N,).
            context: What the events are conditional on (N, C).
            mask: True where a feature exists (N, D); None if all do.
        """
        way = self.network(self.circles.seen(x), self.given(context), self._times(step, x), mask)
        return torch.add(x, way, alpha=self.length)

    def _made(self, noise: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        hidden = None if mask is None else ~mask
        bound = self.network.bind(self.given(context), mask)
        x = self.circles.start(noise)
        x = x if hidden is None else x.masked_fill(hidden, 0.0)
        for k in range(self.config.steps):
            way = bound(self.circles.seen(x), self._times(torch.full((1,), k, device=x.device), x))
            x = torch.add(x, way if hidden is None else way.masked_fill(hidden, 0.0), alpha=self.length)
        return self.circles.wrapped(x)

    def _times(self, steps: Tensor, like: Tensor) -> Tensor | None:
        return None if self.time is None else self.time(steps.to(like.dtype) / self.config.steps)
