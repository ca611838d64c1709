"""Inclusive e p scattering at many beam energies: trains recipes on some, judges them at these and at others.

    python benchmarks/dis_energies.py DATA [--sample dis] [--recipes dis-energies] [--max-time 1200]
        [--figure reduced.png]

DATA holds, for the sample ``dis``, dis_train.root (10, 20, 30, 40 and 50 GeV), dis_test_trained_energies.root
and dis_test_new_energies.root (15, 25, 35, 45 and 60 GeV); for the sample ``cfatgan``, the training events of
the cFAT-GAN paper, cfatgan_10gev.root ... cfatgan_50gev.root, of each of which two of three entries are
learned, and one is judged by (recipes dis and cfat-gan, which have the electron's beam along +z). At each
energy ten times as many events are generated as there are to judge by. Prints tables in Markdown. Nothing is
trained for a model that the folder --models holds already. --figure draws reduced cross sections at 50 GeV.

KL is the divergence in 50 bins with equal shares of true events (hepgan.stats.distances.kl); the thesis
does not state its bins. chi2 is that of benchmarks/fat_gan.py. Both stand beside what a perfect generator
has: the mean of KL for as many events, and chi2 of Poisson toys.
"""

from __future__ import annotations

import awkward as ak
import numpy as np
from common import options, print_table, read, trained
from fat_gan import chi2, expected, histogram

from hepgan.stats.distances import kl
from hepgan.validation import ReducedCrossSection, reduced_cross_section

ENERGIES = (10, 20, 30, 40, 50)
TIMES = 10
BINS, KL_BINS = 99, 50
RECIPES = {"dis": ["dis-energies"], "cfatgan": ["dis", "cfat-gan"]}
QUANTITIES = ("E", "kx", "ky", "kz")
SIGMA = 1.655e5
"""The cross section of the sample `dis` at 50 GeV in pb, as Pythia gives it, to 0.4%."""

ROUNDING = 1e-6
"""Relative, of float32."""


def kinematics(events, beam: float) -> dict[str, np.ndarray]:
    """Momentum, Q2, x and y of the electron, which is massless, in float64.

    The electron's beam goes where most electrons go: Q2 is much less than s.
    """
    px, py, pz = (
        np.asarray(ak.flatten(events.Electron[c], axis=None), np.float64) for c in ("px", "py", "pz")
    )
    along = pz * np.sign(np.median(pz))
    pt2 = px**2 + py**2
    energy = np.sqrt(pt2 + pz**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        plus, minus = np.where(
            along > 0, [energy + along, pt2 / (energy + along)], [pt2 / (energy - along), energy - along]
        )
    return {
        "E": energy,
        "kx": px,
        "ky": py,
        "kz": pz,
        "along": along,
        "Q2": 2 * beam * minus,
        "x": minus / (2 * beam - plus),
        "y": 1 - plus / (2 * beam),
    }


def beyond(found: dict[str, np.ndarray], beam: float) -> int:
    """Events outside phase space by more than the rounding of the file: E or pz > Eb, or y < 0."""
    limit = beam * (1 + ROUNDING)
    outside = (found["E"] > limit) | (found["along"] > limit) | (found["y"] < -ROUNDING)
    return int((outside | ~np.isfinite(found["x"])).sum())


def judge(true: dict[str, np.ndarray], made: dict[str, np.ndarray], beam: float) -> dict[str, str]:
    """All figures at one energy, by name."""
    size, many = len(true["x"]), len(made["x"])
    row = {f"1000 KL({name})": f"{1e3 * kl(true[name], made[name], bins=KL_BINS):.2f}" for name in QUANTITIES}
    t, g = histogram(true, BINS), histogram(made, BINS)
    row["chi2 (Q2, x)"] = f"{chi2(t, g, size / many):.2f}"
    return row | {"beyond an edge": f"{beyond(made, beam):,}"}


def floors(true: dict[str, np.ndarray], made: dict[str, np.ndarray]) -> dict[str, str]:
    """The same figures of a perfect generator, for toys with the density of the generated events."""
    size = len(true["x"])
    mean = 1e3 * (KL_BINS - 1) / 2 * (1 + 1 / TIMES) / size
    toys = expected(histogram(made, BINS), size, TIMES)
    return {"1000 KL, perfect": f"{mean:.2f}", "chi2, perfect": toys}


def reduced(events: ak.Array) -> ReducedCrossSection:
    """The reduced cross section of events of 50 GeV of the sample `dis`."""
    edges = {"x_edges": np.geomspace(1e-3, 0.4, 9), "Q2_edges": np.geomspace(4, 4000, 16)}
    return reduced_cross_section(events, luminosity=len(events) / SIGMA, direction=-1, **edges)


def samples(chosen) -> tuple[ak.Array, dict[float, ak.Array], dict[float, ak.Array]]:
    """Training events, and test events by trained and by new energies."""
    if chosen.sample == "dis":
        test = [read(chosen, f"dis_test_{n}_energies") for n in ("trained", "new")]
        known, new = ({e: t[t.beam_energy == e] for e in np.unique(t.beam_energy)} for t in test)
        return read(chosen, "dis_train"), known, new
    parts = {float(e): read(chosen, f"cfatgan_{e}gev") for e in ENERGIES}
    test = {e: events[np.arange(len(events)) % 3 == 2] for e, events in parts.items()}
    train = ak.concatenate([events[np.arange(len(events)) % 3 != 2] for events in parts.values()])
    return train, test, {}


def main() -> None:
    """Runs it."""
    parser = options(__doc__, [], 1200.0)
    parser.add_argument("--sample", choices=list(RECIPES), default="dis")
    parser.add_argument("--figure", help="picture of reduced cross sections, of the sample dis")
    chosen = parser.parse_args()
    if chosen.figure and chosen.sample != "dis":
        parser.error("--figure is for the sample dis")
    train, known, new = samples(chosen)
    for recipe in chosen.recipes or RECIPES[chosen.sample]:
        generator = trained(recipe, train, chosen)
        summary = generator.summary
        seconds, batch = summary["seconds"], generator.recipe.training.batch_size
        print(f"\n{recipe}: {seconds:.0f} s, {summary['steps']:,} steps of {batch:,} events", flush=True)
        columns: dict[str, dict[str, str]] = {}
        for energy, events in (known | new).items():
            true = kinematics(events, energy)
            given = {"beam_energy": energy}
            more = generator.generate(TIMES * len(events), seed=1, condition=given)
            if chosen.figure and energy == 50:
                reduced(events).plot({recipe: reduced(more)}).savefig(chosen.figure, dpi=80)
            made = kinematics(more, energy)
            columns[f"{energy:g} GeV"] = judge(true, made, energy) | floors(true, made)
        print_table(columns)


if __name__ == "__main__":
    main()
