"""A convolutional backbone with the paper's two interpretable layers and a head."""

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from interp_cnn.layers import TemplateMask
from interp_cnn.models.interface import Templates
from interp_cnn.models.stages import Conv, How, Pool, Stage, Window
from interp_cnn.receptive_field import ReceptiveField, compose
from interp_cnn.templates import Norm, Position

TOP_CONV = "top_conv"
NEW_CONV = "new_conv"


@dataclasses.dataclass(frozen=True)
class Backbone:
    """The layers of a network below the new convolution, and what comes with it.

    Attributes:
      name: name of the network.
      input_size: side of the square input in pixels.
      stages: layers from the image to the last ReLU.
      last_pool: pooling after the new convolution.
      fc_features: units of the two fully connected layers.
      head: head that the network has by default, `"fc"` or `"gap"`.
      small_stages: the stages for small images, which reduce them less at the start; empty where
        there are none.
    """

    name: str
    input_size: int
    stages: tuple[Stage, ...]
    last_pool: Pool
    fc_features: int = 4096
    head: str = "fc"
    small_stages: tuple[Stage, ...] = ()

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the stages that have parameters, in order."""
        return tuple(stage.layers[0] for stage in self.stages if stage.layers)

    @property
    def groups(self) -> int:
        """Largest number of groups, of which every number of features must be a multiple."""
        return max(stage.groups for stage in self.stages if isinstance(stage, Conv))

    def channels(self, how: How, stages: int | None = None) -> int:
        """Channels of the output, or of that of the first so many stages."""
        channels = 3
        for stage in self.stages[:stages]:
            channels = stage.channels(channels, how)
        return channels


def _windows(stages: Sequence[Stage]) -> list[Window]:
    return [window for stage in stages for window in stage.windows]


def _between_poolings(stages: Sequence[Stage]) -> list[list[Stage]]:
    """Stages in groups, each up to a pooling; one that consists of blocks is a group of its own."""
    groups: list[list[Stage]] = [[]]
    for stage in stages:
        if stage.in_blocks:
            groups += [[stage], []]
        else:
            groups[-1].append(stage)
            if isinstance(stage, Pool):
                groups.append([])
    return [group for group in groups if group]


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
      head: what comes behind interpretable layer (b). `"fc"`: the last pooling and the paper's
        three fully connected layers; `"gap"`: the mean of each map and one fully connected layer;
        `"default"`: that of the backbone.
      input_size: side of the square input in pixels; 0 takes that of the backbone.
      dropout: dropout rate after each hidden fully connected layer, which `"gap"` has none of.
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
      frozen_through: name of the last layer of the backbone that is not trained, such as
        `"conv4_3"`, `"layer3"` or `"denseblock3"`: no gradient is computed for it and the layers
        before it, and their batch normalisation keeps its statistics. None trains all.
      remat: whether the backward pass computes the inside of each block again instead of keeping
        it: less memory for more time. Blocks are those of residual networks, the layers of dense
        ones, else what lies between two poolings.
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
    head: str = "default"
    input_size: int = 0
    dropout: float = 0.8
    norm: Norm = "l1"
    beta: ArrayLike = 4.0
    position: Position = "argmax"
    top_conv_mask: float = 1.0
    new_conv_mask: float = 1.0
    second_layer: str = "before_pool"
    new_init_std: float | None = 0.01
    frozen_through: str | None = None
    remat: bool = False
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None

    def __post_init__(self) -> None:
        if self.second_layer not in ("before_pool", "after_pool"):
            raise ValueError(
                f"second_layer must be 'before_pool' or 'after_pool', got {self.second_layer!r}"
            )
        if self.head not in ("default", "fc", "gap"):
            raise ValueError(f"head must be 'default', 'fc' or 'gap', got {self.head!r}")
        if self.second_layer == "after_pool" and not self.has_last_pool:
            raise ValueError(
                f"second_layer='after_pool' needs a last pooling, which {self.backbone.name} has"
                " with head='fc' alone; set second_layer='before_pool'"
            )
        frozen, layers = self.frozen_through, self.backbone.layer_names
        if frozen is not None and frozen not in layers:
            raise ValueError(
                f"frozen_through names no layer of {self.backbone.name}: {frozen!r};"
                f" choose one of {', '.join(layers)}, or None"
            )
        self.input_size = self.input_size or self.backbone.input_size
        self._check_input_size()
        if not self.width > 0 or not 0 <= self.dropout < 1:
            raise ValueError(
                f"width must be positive and dropout in [0, 1), got {self.width} and {self.dropout}"
            )
        for name in ("top_conv_mask", "new_conv_mask"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        super().__post_init__()

    def _check_input_size(self) -> None:
        side = self.input_size
        pool = self.backbone.last_pool if self.has_last_pool else None
        for window in _windows([*self.backbone.stages, *([pool] if pool else [])]):
            side = window.output_side(side)
            if side < 1:
                raise ValueError(
                    f"input_size={self.input_size} is too small for {self.backbone.name}, which"
                    " leaves no position of it; set a larger one, or 0 for its own,"
                    f" {self.backbone.input_size}"
                )

    @property
    def has_last_pool(self) -> bool:
        """Whether the head has the last pooling and the paper's fully connected layers."""
        return "fc" == (self.backbone.head if self.head == "default" else self.head)

    @property
    def frozen_layers(self) -> tuple[str, ...]:
        """Names of the layers that are not trained."""
        frozen = self.backbone.stages[: self.frozen_stages]
        return tuple(name for stage in frozen for name in stage.layers)

    @property
    def frozen_stages(self) -> int:
        """Number of stages before the first layer that is trained, 0 if all are."""
        if self.frozen_through is None:
            return 0
        stages = self.backbone.stages
        names = [stage.layers[0] if stage.layers else "" for stage in stages]
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
          train: whether dropout is on, which needs the random stream "dropout", and whether batch
            normalisation uses the statistics of the batch, which the collection `batch_stats` then
            takes up; it must be mutable.
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
        stages, how = self.backbone.stages, self._how(train)
        if images is not None:
            _check_channels("images", images, 3)
            frozen = self._how(train=False)
            x = self._stages(images.astype(self.dtype), stages[: self.frozen_stages], frozen)
        if features is not None:
            _check_channels("features", features, self._frozen_channels())
            x = features.astype(self.dtype)
        if self.frozen_stages:
            x = jax.lax.stop_gradient(x)
        if only_frozen:
            return x
        x = self._stages(x, stages[self.frozen_stages :], how)
        maps = {TOP_CONV: given_maps.get(TOP_CONV, x)}
        x = self._mask(TOP_CONV, maps[TOP_CONV], mask_strength)
        new_init = (
            nn.initializers.he_normal()
            if self.new_init_std is None
            else nn.initializers.normal(self.new_init_std)
        )
        # It has as many filters as there are below it.
        full = dataclasses.replace(how, width=1.0)
        x = Conv(NEW_CONV, x.shape[-1])(x, full, new_init)
        if self.second_layer == "after_pool":
            x = self.backbone.last_pool(x, how)
        maps[NEW_CONV] = given_maps.get(NEW_CONV, x)
        x = self._mask(NEW_CONV, maps[NEW_CONV], mask_strength)
        return self._head(x, how, new_init), maps

    def _head(self, x: jax.Array, how: How, new_init: nn.initializers.Initializer) -> jax.Array:
        """Logits of the masked maps of the new conv."""
        if not self.has_last_pool:
            x = x.mean(axis=(1, 2))
        elif self.second_layer == "before_pool":
            x = self.backbone.last_pool(x, how)
        x = x.reshape(x.shape[0], -1)
        units = dataclasses.replace(how, groups=1).scaled(self.backbone.fc_features)
        for name in ("fc6", "fc7") if self.has_last_pool else ():
            x = nn.relu(nn.Dense(units, dtype=self.dtype, kernel_init=new_init, name=name)(x))
            x = nn.Dropout(self.dropout, deterministic=not how.train)(x)
        last_init = nn.initializers.zeros if self.new_init_std is None else new_init
        last = nn.Dense(self.num_outputs, dtype=self.dtype, kernel_init=last_init, name="fc8")
        return last(x).astype(jnp.float32)

    def _how(self, train: bool = False) -> How:
        return How(
            width=self.width,
            groups=self.backbone.groups,
            dtype=self.dtype,
            train=train,
            axis_name=self.axis_name,
            remat=self.remat,
        )

    def _frozen_channels(self) -> int:
        """Channels of the output of the frozen layers."""
        if self.frozen_through is None:
            raise ValueError("features stand for frozen layers; set frozen_through")
        return self.backbone.channels(self._how(), self.frozen_stages)

    def _stages(self, x: jax.Array, stages: Sequence[Stage], how: How) -> jax.Array:
        if not self.remat:
            return self._group(x, stages, how)
        for group in _between_poolings(stages):
            again = not group[0].in_blocks  # else each of its blocks is
            x = (nn.remat(Network._group, static_argnums=(2, 3)) if again else Network._group)(
                self, x, tuple(group), how
            )
        return x

    def _group(self, x: jax.Array, stages: Sequence[Stage], how: How) -> jax.Array:
        for stage in stages:
            x = stage(x, how)
        return x

    @property
    def architecture(self) -> str:
        """Name of the network, as `create_model` takes it."""
        return self.backbone.name

    @property
    def last_layer(self) -> str:
        """Name of the maps whose filters explain predictions."""
        return NEW_CONV

    def in_float32(self) -> "Network":
        """The same network, computing in float32."""
        return self.clone(dtype=jnp.float32)

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
        filters = self.backbone.channels(self._how())
        return {TOP_CONV: filters, NEW_CONV: filters}

    def receptive_fields(self) -> dict[str, ReceptiveField]:
        """Where the positions of each map of `maps` look, in continuous pixels of the input."""
        below = _windows(self.backbone.stages)
        new = [*below, Window(3, 1, 1, 1)]
        if self.second_layer == "after_pool":
            new += self.backbone.last_pool.windows
        return {
            name: compose((window.kernel, window.stride, window.pad) for window in windows)
            for name, windows in ((TOP_CONV, below), (NEW_CONV, new))
        }
