"""What each network takes as input, and what it starts from, where photos are one's own."""

import dataclasses

import ml_collections

IMAGENET_MEAN = (123.68, 116.779, 103.939)  # of red, green and blue, in grey levels
IMAGENET_STD = (58.395, 57.12, 57.375)  # as torchvision takes it for networks with batch statistics


@dataclasses.dataclass(frozen=True)
class StartOfNetwork:
    """The settings of a network.

    Attributes:
      mean: what is subtracted from red, green and blue, in grey levels.
      std: what is divided by then, in grey levels, one for all or one of each channel.
      weights: the default of `config.weights`; "download" asks for a file where none is published
        that can be downloaded, and "" trains from scratch.
      frozen_through: the last layer that is not trained; None where all are.
      dropout: see `config.model.dropout`.
      new_init_std: see `config.model.new_init_std`.
      learning_rate: the largest one of the cosine schedule.
      clip_norm: see `config.train.clip_norm`.
      steps: about so many steps train each network, where the number of photos is known.
    """

    mean: tuple[float, float, float]
    std: float | tuple[float, float, float]
    weights: str
    frozen_through: str | None
    dropout: float
    new_init_std: float | None
    learning_rate: float
    clip_norm: float
    steps: int


def _pretrained(
    frozen_through: str,
    *,
    std: float | tuple[float, float, float] = 1.0,
    dropout: float = 0.5,
) -> StartOfNetwork:
    """A network from ImageNet weights, with layers frozen that two cores suffice."""
    # The gradient of new layers on ImageNet maps is huge at first: unclipped it kills filters.
    return StartOfNetwork(
        mean=IMAGENET_MEAN,
        std=std,
        weights="download",
        frozen_through=frozen_through,
        dropout=dropout,
        new_init_std=0.01,
        learning_rate=5e-3,
        clip_norm=5.0,
        steps=150,
    )


NETWORKS = {
    "vgg16": _pretrained("conv4_3"),
    **dict.fromkeys(("alexnet", "vgg_m", "vgg_s"), _pretrained("conv4")),
    **dict.fromkeys(
        ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
        _pretrained("layer3", std=IMAGENET_STD, dropout=0.0),
    ),
    **dict.fromkeys(
        ("densenet121", "densenet161", "densenet169"),
        _pretrained("denseblock3", std=IMAGENET_STD, dropout=0.0),
    ),
    "small": StartOfNetwork(
        mean=(128.0, 128.0, 128.0),
        std=64.0,
        weights="",
        frozen_through=None,
        dropout=0.0,
        new_init_std=None,
        learning_rate=0.03,
        clip_norm=1.0,
        steps=250,
    ),
}


def set_network(config: ml_collections.ConfigDict, name: str) -> StartOfNetwork:
    """Let a configuration train a network from the input and the start that suit it.

    The rates of its training are left to the caller, see `set_rates`.

    Args:
      config: the configuration that is changed.
      name: one of `NETWORKS`, or `package.module:Class`, a network of one's own, which trains from
        scratch as the small one does.

    Returns:
      The settings of the network.

    Raises:
      ValueError: for an unknown network.
    """
    known = "small" if ":" in name else name
    if known not in NETWORKS:
        raise ValueError(
            f"net={name!r} is unknown; give one of {', '.join(NETWORKS)}, or package.module:Class"
        )
    start = NETWORKS[known]
    config.model.name = name
    config.model.dropout = start.dropout
    config.model.new_init_std = start.new_init_std
    config.model.frozen_through = start.frozen_through
    config.weights = start.weights
    config.data.mean = start.mean
    with config.data.ignore_type():  # one number, or three
        config.data.std = start.std
    return start


def set_rates(config: ml_collections.ConfigDict, start: StartOfNetwork) -> None:
    """Let a configuration train with the learning rate and the clipping that suit a network.

    Args:
      config: the configuration that is changed.
      start: what `set_network` returned for the network.
    """
    config.train.learning_rate = start.learning_rate
    config.train.clip_norm = start.clip_norm
