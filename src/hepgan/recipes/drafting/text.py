"""How drafts are written: comments, and texts and numbers in YAML."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Mapping

import yaml

__all__ = ["by_reason", "comment", "grouped", "number", "plain", "quote", "rounded", "row", "share"]

_WIDTH = 100

_LISTED = 12
"""Names that are listed; of more a few, and the number of the others."""

_EXAMPLES = 4


def comment(text: str, indent: str = "", inner: str = "") -> list[str]:
    """Lines of a comment, indented before and after the ``#``."""
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=f"{indent}# {inner}",
        subsequent_indent=f"{indent}# {inner}  " if inner else f"{indent}# ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def number(x: float) -> str:
    """A number in YAML."""
    return repr(float(x))


def quote(text: str) -> str:
    """A text in YAML, between quotes."""
    return yaml.safe_dump(text, default_style='"', allow_unicode=True, width=math.inf).strip()


def plain(text: str) -> str:
    """A text in YAML, without quotes where it would be read the same."""
    word = re.fullmatch(r"[A-Za-z][A-Za-z0-9_.]*", text)
    return text if word and yaml.safe_load(text) == text else quote(text)


def row(texts: Iterable[str]) -> str:
    """A list of texts in YAML."""
    return f"[{', '.join(map(quote, texts))}]"


def rounded(mass: float) -> str:
    """A mass to four digits: 91.19, or 91190."""
    return f"{float(f'{mass:.4g}'):.10g}"


def share(x: float) -> str:
    """A share in per cent."""
    return f"{100 * x:.3g}%"


def grouped(told: Mapping[str, str]) -> list[str]:
    """Names with one reason, and the reason."""
    lines = []
    for reason, names in by_reason(told).items():
        few, rest = (names, 0) if len(names) <= _LISTED else (names[:_EXAMPLES], len(names) - _EXAMPLES)
        lines.append(f"{', '.join(few)}{f' and {rest:,} others' if rest else ''}: {reason}")
    return lines


def by_reason(told: Mapping[str, str]) -> dict[str, list[str]]:
    """The names of each reason."""
    reasons: dict[str, list[str]] = {}
    for name, reason in told.items():
        reasons.setdefault(reason, []).append(name)
    return reasons
