"""A network on the devices of this host, and the batches that it takes."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import ml_collections
import numpy as np

from interp_cnn import hosts
from interp_cnn.data.pipeline import Crop, CropWithParts, Split, eval_batches
from interp_cnn.data.prepare import Data
from interp_cnn.models import AnyNetwork
from interp_cnn.training import build, parallel
from interp_cnn.training.steps import predict_step


class Predictor:
    """What a network says about batches, computed on all local devices.

    Args:
      config: see `interp_cnn.config`.
      data: prepared data, for the names of parts and landmarks.
      network: to apply.
      variables: its variables.
    """

    def __init__(
        self, config: ml_collections.ConfigDict, data: Data, network: AnyNetwork, variables: Any
    ):
        self.network = network
        devices = jax.local_device_count()
        # Rounded up: evaluation pads its batches anyway.
        self._batch_size = -(-config.eval.batch_size // devices) * devices
        self._config, self._data, self._variables = config, data, variables
        self._apply = parallel.parallel_map(
            functools.partial(
                predict_step,
                network=network,
                **build.normalisation(config),
            )
        )

    def batches(
        self, split: Split, *, annotated: bool = True, shown: str = ""
    ) -> Iterable[dict[str, np.ndarray]]:
        """Batches of a split in its order, the last one padded with examples of weight 0.

        Args:
          split: examples.
          annotated: whether parts and landmarks are wanted; else the batches hold what the network
            computes from and no more.
          shown: name of a progress bar; none by default.
        """
        if not len(split):
            return ()
        size, how = self.network.input_size, self._config.data.crop
        crop: Crop | None = None
        if annotated:
            parts, landmarks = tuple(self._data.parts), tuple(self._data.landmarks)
            crop = CropWithParts(size, how, parts=parts, landmarks=landmarks)
        elif split.features is None:
            crop = Crop(size, how)
        batches = eval_batches(
            split, crop, batch_size=self._batch_size, threads=self._config.data.threads
        )
        if not shown:
            return batches
        total = -(-len(split) // self._batch_size)
        bar: Iterable[dict[str, np.ndarray]] = hosts.bar(
            batches, total=total, desc=shown, leave=False
        )
        return bar

    def __call__(self, batch: Mapping[str, np.ndarray], *names: str) -> dict[str, Any]:
        """What `predict_step` returns of the examples of a batch, its padding left out.

        Args:
          batch: of `batches`.
          names: of what is fetched from the devices; everything by default.
        """
        count = int(batch["weight"].sum())
        found: dict[str, Any] = jax.tree.map(lambda x: x[:count], self.padded(batch, *names))
        return found

    def padded(self, batch: Mapping[str, np.ndarray], *names: str) -> dict[str, Any]:
        """The same of all of a batch, padding too."""
        kind = "features" if "features" in batch else "image"
        output = self._apply(self._variables, parallel.shard({kind: batch[kind]}))
        found: dict[str, Any] = parallel.unshard({name: output[name] for name in names or output})
        return found

    def of_none(self) -> dict[str, Any]:
        """The same of no images: what a host without any has."""
        side = self.network.input_size
        image = {"image": jax.ShapeDtypeStruct((1, side, side, 3), np.uint8)}
        predict = functools.partial(predict_step, network=self.network, mean=(0.0,) * 3)
        one = jax.eval_shape(predict, self._variables, image)
        none: dict[str, Any] = jax.tree.map(
            lambda leaf: np.zeros((0, *leaf.shape[1:]), leaf.dtype), one
        )
        return none
