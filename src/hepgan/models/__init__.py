"""Models: distributions of features given their context, and the noise that they start from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hepgan.errors import RecipeError
from hepgan.features.space import FeatureSpace
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
    "by_member",
    "gaussian",
    "uniform",
]


def build_model(
    config: GANConfig | FlowConfig | FlowMatchingConfig | StudentConfig | RefinedConfig,
    space: FeatureSpace,
    *,
    decode: Decode | None = None,
    observables: Mapping[str, TensorObservable] | None = None,
    members: int = 1,
) -> Model:
    """The model that the recipe describes, with fresh weights from torch's global generator.

    Args:
        config: The recipe's choice.
        space: The features.
        decode: Events of features, differentiable in ``x`` (``Representation.decode``); None for features
            that stand for no events, as noise.
        observables: The recipe's observables by name.
        members: How many models; an :class:`Ensemble` of them if several.

    Raises:
        RecipeError: If a part of the model names an observable that isn't there, or a network of sets is
            chosen where there are no objects for it, or what is refined or distilled is to be an ensemble.
    """
    if members > 1:
        built = [
            build_model(config, space, decode=decode, observables=observables) for _ in range(members + 1)
        ]
        models = [one for one in built if isinstance(one, GAN | Flow | FlowMatching)]
        if len(models) <= members:
            msg = f"training.members: there are no ensembles of models of the kind {config.kind}"
            raise RecipeError(msg)
        return Ensemble(models[members], models[:members])
    if isinstance(config, RefinedConfig):
        model = build_model(config.model, space, decode=decode, observables=observables)
        return Refined(model, build_model(config.prior, space.of_noise(model.noise_size)))

    def no_events(features: object) -> object:
        msg = "these features are of noise, which stands for no events"
        raise RecipeError(msg)

    common: dict[str, Any] = {
        "size": space.size,
        "context_size": space.context_size,
        "decode": decode or no_events,
        "observables": observables or {},
    }
    if isinstance(config, GANConfig):
        return GAN(config, **common, tokens=space.tokens)
    if isinstance(config, StudentConfig):
        return Student(config, **common, periodic=space.periodic, tokens=space.tokens)
    if isinstance(config, FlowConfig):
        return Flow(config, **common, periodic=space.periodic)
    return FlowMatching(config, **common, periodic=space.periodic, tokens=space.tokens)
