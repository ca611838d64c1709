"""What a recipe can say about its model."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from hepgan.config import Config
from hepgan.models.guidance import CriticConfig, DensityConfig, GuidedConfig, OptimiserConfig
from hepgan.networks import MLPConfig, NetworkConfig, ResidualConfig

__all__ = [
    "FlowConfig",
    "FlowMatchingConfig",
    "GANConfig",
    "ModelConfig",
    "RefinedConfig",
    "StudentConfig",
]


class GANConfig(GuidedConfig):
    """A generator trained against critics.

    Attributes:
        generator: The generator's network, whose output has no nonlinearity.
        noise: Random numbers per event; as many as there are features if None. With 0 the features are a
            function of the context.
        critics: One or more critics.
        penalties: Terms of the generator's loss on observables' distributions.
        optimiser: The generator's optimiser; the training's if None.
    """

    own: ClassVar[tuple[str, ...]] = ("generator",)

    kind: Literal["gan"] = "gan"
    generator: NetworkConfig = MLPConfig(widths=(128, 128, 128))
    noise: int | None = Field(default=None, ge=0)
    critics: tuple[CriticConfig, ...] = Field(default=(CriticConfig(),), min_length=1)

    @model_validator(mode="after")
    def _events_have_no_latent_space(self) -> GANConfig:
        for critic in self.critics:
            if critic.latent:
                msg = f"critic {critic.name!r} can't see the noise of real events: a GAN has no likelihood"
                raise ValueError(msg)
        return self


class FlowConfig(DensityConfig):
    """Invertible layers that carry events to normal noise, and noise to events.

    Attributes:
        blocks: Number of layers.
        layer: ``coupling``: half of the features decide how the others are transformed; or
            ``autoregressive``: each feature is transformed as those before it decide, and sampling takes a
            call of the network for each.
        transform: ``spline`` (rational-quadratic), or ``affine``. Angles on the full circle always have
            splines.
        bins: Bins of a spline.
        bound: Splines are the identity beyond this (in units of the features, whose spread is about 1).
        clamp: The largest logarithm of an affine transform's scale, approached gradually.
        rotations: What is between layers: ``learned``, ``random`` or no rotations (``none``) of the features.
        network: The network of each layer; for autoregressive layers a plain one (``mlp``).
        optimiser: The optimiser; the training's if None.
    """

    own: ClassVar[tuple[str, ...]] = ("flow", "likelihood")

    kind: Literal["flow"] = "flow"
    blocks: int = Field(default=8, ge=1)
    layer: Literal["coupling", "autoregressive"] = "coupling"
    transform: Literal["spline", "affine"] = "spline"
    bins: int = Field(default=10, ge=2, le=500)
    bound: float = Field(default=5.0, gt=0.0)
    clamp: float = Field(default=5.0, gt=0.0)
    rotations: Literal["learned", "random", "none"] = "none"
    network: NetworkConfig = MLPConfig(widths=(128, 128, 128))
    optimiser: OptimiserConfig | None = None

    @model_validator(mode="after")
    def _network_can_be_masked(self) -> FlowConfig:
        network = self.network
        if self.layer == "autoregressive" and (not isinstance(network, MLPConfig) or network.layer_norm):
            msg = "autoregressive layers need a network of kind mlp without layer_norm"
            raise ValueError(msg)
        return self


class FlowMatchingConfig(DensityConfig):
    """A velocity field that carries normal noise to events along straight paths.

    Attributes:
        network: The velocity's network.
        time_frequencies: Fourier frequencies of the time.
        time: How times are drawn in training: evenly, or more in the middle (``logit_normal``).
        solver: How paths are followed: ``euler`` (1 network call a step), ``midpoint`` or ``heun`` (2).
        steps: Steps of a path.
        grid: Steps end at 1 - (1 - k / steps)^grid: above 1, they are finer near the events.
        optimiser: The optimiser; the training's if None.
    """

    own: ClassVar[tuple[str, ...]] = ("velocity",)

    kind: Literal["flow_matching"] = "flow_matching"
    network: NetworkConfig = ResidualConfig()
    time_frequencies: int = Field(default=8, ge=0)
    time: Literal["uniform", "logit_normal"] = "uniform"
    solver: Literal["euler", "midpoint", "heun"] = "midpoint"
    steps: int = Field(default=8, ge=1)
    grid: float = Field(default=1.0, gt=0.0)
    optimiser: OptimiserConfig | None = None


class StudentConfig(GuidedConfig):
    """A network that makes in one step, or a few, what a trained model makes in many (``hepgan distill``).

    Attributes:
        network: The network, which is called once in each step.
        steps: Steps from noise to event.
        time_frequencies: Fourier frequencies by which the network tells one of several steps from another.
        critics: Networks that tell the teacher's events from the student's.
        penalties: Terms of the loss on observables' distributions, next to the teacher's.
        optimiser: The optimiser of the network; the training's if None.
    """

    own: ClassVar[tuple[str, ...]] = ("student", "path")

    kind: Literal["student"] = "student"
    network: NetworkConfig = ResidualConfig(width=192, blocks=3)
    steps: int = Field(default=1, ge=1)
    time_frequencies: int = Field(default=4, ge=0)

    @model_validator(mode="after")
    def _there_is_no_latent_space(self) -> StudentConfig:
        for critic in self.critics:
            if critic.latent:
                msg = f"critic {critic.name!r} can't see the noise of events: a student has no likelihood"
                raise ValueError(msg)
        return self


class RefinedConfig(Config):
    """A trained model, and a prior of its noise that makes its events better (``hepgan refine``).

    Attributes:
        model: What makes events of noise.
        prior: What makes that noise, instead of a normal distribution.
    """

    kind: Literal["refined"] = "refined"
    model: Annotated[GANConfig | FlowConfig | FlowMatchingConfig | StudentConfig, Field(discriminator="kind")]
    prior: Annotated[FlowConfig | FlowMatchingConfig, Field(discriminator="kind")] = FlowConfig(
        blocks=4, network=MLPConfig(widths=(64, 64), activation="silu")
    )

    @property
    def own(self) -> tuple[str, ...]:
        """Names of the phase and of the terms that the model has of its own."""
        return self.model.own


ModelConfig = Annotated[
    GANConfig | FlowConfig | FlowMatchingConfig | StudentConfig | RefinedConfig, Field(discriminator="kind")
]
"""Any model, told apart by ``kind``."""
