"""Processors on files and on events made in workers, with each of coffea's executors: one result."""

from __future__ import annotations

import json
import pickle
from concurrent.futures import ProcessPoolExecutor

import awkward as ak
import hist
import numpy as np
import pytest
from cli_toys import FORKS
from coffea import processor
from coffea.nanoevents import NanoEventsFactory
from toys import dimuons

from hepgan.coffea import ComparisonProcessor, HepganSchema, process_generated, run_comparison
from hepgan.errors import InputError
from hepgan.generator import EventGenerator
from hepgan.observables import Observable
from hepgan.production import produce

N, STEP = 900, 250
CONDITION = {"npv": np.arange(N) % 20 + 10}
SETTINGS = {"seed": 5, "condition": CONDITION, "where": "nJet >= 1", "cross_section": 3.0}


class Dimuons(processor.ProcessorABC):
    """Sums over events that tell whether each is there once, with its weight."""

    def process(self, events):
        pair = events.Muon[:, 0] + events.Muon[:, 1]
        mass = hist.Hist(hist.axis.Regular(40, 60, 120), storage=hist.storage.Weight())
        mass.fill(ak.to_numpy(pair.mass), weight=ak.to_numpy(events.genWeight))
        return {
            events.metadata["dataset"]: {
                "mass": mass,
                "numbers": processor.column_accumulator(ak.to_numpy(events.event)),
                "npv": processor.column_accumulator(ak.to_numpy(events.npv)),
                "leading": processor.column_accumulator(ak.to_numpy(events.Jet.pt[:, 0])),
            }
        }

    def postprocess(self, accumulator):
        return accumulator


@pytest.fixture(scope="module")
def production(toy_generator, tmp_path_factory):
    folder = tmp_path_factory.mktemp("production")
    return produce(toy_generator, N, folder / "d", shard_size=300, **SETTINGS)


@pytest.fixture(params=["iterative", "futures", "dask"])
def executor(request):
    """Each of coffea's executors; two processes or workers."""
    if request.param == "iterative":
        yield processor.IterativeExecutor(status=False)
    elif request.param == "futures":
        # A fork of this process, whose threads hold locks, might wait for ever.
        with ProcessPoolExecutor(2, mp_context=FORKS) as pool:
            yield processor.FuturesExecutor(pool=pool, status=False)
    else:
        client = request.getfixturevalue("two_workers")
        yield processor.DaskExecutor(client=client, status=False)


def by_number(found: dict) -> dict[str, np.ndarray]:
    order = np.argsort(found["numbers"].value)
    return {name: found[name].value[order] for name in ("numbers", "npv", "leading")}


def run_on_files(production, executor, **options):
    run = processor.Runner(
        executor=executor, schema=HepganSchema, metadata_cache={}, chunksize=STEP, **options
    )
    return run(json.loads(production.fileset.read_text()), processor_instance=Dimuons())["toy"]


@pytest.fixture(scope="module")
def expected(production):
    found = run_on_files(production, processor.IterativeExecutor(status=False))
    assert by_number(found)["numbers"].tolist() == list(range(1, N + 1))
    assert by_number(found)["npv"].tolist() == CONDITION["npv"].tolist()
    assert found["mass"].sum(flow=True).value == pytest.approx(production.sum_of_weights)
    return found


def test_each_executor_finds_the_same_in_a_fileset(production, expected, executor):
    found = run_on_files(production, executor)
    assert found["mass"].view(flow=True)["value"] == pytest.approx(expected["mass"].view(flow=True)["value"])
    for name, values in by_number(found).items():
        assert np.array_equal(values, by_number(expected)[name])


def test_events_made_in_workers_are_those_of_files(toy_generator, expected, executor):
    found = process_generated(
        toy_generator, N, Dimuons(), executor=executor, dataset="toy", step=STEP, **SETTINGS
    )["toy"]
    assert found["mass"].view(flow=True)["value"] == pytest.approx(expected["mass"].view(flow=True)["value"])
    for name, values in by_number(found).items():
        assert np.array_equal(values, by_number(expected)[name])


def test_a_comparison_needs_no_files_of_generated_events(toy_generator, production, executor):
    """It is that with files, but for how the reference is split for floors."""
    observables = {
        "m": Observable("m", "(Muon[0] + Muon[1]).mass", range=(60, 120), unit="GeV"),
        "lead": Observable("lead", "Jet[0].pt", range=(20, 200), unit="GeV"),
    }
    folder = str(production.files[0].parent / "*.root")
    whole = run_comparison(folder, folder, observables, executor=executor, step=STEP)
    work = ComparisonProcessor(observables, weight="genWeight", reference="toy")
    files = processor.Runner(executor=executor, schema=HepganSchema, metadata_cache={})
    reference = files(json.loads(production.fileset.read_text()), processor_instance=work)
    made = process_generated(toy_generator, N, work, executor=executor, step=STEP, **SETTINGS)
    found = work.comparison(reference | made)
    for name in observables:
        values = [c.histograms[name][1].view(flow=True)["value"] for c in (found, whole)]
        assert values[0] == pytest.approx(values[1])


def test_mode_dask_computes_on_the_cluster(production, two_workers):
    dask_awkward = pytest.importorskip("dask_awkward")
    files = {str(f): "Events" for f in production.files}
    events = NanoEventsFactory.from_root(files, schemaclass=HepganSchema, mode="dask").events()
    mass = (events.Muon[:, 0] + events.Muon[:, 1]).mass
    assert isinstance(mass, dask_awkward.Array)
    assert mass.npartitions == len(files)
    found = two_workers.compute(mass).result()
    eager = [
        NanoEventsFactory.from_root({f: "Events"}, schemaclass=HepganSchema, mode="eager").events()
        for f in files
    ]
    there = ak.concatenate([(e.Muon[:, 0] + e.Muon[:, 1]).mass for e in eager])
    assert found.to_list() == there.to_list()


def test_each_mode_gives_a_processor_the_same(production, expected):
    first = str(production.files[0])
    found = {}
    for mode in ("eager", "virtual"):
        events = NanoEventsFactory.from_root(
            {first: "Events"}, schemaclass=HepganSchema, mode=mode, metadata={"dataset": "toy"}
        ).events()
        found[mode] = Dimuons().process(events)["toy"]
    assert found["eager"]["mass"] == found["virtual"]["mass"]
    assert by_number(found["eager"])["leading"].tolist() == by_number(expected)["leading"][:300].tolist()


def test_what_is_no_processor_is_refused(toy_generator):
    with pytest.raises(InputError, match="work must be a processor, with process and postprocess, not int"):
        process_generated(toy_generator, 10, 3)


def test_generators_with_derived_numbers_and_ensembles_go_to_workers(two_workers):
    events = dimuons(300, 1)
    events = ak.with_field(events, ak.sum(events.Jet.pt, axis=1), "ht")
    small = {
        "model": {"kind": "flow_matching", "network": {"kind": "mlp", "widths": [8]}, "steps": 2},
        "training": {"steps": 3, "batch_size": 64},
    }
    derived = {
        "name": "derived",
        "events": {"select": ["MET", "Jet"], "derived": {"ht": "sum(Jet.pt)"}},
        **small,
    }
    ensemble = {"name": "members", "events": {"select": ["MET"]}, **small}
    ensemble["training"] = {**small["training"], "members": 3}
    for recipe in (derived, ensemble):
        generator = EventGenerator(recipe).fit(events, device="cpu")
        there = two_workers.submit(lambda g: g.generate(50, seed=1).to_list(), generator, pure=False)
        assert there.result() == generator.generate(50, seed=1).to_list()
        assert pickle.loads(pickle.dumps(generator)).digest() == generator.digest()
