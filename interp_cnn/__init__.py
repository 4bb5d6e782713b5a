"""Interpretable convolutional neural networks (Zhang, Wu, Zhu, CVPR 2018) in JAX.

The names here need JAX and NumPy alone, which are imported when the first of them is used; `load`
needs the `train` extra. Layers, networks and training are imported by their modules
(`interp_cnn.layers`, `interp_cnn.models`, ...), which need Flax and the `train` extra.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp_cnn import metrics
    from interp_cnn.losses import (
        filter_categories,
        filter_diagnostics,
        filter_loss,
        normalize_scale,
    )
    from interp_cnn.receptive_field import ReceptiveField, compose, default_radius
    from interp_cnn.templates import (
        apply_template_mask,
        peak_position,
        template_bank,
        template_mask,
        template_prior,
        template_scores,
    )
    from interp_cnn.trained import load

    __version__: str

__all__ = [
    "ReceptiveField",
    "apply_template_mask",
    "compose",
    "default_radius",
    "filter_categories",
    "filter_diagnostics",
    "filter_loss",
    "load",
    "metrics",
    "normalize_scale",
    "peak_position",
    "template_bank",
    "template_mask",
    "template_prior",
    "template_scores",
]

_MODULES = {
    "losses": (
        *("filter_categories", "filter_diagnostics", "filter_loss", "normalize_scale"),
        "scale_free",
    ),
    "receptive_field": ("ReceptiveField", "compose", "default_radius"),
    "templates": (
        *("apply_template_mask", "peak_position", "template_bank", "template_mask"),
        *("template_prior", "template_scores", "masked"),
    ),
    "trained": ("load",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first used (PEP 562)."""
    if name == "metrics":
        return importlib.import_module("interp_cnn.metrics")
    if name == "__version__":
        value: Any = importlib.import_module("interp_cnn.version").version()
    elif name in _MODULE_OF:
        value = getattr(importlib.import_module(f"interp_cnn.{_MODULE_OF[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
