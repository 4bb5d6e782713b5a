"""What `explain` does: say what a trained network sees in one image, in words and a picture."""

import errno
import os
from collections.abc import Sequence

from etils import epath

from interp_cnn import storage
from interp_cnn.config import INTERPRETABLE
from interp_cnn.evaluation.filter_parts import filter_parts
from interp_cnn.trained import load
from interp_cnn.trained.images import as_photo, check_box
from interp_cnn.workdir import EXPLAINED, read_config


def explain_image(
    image: epath.Path,
    workdir: epath.Path,
    *,
    variant: str = INTERPRETABLE,
    box: Sequence[float] | None = None,
) -> str:
    """Say why a network says what it says about an image, and draw it.

    Args:
      image: file, on disk or in a bucket; it is turned upright as its EXIF orientation says.
      workdir: of a training run; it gets the picture, `explained/FILE-NETWORK[-box-...].png`.
      variant: of the network.
      box: (ymin, xmin, ymax, xmax) of the object in pixels of the upright image, what networks are
        trained on; the whole image by default.

    Returns:
      What there is to print: the sentence, these filters, where the picture is.

    Raises:
      FileNotFoundError: where the image, the configuration or the checkpoint is missing.
      ValueError: for an image that is none, damaged or too large, a box that does not fit it, a
        checkpoint of another network.
      OSError: where the picture cannot be written.
    """
    image, workdir = storage.as_path(image, what="IMAGE"), storage.as_path(workdir)
    photo = as_photo(image)
    check_box(box, photo, image)
    config = read_config(workdir)  # before a folder is made there
    picture = workdir / EXPLAINED / _picture_name(image, variant, box)
    _make_folder(picture.parent)
    trained = load(workdir, variant)
    filter_parts(config, workdir, variant, trained.restored)  # measured where that is to be done
    found = trained.explain(photo, box=box)
    found.save(picture)
    return "\n".join([found.text, "", f"written: {picture}"])


def _make_folder(folder: epath.Path) -> None:
    """Make the folder of the picture, before anything is computed for it."""
    if storage.is_remote(folder):
        storage.check_writable(folder)
        return
    try:
        folder.mkdir(exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise OSError(
            f"the explanation cannot be written to {folder} ({error.strerror}); make it a directory"
            " that can be written"
        ) from error


def _picture_name(image: epath.Path, variant: str, box: Sequence[float] | None) -> str:
    """A name that no other file, network or box has."""
    where = "" if box is None else f"-box-{'-'.join(f'{edge:g}' for edge in box)}"
    return f"{image.name}-{variant}{where}.png"
