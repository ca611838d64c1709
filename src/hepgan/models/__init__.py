"""Models: distributions of features given their context, and the noise that they start from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hepgan.errors import RecipeError
from hepgan.features.tokens import Tokens
from hepgan.models.base import Model, Phase
from hepgan.models.config import (
    CriticConfig,
    DensityConfig,
    FlowConfig,
    FlowMatchingConfig,
    GANConfig,
    GuidedConfig,
    LikelihoodConfig,
    ModelConfig,
    OptimiserConfig,
    RefinedConfig,
    SetConfig,
    StudentConfig,
)
from hepgan.models.critic import Critic
from hepgan.models.density import DensityModel
from hepgan.models.ensemble import Ensemble, by_member
from hepgan.models.flow import Flow
from hepgan.models.flow_matching import FlowMatching
from hepgan.models.gan import GAN
from hepgan.models.guided import GuidedModel
from hepgan.models.noise import BLOCK, gaussian, uniform
from hepgan.models.refined import Refined
from hepgan.models.student import Student
from hepgan.models.view import Decode, TensorObservable

__all__ = [
    "BLOCK",
    "GAN",
    "Critic",
    "CriticConfig",
    "Decode",
    "DensityConfig",
    "DensityModel",
    "Ensemble",
    "Flow",
    "FlowConfig",
    "FlowMatching",
    "FlowMatchingConfig",
    "GANConfig",
    "GuidedConfig",
    "GuidedModel",
    "LikelihoodConfig",
    "Model",
    "ModelConfig",
    "OptimiserConfig",
    "Phase",
    "Refined",
    "RefinedConfig",
    "SetConfig",
    "Student",
    "StudentConfig",
    "build_model",
    "build_prior",
    "by_member",
    "gaussian",
    "uniform",
]


def build_model(
    config: GANConfig | FlowConfig | FlowMatchingConfig | StudentConfig | RefinedConfig,
    *,
    size: int,
    context_size: int,
    decode: Decode,
    observables: Mapping[str, TensorObservable],
    periodic: Sequence[int] = (),
    tokens: Sequence[Tokens] | None = None,
    members: int = 1,
) -> Model:
    """The model that the recipe describes, with fresh weights from torch's global generator.

    Args:
        config: The recipe's choice.
        size: Number of features D.
        context_size: Columns of the context C.
        decode: Events of features, differentiable in ``x`` (``Representation.decode``).
        observables: The recipe's observables by name.
        periodic: Numbers of the features that are angles in (-pi, pi] (``Representation.periodic``).
        tokens: Which features belong to which object (``Representation.tokens``), for networks of sets.
        members: How many models; an :class:`Ensemble` of them if several.

    Raises:
        RecipeError: If a part of the model names an observable that isn't there, or a network of sets is
            chosen where there are no objects for it, or what is refined or distilled is to be an ensemble.
    """
    if members > 1:
        options: Any = {"periodic": periodic, "tokens": tokens, "decode": decode, "observables": observables}
        built = [
            build_model(config, size=size, context_size=context_size, **options) for _ in range(members + 1)
        ]
        models = [one for one in built if isinstance(one, GAN | Flow | FlowMatching)]
        if len(models) <= members:
            msg = f"training.members: there are no ensembles of models of the kind {config.kind}"
            raise RecipeError(msg)
        return Ensemble(models[members], models[:members])
    common: dict[str, Any] = {
        "size": size,
        "context_size": context_size,
        "decode": decode,
        "observables": observables,
    }
    if isinstance(config, RefinedConfig):
        model = build_model(config.model, **common, periodic=periodic, tokens=tokens)
        own = tokens if model.noise_size == size else None
        return Refined(model, build_prior(config.prior, model.noise_size, context_size, tokens=own))
    if isinstance(config, GANConfig):
        return GAN(config, **common, tokens=tokens)
    if isinstance(config, StudentConfig):
        return Student(config, **common, periodic=periodic, tokens=tokens)
    if isinstance(config, FlowConfig):
        return Flow(config, **common, periodic=periodic)
    return FlowMatching(config, **common, periodic=periodic, tokens=tokens)


def build_prior(
    config: FlowConfig | FlowMatchingConfig,
    size: int,
    context_size: int,
    *,
    tokens: Sequence[Tokens] | None = None,
) -> Model:
    """A prior of a model's noise, with fresh weights from torch's global generator.

    Args:
        config: The recipe's choice.
        size: Noise per event.
        context_size: Columns of the context C.
        tokens: Which numbers of the noise belong to which object, where each feature has its noise.
    """

    def no_events(features: object) -> object:
        msg = "a prior is of noise, which stands for no events"
        raise RecipeError(msg)

    return build_model(
        config, size=size, context_size=context_size, decode=no_events, observables={}, tokens=tokens
    )
