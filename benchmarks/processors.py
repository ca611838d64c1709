"""Analyses of coffea users on generated events: drafted by what each reads, trained, judged by their yields.

For each of the analyses in ``examples/analyses.py`` a recipe is drafted by the branches that it reads of the
training file, and trained as it stands. The analysis then runs on other true events and on generated ones,
in each of coffea's modes. Yields are for the number of true events, and compared with those of other true
events and of the training file. The floor is that of the training file against other true events::

    python benchmarks/processors.py ../shared/data --max-time 300 --events 100000
"""

import importlib.util
import math
import sys
import tempfile
import warnings
from pathlib import Path

from common import parser_of, print_table

import hepgan
from hepgan.coffea import branches_read
from hepgan.recipes import draft_recipe, load_recipe
from hepgan.recipes.document import parse_yaml

EXAMPLES = Path(__file__).parents[1] / "examples" / "analyses.py"
MODES = ("eager", "virtual", "dask")


def analyses():
    """The module with the analyses."""
    spec = importlib.util.spec_from_file_location("analyses", EXAMPLES)
    module = importlib.util.module_from_spec(spec)
    sys.modules["analyses"] = module
    spec.loader.exec_module(module)
    return module


def modes():
    """The modes of coffea for which all is installed."""
    return MODES if importlib.util.find_spec("dask_awkward") else MODES[:2]


def total(file):
    """The sum of weights of a file."""
    return float(hepgan.read_events(file, branches=["genWeight"], on_bad="keep").genWeight.to_numpy().sum())


def training_file(chosen):
    """The file that is learned from."""
    return chosen.data / f"{chosen.sample}_train.root"


def distance(found, true, scale):
    """A yield in the scale of the true one, its error, and how many errors of both it is off."""
    value, error = found[0] * scale, math.sqrt(found[1]) * scale
    together = math.hypot(error, math.sqrt(true[1]))
    return value, error, (value - true[0]) / together if together else 0.0


def rms(pulls):
    """How far yields are apart, in errors."""
    return math.sqrt(sum(p * p for p in pulls) / len(pulls))


def generated(analysis, chosen, folder):
    """A file of events that were learned for an analysis, and the training."""
    train = training_file(chosen)
    cut = folder / "train.root"
    if chosen.limit:
        hepgan.write_events(cut, hepgan.read_events(train, entry_stop=chosen.limit), force=True)
        train = cut
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        text = draft_recipe(str(train), name="drafted", read=branches_read(str(train), analysis))
    recipe = load_recipe(parse_yaml(text, "drafted")).with_settings(chosen.set)
    events = hepgan.read_events(train, schema=recipe.events.layout, branches=recipe.branches)
    generator = hepgan.EventGenerator(recipe).fit(events, seed=chosen.seed, max_time=chosen.max_time)
    out = folder / "generated.root"
    hepgan.produce(generator, chosen.events, out, seed=1, force=True)
    return out, generator.summary


def main() -> None:
    """Prints the yields of each analysis, and how far they are apart."""
    parser = parser_of(__doc__, data=True)
    parser.add_argument("--sample", default="multilepton")
    parser.add_argument("--analyses", nargs="+", default=["Dimuons", "TopPairs", "Probes"])
    parser.add_argument("--max-time", type=float, default=300.0)
    parser.add_argument("--events", type=int, default=100_000, help="events to generate")
    parser.add_argument("--set", action="append", default=[], help="settings of the recipes")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    module, test = analyses(), chosen.data / f"{chosen.sample}_test.root"
    summary = {}
    for name in chosen.analyses:
        analysis = getattr(module, name)()
        with tempfile.TemporaryDirectory() as folder:
            made, training = generated(analysis, chosen, Path(folder))
            scale, known = (total(test) / total(f) for f in (made, training_file(chosen)))
            true, learned = (module.analyse(f, analysis) for f in (test, training_file(chosen)))
            each = [module.analyse(made, analysis, mode) for mode in modes()]
        names = ("true", "generated", "difference / error", "floor of that", "of the training file")
        columns = {n: {} for n in names}
        pulls, floor, own = [], [], []
        for region, (value, squares) in true.items():
            columns["true"][region] = f"{value:,.0f} ± {math.sqrt(squares):,.0f}"
            if region not in each[0]:
                continue
            found, error, pull = distance(each[0][region], true[region], scale)
            pulls.append(pull)
            floor.append(distance(learned[region], true[region], known)[2])
            columns["generated"][region] = f"{found:,.0f} ± {error:,.0f}"
            columns["difference / error"][region] = f"{pull:+.1f}"
            columns["floor of that"][region] = f"{floor[-1]:+.1f}"
            original = tuple(part * known**k for k, part in enumerate(learned[region], 1))
            own.append(distance(each[0][region], original, scale)[2])
            columns["of the training file"][region] = f"{own[-1]:+.1f}"
        print(f"\n{name}\n")
        print_table(columns)
        summary[name] = {
            "steps": f"{training['steps']:,}",
            "yields": f"{len(true)}",
            "on generated events": f"{len(pulls)}",
            "within 2 errors": f"{sum(abs(p) <= 2 for p in pulls)} (floor {sum(abs(p) <= 2 for p in floor)})",
            "root mean square of difference / error": f"{rms(pulls):.2f} (floor {rms(floor):.2f})",
            "the same, of the training file": f"{rms(own):.2f}",
            "within 2 errors of the training file": f"{sum(abs(p) <= 2 for p in own)}",
            "modes that agree": f"{sum(e == each[0] for e in each)} of {len(each)}",
        }
    print()
    print_table(summary)


if __name__ == "__main__":
    main()
