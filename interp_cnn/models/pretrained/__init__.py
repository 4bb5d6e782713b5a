"""Pretrained weights: files of Keras, MatConvNet, torchvision, timm and our own; convert, merge.

On the command line: `interp-cnn weights convert IN OUT.safetensors`.
"""

from interp_cnn.models.pretrained.keras import download_keras_vgg16
from interp_cnn.models.pretrained.load import check_download, download_weights, load_weights
from interp_cnn.models.pretrained.pretrained import Pretrained, checksum, merge_pretrained
from interp_cnn.models.pretrained.store import save_weights

__all__ = [
    "Pretrained",
    "check_download",
    "checksum",
    "download_keras_vgg16",
    "download_weights",
    "load_weights",
    "merge_pretrained",
    "save_weights",
]
