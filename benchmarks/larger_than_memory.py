"""Training on samples larger than memory: does memory stay, and does reading portions slow it down?

Events (two muons and missing momentum, made up) are written to a file, and `hepgan train` learns them in
portions; the peak of its memory is that of the operating system. Then encoded events are trained on in memory
and in files, in turns, and the processor's time of a step is compared::

    python benchmarks/larger_than_memory.py --events 1e6 3e6 1e7
    python benchmarks/larger_than_memory.py --events 1e6 3e6 --portion 300_000
"""

import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

import awkward as ak
import numpy as np
import torch
import yaml
from common import in_turns, parser_of, print_table

import hepgan
from hepgan.events import EventWriter, schema_of
from hepgan.features.space import FeatureBatch, FeatureSpace
from hepgan.learners import new_learner
from hepgan.models import FlowMatchingConfig
from hepgan.networks import ResidualConfig
from hepgan.training import Portions, Trainer, TrainingConfig

CHUNK = 500_000
"""Events that are made up at a time."""

NETWORK = {"kind": "residual", "width": 64, "blocks": 2}
FEATURES, CONTEXT = 40, 30
"""Numbers of an encoded event whose training is timed."""


def made_up(count, seed):
    """Two muons and missing momentum."""
    rng = np.random.default_rng(seed)
    pt = np.sort(10 + rng.exponential(20, (count, 2)).astype(np.float32))[:, ::-1]
    fields = {
        "pt": pt,
        "eta": rng.normal(0, 1, (count, 2)).astype(np.float32),
        "phi": rng.uniform(-np.pi, np.pi, (count, 2)).astype(np.float32),
    }
    met = {
        "pt": rng.exponential(15, count).astype(np.float32),
        "phi": rng.uniform(-np.pi, np.pi, count).astype(np.float32),
    }
    lists = {n: ak.from_regular(np.ascontiguousarray(v)) for n, v in fields.items()}
    muons = ak.zip(lists, with_name="Momentum3D")
    return ak.Array({"Muon": muons, "MET": ak.zip(met, with_name="Momentum2D")})


def written(path, count):
    """A file of so many events."""
    schema = schema_of(made_up(10_000, 0))
    with EventWriter(path, schema) as writer:
        for start in range(0, count, CHUNK):
            writer.extend(made_up(min(CHUNK, count - start), start))


def trained(path, folder, chosen):
    """Portions of a training, the peak of its memory, and the processor's time."""
    recipe = {
        "model": {"kind": "flow_matching", "network": NETWORK},
        "training": {"steps": chosen.steps, "portion": chosen.portion},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    model = folder / f"{path.stem}.safetensors"
    command = ["train", str(folder / "recipe.yaml"), str(path), "-o", str(model), "--device", "cpu"]
    child = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-m", "hepgan", *command])
    _, status, used = os.wait4(child, 0)
    if status:
        sys.exit(f"the training has ended with the status {os.waitstatus_to_exitcode(status)}")
    portions = hepgan.EventGenerator.load(model).summary.get("portions", 1)
    size = used.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    return {
        "portions": str(portions),
        "peak of memory": f"{size:,.0f} MB",
        "processor's time": f"{used.ru_utime + used.ru_stime:,.0f} s",
    }


def portions(folder, chosen):
    """Encoded events in portions, in memory or in files."""
    found = Portions(folder)
    torch.manual_seed(0)
    for _ in range(3):
        x, context = torch.randn(chosen.encoded, FEATURES), torch.randn(chosen.encoded, CONTEXT)
        none = torch.zeros(chosen.encoded, 0)
        found.add(FeatureBatch(x, None, none.long(), none, context, torch.ones(chosen.encoded)))
    return found


def one_pass(data, chosen):
    """Trains on all encoded events once."""
    torch.manual_seed(0)
    config = FlowMatchingConfig(network=ResidualConfig(width=256, blocks=3))
    learner = new_learner(config, FeatureSpace(FEATURES, CONTEXT), lambda features: features, {})
    steps = max(3 * (chosen.encoded // 1024), 3)
    Trainer(learner, data, TrainingConfig(steps=steps, batch_size=1024, diagnose_every=0)).run()


def main():
    """Writes, trains, times and prints."""
    parser = parser_of(__doc__)
    parser.add_argument("--events", nargs="+", default=["1e6", "3e6", "1e7"])
    parser.add_argument("--portion", type=int, help="events of a portion; as usual by default")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument(
        "--encoded", type=int, default=50_000, help="of each of three portions that are timed"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where files are to be; the system's own by default")
    chosen = parser.parse_args()
    columns = {}
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        folder = Path(name)
        for count in map(int, map(float, chosen.events)):
            path = folder / f"{count}.root"
            written(path, count)
            columns[f"{count:,} events"] = {
                "file": f"{path.stat().st_size / 1e6:,.0f} MB",
                **trained(path, folder, chosen),
            }
            path.unlink()
            print_table(columns)
        data = [portions(None, chosen), portions(folder, chosen)]
        functions = [partial(one_pass, d, chosen) for d in data]
        memory, files = in_turns(functions, chosen.rounds, clock=time.process_time)
    ratios = [b / a for a, b in zip(memory, files, strict=True)]
    span = f"{min(ratios):.3f} to {max(ratios):.3f}"
    print(f"processor's time of a step from files over that from memory: {median(ratios):.3f} ({span})")


if __name__ == "__main__":
    main()
