"""What a network is trained for: the log loss of the task, and the filter loss."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from interp_cnn.losses import Estimator, filter_loss, scale_free_filter_loss
from interp_cnn.models import Network
from interp_cnn.training.filter_categories import Rule

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
      class_weights: of the task, see `balanced_class_weights`; None weighs all alike.
      weighting: of the filter loss. `"scale_free"`: its mean over filters, of `scale_free` maps;
        `"constant"`: the plain loss summed over filters; `"paper"`: that times
        `mean_x max_ij x_ij / t` of each filter in epoch t.
      weight: factor of the filter loss of each interpretable layer.
      sharpness: see `scale_free`.
      images: `"all"`: the filter loss sees all, and Eq. 4 assigns those of other categories to the
        negative template; `"category"`: it sees those of the filter's category alone.
      estimator: `"mi"` or `"paper"`.
      alpha: see `template_prior`.
      category_rule: of a filter's category, by its mean over images of `"sum"` (paper) or `"max"`
        (authors' code) of the map.
      start_epoch: number of epochs, also a fraction, before masks and filter loss set in.
      ramp_epochs: number of epochs in which they grow to their full strength.
      steps_per_epoch: to count epochs.
    """

    task: str = LOGISTIC
    class_weights: tuple[tuple[float, ...], ...] | None = None
    weighting: str = SCALE_FREE
    weight: float = 3.0
    sharpness: float = 60.0
    images: str = "all"
    estimator: Estimator = "paper"
    alpha: float | None = None
    category_rule: Rule = "sum"
    start_epoch: float = 0.0
    ramp_epochs: float = 0.0
    steps_per_epoch: int = 1

    def __post_init__(self) -> None:
        _one_of("train.task", self.task, LOGISTIC, SOFTMAX)
        _one_of("filter_loss.weighting", self.weighting, SCALE_FREE, "constant", "paper")
        _one_of("filter_loss.images", self.images, "category", "all")
        _one_of("filter_loss.category_rule", self.category_rule, "sum", "max")
        if self.weight < 0:
            raise ValueError(f"filter_loss.weight must not be negative, got {self.weight}")

    def strength(self, step: jax.Array) -> jax.Array | float:
        """Strength of masks and filter loss at a step, in [0, 1]."""
        if self.start_epoch <= 0 and self.ramp_epochs <= 0:
            return 1.0
        since = step / self.steps_per_epoch - self.start_epoch
        if self.ramp_epochs <= 0:
            return (since >= 0).astype(jnp.float32)
        return jnp.clip(since / self.ramp_epochs, 0.0, 1.0)

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

    def answers_right(self, logits: jax.Array, labels: jax.Array) -> jax.Array:
        """Share of right answers in a batch, float32 []."""
        if self.task == SOFTMAX:
            return (logits.argmax(axis=1) == labels - 1).mean()
        return ((logits > 0) == (jax.nn.one_hot(labels - 1, logits.shape[1]) > 0)).mean()

    def filter_loss(
        self, network: Network, maps: jax.Array, members: jax.Array, axis_name: str | None
    ) -> jax.Array:
        """Filter loss of a layer, float32 [filters].

        Args:
          network: whose norm and slope the templates have.
          maps: [batch, height, width, filters].
          members: bool [batch, filters], whether the image is of the filter's category.
          axis_name: mapped axis over the devices.
        """
        paper = self.estimator == "paper"
        where = members if self.images == "category" else None
        loss = filter_loss
        if self.weighting == SCALE_FREE:
            loss = functools.partial(scale_free_filter_loss, sharpness=self.sharpness)
        return loss(
            maps,
            estimator=self.estimator,
            target=members if paper else None,
            norm=network.norm,
            beta=network.beta,
            alpha=self.alpha,
            where=where,
            axis_name=axis_name,
        )

    def filter_term(self, values: jax.Array, *, peak: jax.Array, step: jax.Array) -> jax.Array:
        """What one layer adds to the loss, float32 [].

        Args:
          values: filter loss, [filters].
          peak: mean peak of the maps of each filter, [filters].
          step: number of steps before this one.
        """
        if self.weighting == SCALE_FREE:
            term = values.mean()
        elif self.weighting == "paper":
            term = (peak * values).sum() / (1 + step // self.steps_per_epoch)
        else:
            term = values.sum()
        return self.strength(step) * self.weight * term


def balanced_class_weights(
    labels: ArrayLike, *, categories: int, task: str
) -> tuple[tuple[float, ...], ...]:
    """Weights that make every category count alike in the log loss, whatever its number of images.

    A weight is inverse to the number of images with the same answer: of the category (softmax), or
    with this category and without it (logistic), and the mean over the images is 1.

    Args:
      labels: of all training images, int [images], 0 for "other".
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
