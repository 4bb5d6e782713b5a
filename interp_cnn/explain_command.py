"""What `explain` does: say what a trained network sees in one image, in words and a picture."""

import errno
import os
from collections.abc import Sequence

from etils import epath
from PIL import Image

from interp_cnn import storage
from interp_cnn.config import INTERPRETABLE
from interp_cnn.data.pipeline import Crop
from interp_cnn.evaluation.explanations import Explained, explain_pixels, read_image
from interp_cnn.evaluation.filter_parts import FilterParts, filter_parts
from interp_cnn.evaluation.part_regions import region_radius
from interp_cnn.evaluation.restore import restore_network
from interp_cnn.report.explanation_picture import Highlight, draw_explanation
from interp_cnn.workdir import EXPLAINED, read_config


def explain_image(
    image: epath.Path,
    workdir: epath.Path,
    *,
    variant: str = INTERPRETABLE,
    box: Sequence[float] | None = None,
    filters: int = 5,
) -> str:
    """Say why a network says what it says about an image, and draw it.

    Args:
      image: file, on disk or in a bucket; it is turned upright as its EXIF orientation says.
      workdir: of a training run; it gets the picture, `explained/FILE-NETWORK[-box-...].png`.
      variant: of the network.
      box: (ymin, xmin, ymax, xmax) of the object in pixels of the upright image, what networks are
        trained on; the whole image by default.
      filters: number of filters that are named and drawn, those that contributed most.

    Returns:
      What there is to print: the sentence, these filters, where the picture is.

    Raises:
      FileNotFoundError: where the image, the configuration or the checkpoint is missing.
      ValueError: for an image that is none, damaged or too large, a box that does not fit it, a
        checkpoint of another network.
      OSError: where the picture cannot be written.
    """
    image, workdir = storage.as_path(image, what="IMAGE"), storage.as_path(workdir)
    photo = read_image(image)
    _check_box(box, image, photo)
    config = read_config(workdir)
    picture = workdir / EXPLAINED / _picture_name(image, variant, box)
    _make_folder(picture.parent)
    restored = restore_network(config, workdir, variant)
    parts = filter_parts(config, workdir, variant, restored)
    frame = (0, 0, photo.height, photo.width) if box is None else box
    pixels = Crop(restored.network.input_size).cut(photo, frame)
    found = explain_pixels(
        config, restored.network, restored.variables, parts, pixels, filters=filters
    )
    with storage.staged_file(picture) as file:
        draw_explanation(
            file,
            pixels,
            title=found.sentence,
            shares=found.shares,
            yes=found.yes,
            names=[name.replace("_", " ") for name in parts.names],
            highlights=_highlights(found, parts),
            radius=region_radius(config, restored.network),
        )
    text = _text(found, restored.network.last_layer)
    return "\n".join([*text, "", f"written: {picture}"])


def _text(found: Explained, layer: str) -> list[str]:
    """The sentence and the filters behind it, line by line."""
    did = "added most to" if found.yes else "took most from"
    return [
        found.sentence,
        "",
        f"logit {found.logit:.2f}, probability {found.probability:.3f};"
        f" the filters of {layer} that {did} it:",
        *(f"  filter {one.unit:4d}  {one.value:+.3f}  {one.part}" for one in found.filters),
    ]


def _highlights(found: Explained, parts: FilterParts) -> list[Highlight]:
    """What the picture shows of these filters."""
    return [
        Highlight(one.unit, one.value, int(parts.part[one.unit]), one.position)
        for one in found.filters
    ]


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


def _check_box(box: Sequence[float] | None, file: epath.Path, photo: Image.Image) -> None:
    """Raise a ValueError unless the box lies within the image."""
    if box is None:
        return
    top, left, bottom, right = box
    if not (0 <= top < bottom <= photo.height and 0 <= left < right <= photo.width):
        raise ValueError(
            f"box is {top:g},{left:g},{bottom:g},{right:g}, {file} is {photo.height} pixels high"
            f" and {photo.width} wide; give ymin,xmin,ymax,xmax within that"
        )
