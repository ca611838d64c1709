"""Models: distributions of features given their context, and the noise that they start from."""

from __future__ import annotations

from collections.abc import Sequence as Several

from hepgan.errors import RecipeError
from hepgan.features.space import FeatureSpace
from hepgan.models.autoencoder import Autoencoder
from hepgan.models.base import DensityModel, Model
from hepgan.models.config import (
    AutoencoderConfig,
    AuxiliaryConfig,
    CriticConfig,
    DensityConfig,
    FlipsConfig,
    FlowConfig,
    FlowMatchingConfig,
    GANConfig,
    GuidedConfig,
    LikelihoodConfig,
    ModelConfig,
    OptimiserConfig,
    RefinedConfig,
    SequenceConfig,
    SetConfig,
    StudentConfig,
)
from hepgan.models.direct import GAN, Student
from hepgan.models.ensemble import Ensemble, InOne, by_member
from hepgan.models.flow import Flow
from hepgan.models.flow_matching import FlowMatching
from hepgan.models.noise import BLOCK, gaussian, uniform
from hepgan.models.refined import Refined
from hepgan.models.sequence import Sequence

__all__ = [
    "BLOCK",
    "GAN",
    "Autoencoder",
    "AutoencoderConfig",
    "AuxiliaryConfig",
    "CriticConfig",
    "DensityConfig",
    "DensityModel",
    "Ensemble",
    "FlipsConfig",
    "Flow",
    "FlowConfig",
    "FlowMatching",
    "FlowMatchingConfig",
    "GANConfig",
    "GuidedConfig",
    "InOne",
    "LikelihoodConfig",
    "Model",
    "ModelConfig",
    "OptimiserConfig",
    "Refined",
    "RefinedConfig",
    "Sequence",
    "SequenceConfig",
    "SetConfig",
    "Student",
    "StudentConfig",
    "build_model",
    "by_member",
    "ensemble_of",
    "gaussian",
    "uniform",
]


def build_model(
    config: ModelConfig,
    space: FeatureSpace,
    *,
    members: int = 1,
) -> Model:
    """The model that the recipe describes, with fresh weights.

    Args:
        config: The recipe's choice.
        space: The features.
        members: How many models; an :class:`Ensemble` of them if several.

    Raises:
        RecipeError: If a network of sets is chosen where there are no objects for it, or what is refined or
            distilled is to be an ensemble.
    """
    if members > 1:
        return ensemble_of([build_model(config, space) for _ in range(members + 1)])
    if space.cells is not None and not isinstance(config, SequenceConfig | RefinedConfig):
        msg = f"a model of kind {config.kind} can't learn lists of cells: choose the kind sequence"
        raise RecipeError(msg)
    match config:
        case SequenceConfig():
            return Sequence(config, space)
        case RefinedConfig():
            model = build_model(config.model, space)
            return Refined.of(model, build_model(config.prior, space.of_noise(model.noise_size)))
        case GANConfig():
            return GAN(config, space)
        case StudentConfig():
            return Student(config, space)
        case FlowConfig():
            return Flow(config, space)
        case FlowMatchingConfig():
            return FlowMatching(config, space)
        case AutoencoderConfig():
            return Autoencoder(config, space)


def ensemble_of(models: Several[Model]) -> Ensemble:
    """An ensemble of models of one kind but for the last, which becomes that of all of them together.

    Raises:
        RecipeError: If there are no ensembles of such models.
    """
    for model in models:
        if not isinstance(model, GAN | Flow | FlowMatching | Autoencoder):
            kind = type(model).__name__.lower()
            msg = f"training.members: there are no ensembles of models of the kind {kind}"
            raise RecipeError(msg)
    return Ensemble(models[-1], models[:-1])
