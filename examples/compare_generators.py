"""Compare several generated samples with one of true events, in one report.

python compare_generators.py test.root flow=flow.root gan=gan.root --recipe zmumu --output report
"""

from __future__ import annotations

import argparse
from pathlib import Path

import hepgan
from hepgan.validation import compare_files


def main(arguments: list[str] | None = None) -> None:
    """Compares the samples, and prints how near each comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("reference", help="true events, file.root:Tree")
    parser.add_argument("samples", nargs="+", metavar="LABEL=FILE", help="generated events")
    parser.add_argument("--recipe", help="take the observables of a recipe")
    parser.add_argument("--train", help="the training events, for floors and memorisation")
    parser.add_argument("--output", type=Path, default=Path("report"))
    options = parser.parse_args(arguments)

    samples = dict(text.split("=", 1) for text in options.samples)
    observables = None if options.recipe is None else hepgan.load_recipe(options.recipe).make_observables()
    comparison = compare_files(options.reference, samples, observables, train=options.train)
    comparison.save(options.output, force=True)

    print("\n".join(comparison.overview()))
    for label in comparison.labels:
        found = comparison[label].metrics["observables"]
        worst = max(found, key=lambda name: found[name]["wasserstein"]["value"])
        print(f"{label}: {worst} is {found[worst]['wasserstein']['value']:.3f} standard deviations off")


if __name__ == "__main__":
    main()
