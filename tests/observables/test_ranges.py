from __future__ import annotations

import numpy as np

from hepgan.observables.ranges import find_span


def test_a_value_that_occurs_again_and_again_at_the_end_is_inside():
    span = find_span(np.repeat([10.0, 20.5, 30.0, 40.0, 50.0], 100), unit="GeV")
    assert span.high > 50.0
