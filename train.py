"""Train and evaluate: python train.py [--config configs/NAME.py[:name=value,...]] [--workdir DIR].

Without arguments: the ordinary and the interpretable network on the embedded data. Fields of the
configuration are overridden by --config.FIELD=VALUE. A run that was interrupted goes on when the
same command is run again.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from interp_cnn import cli

_CONFIG = cli.define_config(str(cli.CONFIGS / "embedded.py"))
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run (default: runs/CONFIG).")
_DISTRIBUTED = flags.DEFINE_bool("distributed", False, "Join the other hosts of this run.")


def main(argv: Sequence[str]) -> None:
    """Run the job of the flags."""
    cli.check_arguments(argv)
    from interp_cnn import parallel, runs

    if _DISTRIBUTED.value:
        parallel.join_hosts()
    workdir = _WORKDIR.value or cli.default_workdir(_CONFIG.file)
    runs.train_and_evaluate(_CONFIG.value, Path(workdir))


if __name__ == "__main__":
    cli.run(main)
