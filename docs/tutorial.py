"""The tutorial: Z -> mu mu from a ROOT file to a report. It makes the pictures of docs/tutorial.md.

python docs/tutorial.py                                        # simulates the events (extra pythia)
python docs/tutorial.py --train train.root --test test.root    # or takes them from files
"""

from __future__ import annotations

import argparse
from pathlib import Path

import hepgan
from hepgan.datasets import make_dataset
from hepgan.plotting.training import plot_history

FIGURES = Path(__file__).parent / "figures"


def simulate(work: Path) -> tuple[Path, Path]:
    # [simulate]
    train, test = work / "zmumu_train.root", work / "zmumu_test.root"
    make_dataset("zmumu", 100_000, train, seed=1, force=True)
    make_dataset("zmumu", 50_000, test, seed=2, force=True)
    # [end]
    return train, test


def learn(train: Path, work: Path, max_time: float | None) -> hepgan.EventGenerator:
    # [learn]
    recipe = hepgan.load_recipe("zmumu")
    events = hepgan.read_events(train, branches=recipe.branches)
    generator = hepgan.EventGenerator(recipe).fit(events, seed=0, max_time=max_time, progress=True)
    generator.save(work / "zmumu.safetensors", force=True)
    # [end]
    return generator


def generate(work: Path, number: int) -> Path:
    # [generate]
    generator = hepgan.EventGenerator.load(work / "zmumu.safetensors")
    production = hepgan.produce(generator, number, work / "generated.root", seed=1, force=True)
    print(f"{production.events / production.seconds:,.0f} events/s")
    # [end]
    return production.files[0]


def judge(train: Path, test: Path, generated: Path, work: Path) -> hepgan.Comparison:
    # [compare]
    recipe = hepgan.load_recipe("zmumu")
    comparison = hepgan.compare(
        hepgan.read_events(test, branches=recipe.branches),
        hepgan.read_events(generated, branches=recipe.branches),
        recipe.make_observables(),
        train=hepgan.read_events(train, branches=recipe.branches),
    )
    comparison.save(work / "report", force=True)
    print("\n".join(comparison.verdicts()))
    # [end]
    return comparison


def draw(generator: hepgan.EventGenerator, comparison: hepgan.Comparison, figures: Path) -> None:
    figures.mkdir(parents=True, exist_ok=True)
    pictures = {
        "history": plot_history(generator.history),
        # [plots]
        "mass": comparison.plot("m_mumu"),
        "pt": comparison.plot("pt_mumu"),
        "n_jet": comparison.plot("n_jet"),
        "met": comparison.plot("met"),
        "isolation": comparison.plot("iso_ch"),
        "recoil": comparison.plot_2d("pt_mumu", "pt_jet1"),
        "correlations": comparison.plot_correlations(),
        "classifier": comparison.plot_classifier(),
        # [end]
    }
    for name, figure in pictures.items():
        figure.savefig(figures / f"{name}.png", dpi=72, bbox_inches="tight", metadata={"Software": None})
    lines = [f"{line}\n" for line in generator.describe() if not line.startswith(("events", "written"))]
    (figures / "model.txt").write_text("".join(lines), encoding="utf-8")
    (figures / "verdicts.txt").write_text("\n".join(comparison.verdicts()) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--train", type=Path, help="training events; simulated if not given")
    parser.add_argument("--test", type=Path, help="test events; simulated if not given")
    parser.add_argument(
        "--work", type=Path, default=Path("tutorial"), help="folder for model, events, report"
    )
    parser.add_argument("--figures", type=Path, default=FIGURES, help="folder for the pictures")
    parser.add_argument("--events", type=int, default=100_000, help="events to generate")
    parser.add_argument(
        "--max-time", type=float, help="longest training in seconds; the recipe's if not given"
    )
    options = parser.parse_args(arguments)
    if (options.train is None) != (options.test is None):
        parser.error("give both --train and --test, or neither")
    options.work.mkdir(parents=True, exist_ok=True)
    train, test = (options.train, options.test) if options.train else simulate(options.work)
    generator = learn(train, options.work, options.max_time)
    comparison = judge(train, test, generate(options.work, options.events), options.work)
    draw(generator, comparison, options.figures)


if __name__ == "__main__":
    main()
