"""A number of the event that is called as the number of objects, but is another."""

from __future__ import annotations

import awkward as ak
import numpy as np

from hepgan.events import as_events, schema_of
from hepgan.generator import EventGenerator
from hepgan.observables import default_observables
from hepgan.observables.table import event_table, plan_table

RECIPE = {
    "name": "small",
    "model": {
        "kind": "flow_matching",
        "network": {"kind": "residual", "width": 16, "blocks": 1},
        "steps": 2,
    },
    "training": {"steps": 3, "batch_size": 128},
}


def test_a_number_of_selected_objects_is_learned_beside_the_number_of_all(tmp_path):
    rng = np.random.default_rng(3)
    counts = rng.poisson(2, 600)
    pt = ak.unflatten(15 + rng.exponential(20, int(counts.sum())), counts)
    selected = ak.to_numpy(ak.sum(pt > 30, axis=1)) + (rng.random(600) < 0.2)
    phi = ak.unflatten(rng.uniform(-3, 3, int(counts.sum())), counts)
    events = as_events(ak.Array({"nJet": selected.astype(np.int32), "Jet_pt": pt, "Jet_phi": phi}))
    schema = schema_of(events)
    assert (schema.scalar_names, schema.collection("Jet").counter) == (("nJet",), None)
    made = EventGenerator(RECIPE).fit(events).generate(400, seed=1)
    assert set(made.fields) == {"Jet", "nJet"}
    assert not np.array_equal(made.nJet, ak.num(made.Jet))
    assert set(np.unique(made.nJet)) <= set(np.unique(selected))
    found = default_observables(schema)
    assert ak.array_equal(found["nJet"](events), events.nJet, dtype_exact=False)
    assert ak.array_equal(found["count_Jet"](events), counts, dtype_exact=False)
    plan = plan_table([(events, schema)])
    names = event_table(events, schema, np.ones(600), {}, plan).names
    assert {"nJet", "count(Jet)"} <= set(names)
