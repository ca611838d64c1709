"""Surfaces of the losses of a GAN with dense and with residual networks, after equally many steps.

    python benchmarks/loss_surfaces.py DATA [--steps 2000] [--figure surfaces.png]

DATA holds fatgan_50gev.root. Generator and critic have 15 hidden layers of 128 units, or 7 residual blocks
of two matrices each. Prints, for the adversarial term of the generator and for the critic's own, the
roughness of the surface (the share of its variance that no paraboloid describes) for several pairs of
directions.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from common import parser_of, print_table, read

import hepgan
from hepgan.explanation import loss_surface
from hepgan.plotting.explanation import plot_surfaces

NETWORKS = {
    "dense": f"{{kind: mlp, widths: {[128] * 15}}}",
    "residual": "{kind: residual, width: 128, blocks: 7}",
}
TERMS = ("critic_adversarial", "critic")
SEEDS = 3


def main() -> None:
    """Runs it."""
    parser = parser_of(__doc__, data=True)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--points", type=int, default=13, help="of a surface, along each direction")
    parser.add_argument("--figure", type=Path)
    chosen = parser.parse_args()
    events = read(chosen, "fatgan_50gev")
    columns: dict[str, dict[str, str]] = {}
    shown = {}
    for name, network in NETWORKS.items():
        settings = [f"model.generator={network}", f"model.critics.0.network={network}"]
        settings += ["training.batch_size=256", f"training.steps={chosen.steps}"]
        recipe = hepgan.load_recipe("fat-gan").with_settings(settings)
        generator = hepgan.EventGenerator(recipe).fit(events)
        row = {"steps": f"{chosen.steps:,}", "seconds": f"{generator.summary['seconds']:.0f}"}
        for term in TERMS:
            found = [
                loss_surface(generator, events, term, points=chosen.points, n=512, seed=s)
                for s in range(SEEDS)
            ]
            rough = [f.roughness for f in found]
            row[f"roughness, {term}"] = f"{np.mean(rough):.3f} ({min(rough):.3f} to {max(rough):.3f})"
            shown[f"{name}, {term}"] = found[0]
        columns[name] = row
    print_table(columns)
    if chosen.figure is not None:
        plot_surfaces({name: shown[name] for name in sorted(shown, reverse=True)}).savefig(
            chosen.figure, dpi=60
        )


if __name__ == "__main__":
    main()
