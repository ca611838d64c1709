"""Flat files with few columns, few events, or none that vary, are judged as far as they can be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import uproot

from hepgan.errors import InputError
from hepgan.validation import Comparison, compare_files

N = 400


def judged(folder: Path, *samples: dict[str, np.ndarray]) -> Comparison:
    paths = [folder / f"{name}.root" for name in ("reference", "generated", "train")]
    for path, columns in zip(paths, samples, strict=True):
        with uproot.recreate(path) as file:
            file.mktree("t", {k: v.dtype for k, v in columns.items()}).extend(columns)
    found = compare_files(str(paths[0]), str(paths[1]), train=str(paths[2]))
    found.save(folder / "report")
    return found


def thrice(**kinds: object) -> list[dict[str, np.ndarray]]:
    made = []
    for seed in (1, 2, 3):
        rng = np.random.default_rng(seed)
        made.append({n: np.asarray(make(rng)) for n, make in kinds.items()})  # type: ignore[operator]
    return made


def test_constants_are_no_columns_to_judge_memorisation_by(tmp_path: Path) -> None:
    found = judged(tmp_path, *thrice(x=lambda r: r.normal(size=N), c=lambda _: np.full(N, 831.76)))
    assert 0.5 < found.metrics["memorisation"]["ratio_of_medians"]["value"] < 2


def test_events_that_are_all_the_same_are_judged_as_the_same(tmp_path: Path) -> None:
    found = judged(tmp_path, *thrice(x=lambda _: np.ones(N), k=lambda _: np.full(N, 3)))
    assert found.metrics["classifier"]["auc"]["value"] == pytest.approx(0.5)
    assert found.metrics["skipped"]["memorisation"] == "no number varies in the training events"


def test_classes_alone_are_judged_but_for_memorisation(tmp_path: Path) -> None:
    found = judged(tmp_path, *thrice(k=lambda r: r.integers(0, 3, N), b=lambda r: r.random(N) < 0.4))
    assert found.metrics["classifier"]["auc"]["value"] == pytest.approx(0.5, abs=0.1)
    assert "half of the true events" in found.metrics["skipped"]["memorisation"]


def test_one_event_is_judged_without_a_classifier(tmp_path: Path) -> None:
    found = judged(tmp_path, *thrice(x=lambda r: r.normal(size=1), y=lambda r: r.normal(size=1)))
    assert {"classifier", "memorisation"} <= found.metrics["skipped"].keys()


def test_weights_alone_are_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="hold only their weight, weight: there is nothing to compare"):
        judged(tmp_path, *thrice(weight=lambda r: r.random(N)))


def test_what_the_training_events_lack_is_not_compared(tmp_path: Path) -> None:
    samples = thrice(x=lambda r: r.normal(size=N), y=lambda r: r.normal(size=N))
    del samples[2]["y"]
    with pytest.warns(UserWarning, match="not compared, since the train events lack it: y"):
        assert list(judged(tmp_path, *samples).observables) == ["x"]
