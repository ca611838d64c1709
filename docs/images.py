"""Images of jets, simulated and generated: makes the pictures of docs/images.md.

hepgan train jet-images jet_images_train.root -o images.safetensors
python docs/images.py images.safetensors jet_images_test.root jet_images_train.root
"""

from __future__ import annotations

import argparse
from pathlib import Path

import hepgan
from hepgan.plotting.images import plot_examples, plot_means, plot_spectra

FIGURES = Path(__file__).parent / "figures"


def main() -> None:
    """Compares and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("train", type=Path)
    chosen = parser.parse_args()
    generator = hepgan.EventGenerator.load(chosen.model)
    preparation, branches = generator.recipe.events.preparation, generator.recipe.branches
    test, train = (preparation.read(path, branches=branches) for path in (chosen.test, chosen.train))
    made = generator.generate(len(test), seed=1, condition={"label": test.label.to_numpy()})
    names = ("mass", "pt", "tau21", "number")
    observables = {name: generator.recipe.make_observables()[name] for name in names}
    comparison = hepgan.compare(test, made, observables, train=train, category="label", seed=0)
    parts = {label: result.images["Image"] for label, result in comparison.results.items()}
    for name, plot in (("means", plot_means), ("spectrum", plot_spectra), ("examples", plot_examples)):
        plot(parts).savefig(FIGURES / f"images_{name}.png", dpi=80)
    print(*comparison.verdicts(), sep="\n")


if __name__ == "__main__":
    main()
