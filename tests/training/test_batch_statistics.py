"""Networks with batch normalisation: training, prediction and checkpoints."""

from typing import Any

import flax.linen as nn
import flax.struct
import jax
import numpy as np
import optax
import pytest
from etils import epath
from mapped_steps import on_devices, step_of

from interp_cnn.layers import TemplateMask
from interp_cnn.models import Templates
from interp_cnn.receptive_field import compose
from interp_cnn.training import parallel
from interp_cnn.training.checkpoint import Checkpoints
from interp_cnn.training.objective import Objective
from interp_cnn.training.state import init_state, init_variables
from interp_cnn.training.steps import normalise, predict_step

MEAN = (120.0, 110.0, 100.0)
OBJECTIVE = Objective(weight=1.0)
FIELDS = {"top_conv": compose([(3, 2, 1), (3, 2, 1)])}


class NormNetwork(nn.Module):
    """Two convolutions with batch normalisation, a mask and the strongest value of each filter."""

    num_outputs: int = 3
    interpretable: bool = True
    axis_name: str | None = None

    input_size, frozen_layers, map_filters = 16, (), {"top_conv": 4}
    last_layer = "top_conv"

    def templates_of(self, layer):
        return Templates("l1", 4.0, "argmax")

    @nn.compact
    def __call__(self, images, *, train=False, mask_strength=1.0):
        x = images
        for name in ("first", "top"):
            x = nn.Conv(4, (3, 3), strides=2, use_bias=False, name=f"{name}_conv")(x)
            norm = nn.BatchNorm(
                not train, momentum=0.9, axis_name=self.axis_name, name=f"{name}_norm"
            )
            x = nn.relu(norm(x))
        masked = TemplateMask(name="mask")(x, strength=mask_strength)
        return nn.Dense(self.num_outputs, name="fc8")(masked.max(axis=(1, 2))), {"top_conv": x}


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (16, 16, 16, 3), np.uint8)
    return {"image": images, "label": np.arange(16, dtype=np.int32) % 4}


@pytest.fixture(scope="module")
def one_device(batch):
    step, state = step_of(NormNetwork(), OBJECTIVE)
    return state, *jax.jit(step)(state, batch)


@pytest.mark.parametrize("mapping", ["pmap", "vmap", "shard_map"])
def test_eight_devices_equal_one_big_batch(one_device, batch, mapping):
    before, expected, expected_scalars = one_device
    step, _ = step_of(NormNetwork(), OBJECTIVE, parallel.AXIS)
    after, scalars = on_devices(step, mapping)(before, batch)
    found, wanted = (
        jax.tree.map(lambda new, old: new - old, state.variables, before.variables)
        for state in (after, expected)
    )
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert np.abs(b).max() > 1e-4
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * np.abs(b).max())
    np.testing.assert_allclose(scalars["loss"], expected_scalars["loss"], rtol=1e-5)


def test_running_averages_take_a_tenth_of_each_batch(one_device, batch):
    before, after, _ = one_device
    layers = {"kernel": before.params["first_conv"]["kernel"]}
    images = normalise(batch["image"], MEAN, 1.0)
    x = nn.Conv(4, (3, 3), strides=2, use_bias=False).apply({"params": layers}, images)
    found = after.model_state["batch_stats"]["first_norm"]
    np.testing.assert_allclose(found["mean"], 0.1 * x.mean(axis=(0, 1, 2)), rtol=1e-3)
    np.testing.assert_allclose(found["var"], 0.9 + 0.1 * x.var(axis=(0, 1, 2)), rtol=1e-3)


def test_prediction_uses_the_running_averages(one_device, batch, monkeypatch):
    _, state, _ = one_device
    network = NormNetwork()
    monkeypatch.setattr(NormNetwork, "receptive_fields", lambda _: FIELDS, raising=False)
    whole = predict_step(state.variables, batch, network=network, mean=MEAN)
    alone = predict_step(state.variables, {"image": batch["image"][:1]}, network=network, mean=MEAN)
    np.testing.assert_allclose(alone["logits"], whole["logits"][:1], rtol=1e-4, atol=1e-5)
    fresh = init_variables(network, 0)["batch_stats"]
    other = predict_step(
        {"params": state.params, "batch_stats": fresh}, batch, network=network, mean=MEAN
    )
    assert np.abs(other["logits"] - whole["logits"]).max() > 0.01


def test_statistics_are_in_the_checkpoint(one_device, tmp_path):
    before, state, _ = one_device
    checkpoints = Checkpoints(epath.Path(tmp_path))
    checkpoints.save(state, {})
    restored = checkpoints.restore(before)
    _, variables, _ = checkpoints.restore_for_evaluation()
    checkpoints.close()
    jax.tree.map(np.testing.assert_array_equal, restored, state)
    jax.tree.map(np.testing.assert_array_equal, variables, jax.device_get(state.variables))


class FormerState(flax.struct.PyTreeNode):
    """The state of a run before networks had batch statistics."""

    step: Any
    params: Any
    opt_state: Any
    activity: Any


def test_a_checkpoint_from_before_batch_statistics(one_device, tmp_path):
    like, optimizer = one_device[0], optax.sgd(0.1, momentum=0.9)
    wanted = init_state({"params": like.params}, optimizer, NormNetwork())
    former = FormerState(wanted.step + 3, wanted.params, wanted.opt_state, wanted.activity)
    checkpoints = Checkpoints(epath.Path(tmp_path))
    checkpoints.save(former, {})
    restored = checkpoints.restore(wanted)
    assert int(restored.step) == 3
    jax.tree.map(np.testing.assert_array_equal, restored.replace(step=wanted.step), wanted)
    step, variables, _ = checkpoints.restore_for_evaluation()
    assert step == 3 and variables.keys() == {"params"}
    with pytest.raises(ValueError, match=r"does not fit this network .*batch_stats"):
        checkpoints.restore(init_state(like.variables, optimizer, NormNetwork()))
    checkpoints.close()
