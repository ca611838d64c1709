"""Evaluation of an expression, part by part, on the tensors of a batch or the columns of an awkward array."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np
import torch
from torch import Tensor

from hepgan import vectors
from hepgan.events.angles import radians
from hepgan.events.batch import Objects
from hepgan.events.missing import is_missing
from hepgan.events.schema import Field, coordinates, quoted
from hepgan.observables import functions, images
from hepgan.observables.language import (
    CONSTANTS,
    OF_FIELDS,
    PAIR_ANGLES,
    PAIR_PROPERTIES,
    PROPERTIES,
    Expression,
    Quoted,
    integer,
    of_fields,
    suggestion,
)
from hepgan.observables.sources import AwkwardSource, Source, chunked
from hepgan.observables.values import Cells, Mismatch, Value, Values, align, at, cut, map_data, select, truth

__all__ = [
    "Evaluator",
    "evaluate",
    "evaluate_awkward",
    "evaluate_condition",
    "evaluate_objects",
    "evaluate_of_objects",
    "evaluate_weighted",
    "weighted_awkward",
]


def evaluate(expression: Expression, source: Source, *, strict: bool = False) -> Values:
    """The values of an expression.

    Args:
        expression: A parsed expression.
        source: The events.
        strict: Whether objects that no event can have are an error (else they are missing).

    Raises:
        RecipeError: If the expression does not fit the events, with the position.
    """
    result = _number(Evaluator(expression, source, strict))
    data: Tensor = result.data
    if result.mask is None:
        return Values(data)
    return Values(_zeroed(data, result.mask), result.mask)


def evaluate_weighted(
    expression: Expression, weight: Expression, source: Source, *, strict: bool = False
) -> tuple[Values, Tensor]:
    """The values of an expression and the weight of each, of the same shape; 0 where either is missing.

    Args:
        expression: A parsed expression.
        weight: Another one, of the same objects or of the event.
        source: The events.
        strict: Whether objects that no event can have are an error (else they are missing).

    Raises:
        RecipeError: If an expression does not fit the events, or the weight not the values.
    """
    evaluator, weigher = (
        Evaluator(one, source, strict, other) for one, other in ((expression, weight), (weight, expression))
    )
    weigher.memo = evaluator.memo
    value, factor = _number(evaluator), _number(weigher)
    try:
        (a, b), mask, domain, _ = align(value, factor)
    except Mismatch as error:
        raise weight.error(weight.tree, f"as a weight: {error}") from None
    if domain is not None and value.domain is None:
        reason = f"a weight for each of {domain}, where the quantity is one number an event"
        raise weight.error(weight.tree, reason)
    weights = functions.real(functions.counting(b.data))
    return Values(_zeroed(a.data, mask), mask), _zeroed(weights, mask)


def evaluate_objects(
    expression: Expression, source: Source, collection: str, *, strict: bool = False
) -> tuple[Tensor, Tensor]:
    """A number of each object of a collection.

    Args:
        expression: A parsed expression, of these objects or of the event.
        source: The events.
        collection: The collection.
        strict: Whether objects that no event can have are an error (else they are missing).

    Returns:
        The numbers (N, M), 0 where there is none, and where there is one (N, M).

    Raises:
        RecipeError: If the expression does not fit the events, or is of other objects.
    """
    result = _number(Evaluator(expression, source, strict))
    if result.domain not in (None, quoted(collection)):
        reason = f"a number for each of {result.domain}; one for each of {quoted(collection)} is needed here"
        raise expression.error(expression.tree, reason)
    objects = source.objects(collection, frozenset())
    if result.domain is None and objects is not None and len(objects.shape) > 1:
        result = result.map(lambda t: t.unsqueeze(1).expand(objects.shape))
        there = result.exists() & objects.mask
    else:
        there = result.exists()
    return _zeroed(result.data, there), there


def evaluate_of_objects(expression: Expression, events: Any, function: Callable[[Value], Tensor]) -> Tensor:
    """Numbers of the objects that an expression is, such as ``Jet[Jet.pt > 30]``.

    Args:
        expression: A parsed expression whose result are objects.
        events: N events, an ak.Array.
        function: Takes the objects of some events and gives a tensor (n, ...).

    Returns:
        (N, ...).

    Raises:
        RecipeError: If the expression does not fit the events, or its result are no such objects.
        InputError: If a column that it uses is not made of numbers.
    """
    parts = []
    for part in chunked(events, expression, pairs=True):
        value = Evaluator(expression, AwkwardSource(part), False).visit(expression.tree)
        try:
            parts.append(function(value))
        except Mismatch as error:
            raise expression.error(expression.tree, str(error)) from None
    return torch.cat(parts)


def evaluate_condition(expression: Expression, source: Source, *, strict: bool = False) -> Tensor:
    """Whether a condition holds in each event (N,).

    What an event lacks fulfils no condition: of one jet, ``Jet[1].pt > 30`` is false, and ``not`` of it true.

    Args:
        expression: A parsed expression.
        source: The events.
        strict: Whether objects that no event can have are an error (else they are missing).

    Raises:
        RecipeError: If the expression does not fit the events, or is no condition of whole events.
    """
    evaluator = Evaluator(expression, source, strict)
    evaluator.decides = True
    result = _number(evaluator)
    if result.domain is not None:
        reason = f"a condition for each of {result.domain}; any(...) or all(...) make one of the event"
        raise expression.error(expression.tree, reason)
    try:
        held = truth(result.data)
    except Mismatch as error:
        raise expression.error(expression.tree, str(error)) from None
    return held if result.mask is None else held & result.mask


def _number(evaluator: Evaluator) -> Value:
    """The result of the whole expression.

    Raises:
        RecipeError: If it is no number, or one that does not depend on the events.
    """
    expression = evaluator.expression
    result = evaluator.visit(expression.tree)
    if not result.is_number:
        reason = "the result is objects or momenta, not a number; take one of their quantities, such as .pt"
        raise expression.error(expression.tree, reason)
    if result.is_constant:
        raise expression.error(expression.tree, "the result does not depend on the events")
    return result


class Evaluator:
    """Evaluates an expression, part by part.

    Args:
        expression: A parsed expression.
        source: The events.
        strict: Whether objects that no event can have are an error (else they are missing).
        other: Another expression, that is evaluated with it.
        keep: Fields that objects keep besides those that are used.
        outside: Counts what is outside of grids, if that is to be known.
    """

    def __init__(
        self,
        expression: Expression,
        source: Source,
        strict: bool,
        other: Expression | None = None,
        *,
        keep: frozenset[str] = frozenset(),
        outside: images.Outside | None = None,
    ) -> None:
        self.expression = expression
        self.source = source
        self.strict = strict
        # an expression and its weight share what they both need, which then has the fields of both
        self.attributes = expression.attributes | keep | (other.attributes if other else frozenset())
        self.outside = outside
        self.memo: dict[str, Value] = {}
        # whether a condition on what an event lacks is false, instead of missing
        self.decides = False

    def visit(self, node: ast.AST) -> Value:
        """The value of a part.

        Raises:
            RecipeError: If it does not fit the events, with the position.
        """
        try:
            return self._handlers[type(node)](self, node)
        except Mismatch as error:
            raise self.expression.error(node, str(error)) from None

    def _constant(self, node: ast.Constant) -> Value:
        value = node.value
        if not isinstance(value, (bool, int, float)):
            msg = f"{value!r} is not a number"
            raise Mismatch(msg)
        return Value(value)

    def _name(self, node: ast.Name) -> Value:
        name = node.id
        if name in CONSTANTS and not isinstance(name, Quoted):
            return Value(CONSTANTS[name])
        scalar = self.source.scalar(name)
        if scalar is not None:
            described = _described(self.source, None, name)
            values, there = _split(scalar, described)
            if values.ndim == 1:
                return Value(values, there)
            shape = tuple(values.shape[1:])
            known = () if described is None else described.axes
            there = None if there is None else there.flatten(1)
            return Value(values.flatten(1), there, Cells(quoted(name), shape, known), there is None)
        objects = self._objects(name)
        if objects is not None:
            return objects
        if name.startswith("n") and not isinstance(name, Quoted):
            counted = self._objects(name[1:])
            if counted is not None and counted.domain is not None:
                return functions.call("count", [counted], name)
        msg = f"unknown name {name!r}{suggestion(name, self.source.names)}"
        raise Mismatch(msg)

    def _objects(self, name: str) -> Value | None:
        objects = self.source.objects(name, self.attributes)
        if objects is None:
            return None
        mask = None if objects.full else objects.mask
        fields = dict(objects.fields)
        for field, values in objects.fields.items():
            described = _described(self.source, name, field)
            fields[field], there = _split(radians(values, described), described)
            if there is not None:
                # Goes wherever the objects go.
                fields[_there(field)] = there
        return Value(Objects(fields), mask, quoted(name) if len(objects.shape) > 1 else None)

    def _attribute(self, node: ast.Attribute) -> Value:
        text = self.expression.texts[node]
        if text not in self.memo:
            self.memo[text] = self._attribute_of(self.visit(node.value), node)
        return self.memo[text]

    def _attribute_of(self, value: Value, node: ast.Attribute) -> Value:
        name = node.attr
        if value.pair is not None:
            if name in ("first", "second"):
                return value.pair[name == "second"]
            if name in PAIR_PROPERTIES:
                return self._method_of(name, *value.pair)
            if name in PAIR_ANGLES:
                return functions.angle_of(name, *value.pair)
            if name == "orders" and value.orders is not None:
                orders = _zeroed(value.orders.expand(value.shape), value.mask)
                return Value(orders, value.mask, value.domain, value.compact)
        if isinstance(value.data, Objects) and name in value.data.fields:
            there = value.data.fields.get(_there(name))
            if there is None:
                return Value(value.data[name], value.mask, value.domain, value.compact)
            mask = there if value.mask is None else there & value.mask
            # Objects that lack a number leave holes between others.
            return Value(value.data[name], mask, value.domain, compact=value.domain is None)
        if value.is_number:
            msg = f"a number has no attribute {name!r}"
            raise Mismatch(msg)
        if name in PROPERTIES and (not isinstance(value.data, Objects) or self._has_momentum(value.data)):
            try:
                # a particle at rest has quantities whose gradient is not defined, and no direction
                data = getattr(map_data(vectors.finite_gradient, value.momentum), name)
            except AttributeError:
                pass
            else:
                if name in ("et", "et2"):
                    data = _zeroed(data, ~torch.isnan(data))
                return Value(_zeroed(data, value.mask), value.mask, value.domain, value.compact)
        raise Mismatch(self._unknown_attribute(value, node))

    @staticmethod
    def _has_momentum(objects: Objects) -> bool:
        return bool(coordinates(tuple(objects.fields)))

    def _unknown_attribute(self, value: Value, node: ast.Attribute) -> str:
        fields: list[str] = []
        momentum = not isinstance(value.data, Objects) or self._has_momentum(value.data)
        if isinstance(value.data, Objects):
            fields += value.data.fields
        if momentum:
            fields += [p for p in PROPERTIES if hasattr(value.momentum, p)]
        if value.pair is not None:
            fields += [*PAIR_PROPERTIES, *PAIR_ANGLES, "first", "second"]
            fields += [] if value.orders is None else ["orders"]
        what = value.domain or self.expression.text(node.value)
        return f"{what} has no field or property {node.attr!r}{suggestion(node.attr, fields)}"

    def _subscript(self, node: ast.Subscript) -> Value:
        value = self.visit(node.value)
        if value.domain is None:
            msg = "only objects can be indexed; there is only one here in each event"
            raise Mismatch(msg)
        where = node.slice
        domain = f"{value.domain}[{self.expression.texts[where]}]"
        if isinstance(where, ast.Slice):
            start = None if where.lower is None else integer(where.lower)
            stop = None if where.upper is None else integer(where.upper)
            return cut(value, start, stop, domain)
        position = integer(where)
        if position is not None:
            return at(value, position, strict=self.strict and value.compact)
        condition = self.visit(where)
        if condition.is_constant or not condition.is_number:
            msg = "objects are chosen by a number, a slice or a condition, such as Jet.pt > 30"
            raise Mismatch(msg)
        return select(value, condition, domain)

    def _call(self, node: ast.Call) -> Value:
        text = self.expression.texts[node]
        if text not in self.memo:
            if isinstance(node.func, ast.Name) and node.func.id in OF_FIELDS:
                self.memo[text] = self._of_fields(node.func.id, node, text)
                return self.memo[text]
            arguments = [self.visit(a) for a in node.args]
            if isinstance(node.func, ast.Name) and node.func.id == "missing":
                found = self._missing(node.args[0], *arguments)
            elif isinstance(node.func, ast.Attribute):
                found = self._method_of(node.func.attr, self.visit(node.func.value), *arguments)
            else:
                name = node.func.id if isinstance(node.func, ast.Name) else ""
                found = functions.call(name, arguments, text)
            self.memo[text] = found
        return self.memo[text]

    def _of_fields(self, name: str, node: ast.Call, text: str) -> Value:
        """A function of objects and of some of their fields."""
        fields, weight, options = of_fields(name, node)
        owner = self.visit(node.args[0])

        def field(of: ast.Name) -> Value:
            wanted = ast.copy_location(ast.Attribute(node.args[0], of.id), of)
            try:
                return self._attribute_of(owner, wanted)
            except Mismatch as error:
                raise self.expression.error(of, str(error)) from None

        numbers = {n: field(of) for n, of in fields.items()}
        # What gets another name does not keep its own.
        spent = frozenset(of.id for of in fields.values()) - fields.keys()
        if name == "massless":
            return images.massless(owner, numbers, spent)
        if name == "aligned":
            return images.aligned(owner, numbers, (weight.id, field(weight)), options, spent)
        return images.grid(owner, numbers, field(weight), options, text, self.outside)

    def _missing(self, node: ast.expr, value: Value) -> Value:
        """Where a number is missing that its object, or event, could have."""
        if value.is_constant or not value.is_number:
            msg = "missing is for a number of the events, such as Jet.btag"
            raise Mismatch(msg)
        owner = self.visit(node.value).mask if isinstance(node, ast.Attribute) else None
        if owner is None and value.domain is not None and not isinstance(node, ast.Attribute):
            msg = (
                "missing is for one number of each object, such as Jet.btag, not for what is made of several"
            )
            raise Mismatch(msg)
        return Value(~value.exists(), owner, value.domain, value.compact)

    def _method_of(self, name: str, *operands: Value) -> Value:
        aligned, mask, domain, compact = align(*operands)
        momenta = [v.momentum for v in aligned]
        if mask is not None and name in ("boost", "boostCM_of"):
            momenta[1] = _at_rest(momenta[1], mask)
        try:
            result: Any = getattr(momenta[0], name)(*momenta[1:])
        except (TypeError, AttributeError, ValueError) as error:
            msg = f"{name} does not work for these momenta ({error})"
            raise Mismatch(msg) from None
        return Value(_zeroed(result, mask), mask, domain, compact)

    def _binary(self, node: ast.BinOp) -> Value:
        visit = self._condition if isinstance(node.op, (ast.BitAnd, ast.BitOr)) else self.visit
        left, right = visit(node.left), visit(node.right)
        try:
            return functions.binary(type(node.op), left, right)
        except (TypeError, AttributeError) as error:
            msg = f"this does not work for these momenta ({error})"
            raise Mismatch(msg) from None

    def _unary(self, node: ast.UnaryOp) -> Value:
        logical = isinstance(node.op, (ast.Not, ast.Invert))
        operand = self._condition(node.operand) if logical else self.visit(node.operand)
        return functions.unary(type(node.op), operand)

    def _condition(self, node: ast.expr) -> Value:
        """A part that is combined with others, or turned into its opposite."""
        value = self.visit(node)
        if not self.decides or value.mask is None or value.domain is not None:
            return value
        return Value(truth(value.data) & value.mask)

    def _boolean(self, node: ast.BoolOp) -> Value:
        first, *others = (self._condition(v) for v in node.values)
        for other in others:
            first = functions.boolean(isinstance(node.op, ast.And), first, other)
        return first

    def _compare(self, node: ast.Compare) -> Value:
        values = [self.visit(v) for v in (node.left, *node.comparators)]
        held = [
            functions.compare(type(op), a, b)
            for op, a, b in zip(node.ops, values[:-1], values[1:], strict=True)
        ]
        first, *others = held
        for other in others:
            first = functions.boolean(True, first, other)
        return first

    _handlers: dict[type[ast.AST], Callable[[Evaluator, Any], Value]] = {  # noqa: RUF012
        ast.Constant: _constant,
        ast.Name: _name,
        ast.Attribute: _attribute,
        ast.Subscript: _subscript,
        ast.Call: _call,
        ast.BinOp: _binary,
        ast.UnaryOp: _unary,
        ast.BoolOp: _boolean,
        ast.Compare: _compare,
    }


def _there(field: str) -> str:
    """The name, which no expression can say, of where a field is there."""
    return f"{field}\n"


def _described(source: Source, collection: str | None, name: str) -> Field | None:
    return None if source.schema is None else source.schema.known(collection, name)


def _split(values: Tensor, field: Field | None) -> tuple[Tensor, Tensor | None]:
    """Numbers with zeros in place of what is missing, and where they are there; None if they always are."""
    if field is None or field.missing is None:
        return values, None
    there = ~is_missing(values, field.missing)
    found = torch.where(there, values, torch.zeros_like(values))
    # Whole numbers and conditions beside null are held as floating-point ones.
    whole = values.is_floating_point() and field.dtype != "string" and np.dtype(field.dtype).kind in "iub"
    return (found.to(torch.int64) if whole else found), there


def _zeroed(data: Any, mask: Tensor | None) -> Any:
    """Zeros in the place of missing numbers or momenta: a zero momentum has quantities that are nan."""
    if mask is None:
        return data
    return map_data(lambda t: torch.where(mask, t, torch.zeros_like(t)), data)


def _at_rest(momentum: Any, mask: Tensor) -> Any:
    """Momenta with particles at rest in the place of missing ones, whose velocity would be 0 / 0."""
    try:
        four = momentum.to_pxpypzenergy() if hasattr(momentum, "energy") else momentum
        names = ("px", "py", "pz", "energy")
        parts = {n: getattr(four, n) for n in names if hasattr(four, n)}
    except AttributeError:
        return momentum
    rest = {n: torch.full_like(t, 1.0 if n == "energy" else 0.0) for n, t in parts.items()}
    return vectors.array(**{n: torch.where(mask, parts[n], rest[n]) for n in parts})


def evaluate_awkward(expression: Expression, events: Any) -> Any:
    """The values of an expression for an awkward array, computed in float64.

    Args:
        expression: A parsed expression.
        events: N events.

    Returns:
        An ak.Array of N numbers (None where missing), or of N lists.

    Raises:
        RecipeError: If the expression does not fit the events.
        InputError: If a column that it uses is not made of numbers.
    """
    parts = [_back(evaluate(expression, AwkwardSource(part))) for part in chunked(events, expression)]
    return parts[0] if len(parts) == 1 else ak.concatenate(parts)


def weighted_awkward(expression: Expression, weight: Expression, events: Any) -> tuple[Any, Any]:
    """As `evaluate_awkward`, with the weights of the values, an array of the same type.

    Raises:
        RecipeError: If an expression does not fit the events, or the weight not the values.
        InputError: If a column that they use is not made of numbers.
    """
    parts = []
    for part in chunked(events, expression, weight):
        values, factors = evaluate_weighted(expression, weight, AwkwardSource(part))
        parts.append((_back(values), _back(Values(factors, values.mask))))
    if len(parts) == 1:
        return parts[0]
    return ak.concatenate([v for v, _ in parts]), ak.concatenate([w for _, w in parts])


def _back(values: Values) -> Any:
    data, mask = values
    array = data.numpy()
    if mask is None:
        return ak.Array(array) if data.ndim == 1 else ak.from_regular(ak.Array(array))
    exists = mask.numpy()
    if data.ndim == 1:
        return ak.mask(ak.Array(array), exists)
    return ak.unflatten(array[exists], exists.sum(1))
