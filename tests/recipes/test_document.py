"""YAML says one thing only, or is refused in bounded time and memory."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from hepgan.errors import HepganError, InputError, RecipeError
from hepgan.recipes import load_recipe
from hepgan.recipes.document import parse_yaml, read_document, to_yaml

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[no, yes, on, off, y, True, false]", ["no", "yes", "on", "off", "y", True, False]),
        ("[2020-01-01, 1:30, 0x1f, null, ~]", ["2020-01-01", "1:30", "0x1f", None, None]),
        ("[010, 1_000, -3, 1e-4, .5, 1., 2E3]", [10, 1000, -3, 1e-4, 0.5, 1.0, 2000.0]),
        ("[1.5.2, 1e, -, .inf, -.inf]", ["1.5.2", "1e", "-", float("inf"), float("-inf")]),
        ("{1: x, true: y, no: z}", {"1": "x", "true": "y", "no": "z"}),
        ("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}", {"a": {"p": 1, "q": 2}, "b": {"p": 1, "q": 3}}),
        ("b: {<<: [{p: 1}, {p: 2, q: 3}]}", {"b": {"p": 1, "q": 3}}),
        ("\ufeffa: 1", {"a": 1}),
        ("# nothing", None),
    ],
)
def test_yaml_says_what_it_looks_like(text: str, value: object) -> None:
    assert parse_yaml(text, "it") == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3", "it: line 3, column 1: the key a stands here a second time"),
        ("x: {a: 1, 'a': 2}", "line 1, column 11: the key a"),
        ("a:\n\t- b", "line 2, column 1: a tab"),
        ("? [a]\n: b", "a key is no text"),
        ("a: !!binary aGVsbG8=", "a recipe has no .*binary"),
        ("a: !!python/object/apply:os.system [x]", "a recipe has no .*python"),
        ("!!bool yes", "yes is no bool"),
        ("a: " + "9" * 5000, "9{40}... is no int"),
        ("<<: 3", "<< merges mappings alone"),
        ("a: &a [*a]", "levels"),
        ("[" * 70 + "]" * 70, "levels"),
        ("{a: " * 5000, "levels"),
        (BOMB, "more than 200,000 values"),
        ("a: \x00", "special characters"),
        ("--- a\n--- b", "another document"),
    ],
)
def test_what_is_ambiguous_or_hostile_is_refused_at_once(text: str, words: str) -> None:
    start = time.process_time()
    with pytest.raises(RecipeError, match=words) as error:
        parse_yaml(text, "it")
    assert "\n" not in str(error.value)
    assert time.process_time() - start < 2


def test_what_is_written_is_read_back() -> None:
    texts = [
        "no",
        "1e5",
        "2020-01-01",
        "1:30",
        "010",
        "null",
        "",
        "~",
        "<<",
        "true",
        ".5",
        "=",
        "0x1f",
        "é\x1b",
    ]
    document = {"texts": texts, "no": {"1": 2}, "numbers": [1, 1.5, 1e-7, True, None]}
    assert parse_yaml(to_yaml(document), "it") == document


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_files_are_read_as_editors_and_shells_write_them(encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("model: {kind: gan}\ndescription: µ\n", encoding=encoding)
    assert load_recipe(file).description == "µ"


@pytest.mark.parametrize("name", ["/dev/zero", "a\0.yaml", "x" * 300 + ".yaml", "/"])
def test_files_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(RecipeError):
        read_document(Path(name))


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "", ".", "/dev/zero"])
def test_names_that_no_file_can_have_are_no_recipes(name: str) -> None:
    with pytest.raises(HepganError, match=r"no recipe|recipe must be a path"):
        load_recipe(name)


@pytest.mark.parametrize("recipe", [3, None, ["zmumu"]])
def test_what_is_no_recipe_at_all_is_named(recipe: object) -> None:
    with pytest.raises(InputError, match="recipe must be a path"):
        load_recipe(recipe)  # type: ignore[arg-type]


def test_settings_come_one_after_the_other_and_a_key_within_one_stands_once() -> None:
    assert load_recipe("zmumu").with_settings(["model.steps=3", "model.steps=4"]).model.steps == 4
    with pytest.raises(RecipeError, match="the key a stands here a second time"):
        load_recipe("zmumu").with_settings(["model.network={a: 1, a: 2}"])
