"""Strict JAX and eight CPU devices for every test; no skipped tests where that is asked for."""

import os
import re
import shutil
import tempfile

from xla_flags import quick_xla_flags

# Before JAX starts. The sharded tests want eight devices on any machine. What is compiled is
# compiled once by a process and those it starts.
_COMPILED = tempfile.mkdtemp(prefix="compiled-")
os.environ |= {
    "JAX_PLATFORMS": "cpu",
    "JAX_COMPILATION_CACHE_DIR": _COMPILED,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {quick_xla_flags(devices=8)}",
}

import jax
import pytest


def pytest_addoption(parser):
    parser.addoption(
        "--may-skip",
        metavar="REGEX",
        help="fail what would be skipped, unless its reason matches this; '^$' allows nothing",
    )


def _failed_if_skipped(report, config):
    allowed = config.getoption("may_skip")
    # An expected failure has the outcome "skipped" too, and is none.
    if allowed is None or not report.skipped or hasattr(report, "wasxfail"):
        return report
    *_, reason = report.longrepr  # path, line, "Skipped: ..."
    if not re.search(allowed, reason):
        report.outcome = "failed"
        report.longrepr = f"{reason}, but --may-skip={allowed} wants this test to run"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    return _failed_if_skipped(report, item.config)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    return _failed_if_skipped(report, collector.config)


def pytest_unconfigure():
    shutil.rmtree(_COMPILED, ignore_errors=True)


@pytest.fixture(autouse=True, scope="session")
def strict_jax():
    jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def real_data():
    """The folder of real photos and weights, or a skip that says how to set it."""
    from pathlib import Path

    folder = os.environ.get("INTERP_CNN_REAL_DATA")
    if not folder:
        pytest.skip("INTERP_CNN_REAL_DATA is not set: it names the folder with the real photos")
    return Path(folder)


# The files that take longest: at the end a single process would be left with one of them.
_FIRST = (
    "test_hosts",
    "test_steps",
    "test_reproduce_runs",
    "test_networks_of_today",
    "test_bucket",
)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.stem not in _FIRST)
