"""Several devices: the one place where functions are mapped over them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "devices"


def parallel_step(
    step: Callable[..., Any],
    *,
    donate_state: bool = True,
    devices: Sequence[jax.Device] | None = None,
) -> Callable[..., Any]:
    """`step(state, batch)` on every device of all hosts, each with its share of the batch.

    The state has no device axis, and what comes back is the same on all devices: the step itself
    averages over the axis `AXIS`.

    Args:
      step: a function of one device's share that returns values equal on all devices.
      donate_state: whether the memory of the state may be reused for the result.
      devices: the devices to compile for; None takes those of this machine.
    """
    return jax.pmap(
        step,
        axis_name=AXIS,
        in_axes=(None, 0),
        out_axes=(None, None),
        donate_argnums=(0,) if donate_state else (),
        devices=devices,
    )


def parallel_map(
    function: Callable[..., Any], *, devices: Sequence[jax.Device] | None = None
) -> Callable[..., Any]:
    """`function(variables, batch)` on every local device; results keep the device axis.

    Hosts call it independently of each other, also a different number of times.

    Args:
      function: a function of one device's share.
      devices: the devices to compile for; None takes those of this machine.
    """
    return jax.pmap(
        function,
        axis_name=AXIS,
        in_axes=(None, 0),
        out_axes=0,
        devices=jax.local_devices() if devices is None else devices,
    )


def replicate(state: Any) -> Any:
    """Put a state where `parallel_step` leaves it: else its second call would compile again."""
    mesh = Mesh(np.array(jax.local_devices()), (AXIS,))
    return jax.device_put(state, NamedSharding(mesh, PartitionSpec()))


def shard(batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Split this process's batch over its devices: [batch, ...] -> [devices, batch / devices, ...].

    Raises:
      ValueError: where the devices do not divide the batch.
    """
    devices = jax.local_device_count()

    def split(name: str, values: np.ndarray) -> np.ndarray:
        if len(values) % devices:
            raise ValueError(
                f"a batch of {len(values)} ({name}) is not divisible by the {devices} devices of"
                f" this machine; set batch_size to a multiple of {jax.device_count()}"
            )
        return values.reshape(devices, -1, *values.shape[1:])

    return {name: split(name, values) for name, values in batch.items()}


def unshard(tree: Any) -> Any:
    """Join the device axis again and fetch: [devices, n, ...] -> NumPy [devices * n, ...]."""
    return jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), tree)
