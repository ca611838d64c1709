"""What to look at of fields with a shape, such as images and waveforms."""

from __future__ import annotations

from collections.abc import Iterator

from hepgan.events.schema import Field, quoted
from hepgan.observables.observable import Observable

__all__ = ["of_array"]


def of_array(field: Field) -> Iterator[Observable]:
    """Sum, filled cells, extremes, centre and width along each axis of a field with a shape."""
    cells, name = quoted(field.name), field.name
    low = 0.0 if field.dtype == "bool" else field.low
    yield Observable(f"{name}_sum", f"sum({cells})", label=f"sum of {name}")
    yield Observable(f"{name}_max", f"max({cells})", label=f"largest of {name}")
    if low is None or low < 0:
        yield Observable(f"{name}_min", f"min({cells})", label=f"least of {name}")
        return
    if low == 0:
        yield Observable(
            f"{name}_filled", f"sum({cells} > 0)", label=f"cells of {name} above 0", integer=True
        )
    for k in range(len(field.shape)):
        axis = field.axes[k].name if field.axes else f"index{k}"
        of, weight = f"cells({cells}).{quoted(axis)}", f"cells({cells}).value"
        mean = f"sum({weight} * {of}) / sum({weight})"
        ends = (0.0, field.shape[k] - 1.0) if not field.axes else (field.axes[k].low, field.axes[k].high)
        own = field.axes[k].unit if field.axes else ""
        yield Observable(f"{name}_{axis}", mean, label=f"centre of {name} in {axis}", unit=own, range=ends)
        yield Observable(
            f"{name}_{axis}_width",
            f"sqrt(max(0, sum({weight} * {of}**2) / sum({weight}) - ({mean})**2))",
            label=f"width of {name} in {axis}",
            unit=own,
        )
