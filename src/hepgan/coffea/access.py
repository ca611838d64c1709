"""What an analysis reads: the branches that a coffea processor asks for, when it runs once."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from coffea import nanoevents
from coffea.nanoevents import NanoAODSchema, NanoEventsFactory

from hepgan.arguments import checked, whole
from hepgan.coffea.nanoevents import HepganSchema
from hepgan.errors import InputError
from hepgan.events.formats import locate, open_source

__all__ = ["branches_read", "load_processor"]

EVENTS = 20_000
"""Events with which a processor runs: enough that it reads what it reads of rare ones, too."""

_NOT_THEIRS = ("site-packages", "<frozen", str(Path(__file__).parents[1]))
"""What the names of files hold that are not the user's."""


@checked
def load_processor(name: str) -> Any:
    """The processor of a user's own file, or of an installed module.

    Args:
        name: ``my.py:Name`` or ``package.module:Name``, of a processor, of its class, which is made without
            arguments, or of a function without arguments that makes it.

    Raises:
        InputError: If there is no such thing, or it is no processor; errors of the user's own code have its
            last line.
    """
    where, _, attribute = name.rpartition(":")
    if not where or not attribute:
        msg = f"--processor {name!r}: expected FILE.py:NAME, such as my.py:MyProcessor"
        raise InputError(msg)
    module = _module(where, name)
    found = getattr(module, attribute, None)
    if found is None:
        here = [n for n, value in vars(module).items() if _defined(value, module)]
        msg = f"there is no {attribute!r}; there are {', '.join(here) or 'none'}"
        raise InputError(msg, file=where)
    if not _is_processor(found) and callable(found):
        found = _guarded(found, f"{attribute}()", where)
    if not _is_processor(found):
        msg = f"{attribute} is no processor: it has no method process(events)"
        raise InputError(msg, file=where)
    return found


@checked
def branches_read(
    file: str, processor: Any, *, schema: str = "NanoAODSchema", events: int = EVENTS
) -> tuple[str, ...]:
    """The branches that a processor reads of a file, in the file's order.

    It runs once, on the first events, which are read as it asks for them (coffea's mode ``virtual``).

    Args:
        file: ``FILE.root:Tree``, whose first file is taken.
        processor: What has ``process(events)``; see `load_processor`.
        schema: coffea's schema, or ``HepganSchema``.
        events: With how many events it runs, at most.

    Raises:
        InputError: If the file cannot be read, there is no such schema, the schema does not take the file,
            the processor fails, whose own last line is told, or it reads nothing.
    """
    events = whole("events", events)
    path, named = locate(file)[0]
    with open_source(path, named) as source:
        if not source.root:
            msg = "processors run on ROOT files"
            raise InputError(msg, file=path)
        tree, size, order = source.tree, min(source.entries, events), list(source.branches)
    log: list[Any] = []

    def opened() -> Any:
        return NanoEventsFactory.from_root(
            {path: tree},
            schemaclass=_schema(schema),
            mode="virtual",
            access_log=log,
            entry_stop=size,
            metadata={
                "dataset": Path(path).stem,
                "filename": path,
                "treename": tree,
                "entrystart": 0,
                "entrystop": size,
            },
        ).events()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _guarded(lambda: processor.process(_guarded(opened, schema, path)), "the processor", path)
    found = {access.branch for access in log}
    if not found:
        msg = "the processor reads no branch of it"
        raise InputError(msg, file=path)
    known = [b for b in order if b in found]
    return (*known, *sorted(found.difference(known)))


def _module(where: str, name: str) -> Any:
    """The module of a file or of a dotted name."""
    path = Path(where)
    if path.suffix != ".py":
        return _guarded(lambda: importlib.import_module(where), f"--processor {name}", None)
    if not path.is_file():
        msg = "no such file"
        raise InputError(msg, file=path)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        msg = "is no Python file"
        raise InputError(msg, file=path)
    module, loader = importlib.util.module_from_spec(spec), spec.loader
    folder = str(path.resolve().parent)
    # It may import what lies beside it, now and while it runs.
    if folder not in sys.path:
        sys.path.insert(0, folder)
    sys.modules.setdefault(path.stem, module)
    _guarded(lambda: loader.exec_module(module), "its code", path)
    return module


def _defined(value: Any, module: Any) -> bool:
    """Whether a file's own classes, functions and processors are meant."""
    mine = getattr(value, "__module__", None) == module.__name__
    return mine and (inspect.isclass(value) or inspect.isfunction(value) or _is_processor(value))


def _is_processor(value: Any) -> bool:
    return not inspect.isclass(value) and callable(getattr(value, "process", None))


def _schema(name: str) -> Any:
    """The schema of that name, silent about the cross-references that a file lacks."""
    found = HepganSchema if name == "HepganSchema" else getattr(nanoevents, name, None)
    if not inspect.isclass(found) or not issubclass(found, nanoevents.BaseSchema):
        there = sorted({n for n in dir(nanoevents) if n.endswith("Schema")} | {"HepganSchema"})
        msg = f"--schema: coffea has no {name!r}; there are {', '.join(there)}"
        raise InputError(msg)
    if issubclass(found, NanoAODSchema):
        return type(found.__name__, (found,), {"warn_missing_crossrefs": False})
    return found


def _guarded(work: Callable[[], Any], what: str, file: str | Path | None) -> Any:
    """Runs what others wrote; its errors are told in one line.

    Raises:
        InputError: If it fails, with the last line of its traceback and where that was.
    """
    try:
        return work()
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        last = traceback.format_exception_only(error)[0].strip().splitlines()[0]
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if not any(part in f.filename for part in _NOT_THEIRS)]
        at = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
        msg = f"{what} fails: {last}{at}"
        raise InputError(msg, file=file) from error
