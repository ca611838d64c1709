"""How a recipe trains its model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import Field, model_validator

from hepgan.config import Settings
from hepgan.models import OptimiserConfig

__all__ = ["ScheduleConfig", "SelectionConfig", "TrainingConfig"]

MOST = 10**9
"""No training has so many steps or events."""

PORTION, NUMBERS = (100_000, 1_000_000), 100_000_000
"""Between how many events there are in a portion, and how many numbers, where the recipe does not say."""


class ScheduleConfig(Settings):
    """How the learning rate changes over the training.

    Attributes:
        kind: ``constant``; ``cosine``: falls to ``final``; ``onecycle``: rises first, then falls.
        warmup: Steps over which it rises linearly from 0 at the start.
        final: The last learning rate as a share of the highest (not for ``constant``).
        rise: The share of the training over which ``onecycle`` rises, from 1/25 of the highest.
    """

    kind: Literal["constant", "cosine", "onecycle"] = "cosine"
    warmup: int = Field(default=0, ge=0, le=MOST)
    final: float = Field(default=0.0, ge=0.0, le=1.0)
    rise: float = Field(default=0.3, gt=0.0, lt=1.0)


class SelectionConfig(Settings):
    """Which of the evaluated models is kept.

    Attributes:
        metrics: Names of metrics, of which smaller is better; all that are evaluated if empty.
        rule: ``sum``: the smallest sum; ``rank_sum``: the smallest sum of ranks among all evaluations
            so far (ranks do not depend on the metrics' scales).
    """

    metrics: tuple[str, ...] = ()
    rule: Literal["sum", "rank_sum"] = "sum"


class TrainingConfig(Settings):
    """How a model is trained.

    Attributes:
        steps: Training steps.
        batch_size: Real events in a batch, of each member.
        members: Models of an ensemble, which are trained together, each from weights of its own, with its
            own noise, on its own bootstrap sample of the training events; 1 for a single model on all events.
        shared_start: Share of an ensemble's training that is done once, by one model of all events, before
            members go on from it, each on its own. Until then the learning rate rises as the schedule says,
            but does not fall, and nothing is evaluated. Nothing for a single model.
        optimiser: For all parts of the model to which the recipe gives none; the model's default if None.
        schedule: The learning rate's course; it follows the steps, or the time if that runs out sooner.
        ema: Decay per step of the running mean of the weights that sampling uses; 0 for none, the
            model's default if None.
        gradient_clip: Largest norm of a phase's gradient, of each member; None for no limit.
        evaluate_every: Steps between evaluations; None for none.
        diagnose_every: Steps between diagnoses of the generator's terms, with their floors and gradients;
            0 for none, every 200th part of the training, but at least 100 steps, if None.
        max_time: Seconds after its first step in which training ends; None for no limit.
        validation_fraction: Share of the events that is kept out of training, for evaluations; of events in
            portions that of the first one.
        portion: Events that are in memory at a time, at most: more are divided at random into portions, by
            the first of which all is learned but the model. None for as many as have 100 million numbers,
            but 100,000 to a million.
        selection: Which of the evaluated models is kept; the last if None.
        patience: Evaluations without a better model after which training ends; None for no limit.
        checkpoint_every: Seconds between checkpoints.
    """

    steps: int = Field(default=10_000, ge=1, le=MOST)
    batch_size: int = Field(default=1024, ge=1, le=MOST)
    members: int = Field(default=1, ge=1, le=1000)
    shared_start: float = Field(default=0.0, ge=0.0, lt=1.0)
    optimiser: OptimiserConfig | None = None
    schedule: ScheduleConfig = ScheduleConfig()
    ema: float | None = Field(default=None, ge=0.0, lt=1.0)
    gradient_clip: float | None = Field(default=None, gt=0.0)
    evaluate_every: int | None = Field(default=None, ge=1, le=MOST)
    diagnose_every: int | None = Field(default=None, ge=0, le=MOST)
    max_time: float | None = Field(default=None, gt=0.0)
    validation_fraction: float = Field(default=0.1, ge=0.0, lt=1.0)
    portion: int | None = Field(default=None, ge=1, le=MOST)
    selection: SelectionConfig | None = None
    patience: int | None = Field(default=None, ge=1, le=MOST)
    checkpoint_every: float = Field(default=30.0, ge=0.0)

    @model_validator(mode="after")
    def _patience_needs_selection(self) -> TrainingConfig:
        if self.patience is not None and (self.selection is None or self.evaluate_every is None):
            msg = "patience needs a selection and evaluate_every"
            raise ValueError(msg)
        return self

    def portions(self, events: int, numbers: Callable[[], int]) -> int:
        """How many portions so many events are divided into.

        Args:
            events: The number of events.
            numbers: Tells how many numbers an event has; asked if it matters.
        """
        size = self.portion
        if size is None:
            least, most = PORTION
            size = least if events <= least else min(max(NUMBERS // max(numbers(), 1), least), most)
        return max(1, -(-events // size))

    def within(self, max_time: float | None) -> TrainingConfig:
        """The settings with another limit of time.

        Args:
            max_time: The limit in seconds; None for that of the settings.
        """
        return self if max_time is None else self.model_copy(update={"max_time": max_time})
