"""The training loop."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgan.errors import ModelFileError, OutputError, TrainingError
from hepgan.features.space import FeatureBatch
from hepgan.learners import Learner, Phase
from hepgan.models import Model
from hepgan.networks import drawing_from
from hepgan.networks.parallel import processes
from hepgan.objectives import total
from hepgan.runtime import Interrupt, Progress, cores, interruptible, threads
from hepgan.sealed import DAMAGE, parsed
from hepgan.training.checkpoint import ENDED, damaged, read_checkpoint, write_checkpoint
from hepgan.training.config import TrainingConfig
from hepgan.training.data import Batches
from hepgan.training.history import History, is_best
from hepgan.training.identity import SAMPLE, first_difference, flat
from hepgan.training.optimisation import (
    WeightMean,
    build_optimiser,
    clip_members,
    norms_of_members,
    rate,
)
from hepgan.training.portions import Portions
from hepgan.training.tracking import Watch, current_watch

__all__ = ["Trainer", "train_from_one"]

Evaluate = Callable[[Model], dict[str, float]]

_LIMITS = ("training.steps", "training.patience", "time")
_FREE_TO_CHANGE = (*_LIMITS, "training.max_time", "training.checkpoint_every", "training.diagnose_every")
"""What may be another when a training is resumed; with other limits, one that has ended goes on."""
_NOT_OF_ONE = {"selection": None, "evaluate_every": None, "patience": None}


_WATCHED = 50
"""Steps whose losses are looked at together, to see whether they run away."""

_START = 10
"""Steps that tell the size of a loss at the start."""

_FAR, _TIMES = 1e4, 1e3
"""From what size on a loss has run away, and how many times as large as in the first steps it is then."""

WORTH_SHARING = 5e7
"""Weights times events of a batch from which on a second thread makes a step of a training faster."""


class Trainer:
    """Trains a model on encoded events, as its learner says.

    The same seed, data and settings give the same weights bit for bit on one kind of device and one
    number of threads, whether or not training was interrupted and resumed (unless ``max_time`` rules
    the learning rate). It may be resumed on another kind of device, with other random numbers.

    Args:
        learner: The model, which is trained in place, and by what it learns.
        data: The training events, which may be in portions.
        config: The settings.
        seed: Rules the order of events, all noise and dropout; the weights that the model starts from are its
            own.
        settings: All else that decides what is learned, such as the recipe and a digest of the events that
            ``evaluate`` takes, as plain data: a checkpoint of others is refused. Its ``time`` is the limit of
            time that the user knows, in place of ``max_time``.
        device: Where to train.
        evaluate: Metrics (smaller is better) of the model, called with averaged weights, without gradients.
        checkpoint: The checkpoint's file; None for none.
        resume: Whether to go on from the checkpoint, if there is one.
        progress: Whether to show a progress bar, or lines where there is no terminal.
        rows: For an ensemble whose events are not in portions the numbers of each member's events; all events
            if None.
        until: Share of the training after which this part of it ends, one step before the end at the latest.
        history: That of the part before, to go on with: steps, time and schedules are those of the whole.
        hold: Share of the training up to which the learning rate does not fall.

    Raises:
        TrainingError: If there are no events to train on, their weights sum to 0 or less, or there is
            a selection without anything evaluated.
        ModelFileError: If the checkpoint to resume from is broken, or of another model, data or settings.
    """

    def __init__(
        self,
        learner: Learner,
        data: FeatureBatch | Portions,
        config: TrainingConfig,
        *,
        seed: int = 0,
        settings: Mapping[str, Any] | None = None,
        device: torch.device | str = "cpu",
        evaluate: Evaluate | None = None,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        progress: bool = False,
        rows: Sequence[Tensor] | None = None,
        until: float = 1.0,
        history: History | None = None,
        hold: float = 0.0,
    ) -> None:
        if rows is not None and len(rows) != learner.members:
            msg = f"events of {len(rows)} members for a model of {learner.members}"
            raise ValueError(msg)
        if isinstance(data, FeatureBatch):
            everything = None if learner.members == 1 else [torch.arange(len(data))] * learner.members
            data = Portions.of(data, rows or everything)
        if data.events == 0:
            msg = "there are no events to train on"
            raise TrainingError(msg)
        if not data.sum_of_weights > 0.0:
            msg = f"the event weights sum to {data.sum_of_weights:g}, so there is nothing to learn"
            raise TrainingError(msg)
        if config.selection is not None and evaluate is None:
            msg = "a selection needs metrics, and nothing is evaluated"
            raise TrainingError(msg)
        self.device = torch.device(device)
        self.learner = learner.to(self.device)
        self.config = config
        self.history = History() if history is None else history
        self._evaluate = evaluate
        self._checkpoint = None if checkpoint is None else Path(checkpoint)
        self._group = processes()
        self._progress = progress and self._group.leads
        self._generator = torch.Generator(self.device).manual_seed(seed)
        self._dropout = torch.Generator(self.device).manual_seed((seed + 1) % 2**63)
        self._diagnose_every = config.diagnose_every
        if self._diagnose_every is None:
            self._diagnose_every = max(100, config.steps // 200)
        self._seed = seed
        self._batches = Batches(data, config.batch_size, self._generator)
        self._phases = learner.phases
        self._settings = [p.optimiser or config.optimiser or learner.default_optimiser for p in self._phases]
        self._optimisers = [
            build_optimiser(s, p.parameters, learner.members)
            for s, p in zip(self._settings, self._phases, strict=True)
        ]
        decay = learner.default_ema if config.ema is None else config.ema
        self._mean = WeightMean(learner.model.sampling_modules(), decay)
        self._best: list[Tensor] | None = None
        self._negative = data.negative / data.events
        self._until, self._hold = until, hold
        self._step = self._first = len(self.history.losses)
        self._since_best = 0
        self._shared = until < 1.0
        self._saved = False
        self._asked = False
        self._watched = current_watch() if self._group.leads else Watch()
        self._runs: dict[str, str] = {}
        self._ended: str | None = None
        self._identity = flat(
            {
                "seed": seed,
                "time": config.max_time,
                "training": config.model_dump(mode="json"),
                **(settings or {}),
                "number of events": data.events,
                "sample of events": data.digest,
                "weights": [f"{n} {list(t.shape)}" for n, t in learner.state_dict().items()],
            }
        )
        if resume and self._checkpoint is not None and self._checkpoint.exists():
            self._restore(self._checkpoint)
        else:
            learner.prepare(self._batches.spread(50_000))
        # The same to the last bit, whatever each process has made of the same events and seed.
        self._group.share([*learner.parameters(), *learner.buffers(), *self._mean.mean])
        self._good = [m.clone() for m in self._mean.mean]

    def run(self) -> History:
        """Train to the end, or until Ctrl-C; then the model has the weights that are to be used.

        Those are the best of the evaluated ones if there is a selection, else the (averaged) last ones.
        After Ctrl-C the step is finished and the checkpoint written; a second Ctrl-C raises.

        Raises:
            TrainingError: If a term or a gradient isn't a number, or a loss grows without limit; the model
                then has the last good weights, and the checkpoint is the one before.
            OutputError: If the first checkpoint cannot be written; when later ones cannot, a warning says so.
            KeyboardInterrupt: At the second Ctrl-C.
        """
        history = self.history
        if self._ended is not None:
            history.status = self._ended
            self._finish()
            return history
        with interruptible() as interrupt, drawing_from(self._dropout), threads(self._threads()):
            try:
                self._loop(interrupt)
            except TrainingError:
                history.status = "failed"
                self._watched.ended(history)
                self._best = self._good if self._best is None else self._best
                self._finish()
                raise
            self._watched.ended(history)
            self._finish()
            if history.status == "branch" and interrupt.asked:
                history.status = "interrupted"
        return history

    def _threads(self) -> int:
        """Threads of torch's operations: one for small networks, which others would only hold up."""
        weights = sum(p.numel() for p in self.learner.parameters())
        return min(torch.get_num_threads(), cores() if weights * self._batches.size > WORTH_SHARING else 1)

    def _loop(self, interrupt: Interrupt) -> None:
        history, config = self.history, self.config
        before, start, start_step = history.seconds, time.monotonic(), self._step
        saved = start
        history.status = "running"
        told = {n: v for n, v in self._identity.items() if not n.startswith(("weights.", SAMPLE))}
        self._watched.begin(told, self._step, self._runs)
        self.learner.train()
        with Progress("training", done=self._share(), shown=self._progress) as progress:
            while (status := self._status(interrupt)) == "running":
                losses = self._train_step()
                now = time.monotonic()
                asked, history.seconds = self._group.largest(interrupt.asked, before + now - start)
                self._asked = bool(asked)
                steps = (self._step - start_step) / (now - start)
                self._watch()
                said = partial(_said, self._step, steps, self._batches.size, losses)
                progress.update(self._share(), said)
                if self._diagnose_every and self._step % self._diagnose_every == 0:
                    self._diagnose()
                due = config.evaluate_every is not None and self._step % config.evaluate_every == 0
                if due:
                    self._do_evaluate()
                self._watched.step(history)
                if due or now - saved >= config.checkpoint_every:
                    self._save()
                    saved = now
            history.status = status
            if status not in ("interrupted", "branch"):
                self._do_evaluate()
            history.seconds = before + time.monotonic() - start
            self._save()

    def _status(self, interrupt: Interrupt) -> str:
        config = self.config
        if self._asked or (self._group.size == 1 and interrupt.asked):
            return "interrupted"
        if self._until < 1.0 and (self._share() >= self._until or self._step >= config.steps - 1):
            return "branch"
        if self._step >= config.steps:
            return "finished"
        out = config.max_time is not None and self.history.seconds >= config.max_time
        if out and self._step > self._first:
            return "time"
        if config.patience is not None and self._since_best >= config.patience:
            return "patience"
        return "running"

    def _share(self) -> float:
        by_time = 0.0 if self.config.max_time is None else self.history.seconds / self.config.max_time
        return min(1.0, max(self._step / self.config.steps, by_time))

    def _train_step(self) -> dict[str, float]:
        lr = rate(self.config.schedule, self._step - self._first, self._share(), self._hold)
        row: dict[str, float] = {}
        for phase, optimiser, settings in zip(self._phases, self._optimisers, self._settings, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = lr * settings.lr
            for _ in range(phase.repeats):
                for name, value in self._minimise(phase, optimiser).items():
                    key = f"{phase.name}/{name}"
                    row[key] = row.get(key, 0.0) + value / phase.repeats
        self._step += 1
        self._mean.update(self._step)
        self.history.events += self._batches.size
        self.history.losses.append(self._step, {**row, "lr": lr})
        return row

    def _minimise(self, phase: Phase, optimiser: torch.optim.Optimizer) -> dict[str, float]:
        terms = self.learner.loss(phase, self._batches.next(), self._generator, self._share())
        if not terms:
            return {}
        # Terms are means over members, each of whom learns as if it were alone.
        members = self.learner.members
        loss = total(terms)
        values = torch.stack([*(t.value.detach().to(loss.dtype) for t in terms), loss.detach()]).tolist()
        row = dict(zip([*(t.name for t in terms), "total"], values, strict=True))
        for name, value in row.items():
            self._check(phase, name, value)
        optimiser.zero_grad(set_to_none=True)
        # Only the phase's own gradients, so that the generator does not pay for the critics'.
        torch.autograd.backward(loss if members == 1 else members * loss, inputs=phase.parameters)
        limit = math.inf if self.config.gradient_clip is None else self.config.gradient_clip
        gradients = [p.grad for p in phase.parameters if p.grad is not None]
        self._group.average(gradients)
        if members > 1:
            norms = norms_of_members(gradients, members)
            row["gradient"] = float(norms.mean())
            largest = float(norms.max())
        else:
            norm = torch.nn.utils.get_total_norm(gradients)
            row["gradient"] = largest = float(norm)
        self._check(phase, "gradient", row["gradient"])
        if largest > limit:
            if members > 1:
                clip_members(gradients, limit, norms)
            else:
                torch.nn.utils.clip_grads_with_norm_(phase.parameters, limit, norm)
        optimiser.step()
        self.learner.after_step(phase)
        return row

    def _check(self, phase: Phase, name: str, value: float) -> None:
        if not math.isfinite(value):
            msg = (
                f"{phase.name}/{name} is {value} at step {self._step + 1}: lower the learning rate "
                "(optimiser.lr), or set training.gradient_clip"
            )
            raise TrainingError(msg)

    def _watch(self) -> None:
        """Looks now and then whether a loss runs away, and notes the weights while none does.

        Raises:
            TrainingError: If one does.
        """
        losses, first = self.history.losses, self._first
        if self._step % _WATCHED or self._step - first < _WATCHED:
            return
        for name in losses.names:
            if not name.endswith("/total"):
                continue
            steps = (first, first + _START), (self._step - _WATCHED, self._step)
            start, now = (_size(losses.part(name, *s)) for s in steps)
            if start and now > max(_FAR, _TIMES * start):
                raise TrainingError(self._run_away(name, start, now))
        self._good = [m.clone() for m in self._mean.mean]

    def _run_away(self, name: str, start: float, now: float) -> str:
        """What to say of a loss that has run away."""
        negative = self._negative
        signed = f"; {negative:.1%} of the weights are negative, and it falls where these prevail"
        return (
            f"{name} runs away: its size has grown from {start:.3g} to {now:.3g} by step {self._step}: lower "
            f"the learning rate (optimiser.lr), or set training.gradient_clip{signed if negative else ''}"
        )

    def _do_evaluate(self) -> None:
        metrics = self.history.metrics
        if self._evaluate is None or (len(metrics) and metrics["step"][-1] == self._step):
            return
        self.learner.eval()
        with self._mean.used(), torch.no_grad():
            found = self._evaluate(self.learner.model) if self._group.leads else {}
        metrics.append(self._step, self._group.shared(found))
        self.learner.train()
        if self.config.selection is None:
            return
        if is_best(self.config.selection, metrics, self.history.best_step):
            self.history.best_step = self._step
            self._best = [m.clone() for m in self._mean.mean]
            self._since_best = 0
        else:
            self._since_best += 1

    def _diagnose(self) -> None:
        """Add a row to the diagnostics, with random numbers of its own."""
        generator = torch.Generator(self.device).manual_seed(self._own_seed())
        batches = self._batches.two(generator)
        if batches is None:
            return
        self.learner.eval()
        found = self.learner.diagnose(*batches, generator, self._share())
        self.learner.train()
        if found:
            self.history.diagnostics.append(self._step, found)

    def _finish(self) -> None:
        self._mean.load(self._mean.mean if self._best is None else self._best)
        self.learner.eval()

    def _save(self) -> None:
        if self._checkpoint is None or not self._group.leads:
            return
        state = {
            # As a text, in which nothing stands for a tensor.
            "training": json.dumps(self._identity),
            "runs": json.dumps(self._watched.runs),
            "shared": self._shared,
            "status": self.history.status,
            "step": self._step,
            "first": self._first,
            "since_best": self._since_best,
            "device": self.device.type,
            "learner": self.learner.state_dict(),
            "mean": self._mean.state_dict(),
            "best": None if self._best is None else dict(enumerate(self._best)),
            "optimisers": {
                phase.name: optimiser.state_dict()["state"]
                for phase, optimiser in zip(self._phases, self._optimisers, strict=True)
            },
            "generator": self._generator.get_state(),
            "dropout": self._dropout.get_state(),
            "batches": self._batches.state_dict(),
            "history": self.history.state_dict(),
        }
        try:
            write_checkpoint(self._checkpoint, state)
            self._saved = True
        except OutputError as error:
            if not self._saved and self.history.status == "running":
                raise  # early, when there is little to lose
            msg = f"the checkpoint is not written, and the training goes on: {error}"
            warnings.warn(msg, stacklevel=2)

    def _restore(self, path: Path) -> None:
        state = read_checkpoint(path)
        try:
            theirs = dict(parsed(state["training"]))
            own = self._identity
            kept = [{k: v for k, v in s.items() if k not in _FREE_TO_CHANGE} for s in (theirs, own)]
            different = first_difference(*kept)
            if different is None:
                limits = [[s.get(k) for k in _LIMITS] for s in (theirs, own)]
                self._ended = state["status"] if limits[0] == limits[1] else None
                self._take(state)
        except DAMAGE as error:
            raise damaged(path, error) from error
        if different is not None:
            msg = f"the checkpoint is of another training: {different}"
            raise ModelFileError(msg, file=path)

    def _take(self, state: Mapping[str, Any]) -> None:
        """Go on where a checkpoint was written.

        Raises:
            Exception: One of ``DAMAGE`` if it does not fit.
        """
        counts = [state["step"], state["first"], state["since_best"]]
        if not all(type(n) is int and n >= 0 for n in counts):
            msg = f"steps that are no numbers: {counts}"
            raise ValueError(msg)
        self._step, self._first, self._since_best = counts
        self._ended = self._ended if self._ended in ENDED else None
        self._runs = {str(k): str(v) for k, v in dict(parsed(state.get("runs", "{}"))).items()}
        self.learner.load_state_dict(state["learner"])
        self._mean.load_state_dict(state["mean"])
        if state["best"] is not None:
            self._best = [tensor.to(self.device) for tensor in state["best"].values()]
            _check_shapes(self._best, self._mean.parameters)
        for phase, optimiser in zip(self._phases, self._optimisers, strict=True):
            own = {int(k): v for k, v in state["optimisers"][phase.name].items()}
            for k, kept in own.items():
                for value in kept.values():
                    if value.numel() > 1:
                        _check_shapes([value], [phase.parameters[k]])
            optimiser.load_state_dict({**optimiser.state_dict(), "state": own})
        if state["device"] == self.device.type:
            self._generator.set_state(state["generator"])
            self._dropout.set_state(state["dropout"])
        else:
            # Another kind of device has other generators, whose states mean nothing here.
            again = self._own_seed()
            self._generator.manual_seed(again)
            self._dropout.manual_seed((again + 1) % 2**63)
        self._batches.load_state_dict(state["batches"])
        self.history.load_state_dict(state["history"])
        if len(self.history.losses) != self._step:
            msg = f"a history of {len(self.history.losses)} steps for {self._step}"
            raise ValueError(msg)

    def _own_seed(self) -> int:
        """A seed of this step's own."""
        return (self._seed * 1_000_003 + self._step) % 2**63


def train_from_one(
    one: Learner,
    common: Portions,
    ensemble: Learner,
    data: Portions,
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
        one: What trains a single model of the ensemble's kind.
        common: The events that it learns from.
        ensemble: What trains the ensemble.
        data: The events that its members learn from.
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
    branched = (
        resume and checkpoint is not None and not read_checkpoint(Path(checkpoint)).get("shared", False)
    )
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
    Trainer(ensemble, data, config, evaluate=evaluate, resume=branched, **options).run()


def _said(step: int, rate: float, batch: int, losses: Mapping[str, float]) -> str:
    """What is said of a step: its number, how many there are in a second, of how many events, the losses."""
    totals = (f"{n.removesuffix('/total')} {v:.4g}" for n, v in losses.items() if n.endswith("/total"))
    return f"step {step:,} ({rate:.3g}/s), {rate * batch:,.0f} events/s; {', '.join(totals)}"


def _size(losses: NDArray[np.float64]) -> float:
    """The median size of losses, of those that there are; 0 if there are none."""
    there = np.abs(losses[np.isfinite(losses)])
    return float(np.median(there)) if len(there) else 0.0


def _check_shapes(tensors: Sequence[Tensor], like: Sequence[Tensor]) -> None:
    for tensor, other in zip(tensors, like, strict=True):
        if tensor.shape != other.shape or not tensor.is_floating_point():
            msg = f"a tensor of the shape {list(tensor.shape)} where there is one of {list(other.shape)}"
            raise ValueError(msg)
