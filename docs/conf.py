"""Settings of the documentation: sphinx-build -W --keep-going docs build/docs."""

import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math import latex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

DOCS = Path(__file__).parent
ROOT = DOCS.parent

project = "interp_cnn"
author = "The interp_cnn maintainers"
copyright = f"2026, {author}"
release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["build"]
html_theme = "furo"
html_title = "interp_cnn"
html_math_renderer = "mathml"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False

# Pages are Markdown; indented blocks are commands, not Python.
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3
highlight_language = "none"

# The outputs that are stored with a notebook are shown; the tests run them.
nb_execution_mode = "off"

# Docstrings put code and formulas into single backticks.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signature is long enough; shapes stand in the text
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False
napoleon_use_rtype = False  # what stands before a colon is no type

# External links need a network and are not checked; MyST checks those between pages.
linkcheck_ignore = [r"https?://.*"]


def _copy_notebooks() -> None:
    """The site shows notebooks/, which Sphinx reads below docs/ alone."""
    target = DOCS / "notebooks"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        shutil.copy(path, target)


_copy_notebooks()


def _visit_math(writer: HTML5Translator, node: nodes.Element) -> None:
    """Write a formula as MathML, which browsers draw without a script from elsewhere."""
    block = isinstance(node, nodes.math_block)
    formula = latex2mathml.tex2mathml(node.astext(), as_block=block)
    writer.body.append(f'<div class="formula">{formula}</div>' if block else formula)
    raise nodes.SkipNode


def _shorten_signature(
    app: Sphinx, what: str, name: str, obj: object, options: object, text: str | None, result: str
) -> tuple[str | None, str] | None:
    """Leave out what Flax adds to every module, and write a default type by its name."""
    if what != "class" or text is None:
        return None
    text = text.replace(", parent=<flax.linen.module._Sentinel object>, name=None", "")
    return re.sub(r"<class '([\w.]+)'>", r"\1", text), result


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer of formulas and the shorter signatures."""
    app.add_html_math_renderer("mathml", (_visit_math, None), (_visit_math, None))
    app.connect("autodoc-process-signature", _shorten_signature)
    return {"parallel_read_safe": True}
