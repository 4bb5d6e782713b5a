"""The network of a work directory, to predict, explain and export."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import jax
import ml_collections
import numpy as np
from etils import epath
from numpy.typing import NDArray

from interp_cnn import storage
from interp_cnn.arguments import as_count
from interp_cnn.config import INTERPRETABLE, ORDINARY
from interp_cnn.data.categories import named_categories
from interp_cnn.data.images import cut_out
from interp_cnn.evaluation.explanations import explain_pixels
from interp_cnn.evaluation.filter_files import read_filter_figures, read_filter_parts
from interp_cnn.evaluation.region_radius import region_radius
from interp_cnn.evaluation.restore import Restored, restore_network
from interp_cnn.evaluation.results import read_results
from interp_cnn.models import AnyNetwork
from interp_cnn.trained.explanation import Explanation
from interp_cnn.trained.export import PLATFORMS, write_exported
from interp_cnn.trained.filters import FilterTable
from interp_cnn.trained.images import AnyImage, AnyImages, Box, Boxes, as_photo, batches, check_box
from interp_cnn.trained.outputs import compiled_outputs, outputs
from interp_cnn.training.build import normalisation
from interp_cnn.training.objective import SOFTMAX
from interp_cnn.workdir import FILTER_FIGURES, FILTER_PARTS, RESULTS, read_config


def load(workdir: str | os.PathLike[str], network: str = INTERPRETABLE) -> "Trained":
    """The network of a work directory, from its latest checkpoint.

    It reads the files of the run and no training data, wherever the run was trained.

    Args:
      workdir: the directory of a run of `train.py`, on disk or in a bucket.
      network: which of its networks, `"interpretable"` or `"ordinary"`.

    Raises:
      FileNotFoundError: for a folder that is no work directory, or without a checkpoint.
      ValueError: for another network, or a damaged file.

    >>> trained = load("runs/embedded")  # doctest: +SKIP
    >>> trained.predict(["cat.jpg"])  # doctest: +SKIP
    array([[0.998]], dtype=float32)
    >>> load("runs/nowhere")
    Traceback (most recent call last):
      ...
    FileNotFoundError: runs/nowhere/config.json is missing; is runs/nowhere the --workdir of a \
training run?
    """
    folder = storage.as_path(workdir, what="workdir")
    config = read_config(folder)
    if network not in (ORDINARY, INTERPRETABLE):
        raise ValueError(f"network is {network!r}; give {INTERPRETABLE!r} or {ORDINARY!r}")
    restored = restore_network(config, folder, network)
    # To the device once, and not with every batch.
    restored = restored._replace(variables=jax.device_put(restored.variables))
    return Trained(folder, network, config, restored)


@dataclasses.dataclass(frozen=True, repr=False)
class Trained:
    """A trained network, see `load`.

    Attributes:
      workdir: the directory of its run.
      name: which of the networks of the run it is.
      config: the configuration of the run.
      restored: the network with its variables.
    """

    workdir: epath.Path
    name: str
    config: ml_collections.ConfigDict
    restored: Restored

    @property
    def network(self) -> AnyNetwork:
        """The Flax module."""
        return self.restored.network

    @property
    def step(self) -> int:
        """Number of training steps behind the parameters."""
        return self.restored.step

    @property
    def size(self) -> int:
        """Side of the network's input in pixels."""
        return self.network.input_size

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers with maps, in the order of the network."""
        return tuple(self.network.map_filters)

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the categories, in the order of the columns of `predict`.

        Raises:
          ValueError: where neither an evaluation nor the configuration says them.
        """
        results, parts = self.workdir / RESULTS, self._file(FILTER_PARTS)
        if results.exists():
            return read_results(results).data.categories
        if (found := read_filter_parts(parts, self.step)) is not None:
            return found.categories
        if named := named_categories(self.config.data.category, None):
            return named
        raise ValueError(
            f"{self.workdir} does not say yet which {self.network.num_outputs} categories"
            f" data.category={self.config.data.category!r} stands for; evaluate the run (eval.py)"
        )

    def predict(
        self, images: AnyImages, *, boxes: Boxes = None, batch_size: int = 32
    ) -> NDArray[np.float32]:
        """Probability of each category in each image.

        Images are resized to the network's input. One that was trained on objects cut out of photos
        (`data.crop="object"`) wants their boxes, or images that the object fills. The probabilities
        of several categories sum to 1 where the network was trained for one answer
        (`train.task="softmax"`), else each is that of a yes.

        Args:
          images: uint8 [batch, height, width, 3], or a list of arrays uint8 [height, width, 3], of
            Pillow images or of paths, of any sizes.
          boxes: of each image (ymin, xmin, ymax, xmax) of the object in pixels, or None for all of
            it; by default all of every image.
          batch_size: images that are computed at once, which changes no result beyond rounding.

        Returns:
          float32 [batch, categories].

        Raises:
          ValueError: for what is no image, or a box that does not fit its image.
          FileNotFoundError: for a file that is missing.
        """
        return self._computed(images, boxes, "probabilities", batch_size)

    def maps(
        self, images: AnyImages, *, boxes: Boxes = None, batch_size: int = 32
    ) -> dict[str, NDArray[np.float32]]:
        """Feature maps of the interpretable layers, after ReLU and before their masks.

        Args:
          images: see `predict`.
          boxes: see `predict`.
          batch_size: see `predict`.

        Returns:
          Of each layer float32 [batch, height, width, filters].
        """
        found = self._computed(images, boxes, "maps", batch_size)
        return {name: found[name] for name in self.layers}  # jax.jit sorts them by name

    def _computed(self, images: AnyImages, boxes: Boxes, name: str, batch_size: int) -> Any:
        """One of the outputs of the network, of all images."""
        how = self._how(name)

        def computed(batch: NDArray[np.uint8]) -> Any:
            return jax.device_get(compiled_outputs(self.restored.variables, batch, **how))[name]

        found = [
            jax.tree.map(lambda array, count=count: array[:count], computed(batch))
            for batch, count in batches(images, boxes, size=self.size, batch_size=batch_size)
        ]
        if not found:
            none = np.zeros((1, self.size, self.size, 3), np.uint8)
            found = [jax.tree.map(lambda array: array[:0], computed(none))]
        return jax.tree.map(lambda *arrays: np.concatenate(arrays), *found)

    def _how(self, *names: str) -> dict[str, Any]:
        """The arguments of `outputs` beside parameters and images."""
        return {
            "network": self.network,
            **normalisation(self.config),
            "softmax": self.config.train.task == SOFTMAX,
            "names": names,
        }

    def explain(self, image: AnyImage, *, box: Box = None, filters: int = 5) -> Explanation:
        """Say what the highest logit of an image rests on.

        Args:
          image: uint8 [height, width, 3], a Pillow image or a path.
          box: (ymin, xmin, ymax, xmax) of the object in pixels of the image, what networks are
            trained on; the whole image by default.
          filters: at most so many filters are named.

        Raises:
          ValueError: for what is no image, a box that does not fit it, a number below 0, or a run
            that does not say yet what its filters stand for.
          FileNotFoundError: for a file that is missing.
        """
        filters = as_count("filters", filters, 0, "give a whole number of at least 0")
        photo = as_photo(image)
        check_box(box, photo, image if isinstance(image, str | os.PathLike) else "the image")
        file = self._file(FILTER_PARTS)
        parts = read_filter_parts(file, self.step)
        if parts is None:
            raise ValueError(self._not_evaluated(file))
        pixels = cut_out(photo, self.size, box)
        found = explain_pixels(
            self.config, self.network, self.restored.variables, parts, pixels, filters=filters
        )
        return Explanation(
            **vars(found),
            layer=self.network.last_layer,
            parts=parts,
            pixels=pixels,
            radius=region_radius(self.config, self.network),
        )

    @property
    def filters(self) -> FilterTable:
        """The figures of all filters from the last evaluation, see `FilterFigures`.

        Raises:
          ValueError: where the network was not evaluated at this checkpoint.
        """
        file = self._file(FILTER_FIGURES)
        rows = read_filter_figures(file, self.step)
        if rows is None:
            raise ValueError(self._not_evaluated(file))
        return FilterTable(rows)

    def export(
        self,
        path: str | os.PathLike[str],
        *,
        peaks: bool = False,
        platforms: Sequence[str] = PLATFORMS,
    ) -> int:
        """Write one file that predicts without this package, by `jax.export`.

        It holds the parameters and a function of images uint8 [batch, size, size, 3], of any batch,
        which returns probabilities float32 [batch, categories]. It is read with JAX and flatbuffers
        alone::

            from jax import export
            predict = export.deserialize(bytearray(Path("cat.jaxexport").read_bytes()))
            probabilities = predict.call(images)

        Args:
          path: file to write, on disk or in a bucket.
          peaks: whether the function returns a dict: `probabilities`, and of each layer in `peaks`
            the peaks of the maps, float32 [batch, filters], and in `positions` where they are,
            (y, x) in pixels of the input, float32 [batch, filters, 2].
          platforms: what it is compiled for, of `"cpu"`, `"cuda"`, `"rocm"` and `"tpu"`.

        Returns:
          Size of the file in bytes, about that of the parameters.

        Raises:
          ValueError: for an unknown platform, parameters of more than 2 GiB, or a network of one's
            own that does not take any number of images.
          OSError: where the file cannot be written.
        """
        how = self._how("probabilities", *(("peaks", "positions") if peaks else ()))

        def of_images(variables: Any, images: jax.Array) -> Any:
            found = outputs(variables, images, **how)
            return found if peaks else found["probabilities"]

        return write_exported(
            path, of_images, self.restored.variables, size=self.size, platforms=platforms
        )

    def _file(self, name: str) -> epath.Path:
        """A file that an evaluation writes about this network."""
        return self.workdir / self.name / name

    def _not_evaluated(self, file: epath.Path) -> str:
        """A sentence on a run whose filters were not measured at this step."""
        return (
            f"{file} says nothing of the {self.name} network at step {self.step}; evaluate the run"
            " first (eval.py)"
        )

    def __repr__(self) -> str:
        filters = ", ".join(f"{name} ({n} filters)" for name, n in self.network.map_filters.items())
        return (
            f"<{self.name} {self.config.model.name} of {self.workdir} at step {self.step},"
            f" {self.size} x {self.size} pixels, {self.network.num_outputs} categories, {filters}>"
        )
