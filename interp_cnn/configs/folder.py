"""Photos of your own in folders, a folder for each class, from ImageNet weights.

    interp-cnn train --config folder:path=DIR

DIR holds DIR/CLASS/PHOTO.jpg, or DIR/train/CLASS/ and DIR/test/CLASS/; without a split one is
drawn by the seed and by the content of the photos. All classes are told from each other, or with
category=NAME one from the rest; a class named "other" is what the others are told from.
annotations=FILE, a CSV with the header file,part,x,y,x2,y2 or COCO JSON, adds boxes and parts.
net=small trains a small network from scratch. docs/folders.md has the rest.
"""

from pathlib import Path

import ml_collections

from interp_cnn.config import parse_arguments
from interp_cnn.configs._shared import names_several, own_config
from interp_cnn.data.categories import ALL, named_categories
from interp_cnn.data.photos.folder_layout import Folder, is_other, read_folder
from interp_cnn.data.pipeline import CATEGORIES, PHOTOS


def get_config(text: str | None = None) -> ml_collections.ConfigDict:
    """Arguments: path, net, category, negatives, task, epochs, seed, annotations.

    Raises:
      ValueError: for an argument that is unknown or of another type, or a folder that is no data
        set.
      OSError: where the folder is missing or a file.
    """
    arguments = parse_arguments(
        text,
        path="",
        net="vgg16",
        category=ALL,
        negatives="",
        task="",
        epochs=int,
        seed=0,
        annotations="",
    )
    folder = read_folder(Path(arguments.path).expanduser()) if arguments.path else None
    negatives = arguments.negatives or _negatives(folder, arguments.category, arguments.task)
    task = arguments.task or ("softmax" if negatives == "none" else "logistic")
    several = names_several(arguments.category)
    if folder is not None:
        several = len(named_categories(arguments.category, folder.classes)) > 1
    config = own_config(
        arguments,
        name="folder",
        images=_images(folder, arguments.category, negatives),
        task=task,
        negatives=negatives,
        several=several,
    )
    config.data.manual_dir = _absolute(arguments.path)
    config.data.annotations = _absolute(arguments.annotations)
    return config


def _absolute(path: str) -> str:
    """A path that means the same from every folder; "" stays."""
    return str(Path(path).expanduser().absolute()) if path else ""


def _negatives(folder: Folder | None, category: str, task: str) -> str:
    """What the classes of the task are told from: photos of other things where there are some."""
    if task == "softmax" or folder is None:
        return "none"
    if folder.has_others:
        return "photos"
    chosen = named_categories(category, folder.classes)
    return "categories" if len(chosen) < len(folder.classes) else "none"


def _images(folder: Folder | None, category: str, negatives: str) -> int:
    """About how many photos train: those of the task."""
    if folder is None:
        return 0
    chosen = named_categories(category, folder.classes)
    photos = [
        photo
        for photo in folder.photos
        if photo.category in chosen
        or negatives == (PHOTOS if is_other(photo.category) else CATEGORIES)
    ]
    if folder.is_split:
        return sum(photo.split == "train" for photo in photos)
    return len(photos) * 2 // 3
