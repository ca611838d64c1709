"""Cost of observables of eight partons: ``OMP_NUM_THREADS=1 python benchmarks/observables.py``.

Prints microseconds per event in batches of float32, without and with the gradient, and their ratio to a
baseline in the same run: cosines and weights of the energy-energy correlation by hand, as two products of
dense (8, 8) matrices. One thread, the median of the repetitions, all in turn.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from common import parser_of
from torch import Tensor

from hepgan.events import EventBatch, EventSchema
from hepgan.events.batch import Objects
from hepgan.observables import Observable, standard
from hepgan.observables.shapes import basis, distances

Compute = Callable[[list[Tensor]], list[Tensor]]

PARTONS = 8
NAMES = ("px", "py", "pz", "energy")
STANDARD = (
    *("eec", "aeec", "teec", "thrust", "sphericity", "pair_mass", "opening_angle"),
    *("event_mass", "momentum_balance"),
)


def momenta(size: int) -> list[Tensor]:
    """Random massless partons, (N, 8) each."""
    generator = torch.Generator().manual_seed(1)
    p = torch.randn((3, size, PARTONS), generator=generator) * 10
    return [*p, p.norm(dim=0)]


def batch_of(parts: list[Tensor]) -> EventBatch:
    """The same as events, of which a quarter have fewer partons."""
    size = len(parts[0])
    mask = torch.arange(PARTONS) < (PARTONS - torch.arange(size) % 4 * (torch.arange(size) % 4 == 3))[:, None]
    fields = {n: t * mask for n, t in zip(NAMES, parts, strict=True)}
    return EventBatch(EventSchema(), {"Parton": Objects(fields, mask)})


def by_hand(parts: list[Tensor]) -> list[Tensor]:
    """Cosines and weights of all pairs (N, 8, 8)."""
    p, energy = torch.stack(parts[:3], dim=-1), parts[3]
    unit = p / p.norm(dim=-1, keepdim=True)
    share = energy / energy.sum(1, keepdim=True)
    return [unit @ unit.mT, share.unsqueeze(2) * share.unsqueeze(1)]


def conversion(parts: list[Tensor]) -> list[Tensor]:
    """The events alone."""
    return [batch_of(parts).Parton.px]


def of(observable: Observable) -> Compute:
    """Values, and weights where there are some."""

    def compute(parts: list[Tensor]) -> list[Tensor]:
        flat = observable.flat(batch_of(parts))
        return [t for t in (flat.values, flat.weight) if t is not None]

    return compute


def all_polynomials(parts: list[Tensor]) -> list[Tensor]:
    """The basis of 36 energy flow polynomials at once, in the hadronic measure."""
    partons = batch_of(parts).Parton
    z = torch.where(partons.mask, partons.pt, 0.0)
    return [basis(z / z.sum(1, keepdim=True), distances(partons.momentum, partons.mask).sqrt())]


def run(compute: Compute, parts: list[Tensor], backward: bool) -> float:
    """Seconds of one call, with its gradient if wanted."""
    leaves = [p.clone().requires_grad_(backward) for p in parts]
    start = time.perf_counter()
    with torch.set_grad_enabled(backward):
        found = compute(leaves)
        if backward:
            torch.autograd.backward([t.sum() for t in found])
    return time.perf_counter() - start


def main() -> None:
    """Times all and prints the table."""
    parser = parser_of(__doc__)
    parser.add_argument("-n", type=int, default=1024, help="events in a batch (default: %(default)s)")
    parser.add_argument("-r", "--repetitions", type=int, default=41)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    parts = momenta(arguments.n)
    cases: dict[str, Compute] = {"by hand": by_hand, "conversion alone": conversion}
    cases |= {name: of(standard(name, "Parton")) for name in STANDARD}
    cases |= {"all 36 EFPs": all_polynomials, "EFP 17 alone": of(standard("efp", "Parton", number=17))}
    for backward in (False, True):
        shown = [n for n in cases if not (backward and n == "conversion alone")]
        times: dict[str, list[float]] = {name: [] for name in shown}
        for _ in range(arguments.repetitions):
            for name in shown:
                times[name].append(run(cases[name], parts, backward))
        cost = {name: statistics.median(t) / arguments.n * 1e6 for name, t in times.items()}
        cost["together, without EFPs"] = sum(cost[n] for n in STANDARD)
        print(f"{'with gradient' if backward else 'values':24}{'us/event':>10}{'ratio':>8}")
        for name, value in cost.items():
            print(f"{name:24}{value:>10.2f}{value / cost['by hand']:>8.1f}")


if __name__ == "__main__":
    main()
