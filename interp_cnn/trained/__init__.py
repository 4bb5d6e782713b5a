"""A trained network in Python, from the work directory of its run; it needs no training data.

`load` gives a `Trained`, which predicts, explains, lists its filters and exports itself.
"""

from interp_cnn.trained.explanation import Explanation
from interp_cnn.trained.filters import FilterTable
from interp_cnn.trained.network import Trained, load

__all__ = ["Explanation", "FilterTable", "Trained", "load"]
