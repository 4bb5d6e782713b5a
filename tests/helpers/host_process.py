"""One host of a tiny run: `python host_process.py train.py --distributed --config THIS_FILE ...`.

The command is the real one; only the data set is smaller than any that it knows.
"""

import importlib
import os
import signal
import sys
import time
from pathlib import Path

HELPERS = Path(__file__).resolve().parent
sys.path[:0] = [str(HELPERS.parents[1]), str(HELPERS)]


def get_config():
    """Both networks, 32 steps each, over a frozen layer whose output is kept."""
    from tiny import tiny_config

    config = tiny_config()
    config.networks = ("ordinary", "interpretable")
    config.model.frozen_through = "conv1"
    config.train.epochs = 8
    config.checkpoint.every_steps = 7
    return config


def _tiny_data():
    from interp_cnn import preflight
    from interp_cnn.data import prepare
    from interp_cnn.data.embedded.builder import EmbeddedAnimals, EmbeddedConfig

    seed = int(os.environ.get("TINY_SEED", "0"))
    what = EmbeddedConfig(
        categories=("cat",), num_per_category=24, num_other=24, image_size=64, seed=seed
    )

    def builder(name, category, *, data_dir, skip_damaged):
        return EmbeddedAnimals(config=what, data_dir=data_dir)

    prepare.open_builder = builder
    # Its frozen layer has no weights of a file.
    preflight._check_frozen = lambda config: None


def _signalled(number, at_step):
    """This host gets a signal after so many steps, and steps take their time from then on."""
    from interp_cnn import hosts

    reached, calls = hosts.StopNotice.reached, []

    def counted(self):
        calls.append(1)
        if len(calls) == at_step:
            os.kill(os.getpid(), number)
        if len(calls) >= at_step:
            time.sleep(0.5)  # the other hosts are told within some seconds
        return reached(self)

    hosts.StopNotice.reached = counted


if __name__ == "__main__":
    if os.environ.get("SIGNAL"):
        name, step = os.environ["SIGNAL"].split(":")
        _signalled(getattr(signal, name), int(step))
    _tiny_data()
    script = importlib.import_module(Path(sys.argv[1]).stem)
    sys.argv[:2] = [sys.argv[1]]
    script.main()
