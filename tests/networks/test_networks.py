from __future__ import annotations

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from hepgan.networks import (
    MLP,
    Activation,
    FourierTime,
    MaskedMLP,
    MLPConfig,
    NetworkConfig,
    ResidualMLP,
    build_network,
)

NETWORKS = [
    {"kind": "mlp", "widths": (16, 8)},
    {"kind": "mlp", "widths": (16, 8), "activation": "silu", "layer_norm": True},
    {"kind": "mlp", "widths": ()},
    {"kind": "residual", "width": 16, "blocks": 2},
    {"kind": "residual", "width": 16, "blocks": 2, "activation": "leaky_relu", "layer_norm": True},
    {"kind": "residual", "width": 16, "blocks": 0},
]
CONFIG = TypeAdapter(NetworkConfig)


@pytest.mark.parametrize("settings", NETWORKS)
@pytest.mark.parametrize(("context", "time"), [(0, 0), (3, 0), (0, 5), (3, 5)])
def test_output_depends_on_x_context_time_and_every_parameter(settings, context, time):
    torch.manual_seed(1)
    network = build_network(CONFIG.validate_python(settings), 4, 2, context=context, time=time)
    inputs = [torch.randn(7, n, requires_grad=True) for n in (4, context, time) if n]
    c = inputs[1] if context else None
    t = inputs[-1] if time else None
    output = network(inputs[0], c, t)
    assert output.shape == (7, 2)
    output.square().sum().backward()
    for tensor in (*inputs, *network.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.abs().sum() > 0


@pytest.mark.parametrize("settings", NETWORKS)
@pytest.mark.parametrize("context", [0, 3])
def test_one_time_for_all_events_equals_the_same_time_for_each(settings, context):
    torch.manual_seed(2)
    network = build_network(CONFIG.validate_python(settings), 4, 2, context=context, time=5)
    x, c, t = torch.randn(6, 4), torch.randn(6, context) if context else None, torch.randn(1, 5)
    with torch.no_grad():
        bound = network.bind(c)
        torch.testing.assert_close(bound(x, t), network(x, c, t.expand(6, -1)))
        torch.testing.assert_close(bound(2 * x, -t), network(2 * x, c, -t.expand(6, -1)))


@pytest.mark.parametrize("settings", NETWORKS)
def test_inference_without_gradients_gives_the_same_numbers_and_leaves_inputs_alone(settings):
    torch.manual_seed(3)
    network = build_network(CONFIG.validate_python(settings), 4, 2, context=3)
    x, c = torch.randn(6, 4), torch.randn(6, 3)
    kept = x.clone(), c.clone()
    expected = network(x, c).detach()
    with torch.no_grad():
        torch.testing.assert_close(network(x, c), expected)
    assert torch.equal(x, kept[0])
    assert torch.equal(c, kept[1])


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "silu", "gelu", "elu", "tanh"])
def test_activations_have_right_first_and_second_derivatives(name):
    x = torch.linspace(-2.0, 2.1, 12, dtype=torch.float64, requires_grad=True)
    activation = Activation(name)
    assert torch.autograd.gradcheck(lambda x: activation(x * 1.0), x)
    assert torch.autograd.gradgradcheck(lambda x: activation(x * 1.0), x)


def test_dropout_acts_in_training_only():
    torch.manual_seed(4)
    network = MLP((3, 64, 1), dropout=0.5)
    x = torch.randn(5, 3)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


def test_the_mlp_is_the_composition_of_its_layers():
    torch.manual_seed(5)
    network = MLP((3, 4, 2), slope=0.2)
    first, last = network.layers[0], network.layers[-1]
    x = torch.randn(9, 3)
    hidden = x @ first.weight.T + first.bias
    hidden = torch.where(hidden > 0, hidden, 0.2 * hidden)
    torch.testing.assert_close(network(x), hidden @ last.weight.T + last.bias)


def test_fourier_features_are_cosines_and_sines():
    t = torch.tensor([0.0, 0.25, 1.0])
    features = FourierTime(2)(t)
    assert features.shape == (3, 5)
    expected = [2 * t - 1, (torch.pi * t).cos(), (2 * torch.pi * t).cos(), (torch.pi * t).sin()]
    torch.testing.assert_close(features[:, :4], torch.stack(expected, dim=1))


def test_impossible_networks_are_refused():
    with pytest.raises(ValueError, match="two or more sizes"):
        MLP((3,))
    with pytest.raises(ValueError, match="unknown activation 'sigmoid'"):
        Activation("sigmoid")
    with pytest.raises(ValueError, match="context of 3"):
        ResidualMLP(4, 2, context=3)(torch.zeros(1, 4))
    with pytest.raises(ValidationError):
        CONFIG.validate_python({"kind": "mlp", "widths": (0,)})


@pytest.mark.parametrize("spectral_norm", [False, True])
@pytest.mark.parametrize("context", [0, 2])
def test_outputs_of_masked_networks_depend_on_the_inputs_before_them_and_on_the_context(
    context, spectral_norm
):
    torch.manual_seed(4)
    config = MLPConfig(widths=(24, 24), activation="tanh", spectral_norm=spectral_norm)
    network = MaskedMLP(config, inputs=(0, 1, 2, 1), outputs=(2, 0, 1), context=context).eval()
    x, c = torch.randn(1, 4), torch.randn(1, context)
    slopes = torch.autograd.functional.jacobian(lambda v, w: network(v, w)[0], (x, c))
    depends = slopes[0][:, 0] != 0
    assert depends.tolist() == [[True, True, False, True], [False] * 4, [True, False, False, False]]
    assert bool((slopes[1] != 0).all())


def test_masked_networks_refuse_to_normalise_their_layers():
    with pytest.raises(ValueError, match="see each other"):
        MaskedMLP(MLPConfig(layer_norm=True), inputs=(0, 1), outputs=(0, 1))


def test_spectral_normalisation_bounds_hidden_layers_and_adds_no_parameters():
    torch.manual_seed(5)
    network = build_network(MLPConfig(widths=(16, 16), spectral_norm=True), 4, 2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(20.0)
        for _ in range(50):
            network(torch.randn(3, 4))
    largest = [float(torch.linalg.matrix_norm(network.layers[k].weight.detach(), 2)) for k in (0, 2, 4)]
    assert largest[:2] == pytest.approx([1.0, 1.0], rel=1e-2)
    assert largest[2] > 2.0
    plain = build_network(MLPConfig(widths=(16, 16)), 4, 2)
    assert sum(p.numel() for p in network.parameters()) == sum(p.numel() for p in plain.parameters())
    assert all("parametrizations" not in name for name in plain.state_dict())
