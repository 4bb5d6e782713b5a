"""Metrics on arrays, whatever network made them: where filters point, what they cover, accuracy.

Coordinates are (y, x) in continuous pixels: pixel i covers [i, i + 1), its centre is i + 0.5.
"""

from interp_cnn.metrics.accuracy import accuracy
from interp_cnn.metrics.controls import InstabilityControls, instability_controls
from interp_cnn.metrics.location import (
    LocationSummary,
    collapsed_filters,
    dead_filters,
    location_instability,
    peaks,
    summarize_location,
    tracking_ratio,
)
from interp_cnn.metrics.parts import (
    PartSummary,
    part_boxes_to_masks,
    part_hits,
    part_interpretability,
    summarize_parts,
)
from interp_cnn.metrics.receptive_field import ReceptiveField, compose, default_radius
from interp_cnn.metrics.threshold import ActivationThreshold, activation_threshold

__all__ = [
    "ActivationThreshold",
    "InstabilityControls",
    "LocationSummary",
    "PartSummary",
    "ReceptiveField",
    "accuracy",
    "activation_threshold",
    "collapsed_filters",
    "compose",
    "dead_filters",
    "default_radius",
    "instability_controls",
    "location_instability",
    "part_boxes_to_masks",
    "part_hits",
    "part_interpretability",
    "peaks",
    "summarize_location",
    "summarize_parts",
    "tracking_ratio",
]
