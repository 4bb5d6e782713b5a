"""One step of training, and prediction, of one device's share of a batch: pure functions."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from interp_cnn.balance import balanced_filter_loss
from interp_cnn.losses import Estimator, filter_loss, scale_free
from interp_cnn.metrics import ReceptiveField, peaks
from interp_cnn.models import Network
from interp_cnn.state import TrainState

Batch = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class FilterLoss:
    """The filter loss of a run (single category: targets are the images of the category).

    Attributes:
      weighting: `"scale_free"`: the mean over filters of the loss of `scale_free` maps;
        `"balanced"`: a ratio to the gradient of the task, see `interp_cnn.balance`;
        `"constant"`: the plain loss summed over filters; `"paper"`: that times
        `mean_x max_ij x_ij / t` of each filter in epoch t.
      weight: factor of the loss, or the ratio, of each interpretable layer.
      sharpness: of the scale-free maps.
      estimator: `"mi"` or `"paper"`.
      alpha: see `template_prior`.
      start_epoch: number of epochs before the filter loss sets in, so that filters respond to the
        task before they are tied to positions. The masks are there from the start.
      steps_per_epoch: for the epoch t.
    """

    weighting: str = "scale_free"
    weight: float = 1.5
    sharpness: float = 60.0
    estimator: Estimator = "mi"
    alpha: float | None = None
    start_epoch: int = 0
    steps_per_epoch: int = 1

    def __post_init__(self) -> None:
        if self.weighting not in ("balanced", "scale_free", "constant", "paper"):
            raise ValueError(
                "filter_loss.weighting must be 'balanced', 'scale_free', 'constant' or"
                f" 'paper', got {self.weighting!r}"
            )
        if self.weight < 0:
            raise ValueError(f"filter_loss.weight must not be negative, got {self.weight}")


def normalise(images: jax.Array, mean: tuple[float, ...], std: float) -> jax.Array:
    """uint8 RGB [..., 3] -> float32, minus the mean of each channel, over the deviation."""
    shape = (1,) * (images.ndim - 1) + (3,)
    return (images.astype(jnp.float32) - jnp.asarray(mean, jnp.float32).reshape(shape)) / std


def train_step(
    state: TrainState,
    batch: Batch,
    *,
    network: Network,
    optimizer: optax.GradientTransformation,
    objective: FilterLoss,
    mean: tuple[float, ...],
    std: float = 1.0,
    seed: int,
    axis_name: str | None = None,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Update the parameters: logistic log loss of the category, and the filter loss.

    Args:
      state: before the step, the same on all devices.
      batch: this device's `image` uint8 [batch, size, size, 3] and `label` int32 [batch], of which
        all but 0 belong to the category.
      network: ordinary networks have no filter loss.
      optimizer: that made the state.
      objective: the filter loss.
      mean: RGB mean that is subtracted.
      std: that it is divided by then; 1 for the published pretrained weights.
      seed: of dropout.
      axis_name: mapped axis over the devices; the result is the same on all of them.

    Returns:
      The next state, and float32 scalars: `loss` of the task, `accuracy`, and for each layer
      `mi/NAME`, the mutual information in nats that the filter loss sees, and `peak/NAME`, the
      mean peak of the maps.
    """
    key = jax.random.fold_in(jax.random.key(seed), state.step)
    if axis_name is not None:
        key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
    targets = (batch["label"] > 0).astype(jnp.float32)
    options: dict[str, Any] = {
        "estimator": objective.estimator,
        "target": targets[:, None] > 0 if objective.estimator == "paper" else None,
        "norm": network.norm,
        "beta": network.beta,
        "alpha": objective.alpha,
        "axis_name": axis_name,
    }
    epoch = 1 + state.step // objective.steps_per_epoch

    def mean_over_devices(tree: Any) -> Any:
        return tree if axis_name is None else jax.lax.pmean(tree, axis_name)

    weight = objective.weight * (epoch > objective.start_epoch).astype(jnp.float32)

    def plain_term(maps: jax.Array) -> tuple[jax.Array, jax.Array]:
        """What one layer adds to the loss, and its filter loss."""
        if objective.weighting == "scale_free":
            maps = scale_free(maps, sharpness=objective.sharpness, axis_name=axis_name)
            values = filter_loss(maps, **options)
            return weight * values.mean(), values
        values = filter_loss(maps, **options)
        weights = weight * jnp.ones_like(values)
        if objective.weighting == "paper":
            peak = jax.lax.stop_gradient(maps).astype(jnp.float32).max(axis=(1, 2)).mean(axis=0)
            weights = weights * mean_over_devices(peak) / epoch
        return (weights * values).sum(), values

    def loss_of(params: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
        terms: list[jax.Array] = []
        scalars: dict[str, jax.Array] = {}

        def tap(name: str, maps: jax.Array) -> jax.Array:
            if objective.weighting == "balanced":
                maps, values = balanced_filter_loss(
                    maps, ratio=weight, sharpness=objective.sharpness, **options
                )
            else:
                term, values = plain_term(maps)
                terms.append(term)
            scalars[f"mi/{name}"] = -values.mean()
            return maps

        logits, maps = network.apply(
            {"params": params},
            normalise(batch["image"], mean, std),
            train=True,
            tap=tap if network.interpretable and objective.weight else None,
            rngs={"dropout": key},
        )
        logits = logits[:, 0]
        task = optax.sigmoid_binary_cross_entropy(logits, targets).mean()
        scalars |= {"loss": task, "accuracy": ((logits > 0) == (targets > 0)).mean()}
        scalars |= {f"peak/{name}": x.max(axis=(1, 2)).mean() for name, x in maps.items()}
        # The mean inside makes the gradient that of one big batch under pmap, vmap and shard_map.
        total = mean_over_devices(sum(terms, start=task))
        return total, jax.tree.map(lambda x: x.astype(jnp.float32), scalars)

    gradient, scalars = jax.grad(loss_of, has_aux=True)(state.params)
    gradient = mean_over_devices(gradient)
    updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(state.step + 1, params, opt_state), mean_over_devices(scalars)


def predict_step(
    params: Any,
    batch: Batch,
    *,
    network: Network,
    mean: tuple[float, ...],
    std: float = 1.0,
) -> dict[str, Any]:
    """Logits, maps and their peaks; needs no label and changes nothing.

    Args:
      params: of the network.
      batch: this device's `image` uint8 [batch, size, size, 3].
      network: to apply.
      mean: RGB mean that is subtracted.
      std: that it is divided by then; 1 for the published pretrained weights.

    Returns:
      `logits` float32 [batch, outputs]; for each layer in `maps` the maps before masking, float32
      [batch, height, width, filters], in `positions` [batch, filters, 2] and `peaks` [batch,
      filters] where and how strongly they peak, in pixels of the input.
    """
    logits, maps = network.apply({"params": params}, normalise(batch["image"], mean, std))
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
