"""Strict JAX and eight CPU devices for every test."""

import os

# Before JAX starts: the sharded tests want eight devices on any machine.
os.environ["JAX_PLATFORMS"] = "cpu"
_DEVICES = "--xla_force_host_platform_device_count=8"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_DEVICES}"

import jax
import pytest


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
