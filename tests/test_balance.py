"""The filter loss in balance with the gradient of the task."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_cnn.balance import balanced_filter_loss
from interp_cnn.losses import filter_loss, scale_free


def inputs(batch=8):
    random = np.random.default_rng(0)
    x = np.maximum(random.normal(size=(batch, 4, 5, 3)), 0).astype(np.float32)
    return jnp.asarray(x), jnp.asarray(random.normal(size=x.shape).astype(np.float32))


def test_gradient_is_the_tasks_plus_a_share_of_the_filter_losss():
    x, task = inputs()

    def value(maps):
        return (task * balanced_filter_loss(maps, ratio=0.3)[0]).sum()

    pull = jax.grad(lambda maps: filter_loss(scale_free(maps)).sum())(x)
    wanted = task + 0.3 * jnp.linalg.norm(task) / jnp.linalg.norm(pull) * pull
    np.testing.assert_allclose(jax.grad(value)(x), wanted, rtol=1e-5, atol=1e-6)
    # At most as hard as the task: the sum still descends on it.
    assert float((wanted * task).sum()) > 0


def test_forward_is_unchanged_and_reports_the_loss():
    x, _ = inputs()
    maps, loss = balanced_filter_loss(x)
    np.testing.assert_array_equal(maps, x)
    np.testing.assert_allclose(loss, filter_loss(scale_free(x)), rtol=1e-6)


def test_no_pull_for_dead_filters_or_without_a_task():
    x, task = inputs()
    gradient = jax.grad(lambda maps: (task * balanced_filter_loss(maps)[0]).sum())(0 * x)
    np.testing.assert_array_equal(gradient, task)
    none = jax.grad(lambda maps: (0 * balanced_filter_loss(maps)[0]).sum())(x)
    np.testing.assert_array_equal(none, jnp.zeros_like(x))


def test_devices_share_the_norms():
    x, task = inputs()

    def gradient(maps, direction, axis_name=None):
        def value(maps):
            return (direction * balanced_filter_loss(maps, axis_name=axis_name)[0]).sum()

        return jax.grad(value)(maps)

    sharded = jax.vmap(functools.partial(gradient, axis_name="d"), axis_name="d")(
        x.reshape(4, 2, *x.shape[1:]), task.reshape(4, 2, *x.shape[1:])
    )
    np.testing.assert_allclose(sharded.reshape(x.shape), gradient(x, task), rtol=1e-4, atol=1e-5)


def test_wrong_rank_is_named():
    with pytest.raises(ValueError, match="batch, height, width, filters"):
        balanced_filter_loss(jnp.ones((3, 3)))
