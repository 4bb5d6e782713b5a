"""Weights of ResNets and DenseNets: features, what is refused, downloading."""

import functools
import hashlib
import http.server
import math
import sys
import threading
import types

import jax
import numpy as np
import pytest
from norm_networks import TINY, forward, random_state
from weight_files import Quiet, features, write_pth, write_safetensors

from interp_cnn.config import default_config, set_field
from interp_cnn.models import BACKBONES, create_model
from interp_cnn.models.pretrained import (
    batch_norm,
    checksum,
    download_weights,
    load_weights,
    merge_pretrained,
    save_weights,
)
from interp_cnn.models.pretrained.pretrained import layer_shapes
from interp_cnn.training import build
from interp_cnn.training.state import init_variables

# Number of parameters as torchvision's documentation has it, and inputs of the last layer.
PUBLISHED = {
    "resnet18": (11_689_512, 512),
    "resnet34": (21_797_672, 512),
    "resnet50": (25_557_032, 2048),
    "resnet101": (44_549_160, 2048),
    "resnet152": (60_192_808, 2048),
    "densenet121": (7_978_856, 1024),
    "densenet161": (28_681_000, 2208),
    "densenet169": (14_149_480, 1664),
}


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """The tiny networks are known, as the published ones are."""
    for name, (kind, counts, backbone) in TINY.items():
        monkeypatch.setitem(BACKBONES, name, backbone)
        monkeypatch.setitem(batch_norm._NETWORKS, (kind, counts), backbone)


def with_old_names(state):
    """Dense layers as files of old releases call them, such as `denselayer1.norm.1`."""
    for part in ("norm1", "norm2", "conv1", "conv2"):
        state = {
            name.replace(f".{part}.", f".{part[:-1]}.{part[-1]}.")
            if "denselayer" in name
            else name: x
            for name, x in state.items()
        }
    return state


@functools.cache
def state_of(name):
    return random_state(name)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_features_are_those_of_an_independent_forward_pass(tmp_path, name, library):
    if library == "torch":
        pytest.importorskip("torch")
    rgb = np.random.default_rng(1).uniform(0, 255, (1, 32, 24, 3)).astype(np.float32)
    # torchvision's documentation: RGB in 0..1, minus the mean, by the standard deviation.
    inputs = (rgb / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    expected = forward(name, state_of(name), inputs, library)
    assert expected.shape[:3] == (1, 4, 3) and 0.05 < (expected > 0).mean() < 0.999
    write = write_safetensors if library == "numpy" else write_pth
    state = with_old_names(state_of(name)) if library == "torch" else state_of(name)
    pretrained = load_weights(write(tmp_path / "net.bin", state), BACKBONES[name])
    assert pretrained.network == name and pretrained.source == "net.bin (torchvision, timm)"
    found = features(BACKBONES[name], pretrained, rgb)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * expected.max())


def test_old_names_are_the_same_weights(tmp_path):
    state = state_of("densenet13")
    old = with_old_names(state)
    assert old.keys() != state.keys()
    sums = {
        checksum(load_weights(write_safetensors(tmp_path / "net.bin", weights)).layers)
        for weights in (state, old)
    }
    assert len(sums) == 1


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "densenet121"])
def test_all_layers_of_the_published_networks_have_their_place(name):
    total, last = PUBLISHED[name]
    shapes = layer_shapes(BACKBONES[name])
    sizes = {
        (layer, array): math.prod(shape)
        for layer, arrays in shapes.items()
        for array, shape in arrays.items()
    }
    trained = sum(size for (_, array), size in sizes.items() if array not in ("mean", "var"))
    assert trained == total - 1000 * (last + 1)


def test_the_last_maps_have_as_many_filters_as_published():
    for name, (_, last) in PUBLISHED.items():
        assert set(create_model(name).map_filters.values()) == {last}, name


def test_what_is_converted_is_loaded(tmp_path):
    pretrained = load_weights(write_safetensors(tmp_path / "net.bin", state_of("resnet8")))
    save_weights(tmp_path / "own.safetensors", pretrained)
    again = load_weights(tmp_path / "own.safetensors", BACKBONES["resnet8"])
    assert again[0] == pretrained[0] and again[2:] == pretrained[2:]
    jax.tree.map(np.testing.assert_array_equal, again.layers, pretrained.layers)
    assert pretrained.std == (58.395, 57.12, 57.375)


def without(state, name):
    return {key: values for key, values in state.items() if key != name}


def changed(name, **arrays):
    return state_of(name) | {key.replace("__", "."): values for key, values in arrays.items()}


REFUSED = {
    "another depth": (
        lambda: {f"layer1.{number}.conv1.weight": np.zeros((1,)) for number in range(7)},
        r"another network, of 7 basic blocks: give weights of one of resnet18, ",
    ),
    "lacks": (
        lambda: without(state_of("resnet8"), "layer2.1.bn2.running_var"),
        r"holds no resnet8 .* lacks layer2\.1\.bn2\.running_var",
    ),
    "other stem": (
        lambda: without(state_of("resnet11"), "conv1.weight"),
        r"holds no resnet11 .* lacks conv1\.weight",
    ),
    "more": (
        lambda: changed("resnet8", layer1__0__se__fc1__weight=np.zeros((1, 1))),
        r"holds no resnet8 .* it has layer1\.0\.se\.fc1\.weight too",
    ),
    "grouped": (
        lambda: changed("resnet11", layer1__0__conv2__weight=np.zeros((64, 2, 3, 3))),
        r"kernel of layer layer1/0/conv2 has shape \(3, 3, 2, 64\) where resnet11 has "
        r"\(3, 3, 64, 64\)",
    ),
    "a module's": (
        lambda: {f"module.{name}": values for name, values in state_of("resnet8").items()},
        r"has names that all begin with module\., such as module\..*: save the state dict of the",
    ),
    "not finite": (
        lambda: changed("densenet13", features__norm5__bias=np.full(40, np.nan)),
        r"bias of layer norm5 has values that are not finite",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_networks_are_refused_in_one_sentence(tmp_path, case):
    make, message = REFUSED[case]
    state = {name: np.asarray(values, "f4") for name, values in make().items()}
    path = write_safetensors(tmp_path / "net.bin", state)
    with pytest.raises(ValueError, match=message) as error:
        load_weights(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_what_training_in_pytorch_stores(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "net.pth"
    state = {name: torch.from_numpy(values) for name, values in state_of("resnet8").items()}
    expected = checksum(load_weights(write_safetensors(path, state_of("resnet8"))).layers)
    trained = {
        name: torch.nn.Parameter(x) if x.is_floating_point() else x for name, x in state.items()
    }
    torch.save(trained | {"epoch": 3}, path)
    assert checksum(load_weights(path).layers) == expected
    torch.save(state | {"conv1.weight": 3}, path)
    with pytest.raises(ValueError, match=r"holds no resnet8 .* it lacks conv1\.weight"):
        load_weights(path)
    torch.save({"epoch": 3, "optimizer": {"lr": 0.1}, "state_dict": state}, path)
    with pytest.raises(ValueError, match=r"the one of 'state_dict' among it: save that alone, tor"):
        load_weights(path)


def test_weights_of_another_depth(tmp_path):
    path = write_safetensors(tmp_path / "net.bin", state_of("resnet8"))
    with pytest.raises(ValueError, match=r"holds resnet8, but weights of resnet34 are wanted"):
        load_weights(path, BACKBONES["resnet34"])
    with pytest.raises(FileNotFoundError, match=r"put resnet50-0676ba61\.pth from https://"):
        load_weights(tmp_path / "nothing.pth", BACKBONES["resnet50"])


def config_of(weights, **model):
    config = default_config()
    config.model.update({"name": "resnet8", "width": 1.0, **model})
    config.weights = str(weights)
    return config


def test_a_run_starts_from_the_weights_and_their_statistics(tmp_path):
    path = write_safetensors(tmp_path / "net.bin", state_of("resnet8"))
    config = config_of(path)
    network = create_model("resnet8", input_size=32)
    with pytest.raises(ValueError, match=r"data.std is 1.0 but .* set --config.data.std='\(58.395"):
        build.starting_variables(config, network)
    set_field(config, "data.std", "(58.395, 57.12, 57.375)")
    variables = build.starting_variables(config, network)
    found = variables["batch_stats"]["layer2"]["1"]["bn2"]
    np.testing.assert_array_equal(found["mean"], state_of("resnet8")["layer2.1.bn2.running_mean"])
    np.testing.assert_array_equal(found["var"], state_of("resnet8")["layer2.1.bn2.running_var"])
    fresh = init_variables(network, config.seed)
    assert jax.tree.structure(fresh) == jax.tree.structure(variables)
    new_conv = (tree["params"]["new_conv"]["kernel"] for tree in (fresh, variables))
    np.testing.assert_array_equal(*new_conv)
    with pytest.raises(ValueError, match="stem='small' has no pretrained weights"):
        build.check_weights(config_of(path, stem="small"), network)
    narrow = init_variables(create_model("resnet8", width=0.1, input_size=32), 0)
    with pytest.raises(ValueError, match="network of full width only"):
        merge_pretrained(narrow, load_weights(path).layers)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A server of this machine with a file for resnet8 whose name tells its checksum."""
    folder = tmp_path / "www"
    folder.mkdir()
    content = b"weights" * 1000
    file = folder / f"resnet8-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    file.write_bytes(content)
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/"
        monkeypatch.setattr(batch_norm, "TORCHVISION_URL", url)
        monkeypatch.setitem(batch_norm.TORCHVISION_FILES, "resnet8", file.name)
        yield file
        server.shutdown()
        thread.join()


def test_download_once_and_check(published, tmp_path, monkeypatch):
    cache, backbone = tmp_path / "cache", BACKBONES["resnet8"]
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ValueError, match=r"resnet8 can be read by PyTorch alone: pip install"):
        download_weights(backbone, cache)
    torch = types.ModuleType("torch")
    torch.__spec__ = types.SimpleNamespace()
    monkeypatch.setitem(sys.modules, "torch", torch)
    content = published.read_bytes()
    published.write_bytes(b"<html>")
    with pytest.raises(ValueError, match=rf"SHA256 \w+ where {published.stem[-8:]} was expected"):
        download_weights(backbone, cache)
    assert [file.suffix for file in cache.iterdir()] == [".lock"]
    published.write_bytes(content)
    path = download_weights(backbone, cache)
    assert path.read_bytes() == content and path.name == published.name
    published.unlink()
    assert download_weights(backbone, cache) == path  # no second download
