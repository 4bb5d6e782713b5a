"""A convolutional backbone of 2014 with the paper's two interpretable layers and its head."""

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from interp_cnn.layers import TemplateMask, local_response_norm
from interp_cnn.models.interface import Templates
from interp_cnn.receptive_field import ReceptiveField, compose
from interp_cnn.templates import Norm, Position

TOP_CONV = "top_conv"
NEW_CONV = "new_conv"


@dataclasses.dataclass(frozen=True)
class Conv:
    """Convolution and ReLU. Kernel and stride are square, padding is the same on all sides."""

    name: str
    features: int
    kernel: int = 3
    stride: int = 1
    pad: int = 1
    groups: int = 1


@dataclasses.dataclass(frozen=True)
class LRN:
    """Local response normalisation, in MatConvNet's convention."""

    bias: float
    alpha: float
    size: int = 5
    beta: float = 0.75


@dataclasses.dataclass(frozen=True)
class Pool:
    """Max pooling; `pad_end` rows and columns of padding at the bottom and the right."""

    kernel: int
    stride: int
    pad_end: int = 0


Stage = Conv | LRN | Pool


@dataclasses.dataclass(frozen=True)
class Backbone:
    """The layers of a network below the new convolution, and what comes with it.

    Attributes:
      name: name of the network.
      input_size: side of the square input in pixels.
      stages: layers from the image to the ReLU of the last convolution.
      last_pool: pooling after the new convolution.
      fc_features: units of the two fully connected layers.
    """

    name: str
    input_size: int
    stages: tuple[Stage, ...]
    last_pool: Pool
    fc_features: int = 4096

    @property
    def convolutions(self) -> tuple[str, ...]:
        """Names of the convolutions in order, without the new one."""
        return tuple(stage.name for stage in self.stages if isinstance(stage, Conv))

    @property
    def groups(self) -> int:
        """Largest number of groups, of which every number of features must be a multiple."""
        return max(stage.groups for stage in self.stages if isinstance(stage, Conv))


def _scaled(features: int, width: float, groups: int = 1) -> int:
    """Number of features at a width factor: at least one per group, divisible by the groups."""
    return max(round(features * width / groups), 1) * groups


def _max_pool(x: jax.Array, pool: Pool) -> jax.Array:
    padding = [(0, pool.pad_end)] * 2
    return nn.max_pool(x, (pool.kernel,) * 2, strides=(pool.stride,) * 2, padding=padding)


def _check_channels(name: str, x: jax.Array, channels: int) -> None:
    if x.ndim != 4 or x.shape[-1] != channels:
        raise ValueError(
            f"{name} must have the shape [batch, height, width, {channels}], got {tuple(x.shape)}"
        )


class Network(nn.Module):
    """Backbone, interpretable layer (a), new convolution, interpretable layer (b), head.

    The ordinary network to compare with is `interpretable=False`: the same without the masks, with
    the same parameter tree. Section 4 of the paper has the architecture.

    Attributes:
      backbone: layers below the new convolution.
      num_outputs: outputs of the last layer (1 for a single category).
      interpretable: whether the two masks are applied.
      width: factor of every number of features, for small machines.
      dropout: dropout rate after each hidden fully connected layer.
      norm: norm of the masks and of the filter loss' templates, see `template_bank`.
      beta: slope of the masks and templates, see `template_bank`.
      position: where masks and assigned templates sit, `"argmax"` (paper) or `"centroid"` (authors'
        code), see `peak_position`.
      top_conv_mask: strength of the mask of the top conv, in [0, 1], see `apply_template_mask`. 1
        is the paper's mask; 0.5 is one of half the slope that ends at zero; 0 is none, and leaves
        the filter loss of this layer.
      new_conv_mask: the same of the new conv.
      second_layer: `"before_pool"` puts interpretable layer (b), its mask and filter loss, before
        the last pooling as the paper does, `"after_pool"` behind it as the authors' code does.
      new_init_std: standard deviation of the new layers' kernels; 0.01 in the paper. None stands
        for training from scratch: He initialisation, and zeros in the last layer, so that the first
        steps need not unlearn random answers.
      frozen_through: name of the last convolution that is not trained: no gradient is computed for
        it and the layers before it. None trains all.
      dtype: dtype of the computation, float32 or bfloat16; parameters are float32.
      axis_name: mapped axis over the devices, whose images count together in the statistics of a
        batch in training; None where there is none.

    Raises:
      ValueError: for an attribute out of range.
    """

    backbone: Backbone
    num_outputs: int = 1
    interpretable: bool = True
    width: float = 1.0
    dropout: float = 0.8
    norm: Norm = "l1"
    beta: ArrayLike = 4.0
    position: Position = "argmax"
    top_conv_mask: float = 1.0
    new_conv_mask: float = 1.0
    second_layer: str = "before_pool"
    new_init_std: float | None = 0.01
    frozen_through: str | None = None
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None

    def __post_init__(self) -> None:
        if self.second_layer not in ("before_pool", "after_pool"):
            raise ValueError(
                f"second_layer must be 'before_pool' or 'after_pool', got {self.second_layer!r}"
            )
        frozen, convolutions = self.frozen_through, self.backbone.convolutions
        if frozen is not None and frozen not in convolutions:
            raise ValueError(
                f"frozen_through names no convolution of {self.backbone.name}: {frozen!r};"
                f" choose one of {', '.join(convolutions)}, or None"
            )
        if not self.width > 0 or not 0 <= self.dropout < 1:
            raise ValueError(
                f"width must be positive and dropout in [0, 1), got {self.width} and {self.dropout}"
            )
        for name in ("top_conv_mask", "new_conv_mask"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        super().__post_init__()

    @property
    def input_size(self) -> int:
        """Side of the square input in pixels."""
        return self.backbone.input_size

    @property
    def frozen_layers(self) -> tuple[str, ...]:
        """Names of the convolutions that are not trained."""
        if self.frozen_through is None:
            return ()
        names = self.backbone.convolutions
        return names[: names.index(self.frozen_through) + 1]

    @property
    def frozen_stages(self) -> int:
        """Number of stages before the first convolution that is trained, 0 if all are."""
        if self.frozen_through is None:
            return 0
        stages = self.backbone.stages
        names = [stage.name if isinstance(stage, Conv) else "" for stage in stages]
        after = names.index(self.frozen_through) + 1
        return next((i for i in range(after, len(stages)) if names[i]), len(stages))

    def __call__(
        self,
        images: jax.Array | None = None,
        *,
        features: jax.Array | None = None,
        train: bool = False,
        mask_strength: ArrayLike = 1.0,
        given_maps: Mapping[str, jax.Array] = MappingProxyType({}),
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Classify images.

        Args:
          images: RGB, 0..255 minus the mean, [batch, height, width, 3].
          features: in place of images, what `frozen_features` makes of them.
          train: whether dropout is on, which needs the random stream "dropout".
          mask_strength: strength of both masks, see `apply_template_mask`; below 1 only while they
            set in.
          given_maps: maps by name that stand in for those computed from the images, to see what the
            head makes of other maps. `jax.jit` leaves out the layers whose result is not used then.

        Returns:
          float32 logits [batch, num_outputs], and the maps of both interpretable layers before
          masking, `top_conv` and `new_conv`, each [batch, height, width, filters].

        Raises:
          ValueError: for images or features of another shape, or unless one of them is given.
        """
        if (images is None) == (features is None):
            raise ValueError("give the network either images or features, which stand for them")
        return self._forward(images, features, train, mask_strength, given_maps)

    def frozen_features(self, images: jax.Array) -> jax.Array:
        """Output of the layers before the first convolution that is trained.

        `network.apply(variables, images, method="frozen_features")` needs the variables of
        `frozen_layers` alone.

        Args:
          images: RGB, 0..255 minus the mean, [batch, height, width, 3].

        Returns:
          [batch, height, width, channels] in the dtype of the network.

        Raises:
          ValueError: for images of another shape, or where no layers are frozen.
        """
        if self.frozen_through is None:
            raise ValueError("frozen_features needs frozen layers; set frozen_through")
        return self._forward(images, only_frozen=True)

    # Flax wants the layers to be made in one method.
    @nn.compact
    def _forward(
        self,
        images: jax.Array | None,
        features: jax.Array | None = None,
        train: bool = False,
        mask_strength: ArrayLike = 1.0,
        given_maps: Mapping[str, jax.Array] = MappingProxyType({}),
        *,
        only_frozen: bool = False,
    ) -> Any:
        stages = self.backbone.stages
        if images is not None:
            _check_channels("images", images, 3)
            x = self._stages(images.astype(self.dtype), stages[: self.frozen_stages])
        if features is not None:
            _check_channels("features", features, self._frozen_channels())
            x = features.astype(self.dtype)
        if self.frozen_stages:
            x = jax.lax.stop_gradient(x)
        if only_frozen:
            return x
        x = self._stages(x, stages[self.frozen_stages :])
        maps = {TOP_CONV: given_maps.get(TOP_CONV, x)}
        x = self._mask(TOP_CONV, maps[TOP_CONV], mask_strength)
        new_init = (
            nn.initializers.he_normal()
            if self.new_init_std is None
            else nn.initializers.normal(self.new_init_std)
        )
        x = self._conv(x, Conv(NEW_CONV, x.shape[-1]), new_init, scale=False)
        if self.second_layer == "after_pool":
            x = _max_pool(x, self.backbone.last_pool)
        maps[NEW_CONV] = given_maps.get(NEW_CONV, x)
        x = self._mask(NEW_CONV, maps[NEW_CONV], mask_strength)
        if self.second_layer == "before_pool":
            x = _max_pool(x, self.backbone.last_pool)
        x = x.reshape(x.shape[0], -1)
        for name in ("fc6", "fc7"):
            units = _scaled(self.backbone.fc_features, self.width)
            x = nn.relu(nn.Dense(units, dtype=self.dtype, kernel_init=new_init, name=name)(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        last_init = nn.initializers.zeros if self.new_init_std is None else new_init
        last = nn.Dense(self.num_outputs, dtype=self.dtype, kernel_init=last_init, name="fc8")
        return last(x).astype(jnp.float32), maps

    def _frozen_channels(self) -> int:
        """Channels of the output of the frozen layers."""
        if self.frozen_through is None:
            raise ValueError("features stand for frozen layers; set frozen_through")
        convolutions = [stage for stage in self.backbone.stages if isinstance(stage, Conv)]
        last = convolutions[len(self.frozen_layers) - 1]
        return _scaled(last.features, self.width, self.backbone.groups)

    def _stages(self, x: jax.Array, stages: Sequence[Stage]) -> jax.Array:
        for stage in stages:
            if isinstance(stage, Conv):
                x = self._conv(x, stage, nn.initializers.he_normal())
            elif isinstance(stage, LRN):
                x = local_response_norm(
                    x, size=stage.size, bias=stage.bias, alpha=stage.alpha, beta=stage.beta
                )
            else:
                x = _max_pool(x, stage)
        return x

    def _conv(
        self, x: jax.Array, conv: Conv, init: nn.initializers.Initializer, scale: bool = True
    ) -> jax.Array:
        width = self.width if scale else 1.0
        layer = nn.Conv(
            _scaled(conv.features, width, self.backbone.groups),
            (conv.kernel, conv.kernel),
            strides=conv.stride,
            padding=conv.pad,
            feature_group_count=conv.groups,
            dtype=self.dtype,
            kernel_init=init,
            name=conv.name,
        )
        return nn.relu(layer(x))

    @property
    def architecture(self) -> str:
        """Name of the network, as `create_model` takes it."""
        return self.backbone.name

    @property
    def last_layer(self) -> str:
        """Name of the maps whose filters explain predictions."""
        return NEW_CONV

    def templates_of(self, layer: str) -> Templates:
        """The templates of a layer, the same for both."""
        return Templates(self.norm, self.beta, self.position)

    @property
    def mask_strengths(self) -> dict[str, float]:
        """Strength of the mask of each of the maps; 0 where there is none."""
        if not self.interpretable:
            return {TOP_CONV: 0.0, NEW_CONV: 0.0}
        return {TOP_CONV: self.top_conv_mask, NEW_CONV: self.new_conv_mask}

    def _mask(self, maps: str, x: jax.Array, strength: ArrayLike) -> jax.Array:
        full = self.mask_strengths[maps]
        name = {TOP_CONV: "mask_a", NEW_CONV: "mask_b"}[maps]
        layer = TemplateMask(self.norm, self.beta, self.position, full > 0, name=name)
        return layer(x, strength=strength if full == 1 else full * strength)

    @property
    def map_filters(self) -> dict[str, int]:
        """Number of filters of each of the maps."""
        last = [stage for stage in self.backbone.stages if isinstance(stage, Conv)][-1]
        filters = _scaled(last.features, self.width, self.backbone.groups)
        return {TOP_CONV: filters, NEW_CONV: filters}

    def receptive_fields(self) -> dict[str, ReceptiveField]:
        """Where the positions of each map of `maps` look, in continuous pixels of the input."""

        def triples(stages: Sequence[Stage]) -> list[tuple[int, int, int]]:
            return [
                (stage.kernel, stage.stride, stage.pad if isinstance(stage, Conv) else 0)
                for stage in stages
                if not isinstance(stage, LRN)
            ]

        below = triples(self.backbone.stages)
        new = [*below, (3, 1, 1)]
        if self.second_layer == "after_pool":
            new += triples([self.backbone.last_pool])
        return {TOP_CONV: compose(below), NEW_CONV: compose(new)}
