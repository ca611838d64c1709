"""What a recipe can say, beside its model, about how that learns: optimisers, critics, likelihoods."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from hepgan.config import Config
from hepgan.networks import MLPConfig, NetworkConfig
from hepgan.objectives import ADVERSARIAL, PenaltyConfig, TermSchedule

__all__ = [
    "CriticConfig",
    "DensityConfig",
    "GuidedConfig",
    "LikelihoodConfig",
    "OptimiserConfig",
    "SetConfig",
]

_TAKEN = ("total", "gradient")
"""Columns that the history has beside those of a phase's terms."""


class OptimiserConfig(Config):
    """How parameters follow their gradient.

    Attributes:
        kind: The algorithm.
        lr: The learning rate, before any schedule.
        betas: Decay of Adam's running means of gradient and square.
        rho: Decay of the running mean of squares of ``adadelta`` (its rho) and ``rmsprop`` (its alpha).
        eps: Added to denominators; the algorithm's own default if None.
        weight_decay: Pull of the parameters to 0.
    """

    kind: Literal["adam", "adamw", "adadelta", "rmsprop"] = "adam"
    lr: float = Field(default=1e-3, gt=0.0)
    betas: tuple[float, float] = (0.9, 0.999)
    rho: float = Field(default=0.95, ge=0.0, lt=1.0)
    eps: float | None = Field(default=None, gt=0.0)
    weight_decay: float = Field(default=0.0, ge=0.0)


class SetConfig(Config):
    """What a critic sees of the objects of an event, in whatever order they come.

    A network of each object's observables, summed over the objects. Weights of weighted observables are
    not seen, unless they are named as observables of their own.

    Attributes:
        observables: Names of observables with a value for each object, all of the same objects, such as
            mass and angle of all pairs; standardised by the real events.
        network: The network of each object.
        size: Columns of the sum.
    """

    observables: tuple[str, ...] = Field(min_length=1)
    network: NetworkConfig = MLPConfig(widths=(64, 64))
    size: int = Field(default=32, ge=1)


class CriticConfig(Config):
    """A network that tells real from generated events.

    Attributes:
        name: Its name in the history.
        latent: Whether it tells the noise that a likelihood model would make real events of from true noise,
            instead of generated from real events.
        features: Whether it sees the features, as the generator makes them.
        observables: Names of per-event observables that it sees, standardised by the real events.
        sets: Sets of objects that it sees.
        context: Whether it sees the context: conditions and the discrete part.
        network: Its network.
        loss: The adversarial loss: ``bce`` (non-saturating), ``bce_saturating``, ``lsgan``, ``wgan``
            (weights clipped) or ``wgan_gp`` (gradient penalty).
        weight: The factor of its term in the generator's loss.
        schedule: The part of the training in which its term counts; all of it if None. The critic itself
            learns until the end of this.
        warmup: The share of the training for which the critic learns before its schedule starts; from the
            start of the training if None.
        steps: Its steps for each step of the generator.
        gradient_penalty: The factor of its gradient penalty; the loss's usual one if None.
        r1: Twice the factor (usually called gamma) of the penalty on its slope at real events.
        clip: The largest magnitude of its parameters, 0 for no limit; the loss's usual one if None.
        optimiser: Its optimiser; the training's if None.
    """

    name: str = Field(default="critic", pattern="^[A-Za-z_][A-Za-z0-9_]*$")
    latent: bool = False
    features: bool = True
    observables: tuple[str, ...] = ()
    sets: tuple[SetConfig, ...] = ()
    context: bool = True
    network: NetworkConfig = MLPConfig(widths=(128, 128, 128))
    loss: str = "bce"
    weight: float = 1.0
    schedule: TermSchedule | None = None
    warmup: float | None = Field(default=None, ge=0.0)
    steps: int = Field(default=1, ge=1)
    gradient_penalty: float | None = Field(default=None, ge=0.0)
    r1: float = Field(default=0.0, ge=0.0)
    clip: float | None = Field(default=None, ge=0.0)
    optimiser: OptimiserConfig | None = None

    @model_validator(mode="after")
    def _check(self) -> CriticConfig:
        if not (self.features or self.observables or self.sets):
            msg = f"critic {self.name!r} sees nothing: give it features, observables or sets"
            raise ValueError(msg)
        if self.latent and not self.sees_features_alone:
            msg = f"critic {self.name!r} sees noise, which has no observables and no sets"
            raise ValueError(msg)
        if self.loss not in ADVERSARIAL:
            msg = f"unknown adversarial loss {self.loss!r}; there are {', '.join(sorted(ADVERSARIAL))}"
            raise ValueError(msg)
        return self

    @property
    def all_observables(self) -> tuple[str, ...]:
        """All observables that it sees in one way or another."""
        return (*self.observables, *(n for s in self.sets for n in s.observables))

    @property
    def sees_features_alone(self) -> bool:
        """Whether it sees features, and neither observables nor sets."""
        return self.features and not (self.observables or self.sets)


class GuidedConfig(Config):
    """What all models with critics and penalties have.

    Attributes:
        critics: Networks that tell real from generated events, each with a term in the loss.
        penalties: Terms of the loss on observables' distributions.
        optimiser: The optimiser of what makes events; the training's if None.
    """

    own: ClassVar[tuple[str, ...]] = ()
    """Names of the phase and of the terms that the model has of its own."""

    kind: str
    critics: tuple[CriticConfig, ...] = ()
    penalties: tuple[PenaltyConfig, ...] = ()
    optimiser: OptimiserConfig | None = None

    @model_validator(mode="after")
    def _names_are_unique(self) -> GuidedConfig:
        for names in ([c.name for c in self.critics], [p.name for p in self.penalties]):
            twice = sorted({n for n in names if names.count(n) > 1})
            if twice:
                msg = f"two critics or penalties are called {twice[0]!r}"
                raise ValueError(msg)
        taken = {*_TAKEN, *self.own}
        for critic in self.critics:
            if critic.name in taken:
                msg = f"a critic can't be called {critic.name!r}"
                raise ValueError(msg)
        taken |= {f"{c.name}_adversarial" for c in self.critics}
        for penalty in self.penalties:
            if penalty.name in taken:
                msg = f"a penalty can't be called {penalty.name!r}: the history has such a column"
                raise ValueError(msg)
        return self


class LikelihoodConfig(Config):
    """The term of a likelihood model by which it learns without critics and penalties.

    Attributes:
        weight: The factor of the term.
        schedule: The part of the training in which the term counts; all of it if None.
        reweighted_by: A critic by whose ratio of real to generated density each real event is weighted, in
            the part of the training that the critic's own schedule gives.
        power: The power of that ratio. With 1, what the model lacks counts more; -1 is the published form,
            whose gradient vanishes for a perfect critic, whatever the model.
    """

    weight: float = Field(default=1.0, ge=0.0)
    schedule: TermSchedule | None = None
    reweighted_by: str | None = None
    power: float = 1.0


class DensityConfig(GuidedConfig):
    """What all models with a likelihood have.

    Attributes:
        likelihood: The model's own term: the negative logarithm of the likelihood of a flow, the squared
            error of the velocity of flow matching.
        fakes: Events that are generated in each step for critics and penalties, which then see no more
            real ones; as many as there are in a batch if None.
    """

    likelihood: LikelihoodConfig = LikelihoodConfig()
    fakes: int | None = Field(default=None, ge=2)

    @model_validator(mode="after")
    def _weights_come_from_a_critic(self) -> DensityConfig:
        name = self.likelihood.reweighted_by
        if name is None:
            return self
        found = {c.name: c for c in self.critics}
        if name not in found:
            msg = f"the likelihood is reweighted by the critic {name!r}, which isn't there"
            raise ValueError(msg)
        if not found[name].loss.startswith("bce"):
            msg = f"the outputs of critic {name!r} are no ratios of densities: give it the loss bce"
            raise ValueError(msg)
        return self
