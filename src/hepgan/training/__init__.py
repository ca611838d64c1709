"""Training: the loop, checkpoints, selection, history."""

from __future__ import annotations

from hepgan.networks.parallel import together
from hepgan.training.checkpoint import reserved
from hepgan.training.config import ScheduleConfig, SelectionConfig, TrainingConfig
from hepgan.training.history import History, Log, too_few_steps
from hepgan.training.identity import digest_of_events
from hepgan.training.portions import Portions
from hepgan.training.tracking import Tracker, watched
from hepgan.training.trainer import Trainer, train_from_one

__all__ = [
    "History",
    "Log",
    "Portions",
    "ScheduleConfig",
    "SelectionConfig",
    "Tracker",
    "Trainer",
    "TrainingConfig",
    "digest_of_events",
    "reserved",
    "together",
    "too_few_steps",
    "train_from_one",
    "watched",
]
