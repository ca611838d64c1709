"""Why some constraints cannot be learned, and what can: makes the pictures of docs/constraints.md.

python docs/constraints.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import awkward as ak
import matplotlib.pyplot as plt
import numpy as np
import torch
import vector

import hepgan
from hepgan.objectives import MMD, Energy, Paired, Points, Wasserstein

FIGURES = Path(__file__).parent / "figures"
SIGMA, MASS = 2.5, 91.2


def scan(widths: np.ndarray, size: int = 20_000) -> dict[str, list[float]]:
    """Penalties between a true peak and generated ones of the same mean, by the ratio of their widths."""
    # [scan]
    penalties = {
        "paired": Paired(observables="m", standardised=True),
        "wasserstein": Wasserstein(observables="m"),
        "energy": Energy(observables="m"),
        "mmd": MMD(observables="m", max_events=1024),
    }
    rng = torch.Generator().manual_seed(1)
    ones = torch.ones(size)
    true = Points(MASS + SIGMA * torch.randn(size, generator=rng), ones)
    shape = torch.randn(size, generator=rng)
    found = {
        name: [float(penalty(true, Points(MASS + w * SIGMA * shape, ones))) for w in widths]
        for name, penalty in penalties.items()
    }
    # [end]
    return found


def partons(n: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Partons of 4.8 GeV (b quarks) with up to half of the energy of a Z."""
    rng = np.random.default_rng(seed)
    p = 45.0 * rng.beta(1.2, 2.0, n)
    cos, phi = rng.uniform(-1.0, 1.0, n), rng.uniform(-np.pi, np.pi, n)
    sin = np.sqrt(1.0 - cos**2)
    x, y, z = p * sin * np.cos(phi), p * sin * np.sin(phi), p * cos
    return {"energy": np.sqrt(p**2 + 4.8**2), "px": x, "py": y, "pz": z}


def shell(n: int = 50_000) -> tuple[np.ndarray, np.ndarray]:
    """The mass shell in scaled variables, and after errors of half a per cent of the range."""
    # [shell]
    true = partons(n)
    scaled = {k: (v - v.min()) / (v.max() - v.min()) for k, v in true.items()}

    def shell_of(p: dict[str, np.ndarray]) -> np.ndarray:
        return p["energy"] ** 2 - p["px"] ** 2 - p["py"] ** 2 - p["pz"] ** 2

    in_scaled = shell_of(scaled)
    rng = np.random.default_rng(2)
    nearly = {k: v + 0.005 * np.ptp(v) * rng.normal(size=n) for k, v in true.items()}
    after_errors = shell_of(nearly)
    # [end]
    return in_scaled, after_errors


def pairs(n: int, seed: int = 1) -> ak.Array:
    """A resonance at rest that decays into two muons."""
    vector.register_awkward()
    rng = np.random.default_rng(seed)
    p = 0.5 * rng.normal(MASS, SIGMA, n)
    cos, phi = rng.uniform(-1.0, 1.0, n), rng.uniform(-np.pi, np.pi, n)
    pt = p * np.sqrt(1.0 - cos**2)
    momentum = np.stack([pt * np.cos(phi), pt * np.sin(phi), p * cos], axis=1)
    both = np.stack([momentum, -momentum], axis=1).astype(np.float32)
    muons = {c: ak.from_regular(ak.Array(both[..., i])) for i, c in enumerate(("px", "py", "pz"))}
    muons["mass"] = ak.full_like(muons["px"], 0.10566)
    return ak.zip({"Muon": ak.zip(muons, with_name="Momentum4D")}, depth_limit=1)


def recipe(penalty: dict[str, object] | None, steps: int) -> dict[str, object]:
    # [recipe]
    network = {"kind": "mlp", "widths": [64, 64, 64]}
    return {
        "name": "pairs",
        "features": {
            "blocks": [
                {
                    "kind": "objects",
                    "collection": "Muon",
                    "coordinates": ["px", "py", "pz"],
                    "order": False,
                }
            ]
        },
        "model": {
            "kind": "gan",
            "generator": network,
            "critics": [{"network": network, "loss": "bce"}],
            "penalties": [] if penalty is None else [{"observables": "m", **penalty}],
        },
        "observables": {"m": "(Muon[0] + Muon[1]).mass"},
        "training": {"steps": steps, "batch_size": 512, "ema": 0.99, "diagnose_every": max(1, steps // 75)},
    }
    # [end]


def learn(steps: int) -> dict[str, hepgan.EventGenerator]:
    """The same GAN without a penalty, with the flawed one, and with a distance."""
    # [learn]
    penalties = {
        "no penalty": None,
        "paired": {"kind": "paired", "weight": 10.0, "standardised": True},
        "energy": {"kind": "energy", "weight": 10.0},
    }
    events = pairs(20_000)
    generators = {
        name: hepgan.EventGenerator(recipe(penalty, steps)).fit(events, seed=1, device="cpu")
        for name, penalty in penalties.items()
    }
    # [end]
    return generators


def draw_scan(widths: np.ndarray, found: dict[str, list[float]]) -> plt.Figure:
    figure, axis = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for name, values in found.items():
        axis.plot(widths, values, lw=2 if name == "paired" else 1.5, label=name)
    axis.axvline(1.0, color="black", ls=":", lw=1)
    axis.annotate("truth", (1.0, 1.0), (1.02, 1.55))
    axis.set(xlabel="generated width / true width", ylabel="penalty", ylim=(-0.05, 1.75))
    axis.legend()
    return figure


def draw_shell(in_scaled: np.ndarray, after_errors: np.ndarray) -> plt.Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.0, 3.2), layout="constrained")
    left.hist(in_scaled, 80, histtype="stepfilled", alpha=0.6)
    left.set(xlabel="$E'^2 - p_x'^2 - p_y'^2 - p_z'^2$ of true partons, scaled", ylabel="partons")
    right.hist(
        after_errors, 80, range=(-30, 76), histtype="stepfilled", alpha=0.6, label="(E, p), errors of 0.5%"
    )
    right.axvline(4.8**2, color="black", label="(p, m), any errors")
    right.set(xlabel="$m^2$ [GeV$^2$]")
    right.legend(fontsize="small")
    return figure


def draw_learned(generators: dict[str, hepgan.EventGenerator], size: int) -> tuple[plt.Figure, plt.Figure]:
    mass = hepgan.Observable("m", "(Muon[0] + Muon[1]).mass", bins=60, range=(76, 106))
    masses, axis = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    samples = {"true": pairs(size, seed=2)}
    samples |= {name: generator.generate(size, seed=1) for name, generator in generators.items()}
    for name, events in samples.items():
        values = mass.flat(events).values
        label = f"{name}: $\\sigma$ = {np.std(values):.2f} GeV"
        axis.hist(
            values,
            60,
            range=(76, 106),
            weights=np.full(len(values), 2.0 / size),
            histtype="step",
            label=label,
            lw=1.5,
        )
    axis.set(xlabel=r"$m_{\mu\mu}$ [GeV]", ylabel="share per GeV")
    axis.legend(fontsize="small")
    terms, panels = plt.subplots(1, 2, figsize=(8.0, 3.2), layout="constrained")
    for panel, name in zip(panels, ("paired", "energy"), strict=True):
        table = generators[name].history.diagnostics
        panel.plot(table["step"], table[f"{name}_m/value"], label="value")
        panel.plot(table["step"], table[f"{name}_m/floor"], ls=":", color="black", label="floor")
        panel.set(xlabel="step", title=name)
        panel.legend(fontsize="small")
    panels[0].set(yscale="log", ylim=(0.7, 10.0))
    panels[1].set_yscale("symlog", linthresh=0.03)
    return masses, terms


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--figures", type=Path, default=FIGURES, help="folder for the pictures")
    parser.add_argument("--steps", type=int, default=1500, help="steps of each training")
    parser.add_argument("--events", type=int, default=50_000, help="events to generate")
    options = parser.parse_args(arguments)
    options.figures.mkdir(parents=True, exist_ok=True)
    widths = np.linspace(0.0, 2.0, 41)
    masses, terms = draw_learned(learn(options.steps), options.events)
    pictures = {
        "penalties": draw_scan(widths, scan(widths)),
        "shell": draw_shell(*shell()),
        "constrained": masses,
        "terms": terms,
    }
    for name, figure in pictures.items():
        figure.savefig(options.figures / f"{name}.png", dpi=80, metadata={"Software": None})
        plt.close(figure)


if __name__ == "__main__":
    main()
