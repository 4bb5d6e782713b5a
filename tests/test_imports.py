"""Light core, one direction: what may import what, read from the source; one file knows pmap."""

import ast
import subprocess
import sys
from importlib import metadata

import pytest
from repository import ROOT

PACKAGE = ROOT / "interp_cnn"
SCRIPTS = [
    path
    for name in ("train.py", "eval.py", "explain.py", "reproduce.py")
    if (path := ROOT / name).is_file()
]
FILES = sorted(PACKAGE.rglob("*.py"))
HEAVY = (
    *("tensorflow", "tensorflow_datasets", "matplotlib", "flax", "optax", "orbax", "grain"),
    *("ml_collections", "h5py", "PIL", "scipy.io", "absl.flags", "tqdm", "tensorboardX"),
    *("safetensors", "torch", "jinja2", "pycocotools"),
)


def name_of(path):
    """`interp_cnn.models.vgg`, the package itself `interp_cnn`, a script `train`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path) for path in FILES}


def imports_of(path):
    """Full names of all modules that a file imports, also inside functions."""
    package = name_of(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from package import module` imports the module.
            inner = {f"{module}.{alias.name}" for alias in node.names}
            found |= inner & MODULES
            if inner - MODULES:
                found.add(module)
    return found


def inside(module, *packages):
    return any(module == package or module.startswith(package + ".") for package in packages)


def assert_imports(path, *, own, others=None):
    """Of the package only `own` (and the file's own package); else only `others` and Python's."""
    for module in imports_of(path):
        if inside(module, "interp_cnn"):
            allowed = inside(module, *(f"interp_cnn.{name}" for name in own))
            assert allowed, f"{name_of(path)} imports {module}"
        elif others is not None:
            top = module.split(".")[0]
            allowed = top in sys.stdlib_module_names or top in others
            assert allowed, f"{name_of(path)} imports {module}"


def test_the_reader_of_imports_sees_what_is_there():
    assert "interp_cnn.templates" in imports_of(PACKAGE / "losses" / "scale.py")
    assert "interp_cnn.receptive_field" in imports_of(PACKAGE / "models" / "network.py")
    assert {"interp_cnn.metrics", "interp_cnn.losses"} <= imports_of(PACKAGE / "__init__.py")
    assert "jax" in imports_of(PACKAGE / "templates.py")


def test_importing_the_package_is_light():
    code = (
        "import sys, interp_cnn; interp_cnn.filter_loss, interp_cnn.metrics.location_instability;"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_every_public_name_is_there():
    import interp_cnn

    assert all(hasattr(interp_cnn, name) for name in interp_cnn.__all__)
    assert interp_cnn.__all__ == sorted(interp_cnn.__all__)
    assert (PACKAGE / "py.typed").is_file()


def test_the_version_is_that_of_the_installed_package(monkeypatch):
    import interp_cnn

    assert interp_cnn.__version__ == metadata.version("interp_cnn")
    monkeypatch.delattr(interp_cnn, "__version__")

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert interp_cnn.__version__ == "0+unknown"


# Pure functions of arrays, and what they need beside Python's own library.
CORE = {
    "arguments": {"numpy"},
    "templates": {"jax", "numpy"},
    "losses": {"jax", "numpy"},
    "receptive_field": {"numpy"},
    "metrics": {"jax", "numpy"},
    "layers": {"jax", "flax"},
    "matlab": {"numpy", "scipy", "h5py"},
}
# What each folder and each module at the top may import of the package, itself apart. Nothing is
# imported from below: the rows stand in one order.
ALLOWED = {
    "arguments": "",
    "matlab": "",
    "storage": "",
    "hosts": "watch",
    "watch": "",
    "config": "",
    "workdir": "config hosts storage",
    "version": "",
    "templates": "arguments",
    "receptive_field": "arguments",
    "losses": "arguments templates",
    "metrics": "arguments receptive_field templates",
    "layers": "templates",
    "models": "layers templates receptive_field matlab",
    "attribution": "metrics models",
    "data": "hosts matlab metrics",
    "configs": "config data",
    "training": "config data hosts losses metrics models storage workdir",
    "evaluation": "attribution data hosts losses metrics models receptive_field storage templates"
    " training version workdir",
    "report": "evaluation metrics receptive_field storage workdir",
    "preflight": "config data models training",
    "trained": "arguments config data evaluation models report storage training workdir",
    "explain_command": "config evaluation storage trained workdir",
    "commands": "config data evaluation hosts models preflight report storage training workdir",
    "reproduce": "commands config configs data evaluation models preflight report storage training"
    " workdir",
    "cli": "commands config configs explain_command hosts reproduce storage version watch workdir",
    "weights": "models",
    "": "losses metrics receptive_field templates trained",
}


def folder_of(path):
    """The folder or the module at the top that a file belongs to, `""` for the package itself."""
    return [*name_of(path).split("."), ""][1]


def test_every_folder_has_its_row():
    assert {folder_of(path) for path in FILES} == set(ALLOWED)


@pytest.mark.parametrize("folder", ALLOWED)
def test_a_folder_imports_what_it_may(folder):
    own = [name for name in (folder, *ALLOWED[folder].split()) if name]
    for path in FILES:
        if folder_of(path) == folder:
            assert_imports(path, own=own, others=CORE.get(folder))


def test_one_file_maps_over_devices():
    for path in [*FILES, *SCRIPTS]:
        source = path.read_text()
        names = {node.attr for node in ast.walk(ast.parse(source)) if hasattr(node, "attr")}
        mapped = "jax.pmap" in source or "pmap" in names or "import pmap" in source
        assert path.name == "parallel.py" or not mapped, name_of(path)


def test_no_tensorflow():
    for path in [*FILES, *SCRIPTS]:
        assert not any(inside(module, "tensorflow") for module in imports_of(path)), path.name
