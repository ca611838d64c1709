"""Learners: what training needs besides a model, of which models know nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from torch import nn

from hepgan.errors import RecipeError
from hepgan.features.space import FeatureSpace
from hepgan.learners.autoencoder import AutoencoderLearner
from hepgan.learners.base import Learner, Phase
from hepgan.learners.critic import Critic, Critics, Decode, Observed, TensorObservable
from hepgan.learners.discrete import fit_discrete
from hepgan.learners.guides import AdversarialLearner, GuidedLearner, Scene, new_critics
from hepgan.learners.likelihood import (
    DensityLearner,
    FlowLearner,
    FlowMatchingLearner,
    SequenceLearner,
    StudentLearner,
)
from hepgan.models import (
    AutoencoderConfig,
    Ensemble,
    FlowConfig,
    FlowMatchingConfig,
    GANConfig,
    Model,
    ModelConfig,
    Refined,
    RefinedConfig,
    SequenceConfig,
    StudentConfig,
    build_model,
    ensemble_of,
)

__all__ = [
    "AdversarialLearner",
    "AutoencoderLearner",
    "Critic",
    "Critics",
    "Decode",
    "DensityLearner",
    "FlowLearner",
    "FlowMatchingLearner",
    "GuidedLearner",
    "Learner",
    "Observed",
    "Phase",
    "Scene",
    "SequenceLearner",
    "StudentLearner",
    "TensorObservable",
    "build_critics",
    "build_learner",
    "fit_discrete",
    "new_critics",
    "new_learner",
]

_KINDS: dict[type, type[GuidedLearner]] = {
    GANConfig: AdversarialLearner,
    FlowConfig: FlowLearner,
    FlowMatchingConfig: FlowMatchingLearner,
    SequenceConfig: SequenceLearner,
    AutoencoderConfig: AutoencoderLearner,
    StudentConfig: StudentLearner,
}


def build_critics(config: ModelConfig, model: Model) -> nn.ModuleList | Critics:
    """The critics of a model, or of all members of an ensemble, with fresh weights.

    Those of a refined model are those of the model that it was made of.

    Args:
        config: The recipe's choice.
        model: The model.
    """
    if isinstance(config, RefinedConfig):
        return build_critics(config.model, cast("Refined", model).model)

    def new() -> nn.ModuleList:
        space = model.space
        limit = _KINDS[type(config)].critics_limit
        return new_critics(config, space.size, model.noise_size, space.context_size, limit, space=space)

    if not isinstance(model, Ensemble):
        return new()
    return Critics(new(), [new() for _ in range(model.members)])


def build_learner(
    config: ModelConfig,
    model: Model,
    decode: Decode | None = None,
    observables: Mapping[str, TensorObservable] | None = None,
    critics: nn.ModuleList | Critics | None = None,
) -> Learner:
    """By what a model learns, as the recipe describes it.

    Args:
        config: The recipe's choice, by which the model was built.
        model: The model.
        decode: Events of features, differentiable in ``x``; None for features that stand for no events, as
            noise.
        observables: The recipe's observables by name.
        critics: Trained critics; new ones if None.

    Raises:
        RecipeError: If a critic or a penalty names an observable that isn't there, or the model is a refined
            one.
    """
    if isinstance(config, RefinedConfig):
        msg = "a refined model does not learn from events: train a model, and refine that (hepgan refine)"
        raise RecipeError(msg)
    critics = build_critics(config, model) if critics is None else critics
    return _KINDS[type(config)](config, model, decode or _no_events, observables or {}, critics)


def new_learner(
    config: ModelConfig,
    space: FeatureSpace,
    decode: Decode | None = None,
    observables: Mapping[str, TensorObservable] | None = None,
    *,
    members: int = 1,
) -> Learner:
    """A new model and by what it learns, both with fresh weights.

    Args:
        config: The recipe's choice.
        space: The features.
        decode: Events of features, differentiable in ``x``; None for features that stand for no events.
        observables: The recipe's observables by name.
        members: How many models; an ensemble of them if several.

    Raises:
        RecipeError: As ``build_model`` and ``build_learner``.
    """
    if members == 1:
        return build_learner(config, build_model(config, space), decode, observables)
    # Each member gets its weights before the next one does.
    models, critics = [], []
    for _ in range(members + 1):
        models.append(build_model(config, space))
        critics.append(cast("nn.ModuleList", build_critics(config, models[-1])))
    together = Critics(critics[members], critics[:members])
    return build_learner(config, ensemble_of(models), decode, observables, together)


def _no_events(features: object) -> object:
    msg = "these features are of noise, which stands for no events"
    raise RecipeError(msg)
