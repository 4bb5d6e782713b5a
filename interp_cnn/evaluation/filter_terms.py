"""Terms of the filter loss of each filter, on blocks of images of its category."""

import collections
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from interp_cnn.losses import filter_diagnostics, normalize_scale

# Of `filter_diagnostics`.
TERMS = ("mutual_information", "template_entropy", "category_entropy", "position_entropy")

# Mutual information belongs to a batch: it is measured on so many images at a time, whatever the
# batch of the evaluation.
INFORMATION_IMAGES = 32


@jax.jit
def _filter_terms(maps: jax.Array) -> dict[str, jax.Array]:
    """`filter_diagnostics` of maps of normalised scale [images, height, width, filters]."""
    return filter_diagnostics(normalize_scale(maps))


def block_size(images: int) -> int:
    """Images of a block, where a filter counts on so many."""
    return min(images, INFORMATION_IMAGES)


class _Group:
    """Filters that count on the same images.

    Args:
      where: on which of the images of all hosts, [images].
      filters: the numbers of the filters.
    """

    def __init__(self, where: NDArray[np.bool_], filters: NDArray[np.integer]):
        self.where, self.filters = where, filters
        self._rank = np.cumsum(where) - 1  # of an image among those that count
        self.size = block_size(int(where.sum()))
        self.done: dict[int, NDArray[np.floating]] = {}  # of a block [terms, filters]
        self._open: dict[int, list[NDArray[np.floating]]] = collections.defaultdict(list)

    def add(self, first: int, maps: NDArray[np.floating]) -> None:
        """Add maps [images, height, width, filters] of all filters, from an image's number on."""
        images = slice(first, first + len(maps))
        counts = self.where[images]
        blocks = self._rank[images][counts] // max(self.size, 1)
        own = maps[counts][..., self.filters]
        for block in np.unique(blocks):
            self.add_to(int(block), own[blocks == block])

    def add_to(self, block: int, maps: NDArray[np.floating]) -> None:
        """Add the next maps of a block; the last block may never be full and is left out."""
        self._open[block].append(maps)
        if sum(map(len, self._open[block])) == self.size:
            terms = jax.device_get(_filter_terms(np.concatenate(self._open.pop(block))))
            self.done[block] = np.stack([terms[name] for name in TERMS])

    def kept(self, none: NDArray[np.floating]) -> dict[str, NDArray[Any]]:
        """What this host has; `none` are maps of no image."""
        numbers = [number for number, parts in self._open.items() for part in parts for _ in part]
        parts = [part for parts in self._open.values() for part in parts]
        nothing = np.zeros((0, len(TERMS), len(self.filters)), np.float32)
        return {
            "done": np.array(list(self.done), np.int64),
            "terms": np.concatenate([nothing, *(terms[None] for terms in self.done.values())]),
            "open": np.array(numbers, np.int64),
            "maps": np.concatenate([none[..., self.filters], *parts]),
        }


class FilterTerms:
    """Terms of blocks of images, while batches of any size stream by on any number of hosts.

    A block is made of images of the filter's category alone, in the order of all images.

    Args:
      members: which of the images of all hosts count for which filter, [images, filters].
    """

    def __init__(self, members: NDArray[np.bool_]):
        self._members = members
        self._groups = list(_groups(members))
        self._none: NDArray[np.floating] = np.zeros((0, 1, 1, members.shape[1]), np.float32)

    def update(self, first: int, maps: NDArray[np.floating]) -> None:
        """Add maps [images, height, width, filters], from an image's number among all on."""
        self._none = maps[:0]
        for group in self._groups:
            group.add(first, maps)

    def kept(self) -> list[dict[str, NDArray[Any]]]:
        """What this host has, for `merged`."""
        return [group.kept(self._none) for group in self._groups]

    def merged(
        self, kept: Sequence[list[dict[str, NDArray[Any]]]]
    ) -> dict[str, NDArray[np.floating]]:
        """Of each term the mean over the blocks of all hosts, [filters]; NaN without an image.

        Args:
          kept: of all hosts, in their order.
        """
        result = np.full((len(TERMS), self._members.shape[1]), np.nan, np.float32)
        for number, group in enumerate(self._groups):
            whole = _Group(group.where, group.filters)
            for host in (of[number] for of in kept):
                whole.done |= dict(zip(host["done"].tolist(), host["terms"], strict=True))
                for block in np.unique(host["open"]).tolist():
                    whole.add_to(block, host["maps"][host["open"] == block])
            if whole.done:
                terms = np.stack([whole.done[block] for block in sorted(whole.done)])
                result[:, group.filters] = terms.mean(axis=0)
        return dict(zip(TERMS, result, strict=True))


def _groups(members: NDArray[np.bool_]) -> Iterator[_Group]:
    patterns, group = np.unique(members, axis=1, return_inverse=True)
    for number, where in enumerate(patterns.T):
        yield _Group(where, np.flatnonzero(group.ravel() == number))
