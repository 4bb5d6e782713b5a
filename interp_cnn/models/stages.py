"""What the backbones of 2014 are made of, and what those with batch normalisation share."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from interp_cnn.layers import local_response_norm
from interp_cnn.models.fast_convolution import convolution


class Window(NamedTuple):
    """What one position of a convolution or pooling sees of its input, along one axis."""

    kernel: int = 1
    stride: int = 1
    pad: int = 0
    pad_end: int = 0

    def output_side(self, side: int) -> int:
        """Length of the output for an input of a length."""
        return (side + self.pad + self.pad_end - self.kernel) // self.stride + 1


@dataclasses.dataclass(frozen=True)
class How:
    """How the layers of a network are computed.

    Attributes:
      width: factor of every number of features.
      groups: number of which every number of features is a multiple.
      dtype: dtype of the computation.
      train: whether batch normalisation uses the statistics of the batch, and not running averages.
      axis_name: mapped axis over the devices, whose images count together in these statistics.
      remat: whether the backward pass computes the inside of each block again.
    """

    width: float = 1.0
    groups: int = 1
    dtype: DTypeLike = jnp.float32
    train: bool = False
    axis_name: str | None = None
    remat: bool = False

    def scaled(self, features: int) -> int:
        """Number of features at the width: at least one per group, divisible by the groups."""
        return max(round(features * self.width / self.groups), 1) * self.groups


class Stage(Protocol):
    """One step of a backbone: a layer, or a block of layers under one name.

    It is called where Flax makes layers, in a compact method.
    """

    @property
    def layers(self) -> Sequence[str]:
        """Names of its layers with parameters; the first one is that of the stage."""

    @property
    def windows(self) -> Sequence[Window]:
        """Its convolutions and poolings, along its longest path."""

    @property
    def in_blocks(self) -> bool:
        """Whether it sees to `How.remat` itself, block by block."""

    def channels(self, inputs: int, how: How) -> int:
        """Channels of its output for so many of its input."""

    def __call__(self, x: jax.Array, how: How) -> jax.Array:
        """Its output for [batch, height, width, channels]."""


@dataclasses.dataclass(frozen=True)
class Conv:
    """Convolution and ReLU. Kernel and stride are square, padding is the same on all sides.

    With `norm`, the name of a batch normalisation between the two, it has no bias.
    """

    name: str
    features: int
    kernel: int = 3
    stride: int = 1
    pad: int = 1
    groups: int = 1
    norm: str = ""

    in_blocks = False

    @property
    def layers(self) -> Sequence[str]:
        """See `Stage`."""
        return (self.name, self.norm) if self.norm else (self.name,)

    @property
    def windows(self) -> Sequence[Window]:
        """See `Stage`."""
        return (Window(self.kernel, self.stride, self.pad, self.pad),)

    def channels(self, inputs: int, how: How) -> int:
        """See `Stage`."""
        return how.scaled(self.features)

    def __call__(
        self, x: jax.Array, how: How, init: nn.initializers.Initializer | None = None
    ) -> jax.Array:
        """See `Stage`; `init` stands for He initialisation."""
        layer = nn.Conv(
            how.scaled(self.features),
            (self.kernel, self.kernel),
            strides=self.stride,
            padding=self.pad,
            feature_group_count=self.groups,
            use_bias=not self.norm,
            dtype=how.dtype,
            kernel_init=init or nn.initializers.he_normal(),
            conv_general_dilated=convolution,
            name=self.name,
        )
        x = layer(x)
        return nn.relu(batch_norm(x, how, self.norm) if self.norm else x)


@dataclasses.dataclass(frozen=True)
class LRN:
    """Local response normalisation, in MatConvNet's convention."""

    bias: float
    alpha: float
    size: int = 5
    beta: float = 0.75

    layers = windows = ()
    in_blocks = False

    def channels(self, inputs: int, how: How) -> int:
        """See `Stage`."""
        return inputs

    def __call__(self, x: jax.Array, how: How) -> jax.Array:
        """See `Stage`."""
        return local_response_norm(
            x, size=self.size, bias=self.bias, alpha=self.alpha, beta=self.beta
        )


@dataclasses.dataclass(frozen=True)
class Pool:
    """Max pooling.

    Attributes:
      kernel: side of the square window.
      stride: steps from one window to the next.
      pad_end: rows and columns of padding at the bottom and the right alone.
      pad: rows and columns of padding on all sides.
    """

    kernel: int
    stride: int
    pad_end: int = 0
    pad: int = 0

    layers = ()
    in_blocks = False

    @property
    def windows(self) -> Sequence[Window]:
        """See `Stage`."""
        return (Window(self.kernel, self.stride, self.pad, self.pad + self.pad_end),)

    def channels(self, inputs: int, how: How) -> int:
        """See `Stage`."""
        return inputs

    def __call__(self, x: jax.Array, how: How) -> jax.Array:
        """See `Stage`."""
        padding = [(self.pad, self.pad + self.pad_end)] * 2
        return nn.max_pool(x, (self.kernel,) * 2, strides=(self.stride,) * 2, padding=padding)


class InOneModule:
    """A stage whose layers all lie in one Flax module, of its `name`."""

    name: str

    @property
    def layers(self) -> Sequence[str]:
        """See `Stage`."""
        return (self.name,)


def batch_norm(x: jax.Array, how: How, name: str) -> jax.Array:
    """Batch normalisation with torchvision's constants; its statistics are float32."""
    layer = nn.BatchNorm(
        use_running_average=not how.train,
        momentum=0.9,
        epsilon=1e-5,
        dtype=how.dtype,
        axis_name=how.axis_name,
        name=name,
    )
    return layer(x)


def plain_conv(
    x: jax.Array, features: int, how: How, name: str, *, kernel: int = 1, stride: int = 1
) -> jax.Array:
    """Convolution without a bias, for the batch normalisation beside it; `features` is not scaled.

    The padding leaves the size as it is but for the stride.
    """
    layer = nn.Conv(
        features,
        (kernel, kernel),
        strides=stride,
        padding=kernel // 2,
        use_bias=False,
        dtype=how.dtype,
        kernel_init=nn.initializers.he_normal(),
        conv_general_dilated=convolution,
        name=name,
    )
    return layer(x)
