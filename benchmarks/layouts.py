"""Files as the field has them, each through init, train, generate and validate as its owner would do it.

    python benchmarks/layouts.py [--layouts NanoAOD Delphes ...] [--events 3000] [--steps 200] [--keep FOLDER]

Each file is small and made here (``field_files.py``). The table tells how each command ended, and how the
branches of the generated file compare with those of the file that was learned from, and what ``init`` found.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import tempfile
import warnings
from pathlib import Path

from common import parser_of, print_table
from field_files import LAYOUTS, write_files

from hepgan.cli import main as command
from hepgan.events.formats import locate, open_source


def run(line: str) -> tuple[int, str]:
    """A command: its exit status, and what it says."""
    said = io.StringIO()
    status = 0
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            command(shlex.split(line))
        except SystemExit as ended:
            status = int(ended.code or 0)
    return status, said.getvalue()


def branches(path: str) -> dict[str, str]:
    """The branches of a file with their types."""
    ((file, tree),) = locate(path)
    with open_source(file, tree) as source:
        return {b.name: f"{b.dtype}{'[]' if b.jagged else ''}" for b in source.branches.values()}


def tried(name: str, events: int, steps: int) -> dict[str, str]:
    """A file of a layout in this folder through the four commands; what came out, by name."""
    layout = LAYOUTS[name]
    tree = f":{layout.tree}" if layout.tree else ""
    train, test = write_files(name, Path(), events)
    made = f"generated.{layout.suffix}"
    row = {"init": "", "train": "", "generate": "", "validate": ""}
    drafted, said = run(f"init {train}{tree} -o r.yaml {layout.options}")
    row["init"] = _outcome(drafted, said)
    found = dict(re.findall(r"^(weight|unit|resonances|learned|left out) {2,}(.*)", said, re.MULTILINE))
    row |= {key: found.get(key, "").partition(":")[0] for key in ("learned", "resonances", "weight", "unit")}
    row["left out"] = found.get("left out", "")
    suggested = re.search(r"hepgan train (.*)", said.replace("\n  ", " "))
    if drafted or suggested is None:
        return row
    dropping = " --drop-bad" if "--drop-bad" in suggested[1] else ""
    lines = {
        "train": f"train r.yaml {train}{tree} -o m.safetensors --set training.steps={steps}{dropping}",
        "generate": f"generate m.safetensors -n {events} -o {made}",
        "validate": f"validate {test}{tree} {made} -o report --recipe r.yaml --train {train}{tree}",
    }
    for step, line in lines.items():
        status, said = run(line)
        row[step] = _outcome(status, said)
        if status not in (0, 3):
            return row
    before, after = branches(str(train)), branches(made)
    kept = [n for n, kind in before.items() if after.get(n) == kind]
    changed = [f"{n} ({k}, was {before[n]})" for n, k in after.items() if n in before and before[n] != k]
    lacking, new = ([n for n in a if n not in b] for a, b in ((before, after), (after, before)))
    row["branches written back"] = f"{len(kept)} of {len(before)}"
    row["of another type"] = _listed(changed)
    row["not written"] = _listed(lacking)
    row["added"] = _listed(new)
    return row


def _outcome(status: int, said: str) -> str:
    last = next((line for line in reversed(said.splitlines()) if line.strip()), "")
    return "ok" if status == 0 else f"exit {status}: {last.strip()}"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} others" if len(names) > 4 else "")


def main() -> None:
    """Runs it."""
    parser = parser_of(__doc__)
    parser.add_argument("--layouts", nargs="+", default=list(LAYOUTS))
    parser.add_argument("--events", type=int, default=3000)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--keep", type=Path, help="folder in which files, recipes and reports stay")
    chosen = parser.parse_args()
    before = Path.cwd()
    table = {}
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in chosen.layouts:
            folder = (chosen.keep or Path(temporary)) / re.sub(r"\W+", "_", name)
            folder.mkdir(parents=True)
            os.chdir(folder)
            try:
                table[name] = tried(name, chosen.events, chosen.steps)
            finally:
                os.chdir(before)
    columns = list(dict.fromkeys(key for row in table.values() for key in row))
    # One row for each layout reads better than one column.
    print_table({key: {name: row.get(key, "") for name, row in table.items()} for key in columns})


if __name__ == "__main__":
    main()
