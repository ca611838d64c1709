"""Hidden layers, maps, clusters, overlays, and surfaces of losses."""

from __future__ import annotations

import importlib
import json
from functools import partial

import awkward as ak
import numpy as np
import pytest
import torch
from cli_toys import run
from scipy.stats import ks_2samp, spearmanr
from sklearn.decomposition import PCA
from torch import nn
from toys import dimuons

import hepgan
from hepgan import EventGenerator, Observable
from hepgan.errors import InputError
from hepgan.explanation import (
    Labels,
    activations,
    clusters,
    explain,
    hidden_layers,
    labels_of,
    loss_surface,
    loss_terms,
    principal_components,
    purity,
    tsne,
)
from hepgan.explanation.filters import differences
from hepgan.explanation.surfaces import LossSurface, _directions
from hepgan.generator.distillation import distill
from hepgan.generator.refinement import refine
from hepgan.generator.sampling import Sampler
from hepgan.networks.convolution import Convolution, LocallyConnected
from hepgan.plotting.explanation import plot_surfaces

MLP = {"kind": "mlp", "widths": [16, 12], "slope": 0.2}
RESIDUAL = {"kind": "residual", "width": 16, "blocks": 2}


def toy(n=1500, seed=1):
    """Two kinds of events, far from each other."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 2, n)
    x, y = rng.normal(4 * kind, 0.5), rng.normal(-4 * kind, 0.5)
    columns = {"x": x, "y": y, "z": rng.normal(0, 1, n), "kind": kind}
    return ak.zip({k: v.astype(np.int32 if k == "kind" else np.float32) for k, v in columns.items()})


def gan(network=None, steps=60):
    model = {
        "kind": "gan",
        "noise": 5,
        "generator": network or MLP,
        "critics": [
            {"name": "judge", "loss": "wgan_gp", "steps": 1, "observables": ["product"], "network": MLP}
        ],
        "penalties": [{"kind": "mmd", "observables": ["product"], "name": "mmd", "widths": [1.0]}],
    }
    return fitted(model, steps)


def fitted(model, steps=5):
    recipe = {
        "name": "toy",
        "events": {"kinds": {"kind": "category"}},
        "conditions": ["kind"],
        "features": {"transform": "standardise"},
        "model": model,
        "observables": {"product": "x * y", "x": "x", "kind": "kind"},
        "training": {"steps": steps, "batch_size": 256},
    }
    return EventGenerator(recipe).fit(toy(), seed=1, device="cpu")


@pytest.fixture(scope="module")
def generator():
    return gan()


def noise_and_context(generator, n, seed):
    trace = Sampler(generator.parts, seed=seed).traced(0)
    return trace.noise[:n].float(), trace.given.context[:n].float()


# ------------------------------------------------------------------ activations


def test_activations_of_a_dense_network_are_those_of_its_formula(generator):
    found = activations(generator, n=50, seed=4)
    noise, context = noise_and_context(generator, 50, 4)
    h = torch.cat([noise, context], 1)
    layers = [m for m in generator.parts.model.generator.layers if isinstance(m, nn.Linear)]
    for k, layer in enumerate(layers[:-1], 1):
        h = nn.functional.leaky_relu(h @ layer.weight.T + layer.bias, 0.2)
        np.testing.assert_allclose(found.generated[f"generator.{k}"], h.detach().numpy(), atol=1e-5)
    assert found.layers == ("generator.1", "generator.2", "judge.1", "judge.2")


def test_activations_of_a_residual_network_are_those_of_its_formula():
    generator = gan(RESIDUAL, steps=3)
    found = activations(generator, n=50, seed=4)
    noise, context = noise_and_context(generator, 50, 4)
    net = generator.parts.model.generator
    shifts = [context @ s.weight.T for s in net.shifts]
    h = noise @ net.enter.weight.T + net.enter.bias + shifts[0]
    for k in range(2):
        a = nn.functional.silu(h @ net.inner[k].weight.T + net.inner[k].bias + shifts[k + 1])
        np.testing.assert_allclose(found.generated[f"generator.{k + 1}"], a.detach().numpy(), atol=1e-5)
        h = h + a @ net.outer[k].weight.T
    last = nn.functional.silu(h).detach().numpy()
    np.testing.assert_allclose(found.generated["generator.3"], last, atol=1e-5)


def test_critics_see_true_events_too_and_loaded_models_say_the_same(generator, tmp_path):
    generator.save(tmp_path / "m.safetensors")
    loaded = EventGenerator.load(tmp_path / "m.safetensors", device="cpu")
    ours, theirs = (activations(g, toy(300, 2), n=200, seed=4) for g in (generator, loaded))
    assert set(ours.true) == {"judge.1", "judge.2"}
    assert ours.true["judge.1"].shape == (200, 16)
    assert len(ours.reference) == len(ours.true_features) == 200
    for name in ours.layers:
        np.testing.assert_array_equal(ours.generated[name], theirs.generated[name])
    for name, values in ours.true.items():
        np.testing.assert_array_equal(values, theirs.true[name])
    # The critic's first layer, from what it sees of the true events.
    product = ak.to_numpy(ours.reference.x * ours.reference.y)
    critic = generator.parts.critics[0]
    scaled = (product - float(critic.mean[0])) / float(critic.std[0])
    seen = np.column_stack([ours.true_features, scaled, np.ones(200)])
    one_hot = np.eye(2)[ak.to_numpy(ours.reference.kind)]
    first = critic.network.layers[0]
    h = np.column_stack([seen, one_hot]) @ first.weight.detach().numpy().T + first.bias.detach().numpy()
    np.testing.assert_allclose(ours.true["judge.1"], np.where(h > 0, h, 0.2 * h), atol=1e-4)


def test_layers_are_chosen_by_name(generator):
    assert set(activations(generator, n=10, layers=["generator.2"]).generated) == {"generator.2"}
    with pytest.raises(InputError, match=r"no hidden layer 'generator.3'; there are .*generator.1"):
        activations(generator, n=10, layers=["generator.3"])


def test_nothing_is_left_behind(generator):
    before = generator.generate(50, seed=1)
    activations(generator, toy(100, 2), n=50)
    for module in (*generator.parts.model.modules(), *generator.parts.critics.modules()):
        assert not module._forward_hooks
        assert "bind" not in vars(module)
    assert ak.array_equal(generator.generate(50, seed=1), before)


def test_every_family_has_hidden_layers():
    flow = fitted({"kind": "flow", "blocks": 2, "bins": 4, "network": MLP})
    matching = fitted({"kind": "flow_matching", "network": RESIDUAL, "steps": 2})
    quick = ("training.steps=3", "training.batch_size=64", f"model.network={RESIDUAL}")
    few = ("training.steps=3", "training.batch_size=64", "training.max_time=null")
    student = distill(matching, pairs=400, settings=quick, seed=1)
    refined = refine(flow, lambda e: np.ones(len(e)), events=400, settings=few, seed=1)
    assert hidden_layers(flow) == ("layers.0.1", "layers.0.2", "layers.2.1", "layers.2.2")
    assert hidden_layers(matching) == ("velocity.1", "velocity.2", "velocity.3")
    assert hidden_layers(student) == ("network.1", "network.2", "network.3")
    assert {"model.layers.0.1", "prior.layers.0.1"} <= set(hidden_layers(refined))
    for made in (flow, matching, student, refined):
        found = activations(made, toy(60, 2), n=30)
        assert all(len(v) == 30 and np.isfinite(v).all() for v in found.generated.values())
        assert found.true == {}
        assert found.true_features.shape == (30, 3)


def test_objects_of_networks_of_sets_are_averaged(toy_generator):
    attention = "model.network={kind: attention, width: 8, blocks: 1, heads: 2}"
    recipe = toy_generator.recipe.with_settings([attention, "training.steps=2", "features.bounds={}"])
    generator = EventGenerator(recipe).fit(dimuons(500, seed=1, weighted=True), seed=1, device="cpu")
    found = activations(generator, n=40)
    assert all(v.shape[0] == 40 and v.ndim == 2 for v in found.generated.values())


def test_true_events_must_be_of_the_models_kind(generator):
    with pytest.raises(InputError, match="no true events"):
        activations(generator, toy(10)[:0], n=5)


# ------------------------------------------------------------------ maps and clusters


def blobs(n=400, seed=1):
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, n)
    return rng.normal(0, 1, (n, 20)) + 12 * np.eye(20)[kind], kind


def test_what_is_apart_in_many_dimensions_is_apart_in_the_map_and_in_its_clusters():
    values, kind = blobs(240)
    points = tsne(values, perplexity=30, seed=1)
    assert points.shape == (240, 2)
    np.testing.assert_array_equal(points, tsne(values, perplexity=30, seed=1))
    found = clusters(points, min_samples=10)
    labels = Labels(kind, ("a", "b", "c"))
    pure = purity(found, labels)
    assert pure.value == 1.0
    assert pure.clusters >= 3
    assert pure.value > pure.floor + 10 * pure.floor_error
    with pytest.raises(InputError, match="240 events are too few for a perplexity of 200"):
        tsne(values, perplexity=200)


def test_purity_is_the_share_of_the_most_frequent_label_and_its_floor_that_by_chance():
    cluster = np.array([0, 0, 0, 0, 1, 1, -1, 1])
    labels = Labels(np.array([0, 0, 0, 1, 1, 1, 0, -1]), ("a", "b"))
    found = purity(cluster, labels)
    assert found.value == pytest.approx(5 / 6)
    assert found.table.tolist() == [[3, 1], [0, 2]]
    assert found.clusters == 2
    assert found.clustered == pytest.approx(6 / 7)
    rng = np.random.default_rng(1)
    chance = purity(rng.integers(0, 40, 2000), Labels(rng.integers(0, 4, 2000), tuple("abcd")))
    # Of 50 events in a cluster, the most frequent of four labels has more than a quarter.
    assert chance.floor > 0.3
    assert abs(chance.value - chance.floor) < 4 * chance.floor_error
    none = purity(np.full(8, -1), labels)
    assert none.to_dict() == {
        **dict.fromkeys(("value", "floor", "floor_error")),
        **{"clusters": 0, "clustered": 0.0, "table": []},
    }


def test_points_that_are_in_no_cluster_have_none():
    rng = np.random.default_rng(1)
    points = np.concatenate([rng.normal(0, 0.1, (100, 2)), [[5.0, 5.0]]])
    found = clusters(points, eps=0.5, min_samples=25)
    assert found[:100].tolist() == [0] * 100
    assert found[100] == -1


def test_labels_are_values_or_bins_of_equal_numbers():
    events = toy(1000)
    kinds = labels_of(Observable("kind", "kind"), events)
    assert kinds.names == ("0", "1")
    assert np.array_equal(kinds.number, ak.to_numpy(events.kind))
    bins = labels_of(Observable("z", "z"), events)
    assert np.bincount(bins.number).tolist() == pytest.approx([250] * 4, abs=1)
    assert (bins.names[0][:3], bins.names[-1][:5]) == ("to ", "from ")
    jagged = ak.zip({"Jet": ak.zip({"pt": ak.Array([[3.0, 1.0], [], [2.0]])})}, depth_limit=1)
    first = labels_of(Observable("pt", "Jet.pt"), jagged)
    assert first.number.tolist() == [1, -1, 0]
    assert first.names == ("2", "3")


def test_principal_components_are_those_of_scikit_learn():
    rng = np.random.default_rng(1)
    true = rng.normal(0, 1, (300, 6)) @ rng.normal(0, 1, (6, 6)) + 3
    other = rng.normal(0, 1, (40, 6))
    (mine, others), shares = principal_components(true, other)
    expected = PCA(2).fit(true)
    signs = np.sign((mine * expected.transform(true)).sum(axis=0))
    np.testing.assert_allclose(mine * signs, expected.transform(true), atol=1e-9)
    np.testing.assert_allclose(others * signs, expected.transform(other), atol=1e-9)
    np.testing.assert_allclose(shares, expected.explained_variance_ratio_, rtol=1e-9)


# ------------------------------------------------------------------ surfaces


def test_terms_are_those_of_all_phases(generator):
    assert loss_terms(generator, toy()) == {
        "judge": "judge",
        "judge_gradient_penalty": "judge",
        "judge_adversarial": "generator",
        "mmd": "generator",
    }


@pytest.mark.parametrize("term", ["mmd", "judge", "judge_gradient_penalty", "total"])
def test_the_middle_of_a_surface_is_the_loss_of_the_weights_which_stay(generator, term, tmp_path):
    before = {n: t.clone() for n, t in generator.parts.model.state_dict().items()}
    found = loss_surface(generator, toy(), term, span=0.5, points=3, n=64, seed=3)
    for name, tensor in generator.parts.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert found.values.shape == (3, 3)
    assert found.coordinates.tolist() == [-0.5, 0.0, 0.5]
    assert len(np.unique(found.values)) == 9
    again = loss_surface(generator, toy(), term, span=0.25, points=3, n=64, seed=3)
    assert again.values[1, 1] == found.values[1, 1]
    generator.save(tmp_path / "m.safetensors", force=True)
    loaded = EventGenerator.load(tmp_path / "m.safetensors", device="cpu")
    same = loss_surface(loaded, toy(), term, span=0.5, points=3, n=64, seed=3)
    np.testing.assert_array_equal(same.values, found.values)


def test_directions_have_the_norm_of_each_units_weights(generator):
    parameters = list(generator.parts.model.generator.parameters())
    first, second = _directions(parameters, 1)
    for p, a, b in zip(parameters, first, second, strict=True):
        assert not torch.equal(a, b) or p.ndim < 2
        expected = p.detach().norm(dim=1) if p.ndim == 2 else torch.zeros(len(p))
        torch.testing.assert_close(a.norm(dim=1) if p.ndim == 2 else a, expected)


def test_surfaces_do_not_depend_on_how_the_scale_is_shared_among_layers():
    """With leaky_relu, twice the weights here and half of them there are the same function."""
    generator = gan()
    before = loss_surface(generator, toy(), "mmd", points=3, n=64)
    linear = [m for m in generator.parts.model.generator.layers if isinstance(m, nn.Linear)]
    with torch.no_grad():
        linear[0].weight.mul_(4.0)
        linear[0].bias.mul_(4.0)
        linear[1].weight.mul_(0.25)
    after = loss_surface(generator, toy(), "mmd", points=3, n=64)
    np.testing.assert_allclose(after.values, before.values, rtol=1e-4, atol=1e-6)


def test_roughness_is_what_no_paraboloid_describes():
    steps = np.linspace(-1, 1, 9)
    a, b = np.meshgrid(steps, steps, indexing="ij")
    bowl = LossSurface("t", "p", steps, 1 + a + 2 * a**2 + a * b + b**2)
    assert bowl.roughness == pytest.approx(0.0, abs=1e-12)
    noise = np.random.default_rng(1).normal(size=(9, 9))
    assert LossSurface("t", "p", steps, noise).roughness > 0.8
    holes = LossSurface("t", "p", steps, np.where(a > 0.9, np.nan, bowl.values))
    assert holes.roughness == pytest.approx(0.0, abs=1e-12)
    figure = plot_surfaces({"dense": bowl, "residual": LossSurface("t", "p", steps, noise)})
    assert [a.get_title(loc="left")[:5] for a in figure.axes[:2]] == ["dense", "resid"]


def test_surfaces_of_other_families_are_of_their_own_terms_or_refused(generator):
    flow = fitted({"kind": "flow", "blocks": 1, "bins": 4, "network": MLP})
    assert loss_terms(flow, toy()) == {"likelihood": "flow"}
    found = loss_surface(flow, toy(), points=3, n=64)
    assert (found.term, found.phase) == ("total", "flow")
    few = ("training.steps=2", "training.batch_size=64", "training.max_time=null")
    refined = refine(flow, lambda e: np.ones(len(e)), events=300, settings=few, seed=1)
    with pytest.raises(InputError, match="a refined model does not learn from events"):
        loss_surface(refined, toy())
    with pytest.raises(InputError, match="no term 'mass' of the loss; there are total, judge"):
        loss_surface(generator, toy(), "mass")
    with pytest.raises(InputError, match="no phase 'flow' of training; there are judge, generator"):
        loss_surface(generator, toy(), phase="flow")
    with pytest.raises(ValueError, match="points must be at least 3"):
        loss_surface(generator, toy(), points=2)


# ------------------------------------------------------------------ all together


def test_an_explanation_finds_in_a_critics_layers_what_it_sees(generator, tmp_path, monkeypatch):
    module = importlib.import_module("hepgan.explanation.explain")
    monkeypatch.setattr(module, "loss_surface", partial(loss_surface, points=5, n=64))
    found = explain(
        generator,
        toy(400, 2),
        layers=["generator.1", "judge.2"],
        observables=["kind", "x"],
        condition={"kind": "0,1"},
        n=300,
        perplexity=30,
        min_samples=10,
        surfaces=["mmd"],
    )
    pure = found.maps["judge.2"].purities["x"]
    assert pure.value > pure.floor + 5 * pure.floor_error
    assert set(found.overlays) == {"features", "judge.2"}
    written = {p.name for p in found.save(tmp_path / "out")}
    assert written == {
        *("tsne-generator.1.png", "tsne-judge.2.png", "pca-features.png", "pca-judge.2.png"),
        *("critic-judge.png", "surface-mmd.png", "explanation.json"),
    }
    kept = json.loads((tmp_path / "out" / "explanation.json").read_text())
    assert kept["events"] == {"generated": 300, "true": 300}
    assert kept["clusters"]["judge.2"]["x"]["value"] == pure.value
    assert kept["clusters"]["generator.1"]["kind"]["labels"] == ["0", "1"]
    assert 0 < kept["principal_components"]["features"]["ks"][0]["floor"] < 0.11
    assert len(kept["surfaces"]["mmd"]["values"]) == 5
    with pytest.raises(hepgan.OutputError, match="exists already"):
        found.save(tmp_path / "out")


def test_wrong_names_are_told(generator):
    with pytest.raises(InputError, match="no observable 'mass' in the recipe; there are product, x, kind"):
        explain(generator, observables=["mass"])
    with pytest.raises(InputError, match="surfaces of the loss need true events"):
        explain(generator, surfaces=["mmd"])


def test_the_command_lists_layers_and_writes_an_explanation(generator, tmp_path, capfd):
    model, folder = tmp_path / "m.safetensors", tmp_path / "out"
    generator.save(model)
    hepgan.write_events(tmp_path / "true.root", toy(200, 2))
    assert run("explain", model, "-o", folder, "--layer", "list") == 0
    assert set(capfd.readouterr().out.split()) == {"generator.1", "generator.2", "judge.1", "judge.2"}
    assert not folder.exists()
    words = ["explain", model, tmp_path / "true.root", "-o", folder, "-n", 100, "--perplexity", 10]
    assert run(*words, "--min-samples", 10, "--label", "kind", "--condition", "kind=0,1") == 0
    said = capfd.readouterr().out.splitlines()
    assert any("purity in kind" in line for line in said)
    assert said[-1] == f"5 pictures and explanation.json in {folder}"
    assert run(*words) == 2
    assert "exists already" in capfd.readouterr().err
    assert run(*words[:5], "-n", 200, "--force", "--layer", "hidden") == 2
    assert "no hidden layer 'hidden'" in capfd.readouterr().err


# ------------------------------------------------------------------ what critics think


def test_scores_are_those_of_the_critic(generator):
    found = activations(generator, toy(300, 2), n=100, seed=4)
    made, true = found.scores["judge"]
    assert made.shape == true.shape == (100,)
    critic = generator.parts.critics[0]
    last = critic.network.layers[-1]
    expected = found.true["judge.2"] @ last.weight.detach().numpy().T + last.bias.detach().numpy()
    np.testing.assert_allclose(true, expected[:, 0], atol=1e-4)


def test_judgements_are_told_and_drawn(generator, tmp_path):
    options = {"n": 150, "perplexity": 10.0, "layers": ["generator.2"]}
    found = explain(generator, toy(400, 2), observables=["product", "x"], **options)
    judged = found.judgements["judge"]
    numbers = found.to_dict()["critics"]["judge"]
    made = judged.observables["x"][1]
    expected = spearmanr(judged.generated, made).statistic
    assert numbers["rank_correlations"]["x"]["generated"] == pytest.approx(expected)
    assert numbers["ks"]["value"] == pytest.approx(ks_2samp(judged.true, judged.generated).statistic)
    assert any(line.startswith("judge: KS of its output") for line in found.lines())
    written = {p.name for p in found.save(tmp_path / "out")}
    assert "critic-judge.png" in written
    alone = explain(generator, observables=["x"], **options)
    assert "ks" not in alone.to_dict()["critics"]["judge"]
    assert alone.figures()["critic-judge"].axes[0].get_xlabel() == "x"


# ------------------------------------------------------------------ layers of images


@pytest.fixture(scope="module")
def imaging():
    layers = [{"dense": [3, 6, 5]}, {"conv": 4, "kernel": 3}, {"local": 2, "kernel": 3, "stride": 2}]
    model = {
        "kind": "gan",
        "noise": 5,
        "generator": {"kind": "grid", "layers": layers},
        "critics": [{"name": "judge", "loss": "bce", "network": {"kind": "grid", "layers": layers}}],
    }
    return fitted(model, 4)


def test_responses_are_those_of_the_layers(imaging):
    found = activations(imaging, toy(400, 2), n=200, seed=4)
    assert [*found.images] == [f"{n}.window.{k}" for n in ("generator", "judge") for k in (1, 2)]
    assert found.generated["generator.2"].shape == (200, 4)  # channels of an image
    conv, local = (found.images[f"judge.window.{k}"] for k in (1, 2))
    assert (conv.kind, local.kind) == ("convolution", "locally connected")
    assert conv.generated.shape == (200, 4, 6, 5)
    assert local.true.shape == (200, 2, 3, 3)
    assert local.strength.shape == (2, 3, 3)
    module = next(m for m in imaging.parts.critics[0].modules() if isinstance(m, LocallyConnected))
    weight = module.weight.detach().double().numpy()
    np.testing.assert_allclose(local.strength.reshape(2, -1).T, np.sqrt((weight**2).sum(-1)), rtol=1e-5)
    convolution = next(m for m in imaging.parts.critics[0].modules() if isinstance(m, Convolution))
    kernels = convolution.weight.detach().double().numpy()
    for kernel, shown in zip(kernels, conv.filters, strict=True):
        largest = max(kernel, key=lambda channel: (channel**2).sum())
        np.testing.assert_allclose(shown, largest)


def test_the_first_response_is_the_convolution_with_the_difference_of_means(imaging):
    found = activations(imaging, toy(400, 2), n=200, seed=4)
    layer = found.images["judge.window.1"]
    classes = np.arange(200) % 2
    told = differences(layer, classes, ("a", "b"))
    seen = []
    module = next(m for m in imaging.parts.critics[0].modules() if isinstance(m, Convolution))
    handle = module.register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0].detach()))
    activations(imaging, toy(400, 2), n=200, seed=4)
    handle.remove()
    made, true = seen
    apart = (true.mean(0) - made.mean(0), made[1::2].mean(0) - made[::2].mean(0))
    for name, gap in zip(("true \N{MINUS SIGN} generated", "b \N{MINUS SIGN} a"), apart, strict=True):
        expected = nn.functional.conv2d(gap[None], module.weight, padding=1)[0].detach()
        np.testing.assert_allclose(told[name], expected, atol=1e-4)


def test_filters_are_drawn(imaging, tmp_path):
    options = {"n": 120, "perplexity": 10.0, "layers": ["judge.2"], "observables": ["kind"]}
    found = explain(imaging, toy(300, 2), **options)
    assert len(found.responses["judge.window.1"]) == 2
    assert len(found.responses["generator.window.2"]) == 1
    written = {p.name for p in found.save(tmp_path / "out")}
    assert {"filters-judge.window.1.png", "filters-generator.window.2.png"} <= written
