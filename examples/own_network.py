"""A network of one's own: residual blocks with batch normalisation, and two masked layers.

    python train.py --config.model.name=examples.own_network:PartNet --workdir runs/part_net

This trains it on the drawn animals as an ordinary and as an interpretable network;
docs/own_network.md has the same for a folder of photos.
"""

import flax.linen as nn
import jax

from interp_cnn.layers import TemplateMask


class PartNet(nn.Module):
    """Images to logits; the maps of `middle` and `last` are those that should show parts."""

    num_outputs: int = 1  # set to the number of categories
    input_size: int = 96  # pixels
    width: int = 32
    axis_name: str | None = None  # of the devices, for the batch statistics

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify images [batch, height, width, 3]."""
        for stage in range(3):
            features = self.width * 2**stage
            x = nn.Conv(features, (3, 3), strides=2, use_bias=False)(x)
            y = self.norm(train)(x)
            y = nn.Conv(features, (3, 3), use_bias=False)(nn.relu(y))
            x = nn.relu(x + self.norm(train)(y))
        x = TemplateMask(name="middle")(x)
        x = nn.relu(nn.Conv(features, (3, 3))(x))
        x = TemplateMask(name="last")(x)
        x = nn.Dropout(0.2, deterministic=not train)(x.max(axis=(1, 2)))
        return nn.Dense(self.num_outputs)(x)

    def norm(self, train: bool) -> nn.BatchNorm:
        """Batch normalisation over all devices."""
        return nn.BatchNorm(use_running_average=not train, momentum=0.9, axis_name=self.axis_name)
