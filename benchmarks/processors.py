"""Analyses of coffea users on generated events: drafted by what each reads, trained, judged by their yields.

For each of the analyses in ``examples/analyses.py`` a recipe is drafted by the branches that it reads of the
training file, and trained as it stands. The analysis then runs on other true events and on generated ones,
in each of coffea's modes. Yields are for the number of true events::

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


def generated(analysis, chosen, folder):
    """A file of events that were learned for an analysis, and the training."""
    train = chosen.data / f"{chosen.sample}_train.root"
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
            scale = total(test) / total(made)
            true = module.analyse(test, analysis)
            each = [module.analyse(made, analysis, mode) for mode in modes()]
        columns = {"true": {}, "generated": {}, "difference / error": {}}
        pulls = []
        for region, (value, squares) in true.items():
            if region not in each[0]:
                columns["true"][region] = f"{value:,.0f} ± {math.sqrt(squares):,.0f}"
                continue
            found, error = each[0][region][0] * scale, math.sqrt(each[0][region][1]) * scale
            together = math.hypot(error, math.sqrt(squares))
            pulls.append((found - value) / together if together else 0.0)
            columns["true"][region] = f"{value:,.0f} ± {math.sqrt(squares):,.0f}"
            columns["generated"][region] = f"{found:,.0f} ± {error:,.0f}"
            columns["difference / error"][region] = f"{pulls[-1]:+.1f}"
        print(f"\n{name}\n")
        print_table(columns)
        apart = math.sqrt(sum(p * p for p in pulls) / len(pulls))
        summary[name] = {
            "steps": f"{training['steps']:,}",
            "yields": f"{len(true)}",
            "on generated events": f"{len(pulls)}",
            "within 2 errors": f"{sum(abs(p) <= 2 for p in pulls)}",
            "root mean square of difference / error": f"{apart:.2f}",
            "modes that agree": f"{sum(e == each[0] for e in each)} of {len(each)}",
        }
    print()
    print_table(summary)


if __name__ == "__main__":
    main()
