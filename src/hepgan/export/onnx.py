"""ONNX files: the whole generator as a graph, and what its numbers are."""

from __future__ import annotations

import json
import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hepgan.arguments import checked
from hepgan.errors import InputError, OutputError, RecipeError
from hepgan.export.chain import VALID, Chain, Column, Input
from hepgan.export.tracing import traced
from hepgan.files import replacing
from hepgan.generator import EventGenerator
from hepgan.generator.model_file import installed_versions

__all__ = ["Exported", "export_onnx"]

OPSET = 18
"""The version of the operators; the first with all that are needed."""

_EXAMPLE = 64
"""Events by which the graph is traced; it takes any number."""

_COMPARED = 2000
"""Events by which a file is compared with its generator."""

_INSTALL = 'ONNX files need onnx, onnxscript and onnxruntime: pip install "hepgan[onnx]"'

_HOW = (
    "Each row is an event. Draw the inputs as told: other random numbers are other events. Lists of objects "
    "are columns of the shape (events, most objects); the first, as many as the counter says, are objects."
)

_REDRAW = (
    f"Events whose {VALID} is 0 are outside the recipe's bounds, against its rules, or farther out than the "
    "training events reach. Leave them out and draw other noise for the same `uniform` and conditions, and "
    "after some tries another `uniform`, too, until all are valid: so does hepgan. If they are left out "
    "alone, classes that are seldom valid become rarer."
)

_RULES = (
    *("add_0", "sub_0", "mul_by_1", "div_by_1", "cast_cast", "no_op_cast", "no_op_expand"),
    *("min_min", "max_max", "min_max", "max_min", "successive_relu", "successive_clip"),
    *("collapse_slice", "collapse_slice2", "reshape_reshape", "squeeze_reshape_1d"),
    *("no_op_transpose", "transpose_transpose", "unsqueeze_unsqueeze"),
    *("materialize_reshape_shape", "cast_constant_of_shape"),
)
"""Of onnxscript's, those for what graphs of events have."""


@dataclass(frozen=True)
class Exported:
    """What has been written.

    Attributes:
        path: The file.
        inputs: What it is given, in order.
        columns: What it makes, in order.
        nodes: Operations in its graph.
        size: Bytes.
        compared: Events that were made by onnxruntime and by hepgan.
        difference: The largest difference of a real number, relative to it or to the spread of its column.
        others: Events that have another whole number, count or flag.
    """

    path: Path
    inputs: tuple[Input, ...]
    columns: tuple[Column, ...]
    nodes: int
    size: int
    compared: int
    difference: float
    others: int

    def lines(self) -> list[str]:
        """What there is to say of it."""
        told = [f"{i.name} ({'N' if i.width is None else f'N, {i.width}'}): {i.what}" for i in self.inputs]
        made = f"{len(self.columns)} columns by {self.nodes} operations, {self.size / 1e6:.1f} MB"
        judged = [f"events whose {VALID} is 0 are to be drawn anew"] if self.judged else []
        off = f"{self.others} of them in whole numbers" if self.others else "whole numbers are equal"
        same = f"{self.compared:,} events as hepgan's within {self.difference:.1e}; {off}"
        return [f"input {line}" for line in told] + [made, *judged, f"onnxruntime makes {same}"]

    @property
    def judged(self) -> bool:
        """Whether some events are to be drawn anew."""
        return self.columns[-1].name == VALID


@checked
def export_onnx(
    generator: EventGenerator, path: str | Path, *, member: int | None = None, force: bool = False
) -> Exported:
    """Writes a generator as an ONNX file: random numbers and conditions in, the columns of events out.

    The file has all that ``generate`` does but two things: random numbers are drawn by who uses it, and so
    are other events in place of those that its column ``valid`` tells to leave out. Its metadata say what
    each input and column is. It is run by onnxruntime before it is kept, and compared with the generator.

    Args:
        generator: What is to be exported.
        path: The file, ``*.onnx``.
        member: Of an ensemble the member; by default all, of which the input ``condition_member`` chooses.
        force: Whether an existing file may be replaced.

    Returns:
        What has been written, and how much it differs.

    Raises:
        InputError: If onnx, onnxscript or onnxruntime is not installed.
        RecipeError: If the generator does what cannot be exported.
        OutputError: If the file exists or cannot be written.
        ValueError: If there is no such member.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        msg = "an ONNX file is called *.onnx"
        raise OutputError(msg, file=path)
    if any(find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")):
        raise InputError(_INSTALL)
    chosen = _on_cpu(generator if member is None else generator.member(member))
    with replacing(path, force=force) as temporary:
        chain = _chain(chosen)
        nodes = _write(chosen, chain, temporary)
        difference, others = compare(chain, temporary, _COMPARED)
    size = path.stat().st_size
    return Exported(path, chain.inputs, chain.columns, nodes, size, _COMPARED, difference, others)


def _chain(generator: EventGenerator) -> Chain:
    """The generator as a function.

    Raises:
        RecipeError: If it is conditional on collections.
    """
    given = generator.parts.representation.given
    if given:
        msg = (
            f"conditional on {', '.join(given)}: a model that is given collections, as one for "
            "folding, cannot be exported, since what it is given has to be checked first; use hepgan itself"
        )
        raise RecipeError(msg)
    return Chain(generator.parts)


def _write(generator: EventGenerator, chain: Chain, path: Path) -> int:
    """Writes the file; the number of operations in it.

    Raises:
        RecipeError: If something in the chain has no form in ONNX.
    """
    from torch.onnx import OnnxExporterError

    try:
        with _quiet():
            program = torch.onnx.export(
                traced(chain, chain.example(_EXAMPLE)),
                dynamo=True,
                opset_version=OPSET,
                input_names=[i.name for i in chain.inputs],
                output_names=[c.name for c in chain.columns],
                optimize=False,
                verbose=False,
            )
            if program is not None:
                _simplify(program.model)
    except (OnnxExporterError, RuntimeError, NotImplementedError, ValueError, TypeError) as error:
        why = " ".join(str(error).split())[:200]
        msg = f"what this recipe asks for has no form in ONNX, or depends on the events' numbers: {why}"
        raise RecipeError(msg) from error
    if program is None:
        raise TypeError
    program.model.producer_name = "hepgan"
    program.model.doc_string = _HOW + (" " + _REDRAW if chain.judges else "")
    program.model.metadata_props.update(_described(generator, chain))
    program.save(path, external_data=False)
    return sum(1 for _ in program.model.graph)


def _simplify(model: Any) -> None:
    """Computes what is constant, and leaves out what changes nothing, is not used or is there twice.

    Of the rules that torch would apply it leaves out one that looks at each pair of operations.
    """
    from onnx_ir.passes import Sequential, common
    from onnxscript.optimizer import fold_constants
    from onnxscript.rewriter import rewrite
    from onnxscript.rewriter.rules import common as rules

    fold_constants(model)
    rewrite(model, [getattr(rules, f"{name}_rule") for name in _RULES])
    fold_constants(model)
    Sequential(
        common.RemoveUnusedNodesPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.OutputFixPass(),
        common.NameFixPass(),
    )(model)


def _on_cpu(generator: EventGenerator) -> EventGenerator:
    if generator.parts.device.type == "cpu":
        return generator
    return EventGenerator.from_bytes(generator.to_bytes(), device="cpu")


def _described(generator: EventGenerator, chain: Chain) -> dict[str, str]:
    """The metadata: texts by name, most of them JSON."""
    schema = generator.parts.schema
    document: dict[str, Any] = {
        "hepgan": installed_versions(),
        "hepgan.how": _HOW + (" " + _REDRAW if chain.judges else ""),
        "hepgan.inputs": [_input(i) for i in chain.inputs],
        "hepgan.outputs": [_output(c) for c in chain.columns],
        "hepgan.unit": f"momenta, energies and masses in {schema.unit}, angles in radians",
        "hepgan.recipe": generator.recipe.model_dump(mode="json", exclude_unset=True),
        "hepgan.schema": schema.model_dump(mode="json"),
        "hepgan.digest": generator.digest(),
    }
    return {name: v if isinstance(v, str) else json.dumps(v) for name, v in document.items()}


def _input(one: Input) -> dict[str, Any]:
    found: dict[str, Any] = {"name": one.name, "type": _name(one.dtype), "what": one.what}
    optional = {"width": one.width, "columns": one.columns, "values": one.values, "range": one.range}
    return found | {name: value for name, value in optional.items() if value not in (None, ())}


def _output(one: Column) -> dict[str, Any]:
    found: dict[str, Any] = {"name": one.name, "type": _name(one.dtype), "what": one.what}
    values = one.field.values if one.field is not None and one.field.dtype == "string" else None
    shape = None if one.field is None else one.field.shape
    optional = {"objects": one.objects, "count": one.count, "values": values, "shape": shape}
    return found | {name: value for name, value in optional.items() if value not in (None, ())}


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch and onnxscript say of their progress."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def compare(chain: Chain, path: Path, events: int, seed: int = 1) -> tuple[float, int]:
    """How much onnxruntime's events differ from hepgan's of the same random numbers.

    Args:
        chain: The generator.
        path: Its ONNX file.
        events: How many events are made.
        seed: That of the random numbers.

    Returns:
        The largest difference of a real number, relative to it or to the spread of its column; and the number
        of events that have another whole number, count or flag, which are left out of the first.
    """
    inputs = chain.example(events, seed)
    found = run(path, {i.name: t.numpy() for i, t in zip(chain.inputs, inputs, strict=True)})
    with torch.no_grad():
        wanted = dict(zip((c.name for c in chain.columns), chain(*inputs), strict=True))
    return differences({n: t.numpy() for n, t in wanted.items()}, found)


def differences(wanted: Mapping[str, NDArray[Any]], found: Mapping[str, NDArray[Any]]) -> tuple[float, int]:
    """How much columns of N events differ; see :func:`compare`.

    The difference is infinite where one has a number and the other none, or another infinity.
    """
    off, worst = np.zeros(len(next(iter(wanted.values()))), bool), 0.0
    for name, values in wanted.items():
        if values.dtype.kind != "f":
            off |= (values != found[name]).reshape(len(off), -1).any(1)
    for name, values in wanted.items():
        if values.dtype.kind != "f" or not values.size or off.all():
            continue
        mine, theirs = values[~off].astype(float), found[name][~off].astype(float)
        same = (mine == theirs) | (np.isnan(mine) & np.isnan(theirs))
        known = np.isfinite(mine) & np.isfinite(theirs)
        if not (same | known).all():
            return math.inf, int(off.sum())
        if known.any():
            scale = np.maximum(np.abs(mine[known]), mine[known].std())
            change = np.abs(mine[known] - theirs[known]) / np.where(scale > 0, scale, 1.0)
            worst = max(worst, float(change.max()))
    return worst, int(off.sum())


def run(path: Path, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The columns that onnxruntime makes of inputs, by name."""
    session = session_of(path)
    names = [o.name for o in session.get_outputs()]
    # What nothing depends on is no input of the graph.
    known = {i.name for i in session.get_inputs()}
    made = session.run(names, {n: v for n, v in inputs.items() if n in known})
    return dict(zip(names, made, strict=True))


def session_of(path: Path, threads: int = 0) -> Any:
    """A file as onnxruntime runs it, by so many threads; as many as there are cores if 0."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    settings.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
