"""The two jobs: train the networks of a configuration, and evaluate them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import ml_collections
from tqdm import tqdm

from interp_cnn import experiment
from interp_cnn.activity import FilterActivity
from interp_cnn.config_check import check_run
from interp_cnn.data.prepare import Data, prepare
from interp_cnn.evaluator import Evaluator, data_record, experiment_record
from interp_cnn.filter_parts import filter_parts_of, restore_network, write_filter_parts
from interp_cnn.filter_report import explained_predictions, filter_rows, network_filters
from interp_cnn.frozen import FrozenCache
from interp_cnn.models import NEW_CONV
from interp_cnn.radius_study import measure_radius
from interp_cnn.report.curves import read_curves
from interp_cnn.report.figure import draw_filters
from interp_cnn.report.page import write_report
from interp_cnn.report.radius import radius_figures
from interp_cnn.report.table import markdown_table
from interp_cnn.trainer import check_batch_size, train

# Of each network its step, its parameters, and the activity of its filters in training.
_States = dict[str, tuple[int, Any, Mapping[str, FilterActivity] | None]]


def train_and_evaluate(config: ml_collections.ConfigDict, workdir: Path) -> dict[str, Any]:
    """Train every network of a configuration, evaluate all, write table and figure.

    Args:
      config: see `interp_cnn.config`.
      workdir: gets everything that is written. A run that was interrupted goes on.

    Returns:
      The figures, as in `metrics.json`.

    Raises:
      ValueError, FileNotFoundError, OSError, FloatingPointError: each with one sentence on what is
        wrong; nothing already computed is lost.
    """
    check_run(config)
    check_batch_size(config)
    experiment.claim_workdir(workdir, config)
    data = prepare(config.data, seed=config.seed)
    states: _States = {}
    with FrozenCache(config, workdir / "frozen_features") as cache:
        for variant in config.networks:
            state = train(config, variant, data, workdir / variant, cache)
            states[variant] = (int(state.step), state.params, state.activity)
            del state  # frees the optimiser's memory
        return _measure(config, data, states, workdir, cache)


def evaluate_workdir(
    config: ml_collections.ConfigDict, workdir: Path, *, occlude: int = 0
) -> dict[str, Any]:
    """Evaluate the latest checkpoints of a work directory.

    Args:
      config: of that directory, see `experiment.read_config`.
      workdir: of a training run.
      occlude: number of images to measure the radius of the regions on, which is kept in the
        directory's configuration; 0 for the radius of the configuration.

    Returns:
      The figures, as in `metrics.json`.

    Raises:
      FileNotFoundError: where a network has no checkpoint.
      ValueError: where a checkpoint is of another network.
    """
    states: _States = {}
    for variant in config.networks:
        restored = restore_network(config, workdir, variant)
        states[variant] = (restored.step, restored.params, restored.activity)
    data = prepare(config.data, seed=config.seed)
    measured = _set_radius(config, data, states, occlude)
    if measured:
        experiment.claim_workdir(workdir, config)
    return _measure(config, data, states, workdir, measured_radius=measured)


def evaluate_weights(
    config: ml_collections.ConfigDict, workdir: Path, *, occlude: int = 0
) -> dict[str, Any]:
    """Evaluate the networks as they are before training, with the weights of the configuration.

    Args:
      config: see `interp_cnn.config`.
      workdir: gets table and figure.
      occlude: as in `evaluate_workdir`.

    Returns:
      The figures, as in `metrics.json`.

    Raises:
      ValueError, FileNotFoundError: as `train_and_evaluate`.
    """
    check_run(config, training=False)
    data = prepare(config.data, seed=config.seed)
    networks = {
        variant: experiment.make_network(config, variant, len(data.categories))
        for variant in config.networks
    }
    states: _States = {
        variant: (0, experiment.starting_params(config, network), None)
        for variant, network in networks.items()
    }
    measured = _set_radius(config, data, states, occlude)
    return _measure(config, data, states, workdir, measured_radius=measured)


def _set_radius(
    config: ml_collections.ConfigDict, data: Data, states: _States, images: int
) -> dict[str, Any]:
    """Make `config.eval.radius` the empirical one, the same for all networks; how it was measured.

    Nothing changes where the number of images is 0.
    """
    if not images:
        return {}
    networks = {
        variant: (experiment.make_network(config, variant, len(data.categories)), params)
        for variant, (_, params, _) in states.items()
    }
    found = measure_radius(config, data, networks, images=images)
    radius = round(sum(one.mean for one in found.values()) / len(found), 1)
    config.eval.radius = radius
    for variant, one in found.items():
        tqdm.write(
            f"{variant}: empirical radius {one.mean:.1f} pixels, standard deviation"
            f" {one.spread:.1f} over {one.filters} filters"
        )
    tqdm.write(f"radius of the regions: {radius} (for other runs --config.eval.radius={radius})")
    return {"images": images, "networks": {name: one._asdict() for name, one in found.items()}}


def _measure(
    config: ml_collections.ConfigDict,
    data: Data,
    states: _States,
    workdir: Path,
    cache: FrozenCache | None = None,
    measured_radius: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Evaluate networks given as (step, params, activity); write table, figures and picture."""
    workdir.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"networks": {}}
    rows, filters, explained = [], [], []
    for variant, (step, params, activity) in states.items():
        network = experiment.make_network(config, variant, len(data.categories))
        known = data if cache is None else cache.attach(data, network, params, fill=False)
        evaluation = Evaluator(config, known).evaluate(network, params, step, activity)
        results["networks"][variant] = evaluation.result
        results["controls"] = evaluation.controls._asdict()
        if jax.process_index() == 0:
            (workdir / variant).mkdir(exist_ok=True)
            parts = filter_parts_of(evaluation, data)
            write_filter_parts(workdir / variant / "filters.npz", step, parts)
            if network.interpretable:
                explained += explained_predictions(
                    config, variant, network, params, parts, evaluation.objects
                )
        results["data"] = data_record(config, data, len(evaluation.objects))
        results["experiment"] = experiment_record(config, network)
        rows += filter_rows(variant, network, evaluation, data, NEW_CONV)
        filters.append(network_filters(variant, network, evaluation, data))
    if measured_radius:
        results["empirical_radius"] = measured_radius
    if jax.process_index() == 0:
        table = markdown_table(results)
        (workdir / "metrics.json").write_text(json.dumps(results, indent=2) + "\n")
        (workdir / "table.md").write_text(table)
        tqdm.write("\n" + table)
        draw_filters(workdir / "filters.png", rows, title=_title(config))
        curves = read_curves({variant: workdir / variant for variant in states})
        write_report(
            workdir / "report",
            results,
            filters,
            curves,
            config=config.to_dict(),
            explained=explained,
            figures=radius_figures(results),
        )
        tqdm.write(f"written: {workdir}/report/index.html, table.md, metrics.json, filters.png")
    return results


def _title(config: ml_collections.ConfigDict) -> str:
    return (
        f"{config.model.name}, {config.data.category} of {config.data.name}:"
        " the filters that follow a part best, each on its strongest images"
    )
