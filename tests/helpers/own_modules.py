"""Networks of one's own for the tests: small ones that work, and those that are none."""

import flax.linen as nn
import jax.numpy as jnp
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
