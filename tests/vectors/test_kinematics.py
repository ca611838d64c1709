from __future__ import annotations

import numpy as np
import pytest
import torch
import vector

from hepgan.vectors.kinematics import Kinematics, safe_sqrt, wrap

RNG = np.random.default_rng(5)
PT, ETA, PHI, MASS = (
    RNG.uniform(1, 80, 200),
    RNG.uniform(-4, 4, 200),
    RNG.uniform(-3.1, 3.1, 200),
    RNG.uniform(0.01, 20, 200),
)
REFERENCE = vector.array({"pt": PT, "eta": ETA, "phi": PHI, "mass": MASS})
EXPECTED = {
    "px": REFERENCE.px,
    "py": REFERENCE.py,
    "pz": REFERENCE.pz,
    "pt": PT,
    "eta": ETA,
    "phi": PHI,
    "theta": REFERENCE.theta,
    "mass": MASS,
    "energy": REFERENCE.energy,
    "y": REFERENCE.rapidity,
    "p": REFERENCE.p,
    "costheta": REFERENCE.costheta,
    "plus": REFERENCE.energy + REFERENCE.pz,
    "minus": REFERENCE.energy - REFERENCE.pz,
}


@pytest.mark.parametrize(
    "given",
    [
        "pt eta phi mass",
        "px py pz mass",
        "px py pz energy",
        "pt phi pz energy",
        "pt phi theta mass",
        "px py eta mass",
        "pt phi y mass",
        "p theta phi mass",
        "p costheta phi mass",
        "energy theta phi mass",
        "energy costheta phi mass",
        "plus minus phi mass",
    ],
)
def test_every_coordinate_agrees_with_vector_whichever_are_given(given):
    k = Kinematics({n: torch.from_numpy(np.asarray(EXPECTED[n]).copy()) for n in given.split()})
    for name, expected in EXPECTED.items():
        np.testing.assert_allclose(k[name].numpy(), expected, rtol=1e-7, atol=1e-9, err_msg=name)


def test_a_rotation_changes_phi_and_leaves_the_rest():
    turn = torch.from_numpy(RNG.uniform(-3, 3, 200))
    expected = REFERENCE.rotateZ(turn.numpy())
    for given in ("pt eta phi mass", "px py pz mass"):
        k = Kinematics({n: torch.from_numpy(np.asarray(EXPECTED[n]).copy()) for n in given.split()}).rotated(
            turn
        )
        np.testing.assert_allclose(k["px"].numpy(), expected.px, atol=1e-9)
        np.testing.assert_allclose(k["phi"].numpy(), expected.phi, atol=1e-12)
        np.testing.assert_allclose(k["pz"].numpy(), REFERENCE.pz, rtol=1e-12)


def test_wrapped_angles_are_the_same_angles_within_pi():
    angle = torch.linspace(-40, 40, 997, dtype=torch.float64)
    wrapped = wrap(angle)
    assert wrapped.abs().max() <= np.pi
    torch.testing.assert_close(torch.exp(1j * wrapped), torch.exp(1j * angle))


def test_directions_along_the_beam_and_vanishing_momenta_stay_finite():
    zero = torch.zeros(1, dtype=torch.float64)
    beam = Kinematics({"px": zero, "py": zero, "pz": zero + 50, "mass": zero})
    nothing = Kinematics({"px": zero, "py": zero, "pz": zero, "mass": zero})
    for k in (beam, nothing):
        for name in EXPECTED:
            assert torch.isfinite(k[name]).all(), name
    assert beam["eta"] > 100


def test_gradients_are_finite_at_zero_momentum():
    px, py = (torch.zeros(3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    k = Kinematics({"px": px, "py": py, "pz": px + 0, "mass": py + 0})
    (k["pt"] + k["phi"] + k["energy"]).sum().backward()
    assert torch.isfinite(px.grad).all()
    assert torch.isfinite(py.grad).all()
    assert float(safe_sqrt(torch.tensor(-1.0))) == 0.0


def test_what_does_not_follow_is_an_error():
    k = Kinematics({"pt": torch.ones(1), "phi": torch.ones(1)})
    with pytest.raises(KeyError, match="no longitudinal momentum"):
        k["pz"]
    with pytest.raises(KeyError, match="not a momentum coordinate"):
        k["colour"]
