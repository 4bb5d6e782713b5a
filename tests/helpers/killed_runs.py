"""Kill a run of both networks at random moments, go on, and compare with one that was left alone.

    python tests/helpers/killed_runs.py --times 20

Prints a line for each and how many ended with the same bits.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from etils import epath

SCRIPT = Path(__file__).parent / "host_process.py"
VARIANTS = ("ordinary", "interpretable")


def start(folder, workdir):
    """The run as a process."""
    command = [sys.executable, str(SCRIPT), "train.py", f"--workdir={workdir}"]
    command += [f"--config={SCRIPT}", f"--config.data.data_dir={folder / 'data'}"]
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet)


def result(workdir):
    """Parameters of both networks, and their lines of metrics."""
    from interp_cnn.training.checkpoint import Checkpoints

    found = []
    for variant in VARIANTS:
        checkpoints = Checkpoints(epath.Path(workdir / variant / "checkpoints"))
        step, variables, _ = checkpoints.restore_for_evaluation()
        checkpoints.close()
        lines = (workdir / variant / "metrics.jsonl").read_text()
        found.append((step, [np.asarray(leaf) for leaf in jax.tree.leaves(variables)], lines))
    return found


def same(ours, theirs):
    """Whether two results are the same to the bit."""
    return all(
        a[0] == b[0] and a[2] == b[2] and all(map(np.array_equal, a[1], b[1]))
        for a, b in zip(ours, theirs, strict=True)
    )


def main():
    """Print what became of every run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    good = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        assert start(folder, folder / "first").wait() == 0  # prepares the data and compiles
        begin = time.monotonic()
        assert start(folder, folder / "whole").wait() == 0
        seconds = time.monotonic() - begin
        expected = result(folder / "whole")
        for number in range(arguments.times):
            workdir = folder / f"killed-{number}"
            process = start(folder, workdir)
            after = chance.uniform(0.1, 1.0) * seconds
            time.sleep(after)
            done = process.poll() is not None
            process.kill()
            process.wait()
            assert start(folder, workdir).wait() == 0, f"run {number} did not go on"
            equal = same(result(workdir), expected)
            good += equal
            when = "was done" if done else f"killed after {after:.1f} of {seconds:.1f} s"
            print(
                f"{number + 1}: {when}, {'the same bits' if equal else 'ANOTHER RESULT'}",
                flush=True,
            )
    print(f"{good} of {arguments.times} with the same bits")
    sys.exit(good != arguments.times)


if __name__ == "__main__":
    main()
