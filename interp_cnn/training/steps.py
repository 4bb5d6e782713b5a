"""One step of training, and prediction, of one device's share of a batch: pure functions."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from interp_cnn.losses.categories import categories_of
from interp_cnn.metrics import ReceptiveField, peaks
from interp_cnn.models import AnyNetwork
from interp_cnn.training.filter_categories import update_activity
from interp_cnn.training.objective import Objective
from interp_cnn.training.state import TrainState

Batch = dict[str, jax.Array]


Std = float | tuple[float, ...]


def normalise(images: jax.Array, mean: tuple[float, ...], std: Std) -> jax.Array:
    """uint8 RGB [..., 3] -> float32, minus the mean of each channel, over the deviation."""
    shape = (1,) * (images.ndim - 1) + (3,)
    centred = images.astype(jnp.float32) - jnp.asarray(mean, jnp.float32).reshape(shape)
    return centred / (jnp.asarray(std).reshape(shape) if isinstance(std, tuple) else std)


def _network_input(batch: Batch, mean: tuple[float, ...], std: Std) -> dict[str, Any]:
    """What the network computes from: `features` where the batch has them, else its images."""
    if "features" in batch:
        return {"features": batch["features"]}
    return {"images": normalise(batch["image"], mean, std)}


def train_step(
    state: TrainState,
    batch: Batch,
    *,
    network: AnyNetwork,
    optimizer: optax.GradientTransformation,
    objective: Objective,
    mean: tuple[float, ...],
    std: Std = 1.0,
    seed: int,
    axis_name: str | None = None,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Update the parameters, the batch statistics and the activity of the filters.

    Args:
      state: state before the step, the same on all devices.
      batch: this device's `image` uint8 [batch, size, size, 3], or in its place `features` as
        `frozen_step` returns them, and `label` int32 [batch], 0 for "other", 1, 2, ... for the
        categories.
      network: network to train; an ordinary one has no filter loss.
      optimizer: optimizer that made the state.
      objective: losses and their weights.
      mean: RGB mean that is subtracted from the images.
      std: deviation that the images are divided by after that, one or one of each channel; 1 for
        the pretrained weights of the paper's networks.
      seed: seed of dropout.
      axis_name: mapped axis over the devices; the result is the same on all of them.

    Returns:
      The next state, and float32 scalars: `loss` of the task, `accuracy`, and for each layer
      `peak/NAME`, the mean peak of the maps, and `mi/NAME`, the mutual information in nats that
      the filter loss sees, if there is one.
    """
    key = jax.random.fold_in(jax.random.key(seed), state.step)
    if axis_name is not None:
        key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
    labels = batch["label"]
    strength = objective.strength(state.step) if network.interpretable else 1.0

    def mean_over_devices(tree: Any) -> Any:
        return tree if axis_name is None else jax.lax.pmean(tree, axis_name)

    # Statistics of the batch are those of the images of all devices.
    network = network.clone(axis_name=axis_name)

    def loss_of(params: Any) -> tuple[jax.Array, Any]:
        (logits, maps), model_state = network.apply(
            {"params": params, **state.model_state},
            **_network_input(batch, mean, std),
            train=True,
            mask_strength=strength,
            rngs={"dropout": key},
            mutable=list(state.model_state),
        )
        total = task = objective.task_loss(logits, labels)
        scalars = {"loss": task, "accuracy": objective.accuracy(logits, labels)}
        activity, first_peaks = {}, {}
        for name, x in maps.items():
            activity[name] = update_activity(
                state.activity[name],
                x,
                labels,
                rule=objective.category_rule,
                axis_name=axis_name,
            )
            peaks = mean_over_devices(x.astype(jnp.float32).max(axis=(1, 2)).mean(axis=0))
            mean_peak = jax.lax.stop_gradient(peaks).mean()
            scalars[f"peak/{name}"] = mean_peak
            first_peaks[name] = jnp.where(state.step == 0, mean_peak, state.first_peaks[name])
            weight = objective.weight_of(network, name)
            if not network.interpretable or not (weight or objective.growth_weight):
                continue
            values = jnp.zeros(x.shape[-1])
            if weight:
                members = labels[:, None] - 1 == categories_of(activity[name])[None]
                values = objective.filter_loss(network, name, x, members, axis_name)
                scalars[f"mi/{name}"] = -jax.lax.stop_gradient(values).mean()
            total = total + objective.filter_term(
                network, name, values, peaks=peaks, first_peak=first_peaks[name], step=state.step
            )
        scalars = jax.tree.map(lambda x: x.astype(jnp.float32), scalars)
        # The mean inside makes the gradient that of one big batch under pmap, vmap and shard_map.
        return mean_over_devices(total), (scalars, activity, first_peaks, dict(model_state))

    gradient, found = jax.grad(loss_of, has_aux=True)(state.params)
    scalars, activity, first_peaks, model_state = found
    gradient = mean_over_devices(gradient)
    updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    # The means of running averages that differ: those of layers that know of no other device.
    model_state = mean_over_devices(model_state)
    after = TrainState(state.step + 1, params, opt_state, activity, model_state, first_peaks)
    return after, mean_over_devices(scalars)


def predict_step(
    variables: Any,
    batch: Batch,
    *,
    network: AnyNetwork,
    mean: tuple[float, ...],
    std: Std = 1.0,
) -> dict[str, Any]:
    """Logits, maps and their peaks; needs no label and changes nothing.

    Args:
      variables: variables of the network, `TrainState.variables`.
      batch: this device's `image` uint8 [batch, size, size, 3], or in its place `features` as
        `frozen_step` returns them.
      network: network to apply.
      mean: RGB mean that is subtracted from the images.
      std: deviation that the images are divided by after that, one or one of each channel; 1 for
        the pretrained weights of the paper's networks.

    Returns:
      `logits` float32 [batch, outputs]; for each layer in `maps` the maps before masking, float32
      [batch, height, width, filters], in `positions` [batch, filters, 2] and `peaks` [batch,
      filters] where and how strongly they peak, in pixels of the input.
    """
    logits, maps = network.apply(variables, **_network_input(batch, mean, std))
    fields = network.receptive_fields()
    result: dict[str, Any] = {"logits": logits, "maps": {}, "positions": {}, "peaks": {}}
    for name, x in maps.items():
        x = x.astype(jnp.float32)
        field: ReceptiveField = fields[name]
        result["maps"][name] = x
        result["positions"][name], result["peaks"][name] = peaks(
            x, centers_y=field.centers(x.shape[1]), centers_x=field.centers(x.shape[2])
        )
    return result


# Compiled once for all images of a network.
compiled_predict_step = jax.jit(predict_step, static_argnames=("network", "mean", "std"))


def frozen_step(
    variables: Any,
    batch: Batch,
    *,
    network: AnyNetwork,
    mean: tuple[float, ...],
    std: Std = 1.0,
) -> jax.Array:
    """Output of the frozen layers: what the layers above them are trained on.

    Args:
      variables: variables of the frozen layers, or of the whole network.
      batch: this device's `image` uint8 [batch, size, size, 3].
      network: network with frozen layers.
      mean: RGB mean that is subtracted from the images.
      std: deviation that the images are divided by after that, one or one of each channel; 1 for
        the pretrained weights of the paper's networks.

    Returns:
      `features` [batch, height, width, channels] in the dtype of the network.
    """
    images = normalise(batch["image"], mean, std)
    features: Any = network.apply(variables, images, method="frozen_features")
    return features
