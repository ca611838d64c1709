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
        metrics: Numbers by name, for the report's table and for ``metrics.json``, where they may be nested.
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
    found = []
    for name, value in metrics.items():
        title = f"{before}{name.replace('_', ' ')}"
        if isinstance(value, Mapping):
            found += _rows(value, f"{title}, ")
        else:
            found.append((title, f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"))
    return found
