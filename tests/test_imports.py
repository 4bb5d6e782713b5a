"""Light core, one direction: what may import what, read from the source; one file knows pmap."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
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
    *("safetensors", "torch", "jinja2"),
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


def files_of(*names):
    """Files of modules or packages of the package, as far as they are there."""
    return [path for path in FILES if inside(name_of(path), *(f"interp_cnn.{n}" for n in names))]


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
    assert "interp_cnn.templates" in imports_of(PACKAGE / "losses.py")
    assert "interp_cnn.metrics.receptive_field" in imports_of(PACKAGE / "models" / "network.py")
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


@pytest.mark.parametrize("name", ["templates", "losses"])
def test_core_functions_know_arrays_only(name):
    own = ["templates"] if name == "losses" else []
    assert_imports(PACKAGE / f"{name}.py", own=own, others={"jax", "numpy"})


def test_the_check_of_matlab_files_needs_nothing():
    assert_imports(PACKAGE / "mat5.py", own=[], others=set())


def test_layers_import_templates():
    assert_imports(PACKAGE / "layers.py", own=["templates"], others={"jax", "numpy", "flax"})


def test_models_import_layers():
    for path in files_of("models"):
        assert_imports(path, own=["models", "layers", "templates", "metrics.receptive_field"])


def test_weights_know_models_alone():
    others = {"jax", "numpy", "scipy", "h5py", "safetensors", "torch"}
    for path in files_of("weights"):
        assert_imports(path, own=["weights", "models", "mat5"], others=others)


def test_metrics_are_pure():
    for path in files_of("metrics"):
        assert_imports(path, own=["metrics"], others={"jax", "numpy"})


def test_storage_knows_paths_alone():
    assert_imports(PACKAGE / "storage.py", own=[], others={"etils", "fsspec"})


def test_data_know_no_model():
    for path in files_of("data"):
        assert_imports(path, own=["data", "metrics", "hosts", "mat5"])


# Reading data, saving and writing belong to the two jobs alone.
EFFECTS = ("interp_cnn.data", "interp_cnn.checkpoint", "interp_cnn.writers")
JOBS = (
    *("interp_cnn.trainer", "interp_cnn.evaluator", "interp_cnn.runs", "interp_cnn.frozen"),
    *("interp_cnn.filter_parts", "interp_cnn.config_check"),
    *("interp_cnn.explain_image", "interp_cnn.filter_report", "interp_cnn.radius_study"),
    *(name for name in sorted(MODULES) if inside(name, "interp_cnn.reproduce")),
    *("train", "eval", "explain", "reproduce"),
)


def test_only_the_jobs_touch_data_checkpoints_and_writers():
    for path in [*FILES, *SCRIPTS]:
        name = name_of(path)
        if name in JOBS or inside(name, "interp_cnn.data"):
            continue
        for module in imports_of(path):
            assert not inside(module, *EFFECTS), f"{name} imports {module}"


def test_nothing_below_imports_the_jobs():
    for path in FILES:
        if name_of(path) not in (*JOBS, "interp_cnn.cli"):
            assert not imports_of(path) & set(JOBS), name_of(path)


def test_one_file_maps_over_devices():
    for path in [*FILES, *SCRIPTS]:
        source = path.read_text()
        names = {node.attr for node in ast.walk(ast.parse(source)) if hasattr(node, "attr")}
        mapped = "jax.pmap" in source or "pmap" in names or "import pmap" in source
        assert path.name == "parallel.py" or not mapped, name_of(path)


def test_no_tensorflow():
    for path in [*FILES, *SCRIPTS]:
        assert not any(inside(module, "tensorflow") for module in imports_of(path)), path.name
