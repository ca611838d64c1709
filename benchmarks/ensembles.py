"""What an ensemble costs to train, next to one model and to as many in sequence.

    OMP_NUM_THREADS=1 python benchmarks/ensembles.py

Steps of training are timed in turn: one model, the ensemble, and the members one after another. Times are
those of the processor (or of the clock, on a GPU), so that what else runs on the machine hardly counts.
``ratio`` is the ensemble's time over that of one model. ``shared`` is the same of a whole, if short,
training of which the members have the first 80% in common (``training.shared_start``).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch
from common import in_turns, parser_of, timed

from hepgan.features.space import FeatureBatch, FeatureSpace
from hepgan.learners import Learner, new_learner
from hepgan.models import FlowConfig, FlowMatchingConfig, GANConfig, OptimiserConfig
from hepgan.networks import MLPConfig, ResidualConfig
from hepgan.training import History, Portions, ScheduleConfig, Trainer, TrainingConfig, train_from_one

WIDE = MLPConfig(widths=(512,) * 5)
FAT_GAN = GANConfig(
    noise=100,
    generator=WIDE,
    critics=({"loss": "wgan_gp", "steps": 5, "network": WIDE.model_copy(update={"dropout": 0.1})},),
)
DIS = FlowMatchingConfig(network=ResidualConfig(width=64, blocks=3, layer_norm=True))
SPLINES = FlowConfig(blocks=4, bins=8, rotations="learned", network=MLPConfig(widths=(32, 32)))
CASES = {
    "FAT-GAN, 5 x 512, batch 1000": (FAT_GAN, 3, 0, 1000),
    "recipe dis, 3 x 64, batch 4096": (DIS, 2, 1, 4096),
    "recipe dis, 3 x 64, batch 256": (DIS, 2, 1, 256),
    "splines, 4 x (32, 32), batch 256": (SPLINES, 4, 0, 256),
}


def events(size: int, context: int, number: int = 20_000) -> FeatureBatch:
    """Normal features."""
    return FeatureBatch(
        x=torch.randn(number, size),
        mask=None,
        discrete=torch.zeros(number, 0, dtype=torch.int64),
        condition=torch.zeros(number, 0),
        context=torch.rand(number, context),
        weight=torch.ones(number),
    )


def built(case: str, members: int) -> Learner:
    """One model or an ensemble."""
    config, size, context, _ = CASES[case]
    torch.manual_seed(1)
    return new_learner(
        config,
        FeatureSpace(size, context),
        lambda f: f,
        members=members,
    )


def settings(case: str, steps: int, members: int = 1, shared: float = 0.0) -> TrainingConfig:
    """Those of a training."""
    return TrainingConfig(
        steps=steps,
        batch_size=CASES[case][3],
        members=members,
        shared_start=shared,
        optimiser=OptimiserConfig(lr=1e-4),
        schedule=ScheduleConfig(kind="constant"),
    )


def trainer(case: str, members: int, device: str) -> Trainer:
    """A training of one model or of an ensemble."""
    model = built(case, members)
    model.train()
    _, size, context, _ = CASES[case]
    return Trainer(model, events(size, context), settings(case, 10**9), device=device)


def shared(case: str, members: int, device: str, steps: int) -> float:
    """The time of a training with a common start, in units of that of one model."""
    data = events(*CASES[case][1:3])

    def one() -> None:
        Trainer(built(case, 1), data, settings(case, steps), device=device).run()

    clock = clock_of(device)
    alone = timed(one, 0.0, clock)
    together = partial(
        train_from_one,
        built(case, 1),
        Portions.of(data),
        built(case, members),
        Portions.of(data, [torch.arange(len(data))] * members),
        settings(case, steps, members, 0.8),
        History(),
        evaluate=None,
        checkpoint=None,
        resume=False,
        device=device,
    )
    return timed(together, 0.0, clock) / alone


def clock_of(device: str) -> Callable[[], float]:
    """The processor's time, or, once all work is done, a GPU's."""
    if device != "cuda":
        return time.process_time

    def clock() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return clock


def main() -> None:
    """Measures and prints."""
    parser = parser_of(__doc__)
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=3.0, help="least time of each part of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10, help="least steps of a whole training")
    parser.add_argument("--cases", type=int, nargs="+", default=list(range(len(CASES))))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    chosen = parser.parse_args()
    print(f"{'':<34}{'one [ms]':>10}{'ratio':>8}{'sequence':>10}{'shared':>8}", flush=True)
    for number in chosen.cases:
        case = list(CASES)[number]
        one, ensemble = (trainer(case, m, chosen.device) for m in (1, chosen.members))

        def members(step: Callable[[], object] = one._train_step) -> None:
            for _ in range(chosen.members):
                step()

        parts, clock = (one._train_step, ensemble._train_step, members), clock_of(chosen.device)
        for part in parts[:2] if chosen.rounds > 1 else ():
            timed(part, 0.0, clock)
        # The best round of each: others had more of the caches to share.
        alone, together, sequence = map(min, in_turns(parts, chosen.rounds, chosen.seconds, clock))
        steps = max(chosen.steps, int(3 * chosen.seconds / alone))
        print(
            f"{case:<34}{1e3 * alone:>10.1f}{together / alone:>8.2f}{sequence / alone:>10.2f}"
            f"{shared(case, chosen.members, chosen.device, steps):>8.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
