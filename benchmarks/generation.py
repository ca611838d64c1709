"""How fast events are generated into a ROOT file, next to the network and the writing that it takes.

Run with ``OMP_NUM_THREADS=1 python benchmarks/generation.py FILE.root:Events`` on Z -> mu mu events (the
sample that ``hepgan dataset zmumu`` makes). For the recipes ``dy-gan`` and ``zmumu``, whose speed does not
depend on how long they were trained, each round measures in turns

- network: the network alone, on blocks of 4096 events, as many threads as production has;
- chunks: the same, as the model does it, in chunks that stay in a core's cache;
- uproot: writing the same events alone, TTree with ZSTD level 1, 100,000 an extend, one thread;
- produce: ``hepgan.production.produce`` into one file;

and prints the medians of the rates, and of the ratios of ``produce`` to the slower of network (or chunks)
and uproot. A second line has the milliseconds of CPU time that 4096 events take, all threads together, and
the network's share of those of ``produce``, which depends less on what else the machine does.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import awkward as ak
import torch
import uproot
from common import parser_of

from hepgan import EventGenerator, load_recipe, read_events
from hepgan.models import BLOCK, GAN, gaussian, uniform
from hepgan.production import produce


def network(generator: EventGenerator, workers: int, *, chunks: bool) -> Callable[[int], None]:
    """A function that makes the features of n events, from numbers that are there already."""
    parts = generator.parts
    model = parts.model
    whole = model._generated if isinstance(model, GAN) else model._paths
    sample = model.sample if chunks else whole
    prepared = []
    for number in range(4):
        draw = uniform(0, number, len(parts.representation.variables))
        condition = torch.zeros(BLOCK, parts.representation.condition_size, dtype=torch.float64)
        context, mask = parts.representation.context(parts.discrete.sample(draw, condition), condition)
        prepared.append((gaussian(0, number, parts.model.noise_size), context.float(), mask))

    def block(number: int) -> None:
        with torch.no_grad():
            sample(*prepared[number % len(prepared)])

    def run(n: int) -> None:
        threads = torch.get_num_threads()
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            list(pool.map(block, range(n // BLOCK)))
        torch.set_num_threads(threads)

    return run


def writing(path: Path, scratch: Path) -> Callable[[int], None]:
    """A function that writes the first n events of a file anew."""
    with uproot.open(path) as file:
        tree = file["Events"]
        counted = {b.name: b.count_branch.name for b in tree.branches if b.count_branch is not None}
        arrays = {n: a for n, a in zip(tree.keys(), tree.arrays(how=tuple), strict=True)}  # noqa: C416
    for name in set(counted.values()):
        del arrays[name]
    kinds = {n: ak.type(a).content for n, a in arrays.items()}

    def run(n: int) -> None:
        with uproot.recreate(scratch, compression=uproot.ZSTD(1)) as file:
            tree = file.mktree("Events", kinds, counter_name=counted.__getitem__)
            for first in range(0, n, 100_000):
                tree.extend({name: a[first : min(first + 100_000, n)] for name, a in arrays.items()})

    return run


class Cost(NamedTuple):
    """What something took.

    Attributes:
        rate: Events per second.
        cpu: Milliseconds of CPU time for 4096 events.
    """

    rate: float
    cpu: float


def cost(function: Callable[[int], object], n: int) -> Cost:
    """What a function of n events takes."""
    cpu, start = time.process_time(), time.perf_counter()
    function(n)
    seconds = time.perf_counter() - start
    return Cost(n / seconds, (time.process_time() - cpu) * 1e3 * BLOCK / n)


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__.split("\n")[0])
    parser.add_argument("events", help="FILE.root:TREE with Z -> mu mu events")
    parser.add_argument("--limit", type=int, default=20_000, help="events to learn from")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0, help="about how long produce takes in a round")
    parser.add_argument("--blocks", type=int, default=8, help="blocks of 4096 events in a round, at least")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2, help="training steps before")
    options = parser.parse_args()
    events = read_events(options.events, entry_stop=options.limit)
    columns = ("network", "chunks", "uproot", "produce")
    print(f"{'recipe':<10}" + "".join(f"{c:>11}" for c in columns) + "   events/s; produce / min(.., uproot)")
    for name in ("dy-gan", "zmumu"):
        settings = [f"training.steps={options.steps}", "training.evaluate_every=null"]
        recipe = load_recipe(name).with_settings([*settings, "training.selection=null"])
        generator = EventGenerator(recipe).fit(events, device="cpu")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "generated.root"

            def made(n: int, generator=generator, path=path) -> None:
                produce(generator, n, path, workers=options.workers, force=True)

            n = BLOCK * max(
                round(cost(made, min(4, options.blocks) * BLOCK).rate * options.seconds / BLOCK),
                options.blocks,
            )
            made(n)
            measured = (
                network(generator, options.workers, chunks=False),
                network(generator, options.workers, chunks=True),
                writing(path, path.with_name("alone.root")),
                made,
            )
            rounds = [[cost(function, n) for function in measured] for _ in range(options.rounds)]
        costs = list(zip(*rounds, strict=True))
        rates = [statistics.median(c.rate for c in column) for column in costs]
        cpu = [statistics.median(c.cpu for c in column) for column in costs]
        plain = statistics.median(p.rate / min(a.rate, w.rate) for a, _, w, p in rounds)
        chunked = statistics.median(p.rate / min(c.rate, w.rate) for _, c, w, p in rounds)
        share = statistics.median(a.cpu / p.cpu for a, _, _, p in rounds)
        share_chunked = statistics.median(c.cpu / p.cpu for _, c, _, p in rounds)
        print(
            f"{name:<10}" + "".join(f"{r:>11,.0f}" for r in rates) + f"   {plain:.2f} (chunks {chunked:.2f})"
        )
        print(
            f"{'':<10}"
            + "".join(f"{c:>11.2f}" for c in cpu)
            + f"   {share:.2f} (chunks {share_chunked:.2f}) of the CPU time"
        )


if __name__ == "__main__":
    main()
