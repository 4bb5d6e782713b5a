"""Train and evaluate: python train.py [--config configs/NAME.py[:name=value,...]] [--workdir DIR].

Without arguments: the ordinary and the interpretable network on the embedded data. Fields of the
configuration are overridden by --config.FIELD=VALUE. A run that was interrupted goes on when the
same command is run again.
"""

from collections.abc import Sequence

from absl import flags

from interp_cnn import cli

_CONFIG = cli.define_config(str(cli.CONFIGS / "embedded.py"))
cli.define_distributed()
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Directory or gs://BUCKET/DIR (default: runs/CONFIG)."
)


def main(argv: Sequence[str]) -> None:
    """Run the job of the flags."""
    cli.check_arguments(argv)
    cli.join_hosts()
    from interp_cnn import commands, storage

    workdir = _WORKDIR.value or cli.default_workdir(_CONFIG.file)
    commands.train_and_evaluate(_CONFIG.value, storage.as_path(workdir))


if __name__ == "__main__":
    cli.run(main)
