"""Digests of what every recipe makes, to compare before and after a change that should change nothing.

Run with ``python benchmarks/digests.py DATA FOLDER`` before a change, and with another folder after it; then
``python benchmarks/digests.py --compare FOLDER OTHER``. Each recipe, with small networks, learns a few
thousand events of DATA for a few steps. FOLDER gets its model file, its generated events as arrays, the
losses, the log-probabilities of events, the metrics of a comparison, and digests of all of it. The same bits
are to be expected on one machine only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import torch

import hepgan

FILES = {
    "zmumu": "zmumu_train",
    "dy-gan": "zmumu_train",
    "dy-gan-7": "zmumu_train",
    "drell-yan": "drell_yan_train",
    "drell-yan-paper": "drell_yan_train",
    "wz": "wz_train",
    "wz-paper": "wz_train",
    "ee-partons": "ee_partons_train",
    "ee-partons-gan": "ee_partons_train",
    "ee-partons-paper": "ee_partons_train",
    "dis": "fatgan/fatgan_50gev",
    "fat-gan": "fatgan/fatgan_50gev",
    "fat-gan-spherical": "fatgan/fatgan_50gev",
    "direct-gan": "fatgan/fatgan_50gev",
    "dis-energies": "dis_train",
    "cfat-gan": "fatgan/cfatgan_10gev fatgan/cfatgan_30gev fatgan/cfatgan_50gev",
    "folding": "dis_train",
}
ENSEMBLES = {"zmumu": 2, "fat-gan": 2}
EVENTS, MADE, STEPS = 3000, 5000, 5


def small(document: Any) -> Any:
    """A recipe's document with small networks."""
    if isinstance(document, dict):
        found = {k: small(v) for k, v in document.items()}
        for key, value in (("width", 16), ("blocks", 1), ("layers", 1), ("bins", 4)):
            if key in found and "kind" in found and isinstance(found[key], int):
                found[key] = min(found[key], value)
        if "widths" in found:
            found["widths"] = [16 for _ in found["widths"]]
        return found
    return [small(v) for v in document] if isinstance(document, list | tuple) else document


def arrays(events: ak.Array) -> dict[str, np.ndarray]:
    """All numbers of events by name, jagged ones as counts and content."""
    found = {}
    for name in events.fields:
        part = events[name]
        fields = [(f"{name}.{f}", part[f]) for f in part.fields] or [(name, part)]
        for label, values in fields:
            if values.ndim > 1:
                found[f"{label}:counts"] = ak.to_numpy(ak.num(values)).astype(np.int64)
                values = ak.flatten(values)
            found[label] = ak.to_numpy(values)
    return found


def digest(found: dict[str, np.ndarray]) -> str:
    """A digest of arrays and their names."""
    made = hashlib.blake2b(digest_size=12)
    for name in sorted(found):
        made.update(name.encode())
        made.update(np.ascontiguousarray(found[name]).tobytes())
    return made.hexdigest()


def run(name: str, data: Path, folder: Path, members: int = 1) -> dict[str, Any]:
    """All that is compared of one recipe."""
    recipe = hepgan.load_recipe(name)
    document = recipe.model_dump(mode="json", exclude_unset=True)
    document["model"] = small(document["model"])
    training = document.setdefault("training", {})
    training |= {"steps": STEPS, "batch_size": 200, "evaluate_every": STEPS, "members": members}
    training.pop("max_time", None)
    stems = FILES[name].split()
    files = [hepgan.read_events(f"{data / s}.root", entry_stop=2 * EVENTS // len(stems)) for s in stems]
    events = files[0] if len(files) == 1 else ak.concatenate(files)
    train, test = (events[:EVENTS], events[EVENTS:]) if len(files) == 1 else (events[::2], events[1::2])
    generator = hepgan.EventGenerator(document).fit(train, seed=2, device="cpu")
    label = name if members == 1 else f"{name}-x{members}"
    path = folder / f"{label}.safetensors"
    generator.save(path, force=True)
    made = generator.generate(MADE, seed=5, workers=1)
    np.savez(folder / f"{label}.npz", **arrays(made))
    found = {
        "data": generator.summary["data_hash"],
        "losses": {n: v.tolist() for n, v in generator.history.losses.columns().items()},
        "metrics": {k: repr(v) for k, v in generator.summary["metrics"].items()},
        "events": digest(arrays(made)),
        "loaded": digest(arrays(hepgan.EventGenerator.load(path).generate(MADE, seed=5, workers=1))),
        "names": list(generator.representation.names),
    }
    if generator.has_likelihood and members == 1:
        try:
            found["log_prob"] = [round(v, 6) for v in generator.log_prob(test[:20]).tolist()]
        except hepgan.HepganError as error:
            found["log_prob"] = str(error)
    if members == 1:
        comparison = hepgan.compare(test, made, observables=recipe.make_observables())
        comparison.save(folder / f"{label}-report", force=True)
        metrics = (folder / f"{label}-report" / "metrics.json").read_text()
        found["comparison"] = json.loads(metrics, parse_constant=str)
        # The date is not to be compared.
        found["comparison"]["provenance"].pop("made")
    return found


def numbers(first: Path, second: Path) -> str:
    """How far the numbers of two files of events are from each other."""
    one, two = np.load(first), np.load(second)
    if set(one.files) != set(two.files):
        return f"other fields: {sorted(set(one.files) ^ set(two.files))}"
    worst = ""
    largest = 0.0
    for name in one.files:
        a, b = one[name], two[name]
        if a.shape != b.shape:
            return f"{name}: {a.shape} and {b.shape}"
        if a.dtype.kind in "fiu" and a.size:
            spread = float(np.std(a.astype(float))) or 1.0
            off = float(np.max(np.abs(a.astype(float) - b.astype(float)))) / spread
            if off > largest:
                worst, largest = name, off
    return f"largest difference {largest:.2g} of the spread{f' ({worst})' if worst else ''}"


def compare(first: Path, second: Path) -> int:
    """Prints what differs between two folders; how many recipes do."""
    one, two = (json.loads((f / "digests.json").read_text()) for f in (first, second))
    differ = 0
    for name in (n for n in one if n in two):
        keys = [k for k in one[name] if one[name][k] != two[name].get(k)]
        differ += bool(keys)
        told = (
            f"{', '.join(keys)}; {numbers(first / f'{name}.npz', second / f'{name}.npz')}" if keys else "same"
        )
        print(f"{name:22} {told}")
    return differ


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs=2, metavar="FOLDER")
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--recipes", nargs="*", default=list(FILES))
    chosen = parser.parse_args()
    if chosen.compare:
        sys.exit(1 if compare(*chosen.folders) else 0)
    data, folder = chosen.folders
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    path = folder / "digests.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for name in chosen.recipes:
        for members in {1, ENSEMBLES.get(name, 1)}:
            label = name if members == 1 else f"{name}-x{members}"
            found[label] = run(name, data, folder, members)
            path.write_text(json.dumps(found, indent=1))
            print(label, found[label]["events"], found[label]["events"] == found[label]["loaded"], flush=True)


if __name__ == "__main__":
    main()
