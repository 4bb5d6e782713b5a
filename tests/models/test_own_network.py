"""Networks of one's own: any linen module with `TemplateMask`, from its import to the report."""

import dataclasses
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import own_modules
import pytest
from flax.core import unfreeze
from PIL import Image
from tiny import tiny_builder, tiny_config

import interp_cnn
from interp_cnn import commands
from interp_cnn.config import check_config, set_field
from interp_cnn.config.fields import field_of
from interp_cnn.configs import folder
from interp_cnn.data import prepare
from interp_cnn.evaluation.measuring import _masks
from interp_cnn.evaluation.results import read_results
from interp_cnn.explain_command import explain_image
from interp_cnn.models import TOP_CONV, create_model, own_network
from interp_cnn.models import measured_fields as measured_fields_module
from interp_cnn.models.measured_fields import (
    fitted_field,
    made_params,
    measured_fields,
    stride_by_growth,
    uncut_field,
)
from interp_cnn.preflight import check_run
from interp_cnn.training.build import make_network
from interp_cnn.training.objective import Objective
from interp_cnn.training.optim import make_optimizer

NAME = "own_modules:Nested"


@pytest.fixture(scope="module")
def nested():
    """A network with two masked layers, its variables, and images."""
    network = own_network(NAME, num_outputs=3, input_size=16)
    random = np.random.default_rng(0)
    images = random.standard_normal((2, 16, 16, 3)).astype(np.float32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), images)
    return network, {"params": made_params(shapes["params"], positive=False)}, images


def forward(network, variables, images, **options):
    """Logits and maps, compiled."""
    run = jax.jit(lambda variables, images: network.apply(variables, images, **options))
    return jax.device_get(run(variables, images))


def dense(params, maps):
    """The last layer of `Nested`."""
    last = params["Dense_0"]
    return np.asarray(maps).reshape(len(maps), -1) @ last["kernel"] + last["bias"]


# A module as a network


def test_its_layers_have_the_paths_of_its_masks_in_the_order_of_computation(nested):
    network, variables, images = nested
    assert list(network.map_filters.items()) == [("second/mask", 4), ("after", 6)]
    assert network.last_layer == "after" and network.architecture == NAME
    assert network.templates_of("second/mask") == ("l2", 2.0, "argmax")
    assert network.templates_of("after") == ("l1", 4.0, "argmax")
    assert network.mask_strengths == {"second/mask": 1.0, "after": 0.5}
    assert network.clone(interpretable=False).mask_strengths == {"second/mask": 0.0, "after": 0.0}
    logits, maps = forward(network, variables, images)
    assert logits.shape == (2, 3) and logits.dtype == jnp.float32
    assert {name: x.shape for name, x in maps.items()} == {
        "second/mask": (2, 8, 8, 4),
        "after": (2, 8, 8, 6),
    }
    assert set(variables["params"]) == {"second", "Conv_0", "Dense_0"}


def test_the_interpretable_network_is_the_module_itself(nested):
    network, variables, images = nested
    module = own_modules.Nested()
    logits, state = jax.jit(lambda *of: module.apply(*of, mutable=["feature_maps"]))(
        variables, images
    )
    found, maps = forward(network, variables, images)
    np.testing.assert_allclose(found, logits, rtol=1e-5)
    sown = unfreeze(state)["feature_maps"]
    np.testing.assert_allclose(maps["after"], sown["after"]["x"], rtol=1e-5)
    np.testing.assert_allclose(maps["second/mask"], sown["second"]["mask"]["x"], rtol=1e-5)


def test_the_ordinary_network_masks_nothing_and_strength_lies_between(nested):
    network, variables, images = nested
    ordinary, maps = forward(network.clone(interpretable=False), variables, images)
    by_hand = dense(variables["params"], maps["after"])
    np.testing.assert_allclose(ordinary, by_hand, rtol=1e-4, atol=1e-5)
    begun, _ = forward(network, variables, images, mask_strength=0.0)
    np.testing.assert_allclose(begun, ordinary, rtol=1e-5, atol=1e-6)
    # Half of the 0.5 that the module asks for, of the last layer's mask alone.
    halved = own_network(NAME, input_size=16, masks=[("after", 0.5), (".*", 0.0)])
    assert halved.mask_strengths == {"second/mask": 0.0, "after": 0.25}
    logits, maps = forward(halved, variables, images)
    masked = interp_cnn.apply_template_mask(maps["after"], strength=0.25)
    by_hand = dense(variables["params"], masked)
    np.testing.assert_allclose(logits, by_hand, rtol=1e-4, atol=1e-5)
    assert np.abs(logits - ordinary).max() > 1e-3


def test_given_maps_stand_in(nested):
    network, variables, images = nested
    given = np.random.default_rng(1).random((2, 8, 8, 6), np.float32)
    logits, maps = forward(network, variables, images, given_maps={"after": given})
    np.testing.assert_array_equal(maps["after"], given)
    masked = interp_cnn.apply_template_mask(given, strength=0.5)
    by_hand = dense(variables["params"], masked)
    np.testing.assert_allclose(logits, by_hand, rtol=1e-4, atol=1e-5)


def test_masks_of_a_configuration():
    strengths = {"last_mask": 0.5, "other_masks": 0.0}
    network = own_network(NAME, input_size=16, **strengths)
    assert network.mask_strengths == {"second/mask": 0.0, "after": 0.25}
    network = own_network(NAME, input_size=16, masks=[("after", 1.0)], **strengths)
    assert network.mask_strengths == {"second/mask": 0.0, "after": 0.5}


def test_masks_of_the_report_have_a_slope_for_each_filter():
    network = own_network("own_modules:Slopes", input_size=16)
    maps = np.random.default_rng(0).random((3, 2, 8, 8), np.float32)  # [filters, images, ...]
    masks = _masks(network, "mask", maps, there=np.ones((3, 2), bool))
    for filter, beta in enumerate(own_modules.Slopes.beta):
        expected = interp_cnn.template_mask(maps[filter][..., None], beta=beta)
        np.testing.assert_allclose(masks[filter], np.asarray(expected)[..., 0], rtol=1e-6)


def test_the_example_trains_with_batch_statistics_of_all_devices():
    network = own_network(
        "examples.own_network:PartNet", num_outputs=2, input_size=32, options=[("width", 2)]
    )
    random = np.random.default_rng(0)
    assert network.num_outputs == 2 and network.module.width == 2
    images = random.standard_normal((4, 32, 32, 3)).astype(np.float32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), images)
    assert set(shapes) == {"params", "batch_stats"}
    ones = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), shapes["batch_stats"])
    variables = {"params": made_params(shapes["params"], positive=False), "batch_stats": ones}

    def statistics(images, network):
        how = {"train": True, "mutable": ["batch_stats"], "rngs": {"dropout": jax.random.key(0)}}
        return network.apply(variables, images, **how)[1]

    whole = jax.jit(lambda images: statistics(images, network))(images)
    shared = jax.jit(
        jax.vmap(lambda images: statistics(images, network.clone(axis_name="i")), axis_name="i")
    )(images.reshape(2, 2, 32, 32, 3))
    assert set(whole) == {"batch_stats"}
    for one, both in zip(jax.tree.leaves(whole), jax.tree.leaves(shared), strict=True):
        assert not np.allclose(one, 1.0)
        for share in both:
            np.testing.assert_allclose(share, one, rtol=1e-4, atol=1e-5)


def test_train_is_told_to_a_module_that_takes_any_argument():
    network = own_network("own_modules:TakesAnything", num_outputs=2, input_size=16)
    images = np.random.default_rng(0).standard_normal((2, 16, 16, 3)).astype(np.float32)
    variables = jax.jit(network.init)(jax.random.key(0), images)

    def statistics(train):
        def changed(variables):
            how = {"train": train, "mutable": ["batch_stats"]}
            return network.apply(variables, images, **how)[1]["batch_stats"]

        return jax.tree.leaves(jax.device_get(jax.jit(changed)(variables)))

    for before, after in zip(statistics(False), statistics(True), strict=True):
        assert np.abs(after - before).max() > 0


def test_maps_among_the_variables_do_not_count(nested):
    network, variables, images = nested
    shapes = jax.eval_shape(network.module.init, jax.random.key(0), images)
    others = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes["feature_maps"])
    expected = forward(network, variables, images)
    found = forward(network, variables | {"feature_maps": others}, images)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_weights_of_the_filter_loss_and_decay(nested):
    network, _, _ = nested
    objective = Objective(weight=6.0, top_conv_weight=2.0)
    weights = {layer: objective.weight_of(network, layer) for layer in network.map_filters}
    assert weights == {"second/mask": 2.0, "after": 6.0}
    # All layers are new: no bias decays, whatever its layer is called.
    params = {"Conv_0": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}}
    optimizer = make_optimizer(lambda step: 0.1, weight_decay=0.5, new_layers=None)
    still = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(still, optimizer.init(params), params)
    np.testing.assert_allclose(updates["Conv_0"]["kernel"], -0.05, rtol=1e-6)
    np.testing.assert_array_equal(updates["Conv_0"]["bias"], 0)


def test_a_module_gets_the_dtype_that_it_has_an_attribute_for():
    network = own_network("own_modules:Sixteen", input_size=16, dtype="bfloat16")
    assert network.module.dtype == "bfloat16"
    assert network.in_float32().module.dtype == "float32"
    plain = own_network("own_modules:Sixteen", input_size=16)
    assert plain.in_float32() is plain
    typed = dataclasses.replace(plain, module=plain.module.clone(dtype=jnp.bfloat16))
    assert typed.in_float32().module.dtype is jnp.float32
    with pytest.raises(ValueError, match=r"Nested has no attribute dtype for config.model.dtype"):
        own_network(NAME, input_size=16, dtype="bfloat16")


def test_parts_of_nnx_go_through_their_bridge():
    network = own_network("own_modules:WithNnx", num_outputs=2, input_size=16)
    images = np.random.default_rng(0).standard_normal((2, 16, 16, 3)).astype(np.float32)
    variables = jax.jit(network.init)(jax.random.key(0), images)
    assert {name: set(tree) for name, tree in variables.items()} == {
        "params": {"body", "head"},
        "batch_stats": {"body"},
    }

    @jax.jit
    def trained(variables):
        def loss(params):
            how = {"train": True, "mutable": ["batch_stats"]}
            (logits, _), changed = network.apply(variables | {"params": params}, images, **how)
            return jnp.square(logits).sum(), changed

        return jax.grad(loss, has_aux=True)(variables["params"])

    gradient, changed = jax.device_get(trained(variables))
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient["head"]))
    before, after = variables["batch_stats"]["body"], changed["batch_stats"]["body"]
    assert np.abs(after["norm"]["mean"] - before["norm"]["mean"]).max() > 0
    # As nnx computes them.
    x = jax.nn.relu(forward(network, variables, images)[1]["last"])
    assert x.shape == (2, 8, 8, 4) and network.receptive_fields()["last"].stride == 2


# Where positions look


def test_measured_centres_are_those_of_a_network_that_knows_them():
    network = create_model("small", width=1 / 16, interpretable=False)
    side = 96
    images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), images)
    variables = {"params": made_params(shapes["params"], positive=True)}
    maps = jax.eval_shape(network.apply, shapes, images)[1]
    sizes = {layer: x.shape[1:3] for layer, x in maps.items()}
    found = measured_fields(lambda *of: network.apply(*of)[1], variables, sizes, side)
    for layer, known in network.receptive_fields().items():
        assert found[layer].stride == known.stride
        assert abs(found[layer].offset - known.offset) < 0.15 * known.stride
        assert found[layer].size == known.size


@pytest.mark.parametrize("side", [96, 128])
def test_centres_of_positions_that_the_border_cuts(side):
    network = own_network("own_modules:Deep", input_size=side)
    field = network.receptive_fields()["last"]
    known = create_model("vgg16").receptive_fields()[TOP_CONV]
    assert (field.stride, field.size) == (known.stride, known.size) == (16, 196)
    assert field.offset == pytest.approx(known.offset, abs=0.1 * 16)


def test_centres_of_a_module_with_images_of_one_size():
    found = own_network("own_modules:Deep", input_size=64, options=[("positions", 4 * 4 * 4)])
    field = found.receptive_fields()["last"]
    assert field.size <= 64 and field.centers(4).mean() == pytest.approx(32, abs=1)


@pytest.mark.parametrize(
    ("module", "known"),
    [
        ("Patches", interp_cnn.ReceptiveField(14, 28, 28)),
        ("PerPosition", interp_cnn.ReceptiveField(3.5, 4, 7)),
        ("Attends", interp_cnn.ReceptiveField(3.5, 4, 56)),
    ],
)
def test_centres_of_modules_that_wider_images_do_not_suit(module, known, monkeypatch):
    if module == "Attends":  # they fit it, but take more memory than they may
        monkeypatch.setattr(measured_fields_module, "_MOST_BYTES", 1000)
    field = own_network(f"own_modules:{module}", input_size=56).receptive_fields()["last"]
    assert (field.stride, field.size) == (pytest.approx(known.stride, rel=0.1), known.size)
    size = 56 // int(known.stride)
    assert field.centers(size).mean() == pytest.approx(known.centers(size).mean(), abs=0.5)


def test_strides_are_how_maps_grow():
    assert stride_by_growth((6, 6), (18, 18), (198, 198)) == 16
    assert stride_by_growth((6, 5), (30, 29), (390, 389)) == 8
    for wider, further in (
        ((6, 6), (6, 6)),  # resized to so many positions
        ((18, 30), (198, 198)),
        ((19, 19), (214, 214)),
        ((5, 5), (5, 5)),
        ((12, 12), (115, 115)),  # 28 pixels, which seem 32
    ):
        with pytest.raises(ValueError, match="there is no such stride"):
            stride_by_growth((6, 6), wider, further)


def spots(centers, side=64, spread=3.0):
    """Gradients of positions at some centres (y, x)."""
    place = np.arange(side) + 0.5
    y, x = (np.exp(-np.square(place[None] - np.array(of)[:, None]) / spread**2) for of in centers)
    return y[:, :, None] * x[:, None, :]


def test_the_grid_that_fits_centres():
    index = np.arange(8)
    line = 3.0 + 8.0 * index
    field = fitted_field(spots([line, line]), index, index, (8, 8))
    assert field.stride == 8 and field.offset == pytest.approx(3.0, abs=0.05)
    # Outer positions see less than they would without a border, and do not count.
    wide = fitted_field(spots([line, line], spread=12.0), index, index, (8, 8))
    assert wide.stride == 8 and wide.offset == pytest.approx(3.0, abs=1.0)
    few = fitted_field(spots([[14.0, 50.0]] * 2, spread=30.0), index[:2], index[:2], (2, 2))
    assert few.stride == 32 and few.centers(2).mean() == pytest.approx(32, abs=0.5)


def test_strides_of_centres_that_scatter_or_are_no_whole_numbers():
    index = np.arange(2, 6)
    pairs = np.array([12.8, 28.3, 28.8, 44.3])  # behind a transposed convolution
    assert fitted_field(spots([pairs, pairs]), index, index, (8, 8)).stride == 8
    index = np.arange(8)
    drawn = 32 + 7.76 * (index - 3.5)  # to the middle, by a mean over the whole map
    assert fitted_field(spots([drawn, drawn]), index, index, (8, 8)).stride == 8
    index = np.arange(31)
    line = 1.6 + 64 / 31 * index  # of an image that was resized to 62 pixels
    field = fitted_field(spots([line, line], spread=0.8), index, index, (31, 31))
    assert field.stride == pytest.approx(64 / 31) and field.offset == pytest.approx(1.6, abs=0.1)


@pytest.mark.parametrize("norm", ["group", "instance", "layer", "weight", "factor", "threshold"])
def test_normalisations_do_not_hide_where_positions_look(norm):
    network = own_network("own_modules:Normalised", input_size=64, options=[("norm", norm)])
    field = network.receptive_fields()["last"]
    assert (field.stride, field.size) == (8, 15)
    assert field.offset == pytest.approx(7.5, abs=0.2)
    # A strength and a slope that are numbers of NumPy are those numbers.
    assert network.mask_strengths == {"last": 0.25}
    assert network.templates_of("last").beta == 3.0


def test_options_come_back_from_json():
    options = (("norm", "group"), ("filters", ((8, 2), (16,))))
    again = json.loads(json.dumps(options))
    first, second = (own_network("own_modules:Normalised", options=of) for of in (options, again))
    assert first.module == second.module and hash(second.module)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"masks": [("(", 0.5)]}, r"config\.model\.masks: '\(' is no regular expression \("),
        ({"masks": [("after", 7.0)]}, r"'after' has the strength 7\.0; give one in \[0, 1\]"),
        ({"last_mask": -1.0}, r"'last_mask' has the strength -1\.0"),
    ],
)
def test_strengths_that_are_none(changes, message):
    with pytest.raises(ValueError, match=message):
        own_network(NAME, input_size=16, **changes)


@pytest.mark.parametrize(
    ("centers", "message"),
    [
        ([[5, 40, 20, 60, 30, 50, 10, 25]] * 2, "on no regular grid"),
        ([np.linspace(30, 33, 8)] * 2, "look at no place of the image more than at the rest"),
        ([4 + 8 * np.arange(8), 18 + 4 * np.arange(8)], "the same for rows and columns"),
    ],
)
def test_centres_on_no_grid(centers, message):
    index = np.arange(8)
    with pytest.raises(ValueError, match=message):
        fitted_field(spots(centers), index, index, (8, 8))
    with pytest.raises(ValueError, match=message):
        uncut_field(spots(centers), index, index, 8)
    with pytest.raises(ValueError, match="have no gradient by the image"):
        fitted_field(np.zeros((2, 8, 8)), index[:2], index[:2], (2, 2))


def test_a_module_may_say_its_receptive_fields():
    fields = own_network("own_modules:SaysItsFields", input_size=16).receptive_fields()
    assert fields["after"] == interp_cnn.ReceptiveField(1.0, 2.0, 7.0)
    assert fields["second/mask"].stride == 2


# What is no network


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_package.module:Net", r"module no_such_package.module cannot be imported from /"),
        ("own_modules:Nothing", r"module own_modules has no 'Nothing'; its linen .*Nested.*NoMask"),
        ("own_modules:NotLinen", r"is the class NotLinen, and a network has to be a subclass of"),
        ("own_modules:instance", r"is a Nested, and a network has to be a subclass of flax.linen"),
        ("own_modules:no_module", r"is a dict, and"),
        ("own_modules:OfNnx", r"is a module of nnx"),
        ("own_modules:a b", r"names no class of a module; write --config.model.name=package.modul"),
        ("own_modules:NoMask", r"NoMask calls no TemplateMask; call interp_cnn.layers.TemplateMas"),
        ("own_modules:NoLogits", r"returns an array \[1, 16, 16, 3\] for one image; return logits"),
        ("own_modules:TwoResults", r"returns tuple for one image"),
        ("own_modules:Sigmoid", r"returns the result of a sigmoid; return the logits before it"),
        ("own_modules:Softmax", r"returns the result of a softmax; return the logits before it"),
        ("own_modules:CallsTwice", r"calls the TemplateMask 'mask' twice; give each place"),
        ("own_modules:NoRelu", r"'mask' maps with negative values, such as -[\d.]+; call it behin"),
        ("own_modules:OnePosition", r"'mask' maps of one position.*; call it before the pooling"),
        ("own_modules:NoMaps", r"'mask' an array \[1, 3\]; give it maps \[batch, height, width"),
        ("own_modules:Asks", r"takes 'deterministic', which nothing sets: .*; call this argument"),
        ("own_modules:Training", r"takes 'training', which nothing sets"),
        ("own_modules:MoreInTraining", r"returns tuple for two images in training; return logits"),
        ("own_modules:MaskInTraining", r"calls the TemplateMask 'second' in training or in predic"),
        ("own_modules:OtherStream", r"\(InvalidRngError: Dropout_0 needs PRNG for \"noise\""),
        ("own_modules:Sows", r"changes the shapes of its collection 'losses' in training, as sow"),
        ("own_modules:OneForAll", r"returns an array \[1, 3\] for two images in training"),
        ("own_modules:WholeNumbers", r"returns an array \[1, 3\] of int32 for one image"),
        ("own_modules:Prelu", r"'mask' maps with negative values"),
        ("own_modules:InScan", r"'blocks/mask' inside of nn.scan, nn.vmap or the like, which make"),
        ("own_modules:ScanLosesMaps", r"'blocks/mask' inside of nn.scan, nn.vmap or the like"),
        ("own_modules:Compiled", r"calls the TemplateMask 'mask' inside of nn.jit, .*; leave nn.j"),
        ("own_modules:Fails", r"\(RuntimeError: no such layer\); its __call__ takes images"),
        ("own_modules:Ignores", r"returns 7 logits with num_outputs=1; give its last layer num_"),
        ("own_modules:Shuffled", r"of 'mask' look at places .* on no regular grid .*; give it a m"),
        ("own_modules:SaysOtherFields", r"dict from the names of its masks \('second/mask', 'aft"),
    ],
)
def test_what_is_no_network_gets_one_sentence(name, message):
    side = 32 if name.endswith("Shuffled") else 16
    with pytest.raises(ValueError, match=message) as caught:
        own_network(name, input_size=side)
    assert "\n" not in str(caught.value) and name in str(caught.value)


def test_logits_over_a_temperature_are_logits():
    network = own_network("own_modules:Softmax", input_size=16, options=[("temperature", 2.0)])
    assert network.num_outputs == 2
    assert own_network("own_modules:Similarity", input_size=16).num_outputs == 2


def test_numbers_of_outputs_options_and_masks_that_do_not_fit():
    with pytest.raises(ValueError, match=r"returns 3 logits for an image, and the data have 2 cat"):
        own_network(NAME, num_outputs=2, input_size=16)
    network = own_network(NAME, num_outputs=5, input_size=16, options=[("outputs", 5)])
    assert network.num_outputs == 5
    with pytest.raises(ValueError, match=r"no attribute 'output' for config.model.options; it has"):
        own_network(NAME, input_size=16, options=[("output", 5)])
    with pytest.raises(ValueError, match=r"'new_conv' matches no layer; they are 'second/mask'"):
        own_network(NAME, input_size=16, masks=[("new_conv", 0.5)])


def test_the_current_directory_counts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))  # and the path is restored
    text = "from own_modules import Nested\nclass Here(Nested): pass\n"
    (tmp_path / "module_of_this_folder.py").write_text(text)
    network = own_network("module_of_this_folder:Here", input_size=16)
    assert network.last_layer == "after"
    (tmp_path / "broken_module.py").write_text("import no_such_thing")
    with pytest.raises(ValueError, match=r"ModuleNotFoundError: No module named 'no_such_thing'"):
        own_network("broken_module:Net")


# In a configuration


def own_config():
    config = tiny_config()
    config.model.width = 1.0
    config.model.name = "own_modules:Example"
    config.train.epochs = 1
    return config


def test_photos_in_folders_take_it_in_place_of_a_network_of_the_package():
    config = folder.get_config("net=own_modules:Example,epochs=3")
    assert config.model.name == "own_modules:Example" and config.train.epochs == 3
    small = folder.get_config("net=small,epochs=3")
    assert (config.weights, config.model.frozen_through) == ("", None)
    small.model.name = config.model.name
    assert config.to_dict() == small.to_dict()


def test_input_size_is_one_of_both_kinds():
    config = tiny_config()
    config.model.input_size = 64
    assert make_network(config, "ordinary").input_size == 64


def test_fields_of_a_configuration():
    config = own_config()
    set_field(config, "model.masks", "(('net/last', 0.5),)")
    set_field(config, "model.input_size", "40")
    check_config(json.loads(config.to_json()))
    network = make_network(config, "interpretable", None)
    assert network.input_size == 40 and network.num_outputs == 1
    assert network.mask_strengths == {"net/middle": 1.0, "net/last": 0.5}
    config.model.top_conv_mask = 0.25  # where no expression matches
    assert make_network(config, "interpretable").mask_strengths == {
        "net/middle": 0.25,
        "net/last": 0.5,
    }
    set_field(config, "model.masks", "")
    config.model.top_conv_mask, config.model.new_conv_mask = 0.0, 0.5
    assert make_network(config, "interpretable").mask_strengths == {
        "net/middle": 0.0,
        "net/last": 0.5,
    }


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("model.name", "vgg17"),
        ("model.name", "own modules:Net"),
        ("model.name", "own_modules:"),
        ("model.masks", "(('last', 1.5),)"),
        ("model.masks", "(('(', 0.5),)"),
        ("model.options", "(('width', 3), ('width', 4))"),
        ("model.options", "(('a b', 3),)"),
        ("model.options", "(('width', {}),)"),
        ("model.options", "width"),
        ("model.input_size", "-1"),
    ],
)
def test_values_that_fields_cannot_have(name, text):
    with pytest.raises(ValueError, match=rf"config.{name}=.* must be "):
        field_of(name).parse(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.width": 0.5}, r"config.model.width=0.5 is for a network of the package, and"),
        ({"model.beta": 2.0}, r"config.model.beta=2.0 .* leave it out and say it in your module"),
        ({"model.frozen_through": "conv1"}, r"config.model.frozen_through='conv1' is for"),
        ({"weights": "download"}, r"config.weights='download' are those of a network of the pack"),
        ({"model.name": "own_modules:NoMask"}, r"own_modules:NoMask calls no TemplateMask"),
        (
            {"model.name": "small", "model.options": (("width", 2),)},
            r"config.model.options=.* is for a network of your own, and config.model.name='small'",
        ),
    ],
)
def test_before_data_are_prepared(changes, message):
    config = own_config()
    config.update_from_flattened_dict(changes)
    with pytest.raises(ValueError, match=message):
        check_run(config)


# From training to the report


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A work directory with the example's network, trained and evaluated, and its results."""
    folder = tmp_path_factory.mktemp("run")
    builder = tiny_builder(folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "open_builder", lambda *_, **__: builder)
        results = commands.train_and_evaluate(own_config(), folder)
        yield folder, results


def test_training_and_its_metrics(run):
    folder, results = run
    network = results.networks["interpretable"]
    assert network.step >= 1 and results.experiment.network == "own_modules:Example"
    assert list(network.layers) == ["net/middle", "net/last"]
    assert network.layers["net/last"].receptive_field.stride == 8
    lines = (folder / "interpretable" / "metrics.jsonl").read_text().splitlines()
    assert {"mi/net/middle", "mi/net/last", "peak/net/last"} <= set(json.loads(lines[0]))


def test_the_report_names_its_layers_and_no_other(run):
    folder, _ = run
    page = (folder / "report" / "index.html").read_text()
    assert "net/last" in page and "net/middle" in page
    for text in (page, (folder / "table.md").read_text()):
        assert not re.search(r"\b(new|top)[ _]conv\b(?!_)", re.sub(r"model\.\w+", "", text))
    filters = {file.name for file in (folder / "report" / "filters").glob("*.html")}
    assert {"interpretable-net-last-000.html", "interpretable-net-middle-015.html"} <= filters
    for link in set(re.findall(r'href="(filters/[^"]+)"', page)):
        assert (folder / "report" / link).is_file()


def test_evaluation_again_gives_the_same(run):
    folder, results = run
    commands.evaluate_workdir(own_config(), folder)
    again = read_results(folder / "metrics.json")
    assert again.networks == results.networks


def test_a_photo_is_explained_by_its_last_layer(run, tmp_path):
    folder, _ = run
    photo = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    text = explain_image(tmp_path / "photo.png", folder)
    assert "the filters of net/last that" in text
    assert (folder / "explained" / "photo.png-interpretable.png").is_file()
