"""What a recipe can say of its model, and of how that learns: optimisers, critics, likelihoods."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from hepgan.config import Settings
from hepgan.networks import MinibatchConfig, MLPConfig, NetworkConfig, ResidualConfig
from hepgan.objectives import ADVERSARIAL, PenaltyConfig, TermSchedule

__all__ = [
    "AutoencoderConfig",
    "AuxiliaryConfig",
    "CriticConfig",
    "DensityConfig",
    "FlipsConfig",
    "FlowConfig",
    "FlowMatchingConfig",
    "GANConfig",
    "GuidedConfig",
    "LikelihoodConfig",
    "ModelConfig",
    "OptimiserConfig",
    "RefinedConfig",
    "SequenceConfig",
    "SetConfig",
    "StudentConfig",
]


Kept = Annotated[float, Field(ge=0.0, lt=1.0)]
"""How much of a running mean each step keeps."""

SolverSteps = Annotated[int, Field(ge=1, le=10_000)]
"""Steps from noise to events."""

Frequencies = Annotated[int, Field(ge=0, le=1000)]

_TAKEN = ("total", "gradient")
"""Columns that the history has beside those of a phase's terms."""


class OptimiserConfig(Settings):
    """How parameters follow their gradient.

    Attributes:
        kind: The algorithm. ``muon`` moves weight matrices by orthogonal ones, and everything else as
            ``adamw`` does with the same numbers.
        lr: The learning rate, before any schedule.
        betas: Decay of Adam's running means of gradient and square.
        rho: Kept of the running mean of squares of ``adadelta`` (its rho) and ``rmsprop`` (its alpha).
        eps: Added to denominators; the algorithm's own default if None.
        weight_decay: Pull of the parameters to 0.
    """

    kind: Literal["adam", "adamw", "muon", "adadelta", "rmsprop"] = "adam"
    lr: float = Field(default=1e-3, gt=0.0, le=1e6)
    betas: tuple[Kept, Kept] = (0.9, 0.999)
    rho: Kept = 0.95
    eps: float | None = Field(default=None, gt=0.0, le=1.0)
    weight_decay: float = Field(default=0.0, ge=0.0, le=1e6)


class SetConfig(Settings):
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
    size: int = Field(default=32, ge=1, le=65_536)


class AuxiliaryConfig(Settings):
    """A number of the event whose class a critic is to tell, as what makes events is to make it tell.

    Attributes:
        variable: A condition that is a category, or a discrete variable.
        critic: The factor of the critic's term, for real and generated events.
        maker: The factor of the term of what makes events, beside the critic's own ``weight``.
    """

    variable: str
    critic: float = Field(default=1.0, ge=0.0)
    maker: float = Field(default=1.0, ge=0.0)


Share = Annotated[float, Field(ge=0.0, lt=0.5)]


class FlipsConfig(Settings):
    """What a critic is told wrongly, so that it does not become too sure.

    Attributes:
        real: Share of the real events that it is told are generated.
        generated: Share of the generated events that it is told are real.
        auxiliary: Share of the generated events that have another class than theirs, for the critic and for
            what makes events.
    """

    real: Share = 0.0
    generated: Share = 0.0
    auxiliary: Share = 0.0


class CriticConfig(Settings):
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
        auxiliary: Conditions and discrete variables whose class it tells, too.
        minibatch: How it sees whether the events of a batch are too much alike; not at all if None.
        flips: What it is told wrongly.
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
    weight: float = Field(default=1.0, ge=0.0)
    schedule: TermSchedule | None = None
    warmup: float | None = Field(default=None, ge=0.0, le=1.0)
    steps: int = Field(default=1, ge=1, le=10_000)
    gradient_penalty: float | None = Field(default=None, ge=0.0)
    r1: float = Field(default=0.0, ge=0.0)
    clip: float | None = Field(default=None, ge=0.0)
    auxiliary: tuple[AuxiliaryConfig, ...] = ()
    minibatch: MinibatchConfig | None = None
    flips: FlipsConfig = FlipsConfig()
    optimiser: OptimiserConfig | None = None

    @field_validator("auxiliary", mode="before")
    @classmethod
    def _names_are_enough(cls, value: Any) -> Any:
        listed = [value] if isinstance(value, str) else value
        if not isinstance(listed, list | tuple):
            return value
        return [{"variable": v} if isinstance(v, str) else v for v in listed]

    @model_validator(mode="after")
    def _check(self) -> CriticConfig:
        names = [a.variable for a in self.auxiliary]
        if len(set(names)) < len(names):
            msg = f"critic {self.name!r}: auxiliary names a variable twice"
            raise ValueError(msg)
        if self.auxiliary and self.context:
            msg = (
                f"critic {self.name!r} is told {names[0]} with the context, so there is nothing for it to "
                "tell: say context: false"
            )
            raise ValueError(msg)
        if self.flips.auxiliary and not self.auxiliary:
            msg = f"critic {self.name!r}: flips of auxiliary classes, and it has none"
            raise ValueError(msg)
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


class GuidedConfig(Settings):
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


class LikelihoodConfig(Settings):
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
    power: float = Field(default=1.0, ge=-10.0, le=10.0)


class DensityConfig(GuidedConfig):
    """What all models with a likelihood have.

    Attributes:
        likelihood: The model's own term: the negative logarithm of the likelihood of a flow, the squared
            error of the velocity of flow matching.
        fakes: Events that are generated in each step for critics and penalties, which then see no more
            real ones; as many as there are in a batch if None.
    """

    likelihood: LikelihoodConfig = LikelihoodConfig()
    fakes: int | None = Field(default=None, ge=2, le=10_000_000)

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


class GANConfig(GuidedConfig):
    """A generator trained against critics.

    Attributes:
        generator: The generator's network, whose output has no nonlinearity.
        noise: Random numbers per event; as many as there are features if None. With 0 the features are a
            function of the context.
        conditioning: How the generator is told the context: ``joined`` to the noise, or as a factor for each
            number of the noise, which is linear in the context (``product``: of classes an embedding).
        critics: One or more critics.
        penalties: Terms of the generator's loss on observables' distributions.
        optimiser: The generator's optimiser; the training's if None.
    """

    own: ClassVar[tuple[str, ...]] = ("generator",)

    kind: Literal["gan"] = "gan"
    generator: NetworkConfig = MLPConfig(widths=(128, 128, 128))
    noise: int | None = Field(default=None, ge=0, le=65_536)
    conditioning: Literal["joined", "product"] = "joined"
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
    blocks: int = Field(default=8, ge=1, le=1000)
    layer: Literal["coupling", "autoregressive"] = "coupling"
    transform: Literal["spline", "affine"] = "spline"
    bins: int = Field(default=10, ge=2, le=500)
    bound: float = Field(default=5.0, ge=1e-2, le=1e4)
    clamp: float = Field(default=5.0, ge=1e-3, le=80.0)
    rotations: Literal["learned", "random", "none"] = "none"
    network: NetworkConfig = MLPConfig(widths=(128, 128, 128))
    optimiser: OptimiserConfig | None = None

    @model_validator(mode="after")
    def _network_can_be_masked(self) -> FlowConfig:
        network = self.network
        if network.kind == "grid":
            msg = "the layers of a flow see some of the features, which are no image: choose mlp or residual"
            raise ValueError(msg)
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
    time_frequencies: Frequencies = 8
    time: Literal["uniform", "logit_normal"] = "uniform"
    solver: Literal["euler", "midpoint", "heun"] = "midpoint"
    steps: SolverSteps = 8
    grid: float = Field(default=1.0, ge=1e-2, le=100.0)
    optimiser: OptimiserConfig | None = None


class AutoencoderConfig(GuidedConfig):
    """A network that makes codes of events, and one that makes events of codes.

    Attributes:
        encoder: The network that makes codes of features.
        decoder: The network that makes features of codes, whose output has no nonlinearity.
        latent: Numbers of a code; as many as there are features if None.
        match: How codes of real events become normal noise: ``kl`` (each event's codes are a normal
            distribution, as in a variational autoencoder) or ``sliced_wasserstein`` (each event has one
            code, and all of them together are compared with noise).
        beta: The factor of the term that does so.
        directions: Random directions of the sliced Wasserstein distance, drawn anew in each step.
        observation: Whether features spread normally around what the decoder makes, by a standard deviation
            of each feature (``learned``), or are that itself (``none``).
        critics: Networks that tell real from generated events.
        penalties: Terms of the loss on observables' distributions.
        optimiser: The optimiser; the training's if None.
    """

    own: ClassVar[tuple[str, ...]] = ("autoencoder", "reconstruction", "codes")

    kind: Literal["autoencoder"] = "autoencoder"
    encoder: NetworkConfig = ResidualConfig(width=192, blocks=3)
    decoder: NetworkConfig = ResidualConfig(width=192, blocks=3)
    latent: int | None = Field(default=None, ge=1, le=65_536)
    match: Literal["kl", "sliced_wasserstein"] = "kl"
    beta: float = Field(default=1.0, ge=0.0, le=1e6)
    directions: int = Field(default=64, ge=1, le=65_536)
    observation: Literal["learned", "none"] = "learned"

    @model_validator(mode="after")
    def _noise_is_not_found(self) -> AutoencoderConfig:
        for critic in self.critics:
            if critic.latent:
                msg = f"critic {critic.name!r} can't see the noise of real events: an autoencoder has none"
                raise ValueError(msg)
        return self


class SequenceConfig(DensityConfig):
    """A causal network that makes a list of cells one after another (features of kind ``cells``).

    Attributes:
        flow: The flow of all other features.
        width: Columns of each cell in the network.
        blocks: How many times cells learn of those before them.
        components: Logistic distributions in the mixture of a content.
        optimiser: The optimiser; the training's if None.
    """

    own: ClassVar[tuple[str, ...]] = ("sequence", "likelihood")

    kind: Literal["sequence"] = "sequence"
    flow: FlowConfig = FlowConfig(blocks=4, network=MLPConfig(widths=(64, 64), activation="silu"))
    width: int = Field(default=96, ge=1, le=65_536)
    blocks: int = Field(default=3, ge=1, le=1000)
    components: int = Field(default=8, ge=1, le=1000)
    optimiser: OptimiserConfig | None = None

    @model_validator(mode="after")
    def _learns_by_likelihood_alone(self) -> SequenceConfig:
        guides = [*(c.name for c in self.critics), *(p.name for p in self.penalties)]
        guides += [*(c.name for c in self.flow.critics), *(p.name for p in self.flow.penalties)]
        if guides:
            msg = f"{guides[0]!r}: no gradient leads from a critic or penalty through which cells are filled"
            raise ValueError(msg)
        return self


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
    steps: SolverSteps = 1
    time_frequencies: Frequencies = 4

    @model_validator(mode="after")
    def _there_is_no_latent_space(self) -> StudentConfig:
        for critic in self.critics:
            if critic.latent:
                msg = f"critic {critic.name!r} can't see the noise of events: a student has no likelihood"
                raise ValueError(msg)
        return self


class RefinedConfig(Settings):
    """A trained model, and a prior of its noise that makes its events better (``hepgan refine``).

    Attributes:
        model: What makes events of noise.
        prior: What makes that noise, instead of a normal distribution.
    """

    kind: Literal["refined"] = "refined"
    model: Annotated[
        GANConfig | FlowConfig | FlowMatchingConfig | SequenceConfig | AutoencoderConfig | StudentConfig,
        Field(discriminator="kind"),
    ]
    prior: Annotated[FlowConfig | FlowMatchingConfig, Field(discriminator="kind")] = FlowConfig(
        blocks=4, network=MLPConfig(widths=(64, 64), activation="silu")
    )

    @property
    def own(self) -> tuple[str, ...]:
        """Names of the phase and of the terms that the model has of its own."""
        return self.model.own


ModelConfig = Annotated[
    GANConfig
    | FlowConfig
    | FlowMatchingConfig
    | SequenceConfig
    | AutoencoderConfig
    | StudentConfig
    | RefinedConfig,
    Field(discriminator="kind"),
]
"""Any model, told apart by ``kind``."""
