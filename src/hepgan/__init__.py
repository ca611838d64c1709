"""Learn an event generator from your own ROOT files, and know how far to trust it.

Example:
    >>> import hepgan                                                   # doctest: +SKIP
    >>> events = hepgan.read_events("zmumu.root:Events")                # doctest: +SKIP
    >>> generator = hepgan.EventGenerator("zmumu").fit(events)          # doctest: +SKIP
    >>> hepgan.write_events("generated.root", generator.generate(1000)) # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hepgan.errors import (
        ClusterError,
        HepganError,
        InputError,
        ModelFileError,
        OutputError,
        RecipeError,
        TrainingError,
    )
    from hepgan.events import EventBatch, EventSchema, infer_schema, iterate_events, read_events, write_events
    from hepgan.generator import EventGenerator
    from hepgan.generator.distillation import distill
    from hepgan.generator.refinement import refine
    from hepgan.observables import Observable
    from hepgan.production.produce import produce
    from hepgan.recipes import Recipe, load_recipe
    from hepgan.reweighting import reweight
    from hepgan.validation.compare import compare
    from hepgan.validation.comparison import Comparison

    __version__: str

__all__ = [
    "ClusterError",
    "Comparison",
    "EventBatch",
    "EventGenerator",
    "EventSchema",
    "HepganError",
    "InputError",
    "ModelFileError",
    "Observable",
    "OutputError",
    "Recipe",
    "RecipeError",
    "TrainingError",
    "__version__",
    "compare",
    "distill",
    "infer_schema",
    "iterate_events",
    "load_recipe",
    "produce",
    "read_events",
    "refine",
    "reweight",
    "write_events",
]

_HOME = {
    "Comparison": "validation",
    "EventBatch": "events",
    "EventGenerator": "generator",
    "EventSchema": "events",
    "ClusterError": "errors",
    "HepganError": "errors",
    "InputError": "errors",
    "ModelFileError": "errors",
    "Observable": "observables",
    "OutputError": "errors",
    "Recipe": "recipes",
    "RecipeError": "errors",
    "TrainingError": "errors",
    "compare": "validation",
    "distill": "generator.distillation",
    "infer_schema": "events",
    "iterate_events": "events",
    "load_recipe": "recipes",
    "produce": "production",
    "read_events": "events",
    "refine": "generator.refinement",
    "reweight": "reweighting",
    "write_events": "events",
}


def __getattr__(name: str) -> Any:
    """Loads a public name where it is first used, so that ``hepgan --help`` does not wait for torch."""
    if name == "__version__":
        return _version()
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("hepgan")
    except PackageNotFoundError:  # a source tree that is not installed
        return "0+unknown"


def __dir__() -> list[str]:
    return __all__
