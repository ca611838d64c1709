from __future__ import annotations

import math

import pytest
import torch

from hepgan.errors import RecipeError
from hepgan.features.space import FeatureBatch, FeatureSpace
from hepgan.learners import new_learner
from hepgan.models import CriticConfig, FlowMatchingConfig, StudentConfig, build_model
from hepgan.networks import MLPConfig, ResidualConfig
from hepgan.objectives import total
from hepgan.training import Trainer, TrainingConfig

SMALL = ResidualConfig(width=16, blocks=1)
SETTINGS = {FlowMatchingConfig: {"network": SMALL, "steps": 4}, StudentConfig: {"network": SMALL}}


def build(kind, size=3, context=2, periodic=(), **settings):
    torch.manual_seed(1)
    config = kind(**{**SETTINGS[kind], **settings})
    space = FeatureSpace(size, context, periodic)
    if kind is FlowMatchingConfig:
        return build_model(config, space)
    return new_learner(config, space, lambda f: f)


def batch(x, context, mask=None):
    n = len(x)
    none = torch.zeros(n, 0)
    return FeatureBatch(x, mask, none.long(), none, context, torch.ones(n))


def noise(n=512, size=3, context=2, seed=0):
    rng = torch.Generator().manual_seed(seed)
    mask = torch.rand(n, size, generator=rng) > 0.3
    return torch.randn(n, size, generator=rng), torch.randn(n, context, generator=rng), mask


def turning(angle):
    """A teacher that adds 0.5 to the first of two features, and an angle to the second, which is one."""
    teacher = build(FlowMatchingConfig, size=2, context=0, periodic=(1,))
    with torch.no_grad():
        teacher.velocity.leave.weight.zero_()
        teacher.velocity.leave.bias.copy_(torch.tensor([0.5, angle]))
    return teacher


def taught(teacher, steps, training_steps=400, *, wrapped=False, **settings):
    """A student of a teacher without context, whose angles may be known on the circle alone."""
    z = torch.randn(4096, teacher.noise_size, generator=torch.Generator().manual_seed(3))
    none = torch.zeros(len(z), 0)
    student = build(
        StudentConfig,
        size=teacher.noise_size,
        context=0,
        periodic=teacher.circles.periodic,
        steps=steps,
        **settings,
    )
    points = teacher.path(z, none, None, steps)
    if wrapped:
        points = torch.stack([teacher.circles.wrapped(p) for p in points.unbind(1)], 1)
    paths = batch(points.flatten(1), none)
    Trainer(student, paths, TrainingConfig(steps=training_steps, batch_size=256), seed=1).run()
    return student


@pytest.mark.parametrize(("pieces", "periodic"), [(1, (1,)), (3, ()), (4, (1,))])
def test_a_path_leads_from_the_noise_to_what_the_teacher_makes_of_it(pieces, periodic):
    teacher = build(FlowMatchingConfig, periodic=periodic)
    z, context, mask = noise()
    points = teacher.path(z, context, mask, pieces)
    assert points.shape == (512, pieces + 1, 3)
    assert torch.equal(points[:, 0], teacher.circles.start(z).masked_fill(~mask, 0.0))
    made = teacher.sample(z, context, mask)
    torch.testing.assert_close(teacher.circles.wrapped(points[:, -1]), made, rtol=0, atol=2e-6)
    assert (points.transpose(1, 2)[~mask] == 0).all()


def test_a_path_has_no_more_pieces_than_steps():
    z, context, mask = noise()
    with pytest.raises(ValueError, match="4 steps has no 5 pieces"):
        build(FlowMatchingConfig).path(z, context, mask, 5)


@pytest.mark.parametrize(("steps", "wrapped"), [(1, False), (1, True), (2, False)])
def test_a_student_turns_angles_as_its_teacher_does_through_the_cut_too(steps, wrapped):
    student = taught(turning(2.0), steps, wrapped=wrapped)
    z = torch.randn(2000, 2, generator=torch.Generator().manual_seed(9))
    start = math.pi * torch.erf(z[:, 1] / math.sqrt(2))
    with torch.no_grad():
        made = student.model.sample(z, torch.zeros(2000, 0), None)
    torch.testing.assert_close(made[:, 0], z[:, 0] + 0.5, rtol=0, atol=0.2)
    expected = torch.remainder(start + 2.0 + math.pi, 2 * math.pi) - math.pi
    assert (made[:, 1].abs() <= math.pi + 1e-6).all()
    away = torch.remainder(made[:, 1] - expected + math.pi, 2 * math.pi) - math.pi
    assert away.abs().max() < 0.2
    assert away.abs().mean() < 0.02
    assert (expected < start).any()  # some events do go through the cut


def test_the_loss_is_the_squared_error_of_one_step():
    student = build(StudentConfig, context=0)
    rng = torch.Generator().manual_seed(0)
    start, end = torch.randn(64, 3, generator=rng), torch.randn(64, 3, generator=rng)
    none = torch.zeros(64, 0)
    loss = total(student.loss(student.phase("student"), batch(torch.cat([start, end], 1), none), rng))
    expected = (student.model.sample(start, none, None) - end).square().mean()
    torch.testing.assert_close(loss.float(), expected)


@pytest.mark.parametrize("steps", [1, 2])
def test_gradients_reach_every_parameter(steps):
    student = build(StudentConfig, steps=steps)
    z, context, mask = noise()
    paths = build(FlowMatchingConfig).path(z, context, mask, steps)
    terms = student.loss(
        student.phase("student"), batch(paths.flatten(1), context, mask), torch.Generator().manual_seed(1)
    )
    total(terms).backward()
    for name, parameter in student.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_critics_and_penalties_see_the_ends_of_the_paths():
    teacher = turning(0.0)
    critic = CriticConfig(network=MLPConfig(widths=(8,)), weight=0.1)
    student = taught(teacher, 1, training_steps=3, critics=(critic,))
    seen = []
    student.critics[0].network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    z = torch.randn(64, 2)
    none = torch.zeros(64, 0)
    paths = batch(teacher.path(z, none, None, 1).flatten(1), none)
    student.loss(student.phase("critic"), paths, torch.Generator().manual_seed(1))
    assert torch.equal(seen[0][:64], teacher.sample(z, none, None))


def test_a_student_has_no_likelihood():
    student = build(StudentConfig)
    assert not student.model.has_likelihood


def test_a_student_does_not_learn_from_events():
    z, context, mask = noise()
    with pytest.raises(RecipeError, match="hepgan distill"):
        Trainer(build(StudentConfig), batch(z, context, mask), TrainingConfig(steps=1))


def test_critics_of_latent_space_are_refused():
    with pytest.raises(ValueError, match="a student has no likelihood"):
        StudentConfig(critics=(CriticConfig(latent=True),))
