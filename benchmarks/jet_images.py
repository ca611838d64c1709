"""Images of jets: a recipe's images against simulated ones, by all that tells them apart.

Each recipe learns the images of the training sample, and makes as many as there are in the test sample, with
its classes. Then

- W1 of observables of the image, in standard deviations of the class, the larger one of the two classes;
- the distance of all contents, of their logarithm; the mean image and the occupancy;
- the AUC of trees in the observables and of a convolutional network;
- classifiers of the two classes that learned from generated images, on simulated ones, and how often those of
  simulated images find in a generated one the class that was asked for, and are not sure;
- images a second, and whether a pixel has less than the least one of the training images.

The last column of a recipe is the floor, the same between training and test images::

    python benchmarks/jet_images.py ../shared/data --recipes jet-images --max-time 300
"""

import time
import warnings

import numpy as np
from common import options, print_table, read
from scipy.stats import wasserstein_distance

import hepgan
from hepgan.observables import Observable
from hepgan.observables.preparation import Preparation
from hepgan.stats.image_distances import EVERYTHING

OBSERVABLES = {
    "m": "sum(cells(Image)).mass",
    "pT": "sum(cells(Image)).pt",
    "tau21": "where(nsubjettiness(cells(Image), 1) > 0, "
    "nsubjettiness(cells(Image), 2) / nsubjettiness(cells(Image), 1), 0)",
    "tau32": "where(nsubjettiness(cells(Image), 2) > 0, "
    "nsubjettiness(cells(Image), 3) / nsubjettiness(cells(Image), 2), 0)",
    "tau1": "nsubjettiness(cells(Image), 1)",
    "pixels": "count(cells(Image))",
    "largest": "max(cells(Image).pt)",
    "pT D": "sqrt(sum(cells(Image).pt ** 2)) / sum(cells(Image).pt)",
    "width": "sum(cells(Image).pt * cells(Image).deltaR(sum(cells(Image)))) / sum(cells(Image).pt)",
    "above 10 GeV": "sum(Image > 10)",
    "label": "label",
}


def distances(true, made):
    """W1 of each observable in standard deviations, the larger one of the classes; and of all contents."""
    found = {}
    for name, text in OBSERVABLES.items():
        if name == "label":
            continue
        a, b = (np.asarray(Observable(name, text).flat(e).values, np.float64) for e in (true, made))
        each = []
        for label in (0, 1):
            x, y = (v[np.asarray(e.label) == label] for v, e in ((a, true), (b, made)))
            each.append(wasserstein_distance(x, y) / x.std())
        found[f"W1, {name}"] = max(each)
    x, y = (np.asarray(e.Image, np.float64) for e in (true, made))
    found["W1, log content"] = wasserstein_distance(np.log(x[x > 0]), np.log(y[y > 0]))
    return found


def judged(true, made, train, seed):
    """All figures of a sample, each with its floor."""
    kept = [e[["Image", "label"]] for e in (true, made, train)]
    comparison = hepgan.compare(
        kept[0], kept[1], OBSERVABLES, train=kept[2], category="label", seed=seed, n_jobs=1
    )
    (result,) = comparison.results.values()
    own, floors = distances(kept[0], kept[1]), distances(kept[0], kept[2][: len(true)])
    figures = {name: (f"{value:.3f}", f"{floors[name]:.3f}") for name, value in own.items()}

    def add(name, metric, digits=3):
        figures[name] = (f"{metric.value:.{digits}f}", f"{metric.floor:.{digits}f}")

    image = result.images["Image"]
    add("L1 of mean image", image.mean_image[EVERYTHING])
    add("L1 of occupancy", image.occupancy)
    add("AUC of trees", result.classifier.auc)
    add("AUC of a convolutional network", result.convolution.auc)
    for what, test in result.transfers.items():
        add(f"{what}: learned from generated, on simulated, AUC", test.generated_to_true)
        add(f"{what}: class found", test.found)
        add(f"{what}: not sure", test.grey)
    return figures


def main():
    """Trains, generates and prints the table."""
    chosen = options(__doc__, ["jet-images"], 300.0, 5000).parse_args()
    train, test = (read(chosen, f"jet_images_{part}") for part in ("train", "test"))
    columns = {}
    for recipe in chosen.recipes:
        loaded = hepgan.load_recipe(recipe).with_settings(chosen.set)
        path = chosen.models / f"{recipe}.safetensors" if chosen.models else None
        started = time.process_time()
        if path is not None and path.exists():
            generator = hepgan.EventGenerator.load(path)
        else:
            generator = hepgan.EventGenerator(loaded).fit(train, seed=chosen.seed, max_time=chosen.max_time)
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                generator.save(path)
        seconds = time.process_time() - started
        preparation = Preparation(loaded.events.prepared)
        true, known = (preparation(e) for e in (test, train))
        number = min(chosen.events, len(true))
        generator.generate(64, seed=2)
        wall, cpu = time.perf_counter(), time.process_time()
        made = generator.generate(number, seed=1, condition={"label": np.asarray(true.label[:number])})
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        least = np.asarray(known.Image)[np.asarray(known.Image) > 0].min()
        contents = np.asarray(made.Image)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            figures = judged(true[:number], made, known, chosen.seed)
        columns[recipe] = {
            "steps": f"{generator.summary['steps']:,}",
            "CPU seconds": f"{seconds:.0f}",
            **{name: value for name, (value, _) in figures.items()},
            "images/s": f"{number / wall:,.0f}",
            "images/s of CPU": f"{number / cpu:,.0f}",
            "pixels below the least of training": f"{int(((contents > 0) & (contents < least)).sum())}",
        }
        columns[f"floor of {recipe}"] = {name: floor for name, (_, floor) in figures.items()}
    print_table(columns)


if __name__ == "__main__":
    main()
