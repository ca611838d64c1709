"""Directives that render hepgan's own definitions, so that no page holds a copy of them.

``hepgan-config`` renders a settings class and all that it contains, ``hepgan-cli`` the help of every command,
``hepgan-transforms`` the transforms, ``hepgan-standard`` the standard observables, ``hepgan-recipes`` and
``hepgan-datasets`` what comes with the package.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import json
import re
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from docutils import nodes
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from hepgan.features.config import TransformSpec

INLINE = re.compile(
    r"``(?P<code>.+?)``|:[a-z:]+:`~?(?P<role>[^`]+)`|`(?P<object>[^`]+)`|\*(?P<emph>\w[^*]*)\*"
)
PLAIN = {str: "text", int: "integer", float: "number", bool: "true or false", type(None): "null"}


# ------------------------------------------------------------------ text


def inline(text: str) -> list[nodes.Node]:
    """A docstring's text as nodes: code, references and emphasis."""
    found: list[nodes.Node] = []
    end = 0
    text = " ".join(text.split())
    for match in INLINE.finditer(text):
        found.append(nodes.Text(text[end : match.start()]))
        end = match.end()
        if match["emph"]:
            found.append(nodes.emphasis(text=match["emph"]))
        else:
            found.append(nodes.literal(text=match["code"] or match["role"] or match["object"]))
    found.append(nodes.Text(text[end:]))
    return found


def paragraph(*content: str | nodes.Node) -> nodes.paragraph:
    block = nodes.paragraph()
    for part in content:
        # docutils' Text is a str, too
        block.extend([part] if isinstance(part, nodes.Node) else inline(part))
    return block


def table(header: Sequence[str], rows: Sequence[Sequence[nodes.Node]], widths: Sequence[int]) -> nodes.table:
    group = nodes.tgroup(cols=len(header))
    group.extend(nodes.colspec(colwidth=w) for w in widths)
    head, body = nodes.thead(), nodes.tbody()
    head += nodes.row("", *(nodes.entry("", nodes.paragraph(text=h)) for h in header))
    body.extend(nodes.row("", *(nodes.entry("", cell) for cell in row)) for row in rows)
    group.extend([head, body])
    return nodes.table("", group, classes=["colwidths-given"])


def parts(docstring: str | None) -> tuple[list[str], dict[str, str]]:
    """The paragraphs of a docstring before its first section, and its Attributes or Args by name."""
    text = inspect.cleandoc(docstring or "")
    pieces = re.split(r"^(\w[\w ]*):\n(?=    )", text, flags=re.MULTILINE)
    described: dict[str, str] = {}
    for title, body in zip(pieces[1::2], pieces[2::2], strict=True):
        if title not in ("Attributes", "Args"):
            continue
        for entry in re.split(r"^    (?=\S)", body, flags=re.MULTILINE)[1:]:
            name, _, words = entry.partition(":")
            described[name.strip("* ")] = " ".join(words.split())
    return [p for p in pieces[0].split("\n\n") if p.strip()], described


# ------------------------------------------------------------------ settings


def is_config(kind: Any) -> bool:
    return inspect.isclass(kind) and issubclass(kind, BaseModel)


def contained(annotation: Any) -> Iterator[type[BaseModel]]:
    """The settings classes that a type mentions, in order."""
    if isinstance(annotation, str | typing.ForwardRef):
        return
    if is_config(annotation):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from contained(argument)


def identity(kind: type[BaseModel]) -> str:
    return nodes.make_id(f"settings-{kind.__name__}")


def kind_of(kind: type[BaseModel]) -> str | None:
    """The text by which a recipe chooses a class."""
    field = kind.model_fields.get("kind")
    chosen = field is not None and typing.get_origin(field.annotation) is Literal
    return field.default if chosen else None


def title(kind: type[BaseModel]) -> str:
    chosen = kind_of(kind)
    return kind.__name__ if chosen is None else f"{kind.__name__} (kind: {chosen})"


def spelled(annotation: Any) -> list[nodes.Node]:
    """A type in YAML's words, with links to settings classes."""
    if annotation == TransformSpec:
        return [nodes.emphasis(text="transform")]
    if is_config(annotation):
        return [nodes.reference("", annotation.__name__, refid=identity(annotation), internal=True)]
    if inspect.isclass(annotation) and issubclass(annotation, enum.Enum):
        return choices([m.value for m in annotation])
    if annotation in PLAIN:
        return [nodes.Text(PLAIN[annotation])]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return spelled(arguments[0])
    if origin is Literal:
        return choices(arguments)
    if origin in (typing.Union, types.UnionType):
        return joined([spelled(a) for a in arguments])
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return [nodes.Text("list of ("), *spelled(arguments[0]), nodes.Text(")")]
    if origin in (tuple, list):
        inside = [part for a in arguments for part in [nodes.Text(", "), *spelled(a)]][1:]
        return (
            [nodes.Text("list of ("), *inside, nodes.Text(")")]
            if origin is list
            else [nodes.Text("["), *inside, nodes.Text("]")]
        )
    if origin is dict:
        return [
            nodes.Text("mapping of ("),
            *spelled(arguments[0]),
            nodes.Text(") to ("),
            *spelled(arguments[1]),
            nodes.Text(")"),
        ]
    name = getattr(annotation, "__forward_arg__", None) or getattr(annotation, "__name__", None)
    return [nodes.Text("anything" if annotation is Any else str(name or annotation))]


def in_yaml(text: str) -> str:
    """A description, with YAML's spelling of Python's constants."""
    for python, yaml in (("None", "null"), ("False", "false"), ("True", "true")):
        text = re.sub(rf"(?<!`)\b{python}\b(?!`)", f"``{yaml}``", text)
    return text


def choices(values: Sequence[Any]) -> list[nodes.Node]:
    return joined([[nodes.literal(text=v if isinstance(v, str) else json.dumps(v))] for v in values])


def joined(options: Sequence[Sequence[nodes.Node]]) -> list[nodes.Node]:
    """Options, with each text only once."""
    found: dict[str, Sequence[nodes.Node]] = {}
    for option in options:
        found.setdefault("".join(n.astext() for n in option), option)
    return [part for option in found.values() for part in [nodes.Text(" or "), *option]][1:]


def limits(field: FieldInfo) -> str:
    signs = (("gt", "> {}"), ("ge", "≥ {}"), ("lt", "< {}"), ("le", "≤ {}"), ("min_length", "at least {}"))
    found = [
        text.format(f"{value:g}" if isinstance(value, float) else value)
        for limit in field.metadata
        for name, text in signs
        if (value := getattr(limit, name, None)) is not None
    ]
    return "; ".join(dict.fromkeys(found))


def default(field: FieldInfo) -> list[nodes.Node]:
    if field.is_required():
        return [nodes.emphasis(text="required")]
    value = field.get_default(call_default_factory=True)
    return [] if value is PydanticUndefined else [nodes.literal(text=yaml_of(value))]


def yaml_of(value: Any) -> str:
    if isinstance(value, BaseModel):
        inside = {
            n: getattr(value, n)
            for n in type(value).model_fields
            if n == "kind" or n in value.model_fields_set
        }
        return "{" + ", ".join(f"{n}: {yaml_of(v)}" for n, v in inside.items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(yaml_of, value)) + "]"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_]\w*", value):
        return value
    return json.dumps(value, default=str)


class ConfigDirective(SphinxDirective):
    """A settings class, and in sections of their own the classes that its fields may hold."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module, _, name = self.arguments[0].rpartition(".")
        queue = [getattr(importlib.import_module(module), name)]
        done: list[type[BaseModel]] = []
        while queue:
            kind = queue.pop(0)
            if kind in done:
                continue
            done.append(kind)
            inside = [c for f in kind.model_fields.values() for c in contained(f.annotation)]
            queue = [c for c in inside if c not in done] + queue
        return [self._section(kind) for kind in done]

    def _section(self, kind: type[BaseModel]) -> nodes.section:
        section = nodes.section(ids=[identity(kind)], names=[nodes.fully_normalize_name(kind.__name__)])
        section += nodes.title(text=title(kind))
        domain = self.env.domains.standard_domain
        domain.note_hyperlink_target(identity(kind), self.env.docname, identity(kind), kind.__name__)
        prose, _ = parts(kind.__doc__)
        section.extend(paragraph(p) for p in prose)
        described: dict[str, str] = {}
        for base in reversed(kind.__mro__):
            described |= parts(base.__doc__)[1] if is_config(base) else {}
        rows = []
        for name, field in kind.model_fields.items():
            if name == "kind" and kind_of(kind) is not None:
                continue
            if name not in described:
                message = f"{kind.__name__}.{name} is not described in a docstring"
                raise self.error(message)
            what = paragraph(*spelled(field.annotation))
            bounds = limits(field)
            if bounds:
                what += nodes.Text(f", {bounds}")
            rows.append(
                [
                    paragraph(nodes.literal(text=name)),
                    what,
                    paragraph(*default(field)),
                    paragraph(in_yaml(described[name])),
                ]
            )
        if rows:
            section += table(("key", "value", "default", "meaning"), rows, (15, 25, 18, 42))
        return section


# ------------------------------------------------------------------ the rest


class CommandDirective(SphinxDirective):
    """The help of every command of the command line."""

    def run(self) -> list[nodes.Node]:
        import click

        from hepgan.cli import cli

        found: list[nodes.Node] = []
        top = click.Context(cli, info_name="hepgan", terminal_width=100, max_content_width=100)
        for name, command in {"": cli, **cli.commands}.items():
            context = (
                top
                if command is cli
                else click.Context(
                    command, info_name=name, parent=top, terminal_width=100, max_content_width=100
                )
            )
            section = nodes.section(ids=[nodes.make_id(f"hepgan-{name or 'command'}")])
            section += nodes.title(text=f"hepgan {name}".strip())
            section += nodes.literal_block(text=command.get_help(context), language="text")
            found.append(section)
        return found


class TransformsDirective(SphinxDirective):
    """A table of the transforms that recipes can name."""

    def run(self) -> list[nodes.Node]:
        from hepgan.features import transforms
        from hepgan.features.transforms import Transform

        kinds = [getattr(transforms, n) for n in transforms.__all__]
        rows = []
        for kind in kinds:
            made_of_others = getattr(kind, "kind", None) in (None, "chain", "columns")
            if not (inspect.isclass(kind) and issubclass(kind, Transform)) or made_of_others:
                continue
            prose, options = parts(kind.__doc__)
            options = {n: t for n, t in options.items() if n not in ("size", "names")}
            listed = nodes.bullet_list()
            listed.extend(
                nodes.list_item("", paragraph(nodes.literal(text=n), f": {t}")) for n, t in options.items()
            )
            rows.append(
                [
                    paragraph(nodes.literal(text=kind.kind)),
                    paragraph(prose[0]),
                    listed if options else nodes.paragraph(text="none"),
                ]
            )
        return [table(("kind", "map", "options"), rows, (16, 44, 40))]


class StandardDirective(SphinxDirective):
    """A table of the standard observables."""

    def run(self) -> list[nodes.Node]:
        from hepgan.observables.standard import STANDARD

        rows = []
        for name, definition in STANDARD.items():
            low, high = definition.objects
            text = definition.expression.format("a", "b", sum="a" if high == 1 else "(a + b)")
            objects = str(low) if low == high else f"{low} to {high}"
            if definition.defaults:
                objects += f" (by default {', '.join(definition.defaults)})"
            rows.append(
                [
                    paragraph(nodes.literal(text=name)),
                    paragraph(nodes.literal(text=text)),
                    paragraph(nodes.Text(objects)),
                    paragraph(nodes.Text(definition.unit.replace("$^2$", "²"))),
                ]
            )
        return [table(("name", "expression", "objects", "unit"), rows, (18, 50, 22, 10))]


class RecipesDirective(SphinxDirective):
    """A table of the recipes that come with hepgan."""

    def run(self) -> list[nodes.Node]:
        from hepgan.recipes import recipe_names

        rows = [[paragraph(nodes.literal(text=n)), paragraph(d)] for n, d in recipe_names().items()]
        return [table(("recipe", "what it is for"), rows, (20, 80))]


class DatasetsDirective(SphinxDirective):
    """A table of the samples that ``hepgan dataset`` simulates."""

    def run(self) -> list[nodes.Node]:
        from hepgan.datasets.make import DATASETS

        rows = [
            [paragraph(nodes.literal(text=n)), paragraph(nodes.Text(d.content))] for n, d in DATASETS.items()
        ]
        return [table(("sample", "events"), rows, (20, 80))]


def escape_bars(app: Sphinx, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """Lets docstrings write |x| for a magnitude, which reStructuredText takes for a substitution."""
    for i, line in enumerate(lines):
        pieces = line.split("``")
        pieces[::2] = [re.sub(r"(?<!\\)\|", r"\\|", piece) for piece in pieces[::2]]
        lines[i] = "``".join(pieces)


def hide_signature(app: Sphinx, what: str, name: str, found: Any, *_: Any) -> tuple[str, None] | None:
    """Leaves out the signatures of settings, which repeat the list of their fields."""
    return ("", None) if is_config(found) else None


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("autodoc-process-docstring", escape_bars)
    app.connect("autodoc-process-signature", hide_signature)
    app.add_directive("hepgan-config", ConfigDirective)
    app.add_directive("hepgan-cli", CommandDirective)
    app.add_directive("hepgan-transforms", TransformsDirective)
    app.add_directive("hepgan-standard", StandardDirective)
    app.add_directive("hepgan-recipes", RecipesDirective)
    app.add_directive("hepgan-datasets", DatasetsDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
