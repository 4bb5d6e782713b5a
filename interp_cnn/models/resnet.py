"""ResNet-18, 34, 50, 101 and 152 (He et al. 2016), layer by layer as torchvision has them.

In a bottleneck the 3x3 convolution has the stride (torchvision's version 1.5), not the first one.
"""

import dataclasses
from collections.abc import Sequence

import flax.linen as nn
import jax

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

_EXPANSION = 4  # of the features, behind a bottleneck


class _Block(nn.Module):
    """Two 3x3 convolutions, or a bottleneck of three, beside their input."""

    features: int  # of the 3x3 convolutions, at the width
    stride: int
    bottleneck: bool
    how: How

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        how, kernels = self.how, (1, 3, 1) if self.bottleneck else (3, 3)
        strides = (1, self.stride, 1) if self.bottleneck else (self.stride, 1)
        outputs = self.features * (_EXPANSION if self.bottleneck else 1)
        y = x
        for number, (kernel, stride) in enumerate(zip(kernels, strides, strict=True), start=1):
            last = number == len(kernels)
            features = outputs if last else self.features
            y = plain_conv(y, features, how, f"conv{number}", kernel=kernel, stride=stride)
            y = batch_norm(y, how, f"bn{number}")
            y = y if last else nn.relu(y)
        if self.stride > 1 or x.shape[-1] != outputs:
            x = plain_conv(x, outputs, how, "downsample_0", stride=self.stride)
            x = batch_norm(x, how, "downsample_1")
        return nn.relu(x + y)


class _Blocks(nn.Module):
    """Residual blocks one after the other, named `0`, `1`, ...; the first one has the stride."""

    blocks: int
    features: int
    stride: int
    bottleneck: bool
    how: How

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        block = nn.remat(_Block) if self.how.remat else _Block
        for number in range(self.blocks):
            stride = self.stride if number == 0 else 1
            layer = block(self.features, stride, self.bottleneck, self.how, name=str(number))
            x = layer(x)
        return x


@dataclasses.dataclass(frozen=True)
class Residual(InOneModule):
    """Residual blocks with one number of features, torchvision's `layer1` to `layer4`."""

    name: str
    blocks: int
    features: int
    stride: int
    bottleneck: bool

    in_blocks = True

    @property
    def windows(self) -> Sequence[Window]:
        """See `Stage`."""
        point = [Window()] if self.bottleneck else []
        windows: list[Window] = []
        for stride in (self.stride, *[1] * (self.blocks - 1)):
            strided = Window(3, stride, 1, 1)
            windows += [*point, strided, *(point or [Window(3, 1, 1, 1)])]
        return windows

    def channels(self, inputs: int, how: How) -> int:
        """See `Stage`."""
        return how.scaled(self.features) * (_EXPANSION if self.bottleneck else 1)

    def __call__(self, x: jax.Array, how: How) -> jax.Array:
        """See `Stage`."""
        layers = _Blocks(
            self.blocks,
            how.scaled(self.features),
            self.stride,
            self.bottleneck,
            how,
            name=self.name,
        )
        return layers(x)


def _resnet(depth: int, blocks: Sequence[int], *, bottleneck: bool) -> Backbone:
    above: list[Stage] = [
        Residual(f"layer{number}", count, 32 * 2**number, 1 if number == 1 else 2, bottleneck)
        for number, count in enumerate(blocks, start=1)
    ]
    return Backbone(
        name=f"resnet{depth}",
        input_size=224,
        stages=(
            Conv("conv1", 64, kernel=7, stride=2, pad=3, norm="bn1"),
            Pool(3, 2, pad=1),
            *above,
        ),
        small_stages=(Conv("conv1", 64, norm="bn1"), *above),
        last_pool=Pool(2, 2),
        head="gap",
    )


RESNETS = (
    _resnet(18, (2, 2, 2, 2), bottleneck=False),
    _resnet(34, (3, 4, 6, 3), bottleneck=False),
    _resnet(50, (3, 4, 6, 3), bottleneck=True),
    _resnet(101, (3, 4, 23, 3), bottleneck=True),
    _resnet(152, (3, 8, 36, 3), bottleneck=True),
)
