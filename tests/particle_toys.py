"""Files of event generators, as small as they can be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BEAM = 6500.0


def z_events(n: int, seed: int = 1) -> NDArray[np.float64]:
    """q qbar -> Z -> mu mu, as LHE files have it: (n, 5, 13) numbers of particles; momenta are conserved."""
    rng = np.random.default_rng(seed)
    mass = 91.19 + 1.2 * np.clip(rng.standard_t(3, n), -20, 20)
    y = rng.normal(scale=1.2, size=n)
    cos, phi = rng.uniform(-1, 1, n), rng.uniform(-np.pi, np.pi, n)
    up = rng.random(n) < 0.6
    sin = np.sqrt(1 - cos**2)
    p = np.zeros((n, 5, 13))
    p[:, :, :2] = [[2, -1], [-2, -1], [23, 2], [13, 1], [-13, 1]]
    p[:, :2, 0] *= np.where(up, 1, 0.5)[:, None]
    p[:, 2, 2:4] = [1, 2]
    p[:, 3:, 2:4] = 3
    p[:, 0, 4] = p[:, 1, 5] = 501
    half = mass / 2
    for k, sign in ((0, 1), (1, -1)):
        p[:, k, 8] = sign * half * np.exp(sign * y)
        p[:, k, 9] = np.abs(p[:, k, 8])
    for k, sign in ((3, 1), (4, -1)):
        along = sign * half * cos
        p[:, k, 6] = sign * half * sin * np.cos(phi)
        p[:, k, 7] = sign * half * sin * np.sin(phi)
        p[:, k, 8] = np.sinh(y) * half + np.cosh(y) * along
        p[:, k, 9] = np.cosh(y) * half + np.sinh(y) * along
    p[:, 2, 6:10] = p[:, 3, 6:10] + p[:, 4, 6:10]
    p[:, 2, 10] = mass
    p[:, :, 12] = [1, -1, 0, 1, -1]
    return p


def write_lhe(path: Path, n: int, seed: int = 1, *, weights: bool = True) -> Path:
    """Writes such events as a generator would."""
    rng = np.random.default_rng(seed + 1)
    shifts = rng.normal(1.0, 0.1, (n, 2))
    lines = [
        '<LesHouchesEvents version="3.0">',
        "<header>",
        "</header>",
        "<init>",
        f"2212 2212 {BEAM:e} {BEAM:e} 0 0 247000 247000 -4 2",
        "1.2e+03 3.0e+00 1.5e+03 1",
        "0.8e+03 2.0e+00 1.5e+03 2",
        "</init>",
    ]
    for i, event in enumerate(z_events(n, seed)):
        process = 1 if event[0, 0] == 2 else 2
        lines += ["<event>", f"5 {process} 2.0e+03 {event[2, 10]:.8e} 7.8125e-03 1.18e-01"]
        lines += [" ".join([*(f"{int(v)}" for v in q[:6]), *(f"{v:.10e}" for v in q[6:])]) for q in event]
        if weights:
            named = zip(("1001", "MUR=2.0"), shifts[i], strict=True)
            lines += ["<rwgt>", *(f"<wgt id='{k}'>{2000 * v:.6e}</wgt>" for k, v in named), "</rwgt>"]
        lines.append("</event>")
    path.write_text("\n".join([*lines, "</LesHouchesEvents>"]) + "\n")
    return path
