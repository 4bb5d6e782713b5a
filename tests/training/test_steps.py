"""One training step on one device and on eight, and the optimiser."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from mapped_steps import MEAN, on_devices, step_of
from tiny import leaves

from interp_cnn.config import default_config, set_field
from interp_cnn.losses import filter_loss, normalize_scale
from interp_cnn.losses.categories import categories_of
from interp_cnn.models import NEW_CONV, TOP_CONV, create_model
from interp_cnn.training import parallel
from interp_cnn.training.build import make_network
from interp_cnn.training.filter_categories import no_activity, update_activity
from interp_cnn.training.objective import Objective, balanced_class_weights
from interp_cnn.training.optim import learning_rate, make_optimizer, paper_schedule
from interp_cnn.training.state import TrainState, init_state, named_leaves
from interp_cnn.training.steps import predict_step

FROZEN = "conv2"


def network_of(interpretable=True, **options):
    return create_model(
        "small",
        interpretable=interpretable,
        **{"width": 0.1, "dropout": 0.0, "new_init_std": 0.1, "num_outputs": 3, **options},
    )


@pytest.fixture(scope="module")
def batch():
    """Sixteen images with a bright square somewhere, so that maps peak in different places."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 90, (16, 96, 96, 3))
    for image in images:
        y, x = rng.integers(0, 70, 2)
        image[y : y + 25, x : x + 25] += rng.integers(60, 160, 3)
    labels = np.array([1, 2, 3, 0, 1, 2, 3, 1, 2, 3, 0, 1, 2, 3, 1, 2], np.int32)
    return {"image": images.astype(np.uint8), "label": labels}


OBJECTIVES = {
    "exact": Objective(weight=20.0, gradient="exact"),
    "paper": Objective(weighting="paper", weight=0.01, gradient="paper", steps_per_epoch=3),
    "growth": Objective(weight=20.0, gradient="exact", growth_weight=30.0),
}


@pytest.fixture(scope="module")
def one_device(batch):
    @functools.cache
    def result(kind):
        step, state = step_of(network_of(frozen_through=FROZEN), OBJECTIVES[kind])
        if kind == "growth":  # since a first step with maps of half the size
            first = {TOP_CONV: jnp.asarray(0.02), NEW_CONV: jnp.asarray(0.005)}
            state = state.replace(step=state.step + 1, first_peaks=first)
        return state, *jax.jit(step)(state, batch)

    return result


@pytest.fixture(scope="module")
def rounding(one_device, batch):
    """How far two float32 steps of one batch may differ, relative to the largest entry.

    A score is a sum over a map and as wrong as eight roundings of the largest score (measured
    against float64), which is that of the negative template, half the mean of a map. What is the
    error of a score is the relative error of `p(x|T) = exp(score) / Z_T` and so of the gradient,
    on one device as on eight, whose order of summation differs.
    """

    @functools.cache
    def result(kind):
        before, objective = one_device(kind)[0], OBJECTIVES[kind]
        predict = functools.partial(predict_step, network=network_of(), mean=MEAN)
        maps = jax.jit(predict)(before.variables, batch)["maps"].values()
        if objective.weighting == "scale_free":
            maps = [normalize_scale(x, sharpness=objective.sharpness) for x in maps]
        score = max(float(x.mean(axis=(1, 2)).max()) / 2 for x in maps)
        return max(1e-5, 8 * 2.0**-24 * score)

    return result


# Convolutions under vmap are slow on CPUs: one kind; test_sharding.py has the loss of both.
@pytest.mark.parametrize(
    ("kind", "mapping"),
    [
        ("exact", "pmap"),
        ("paper", "pmap"),
        ("exact", "shard_map"),
        ("paper", "shard_map"),
        ("exact", "vmap"),
        ("growth", "pmap"),
        ("growth", "shard_map"),
    ],
)
def test_eight_devices_equal_one_big_batch(one_device, rounding, batch, kind, mapping):
    before, expected, expected_scalars = one_device(kind)
    step, _ = step_of(network_of(frozen_through=FROZEN), OBJECTIVES[kind], parallel.AXIS)
    bound = rounding(kind)  # 6e-5 for plain maps, whose scores reach 121, where mi has 1e-5
    after, scalars = on_devices(step, mapping)(before, batch)
    assert int(after.step) == int(before.step) + 1
    for start, a, b in zip(
        leaves(before.params), leaves(after.params), leaves(expected.params), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=0, atol=bound * np.abs(b).max())
        # What the step changed is held to be equal too, not the parameters alone. It is at least
        # a fifth of them.
        np.testing.assert_allclose(
            a - start, b - start, rtol=0, atol=10 * bound * np.abs(b - start).max()
        )
    assert scalars.keys() == expected_scalars.keys()
    for name in scalars:
        np.testing.assert_allclose(scalars[name], expected_scalars[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["exact", "paper"])
def test_frozen_layers_stay_and_all_others_learn(one_device, kind):
    before, after, scalars = one_device(kind)
    for layer in before.params:
        same = np.array_equal(before.params[layer]["kernel"], after.params[layer]["kernel"])
        assert same == (layer in ("conv1", "conv2")), layer
    assert {"loss", "accuracy", "mi/top_conv", "mi/new_conv", "peak/top_conv"} <= scalars.keys()
    assert float(scalars["mi/new_conv"]) > 0


def test_the_filter_loss_changes_the_step(one_device, batch):
    before, with_loss, _ = one_device("exact")
    step, _ = step_of(network_of(frozen_through=FROZEN), Objective(weight=0.0))
    without, scalars = jax.jit(step)(before, batch)
    assert not any(name.startswith("mi/") for name in scalars)
    difference = with_loss.params["new_conv"]["kernel"] - without.params["new_conv"]["kernel"]
    assert np.abs(difference).max() > 1e-4


def test_the_filter_loss_has_the_position_of_the_masks():
    random = np.random.default_rng(0)
    maps = jnp.asarray(random.random((4, 5, 5, 3), np.float32)) ** 4
    members = random.random((4, 3)) < 0.7
    # As `make_network` gets it from the config.
    config = default_config()
    set_field(config, "model.position", "centroid")
    network = make_network(config, "interpretable")

    def gradient(loss):
        return jax.grad(lambda x: loss(x).sum())(maps)

    found = gradient(lambda x: Objective().filter_loss(network, NEW_CONV, x, members, None))
    wanted, other = (
        gradient(
            lambda x, position=position: filter_loss(
                x, target=members, sharpness=60.0, position=position
            )
        )
        for position in ("centroid", "argmax")
    )
    np.testing.assert_array_equal(found, wanted)
    assert np.abs(found - other).max() > 0.1 * np.abs(found).max()


def test_the_top_conv_may_have_a_weight_of_its_own(batch):
    values = jnp.arange(4.0)
    how = {"peaks": jnp.ones(4), "first_peak": jnp.ones(()), "step": jnp.asarray(0)}
    objective, network = Objective(weight=6.0, top_conv_weight=2.0), network_of()
    assert float(objective.filter_term(network, NEW_CONV, values, **how)) == 6 * 1.5
    assert float(objective.filter_term(network, TOP_CONV, values, **how)) == 2 * 1.5
    assert float(Objective(weight=6.0).filter_term(network, TOP_CONV, values, **how)) == 6 * 1.5
    step, state = step_of(network, Objective(top_conv_weight=0.0))
    _, scalars = jax.jit(step)(state, batch)
    assert "mi/new_conv" in scalars and "mi/top_conv" not in scalars
    with pytest.raises(ValueError, match="top_conv_weight must not be negative, got -1"):
        Objective(top_conv_weight=-1.0)


def test_maps_that_grow_cost_something(batch):
    network, objective = network_of(), Objective(weight=2.0, growth_weight=3.0)

    def term(peaks, first):
        return objective.filter_term(
            network, NEW_CONV, jnp.zeros(2), peaks=peaks, first_peak=first, step=jnp.asarray(9)
        )

    # By hand: the mean peak has grown from 2 to 6; 3 log(3)^2, of slope 3 * 2 log(3) / 6 * 1/2.
    value, slope = jax.value_and_grad(term)(jnp.array([4.0, 8.0]), jnp.asarray(2.0))
    assert float(value) == pytest.approx(3 * np.log(3) ** 2)
    np.testing.assert_allclose(slope, np.log(3) / 2, rtol=1e-6)
    # Neither maps that shrink, nor those of a layer that was dead, nor dead ones.
    for peak, first in ((1.0, 2.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0)):
        value, slope = jax.value_and_grad(term)(jnp.full(2, peak), jnp.asarray(first))
        assert value == 0 and not slope.any()

    step, state = step_of(network, objective)
    once, scalars = jax.jit(step)(state, batch)
    assert set(once.first_peaks) == {TOP_CONV, NEW_CONV}
    for layer, first in once.first_peaks.items():
        assert first == scalars[f"peak/{layer}"] > 0
    twice, _ = jax.jit(step)(once, batch)
    assert twice.first_peaks == once.first_peaks
    # Also of a layer whose maps have a mask and no filter loss.
    grown = {layer: peak / 4 for layer, peak in once.first_peaks.items()}
    after = []
    for weight in (0.0, 30.0):
        step, _ = step_of(network, Objective(weight=0.0, growth_weight=weight))
        after.append(jax.jit(step)(once.replace(first_peaks=grown), batch))
    assert not any(name.startswith("mi/") for name in after[1][1])
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), *(of.params for of, _ in after))
    assert changed["new_conv"]["kernel"]
    with pytest.raises(ValueError, match="growth_weight must not be negative, got -1"):
        Objective(growth_weight=-1.0)


def test_ordinary_networks_have_no_filter_loss(batch):
    results = []
    for objective in (Objective(), Objective(weight=7.0, start_epoch=3.0, ramp_epochs=1.0)):
        step, state = step_of(network_of(interpretable=False), objective)
        results.append(jax.jit(step)(state, batch))
    assert set(results[0][1]) == {"loss", "accuracy", "peak/top_conv", "peak/new_conv"}
    for a, b in zip(leaves(results[0][0].params), leaves(results[1][0].params), strict=True):
        np.testing.assert_array_equal(a, b)


def test_before_its_start_the_interpretable_network_learns_as_the_ordinary_one(batch):
    after = {}
    for interpretable in (False, True):
        step, state = step_of(network_of(interpretable), Objective(start_epoch=1.0))
        after[interpretable] = jax.jit(step)(state, batch)[0]
    for a, b in zip(leaves(after[False].params), leaves(after[True].params), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


def test_strength_of_masks_and_filter_loss():
    objective = Objective(start_epoch=1.5, ramp_epochs=0.5, steps_per_epoch=10)
    strength = [float(objective.strength(jnp.asarray(step))) for step in (0, 15, 18, 20, 40)]
    assert strength == pytest.approx([0, 0, 0.6, 1, 1])
    sudden = Objective(start_epoch=1.0, steps_per_epoch=10)
    assert [float(sudden.strength(jnp.asarray(step))) for step in (9, 10)] == [0, 1]
    assert Objective().strength(jnp.asarray(0)) == 1


def test_the_filter_loss_fades():
    network, values = network_of(), jnp.arange(4.0)
    how = {"peaks": jnp.full(4, 2.0), "first_peak": jnp.ones(())}

    def terms(**settings):
        objective = Objective(weight=6.0, epochs=5, steps_per_epoch=10, **settings)
        return [
            float(objective.filter_term(network, NEW_CONV, values, step=jnp.asarray(step), **how))
            for step in (0, 30, 35, 40, 49, 50)
        ]

    assert terms() == [9.0] * 6
    assert terms(fade_epochs=2.0) == pytest.approx([9, 9, 9 * 0.75, 4.5, 0.45, 0])
    # What holds the size of the maps stays.
    held = np.array(terms(fade_epochs=2.0, growth_weight=3.0)) - terms(fade_epochs=2.0)
    np.testing.assert_allclose(held, 3 * np.log(2) ** 2, rtol=1e-5)


@pytest.mark.parametrize("task", ["logistic", "softmax"])
def test_loss_and_accuracy_are_those_of_the_logits(batch, task):
    batch = batch | {"label": np.maximum(batch["label"], int(task == "softmax"))}
    network = network_of()
    step, state = step_of(network, Objective(task))
    logits = np.asarray(
        predict_step(state.variables, batch, network=network, mean=MEAN)["logits"], np.float64
    )
    _, scalars = jax.jit(step)(state, batch)
    target = batch["label"][:, None] == [1, 2, 3]
    if task == "logistic":
        sign = np.where(target, 1, -1)
        losses, right = np.log1p(np.exp(-sign * logits)), (sign * logits > 0)
    else:
        losses = np.log(np.exp(logits).sum(axis=1)) - logits[target]
        right = logits.argmax(axis=1) == batch["label"] - 1
    np.testing.assert_allclose(scalars["loss"], losses.mean(), rtol=1e-4)
    np.testing.assert_allclose(scalars["accuracy"], right.mean(), rtol=1e-6)


def test_balanced_class_weights_make_categories_count_alike():
    labels = np.array([0, 0, 1, 1, 1, 2])
    logistic = np.array(balanced_class_weights(labels, categories=2, task="logistic"))
    np.testing.assert_allclose(logistic, [[1, 0.6], [1, 0.6], [1, 3]])
    assert logistic[labels].mean(axis=0) == pytest.approx([1, 1])
    softmax = np.array(balanced_class_weights(labels[2:], categories=2, task="softmax"))
    np.testing.assert_allclose(softmax[1:, 0], [2 / 3, 2])
    objective = Objective("softmax", class_weights=tuple(map(tuple, softmax)))
    logits = jnp.array([[0.0, 0.0], [1.0, 0.0]])
    expected = (2 / 3 * np.log(2) + 2 * np.log(1 + np.e)) / 2
    np.testing.assert_allclose(objective.task_loss(logits, jnp.array([1, 2])), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="0 of the 4 training images are of category number 3"):
        balanced_class_weights(labels[2:], categories=3, task="softmax")


def test_activity_runs_over_steps_and_decides_on_categories(batch):
    network = network_of()
    step, state = step_of(network, Objective())
    predicted = predict_step(state.variables, batch, network=network, mean=MEAN)
    after, _ = jax.jit(step)(state, batch)
    sums = np.asarray(predicted["maps"]["new_conv"], np.float64).sum(axis=(1, 2))
    labels = batch["label"]
    activity = after.activity["new_conv"]
    for label in (1, 2, 3):
        np.testing.assert_allclose(
            activity.total[label - 1], sums[labels == label].sum(axis=0), rtol=1e-4
        )
    np.testing.assert_array_equal(activity.images, [(labels == k).sum() for k in (1, 2, 3)])
    expected = np.argmax([sums[labels == k].mean(axis=0) for k in (1, 2, 3)], axis=0)
    np.testing.assert_array_equal(categories_of(activity), expected)
    again = update_activity(activity, predicted["maps"]["new_conv"], labels, decay=0.5)
    np.testing.assert_allclose(again.total, 1.5 * activity.total, rtol=1e-3)
    peaks = update_activity(
        no_activity(3, sums.shape[1]), predicted["maps"]["new_conv"], labels, rule="max"
    )
    expected = predicted["maps"]["new_conv"].max(axis=(1, 2))[labels == 2].sum(axis=0)
    np.testing.assert_allclose(peaks.total[1], expected, rtol=1e-5)


def test_a_replicated_state_compiles_once(batch):
    step, state = step_of(network_of(interpretable=False), Objective(), parallel.AXIS)
    traces = []

    def counted(state, batch):
        traces.append(None)
        return step(state, batch)

    mapped = parallel.parallel_step(counted, donate_state=False)
    after, _ = mapped(parallel.replicate(state), parallel.shard(batch))
    mapped(after, parallel.shard(batch))
    assert len(traces) == 1


def test_shard_needs_a_divisible_batch():
    halves = parallel.shard({"label": np.arange(16)})["label"]
    np.testing.assert_array_equal(halves, np.arange(16).reshape(8, 2))
    np.testing.assert_array_equal(parallel.unshard({"label": halves})["label"], np.arange(16))
    with pytest.raises(ValueError, match=r"12 \(label\) is not divisible by the 8 devices"):
        parallel.shard({"label": np.arange(12)})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weighting": "other"}, "weighting must be"),
        ({"weight": -1.0}, "must not be negative"),
        ({"task": "hinge"}, "task must be one of 'logistic', 'softmax', got 'hinge'"),
        ({"images": "some"}, "images must be"),
        ({"gradient": "mi"}, "gradient must be one of 'paper', 'exact', got 'mi'"),
        ({"category_rule": "mean"}, "category_rule must be"),
    ],
)
def test_bad_objective(fields, message):
    with pytest.raises(ValueError, match=message):
        Objective(**fields)


def test_schedule_of_the_paper():
    rates = paper_schedule(epochs=50, factor=30.0)
    assert len(rates) == 50
    # k (1e-4 ... 1e-5 in ten steps of equal ratio), then k 1e-5.
    np.testing.assert_allclose(rates[:2], [3e-3, 3e-3 * 10 ** (-1 / 9)], rtol=1e-9)
    np.testing.assert_allclose(rates[9:], 3e-4, rtol=1e-9)
    rate = learning_rate("paper", base=9.0, factor=30.0, epochs=50, steps_per_epoch=7, warmup=0)
    for step, epoch in ((0, 0), (6, 0), (7, 1), (62, 8), (63, 9), (349, 49)):
        np.testing.assert_allclose(rate(step), rates[epoch], rtol=1e-6)
    assert len(paper_schedule(epochs=3)) == 3


def test_other_schedules():
    options = {"base": 0.5, "factor": 1.0, "epochs": 2, "steps_per_epoch": 10, "warmup": 4}
    cosine = learning_rate("cosine", **options)
    np.testing.assert_allclose([cosine(0), cosine(2), cosine(4)], [0, 0.25, 0.5])
    np.testing.assert_allclose([cosine(12), cosine(20)], [0.25, 0], atol=1e-7)
    assert learning_rate("constant", **options)(13) == 0.5
    with pytest.raises(ValueError, match="got 'step'"):
        learning_rate("step", **options)


PARAMS = {
    layer: {"kernel": jnp.full((2,), 2.0), "bias": jnp.full((2,), 2.0)}
    for layer in ("conv1", "conv2", "fc8")
}


def changes(optimizer, gradient, steps=1):
    """Change of every parameter in the last of some steps, by path."""
    state = init_state({"params": PARAMS}, optimizer, network_of())
    gradients = jax.tree.map(lambda x: jnp.full_like(x, gradient), PARAMS)
    opt_state = state.opt_state
    for _ in range(steps):
        updates, opt_state = optimizer.update(gradients, opt_state, state.params)
    return {
        f"{layer}/{name}": float(values[0])
        for layer, group in updates.items()
        for name, values in group.items()
    }


def test_weight_decay_spares_biases_of_new_layers_and_frozen_layers():
    optimizer = make_optimizer(optax.constant_schedule(0.1), frozen=("conv1",), weight_decay=0.5)
    expected = {
        "conv1/kernel": 0,
        "conv1/bias": 0,
        "conv2/kernel": -0.1,
        "conv2/bias": -0.1,
        "fc8/kernel": -0.1,
        "fc8/bias": 0,
    }
    assert changes(optimizer, 0.0) == pytest.approx(expected, abs=1e-7)


def test_rate_factors_and_momentum():
    optimizer = make_optimizer(
        optax.constant_schedule(0.1),
        frozen=("conv1",),
        weight_decay=0.0,
        momentum=0.9,
        rate_factors={"fc8/.*": 10.0, ".*/bias": 2.0},
    )
    expected = {
        "conv1/kernel": 0,
        "conv1/bias": 0,
        "conv2/kernel": -0.1,
        "conv2/bias": -0.2,
        "fc8/kernel": -1,
        "fc8/bias": -1,
    }
    assert changes(optimizer, 1.0) == pytest.approx(expected)
    second = {name: 1.9 * value for name, value in expected.items()}
    assert changes(optimizer, 1.0, steps=2) == pytest.approx(second)


def test_names_of_a_state_with_rate_factors_are_those_of_earlier_checkpoints():
    optimizer = make_optimizer(optax.constant_schedule(0.1), rate_factors={"fc8/.*": 10.0})
    names = named_leaves(init_state({"params": PARAMS}, optimizer, network_of()))
    assert any("/inner_states/fc8/.*/" in name for name in names)


def test_clipping_is_of_the_whole_gradient():
    optimizer = make_optimizer(optax.constant_schedule(1.0), weight_decay=0.0, clip_norm=1.0)
    # Twelve entries of 5 have the norm 5 sqrt 12.
    assert list(changes(optimizer, 5.0).values()) == pytest.approx([-(12**-0.5)] * 6)


def test_a_pattern_without_parameters_is_refused():
    for pattern in ("fc9/.*", "conv1/.*", "fc8", "trained", "frozen"):
        optimizer = make_optimizer(
            optax.constant_schedule(0.1), frozen=("conv1",), rate_factors={pattern: 2.0}
        )
        with pytest.raises(ValueError, match="matches no trained parameter"):
            init_state({"params": PARAMS}, optimizer, network_of())


def test_state_starts_at_zero():
    state = init_state({"params": PARAMS}, optax.sgd(0.1), network_of())
    assert isinstance(state, TrainState) and int(state.step) == 0
