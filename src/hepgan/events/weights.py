"""Which number of an event is its weight, told from names; and events by another weight, or by none."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hepgan.arguments import checked
from hepgan.errors import InputError
from hepgan.events.schema import EventSchema, Field

__all__ = [
    "NO_WEIGHT",
    "WEIGHT_TITLE",
    "is_written",
    "looks_like_weight",
    "marked",
    "names_itself",
    "weight_names",
    "weighted_by",
]

NO_WEIGHT = "none"
"""What stands for no weight, where the name of one is asked for."""

WEIGHT_TITLE = "event weight"
"""The title of the weight in files that hepgan writes: no other number of these events is it."""

_KNOWN = (
    "genweight",
    "weight",
    "eventweight",
    "event_weight",
    "mcweight",
    "mceventweight",
    "weight_mc",
    "mc_weight",
    "wgt",
    "evtweight",
    "gen_weight",
)
"""Names that say it, the most telling first."""

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_WEIGHT = {"weight", "weights", "wgt", "wgts"}
_NEUTRAL = {
    *("mc", "gen", "generator", "event", "evt", "info", "header", "nominal", "nosys"),
    *("total", "final", "full", "norm", "xsec"),
}
"""Words that say no more than that it is the weight; others tell of what it corrects."""

_SPLOT = re.compile(r"(.*[_.])?(sw|s_?weights?)", re.IGNORECASE)
_SIGNAL = re.compile("sig", re.IGNORECASE)


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(name)]


def looks_like_weight(name: str) -> bool:
    """Whether a name is that of a weight of events, or of a factor of one, or of its error.

    Example:
        >>> [looks_like_weight(n) for n in ("genWeight", "nSig_sw", "puWeight", "weight_error", "npvs")]
        [True, True, True, True, False]
    """
    return bool(_WEIGHT & set(_words(name))) or _SPLOT.fullmatch(name) is not None


def names_itself(name: str) -> bool:
    """Whether a name is that of the event weight, of nothing less and nothing else.

    Such a branch is a number of its own, whatever is before its first ``_``.
    """
    return name.lower() in _KNOWN or _SPLOT.fullmatch(name) is not None


def weight_names(scalars: Iterable[Field]) -> list[str]:
    """The scalars that can be the event weight by their names, the most likely first.

    First comes what hepgan has written as the weight (it has a title that says so), then the known names
    (``genWeight``, ``weight``, ``mcEventWeight``, ``weight_mc``, ...), others that say no more
    (``totalWeight``), and the weights of an sPlot (``nSig_sw``), those of the signal first. Factors
    (``puWeight``), errors and variations of a weight are none.

    Args:
        scalars: The numbers of an event.
    """
    ranked: list[tuple[tuple[int, int], str]] = []
    for f in scalars:
        lower, words = f.name.lower(), set(_words(f.name))
        if f.dtype in ("string", "bool") or f.shape:
            continue
        if f.title == WEIGHT_TITLE:
            rank = (0, 0)
        elif lower in _KNOWN:
            rank = (1, _KNOWN.index(lower))
        elif words & _WEIGHT and words <= _WEIGHT | _NEUTRAL:
            rank = (2, 0)
        elif _SPLOT.fullmatch(f.name):
            rank = (3, 0 if _SIGNAL.search(f.name) else 1)
        else:
            continue
        ranked.append((rank, f.name))
    return [name for _, name in sorted(ranked, key=lambda entry: entry[0])]


@checked
def weighted_by(schema: EventSchema, name: str | None, keep: Iterable[str] = ()) -> EventSchema:
    """The schema with another weight; the one that it had is no number of the events any more.

    Args:
        schema: What events hold.
        name: The scalar that is to be the weight; ``none`` for no weight, None for the one that it has.
        keep: Scalars that stay, even if they were the weight.

    Raises:
        InputError: If there is no such scalar, or if it is not a number.
    """
    if name is None or name == schema.weight:
        return schema
    if name != NO_WEIGHT:
        known = next((f for f in schema.scalars if f.name == name), None)
        if known is None or known.dtype in ("string", "bool"):
            there = ", ".join(f.name for f in schema.scalars if f.dtype not in ("string", "bool")) or "none"
            msg = (
                f"no number of the events is called {name!r}, so it cannot be their weight; there are {there}"
            )
            raise InputError(msg)
    gone = {schema.weight} - set(keep)
    return schema.model_copy(
        update={
            "scalars": tuple(f for f in schema.scalars if f.name not in gone),
            "weight": None if name == NO_WEIGHT else name,
        }
    )


def is_written(schema: EventSchema) -> bool:
    """Whether the weight is one that hepgan has written, by its title."""
    return schema.weight is not None and schema.scalar(schema.weight).title == WEIGHT_TITLE


def marked(schema: EventSchema) -> EventSchema:
    """The schema with the title by which its weight is known in files, whatever it is called."""

    def titled(f: Field) -> Field:
        if f.name == schema.weight:
            return f.model_copy(update={"title": WEIGHT_TITLE})
        return f.model_copy(update={"title": ""}) if f.title == WEIGHT_TITLE else f

    return schema.model_copy(update={"scalars": tuple(map(titled, schema.scalars))})
