"""The house as docs/development.md shows it: rooms that import only from rooms above them, and no circles."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import hepgan

SOURCE = Path(hepgan.__file__).parent
ROOMS = (
    ("errors",),
    ("arguments", "config", "files", "runtime", "sealed"),
    ("vectors",),
    ("events",),
    ("observables",),
    ("features",),
    ("networks",),
    ("stats",),
    ("objectives",),
    ("models",),
    ("learners",),
    ("training",),
    ("recipes",),
    ("generator",),
    ("reweighting",),
    ("detector", "production"),
    ("plotting",),
    ("validation",),
    ("explanation", "coffea", "datasets", "export"),
    ("cli",),
)
"""The rooms from the foundation up; those of one line do not know each other."""


def modules() -> dict[str, Path]:
    """All modules by dotted name; a package is its ``__init__``."""
    found = {}
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """All imports that are executed sooner or later; not those for the type checker alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield from imports(node)


@cache
def graph() -> dict[str, set[str]]:
    """The modules that each one imports; names of packages lead to where they are defined."""
    known = modules()
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in known.items()}

    def source(node: ast.ImportFrom, module: str) -> str:
        """The absolute name of what is imported from."""
        package = module if known[module].stem == "__init__" else module.rpartition(".")[0]
        return f"{package}.{node.module}" if node.level else str(node.module)

    def targets(node: ast.Import | ast.ImportFrom, module: str) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name in known)
        elif (origin := source(node, module)) in known:
            for alias in node.names:
                yield home(origin, alias.name)

    def home(module: str, name: str) -> str:
        """The module that defines a name which another one may only pass on."""
        if f"{module}.{name}" in known:
            return f"{module}.{name}"
        for node in trees[module].body:
            if isinstance(node, ast.ImportFrom) and (origin := source(node, module)) in known:
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        return home(origin, alias.name)
        return module

    return {
        name: {t for node in imports(tree) for t in targets(node, name)} - {name}
        for name, tree in trees.items()
    }


def room(module: str) -> str:
    """The room that a module is in; the package itself is none."""
    return module.split(".")[1] if "." in module else ""


def test_no_module_imports_itself_by_way_of_others():
    try:
        tuple(TopologicalSorter(graph()).static_order())
    except CycleError as error:
        raise AssertionError(" <- ".join(error.args[1])) from None


def test_rooms_import_only_from_rooms_below_them():
    level = {name: number for number, names in enumerate(ROOMS) for name in names}
    assert set(level) == {room(m) for m in modules()} - {"", "__main__"}
    wrong = [
        f"{module} imports {other}"
        for module, others in sorted(graph().items())
        for other in sorted(others)
        if room(module) in level
        and room(other) in level
        and room(module) != room(other)
        and level[room(other)] >= level[room(module)]
    ]
    assert wrong == []


def test_vectors_know_nothing_of_hepgan():
    assert {room(o) for m, others in graph().items() if room(m) == "vectors" for o in others} == {"vectors"}


def test_files_are_one_subject_and_the_root_holds_few():
    assert len(list(SOURCE.glob("*.py"))) <= 8
    long = {m: n for m, p in modules().items() if (n := len(p.read_text().splitlines())) > 800}
    assert long == {}


def test_modules_of_tests_have_names_of_their_own():
    # Python would take one for the other; folders with an __init__ are packages.
    folder = Path(__file__).parent
    names = Counter(p.name for p in folder.rglob("test_*.py") if not (p.parent / "__init__.py").exists())
    assert [name for name, number in names.items() if number > 1] == []
