from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from hepgan.events.buffers import record_name


def records(**fields: list[float]) -> ak.Array:
    return ak.unflatten(
        ak.zip(fields, with_name=record_name(list(fields))), [len(next(iter(fields.values())))]
    )


def test_plain_momenta_are_vectors_own():
    assert record_name(["pt", "eta", "phi", "mass", "charge"]) == "Momentum4D"
    assert record_name(["pt", "phi", "sumEt"]) == "Momentum2D"
    assert record_name(["px", "py", "pz", "q"]) == "Momentum3D"
    assert record_name(["deta", "dphi", "pt"]) is None


def test_energy_beside_mass_is_returned_as_stored_and_the_mass_makes_the_momentum():
    p = records(
        px=[3.0, 0.0], py=[4.0, 1.0], pz=[0.0, 0.0], energy=[5.5, 1.5], mass=[0.0, 0.0], pdgId=[1, -1]
    )
    assert ak.to_list(p.energy) == [[5.5, 1.5]]
    assert ak.to_list(p.mass) == [[0.0, 0.0]]
    assert p.pt[0, 0] == pytest.approx(5)
    pair = p[:, 0] + p[:, 1]
    assert pair.energy[0] == pytest.approx(5 + 1)
    assert pair.mass[0] == pytest.approx(np.sqrt(36 - 9 - 25))
    assert ak.sum(p, axis=1).px[0] == pytest.approx(3)


def test_cartesian_beside_polar_coordinates_uses_the_cartesian_ones():
    p = records(px=[3.0], py=[4.0], pz=[1.0], pt=[5.1], phi=[0.9], eta=[0.2], energy=[6.0])
    assert ak.to_list(p.pt) == [[5.1]]
    assert (p[:, 0] + p[:, 0]).pt[0] == pytest.approx(10)


def test_a_stored_vertex_position_is_not_the_momentum():
    p = records(pt=[5.0], eta=[0.0], phi=[0.0], mass=[1.0], x=[0.01], y=[0.02], z=[3.0])
    assert p.x[0, 0] == pytest.approx(0.01)
    assert p.px[0, 0] == pytest.approx(5)
    assert p.z[0, 0] == pytest.approx(3)


def test_angles_between_ordinary_and_redundant_momenta_agree_with_vector():
    plain = records(pt=[5.0, 7.0], eta=[0.1, 1.0], phi=[0.3, -0.4], mass=[0.1, 0.1])
    fields = {name: plain[name] for name in plain.fields} | {"energy": plain.energy}
    redundant = ak.zip(fields, with_name=record_name(list(fields)))
    assert redundant[:, 0].deltaR(plain[:, 1])[0] == pytest.approx(plain[:, 0].deltaR(plain[:, 1])[0])
    assert (redundant[:, 0] + plain[:, 1]).mass[0] == pytest.approx((plain[:, 0] + plain[:, 1]).mass[0])
