"""Command lines, settings, recipes and files that hepgan must refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import uproot

__all__ = ["bad_inputs", "columns_of"]


def columns_of(n: int, seed: int = 1) -> dict[str, Any]:
    """Events: a number, a category, the missing momentum."""
    rng = np.random.default_rng(seed)
    return {
        "x": rng.normal(0, 1, n),
        "k": rng.integers(0, 3, n).astype(np.int32),
        "MET_pt": rng.exponential(20, n).astype(np.float32),
        "MET_phi": rng.uniform(-3, 3, n).astype(np.float32),
    }


SETTINGS = (
    *(
        "training.steps=-1",
        "training.steps=1.5",
        "training.steps=x",
        "training.steps=true",
        "training.steps=0",
    ),
    *("training.batch_size=0", "training.batch_size=1e400", "training.max_time=-3", "training.max_time=nan"),
    *("training.optimiser.lr=-1", "training.optimiser.lr=nan", "training.optimiser.lr=inf"),
    *("training.optimiser.betas=[2,3]", "training.optimiser.betas=[0.1]", "training.optimiser.kind=sgdd"),
    *("training.ema=2", "training.ema=-1", "training.members=0", "training.members=1000000000"),
    *(
        "training.nothing=3",
        "model.kind=gann",
        "model.steps=0",
        "model.steps=1000000000",
        "model.solver=magic",
    ),
    *("model.network.blocks=1000000000", "model.network.width=-5", "model.network.activation=tan"),
    *("model.network.dropout=1.5", "model.network.dropout=nan", "model=3", "features=3", "observables=3"),
    *("events.select=[Nothing]", "events.weight=nothing", "conditions=[nothing]", "conditions=3"),
    *(
        "features.bounds.x=[5,1]",
        "features.bounds.x=[nan,1]",
        "features.masses.Muon=-1",
        "=3",
        "training",
        "a.b.c=1",
    ),
    *("training.steps=[", "training.schedule=never", "observables.x.expression=import os"),
)
RECIPES = {
    "empty": "",
    "list": "- a\n- b\n",
    "text": "just text",
    "tabs": "model:\n\tkind: flow_matching\n",
    "duplicate": "model: {kind: flow_matching}\nmodel: {kind: gan}\n",
    "bomb": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9)),
    "deep": "model: " + "[" * 20_000,
    "unclosed": "model: {kind: gan",
    "tag": "model: !!python/object/apply:os.system [ls]\n",
    "date": "name: 2020-99-99\nmodel: gan\n",
    "binary": "\x00\x01\x02",
    "number": "1: 2\n",
    "key": "model: {kind: flow_matching}\ntrainig: {}\n",
    "expression": "model: {kind: flow_matching}\nobservables: {a: {expression: 'x.__class__'}}\n",
    "nested": "model: {kind: flow_matching}\nobservables: {a: {expression: "
    + f"'{'(' * 3000}x{')' * 3000}'}}}}\n",
    "power": "model: {kind: flow_matching}\nobservables: {a: {expression: '9**9**9**9'}}\n",
}
OPTIONS = (
    *("generate m.safetensors -n 0 -o x.root", "generate m.safetensors -n -1 -o x.root"),
    *("generate m.safetensors -n 1.5 -o x.root", "generate m.safetensors -n nan -o x.root"),
    *("generate m.safetensors -n 10 -o t.root", "generate m.safetensors -n 10 -o x.root --workers 0"),
    *(
        "generate m.safetensors -n 10 -o x.root --workers 1.5",
        "generate m.safetensors -n 10 -o x.root --seed -1",
    ),
    *("generate m.safetensors -n 10 -o x.root --seed 1.5", "generate m.safetensors -n 10 -o x.root --seed x"),
    *(
        "generate m.safetensors -n 10 -o x.root --condition a=1",
        "generate m.safetensors -n 10 -o x.root --condition a",
    ),
    *(
        "generate m.safetensors -n 10 -o x.parquet --format ttree",
        "generate m.safetensors -n 10 -o x.root --format x",
    ),
    *(
        "generate m.safetensors -n 10 -o x.root --device abacus",
        "generate m.safetensors -n 1e12 -o d --shard-size 1",
    ),
    *("generate m.safetensors -n 10 -o t.root/x.root", "generate m.safetensors -n 10 -o link.root --force"),
    *("generate m.safetensors -n 10 -o read.root --force", "generate m.safetensors -n 10 -o /proc/x.root"),
    *(
        "generate m.safetensors -n 10 -o /dev/null",
        "generate t.root -n 10 -o x.root",
        "generate r.yaml -n 9 -o x.root",
    ),
    *(
        "generate nosuch.safetensors -n 9 -o x.root",
        "generate . -n 9 -o x.root",
        "generate m.safetensors -n 9",
    ),
    *("train r.yaml t.root -o x.root", "train r.yaml t.root -o x.safetensors --max-time soon"),
    *("train r.yaml t.root -o x.safetensors --seed -1", "train nosuch t.root -o x.safetensors"),
    *(
        "train r.yaml t.root -o m.safetensors",
        "train t.root r.yaml -o x.safetensors",
        "train r.yaml -o x.safetensors",
    ),
    *(
        "train zmumu t.root -o x.safetensors",
        "validate t.root t.root -o r.yaml",
        "validate t.root g.root -o .",
    ),
    *("validate t.root g.root -o rep2 --recipe nosuch", "validate t.root g.root -o rep2 --train t.root"),
    *(
        "validate nosuch.root g.root -o rep2",
        "reweight t.root nosuch.root -o w.root",
        "init t.root -o x.root",
    ),
    *(
        "init t.root -o r.yaml",
        "init ~nosuchuser/x.root -o q.yaml",
        "info nosuch",
        "info t.root",
        "recipes nosuch",
    ),
    *(
        "dataset nosuch -n 5 -o x.root",
        "dataset dis -n 0 -o x.root",
        "distill r.yaml -o x.safetensors",
        "nosuch",
    ),
    *("refine m.safetensors nosuch.root -o x.safetensors", "fold nosuch.safetensors t.root -o x.root"),
)


def bad_files(where: Path) -> dict[str, bool]:
    """Makes bad files of events; tells of each whether `init` may take it nevertheless."""
    made: dict[str, bool] = {}

    def root(name: str, init: bool, **changes: Any) -> None:
        columns = {**columns_of(300), **changes}
        with uproot.recreate(where / f"{name}.root") as file:
            file["Events"] = {k: v for k, v in columns.items() if v is not None}
        made[f"{name}.root"] = init

    def raw(name: str, content: bytes) -> None:
        (where / name).write_bytes(content)
        made[name] = False

    x = columns_of(300)["x"]
    one = x.copy()
    one[17] = np.nan
    root("bad_nan", True, x=one)
    one = x.copy()
    one[17] = np.inf
    root("bad_inf", True, x=one)
    root("bad_lost", True, x=None)
    root("bad_weights", True, genWeight=np.where(np.arange(300) % 2, 1.0, -1.0))
    root("bad_nan_weights", True, genWeight=np.where(np.arange(300) == 3, np.nan, 1.0))
    root("bad_pt", True, MET_pt=-columns_of(300)["MET_pt"])
    root("bad_all_nan", True, x=np.full(300, np.nan))
    content = (where / "t.root").read_bytes()
    raw("bad_cut.root", content[: len(content) // 2])
    raw("bad_zero.root", b"")
    raw("bad_text.root", b"hello")
    raw("bad_text.parquet", b"hello")
    raw("bad_zero.parquet", b"")
    with uproot.recreate(where / "bad_hollow.root"):
        made["bad_hollow.root"] = False
    with uproot.recreate(where / "bad_two.root") as file:
        for tree in ("A", "B"):
            file[tree] = columns_of(9)
        made["bad_two.root"] = False
    with uproot.recreate(where / "bad_none.root") as file:
        file["Events"] = {k: v[:0] for k, v in columns_of(9).items()}
        made["bad_none.root"] = False
    pq.write_table(pa.Table.from_arrays([pa.array(x)] * 2, names=["x", "x"]), where / "bad_twice.parquet")
    made["bad_twice.parquet"] = False
    pq.write_table(pa.table({"s": ["a", "b", "c"] * 100}), where / "bad_strings.parquet")
    made["bad_strings.parquet"] = False
    made["bad_nosuch.root"] = made["bad_nosuch*.root"] = made["."] = False
    return made


def bad_inputs(toys: Path) -> list[tuple[str, bool]]:
    """Command lines that must be refused; some of them may work."""
    cases = [(line, False) for line in OPTIONS]
    for setting in SETTINGS:
        cases.append(
            (f"train r.yaml t.root -o x.safetensors --set training.steps=2 --set {setting!r}", False)
        )
    for name, text in RECIPES.items():
        (toys / f"bad_{name}.yaml").write_text(text)
        cases.append((f"train bad_{name}.yaml t.root -o x.safetensors", False))
    for name, init in bad_files(toys).items():
        cases.append((f"init {name} -o q.yaml", init))
        cases.append((f"train r.yaml {name} -o x.safetensors --set training.steps=2", False))
        cases.append((f"validate t.root {name} -o rep2 --recipe one.yaml", name == "bad_weights.root"))
    return cases
