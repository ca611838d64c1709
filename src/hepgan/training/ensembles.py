"""Ensembles whose members have the start of their training in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from hepgan.features.batch import FeatureBatch
from hepgan.models import Ensemble, Model
from hepgan.training.checkpoint import read_checkpoint
from hepgan.training.config import TrainingConfig
from hepgan.training.history import History
from hepgan.training.trainer import Evaluate, Trainer

__all__ = ["train_from_one"]

_NOT_OF_ONE = {"selection": None, "evaluate_every": None, "patience": None}


def train_from_one(
    one: Model,
    common: FeatureBatch,
    ensemble: Ensemble,
    data: FeatureBatch,
    rows: Sequence[Tensor],
    config: TrainingConfig,
    history: History,
    *,
    evaluate: Evaluate | None,
    checkpoint: str | Path | None,
    resume: bool,
    **options: Any,
) -> None:
    """Train one model for a share of the training, ``config.shared_start``, and an ensemble from there on.

    Optimisers begin anew with the ensemble, as the schedule's warm-up does. If the first part is
    interrupted, the ensemble's members are all like the one model.

    Args:
        one: A model of the ensemble's kind.
        common: The events that it learns from.
        ensemble: The ensemble.
        data: The events that its members learn from.
        rows: The numbers of each member's events.
        config: The settings of the whole training.
        history: Gets the history of both parts.
        evaluate: As of ``Trainer``, for the ensemble.
        checkpoint: As of ``Trainer``; the same file for both parts, one after the other.
        resume: As of ``Trainer``.
        options: Those that ``Trainer`` has besides.

    Raises:
        TrainingError: As ``Trainer``.
        ModelFileError: As ``Trainer``.
        KeyboardInterrupt: As ``Trainer``.
    """
    options |= {"checkpoint": checkpoint, "history": history, "hold": config.shared_start}
    resume = resume and checkpoint is not None and Path(checkpoint).exists()
    branched = resume and checkpoint is not None and not read_checkpoint(Path(checkpoint))[1].get("shared")
    if not branched:
        settings = config.model_copy(update=_NOT_OF_ONE)
        trainer = Trainer(one, common, settings, until=config.shared_start, resume=resume, **options)
        trainer.run()
        ensemble.to(trainer.device).start_from(one)
        # What the first part needs of a GPU's memory, the second one may need.
        one.cpu()
        del trainer
        if history.status == "interrupted":
            return
    Trainer(ensemble, data, config, rows=rows, evaluate=evaluate, resume=branched, **options).run()
