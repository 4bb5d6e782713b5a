"""Metrics on arrays, whatever network made them: where filters point, what they cover, accuracy.

Coordinates are (y, x) in continuous pixels: pixel i covers [i, i + 1), its centre is i + 0.5.
"""

from interp_cnn.metrics.accuracy import accuracy
from interp_cnn.metrics.controls import InstabilityControls, instability_controls
from interp_cnn.metrics.empirical import (
    EmpiricalField,
    effective_radius,
    empirical_pattern,
    empirical_receptive_field,
    top_images,
)
from interp_cnn.metrics.location import (
    LocationSummary,
    collapsed_filters,
    dead_filters,
    location_instability,
    peaks,
    summarize_location,
    tracking_ratio,
)
from interp_cnn.metrics.part_counts import PartsFollowed, part_counts
from interp_cnn.metrics.parts import (
    PartSummary,
    part_boxes_to_masks,
    part_hits,
    part_interpretability,
    summarize_parts,
)
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
    "ActivationThreshold",
    "Box",
    "Disc",
    "EmpiricalField",
    "InstabilityControls",
    "LocationSummary",
    "PartShares",
    "PartSummary",
    "PartsFollowed",
    "Pattern",
    "ReceptiveField",
    "ValidPositions",
    "accuracy",
    "activation_threshold",
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
    "part_boxes_to_masks",
    "part_counts",
    "part_hits",
    "part_interpretability",
    "peaks",
    "radius_sensitivity",
    "summarize_location",
    "summarize_parts",
    "top_images",
    "tracking_ratio",
]
