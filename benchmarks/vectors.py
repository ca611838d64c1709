"""Speed of torch vectors against the same formulas by hand, in one run: ``python benchmarks/vectors.py``.

Prints, for each quantity, millions of pairs per second by hand and through `hepgan.vectors`, and the
ratio of the two. One thread, the median of the repetitions, the two ways in turn.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial

import torch
from common import in_turns, parser_of
from torch import Tensor

from hepgan import vectors

Columns = tuple[Tensor, ...]


def cartesian_mass_by_hand(a: Columns, b: Columns) -> Tensor:
    """Pair masses from columns (px, py, pz, E)."""
    px, py, pz, energy = (x + y for x, y in zip(a, b, strict=True))
    return (energy * energy - px * px - py * py - pz * pz).clamp_min(0).sqrt()


def cartesian_mass(a: Columns, b: Columns) -> Tensor:
    """The same through vectors."""
    names = ("px", "py", "pz", "E")
    one, two = (vectors.array(**dict(zip(names, v, strict=True))) for v in (a, b))
    return (one + two).mass


def to_cartesian_by_hand(v: Columns) -> Columns:
    """Columns (px, py, pz, E) from (pt, phi, eta, mass)."""
    pt, phi, eta, mass = v
    px, py, pz = pt * phi.cos(), pt * phi.sin(), pt * eta.sinh()
    return px, py, pz, (px * px + py * py + pz * pz + mass * mass).sqrt()


def polar_mass_by_hand(a: Columns, b: Columns) -> Tensor:
    """Pair masses from columns (pt, phi, eta, mass)."""
    return cartesian_mass_by_hand(to_cartesian_by_hand(a), to_cartesian_by_hand(b))


def polar(v: Columns) -> vectors.MomentumTorch4D:
    """Momenta from columns (pt, phi, eta, mass)."""
    return vectors.array(**dict(zip(("pt", "phi", "eta", "mass"), v, strict=True)))


def polar_mass(a: Columns, b: Columns) -> Tensor:
    """The same as `polar_mass_by_hand` through vectors."""
    return (polar(a) + polar(b)).mass


def delta_r_by_hand(a: Columns, b: Columns) -> Tensor:
    """Distances in (phi, eta) from columns (pt, phi, eta, mass)."""
    pi = torch.pi
    phi = (a[1] - b[1] + pi) % (2 * pi) - pi
    return (phi**2 + (a[2] - b[2]) ** 2).sqrt()


def delta_r(a: Columns, b: Columns) -> Tensor:
    """The same through vectors."""
    return polar(a).deltaR(polar(b))


CASES: dict[str, tuple[str, Callable[[Columns, Columns], Tensor], Callable[[Columns, Columns], Tensor]]] = {
    "pair mass, (px, py, pz, E)": ("cartesian", cartesian_mass_by_hand, cartesian_mass),
    "pair mass, (pt, phi, eta, m)": ("polar", polar_mass_by_hand, polar_mass),
    "deltaR": ("polar", delta_r_by_hand, delta_r),
}


def columns(system: str, n: int, seed: int) -> Columns:
    """Random particles of pt 1 to 100 GeV, in float32."""
    generator = torch.Generator().manual_seed(seed)
    pt, phi, eta, mass = torch.rand((4, n), generator=generator)
    v = (1 + 99 * pt, 6.28 * phi - 3.14, 5 * eta - 2.5, mass)
    return v if system == "polar" else to_cartesian_by_hand(v)


def seconds(functions: list[Callable[[], object]], repetitions: int) -> list[float]:
    """The median time of each function, called in turn."""
    return [statistics.median(taken) for taken in in_turns(functions, repetitions)]


def run(function: Callable[[Columns, Columns], Tensor], a: Columns, b: Columns, backward: bool) -> None:
    """One call, with its gradient if wanted."""
    value = function(a, b)
    if backward:
        value.sum().backward()


def main() -> None:
    """Times all cases and prints the table."""
    parser = parser_of(__doc__)
    parser.add_argument("-n", type=int, default=1_000_000, help="pairs (default: %(default)s)")
    parser.add_argument("-r", "--repetitions", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'':40}{'by hand':>8}{'vectors':>10}  (M pairs/s) {'ratio':>7}")
    for backward in (False, True):
        for label, (system, by_hand, through) in CASES.items():
            a, b = (columns(system, arguments.n, seed) for seed in (1, 2))
            if backward:
                a = tuple(x.requires_grad_() for x in a)
            else:
                torch.testing.assert_close(through(a, b), by_hand(a, b), rtol=1e-2, atol=0.1)
            calls = [partial(run, function, a, b, backward) for function in (by_hand, through)]
            hand, ours = (arguments.n / s / 1e6 for s in seconds(calls, arguments.repetitions))
            name = label + (" + gradient" if backward else "")
            print(f"{name:40}{hand:>8.1f}{ours:>10.1f}{'':14}{ours / hand:>6.2f}")


if __name__ == "__main__":
    main()
