"""Pretrained weights: read Keras', MatConvNet's, torchvision's and our own files, convert, merge.

On the command line: `python -m interp_cnn.weights convert IN OUT.safetensors`.
"""

from interp_cnn.weights.keras import download_keras_vgg16
from interp_cnn.weights.load import load_weights
from interp_cnn.weights.pretrained import Pretrained, checksum, merge_pretrained
from interp_cnn.weights.store import save_weights

__all__ = [
    "Pretrained",
    "checksum",
    "download_keras_vgg16",
    "load_weights",
    "merge_pretrained",
    "save_weights",
]
