"""What a generator is and what its training came to, in lines for people."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Any

from hepgan.events import EventSchema, Field
from hepgan.generator.parts import Parts
from hepgan.generator.yields import Yields
from hepgan.recipes import Recipe

__all__ = [
    "contents",
    "describe",
    "described_conditions",
    "distillation",
    "outcome",
    "redrawn",
    "refinement",
    "unfolding",
]


def describe(
    recipe: Recipe, parts: Parts, summary: Mapping[str, Any], versions: Mapping[str, str]
) -> list[str]:
    """What a generator is.

    Args:
        recipe: Its recipe.
        parts: Its parts.
        summary: What was noted of its training; empty if there was none.
        versions: Packages that wrote it, with their versions.
    """
    networks = sum(p.numel() for part in (parts.model, parts.critics) for p in part.parameters())
    lines = [
        f"recipe      {recipe.name}: {' '.join(recipe.description.split())}",
        f"model       {recipe.model.kind}, {networks:,} parameters",
        f"features    {parts.representation.size} continuous, {len(parts.representation.variables)} discrete",
        f"conditions  {', '.join(described_conditions(parts)) or 'none'}",
        "events      " + "; ".join(contents(parts.schema)),
    ]
    if parts.members > 1:
        common = recipe.training.shared_start
        told = f", after {100 * common:g}% of the training in common" if common else ""
        lines.insert(2, f"ensemble    {parts.members} members, each of a bootstrap sample of its own{told}")
    if "member" in summary:
        lines.insert(2, f"member      {summary['member']} of an ensemble")
    lines += [f"prepared    {name} = {made}" for name, made in recipe.events.prepared.items()]
    lines += [f"derived     {name} = {expression}" for name, expression in recipe.events.derived.items()]
    if summary:
        lines.append(
            f"training    {summary['training_events']:,} events, {summary['steps']:,} steps in "
            f"{summary['seconds']:,.0f} s on {summary['device']}, seed {summary['seed']}, "
            f"{summary['status']}"
        )
        lines += [f"weights     {line}" for line in _yields(summary, parts.schema)]
        lines += [f"term        {line}" for line in _terms(summary.get("diagnostics", {}), recipe.model.own)]
        if "redrawn" in summary:
            lines.append(f"restricted  {redrawn(summary['redrawn'])}")
        lines.append(f"data hash   {summary['data_hash']}")
        if "distillation" in summary:
            lines.append(f"distilled   {distillation(summary['distillation'])}")
        if "refinement" in summary:
            lines.append(f"refined     {refinement(summary['refinement'])}")
        if "unfolding" in summary:
            lines.append(f"unfolded    {unfolding(summary['unfolding'])}")
    found = ", ".join(f"{package} {number}" for package, number in versions.items())
    lines.append(f"written by  {found}")
    return lines


def outcome(summary: Mapping[str, Any]) -> list[str]:
    """What a training came to."""
    why = {"time": ", out of time", "patience": ", no better model for long"}.get(summary["status"], "")
    before = summary.get("preparation_seconds", 0.0)
    prepared = f" after {before:,.0f} s of preparation" if before >= 1.0 else ""
    lines = [f"{summary['steps']:,} steps in {summary['seconds'] - before:,.0f} s{prepared}{why}"]
    metrics = {k: v for k, v in summary["metrics"].items() if k != "step"}
    if metrics:
        best = summary["best_step"]
        kept = "at the end" if best is None else f"at step {best:,}, which is kept"
        lines.append(f"{kept}: " + ", ".join(f"{k} {v:.3g}" for k, v in metrics.items()))
    if "redrawn" in summary:
        lines.append(redrawn(summary["redrawn"]))
    return lines


def redrawn(shares: Mapping[str, float]) -> str:
    """How many generated events are drawn anew, and why.

    Args:
        shares: That of ``all`` events, and of those that break each bound or rule.
    """
    causes = {name: share for name, share in shares.items() if name != "all" and share > 0}
    if not causes:
        return "no generated event has to be drawn anew, for bounds or rules"
    known = {"features.bounds": "outside features.bounds", "reach": "beyond the reach of the training events"}
    told = (
        f"{100 * share:.3g}% {known.get(name, f'against the rule {name}')}" for name, share in causes.items()
    )
    return f"{100 * shares['all']:.3g}% of generated events are drawn anew: {'; '.join(told)}"


def distillation(summary: Mapping[str, Any]) -> str:
    """What a student has learned from, and how far its features are from its teacher's."""
    teacher = summary["teacher"]
    calls = teacher.get("steps", 1) * (1 if teacher.get("solver") == "euler" else 2)
    of = f" of {calls} network calls" if teacher["kind"] == "flow_matching" else ""
    line = (
        f"from {teacher['kind']}{of}, {summary['pairs']:,} pairs, {summary['steps']:,} steps in "
        f"{summary['seconds']:,.0f} s on {summary['device']}, seed {summary['seed']}, {summary['status']}"
    )
    difference = summary["metrics"].get("difference")
    return line if difference is None else f"{line}; features differ by {difference:.3g} of their spread"


def refinement(summary: Mapping[str, Any]) -> str:
    """What a prior of a refined generator has learned from."""
    return (
        f"by {summary['events']:,} weighted events, as good as {summary['effective_events']:,.0f} without, "
        f"{summary['steps']:,} steps in {summary['seconds']:,.0f} s on {summary['device']}, "
        f"seed {summary['seed']}, {summary['status']}"
    )


def unfolding(summary: Mapping[str, Any]) -> str:
    """What an unfolded generator has learned from, and how near to the data it was before each iteration."""
    line = f"from {summary['data']:,} events of data, "
    if "shares" in summary:
        shares = ", ".join(f"{share:.3f}" for share in summary["shares"])
        line += f"{summary['iterations']} iterations of effective share {shares}, "
    return line + (
        f"{summary['steps']:,} steps at the end, {summary['seconds']:,.0f} s on {summary['device']}, "
        f"seed {summary['seed']}"
    )


def _yields(summary: Mapping[str, Any], schema: EventSchema) -> Iterator[str]:
    """What the training events weigh, and what there was before their selection."""
    known = Yields.of(summary)
    if known.sum_of_weights is None:
        return
    by = f" by {schema.weight}" if schema.weight else ""
    yield f"{known.events:,} events have the sum {known.sum_of_weights:.6g}{by}"
    if known.runs is not None:
        before = known.runs
        yield f"{before.count:,} events before the selection have the sum {before.sum_of_weights:.6g}"


def _terms(diagnostics: Mapping[str, float], own: Container[str]) -> Iterator[str]:
    """The last diagnosis of a training, one line for each term of the loss of what makes events."""
    for name in diagnostics:
        if name.endswith("/value"):
            term = name.removesuffix("/value")
            value, floor, gradient = (
                diagnostics[f"{term}/{part}"] for part in ("value", "floor", "gradient")
            )
            other = "of generated events" if term in own else "between true events"
            yield f"{term} {value:.3g} ({other} {floor:.3g}), gradient {gradient:.3g}"


def described_conditions(parts: Parts) -> Iterator[str]:
    """Conditions, with the range in the training events of those that are numbers."""
    for name in parts.representation.conditions:
        low, high = parts.condition_ranges.get(name, (None, None))
        yield name if low is None or high is None else f"{name} ({low:g} to {high:g})"


def contents(schema: EventSchema) -> Iterator[str]:
    """Collections with their fields and numbers of objects, and the numbers of the event."""
    for c in schema.collections:
        count = f"{c.min_count}" if c.fixed else f"{c.min_count}..{c.max_count}"
        yield f"{count} {c.name} ({', '.join(c.field_names)})"
    if schema.scalars:
        yield ", ".join(f"{f.name}{_size(f)}" for f in schema.scalars)


def _size(f: Field) -> str:
    """The shape of a field that has one."""
    return f" ({' x '.join(map(str, f.shape))})" if f.shape else ""
