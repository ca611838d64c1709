"""What a generator does before and while it learns: from events and a recipe to trained parts."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import awkward as ak
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgan.errors import InputError, RecipeError
from hepgan.events import EventBatch, EventSchema, schema_of, select, weighted_by, with_grids, with_kinds
from hepgan.features import Representation
from hepgan.generator.conditions import Pool
from hepgan.generator.encoding import Encoding
from hepgan.generator.ensembles import DiscreteMembers, bootstrap, check_name, decoded_in_turn
from hepgan.generator.parts import Parts
from hepgan.generator.sampling import Purpose, Sampler
from hepgan.learners import Learner, fit_discrete, new_learner
from hepgan.models import DensityModel, Model
from hepgan.models.discrete import DiscreteModel
from hepgan.observables import Observable
from hepgan.recipes import Derived, Recipe
from hepgan.stats.distances import ks, wasserstein_scaled
from hepgan.training import History, Portions, SelectionConfig, Trainer, TrainingConfig, train_from_one

__all__ = [
    "METRICS",
    "NLL",
    "Prepared",
    "derived_of",
    "evaluate",
    "evaluation",
    "identity",
    "metric_names",
    "negative_log_likelihood",
    "prepare",
    "redrawn",
    "schema_for",
    "split",
    "summarise",
]

Sample = tuple[NDArray[np.float64], NDArray[np.float64]]

METRICS: dict[str, tuple[Callable[..., float], float]] = {
    "ks": (ks, 1.0),
    "wasserstein": (wasserstein_scaled, math.inf),
}
"""What ``training.selection`` may ask for, as ``ks:m_mumu``, and the worst value of each."""

_DISCRETE = (0.3, 0.75)
"""About how much of a preparation is done before its discrete part is learned, and after it."""

NLL = "nll"
"""The metric of models with a likelihood that needs no generated events."""


@dataclass(frozen=True)
class Prepared:
    """All that training needs.

    Attributes:
        parts: What will have learned, whose model has not been trained yet.
        learner: By what that learns.
        digest: A digest of all numbers of the training events as features.
        data: The features that the model is trained on.
        start: Of an ensemble with a common start, what trains the model that it begins as, and its features.
        left_out: How many events of later portions are not like any of the first one, and left out.
    """

    parts: Parts
    learner: Learner
    digest: str
    data: Portions
    start: tuple[Learner, Portions] | None = None
    left_out: int = 0

    def train(self, config: TrainingConfig, history: History, **options: Any) -> None:
        """Train the model; options are those of ``Trainer``."""
        learner = self.learner
        if self.start is None:
            Trainer(learner, self.data, config, history=history, **options).run()
        else:
            train_from_one(*self.start, learner, self.data, config, history, **options)
        learner.eval()


def schema_for(recipe: Recipe, events: ak.Array) -> EventSchema:
    """What of events a recipe learns.

    Raises:
        RecipeError: If the recipe is for other events.
    """
    wanted = recipe.events
    schema = wanted.layout or schema_of(events)
    try:
        if wanted.unit is not None:
            schema = schema.model_copy(update={"unit": wanted.unit})
        elif schema.unit != "GeV":
            _warn_of_units(recipe, schema)
        schema = with_grids(schema, wanted.grids)
        if wanted.kinds:
            schema = with_kinds(schema, wanted.kinds)
        named = [*wanted.select, *wanted.derived, *recipe.conditions]
        schema = weighted_by(schema, wanted.weight, keep=named)
        if wanted.select:
            schema = select(schema, named if schema.weight is None else [*named, schema.weight])
    except (KeyError, ValueError) as error:
        reason = str(error.args[0]) if error.args else str(error)
        msg = f"the recipe is for other events: {reason}"
        raise RecipeError(msg, file=recipe.name) from error
    return schema


def derived_of(recipe: Recipe, schema: EventSchema) -> Derived:
    """What is computed instead of learned, of events of a schema."""
    events = recipe.events
    return Derived(schema, events.derived, signs=events.signs, preparation=events.preparation)


def _warn_of_units(recipe: Recipe, schema: EventSchema) -> None:
    """Tells that a recipe seems to be for events in GeV, which these are not."""
    named = [name for name, o in recipe.observables.items() if "GeV" in o.unit]
    if named:
        message = (
            f"the events are in {schema.unit}, but the recipe says GeV (of {', '.join(named[:3])}): its "
            f"ranges, bounds and masses may be, too; `events.unit: {schema.unit}` in the recipe says that "
            "they are not"
        )
        warnings.warn(message, UserWarning, stacklevel=3)


def prepare(
    recipe: Recipe,
    batch: EventBatch,
    derived: Derived,
    observables: Mapping[str, Observable],
    seed: int,
    device: torch.device,
    *,
    others: Sequence[Callable[[], EventBatch]] = (),
    folder: Path | None = None,
    told: Callable[[float, str], None] | None = None,
) -> Prepared:
    """All parts but for the training of the model, which has fresh weights.

    Args:
        recipe: The recipe.
        batch: The training events, or the first portion of them, by which all is learned but the model.
        derived: What the events hold.
        observables: The recipe's, by name.
        seed: Rules the bootstrap samples and the discrete part.
        device: Where to train.
        others: What gives the other portions, each called once.
        folder: Where encoded portions are to be, if there are several.
        told: Is told what begins, and how much (0 to 1) is done before.

    Raises:
        InputError: If the events cannot be used.
        RecipeError: If the recipe does not fit them.
        OutputError: If a portion cannot be written.
    """
    tell, parts = told or _untold, 1 + len(others)

    def tell_of_first(done: float, what: str) -> None:
        tell(done / parts, what)

    tell_of_first(0.0, "the representation")
    representation = Representation(recipe.features, derived.learned, recipe.conditions)
    representation.fit(batch)
    if not representation.size:
        msg = f"nothing to learn: no continuous number varies in the training events ({len(batch)})"
        raise InputError(msg)
    tell_of_first(0.2, "features")
    features = representation.encode(batch)
    representation.take_reach(features)
    variables = representation.variables
    tell_of_first(_DISCRETE[0], "the discrete part")

    def fitted(number: int, groups: int) -> None:
        low, high = _DISCRETE
        tell_of_first(low + (high - low) * number / groups, f"the discrete part, {number} of {groups} groups")

    discrete: DiscreteModel | DiscreteMembers
    members = recipe.training.members
    own: list[Representation] = []
    rows: list[Tensor] = []
    if members == 1:
        discrete = fit_discrete(
            variables,
            features.discrete,
            features.condition,
            features.weight,
            generator=_rng(seed),
            told=fitted,
        )
    else:
        check_name(derived.schema, recipe.name)
        rows = bootstrap(len(features), members, _rng(seed))
        own = representation.resampled(batch, [torch.bincount(r, minlength=len(batch)) for r in rows])
        discrete = DiscreteMembers.fitted(variables, features, rows, generator=_rng(seed), told=fitted)
    what = "images beyond edges" if members == 1 else "features of each member"
    tell_of_first(_DISCRETE[1], what)
    shared = members > 1 and bool(recipe.training.shared_start)
    encoding = Encoding(representation, own, shared=shared, folder=folder if others else None)
    encoding.add(features, batch, rows, seed)
    pool = Pool.of(features.condition, features.weight, features.given, _rng(seed))
    del features, batch
    for k, events in enumerate(others, 1):
        tell(k / parts, f"portion {k + 1} of {parts}")
        encoding.add_portion(events(), seed + k)
    decode = derived.after(decoded_in_turn(own) if own else representation.decode)
    learner = new_learner(recipe.model, representation.space, decode, observables, members=members)
    start = None
    if encoding.common is not None:
        decode = derived.after(representation.decode)
        start = new_learner(recipe.model, representation.space, decode, observables), encoding.common
    for part in (representation, discrete, *own):
        part.to(device)
    model, critics = learner.model, learner.critics
    found = Parts(derived, representation, discrete, model, pool, device, tuple(own), critics)
    tell(1.0, "done")
    return Prepared(found, learner, encoding.digest, encoding.data, start, encoding.left_out)


def split(size: int, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """The numbers of training events and of those that are kept apart, each in ascending order."""
    held = min(int(size * fraction), size - 1)
    order = torch.randperm(size, generator=_rng(seed))
    return order[held:].sort().values, order[:held].sort().values


# ---------------------------------------------------------------------- choosing and summing up


def metric_names(
    selection: SelectionConfig | None,
    observables: Mapping[str, Observable],
    recipe: str,
    *,
    likelihood: bool = False,
) -> tuple[str, ...]:
    """The metrics that a recipe selects by: those that it names, or ``ks`` of every observable.

    Args:
        selection: What the recipe says.
        observables: Its observables.
        recipe: Its name.
        likelihood: Whether its model has a likelihood.

    Raises:
        RecipeError: If one does not exist, or there is none.
    """
    if selection is None:
        return ()
    names = selection.metrics or tuple(f"ks:{name}" for name in observables)
    if not names:
        msg = "training.selection: there are no metrics, and no observables to make some from"
        raise RecipeError(msg, file=recipe)
    for metric in names:
        kind, _, name = metric.partition(":")
        if metric == NLL and likelihood:
            continue
        if kind not in METRICS or name not in observables:
            there = ", ".join(observables) or "the observables (there are none)"
            msg = (
                f"training.selection: {metric!r} is not a metric; write {' or '.join(METRICS)}, "
                f"a colon, and one of {there}" + (f"; or {NLL}" if likelihood else "")
            )
            raise RecipeError(msg, file=recipe)
    return names


def evaluate(
    names: tuple[str, ...],
    observables: Mapping[str, Observable],
    reference: EventBatch,
    generated: EventBatch,
) -> dict[str, float]:
    """The metrics of generated events; the worst value where a model makes nothing to compare.

    An observable that the reference events lack, or that has no positive sum of weights there, counts 0. The
    likelihood is not among them.
    """
    values = {}
    for metric in names:
        if metric == NLL:
            continue
        kind, _, name = metric.partition(":")
        distance, worst = METRICS[kind]
        (a, weight_a), (b, weight_b) = (
            _sample(observables[name], reference),
            _sample(observables[name], generated),
        )
        if not weight_a.sum() > 0:
            values[metric] = 0.0
        elif not weight_b.sum() > 0:
            values[metric] = worst
        else:
            values[metric] = distance(a, b, weight_a, weight_b)
    return values


@torch.no_grad()
def negative_log_likelihood(parts: Parts, reference: EventBatch) -> float:
    """The mean of - log p of the continuous features of events, of those that the model can make.

    Members of an ensemble have features of their own, so their p is of the columns that these are made of.
    """
    members = [parts.member(k) for k in range(parts.members)]
    reference = parts.derived.signed(reference)
    encoded = [m.representation.encode_possible(reference.to(parts.device)) for m in members]
    possible = torch.stack([p for _, p in encoded]).all(0)
    weight = torch.ones(len(reference)) if reference.weight is None else reference.weight
    weight = weight.to(parts.device, torch.float64)[possible]
    if not float(weight.sum()) > 0.0:
        return 0.0
    each = []
    for member, (features, _) in zip(members, encoded, strict=True):
        there = features[possible]
        seen = there.to(parts.device, torch.float32)
        model = cast("DensityModel", member.model)
        found = model.log_prob(seen.x, seen.context, seen.mask).double()
        each.append(found if len(members) == 1 else found + member.representation.log_abs_det(there))
    log_prob = torch.logsumexp(torch.stack(each), 0) - math.log(len(each))
    return float(-(weight * log_prob).sum() / weight.sum())


def redrawn(parts: Parts, seed: int) -> dict[str, dict[str, float]]:
    """The shares of generated events that are drawn anew, as the summary of a training has them."""
    shares = Sampler(parts, seed=Purpose.EVALUATION.seed(seed)).redrawn()
    told = bool(parts.representation.restrictions) or any(shares.values())
    return {"redrawn": shares} if told else {}


def _sample(observable: Observable, events: EventBatch) -> Sample:
    """Values and weights of what exists and is finite; a model early in its training makes infinities."""
    flat = observable.flat(events)
    x = flat.values.cpu().numpy().astype(np.float64)
    ones = torch.ones(len(events), dtype=torch.float64, device=flat.index.device)
    weight = flat.full_weight(ones if events.weight is None else events.weight)
    weight = weight.cpu().numpy().astype(np.float64)
    finite = np.isfinite(x) & np.isfinite(weight)
    return x[finite], weight[finite]


def evaluation(
    parts: Parts, names: tuple[str, ...], observables: Mapping[str, Observable], reference: EventBatch
) -> Callable[[Model], dict[str, float]]:
    """What a training evaluates: metrics of as many generated events as there are to compare with."""

    def metrics(model: Model) -> dict[str, float]:
        sampler = Sampler(parts, seed=Purpose.EVALUATION.seed(0))
        generated = next(sampler.iterate(len(reference), step=len(reference)))
        found = evaluate(names, observables, reference, generated)
        return found | ({NLL: negative_log_likelihood(parts, reference)} if NLL in names else {})

    return metrics


def identity(recipe: Recipe, max_time: float | None, **more: Any) -> dict[str, Any]:
    """What tells a training from another one, as ``Trainer`` takes it.

    Args:
        recipe: The recipe, whose name and description decide nothing.
        max_time: The limit of time instead of the recipe's; None for that of the recipe.
        more: What else decides what is learned.
    """
    settings = recipe.model_dump(mode="json", exclude={"name", "description", "training"})
    return {**settings, "time": recipe.training.max_time if max_time is None else max_time, **more}


def summarise(history: History) -> dict[str, Any]:
    """What the training came to: the last value of each loss, the metrics of the model that was kept."""
    rows = history.metrics.rows()
    kept = [row for row in rows if history.best_step in (None, row["step"])]
    return {
        "status": history.status,
        "steps": len(history.losses),
        "best_step": history.best_step,
        "events_per_second": round(history.events / max(history.seconds, 1e-9)),
        "losses": {n: float(history.losses[n][-1]) for n in history.losses.names} if history.losses else {},
        "metrics": kept[-1] if kept else {},
        "diagnostics": history.diagnostics.rows()[-1] if len(history.diagnostics) else {},
    }


def _untold(done: float, what: str) -> None:
    """Nobody is told what is being prepared."""


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
