"""Evaluate: python eval.py --workdir DIR, or --config configs/NAME.py for networks as they start.

With --workdir alone the latest checkpoints of a training run are measured. With --config the
networks are measured without training, with the weights that the configuration names.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from interp_cnn import cli

_CONFIG = cli.define_config(None)
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run.")


def main(argv: Sequence[str]) -> None:
    """Run the job of the flags."""
    cli.check_arguments(argv)
    from interp_cnn import experiment, runs

    if _CONFIG.value is not None:
        file = config_flags.get_config_filename(flags.FLAGS["config"])
        runs.evaluate_weights(_CONFIG.value, Path(_WORKDIR.value or cli.default_workdir(file)))
    elif _WORKDIR.value:
        workdir = Path(_WORKDIR.value)
        runs.evaluate_workdir(experiment.read_config(workdir), workdir)
    else:
        raise ValueError("eval.py needs --workdir DIR of a training run, or --config FILE.py")


if __name__ == "__main__":
    cli.run(main)
