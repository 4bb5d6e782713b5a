"""Pretrained weights: read Keras', MatConvNet's, torchvision's and our own files, convert, merge.

On the command line: `interp-cnn weights convert IN OUT.safetensors`.
"""

from interp_cnn.models.pretrained.keras import download_keras_vgg16
from interp_cnn.models.pretrained.load import load_weights
from interp_cnn.models.pretrained.pretrained import Pretrained, checksum, merge_pretrained
from interp_cnn.models.pretrained.store import save_weights

__all__ = [
    "Pretrained",
    "checksum",
    "download_keras_vgg16",
    "load_weights",
    "merge_pretrained",
    "save_weights",
]
