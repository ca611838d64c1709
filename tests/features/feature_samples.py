"""Events made by hand, whose properties are known exactly."""

from __future__ import annotations

import math

import torch

from hepgan.events.batch import EventBatch, Objects
from hepgan.events.schema import Collection, EventSchema, Field, Kind


def rng(seed=1):
    return torch.Generator().manual_seed(seed)


def uniform(g, low, high, *shape):
    return low + (high - low) * torch.rand(*shape, generator=g, dtype=torch.float64)


def fields(collection, *names, **more):
    return tuple(
        Field(name=n, branches=(f"{collection}_{n}",), **more.get(n, {})) for n in (*names, *more) if n
    )


def z_schema():
    muon = fields(
        "Muon",
        "pt",
        "eta",
        "phi",
        "mass",
        charge={"kind": Kind.CATEGORY, "values": (-1, 1), "dtype": "int32"},
        iso={"atoms": (0.0,)},
    )
    jet = fields("Jet", "pt", "eta", "phi", "mass", tag={"kind": Kind.INTEGER, "dtype": "int32"})
    return EventSchema(
        collections=(
            Collection(name="Muon", layout="jagged", counter="nMuon", fields=muon, min_count=2, max_count=2),
            Collection(name="Jet", layout="jagged", counter="nJet", fields=jet, max_count=3),
            Collection(
                name="MET", layout="single", fields=fields("MET", "pt", "phi"), min_count=1, max_count=1
            ),
        ),
        scalars=(
            Field(name="npv", branches=("npv",), dtype="int32", kind=Kind.INTEGER),
            Field(name="rho", branches=("rho",)),
            Field(name="weight", branches=("weight",)),
        ),
        weight="weight",
    )


def z_events(n=800, seed=1):
    """Z -> mu mu with up to 3 jets, missing momentum, atoms, integers and weights of both signs."""
    g = rng(seed)
    m = uniform(g, 60, 120, n)
    pt = -15 * torch.log(uniform(g, 0.001, 1, n))
    y, phi = uniform(g, -2, 2, n), uniform(g, -math.pi, math.pi, n)
    c, f = uniform(g, -0.95, 0.95, n), uniform(g, -1.5, 1.5, n)
    k = torch.sqrt(m**2 / 4 - 0.10566**2)
    s = torch.sqrt(1 - c**2)
    muons = []
    for sign in (1, -1):
        x, w, z = sign * k * s * torch.cos(f), sign * k * s * torch.sin(f), sign * k * c
        mt = torch.sqrt(m**2 + pt**2)
        px, e = (mt * x + pt * m / 2) / m, (mt * m / 2 + pt * x) / m
        pz = torch.cosh(y) * z + torch.sinh(y) * e
        muons.append((px * torch.cos(phi) - w * torch.sin(phi), px * torch.sin(phi) + w * torch.cos(phi), pz))
    px, py, pz = (torch.stack([muons[0][i], muons[1][i]], 1) for i in range(3))
    mpt = torch.hypot(px, py)
    charge = torch.where(torch.rand(n, generator=g) < 0.5, 1, -1)
    iso = torch.where(torch.rand(n, 2, generator=g) < 0.4, 0.0, uniform(g, 0.01, 2, n, 2))
    count = torch.randint(0, 4, (n,), generator=g)
    mask = torch.arange(3) < count.unsqueeze(1)
    jpt = torch.sort(15 + 60 * uniform(g, 0, 1, n, 3) ** 2, dim=1, descending=True).values
    jets = {
        "pt": jpt,
        "eta": uniform(g, -4, 4, n, 3),
        "phi": uniform(g, -math.pi, math.pi, n, 3),
        "mass": uniform(g, 1, 12, n, 3),
        "tag": torch.randint(0, 5, (n, 3), generator=g),
    }
    return EventBatch(
        z_schema(),
        {
            "Muon": Objects(
                {
                    "pt": mpt,
                    "eta": torch.asinh(pz / mpt),
                    "phi": torch.atan2(py, px),
                    "mass": torch.full((n, 2), 0.10566, dtype=torch.float64),
                    "charge": torch.stack([charge, -charge], 1),
                    "iso": iso,
                }
            ),
            "Jet": Objects({k_: v.masked_fill(~mask, 0) for k_, v in jets.items()}, mask),
            "MET": Objects({"pt": uniform(g, 1, 60, n), "phi": uniform(g, -math.pi, math.pi, n)}),
        },
        {
            "npv": torch.randint(3, 40, (n,), generator=g),
            "rho": uniform(g, 0, 30, n),
            "weight": torch.where(torch.rand(n, generator=g) < 0.2, -1.0, 2.0).double(),
        },
    )


def system_schema(count, *, energy=True, mass=False, more=()):
    names = ["px", "py", "pz"] + ["energy"] * energy + ["mass"] * mass
    return EventSchema(
        collections=(
            Collection(
                name="Particle",
                layout="jagged",
                fields=(*fields("Particle", *names), *more),
                min_count=count,
                max_count=count,
            ),
        )
    )


def particles(p, mass=None, **more):
    """A batch of particles with momenta p (N, M, 3) and masses (N, M)."""
    known = {"px": p[..., 0], "py": p[..., 1], "pz": p[..., 2]}
    m = torch.zeros_like(p[..., 0]) if mass is None else mass
    known["energy"] = torch.sqrt((p**2).sum(2) + m**2)
    if mass is not None:
        known["mass"] = m
    schema = system_schema(
        p.shape[1],
        mass=mass is not None,
        more=fields("Particle", **{n: {"kind": Kind.INTEGER, "dtype": "int32"} for n in more}),
    )
    return EventBatch(schema, {"Particle": Objects({**known, **more})})


def difference(a, b):
    """The largest difference of two batches, relative to 1e-3 + |value|, and where it is."""
    worst = ("nothing", 0.0)
    for name, objects in a.collections.items():
        for field, values in objects.fields.items():
            other = b.collections[name].fields[field]
            if other.shape != values.shape or other.is_floating_point() != values.is_floating_point():
                return f"{name}.{field}: shape or type", math.inf
            if values.numel() == 0:
                continue
            v, w = values.double(), other.double()
            d = (v - w).abs()
            d = torch.minimum(d, 2 * math.pi - d) if field == "phi" else d
            worst = max(worst, (f"{name}.{field}", float((d / (v.abs() + 1e-3)).max())), key=lambda x: x[1])
        if objects.mask is not None and b.collections[name].mask is not None:
            same = torch.equal(objects.mask, b.collections[name].mask)
            worst = worst if same else (f"{name} mask", math.inf)
    for name, values in a.scalars.items():
        d = (values.double() - b.scalars[name].double()).abs() / (values.double().abs() + 1e-3)
        worst = max(worst, (name, float(d.max())), key=lambda x: x[1])
    return worst
