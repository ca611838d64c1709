from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def short_trainings_of_what_is_discrete() -> Iterator[None]:
    """Drafts train as they stand, and what they promise holds of every event after any training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hepgan.learners.discrete.STEPS", 30)
        patch.setattr("hepgan.learners.discrete.BATCH", 256)
        yield
