"""The picture of docs/development.md: the way of an event. Run with ``python docs/development.py``."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

FIGURE = Path(__file__).parent / "figures" / "way_of_an_event.png"

WIDTH, HEIGHT = 2.3, 0.86
BOXES = {
    # name: (x, y, title, what it is, colour)
    "file": (0.0, 2.8, "ROOT, Parquet", "the analyst's files", "white"),
    "array": (3.8, 2.8, "ak.Array", "events, with vector\nbehaviours", "white"),
    "batch": (7.6, 2.8, "EventBatch", "(N, M) tensors, mask", "#dce9f5"),
    "features": (11.4, 2.8, "FeatureBatch", "x, mask, discrete,\ncontext, weight", "#dce9f5"),
    "learner": (15.2, 2.8, "Learner", "losses, critics,\npenalties", "#f7e3d4"),
    "model": (15.2, 0.0, "Model", "density of features\ngiven their context", "#f7e3d4"),
    "new": (11.4, 0.0, "FeatureBatch", "new x, same layout", "#dce9f5"),
    "made": (7.6, 0.0, "EventBatch", "on the device,\ndifferentiable", "#dce9f5"),
    "awkward": (3.8, 0.0, "ak.Array", "the type that\nwas read", "white"),
    "written": (0.0, 0.0, "ROOT, Parquet", "the same branches;\na fileset for coffea", "white"),
    "observables": (7.6, 1.4, "Observable", "one definition\nfor both", "#e3f0dc"),
    "report": (3.8, 1.4, "Comparison", "hist, metrics\nwith floors", "#e3f0dc"),
}
ARROWS = (
    ("file", "array", "read_events", "-"),
    ("array", "batch", "to_batch", "-"),
    ("batch", "features", "Representation:\nencode", "-"),
    ("features", "learner", "Trainer", "-"),
    ("learner", "model", "trains", "-"),
    ("model", "new", "Parts.draw:\nsample", "-"),
    ("new", "made", "Representation:\ndecode", "-"),
    ("made", "awkward", "to_awkward", "-"),
    ("awkward", "written", "write_events,\nproduce", "-"),
    ("batch", "observables", "", "-"),
    ("made", "observables", "", "-"),
    ("observables", "report", "compare", "-"),
    ("observables", "learner", "what critics and penalties see", ":"),
)


def main() -> None:
    """Draws the picture."""
    figure, axis = plt.subplots(figsize=(11.5, 4.0))
    axis.set_xlim(-0.1, 17.6)
    axis.set_ylim(-0.1, 3.8)
    axis.axis("off")
    for x, y, title, words, colour in BOXES.values():
        box = FancyBboxPatch(
            (x, y), WIDTH, HEIGHT, boxstyle="round,pad=0,rounding_size=0.08", fc=colour, ec="0.35"
        )
        axis.add_patch(box)
        lines = words.count("\n")
        axis.text(x + WIDTH / 2, y + HEIGHT - 0.22, title, ha="center", va="center", weight="bold", size=9)
        axis.text(x + WIDTH / 2, y + 0.3 + 0.02 * lines, words, ha="center", va="center", size=7)
    for start, end, label, line in ARROWS:
        (x, y), (u, v) = (BOXES[n][:2] for n in (start, end))
        if y == v:
            right = u > x
            a = (x + (WIDTH if right else 0), y + HEIGHT / 2)
            b = (u + (0 if right else WIDTH), y + HEIGHT / 2)
        elif x == u:
            a = (x + WIDTH / 2, y + (0 if v < y else HEIGHT))
            b = (u + WIDTH / 2, v + (HEIGHT if v < y else 0))
        else:
            a, b = (x + WIDTH, y + HEIGHT / 2), (u, v + 0.15)
        style = "arc3" if line == "-" else "arc3,rad=0.05"
        axis.add_patch(
            FancyArrowPatch(
                a, b, arrowstyle="-|>", mutation_scale=10, color="0.25", linestyle=line, connectionstyle=style
            )
        )
        middle = ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2)
        if line == ":":
            axis.text(middle[0] + 0.1, middle[1] - 0.3, label, ha="left", size=7, style="italic")
        elif x == u:
            axis.text(middle[0] + 0.1, middle[1], label, va="center", size=7, style="italic")
        else:
            axis.text(middle[0], middle[1] + 0.07, label, ha="center", va="bottom", size=6.5, style="italic")
    figure.savefig(FIGURE, dpi=110, bbox_inches="tight", facecolor="white")


if __name__ == "__main__":
    main()
