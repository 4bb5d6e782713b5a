"""Converts published weights: interp-cnn weights convert IN OUT."""

import argparse
import sys
from pathlib import Path

import numpy as np

from interp_cnn.models.pretrained.load import load_weights
from interp_cnn.models.pretrained.pretrained import Pretrained, checksum
from interp_cnn.models.pretrained.store import save_weights


def _shape(array: np.ndarray) -> str:
    return " x ".join(map(str, array.shape))


def summary(pretrained: Pretrained) -> str:
    """Network and source, one line per convolution, mean and checksum."""
    convolutions = sum("kernel" in arrays for arrays in pretrained.layers.values())
    std = ", ".join(f"{value:.3f}" for value in pretrained.std)
    divided = "" if set(pretrained.std) == {1.0} else f", by ({std})"
    lines = [f"{pretrained.network}, from {pretrained.source}"]
    count = 0
    for layer, arrays in pretrained.layers.items():
        if "kernel" in arrays:
            bias = f" bias {arrays['bias'].size}" if "bias" in arrays else ""
            lines.append(f"  {layer:8} kernel {_shape(arrays['kernel']):20}{bias}".rstrip())
        count += sum(array.size for array in arrays.values())
    mean = ", ".join(f"{value:.3f}" for value in pretrained.mean)
    lines += [
        f"{convolutions} convolutions, {count:,} values",
        f"input: RGB, 0..255, minus ({mean}){divided}",
        f"sha256: {checksum(pretrained.layers)}",
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None, *, prog: str | None = None) -> None:
    """Run the command; what a user can set right ends it with one sentence."""
    parser = argparse.ArgumentParser(prog=prog, description="Convert pretrained weights.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    convert = commands.add_parser("convert", help="write a file that loads in milliseconds")
    convert.add_argument(
        "source", metavar="IN", type=Path, help="file of Keras, MatConvNet, torchvision or timm"
    )
    convert.add_argument("target", metavar="OUT", type=Path, help="safetensors file to write")
    options = parser.parse_args(arguments)
    try:
        pretrained = load_weights(options.source)
        save_weights(options.target, pretrained)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(summary(pretrained))
    print(f"written: {options.target}; use it with --config.weights={options.target}")


if __name__ == "__main__":
    main(prog="python -m interp_cnn.models.pretrained")
