"""Tiny ResNets and DenseNets: their state dicts in torchvision's layout, and forward passes.

Nothing here is of the package but the description of the networks.
"""

import numpy as np
from weight_files import numpy_conv, numpy_pool, torch_pool

from interp_cnn.models.densenet import _densenet
from interp_cnn.models.resnet import _resnet

# name: kind, blocks of each stage, our network
TINY = {
    "resnet8": ("basic", (1, 2), _resnet(8, (1, 2), bottleneck=False)),
    "resnet11": ("bottleneck", (2, 1), _resnet(11, (2, 1), bottleneck=True)),
    "densenet13": ("dense", (2, 3), _densenet(13, (2, 3), growth=8, stem=16)),
}
BOTTLENECKED = 4


def random_state(name, seed=0):
    """A state dict with random weights and running statistics, and a stub of the last layer."""
    kind, counts, _ = TINY[name]
    rng = np.random.default_rng(seed)
    state = {}

    def conv(name, inputs, outputs, side):
        scale = (2 / (inputs * side * side)) ** 0.5
        values = rng.standard_normal((outputs, inputs, side, side)) * scale
        state[f"{name}.weight"] = values.astype(np.float32)

    def norm(name, channels):
        for array in ("weight", "running_var"):
            state[f"{name}.{array}"] = rng.uniform(0.5, 1.5, channels).astype(np.float32)
        for array in ("bias", "running_mean"):
            state[f"{name}.{array}"] = (0.3 * rng.standard_normal(channels)).astype(np.float32)
        state[f"{name}.num_batches_tracked"] = np.array(7, np.int64)

    if kind == "dense":
        growth, channels = 8, 16
        conv("features.conv0", 3, channels, 7)
        norm("features.norm0", channels)
        for block, count in enumerate(counts, start=1):
            for number in range(1, count + 1):
                layer = f"features.denseblock{block}.denselayer{number}"
                norm(f"{layer}.norm1", channels)
                conv(f"{layer}.conv1", channels, BOTTLENECKED * growth, 1)
                norm(f"{layer}.norm2", BOTTLENECKED * growth)
                conv(f"{layer}.conv2", BOTTLENECKED * growth, growth, 3)
                channels += growth
            if block < len(counts):
                norm(f"features.transition{block}.norm", channels)
                conv(f"features.transition{block}.conv", channels, channels // 2, 1)
                channels //= 2
        norm("features.norm5", channels)
        return state | {"classifier.weight": np.zeros((2, channels), "f4")}

    conv("conv1", 3, 64, 7)
    norm("bn1", 64)
    channels = 64
    for stage, count in enumerate(counts, start=1):
        inner = 32 * 2**stage
        outputs = inner * (BOTTLENECKED if kind == "bottleneck" else 1)
        for number in range(count):
            block = f"layer{stage}.{number}"
            if kind == "bottleneck":
                sizes = ((channels, inner, 1), (inner, inner, 3), (inner, outputs, 1))
            else:
                sizes = ((channels, inner, 3), (inner, outputs, 3))
            for index, size in enumerate(sizes, start=1):
                conv(f"{block}.conv{index}", *size)
                norm(f"{block}.bn{index}", size[1])
            if number == 0 and (stage > 1 or channels != outputs):
                conv(f"{block}.downsample.0", channels, outputs, 1)
                norm(f"{block}.downsample.1", outputs)
            channels = outputs
    return state | {"fc.weight": np.zeros((2, channels), "f4"), "fc.bias": np.zeros(2, "f4")}


# Forward passes; images are [batch, height, width, channels].


class NumpyOps:
    """Layers in NumPy."""

    pool = staticmethod(numpy_pool)

    @staticmethod
    def conv(x, weight, stride):
        pads = (weight.shape[-1] // 2,) * 4
        return numpy_conv(x, weight.transpose(2, 3, 1, 0), 0.0, stride, pads, relu=False)

    @staticmethod
    def norm(x, weight, bias, mean, var):
        return (x - mean) / np.sqrt(var + 1e-5) * weight + bias

    @staticmethod
    def halved(x):
        batch, height, width, channels = x.shape
        return x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))


class TorchOps:
    """Layers in PyTorch."""

    pool = staticmethod(torch_pool)

    @staticmethod
    def _applied(function, x):
        import torch

        x = torch.from_numpy(np.ascontiguousarray(x, np.float32)).permute(0, 3, 1, 2)
        return function(x).permute(0, 2, 3, 1).numpy()

    @classmethod
    def conv(cls, x, weight, stride):
        import torch

        weight = torch.from_numpy(weight)
        return cls._applied(
            lambda x: torch.conv2d(x, weight, None, stride, weight.shape[-1] // 2), x
        )

    @classmethod
    def norm(cls, x, weight, bias, mean, var):
        import torch

        weight, bias, mean, var = map(torch.from_numpy, (weight, bias, mean, var))
        return cls._applied(lambda x: torch.nn.functional.batch_norm(x, mean, var, weight, bias), x)

    @classmethod
    def halved(cls, x):
        import torch

        return cls._applied(lambda x: torch.nn.functional.avg_pool2d(x, 2), x)


OPS = {"numpy": NumpyOps, "torch": TorchOps}


def forward(name, state, images, library):
    """The last maps of a network in float32, after ReLU."""
    kind, counts, _ = TINY[name]
    ops = OPS[library]

    def conv(x, name, stride=1):
        return ops.conv(x, state[f"{name}.weight"], stride)

    def norm(x, name):
        names = ("weight", "bias", "running_mean", "running_var")
        return ops.norm(x, *(state[f"{name}.{array}"] for array in names))

    def relu(x):
        return np.maximum(x, 0)

    first = ("features.conv0", "features.norm0") if kind == "dense" else ("conv1", "bn1")
    x = relu(norm(conv(images.astype(np.float32), first[0], 2), first[1]))
    x = ops.pool(x, 3, 2, (1, 1, 1, 1))
    for stage, count in enumerate(counts, start=1):
        for number in range(count):
            if kind == "dense":
                layer = f"features.denseblock{stage}.denselayer{number + 1}"
                y = conv(relu(norm(x, f"{layer}.norm1")), f"{layer}.conv1")
                y = conv(relu(norm(y, f"{layer}.norm2")), f"{layer}.conv2")
                x = np.concatenate([x, y], axis=-1)
                continue
            block = f"layer{stage}.{number}"
            stride = 2 if stage > 1 and number == 0 else 1
            if kind == "bottleneck":
                y = relu(norm(conv(x, f"{block}.conv1"), f"{block}.bn1"))
                y = relu(norm(conv(y, f"{block}.conv2", stride), f"{block}.bn2"))
                y = norm(conv(y, f"{block}.conv3"), f"{block}.bn3")
            else:
                y = relu(norm(conv(x, f"{block}.conv1", stride), f"{block}.bn1"))
                y = norm(conv(y, f"{block}.conv2"), f"{block}.bn2")
            if f"{block}.downsample.0.weight" in state:
                x = norm(conv(x, f"{block}.downsample.0", stride), f"{block}.downsample.1")
            x = relu(x + y)
        if kind == "dense" and stage < len(counts):
            transition = f"features.transition{stage}"
            x = ops.halved(conv(relu(norm(x, f"{transition}.norm")), f"{transition}.conv"))
    return relu(norm(x, "features.norm5")) if kind == "dense" else x
