"""Compiles for TPUs that are not there: memory, operations, bytes and collectives of each program.

    python benchmarks/tpu.py --json tpu.json --networks vgg16 --dtypes bfloat16 --topologies v5e-4

XLA's TPU compiler comes with the wheel `libtpu` (extra `tpu-compile`) and needs no TPU. Programs
are those that `train.py` and `eval.py` run. What is compiled is added to the JSON file at once, and
what is there is not compiled again; the tables are printed from it. `--print` compiles nothing.

Nothing is run: the time of a step is a bound, the larger of operations / peak and bytes / bandwidth
of a device. The bytes are XLA's count over all instructions, also of what stays on the chip.
"""

import argparse
import datetime
import functools
import importlib.metadata
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

# Before JAX starts: the compiler asks neither for a TPU nor for the metadata of a TPU VM.
os.environ.update(
    TPU_SKIP_MDS_QUERY="1",
    TPU_ACCELERATOR_TYPE="v5litepod-4",
    TPU_WORKER_HOSTNAMES="localhost",
    ALLOW_MULTIPLE_LIBTPU_LOAD="1",  # beside other processes that compile
    JAX_PLATFORMS="cpu",
)

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies

from interp_cnn import apply_template_mask, filter_loss
from interp_cnn.config import default_config
from interp_cnn.models import BACKBONES
from interp_cnn.training import build, parallel
from interp_cnn.training.optim import make_optimizer
from interp_cnn.training.state import init_state
from interp_cnn.training.steps import predict_step


class Chip(NamedTuple):
    """Published figures of one device as JAX counts them, and where they stand."""

    topology: str
    flops: float  # peak, bfloat16, operations / s
    bandwidth: float  # of the device's memory, bytes / s
    memory: float  # bytes
    source: str


_DOCS = "https://cloud.google.com/tpu/docs"
# A v4 chip has two cores; the compiler takes each for a device with half of everything.
_V5E = (197e12, 819e9, 16e9, f"{_DOCS}/v5e")
CHIPS = {
    "v5e-4": Chip("v5e:2x2", *_V5E),
    "v4-8": Chip("v4:2x2x1", 275e12 / 2, 1228e9 / 2, 32e9 / 2, f"{_DOCS}/v4"),
    "v6e-4": Chip("v6e:2x2", 918e12, 1640e9, 32e9, f"{_DOCS}/v6e"),
    "v5e-256": Chip("v5e:16x16", *_V5E),
    "v5e-16": Chip("v5e:4x4", *_V5E),
    "v5e-64": Chip("v5e:8x8", *_V5E),
}
TOPOLOGIES = ("v5e-4", "v4-8", "v6e-4", "v5e-256")
NETWORKS = ("alexnet", "vgg_m", "vgg_s", "vgg16")
VARIANTS = ("ordinary", "interpretable")
REMAT = " remat"  # behind a variant: with `config.model.remat`
PARTS = ("loss", "predict", "step", "largest")
# Side of the maps and filters of VGG-16, for the loss alone.
LAYER = "14x512"


class Case(NamedTuple):
    """One program."""

    topology: str
    part: str
    network: str  # of the loss alone, the maps: SIDExFILTERS
    variant: str  # of the loss alone, one of LOSSES
    dtype: str
    batch: int  # of a device

    @property
    def key(self) -> str:
        """Name in the JSON file."""
        return "|".join(map(str, self))


def _shapes(tree: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


def _images(devices: int, batch: int, size: int) -> dict[str, jax.ShapeDtypeStruct]:
    return {
        "image": jax.ShapeDtypeStruct((devices, batch, size, size, 3), jnp.uint8),
        "label": jax.ShapeDtypeStruct((devices, batch), jnp.int32),
    }


def network_program(case: Case, devices: list[Any]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The step or the prediction of a network, and the shapes of its arguments."""
    config = default_config()
    config.model.name = case.network
    config.model.dtype = case.dtype
    config.model.remat = case.variant.endswith(REMAT)
    network = build.make_network(config, case.variant.removesuffix(REMAT))
    batch = _images(len(devices), case.batch, network.input_size)
    optimizer = make_optimizer(lambda step: 1e-3)
    state = jax.eval_shape(
        lambda: init_state(build.starting_variables(config, network), optimizer, network)
    )
    if case.part == "predict":
        predict = functools.partial(predict_step, network=network, mean=tuple(config.data.mean))
        return parallel.parallel_map(predict, devices=devices), (_shapes(state.variables), batch)
    objective = build.make_objective(config, np.array([0, 1]), categories=1, steps_per_epoch=100)
    step = build.make_step(config, network, optimizer, objective, devices=devices)
    return step, (_shapes(state), batch)


def loss_program(case: Case, devices: list[Any]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Value and gradient of masks, filter loss or both of one layer."""
    side, filters = map(int, case.network.split("x"))
    shape = (len(devices), case.batch, side, side, filters)
    maps = jax.ShapeDtypeStruct(shape, jnp.dtype(case.dtype))
    target = jax.ShapeDtypeStruct((*shape[:2], filters), jnp.bool_)

    def of_layer(x: jax.Array, target: jax.Array) -> tuple[jax.Array, ...]:
        masks, exact, scaled = (word in case.variant for word in ("masks", "mi", "scale-free"))
        outputs: tuple[jax.Array, ...] = ()
        if masks:
            outputs += (apply_template_mask(x),)
        if case.variant != "masks":
            options = {"gradient": "exact"} if exact else {"target": target}
            sharpness = 60.0 if scaled else None
            outputs += (filter_loss(x, sharpness=sharpness, axis_name=parallel.AXIS, **options),)
        return outputs

    def program(_: None, batch: Any) -> Any:
        values, pull = jax.vjp(lambda x: of_layer(x, batch["target"]), batch["x"])
        # What comes back from above: of the masks' shape, and one number per filter.
        above = tuple(
            batch["above"] if value.ndim == 4 else jnp.full_like(value, 1 / filters)
            for value in values
        )
        return values, pull(above)

    batch = {"x": maps, "above": maps, "target": target}
    return parallel.parallel_map(program, devices=devices), (None, batch)


LOSSES = (
    *("masks", "mi", "paper", "mi scale-free", "paper scale-free"),
    *("masks + mi scale-free", "masks + paper scale-free"),
)

_COLLECTIVE = re.compile(
    r"= (.+?) (?:all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
)
_ARRAY = re.compile(r"\b(pred|[a-z]+\d+)\[([\d,]*)\]")


def collectives(program: str) -> tuple[int, int]:
    """Number of collectives of a compiled program, and bytes of their results."""
    found = _COLLECTIVE.findall(program)
    total = 0
    for shapes in found:
        for kind, sides in _ARRAY.findall(shapes):
            bits = 8 if kind == "pred" else int(re.sub(r"^[a-z]+", "", kind))
            total += bits // 8 * int(np.prod([int(side) for side in sides.split(",") if side]))
    return len(found), total


def compile_case(case: Case) -> dict[str, Any]:
    """What the compiler says of a program, for one device; `fits` is False where memory lacks."""
    topology = topologies.get_topology_desc(
        platform="tpu", topology_name=CHIPS[case.topology].topology
    )
    program = loss_program if case.part == "loss" else network_program
    function, arguments = program(case, topology.devices)
    start = time.perf_counter()
    try:
        compiled = function.lower(*arguments).compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return _stamp({"fits": False, "seconds": round(time.perf_counter() - start, 1)})
    cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
    number, size = collectives(compiled.as_text())
    return _stamp(
        {
            "fits": True,
            "seconds": round(time.perf_counter() - start, 1),
            "arguments": memory.argument_size_in_bytes,
            "temporaries": memory.temp_size_in_bytes,
            "outputs": memory.output_size_in_bytes - memory.alias_size_in_bytes,
            "flops": cost["flops"],
            "bytes": cost["bytes accessed"],
            "collectives": number,
            "collective_bytes": size,
        }
    )


def _stamp(record: dict[str, Any]) -> dict[str, Any]:
    versions = {name: importlib.metadata.version(name) for name in ("jax", "libtpu")}
    return record | versions | {"date": str(datetime.date.today())}


class Cache:
    """What was compiled so far, in a JSON file."""

    def __init__(self, file: Path, *, compile_missing: bool):
        self.file, self.compile_missing = file, compile_missing
        self.records: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}

    def get(self, case: Case) -> dict[str, Any] | None:
        """The record of a case, compiled now if it is missing, else None."""
        if case.key not in self.records and self.compile_missing:
            print(f"compiling {case.key}", file=sys.stderr, flush=True)
            self.records[case.key] = compile_case(case)
            part = self.file.with_suffix(".part")
            part.write_text(json.dumps(self.records, indent=1) + "\n")
            part.replace(self.file)
        return self.records.get(case.key)


def roofline(record: dict[str, Any], chip: Chip) -> float:
    """Least seconds of a program on a device."""
    return float(max(record["flops"] / chip.flops, record["bytes"] / chip.bandwidth))


def memory_of(record: dict[str, Any]) -> int:
    """Bytes of a device's memory that a program takes."""
    return int(record["arguments"] + record["temporaries"] + record["outputs"])


def largest_batch(cache: Cache, case: Case) -> int | None:
    """The largest multiple of 8 images a device that was seen to compile; None if not searched.

    The memory of two batches gives a line, and where it meets the chip's memory the search starts.
    """
    few, many = case.batch, 4 * case.batch
    records = [cache.get(case._replace(part="step", batch=batch)) for batch in (few, many)]
    if not all(record and record["fits"] for record in records):
        return None
    low, high = (memory_of(record) for record in records)
    images = many + (CHIPS[case.topology].memory - high) / (high - low) * (many - few)
    batch, down = int(images) // 8 * 8, 8
    while batch > many:
        record = cache.get(case._replace(part="step", batch=batch))
        if record is None:
            return None
        if record["fits"]:
            return batch
        batch, down = batch - down, 2 * down
    return many


def cases(flags: argparse.Namespace) -> Iterator[Case]:
    """All that the flags ask for, the cheap ones first."""
    for part in flags.parts:
        for topology in flags.topologies:
            for dtype in flags.dtypes:
                if part == "loss":
                    for name in flags.losses:
                        yield Case(topology, part, LAYER, name, dtype, flags.batch)
                    continue
                for network in flags.networks:
                    for variant in flags.variants:
                        yield Case(topology, part, network, variant, dtype, flags.batch)


def _row(case: Case, record: dict[str, Any] | None, other: dict[str, Any] | None) -> list[str]:
    """Cells of a record; `other` is that of the ordinary network."""
    name = [case.topology, case.network, case.variant, case.dtype, str(case.batch)]
    if record is None:
        return [*name, *["not run"] * 7]
    if not record["fits"]:
        return [*name, "does not fit", *[""] * 6]
    chip = CHIPS[case.topology]
    ratios = ""
    if other and other["fits"] and case.variant == "interpretable":
        ratios = " / ".join(f"{record[key] / other[key]:.4f}" for key in ("bytes", "flops"))
    return [
        *name,
        f"{memory_of(record) / 2**30:.2f}",
        f"{record['flops'] / 1e9:,.1f}",
        f"{record['bytes'] / 1e6:,.0f}",
        str(record["collectives"]),
        f"{record['collective_bytes'] / 1e6:.2f}",
        f"{1e3 * roofline(record, chip):.2f}",
        ratios,
    ]


_HEAD = (
    *("topology", "network", "variant", "dtype", "images a device", "memory GiB"),
    *(
        "10^9 operations",
        "MB",
        "collectives",
        "their MB",
        "roofline ms",
        "bytes / operations ratio",
    ),
)
_TITLES = {
    "loss": "Masks and filter loss of one layer, value and gradient; maps of SIDE x FILTERS",
    "predict": "Prediction",
    "step": "Training step",
}


def _table(head: tuple[str, ...], rows: list[list[str]]) -> None:
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def print_tables(cache: Cache, flags: argparse.Namespace) -> None:
    """All parts that the flags ask for, as Markdown."""
    dates = sorted({record["date"] for record in cache.records.values()})
    versions = sorted({f"jax {r['jax']}, libtpu {r['libtpu']}" for r in cache.records.values()})
    print(f"Compiled {' to '.join(dict.fromkeys(dates[:1] + dates[-1:]))}, {'; '.join(versions)}.")
    asked = list(cases(flags))
    for part in [part for part in flags.parts if part != "largest"]:
        print(f"\n{_TITLES[part]}:\n")
        rows = []
        for case in [case for case in asked if case.part == part]:
            ordinary = cache.records.get(case._replace(variant="ordinary").key)
            rows.append(_row(case, cache.records.get(case.key), ordinary))
        _table(_HEAD, rows)
    if "largest" in flags.parts:
        print("\nLargest batch of a device that was seen to compile (a multiple of 8):\n")
        head = ("topology", "network", "variant", "dtype", "images a device")
        _table(
            head,
            [
                [*case[:1], *case[2:5], str(largest_batch(cache, case) or "not run")]
                for case in asked
                if case.part == "largest"
            ],
        )
    print("\nPublished figures of one device (bfloat16):\n")
    rows = []
    for name in flags.topologies:
        chip = CHIPS[name]
        figures = (chip.flops / 1e12, chip.bandwidth / 1e9, chip.memory / 1e9)
        rows.append([name, *(f"{figure:g}" for figure in figures), chip.source])
    _table(("topology", "TFLOP/s", "GB/s", "GB", "source"), rows)


def _several(allowed: tuple[str, ...]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in allowed:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(allowed)}")
        return names

    return parse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    dtypes = ("bfloat16", "float32")
    for name, allowed, default in (
        ("networks", tuple(BACKBONES), NETWORKS),
        ("variants", (*VARIANTS, *(name + REMAT for name in VARIANTS)), VARIANTS),
        ("topologies", tuple(CHIPS), TOPOLOGIES),
        ("dtypes", dtypes, dtypes),
        ("parts", PARTS, PARTS),
        ("losses", LOSSES, LOSSES),
    ):
        choices = ", ".join(allowed)
        parser.add_argument(
            f"--{name}", type=_several(allowed), default=list(default), help=f"some of {choices}"
        )
    parser.add_argument("--batch", type=int, default=32, help="images a device")
    parser.add_argument("--json", type=Path, default=Path("tpu.json"))
    parser.add_argument("--print", action="store_true", help="the tables of the file alone")
    flags = parser.parse_args()
    cache = Cache(flags.json, compile_missing=not flags.print)
    for case in cases(flags):
        if case.part == "largest":
            largest_batch(cache, case)
        else:
            cache.get(case)
    print_tables(cache, flags)


if __name__ == "__main__":
    main()
