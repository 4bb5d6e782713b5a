"""README and documentation: their code runs, their links lead on, the site is built."""

import importlib.util
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import optax
import pytest
from repository import ROOT

DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [
    README,
    ROOT / "CONTRIBUTING.md",
    *sorted(path for path in DOCS.rglob("*.md") if "notebooks" not in path.parts),
]
NEEDS_SPHINX = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("sphinx", "myst_nb", "furo")),
    reason="the extra docs is not installed",
)


def name_of(path):
    return str(path.relative_to(ROOT))


def python_of(path):
    """The Python of a page, its blocks one after the other."""
    blocks = re.findall(r"^```python\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)
    return "\n".join(blocks)


def run(path, **given):
    names = {"__name__": name_of(path), **given}
    exec(compile(python_of(path), name_of(path), "exec"), names)
    return names


def conv(params, images):
    return jnp.einsum("bhwc,cf->bhwf", images, params["conv"])


def head(params, maps):
    return maps.max(axis=(1, 2)) @ params["head"]


def task_loss(logits, labels):
    return optax.sigmoid_binary_cross_entropy(logits[:, 0], labels).mean()


def test_the_code_of_the_readme_trains():
    names = run(README, conv=conv, head=head, task_loss=task_loss)
    keys = jax.random.split(jax.random.key(0), 3)
    params = {
        "conv": jax.random.normal(keys[0], (3, 4)),
        "head": jax.random.normal(keys[1], (4, 1)),
    }
    images = jax.random.normal(keys[2], (8, 6, 6, 3))
    labels = jnp.arange(8.0) % 2
    step = jax.jit(jax.value_and_grad(names["loss"]))
    value, gradient = step(params, images, labels)
    assert all(jnp.any(leaf != 0) for leaf in jax.tree.leaves(gradient))
    for _ in range(20):
        _, gradient = step(params, images, labels)
        params = jax.tree.map(lambda p, g: p - 0.05 * g, params, gradient)
    assert step(params, images, labels)[0] < value
    # The filter loss is part of it.
    logits, _ = names["forward"](params, images)
    assert step(params, images, labels)[0] < task_loss(logits, labels)


# That of docs/python.md needs a run: tests/trained/test_trained.py has one.
@pytest.mark.parametrize(
    "path",
    [path for path in PAGES if path not in (README, DOCS / "python.md") and python_of(path)],
    ids=name_of,
)
def test_the_code_of_a_page_runs(path, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where it may write
    run(path)


def test_pages_with_code_are_found():
    assert {name_of(path) for path in PAGES if python_of(path)} == {
        "README.md",
        "docs/metrics.md",
        "docs/own_code.md",
        "docs/python.md",
        "docs/quickstart.md",
    }


def test_the_readme_is_short_and_has_no_placeholder():
    text = README.read_text()
    assert len(text.splitlines()) <= 120
    for path in [*PAGES, *(ROOT / "notebooks").glob("*.ipynb"), ROOT / "pyproject.toml"]:
        assert "OWNER" not in path.read_text(), name_of(path)
    assert "badge" not in text


def anchors_of(path):
    """Anchors of a page's headings, as GitHub and MyST make them."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_between_pages_lead_on(path):
    """As they are read in the repository; the site's are checked where it is built."""
    for text, target in re.findall(r"\[([^]]*)\]\(([^)\s]+)\)", path.read_text()):
        assert text or path.name == "index.md", f"{target} has no text"
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        goal = (path.parent / file).resolve() if file else path
        # The site has a copy of the notebooks below docs/.
        if not goal.exists() and goal.parent == DOCS / "notebooks":
            goal = ROOT / "notebooks" / goal.name
        assert goal.exists(), target
        assert not anchor or anchor in anchors_of(goal), target


def files_of(path):
    """Files of the repository that a page names: what its commands run, and configurations."""
    text = path.read_text()
    return set(
        re.findall(
            r"(?:python |\b)((?:(?:configs|benchmarks|docs|examples|notebooks)/)?[a-z0-9_]+\.py)\b",
            text,
        )
    )


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_files_that_a_page_names_are_there(path):
    # A file of the package is named by its folder there.
    inside = {file.name for file in (ROOT / "interp_cnn").rglob("*.py")}
    inside |= {file.name for file in (ROOT / "tests").rglob("*.py")}
    missing = {file for file in files_of(path) if not (ROOT / file).is_file()}
    assert missing <= inside


@NEEDS_SPHINX
def test_the_site_is_built_and_leads_on(tmp_path):
    """Without a warning; every link and every public name is there."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", DOCS, tmp_path]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    broken = []
    pages = {path: path.read_text() for path in tmp_path.rglob("*.html")}
    for path, text in pages.items():
        for target in re.findall(r'(?:href|src)="([^"]+)"', text):
            if re.match(r"[a-z]+:", target):
                continue
            file, _, anchor = target.partition("#")
            goal = (path.parent / file.split("?")[0]).resolve() if file else path
            if not goal.exists() or (anchor and f'id="{anchor}"' not in pages.get(goal, "")):
                broken.append(f"{path.name}: {target}")
    assert broken == []

    import interp_cnn
    from interp_cnn import metrics, models, trained

    reference = "".join(text for path, text in pages.items() if path.parent.name == "api")
    for module in (interp_cnn, metrics, models, trained):
        for name in module.__all__:
            if callable(getattr(module, name)):
                homes = {module.__name__, "interp_cnn"}  # some are public in both
                assert any(f'id="{home}.{name}"' in reference for home in homes), name
