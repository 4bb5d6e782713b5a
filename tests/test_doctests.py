"""The examples in the docstrings are run, and every public function has one."""

import ast
import doctest
import importlib
import inspect

import pytest
from repository import ROOT

import interp_cnn


def modules_with_examples():
    for path in sorted((ROOT / "interp_cnn").rglob("*.py")):
        docstrings = [
            ast.get_docstring(node) or ""
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        ]
        if any(">>> " in text for text in docstrings):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("name", list(modules_with_examples()))
def test_examples_of_a_module(name):
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried and not failed


@pytest.mark.parametrize("name", sorted(set(interp_cnn.__all__) - {"metrics"}))
def test_a_public_name_has_an_example(name):
    thing = getattr(interp_cnn, name)
    examples = [inspect.getdoc(thing)]
    if inspect.isclass(thing):
        examples += [inspect.getdoc(member) for _, member in inspect.getmembers(thing)]
    assert any(">>> " in (text or "") for text in examples)
