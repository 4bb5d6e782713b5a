"""The four networks and the small one: the paper's table, receptive fields, options, bad input."""

import math

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import interp_cnn
from interp_cnn.models import BACKBONES, NEW_CONV, TOP_CONV, Network, create_model
from interp_cnn.training.state import init_variables

# name: input, side and filters of the map at (a), side of the FC input
TABLE = {
    "alexnet": (227, 13, 256, 6),
    "vgg_m": (224, 13, 512, 6),
    "vgg_s": (224, 17, 512, 6),
    "vgg16": (224, 14, 512, 7),
}
FORMER = (*TABLE, "small")  # test_networks_of_today.py has the others
KERNELS = {
    "alexnet": [
        (11, 11, 3, 96),
        (5, 5, 48, 256),
        (3, 3, 256, 384),
        (3, 3, 192, 384),
        (3, 3, 192, 256),
    ],
    "vgg_m": [(7, 7, 3, 96), (5, 5, 96, 256), (3, 3, 256, 512), *[(3, 3, 512, 512)] * 2],
    "vgg_s": [(7, 7, 3, 96), (5, 5, 96, 256), (3, 3, 256, 512), *[(3, 3, 512, 512)] * 2],
    "vgg16": [
        *[(3, 3, 3, 64), (3, 3, 64, 64)],
        *[(3, 3, 64, 128), (3, 3, 128, 128)],
        *[(3, 3, 128, 256), (3, 3, 256, 256), (3, 3, 256, 256)],
        *[(3, 3, 256, 512), (3, 3, 512, 512), (3, 3, 512, 512)],
        *[(3, 3, 512, 512)] * 3,
    ],
}


def shapes_of(network, batch=2):
    """Shapes of logits, maps and parameters; nothing is computed."""
    images = jax.ShapeDtypeStruct((batch, network.input_size, network.input_size, 3), jnp.float32)
    (logits, maps), variables = jax.eval_shape(network.init_with_output, jax.random.key(0), images)
    return logits, maps, variables["params"]


def small_network(**options):
    return create_model("small", width=0.125, new_init_std=None, **options)


def small_images(batch=2):
    rng = np.random.default_rng(0)
    return rng.standard_normal((batch, 32, 32, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def small_params():
    """He initialisation by NumPy, which compiles nothing; the biases are not zero."""
    rng = np.random.default_rng(1)

    def initial(leaf):
        fan_in = math.prod(leaf.shape[:-1]) if leaf.ndim > 1 else 200
        return jnp.asarray(rng.standard_normal(leaf.shape) * (2 / fan_in) ** 0.5, jnp.float32)

    network = small_network(num_outputs=3)
    shapes = jax.eval_shape(network.init, jax.random.key(0), small_images())["params"]
    return jax.tree.map(initial, shapes)


@pytest.mark.parametrize("second_layer", ["before_pool", "after_pool"])
@pytest.mark.parametrize("name", TABLE)
def test_shapes_are_the_table(name, second_layer):
    size, side, filters, pooled = TABLE[name]
    network = create_model(name, num_outputs=5, second_layer=second_layer)
    assert network.input_size == size
    logits, maps, params = shapes_of(network)
    assert logits.shape == (2, 5)
    assert maps[TOP_CONV].shape == (2, side, side, filters)
    second = side if second_layer == "before_pool" else pooled
    assert maps[NEW_CONV].shape == (2, second, second, filters)
    assert set(maps) == {TOP_CONV, NEW_CONV}
    # The new conv has as many filters as its input has channels.
    assert params[NEW_CONV]["kernel"].shape == (3, 3, filters, filters)
    assert params["fc6"]["kernel"].shape == (pooled * pooled * filters, 4096)
    assert params["fc7"]["kernel"].shape == (4096, 4096)
    assert params["fc8"]["kernel"].shape == (4096, 5)
    kernels = [params[conv]["kernel"].shape for conv in network.backbone.layer_names]
    assert kernels == KERNELS[name]


def test_vgg16_has_as_many_parameters_as_published():
    network = create_model("vgg16")
    _, _, params = shapes_of(network)
    layers = [params[name] for name in network.backbone.layer_names]
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(layers)) == 14_714_688
    assert len(layers) == 13


@pytest.mark.parametrize("name", FORMER)
def test_ordinary_and_interpretable_networks_share_their_parameters(name):
    options = {"width": 0.25, "num_outputs": 2}
    trees = [shapes_of(create_model(name, **options, interpretable=b))[2] for b in (True, False)]
    assert trees[0] == trees[1]
    full = shapes_of(create_model(name, num_outputs=2))[2]
    assert jax.tree.structure(full) == jax.tree.structure(trees[0])


@pytest.mark.parametrize(("std", "scale"), [(None, 0.0), (0.01, 0.01)])
def test_from_scratch_all_answers_are_equally_likely_at_first(std, scale):
    params = init_variables(create_model("small", width=0.5, new_init_std=std), 0)["params"]
    np.testing.assert_allclose(params["fc8"]["kernel"].std(), scale, rtol=0.2)
    assert all(params[name]["kernel"].std() > 0 for name in ("conv1", "new_conv", "fc6", "fc7"))


# Receptive fields


@pytest.mark.parametrize(
    ("name", "offset", "stride"),
    [("vgg16", 8.5, 16), ("alexnet", 18, 16), ("vgg_m", 18, 16), ("vgg_s", 21, 12)],
)
def test_receptive_field_centres_are_the_papers(name, offset, stride):
    # The paper counts pixels from 1: pixel p is centred at p - 0.5 in continuous pixels.
    for field in create_model(name).receptive_fields().values():
        np.testing.assert_array_equal(field.centers(5) + 0.5, offset + stride * np.arange(5))


@pytest.mark.parametrize("second_layer", ["before_pool", "after_pool"])
@pytest.mark.parametrize("name", FORMER)
def test_receptive_fields_measured(name, second_layer):
    # One image per row of pixels, bright in that row alone. With positive kernels and no biases a
    # position of a map is above zero exactly where it sees the row.
    height = 323 if name == "alexnet" else 320
    width = 32 if name in ("small", "vgg16") else 99
    network = create_model(
        name, width=1 / 96, interpretable=False, second_layer=second_layer, dropout=0.0
    )
    images = np.zeros((height, height, width, 3), np.float32)
    images[np.arange(height), np.arange(height)] = 1
    shapes = jax.eval_shape(network.init, jax.random.key(0), images[:1])["params"]

    def averaging(path, leaf):
        kernel = path[-1].key == "kernel"
        return np.full(leaf.shape, kernel / math.prod(leaf.shape[:-1]), np.float32)

    params = jax.tree_util.tree_map_with_path(averaging, shapes)
    _, maps = jax.jit(lambda images: network.apply({"params": params}, images))(images)
    for layer, field in network.receptive_fields().items():
        x = np.asarray(maps[layer])
        middle = x.shape[1] // 2
        for i in (middle - 1, middle):
            (rows,) = np.nonzero(x[:, i, x.shape[2] // 2, 0])
            first, end = rows.min(), rows.max() + 1
            assert (first + end) / 2 == field.centers(i + 1)[i], layer
            assert end - first == field.size and 0 < first < end < height, layer


# Forward pass


def head_by_hand(params, x, second_layer, interpretable):
    """From the top conv's map to the logits, without the package's network."""
    params = jax.tree.map(np.asarray, params)

    def mask(x):
        return np.asarray(interp_cnn.apply_template_mask(x)) if interpretable else x

    def pool(x):
        side = x.shape[1] // 2
        return x.reshape(len(x), side, 2, side, 2, -1).max(axis=(2, 4))

    def dense(name, x):
        return x @ params[name]["kernel"] + params[name]["bias"]

    x = jax.lax.conv_general_dilated(
        mask(x), params[NEW_CONV]["kernel"], (1, 1), ((1, 1), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip
    x = np.maximum(np.asarray(x) + params[NEW_CONV]["bias"], 0)
    x = pool(x) if second_layer == "after_pool" else x
    new_conv = x
    x = mask(x)
    x = pool(x) if second_layer == "before_pool" else x
    x = np.maximum(dense("fc6", x.reshape(len(x), -1)), 0)
    x = np.maximum(dense("fc7", x), 0)
    return dense("fc8", x), new_conv


@pytest.mark.parametrize("interpretable", [True, False])
@pytest.mark.parametrize("second_layer", ["before_pool", "after_pool"])
def test_head(small_params, second_layer, interpretable):
    network = small_network(num_outputs=3, second_layer=second_layer, interpretable=interpretable)
    logits, maps = jax.jit(network.apply)({"params": small_params}, small_images())
    top_conv = np.asarray(maps[TOP_CONV])
    expected, new_conv = head_by_hand(small_params, top_conv, second_layer, interpretable)
    np.testing.assert_allclose(maps[NEW_CONV], new_conv, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    assert np.ptp(logits) > 1e-3


def test_masks_of_a_strength(small_params):
    images = small_images()

    def logits(**options):
        network = small_network(num_outputs=3, **options)
        return network.apply({"params": small_params}, images)[0]

    ordinary = logits(interpretable=False)
    np.testing.assert_array_equal(logits(top_conv_mask=0.0, new_conv_mask=0.0), ordinary)
    full, one, half = logits(), logits(top_conv_mask=0.0), logits(top_conv_mask=0.5)
    assert len({float(x[0, 0]) for x in (ordinary, full, one, half)}) == 4
    # A mask that grows reaches the strength of the network, not more.
    network = small_network(num_outputs=3, top_conv_mask=0.5, new_conv_mask=0.5)
    whole = small_network(num_outputs=3)
    grown = whole.apply({"params": small_params}, images, mask_strength=0.5)[0]
    np.testing.assert_allclose(
        network.apply({"params": small_params}, images)[0], grown, rtol=1e-5, atol=1e-6
    )
    assert network.mask_strengths == {TOP_CONV: 0.5, NEW_CONV: 0.5}
    assert small_network(interpretable=False).mask_strengths == {TOP_CONV: 0, NEW_CONV: 0}
    with pytest.raises(ValueError, match=r"new_conv_mask must be in \[0, 1\], got 2"):
        small_network(new_conv_mask=2.0)


def test_prediction_needs_no_label_no_key_and_changes_nothing(small_params):
    network = small_network(num_outputs=3)
    apply = jax.jit(network.apply, static_argnames=("train",))
    first, _ = apply({"params": small_params}, small_images())
    again, _ = apply({"params": small_params}, small_images())
    np.testing.assert_array_equal(first, again)
    # Each image on its own: nothing like batch statistics.
    alone, _ = apply({"params": small_params}, small_images()[1:])
    np.testing.assert_allclose(alone[0], first[1], rtol=1e-4, atol=1e-5)
    variables = jax.eval_shape(network.init, jax.random.key(0), small_images())
    assert set(variables) <= {"params", "feature_maps"}


def test_dropout_in_training_alone(small_params):
    network = small_network(num_outputs=3)
    apply = jax.jit(network.apply, static_argnames=("train",))
    plain, _ = apply({"params": small_params}, small_images())
    one, _ = apply(
        {"params": small_params}, small_images(), train=True, rngs={"dropout": jax.random.key(0)}
    )
    two, _ = apply(
        {"params": small_params}, small_images(), train=True, rngs={"dropout": jax.random.key(1)}
    )
    assert np.abs(one - plain).max() > 1e-3 and np.abs(one - two).max() > 1e-3
    with pytest.raises(flax.errors.InvalidRngError):
        network.apply({"params": small_params}, small_images(), train=True)
    none = small_network(num_outputs=3, dropout=0.0)
    without, _ = none.apply({"params": small_params}, small_images(), train=True)
    np.testing.assert_allclose(without, plain, rtol=1e-5, atol=1e-6)


def test_bfloat16(small_params):
    network = small_network(num_outputs=3, dtype=jnp.bfloat16)
    logits, maps = jax.jit(network.apply)({"params": small_params}, small_images())
    assert logits.dtype == jnp.float32
    assert all(x.dtype == jnp.bfloat16 for x in maps.values())
    _, _, params = shapes_of(network)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
    exact = small_network(num_outputs=3)
    _, exact_maps = jax.jit(exact.apply)({"params": small_params}, small_images())
    np.testing.assert_allclose(
        maps[TOP_CONV].astype(np.float32), exact_maps[TOP_CONV],
        atol=0.03 * exact_maps[TOP_CONV].max(),
    )  # fmt: skip
    # The networks with response normalisation too.
    _, maps, _ = shapes_of(create_model("alexnet", width=0.1, dtype=jnp.bfloat16))
    assert maps[NEW_CONV].dtype == jnp.bfloat16


def test_frozen_layers_get_no_gradient(small_params):
    frozen = small_network(num_outputs=3, frozen_through="conv3")
    assert frozen.frozen_layers == ("conv1", "conv2", "conv3")
    assert small_network().frozen_layers == ()

    @jax.jit
    @jax.value_and_grad
    def loss_and_gradient(params):
        logits, maps = frozen.apply({"params": params}, small_images())
        return (logits**2).sum() + sum((x**2).mean() for x in maps.values())

    loss, gradient = loss_and_gradient(small_params)
    for name, layer in gradient.items():
        if name in frozen.frozen_layers:
            assert not any(leaf.any() for leaf in jax.tree.leaves(layer)), name
        else:
            assert all(leaf.any() for leaf in jax.tree.leaves(layer)), name
    free = small_network(num_outputs=3)
    logits, maps = jax.jit(free.apply)({"params": small_params}, small_images())
    expected = (logits**2).sum() + sum((x**2).mean() for x in maps.values())
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("frozen_through", "stages", "shape"),
    [("conv2", 3, (2, 8, 8, 8)), ("conv3", 5, (2, 4, 4, 8)), ("conv5", 7, (2, 4, 4, 16))],
)
def test_features_of_the_frozen_layers_stand_for_images(
    small_params, frozen_through, stages, shape
):
    network = small_network(num_outputs=3, frozen_through=frozen_through)
    assert network.frozen_stages == stages  # with the pooling behind, if there is any
    frozen = {"params": {name: small_params[name] for name in network.frozen_layers}}
    features = network.apply(frozen, small_images(), method="frozen_features")
    assert features.shape == shape
    trained = {
        "params": {
            name: small_params[name] for name in small_params.keys() - frozen["params"].keys()
        }
    }
    logits, maps = jax.jit(network.apply)(trained, features=features)
    plain, plain_maps = jax.jit(network.apply)({"params": small_params}, small_images())
    np.testing.assert_allclose(logits, plain, rtol=1e-4, atol=1e-5)
    for name in maps:
        np.testing.assert_allclose(maps[name], plain_maps[name], rtol=1e-4, atol=1e-5)


def test_normalisation_behind_a_frozen_layer_is_frozen_too():
    stages = {
        (name, through): create_model(name, frozen_through=through).frozen_stages
        for name, through in (("alexnet", "conv1"), ("vgg_m", "conv2"), ("vgg16", "conv4_3"))
    }
    assert list(stages.values()) == [3, 6, 14]
    assert create_model("vgg16").frozen_stages == 0


def test_initial_values():
    network = create_model("small", width=0.5)
    params = jax.jit(network.init)(jax.random.key(0, impl="rbg"), small_images())["params"]
    for name in (NEW_CONV, "fc6", "fc7"):
        np.testing.assert_allclose(params[name]["kernel"].std(), 0.01, rtol=0.05)
    fan_in = math.prod(params["conv5"]["kernel"].shape[:-1])
    np.testing.assert_allclose(params["conv5"]["kernel"].std(), (2 / fan_in) ** 0.5, rtol=0.05)
    assert not any(layer["bias"].any() for layer in params.values())


@pytest.mark.parametrize("width", [0.001, 0.3, 1.7])
def test_any_width_keeps_the_groups(width):
    _, maps, params = shapes_of(create_model("alexnet", width=width))
    assert params["conv4"]["kernel"].shape[-1] % 2 == 0
    assert 2 * params["conv4"]["kernel"].shape[2] == params["conv3"]["kernel"].shape[-1]
    assert maps[NEW_CONV].shape[-1] == maps[TOP_CONV].shape[-1]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: create_model("vgg19"), "vgg19.*alexnet.*vgg16"),
        (lambda: create_model("vgg16", width=0), "width"),
        (lambda: create_model("vgg16", width=-1.0), "width"),
        (lambda: create_model("vgg16", width=float("nan")), "width"),
        (lambda: create_model("vgg16", dropout=1.0), "dropout"),
        (lambda: create_model("vgg16", dropout=-0.1), "dropout"),
        (lambda: create_model("vgg16", second_layer="pool"), "second_layer.*'pool'"),
        (lambda: create_model("vgg16", frozen_through="conv4_4"), "frozen_through.*conv4_3"),
        (lambda: create_model("vgg16", frozen_through="fc6"), "frozen_through"),
        (lambda: shapes_of(small_network(norm="max")), "norm"),
        (lambda: shapes_of(small_network(position="mean")), "position"),
        (lambda: shapes_of(small_network(beta=(1.0, 2.0))), "beta"),
        (lambda: small_network().apply({}, np.ones((32, 32, 3))), r"images.*\(32, 32, 3\)"),
        (lambda: small_network().apply({}, np.ones((2, 32, 32, 1))), "images"),
        (lambda: small_network().apply({}), "either images or features"),
        (lambda: small_network().apply({}, features=np.ones((2, 8, 8, 6))), "frozen_through"),
        (
            lambda: small_network(frozen_through="conv2").apply({}, features=np.ones((2, 8, 8, 5))),
            r"features .* 8\], got \(2, 8, 8, 5\)",
        ),
        (
            lambda: small_network().apply({}, small_images(), method="frozen_features"),
            "frozen_through",
        ),
    ],
)
def test_bad_input_names_the_argument(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_networks_are_flax_modules():
    assert all(isinstance(create_model(name), Network) for name in BACKBONES)
