"""A trained network of a work directory, from its latest checkpoint."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import ml_collections
from etils import epath

from interp_cnn import hosts
from interp_cnn.losses.categories import FilterActivity
from interp_cnn.models import AnyNetwork
from interp_cnn.training import build
from interp_cnn.training.checkpoint import Checkpoints
from interp_cnn.training.state import init_variables, no_activities
from interp_cnn.workdir import CHECKPOINTS


class Restored(NamedTuple):
    """A trained network.

    Attributes:
      network: itself.
      variables: its variables: parameters, and batch statistics where it has them.
      step: number of training steps.
      activity: activity of its filters in training; None before it.
    """

    network: AnyNetwork
    variables: Any
    step: int
    activity: Mapping[str, FilterActivity] | None


def restore_network(
    config: ml_collections.ConfigDict, workdir: epath.Path, variant: str
) -> Restored:
    """The latest checkpoint of a network of a work directory, which the first host reads for all.

    Raises:
      FileNotFoundError: where there is none.
      ValueError: where it is of another network.
    """
    if jax.process_count() == 1:
        return _read_network(config, workdir, variant)
    found = _read_network(config, workdir, variant) if hosts.is_first() else None
    known = hosts.from_first(lambda: json.dumps([found.step, found.network.num_outputs]))  # type: ignore[union-attr]
    step, outputs = json.loads(known)
    network = build.make_network(config, variant, outputs)
    if found is None:
        variables = init_variables(network, config.seed)
        found = Restored(network, variables, step, no_activities(network))
    variables, activity = hosts.broadcast((found.variables, dict(found.activity or {})))
    return Restored(network, variables, step, activity)


def _read_network(config: ml_collections.ConfigDict, workdir: epath.Path, variant: str) -> Restored:
    folder = workdir / variant / CHECKPOINTS
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing; train this network first (train.py)")
    checkpoints = Checkpoints(folder)
    step, variables, activity = checkpoints.restore_for_evaluation()
    checkpoints.close()
    # Data tell the number of categories too, but an explanation can do without them.
    outputs = next((len(of.images) for of in activity.values()), 1)
    network = build.make_network(config, variant, outputs)
    build.check_variables(network, variables, folder)
    return Restored(network, variables, step, activity)
