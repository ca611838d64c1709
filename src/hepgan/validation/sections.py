"""What a report may tell beyond the comparison of samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Section"]


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        title: Its heading.
        note: What its pictures show.
        metrics: Numbers by name, for the report's table and for ``metrics.json``. They may be nested; with a
            floor, a number is a mapping of ``value`` and ``floor``.
        figures: What draws each picture, by its caption.
    """

    title: str
    note: str
    metrics: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Callable[[], Figure]] = field(default_factory=dict)

    def rows(self) -> list[tuple[str, str]]:
        """The numbers as a table of names and values."""
        return list(_rows(self.metrics, ""))


def _rows(metrics: Mapping[str, Any], before: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in metrics.items():
        title = before + (name if "." in name else name.replace("_", " "))
        if isinstance(value, Mapping):
            found += [(title, _with_floor(value))] if "value" in value else _rows(value, f"{title}, ")
        elif value is not None:
            found.append((title, _number(value)))
    return found


def _with_floor(metric: Mapping[str, Any]) -> str:
    text = f"{_number(metric['value'])} (floor {_number(metric['floor'])})"
    return ", ".join([text, *metric.get("features", ())])


def _number(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"
