"""Contributions of filters against forward passes without them, shares of parts, attribution.py."""

import dataclasses
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from repository import ROOT
from tiny import tiny_builder, tiny_config

from interp_cnn import apply_template_mask, attribution
from interp_cnn.data import prepare
from interp_cnn.evaluation import filter_files, filter_parts
from interp_cnn.evaluation.evaluator import Evaluator
from interp_cnn.evaluation.restore import restore_network
from interp_cnn.explain_command import explain_image
from interp_cnn.models import NEW_CONV, TOP_CONV, create_model
from interp_cnn.report.explanation_picture import Highlight, explanation_figure
from interp_cnn.training import trainer
from interp_cnn.training.build import check_variables, make_network
from interp_cnn.training.checkpoint import Checkpoints
from interp_cnn.workdir import claim_workdir

# Contributions


@pytest.fixture(scope="module")
def small():
    """A small network with random weights, and two images."""
    network = create_model("small", width=0.0625, new_init_std=None, num_outputs=2)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((2, 32, 32, 3)).astype(np.float32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), images)
    variables = jax.tree.map(lambda leaf: 0.3 * rng.standard_normal(leaf.shape, np.float32), shapes)
    return network, variables, images


@pytest.mark.parametrize(("layer", "convolution"), [(NEW_CONV, "new_conv"), (TOP_CONV, "conv5")])
def test_leave_one_out_is_the_difference_of_two_forward_passes(small, layer, convolution):
    network, variables, images = small
    predict = jax.jit(lambda variables: network.apply(variables, images)[0][:, 1])
    whole = predict(variables)
    values = attribution.filter_contributions(
        network, variables, images, layer=layer, output=1, filters_at_once=3
    )
    assert values.shape == (2, 8) and values.dtype == jnp.float32
    assert np.abs(values).max() > 0.1 * np.abs(whole).max()
    for unit in range(8):
        # Without its weights the filter is silent, so this pass knows nothing of given maps.
        without = jax.tree.map(np.array, variables)
        without["params"][convolution]["kernel"][..., unit] = 0
        without["params"][convolution]["bias"][unit] = 0
        expected = whole - predict(without)
        np.testing.assert_allclose(values[:, unit], expected, atol=1e-5 * np.abs(whole).max())


@pytest.mark.parametrize("method", ["leave_one_out", "gradient"])
def test_contributions_of_a_bfloat16_network_are_no_rounding(small, method):
    network, variables, images = small
    # A large logit: its neighbours in bfloat16 are farther apart than what a filter adds.
    variables = jax.tree.map(np.array, variables)
    variables["params"]["fc8"]["bias"] += 1e4
    sixteen = network.clone(dtype=jnp.bfloat16)
    maps = sixteen.apply(variables, images)[1][NEW_CONV]
    values = attribution.filter_contributions(sixteen, variables, images, method=method)
    expected = attribution.filter_contributions(network, variables, images, method=method)
    assert maps.dtype == jnp.bfloat16 and values.dtype == jnp.float32
    assert np.abs(values - expected).max() < 0.5 * np.abs(expected).max()


def test_the_gradient_is_that_of_scaling_each_filter(small):
    network, variables, images = small

    maps = network.apply(variables, images)[1][NEW_CONV]

    def logits(scale):
        given = {NEW_CONV: maps * scale}
        return network.apply(variables, images, given_maps=given)[0][:, 0]

    expected = jax.jit(jax.jacrev(logits))(jnp.ones((2, 1, 1, 8)))  # [batch, batch, 1, 1, filters]
    values = attribution.filter_contributions(network, variables, images, method="gradient")
    np.testing.assert_allclose(
        values, jnp.einsum("bbijf->bf", expected), rtol=1e-4, atol=1e-4
    )  # fmt: skip


def test_both_methods_agree_exactly_for_a_linear_head():
    rng = np.random.default_rng(0)
    maps = jnp.asarray(rng.integers(0, 5, (3, 2, 2, 5)), jnp.float32)
    weights = jnp.asarray(rng.integers(-3, 4, (20, 2)), jnp.float32)

    def head(maps):
        return maps.reshape(len(maps), -1) @ weights + 7.0

    expected = np.einsum("nijf,ijf->nf", maps, weights[:, 1].reshape(2, 2, 5))
    for method in (attribution.leave_one_out, attribution.gradient_times_activation):
        np.testing.assert_array_equal(method(head, maps, output=1), expected)
    np.testing.assert_array_equal(
        attribution.leave_one_out(head, maps, output=1, filters_at_once=2), expected
    )


@pytest.mark.parametrize(
    "function", [attribution.leave_one_out, attribution.gradient_times_activation]
)
def test_an_output_that_a_head_does_not_have(function):
    maps = jnp.ones((2, 3, 3, 4))
    for output in (3, 7, -1):
        with pytest.raises(ValueError, match=f"output is {output}, the network has 3"):
            function(lambda x: x.sum(axis=(1, 2))[:, :3], maps, output=output)
    with pytest.raises(ValueError, match=r"head returns the shape \(2,\); it must be \[batch, out"):
        function(lambda x: x.sum(axis=(1, 2, 3)), maps)


def test_a_part_without_a_name():
    with pytest.raises(ValueError, match="part_of_filter has 2, names has 2"):
        attribution.contributions_by_part([1.0, 1.0], [0, 2], ["head", "torso"])


def test_names_of_parts_are_different_and_figures_finite():
    for names in (["head", "head"], ["head", "no part"]):
        with pytest.raises(ValueError, match="give different ones, and none 'no part'"):
            attribution.contributions_by_part([1.0, 1.0], [0, 1], names)
    with pytest.raises(ValueError, match="contributions holds values that are not finite"):
        attribution.contributions_by_part([np.nan, 1.0], [0, 1], ["head", "torso"])
    shares = attribution.contributions_by_part([3.0, 1.0], [-2, 1], ["head", "torso"])
    assert shares == {"no part": 0.75, "torso": 0.25, "head": 0}


def test_the_backbone_runs_once(small):
    network, variables, images = small

    def convolutions(function, *arguments, **options):
        text = function.lower(*arguments, **options).compile().as_text()
        return len(re.findall(r"(?<!%)\bconvolution\(", text))

    forward = jax.jit(lambda variables, images: network.apply(variables, images)[0])
    options = {"network": network, "output": 0, "method": "leave_one_out", "filters_at_once": 3}
    once = convolutions(forward, variables, jnp.asarray(images))
    assert once == 6
    arguments = (variables, jnp.asarray(images))
    assert convolutions(attribution._contributions, *arguments, layer=NEW_CONV, **options) == once


def test_what_contributions_refuse(small):
    network, variables, images = small
    for options, message in (
        ({"layer": "conv3"}, "layer must be one of 'top_conv', 'new_conv', got 'conv3'"),
        ({"method": "shapley"}, "method must be 'leave_one_out' or 'gradient', got 'shapley'"),
        ({"output": 2}, "output is 2, the network has 2"),
    ):
        with pytest.raises(ValueError, match=message):
            attribution.filter_contributions(network, variables, images, **options)


# Parts


def test_the_part_of_a_filter():
    shares = np.array([[0.1, 0.7], [0.3, 0.3], [0.0, 0.0], [np.nan, 0.2], [np.nan, np.nan]])
    assert attribution.part_of_filters(shares, None).tolist() == [1, 0, -1, 1, -1]
    # A filter follows a landmark below 0.8.
    ratios = np.array([[0.9, 0.4, 1.2], [np.nan, 2.0, np.nan], [np.nan] * 3])
    assert attribution.part_of_filters(np.zeros((3, 0)), ratios).tolist() == [1, -1, -1]


def test_shares_sum_to_one_and_only_what_speaks_for_the_logit_counts():
    part = np.array([0, 1, 1, -1, 0])
    shares = attribution.contributions_by_part([3.0, 1.0, 1.0, 5.0, -4.0], part, ["head", "tail"])
    assert shares == {"no part": 0.5, "head": 0.3, "tail": 0.2} and next(iter(shares)) == "no part"
    rng = np.random.default_rng(0)
    for _ in range(20):
        values = rng.standard_normal(50)
        shares = attribution.contributions_by_part(values, rng.integers(0, 3, 50), "abc")
        assert sum(shares.values()) == pytest.approx(1) and set(shares) == set("abc")
    nothing = attribution.contributions_by_part([-1.0, 0.0], [0, 1], ["head", "tail"])
    assert nothing == {"head": 0, "tail": 0}
    with pytest.raises(ValueError, match=r"contributions has shape \(1, 2\) and part_of_filter"):
        attribution.contributions_by_part([[1.0, 2.0]], [0, 0], ["head"])


def test_the_sentence():
    shares = {"head": 0.61, "front_legs": 0.385, "tail": 0.005}
    assert attribution.explanation("cat", 2.0, shares) == "cat, 61 % head, 38 % front legs"
    assert attribution.explanation("cat", 2.0, {"head": 0.0}) == (
        "cat, though hardly any part speaks for it"
    )
    assert attribution.explanation("cat", -2.0, {"head": 0.0}) == (
        "not cat; no part speaks against it, but too little for it"
    )
    assert attribution.explanation("cat", -2.0, {"torso": 0.7, "head": 0.3}) == (
        "not cat; against it speaks: 70 % torso, 30 % head"
    )
    # Of a softmax the highest logit is the answer, whatever its sign.
    assert (
        attribution.explanation("cat", -2.0, shares, softmax=True)
        == "cat, 61 % head, 38 % front legs"
    )


def test_the_shares_are_those_of_the_answer():
    def shares(values, logit, **options):
        return attribution.shares_of_answer(
            values, [0, 1, 1], ["head", "tail"], logit=logit, **options
        )

    values = [3.0, -2.0, -1.0]
    assert shares(values, 4.0) == {"head": 1, "tail": 0}
    assert shares(values, -4.0) == {"tail": 1, "head": 0}
    assert shares(values, -4.0, softmax=True) == {"head": 1, "tail": 0}
    # The trial that showed it: +.07 of a logit of -3.33 was all that the sentence told.
    assert set(shares([0.07, 0.0, -0.01], -3.33).values()) == {0}
    assert set(shares([0.07, 0.0, -0.01], 3.33).values()) == {0}
    assert shares([0.07, 0.0, -0.4], -3.33)["tail"] == 1
    spoken = attribution.speaking_for_answer([0.07, 0.0, -0.4], logit=-3.33)
    np.testing.assert_allclose(spoken, [0, 0, 0.4])
    assert not attribution.speaking_for_answer([2.8, 1.0], logit=1000.0).any()
    # Leaving the shares to the sign is what `contributions_by_part` does by itself.
    assert shares(values, 4.0) == attribution.contributions_by_part(
        values, [0, 1, 1], ["head", "tail"]
    )


def test_erasing_what_a_filter_sees_lowers_the_share_of_its_part():
    """Two red filters are the head and a green one is the torso, in a network made by hand."""
    colours = np.array([[1, 0, 0], [2, -1, 0], [0, 1, 0]], np.float32).T  # [channels, filters]
    image = np.zeros((8, 8, 3), np.float32)
    image[1:3, 1:3, 0] = image[5:7, 5:7, 1] = 1.0

    def head(maps):
        return jax.nn.relu(apply_template_mask(maps).sum(axis=(1, 2)) - 0.1) @ jnp.array(
            [[1.0], [1.0], [2.0]]
        )

    def shares(image):
        maps = jnp.maximum(jnp.asarray(image[None]) @ colours, 0)
        values = attribution.leave_one_out(head, maps)[0]
        return attribution.contributions_by_part(values, [0, 0, 1], ["head", "torso"])

    erased = image.copy()
    erased[1:3, 1:3] = 0
    assert 0.5 < shares(image)["head"] < 0.7
    assert shares(erased) == {"torso": 1.0, "head": 0.0}
    erased[1:3, 1:3, 0] = 0.2  # a faint head
    assert 0 < shares(erased)["head"] < shares(image)["head"] - 0.2


# One image of a trained run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A work directory with a checkpoint, the builder of its data, and an image file."""
    folder = tmp_path_factory.mktemp("run")
    builder = tiny_builder(folder / "data")
    config = tiny_config()
    config.train.epochs = 1
    claim_workdir(folder, config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "open_builder", lambda *_, **__: builder)
        data = prepare.prepare(config.data, seed=0)
        trainer.train(config, "interpretable", data, folder / "interpretable")
    image = folder / "a <cat>.png"
    image.write_bytes(data.test[0]["image"])
    return folder, builder, image


def test_explain_an_image_then_again_from_what_was_kept(run, monkeypatch):
    workdir, builder, image = run
    monkeypatch.setattr(prepare, "open_builder", lambda *_, **__: builder)
    text = explain_image(image, workdir)
    sentence, _, heading, *filters, _, last = text.splitlines()
    assert re.match(r"(not )?cat", sentence) and "logit" in heading and 0 < len(filters) <= 5
    assert all(re.match(r"  filter +\d+  \+", line) for line in filters)
    picture = workdir / "explained" / "a <cat>.png-interpretable.png"
    assert last == f"written: {picture}" and picture.read_bytes().startswith(b"\x89PNG")

    monkeypatch.setattr(prepare, "open_builder", None)  # the data are not needed again
    assert explain_image(image, workdir) == text
    assert explain_image(image, workdir, box=(5, 5, 40, 50)) != text
    other = workdir / "a <cat>.jpg"  # another suffix
    Image.open(image).save(other)
    explain_image(other, workdir)
    assert {file.name for file in (workdir / "explained").iterdir()} == {
        "a <cat>.png-interpretable.png",
        "a <cat>.png-interpretable-box-5-5-40-50.png",
        "a <cat>.jpg-interpretable.png",
    }

    script = [sys.executable, str(ROOT / "explain.py"), str(image), "--workdir", str(workdir)]
    done = subprocess.run(script, cwd=workdir, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == sentence


def test_the_parts_of_an_evaluation(run, monkeypatch):
    workdir, builder, _ = run
    monkeypatch.setattr(prepare, "open_builder", lambda *_, **__: builder)
    config = tiny_config()
    restored = restore_network(config, workdir, "interpretable")
    data = prepare.prepare(config.data, seed=0)
    evaluation = Evaluator(config, data).evaluate(
        restored.network, restored.variables, restored.step, restored.activity
    )
    found = filter_parts.filter_parts_of(evaluation, data)
    shares = evaluation.layers[NEW_CONV].shares
    np.testing.assert_array_equal(found.part, attribution.part_of_filters(shares, None))
    assert found.names == data.parts and found.categories == ("cat",)
    points = dataclasses.replace(data, parts=())  # a data set without part regions
    assert filter_parts.filter_parts_of(evaluation, points).names == data.landmarks


def test_a_file_of_another_step_or_a_damaged_one(tmp_path):
    file = tmp_path / "filters.npz"
    assert filter_parts.read_filter_parts(file, 3) is None
    found = filter_parts.FilterParts(np.array([1, -1]), ("head", "tail"), ("cat",))
    filter_files.write_filter_parts(file, 3, found)
    again = filter_parts.read_filter_parts(file, 3)
    assert again.part.tolist() == [1, -1] and again[1:] == found[1:]
    assert filter_parts.read_filter_parts(file, 4) is None
    file.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"filters.npz is damaged .* delete it"):
        filter_parts.read_filter_parts(file, 3)


def test_bad_input_of_explain(run, tmp_path, monkeypatch):
    workdir, _, image = run
    text = tmp_path / "text.png"
    text.write_text("no image")
    with pytest.raises(ValueError, match=r"text.png is no image that can be read"):
        explain_image(text, workdir)
    for most in (100, 3000):  # Pillow's error, and its warning
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
        with pytest.raises(ValueError, match=rf"has more than {most:,} pixels, the most that are"):
            explain_image(image, workdir)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"is a directory; give the file of one image"):
        explain_image(tmp_path, workdir)
    content = image.read_bytes()
    for name, part in (("cut.png", content[: len(content) // 2]), ("empty.png", b"")):
        (tmp_path / name).write_bytes(part)
    with pytest.raises(ValueError, match=r"cut.png is truncated or damaged \(.*\); copy it again"):
        explain_image(tmp_path / "cut.png", workdir)
    with pytest.raises(ValueError, match=r"empty.png is no image that can be read"):
        explain_image(tmp_path / "empty.png", workdir)
    with pytest.raises(FileNotFoundError, match=r"none.png does not exist"):
        explain_image(tmp_path / "none.png", workdir)
    with pytest.raises(ValueError, match=r"box is 0,0,99,20, .* is 64 pixels high and 64 wide"):
        explain_image(image, workdir, box=(0, 0, 99, 20))
    with pytest.raises(FileNotFoundError, match=r"config.json is missing"):
        explain_image(image, tmp_path)
    claim_workdir(tmp_path, tiny_config())
    (tmp_path / "explained").write_text("")
    with pytest.raises(OSError, match=r"explanation cannot be written to .*\(File exists"):
        explain_image(image, tmp_path)
    (tmp_path / "explained").unlink()
    with pytest.raises(FileNotFoundError, match="checkpoints is missing; train this network first"):
        explain_image(image, tmp_path)


def test_a_checkpoint_of_another_network(run):
    workdir, *_ = run
    folder = workdir / "interpretable" / "checkpoints"
    checkpoints = Checkpoints(folder)
    _, variables, _ = checkpoints.restore_for_evaluation()
    checkpoints.close()
    config = tiny_config()
    check_variables(make_network(config, "ordinary"), variables, folder)
    config.model.width = 0.2
    with pytest.raises(
        ValueError, match=r"is of another network: params/conv1/bias has the shape \(3,\)"
    ):
        check_variables(make_network(config, "interpretable"), variables, folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "needs one image and --workdir"),
        (("a.png", "--workdir=x", "--box=1,2"), "four numbers"),
    ],
)
def test_explain_says_how_it_is_called(arguments, message):
    script = [sys.executable, str(ROOT / "explain.py"), *arguments]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1


def test_the_picture_takes_any_name(tmp_path):
    picture = explanation_figure(
        np.zeros((16, 16, 3), np.uint8),
        title="cat <&> $x$",
        shares={"$head$": 0.7, "no part": 0.3, "tail": 0.0},
        names=["$head$", "tail"],
        highlights=[
            Highlight(1, 0.1, 0, np.array([3.0, 4.0])),
            Highlight(2, 0.05, -1, np.array([9, 9])),
        ],
        radius=4.0,
    )
    picture.savefig(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    nothing = explanation_figure(
        np.zeros((16, 16, 3), np.uint8),
        title="not cat",
        shares={"head": 0.0},
        names=["head"],
        highlights=[],
        radius=4.0,
    )
    nothing.savefig(tmp_path / "nothing.png")
