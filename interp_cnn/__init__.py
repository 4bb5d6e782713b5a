"""Interpretable convolutional neural networks (Zhang, Wu, Zhu, CVPR 2018) in JAX.

The names here need JAX and NumPy alone, which are imported when the first of them is used. Layers,
networks and training are imported by their modules (`interp_cnn.layers`, `interp_cnn.models`, ...),
which need Flax and the `train` extra.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp_cnn import metrics
    from interp_cnn.losses import filter_categories, filter_diagnostics, filter_loss, scale_free
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

_MODULES = {
    "losses": ("filter_categories", "filter_diagnostics", "filter_loss", "scale_free"),
    "templates": ("masked", "template_bank", "template_mask", "template_prior"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first used (PEP 562)."""
    if name == "metrics":
        return importlib.import_module("interp_cnn.metrics")
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"interp_cnn.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
