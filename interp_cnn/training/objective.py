"""What a network is trained for: the log loss of the task, and the filter loss."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from interp_cnn.losses import Gradient, filter_loss
from interp_cnn.losses.categories import Rule
from interp_cnn.metrics import accuracy
from interp_cnn.models import AnyNetwork

LOGISTIC, SOFTMAX = "logistic", "softmax"
SCALE_FREE = "scale_free"


def _one_of(name: str, value: str, *allowed: str) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")


@dataclasses.dataclass(frozen=True)
class Objective:
    """The objective of a run. Labels are 0 for "other" and 1, 2, ... for the categories.

    Attributes:
      task: `"logistic"` log loss with one output per category, or `"softmax"`.
      class_weights: weights of the task's loss, see `balanced_class_weights`; None weighs all
        images alike.
      weighting: how filters add up. `"scale_free"`: the mean over filters of the loss of maps whose
        scale is normalised (`normalize_scale`); `"constant"`: the sum over filters of the loss of
        the maps as they are; `"paper"`: the same, each filter times `mean_x max_ij x_ij / t` in
        epoch t.
      weight: factor of the filter loss of each interpretable layer.
      top_conv_weight: that of the layers below the last one, where it differs; None stands for
        `weight`.
      growth_weight: factor of what holds the size of the maps, which the scale-free filter loss
        does not see: the square of the logarithm of how much the mean peak of a layer has grown
        since the first step. Maps that shrink cost nothing.
      sharpness: sharpness of the normalised maps, see `normalize_scale`.
      images: images in the filter loss. `"all"`: all of them, and Eq. 4 assigns those of other
        categories to the negative template; `"category"`: those of the filter's category alone.
      gradient: `"paper"` (Eq. 4) or `"exact"`, see `filter_loss`.
      alpha: prior probability of the part, see `template_prior`.
      category_rule: activity whose mean over the images of a category decides on a filter's
        category: the `"sum"` (paper) or the `"max"` (authors' code) of the map.
      start_epoch: number of epochs, also a fraction, before masks and filter loss set in.
      ramp_epochs: number of epochs in which they grow to their full strength.
      fade_epochs: number of epochs, the last ones, in which the filter loss falls to zero; masks
        stay.
      epochs: length of the training; it says where the last epochs are.
      steps_per_epoch: number of steps in an epoch.
    """

    task: str = LOGISTIC
    class_weights: tuple[tuple[float, ...], ...] | None = None
    weighting: str = SCALE_FREE
    weight: float = 3.0
    top_conv_weight: float | None = None
    growth_weight: float = 0.0
    sharpness: float = 60.0
    images: str = "all"
    gradient: Gradient = "paper"
    alpha: float | None = None
    category_rule: Rule = "sum"
    start_epoch: float = 0.0
    ramp_epochs: float = 0.0
    fade_epochs: float = 0.0
    epochs: float = 1.0
    steps_per_epoch: int = 1

    def __post_init__(self) -> None:
        _one_of("train.task", self.task, LOGISTIC, SOFTMAX)
        _one_of("filter_loss.weighting", self.weighting, SCALE_FREE, "constant", "paper")
        _one_of("filter_loss.gradient", self.gradient, "paper", "exact")
        _one_of("filter_loss.images", self.images, "category", "all")
        _one_of("filter_loss.category_rule", self.category_rule, "sum", "max")
        for name in ("weight", "top_conv_weight", "growth_weight"):
            if (value := getattr(self, name)) is not None and value < 0:
                raise ValueError(f"filter_loss.{name} must not be negative, got {value}")

    def strength(self, step: jax.Array) -> jax.Array | float:
        """Strength of masks and filter loss at a step, in [0, 1]."""
        if self.start_epoch <= 0 and self.ramp_epochs <= 0:
            return 1.0
        since = step / self.steps_per_epoch - self.start_epoch
        if self.ramp_epochs <= 0:
            return (since >= 0).astype(jnp.float32)
        return jnp.clip(since / self.ramp_epochs, 0.0, 1.0)

    def fading(self, step: jax.Array) -> jax.Array | float:
        """What is left of the filter loss at a step, in [0, 1]."""
        if self.fade_epochs <= 0:
            return 1.0
        return jnp.clip((self.epochs - step / self.steps_per_epoch) / self.fade_epochs, 0.0, 1.0)

    def task_loss(self, logits: jax.Array, labels: jax.Array) -> jax.Array:
        """Log loss of logits [batch, categories], float32 []; mean over outputs if logistic."""
        if self.task == SOFTMAX:
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels - 1)[:, None]
        else:
            targets = jax.nn.one_hot(labels - 1, logits.shape[1])  # zeros for "other"
            losses = optax.sigmoid_binary_cross_entropy(logits, targets)
        if self.class_weights is not None:
            losses = losses * jnp.asarray(self.class_weights)[labels]
        return losses.mean()

    def accuracy(self, logits: jax.Array, labels: jax.Array) -> jax.Array:
        """Share of right answers in a batch, float32 []."""
        answers = labels - 1
        if self.task != SOFTMAX:
            answers = jax.nn.one_hot(answers, logits.shape[1])  # zeros for "other"
        right, number = accuracy(logits, answers)
        return right / number

    def filter_loss(
        self,
        network: AnyNetwork,
        layer: str,
        maps: jax.Array,
        members: jax.Array,
        axis_name: str | None,
    ) -> jax.Array:
        """Filter loss of a layer, float32 [filters].

        Args:
          network: network of the layer; templates have the norm, slope and position of its masks.
          layer: the name of its maps.
          maps: feature maps, [batch, height, width, filters].
          members: whether the image is of the filter's category, bool [batch, filters].
          axis_name: mapped axis over the devices.
        """
        return filter_loss(
            maps,
            gradient=self.gradient,
            target=members if self.gradient == "paper" else None,
            sharpness=self.sharpness if self.weighting == SCALE_FREE else None,
            alpha=self.alpha,
            **network.templates_of(layer)._asdict(),
            where=members if self.images == "category" else None,
            axis_name=axis_name,
        )

    def weight_of(self, network: AnyNetwork, layer: str) -> float:
        """Factor of the filter loss of a layer, by the name of its maps."""
        if layer != network.last_layer and self.top_conv_weight is not None:
            return self.top_conv_weight
        return self.weight

    def filter_term(
        self,
        network: AnyNetwork,
        layer: str,
        values: jax.Array,
        *,
        peaks: jax.Array,
        first_peak: jax.Array,
        step: jax.Array,
    ) -> jax.Array:
        """What one layer adds to the loss, float32 [].

        Args:
          network: network of the layer.
          layer: the name of its maps.
          values: filter loss of each filter, [filters].
          peaks: mean peak of the maps of each filter over the batch, [filters].
          first_peak: mean of them at the first step, [].
          step: number of steps before this one.
        """
        if self.weighting == SCALE_FREE:
            term = values.mean()
        elif self.weighting == "paper":
            weights = jax.lax.stop_gradient(peaks) / (1 + step // self.steps_per_epoch)
            term = (weights * values).sum()
        else:
            term = values.sum()
        term = self.fading(step) * self.weight_of(network, layer) * term
        if self.growth_weight:
            term = term + self.growth_weight * growth(peaks.mean(), first_peak) ** 2
        return self.strength(step) * term


def growth(peak: jax.Array, first: jax.Array) -> jax.Array:
    """Logarithm of a peak over the first one, both []; 0 where it is no larger, or that is 0."""
    grown = (first > 0) & (peak > first)
    # Of ones where it has not grown, for a finite gradient.
    return jnp.log(jnp.where(grown, peak, 1.0)) - jnp.log(jnp.where(grown, first, 1.0))


def balanced_class_weights(
    labels: ArrayLike, *, categories: int, task: str
) -> tuple[tuple[float, ...], ...]:
    """Weights that make every category count alike in the log loss, whatever its number of images.

    A weight is inverse to the number of images with the same answer: of the category (softmax), or
    with this category and without it (logistic), and the mean over the images is 1.

    Args:
      labels: label of every training image, int [images], 0 for "other".
      categories: number of categories.
      task: `"logistic"` or `"softmax"`.

    Returns:
      Weights [label, output]; one output for softmax.

    Raises:
      ValueError: where a category has no image.
    """
    counts = np.bincount(np.asarray(labels), minlength=categories + 1)
    total = counts.sum()
    for label in range(1, categories + 1):
        if not 0 < counts[label] < total + (task == SOFTMAX):
            raise ValueError(
                f"class weights need images with and without each category; {counts[label]} of the"
                f" {total} training images are of category number {label}"
            )
    if task == SOFTMAX:
        weights = total / (categories * np.maximum(counts, 1))
        return tuple((float(weight),) for weight in weights)
    table = np.tile(total / (2.0 * (total - counts[1:])), (categories + 1, 1))
    table[np.arange(1, categories + 1), np.arange(categories)] = total / (2.0 * counts[1:])
    return tuple(tuple(map(float, row)) for row in table)
