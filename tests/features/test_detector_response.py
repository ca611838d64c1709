"""Given collections, and a detector's response to them, as features."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import awkward as ak
import numpy as np
import pytest
import torch
import vector
from feature_samples import difference, rng
from response_toys import jet_pairs

from hepgan.errors import InputError, RecipeError
from hepgan.events import to_batch
from hepgan.events.schema import Address
from hepgan.features import DiscreteVariable
from hepgan.features.config import FeaturesConfig
from hepgan.features.parts.response import distances, match
from hepgan.features.representation import Representation
from hepgan.learners.discrete import fit_discrete
from hepgan.vectors.kinematics import Kinematics

RESPONSE = {"kind": "response", "collection": "Jet", "of": "GenJet"}


def represent(batch, *conditions, **config):
    settings = FeaturesConfig.model_validate({"blocks": [RESPONSE], **config})
    return Representation(settings, batch.schema, conditions or ("GenJet", "rho")).fit(batch)


@pytest.fixture(scope="module")
def batch():
    return to_batch(jet_pairs(1500, 1))


@pytest.mark.parametrize("coordinates", ["polar", "transverse"])
@pytest.mark.parametrize("azimuth", [None, "GenJet[0]"])
def test_events_with_lost_and_fake_objects_come_back_from_their_features(batch, coordinates, azimuth):
    block = RESPONSE | {"coordinates": coordinates}
    representation = represent(batch, blocks=[block], azimuth=azimuth)
    features = representation.encode(batch)
    back = representation.decode(features)
    assert difference(batch, back)[1] < 1e-6
    for name, values in batch.collections["GenJet"].fields.items():
        assert torch.equal(back.collections["GenJet"].fields[name], values)
    assert not representation.has_azimuth


def test_a_representation_is_the_same_after_a_journey_through_its_state(batch):
    representation = represent(batch)
    state = json.loads(json.dumps(representation.state()))
    again = Representation.from_state(state)
    again.load_state_dict(representation.state_dict())
    one, other = representation.encode(batch), again.encode(batch)
    for name in ("x", "discrete", "condition", "context", "given"):
        assert torch.equal(getattr(one, name), getattr(other, name))


def test_the_response_of_columns_is_that_of_the_detector(batch):
    """The width of each column is the smearing, whatever the jets are."""
    representation = represent(batch, blocks=[RESPONSE | {"within": 0.12}])
    features = representation.encode(batch)
    columns = representation.columns(features.x)
    for name, width in (("log_pt", 0.1), ("deta", 0.02), ("dphi", 0.02), ("time", 0.1)):
        i = representation.names.index(f"Jet[0].{name}")
        values = columns[features.mask[:, i], i]
        assert float(values.std()) == pytest.approx(width, rel=0.15)
    found = [v.name for v in representation.variables].index("Jet[0].found")
    there = batch.collections["GenJet"].mask[:, 0]
    assert float(features.discrete[there, found].double().mean()) == pytest.approx(0.75, abs=0.06)
    assert not features.discrete[~there, found].any()


def test_every_number_of_a_network_makes_a_valid_event(batch):
    representation = represent(batch, blocks=[RESPONSE | {"coordinates": "polar"}])
    features = representation.encode(batch)
    wild = 20 * torch.randn(features.x.shape, generator=rng(3), dtype=torch.float64)
    made = representation.decode(features.with_x(wild))
    jets, mask = made.collections["Jet"], made.collections["Jet"].mask
    k = vector.array({n: jets.fields[n][mask].numpy() for n in ("pt", "eta", "phi", "mass")})
    assert np.isfinite(k.energy).all()
    assert (np.asarray(k.mass) >= 0).all()
    assert (k.energy**2 >= k.p**2).all()
    assert (mask.sum(1) <= batch.schema.collection("Jet").max_count).all()
    assert (torch.where(mask, jets.fields["pt"], 0.0).diff(dim=1) <= 1e-9).all()
    assert not any(v[~mask].any() for v in jets.fields.values())


@pytest.mark.parametrize("coordinates", ["polar", "transverse"])
def test_decoded_momenta_have_the_derivatives_of_finite_differences(coordinates):
    """By features and by given momenta; the absent ones and those along the beam have finite ones, too."""
    batch = to_batch(jet_pairs(300, 2))
    representation = represent(batch, blocks=[RESPONSE | {"coordinates": coordinates}], azimuth="GenJet[0]")
    features = representation.encode(batch)[:20]

    def momenta(x, given):
        condition = representation.encode_condition({"rho": batch.scalars["rho"][:20]}, 20, given)
        made = representation.decode(replace(features, x=x, given=given, condition=condition))
        jets = made.collections["Jet"].fields
        return torch.cat([jets["pt"], jets["eta"], torch.cos(jets["phi"]), condition], 1)

    # Training events lie on the knots of quantile transforms, where slopes change.
    x = (features.x + 0.1 * torch.randn(features.x.shape, generator=rng(5))).requires_grad_()
    given = features.given.clone().requires_grad_()
    slopes = torch.autograd.grad((momenta(x, given) ** 2).sum(), (x, given))
    assert all(torch.isfinite(s).all() for s in slopes)
    for which, slope in enumerate(slopes):
        step = torch.randn(slope.shape, generator=rng(which), dtype=torch.float64)
        if which == 1:
            # Flags of presence and integers are no directions.
            smooth = torch.zeros_like(step, dtype=torch.bool)
            smooth[:, 3:15] = True
            step = torch.where(smooth & (features.given != 0), step, 0.0)
        with torch.no_grad():
            at = [x.detach(), given.detach()]
            up, down = list(at), list(at)
            up[which], down[which] = at[which] + 1e-6 * step, at[which] - 1e-6 * step
            numerical = ((momenta(*up) ** 2).sum() - (momenta(*down) ** 2).sum()) / 2e-6
        assert float((slope * step).sum()) == pytest.approx(float(numerical), rel=1e-4)


def test_what_networks_see_does_not_depend_on_the_azimuth_of_the_event():
    events = jet_pairs(400, 3)

    def turned(jets, angle):
        phi = (jets.phi + angle + np.pi) % (2 * np.pi) - np.pi
        return ak.with_field(jets, phi, "phi")

    rotated = ak.with_field(events, turned(events.GenJet, 1.3), "GenJet")
    rotated = ak.with_field(rotated, turned(events.Jet, 1.3), "Jet")
    one, other = (to_batch(e, to_batch(events).schema) for e in (events, rotated))
    representation = represent(one, azimuth="GenJet[0]")
    a, b = representation.encode(one), representation.encode(other)
    assert torch.allclose(a.condition, b.condition, atol=1e-6)
    # Fakes are unlike at other azimuths where there is no jet that tells phi = 0.
    there = one.collections["GenJet"].mask[:, 0]
    assert torch.allclose(a.x[there], b.x[there], atol=1e-3)


def test_numbers_that_were_never_given_in_training_are_numbers(batch):
    representation = represent(batch)
    given = representation.pack(batch)
    assert torch.isfinite(representation.encode_condition(batch.scalars, None, given)).all()
    more = given.clone()
    more[:, 3:6] *= 100
    assert torch.isfinite(representation.encode_condition(batch.scalars, None, more)).all()


def test_networks_of_sets_see_the_true_object_of_each_measured_one(batch):
    representation = represent(batch)
    features = representation.encode(batch)
    tokens = next(t for t in representation.tokens if len(t.features) == 3)
    assert tokens.collection == "Jet"
    columns = torch.tensor(tokens.context)
    assert (columns >= 0).all()
    # Standardised, so a linear function of the true number where there is a jet.
    true = batch.collections["GenJet"]
    for i in range(3):
        eta = true.fields["eta"][true.mask[:, i], i]
        seen = features.context[true.mask[:, i]][:, columns[i]]
        linear = [torch.corrcoef(torch.stack([eta, s]))[0, 1] for s in seen.T if s.std() > 0]
        assert max(linear) > 1 - 1e-9


# ------------------------------------------------------------------ matching


def test_distances_are_those_of_vector():
    g = rng(4)

    def momenta(count):
        p = torch.randn(50, count, 3, generator=g, dtype=torch.float64)
        return Kinematics({"px": p[..., 0], "py": p[..., 1], "pz": p[..., 2]})

    a, b = momenta(3), momenta(2)
    one, other = (vector.array({n: k[n].numpy() for n in ("px", "py", "pz")}) for k in (a, b))
    angle, delta_r = distances(a, b, "angle").numpy(), distances(a, b, "delta_r").numpy()
    np.testing.assert_allclose(angle, one[:, :, None].deltaangle(other[:, None, :]), atol=1e-7)
    np.testing.assert_allclose(delta_r, one[:, :, None].deltaR(other[:, None, :]), atol=1e-9)


def test_objects_are_matched_nearest_first_and_one_to_one():
    events = jet_pairs(80, 5)
    batch = to_batch(events)
    found = match(batch, "GenJet", "Jet", "delta_r", 0.3).numpy()
    for event, partner in zip(events, found, strict=True):
        near = sorted(
            (float(g.deltaR(j)), i, k) for i, g in enumerate(event.GenJet) for k, j in enumerate(event.Jet)
        )
        wanted: dict[int, int] = {}
        for distance, i, k in near:
            if distance <= 0.3 and i not in wanted and k not in wanted.values():
                wanted[i] = k
        assert {i: k for i, k in enumerate(partner.tolist()) if k >= 0} == wanted


# ------------------------------------------------------------------ what cannot be


def test_what_never_happened_in_training_is_refused():
    """Of events without losses and fakes is learned that there are none."""
    events = jet_pairs(800, 6)
    batch = to_batch(events)
    partner = match(batch, "GenJet", "Jet", "delta_r", 0.4)
    there, measured = (batch.collections[n].mask for n in ("GenJet", "Jet"))
    found = partner >= 0
    clean = (found == there).all(1) & (found.sum(1) == measured.sum(1))
    settings = FeaturesConfig.model_validate({"blocks": [RESPONSE]})
    trained = Representation(settings, batch.schema, ("GenJet",)).fit(batch[clean])
    features, possible = trained.encode_possible(batch)
    assert torch.isfinite(features.x).all()
    fakes = found.sum(1) < measured.sum(1)
    assert possible[clean].all()
    assert not possible[fakes].any()
    first = int(fakes.nonzero()[0])
    with pytest.raises(InputError, match=rf"nJet, entry {first}: 1 Jet that belong to no GenJet, but 0 to 0"):
        trained.encode(batch)


@pytest.mark.parametrize(
    ("conditions", "config", "message"),
    [
        (("rho",), {}, "GenJet has to be a condition, and Jet none"),
        (("GenJet", "Jet"), {}, "GenJet has to be a condition, and Jet none"),
        (("GenJet",), {"blocks": [{"kind": "objects", "collection": "GenJet"}]}, "GenJet is a condition"),
        (("GenJet",), {"blocks": [RESPONSE, {"kind": "fields", "fields": ["Jet.time"]}]}, "is in two blocks"),
        (("GenJet",), {"azimuth": "Jet[0]"}, "azimuth: Jet"),
        (("GenJet",), {"bounds": {"GenJet.pt": [20, None]}}, "is a condition"),
        (("GenJet",), {"blocks": [RESPONSE | {"of": "TrueJet"}]}, "no 'TrueJet'"),
        (("Tau",), {"blocks": []}, "'Tau' is no scalar or collection"),
    ],
)
def test_recipes_that_do_not_fit_are_refused(batch, conditions, config, message):
    with pytest.raises(RecipeError, match=message):
        represent(batch, *conditions, **config)


def test_a_category_that_was_never_given_is_refused(batch):
    representation = represent(batch)
    given = representation.pack(batch).clone()
    first = int(batch.collections["GenJet"].mask[:, 0].nonzero()[0])
    given[first, 15] = 7
    with pytest.raises(InputError, match=rf"GenJet_flavour, entry {first}: 7 did not occur"):
        representation.encode_condition(batch.scalars, None, given)


# ------------------------------------------------------------------ known classes


def test_known_classes_are_kept_and_others_follow_the_conditional_distribution():
    g = rng(8)
    n = 20_000
    first = torch.randint(0, 2, (n,), generator=g)
    second = torch.where(torch.rand(n, generator=g) < 0.2, 1 - first, first)
    variables = [DiscreteVariable.of(Address(None, None, f"v{i}"), (0.0, 1.0)) for i in range(2)]
    classes = torch.stack([first, second], 1)
    model = fit_discrete(variables, classes, torch.zeros(n, 0), torch.ones(n), generator=g)
    known = torch.full((n, 2), -2)
    known[: n // 2, 1] = 1
    uniform = torch.rand(n, 2, generator=g, dtype=torch.float64)
    drawn = model.sample(uniform, torch.zeros(n, 0), known)
    assert (drawn[: n // 2, 1] == 1).all()
    share = float(drawn[: n // 2, 0].double().mean())
    assert share == pytest.approx(0.8, abs=5 * math.sqrt(0.16 / (n / 2)) + 0.01)
    free = model.sample(uniform, torch.zeros(n, 0))
    assert torch.equal(free[n // 2 :], drawn[n // 2 :])
