"""The language of observables: which expressions there are, and their check before any evaluation.

An expression is read with `ast` and walked; nothing is ever compiled or evaluated as Python, so that an
expression from a stranger's model file can do no more than arithmetic on events.

Names are collections (``Muon``), numbers of the event (``beam_energy``), numbers of objects (``nJet``) and
``pi``. Names that are no plain words stand in backticks, as ``b-tag`` would. ``Jet[0]`` is the first jet of
each event and ``Jet[-1]`` the last one, ``Jet[:2]`` the first two, ``Jet[Jet.pt > 30]`` those that fulfil a
condition. Objects have their fields and, as momenta, the properties
and methods of `vector` in `PROPERTIES` and `METHODS`. ``sum``, ``count``, ``mean``, ``max``, ``min``, ``any``
and ``all`` go over the objects of an event; ``sum`` adds momenta too. ``max`` and ``min`` of several
arguments compare them one by one. ``sort(Jet, Jet.pt)`` puts the largest first, ``pairs(Jet)`` makes the sums
of all pairs, which also have ``deltaR`` and the like, ``first`` and ``second``; ``pairs(Muon, Jet)`` takes
one of each. ``pairs_with_self(Jet)`` has the pairs of each object with itself, too; ``orders`` is 1 of these,
and 2 of pairs of two objects of one kind, which stand for both orders.
``thrust``, ``sphericity``, ``aplanarity``, ``c_parameter``, ``d_parameter`` are shapes of all objects of an
event; ``efp(Jet, n)`` is an energy flow polynomial, ``efp_ee`` that for e+e- collisions,
``nsubjettiness(Jet, n)`` the N-subjettiness. ``wrap`` brings an angle into [-pi, pi).

A field of the event with a shape (``Image``) is a number of each of its cells. ``cells(Image)`` are those
that are not 0, as objects; ``grid(Hit, x, y, bins=8, low=0, high=4)`` sums objects up in cells,
``aligned(Hit, x, y, radius=0.3)`` turns them, and ``massless(Track)`` makes massless momenta. After the
objects these take the names of their fields; ``phi=dphi`` gives a field another name.

Numbers of the event and of its objects combine; numbers of different sets of objects do not. What an event
lacks (``Jet[2].pt`` of two jets) is missing, and so is all that is computed from it, until ``where`` chooses
something else or a function over objects leaves it out. A sum over no objects is 0, their maximum, minimum
and mean are missing.
"""

from __future__ import annotations

import ast
import math
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache

from hepgan.errors import RecipeError
from hepgan.events.schema import QUOTED, quoted, unquoted

__all__ = ["FUNCTIONS", "METHODS", "OF_FIELDS", "PROPERTIES", "Expression", "of_fields", "parse"]

MAX_LENGTH = 1000
MAX_NODES = 500
MAX_DEPTH = 50
# of a longer expression, a message shows this many characters
_SHOWN = 120

CONSTANTS = {"pi": math.pi}

FUNCTIONS: dict[str, tuple[int, int]] = {
    **dict.fromkeys(("sum", "count", "mean", "any", "all", "missing"), (1, 1)),
    **dict.fromkeys(("max", "min"), (1, 8)),
    **dict.fromkeys(("abs", "sqrt", "exp", "log", "log10", "sign", "floor", "wrap"), (1, 1)),
    **dict.fromkeys(("sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh"), (1, 1)),
    **dict.fromkeys(("arctan2", "hypot", "transverse_mass", "sort"), (2, 2)),
    "where": (3, 3),
    "pairs": (1, 2),
    "pairs_with_self": (1, 1),
    **dict.fromkeys(("thrust", "sphericity", "aplanarity", "c_parameter", "d_parameter"), (1, 1)),
    **dict.fromkeys(("efp", "efp_ee"), (2, 3)),
    "nsubjettiness": (2, 2),
    "cells": (1, 1),
    "aligned": (1, 3),
    "grid": (1, 4),
    "massless": (1, 1),
}
"""Functions, each with the smallest and largest number of its arguments."""

OF_FIELDS: dict[str, tuple[str, ...]] = {
    "aligned": ("weight", "radius", "centre", "rotate", "flip"),
    "grid": ("weight", "bins", "low", "high"),
    "massless": (),
}
"""Functions of objects and of the names of their fields, each with its options. Other arguments with a name
give a field that name: ``phi=dphi``."""

MASSLESS = ("pt", "eta", "phi")
"""The coordinates of massless momenta."""

METHODS: dict[str, int] = {
    **dict.fromkeys(("deltaR", "deltaR2", "deltaphi", "deltaeta", "deltaangle", "deltaRapidityPhi"), 1),
    **dict.fromkeys(("dot", "cross", "boost", "boostCM_of"), 1),
    **dict.fromkeys(("unit", "to_2D", "to_3D"), 0),
}
"""Methods of momenta, each with the number of its arguments; those of `vector`."""

PROPERTIES = frozenset(
    (
        *("px", "py", "pz", "pt", "pt2", "p", "p2", "phi", "eta", "theta", "costheta", "cottheta"),
        *("energy", "energy2", "E", "mass", "mass2", "M", "m", "mt", "mt2", "et", "et2"),
        *("rapidity", "beta", "gamma"),
    )
)
"""Properties of momenta; those of `vector`."""

PAIR_PROPERTIES = ("deltaR", "deltaR2", "deltaphi", "deltaeta", "deltaangle", "deltaRapidityPhi")
"""Methods of two momenta that ``pairs(...)`` has as attributes."""

PAIR_ANGLES = ("angle", "cosangle", "z_angle", "absdeltaphi", "cosdeltaphi")
"""Angles that pairs have besides; see `hepgan.observables.functions.ANGLES`."""

_BINARY = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Mod, ast.Pow, ast.BitAnd, ast.BitOr)
_COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
_CHARACTERS = re.compile(r"[A-Za-z0-9_.,+\-*/%()\[\]<>=!&|~: ]*")
# what stands for a quoted name while Python reads the expression: as many bytes of UTF-8 as the name in its
# quotes has characters, so that columns stay, and a letter that nothing else may have
_FIRST_LETTER = 0x4E00
_INNER = (ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop)


class Quoted(str):
    """A name that was written in backticks: never a function, a constant or a number of objects."""

    __slots__ = ()


@dataclass(frozen=True)
class Expression:
    """An expression that has passed the check.

    Attributes:
        source: Its text.
        tree: Its syntax tree.
        names: The names that it uses: collections, scalars, ``nJet``.
        attributes: The fields and properties that it uses.
        texts: The text of each part that is a set of objects or takes work to compute: calls, indices and
            attributes.
    """

    source: str
    tree: ast.expr = field(compare=False, repr=False)
    names: frozenset[str] = field(compare=False, repr=False)
    attributes: frozenset[str] = field(compare=False, repr=False)
    texts: dict[ast.expr, str] = field(compare=False, repr=False)

    @property
    def makes_pairs(self) -> bool:
        """Whether it combines objects to pairs, which takes memory quadratic in their number."""
        return "pairs" in self.source or "efp" in self.source

    @property
    def grid(self) -> dict[str, tuple[float, float]] | None:
        """Where each axis begins and ends, if it is a call of ``grid(...)`` that says so; else None."""
        tree = self.tree
        if not (isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id == "grid"):
            return None
        fields, _, options = of_fields("grid", tree)
        low, high = options.get("low", ()), options.get("high", ())
        ends = [e * len(fields) if len(e) == 1 else e for e in (low, high)]
        if any(len(e) != len(fields) for e in ends):
            return None
        return dict(zip(fields, zip(*ends, strict=True), strict=True))

    def text(self, node: ast.expr) -> str:
        """A part of the expression as it is written."""
        return quoted(node.id) if isinstance(node, ast.Name) else self.texts.get(node) or ast.unparse(node)

    def error(self, node: ast.AST, reason: str) -> RecipeError:
        """The error to raise for a part of the expression."""
        return _error(self.source, column_of(node), reason)


@lru_cache(maxsize=4096)
def parse(expression: str) -> Expression:
    """Reads and checks an expression; the same text is read once.

    Args:
        expression: For example ``(Muon[0] + Muon[1]).mass``.

    Raises:
        RecipeError: With the position, if the text is not an expression of the language.
    """
    if len(expression) > MAX_LENGTH:
        msg = f"an expression of {len(expression)} characters; the limit is {MAX_LENGTH}"
        raise RecipeError(msg)
    source = _normal(expression)
    if not source:
        msg = "an empty expression"
        raise RecipeError(msg)
    _check_characters(source)
    plain, names = _without_quotes(source)
    tree = _syntax_tree(source, plain)
    _check_size(source, tree)
    texts = {part: _with_quotes(ast.unparse(part), names) for part in _parts(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = names.get(node.id, node.id)
        elif isinstance(node, ast.Attribute):
            node.attr = names.get(node.attr, node.attr)
        elif isinstance(node, ast.keyword) and node.arg is not None:
            node.arg = names.get(node.arg, node.arg)
    used = _Check(source)
    used.visit(tree)
    return Expression(source, tree, frozenset(used.names), frozenset(used.attributes), texts)


def _parts(tree: ast.expr) -> Iterator[ast.expr]:
    """What is a set of objects or takes work to compute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Call):
            yield node
        elif isinstance(node, ast.Subscript):
            yield node.slice


def _normal(expression: str) -> str:
    """The expression with single spaces between its parts; quoted names stay as they are."""
    start, parts = 0, []
    for found in QUOTED.finditer(expression):
        parts += [re.sub(r"\s+", " ", expression[start : found.start()]), found[0]]
        start = found.end()
    return "".join([*parts, re.sub(r"\s+", " ", expression[start:])]).strip(" ")


def _without_quotes(source: str) -> tuple[str, dict[str, Quoted]]:
    """The expression with a word for each quoted name, and the names by these words."""
    words: dict[str, str] = {}

    def word(found: re.Match[str]) -> str:
        beside = source[max(found.start() - 1, 0) : found.start()] + source[found.end() : found.end() + 1]
        if re.search(r"[\w`]", beside):
            raise _error(source, found.start(), "a name in backticks beside another one, or a word")
        return words.setdefault(found[0], chr(_FIRST_LETTER + len(words)) + "x" * (len(found[0]) - 3))

    plain = QUOTED.sub(word, source)
    return plain, {word: Quoted(unquoted(text)) for text, word in words.items()}


def _with_quotes(text: str, names: dict[str, Quoted]) -> str:
    if not names:
        return text
    return re.sub("|".join(names), lambda found: quoted(names[found[0]]), text)


def suggestion(name: str, known: Iterable[str]) -> str:
    """What to add to a message about an unknown name: the closest one and what there is."""
    known = sorted(set(known))
    close = get_close_matches(name, known, 1, 0.5)
    hint = f"; did you mean {_told(close[0])}?" if close else ""
    shown = ", ".join(map(quoted, known[:30])) + (", ..." if len(known) > 30 else "")
    if not close and any(quoted(n) != n for n in known):
        hint = "; names that are no plain words stand in backticks"
    return f"{hint} (there are: {shown or 'none'})"


def _told(name: str) -> str:
    return repr(name) if quoted(name) == name else quoted(name)


def column_of(node: ast.AST) -> int:
    """Where a part of an expression stands; of an attribute, its name rather than what it is of."""
    if isinstance(node, ast.Attribute) and node.end_col_offset is not None:
        quotes = 2 + node.attr.count("`") if isinstance(node.attr, Quoted) else 0
        return node.end_col_offset - len(node.attr) - quotes
    return getattr(node, "col_offset", 0)


def _error(source: str, column: int, reason: str) -> RecipeError:
    start = max(0, column - _SHOWN // 2) if len(source) > _SHOWN else 0
    shown = source[start : start + _SHOWN]
    shown = ("..." if start else "") + shown + ("..." if start + _SHOWN < len(source) else "")
    return RecipeError(f"in {shown!r}, column {column + 1}: {reason}")


def _check_characters(source: str) -> None:
    # what is in backticks may be anything
    bare = QUOTED.sub(lambda found: "x" * len(found[0]), source)
    found = _CHARACTERS.match(bare)
    end = found.end() if found else 0
    if end < len(source):
        reason = f"the character {source[end]!r} has no meaning here"
        if source[end] == "`":
            reason = "a name between backticks has no end, or is empty"
        elif source[end].isalpha():
            reason += "; names with it stand in backticks"
        raise _error(source, end, reason)
    depth = 0
    for column, character in enumerate(bare):
        depth += (character in "([") - (character in ")]")
        if depth > MAX_DEPTH:
            raise _error(source, column, f"more than {MAX_DEPTH} brackets inside each other")


def _syntax_tree(source: str, plain: str) -> ast.expr:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(plain, mode="eval").body
    except SyntaxError as error:
        column = len(plain[: error.offset - 1].encode()) if error.offset else len(source)
        raise _error(source, column, f"not an expression ({error.msg})") from None
    except (ValueError, MemoryError, RecursionError) as error:
        raise _error(source, 0, f"too long or too deep to read ({type(error).__name__})") from None


def _check_size(source: str, tree: ast.expr) -> None:
    stack: list[tuple[ast.AST, int]] = [(tree, 1)]
    count = 0
    while stack:
        node, depth = stack.pop()
        if isinstance(node, _INNER):
            continue
        count += 1
        if depth > MAX_DEPTH:
            raise _error(source, column_of(node), f"more than {MAX_DEPTH} levels deep")
        if count > MAX_NODES:
            raise _error(source, column_of(node), f"more than {MAX_NODES} parts")
        stack.extend((child, depth + 1) for child in ast.iter_child_nodes(node))


class _Check(ast.NodeVisitor):
    """Raises at the first part that is not of the language; collects the names that are used."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.in_pairs = False

    def fail(self, node: ast.AST, reason: str) -> RecipeError:
        return _error(self.source, column_of(node), reason)

    def generic_visit(self, node: ast.AST) -> None:
        what = _NAMES.get(type(node), type(node).__name__)
        raise self.fail(node, f"{what} is not part of the language of observables")

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if not isinstance(value, (bool, int, float)):
            raise self.fail(node, f"{value!r} is not a number")
        if (isinstance(value, int) and value >= 2**53) or not math.isfinite(value):
            raise self.fail(node, "this number is too large")

    def visit_Name(self, node: ast.Name) -> None:
        if node.id.startswith("__") and not isinstance(node.id, Quoted):
            raise self.fail(node, f"names such as {node.id!r} are not allowed")
        self.names.add(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr.startswith("_") and not isinstance(node.attr, Quoted):
            raise self.fail(node, f"attributes such as {node.attr!r} are not allowed")
        self.attributes.add(node.attr)
        self.visit(node.value)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.visit(node.value)
        where = node.slice
        if isinstance(where, ast.Slice):
            if where.step is not None:
                raise self.fail(where.step, "a step in a slice is not part of the language of observables")
            for bound in (where.lower, where.upper):
                if bound is not None and integer(bound) is None:
                    raise self.fail(bound, "a slice needs whole numbers")
        elif integer(where) is None:
            self.visit(where)

    def visit_Call(self, node: ast.Call) -> None:
        function = node.func
        takes_fields = isinstance(function, ast.Name) and function.id in OF_FIELDS
        if node.keywords and not takes_fields:
            raise self.fail(node, f"arguments have no names but in {', '.join(OF_FIELDS)}")
        count = len(node.args)
        if isinstance(function, ast.Name):
            if isinstance(function.id, Quoted):
                raise self.fail(function, f"{quoted(function.id)} is a name, not a function")
            if function.id not in FUNCTIONS:
                raise self.fail(
                    function, f"unknown function {function.id!r}{suggestion(function.id, FUNCTIONS)}"
                )
            low, high = FUNCTIONS[function.id]
            name = function.id
        elif isinstance(function, ast.Attribute):
            if function.attr not in METHODS or isinstance(function.attr, Quoted):
                raise self.fail(
                    function, f"unknown method {function.attr!r}{suggestion(function.attr, METHODS)}"
                )
            low = high = METHODS[function.attr]
            name = function.attr
            self.visit(function.value)
        else:
            raise self.fail(node, "only functions and methods that are listed can be called")
        if not low <= count <= high:
            wanted = str(low) if low == high else f"{low} to {high}"
            raise self.fail(function, f"{name} takes {wanted} arguments, not {count}")
        makes_pairs = name in ("pairs", "pairs_with_self")
        if makes_pairs:
            if self.in_pairs:
                raise self.fail(node, "pairs of pairs are too many")
            self.in_pairs = True
        if takes_fields:
            self._of_fields(name, node)
        else:
            for argument in node.args:
                self.visit(argument)
        if makes_pairs:
            self.in_pairs = False

    def _of_fields(self, name: str, node: ast.Call) -> None:
        self.visit(node.args[0])
        options = OF_FIELDS[name]
        named: set[str] = set()
        for argument in node.args[1:]:
            if not isinstance(argument, ast.Name):
                raise self.fail(argument, f"{name} takes objects and then names of their fields, such as pt")
            if argument.id in named:
                raise self.fail(argument, f"{argument.id} is given twice")
            named.add(argument.id)
        for keyword in node.keywords:
            if keyword.arg is None or keyword.arg in named:
                raise self.fail(keyword, f"{keyword.arg or 'a mapping'} is given twice, or has no name")
            named.add(keyword.arg)
            if keyword.arg in options and keyword.arg != "weight":
                if written(keyword.value) is None:
                    raise self.fail(keyword.value, f"{keyword.arg} of {name} is a number, or numbers (1, 2)")
            elif name == "massless" and keyword.arg not in MASSLESS:
                raise self.fail(keyword, f"massless takes {', '.join(MASSLESS)}, not {keyword.arg}")
            elif not isinstance(keyword.value, ast.Name):
                hint = f"; options are {', '.join(options)}" if options else ""
                raise self.fail(keyword.value, f"{keyword.arg}= takes the name of a field{hint}")
        named_fields, weight, _ = of_fields(name, node)
        # Fields are attributes of the objects.
        self.attributes.update(f.id for f in (*named_fields.values(), weight))

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if not isinstance(node.op, _BINARY):
            raise self.fail(node, f"the operator {type(node.op).__name__} is not part of the language")
        self._children(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        self.visit(node.operand)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self._children(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        for operator in node.ops:
            if not isinstance(operator, _COMPARISONS):
                raise self.fail(node, f"the comparison {type(operator).__name__} is not part of the language")
        self._children(node)

    def _children(self, node: ast.AST) -> None:
        for child in _expressions(node):
            self.visit(child)


_NAMES: dict[type[ast.AST], str] = {
    ast.Lambda: "a lambda",
    ast.ListComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
    ast.IfExp: "if ... else (use where)",
    ast.List: "a list",
    ast.Tuple: "a tuple",
    ast.Starred: "an argument with a star",
    ast.NamedExpr: "an assignment",
    ast.Slice: "a slice inside a tuple",
}


def _expressions(node: ast.AST) -> Iterator[ast.expr]:
    return (child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr))


def of_fields(
    name: str, node: ast.Call
) -> tuple[dict[str, ast.Name], ast.Name, dict[str, tuple[bool | int | float, ...]]]:
    """What a function of `OF_FIELDS` is of: fields by the names that they get, the weight, and options."""
    fields = {f.id: f for f in node.args[1:] if isinstance(f, ast.Name)}
    options: dict[str, tuple[bool | int | float, ...]] = {}
    weight = ast.copy_location(ast.Name("pt"), node)
    for keyword in node.keywords:
        label, value = str(keyword.arg), keyword.value
        found = written(value)
        if label in OF_FIELDS[name] and label != "weight" and found is not None:
            options[label] = found
        elif isinstance(value, ast.Name) and label == "weight" and label in OF_FIELDS[name]:
            weight = value
        elif isinstance(value, ast.Name):
            fields[label] = value
    if name == "massless":
        fields |= {n: ast.copy_location(ast.Name(n), node) for n in MASSLESS if n not in fields}
    return fields, weight, options


def written(node: ast.expr) -> tuple[bool | int | float, ...] | None:
    """The number that a node spells out, or the numbers of ``(1, 2)``, or None."""
    if isinstance(node, ast.Tuple):
        parts = [written(part) for part in node.elts if not isinstance(part, ast.Tuple)]
        found = [part[0] for part in parts if part is not None]
        return tuple(found) if found and len(found) == len(node.elts) else None
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        sign, node = -1, node.operand
    if isinstance(node, ast.Name) and node.id == "pi":
        return (sign * math.pi,)
    if not isinstance(node, ast.Constant) or not isinstance(node.value, (bool, int, float)):
        return None
    if not abs(node.value) < 1e30:
        return None
    return (node.value,) if sign == 1 else (-node.value,)


def integer(node: ast.expr) -> int | None:
    """The whole number that a node spells out (``2``, ``-1``), or None."""
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        sign, node = -1, node.operand
    if isinstance(node, ast.Constant) and type(node.value) is int and node.value < 2**31:
        return sign * node.value
    return None
