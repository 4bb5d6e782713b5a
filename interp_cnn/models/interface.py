"""What training, evaluation and explanations need of a network, built in or of one's own."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, Self

from jax.typing import ArrayLike

from interp_cnn.receptive_field import ReceptiveField
from interp_cnn.templates import Norm, Position


class Templates(NamedTuple):
    """What the templates of a layer's mask and filter loss are, see `template_bank`.

    Attributes:
      norm: norm of the distance.
      beta: slope, above 0.
      position: where masks and assigned templates sit, see `peak_position`.
    """

    norm: Norm
    beta: ArrayLike
    position: Position


class AnyNetwork(Protocol):
    """A network whose filters can mean something: `Network` or `OwnNetwork`.

    Its interpretable layers have names; whatever is said of each of them comes in the order in
    which they are computed.
    """

    @property
    def architecture(self) -> str:
        """What the network is called in `config.model.name`."""

    @property
    def num_outputs(self) -> int:
        """Number of logits."""

    @property
    def interpretable(self) -> bool:
        """Whether masks are applied and the filter loss counts."""

    @property
    def input_size(self) -> int:
        """Side of the square input in pixels."""

    @property
    def map_filters(self) -> dict[str, int]:
        """Number of filters of each interpretable layer."""

    @property
    def last_layer(self) -> str:
        """Name of the last interpretable layer, whose filters explain predictions."""

    @property
    def mask_strengths(self) -> dict[str, float]:
        """Strength of the mask of each layer; 0 where there is none."""

    @property
    def frozen_through(self) -> str | None:
        """Name of the last layer that is not trained; None where all are."""

    @property
    def frozen_layers(self) -> tuple[str, ...]:
        """Names of the layers that are not trained."""

    def templates_of(self, layer: str) -> Templates:
        """The templates of a layer."""

    def receptive_fields(self) -> dict[str, ReceptiveField]:
        """Where the positions of each layer's maps look, in continuous pixels of the input."""

    def clone(self, **changes: Any) -> Self:
        """The same network with other attributes."""

    def in_float32(self) -> Self:
        """The same network, computing in float32."""

    def init(self, rngs: Any, *args: Any, **kwargs: Any) -> Mapping[str, Any]:
        """Fresh variables, from a random key and images."""

    def apply(self, variables: Any, *args: Any, **kwargs: Any) -> Any:
        """Logits and maps, see `Network.__call__`; with `mutable=` also what has changed."""
