"""A step of training of a network, on one device and on several in each of JAX's ways."""

import functools

import jax
import numpy as np
import optax
from jax.sharding import Mesh, PartitionSpec

from interp_cnn.training import parallel
from interp_cnn.training.optim import make_optimizer
from interp_cnn.training.state import init_state, init_variables
from interp_cnn.training.steps import train_step

MEAN = (120.0, 110.0, 100.0)


def step_of(network, objective, axis_name=None):
    optimizer = make_optimizer(optax.constant_schedule(0.1), frozen=network.frozen_layers)
    state = init_state(init_variables(network, 0), optimizer, network)
    step = functools.partial(
        train_step,
        network=network,
        optimizer=optimizer,
        objective=objective,
        mean=MEAN,
        seed=0,
        axis_name=axis_name,
    )
    return step, state


def on_devices(step, mapping):
    if mapping == "pmap":
        mapped = parallel.parallel_step(step, donate_state=False)
        return lambda state, batch: mapped(state, parallel.shard(batch))
    if mapping == "vmap":
        mapped = jax.jit(
            jax.vmap(step, in_axes=(None, 0), out_axes=(None, None), axis_name=parallel.AXIS)
        )
        return lambda state, batch: mapped(state, parallel.shard(batch))
    mesh = Mesh(np.array(jax.devices()), (parallel.AXIS,))
    return jax.jit(
        jax.shard_map(
            step,
            mesh=mesh,
            in_specs=(PartitionSpec(), PartitionSpec(parallel.AXIS)),
            out_specs=PartitionSpec(),
        )
    )
