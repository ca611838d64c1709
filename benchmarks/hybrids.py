"""What the terms of a hybrid do to each other: the recipe drell-yan-paper with one guide after another.

    python benchmarks/hybrids.py DATA [--variants likelihood mmd-2 ...] [--model flow]

DATA holds drell_yan_train.root and drell_yan_test.root. Each variant is trained for as many steps from the
same seed; its guide counts in the second half of the training, that of latent space all the time. The model
is a small flow matching on the recipe's features, a smaller flow than the published one (flow), or that
itself (published). Prints a table in Markdown: how well the events came out, and what diagnoses of the last
quarter of the training say of the terms. Histories are drawn into the folder --figures.

"value / truth" of a term is its value, and what it is when generated and real events are exchanged, which is
the same for a perfect model; "signal" the norm of the mean of its gradient, with its weight, less the noise
of single batches; "agreement" the cosine between the mean gradients of likelihood and guide. At a joint
minimum there is no signal; in an equilibrium the signals are equal and their agreement is -1.
"""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
from common import generated, options, print_table, read

import hepgan
from hepgan.plotting.training import plot_history
from hepgan.stats.distances import ks
from hepgan.training import History

RECIPE = "drell-yan-paper"
LAST = 0.25
SMALLER = {
    "flow": (
        "model.blocks=8",
        "model.clamp=1.5",
        "model.network={kind: mlp, widths: [64, 64], activation: elu}",
        "model.fakes=512",
        "training.optimiser.lr=2.0e-3",
        "training.steps=2000",
    ),
    "flow_matching": (
        "model={kind: flow_matching, network: {kind: residual, width: 64, blocks: 2}, steps: 4, fakes: 512}",
        "training.optimiser.lr=2.0e-3",
        "training.schedule={kind: cosine}",
        "training.ema=0.999",
        "training.steps=2500",
    ),
}
COMMON = ("training.batch_size=1024", "training.gradient_clip=1.0", "training.diagnose_every=5")

SCHEDULE = "schedule: {start: 0.5, ramp: 0.05}, warmup: 0.1"
MASS = f"network: {{kind: mlp, widths: [64, 64, 64]}}, features: false, observables: [m_z], {SCHEDULE}"
ALL = (
    "network: {kind: mlp, widths: [128, 128, 128, 128, 128]}, features: false, "
    f"observables: [m_z, px_lp, py_lp, pz_lp, pz_lm], {SCHEDULE}"
)
LATENT = "latent: true, network: {kind: mlp, widths: [128, 128, 128]}"
MMD = "kind: mmd, observables: m_z, widths: [5, 2, 1], standardised: false, schedule: {start: 0.5}"
OPTIMISER = "optimiser: {kind: adam, lr: 1.0e-4, betas: [0.5, 0.9], weight_decay: 1.0e-3}"

VARIANTS: dict[str, tuple[str, ...]] = {
    "likelihood": (),
    "mmd-0.2": (f"model.penalties+={{{MMD}, weight: 0.6}}",),
    "mmd-2": (f"model.penalties+={{{MMD}, weight: 6}}",),
    "mass": (f"model.critics+={{name: mass, {MASS}, {OPTIMISER}}}",),
    "mass-saturating": (f"model.critics+={{name: mass, loss: bce_saturating, {MASS}, {OPTIMISER}}}",),
    "mass-10": (f"model.critics+={{name: mass, weight: 10, {MASS}, {OPTIMISER}}}",),
    "momenta": (f"model.critics+={{name: momenta, weight: 2, {ALL}, {OPTIMISER}}}",),
    "latent": (f"model.critics+={{name: latent, {LATENT}, {OPTIMISER}}}",),
    "reweighted": (
        f"model.critics+={{name: mass, weight: 0, {MASS}, {OPTIMISER}}}",
        "model.likelihood={reweighted_by: mass}",
    ),
    "reweighted-inverse": (
        f"model.critics+={{name: mass, weight: 0, {MASS}, {OPTIMISER}}}",
        "model.likelihood={reweighted_by: mass, power: -1}",
    ),
}
"""Guides, by name. The published MMD is a sum over its kernels, where hepgan's is their mean."""


def columns(events) -> dict[str, np.ndarray]:
    """The mass of the pair and the momenta along and across the beam, in GeV."""
    lepton = events.Lepton
    return {
        "m_z": ak.to_numpy((lepton[:, 0] + lepton[:, 1]).mass).astype(np.float64),
        "pz_lp": ak.to_numpy(lepton[:, 0].pz).astype(np.float64),
        "px_lp": ak.to_numpy(lepton[:, 0].px).astype(np.float64),
    }


def terms(history: History, own: tuple[str, ...]) -> dict[str, str]:
    """What the diagnoses of the last part of a training say: of the model's own term, and of its guide."""
    table = history.diagnostics
    if not len(table):
        return {}
    rows = max(1, round(LAST * len(table)))

    def median(name: str) -> float:
        return float(np.median(table[name][-rows:]))

    found = {}
    for term in sorted(history.terms, key=lambda t: t not in own):
        label, whose = ("likelihood", own[0]) if term in own else ("guide", "guides")
        signal = median(f"{term}/gradient") * np.sqrt(max(0.0, median(f"{whose}/coherence")))
        found[f"{label}: value / truth"] = f"{median(f'{term}/value'):.4f} / {median(f'{term}/floor'):.4f}"
        found[f"{label}: gradient, signal"] = f"{median(f'{term}/gradient'):.3f}, {signal:.3f}"
    agreement = history.agreement(rows)[1][-1]
    return found | ({"agreement": f"{agreement:+.2f}"} if np.isfinite(agreement) else {})


def main() -> None:
    """Trains the variants and prints the table."""
    parser = options(__doc__, [RECIPE], max_time=86_400.0, events=200_000)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--model", choices=[*SMALLER, "published"], default="flow_matching")
    parser.add_argument("--figures", type=Path)
    chosen = parser.parse_args()
    train, test = (read(chosen, f"drell_yan_{part}") for part in ("train", "test"))
    true, other = columns(test), columns(train)

    def compared(found: dict[str, np.ndarray]) -> dict[str, str]:
        far = np.mean(found["m_z"] > true["m_z"].max())
        distances = {f"KS of {c}": f"{ks(true[c], found[c]):.4f}" for c in true}
        return distances | {"heavier than all test events": f"{far:.1e}"}

    table = {"true events": compared(other)}
    for variant in chosen.variants:
        smaller = (*SMALLER[chosen.model], *COMMON) if chosen.model in SMALLER else ()
        settings = (*smaller, *chosen.set, *VARIANTS[variant])
        recipe = hepgan.load_recipe(RECIPE).with_settings(list(settings))
        generator = hepgan.EventGenerator(recipe)
        generator.fit(train, seed=chosen.seed, max_time=chosen.max_time, progress=False)
        made, training, rate = generated(generator, chosen.events)
        nll = -generator.log_prob(test[:20_000], measure="columns")
        rows = {"- log p of test events": f"{np.mean(nll[np.isfinite(nll)]):.3f}"} | compared(columns(made))
        assert generator.history is not None
        table[variant] = training | rows | terms(generator.history, recipe.model.own) | rate
        print(variant, table[variant], flush=True)
        if chosen.figures:
            chosen.figures.mkdir(parents=True, exist_ok=True)
            plot_history(generator.history).savefig(chosen.figures / f"{variant}.png")
    print_table(table)


if __name__ == "__main__":
    main()
