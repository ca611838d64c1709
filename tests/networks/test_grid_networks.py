"""Networks of images."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional

from hepgan.errors import RecipeError
from hepgan.features.space import Grid
from hepgan.networks import GridNetwork, GridNetworkConfig, build_network
from hepgan.networks.convolution import Convolution, LocallyConnected, Pool, Upsample

CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
SHAPES = [((11,), (5,), (1,)), ((9, 7), (3, 4), (2, 1)), ((5, 4, 6), (3, 2, 3), (1, 2, 1))]


@pytest.fixture(autouse=True)
def _double():
    torch.manual_seed(3)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def network(layers, *, seen=None, made=None, inputs=None, outputs=None, context=0, time=0, **options):
    config = GridNetworkConfig.model_validate({"layers": layers, **options})
    inputs = seen.cells if inputs is None else inputs
    outputs = made.cells if outputs is None else outputs
    return build_network(config, inputs, outputs, context=context, time=time, seen=seen, made=made)


def windows(x, layer):
    """Each window of an image by slices of it (N, out ..., inputs, kernel ...)."""
    axes = len(layer.shape)
    indices = []
    for n, k, s, (a, _), out, closed in zip(
        layer.shape, layer.kernel, layer.stride, layer.ends, layer.out_shape, layer.closed, strict=True
    ):
        indices.append([[(o * s + i - a, n, closed) for i in range(k)] for o in range(out)])
    result = torch.zeros(len(x), *layer.out_shape, x.shape[1], *layer.kernel)
    for out in itertools.product(*(range(o) for o in layer.out_shape)):
        for cell in itertools.product(*(range(k) for k in layer.kernel)):
            where = []
            for axis in range(axes):
                place, n, closed = indices[axis][out[axis]][cell[axis]]
                where.append(place % n if closed else place if 0 <= place < n else None)
            if None not in where:
                result[(slice(None), *out, slice(None), *cell)] = x[(slice(None), slice(None), *where)]
    return result


@pytest.mark.parametrize(("shape", "kernel", "stride"), SHAPES)
@pytest.mark.parametrize("pad", [None, 1, 0])
def test_convolutions_and_locally_connected_layers_are_sums_over_windows(shape, kernel, stride, pad):
    axes = len(shape)
    pads = None if pad is None else (pad,) * axes
    closed = (False,) * axes
    x = torch.randn(4, 3, *shape)
    conv = Convolution(3, 2, shape, kernel=kernel, stride=stride, pad=pads, closed=closed)
    torch.nn.init.normal_(conv.bias)
    seen = windows(x, conv).flatten(1, axes).flatten(2)
    expected = (seen @ conv.weight.flatten(1).t() + conv.bias).transpose(1, 2)
    torch.testing.assert_close(conv(x), expected.reshape(4, 2, *conv.out_shape))
    local = LocallyConnected(3, 2, shape, kernel=kernel, stride=stride, pad=pads, closed=closed)
    torch.nn.init.normal_(local.bias)
    expected = torch.einsum("nwf,wof->now", seen, local.weight) + local.bias[:, :, 0].t()
    torch.testing.assert_close(local(x), expected.reshape(4, 2, *local.out_shape))
    # With the same weights everywhere, the one is the other, and what torch has.
    with torch.no_grad():
        local.weight.copy_(conv.weight.flatten(1))
        local.bias.copy_(conv.bias[:, None])
    torch.testing.assert_close(local(x), conv(x))
    if pad is not None:
        torch.testing.assert_close(
            conv(x), CONVOLUTIONS[axes](x, conv.weight, conv.bias, stride=stride, padding=pad)
        )


@pytest.mark.parametrize("kind", [Convolution, LocallyConnected])
@pytest.mark.parametrize(("shape", "kernel", "_stride"), SHAPES)
def test_gradients_are_those_of_differences(kind, shape, kernel, _stride):
    layer = kind(2, 2, shape, kernel=kernel, stride=(1,) * len(shape), closed=(True,) * len(shape))
    x = torch.randn(2, 2, *shape, requires_grad=True)
    rows = torch.randperm(layer.weight.numel())[:5]

    def loss(x):
        return (layer(x) ** 3).sum()

    assert torch.autograd.gradcheck(loss, x, fast_mode=True)
    assert torch.autograd.gradgradcheck(loss, x, fast_mode=True)
    gradient = torch.autograd.grad(loss(x), layer.weight)[0].flatten()
    flat = layer.weight.data.view(-1)
    for row in rows.tolist():
        ends = []
        for step in (1e-5, -1e-5):
            flat[row] += step
            ends.append(loss(x).item())
            flat[row] -= step
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(float(gradient[row]), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("kernel", [3, 4, 5])
def test_a_closed_axis_has_no_ends(kernel):
    x = torch.randn(3, 2, 8, 6)
    closed = (True, False)
    conv = Convolution(2, 4, (8, 6), kernel=(kernel, 3), stride=(1, 1), closed=closed)
    turned = conv(x.roll(3, dims=2))
    torch.testing.assert_close(turned, conv(x).roll(3, dims=2))
    assert not torch.allclose(conv(x.roll(3, dims=3)), conv(x).roll(3, dims=3))
    # A layer without shared weights sees across the cut, too.
    local = LocallyConnected(2, 4, (8, 6), kernel=(kernel, 3), stride=(1, 1), closed=closed)
    with torch.no_grad():
        local.weight.copy_(conv.weight.flatten(1))
    torch.testing.assert_close(local(x), conv(x))


def test_a_whole_network_of_a_closed_axis_turns_with_the_image():
    seen = Grid((8, 6), channels=2, closed=(True, False))
    layers = [{"conv": 4, "kernel": 3}, {"blocks": 2, "kernel": [3, 3]}, {"conv": 2, "kernel": 5}]
    net = network(layers, seen=seen, made=seen, context=2)
    x, context = torch.randn(3, 2, 8, 6), torch.randn(3, 2)
    found = net(x.flatten(1), context).reshape(3, 2, 8, 6)
    turned = net(x.roll(3, dims=2).flatten(1), context).reshape(3, 2, 8, 6)
    torch.testing.assert_close(turned, found.roll(3, dims=2))


def test_cells_are_repeated_and_averaged_along_each_axis():
    x = torch.arange(12.0).reshape(1, 1, 3, 4)
    larger = Upsample((3, 4), (2, 3))
    assert larger.out_shape == (6, 12)
    torch.testing.assert_close(larger(x)[0, 0, 3], x[0, 0, 1].repeat_interleave(3))
    smaller = Pool((3, 4), (2, 2), (False, False))
    assert smaller.out_shape == (1, 2)
    torch.testing.assert_close(smaller(x), torch.tensor([[[[2.5, 4.5]]]]))


LAGAN = [
    {"dense": [128, 7, 7], "activation": "none", "norm": "none"},
    {"conv": 64, "kernel": 5},
    {"upsample": 2},
    {"local": 6, "kernel": 5},
    {"upsample": 2},
    {"local": 6, "kernel": 3, "pad": 0, "norm": "none"},
    {"local": 1, "kernel": 2, "pad": 0, "bias": False},
]


def test_layers_give_the_shapes_that_are_published():
    net = network(LAGAN, inputs=200, made=Grid((25, 25)), norm="batch", rectified=True)
    shapes = [(s.state.channels, *s.state.shape) for s in net.steps]
    assert shapes == [
        (128, 7, 7), (64, 7, 7), (64, 14, 14), (6, 14, 14), (6, 28, 28), (6, 26, 26), (1, 25, 25),
    ]  # fmt: skip
    local = 14 * 14 * 6 * (64 * 25 + 1) + 26 * 26 * 6 * (6 * 9 + 1) + 25 * 25 * 6 * 4
    shared = 200 * 128 * 49 + 128 * 49 + 64 * (128 * 25 + 1) + 2 * 64 + 2 * 6
    assert sum(p.numel() for p in net.parameters()) == local + shared
    x = net(torch.randn(5, 200))
    assert x.shape == (5, 625)
    assert bool((x >= 0).all())
    assert 0 < float((x == 0).double().mean()) < 1


def test_what_is_not_in_the_image_enters_before_the_first_dense_layer():
    seen = Grid((6,), channels=1, first=1)
    net = network(
        [{"conv": 3}, {"dense": 5}, {"dense": 4}], seen=seen, inputs=9, outputs=2, context=2, time=3
    )
    x, context, time = torch.randn(4, 9), torch.randn(4, 2), torch.randn(1, 3)
    found = net(x, context, time)
    assert found.shape == (4, 2)
    changes = [(x + torch.eye(9)[k], context, time) for k in (0, 3, 8)]
    for change in (*changes, (x, context + 1, time), (x, context, time + 1)):
        assert not torch.allclose(net(*change), found)
    torch.testing.assert_close(net.bind(context)(x, time.expand(4, -1)), found)


def test_outputs_beside_an_image_are_at_their_places():
    made = Grid((5, 4), channels=2, first=2)
    net = network([{"conv": 3}, {"conv": 2}], seen=made, made=made, inputs=45, outputs=45, context=1)
    x, context = torch.randn(4, 45), torch.randn(4, 1)
    found = net(x, context)
    assert found.shape == (4, 45)
    known = torch.cat((x[:, :2], x[:, 42:], context), 1)
    before = net.steps[0](net._entered(x)[0], known)
    expected = net.beside(torch.cat((before.flatten(2).mean(2), known), 1))
    torch.testing.assert_close(torch.cat((found[:, :2], found[:, 42:]), 1), expected)
    net.beside = None
    torch.testing.assert_close(found[:, 2:42], net(x, context))


def test_every_parameter_gets_a_gradient():
    grid = Grid((6, 5), channels=2, first=1)
    layers = [
        {"conv": 4, "norm": "event"}, {"blocks": 1, "norm": "batch"}, {"local": 3, "dropout": 0.1},
        {"pool": [2, 1]}, {"upsample": [2, 1]}, {"conv": 2, "kernel": [3, 1]},
    ]  # fmt: skip
    net = network(layers, seen=grid, made=grid, inputs=63, outputs=63, context=2, time=3)
    net(torch.randn(7, 63), torch.randn(7, 2), torch.randn(7, 3)).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert float(parameter.grad.abs().sum()) > 0, name


def test_batch_norm_uses_running_means_outside_training():
    net = network([{"conv": 3, "norm": "batch"}, {"dense": 2}], seen=Grid((6,)), outputs=1)
    assert net.whole_batch
    x = 3 + torch.randn(200, 6)
    assert not torch.allclose(net(x)[:50], net(x[:50]))
    whole = net(x)
    net.eval()
    torch.testing.assert_close(net(x)[:50], net(x[:50]))
    torch.testing.assert_close(net(x), whole, rtol=0.05, atol=0.05)


def refused(message, layers, **options):
    with pytest.raises(RecipeError, match=message):
        network(layers, **options)


def test_layers_that_do_not_fit_are_refused_with_the_reason():
    image, wave = Grid((6, 5)), Grid((8,), closed=(True,))
    refused("begins with an image, and there is none", [{"conv": 3}], inputs=5, outputs=2)
    refused(r"layer 2 \(conv\): there is no image any more", [{"dense": 3}, {"conv": 3}], inputs=5, outputs=2)
    refused(
        r"end with 3 x 6 x 5 .* and the image that is learned has 1 x 6 x 5",
        [{"conv": 3}],
        seen=image,
        made=image,
    )
    refused(
        r"layer 1 \(conv\): \[3\] has 1 numbers for 2 axes",
        [{"conv": 1, "kernel": [3]}],
        seen=image,
        made=image,
    )
    refused(
        "a window of 7 x 7 cells does not fit", [{"conv": 1, "kernel": 7, "pad": 0}], seen=image, made=image
    )
    refused("leave pad out", [{"conv": 1, "pad": 1}], seen=wave, made=wave)
    refused("take a divisor of 8", [{"pool": 3}], seen=wave, outputs=1)
    refused("is no image of 2 axes", [{"dense": [3, 4]}], inputs=4, made=image)
    refused(
        "rectified is for networks that make an image", [{"dense": 3}], inputs=4, outputs=1, rectified=True
    )


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"conv": 3, "pool": 2}, "not conv and pool"),
        ({"kernel": 3}, "not none of these"),
        ({"pool": 2, "kernel": 5}, "a layer pool has no kernel"),
        ({"dense": 2, "stride": 2}, "a layer dense has no stride"),
    ],
)
def test_a_layer_is_one_of_those_that_there_are(layer, message):
    with pytest.raises(ValueError, match=message):
        GridNetworkConfig.model_validate({"layers": [layer]})


def test_the_size_of_numbers_is_kept_through_deep_networks():
    grid = Grid((12, 12))
    layers = [{"conv": 16} for _ in range(8)] + [{"conv": 1}]
    net = network(layers, seen=grid, made=grid, activation="relu")
    assert isinstance(net, GridNetwork)
    assert 0.3 < net(torch.randn(50, 144)).std().item() < 3.0


def test_a_network_is_the_same_after_its_document_is_read():
    config = GridNetworkConfig.model_validate({"layers": LAGAN, "norm": "batch"})
    assert GridNetworkConfig.model_validate(config.model_dump(mode="json")) == config
