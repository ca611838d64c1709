"""What a generator does before and while it learns: from events and a recipe to trained parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import awkward as ak
import torch
from torch import Tensor

from hepgan.errors import InputError, RecipeError
from hepgan.events import EventBatch, EventSchema, schema_of, select, with_kinds
from hepgan.features import FeatureBatch, Representation
from hepgan.generator.conditions import Pool
from hepgan.generator.images import of_each_member, to_train_on
from hepgan.generator.members import DiscreteMembers, bootstrap, check_name, decoded_in_turn
from hepgan.generator.parts import Learned
from hepgan.generator.selection import NLL, evaluate, negative_log_likelihood
from hepgan.models import Decode, Ensemble, Model, build_model
from hepgan.models.discrete import DiscreteModel
from hepgan.observables import Observable
from hepgan.recipes import Derived, Recipe
from hepgan.training import History, Trainer, TrainingConfig, train_from_one

__all__ = ["MAX_POOL", "Prepared", "evaluation", "prepare", "schema_for", "split"]

MAX_POOL = 20_000
"""How many training events' conditions a model keeps, to draw from where none are given."""


@dataclass(frozen=True)
class Prepared:
    """All that training needs.

    Attributes:
        learned: The parts, whose model has not been trained yet.
        features: The N events as features.
        data: The features that the model is trained on.
        rows: Of an ensemble, the numbers of those that each member learns from.
        start: Of an ensemble with a common start, the one model that it begins as, and its features.
    """

    learned: Learned
    features: FeatureBatch
    data: FeatureBatch
    rows: list[Tensor] | None = None
    start: tuple[Model, FeatureBatch] | None = None

    def train(self, config: TrainingConfig, history: History, **options: Any) -> None:
        """Train the model; options are those of ``Trainer``."""
        model = self.learned.model
        if self.start is None or self.rows is None or not isinstance(model, Ensemble):
            Trainer(model, self.data, config, rows=self.rows, history=history, **options).run()
        else:
            train_from_one(*self.start, model, self.data, self.rows, config, history, **options)
        model.eval()


def schema_for(recipe: Recipe, events: ak.Array) -> EventSchema:
    """What of events a recipe learns.

    Raises:
        RecipeError: If the recipe is for other events.
    """
    wanted = recipe.events
    schema = wanted.layout or schema_of(events)
    try:
        if wanted.kinds:
            schema = with_kinds(schema, wanted.kinds)
        if wanted.weight:
            schema = schema.model_copy(update={"weight": wanted.weight})
        if wanted.select:
            kept = [*wanted.select, *wanted.derived, *recipe.conditions]
            kept += [] if schema.weight is None else [schema.weight]
            schema = select(schema, kept)
        if schema.weight is not None:
            schema.scalar(schema.weight)
    except (KeyError, ValueError) as error:
        reason = str(error.args[0]) if error.args else str(error)
        msg = f"the recipe is for other events: {reason}"
        raise RecipeError(msg, file=recipe.name) from error
    return schema


def prepare(
    recipe: Recipe,
    batch: EventBatch,
    derived: Derived,
    observables: Mapping[str, Observable],
    seed: int,
    device: torch.device,
) -> Prepared:
    """All parts but for the training of the model, which has fresh weights from torch's global generator.

    Args:
        recipe: The recipe.
        batch: The training events.
        derived: What the events hold.
        observables: The recipe's, by name.
        seed: Rules the bootstrap samples and the discrete part.
        device: Where to train.

    Raises:
        InputError: If the events cannot be used.
        RecipeError: If the recipe does not fit them.
    """
    representation = Representation(recipe.features, derived.learned, recipe.conditions)
    representation.fit(batch)
    if not representation.size:
        msg = f"nothing to learn: no continuous number varies in the training events ({len(batch)})"
        raise InputError(msg)
    features = representation.encode(batch)
    discrete: Any = DiscreteModel(representation.variables, representation.condition_size)
    members = recipe.training.members
    own: list[Representation] = []
    rows = None
    if members == 1:
        discrete.fit(features.discrete, features.condition, features.weight, generator=_rng(seed))
        smooth = to_train_on(representation, features, batch, _rng(seed))
    else:
        check_name(derived.schema, recipe.name)
        rows = bootstrap(len(features), members, _rng(seed))
        own = representation.resampled(batch, [torch.bincount(r, minlength=len(batch)) for r in rows])
        discrete = DiscreteMembers.fitted(discrete, features, rows, generator=_rng(seed))
        smooth, rows = of_each_member(own, batch, rows, _rng(seed))
    kept = torch.randperm(len(features), generator=_rng(seed))[:MAX_POOL]
    pool = Pool(features.condition[kept], None if features.given is None else features.given[kept])
    decode = derived.after(decoded_in_turn(own) if own else representation.decode)
    model = _model(recipe, representation, decode, observables, members)
    start = None
    if members > 1 and recipe.training.shared_start:
        one = _model(recipe, representation, derived.after(representation.decode), observables, 1)
        start = one, to_train_on(representation, features, batch, _rng(seed))
    for part in (representation, discrete, *own):
        part.to(device)
    learned = Learned(derived, representation, discrete, model, pool, device, tuple(own))
    return Prepared(learned, features, smooth, rows, start)


def _model(
    recipe: Recipe,
    representation: Representation,
    decode: Decode,
    observables: Mapping[str, Observable],
    members: int,
) -> Model:
    return build_model(
        recipe.model,
        representation.space,
        decode=decode,
        observables=observables,
        members=members,
    )


def evaluation(
    learned: Learned, names: tuple[str, ...], observables: Mapping[str, Observable], reference: EventBatch
) -> Callable[[Model], dict[str, float]]:
    """What a training evaluates: metrics of as many generated events as there are to compare with."""

    def metrics(model: Model) -> dict[str, float]:
        generated = next(learned.sampler(seed=0).iterate(len(reference), step=len(reference)))
        found = evaluate(names, observables, reference, generated)
        return found | ({NLL: negative_log_likelihood(learned, reference)} if NLL in names else {})

    return metrics


def split(size: int, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """The numbers of training events and of those that are kept apart, each in ascending order."""
    held = min(int(size * fraction), size - 1)
    order = torch.randperm(size, generator=_rng(seed))
    return order[held:].sort().values, order[:held].sort().values


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
