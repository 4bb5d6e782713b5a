"""Interpretable convolutional neural networks (Zhang, Wu, Zhu, CVPR 2018) in JAX.

The names here need JAX and NumPy alone. Layers, networks and training are imported by their
modules (`interp_cnn.layers`, `interp_cnn.models`, ...), which need Flax and the `train` extra.
"""

from interp_cnn import metrics
from interp_cnn.losses import (
    filter_categories,
    filter_diagnostics,
    filter_loss,
    scale_free,
)
from interp_cnn.templates import masked, template_bank, template_mask, template_prior

__all__ = [
    "filter_categories",
    "filter_diagnostics",
    "filter_loss",
    "masked",
    "metrics",
    "scale_free",
    "template_bank",
    "template_mask",
    "template_prior",
]
