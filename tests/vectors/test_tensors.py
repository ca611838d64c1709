from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
import vector

from hepgan import vectors

from .conftest import agree, as_numpy, as_torch, regular


def muons(*shape, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pt, eta, phi = (torch.rand(shape, generator=generator, dtype=dtype) for _ in range(3))
    return vectors.array(pt=10 + 50 * pt, eta=4 * eta - 2, phi=6 * phi - 3, mass=0.10566)


def test_numbers_take_shape_dtype_and_device_of_the_tensors():
    v = vectors.array(pt=torch.ones(2, 3, dtype=torch.float64), eta=0, phi=np.float32(0.5), mass=0.1)
    assert (v.shape, v.ndim, len(v), v.numel()) == ((2, 3), 2, 2, 6)
    assert {element.dtype for element in v.elements} == {torch.float64}
    assert v.dtype == torch.float64
    meta = vectors.array(px=torch.ones(2, device="meta"), py=1.0, pz=0.0, E=5.0)
    assert meta.device.type == (meta + meta).mass.device.type == meta.boostX(0.1).device.type == "meta"


def test_integers_become_floating_point_and_dtypes_are_promoted():
    assert vectors.array(x=torch.arange(3), y=torch.arange(3)).dtype == torch.get_default_dtype()
    mixed = vectors.array(x=torch.ones(2, dtype=torch.float32), y=torch.ones(2, dtype=torch.float64))
    assert [element.dtype for element in mixed.elements] == [torch.float64] * 2


def test_0d_values_do_not_widen_the_dtype():
    zero = torch.zeros((), dtype=torch.float64)
    for mass in (0.1, np.float64(0.1), np.float32(0.1), zero):
        v = vectors.array(pt=torch.ones(2, dtype=torch.float32), eta=zero, phi=0, mass=mass)
        assert v.dtype == torch.float32


def test_vectors_survive_copying_and_pickling():
    v = muons(3)
    for copied in (copy.deepcopy(v), pickle.loads(pickle.dumps(v))):
        assert type(copied) is type(v)
        assert all(map(torch.equal, copied.elements, v.elements))


def test_coordinates_of_one_shape_and_dtype_are_not_copied():
    x, y = torch.rand(4), torch.rand(4)
    v = vectors.array(px=x, py=y)
    assert v.px is x
    assert v.coordinates["py"] is y


@pytest.mark.parametrize(
    ("coords", "complaint"),
    [
        ({"pt": 1.0, "eta": 1.0}, "unrecognized combination"),
        ({"px": 1.0, "x": 1.0, "y": 2.0}, "duplicate coordinates"),
        ({"px": 1.0, "py": 1.0, "pz": 1.0, "E": 1.0, "mass": 1.0}, "not more than one"),
        ({"px": "one", "py": 1.0}, "'one'"),
        ({"px": None, "py": 1.0}, "NoneType"),
        ({"px": torch.ones(2, dtype=torch.complex64), "py": 1.0}, "complex64"),
    ],
)
def test_bad_coordinates_raise_a_type_error_that_names_them(coords, complaint):
    with pytest.raises(TypeError, match=complaint):
        vectors.array(**coords)


def test_classes_refuse_coordinates_of_another_dimension_or_flavour():
    with pytest.raises(TypeError, match="of a 2D vector"):
        vectors.VectorTorch4D(x=1.0, y=2.0)
    with pytest.raises(TypeError, match="momentum-aliases are not allowed"):
        vectors.VectorTorch2D(px=1.0, py=2.0)


def test_shapes_that_do_not_broadcast_raise_a_value_error_with_the_shapes():
    with pytest.raises(ValueError, match=r"\(2,\), \(3,\)"):
        vectors.array(px=torch.ones(2), py=torch.ones(3))


def test_indexing_is_that_of_each_coordinate():
    v, several = muons(4, 3), torch.tensor([0, 0, 3])
    for index in (1, slice(0, 2), None, ..., (slice(None), -1), (..., 0), (None, 2), [2, 0], several):
        agree(v[index].px, v.px[index].numpy())
        assert type(v[index]) is vectors.MomentumTorch4D


def test_a_mask_selects_vectors():
    v = muons(4, 3)
    mask = v.pt > 30
    assert 0 < mask.sum() < 12
    assert torch.equal(v[mask].eta, v.eta[mask])


def test_iteration_gives_the_vectors_of_the_first_dimension():
    v = muons(3, 2)
    assert [torch.equal(a.pt, b) for a, b in zip(v, v.pt, strict=True)] == [True] * 3
    with pytest.raises(TypeError, match="0-d"):
        len(v[0, 0])


def test_reshaping_is_that_of_each_coordinate():
    v = muons(2, 3)
    assert v.reshape(3, 2).shape == (3, 2)
    assert v.reshape((6,)).shape == v.flatten().shape == (6,)
    assert v.unsqueeze(0).shape == (1, 2, 3)
    assert v.unsqueeze(0).squeeze(0).shape == (2, 3)
    assert v[:, :1].expand(2, 5).shape == (2, 5)
    assert v.to_tensor().shape == (2, 3, 4)
    assert torch.equal(v.to_tensor(0)[0], v.pt)


def test_pairs_broadcast():
    v = muons(5, 3)
    table = v[:, :, None].deltaR(v[:, None, :])
    assert table.shape == (5, 3, 3)
    torch.testing.assert_close(table[:, 0, 1], v[:, 0].deltaR(v[:, 1]))
    assert (v + v[:, :1]).shape == (5, 3)


def test_devices_dtypes_and_history():
    pt = torch.full((2,), 5.0, requires_grad=True)
    v = vectors.array(pt=pt, eta=0.0, phi=0.0, mass=0.0)
    assert v.requires_grad
    assert not v.detach().requires_grad
    assert v.to(torch.float64).dtype == torch.float64
    assert v.to("meta").device.type == "meta"
    assert v.cpu().device.type == "cpu"
    assert v.clone().px.grad_fn is not None
    assert v.clone().coordinates["pt"].data_ptr() != pt.data_ptr()


def test_the_sum_is_the_four_momentum_sum():
    v = muons(4, 3)
    expected = v[:, 0] + v[:, 1] + v[:, 2]
    for total in (v.sum(1), v.sum(dim=-1), v.sum(1, keepdim=True).squeeze(1)):
        torch.testing.assert_close(total.mass, expected.mass)
        assert total.is_cartesian
    torch.testing.assert_close(v.sum().energy, v.energy.sum())
    torch.testing.assert_close(sum(v).px, v.px.sum(0))
    assert v[0].sum().shape == ()


def test_masked_vectors_add_nothing():
    v = muons(4, 3)
    mask = torch.tensor([False, False, True])
    torch.testing.assert_close(v.masked_fill(mask, 0.0).sum(1).mass, (v[:, 0] + v[:, 1]).mass)


def test_stack_and_concatenate_join_vectors():
    a, b = muons(4), muons(4, seed=1)
    assert vectors.stack([a, b], dim=1).shape == (4, 2)
    joined = vectors.concatenate([a, b.to_pxpypzenergy()])
    assert joined.is_cartesian
    torch.testing.assert_close(joined[4:].pt, b.pt)
    torch.testing.assert_close(joined[:4].px, a.px)
    assert list(vectors.concatenate([a, b]).coordinates) == ["pt", "phi", "eta", "mass"]
    generic = vectors.array(x=torch.ones(4), y=0.0, z=0.0, t=1.0)
    assert type(vectors.concatenate([generic, a])) is vectors.MomentumTorch4D


def test_where_selects_between_vectors():
    a, b = muons(4), muons(4, seed=1)
    condition = torch.tensor([True, False, True, False])
    for other in (b, b.to_pxpypzenergy()):
        chosen = vectors.where(condition, a, other)
        torch.testing.assert_close(chosen.px, torch.where(condition, a.px, b.px))


@pytest.mark.parametrize("join", [vectors.stack, vectors.concatenate])
def test_joining_complains_about_what_it_cannot_join(join):
    with pytest.raises(ValueError, match="at least one"):
        join([])
    with pytest.raises(TypeError, match="Tensor"):
        join([muons(2), torch.ones(2)])
    with pytest.raises(TypeError, match="do not have the same dimension"):
        join([muons(2), muons(2).to_3D()])


def test_factors_may_be_tensors_arrays_and_numbers_on_either_side():
    v = muons(3)
    factor = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    for scaled in (v * factor, factor * v, v * factor.numpy(), factor.numpy() * v, v / (1 / factor)):
        torch.testing.assert_close(scaled.px, v.px * factor)
    torch.testing.assert_close((np.float64(2.0) * v).pz, 2 * v.pz)


def test_senseless_operands_raise_a_type_error():
    v = muons(2)
    operations = [lambda: v + 1, lambda: 1 - v, lambda: v * v, lambda: v + "a", lambda: v @ 2, lambda: 1 / v]
    for operation in operations:
        with pytest.raises(TypeError):
            operation()
    assert (v == 1) is False
    with pytest.raises(ValueError, match="ambiguous"):
        bool(v)
    with pytest.raises(TypeError, match="unhashable"):
        hash(v)


def test_vectors_of_different_dimension_raise_vectors_own_error():
    v = muons(2)
    with pytest.raises(TypeError, match="do not have the same dimension"):
        v + v.to_3D()
    with pytest.raises(TypeError, match="not a 3D or a 4D vector"):
        v.deltaR(v.to_2D())
    with pytest.raises(TypeError, match="not a 4D vector"):
        v.boost_p4(v.to_3D())
    with pytest.raises(TypeError, match="not a 3D vector"):
        v.boost_beta3(v)
    with pytest.raises(TypeError, match="3D vector"):
        v.boost(v.to_2D())
    with pytest.raises(TypeError, match="3D vectors"):
        v.cross(v)
    with pytest.raises(TypeError, match="xor"):
        v.boostX()
    with pytest.raises(TypeError, match="no signature"):
        v.rotate_euler(0.1, 0.2, 0.3, "abc")


def test_vectors_of_the_object_and_numpy_backends_mix_in_on_the_right():
    reference = as_numpy(regular(4, 1), ("pt", "phi", "eta", "mass"))
    v = as_torch(reference)
    other = as_numpy(regular(4, 2), ("px", "py", "pz", "E"))
    beam = vector.obj(px=0.0, py=0.0, pz=5.0, E=6.0)
    agree(v + other, reference + other)
    agree(v.deltaR(other), reference.deltaR(other))
    agree(v.boostCM_of(other), reference.boostCM_of(other))
    agree(v + beam, reference + beam)
    agree(v.boost(beam), reference.boost(beam))
    agree(v @ beam, reference @ beam)
    assert not (v == other).any()


def test_a_numpy_vector_on_the_left_gives_a_torch_vector():
    reference, other = (as_numpy(regular(4, seed), ("px", "py", "pz", "E")) for seed in (1, 2))
    agree(other + as_torch(reference), other + reference)
    agree(other - as_torch(reference), other - reference)
    agree(other @ as_torch(reference), other @ reference)


def test_an_object_vector_on_the_left_raises_a_type_error():
    with pytest.raises(TypeError):
        vector.obj(px=0.0, py=0.0, pz=5.0, E=6.0) + muons(2)
    with pytest.raises(TypeError):
        vector.obj(px=0.0, py=0.0, pz=5.0, E=6.0).deltaR(muons(2))


def test_awkward_vectors_ask_to_be_converted():
    with pytest.raises(TypeError, match="from_awkward"):
        muons(2).deltaR(vectors.to_awkward(muons(2)))


@pytest.mark.parametrize(
    ("shape", "dtype"), [((), torch.float64), ((3,), torch.float32), ((2, 3), torch.float64)]
)
def test_numpy_round_trip_is_exact(shape, dtype):
    for v in (muons(*shape, dtype=dtype), muons(*shape, dtype=dtype).to_xyz(), muons(*shape).to_2D()):
        back = vectors.from_numpy(vectors.to_numpy(v))
        assert type(back) is type(v)
        assert list(back.coordinates) == list(v.coordinates)
        assert all(map(torch.equal, back.elements, v.elements))


def test_numpy_conversion_detaches_and_converts():
    v = vectors.array(x=torch.ones(2, requires_grad=True), y=0.0)
    assert isinstance(vectors.to_numpy(v), vector.VectorNumpy2D)
    assert vectors.to_numpy(v.to(torch.bfloat16)).x.dtype == np.float32
    assert vectors.from_numpy(vectors.to_numpy(v), dtype=torch.float64).dtype == torch.float64
    assert vectors.from_numpy(vector.obj(px=1.0, py=2.0)).py.item() == 2.0
    with pytest.raises(TypeError, match="not ndarray"):
        vectors.from_numpy(np.ones(3))
    with pytest.raises(TypeError, match="not ndarray"):
        vectors.to_numpy(np.ones(3))


def test_awkward_round_trip_is_exact():
    for v in (muons(3), muons(2, 3), muons(2, 3).to_xyz(), vectors.array(x=torch.ones(2), y=1.0)):
        array = vectors.to_awkward(v)
        back = vectors.from_awkward(array)
        assert type(back) is type(v)
        assert all(map(torch.equal, back.elements, v.elements))
        agree(v.to_2D().phi, np.asarray(array.phi), 1e-6)
    with pytest.raises(TypeError, match="0-d"):
        vectors.to_awkward(muons())


def test_jagged_arrays_are_refused_by_field():
    jagged = vector.zip({"pt": [[1.0, 2.0], []], "phi": [[0.0, 1.0], []]})
    with pytest.raises(ValueError, match="'pt' is jagged"):
        vectors.from_awkward(jagged)


def test_other_fields_of_awkward_records_are_left_out():
    array = vector.zip({"pt": [1.0, 2.0], "eta": [0.0, 1.0], "phi": [0.0, 1.0], "mass": [0, 1], "q": [1, -1]})
    v = vectors.from_awkward(array, dtype=torch.float32)
    assert list(v.coordinates) == ["pt", "phi", "eta", "mass"]
    assert v.dtype == torch.float32


def test_repr_shows_values_of_few_vectors_and_the_shape_of_many():
    assert "pt=[5.0]" in repr(vectors.array(pt=torch.tensor([5.0]), phi=0.0))
    assert "shape=(100,)" in repr(muons(100))
    assert "dtype=torch.float64" in repr(muons(100))
