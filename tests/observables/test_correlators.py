"""Energy correlators against brute force, and their sum rules."""

from __future__ import annotations

import itertools

import awkward as ak
import numpy as np
import pytest
import torch
import vector

from hepgan.events import read_events, to_batch
from hepgan.events.batch import EventBatch, Objects
from hepgan.events.schema import EventSchema
from hepgan.observables import Observable, standard

EDGES = np.linspace(-1, 1, 21)


def massless(sizes, seed=1, rest=True):
    """Massless momenta in float64, in the rest frame of each event's sum."""
    rng = np.random.default_rng(seed)
    events = []
    for n in sizes:
        p = rng.normal(0, 1, (n, 3)) * rng.exponential(10, (n, 1))
        jet = vector.array({"px": p[:, 0], "py": p[:, 1], "pz": p[:, 2], "E": np.linalg.norm(p, axis=1)})
        if rest:
            total = vector.obj(px=jet.px.sum(), py=jet.py.sum(), pz=jet.pz.sum(), E=jet.E.sum())
            jet = jet.boostCM_of(total)
        energy = np.sqrt(jet.px**2 + jet.py**2 + jet.pz**2)
        events.append({"px": jet.px, "py": jet.py, "pz": jet.pz, "energy": energy})
    return ak.Array(
        {"Parton": ak.zip({c: [e[c] for e in events] for c in events[0]}, with_name="Momentum4D")}
    )


def padded(events, width=8, dtype=torch.float64):
    mask = np.arange(width) < ak.to_numpy(ak.num(events.Parton))[:, None]
    fields = {}
    for c in ("px", "py", "pz", "energy"):
        values = np.zeros(mask.shape)
        values[mask] = ak.to_numpy(ak.flatten(events.Parton[c]))
        fields[c] = torch.from_numpy(values).to(dtype)
    return EventBatch(EventSchema(), {"Parton": Objects(fields, torch.from_numpy(mask))})


def brute(events, *, ordered=True, self_pairs=True, transverse=False, total=None):
    """Cosine, weight and event of each pair, one after another."""
    found = []
    for n, event in enumerate(ak.to_list(events.Parton)):
        p = [np.array([q["px"], q["py"], 0.0 if transverse else q["pz"]]) for q in event]
        size = [np.sqrt(q["px"] ** 2 + q["py"] ** 2 + q["pz"] ** 2) for q in event]
        e = [
            q["energy"] * (np.linalg.norm(k) / s if transverse else 1)
            for q, k, s in zip(event, p, size, strict=True)
        ]
        q2 = (sum(e) if total is None else total) ** 2
        for i, j in itertools.product(range(len(p)), repeat=2):
            if (i == j and not self_pairs) or (i > j and not ordered):
                continue
            cosine = p[i] @ p[j] / np.linalg.norm(p[i]) / np.linalg.norm(p[j])
            found.append((cosine, e[i] * e[j] / q2, n))
    return np.array(found)


def histogram(flat, edges=EDGES):
    # rounding puts 1 beyond the last bin of the brute-force cosine
    return np.histogram(np.clip(flat[0], edges[0], edges[-1]), edges, weights=flat[1])[0]


@pytest.fixture(scope="module")
def events():
    return massless([2, 3, 3, 8, 8, 5, 4, 8, 1], rest=False)


@pytest.mark.parametrize("self_pairs", [True, False])
@pytest.mark.parametrize("counting", ["ordered", "once"])
@pytest.mark.parametrize("name", ["eec", "teec"])
def test_correlators_are_those_of_brute_force(name, counting, self_pairs, events):
    options = {"self_pairs": self_pairs, "pair_counting": counting}
    expected = brute(events, ordered=counting == "ordered", self_pairs=self_pairs, transverse=name == "teec")
    for form in (events, padded(events)):
        flat = standard(name, "Parton", **options).flat(form)
        found = histogram((np.asarray(flat.values), np.asarray(flat.weight)))
        np.testing.assert_allclose(found, histogram((expected[:, 0], expected[:, 1])), atol=1e-12)
        for n in range(len(events)):
            mine, theirs = np.asarray(flat.index) == n, expected[:, 2] == n
            wanted = (expected[theirs, 1] * (1 - expected[theirs, 0])).sum()
            assert np.asarray(flat.weight * (1 - flat.values))[mine].sum() == pytest.approx(wanted, abs=1e-12)


def test_the_correlator_integrates_to_1_and_z_has_the_mean_one_half():
    events = massless([2, 3, 4, 5, 6, 7, 8] * 5)
    for form in (events, padded(events)):
        values, index, weight = standard("eec", "Parton", variable="z").flat(form)
        for quantity, expected in ((weight, 1.0), (weight * values, 0.5)):
            sums = np.bincount(np.asarray(index), np.asarray(quantity))
            np.testing.assert_allclose(sums, expected, rtol=1e-12)
        values, index, weight = standard("eec", "Parton").flat(form)
        sums = np.bincount(np.asarray(index), np.asarray(weight * (1 - values) / 2))
        np.testing.assert_allclose(sums, 0.5, rtol=1e-12)


def test_the_correlator_integrates_to_the_squared_share_of_the_energy_Q():
    events = massless([4, 8, 6], rest=False)
    flat = standard("eec", "Parton", Q=91.188).flat(events)
    share = ak.to_numpy(ak.sum(events.Parton.energy, axis=1)) / 91.188
    np.testing.assert_allclose(np.bincount(flat.index, flat.weight), share**2, rtol=1e-12)
    same = standard("eec", "Parton", Q="sum(Parton).mass").flat(events)
    mass = ak.to_numpy(ak.sum(events.Parton, axis=1).mass)
    np.testing.assert_allclose(same.weight, flat.weight * (91.188 / mass[flat.index]) ** 2)


def test_the_variables_are_one_angle():
    events = massless([8, 5, 2])
    cosine, chi, z = (
        standard("eec", "Parton", variable=v).flat(events).values for v in ("cos_chi", "chi", "z")
    )
    np.testing.assert_allclose(np.cos(chi), cosine, atol=1e-14)
    np.testing.assert_allclose((1 - cosine) / 2, z, atol=1e-15)
    phi, cos_phi = (standard("teec", "Parton", variable=v).flat(events).values for v in ("phi", "cos_phi"))
    np.testing.assert_allclose(np.cos(phi), cos_phi, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("eec", "cos_chi"),
        ("eec", "chi"),
        ("eec", "z"),
        ("aeec", "cos_chi"),
        ("teec", "cos_phi"),
        ("teec", "phi"),
    ],
)
def test_back_to_back_and_self_pairs_lie_within_the_range(name, variable, dtype):
    fields = {
        "px": torch.tensor([[3.0, -3.0], [0.1, -0.1]]),
        "py": torch.tensor([[4.0, -4.0], [0.7, -0.7]]),
        "pz": torch.tensor([[0.0, 0.0], [0.3, -0.3]]),
        "energy": torch.tensor([[5.0, 5.0], [2.0, 2.0]]),
    }
    batch = EventBatch(EventSchema(), {"Parton": Objects({n: t.to(dtype) for n, t in fields.items()})})
    observable = standard(name, "Parton", variable=variable)
    flat = observable.flat(batch)
    axis = observable.axis()
    places = axis.index(flat.values.double().numpy())
    assert places.min() >= 0
    assert places.max() < len(axis)


def test_the_asymmetry_is_the_difference_of_the_two_hemispheres():
    events = massless([8, 5, 2, 3, 8])
    eec = standard("eec", "Parton").flat(events)
    contents = histogram((eec.values, eec.weight))
    aeec = standard("aeec", "Parton").flat(events)
    found = histogram((aeec.values, aeec.weight), EDGES[10:])
    np.testing.assert_allclose(found, contents[:10][::-1] - contents[10:], atol=1e-12)
    chi, z = (standard("aeec", "Parton", variable=v).flat(events) for v in ("chi", "z"))
    np.testing.assert_allclose(np.cos(chi.values), aeec.values, atol=1e-14)
    np.testing.assert_allclose((1 - aeec.values) / 2, z.values, atol=1e-14)
    np.testing.assert_array_equal(chi.weight, aeec.weight)


def test_nearly_collinear_pairs_keep_their_digits():
    for small in (1e-3, 1e-6, 1e-9):
        momenta = {"px": [[3.0, 5.0 * np.sin(small)]], "py": [[0.0, 5.0 * np.cos(small)]], "pz": [[0.0, 0.0]]}
        momenta["px"], momenta["py"] = [[0.0, 5.0 * np.sin(small)]], [[3.0, 5.0 * np.cos(small)]]
        events = ak.Array({"Parton": ak.zip({**momenta, "energy": [[3.0, 5.0]]}, with_name="Momentum4D")})
        assert Observable("a", "pairs(Parton).angle").flat(events).values == pytest.approx(small, rel=1e-6)
        z = Observable("z", "pairs(Parton).z_angle").flat(events).values
        assert z == pytest.approx(np.sin(small / 2) ** 2, rel=1e-6)


@pytest.mark.parametrize("name", ["eec", "aeec", "teec"])
def test_values_and_weights_have_the_derivatives_of_finite_differences(name):
    batch = padded(massless([3, 4, 2, 3], seed=3), width=4)
    parton = batch.Parton
    leaves = [parton.fields[c].clone().requires_grad_() for c in ("px", "py", "pz", "energy")]

    def compute(*tensors):
        fields = dict(zip(("px", "py", "pz", "energy"), tensors, strict=True))
        flat = standard(name, "Parton", self_pairs=False).flat(
            EventBatch(EventSchema(), {"Parton": Objects(fields, parton.mask)})
        )
        return flat.values, flat.weight

    assert torch.autograd.gradcheck(compute, leaves, atol=1e-5, rtol=1e-4, fast_mode=True)


@pytest.mark.parametrize("name", ["eec", "aeec", "teec"])
@pytest.mark.parametrize("first", [True, False])
def test_gradients_are_finite_for_parallel_opposite_resting_and_missing_particles(name, first):
    p = torch.tensor(
        [[[1.0, 2, 2], [1, 2, 2]], [[1, 2, 2], [-1, -2, -2]], [[0, 0, 0], [1, 0, 0]], [[1, 0, 0], [9, 9, 9]]]
    )
    mask = torch.tensor([[True, True]] * 3 + [[True, False]])
    variables = {"eec": "chi cos_chi z", "aeec": "chi cos_chi z", "teec": "phi cos_phi"}[name].split()
    for variable in variables:
        leaves = [p[..., k].clone().requires_grad_() for k in range(3)]
        energy = torch.full((4, 2), 3.0, requires_grad=True)
        fields = dict(zip(("px", "py", "pz", "energy"), (*leaves, energy), strict=True))
        batch = EventBatch(EventSchema(), {"Parton": Objects(fields, mask)})
        values, _, weight = standard(name, "Parton", variable=variable).flat(batch)
        (values.sum() if first else (weight * values).sum()).backward()
        for leaf in (*leaves, energy):
            assert leaf.grad is None or torch.isfinite(leaf.grad).all()
            assert leaf.grad is None or leaf.grad[3, 1] == 0


def test_the_correlator_of_the_parton_sample(shared_data):
    events = read_events(f"{shared_data / 'ee_partons_test'}.root:Events", entry_stop=300)
    flat = standard("eec", "Parton").flat(events)
    expected = brute(events)
    expected[:, 0] = np.clip(expected[:, 0], -1, 1)
    edges = np.linspace(-1 - 1e-7, 1 + 1e-7, 51)
    np.testing.assert_allclose(
        np.histogram(flat.values, edges, weights=flat.weight)[0],
        np.histogram(expected[:, 0], edges, weights=expected[:, 1])[0],
        atol=1e-9,
    )
    np.testing.assert_allclose(np.bincount(flat.index, flat.weight), 1, rtol=1e-12)
    batch = standard("eec", "Parton").flat(to_batch(events))
    np.testing.assert_allclose(batch.values, flat.values, atol=1e-12)
    np.testing.assert_allclose(batch.weight, flat.weight, rtol=1e-12)
