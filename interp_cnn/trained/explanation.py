"""One explained prediction: the data behind the page of `explain.py`, and the picture."""

import dataclasses
import io
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from interp_cnn import storage
from interp_cnn.evaluation.explanations import Explained, colour_numbers
from interp_cnn.evaluation.filter_files import FilterParts

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True, repr=False)
class Explanation(Explained):
    """What the highest logit of an image rests on, see `Explained`, with what its picture needs.

    Attributes:
      layer: the layer of the filters.
      parts: what all filters of that layer stand for.
      pixels: what the network saw, uint8 [size, size, 3].
      radius: of the filters' regions in the picture, in pixels.
    """

    layer: str
    parts: FilterParts
    pixels: NDArray[np.uint8]
    radius: float

    @property
    def category(self) -> str:
        """The category with the highest logit."""
        return self.parts.categories[self.output]

    @property
    def text(self) -> str:
        """The sentence and the filters behind it, line by line."""
        did = "added most to" if self.yes else "took most from"
        return "\n".join(
            [
                self.sentence,
                "",
                f"logit {self.logit:.2f}, probability {self.probability:.3f};"
                f" the filters of {self.layer} that {did} it:",
                *(
                    f"  filter {one.unit:4d}  {one.value:+.3f}  {one.part}".rstrip()
                    for one in self.filters
                ),
            ]
        )

    def figure(self) -> "Figure":
        """The picture: where these filters look, and the share of each part."""
        from interp_cnn.report.explanation_picture import Highlight, explanation_figure

        return explanation_figure(
            self.pixels,
            title=self.sentence,
            shares=self.shares,
            yes=self.yes,
            names=[name.replace("_", " ") for name in self.parts.names],
            highlights=[
                Highlight(one.unit, one.value, number, one.position)
                for one, number in zip(
                    self.filters, colour_numbers(self.filters, self.parts), strict=True
                )
            ],
            radius=self.radius,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture as a PNG, on disk or in a bucket.

        Raises:
          OSError: where it cannot be written.
        """
        with storage.staged_file(storage.as_path(path, what="path")) as file:
            self.figure().savefig(file, format="png")

    def __repr__(self) -> str:
        return self.text

    def _repr_png_(self) -> Any:
        """The picture, which notebooks show."""
        png = io.BytesIO()
        self.figure().savefig(png, format="png")
        return png.getvalue()
