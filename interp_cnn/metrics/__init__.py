"""Metrics on arrays, whatever network made them: where filters point, what they cover, accuracy.

Coordinates are (y, x) in continuous pixels: pixel i covers [i, i + 1), its centre is i + 0.5.

From maps and landmarks to the three metrics. The network has a convolution of 5 x 5 and one of
3 x 3, each with padding and a pooling of 2 x 2; its maps of 20 images of 32 x 32 pixels are
[images, height, width, filters], after ReLU (PyTorch's [images, filters, height, width] are
`maps.transpose(0, 2, 3, 1)`). Here a filter fires on the first of two landmarks:

>>> import numpy as np
>>> random = np.random.default_rng(0)
>>> landmarks = random.uniform(6, 26, size=(20, 2, 2))  # (y, x) in pixels of the input
>>> maps = np.zeros((20, 8, 8, 1), np.float32)
>>> maps[np.arange(20), *(landmarks[:, 0] // 4).astype(int).T] = 1.0
>>> landmarks[3, 1] = np.nan  # missing

Where the maps look: `compose` makes a `ReceptiveField` of (kernel, stride, padding) of the layers.
`peaks` takes its centres to pixels of the input.

>>> field = compose([(5, 1, 2), (2, 2, 0), (3, 1, 1), (2, 2, 0)])
>>> centers = {"centers_y": field.centers(8), "centers_x": field.centers(8)}
>>> positions, values = peaks(maps, **centers)

Location instability and tracking ratio of each filter and landmark; small where it is followed:

>>> instability = location_instability(positions, values, landmarks, image_size=(32, 32))
>>> instability.round(2).tolist()
[[0.01, 0.11]]
>>> tracking_ratio(positions, values, landmarks).round(1).tolist()
[[0.2, 1.5]]

Part interpretability needs masks of the parts in the input's size; here boxes around the landmarks:

>>> boxes = np.concatenate([landmarks - 5, landmarks + 5], axis=-1)
>>> masks = part_boxes_to_masks(boxes, (32, 32))  # bool [images, parts, 32, 32]
>>> shares = part_interpretability(
...     maps, masks, radius=default_radius((32, 32)), quantile=0.02, **centers
... )
>>> shares.round(2).tolist()
[[1.0, 0.16]]
"""

from interp_cnn.metrics.accuracy import accuracy
from interp_cnn.metrics.behaviour import peak_spread, same_place
from interp_cnn.metrics.class_information import class_information, mutual_information_score
from interp_cnn.metrics.controls import InstabilityControls, instability_controls
from interp_cnn.metrics.empirical import (
    EmpiricalField,
    effective_radius,
    empirical_pattern,
    empirical_receptive_field,
    top_images,
)
from interp_cnn.metrics.followed_parts import PartsFollowed, parts_followed
from interp_cnn.metrics.location import (
    LocationSummary,
    collapsed_filters,
    dead_filters,
    location_instability,
    peaks,
    summarize_location,
    tracking_ratio,
)
from interp_cnn.metrics.part_controls import PartControlCounts, PartControls
from interp_cnn.metrics.parts import (
    PartCounts,
    PartSummary,
    part_boxes_to_masks,
    part_counts,
    part_hits,
    part_interpretability,
    summarize_parts,
)
from interp_cnn.metrics.patterns import (
    PatternShares,
    pattern_diversity,
    pattern_inconsistency,
    pattern_shares,
)
from interp_cnn.metrics.purity import PATCH_SHARE, PuritySummary, purity, summarize_purity
from interp_cnn.metrics.sensitivity import PartShares, radius_sensitivity
from interp_cnn.metrics.threshold import ActivationThreshold, activation_threshold
from interp_cnn.metrics.valid_positions import ValidPositions
from interp_cnn.receptive_field import (
    Box,
    Disc,
    Pattern,
    ReceptiveField,
    compose,
    default_radius,
    image_region,
)

__all__ = [
    "PATCH_SHARE",
    "ActivationThreshold",
    "Box",
    "Disc",
    "EmpiricalField",
    "InstabilityControls",
    "LocationSummary",
    "PartControlCounts",
    "PartControls",
    "PartCounts",
    "PartShares",
    "PartSummary",
    "PartsFollowed",
    "Pattern",
    "PatternShares",
    "PuritySummary",
    "ReceptiveField",
    "ValidPositions",
    "accuracy",
    "activation_threshold",
    "class_information",
    "collapsed_filters",
    "compose",
    "dead_filters",
    "default_radius",
    "effective_radius",
    "empirical_pattern",
    "empirical_receptive_field",
    "image_region",
    "instability_controls",
    "location_instability",
    "mutual_information_score",
    "part_boxes_to_masks",
    "part_counts",
    "part_hits",
    "part_interpretability",
    "parts_followed",
    "pattern_diversity",
    "pattern_inconsistency",
    "pattern_shares",
    "peak_spread",
    "peaks",
    "purity",
    "radius_sensitivity",
    "same_place",
    "summarize_location",
    "summarize_parts",
    "summarize_purity",
    "top_images",
    "tracking_ratio",
]
