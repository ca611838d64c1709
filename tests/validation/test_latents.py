from __future__ import annotations

import json

import awkward as ak
import numpy as np
import pytest
from scipy.special import ndtr
from toys import dimuons

from hepgan import EventGenerator
from hepgan.errors import InputError
from hepgan.generator import Latents
from hepgan.plotting.latents import LEAST, REACH, plot_latents
from hepgan.validation import compare
from hepgan.validation.sections import latent_metrics, latent_section


def normal(n=4000, d=3, seed=0):
    return Latents(tuple(f"x{i}" for i in range(d)), np.random.default_rng(seed).normal(size=(n, d)))


def test_latents_of_normal_numbers_are_at_their_floor_and_floors_are_means_over_samples():
    found = [latent_metrics(normal(seed=s, d=2))["ks"]["x0"] for s in range(200)]
    values = np.array([f["value"] for f in found])
    assert values.mean() == pytest.approx(found[0]["floor"], abs=4 * values.std() / np.sqrt(200))


def test_what_is_not_normal_or_not_independent_is_seen():
    z = normal()
    shifted = z.values + np.array([0.0, 0.2, 0.0])
    found = latent_metrics(Latents(z.names, shifted))
    assert found["ks"]["x1"]["value"] > 4 * found["ks"]["x1"]["floor"]
    assert found["ks"]["x0"]["value"] < 2.5 * found["ks"]["x0"]["floor"]
    shifted[:, 2] += 0.2 * shifted[:, 0]
    found = latent_metrics(Latents(z.names, shifted))["largest_correlation"]
    assert found["features"] == ["x0", "x2"]
    assert found["value"] == pytest.approx(0.2, abs=0.04)
    assert found["value"] > 4 * found["floor"]


def test_weights_count_events():
    z = normal(4000, 1)
    weights = np.exp(0.5 * z.values[:, 0])
    assert latent_metrics(z, weights)["ks"]["x0"]["value"] > 0.15
    twice = Latents(z.names, np.concatenate([z.values, z.values[:500]]))
    counted = latent_metrics(z, np.r_[np.full(500, 2.0), np.ones(3500)])["ks"]["x0"]["value"]
    assert latent_metrics(twice)["ks"]["x0"]["value"] == pytest.approx(counted, abs=1e-12)
    with pytest.raises(ValueError, match="shape"):
        latent_metrics(z, np.ones(3))


def test_features_that_some_events_lack_are_judged_by_the_others():
    z = normal()
    z.values[:1000, 1] = np.nan
    found = latent_metrics(z)
    assert found["ks"]["x1"]["floor"] == pytest.approx(found["ks"]["x0"]["floor"] * np.sqrt(4 / 3))
    assert found["ks"]["x1"]["value"] < 2.5 * found["ks"]["x1"]["floor"]


@pytest.fixture(scope="module")
def flow():
    recipe = {"name": "toy", "events": {"select": ["MET"]}, "model": {"kind": "flow", "blocks": 2}}
    training = {"steps": 20, "batch_size": 100}
    return EventGenerator({**recipe, "training": training}).fit(dimuons(500, 1)[["MET"]])


def test_latents_that_do_not_vary_have_no_correlation():
    values = np.random.default_rng(0).normal(size=(500, 3))
    values[:, 1] = 0.3
    found = latent_metrics(Latents(("a", "b", "c"), values))["largest_correlation"]
    assert set(found["features"]) == {"a", "c"}


def test_a_models_own_events_are_normal_noise_and_others_are_not(flow):
    own = flow.generate(4000, seed=3)
    latents = flow.latents(own)
    assert latents.names == tuple(flow.representation.names)
    found = latent_metrics(latents)["ks"]
    assert all(m["value"] < 2.5 * m["floor"] for m in found.values())
    wide = ak.with_field(own, ak.with_field(own.MET, own.MET.pt * 1.5, "pt"), "MET")
    other = latent_metrics(flow.latents(wide))["ks"]
    assert all(m["value"] > 4 * m["floor"] for m in other.values())


def test_events_that_are_never_generated_have_no_latents(toy_generator):
    events = dimuons(10, 1)
    counts = np.full(10, 2)
    counts[3] = 30
    many = ak.unflatten(ak.flatten(events.Jet[ak.num(events.Jet) > 0])[np.zeros(counts.sum(), int)], counts)
    found = toy_generator.latents(ak.with_field(events, many, "Jet")).values
    assert np.isnan(found[3]).all()


def test_corner_plots_show_what_is_farthest_from_normal_or_what_is_chosen():
    z = normal(6000, 8)
    values = z.values * np.where(np.arange(8) % 3 == 0, 1.3, 1.0)
    latents = Latents(z.names, values)
    figure = plot_latents(latents, most=3)
    panels = [a for a in figure.axes if a.axison]
    assert len(panels) == 6
    assert [p.get_xlabel() for p in panels if p.get_xlabel()] == ["x0", "x3", "x6"]
    chosen = plot_latents(latents, features=["x1", "x0"])
    assert [a.get_xlabel() for a in chosen.axes if a.get_xlabel()] == ["x1", "x0"]
    image = next(c for a in figure.axes for c in a.collections if c.get_array() is not None)
    shown = image.get_array()
    # Both are wider than normal: too few in the middle, too many outside.
    assert np.ma.median(shown[tuple(s // 2 for s in shown.shape)]) < 1 < shown.max()
    with pytest.raises(ValueError, match="no feature 'y'"):
        plot_latents(latents, features=["y"])


def test_reports_show_the_latent_space_of_models_that_have_one(flow, tmp_path):
    found = compare(
        dimuons(300, 2, weighted=True),
        dimuons(300, 3, weighted=True),
        {"met": "MET.pt"},
        features=flow,
        classifier=False,
    )
    found.save(tmp_path / "report")
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert set(metrics["latents"]["ks"]) == set(flow.representation.names)
    page = (tmp_path / "report" / "report.html").read_text().partition('<h2 id="latents">')[2]
    assert 'alt="corner plot"' in page
    assert "<td>largest correlation</td>" in page
    assert dict(latent_section(flow.latents(dimuons(300, 2))).rows())["events"] == "300"


def test_a_gan_has_no_latents():
    model = {"kind": "gan", "generator": {"kind": "mlp", "widths": [8]}, "critics": [{"loss": "bce"}]}
    recipe = {"name": "toy", "events": {"select": ["MET"]}, "model": model, "training": {"steps": 2}}
    events = dimuons(300, 1)
    generator = EventGenerator(recipe).fit(events[["MET"]])
    with pytest.raises(InputError, match="GAN has no likelihood"):
        generator.latents(events[["MET"]])
    found = compare(events[["MET"]], dimuons(300, 2)[["MET"]], features=generator, classifier=False)
    assert not found.sections


def test_planes_show_ratios_that_chance_hardly_moves_and_mean_weights_of_weighted_events():
    z = normal(20000, 2)
    weights = np.where(z.values[:, 0] > 0, 1.2, 0.8)
    figure = plot_latents(z, weights)
    plane = next(a for a in figure.axes if a.get_ylabel() == "x1")
    shown = plane.collections[0].get_array()
    edges = np.linspace(-REACH, REACH, len(shown) + 1)
    share = np.diff(ndtr(edges))
    expected = 20000 * np.outer(share, share)
    effective = weights.sum() ** 2 / np.square(weights).sum() / 20000
    np.testing.assert_array_equal(shown.mask, expected * effective < LEAST)
    right = shown[:, edges[:-1] >= 0].compressed()
    left = shown[:, edges[1:] <= 0].compressed()
    assert right.mean() == pytest.approx(1.2, abs=0.03)
    assert left.mean() == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("most", [1, 2, 5])
def test_legends_of_corner_plots_hide_nothing(most):
    figure = plot_latents(normal(6000, 5), most=most)
    figure.canvas.draw()
    (legend,) = [a.get_legend() for a in figure.axes if a.get_legend()]
    box = legend.get_window_extent()
    parts = [a.get_window_extent() for a in figure.axes if a.axison and most > 1]
    parts += [c.get_window_extent() for a in figure.axes for c in a.child_axes]
    lines = [p for a in figure.axes for p in a.patches if p.get_label() == "events"]
    assert len(lines) == most
    if most == 1:
        (one,) = figure.axes
        inside = one.transData.inverted().transform(box)
        heights = lines[0].get_data()
        below = heights.values[(heights.edges[1:] > inside[0, 0]) & (heights.edges[:-1] < inside[1, 0])]
        assert below.max() < inside[0, 1]
    assert not any(box.overlaps(p) for p in parts)
