"""Explain a prediction: interp-cnn explain IMAGE --workdir DIR --box=ymin,xmin,ymax,xmax.

Prints the answer with the share of each part in what speaks for it ("cat, 98 % head, 2 % torso", or
"not cat; against it speaks: ..."), the filters behind it and the part that each stands for, and
writes a picture to DIR/explained/. Where nearly all filters of a network stand for one part, as on
the embedded data, so does nearly every share. The box is that of the object in the upright image,
as networks are trained on; without --box the whole image counts. In the repository, python
explain.py is the same.
"""

from collections.abc import Sequence

from absl import flags

from interp_cnn.cli import run


def main() -> None:
    """Run the command of the command line."""
    workdir = flags.DEFINE_string(
        "workdir", None, "Directory of a training run, or gs://BUCKET/DIR."
    )
    box = flags.DEFINE_list("box", None, "ymin,xmin,ymax,xmax of the object, in pixels.")
    network = flags.DEFINE_enum(
        "network", "interpretable", ["ordinary", "interpretable"], "Which network of the run."
    )

    def explain(arguments: Sequence[str]) -> None:
        if len(arguments) != 2 or not workdir.value:
            raise ValueError("explain needs one image and --workdir DIR of a training run")
        corners = None if box.value is None else _corners(box.value)
        from interp_cnn import storage
        from interp_cnn.evaluation.explanations import explain_image

        image = storage.as_path(arguments[1], what="IMAGE")
        place = storage.as_path(workdir.value)
        print(explain_image(image, place, variant=network.value, box=corners))

    run.run(explain, description=__doc__)


def _corners(texts: Sequence[str]) -> tuple[float, float, float, float]:
    try:
        ymin, xmin, ymax, xmax = map(float, texts)
    except ValueError:
        raise ValueError(
            f"--box={','.join(texts)} must be four numbers, ymin,xmin,ymax,xmax in pixels"
        ) from None
    return ymin, xmin, ymax, xmax
