"""What a trained network says about images, as a pure function: to be compiled, or exported."""

from collections.abc import Sequence
from typing import Any

import jax

from interp_cnn.models import AnyNetwork
from interp_cnn.training.steps import Std, predict_step


def outputs(
    variables: Any,
    images: jax.Array,
    *,
    network: AnyNetwork,
    mean: tuple[float, ...],
    std: Std,
    softmax: bool,
    names: Sequence[str],
) -> dict[str, Any]:
    """Some of what a network says about images.

    Args:
      variables: the network's parameters and batch statistics.
      images: uint8 [batch, size, size, 3].
      network: the network to apply.
      mean: RGB mean that is subtracted from the images.
      std: deviation that the images are divided by after that, one or one of each channel.
      softmax: whether the categories exclude each other, else each is a yes or a no.
      names: what is wanted: `probabilities` float32 [batch, categories], or what `predict_step`
        returns.
    """
    found = predict_step(variables, {"image": images}, network=network, mean=mean, std=std)
    logits = found["logits"]
    found["probabilities"] = jax.nn.softmax(logits) if softmax else jax.nn.sigmoid(logits)
    return {name: found[name] for name in names}


# What is not wanted is not computed.
compiled_outputs = jax.jit(outputs, static_argnames=("network", "mean", "std", "softmax", "names"))
