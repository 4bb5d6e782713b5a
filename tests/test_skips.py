"""`--may-skip` fails the tests that would be skipped, one by one and whole files."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SKIPS = {
    "inside": """
        import pytest
        def test_one():
            pytest.skip("no torch")
        """,
    "by a fixture": """
        import pytest
        @pytest.fixture
        def browser():
            pytest.skip("no browser")
        def test_one(browser):
            pass
        """,
    "by a mark": """
        import pytest
        @pytest.mark.skip("no torch")
        def test_one():
            pass
        """,
    "whole file": """
        import pytest
        pytest.importorskip("a_module_that_is_not_there")
        def test_one():
            pass
        """,
    "none": """
        import pytest
        @pytest.mark.xfail(reason="known")
        def test_one():
            assert False
        """,
}


@pytest.fixture(scope="module")
def run_skips(tmp_path_factory):
    """Runs the files of SKIPS with some options: the exit code and what was printed."""
    folder = tmp_path_factory.mktemp("skips")
    for name in ("conftest.py", "helpers/xla_flags.py"):
        shutil.copy(Path(__file__).parent / name, folder)
    (folder / "pytest.ini").touch()
    for name, text in SKIPS.items():
        (folder / f"test_{name.replace(' ', '_')}.py").write_text(textwrap.dedent(text))

    def run(*options):
        command = [sys.executable, "-m", "pytest", "-rfE", "--continue-on-collection-errors"]
        # Without the options of the suite that this is a part of.
        alone = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
        result = subprocess.run(
            [*command, *options], cwd=folder, env=alone, capture_output=True, text=True
        )
        return result.returncode, result.stdout

    return run


def test_skips_are_allowed_unless_told_otherwise(run_skips):
    code, said = run_skips()
    assert (code, "4 skipped, 1 xfailed" in said) == (0, True), said


def test_every_skip_fails(run_skips):
    code, said = run_skips("--may-skip=^$")
    assert code == 1 and "1 failed, 1 xfailed, 3 errors" in said, said
    assert "no torch, but --may-skip=^$ wants this test to run" in said
    assert "ERROR test_whole_file.py" in said


def test_a_reason_that_is_allowed(run_skips):
    code, said = run_skips("--may-skip=no browser|not_there")
    assert code == 1 and "1 failed, 2 skipped, 1 xfailed, 1 error" in said, said
