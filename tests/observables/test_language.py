from __future__ import annotations

import pickle
import time

import awkward as ak
import pytest

from hepgan.errors import RecipeError
from hepgan.observables import Observable, parse

from .conftest import make


def test_the_names_that_an_expression_uses_are_known():
    parsed = parse("sum(Jet[Jet.pt > 30].pt) / MET.pt + nMuon")
    assert parsed.names == {"Jet", "MET", "nMuon"}
    assert parsed.attributes == {"pt"}


def test_the_same_text_is_parsed_once():
    assert parse("Jet.pt") is parse("Jet.pt")


def test_line_breaks_and_spaces_do_not_matter():
    assert parse("Jet.pt\n   / MET.pt ").source == "Jet.pt / MET.pt"


ODD = ak.Array(
    {
        "b-tag": [1.0, 2.0],
        "a  b": [3.0, 4.0],
        "x`y": [5.0, 6.0],
        "pi": [7.0, 8.0],
        "nK+": [1.0, 1.0],
        "K+": ak.zip({"p t": [[1.0, 2.0], [3.0]], "class": [[1, 2], [4]]}),
    }
)


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("`b-tag` + `a  b`  -  1", [3.0, 5.0]),
        ("`x``y`", [5.0, 6.0]),
        ("`pi` > pi", [True, True]),
        ("`K+`[0].`p t` * 2", [2.0, 6.0]),
        ("count(`K+`[`K+`.`p t` < `K+`.`class`]) + `nK+`", [1, 2]),
        ("sum(`K+`.`class`)", [3, 4]),
    ],
)
def test_names_that_are_no_words_stand_in_backticks(expression, values):
    assert Observable("odd", expression)(ODD).tolist() == values
    assert pickle.loads(pickle.dumps(Observable("odd", expression)))(ODD).tolist() == values


@pytest.mark.parametrize(
    ("expression", "column", "reason"),
    [
        ("b-tag", 1, "unknown name 'b'; names that are no plain words stand in backticks"),
        ("`b_tag`", 1, "did you mean `b-tag`"),
        ("`b-tag` + `K+`.zz", 16, r"`K\+` has no field or property 'zz'"),
        ("`b-tag` + )", 11, "not an expression|unmatched"),
        ("`max`(1)", 1, "max is a name, not a function"),
        ("`K+`.`dot`(pi)", 6, "unknown method"),
        ("`b-tag", 1, "no end"),
        ("`b-tag` + ``", 11, "no end, or is empty"),
        ("`a`b", 1, "beside"),
        ("Größe", 3, "'ö' has no meaning here; names with it stand in backticks"),
    ],
)
def test_what_is_wrong_with_quoted_names_is_told_at_its_column(expression, column, reason):
    with pytest.raises(RecipeError, match=f"column {column}: .*({reason})"):
        Observable("odd", expression)(ODD)


@pytest.mark.parametrize(
    ("expression", "column", "reason"),
    [
        ("Jet.pt +", 9, "not an expression"),
        ("Jet.pt Muon.pt", 8, "not an expression|invalid syntax"),
        ("(Jet.pt", 1, "never closed"),
        ("1 + sqrd(Jet.pt)", 5, "unknown function 'sqrd'; did you mean 'sqrt'"),
        ("Muon[0].deltaX(Muon[1])", 9, "unknown method 'deltaX'"),
        ("Jet.pt + Jet.__class__", 14, "not allowed"),
        ("Jet._private", 5, "not allowed"),
        ("__import__", 1, "not allowed"),
        ("Jet[::2].pt", 7, "step"),
        ("Jet[1.5:].pt", 5, "whole numbers"),
        ("sqrt(Jet.pt, 2)", 1, "sqrt takes 1 arguments, not 2"),
        ("max()", 1, "max takes 1 to 8 arguments, not 0"),
        ("Muon[0].unit(1)", 9, "unit takes 0 arguments"),
        ("max(Jet.pt, key=1)", 1, "arguments have no names"),
        ("sum(*Jet)", 5, "star"),
        ("Jet.pt // 2", 1, "FloorDiv"),
        ("Jet.pt << 2", 1, "LShift"),
        ("Jet in Muon", 1, "comparison In"),
        ("Jet is Muon", 1, "comparison Is"),
        ("lambda: 1", 1, "a lambda"),
        ("[j for j in Jet]", 1, "a comprehension"),
        ("sum(j for j in Jet)", 4, "a comprehension"),
        ("[1, 2]", 1, "a list"),
        ("(1, 2)", 1, "a tuple"),
        ("Jet[0, 1].pt", 5, "a tuple"),
        ("1 if nJet else 2", 1, "use where"),
        ("(a := 1)", 2, "an assignment"),
        ("None", 1, "not a number"),
        ("nJet + 1j", 8, "not a number"),
        ("nJet + 1e999", 8, "too large"),
        ("nJet + 9007199254740992", 8, "too large"),
        ("'text'", 1, "character"),
        ("f'{Jet}'", 2, "character"),
        ("Jet.pt; Jet", 7, "character"),
        ("Jet @ Jet", 5, "character"),
        ("{1}", 1, "character"),
        ("Jet.pt # pt", 8, "character"),
        ("μ.pt", 1, "character"),
        ("Jet[0](1)", 1, "can be called"),
        ("sum(Jet.pt)(1)", 1, "can be called"),
        ("...", 1, "not a number"),
        ("await Jet", 1, "not part of the language|not an expression"),
    ],
)
def test_what_is_not_of_the_language_is_an_error_at_its_column(expression, column, reason):
    with pytest.raises(RecipeError, match=rf"column {column}: .*({reason})"):
        parse(expression)


@pytest.mark.parametrize("expression", ["", "  ", "\n"])
def test_an_empty_expression_is_an_error(expression):
    with pytest.raises(RecipeError, match="empty"):
        parse(expression)


HOSTILE = {
    "long": "Jet.pt + " * 10_000 + "1",
    "deep brackets": "(" * 90 + "Jet.pt" + ")" * 90,
    "very deep brackets": "(" * 480 + "1" + ")" * 480,
    "many signs": "-" * 900 + "nJet",
    "many nots": "not " * 200 + "nJet",
    "long chain": "Jet" + ".pt" * 300,
    "nested calls": "abs(" * 60 + "nJet" + ")" * 60,
    "nested indices": "Jet" + "[Jet" * 60 + "]" * 60,
    "left-deep sum": "+".join(["nJet"] * 190),
    "many parts": "max(" + ",".join(["nJet"] * 300) + ")",
    "power tower": "9**9**9**9 * nJet",
    "power of whole numbers": "nJet * 10**100000000",
    "repeated squares": "nJet * " + "*".join(["9007199254740991"] * 50),
    "large number": "nJet * " + "9" * 900,
    "pairs of pairs": "sum(pairs(pairs(pairs(Jet))).pt)",
    "pairs of chosen pairs": "sum(pairs(pairs(Jet)[pairs(Jet).mass > 1]).pt)",
    "null byte": "Jet\0.pt",
    "surrogate": "Jet.\ud800",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_expressions_end_quickly_in_a_recipe_error(kind):
    events = make(1)
    start = time.perf_counter()
    with pytest.raises(RecipeError) as caught:
        Observable("x", HOSTILE[kind])(events.batch)
    assert time.perf_counter() - start < 1.0
    assert len(str(caught.value)) < 1500


def test_an_expression_cannot_reach_python(events):
    for text in (
        "Jet.pt.numpy()",
        "Jet.map(Jet)",
        "Jet.fields",
        "Jet.momentum",
        "events",
        "Jet.pt.data",
        "open",
    ):
        with pytest.raises(RecipeError):
            Observable("x", text)(events.batch)


def test_an_observable_survives_a_pickle():
    observable = Observable("m", "(Muon[0] + Muon[1]).mass")
    assert pickle.loads(pickle.dumps(observable)) == observable
