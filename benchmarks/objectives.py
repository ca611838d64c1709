"""What penalties and a second critic cost: a training step with them next to a plain step of the same GAN.

Run with ``OMP_NUM_THREADS=1 python benchmarks/objectives.py``. Events are dimuons, decoded on the way to
every observable. The plain GAN has a generator and one critic on the features. The full one has a second
critic of the same kind, on features and the pair's mass, and three penalties: an energy distance of the mass,
an MMD of mass and pT together, and a histogram of all angles. Both train in turns; the medians of the rates
and of their ratio are printed.
"""

from __future__ import annotations

import statistics

import awkward as ak
import numpy as np
import torch
import vector
from common import in_turns, parser_of, timed

from hepgan.events import schema_of, to_batch
from hepgan.features import FeaturesConfig, Representation
from hepgan.learners import new_learner
from hepgan.models import CriticConfig, GANConfig
from hepgan.networks import MLPConfig
from hepgan.objectives import MMD, Energy, Histogram
from hepgan.observables import Observable
from hepgan.training import ScheduleConfig, Trainer, TrainingConfig

NETWORKS = {
    "FAT-GAN, 5 x 512": (MLPConfig(widths=(512,) * 5), MLPConfig(widths=(512,) * 5)),
    "DY-GAN": (
        MLPConfig(widths=(64, 128, 256, 512, 256, 128)),
        MLPConfig(widths=(128, 128, 256, 256, 128, 64, 32, 16, 8)),
    ),
    "small, 3 x 128": (MLPConfig(widths=(128,) * 3), MLPConfig(widths=(128,) * 3)),
}
OBSERVABLES = {
    "mass": Observable("mass", "(Muon[0] + Muon[1]).mass"),
    "pt": Observable("pt", "(Muon[0] + Muon[1]).pt"),
    "eta": Observable("eta", "Muon.eta", bins=50, range=(-5.0, 5.0)),
}
PENALTIES = (
    Energy(observables="mass"),
    MMD(observables=("mass", "pt")),
    Histogram(observables="eta"),
)


def events(n: int) -> ak.Array:
    """Pairs of muons, uncorrelated: what they are does not matter for the time."""
    vector.register_awkward()
    rng = np.random.default_rng(1)
    columns = {
        "pt": np.sort(rng.exponential(20.0, (n, 2)) + 10.0)[:, ::-1],
        "eta": rng.normal(0.0, 1.5, (n, 2)),
        "phi": rng.uniform(-np.pi, np.pi, (n, 2)),
        "mass": np.full((n, 2), 0.10566),
    }
    muons = {k: ak.from_regular(ak.Array(v.astype(np.float32))) for k, v in columns.items()}
    return ak.zip({"Muon": ak.zip(muons, with_name="Momentum4D")}, depth_limit=1)


def trainers(generator: MLPConfig, critic: MLPConfig, batch: int) -> tuple[Trainer, Trainer]:
    """A plain training, and one with two critics and three penalties."""
    sample = events(20_000)
    schema = schema_of(sample)
    whole = to_batch(sample, schema)
    muons = {"kind": "objects", "collection": "Muon", "coordinates": ["px", "py", "pz"]}
    representation = Representation(FeaturesConfig.model_validate({"blocks": [muons]}), schema)
    data = representation.fit(whole).encode(whole)
    first = CriticConfig(network=critic)
    second = CriticConfig(name="physics", observables=("mass",), network=critic)
    made = []
    for critics, penalties in (((first,), ()), ((first, second), PENALTIES)):
        torch.manual_seed(1)
        model = new_learner(
            GANConfig(generator=generator, critics=critics, penalties=penalties),
            representation.space,
            decode=representation.decode,
            observables=OBSERVABLES,
        )
        config = TrainingConfig(
            steps=10**9, batch_size=batch, schedule=ScheduleConfig(kind="constant"), diagnose_every=0
        )
        made.append(Trainer(model, data, config))
        model.train()
    return made[0], made[1]


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--batch", type=int, default=1024, help="events in a batch")
    parser.add_argument("--seconds", type=float, default=1.0, help="seconds of each of the rounds")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(f"{'networks':<20}{'plain [ms]':>12}{'full [ms]':>12}{'ratio':>8}")
    for name, (generator, critic) in NETWORKS.items():
        plain, full = trainers(generator, critic, options.batch)
        for trainer in (plain, full):
            timed(trainer._train_step, min(0.3, options.seconds))
        times = in_turns((plain._train_step, full._train_step), options.rounds, options.seconds)
        ms = [1e3 * statistics.median(column) for column in times]
        ratio = statistics.median(b / a for a, b in zip(*times, strict=True))
        print(f"{name:<20}{ms[0]:>12.1f}{ms[1]:>12.1f}{ratio:>8.2f}")


if __name__ == "__main__":
    main()
