"""Images of the sample of jets are those of their constituents."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from hepgan.events import schema_of
from hepgan.observables import Observable


def test_jets_have_the_image_of_their_aligned_constituents(monkeypatch):
    pytest.importorskip("pythia8mc")
    pytest.importorskip("fastjet")
    from hepgan.datasets import jets

    monkeypatch.setattr(jets, "BATCH", 50)
    found = next(jets.jet_images(1, (3, 4)))
    assert len(found) >= 2
    image = ak.to_numpy(found.Image)
    assert image.dtype == np.float32
    assert schema_of(found).scalar("Image").shape == (25, 25)
    expected = Observable("x", jets.IMAGE)(found)
    np.testing.assert_allclose(image.reshape(len(image), -1), ak.to_numpy(expected), rtol=1e-5)
    np.testing.assert_allclose(image.sum((1, 2)), ak.sum(found.Constituent.pt, axis=1), rtol=1e-3)
    middle = image[:, 12, 12] / image.sum((1, 2))
    assert np.median(middle) > 0.2
    # The second subjet is below the leading one.
    assert image[:, :12].sum() > 2 * image[:, 13:].sum()
