"""What the commands do: train the networks of a configuration, and evaluate them."""

import contextlib
import dataclasses
import json
from collections.abc import Mapping, Sequence

import ml_collections
from etils import epath

from interp_cnn import hosts, storage
from interp_cnn.config import first_difference
from interp_cnn.data.prepare import Data, prepare
from interp_cnn.evaluation.evaluator import Evaluator, data_record, experiment_record
from interp_cnn.evaluation.filter_files import write_filters
from interp_cnn.evaluation.filter_parts import filter_parts_of
from interp_cnn.evaluation.measured_radius import measure_radius
from interp_cnn.evaluation.predictions import MeasuredNetwork, explain_images
from interp_cnn.evaluation.restore import Restored, restore_network
from interp_cnn.evaluation.results import (
    EmpiricalRadius,
    MeasuredRadius,
    Results,
    read_results,
    write_results,
)
from interp_cnn.preflight import check_run
from interp_cnn.report.curves import read_curves
from interp_cnn.report.filters_picture import draw_filters
from interp_cnn.report.from_evaluation import explained_predictions
from interp_cnn.report.page import write_report
from interp_cnn.report.radius_plot import radius_figures
from interp_cnn.report.table import markdown_table
from interp_cnn.report.table_notes import title_of
from interp_cnn.report.typical_filters import typical_filters
from interp_cnn.training import build
from interp_cnn.training.frozen_cache import FrozenCache
from interp_cnn.training.trainer import check_batch_size, train_networks
from interp_cnn.workdir import (
    CONFIG,
    FILTERS_PICTURE,
    PAGE,
    REPORT,
    RESULTS,
    TABLE,
    alone_in,
    claim_data,
    claim_workdir,
    frozen_features_folder,
    saved_radius,
)


def train_and_evaluate(config: ml_collections.ConfigDict, workdir: epath.Path) -> Results:
    """Train every network of a configuration, evaluate all, write table and picture.

    Args:
      config: the configuration of the run, see `interp_cnn.config`; its radius of the regions
        counts, not one that was measured in the directory (`with_saved_radius`).
      workdir: the directory for everything that is written, on disk or in a bucket; a run that was
        interrupted goes on.

    Returns:
      The results, as in `metrics.json`.

    Raises:
      ValueError, FileNotFoundError, OSError, FloatingPointError: each with one sentence on what is
        wrong; nothing already computed is lost.
    """
    hosts.check_joined()
    workdir = storage.as_path(workdir)
    check_run(config, read_weights=hosts.is_first())
    check_batch_size(config)
    _same_config(config)
    try:
        with alone_in(workdir) if hosts.is_first() else contextlib.nullcontext():
            return _train(config, workdir)
    finally:
        storage.leave_temporary(workdir)  # where frozen layers of several hosts have been


def _train(config: ml_collections.ConfigDict, workdir: epath.Path) -> Results:
    if hosts.is_first():
        claim_workdir(workdir, config)
    data = prepare(config.data, seed=config.seed)
    if hosts.is_first():
        claim_data(workdir, data.identity)
    networks: dict[str, Restored] = {}
    here = hosts.is_first() and not storage.is_remote(workdir)
    with FrozenCache(
        config, frozen_features_folder(workdir, tidy=True), beside_checkpoints=here
    ) as cache:
        for variant, state in train_networks(config, data, workdir, cache):
            network = build.make_network(config, variant, len(data.categories))
            networks[variant] = Restored(network, state.variables, int(state.step), state.activity)
            del state  # frees the optimiser's memory
        hosts.end_on_sigterm()
        return _measure(config, data, networks, workdir, cache)


def _same_config(config: ml_collections.ConfigDict) -> None:
    """Raise a ValueError where another host has another configuration."""

    def difference(first: str, other: str) -> str | None:
        own = (*("data.data_dir", "data.manual_dir", "data.annotations"), "data.threads", "weights")
        return first_difference(json.loads(first), json.loads(other), free=own)

    hosts.same_everywhere("the configuration", config.to_json_best_effort(), difference)


def evaluate_workdir(
    config: ml_collections.ConfigDict, workdir: epath.Path, *, occlude: int = 0
) -> Results:
    """Evaluate the latest checkpoints of a work directory.

    Args:
      config: the configuration of that directory, see `workdir.read_config`.
      workdir: the directory of a training run.
      occlude: number of images to measure the radius of the regions on, which is kept in the
        directory's configuration; 0 for the radius of the configuration.

    Returns:
      The results, as in `metrics.json`.

    Raises:
      FileNotFoundError: where a network has no checkpoint.
      ValueError: where a checkpoint is of another network.
    """
    hosts.check_joined()
    hosts.end_on_sigterm()
    workdir = storage.as_path(workdir)
    networks = {variant: restore_network(config, workdir, variant) for variant in config.networks}
    if hosts.is_first():
        storage.check_writable(workdir)
    data = prepare(config.data, seed=config.seed)
    if hosts.is_first():
        claim_data(workdir, data.identity)
    for variant, one in networks.items():
        if one.network.num_outputs != len(data.categories):
            raise ValueError(
                f"the checkpoint of {variant} in {workdir} tells {one.network.num_outputs}"
                f" categories apart and the data have {len(data.categories)}; use the data that it"
                " was trained on"
            )
    measured = _measure_radius(config, data, networks, occlude)
    if measured is not None:
        config = _with_radius(config, measured.radius)
        if hosts.is_first():
            claim_workdir(workdir, config)
    # A run that was stopped behind its last step has left the output of the frozen layers.
    cache = FrozenCache(config, frozen_features_folder(workdir))
    return _measure(config, data, networks, workdir, cache, measured_radius=measured)


def evaluate_weights(
    config: ml_collections.ConfigDict, workdir: epath.Path, *, occlude: int = 0
) -> Results:
    """Evaluate the networks as they are before training, with the weights of the configuration.

    Args:
      config: the configuration of the run, see `interp_cnn.config`.
      workdir: the directory for results, table, picture and report.
      occlude: the number of images to measure the radius on, as in `evaluate_workdir`.

    Returns:
      The results, as in `metrics.json`.

    Raises:
      ValueError, FileNotFoundError: as `train_and_evaluate`, and where the directory holds a run.
    """
    hosts.check_joined()
    hosts.end_on_sigterm()
    check_run(config, training=False, read_weights=hosts.is_first())
    _same_config(config)
    workdir = storage.as_path(workdir)
    if hosts.is_first():
        storage.check_writable(workdir)
        if (workdir / CONFIG).exists():
            raise ValueError(
                f"{workdir} holds a run, whose results those of untrained networks would replace;"
                f" choose another --workdir, or evaluate the run: --workdir {workdir} without"
                " --config"
            )
    data = prepare(config.data, seed=config.seed)
    networks = {}
    for variant in config.networks:
        network = build.make_network(config, variant, len(data.categories))
        networks[variant] = Restored(network, build.starting_variables(config, network), 0, None)
    measured = _measure_radius(config, data, networks, occlude)
    if measured is not None:
        config = _with_radius(config, measured.radius)
    return _measure(config, data, networks, workdir, measured_radius=measured)


def _measure_radius(
    config: ml_collections.ConfigDict, data: Data, networks: Mapping[str, Restored], images: int
) -> EmpiricalRadius | None:
    """Measure the empirical radius of every network; None where the number of images is 0."""
    images = int(hosts.from_first(lambda: str(images)))
    if not images:
        return None
    pairs = {variant: (one.network, one.variables) for variant, one in networks.items()}

    def measured() -> str:
        found = measure_radius(config, data, pairs, images=images)
        return json.dumps({variant: dataclasses.asdict(one) for variant, one in found.items()})

    # The first host measures for all: their regions must be the same.
    found = json.loads(hosts.from_first(measured))
    study = EmpiricalRadius(images, {name: MeasuredRadius(**one) for name, one in found.items()})
    for variant, one in study.networks.items():
        hosts.say(
            f"{variant}: empirical radius {one.mean:.1f} pixels, standard deviation"
            f" {one.spread:.1f} over {one.filters} filters"
        )
    radius = study.radius
    hosts.say(f"radius of the regions: {radius} (for other runs --config.eval.radius={radius})")
    return study


def _with_radius(config: ml_collections.ConfigDict, radius: float) -> ml_collections.ConfigDict:
    """A copy of the configuration with a radius of the regions."""
    copy = config.copy_and_resolve_references()
    copy.eval.radius = radius
    return copy


def with_saved_radius(
    config: ml_collections.ConfigDict, workdir: epath.Path
) -> ml_collections.ConfigDict:
    """A configuration without a radius with that of its directory, which was measured there.

    Args:
      config: the configuration of the run.
      workdir: the directory, which need not be there.

    Raises:
      ValueError, OSError: where the configuration there is damaged or cannot be read.
    """
    if config.eval.radius is not None:
        return config
    radius = json.loads(hosts.from_first(lambda: json.dumps(saved_radius(workdir))))
    if radius is None:
        return config
    hosts.say(f"radius of the regions: {radius:g}, as in {workdir / CONFIG}")
    return _with_radius(config, radius)


def _radius_measured_before(
    config: ml_collections.ConfigDict, workdir: epath.Path
) -> EmpiricalRadius | None:
    """How the radius of a configuration was measured, if that is what earlier results say."""
    try:
        study = read_results(workdir / RESULTS).empirical_radius
    except (OSError, ValueError):
        return None
    return study if study is not None and study.radius == config.eval.radius else None


def _measure(
    config: ml_collections.ConfigDict,
    data: Data,
    networks: Mapping[str, Restored],
    workdir: epath.Path,
    cache: FrozenCache | None = None,
    measured_radius: EmpiricalRadius | None = None,
) -> Results:
    """Evaluate networks; write results, table, picture and report."""
    if measured_radius is None and hosts.is_first():  # who writes it
        measured_radius = _radius_measured_before(config, workdir)
    measured: list[MeasuredNetwork] = []
    for variant, one in networks.items():
        network, variables = one.network, one.variables
        known = data if cache is None else cache.attach(data, network, variables, fill=False)
        evaluation = Evaluator(config, known).evaluate(network, variables, one.step, one.activity)
        parts = filter_parts_of(evaluation, data)
        measured.append(MeasuredNetwork(variant, network, variables, evaluation, parts))
        if hosts.is_first():
            storage.make_folder(workdir / variant)
            write_filters(workdir / variant, one.step, parts, evaluation.filters)
    results = Results(
        networks={one.variant: one.evaluation.result for one in measured},
        controls=evaluation.controls,
        data=data_record(config, data, len(evaluation.objects)),
        experiment=experiment_record(config, network),
        empirical_radius=measured_radius,
        part_controls=evaluation.part_controls,
    )
    if hosts.is_first():
        _write(config, data, workdir, results, measured)
    hosts.wait("report is written")
    return results


def _write(
    config: ml_collections.ConfigDict,
    data: Data,
    workdir: epath.Path,
    results: Results,
    measured: Sequence[MeasuredNetwork],
) -> None:
    """Write results, table, picture and report."""
    table = markdown_table(results)
    write_results(workdir / RESULTS, results)
    storage.write(workdir / TABLE, table)
    hosts.say("\n" + table)
    layer = measured[-1].network.last_layer
    filters = [one.evaluation.filters_of(one.variant) for one in measured]
    title = f"Typical filters of the {layer.replace('_', ' ')} on the same images"
    title += f" ({title_of(results.experiment)})"
    with storage.staged_file(workdir / FILTERS_PICTURE) as picture:
        draw_filters(picture, typical_filters(filters, layer), title=title)
    explained = explain_images(config, data, measured)
    write_report(
        workdir / REPORT,
        results,
        filters,
        read_curves({variant: workdir / variant for variant in results.networks}),
        config=config.to_dict(),
        explained=explained_predictions(measured, explained, layer=layer),
        figures=radius_figures(results),
    )
    hosts.say(f"written: {workdir}/{REPORT}/{PAGE}, {TABLE}, {RESULTS}, {FILTERS_PICTURE}")
