"""Erase a part in the test images: what its filters add to the logit must fall.

    python benchmarks/explain_erase.py --workdir runs/embedded [--images 200] [--network ordinary]

The pixels of one part's mask become the mean colour, and the network explains the image again. A
line of the table is what was erased; the numbers are the mean share of each part over all images
that have the erased part, and the mean logit. "before" is over the same images as each line. Where
nearly all filters stand for one part its share cannot fall much: what they added to the logit, the
sum of their contributions, stands below.
"""

import argparse
from pathlib import Path

import jax
import numpy as np

from interp_cnn.attribution import contributions_by_part, filter_contributions
from interp_cnn.data.pipeline import CropWithParts
from interp_cnn.data.prepare import prepare
from interp_cnn.evaluation.filter_parts import filter_parts
from interp_cnn.evaluation.restore import restore_network
from interp_cnn.training.steps import normalise
from interp_cnn.workdir import read_config

BATCH = 10


def erased(image: np.ndarray, mask: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Image uint8 [S, S, 3] with the mean colour where the mask bool [S, S] is True."""
    return np.where(mask[..., None], np.round(mean), image).astype(np.uint8)


def main(workdir: Path, variant: str, number: int) -> None:
    config = read_config(workdir)
    restored = restore_network(config, workdir, variant)
    network, variables = restored.network, restored.variables
    parts = filter_parts(config, workdir, variant, restored)
    data = prepare(config.data, seed=config.seed)
    objects = data.test.take(np.flatnonzero(data.test.labels > 0)[:number])
    crop = CropWithParts(network.input_size, config.data.crop, parts=tuple(data.parts))
    examples = [crop.map(objects[index]) for index in range(len(objects))]
    masks = np.stack([example["masks"] for example in examples])  # [images, parts, S, S]
    mean, std = tuple(config.data.mean), config.data.std
    predict = jax.jit(lambda variables, images: network.apply(variables, images)[0])

    def explained(images: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Shares and sums of contributions [images, parts], and logits [images].

        The sums are over the filters of a part that speak for the logit.
        """
        shares, sums, logits = [], [], []
        for start in range(0, len(images), BATCH):
            batch = normalise(np.stack(images[start : start + BATCH]), mean, std)
            logits.append(np.asarray(predict(variables, batch))[:, 0])
            for values in np.asarray(filter_contributions(network, variables, batch)):
                found = contributions_by_part(values, parts.part, parts.names)
                shares.append([found[name] for name in parts.names])
                sums.append(np.maximum(values, 0).sum() * np.array(shares[-1]))
        return np.array(shares), np.array(sums), np.concatenate(logits)

    originals = [example["image"] for example in examples]
    before, sums, logits = explained(originals)
    print(f"{variant}, {len(examples)} test images; mean share of each part, %")
    print(f"{'':28s}" + "".join(f"{name:>12s}" for name in parts.names) + f"{'logit':>12s}")

    def line(label: str, shares: np.ndarray, values: np.ndarray) -> None:
        cells = [*(100 * shares.mean(axis=0)), values.mean()]
        print(f"{label:28s}" + "".join(f"{cell:12.1f}" for cell in cells), flush=True)

    for k, name in enumerate(data.parts):
        having = np.flatnonzero(masks[:, k].any(axis=(1, 2)))
        if not len(having):
            continue
        after, sums_after, logits_after = explained(
            [erased(originals[i], masks[i, k], np.array(mean)) for i in having]
        )
        line(f"{name}: before", before[having], logits[having])
        line(f"{name} erased", after, logits_after)
        fell = (after[:, k] < before[having, k]).mean()
        print(f"  the share of the {name} fell in {100 * fell:.0f} % of {len(having)} images")
        fell = (sums_after[:, k] < sums[having, k]).mean()
        print(
            f"  what its filters added to the logit: {sums[having, k].mean():.2f}, then"
            f" {sums_after[:, k].mean():.2f}; it fell in {100 * fell:.0f} %"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--network", default="interpretable", choices=["ordinary", "interpretable"])
    parser.add_argument("--images", type=int, default=200)
    arguments = parser.parse_args()
    main(arguments.workdir, arguments.network, arguments.images)
