"""The small network's step and the filter loss compile for four TPU chips that are not there."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest
from repository import ROOT

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason='the TPU compiler is not installed: pip install -e ".[tpu-compile]"',
)


def compiled(tmp_path, *arguments):
    """Records of `benchmarks/tpu.py`, in a process of its own: JAX has to start without devices."""
    file = tmp_path / "tpu.json"
    run = subprocess.run(
        [
            *(sys.executable, "benchmarks/tpu.py", "--json", str(file), "--topologies", "v5e-4"),
            *("--batch", "8", "--dtypes", "bfloat16", *arguments),
        ],
        cwd=ROOT,
        # The TPU compiler reads XLA_FLAGS too, and ends at a flag of the CPU that it does not know.
        env={name: value for name, value in os.environ.items() if name != "XLA_FLAGS"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    records = json.loads(file.read_text())
    return {key.split("|")[3]: record for key, record in records.items()}, run.stdout


def test_filter_loss(tmp_path):
    records, table = compiled(tmp_path, "--parts", "loss", "--losses", "mi,paper scale-free")
    scores = 4 * 197 * 8 * 512  # of one device
    for record in records.values():
        assert record["fits"]
        # Every collective is at most one number per template and filter, none one per image.
        assert 0 < record["collective_bytes"] < scores
    assert records["paper scale-free"]["collective_bytes"] < records["mi"]["collective_bytes"]
    # The scores are written once and read once; neither maps nor scores are kept in float32 else.
    maps = 2 * 14 * 14 * 8 * 512
    assert records["paper scale-free"]["bytes"] < 2 * scores + 18 * maps
    assert "| v5e-4 | 14x512 | paper scale-free | bfloat16 | 8 |" in table


def test_step_of_the_small_network(tmp_path):
    options = ("--networks", "small", "--variants", "interpretable")
    records, table = compiled(tmp_path, "--parts", "step", *options)
    record = records["interpretable"]
    assert record["fits"] and record["flops"] > 0
    # The gradients of 1,672,833 float32 parameters are averaged, and Z_T is summed.
    assert record["collective_bytes"] > 4 * 1_672_833
    assert "Training step:" in table and "not run" not in table
