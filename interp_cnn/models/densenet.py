"""DenseNet-121, 161 and 169 (Huang et al. 2017), layer by layer as torchvision has them."""

import dataclasses
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from interp_cnn.models.network import Backbone
from interp_cnn.models.stages import (
    Conv,
    How,
    InOneModule,
    Pool,
    Stage,
    Window,
    batch_norm,
    plain_conv,
)

_BOTTLENECK = 4  # features of a 1x1 convolution, in multiples of the growth


class _DenseLayer(nn.Module):
    """New features from all that were made before in the block."""

    growth: int  # at the width
    how: How

    @nn.compact
    def __call__(self, before: Sequence[jax.Array]) -> jax.Array:
        # They are joined in here, so that with `remat` the joined ones need not be kept.
        x = nn.relu(batch_norm(jnp.concatenate(before, axis=-1), self.how, "norm1"))
        x = plain_conv(x, _BOTTLENECK * self.growth, self.how, "conv1")
        x = nn.relu(batch_norm(x, self.how, "norm2"))
        return plain_conv(x, self.growth, self.how, "conv2", kernel=3)


class _DenseBlock(nn.Module):
    """Dense layers one after the other, named `denselayer1`, `denselayer2`, ..."""

    count: int
    growth: int
    how: How

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        layer = nn.remat(_DenseLayer) if self.how.remat else _DenseLayer
        features = [x]
        for number in range(1, self.count + 1):
            made = layer(self.growth, self.how, name=f"denselayer{number}")
            features.append(made(features))
        return jnp.concatenate(features, axis=-1)


class _Halving(nn.Module):
    """Half as many channels at half the height and width."""

    how: How

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(batch_norm(x, self.how, "norm"))
        x = plain_conv(x, x.shape[-1] // 2, self.how, "conv")
        return nn.avg_pool(x, (2, 2), strides=(2, 2))


@dataclasses.dataclass(frozen=True)
class Dense(InOneModule):
    """A dense block: each layer adds `growth` features, made from all before it."""

    name: str
    count: int
    growth: int

    in_blocks = True

    @property
    def windows(self) -> Sequence[Window]:
        """See `Stage`."""
        return [Window(), Window(3, 1, 1, 1)] * self.count

    def channels(self, inputs: int, how: How) -> int:
        """See `Stage`."""
        return inputs + self.count * how.scaled(self.growth)

    def __call__(self, x: jax.Array, how: How) -> jax.Array:
        """See `Stage`."""
        return _DenseBlock(self.count, how.scaled(self.growth), how, name=self.name)(x)


@dataclasses.dataclass(frozen=True)
class Transition(InOneModule):
    """What lies between two dense blocks: half the channels, half the height and width."""

    name: str

    in_blocks = False

    @property
    def windows(self) -> Sequence[Window]:
        """See `Stage`."""
        return (Window(), Window(2, 2))

    def channels(self, inputs: int, how: How) -> int:
        """See `Stage`."""
        return inputs // 2

    def __call__(self, x: jax.Array, how: How) -> jax.Array:
        """See `Stage`."""
        return _Halving(how, name=self.name)(x)


@dataclasses.dataclass(frozen=True)
class Norm(InOneModule):
    """Batch normalisation and ReLU."""

    name: str

    in_blocks = False
    windows = ()

    def channels(self, inputs: int, how: How) -> int:
        """See `Stage`."""
        return inputs

    def __call__(self, x: jax.Array, how: How) -> jax.Array:
        """See `Stage`."""
        return nn.relu(batch_norm(x, how, self.name))


def _densenet(depth: int, blocks: Sequence[int], *, growth: int, stem: int) -> Backbone:
    above: list[Stage] = []
    for number, count in enumerate(blocks, start=1):
        above.append(Dense(f"denseblock{number}", count, growth))
        last = number == len(blocks)
        above.append(Norm("norm5") if last else Transition(f"transition{number}"))
    return Backbone(
        name=f"densenet{depth}",
        input_size=224,
        stages=(
            Conv("conv0", stem, kernel=7, stride=2, pad=3, norm="norm0"),
            Pool(3, 2, pad=1),
            *above,
        ),
        small_stages=(Conv("conv0", stem, norm="norm0"), *above),
        last_pool=Pool(2, 2),
        head="gap",
    )


DENSENETS = (
    _densenet(121, (6, 12, 24, 16), growth=32, stem=64),
    _densenet(161, (6, 12, 36, 24), growth=48, stem=96),
    _densenet(169, (6, 12, 32, 32), growth=32, stem=64),
)
