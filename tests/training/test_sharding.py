"""A batch over eight devices equals one big batch: pmap, vmap with a name, and shard_map."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from interp_cnn import losses, metrics

AXIS = "devices"
DEVICES, EACH = 8, 2
SHAPE = (DEVICES * EACH, 3, 4, 2)
MAPPINGS = ("pmap", "vmap", "shard_map", "shard_map unchecked")

EVERYTHING = np.ones(SHAPE[0], bool)
# Padding as in a last batch and worse: devices 2 and 5 to 7 have nothing, device 0 a half.
UNEVEN = np.array([1, 0, 1, 1, 0, 0, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0], bool)


def mapped(function, mapping):
    """`function(shared, share)` over the devices, `share` a tree of [batch, ...] arrays.

    What it returns must be the same on all devices, and has no device axis.
    """
    if mapping.startswith("shard_map"):
        mesh = Mesh(np.array(jax.devices()), (AXIS,))
        return jax.jit(
            jax.shard_map(
                function,
                mesh=mesh,
                in_specs=(PartitionSpec(), PartitionSpec(AXIS)),
                out_specs=PartitionSpec(),
                check_vma=mapping == "shard_map",
            )
        )

    if mapping == "pmap":
        over_devices = jax.pmap(function, axis_name=AXIS, in_axes=(None, 0))
    else:
        over_devices = jax.jit(jax.vmap(function, axis_name=AXIS, in_axes=(None, 0)))

    def each_device(shared, batch):
        share = jax.tree.map(lambda x: x.reshape(DEVICES, EACH, *x.shape[1:]), batch)
        results = over_devices(shared, share)
        # The mean stands for any of them only if all agree.
        assert_equal_rows(results)
        return jax.tree.map(lambda x: x.mean(axis=0), results)

    return each_device


def assert_equal_rows(tree):
    for values in jax.tree.leaves(tree):
        if not isinstance(values, jax.core.Tracer):
            np.testing.assert_allclose(values, np.broadcast_to(values[0], values.shape), rtol=1e-6)


def assert_close(actual, expected):
    """Equal within 1e-5 of the largest entry, which is what a relative error of a sum means."""
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * max(np.abs(b).max(), 1e-6))


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    images = rng.standard_normal((*SHAPE[:3], 3)).astype(np.float32)
    return {"images": images, "target": rng.random((SHAPE[0], SHAPE[-1])) < 0.6}


@pytest.fixture(scope="module")
def weights():
    return np.random.default_rng(1).standard_normal((3, SHAPE[-1])).astype(np.float32) * 15


def maps_of(weights, share):
    x = jnp.einsum("bhwc,cf->bhwf", share["images"], weights, precision="highest")
    return jax.nn.relu(x)


def loss_of(x, share, kind, axis_name):
    """Unequal weights of the filters, so that a mix-up of filters shows."""
    target = share["target"] if kind == "paper" else None
    value = losses.filter_loss(
        x, gradient=kind, target=target, where=share.get("used"), axis_name=axis_name
    )
    return value @ jnp.array([1.0, 3.0]), value


@functools.lru_cache
def one_big_batch(kind):
    """Value, gradient of the maps and gradient of the weights, all of one device."""

    def compute(weights, share):
        def of_weights(weights):
            return loss_of(maps_of(weights, share), share, kind, None)

        def of_maps(x):
            return loss_of(x, share, kind, None)[0]

        (_, value), of_shared = jax.value_and_grad(of_weights, has_aux=True)(weights)
        return value, jax.grad(of_maps)(maps_of(weights, share)), of_shared

    return jax.jit(compute)


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("kind", ["exact", "paper"])
def test_gradient_outside_the_mapped_function(mapping, kind, batch, weights):
    def device_loss(shared, share):
        return loss_of(share["x"], share, kind, AXIS)

    over_devices = mapped(device_loss, mapping)

    def total(x, used):
        return over_devices(None, {"x": x, "target": batch["target"], "used": used})

    value_and_grad = jax.value_and_grad(total, has_aux=True)
    x = maps_of(weights, batch)
    for used in (EVERYTHING, UNEVEN):
        (_, value), gradient = value_and_grad(x, used)
        expected_value, expected, _ = one_big_batch(kind)(weights, batch | {"used": used})
        assert_close(value, expected_value)
        assert_close(gradient, expected)
        assert not gradient[~used].any()


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("kind", ["exact", "paper"])
def test_gradient_inside_the_mapped_function(mapping, kind, batch, weights):
    def step(weights, share):
        def total(weights):
            loss, value = loss_of(maps_of(weights, share), share, kind, AXIS)
            return jax.lax.pmean(loss, AXIS), value

        (_, value), gradient = jax.value_and_grad(total, has_aux=True)(weights)
        return value, jax.lax.pmean(gradient, AXIS)

    over_devices = mapped(step, mapping)
    for used in (EVERYTHING, UNEVEN):
        value, gradient = over_devices(weights, batch | {"used": used})
        expected_value, _, expected = one_big_batch(kind)(weights, batch | {"used": used})
        assert_close(value, expected_value)
        assert_close(gradient, expected)


@pytest.mark.parametrize("mapping", MAPPINGS[:3])
def test_without_where_and_with_scale_free_maps(mapping, batch, weights):
    def total(weights, share, axis_name):
        x = losses.normalize_scale(maps_of(weights, share), axis_name=axis_name)
        return loss_of(x, share, "exact", axis_name)[0]

    def step(weights, share):
        def mean(weights):
            return jax.lax.pmean(total(weights, share, AXIS), AXIS)

        value, gradient = jax.value_and_grad(mean)(weights)
        return value, jax.lax.pmean(gradient, AXIS)

    expected = jax.jit(jax.value_and_grad(functools.partial(total, axis_name=None)))
    assert_close(mapped(step, mapping)(weights, batch), expected(weights, batch))


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("kind", ["exact", "paper"])
def test_loss_without_scaled_maps(mapping, kind, batch, weights):
    """Differentiated outside of the mapped function and inside, as `filter_loss` above."""

    def loss_of(x, share, axis_name):
        options = {"target": share["target"]} if kind == "paper" else {}
        value = losses.filter_loss(
            x, sharpness=60.0, gradient=kind, where=share["used"], axis_name=axis_name, **options
        )
        return value @ jnp.array([1.0, 3.0]), value

    def plain(x, share):
        options = {"target": share["target"]} if kind == "paper" else {}
        x = losses.normalize_scale(x, where=share["used"])
        value = losses.filter_loss(x, gradient=kind, where=share["used"], **options)
        return value @ jnp.array([1.0, 3.0]), value

    def step(weights, share):
        def mean(weights):
            total, value = loss_of(maps_of(weights, share), share, AXIS)
            return jax.lax.pmean(total, AXIS), value

        (_, value), gradient = jax.value_and_grad(mean, has_aux=True)(weights)
        return value, jax.lax.pmean(gradient, AXIS)

    outside = mapped(lambda _, share: loss_of(share["x"], share, AXIS), mapping)
    inside = mapped(step, mapping)
    together = jax.jit(jax.value_and_grad(plain, has_aux=True))
    through_weights = jax.jit(jax.grad(lambda w, share: plain(maps_of(w, share), share)[0]))
    x = maps_of(weights, batch)
    for used in (EVERYTHING, UNEVEN):
        share = batch | {"used": used}
        (_, value), gradient = jax.value_and_grad(
            lambda x, share=share: outside(None, share | {"x": x}), has_aux=True
        )(x)
        (_, expected_value), expected = together(x, share)
        assert_close((value, gradient), (expected_value, expected))
        value, gradient = inside(weights, share)
        assert_close((value, gradient), (expected_value, through_weights(weights, share)))


@pytest.mark.parametrize("mapping", MAPPINGS[:3])
def test_categories_diagnostics_and_scale(mapping, batch, weights):
    labels = np.random.default_rng(2).integers(0, 3, SHAPE[0])

    def compute(weights, share, axis_name=AXIS):
        x = maps_of(weights, share)
        options = {"where": share["used"], "axis_name": axis_name}
        scaled = losses.normalize_scale(x, **options).max(axis=(0, 1, 2))
        return (
            losses.filter_categories(x, share["labels"], num_categories=3, **options),
            losses.filter_diagnostics(x, **options),
            scaled if axis_name is None else jax.lax.pmax(scaled, axis_name),
        )

    over_devices = mapped(compute, mapping)
    together = jax.jit(functools.partial(compute, axis_name=None))
    for used in (EVERYTHING, UNEVEN):
        share = batch | {"used": used, "labels": labels}
        (category, *rest), (expected, *others) = (
            over_devices(weights, share),
            together(weights, share),
        )
        np.testing.assert_array_equal(category, expected)
        assert_close(rest, others)


def test_eight_devices_are_there():
    assert jax.device_count() == DEVICES


@pytest.mark.parametrize("gradient", ["paper", "exact"])
def test_arrays_that_are_sharded_by_their_types(gradient):
    # Those of a plain `jax.make_mesh`.
    shards = NamedSharding(jax.make_mesh((DEVICES,), (AXIS,)), PartitionSpec(AXIS))
    random = np.random.default_rng(0)
    x = random.random(SHAPE, np.float32)
    labels = random.integers(0, 2, SHAPE[0])
    target = labels[:, None] == 0 if gradient == "paper" else None

    def value(x, target):
        return losses.filter_loss(x, target=target, gradient=gradient, sharpness=60.0).sum()

    slope = jax.jit(jax.value_and_grad(value))
    expected = slope(x, target)
    sharded = jax.device_put(x, shards)
    found = slope(sharded, None if target is None else jax.device_put(target, shards))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
    of = losses.filter_categories(sharded, jax.device_put(labels, shards), num_categories=2)
    np.testing.assert_array_equal(of, losses.filter_categories(x, labels, num_categories=2))
    centers = {"centers_y": np.arange(3.0), "centers_x": np.arange(4.0)}
    for one, other in zip(
        metrics.peaks(sharded, **centers), metrics.peaks(x, **centers), strict=True
    ):
        np.testing.assert_array_equal(one, other)
