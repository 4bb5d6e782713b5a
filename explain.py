"""Explain a prediction: python explain.py IMAGE --workdir DIR --box=ymin,xmin,ymax,xmax.

Prints the answer with the share of each part in what speaks for it ("cat, 98 % head, 2 % torso", or
"not cat; against it speaks: ..."), the filters behind it and the part that each stands for, and
writes a picture to DIR/explained/. Where nearly all filters of a network stand for one part, as on
the embedded data, so does nearly every share. The box is that of the object in the upright image,
as networks are trained on; without --box the whole image counts.
"""

from collections.abc import Sequence

from absl import flags

from interp_cnn import cli

_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of a training run, or gs://BUCKET/DIR.")
_BOX = flags.DEFINE_list("box", None, "ymin,xmin,ymax,xmax of the object, in pixels.")
_NETWORK = flags.DEFINE_enum(
    "network", "interpretable", ["ordinary", "interpretable"], "Which network of the run."
)


def main(argv: Sequence[str]) -> None:
    """Run the job of the flags."""
    if len(argv) != 2 or not _WORKDIR.value:
        raise ValueError("explain.py needs one image and --workdir DIR of a training run")
    box = None
    if _BOX.value is not None:
        try:
            ymin, xmin, ymax, xmax = map(float, _BOX.value)
        except ValueError:
            raise ValueError(
                f"--box={','.join(_BOX.value)} must be four numbers, ymin,xmin,ymax,xmax in pixels"
            ) from None
        box = (ymin, xmin, ymax, xmax)
    from interp_cnn import storage
    from interp_cnn.explain_command import explain_image

    image = storage.as_path(argv[1], what="IMAGE")
    workdir = storage.as_path(_WORKDIR.value)
    print(explain_image(image, workdir, variant=_NETWORK.value, box=box))


if __name__ == "__main__":
    cli.run(main)
