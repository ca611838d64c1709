"""Exported generators beside hepgan's own: differences, sizes, and events per second on one core.

Run with ``OMP_NUM_THREADS=1 python benchmarks/export.py MODEL.safetensors...``. Each model is written as
ONNX, and both make the same events of the same random numbers, a batch of 4096 at a time, in turns.
Columns: the operations of the graph, the sizes of both files in MB, seconds of CPU time of the export, the
largest difference of a real number (of its size or its column's spread), events with another whole number,
and thousands of events per second of CPU time, without drawing random numbers and without drawing anew.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch
from common import parser_of, print_table

from hepgan import EventGenerator
from hepgan.export import export_onnx
from hepgan.export.chain import Chain
from hepgan.export.onnx import compare, session_of
from hepgan.models import BLOCK


def main() -> None:
    """Runs the benchmark."""
    parser = parser_of(__doc__)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--events", type=int, default=10_000, help="events that are compared")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    names = ["nodes", "MB", "MB of ONNX", "s", "difference", "others", "hepgan kHz", "ONNX kHz"]
    columns: dict[str, dict[str, str]] = {name: {} for name in names}
    with tempfile.TemporaryDirectory() as folder:
        for model in chosen.models:
            generator = EventGenerator.load(model, device="cpu")
            path = Path(folder) / f"{model.stem}.onnx"
            started = time.process_time()
            made = export_onnx(generator, path)
            seconds = time.process_time() - started
            chain = Chain(generator.parts)
            difference, others = compare(chain, path, chosen.events)
            own, theirs = rates(chain, path, chosen.rounds)
            figures = [f"{made.nodes}", f"{model.stat().st_size / 1e6:.2f}", f"{made.size / 1e6:.2f}"]
            figures += [f"{seconds:.0f}", f"{difference:.1e}", f"{others}"]
            figures += [f"{own / 1e3:.0f}", f"{theirs / 1e3:.0f}"]
            for name, figure in zip(names, figures, strict=True):
                columns[name][model.stem] = figure
    print_table(columns)


def rates(chain: Chain, path: Path, rounds: int) -> tuple[float, float]:
    """Events per second of CPU time of hepgan and of onnxruntime, the best of some rounds."""
    inputs = chain.example(BLOCK, 2)
    session = session_of(path, threads=1)
    known = {i.name for i in session.get_inputs()}
    given = {i.name: t.numpy() for i, t in zip(chain.inputs, inputs, strict=True) if i.name in known}
    best = [float("inf"), float("inf")]
    for _ in range(rounds):
        started = time.process_time()
        with torch.inference_mode():
            chain(*inputs)
        between = time.process_time()
        session.run(None, given)
        for k, seconds in enumerate((between - started, time.process_time() - between)):
            best[k] = min(best[k], max(seconds, 1e-9))
    return BLOCK / best[0], BLOCK / best[1]


if __name__ == "__main__":
    main()
