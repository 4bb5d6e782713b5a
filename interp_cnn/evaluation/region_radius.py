"""How large the image region of a unit is."""

import ml_collections

from interp_cnn import metrics
from interp_cnn.models import AnyNetwork


def region_radius(config: ml_collections.ConfigDict, network: AnyNetwork) -> float:
    """Radius of a unit's image region in pixels of the input: configured, or the default."""
    size = (network.input_size, network.input_size)
    return float(config.eval.radius or metrics.default_radius(size))
