"""Output of the frozen layers, computed once for each image of a run and kept on disk meanwhile."""

import dataclasses
import errno
import functools
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from interp_cnn import hosts
from interp_cnn.data.pipeline import Crop, Features, Split, eval_batches
from interp_cnn.data.prepare import Data
from interp_cnn.models import AnyNetwork
from interp_cnn.models.pretrained import checksum
from interp_cnn.training import build, parallel

_GIB = 2**30
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def output_shape(network: AnyNetwork) -> jax.ShapeDtypeStruct:
    """Shape [height, width, channels] and dtype of the frozen layers' output for one image."""
    side = network.input_size
    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)

    def initial(image: jax.Array) -> Any:
        variables = network.init(jax.random.key(0), image)
        return network.apply(variables, image, method="frozen_features")

    output = jax.eval_shape(initial, image)
    return jax.ShapeDtypeStruct(output.shape[1:], output.dtype)


def output_bytes(network: AnyNetwork, *, train: int, test: int) -> int:
    """Size of that for so many images, those for training as they are and mirrored."""
    one = output_shape(network)
    return (2 * train + test) * one.size * one.dtype.itemsize


def frozen_variables(network: AnyNetwork, variables: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of the frozen layers, which `frozen_step` needs."""
    return {
        collection: {name: layers[name] for name in network.frozen_layers if name in layers}
        for collection, layers in variables.items()
    }


def _by_layer(variables: Mapping[str, Any]) -> dict[str, dict[str, np.ndarray]]:
    """Arrays by the path of their layer, such as `params/conv1`, and their name."""
    layers: dict[str, dict[str, np.ndarray]] = {}
    for path, array in jax.tree_util.tree_leaves_with_path(variables):
        layer = jax.tree_util.keystr(path[:-1], simple=True, separator="/")
        layers.setdefault(layer, {})[path[-1].key] = array
    return layers


class FrozenCache:
    """A file with the output of the frozen layers for every image of a data set.

    In a `with` statement: on leaving it the folder is deleted, unless the run was interrupted and
    can be taken up again.

    Args:
      config: the configuration of the run, see `interp_cnn.config`.
      folder: a folder that belongs to the cache alone.
      beside_checkpoints: whether checkpoints will take space on the same disk.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        folder: Path,
        *,
        beside_checkpoints: bool = True,
    ):
        self.config = config
        self.folder = folder
        self._beside_checkpoints = beside_checkpoints
        self._used = config.data.cache_gib > 0

    def __enter__(self) -> "FrozenCache":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        # After a loss that is not finite the run does not go on.
        if kind is None or issubclass(kind, FloatingPointError):
            shutil.rmtree(self.folder, ignore_errors=True)

    def attach(
        self, data: Data, network: AnyNetwork, variables: Mapping[str, Any], *, fill: bool = True
    ) -> Data:
        """The data with the frozen layers' output beside the images, where that is kept.

        Args:
          data: prepared data.
          network: any network; with other frozen layers than before everything is computed again.
          variables: the variables of the network.
          fill: whether to compute what is not there yet.

        Returns:
          The data with `features` on both splits; or as they were, where no layers are frozen, the
          cache is switched off or does not fit, or nothing is there and `fill` is false.
        """
        if not self._used or network.frozen_through is None:
            return data
        one = output_shape(network)
        train = np.arange(2 * len(data.train)).reshape(-1, 2)
        test = np.arange(len(data.test))[:, None] + train.size
        shape = (train.size + test.size, *one.shape)
        size = output_bytes(network, train=len(data.train), test=len(data.test))
        # Without -0, which a step of training turns into 0.
        frozen = jax.tree.map(lambda x: np.asarray(x) + 0.0, frozen_variables(network, variables))
        file = self.folder / f"{self._key(data, network, one, frozen)}.bin"
        there = file.exists() and file.stat().st_size == size
        if not _on_all_hosts(there):
            if not fill:
                return data
            shutil.rmtree(self.folder, ignore_errors=True)  # half written, or of other layers
            self.folder.mkdir(parents=True)
            problem = _first_problem(self._lack_of_space(size, variables["params"]))
            problem = problem or self._fill(file, data, network, frozen)
            if problem:
                self._used = False
                shutil.rmtree(self.folder)
                hosts.say(f"every step computes the frozen layers: {problem}")
                return data
        array = np.asarray(np.memmap(file, one.dtype, "r", shape=shape))
        return dataclasses.replace(
            data,
            train=dataclasses.replace(data.train, features=Features(array, train)),
            test=dataclasses.replace(data.test, features=Features(array, test)),
        )

    def _key(
        self, data: Data, network: AnyNetwork, one: jax.ShapeDtypeStruct, frozen: dict[str, Any]
    ) -> str:
        """What the output depends on, as a name."""
        fields = self.config.data
        what = (
            (checksum(_by_layer(frozen)), network.architecture, one.shape, one.dtype.name),
            (data.content, fields.name, fields.category),
            (fields.crop, *build.normalisation(self.config).values()),
        )
        digest = hashlib.sha256(repr(what).encode())
        for split in (data.train, data.test):
            digest.update(np.ascontiguousarray(split.indices, "<i8").data)
            digest.update(np.ascontiguousarray(split.labels, "<i8").data)
        return digest.hexdigest()[:32]

    def _lack_of_space(self, size: int, params: Any) -> str | None:
        """Why so many bytes do not fit, or None."""
        limit = self.config.data.cache_gib
        if size > limit * _GIB:
            return (
                f"their output takes {size / _GIB:.2f} GiB, more than"
                f" config.data.cache_gib={limit:g}"
            )
        # The checkpoints come first, where they lie on this disk: parameters and momentum, one more
        # than is kept.
        state = 2 * sum(leaf.nbytes for leaf in jax.tree.leaves(params))
        checkpoints = state * (self.config.checkpoint.keep + 1) * len(self.config.networks)
        if not self._beside_checkpoints:
            checkpoints = 0
        free = shutil.disk_usage(self.folder).free
        if size + checkpoints > free:
            return (
                f"their output takes {size / _GIB:.2f} GiB and the checkpoints"
                f" {checkpoints / _GIB:.2f} GiB, but {free / _GIB:.2f} GiB are free"
            )
        return None

    def _fill(
        self, file: Path, data: Data, network: AnyNetwork, frozen: dict[str, Any]
    ) -> str | None:
        """Write the file, and return None; or say that the disk of a host became full."""
        partial = file.with_suffix(".partial")
        problem = None
        try:
            with partial.open("wb") as output:
                problem = self._write(output, data, network, frozen)
        except OSError:
            if problem is None:  # else what is left in the buffer does not fit either
                raise
        if problem is None:
            partial.rename(file)  # so that a file of this name is complete
        return problem

    def _write(
        self, output: BinaryIO, data: Data, network: AnyNetwork, frozen: dict[str, Any]
    ) -> str | None:
        """Each host computes its share of every split and writes what all have computed."""
        compute = functools.partial(
            build.make_frozen_step(self.config, network), parallel.replicate(frozen)
        )
        one = output_shape(network)
        size = one.size * one.dtype.itemsize
        total = len(data.train) + len(data.test)
        begin = 0
        with hosts.bar(total=total, desc="frozen layers", unit="image", leave=False) as bar:
            for split, orientations in ((data.train, (1, -1)), (data.test, (1,))):
                row = len(orientations) * size
                for first, features in self._computed(split, network, compute, orientations):
                    problem = None
                    for start, found in hosts.gather((np.array(first), features.view(np.uint8))):
                        output.seek(begin + int(start) * row)
                        problem = problem or self._attempt(output.write, found.data)
                        bar.update(len(found))
                    if problem := _first_problem(problem):
                        return problem
                begin += len(split) * row
            problem = self._attempt(output.flush) or self._attempt(os.fsync, output.fileno())
            return _first_problem(problem)

    def _computed(
        self, split: Split, network: AnyNetwork, compute: Any, orientations: Sequence[int]
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Number of the first image and output [images, orientations, ...] of this host's batches.

        All hosts have the same number of batches, the last ones may be empty.
        """
        # Not eval.batch_size, which a resumed run may change, and with it the rounding.
        # So many for a device as in a step.
        size = self.config.train.batch_size // jax.process_count()
        first, stop = hosts.share(len(split), block=size)
        one = output_shape(network)
        done = 0
        mine = split.take(np.arange(first, stop))
        crop = Crop(network.input_size, self.config.data.crop)
        threads = self.config.data.threads
        batches = eval_batches(mine, crop, batch_size=size, threads=threads) if len(mine) else ()
        for batch in batches:
            count = int(batch["weight"].sum())
            features = [
                parallel.unshard(compute(parallel.shard({"image": batch["image"][:, :, ::step]})))[
                    :count
                ]
                for step in orientations
            ]
            yield first + done, np.stack(features, axis=1)
            done += count
        none = np.zeros((0, len(orientations), *one.shape), one.dtype)
        most = -(-len(split) // size)  # batches of all hosts
        for _ in range(-(-most // jax.process_count()) - -(-len(mine) // size)):
            yield stop, none

    def _attempt(self, write: Callable[..., Any], *arguments: Any) -> str | None:
        """Do it, and return None; or say that the disk is full."""
        try:
            write(*arguments)
        except OSError as error:
            if error.errno not in _DISK_FULL:
                raise
            return f"their output could not be written to {self.folder} ({error.strerror})"
        return None


def _on_all_hosts(here: bool) -> bool:
    return all(bool(there) for there in hosts.gather(np.array(here)))


def _first_problem(here: str | None) -> str | None:
    """What is wrong on some host, None where nothing is."""
    problems = [str(there) for there in hosts.gather(np.array(here or ""))]
    return next((problem for problem in problems if problem), None)
