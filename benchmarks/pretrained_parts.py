"""How closely the filters of ImageNet weights follow parts, before any training of ours.

    python benchmarks/pretrained_parts.py --category cat+elephant+fox --manual_dir DIR \
        --weights FILE.h5

For each layer from the last frozen one to the top conv, and each part: the tracking ratio (1 for
one that always looks at the same place of the box) of the filter that follows it best and of the
best twentieth, and the number of filters below 0.8. On all annotated objects of each category,
training and test. A part that none of them follows is one that these features do not single out.
"""

import argparse
import datetime
import importlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from interp_cnn import metrics
from interp_cnn.data import prepare
from interp_cnn.data.pipeline import CropWithParts
from interp_cnn.models import Network
from interp_cnn.training import build
from interp_cnn.training.steps import normalise

BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="ilsvrc_animal_part")
    parser.add_argument("--category", default="cat")
    parser.add_argument("--manual_dir", default="", help="see config.data.manual_dir")
    parser.add_argument("--weights", default=None, help="see config.weights")
    options = parser.parse_args()
    get_config = importlib.import_module(f"interp_cnn.configs.{options.config}").get_config
    config = get_config(f"category={options.category}")
    config.data.manual_dir = options.manual_dir
    if options.weights is not None:
        config.weights = options.weights
    data = prepare.prepare(config.data, seed=config.seed)
    network = build.make_network(config, "ordinary", len(data.categories))
    assert isinstance(network, Network)
    variables = build.starting_variables(config, network)
    how = build.normalisation(config)
    names = network.backbone.layer_names
    layers = {
        name: network.clone(frozen_through=name)
        for name in names[names.index(network.frozen_through or names[0]) :]
    }

    # The layers that several have in common are computed once, by XLA.
    @jax.jit
    def look(images: jax.Array) -> dict[str, tuple[jax.Array, jax.Array]]:
        x, found = normalise(images, **how), {}
        for name, below in layers.items():
            maps: Any = below.apply(variables, x, method="frozen_features")
            windows = [
                (window.kernel, window.stride, window.pad)
                for stage in below.backbone.stages[: below.frozen_stages]
                for window in stage.windows
            ]
            centers = metrics.compose(windows).centers(maps.shape[1])
            found[name] = metrics.peaks(maps, centers_y=centers, centers_x=centers)
        return found

    crop = CropWithParts(network.input_size, config.data.crop, landmarks=tuple(data.landmarks))
    examples = [
        split[int(index)]
        for split in (data.train, data.test)
        for index in np.flatnonzero(split.labels)
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        cropped = list(pool.map(crop.map, examples))
    labels = np.array([example["label"] for example in cropped])
    landmarks = np.stack([example["landmarks"] for example in cropped])
    images = np.stack([example["image"] for example in cropped])
    images = np.pad(images, ((0, -len(images) % BATCH), (0, 0), (0, 0), (0, 0)), mode="edge")
    parts = [
        jax.device_get(look(jnp.asarray(images[first : first + BATCH])))
        for first in range(0, len(images), BATCH)
    ]
    found = jax.tree.map(lambda *of: np.concatenate(of)[: len(labels)], *parts)

    print(f"{datetime.date.today()}, {jax.devices()[0].device_kind}, jax {jax.__version__}\n")
    print("| layer | objects | part | best filter | best twentieth | below 0.8 |")
    print("|---|---|---|---|---|---|")
    for name, (positions, values) in found.items():
        for label, category in enumerate(data.categories, start=1):
            mine = labels == label
            ratios = metrics.tracking_ratio(positions[mine], values[mine], landmarks[mine])
            for part, of in zip(data.landmarks, ratios.T, strict=True):
                if np.isnan(of).all():
                    continue
                print(
                    f"| {name} | {mine.sum()} of {category} | {part} | {np.nanmin(of):.2f}"
                    f" | {np.nanquantile(of, 0.05):.2f} | {(of < 0.8).sum()} of {len(of)} |"
                )


if __name__ == "__main__":
    main()
