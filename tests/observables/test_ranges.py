from __future__ import annotations

import numpy as np

from hepgan.observables.ranges import find_span


def test_a_value_that_occurs_again_and_again_at_the_end_is_inside():
    span = find_span(np.repeat([10.0, 20.5, 30.0, 40.0, 50.0], 100), unit="GeV")
    assert span.high > 50.0


def test_what_differs_by_rounding_alone_has_a_range():
    """As the squared masses of massless particles in double precision."""
    for middle in (1.0, 0.0, -91.2):
        values = middle + 1e-13 * np.linspace(-1, 1, 100) * abs(middle)
        span = find_span(values, unit="GeV")
        assert span.low < middle < span.high
        assert (span.high - span.low) / (span.bins or 50) > 1e-3
