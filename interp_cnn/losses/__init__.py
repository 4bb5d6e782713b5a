"""The filter loss of the paper, the scale of maps, the category of a filter, terms of the loss.

All are pure functions of feature maps `x` [batch, height, width, filters] after ReLU. With
`axis_name` the batch is that of all devices along the named axis.
"""

from interp_cnn.losses.categories import filter_categories
from interp_cnn.losses.diagnostics import filter_diagnostics
from interp_cnn.losses.loss import Gradient, filter_loss
from interp_cnn.losses.scale import normalize_scale, scale_free

__all__ = [
    "Gradient",
    "filter_categories",
    "filter_diagnostics",
    "filter_loss",
    "normalize_scale",
    "scale_free",
]
