"""Trials of masks and filter losses: many short trainings from common starts, in one process.

    python benchmarks/trials.py --config embedded --categories cat,deer --seeds 0,1,2 \
        ordinary default mask=0.5 weight=5
    python benchmarks/trials.py --config ilsvrc_animal_part --categories cat,fox --seeds 0,1 \
        --manual_dir DIR --weights FILE.h5 ordinary default spread=0.3
    python benchmarks/trials.py --config ilsvrc_animal_part --categories cat+elephant+fox \
        --task softmax --manual_dir DIR --weights FILE.h5 ordinary default weight=3

A trial is `ordinary`, `default`, or some of the settings below as NAME=NUMBER,NAME=NUMBER. Data,
network, task and optimiser are those of `train.py` with each of the categories, or with several,
joined by "+", in one network. A seed is that of the order of the images, their flips and dropout;
data and first weights are those of seed 0. Accuracy and log loss are those of the test images;
where filters look is measured on all annotated objects, of each filter on those of its category.
All trials of as many categories share one compiled step, and the data stay on the device.

Settings of the configuration: weight, top_weight and growth (`filter_loss.*weight`), ramp and fade
(their epochs, as a share of the training), mask (strength of the new conv's mask), members (1 for
`filter_loss.images="category"`), rate (factor of the learning rate), epochs (`epochs=0` is the
common start), interpretable (0 for neither filter loss nor growth, as in
`interpretable=0,epochs=16`). What else there is of the filter loss, such as its sharpness, has its
default.
Ideas, which the package does not have: mask_from (share of the training before the mask begins to
grow; it is full at the end), spread (weight of the mutual information between filter and position
on an image, which is large where filters look at different places), relative (so many times the
mean map of all filters is taken from each before the filter loss, which then sees what a filter has
beyond the others), free (share of the filters without filter loss), hide (probability with which
each of 4 x 4 fields of the network's input is hidden while it trains, Singh and Lee, ICCV 2017),
erase (probability with which the place where the new conv's filters peak together is hidden, as
adversarial erasing does, Wei et al., CVPR 2017).

Prints a line of JSON for each run, then means over categories and seeds as a Markdown table.
"""

import argparse
import datetime
import functools
import importlib
import json
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from interp_cnn import filter_loss, metrics
from interp_cnn.data import prepare
from interp_cnn.data.pipeline import CropWithParts
from interp_cnn.losses.categories import categories_of
from interp_cnn.models import NEW_CONV, TOP_CONV, Network
from interp_cnn.training import build
from interp_cnn.training.filter_categories import update_activity
from interp_cnn.training.objective import Objective, growth
from interp_cnn.training.optim import NEW_LAYERS, learning_rate, make_optimizer
from interp_cnn.training.state import no_activities
from interp_cnn.training.steps import normalise

LAYERS = (TOP_CONV, NEW_CONV)
EVALUATED = 128  # images at a time
IDEAS = dict.fromkeys(("mask_from", "spread", "relative", "free", "hide", "erase"), 0.0)
ERASED = 0.4  # side of the square that `erase` hides, as a share of the input's

Settings = dict[str, float]


class Task(NamedTuple):
    """One category, or several in one network: data on the device, and what trains on them."""

    config: ml_collections.ConfigDict
    network: Network
    objective: Objective
    inputs: jax.Array  # uint8 images or frozen features: training, mirrored, test, padding
    labels: jax.Array  # of the same
    train: int  # number of training images
    test: int  # number of test images
    landmarks: np.ndarray  # of training and test images, NaN for those of other things

    @property
    def rows(self) -> np.ndarray:
        """Where the training and test images are, unmirrored."""
        return np.r_[0 : self.train, 2 * self.train : 2 * self.train + self.test]

    def steps(self, epochs: float) -> int:
        """Number of steps of so many epochs."""
        return int(epochs * (self.train // self.config.train.batch_size))

    def batches(self, steps: int, seed: int) -> list[np.ndarray]:
        """Rows of so many batches."""
        size, rng = self.config.train.batch_size, np.random.default_rng(seed)
        found: list[np.ndarray] = []
        while len(found) < steps:
            order = rng.permutation(self.train) + self.train * rng.integers(0, 2, self.train)
            found += np.split(order[: self.train // size * size], self.train // size)
        return found[:steps]


def load(config: ml_collections.ConfigDict, rows: int) -> Task:
    """The data of a configuration, padded to so many rows."""
    data = prepare.prepare(config.data, seed=config.seed)
    categories = len(data.categories)
    network = build.make_network(config, "interpretable", categories)
    assert isinstance(network, Network)
    side = network.input_size
    crop = CropWithParts(side, config.data.crop, landmarks=tuple(data.landmarks))
    examples = [split[index] for split in (data.train, data.test) for index in range(len(split))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        cropped = list(pool.map(crop.map, examples))
    labels = np.array([example["label"] for example in cropped])
    landmarks = np.stack([example["landmarks"] for example in cropped])
    landmarks[labels == 0] = np.nan
    images = np.stack([example["image"] for example in cropped])
    n = len(data.train)
    images = np.concatenate([images[:n], images[:n, :, ::-1], images[n:]])
    labels = np.concatenate([labels[:n], labels])
    inputs: Any = images
    if network.frozen_through is not None:
        variables = build.starting_variables(config, network)
        how = build.normalisation(config)
        frozen = jax.jit(
            lambda images: network.apply(
                variables, normalise(images, **how), method="frozen_features"
            )
        )
        inputs = jnp.concatenate([frozen(images[i : i + 64]) for i in range(0, len(images), 64)])
    more = rows - len(inputs)
    if more < 0:
        raise SystemExit(f"--rows={rows} has no room for {len(inputs)} images; give more")
    inputs = jnp.pad(jnp.asarray(inputs), ((0, more), (0, 0), (0, 0), (0, 0)))
    objective = build.make_objective(
        config, data.train.labels, categories=categories, steps_per_epoch=1
    )
    return Task(
        *(config, network, objective, inputs, jnp.pad(jnp.asarray(labels), (0, more))),
        *(n, len(data.test), landmarks),
    )


def defaults(config: ml_collections.ConfigDict) -> Settings:
    """The settings of a configuration."""
    loss, epochs = config.filter_loss, config.train.epochs
    top = loss.top_conv_weight
    return {
        "interpretable": 1.0,
        "weight": loss.weight,
        "top_weight": loss.weight if top is None else top,
        "growth": loss.growth_weight,
        "ramp": config.interpretable.ramp_epochs / epochs,
        "fade": loss.fade_epochs / epochs,
        "mask": config.model.new_conv_mask,
        "members": float(loss.images == "category"),
        "rate": 1.0,
        "epochs": epochs,
        **IDEAS,
    }


def parse(trial: str, config: ml_collections.ConfigDict) -> Settings:
    """The settings of a trial."""
    settings = defaults(config)
    if trial == "ordinary":
        return settings | {"interpretable": 0.0, "mask": 0.0}
    for setting in trial.split(",") if trial != "default" else ():
        name, _, value = setting.partition("=")
        if name not in settings:
            raise SystemExit(f"{trial}: no setting {name!r}; give some of {', '.join(settings)}")
        settings[name] = float(value)
        if name == "mask_from" and not 0 <= settings[name] < 1:
            raise SystemExit(f"{trial}: mask_from must be in [0, 1)")
        if name == "weight" and "top_weight" not in trial:
            settings["top_weight"] = float(value)
    return settings


def spread_of(maps: jax.Array) -> jax.Array:
    """I(filter; position) in nats on each image [batch], of maps as distributions of positions."""
    batch, height, width, filters = maps.shape
    top = jax.lax.stop_gradient(maps.max(axis=(1, 2), keepdims=True))
    flat = (maps / jnp.maximum(top, 1e-6)).reshape(batch, height * width, filters)
    places = jax.nn.softmax(8.0 * flat, axis=1)
    ratio = jnp.log(places + 1e-9) - jnp.log(places.mean(axis=-1, keepdims=True) + 1e-9)
    return (places * ratio).sum(axis=1).mean(axis=-1)


def layer_term(
    maps: jax.Array, members: jax.Array, first: jax.Array, weight: Any, fading: Any, at: Any
) -> jax.Array:
    """What a layer adds to the loss: filter loss, growth, and the idea `spread`.

    `members` [batch, filters] says which images are of a filter's category.
    """
    peaks = maps.max(axis=(1, 2)).mean(axis=0)
    sizes = jax.lax.stop_gradient(peaks) + 1e-6
    common = (maps / sizes).mean(axis=-1, keepdims=True)
    seen = jnp.maximum(maps - at["relative"] * sizes * common, 0.0)
    where = members | (at["members"] == 0)
    values = filter_loss(seen, target=members, sharpness=60.0, where=where)
    counted = jnp.arange(len(values)) >= at["free"] * len(values)
    mine = members.any(axis=1)
    spread = (spread_of(maps) * mine).sum() / jnp.maximum(mine.sum(), 1)
    loss = weight * (values * counted).mean() - at["spread"] * spread
    return fading * loss + at["growth"] * growth(peaks.mean(), first) ** 2


def hidden(given: dict[str, jax.Array], seen: jax.Array) -> dict[str, jax.Array]:
    """The input where `seen` [batch, fields, fields] is 1; else 0, the mean pixel or no feature."""

    def cut(x: jax.Array) -> jax.Array:
        return x * jax.image.resize(seen[..., None], (*x.shape[:3], 1), "nearest")

    return {name: cut(x) for name, x in given.items()}


def seen_fields(key: jax.Array, hide: Any, batch: int) -> jax.Array:
    """Which fields of each image the idea `hide` leaves."""
    return (jax.random.uniform(key, (batch, 4, 4)) >= hide).astype(jnp.float32)


def seen_beside_peak(key: jax.Array, erase: Any, maps: jax.Array) -> jax.Array:
    """What the idea `erase` leaves of each image: all but a square where most filters peak."""
    batch, side = maps.shape[:2]
    common = (maps / (maps.max(axis=(0, 1, 2)) + 1e-6)).mean(axis=-1).reshape(batch, -1)
    rows, columns = jnp.divmod(common.argmax(axis=1), side)
    near = jnp.abs(jnp.arange(side) - jnp.stack([rows, columns])[..., None]) <= ERASED * side / 2
    square = near[0][:, :, None] & near[1][:, None, :]
    chosen = jax.random.uniform(key, (batch, 1, 1)) < erase
    return 1.0 - (square & chosen).astype(jnp.float32)


def network_input(task: Task, rows: jax.Array) -> dict[str, jax.Array]:
    inputs = task.inputs[rows]
    if task.network.frozen_through is not None:
        return {"features": inputs}
    return {"images": normalise(inputs, **build.normalisation(task.config))}


def make_training(like: Task) -> Callable[..., Any]:
    """`(task, params, at, seed) -> params`; all trials of a network share a compiled program."""
    # The mask's strength is a setting: its strength in the network is 1.
    network = like.network.clone(top_conv_mask=0.0, new_conv_mask=1.0)
    config = like.config.train

    def optimizer(rate: Any) -> optax.GradientTransformation:
        return make_optimizer(
            lambda _: rate,  # that of the step at hand
            frozen=network.frozen_layers,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            rate_factors=dict(config.rate_factors),
            clip_norm=config.clip_norm,
            new_layers=NEW_LAYERS,
        )

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state: Any, inputs: Any, labels: Any, rows: Any, number: Any, done: Any, at: Any):
        params, opt_state, first, activity, key = state
        strength = jnp.clip(done / jnp.maximum(at["ramp"], 1e-3), 0.0, 1.0)
        fading = jnp.clip((1.0 - done) / jnp.maximum(at["fade"], 1e-3), 0.0, 1.0)
        late = jnp.maximum(done - at["mask_from"], 0.0) / (1.0 - at["mask_from"])
        mask = at["mask"] * jnp.where(at["mask_from"] > 0, late, strength)
        answers = labels[rows]
        given = network_input(like._replace(inputs=inputs), rows)
        keys = jax.random.split(jax.random.fold_in(key, -1 - number))
        given = hidden(given, seen_fields(keys[0], at["hide"], len(rows)))

        def erased() -> dict[str, jax.Array]:
            _, maps = network.apply({"params": params}, **given, mask_strength=mask)
            return hidden(given, seen_beside_peak(keys[1], at["erase"], maps[NEW_CONV]))

        given = jax.lax.cond(at["erase"] > 0, erased, lambda: given)

        def loss(params: Any) -> tuple[jax.Array, Any]:
            logits, maps = network.apply(
                {"params": params},
                **given,
                train=True,
                mask_strength=mask,
                rngs={"dropout": jax.random.fold_in(key, number)},
            )
            total = like.objective.task_loss(logits, answers)
            rule = like.objective.category_rule
            seen = {
                name: update_activity(activity[name], x, answers, rule=rule)
                for name, x in maps.items()
            }
            peaks = {name: x.max(axis=(1, 2)).mean() for name, x in maps.items()}
            now = jax.tree.map(
                lambda peak, old: jnp.where(number == 0, jax.lax.stop_gradient(peak), old),
                *(peaks, first),
            )
            for name, weight in zip(LAYERS, ("top_weight", "weight"), strict=True):
                members = answers[:, None] - 1 == categories_of(seen[name])
                term = layer_term(maps[name], members, now[name], at[weight], fading, at)
                total = total + at["interpretable"] * strength * term
            return total, (now, seen)

        gradient, (first, activity) = jax.grad(loss, has_aux=True)(params)
        updates, opt_state = optimizer(at["rate"]).update(gradient, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, first, activity, key

    def run(task: Task, params: Any, epochs: float, at: Settings, seed: int) -> Any:
        steps = task.steps(epochs)
        if not steps:
            return params
        schedule = learning_rate(
            config.schedule,
            base=at["rate"] * config.learning_rate,
            factor=at["rate"] * config.paper_factor,
            epochs=int(epochs),
            steps_per_epoch=task.steps(1),
            warmup=config.warmup_steps,
        )
        traced = {name: jnp.float32(value) for name, value in at.items()}
        params = jax.tree.map(jnp.copy, params)
        first = {name: jnp.zeros(()) for name in LAYERS}
        key = jax.random.key(seed)
        activity = no_activities(task.network)
        state = (params, optimizer(0.0).init(params), first, activity, key)
        for number, rows in enumerate(task.batches(steps, seed)):
            traced["rate"] = jnp.float32(schedule(number))
            state = step(state, task.inputs, task.labels, rows, number, number / steps, traced)
        return state[0]

    return run


def make_prediction(like: Task) -> Callable[..., Any]:
    """`(params, inputs, rows, mask) -> ` logits; positions, values of peaks, sums of maps."""
    network = like.network.clone(top_conv_mask=0.0, new_conv_mask=1.0)
    fields = network.receptive_fields()

    def predict(params: Any, inputs: Any, rows: Any, mask: Any) -> Any:
        given = network_input(like._replace(inputs=inputs), rows)
        logits, maps = network.apply({"params": params}, **given, mask_strength=mask)
        found = {}
        for name, x in maps.items():
            centers = fields[name].centers(x.shape[1])
            found[name] = (
                *metrics.peaks(x, centers_y=centers, centers_x=centers),
                x.sum(axis=(1, 2)),
            )
        return logits, found

    return jax.jit(predict)


def figures(task: Task, predicted: Iterator[Any]) -> dict[str, Any]:
    """Accuracy and log loss of the test images, and where the filters of each layer look."""
    rows = task.rows
    logits, layers = jax.tree.map(
        lambda *parts: np.concatenate(parts)[: len(rows)], *map(jax.device_get, predicted)
    )
    labels = np.asarray(task.labels)[rows]
    test = np.arange(len(rows)) >= task.train
    accuracy, loss = task.objective.accuracy, task.objective.task_loss
    found: dict[str, Any] = {
        "accuracy": 100 * float(accuracy(logits[test], labels[test])),
        "log loss": float(loss(logits[test], labels[test])),
        "training accuracy": 100 * float(accuracy(logits[~test], labels[~test])),
    }
    return found | {name: looks(task, labels, *layer) for name, layer in layers.items()}


def looks(
    task: Task, labels: np.ndarray, positions: np.ndarray, values: np.ndarray, sums: np.ndarray
) -> dict[str, Any]:
    """Where the filters of a layer look on the objects of their categories: means over filters."""
    categories = range(1, task.network.num_outputs + 1)
    of = np.argmax([sums[labels == label].mean(axis=0) for label in categories], axis=0) + 1
    filters = [int((of == label).sum()) for label in categories]
    side = (task.network.input_size,) * 2
    followed = np.zeros(task.landmarks.shape[1], int)
    means = []
    for label, number in zip(categories, filters, strict=True):
        if not number:
            continue
        at, peaks = (array[labels == label][:, of == label] for array in (positions, values))
        landmarks = task.landmarks[labels == label]
        summary = metrics.summarize_location(at, peaks, landmarks, image_size=side)
        ratios = metrics.tracking_ratio(at, peaks, landmarks)
        followed += metrics.parts_followed(ratios).filters
        means.append((summary.tracking_ratio, summary.below_08, summary.instability, number))
    *values_of, weights = np.array(means, float).T
    tracking, below, instability = (
        float(np.average(of_each[known], weights=weights[known])) if known.any() else math.nan
        for of_each, known in ((each, ~np.isnan(each)) for each in values_of)
    )
    return {
        "tracking": tracking,
        "below 0.8": below,
        "instability": instability,
        "dead": int((values.max(axis=0) <= 0).sum()),
        "filters": filters,
        "followed": followed.tolist(),
    }


def _mean(runs: list[dict[str, Any]], value: Callable[[Any], float]) -> float:
    return float(np.mean([value(run) for run in runs]))


def _tracking(layer: str) -> Callable[[Any], float]:
    return lambda run: float(run[layer]["tracking"])


def table(runs: list[dict[str, Any]]) -> str:
    """Means over the runs of each trial, as Markdown."""
    categories = list(dict.fromkeys(run["category"] for run in runs))
    head = ["trial", *(f"accuracy of {name}, %" for name in categories), "log loss"]
    head += [f"tracking ratio, {layer}" for layer in LAYERS] + ["dead, top conv", "runs"]
    lines = [head, ["---"] * len(head)]
    for trial in dict.fromkeys(run["trial"] for run in runs):
        of = [run for run in runs if run["trial"] == trial]

        of_each = [[run for run in of if run["category"] == name] for name in categories]
        accuracies = [f"{_mean(runs, lambda run: run['accuracy']):.1f}" for runs in of_each]
        losses = ", ".join(f"{_mean(runs, lambda run: run['log loss']):.3f}" for runs in of_each)
        top, new = (
            ", ".join(f"{_mean(runs, tracking):.2f}" for runs in of_each)
            for tracking in map(_tracking, LAYERS)
        )
        dead = f"{_mean(of, lambda run: run[TOP_CONV]['dead']):.0f}"
        lines.append([trial, *accuracies, losses, top, new, dead, str(len(of))])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="embedded", help="a configuration of the package")
    parser.add_argument("--categories", default="cat", help='as in "cat,deer" or "cat+deer"')
    parser.add_argument("--task", default="logistic", choices=("logistic", "softmax"))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--manual_dir", default="", help="see config.data.manual_dir")
    parser.add_argument("--weights", default=None, help="see config.weights")
    parser.add_argument("--rows", type=int, default=5120, help="room for images, mirrored too")
    parser.add_argument("trials", nargs="+", metavar="TRIAL")
    options = parser.parse_args()
    get_config = importlib.import_module(f"interp_cnn.configs.{options.config}").get_config
    names, seeds = options.categories.split(","), list(map(int, options.seeds.split(",")))
    configs = {name: get_config(f"category={name},task={options.task}") for name in names}
    trials = {
        (trial, name): parse(trial, config)
        for trial in options.trials
        for name, config in configs.items()
    }
    tasks = {}
    for name, config in configs.items():
        config.data.manual_dir = options.manual_dir
        if options.weights is not None:
            config.weights = options.weights
        tasks[name] = load(config, options.rows)
    # One of as many categories stands for all.
    like = {task.network: task for task in reversed(tasks.values())}
    training = {network: make_training(task) for network, task in like.items()}
    prediction = {network: make_prediction(task) for network, task in like.items()}

    def predicted(task: Task, params: Any, mask: float) -> Iterator[Any]:
        for first in range(0, len(task.rows), EVALUATED):
            rows = task.rows[first : first + EVALUATED]
            rows = np.pad(rows, (0, EVALUATED - len(rows)), mode="edge")
            yield prediction[task.network](params, task.inputs, jnp.asarray(rows), mask)

    print(f"{datetime.date.today()}, {jax.devices()[0].device_kind}, jax {jax.__version__}\n")
    runs, starts = [], {}
    for name, task in tasks.items():
        variables = build.starting_variables(task.config, task.network)
        ordinary, epochs = parse("ordinary", task.config), task.config.train.start_epochs
        for seed in seeds:
            # Other images than those of the trainings that begin from it.
            starts[name, seed] = training[task.network](
                task, variables["params"], epochs, ordinary, ~seed % 997
            )
    for trial in options.trials:
        for (name, seed), start in starts.items():
            task, at = tasks[name], trials[trial, name]
            params = training[task.network](task, start, at["epochs"], at, seed)
            run = {"trial": trial, "category": name, "seed": seed}
            runs.append(run | figures(task, predicted(task, params, at["mask"])))
            print(json.dumps(runs[-1]), flush=True)
    print(f"\n{table(runs)}")


if __name__ == "__main__":
    main()
