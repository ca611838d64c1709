"""How fast training is, next to the matrix products that it can't do without.

Run with ``OMP_NUM_THREADS=1 python benchmarks/training.py``. Each model trains for a few seconds, in
turns with a bare loop of the same forward and backward products; the medians of the rates and the
share of the bare loop's rate are printed.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
from common import in_turns, parser_of, timed
from torch import nn

from hepgan.features.space import FeatureBatch, FeatureSpace
from hepgan.learners import FlowMatchingLearner, Learner, new_learner
from hepgan.models import CriticConfig, FlowMatchingConfig, GANConfig, OptimiserConfig
from hepgan.networks import MLPConfig, ResidualConfig
from hepgan.training import ScheduleConfig, Trainer, TrainingConfig


def toy(size: int, context: int, events: int) -> FeatureBatch:
    """Normal features with a context of zeros and ones, a tenth of the features masked."""
    mask = torch.rand(events, size) > 0.1
    return FeatureBatch(
        x=torch.randn(events, size) * mask,
        mask=mask,
        discrete=torch.zeros(events, 0, dtype=torch.int64),
        condition=torch.zeros(events, 0),
        context=(torch.rand(events, context) > 0.5).float(),
        weight=torch.ones(events),
    )


def flow_matching() -> tuple[Learner, FeatureBatch, TrainingConfig]:
    """A dimuon-like flow: 27 features, 40 columns of context, 4 blocks of width 256."""
    torch.manual_seed(1)
    config = FlowMatchingConfig(network=ResidualConfig(width=256, blocks=4))
    model = new_learner(config, FeatureSpace(27, 40), lambda f: f)
    return model, toy(27, 40, 100_000), TrainingConfig(steps=10**9, batch_size=2048)


def dy_gan() -> tuple[Learner, FeatureBatch, TrainingConfig]:
    """The networks of DY-GAN (17 features, 256 real and 256 generated events a batch, Adadelta)."""
    torch.manual_seed(1)
    config = GANConfig(
        generator=MLPConfig(widths=(64, 128, 256, 512, 256, 128)),
        critics=(CriticConfig(network=MLPConfig(widths=(128, 128, 256, 256, 128, 64, 32, 16, 8))),),
        optimiser=OptimiserConfig(kind="adadelta", lr=1.0),
    )
    model = new_learner(config, FeatureSpace(17, 0), lambda f: f)
    training = TrainingConfig(steps=10**9, batch_size=256, schedule=ScheduleConfig(kind="constant"))
    return model, toy(17, 0, 100_000), training


def products(
    module: nn.Module, rows: int, *, weights: bool = True, inputs: bool = True
) -> Callable[[], None]:
    """A function that does the forward and backward products of all linear layers of a module."""
    work = []
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            i, o = layer.in_features, layer.out_features
            work.append((torch.randn(rows, i), torch.randn(o, i), torch.randn(rows, o)))

    def run() -> None:
        for x, w, g in work:
            torch.mm(x, w.t())
            if inputs:
                torch.mm(g, w)
            if weights:
                torch.mm(g.t(), x)

    return run


def bare(learner: Learner, batch: int) -> Callable[[], None]:
    """The products of one training step."""
    if isinstance(learner, FlowMatchingLearner):
        return products(learner, batch)
    generator, critics = learner.model.generator, learner.critics
    parts = [
        products(generator, batch, weights=False, inputs=False),
        products(critics, 2 * batch),
        products(generator, batch),
        products(critics, batch, weights=False),
    ]
    return lambda: [part() for part in parts]


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="seconds of each of the rounds")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"{'model':<15}{'steps/s':>10}{'events/s':>12}{'bare steps/s':>14}{'share':>8}")
    for build in (flow_matching, dy_gan):
        learner, data, config = build()
        trainer = Trainer(learner, data, config)
        learner.train()
        loop = bare(learner, config.batch_size)
        timed(trainer._train_step, min(0.3, options.seconds))
        times = in_turns((trainer._train_step, loop), options.rounds, options.seconds)
        steps, ceiling = (1 / statistics.median(column) for column in times)
        share = statistics.median(b / a for a, b in zip(*times, strict=True))
        rate = steps * config.batch_size
        print(f"{build.__name__:<15}{steps:>10.1f}{rate:>12,.0f}{ceiling:>14.1f}{share:>8.2f}")


if __name__ == "__main__":
    main()
