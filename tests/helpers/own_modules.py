"""Networks of one's own for the tests: small ones that work, and those that are none."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax import nnx

from examples.own_network import PartNet
from interp_cnn import ReceptiveField
from interp_cnn.layers import TemplateMask


class Block(nn.Module):
    """A convolution with a mask of its own."""

    features: int = 4

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(self.features, (3, 3), strides=2)(x))
        return TemplateMask(beta=2.0, norm="l2", name="mask")(x)


class Slopes(nn.Module):
    """A mask with a slope for each filter."""

    beta = (2.0, 4.0, 8.0)

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(3, (3, 3), strides=2)(x))
        x = TemplateMask(beta=self.beta, name="mask")(x)
        return nn.Dense(1)(x.reshape(len(x), -1))


class Nested(nn.Module):
    """A mask inside a block that is computed again in the backward pass, and one behind it.

    The names of the layers are not in the order of the alphabet.
    """

    outputs: int = 3

    @nn.compact
    def __call__(self, x):
        x = nn.remat(Block)(name="second")(x)
        x = nn.relu(nn.Conv(6, (3, 3))(x))
        x = TemplateMask(name="after")(x, strength=0.5)
        return nn.Dense(self.outputs)(x.reshape(len(x), -1))


class Example(nn.Module):
    """The network of examples/ inside another one, so that names of layers have two parts."""

    num_outputs: int = 1
    input_size: int = 32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, train=False):
        inner = PartNet(self.num_outputs, width=4, axis_name=self.axis_name, name="net")
        return inner(x, train=train)


class Deep(nn.Module):
    """The layout of VGG-16, whose last positions see 196 pixels, with few filters.

    With `positions` the last layer takes that many alone, so that images have one size.
    """

    num_outputs: int = 1
    positions: int | None = None

    @nn.compact
    def __call__(self, x):
        for stage, layers in enumerate((2, 2, 3, 3, 3)):
            if stage:
                x = nn.max_pool(x, (2, 2), (2, 2))
            for _ in range(layers):
                x = nn.relu(nn.Conv(4, (3, 3))(x))
        x = TemplateMask(name="last")(x)
        return nn.Dense(self.num_outputs)(x.reshape(len(x), self.positions or -1))


class Patches(nn.Module):
    """Positions 28 pixels apart."""

    num_outputs: int = 1

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(4, (28, 28), strides=28, padding="VALID")(x))
        return nn.Dense(self.num_outputs)(TemplateMask(name="last")(x).max(axis=(1, 2)))


class PerPosition(nn.Module):
    """A weight for each position, whose number depends on the image."""

    num_outputs: int = 1

    @nn.compact
    def __call__(self, x):
        for _ in range(2):
            x = nn.relu(nn.Conv(4, (3, 3), strides=2)(x))
        x = nn.relu(x * self.param("gate", nn.initializers.ones, (1, *x.shape[1:3], 1)))
        return nn.Dense(self.num_outputs)(TemplateMask(name="last")(x).max(axis=(1, 2)))


class Attends(nn.Module):
    """Attention between all positions."""

    num_outputs: int = 1

    @nn.compact
    def __call__(self, x):
        for _ in range(2):
            x = nn.relu(nn.Conv(4, (3, 3), strides=2)(x))
        x = x + nn.MultiHeadDotProductAttention(1)(x.reshape(len(x), -1, 4)).reshape(x.shape)
        x = nn.relu(nn.Conv(4, (3, 3))(x))
        return nn.Dense(self.num_outputs)(TemplateMask(name="last")(x).max(axis=(1, 2)))


class NnxBody(nnx.Module):
    """Maps, by nnx."""

    def __init__(self, features, rngs):
        self.conv = nnx.Conv(3, features, (3, 3), strides=2, rngs=rngs)
        self.norm = nnx.BatchNorm(features, rngs=rngs)

    def __call__(self, x, train):
        return nnx.relu(self.norm(self.conv(x), use_running_average=not train))


class WithNnx(nn.Module):
    """Parts of nnx, and the mask of linen between them."""

    num_outputs: int = 1

    @nn.compact
    def __call__(self, x, train=False):
        x = nnx.bridge.to_linen(NnxBody, 4, name="body")(x, train)
        x = TemplateMask(name="last")(x)
        head = nnx.bridge.to_linen(nnx.Linear, 4, self.num_outputs, name="head")
        return head(x.max(axis=(1, 2)))


class TakesAnything(nn.Module):
    """Its `train` is one of any arguments."""

    num_outputs: int = 1

    @nn.compact
    def __call__(self, x, **how):
        x = nn.Conv(4, (3, 3), strides=2)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not how["train"])(x))
        x = TemplateMask(name="last")(x)
        return nn.Dense(self.num_outputs)(x.reshape(x.shape[0], -1))


class SaysItsFields(Nested):
    def receptive_fields(self):
        return {"after": ReceptiveField(1.0, 2.0, 7.0)}


class SaysOtherFields(Nested):
    def receptive_fields(self):
        return {"mask": ReceptiveField()}


class Sixteen(Nested):
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x):
        return super().__call__(x.astype(self.dtype))


class Normalised(nn.Module):
    num_outputs: int = 1
    norm: str = "group"
    filters: tuple = ()  # any

    @nn.compact
    def __call__(self, x):
        for number, filters in enumerate((8, 16, 16)):
            x = self.block(x, filters, number)
        x = TemplateMask(name="last", beta=np.float32(3))(x, strength=np.float32(0.25))
        return nn.Dense(self.num_outputs)(x.max(axis=(1, 2)))

    @nn.nowrap
    def block(self, x, filters, number):
        conv = nn.Conv(filters, (3, 3), strides=2)
        y = nn.WeightNorm(conv)(x) if self.norm == "weight" else conv(x)
        if self.norm == "group":
            y = nn.GroupNorm(8)(y)
        elif self.norm == "instance":
            y = nn.InstanceNorm()(y)
        elif self.norm == "layer":
            y = nn.LayerNorm(reduction_axes=(1, 2, 3))(y)
        elif self.norm == "factor":
            factor = self.param(f"factor{number}", nn.initializers.ones, (filters,))
            y = y * factor[None, None, None]
        elif self.norm == "threshold":
            least = self.param(f"least{number}", nn.initializers.zeros, (filters,))
            return jnp.maximum(y, least[None, None, None])
        return nn.relu(y)


# What is no network.

instance = Nested()
no_module = {"a": 1}


class NotLinen:
    pass


class OfNnx(nnx.Module):
    pass


class NoMask(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(x.mean(axis=(1, 2)))


class NoLogits(nn.Module):
    @nn.compact
    def __call__(self, x):
        return TemplateMask()(nn.relu(x))


class Sigmoid(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = TemplateMask()(nn.relu(x))
        return nn.sigmoid(nn.Dense(2)(x.mean(axis=(1, 2)))).astype(jnp.float32)


class Similarity(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(2)(TemplateMask()(nn.relu(x)).mean(axis=(1, 2)))
        return jnp.exp(-jnp.square(x)) / 0.1  # to two prototypes


class Softmax(nn.Module):
    temperature: float = 0.0

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(2)(TemplateMask()(nn.relu(x)).mean(axis=(1, 2)))
        return x / self.temperature if self.temperature else nn.softmax(x)


class TwoResults(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = TemplateMask()(nn.relu(x))
        return x.mean(axis=(1, 2)), x


class CallsTwice(nn.Module):
    @nn.compact
    def __call__(self, x):
        mask = TemplateMask(name="mask")
        return mask(mask(nn.relu(x))).mean(axis=(1, 2))


class NoRelu(nn.Module):
    @nn.compact
    def __call__(self, x):
        return TemplateMask(name="mask")(nn.Conv(4, (3, 3))(x)).mean(axis=(1, 2))


class OnePosition(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = x.mean(axis=(1, 2), keepdims=True)
        return TemplateMask(name="mask")(nn.relu(x)).mean(axis=(1, 2))


class NoMaps(nn.Module):
    @nn.compact
    def __call__(self, x):
        return TemplateMask(name="mask")(nn.relu(x.mean(axis=(1, 2))))


class Shuffled(nn.Module):
    """Positions lie on no grid."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(2, (4, 4), strides=4)(x))
        x = x[:, jnp.array([5, 2, 7, 0, 3, 6, 1, 4])]
        return TemplateMask(name="mask")(x).mean(axis=(1, 2))


class Asks(nn.Module):
    """Asks for more than images."""

    @nn.compact
    def __call__(self, x, deterministic):
        return TemplateMask()(nn.relu(x)).mean(axis=(1, 2))


class Training(nn.Module):
    """Calls `train` by another name, which has a default."""

    @nn.compact
    def __call__(self, x, training=False):
        x = TemplateMask()(nn.relu(x)).mean(axis=(1, 2))
        return nn.Dropout(0.5, deterministic=not training)(x)


class MoreInTraining(nn.Module):
    """Has another output in training."""

    @nn.compact
    def __call__(self, x, train):
        x = TemplateMask()(nn.relu(x)).mean(axis=(1, 2))
        return (x, x) if train else x


class MaskInTraining(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = TemplateMask(name="mask")(nn.relu(x))
        x = TemplateMask(name="second")(x) if train else x
        return x.mean(axis=(1, 2))


class OtherStream(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = TemplateMask()(nn.relu(x)).mean(axis=(1, 2))
        return nn.Dropout(0.5, deterministic=not train, rng_collection="noise")(x)


class Sows(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = TemplateMask()(nn.relu(x)).mean(axis=(1, 2))
        self.sow("losses", "size", x.mean())
        return x


class OneForAll(nn.Module):
    """Has the same logits for all images."""

    @nn.compact
    def __call__(self, x):
        return TemplateMask()(nn.relu(x)).mean(axis=(0, 1, 2))[None]


class WholeNumbers(nn.Module):
    @nn.compact
    def __call__(self, x):
        return TemplateMask()(nn.relu(x)).mean(axis=(1, 2)).astype(jnp.int32)


class Prelu(nn.Module):
    """Maps are negative by a parameter of no axes."""

    @nn.compact
    def __call__(self, x):
        return TemplateMask(name="mask")(nn.PReLU()(x)).mean(axis=(1, 2))


class InScan(nn.Module):
    """Blocks of one module, whose maps come back together or not at all."""

    kept: bool = True

    @nn.compact
    def __call__(self, x):
        axes = {"params": 0} | ({"feature_maps": 0} if self.kept else {})
        block = nn.scan(MaskAndNothing, variable_axes=axes, split_rngs={"params": True}, length=2)
        return block(name="blocks")(nn.relu(x), None)[0].mean(axis=(1, 2))


class ScanLosesMaps(InScan):
    kept: bool = False


class MaskAndNothing(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return TemplateMask(name="mask")(x), None


@nn.jit
class Compiled(nn.Module):
    """What is compiled with one mask would be the same without."""

    num_outputs: int = 1

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.num_outputs)(TemplateMask(name="mask")(nn.relu(x)).mean(axis=(1, 2)))


class Fails(nn.Module):
    @nn.compact
    def __call__(self, x):
        raise RuntimeError("no such layer")


class Ignores(nn.Module):
    """Has the attribute and does not use it."""

    num_outputs: int = 1

    @nn.compact
    def __call__(self, x):
        return nn.Dense(7)(TemplateMask()(nn.relu(x)).mean(axis=(1, 2)))
