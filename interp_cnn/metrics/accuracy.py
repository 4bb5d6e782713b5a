"""Accuracy as (sum, count), so that a padded last batch stays exact."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def accuracy(
    logits: ArrayLike, labels: ArrayLike, weight: ArrayLike | None = None
) -> tuple[jax.Array, jax.Array]:
    """Share of right answers: of the argmax (softmax) or of the sign, mean over outputs (logistic).

    The labels' rank says which: class indices [batch] stand for softmax, one target per output
    [batch, outputs] for logistic outputs (a logit above 0 says yes). A logit that
    is not a number is wrong.

    Args:
      logits: [batch, outputs].
      labels: int [batch], the index of the right output; or bool or 0/1 [batch, outputs].
      weight: [batch], 0 for padding; all 1 by default.

    Returns:
      (sum, count), float32 scalars: weighted number of right answers, and sum of weights. Add both
      up over batches and devices; the accuracy is sum / count.

    Raises:
      ValueError: shapes that do not fit each other, or class indices for a single output.
    """
    logits, labels = jnp.asarray(logits), jnp.asarray(labels)
    if logits.ndim != 2:
        raise ValueError(f"logits has shape {logits.shape}; give [batch, outputs].")
    if labels.shape == logits.shape:
        right = ((logits > 0) == (labels > 0)) & ~jnp.isnan(logits)
        # Whole numbers, so that their sum depends on no order.
        right, of = jnp.sum(right, axis=1, dtype=jnp.float32), logits.shape[1]
    elif labels.shape == logits.shape[:1]:
        if logits.shape[1] == 1:
            raise ValueError(
                f"labels has shape {labels.shape}, but one output has no argmax to compare with; "
                "give the logistic targets as [batch, 1]."
            )
        right = (jnp.argmax(logits, axis=1) == labels) & ~jnp.isnan(logits).any(axis=1)
        right, of = right.astype(jnp.float32), 1
    else:
        raise ValueError(
            f"labels has shape {labels.shape} beside logits of shape {logits.shape}; "
            "give [batch] (softmax) or [batch, outputs] (logistic)."
        )
    weight = jnp.ones_like(right) if weight is None else jnp.asarray(weight, jnp.float32)
    if weight.shape != right.shape:
        raise ValueError(f"weight has shape {weight.shape}; give [batch] = {right.shape}.")
    return jnp.sum(right * weight) / of, jnp.sum(weight)
