"""Folders in the published layouts, of tests that have a fixture `published` with one."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def copy(published, tmp_path):
    """A copy of the folder that a test may damage."""
    return Path(shutil.copytree(published, tmp_path / "source"))
