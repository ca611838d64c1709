"""Drafts for few events, as they stand: do generated events run away, is the Z there, are events copies?

    python benchmarks/small_samples.py DATA [--sizes 2000 5000 20000] [--set training.steps=600]

Muons and missing momentum of the events of multilepton_train.root that have muons, in Cartesian momenta and
without weights, as in the file HZZ of the uproot tutorials; judged on those of multilepton_test.root. In
brackets is the floor, the same figure of the training events.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import awkward as ak
import numpy as np
import numpy.typing as npt
from common import parser_of, print_table, read

import hepgan
from hepgan.observables.table import Table
from hepgan.recipes.document import parse_yaml
from hepgan.recipes.drafting.draft import draft_recipe
from hepgan.recipes.recipe import load_recipe
from hepgan.stats.distances import ks
from hepgan.stats.memorisation import memorisation

Floats = npt.NDArray[np.float64]

FAR = 1.5
"""A muon of so many times the largest pT of the training events has run away."""


def hzz(events: ak.Array) -> ak.Array:
    """Muons and missing momentum of events with muons, in the layout of HZZ."""
    events = events[ak.num(events.Muon) > 0]
    muons, met = ak.with_name(events.Muon, "Momentum4D"), events.MET
    found = {"Px": muons.px, "Py": muons.py, "Pz": muons.pz, "E": muons.energy}
    fields = {n: ak.values_astype(v, np.float32) for n, v in found.items()}
    fields |= {"Charge": events.Muon.charge, "Iso": events.Muon.iso}
    missing = {"px": met.pt * np.cos(met.phi), "py": met.pt * np.sin(met.phi)}
    return ak.zip({"Muon": ak.zip(fields), "MET": ak.zip(missing)}, depth_limit=1)


def vectors(events: ak.Array) -> ak.Array:
    """The muons in float64, whatever their components are called."""
    names = {"px": "Px", "py": "Py", "pz": "Pz", "energy": "E"}
    there = events.Muon.fields
    found = {n: events.Muon[n if n in there else other] for n, other in names.items()}
    return ak.zip({n: ak.values_astype(v, np.float64) for n, v in found.items()}, with_name="Momentum4D")


def masses(events: ak.Array) -> Floats:
    """The mass of each pair of muons of opposite charge."""
    a, b = ak.unzip(ak.combinations(vectors(events), 2))
    p, q = ak.unzip(ak.combinations(events.Muon.Charge, 2))
    return ak.to_numpy(ak.flatten((a + b).mass[p + q == 0]))


def leading(events: ak.Array) -> Floats:
    """The largest pT of a muon in each event."""
    return ak.to_numpy(ak.fill_none(ak.max(vectors(events).pt, axis=1), 0.0))


def table(events: ak.Array) -> Table:
    """The momenta of two muons, which may be missing, and the missing momentum."""
    muons = ak.pad_none(vectors(events), 2, clip=True)
    columns = {f"{n}{i}": ak.fill_none(muons[n][:, i], np.nan) for n in ("px", "py", "pz") for i in (0, 1)}
    columns |= {f"met_{n}": events.MET[n] for n in ("px", "py")}
    values = np.stack([ak.to_numpy(v).astype(np.float64) for v in columns.values()], axis=1)
    return Table(tuple(columns), values, np.ones(len(events)))


def judged(made: ak.Array, train: ak.Array, test: ak.Array) -> dict[str, str]:
    """Figures of generated events."""
    p, top = leading(made), leading(train).max()
    tables = [table(events) for events in (test, made, train)]
    near = memorisation(*tables, rng=np.random.default_rng(1))
    return {
        "muons beyond 1.5 times the largest": f"{(p > FAR * top).sum():,} of {len(made):,}",
        "largest muon pT": f"{p.max():,.0f} ({top:,.0f})",
        "KS of m(mumu)": f"{ks(masses(made), masses(test)):.4f} ({ks(masses(train), masses(test)):.4f})",
        "KS of leading pT": f"{ks(p, leading(test)):.4f} ({ks(leading(train), leading(test)):.4f})",
        "nearest training event, ratio of medians": f"{near.ratio_of_medians.value:.3f} (1)",
        "closer than the nearest 1%": f"{near.close_fraction.value:.4f} (0.01)",
    }


def written(events: ak.Array, path: Path) -> ak.Array:
    """Events as a file gives them."""
    hepgan.write_events(path, events)
    return hepgan.read_events(path)


def main() -> None:
    """Runs it."""
    parser = parser_of(__doc__, data=True)
    parser.add_argument("--sizes", nargs="+", type=int, default=[2_000, 5_000, 20_000])
    parser.add_argument("--events", type=int, default=50_000, help="events to generate")
    parser.add_argument("--set", action="append", default=[], help="settings of the recipes")
    chosen = parser.parse_args()
    train, test = (hzz(read(chosen, f"multilepton_{sample}")) for sample in ("train", "test"))
    columns = {}
    for size in chosen.sizes:
        with tempfile.TemporaryDirectory() as folder:
            known, true = (
                written(events, Path(folder) / f"{name}.root")
                for name, events in (("train", train[:size]), ("test", test))
            )
            draft = draft_recipe(f"{folder}/train.root", name="hzz")
            recipe = load_recipe(parse_yaml(draft, "hzz"))
        generator = hepgan.EventGenerator(recipe.with_settings(chosen.set)).fit(known, device="cpu")
        made = generator.generate(chosen.events, seed=1)
        training = {
            "steps": f"{generator.summary['steps']:,}",
            "seconds": f"{generator.summary['seconds']:.0f}",
        }
        columns[f"{size:,} events"] = {**training, **judged(made, known, true)}
    print_table(columns)


if __name__ == "__main__":
    main()
