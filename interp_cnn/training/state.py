"""What training changes from step to step."""

import functools
from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from interp_cnn.losses.categories import FilterActivity
from interp_cnn.models import FEATURE_MAPS, AnyNetwork
from interp_cnn.training.filter_categories import no_activity


class TrainState(flax.struct.PyTreeNode):
    """State of a training run.

    Attributes:
      step: number of steps done, int32 [].
      params: parameters of the network.
      opt_state: state of the optimiser.
      activity: the activity of the filters of each interpretable layer, in each category.
      model_state: its other variables by collection, such as the running averages of
        `batch_stats`; empty for a network without any.
      first_peaks: mean peak of the maps of each interpretable layer at the first step, float32 [];
        zero before it.
    """

    step: jax.Array
    params: Any
    opt_state: optax.OptState
    activity: dict[str, FilterActivity]
    model_state: dict[str, Any]
    first_peaks: dict[str, jax.Array]

    @property
    def variables(self) -> dict[str, Any]:
        """The variables of the network, as `network.apply` takes them."""
        return {"params": self.params, **self.model_state}


def named_leaves(tree: Any) -> dict[str, Any]:
    """Every array of a tree in order, by a name such as `params/fc8/bias`."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def leaf_shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Shape of every array of a tree, by its name."""
    return {name: tuple(leaf.shape) for name, leaf in named_leaves(tree).items()}


def first_other_shape(found: Any, wanted: Any) -> str | None:
    """Half a sentence on the first array that one tree lacks or has in another shape, or None."""
    there, here = leaf_shapes(found), leaf_shapes(wanted)
    for name in sorted(there.keys() | here.keys()):
        if there.get(name) != here.get(name):
            return f"{name} has the shape {there.get(name)} there and {here.get(name)}"
    return None


def init_variables(network: AnyNetwork, seed: int) -> dict[str, Any]:
    """Fresh variables of a network; the same for its ordinary and interpretable form.

    Returns:
      `params`, and the other collections of the network, such as `batch_stats`.
    """
    # One form stands for both: compiling this takes longer than running it a hundred times.
    return _init(network.clone(interpretable=False), jax.random.key(seed))


@functools.partial(jax.jit, static_argnames="network")
def _init(network: AnyNetwork, key: jax.Array) -> dict[str, Any]:
    images = jnp.zeros((1, network.input_size, network.input_size, 3))
    # Shapes alone decide the parameters: jit leaves the forward pass itself out.
    variables = network.init(key, images)
    return {name: tree for name, tree in variables.items() if name != FEATURE_MAPS}


def no_activities(network: AnyNetwork) -> dict[str, FilterActivity]:
    """Activity of the filters of each interpretable layer before the first image."""
    return {
        name: no_activity(network.num_outputs, filters)
        for name, filters in network.map_filters.items()
    }


def init_state(
    variables: Mapping[str, Any], optimizer: optax.GradientTransformation, network: AnyNetwork
) -> TrainState:
    """State before the first step, from the variables of a network."""
    model_state = dict(variables)
    params = model_state.pop("params")
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=optimizer.init(params),
        activity=no_activities(network),
        model_state=model_state,
        first_peaks={name: jnp.zeros(()) for name in network.map_filters},
    )
