"""The radius of part interpretability: what occlusion measures, and what other radii would give.

    python benchmarks/radius.py --workdir runs/embedded [--images 20]

Prints both for every network of a run and writes DIR/radius.png.
"""

import argparse
from pathlib import Path

import numpy as np

from interp_cnn import experiment, metrics
from interp_cnn.data.prepare import prepare
from interp_cnn.evaluator import Evaluator
from interp_cnn.filter_parts import restore_network
from interp_cnn.models import NEW_CONV
from interp_cnn.radius_study import empirical_field, interpretability_at
from interp_cnn.report.radius import draw_radius_sensitivity

SHARES = (0.06, 0.09, 0.12, 0.16, 0.2, 0.25, 0.32)  # of the image's side


def main(workdir: Path, images: int) -> None:
    config = experiment.read_config(workdir)
    data = prepare(config.data, seed=config.seed)
    curves: dict[str, list[float]] = {}
    for variant in config.networks:
        restored = restore_network(config, workdir, variant)
        evaluation = Evaluator(config, data).evaluate(*restored)
        size = restored.network.input_size
        radii = [share * size for share in SHARES]
        shares = interpretability_at(config, data, restored, evaluation, radii)
        curves[variant] = [metrics.summarize_parts(one).mean for one in shares]
        field = empirical_field(config, restored, evaluation, images=images)
        measured = metrics.effective_radius(field)
        known = ~np.isnan(measured)
        theoretical = restored.network.receptive_fields()[NEW_CONV].size
        print(
            f"{variant}: empirical radius {measured[known].mean():.1f} pixels (standard deviation"
            f" {measured[known].std():.1f}, {known.sum()} filters, {images} images; theoretical"
            f" field {theoretical:.0f} wide)"
        )
        for radius, value in zip(radii, curves[variant], strict=True):
            print(f"  radius {radius:5.1f}: part interpretability {value:.3f}")
    used = config.eval.radius or metrics.default_radius((size, size))
    draw_radius_sensitivity(workdir / "radius.png", radii, curves, used=used)
    print(f"written: {workdir / 'radius.png'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--images", type=int, default=20, help="that are occluded")
    arguments = parser.parse_args()
    main(arguments.workdir, arguments.images)
