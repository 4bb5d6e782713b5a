"""Train and evaluate: interp-cnn train [--config NAME[:name=value,...]] [--workdir DIR].

Without arguments: the ordinary and the interpretable network on the embedded data. --config takes a
configuration of the package (embedded, folder, tfds, ilsvrc_animal_part, pascal_voc_part,
cub_200_2011) or a file of your own, FILE.py; its fields are overridden by --config.FIELD=VALUE. A
run that was interrupted goes on when the same command is run again. In the repository, python
train.py is the same.
"""

from collections.abc import Sequence

from absl import flags

from interp_cnn.cli import run
from interp_cnn.cli.config_flag import ConfigFlag


def main() -> None:
    """Run the command of the command line."""
    config = ConfigFlag("embedded")
    distributed = run.define_distributed()
    workdir = flags.DEFINE_string(
        "workdir", None, "Directory or gs://BUCKET/DIR (default: runs/CONFIG)."
    )

    def train(arguments: Sequence[str]) -> None:
        run.check_arguments(arguments)
        run.join_hosts(distributed)
        from interp_cnn import commands, storage

        place = storage.as_path(workdir.value or config.default_workdir)
        commands.train_and_evaluate(commands.with_saved_radius(config.value, place), place)

    run.run(train, config=config, description=__doc__)
