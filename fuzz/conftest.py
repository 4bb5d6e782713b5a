"""Fuzzing, outside the default suite: python -m pytest fuzz.

10,000 cases, the same every time; FUZZ_CASES=N takes another number and FUZZ_SEED=N other cases.
A case that takes longer than a minute counts as a hang.
"""

import os
import signal
import sys
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"

import pytest
from hypothesis import HealthCheck, settings

sys.path.append(str(Path(__file__).parent))
settings.register_profile(
    "fuzz",
    derandomize="FUZZ_SEED" not in os.environ,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("fuzz")


@pytest.fixture(scope="session", autouse=True)
def no_hang():
    """Alarms of `common.limited` end a case that hangs."""

    def ring(*_):
        raise TimeoutError("a case hangs")

    previous = signal.signal(signal.SIGALRM, ring)
    yield
    signal.signal(signal.SIGALRM, previous)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """One folder for all files of a session."""
    return tmp_path_factory.mktemp("fuzz")
