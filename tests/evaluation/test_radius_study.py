"""Part interpretability at other radii, and the radius that occlusion measures."""

import numpy as np
import pytest
from tiny import tiny_builder, tiny_config

from interp_cnn import commands, metrics
from interp_cnn.data import prepare
from interp_cnn.data.pipeline import CropWithParts
from interp_cnn.evaluation import measured_radius
from interp_cnn.evaluation.evaluator import Evaluator
from interp_cnn.evaluation.restore import restore_network
from interp_cnn.evaluation.results import read_results
from interp_cnn.models import NEW_CONV
from interp_cnn.training.steps import normalise
from interp_cnn.training.trainer import train
from interp_cnn.workdir import claim_workdir, read_config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A work directory with two trained networks, and their data."""
    folder = tmp_path_factory.mktemp("run")
    builder = tiny_builder(folder / "data")
    config = tiny_config()
    config.train.epochs = 1
    config.networks = ("ordinary", "interpretable")
    claim_workdir(folder, config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "open_builder", lambda *_, **__: builder)
        data = prepare.prepare(config.data, seed=0)
        for variant in config.networks:
            train(config, variant, data, folder / variant)
        yield folder, config, data


def test_the_evaluation_measures_other_radii_too(run):
    folder, config, data = run
    network, variables, step, activity = restore_network(config, folder, "interpretable")
    evaluation = Evaluator(config, data).evaluate(network, variables, step, activity)
    objects = evaluation.objects
    crop = CropWithParts(network.input_size, config.data.crop, parts=tuple(data.parts))
    photos = [crop.map(objects[index]) for index in range(len(objects))]
    images = normalise(
        np.stack([photo["image"] for photo in photos]), tuple(config.data.mean), config.data.std
    )
    maps = np.asarray(network.apply(variables, images)[1][NEW_CONV])
    field = network.receptive_fields()[NEW_CONV]
    figures = evaluation.result.layers[NEW_CONV].part_interpretability
    radii, values = zip(*figures.by_radius, strict=True)
    expected = metrics.radius_sensitivity(
        [(maps, np.stack([photo["masks"] for photo in photos]), None)],
        metrics.activation_threshold(maps),
        radii=radii,
        centers_y=field.centers(maps.shape[1]),
        centers_x=field.centers(maps.shape[2]),
    )
    fired = evaluation.result.layers[NEW_CONV].part_interpretability_fired
    assert fired.radius == figures.radius and fired.value >= figures.value
    fires = (maps > metrics.activation_threshold(maps)).any(axis=(1, 2))
    share = evaluation.result.layers[NEW_CONV].fired_share
    assert share == pytest.approx(fires.mean(), abs=0.02)
    controls = evaluation.part_controls
    annotated = sum(photo["masks"].any() for photo in photos)
    assert controls.images == figures.images == fired.images == annotated
    assert 0 <= controls.random < controls.center <= 1
    for value, shares in zip(values, expected, strict=True):
        assert value == pytest.approx(metrics.summarize_parts(shares).mean, abs=0.02)
    assert max(values) - min(values) > 0.05 and (radii[0], radii[-1]) == (
        radii[2] / 2,
        2 * radii[2],
    )
    assert radii[2] == figures.radius and values[2] == figures.value


def test_occlusion_sets_the_radius_of_all_networks(run, monkeypatch, capsys):
    folder, config, _ = run
    wanted = measured_radius.empirical_field
    monkeypatch.setattr(
        measured_radius, "empirical_field", lambda *given, **how: wanted(*given, **how, stride=16)
    )
    given = read_config(folder)
    results = commands.evaluate_workdir(given, folder, occlude=2)
    assert given.eval.radius is None  # the caller's stays as it is
    measured = results.empirical_radius
    assert measured.images == 2 and set(measured.networks) == set(config.networks)
    means = [one.mean for one in measured.networks.values()]
    radius = read_config(folder).eval.radius  # kept for explain.py and the next evaluation
    assert radius == pytest.approx(np.mean(means), abs=0.051)
    for network in results.networks.values():
        for figures in network.layers.values():
            assert figures.part_interpretability.radius == radius
    assert read_results(folder / "metrics.json") == results
    assert "measured by occluding 2 images" in " ".join((folder / "table.md").read_text().split())
    page = (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert "Part interpretability over the radius" in page
    assert (folder / "report" / "figure-0.png").read_bytes().startswith(b"\x89PNG")
    # Neither another evaluation nor the command that trained loses the radius and its origin.
    for again in (
        commands.evaluate_workdir(read_config(folder), folder),
        commands.train_and_evaluate(commands.with_saved_radius(config, folder), folder),
    ):
        assert (again.networks, again.empirical_radius) == (results.networks, measured)
    assert config.eval.radius is None and read_config(folder).eval.radius == radius
    assert f"radius of the regions: {radius:g}, as in" in capsys.readouterr().out
    assert commands.with_saved_radius(config, folder / "nowhere").eval.radius is None


def test_empirical_fields_of_a_network(run):
    folder, config, data = run
    network, variables, *_ = restore_network(config, folder, "interpretable")
    with pytest.raises(ValueError, match="measured on 0 images; give at least 1"):
        measured_radius.measure_radius(config, data, {"a": (network, variables)}, images=0)
    peaks = np.zeros((len(data.test), network.map_filters[NEW_CONV]))
    peaks[:3, 1:] = 1.0
    field = measured_radius.empirical_field(
        config, network, variables, data.test, peaks, top=1, images=2, stride=16
    )
    assert field.images[0] == 0 and 0 < field.images.max() <= 1
    radii = metrics.effective_radius(field)[field.images > 0]
    assert (radii > 0).all() and (radii < network.receptive_fields()[NEW_CONV].size).all()
