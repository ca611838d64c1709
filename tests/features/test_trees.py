from __future__ import annotations

import numpy as np
import pytest
import torch
from feature_samples import fields, rng, uniform

from hepgan.errors import InputError, RecipeError
from hepgan.events.batch import EventBatch, Objects
from hepgan.events.schema import Collection, EventSchema, Kind
from hepgan.features.config import FeaturesConfig
from hepgan.features.parts.tree import cluster, depth_first, grow
from hepgan.features.representation import Representation
from hepgan.learners.discrete import fit_discrete
from hepgan.vectors.frames import axes, boosted, invariant_mass

N = 400
Q = 91.188
MOST = 5


def schema(least=2, most=MOST):
    names = ("px", "py", "pz", "energy", "mass")
    kind = {"pdgId": {"kind": Kind.CATEGORY, "values": (-5, 5, 21), "dtype": "int32"}}
    return EventSchema(
        collections=(
            Collection(
                name="Parton",
                layout="jagged",
                counter="nParton",
                fields=fields("Parton", *names, **kind),
                min_count=least,
                max_count=most,
            ),
        )
    )


def partons(n=N, seed=1, *, made=7, kept=MOST, least=2):
    """Events of 2 to 7 partons that sum to (Q, 0), of which the 5 of the largest energy are kept."""
    g = rng(seed)
    count = torch.randint(least, made + 1, (n,), generator=g)
    there = torch.arange(made) < count.unsqueeze(1)
    p = torch.randn(n, made, 3, generator=g, dtype=torch.float64) * uniform(g, 0.2, 3, n, made, 1)
    p = torch.where(there.unsqueeze(2), p, 0.0)
    kind = torch.randint(0, 3, (n, made), generator=g)
    mass = torch.where(there, torch.tensor([4.8, 4.8, 0.0], dtype=torch.float64)[kind], 0.0)
    # To rest, and momenta scaled until the energies sum to Q.
    p = torch.where(there.unsqueeze(2), p - p.sum(1, keepdim=True) / count.reshape(-1, 1, 1), 0.0)
    scale = torch.ones(n, 1, 1, dtype=torch.float64)
    for _ in range(60):
        energy = torch.sqrt((scale * p).square().sum(2) + mass**2)
        slope = ((scale * p).square().sum(2) / energy.clamp(min=1e-12)).sum(1) / scale[:, 0, 0]
        scale = scale - ((energy.sum(1) - Q) / slope).reshape(-1, 1, 1)
    p = scale * p
    energy = torch.where(there, torch.sqrt(p.square().sum(2) + mass**2), -1.0)
    order = energy.argsort(1, descending=True)[:, :kept]
    known = {c: p[..., i].gather(1, order) for i, c in enumerate(("px", "py", "pz"))}
    known |= {"energy": energy.gather(1, order), "mass": mass.gather(1, order)}
    known["pdgId"] = torch.tensor([-5, 5, 21])[kind].gather(1, order)
    mask = torch.arange(kept) < count.unsqueeze(1)
    known = {c: torch.where(mask, v, 0) for c, v in known.items()}
    return EventBatch(schema(least, kept), {"Parton": Objects(known, mask)})


def represent(events, **block):
    settings = {"blocks": [{"kind": "tree", "collection": "Parton", **block}]}
    return Representation(FeaturesConfig.model_validate(settings), events.schema).fit(events)


def four(events):
    return torch.stack([events.Parton.fields[c] for c in ("px", "py", "pz", "energy")], 2)


def total(events):
    return four(events).sum(1)


def wild(representation, events, seed=3):
    """Events of the same classes with random features."""
    features = representation.encode(events)
    noise = 1.5 * torch.randn(features.x.shape, generator=rng(seed), dtype=torch.float64)
    return features.with_x(noise if features.mask is None else noise * features.mask)


# ---------------------------------------------------------------------------- trees


@pytest.mark.parametrize("distance", ["kt", "angle", "mass"])
def test_clustering_joins_the_nearest_pair_each_time(distance):
    events = partons(60)
    momenta, count = four(events), events.Parton.mask.sum(1)
    child, nodes = cluster(momenta, count, distance)
    for i in range(len(events)):
        left = {MOST - 1 + k: momenta[i, k].numpy() for k in range(int(count[i]))}
        for node in range(int(count[i]) - 2, -1, -1):
            names = list(left)
            pairs = [(a, b) for k, a in enumerate(names) for b in names[k + 1 :]]
            nearest = min(pairs, key=lambda p: measure(left[p[0]], left[p[1]], distance))
            assert set(child[i, node].tolist()) == set(nearest)
            left[node] = left.pop(nearest[0]) + left.pop(nearest[1])
            np.testing.assert_allclose(nodes[i, node].numpy(), left[node], atol=1e-10)


def measure(a, b, distance):
    cos = a[:3] @ b[:3] / np.linalg.norm(a[:3]) / np.linalg.norm(b[:3])
    scale = {"kt": min(a[3], b[3]) ** 2, "angle": 1.0, "mass": a[3] * b[3]}[distance]
    return scale * (1 - cos)


def test_depth_first_numbers_and_sizes_tell_the_whole_tree():
    events = partons(300)
    count = events.Parton.mask.sum(1)
    child, nodes = cluster(four(events), count, "kt")
    old, leaves, first = depth_first(child, count)
    tree = grow(count, first)
    for i in range(len(events)):
        n = int(count[i])
        assert sorted(leaves[i].tolist()) == list(range(MOST))
        assert set(leaves[i, :n].tolist()) == set(range(n))
        for k in range(n - 1):
            start, size = int(tree.start[i, k]), int(tree.size[i, k])
            inside = four(events)[i, leaves[i, start : start + size]].sum(0)
            torch.testing.assert_close(inside, nodes[i, old[i, k]])
            for side in (0, 1):
                c = int(tree.child[i, k, side])
                assert c > k
                if c < MOST - 1:
                    assert int(tree.parent[i, c]) == k


def test_any_numbers_make_a_tree_of_all_leaves():
    count = torch.arange(2, 9).repeat(50)
    first = torch.randint(-2, 12, (len(count), 7), generator=rng())
    tree = grow(count, first)
    assert (((tree.size > 1).sum(1)) == count - 1).all()
    for i in range(len(count)):
        leaves = [c - 7 for c in tree.child[i, : int(count[i]) - 1].flatten().tolist() if c >= 7]
        assert leaves == sorted(leaves) or set(leaves) == set(range(int(count[i])))
        assert set(leaves) == set(range(int(count[i])))


def test_boosts_are_those_of_vector():
    vector = pytest.importorskip("vector")
    g = rng()
    p = torch.randn(50, 4, generator=g, dtype=torch.float64)
    p[:, 3] = torch.sqrt(p[:, :3].square().sum(1) + 1.0)
    v = uniform(g, -0.5, 0.5, 50, 3)
    theirs = vector.array({n: p[:, i].numpy() for i, n in enumerate(("px", "py", "pz", "E"))}).boost_beta3(
        vector.array({n: v[:, i].numpy() for i, n in enumerate("xyz")})
    )
    ours = boosted(p, v).numpy()
    for i, n in enumerate(("px", "py", "pz", "E")):
        np.testing.assert_allclose(ours[:, i], theirs[n], atol=1e-12)


def test_axes_are_right_handed_also_where_the_reference_is_along_the_axis():
    g = rng()
    axis = torch.randn(40, 3, generator=g, dtype=torch.float64)
    reference = torch.cat([torch.randn(20, 3, generator=g, dtype=torch.float64), -2 * axis[20:]])
    x, y, z = axes(axis, reference)
    frame = torch.stack([x, y, z], 1)
    unit = torch.eye(3, dtype=torch.float64).expand(40, 3, 3)
    torch.testing.assert_close(frame @ frame.transpose(1, 2), unit)
    torch.testing.assert_close(torch.linalg.det(frame), torch.ones(40, dtype=torch.float64))
    assert ((reference[:20] * x[:20]).sum(1) > 0).all()
    assert (reference[:20] * y[:20]).sum(1).abs().max() < 1e-12


# ---------------------------------------------------------------------------- there and back


@pytest.mark.parametrize(("distance", "energy"), [("kt", Q), ("angle", None), ("mass", Q)])
def test_events_come_back(distance, energy):
    events = partons()
    representation = represent(events, distance=distance, total_energy=energy)
    features = representation.encode(events)
    assert features.x.isfinite().all()
    made = representation.decode(features)
    for name, values in events.Parton.fields.items():
        np.testing.assert_allclose(made.Parton.fields[name].numpy(), values.numpy(), atol=2e-7, err_msg=name)


def test_one_event_alone_is_the_same_as_among_others():
    representation = represent(partons(), total_energy=Q)
    events = partons()[:8]
    features = representation.encode(events)
    assert len(set(events.Parton.mask.sum(1).tolist())) > 2
    for i in range(8):
        alone = representation.encode(events[i : i + 1])
        torch.testing.assert_close(alone.x, features.x[i : i + 1])
        torch.testing.assert_close(four(representation.decode(alone)), four(events[i : i + 1]))


def test_a_restored_representation_makes_the_same_events():
    events = partons()
    representation = represent(events, total_energy=Q)
    features = wild(representation, events)
    again = Representation.from_state(representation.state())
    again.load_state_dict(representation.state_dict())
    assert torch.equal(four(again.decode(features)), four(representation.decode(features)))
    assert torch.equal(again.encode(events).context, representation.encode(events).context)


def test_whatever_a_network_makes_the_whole_sums_to_its_energy_and_masses_are_kept():
    events = partons()
    representation = represent(events, total_energy=Q)
    made = representation.decode(wild(representation, events))
    momenta = four(made)
    assert momenta.isfinite().all()
    lacking = torch.tensor([0, 0, 0, Q], dtype=torch.float64) - total(made)
    full = events.Parton.mask.sum(1) < MOST
    assert lacking[full].abs().max() < 1e-9
    # What is missing is a momentum that something can have.
    assert (lacking[:, 3] > -1e-9).all()
    assert (lacking[:, 3] ** 2 - lacking[:, :3].square().sum(1) > -1e-6).all()
    mask = made.Parton.mask
    expected = 4.8 * (made.Parton.pdgId != 21).double()
    assert torch.equal(made.Parton.mass[mask], expected[mask])
    torch.testing.assert_close(invariant_mass(momenta)[mask], expected[mask], atol=2e-5, rtol=0)
    falling = made.Parton.energy[:, 1:] <= made.Parton.energy[:, :-1] * (1 + 1e-12)
    assert falling[mask[:, 1:]].all()


def test_a_free_total_keeps_its_columns_whatever_the_decays():
    events = partons()
    representation = represent(events)
    features = wild(representation, events)
    first = list(representation.names).index("Parton.total.pt")
    other = features.with_x(torch.where(torch.arange(representation.size) < first + 4, features.x, 0.3))
    torch.testing.assert_close(
        total(representation.decode(features))[:, :3], total(representation.decode(other))[:, :3]
    )


def test_gradients_are_finite_and_right():
    events = partons(3)
    representation = represent(partons(), total_energy=Q)
    features = representation.encode(events)
    x = features.x.clone().requires_grad_()

    def energies(x):
        made = representation.decode(features.with_x(x))
        return (four(made) * torch.arange(1, 5)).sum((1, 2))

    assert torch.autograd.gradcheck(energies, (x,), eps=1e-6, atol=1e-3, rtol=1e-3)


def test_a_network_is_told_what_the_numbers_of_a_tree_mean():
    events = partons()
    representation = represent(events, total_energy=Q)
    features = representation.encode(events)
    block = representation.codec.parts[0]
    hints = features.context[:, -block.hint_count :]
    nodes = MOST - 1
    quarks = hints[:, -2 * nodes :].reshape(-1, 2, nodes)
    expected = 0.5 * ((events.Parton.pdgId.abs() == 5) & events.Parton.mask).sum(1)
    # Node 0 has all leaves: those of its two children are all quarks of the event.
    torch.testing.assert_close(quarks[:, :, 0].sum(1), expected.double())
    columns = [n for n in representation.names if ".tree[" in n and n.endswith(".phi")]
    exists = features.mask[:, [list(representation.names).index(n) for n in columns]]
    assert torch.equal(exists.sum(1), events.Parton.mask.sum(1) - 1)


def test_a_rest_of_one_object_must_be_softer_than_those_that_were_kept():
    events = partons(2000)
    representation = represent(events, total_energy=Q)
    assert representation.valid(events).all()
    made = representation.decode(wild(representation, events))
    lacking = torch.tensor([0, 0, 0, Q], dtype=torch.float64) - total(made)
    squared = lacking[:, 3] ** 2 - lacking[:, :3].square().sum(1)
    # The mass of what is missing is known to what float32 leaves of it.
    near = 2.0**-21 * Q * lacking[:, 3]
    single = (squared.abs() < near) | ((squared - 4.8**2).abs() < near)
    softest = torch.where(made.Parton.mask, made.Parton.energy, torch.inf).amin(1)
    wrong = single & (lacking[:, 3] > 1e-3) & (lacking[:, 3] > softest)
    assert wrong.any()
    assert torch.equal(~representation.valid(made), wrong)


# ---------------------------------------------------------------------------- errors


def test_a_tree_needs_two_objects_in_every_event():
    with pytest.raises(RecipeError, match="needs 2 to 16 objects in every event; there are 1 to 5"):
        represent(partons(least=1), total_energy=Q)


def test_a_number_of_objects_that_no_training_event_has_is_no_obstacle():
    events = partons()
    few = events[events.Parton.mask.sum(1) < 4]
    representation = represent(few, total_energy=Q)
    made = representation.decode(representation.encode(few))
    torch.testing.assert_close(four(made), four(few), atol=1e-6, rtol=0)
    features = representation.encode(few)
    model = fit_discrete(
        representation.variables, features.discrete, features.condition, features.weight, generator=rng(1)
    )
    drawn = model.sample(torch.rand(50, len(representation.variables), generator=rng(2)), torch.zeros(50, 0))
    assert (drawn[:, 0] <= 1).all()


def test_trees_and_rests_that_no_training_event_has_are_refused():
    events = partons()
    count = events.Parton.mask.sum(1)
    balanced = (Q - total(events)[:, 3]).abs() < 1e-6
    known = represent(events[balanced & (count < MOST)], total_energy=Q)
    lacking = events[~balanced]
    with pytest.raises(InputError, match=f"{MOST} Parton, but 2 to {MOST - 1}"):
        known.encode(lacking)
    known = represent(events[balanced], total_energy=Q)
    with pytest.raises(InputError, match=r"missing in the total \(.* GeV\) is of a kind that did not occur"):
        known.encode(lacking)
    first = known.codec.reading(events, None).arrangements["Parton"][:, 0]
    known = represent(events[first != 2], total_energy=Q)
    with pytest.raises(InputError, match="2 objects in the first child of node 0") as raised:
        known.encode(events)
    assert raised.value.entry == int((first == 2).nonzero()[0])


@pytest.mark.parametrize(
    ("energy", "boost", "reason"),
    [(80.0, 0.0, "is 80 GeV, but the objects"), (100.0, 0.3, "a momentum of")],
)
def test_a_total_that_the_objects_exceed_is_refused(energy, boost, reason):
    events = partons(50, made=MOST)
    moved = boosted(four(events), torch.tensor([0.0, 0.0, boost], dtype=torch.float64))
    fields = dict(zip(("px", "py", "pz", "energy"), moved.unbind(2), strict=True))
    parton = Objects({**events.Parton.fields, **fields}, events.Parton.mask)
    with pytest.raises(RecipeError, match=reason):
        represent(EventBatch(events.schema, {"Parton": parton}), total_energy=energy)


def test_momenta_belong_to_one_block():
    events = partons(50)
    blocks = [{"kind": "tree", "collection": "Parton"}] * 2
    with pytest.raises(RecipeError, match=r"the momentum of Parton\[0\] is in two blocks"):
        Representation(FeaturesConfig.model_validate({"blocks": blocks}), events.schema).fit(events)


# ---------------------------------------------------------------------------- real events


def test_simulated_partons_come_back_and_balance(shared_data):
    from hepgan.events import read_events, schema_of, to_batch

    events = read_events(shared_data / "ee_partons_test.root", entry_stop=3000)
    batch = to_batch(events)
    settings = {"blocks": [{"kind": "tree", "collection": "Parton", "total_energy": Q}]}
    representation = Representation(FeaturesConfig.model_validate(settings), schema_of(events)).fit(batch)
    made = representation.decode(representation.encode(batch))
    for name, values in batch.Parton.fields.items():
        worst = (made.Parton.fields[name].double() - values.double()).abs().max()
        assert float(worst) < 2e-5, name
    made = representation.decode(wild(representation, batch))
    few = batch.Parton.mask.sum(1) < 8
    lacking = (torch.tensor([0, 0, 0, Q], dtype=torch.float64) - total(made))[few].abs().amax(1)
    # Nearly collinear partons take digits, how many depends on the processor.
    assert lacking.quantile(0.99) < 1e-8
    assert lacking.max() < 1e-6
