"""Fields with a shape and classes in comparisons: numbers, pictures, histograms, and what is told."""

from __future__ import annotations

import json
from dataclasses import replace

import awkward as ak
import numpy as np
import pytest
import uproot

from hepgan import compare, write_events
from hepgan.errors import InputError
from hepgan.events import schema_of
from hepgan.events.schema import Axis
from hepgan.plotting import images as plots
from hepgan.validation import compare_files
from hepgan.validation.verdicts import grade_grey, grade_shift, overall, transfer_rows

AXES = (Axis(name="phi", low=-1, high=1), Axis(name="eta", low=-2, high=2, unit="rad"))


def events(size: int, seed: int, factor: float = 1.0) -> ak.Array:
    """Events of two classes with an image, a waveform and a block, of more cells in the second class."""
    rng = np.random.default_rng(seed)
    label = rng.integers(2, size=size)
    filled = rng.random((size, 8, 6)) < 0.15 + 0.15 * label[:, None, None]
    image = np.where(filled, factor * rng.lognormal(0, 1, filled.shape), 0).astype(np.float32)
    wave = rng.normal(np.sin(np.arange(12)), 0.3, (size, 12)).astype(np.float32)
    block = rng.exponential(1, (size, 2, 3, 4)).astype(np.float32)
    arrays = {
        n: ak.from_numpy(x, regulararray=True)
        for n, x in (("Image", image), ("Wave", wave), ("Block", block))
    }
    return ak.zip({**arrays, "label": label, "total": image.sum((1, 2)), "other": wave[:, 0]}, depth_limit=1)


def layout(of: ak.Array):
    schema = schema_of(of)
    scalars = (f.model_copy(update={"axes": AXES}) if f.name == "Image" else f for f in schema.scalars)
    return schema.model_copy(update={"scalars": tuple(scalars)})


@pytest.fixture(scope="module", autouse=True)
def _short_trainings():
    """Networks of fewer steps than usual, which are enough for such images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hepgan.stats.convolution.STEPS", (80, 80))
        yield


@pytest.fixture(scope="module")
def found():
    true = events(500, 1)
    samples = {"good": events(400, 2), "large": events(400, 3, 1.5)}
    observables = {"total": "total", "class": "label", "other": "other"}
    train = events(600, 4)
    return compare(true, samples, observables, train=train, category="label", schema=layout(true), n_jobs=1)


def test_every_metric_stands_beside_its_floor(found):
    for label, worst in (("good", "good"), ("large", "poor")):
        image = found.metrics[label]["images"]["Image"]
        assert set(image) == {"mean_image", "occupancy", "log_content", "neighbours"}
        assert set(image["mean_image"]) == {"all events", "label = 0", "label = 1"}
        assert all(m["floor"] > 0 for m in image["mean_image"].values())
        rows = overall(found.results[label])
        assert rows["Image: log of contents [σ]"].grade == worst
        assert rows["Image: occupancy"].grade == "good"
    assert found.metrics["large"]["convolution"]["auc"]["value"] > 0.58
    assert found.metrics["good"]["convolution"]["fields"] == ["Image", "Wave", "Block"]
    assert "s of a processor, 80 steps a training" in found.provenance["convolutional network"]["large"]


def test_classes_transfer_by_observables_and_by_arrays(found):
    for what in ("observables", "arrays"):
        rows = transfer_rows(found.results, what)
        assert [row.name for row in rows][2:] == ["class asked for is found", "grey area"]
        numbers = found.metrics["good"]["transfer"][what]
        assert numbers["classes"] == [0, 1]
        assert numbers["generated_to_true"]["value"] > 0.7
        assert grade_shift(found.results["good"].transfers[what].generated_to_true) != "poor"
    assert grade_grey(found.results["large"].transfers["observables"].grey) in ("good", "fair", "poor")
    assert any("the class asked for is found in" in line for line in found["good"].verdicts())


def test_the_class_itself_tells_nothing(found):
    """An observable that is the class would make every AUC 1."""
    assert found.results["good"].transfers["observables"].true_to_generated.value < 0.999


def test_pictures_are_of_every_field_and_have_axes_with_units(found):
    captions = [*found.sections["images"].figures]
    assert "Image: mean contents, and their differences" in captions
    assert "Wave: spectrum of contents" in captions
    assert "Image: generated events and the nearest training events, large" in captions
    parts = {label: r.images["Image"] for label, r in found.results.items()}
    figure = plots.plot_means(parts)
    texts = [t for axes in figure.axes for t in (axes.get_xlabel(), axes.get_ylabel())]
    assert "eta [rad]" in texts
    assert any(t.endswith("phi") for t in texts)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert "large \N{MINUS SIGN} reference" in titles
    for draw in found.sections["images"].figures.values():
        draw().canvas.draw()


def test_a_report_holds_numbers_pictures_and_histograms(found, tmp_path):
    figures = found.sections["images"].figures
    some = {n: draw for n, draw in figures.items() if n == "Image: spectrum of contents"}
    section = replace(found.sections["images"], figures=some)
    replace(found, sections={"images": section}).save(tmp_path / "report")
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count("Image: spectrum of contents") >= 1
    assert "By arrays" in page
    assert "AUC of a convolutional network, Image, Wave, Block" in page
    numbers = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert "images" not in {k for k in numbers if k not in ("good", "large")}
    with uproot.open(tmp_path / "report" / "histograms.root") as file:
        mean = file["large/images/Image/mean label = 1"].to_hist()
    assert [a.name for a in mean.axes] or mean.shape == (8, 6)
    np.testing.assert_allclose(
        mean.values(), found.results["large"].images["Image"].means["label = 1"][1].values()
    )


def test_files_are_compared_as_events_in_memory_are(tmp_path):
    for seed in (1, 2):
        write_events(tmp_path / f"{seed}.root", events(500, seed))
    paths = [tmp_path / f"{seed}.root" for seed in (1, 2)]
    options = {"classifier": False, "category": ("nothing", "label")}
    one = compare_files(*paths, {"total": "total"}, **options)
    other = compare(events(500, 1), events(500, 2), {"total": "total"}, **options)
    assert one.metrics["images"]["Image"]["mean_image"]["label = 1"]["value"] == pytest.approx(
        other.metrics["images"]["Image"]["mean_image"]["label = 1"]["value"], rel=1e-4
    )
    assert one.results["generated"].convolution is None
    assert "transfer" in one.metrics


def test_what_is_no_class_is_told():
    true, made = events(300, 1)[["total", "other", "label"]], events(300, 2)[["total", "other", "label"]]
    found = compare(true, made, {"total": "total"}, category="other", classifier=False)
    assert "other has 300 values" in found.metrics["skipped"]["transfer"]
    assert "transfer" not in compare(true, made, category=("other",), classifier=False).metrics


def test_another_shape_is_an_error_with_its_branch():
    made = events(300, 2)
    made = ak.with_field(made, made.Image[:, :4], "Image")
    made = ak.with_field(made, ak.from_numpy(ak.to_numpy(made.Image), regulararray=True), "Image")
    with pytest.raises(InputError, match="the shape is"):
        compare(events(300, 1), made, {"total": "total"}, classifier=False)
