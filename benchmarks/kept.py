"""What the forward pass keeps for the backward pass, with and without rematerialisation.

    python benchmarks/kept.py [--networks vgg16,resnet152] [--batch 32] [--dtype bfloat16]

Nothing is compiled or run: the shapes are those of the arrays that JAX hands from one pass to the
other, parameters left out. XLA may keep fewer. `benchmarks/tpu.py` compiles, which takes minutes.
"""

import argparse
import datetime
from typing import Any

import jax
import jax.numpy as jnp

from interp_cnn.models import create_model
from interp_cnn.training.objective import Objective
from interp_cnn.training.state import init_variables


def kept_bytes(name: str, batch: int, dtype: str, *, remat: bool) -> tuple[int, int]:
    """Bytes that the backward pass of the task's loss finds, and number of the arrays."""
    network = create_model(name, dtype=jnp.dtype(dtype), remat=remat)
    variables = jax.eval_shape(lambda: init_variables(network, 0))
    statistics = {kind: tree for kind, tree in variables.items() if kind != "params"}
    side = network.input_size
    images = jax.ShapeDtypeStruct((batch, side, side, 3), jnp.float32)

    def pull(params: Any, statistics: Any, images: jax.Array) -> Any:
        def loss(params: Any) -> jax.Array:
            (logits, _), _ = network.apply(
                {"params": params, **statistics},
                images,
                train=True,
                rngs={"dropout": jax.random.key(0)},
                mutable=list(statistics),
            )
            return Objective().task_loss(logits, jnp.ones(batch, jnp.int32))

        return jax.vjp(loss, params)[1]

    arrays = jax.tree.leaves(jax.eval_shape(pull, variables["params"], statistics, images))
    # What has a batch in front; parameters and statistics are there anyway.
    kept = [x for x in arrays if x.shape[:1] == (batch,)]
    return sum(x.size * x.dtype.itemsize for x in kept), len(kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default="vgg16,resnet152")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--dtype", default="bfloat16")
    options = parser.parse_args()
    print(
        f"{datetime.date.today()}, jax {jax.__version__}, batch {options.batch}, {options.dtype}\n"
    )
    print("| network | kept, GiB | with remat, GiB |\n|---|---|---|")
    for name in options.networks.split(","):
        sizes = [
            kept_bytes(name, options.batch, options.dtype, remat=remat)[0]
            for remat in (False, True)
        ]
        print(f"| {name} | {' | '.join(f'{size / 2**30:.2f}' for size in sizes)} |", flush=True)


if __name__ == "__main__":
    main()
