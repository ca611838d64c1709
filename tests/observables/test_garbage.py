"""Whatever is written as an expression, only hepgan's own errors come out, and soon."""

from __future__ import annotations

import contextlib

import awkward as ak
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepgan.errors import HepganError, RecipeError
from hepgan.observables import Observable, parse
from hepgan.observables.language import FUNCTIONS, METHODS, PROPERTIES
from hepgan.observables.standard import from_config

SOME = settings(max_examples=150, deadline=None, derandomize=True)
NUMBERS = [1.0, np.nan, np.inf, 0.0, -1e308]
FIELDS = ("pt", "eta", "phi", "mass")
EVENTS = ak.Array(
    {
        "x": NUMBERS,
        "i": [0, 1, -1, 2**62, -(2**63)],
        "b-tag": [True, False, True, True, False],
        "word": list("abcde"),
        "Jet": ak.zip(
            {
                n: [[v, 2.0], [], [v], [v, v, v], [1.0]]
                for n, v in zip(("pt", "eta", "phi", "mass"), NUMBERS, strict=False)
            },
            with_name="Momentum4D",
        ),
    }
)

ATOMS = st.sampled_from(
    ["x", "i", "`b-tag`", "word", "Jet", "Jet[0]", "Jet[-1]", "nJet", "pi", "0", "2", "1e308", "zz"]
)


def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = st.sampled_from(
        ["+", "-", "*", "/", "%", "**", "<", "==", "&", "|", " and ", ",", ".", " if "]
    )
    return st.one_of(
        st.tuples(inner, operators, inner).map(lambda t: f"({t[0]}{t[1]}{t[2]})"),
        st.tuples(st.sampled_from(sorted(FUNCTIONS)), inner).map(lambda t: f"{t[0]}({t[1]})"),
        st.tuples(st.sampled_from(sorted(FUNCTIONS)), inner, inner).map(lambda t: f"{t[0]}({t[1]}, {t[2]})"),
        st.tuples(inner, st.sampled_from(sorted(METHODS)), inner).map(lambda t: f"{t[0]}.{t[1]}({t[2]})"),
        st.tuples(inner, st.sampled_from(sorted(PROPERTIES))).map(lambda t: f"{t[0]}.{t[1]}"),
        st.tuples(inner, inner).map(lambda t: f"{t[0]}[{t[1]}]"),
        inner.map(lambda t: f"-{t}"),
    )


@SOME
@given(st.recursive(ATOMS, larger, max_leaves=6))
def test_expressions_have_values_or_are_refused(text: str) -> None:
    with contextlib.suppress(HepganError):
        Observable("n", text).flat(EVENTS)


@SOME
@given(st.text(st.sampled_from("xJet[0].pt()+-*/`\\'\" \n~#$1e9_é\0"), max_size=30) | st.text(max_size=12))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    with contextlib.suppress(RecipeError):
        assert parse(text) == parse(text)


@pytest.mark.parametrize(
    "text", ["(" * 1000 + "x", "2**10**10", "9**9**9 * x", "x" + "+x" * 490, "-" * 990 + "x"]
)
def test_what_would_take_all_memory_is_refused_at_once(text: str) -> None:
    with pytest.raises(RecipeError):
        Observable("n", text)(EVENTS)


@pytest.mark.parametrize("of", ["sphericity", "aplanarity", "thrust", "c_parameter", "d_parameter"])
def test_shapes_of_momenta_that_are_not_finite_are_no_error(of: str) -> None:
    assert len(Observable(of, f"{of}(Jet)")(EVENTS)) == 5


@pytest.mark.parametrize(
    "values",
    [[1e308, -1e308], [5e-324, 1e-310], [0.0, 5e-324], [2**63 - 1] * 3, [-(2**62), 2**62], [1, 1 + 2e-16]],
)
def test_a_range_is_found_for_any_numbers(values: list[float]) -> None:
    for number in (1, len(values)):
        with contextlib.suppress(ValueError):
            Observable("n", "x").with_range_from(np.array(values[:number])).axis()


@pytest.mark.parametrize(
    "axis",
    [
        {"range": [-1e308, 1e308]},
        {"range": [0, 10**9], "integer": True},
        {"range": [2**40, 2**40], "integer": True},
    ],
)
def test_an_axis_that_cannot_be_made_is_refused(axis: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match=r"too (wide|many)"):
        from_config({"expression": "x", **axis}, "n")
