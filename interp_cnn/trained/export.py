"""A trained network as one file that predicts without this package."""

import functools
import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import export

from interp_cnn import storage

PLATFORMS = ("cpu", "cuda", "tpu")
_KNOWN = (*PLATFORMS, "rocm")
_MOST = 2**31 - 2**20  # bytes; flatbuffers hold 2 GiB


def write_exported(
    path: str | os.PathLike[str],
    function: Any,
    variables: Any,
    *,
    size: int,
    platforms: Sequence[str],
) -> int:
    """Write what `jax.export` makes of a function of images; see `Trained.export`.

    Args:
      path: file to write, on disk or in a bucket.
      function: `(variables, images) -> arrays`.
      variables: parameters and batch statistics, which become part of the file.
      size: side of the images in pixels.
      platforms: that it is compiled for.

    Returns:
      Size of the file in bytes.

    Raises:
      ValueError: for an unknown platform, parameters of more than 2 GiB, or a network of one's own
        that does not take any number of images.
      ImportError: where flatbuffers is not installed.
      OSError: where the file cannot be written.
    """
    wanted = tuple(platforms)
    if isinstance(platforms, str) or not wanted or not set(wanted) <= set(_KNOWN):
        raise ValueError(
            f"platforms is {platforms!r}; give some of {', '.join(map(repr, _KNOWN))}, such as"
            ' ("cpu",)'
        )
    size_of_variables = sum(leaf.nbytes for leaf in jax.tree.leaves(variables))
    if size_of_variables > _MOST:
        raise ValueError(
            f"the parameters take {size_of_variables / 2**30:.1f} GiB and an exported file holds 2;"
            " a network of less width fits"
        )
    # As NumPy arrays they are constants of the program, wherever they lie now.
    with_variables = functools.partial(function, jax.device_get(variables))
    (batch,) = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, size, size, 3), np.uint8)
    try:
        exported = export.export(jax.jit(with_variables), platforms=wanted)(images)
    except Exception as error:  # a network of one's own raises whatever it likes
        reason = " ".join(str(error).split())
        raise ValueError(
            f"the network cannot be compiled for any number of images ({reason:.200}); its module"
            " may take the number from x.shape[0], where len(x) and int(...) want to know it"
        ) from error
    try:
        content = exported.serialize()
    except ImportError as error:
        raise ImportError(
            "export needs the package flatbuffers; pip install flatbuffers"
        ) from error
    storage.write(storage.as_path(path, what="path"), bytes(content))
    return len(content)
