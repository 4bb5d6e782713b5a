"""Where the positions of a map look, measured by gradients, for networks that do not say it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from interp_cnn.receptive_field import ReceptiveField

_POSITIONS = 12  # of a map, along its diagonal
_IMAGES = 4  # for each position
# So many pixels more leave paddings as they are: a multiple of most strides.
_WIDER = 192
_FURTHER = 16  # times as much more, where maps grow as much more: the stride does divide it
_MOST_BYTES = 4 * 2**30  # for one of the wider images

# Rows and columns of positions in a map, [positions] each.
Places = tuple[NDArray[np.int64], NDArray[np.int64]]
# Variables and images [1, side, side, 3] -> of each layer its maps.
MapsOf = Callable[[Any, jax.Array], Mapping[str, jax.Array]]


def made_params(shapes: Any, *, positive: bool) -> Any:
    """Random parameters of given shapes, without the time that compiling an initialiser takes.

    Args:
      shapes: a tree of arrays or of their shapes.
      positive: whether kernels are positive, of sum 1 for each output, so that layers take means;
        else they have both signs, as those of He initialisation.

    Returns:
      A tree of float32 arrays: kernels, ones for each `scale` and zeros for other vectors.
    """
    random = np.random.default_rng(0)

    def made(path: tuple[Any, ...], leaf: Any) -> NDArray[np.float32]:
        if len(leaf.shape) < 2:
            is_scale = getattr(path[-1], "key", "") == "scale"
            return np.full(leaf.shape, is_scale, np.float32)
        weights = random.standard_normal(leaf.shape, np.float32)
        inputs = int(np.prod(leaf.shape[:-1]))
        if not positive:
            return weights * np.float32(np.sqrt(2 / inputs))
        weights = np.abs(weights)
        return weights / weights.reshape(inputs, -1).sum(axis=0)

    return jax.tree_util.tree_map_with_path(made, shapes)


def measured_fields(
    maps_of: MapsOf, variables: Mapping[str, Any], sizes: Mapping[str, tuple[int, int]], side: int
) -> dict[str, ReceptiveField]:
    """Receptive fields by the gradient of a position's sum over filters by the image.

    Kernels should be positive averages; images are random and bright. All ReLUs are open then, and
    a gradient lies evenly around the centre of its position, unless the border cuts it.

    Args:
      maps_of: the network, in its form for prediction.
      variables: variables of the network, with `params` as `made_params` makes them.
      sizes: (height, width) of the maps of each layer that is measured.
      side: side of the input in pixels.

    Returns:
      Of each layer where its positions look; its size is how far gradients reach in the image.

    Raises:
      ValueError: where the positions of a layer lie on no regular grid.
    """
    places = {layer: _diagonal(*size) for layer, size in sizes.items()}
    gradients = _gradients(maps_of, variables, places, side)
    fields = {}
    for layer, (rows, columns) in places.items():
        with _of_layer(layer):
            fields[layer] = fitted_field(gradients[layer], rows, columns, sizes[layer])
    return fields


def fields_by_wider_images(
    maps_of: MapsOf, variables: Mapping[str, Any], sizes: Mapping[str, tuple[int, int]], side: int
) -> dict[str, ReceptiveField]:
    """Receptive fields as `measured_fields`, of positions that no border cuts.

    They are those in the middle of wider images; strides are how maps grow with the image.

    Args:
      maps_of: the network, in its form for prediction, for images of any size.
      variables: variables of the network, see `measured_fields`.
      sizes: (height, width) of the maps of each layer that is measured.
      side: side of the input in pixels.

    Raises:
      ValueError: where maps do not grow by so many positions for so many pixels, or the positions
        of a layer lie on no regular grid.
      MemoryError: where wider images take much of it.
      Exception: whatever a network raises that takes images of one size alone.
    """

    def sizes_of_wider(more: int) -> dict[str, tuple[int, int]]:
        shape = (1, side + more, side + more, 3)
        found = jax.eval_shape(maps_of, variables, jax.ShapeDtypeStruct(shape, jnp.float32))
        return {layer: (found[layer].shape[1], found[layer].shape[2]) for layer in sizes}

    wider, further = sizes_of_wider(_WIDER), sizes_of_wider(_FURTHER * _WIDER)
    strides = {
        layer: stride_by_growth(size, wider[layer], further[layer]) for layer, size in sizes.items()
    }
    places = {layer: _middle(*size) for layer, size in wider.items()}
    gradients = _gradients(
        maps_of, variables, places, side + _WIDER, at_once=1, most_bytes=_MOST_BYTES
    )
    fields = {}
    for layer, (rows, columns) in places.items():
        with _of_layer(layer):
            field = uncut_field(gradients[layer], rows, columns, strides[layer])
        # Means over the whole map reach over the whole image.
        size = float(side) if field.size == side + _WIDER else field.size
        fields[layer] = ReceptiveField(field.offset, field.stride, size)
    return fields


@contextmanager
def _of_layer(layer: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"the positions of the maps of {layer!r} {error}") from error


def stride_by_growth(
    own: tuple[int, int], wider: tuple[int, int], further: tuple[int, int]
) -> float:
    """Pixels from one position to the next, by how a map grows with the image.

    Args:
      own: (height, width) of the map.
      wider: that of an image that is `_WIDER` pixels wider and higher.
      further: that of one that is 16 times as much wider and higher. A stride that does not divide
        `_WIDER` may seem to by the rounding of the former.

    Raises:
      ValueError: where it does not grow by whole positions of as many pixels in both directions.
    """
    more, many = np.subtract(wider, own), np.subtract(further, own)
    if min(more) < 1 or more[0] != more[1] or _WIDER % more[0] or (many != _FURTHER * more).any():
        raise ValueError(f"maps of {own} grow to {wider} and {further}: there is no such stride")
    return float(_WIDER / more[0])


def _diagonal(height: int, width: int) -> Places:
    """Rows and columns of positions from one corner of a map to the other."""
    number = min(height, width, _POSITIONS)
    rows, columns = (np.linspace(0, size - 1, number).round() for size in (height, width))
    return rows.astype(np.int64), columns.astype(np.int64)


def _middle(height: int, width: int) -> Places:
    """Rows and columns of neighbours on the diagonal, half of them on each side of the middle.

    A power of two, so that they are whole periods behind transposed convolutions.
    """
    number = 4 if min(height, width) >= 4 else 1
    first_row, first_column = (height - number) // 2, (width - number) // 2
    along = np.arange(number)
    return first_row + along, first_column + along


def _gradients(
    maps_of: MapsOf,
    variables: Mapping[str, Any],
    places: Mapping[str, Places],
    side: int,
    *,
    at_once: int = _IMAGES,
    most_bytes: int | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Squared gradients of places of each layer, mean over images, [places, side, side] each.

    Raises:
      MemoryError: where so many images at once take more than `most_bytes`.
    """
    number = [len(rows) for rows, _ in places.values()]
    chosen = np.repeat(np.eye(len(places), dtype=np.float32), number, axis=0)  # [places, layers]
    rows, columns = (
        (chosen * np.concatenate([of[axis] for of in places.values()])[:, None]).astype(np.int32)
        for axis in (0, 1)
    )

    # One program for all layers: it takes longer to compile than to run.
    @jax.jit
    def of_all(variables: Any, *what: Any) -> jax.Array:
        def of_one(image: Any, chosen: Any, rows: Any, columns: Any) -> jax.Array:
            def value(image: jax.Array) -> jax.Array:
                maps = maps_of(variables, image[None])
                values = [
                    maps[layer][0, rows[index], columns[index]].sum(dtype=jnp.float32)
                    for index, layer in enumerate(places)
                ]
                return (chosen * jnp.stack(values)).sum()

            return jnp.square(jax.grad(value)(image)).sum(axis=-1)

        return jax.lax.map(lambda one: of_one(*one), what, batch_size=at_once)

    shape = (len(chosen) * _IMAGES, side, side, 3)
    images = np.random.default_rng(0).uniform(0.5, 1.5, shape).astype(np.float32)
    what = [np.repeat(array, _IMAGES, axis=0) for array in (chosen, rows, columns)]
    compiled = of_all.lower(variables, images, *what).compile()
    memory = compiled.memory_analysis()
    if most_bytes is not None and memory and memory.temp_size_in_bytes > most_bytes:
        raise MemoryError(f"images of {side} pixels take {memory.temp_size_in_bytes} bytes")
    found = np.asarray(compiled(variables, images, *what), np.float64)
    means = found.reshape(-1, _IMAGES, side, side).mean(axis=1)
    return dict(zip(places, np.split(means, np.cumsum(number)[:-1]), strict=True))


def uncut_field(
    gradients: NDArray[np.floating],
    rows: NDArray[np.integer],
    columns: NDArray[np.integer],
    stride: float,
) -> ReceptiveField:
    """The grid of centres of positions that the border of the image hardly cuts.

    Args:
      gradients: size of the gradient of each position at each pixel, not negative,
        [positions, side, side].
      rows: rows of the positions in the map, rising, [positions].
      columns: columns of the positions alike, [positions].
      stride: pixels from one position to the next.

    Raises:
      ValueError: where there is no such grid; half a sentence that begins with a verb.
    """
    profiles, index, centers = _along_axes(gradients, rows, columns, stride)
    offsets = centers - stride * index
    off = float(offsets.std())
    if off > stride / 2:
        raise ValueError(_irregular(off, stride))
    return ReceptiveField(float(offsets.mean()), stride, _reached(profiles))


def fitted_field(
    gradients: NDArray[np.floating],
    rows: NDArray[np.integer],
    columns: NDArray[np.integer],
    size: tuple[int, int],
) -> ReceptiveField:
    """The regular grid of centres that fits gradients, one for rows and columns.

    Args:
      gradients: size of the gradient of each position at each pixel, not negative,
        [positions, side, side].
      rows: rows of the positions in the map, rising, [positions].
      columns: columns of the positions alike, [positions].
      size: (height, width) of the map.

    Raises:
      ValueError: where there is no such grid; half a sentence that begins with a verb.
    """
    side, middle = gradients.shape[1], len(rows) // 2
    stride = side / max(size)
    profiles, index, centers = _along_axes(gradients, rows, columns, stride)
    distances = np.arange(side) + 0.5 - centers[middle]
    reach = 2 * np.sqrt(np.average(np.square(distances), weights=profiles[middle]))
    # The border of the image cuts what outer positions see: those count that it leaves whole, first
    # by a line of equal steps over the image, then by the line that fits.
    offset = (centers - stride * index).mean()
    for _ in range(2):
        line = offset + stride * index
        inner = (line - reach > 0) & (line + reach < side)
        if len(set(index[inner])) < 2:  # of a map of few positions
            break
        stride, offset = _line(index[inner], centers[inner], side / max(size))
        off = np.sqrt(np.square(centers - offset - stride * index)[inner].mean())
        if stride < 0.5 or off > stride / 2:
            raise ValueError(_irregular(off, stride))
    return ReceptiveField(float(offset), float(stride), _reached(profiles))


def _irregular(off: float, stride: float) -> str:
    return (
        "look at places of the image on no regular grid that is the same for rows and columns:"
        f" {off:.1f} pixels off the nearest one, which has {stride:.1f} pixels from one position to"
        " the next"
    )


def _along_axes(
    gradients: NDArray[np.floating],
    rows: NDArray[np.integer],
    columns: NDArray[np.integer],
    stride: float,
) -> tuple[NDArray[np.floating], NDArray[np.integer], NDArray[np.floating]]:
    """Profiles of gradients along both axes, which count for one grid, places and centres.

    Raises:
      ValueError: where there is no gradient, or centres hardly move over positions of this stride.
    """
    if not np.isfinite(gradients).all() or not gradients.any(axis=(1, 2)).all():
        raise ValueError("have no gradient by the image that could say where they look")
    profiles = np.concatenate([gradients.sum(axis=2), gradients.sum(axis=1)])
    place = np.arange(profiles.shape[1]) + 0.5
    centers = profiles @ place / profiles.sum(axis=1)
    index = np.concatenate([rows, columns])
    if np.std(centers) < np.std(stride * index) / 10:
        raise ValueError("look at no place of the image more than at the rest of it")
    return profiles, index, centers


def _reached(profiles: NDArray[np.floating]) -> float:
    """The most pixels that a profile reaches over."""
    seen = [np.flatnonzero(profile) for profile in profiles]
    return float(max(places[-1] + 1 - places[0] for places in seen))


def _line(
    index: NDArray[np.integer], centers: NDArray[np.floating], even: float
) -> tuple[float, float]:
    """Stride and offset of the line through centres.

    The stride is that of equal steps over the image, or a whole number, where such a line lies
    nearly as close: centres of few positions scatter, as behind a transposed convolution. One that
    is both need not lie as close: means over the whole map, as in squeeze-and-excitation blocks,
    draw all centres to the middle.
    """

    def through(stride: float) -> tuple[float, float]:
        offsets = centers - stride * index
        return float(offsets.mean()), float(offsets.std())

    fitted = float(np.polyfit(index, centers, 1)[0])
    offset, off = through(fitted)
    # Steps that are equal and whole are the likeliest; equal ones that are not, the least likely.
    whole = float(round(fitted))
    likely = whole == even and abs(fitted - whole) < 0.05 * whole
    for stride in (even, whole) if even.is_integer() else (whole, even):
        near, off_by = through(stride)
        if likely or off_by < 1.25 * off + 0.03 * stride:
            return stride, near
    return fitted, offset
