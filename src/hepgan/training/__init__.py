"""Training: the loop, checkpoints, selection, history."""

from __future__ import annotations

from hepgan.training.config import ScheduleConfig, SelectionConfig, TrainingConfig
from hepgan.training.ensembles import train_from_one
from hepgan.training.history import History, Table
from hepgan.training.trainer import Trainer

__all__ = [
    "History",
    "ScheduleConfig",
    "SelectionConfig",
    "Table",
    "Trainer",
    "TrainingConfig",
    "train_from_one",
]
