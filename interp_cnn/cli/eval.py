"""Evaluate: interp-cnn eval --workdir DIR, or --config NAME for networks as they start.

With --workdir alone the latest checkpoints of a training run are measured. With --config, which
takes what train takes, the networks are measured without training, with the weights that the
configuration names. --occlude N measures the radius of a unit's image region on N images first
(empirical receptive fields of Zhou et al.), takes the mean of the networks for all of them, and
keeps it in DIR. In the repository, python eval.py is the same.
"""

from collections.abc import Sequence

from absl import flags

from interp_cnn.cli import run
from interp_cnn.cli.config_flag import ConfigFlag


def main() -> None:
    """Run the command of the command line."""
    config = ConfigFlag(None)
    distributed = run.define_distributed()
    workdir = flags.DEFINE_string("workdir", None, "Directory of the run, or gs://BUCKET/DIR.")
    occlude = flags.DEFINE_integer(
        "occlude",
        0,
        "Measure the radius of the regions by occluding so many images.",
        lower_bound=0,
    )

    def evaluate(arguments: Sequence[str]) -> None:
        run.check_arguments(arguments)
        run.join_hosts(distributed)
        from interp_cnn import commands, storage
        from interp_cnn.workdir import read_config_everywhere

        if config.value is not None:
            place = storage.as_path(workdir.value or config.default_workdir)
            commands.evaluate_weights(config.value, place, occlude=occlude.value)
        elif workdir.value:
            place = storage.as_path(workdir.value)
            commands.evaluate_workdir(read_config_everywhere(place), place, occlude=occlude.value)
        else:
            raise ValueError("eval needs --workdir DIR of a training run, or --config NAME")

    run.run(evaluate, config=config, description=__doc__)
