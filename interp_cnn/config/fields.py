"""The one table of what a configuration holds: names, ranges, units, defaults, meanings.

`default_config`, the checks of every value and docs/config.md are made from it.
"""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from interp_cnn.config.kinds import (
    Arguments,
    Choice,
    Choices,
    Factors,
    Flag,
    Kind,
    NetworkName,
    Number,
    NumberOrNumbers,
    Numbers,
    Text,
)

ORDINARY, INTERPRETABLE = "ordinary", "interpretable"
WHERE = "docs/config.md lists the fields"

_COUNT = Number(whole=True, least=1, most=1_000_000)
_STEPS = Number(whole=True, least=0, most=1_000_000_000)
_NOT_NEGATIVE = Number(least=0)
_POSITIVE = Number(above=0)
_SHARE = Number(least=0, most=1)


@dataclasses.dataclass(frozen=True)
class Field:
    """One field of a configuration.

    Attributes:
      name: the dotted name.
      default: the value in `default_config`; None stands for unset.
      kind: what it may hold.
      meaning: what the field means, one sentence.
      unit: the unit of a number.
      unset: what None stands for; a field without this text cannot be None.
    """

    name: str
    default: Any
    kind: Kind
    meaning: str
    unit: str = ""
    unset: str = ""

    @property
    def wanted(self) -> str:
        """The values in words."""
        unset = ", or none" if self.unset else ""
        return f"{self.kind.wanted}{unset}"

    def parse(self, text: str) -> Any:
        """The value that a text on the command line stands for.

        Raises:
          ValueError: where it stands for none, or is out of range.
        """
        if self.unset and text.lower() == "none":
            return None
        try:
            value = self.kind.parse(text)
        except (ValueError, TypeError):
            value = None
        if value is None or not self.kind.accepts(value):
            raise ValueError(self._refused(text))
        return value

    def check(self, value: Any, source: str = "config") -> None:
        """Raise a ValueError unless the field may have this value."""
        if value is None and self.unset:
            return
        if value is None or not self.kind.accepts(value):
            raise ValueError(self._refused(repr(value), source))

    def _refused(self, shown: str, source: str = "config") -> str:
        if len(shown) > 200:
            shown = f"{shown[:200]} ..."
        return f"{source}.{self.name}={shown} must be {self.wanted}"


FIELDS = (
    Field(
        "seed",
        0,
        Number(whole=True, least=0, most=2**31 - 1),
        "Of initialisation, dropout, the order of the data and the choice of negatives.",
    ),
    Field(
        "networks",
        (ORDINARY, INTERPRETABLE),
        Choices((ORDINARY, INTERPRETABLE)),
        "Which of the two networks are trained and evaluated, in this order.",
    ),
    Field(
        "weights",
        "",
        Text("the name of a file, 'download' or ''"),
        "File with pretrained weights; `download` takes the published ones of vgg16, residual and"
        " dense networks, the empty text none.",
    ),
    Field(
        "log_every_steps",
        20,
        _COUNT,
        "Between two lines of `metrics.jsonl`, which has one at every checkpoint, too.",
        unit="steps",
    ),
    Field(
        "model.name",
        "vgg16",
        NetworkName(
            (
                *("alexnet", "vgg_m", "vgg_s", "vgg16", "small"),
                *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
                *("densenet121", "densenet161", "densenet169"),
            )
        ),
        "The network: the paper's four, a small one for the embedded data, residual and dense"
        " ones, or one of your own. Of the fields below that one takes `input_size`,"
        " `top_conv_mask`, `new_conv_mask`, `dtype` and the last two.",
    ),
    Field(
        "model.width",
        1.0,
        Number(above=0, most=16),
        "Factor of every number of features, for small machines.",
    ),
    Field(
        "model.dropout",
        0.8,
        Number(least=0, below=1),
        "Share of the units that are dropped after each hidden fully connected layer; the head"
        " `gap` has none.",
    ),
    Field(
        "model.head",
        "default",
        Choice(("default", "fc", "gap")),
        "What comes behind the second interpretable layer: `fc`, pooling and the paper's three"
        " fully connected layers; `gap`, the mean of each map and one fully connected layer;"
        " `default`, `gap` for residual and dense networks and `fc` for the others.",
    ),
    Field(
        "model.stem",
        "imagenet",
        Choice(("imagenet", "small")),
        "First layers of a residual or dense network: `imagenet`, those of the publication;"
        " `small`, one 3x3 convolution, so that small images keep maps of some size.",
    ),
    Field(
        "model.input_size",
        0,
        Number(whole=True, least=0, most=4096),
        "Side of the square that images are scaled to; 0 takes the network's own: 224, of AlexNet"
        " 227, of `small` 96; of one of your own its attribute `input_size`, or 224.",
        unit="pixels",
    ),
    Field("model.norm", "l1", Choice(("l1", "l2")), "Norm of the distance in the templates."),
    Field("model.beta", 4.0, _POSITIVE, "Slope of the templates; larger is narrower."),
    Field(
        "model.position",
        "argmax",
        Choice(("argmax", "centroid")),
        "Peak of a mask: the argmax of the paper, or the centroid of the authors' code.",
    ),
    Field(
        "model.top_conv_mask",
        1.0,
        _SHARE,
        "Strength of the mask of the top conv, or of all layers but the last in a network of your"
        " own: 1 is the paper's, 0.5 one of half the slope that ends at zero, 0 none.",
    ),
    Field(
        "model.new_conv_mask",
        1.0,
        _SHARE,
        "The same of the new conv, or of the last layer.",
    ),
    Field(
        "model.second_layer",
        "before_pool",
        Choice(("before_pool", "after_pool")),
        "Place of the second interpretable layer: before the last pooling (paper) or behind it"
        " (authors' code).",
    ),
    Field(
        "model.new_init_std",
        None,
        _POSITIVE,
        "Standard deviation of the new layers' kernels at the start; 0.01 in the paper.",
        unset="He initialisation, and zeros in the last layer, for training from scratch",
    ),
    Field(
        "model.frozen_through",
        None,
        Text("the name of a layer, such as 'conv4_3', 'layer3' or 'denseblock3'", empty=False),
        "The last layer that is not trained; batch normalisation up to it keeps its statistics.",
        unset="all are trained",
    ),
    Field(
        "model.remat",
        False,
        Flag(),
        "Whether the backward pass computes the inside of each block again: less memory for more"
        " time.",
    ),
    Field(
        "model.dtype",
        "float32",
        Choice(("float32", "bfloat16")),
        "Of the computation; parameters are float32.",
    ),
    Field(
        "model.masks",
        (),
        Factors(_SHARE),
        "Strength of the mask of each layer of a network of your own whose name matches, such as"
        " `(('middle', 0.0), ('.*', 0.5))`, in place of the two fields above, which hold where none"
        " matches; the first that matches counts.",
    ),
    Field(
        "model.options",
        (),
        Arguments(),
        "Attributes of a network of your own, such as `(('width', 16),)`.",
    ),
    Field(
        "data.name",
        "embedded_animals",
        Choice(
            (
                *("embedded_animals", "ilsvrc_animal_part", "pascal_voc_part", "cub_200_2011"),
                *("folder", "tfds"),
            )
        ),
        "The data set: drawn, published, photos in folders, or any prepared one of tfds.",
    ),
    Field(
        "data.dataset",
        "",
        Text("the name of a tfds data set, or ''"),
        "Of `tfds` the data set: `NAME`, `NAME/CONFIG` or `NAME/CONFIG:VERSION`.",
    ),
    Field(
        "data.category",
        "cat",
        Text("a category, several joined by '+', or 'all'", empty=False),
        "The category that is told from the rest, several joined by `+`, or `all`.",
    ),
    Field(
        "data.negatives",
        "photos",
        Choice(("photos", "categories", "none")),
        "What has label 0: photos of other things, objects of the other categories, or nothing.",
    ),
    Field(
        "data.data_dir",
        "",
        Text("the name of a folder, or ''"),
        "Where prepared data sets are kept; the empty text is the default of tfds,"
        " `~/tensorflow_datasets`.",
    ),
    Field(
        "data.manual_dir",
        "",
        Text("the name of a folder, or ''"),
        "Folder with a copy of the published files; the empty text downloads them. Of `folder` the"
        " folder with the photos.",
    ),
    Field(
        "data.annotations",
        "",
        Text("the name of a file, or ''"),
        "Of `folder` a file with boxes and parts of the photos, CSV or COCO JSON.",
    ),
    Field(
        "data.skip_damaged",
        False,
        Flag(),
        "Whether damaged and missing images are left out and counted, instead of an error.",
    ),
    Field(
        "data.crop",
        "object",
        Choice(("object", "image")),
        "What becomes the input: the object's box, stretched to a square, or the whole image. With"
        " whole photos each is one example, and those whose objects have several labels are left"
        " out.",
    ),
    Field(
        "data.negatives_per_positive",
        None,
        _POSITIVE,
        "Images with label 0 for each object, chosen by the seed.",
        unset="all there are",
    ),
    Field(
        "data.mean",
        (123.68, 116.779, 103.939),
        Numbers(3, Number(least=0, most=255)),
        "What is subtracted from red, green and blue; pretrained weights say which they want.",
        unit="grey levels, 0 to 255",
    ),
    Field(
        "data.std",
        1.0,
        NumberOrNumbers(3, _POSITIVE),
        "What is divided by then, one number or one for red, green and blue; pretrained weights say"
        " which they want, those of the paper's networks 1.",
        unit="grey levels",
    ),
    Field(
        "data.threads",
        4,
        Number(whole=True, least=0, most=1024),
        "Threads that read and crop images; 0 uses the main one.",
    ),
    Field(
        "data.cache_gib",
        16.0,
        _NOT_NEGATIVE,
        "Disk that the output of the frozen layers may take while the run lasts, to be computed"
        " once for each image; 0 computes it at every step.",
        unit="GiB",
    ),
    Field(
        "train.task",
        "logistic",
        Choice(("logistic", "softmax")),
        "The log loss: one output per category, or a softmax over categories without negatives.",
    ),
    Field(
        "train.class_weights",
        "none",
        Choice(("none", "balanced")),
        "Whether each category counts alike, whatever its number of images.",
    ),
    Field(
        "train.batch_size",
        32,
        _COUNT,
        "Of one step, over all devices and hosts, which must divide it.",
        unit="images",
    ),
    Field(
        "train.start_epochs",
        0,
        Number(whole=True, least=0, most=10_000),
        "Length of the training of an ordinary network from which all networks of the run begin; 0"
        " begins from the pretrained weights, or from scratch.",
        unit="epochs",
    ),
    Field(
        "train.epochs",
        50,
        Number(whole=True, least=1, most=10_000),
        "Length of the training of each network, after that.",
        unit="epochs",
    ),
    Field(
        "train.schedule",
        "paper",
        Choice(("paper", "constant", "cosine")),
        "Of the learning rate: `logspace(-4, -5, 10)` per epoch times `paper_factor`, constant, or"
        " a cosine down to zero.",
    ),
    Field(
        "train.learning_rate",
        1e-3,
        _POSITIVE,
        "Of the constant schedule, and the largest one of the cosine.",
    ),
    Field(
        "train.paper_factor",
        1.0,
        _POSITIVE,
        "Of the paper's schedule: 30 for AlexNet and VGG-M, 10 for VGG-S, 1 for VGG-16.",
    ),
    Field("train.warmup_steps", 0, _STEPS, "Linear warm-up of the cosine schedule.", unit="steps"),
    Field("train.momentum", 0.9, Number(least=0, below=1), "Of the gradients."),
    Field(
        "train.weight_decay",
        5e-4,
        _NOT_NEGATIVE,
        "Of all trained parameters but the biases of the new layers.",
    ),
    Field(
        "train.clip_norm",
        None,
        _POSITIVE,
        "Largest norm of the whole gradient.",
        unset="it is not clipped",
    ),
    Field(
        "train.rate_factors",
        (),
        Factors(),
        "Learning-rate factors of the parameters whose path matches, such as"
        " `(('fc8/.*', 10.0),)`; the first that matches counts.",
    ),
    Field(
        "interpretable.start_epoch",
        0.0,
        _NOT_NEGATIVE,
        "When masks and filter loss set in, before the end of the training.",
        unit="epochs",
    ),
    Field(
        "interpretable.ramp_epochs",
        0.0,
        _NOT_NEGATIVE,
        "How long they take to grow to their full strength.",
        unit="epochs",
    ),
    Field(
        "filter_loss.weighting",
        "scale_free",
        Choice(("scale_free", "constant", "paper")),
        "`scale_free`: the mean over filters of the loss of maps whose scale is normalised;"
        " `constant`: the sum of the plain loss; `paper`: that with the paper's schedule.",
    ),
    Field(
        "filter_loss.weight",
        3.0,
        _NOT_NEGATIVE,
        "Factor of the filter loss, where `filter_loss.top_conv_weight` is given that of the last"
        " layer alone; 0 leaves it out.",
    ),
    Field(
        "filter_loss.top_conv_weight",
        None,
        _NOT_NEGATIVE,
        "Factor of the filter loss of the top conv, or of all layers but the last in a network of"
        " your own, where it differs.",
        unset="that of `filter_loss.weight`",
    ),
    Field(
        "filter_loss.fade_epochs",
        0.0,
        _NOT_NEGATIVE,
        "The last epochs, in which the filter loss falls to zero; masks stay.",
        unit="epochs",
    ),
    Field(
        "filter_loss.growth_weight",
        0.0,
        _NOT_NEGATIVE,
        "Factor of a penalty on larger maps, the square of the logarithm of how much the mean peak"
        " of a layer has grown since the first step; 0 lets maps grow.",
    ),
    Field("filter_loss.sharpness", 60.0, _POSITIVE, "Twice the typical size of normalised maps."),
    Field(
        "filter_loss.images",
        "all",
        Choice(("all", "category")),
        "Images that it sees: all, or those of the filter's category.",
    ),
    Field(
        "filter_loss.gradient",
        "paper",
        Choice(("paper", "exact")),
        "The gradient of Eq. 4, or the exact one of Eq. 1.",
    ),
    Field(
        "filter_loss.alpha",
        None,
        Number(above=0, below=1),
        "Prior probability that an image shows the filter's part.",
        unset="n^2 / (1 + n^2) of maps with n^2 positions",
    ),
    Field(
        "filter_loss.category_rule",
        "sum",
        Choice(("sum", "max")),
        "Activity that decides on a filter's category: the sum of a map (paper) or its maximum"
        " (authors' code).",
    ),
    Field("checkpoint.every_steps", 200, _COUNT, "Between two checkpoints.", unit="steps"),
    Field(
        "checkpoint.keep",
        2,
        Number(whole=True, least=1, most=1000),
        "Latest checkpoints that are kept.",
    ),
    Field("eval.batch_size", 32, _COUNT, "Of the evaluation.", unit="images"),
    Field(
        "eval.images",
        "test",
        Choice(("test", "all")),
        "For instability and interpretability: those of the test split, or all, as the authors do.",
    ),
    Field(
        "eval.top",
        100,
        Number(whole=True, least=2, most=1_000_000),
        "Images of a filter behind its location instability, those on which it fires most.",
        unit="images",
    ),
    Field(
        "eval.radius",
        None,
        _POSITIVE,
        "Radius of a unit's image region, the same for all networks that are compared.",
        unit="pixels of the input",
        unset="0.2 of the image's side; `eval.py --occlude` measures and sets it",
    ),
    Field(
        "eval.related_measures",
        False,
        Flag(),
        "Whether the measures of related work are taken too, at the cost of another pass: purity"
        " (PIP-Net), inconsistency and diversity (icCNN), information on the categories (CSG).",
    ),
)

# Fields by their former names: the present name, and the present values of those that changed.
RENAMED_FIELDS: dict[str, tuple[str, dict[Any, Any]]] = {
    "filter_loss.estimator": ("filter_loss.gradient", {"mi": "exact"}),
}


def renamed(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Fields under their present names; one under a former name counts before the present one.

    >>> renamed({"filter_loss.estimator": "mi", "seed": 3})
    {'seed': 3, 'filter_loss.gradient': 'exact'}
    """
    present = {name: value for name, value in flat.items() if name not in RENAMED_FIELDS}
    for former, (name, values) in RENAMED_FIELDS.items():
        if former in flat:
            value = flat[former]
            present[name] = values.get(value, value) if isinstance(value, str) else value
    return present


_BY_NAME = {field.name: field for field in FIELDS}
_GROUPS = {name.rpartition(".")[0] for name in _BY_NAME} - {""}


def field_of(name: str) -> Field:
    """The field of a dotted name, also of a former one.

    Raises:
      ValueError: where there is none; it names the closest one.
    """
    name = RENAMED_FIELDS.get(name, (name,))[0]
    if name in _BY_NAME:
        return _BY_NAME[name]
    raise ValueError(f"{_unknown(name)}; {WHERE}")


def _unknown(name: str) -> str:
    if name in _GROUPS:
        members = [field for field in _BY_NAME if field.startswith(f"{name}.")]
        return f"config.{name} is a group of fields: give one of {', '.join(members)}"
    return f"config has no field {name!r}{_closest(name)}"


def _closest(name: str) -> str:
    """Half a sentence on the field that was probably meant."""
    # The group may be right, wrong or forgotten; of several the first of the table.
    last = {field.rpartition(".")[2]: field for field in reversed(_BY_NAME)}
    ending = name.rpartition(".")[2]
    if ending in last:
        return f" (did you mean {last[ending]!r}?)"
    found = difflib.get_close_matches(name, _BY_NAME, n=1, cutoff=0.75)
    found = found or [last[end] for end in difflib.get_close_matches(ending, last, 1, 0.75)]
    return f" (did you mean {found[0]!r}?)" if found else ""


def check_fields(flat: Mapping[str, Any], source: str) -> None:
    """Check every value of a configuration, one field at a time.

    Args:
      flat: dotted name -> value.
      source: what the message calls it by.

    Raises:
      ValueError: for a field that is unknown, missing, or has a value of another type or out of
        range; the first one in the order of the table.
    """
    for name in flat:
        if name not in _BY_NAME:
            raise ValueError(f"{source}{_unknown(name).removeprefix('config')}; {WHERE}")
    for name, field in _BY_NAME.items():
        if name not in flat:
            raise ValueError(
                f"{source} lacks the field {name!r}; add it (its default is {field.default!r})"
            )
        field.check(flat[name], source)


def as_markdown() -> str:
    """The reference page of the documentation."""
    lines = [
        "# Configuration",
        "",
        "Every field of a run. The configurations of the package and the files in `configs/` start"
        " from these",
        "defaults, most of which are the paper's; `--config.FIELD=VALUE` of `train.py`, and of"
        " `eval.py` beside its",
        "`--config`, and `--set FIELD=VALUE` of `reproduce.py` come last. `none` unsets a field"
        " that may be unset.",
        "All values are checked before data are prepared. This page is printed by"
        " `python -m interp_cnn.config`.",
    ]
    group = None
    for field in FIELDS:
        prefix = field.name.rpartition(".")[0]
        if prefix != group:
            group = prefix
            title = f"`{group}`" if group else "Top level"
            lines += ["", f"## {title}", ""]
            lines += ["| field | values | unit | default | meaning |", "|---|---|---|---|---|"]
        unset = f" Unset: {field.unset}." if field.unset else ""
        default = "none" if field.default is None else f"`{field.default!r}`"
        cells = (f"`{field.name}`", field.wanted, field.unit, default, field.meaning + unset)
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(lines) + "\n"
