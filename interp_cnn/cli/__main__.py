"""The command `interp-cnn`: hands over to the one that its first argument names."""

import argparse
import importlib
import sys

from interp_cnn.version import version

_COMMANDS = {
    "train": ("interp_cnn.cli.train", "train and evaluate the networks of a configuration"),
    "eval": ("interp_cnn.cli.eval", "evaluate trained networks, or pretrained weights"),
    "explain": ("interp_cnn.cli.explain", "explain what a trained network says of an image"),
    "reproduce": ("interp_cnn.cli.reproduce", "train and evaluate what the paper's tables need"),
    "data": ("interp_cnn.data.__main__", "prepare a data set and say what is in it"),
    "weights": ("interp_cnn.models.pretrained.__main__", "convert pretrained weights"),
}


def main() -> None:
    """Run the command of the command line."""
    listed = "\n".join(f"  {name:10} {what}" for name, (_, what) in _COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="interp-cnn",
        usage="interp-cnn COMMAND ...",
        description="Interpretable convolutional neural networks.",
        epilog=f"commands, each with a --help of its own:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"interp_cnn {version()}")
    parser.add_argument("command", metavar="COMMAND", choices=list(_COMMANDS))
    command = parser.parse_args(sys.argv[1:2]).command
    sys.argv[:2] = [f"interp-cnn {command}"]
    try:
        module = importlib.import_module(_COMMANDS[command][0])
    except ModuleNotFoundError as error:
        sys.exit(
            f"error: interp-cnn {command} needs the package {error.name}; install interp_cnn with"
            " its extra: pip install 'interp_cnn[train]'"
        )
    module.main()


if __name__ == "__main__":
    main()
