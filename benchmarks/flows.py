"""Flows next to zuko's of the same shape, and to the matrix products that neither can do without.

Run with ``OMP_NUM_THREADS=1 python benchmarks/flows.py``; needs zuko (``pip install zuko``). Each flow has 16
features and networks of three layers of 256; hepgan's has its scales, shifts and learned rotations besides.
Splines alone are timed, too. All run in turns; the medians of the rates are printed, and of their ratios.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from functools import partial

import torch
import zuko
from common import in_turns, parser_of
from torch import nn

from hepgan.features.space import FeatureSpace
from hepgan.models import FlowConfig, build_model
from hepgan.models.layers import spline
from hepgan.networks import MLPConfig

FEATURES, BINS, WIDTHS = 16, 8, (256, 256, 256)
SPLINE = {
    "univariate": zuko.transforms.MonotonicRQSTransform,
    "shapes": [(BINS,), (BINS,), (BINS - 1,)],
}

Rates = Mapping[str, Callable[[], object]]


def own(layer: str, transform: str, blocks: int) -> nn.Module:
    """A flow of hepgan."""
    network = MLPConfig(widths=WIDTHS, activation="relu")
    config = FlowConfig(
        layer=layer, transform=transform, blocks=blocks, bins=BINS, network=network, rotations="learned"
    )
    return build_model(config, FeatureSpace(FEATURES, 0))


def peer(layer: str, transform: str, blocks: int) -> nn.Module:
    """The flow of zuko."""
    common = {"transforms": blocks, "hidden_features": WIDTHS}
    if layer == "autoregressive":
        return zuko.flows.NSF(FEATURES, bins=BINS, **common)
    return zuko.flows.NICE(FEATURES, **common, **(SPLINE if transform == "spline" else {}))


def training(flow: nn.Module, log_prob: Callable[[torch.Tensor], torch.Tensor], batch: int) -> Callable:
    """A function that makes one step."""
    x = torch.randn(batch, FEATURES)
    optimiser = torch.optim.Adam(flow.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        optimiser.zero_grad()
        (-log_prob(x).mean()).backward()
        optimiser.step()

    return step


def products(flow: nn.Module, batch: int, *, backward: bool) -> Callable[[], None]:
    """A function that does the products of all linear layers of a flow."""
    work = []
    for layer in flow.modules():
        if isinstance(layer, nn.Linear):
            o, i = layer.weight.shape
            work.append((torch.randn(batch, i), torch.randn(o, i), torch.randn(batch, o)))

    def run() -> None:
        for x, w, g in work:
            torch.mm(x, w.t())
            if backward:
                torch.mm(g, w)
                torch.mm(g.t(), x)

    return run


def of_flows(layer: str, transform: str, blocks: int, batch: int) -> dict[str, Rates]:
    """What is to be timed of flows of one shape."""
    torch.manual_seed(1)
    ours, theirs = own(layer, transform, blocks), peer(layer, transform, blocks)
    z, context = torch.randn(batch, FEATURES), torch.zeros(batch, 0)
    name = f"{layer}, {transform}, {blocks} blocks"
    return {
        f"{name}, training": {
            "hepgan": training(ours, lambda x: ours.log_prob(x, context, None), batch),
            "zuko": training(theirs, lambda x: theirs().log_prob(x), batch),
            "products": products(ours, batch, backward=True),
        },
        f"{name}, sampling": {
            "hepgan": torch.no_grad()(lambda: ours.sample(z, context, None)),
            "zuko": torch.no_grad()(lambda: theirs().transform.inv(z)),
            "products": products(ours, batch, backward=False),
        },
    }


def of_splines(batch: int) -> dict[str, Rates]:
    """What is to be timed of the splines of half of the features."""
    features = FEATURES // 2
    x = torch.randn(batch, features)
    raw = torch.randn(batch, features * (3 * BINS - 1), requires_grad=True)

    def ours() -> tuple[torch.Tensor, torch.Tensor]:
        parameters = raw.t().contiguous().view(-1, features, batch)
        y, slopes = spline(x.t(), parameters, bins=BINS, bound=5.0)
        return y.t(), slopes.t()

    def theirs() -> tuple[torch.Tensor, torch.Tensor]:
        parts = raw.view(batch, features, -1).split([BINS, BINS, BINS - 1], -1)
        return zuko.transforms.MonotonicRQSTransform(*parts).call_and_ladj(x)

    def with_gradient(function: Callable) -> None:
        raw.grad = None
        y, slopes = function()
        (y.sum() + slopes.sum()).backward()

    return {
        "splines alone": {"hepgan": torch.no_grad()(ours), "zuko": torch.no_grad()(theirs)},
        "splines alone, gradients": {
            "hepgan": partial(with_gradient, ours),
            "zuko": partial(with_gradient, theirs),
        },
    }


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--batch", type=int, default=2048, help="events in a batch")
    parser.add_argument("--seconds", type=float, default=1.0, help="seconds of each of the rounds")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    cases = of_splines(options.batch)
    for shape in (("coupling", "affine", 10), ("coupling", "spline", 12), ("autoregressive", "spline", 4)):
        cases |= of_flows(*shape, options.batch)
    print(f"{'events/s':<45}{'hepgan':>12}{'zuko':>12}{'ratio':>8}{'share of products':>20}")
    for name, functions in cases.items():
        for function in functions.values():
            function()
        found = in_turns(list(functions.values()), options.rounds, options.seconds)
        rounds = [dict(zip(functions, times, strict=True)) for times in zip(*found, strict=True)]
        rates = [
            f"{options.batch / statistics.median(r[n] for r in rounds):,.0f}" for n in ("hepgan", "zuko")
        ]
        ratio = statistics.median(r["zuko"] / r["hepgan"] for r in rounds)
        shares = [r["products"] / r["hepgan"] for r in rounds if "products" in r]
        share = f"{statistics.median(shares):.2f}" if shares else ""
        print(f"{name:<45}{rates[0]:>12}{rates[1]:>12}{ratio:>8.2f}{share:>20}", flush=True)


if __name__ == "__main__":
    main()
