"""The training loop."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hepgan.errors import ModelFileError, TrainingError
from hepgan.features.batch import FeatureBatch
from hepgan.models import Model, Phase
from hepgan.objectives import total
from hepgan.runtime import Interrupt, Progress, interruptible
from hepgan.training.checkpoint import read_checkpoint, write_checkpoint
from hepgan.training.config import TrainingConfig
from hepgan.training.data import Batches
from hepgan.training.history import History, Table
from hepgan.training.optimisation import WeightMean, build_optimiser, clip_members, norms_of_members, rate
from hepgan.training.selection import is_best

__all__ = ["Trainer"]

Evaluate = Callable[[Model], dict[str, float]]

_FREE_TO_CHANGE = {"steps", "max_time", "checkpoint_every", "patience", "diagnose_every"}
_TABLES = ("losses", "metrics", "diagnostics")


class Trainer:
    """Trains a model on encoded events.

    The same seed, data and settings give the same weights bit for bit on one kind of device and one
    number of threads, whether or not training was interrupted and resumed (unless ``max_time`` rules
    the learning rate).

    Args:
        model: The model; trained in place.
        data: The training events.
        config: The settings.
        seed: Rules the order of events and all noise; the weights that the model starts from are its own.
        device: Where to train.
        evaluate: Metrics (smaller is better) of the model, called with averaged weights, without gradients.
        checkpoint: The checkpoint's file; None for none.
        resume: Whether to go on from the checkpoint, if there is one.
        progress: Whether to show a progress bar.
        rows: For an ensemble the numbers of each member's events, as ``Batches`` takes them.
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
        model: Model,
        data: FeatureBatch,
        config: TrainingConfig,
        *,
        seed: int = 0,
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
        if rows is not None and len(rows) != model.members:
            msg = f"events of {len(rows)} members for a model of {model.members}"
            raise ValueError(msg)
        if len(data) == 0:
            msg = "there are no events to train on"
            raise TrainingError(msg)
        if not float(data.weight.sum()) > 0.0:
            msg = f"the event weights sum to {float(data.weight.sum()):g}, so there is nothing to learn"
            raise TrainingError(msg)
        if config.selection is not None and evaluate is None:
            msg = "a selection needs metrics, and nothing is evaluated"
            raise TrainingError(msg)
        self.device = torch.device(device)
        self.model = model.to(self.device)
        self.config = config
        self.history = History() if history is None else history
        self._evaluate = evaluate
        self._checkpoint = None if checkpoint is None else Path(checkpoint)
        self._progress = progress
        data = data.to(self.device, torch.float32)
        self._generator = torch.Generator(self.device).manual_seed(seed)
        self._on_cuda = self.device.type == "cuda"
        self._random_states = [
            torch.Generator(d).manual_seed(seed + 1).get_state()
            for d in (torch.device("cpu"), *([self.device] if self._on_cuda else []))
        ]
        self._diagnose_every = config.diagnose_every
        if self._diagnose_every is None:
            self._diagnose_every = max(100, config.steps // 200)
        self._seed = seed
        everything = None if model.members == 1 else [torch.arange(len(data))] * model.members
        self._batches = Batches(data, config.batch_size, self._generator, rows or everything)
        self._phases = model.phases
        self._settings = [p.optimiser or config.optimiser or model.default_optimiser for p in self._phases]
        self._optimisers = [
            build_optimiser(s, p.parameters) for s, p in zip(self._settings, self._phases, strict=True)
        ]
        decay = model.default_ema if config.ema is None else config.ema
        self._mean = WeightMean(model.sampling_modules(), decay)
        self._best: list[Tensor] | None = None
        self._until, self._hold = until, hold
        self._step = self._first = len(self.history.losses)
        self._since_best = 0
        self._fingerprint = {
            "config": config.model_dump(mode="json", exclude=_FREE_TO_CHANGE),
            "seed": seed,
            "events": len(data),
            "data": _digest(data),
            "model": [[n, list(t.shape)] for n, t in model.state_dict().items()],
        }
        if until < 1.0:
            self._fingerprint["shared"] = True
        if resume and self._checkpoint is not None and self._checkpoint.exists():
            self._restore(self._checkpoint)
        else:
            model.prepare(self._batches.spread(50_000))

    def run(self) -> History:
        """Train to the end, or until Ctrl-C; then the model has the weights that are to be used.

        Those are the best of the evaluated ones if there is a selection, else the (averaged) last ones.
        After Ctrl-C the step is finished and the checkpoint written; a second Ctrl-C raises.

        Raises:
            TrainingError: If a term or a gradient isn't a number; the model then has the last good
                weights, and the checkpoint is the one before.
            KeyboardInterrupt: At the second Ctrl-C.
        """
        history = self.history
        with self._callers_randomness(), interruptible() as interrupt:
            self._set_randomness()
            try:
                self._loop(interrupt)
            except TrainingError:
                history.status = "failed"
                self._finish()
                raise
            self._finish()
            if history.status == "branch" and interrupt.asked:
                history.status = "interrupted"
        return history

    def _loop(self, interrupt: Interrupt) -> None:
        history, config = self.history, self.config
        before, start, start_step = history.seconds, time.monotonic(), self._step
        saved = start
        history.status = "running"
        self.model.train()
        with Progress("training", done=self._share(), shown=self._progress) as progress:
            while (status := self._status(interrupt)) == "running":
                losses = self._train_step()
                now = time.monotonic()
                history.seconds = before + now - start
                events = (self._step - start_step) * self._batches.size
                said = partial(_said, self._step, events / (now - start), losses)
                progress.update(self._share(), said)
                if self._diagnose_every and self._step % self._diagnose_every == 0:
                    self._diagnose()
                due = config.evaluate_every is not None and self._step % config.evaluate_every == 0
                if due:
                    self._do_evaluate()
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
        if interrupt.asked:
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
        terms = self.model.loss(phase.name, self._batches.next(), self._generator, self._share())
        if not terms:
            return {}
        # Terms are means over members, each of whom learns as if it were alone.
        members = self.model.members
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
        self.model.after_step(phase.name)
        return row

    def _check(self, phase: Phase, name: str, value: float) -> None:
        if not math.isfinite(value):
            msg = (
                f"{phase.name}/{name} is {value} at step {self._step + 1}: lower the learning rate "
                "(optimiser.lr), or set training.gradient_clip"
            )
            raise TrainingError(msg)

    def _do_evaluate(self) -> None:
        metrics = self.history.metrics
        if self._evaluate is None or (len(metrics) and metrics["step"][-1] == self._step):
            return
        self.model.eval()
        with self._callers_randomness(), self._mean.used(), torch.no_grad():
            metrics.append(self._step, self._evaluate(self.model))
        self.model.train()
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
        own = (self._seed * 1_000_003 + self._step) % 2**63
        generator = torch.Generator(self.device).manual_seed(own)
        batches = self._batches.two(generator)
        if batches is None:
            return
        self.model.eval()
        with self._callers_randomness():
            found = self.model.diagnose(*batches, generator, self._share())
        self.model.train()
        if found:
            self.history.diagnostics.append(self._step, found)

    def _finish(self) -> None:
        self._mean.load(self._mean.mean if self._best is None else self._best)
        self.model.eval()

    def _callers_randomness(self) -> AbstractContextManager[None]:
        """Gives back torch's global generators, which dropout draws from, as they were before."""
        return torch.random.fork_rng([self.device] if self._on_cuda else [])

    def _set_randomness(self) -> None:
        torch.set_rng_state(self._random_states[0])
        if self._on_cuda:
            torch.cuda.set_rng_state(self._random_states[1], self.device)

    def _save(self) -> None:
        if self._checkpoint is None:
            return
        tensors = {f"model/{n}": t for n, t in self.model.state_dict().items()}
        tensors |= {f"mean/{n}": t for n, t in self._mean.state().items()}
        tensors |= {f"best/{i}": t for i, t in enumerate(self._best or ())}
        for phase, optimiser in zip(self._phases, self._optimisers, strict=True):
            for i, state in optimiser.state_dict()["state"].items():
                tensors |= {f"optimiser/{phase.name}/{i}/{n}": t for n, t in state.items()}
        tensors["generator"] = self._generator.get_state()
        tensors["random/0"] = torch.get_rng_state()
        if self._on_cuda:
            tensors["random/1"] = torch.cuda.get_rng_state(self.device)
        tensors["order"], cursors = self._batches.state()
        tables = {name: getattr(self.history, name) for name in _TABLES}
        for part, table in tables.items():
            tensors |= {f"{part}/{n}": torch.from_numpy(c) for n, c in table.columns().items()}
        write_checkpoint(
            self._checkpoint,
            tensors,
            {
                **self._fingerprint,
                "step": self._step,
                "first": self._first,
                "cursors": cursors,
                "since_best": self._since_best,
                "best_step": self.history.best_step,
                "seconds": self.history.seconds,
                "seen": self.history.events,
                "columns": {name: table.names for name, table in tables.items()},
            },
        )

    def _restore(self, path: Path) -> None:
        tensors, state = read_checkpoint(path)
        for key, value in self._fingerprint.items():
            if state[key] != value:
                msg = f"the checkpoint is of another training: its {key} differs"
                raise ModelFileError(msg, file=path)

        def part(prefix: str) -> dict[str, Tensor]:
            return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}

        self.model.load_state_dict(part("model/"))
        self._mean.load_state(part("mean/"))
        best = part("best/")
        self._best = [best[str(i)].to(self.device) for i in range(len(best))] or None
        for phase, optimiser in zip(self._phases, self._optimisers, strict=True):
            states: dict[int, dict[str, Any]] = {}
            for name, tensor in part(f"optimiser/{phase.name}/").items():
                index, key = name.split("/")
                states.setdefault(int(index), {})[key] = tensor
            optimiser.load_state_dict({**optimiser.state_dict(), "state": states})
        self._generator.set_state(tensors["generator"])
        self._random_states = list(part("random/").values())
        self._batches.restore(tensors["order"], state["cursors"])
        for name in _TABLES:
            columns = {n: tensors[f"{name}/{n}"].numpy() for n in state["columns"].get(name, ())}
            setattr(self.history, name, Table(columns))
        self._step, self._first = state["step"], state["first"]
        self._since_best = state["since_best"]
        self.history.best_step = state["best_step"]
        self.history.seconds = state["seconds"]
        self.history.events = state["seen"]


def _said(step: int, rate: float, losses: Mapping[str, float]) -> str:
    """What a bar of progress says of a step: its number, events per second, and the losses."""
    totals = (f"{n.removesuffix('/total')} {v:.4g}" for n, v in losses.items() if n.endswith("/total"))
    return f"step {step:,}, {rate:,.0f} events/s; {', '.join(totals)}"


def _digest(data: FeatureBatch) -> str:
    """A digest of 1,000 events, to tell one training sample from another."""
    count = min(1000, len(data))
    rows = torch.linspace(0, len(data) - 1, count, dtype=torch.float64, device=data.x.device).long()
    digest = hashlib.sha256()
    for tensor in (data.x, data.context, data.weight):
        digest.update(tensor.index_select(0, rows).cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
