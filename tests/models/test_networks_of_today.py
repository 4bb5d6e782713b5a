"""ResNets and DenseNets: shapes, receptive fields, frozen layers, rematerialisation, training."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from norm_networks import TINY
from tiny import leaves, tiny_config, tiny_data

from interp_cnn.evaluation.evaluator import Evaluator
from interp_cnn.evaluation.restore import restore_network
from interp_cnn.models import BACKBONES, NEW_CONV, TOP_CONV, Network, create_model
from interp_cnn.training.frozen_cache import FrozenCache, frozen_variables
from interp_cnn.training.objective import Objective
from interp_cnn.training.optim import make_optimizer
from interp_cnn.training.state import init_state, leaf_shapes
from interp_cnn.training.steps import frozen_step, predict_step, train_step
from interp_cnn.training.trainer import train_networks
from interp_cnn.workdir import CHECKPOINTS

NAMES = {"resnet8": "layer1", "densenet13": "denseblock1"}
EITHER = ("resnet8", pytest.param("densenet13", marks=pytest.mark.thorough))
SIDE = 32
MEAN = (120.0, 110.0, 100.0)


def network_of(name, **options):
    """A tiny network of few features."""
    defaults = {"width": 1 / 16, "input_size": SIDE, "num_outputs": 2, "new_init_std": 0.1}
    return Network(TINY[name][2], **defaults | options)


@functools.cache
def shapes_of(network):
    images = jax.ShapeDtypeStruct((2, network.input_size, network.input_size, 3), jnp.float32)
    (logits, maps), variables = jax.eval_shape(network.init_with_output, jax.random.key(0), images)
    variables.pop("feature_maps")
    return logits, maps, variables


def variables_of(network, seed=0):
    """Random parameters and statistics by NumPy, which compiles nothing."""
    rng = np.random.default_rng(seed)

    def initial(path, leaf):
        if path[-1].key in ("var", "scale"):
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        fan_in = math.prod(leaf.shape[:-1]) if leaf.ndim > 1 else 50
        return (rng.standard_normal(leaf.shape) * (2 / fan_in) ** 0.5).astype(np.float32)

    return jax.tree_util.tree_map_with_path(initial, shapes_of(network)[2])


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, SIDE, SIDE, 3), np.uint8)
    return {"image": images, "label": np.array([0, 1, 2, 1], np.int32)}


@pytest.mark.parametrize(
    ("name", "stem", "head", "side", "layers"),
    [
        ("resnet18", "imagenet", "default", 7, {"fc8"}),
        ("resnet50", "small", "default", 28, {"fc8"}),
        ("resnet18", "imagenet", "fc", 7, {"fc6", "fc7", "fc8"}),
        ("vgg16", "imagenet", "gap", 14, {"fc8"}),
    ],
)
def test_shapes_and_heads(name, stem, head, side, layers):
    network = create_model(name, stem=stem, head=head, num_outputs=5, width=0.25)
    logits, maps, variables = shapes_of(network)
    filters = network.map_filters[TOP_CONV]
    assert logits.shape == (2, 5) and logits.dtype == jnp.float32
    assert {x.shape for x in maps.values()} == {(2, side, side, filters)}
    params = variables["params"]
    assert {layer for layer in params if layer.startswith("fc")} == layers
    inputs = {"fc8": filters} if len(layers) == 1 else {"fc6": (side // 2) ** 2 * filters}
    for layer, size in inputs.items():
        assert params[layer]["kernel"].shape[0] == size
    assert params[NEW_CONV]["kernel"].shape == (3, 3, filters, filters)


@pytest.mark.parametrize("name", TINY)
def test_ordinary_and_interpretable_networks_share_their_variables(name):
    whole, plain, again = (
        leaf_shapes(shapes_of(network_of(name, **options))[2])
        for options in ({}, {"interpretable": False}, {"remat": True})
    )
    assert whole == plain == again
    assert any(leaf.startswith("batch_stats/") for leaf in whole)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "resnet18", "input_size": 0, "head": "pool"}, "head must be 'default', 'fc' or"),
        ({"name": "resnet18", "stem": "large"}, "stem must be 'imagenet' or 'small', got 'large'"),
        ({"name": "vgg16", "stem": "small"}, "stem='small' is for residual and dense networks"),
        ({"name": "vgg16", "input_size": 15}, "input_size=15 is too small for vgg16"),
        ({"name": "resnet18", "second_layer": "after_pool"}, "'after_pool' needs a last pooling"),
        (
            {"name": "resnet18", "frozen_through": "conv2"},
            "no layer of resnet18: 'conv2'; .* layer1",
        ),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError, match=message):
        create_model(**options)
    assert create_model("resnet18", input_size=32).input_size == 32
    assert create_model("vgg16", input_size=96).clone().input_size == 96


@pytest.mark.parametrize("name", TINY)
def test_receptive_fields_measured(name):
    # One image per row of pixels, bright in that row alone; see the test of the other networks.
    height = 160
    network = network_of(name, width=1 / 96, interpretable=False, input_size=height)
    images = np.zeros((height, height, 32, 3), np.float32)
    images[np.arange(height), np.arange(height)] = 1

    def averaging(path, leaf):
        if path[-1].key == "kernel":
            return np.full(leaf.shape, 1 / math.prod(leaf.shape[:-1]), np.float32)
        return np.full(leaf.shape, path[-1].key in ("scale", "var"), np.float32)

    variables = jax.tree_util.tree_map_with_path(averaging, shapes_of(network)[2])
    x = jax.jit(lambda images: network.apply(variables, images)[1][TOP_CONV])(images)
    field = network.receptive_fields()[TOP_CONV]
    middle = x.shape[1] // 2
    (rows,) = np.nonzero(x[:, middle, 0, -1])  # of a dense block the filter that was made last
    first, end = rows.min(), rows.max() + 1
    assert (first + end) / 2 == field.centers(middle + 1)[middle]
    assert end - first == field.size and 0 < first < end < height


@pytest.mark.parametrize("name", EITHER)
def test_the_gradient_is_the_same_with_rematerialisation(name, batch):
    images = batch["image"].astype(np.float32) / 64
    variables = variables_of(network_of(name))
    params, statistics = variables["params"], variables["batch_stats"]

    def compute(network):
        def loss(params):
            (logits, maps), state = network.apply(
                {"params": params, "batch_stats": statistics},
                images,
                train=True,
                mutable=["batch_stats"],
            )
            return (logits**2).sum() + sum((x**2).mean() for x in maps.values()), state

        gradient = jax.grad(loss, has_aux=True)
        return jax.jit(gradient)(params), str(jax.make_jaxpr(gradient)(params)).count("remat")

    (plain, none), (again, some) = compute(network_of(name)), compute(network_of(name, remat=True))
    assert none == 0 and some >= sum(TINY[name][1])
    for a, b in zip(leaves(again), leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * max(np.abs(b).max(), 1e-3))


def step_of(network, axis_name=None):
    optimizer = make_optimizer(optax.constant_schedule(0.01), frozen=network.frozen_layers)
    state = init_state(variables_of(network), optimizer, network)
    objective = Objective(weight=1.0)
    options = {"network": network, "optimizer": optimizer, "objective": objective}
    return functools.partial(train_step, **options, mean=MEAN, std=64.0, seed=0), state


@pytest.mark.parametrize("name", EITHER)
def test_frozen_layers_keep_their_statistics_and_can_be_computed_before(name, batch):
    network = network_of(name, frozen_through=NAMES[name])
    step, before = step_of(network)
    frozen = frozen_variables(network, before.variables)
    features = frozen_step(frozen, batch, network=network, mean=MEAN, std=64.0)
    after, scalars = jax.jit(step)(before, batch)
    given, others = jax.jit(step)(before, {"features": features, "label": batch["label"]})
    assert float(scalars["loss"]) == pytest.approx(float(others["loss"]), rel=1e-4)
    for a, b in zip(leaves(after.variables), leaves(given.variables), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-3 * np.abs(a).max())
    for collection, layers in before.variables.items():
        for layer, arrays in layers.items():
            now = after.variables[collection][layer]
            same = [np.array_equal(a, b) for a, b in zip(leaves(arrays), leaves(now), strict=True)]
            assert all(same) if layer in network.frozen_layers else not any(same), layer
    assert {"conv1", "conv0"} & set(network.frozen_layers)


def test_bfloat16(batch):
    network = network_of("resnet8", dtype=jnp.bfloat16)
    variables = variables_of(network)
    found, exact = (
        predict_step(variables, batch, network=one, mean=MEAN, std=64.0)
        for one in (network, network_of("resnet8"))
    )
    assert found["logits"].dtype == jnp.float32
    assert {leaf.dtype.name for leaf in jax.tree.leaves(shapes_of(network)[2])} == {"float32"}
    np.testing.assert_allclose(
        found["maps"][TOP_CONV], exact["maps"][TOP_CONV], atol=0.05 * exact["maps"][TOP_CONV].max()
    )
    assert float(found["maps"][TOP_CONV].min()) == 0  # the maps are behind a ReLU
    _, state = network.apply(variables, batch["image"], train=True, mutable=["batch_stats"])
    assert {leaf.dtype.name for leaf in jax.tree.leaves(state)} == {"float32"}


@pytest.mark.thorough
def test_a_run_with_batch_normalisation(tmp_path_factory, monkeypatch):
    """A common start, frozen layers kept on disk, checkpoints, evaluation of what was stored."""
    monkeypatch.setitem(BACKBONES, "resnet8", TINY["resnet8"][2])
    folder, data = tmp_path_factory.mktemp("run"), tiny_data(tmp_path_factory.mktemp("data"))
    config = tiny_config()
    config.model.update({"name": "resnet8", "width": 1 / 16, "input_size": 32, "stem": "small"})
    config.model.frozen_through = "conv1"
    config.train.update({"epochs": 1, "start_epochs": 1})
    with FrozenCache(config, folder / "cache") as cache:
        ((variant, state),) = train_networks(config, data, folder, cache)
    restored = restore_network(config, folder, variant)
    assert restored.network.frozen_layers == ("conv1", "bn1")
    for a, b in zip(leaves(restored.variables), leaves(state.variables), strict=True):
        np.testing.assert_array_equal(a, b)
    means = {
        layer: np.abs(leaves(restored.variables["batch_stats"][layer])[0]).max()
        for layer in ("bn1", "layer1")
    }
    assert means["bn1"] == 0 < means["layer1"]
    assert (folder / "start" / CHECKPOINTS).is_dir()
    evaluation = Evaluator(config, data).evaluate(
        restored.network, restored.variables, restored.step, restored.activity
    )
    assert set(evaluation.result.layers) == {TOP_CONV, NEW_CONV}
    assert np.isfinite(evaluation.test_logits).all()
