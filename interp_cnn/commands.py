"""The two jobs: train the networks of a configuration, and evaluate them."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import ml_collections
from etils import epath

from interp_cnn import hosts, storage
from interp_cnn.config import first_difference
from interp_cnn.data.prepare import Data, prepare
from interp_cnn.evaluation.evaluator import Evaluator, data_record, experiment_record
from interp_cnn.evaluation.filter_parts import filter_parts_of, restore_network, write_filter_parts
from interp_cnn.evaluation.measured_radius import MeasuredRadius, measure_radius
from interp_cnn.models import NEW_CONV
from interp_cnn.preflight import check_run
from interp_cnn.report.curves import read_curves
from interp_cnn.report.filters_picture import draw_filters
from interp_cnn.report.from_evaluation import (
    MeasuredNetwork,
    all_filters,
    explained_predictions,
)
from interp_cnn.report.page import write_report
from interp_cnn.report.radius_plot import radius_figures
from interp_cnn.report.table import markdown_table
from interp_cnn.report.typical_filters import typical_filters
from interp_cnn.training import build
from interp_cnn.training.filter_categories import FilterActivity
from interp_cnn.training.frozen_cache import FrozenCache
from interp_cnn.training.trainer import check_batch_size, train

# Of each network its step, its parameters, and the activity of its filters in training.
_States = dict[str, tuple[int, Any, Mapping[str, FilterActivity] | None]]


def train_and_evaluate(config: ml_collections.ConfigDict, workdir: epath.Path) -> dict[str, Any]:
    """Train every network of a configuration, evaluate all, write table and figure.

    Args:
      config: see `interp_cnn.config`.
      workdir: gets everything that is written, on disk or in a bucket; a run that was interrupted
        goes on.

    Returns:
      The figures, as in `metrics.json`.

    Raises:
      ValueError, FileNotFoundError, OSError, FloatingPointError: each with one sentence on what is
        wrong; nothing already computed is lost.
    """
    hosts.check_joined()
    workdir = storage.as_path(workdir)
    check_run(config, read_weights=hosts.is_first())
    check_batch_size(config)
    _same_config(config)
    if hosts.is_first():
        build.claim_workdir(workdir, config)
    data = prepare(config.data, seed=config.seed)
    states: _States = {}
    here = hosts.is_first() and not storage.is_remote(workdir)
    with FrozenCache(config, _frozen_folder(workdir), beside_checkpoints=here) as cache:
        for variant in config.networks:
            state = train(config, variant, data, workdir / variant, cache)
            states[variant] = (int(state.step), state.params, state.activity)
            del state  # frees the optimiser's memory
        hosts.end_on_sigterm()
        return _measure(config, data, states, workdir, cache)


def _same_config(config: ml_collections.ConfigDict) -> None:
    """Raise a ValueError where another host has another configuration."""

    def difference(first: str, other: str) -> str | None:
        own = ("data.data_dir", "data.manual_dir", "data.threads", "weights")
        return first_difference(json.loads(first), json.loads(other), free=own)

    hosts.same_everywhere("the configuration", config.to_json_best_effort(), difference)


def _frozen_folder(workdir: epath.Path) -> Path:
    """Where the output of the frozen layers lies on disk; that of another number of hosts is gone.

    Of several hosts each has its own, on its own disk.
    """
    name, number = "frozen_features", jax.process_count()
    alone, several = storage.local_scratch(workdir), storage.temporary(workdir)
    ending = f"_of_{number}" if number > 1 else name

    def clear() -> None:
        for folder in (*alone.glob(f"{name}*"), *several.glob(f"{name}*")):
            if not folder.name.endswith(ending):
                shutil.rmtree(folder, ignore_errors=True)

    hosts.in_turn(clear)
    return alone / name if number == 1 else several / f"{name}_{jax.process_index()}{ending}"


def evaluate_workdir(
    config: ml_collections.ConfigDict, workdir: epath.Path, *, occlude: int = 0
) -> dict[str, Any]:
    """Evaluate the latest checkpoints of a work directory.

    Args:
      config: of that directory, see `build.read_config`.
      workdir: of a training run.
      occlude: number of images to measure the radius of the regions on, which is kept in the
        directory's configuration; 0 for the radius of the configuration.

    Returns:
      The figures, as in `metrics.json`.

    Raises:
      FileNotFoundError: where a network has no checkpoint.
      ValueError: where a checkpoint is of another network.
    """
    hosts.check_joined()
    hosts.end_on_sigterm()
    workdir = storage.as_path(workdir)
    states: _States = {}
    for variant in config.networks:
        restored = restore_network(config, workdir, variant)
        states[variant] = (restored.step, restored.params, restored.activity)
    if hosts.is_first():
        storage.check_writable(workdir)
    data = prepare(config.data, seed=config.seed)
    measured = _set_radius(config, data, states, occlude)
    if measured and hosts.is_first():
        build.claim_workdir(workdir, config)
    return _measure(config, data, states, workdir, measured_radius=measured)


def evaluate_weights(
    config: ml_collections.ConfigDict, workdir: epath.Path, *, occlude: int = 0
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
    hosts.check_joined()
    hosts.end_on_sigterm()
    check_run(config, training=False, read_weights=hosts.is_first())
    _same_config(config)
    workdir = storage.as_path(workdir)
    if hosts.is_first():
        storage.check_writable(workdir)
    data = prepare(config.data, seed=config.seed)
    networks = {
        variant: build.make_network(config, variant, len(data.categories))
        for variant in config.networks
    }
    states: _States = {
        variant: (0, build.starting_params(config, network), None)
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
    images = int(hosts.from_first(lambda: str(images)))
    if not images:
        return {}
    networks = {
        variant: (build.make_network(config, variant, len(data.categories)), params)
        for variant, (_, params, _) in states.items()
    }
    # The first host measures for all: their regions must be the same.
    found = {
        variant: MeasuredRadius(*one)
        for variant, one in json.loads(
            hosts.from_first(
                lambda: json.dumps(measure_radius(config, data, networks, images=images))
            )
        ).items()
    }
    radius = round(sum(one.mean for one in found.values()) / len(found), 1)
    config.eval.radius = radius
    for variant, one in found.items():
        hosts.say(
            f"{variant}: empirical radius {one.mean:.1f} pixels, standard deviation"
            f" {one.spread:.1f} over {one.filters} filters"
        )
    hosts.say(f"radius of the regions: {radius} (for other runs --config.eval.radius={radius})")
    return {"images": images, "networks": {name: one._asdict() for name, one in found.items()}}


def _measure(
    config: ml_collections.ConfigDict,
    data: Data,
    states: _States,
    workdir: epath.Path,
    cache: FrozenCache | None = None,
    measured_radius: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Evaluate networks given as (step, params, activity); write table, figures and picture."""
    results: dict[str, Any] = {"networks": {}}
    networks: list[MeasuredNetwork] = []
    for variant, (step, params, activity) in states.items():
        network = build.make_network(config, variant, len(data.categories))
        known = data if cache is None else cache.attach(data, network, params, fill=False)
        evaluation = Evaluator(config, known).evaluate(network, params, step, activity)
        results["networks"][variant] = evaluation.result
        results["controls"] = evaluation.controls._asdict()
        if hosts.is_first():
            storage.make_folder(workdir / variant)
            parts = filter_parts_of(evaluation, data)
            write_filter_parts(workdir / variant / "filters.npz", step, parts)
            networks.append(MeasuredNetwork(variant, network, params, evaluation, parts))
        results["data"] = data_record(config, data, len(evaluation.objects))
        results["experiment"] = experiment_record(config, network)
    if measured_radius:
        results["empirical_radius"] = measured_radius
    if hosts.is_first():
        table = markdown_table(results)
        storage.write(workdir / "metrics.json", json.dumps(results, indent=2) + "\n")
        storage.write(workdir / "table.md", table)
        hosts.say("\n" + table)
        filters = all_filters(config, networks, data)
        with storage.staged_file(workdir / "filters.png") as picture:
            draw_filters(picture, typical_filters(filters, NEW_CONV), title=_title(config))
        curves = read_curves({variant: workdir / variant for variant in states})
        write_report(
            workdir / "report",
            results,
            filters,
            curves,
            config=config.to_dict(),
            explained=explained_predictions(config, networks, data),
            figures=radius_figures(results),
        )
        hosts.say(f"written: {workdir}/report/index.html, table.md, metrics.json, filters.png")
    hosts.wait("report is written")
    return results


def _title(config: ml_collections.ConfigDict) -> str:
    return (
        f"Typical filters of the new conv on the same images"
        f" ({config.model.name}, {config.data.category} of {config.data.name})"
    )
