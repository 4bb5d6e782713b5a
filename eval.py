"""Evaluate: python eval.py --workdir DIR, or --config configs/NAME.py for networks as they start.

With --workdir alone the latest checkpoints of a training run are measured. With --config the
networks are measured without training, with the weights that the configuration names.
--occlude N measures the radius of a unit's image region on N images first (empirical receptive
fields of Zhou et al.), takes the mean of the networks for all of them, and keeps it in DIR.
"""

from collections.abc import Sequence

from absl import flags

from interp_cnn import cli

_CONFIG = cli.define_config(None)
cli.define_distributed()
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run, or gs://BUCKET/DIR.")
_OCCLUDE = flags.DEFINE_integer(
    "occlude", 0, "Measure the radius of the regions by occluding so many images.", lower_bound=0
)


def main(argv: Sequence[str]) -> None:
    """Run the job of the flags."""
    cli.check_arguments(argv)
    cli.join_hosts()
    from interp_cnn import commands, storage
    from interp_cnn.workdir import read_config_everywhere

    if _CONFIG.value is not None:
        workdir = storage.as_path(_WORKDIR.value or cli.default_workdir(_CONFIG.file))
        commands.evaluate_weights(_CONFIG.value, workdir, occlude=_OCCLUDE.value)
    elif _WORKDIR.value:
        workdir = storage.as_path(_WORKDIR.value)
        config = read_config_everywhere(workdir)
        commands.evaluate_workdir(config, workdir, occlude=_OCCLUDE.value)
    else:
        raise ValueError("eval.py needs --workdir DIR of a training run, or --config FILE.py")


if __name__ == "__main__":
    cli.run(main)
