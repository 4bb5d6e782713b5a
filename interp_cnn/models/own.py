"""A network of one's own: any linen module that calls `TemplateMask` and returns logits."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jax.typing import ArrayLike

from interp_cnn.layers import FEATURE_MAPS, TemplateMask
from interp_cnn.models.interface import Templates
from interp_cnn.models.measured_fields import (
    MapsOf,
    fields_by_wider_images,
    made_params,
    measured_fields,
)
from interp_cnn.receptive_field import ReceptiveField
from interp_cnn.templates import is_traced


@dataclasses.dataclass(frozen=True)
class OwnLayer:
    """A `TemplateMask` of a module.

    Attributes:
      name: path of the mask in the module, joined by "/".
      filters: number of filters of its maps.
      templates: norm, slope and position of the mask, which its filter loss has too.
      strength: strength of the mask in [0, 1] as the module calls it; 0 where it is not enabled.
      field: where the positions of its maps look.
    """

    name: str
    filters: int
    templates: Templates
    strength: float
    field: ReceptiveField


@dataclasses.dataclass(frozen=True)
class OwnNetwork:
    """A linen module as a network whose filters can mean something, see `own_network`.

    Attributes:
      architecture: name of the module, `"package.module:Class"`.
      module: the module itself.
      num_outputs: number of logits.
      input_size: side of the square input in pixels.
      layers: its interpretable layers in the order in which they are computed.
      masks: of each layer a factor of the strength of its mask, in [0, 1].
      interpretable: whether masks are applied; the ordinary network has the same variables.
      axis_name: mapped axis over the devices, which a module with an attribute of this name gets,
        for its `BatchNorm`.
    """

    architecture: str
    module: nn.Module
    num_outputs: int
    input_size: int
    layers: tuple[OwnLayer, ...]
    masks: tuple[float, ...]
    interpretable: bool = True
    axis_name: str | None = None

    # Every layer is trained.
    frozen_through = None
    frozen_layers = ()

    @property
    def map_filters(self) -> dict[str, int]:
        """Number of filters of each interpretable layer."""
        return {layer.name: layer.filters for layer in self.layers}

    @property
    def last_layer(self) -> str:
        """Name of the last interpretable layer, whose filters explain predictions."""
        return self.layers[-1].name

    @property
    def mask_strengths(self) -> dict[str, float]:
        """Strength of the mask of each layer; 0 where there is none."""
        return {
            layer.name: layer.strength * factor * self.interpretable
            for layer, factor in zip(self.layers, self.masks, strict=True)
        }

    def templates_of(self, layer: str) -> Templates:
        """The templates of a layer."""
        return next(one.templates for one in self.layers if one.name == layer)

    def receptive_fields(self) -> dict[str, ReceptiveField]:
        """Where the positions of each layer's maps look, in continuous pixels of the input."""
        return {layer.name: layer.field for layer in self.layers}

    def clone(self, **changes: Any) -> "OwnNetwork":
        """The same network with other attributes."""
        return dataclasses.replace(self, **changes)

    def in_float32(self) -> "OwnNetwork":
        """The same network, computing in float32, where its module has an attribute `dtype`."""
        fields = {field.name for field in dataclasses.fields(self.module)}
        dtype = getattr(self.module, "dtype", None) if "dtype" in fields else None
        if dtype is None or jnp.dtype(dtype) == jnp.float32:
            return self
        wanted = "float32" if isinstance(dtype, str) else jnp.float32
        return self.clone(module=self.module.clone(dtype=wanted))

    def init(self, rngs: Any, images: jax.Array) -> dict[str, Any]:
        """Fresh variables, from a random key and images [batch, height, width, 3]."""
        variables = self.module.init(rngs, images, **_train_argument(self.module, False))
        return {name: tree for name, tree in variables.items() if name != FEATURE_MAPS}

    def apply(
        self,
        variables: Mapping[str, Any],
        images: jax.Array,
        *,
        train: bool = False,
        mask_strength: ArrayLike = 1.0,
        given_maps: Mapping[str, jax.Array] = MappingProxyType({}),
        rngs: Any = None,
        mutable: Sequence[str] | None = None,
    ) -> Any:
        """Classify images.

        Args:
          variables: the variables of the module; maps among them do not count.
          images: RGB, minus the mean and over the deviation, [batch, height, width, 3].
          train: what a module whose `__call__` takes `train` is told.
          mask_strength: factor of the strength of all masks, below 1 only while they set in.
          given_maps: maps by name that stand in for those computed from the images.
          rngs: random keys by stream, such as "dropout".
          mutable: collections that the module may change; None for none.

        Returns:
          float32 logits [batch, num_outputs], and the maps of each layer before masking, [batch,
          height, width, filters]; with `mutable`, these two and what has changed.
        """
        module = self.module
        if self.axis_name is not None and hasattr(module, "axis_name"):
            module = module.clone(axis_name=self.axis_name)
        strengths = self.mask_strengths

        def masked(name: str, mask: TemplateMask, x: jax.Array, call: Any, own: ArrayLike) -> Any:
            x = given_maps.get(name, x)
            if not strengths[name]:
                mask.hand_out(x)
                return x
            factor = self.masks[[layer.name for layer in self.layers].index(name)]
            strength = own if factor == 1 else own * factor
            known = isinstance(mask_strength, float | int) and mask_strength == 1
            return call(x, strength=strength if known else strength * mask_strength)

        with _each_mask(masked):
            logits, changed = module.apply(
                {name: tree for name, tree in variables.items() if name != FEATURE_MAPS},
                images,
                rngs=rngs,
                mutable=[*(mutable or ()), FEATURE_MAPS],
                **_train_argument(module, train),
            )
        maps = _named_maps(changed)
        result = logits.astype(jnp.float32), {layer: maps[layer] for layer in self.map_filters}
        if mutable is None:
            return result
        return result, {name: tree for name, tree in changed.items() if name != FEATURE_MAPS}


# Gets the name of a mask, itself, its maps, its own `__call__` and the strength it is called with.
_Masked = Callable[[str, TemplateMask, jax.Array, Callable[..., Any], ArrayLike], Any]


@contextmanager
def _each_mask(masked: _Masked) -> Iterator[None]:
    """Let a function stand for what each `TemplateMask` of the modules called inside does."""

    def intercepted(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        mask = context.module
        if not isinstance(mask, TemplateMask) or context.method_name != "__call__":
            return call(*args, **kwargs)
        given = inspect.signature(TemplateMask.__call__).bind(mask, *args, **kwargs)
        given.apply_defaults()
        name = "/".join(mask.path)
        if mask.has_variable(FEATURE_MAPS, "x"):
            raise RefusedModuleError(
                f"calls the TemplateMask {name!r} twice; give each place of the network a"
                " TemplateMask of its own, so that each has its maps and its name"
            )
        return masked(name, mask, given.arguments["x"], call, given.arguments["strength"])

    with nn.intercept_methods(intercepted):
        yield


def _named_maps(variables: Mapping[str, Any]) -> dict[str, jax.Array]:
    """The maps of each mask by its name."""
    flat = flatten_dict(variables.get(FEATURE_MAPS, {}))
    return {"/".join(path[:-1]): maps for path, maps in flat.items()}


# What others call `train`, or its opposite; the second ones where they are a yes or no.
_OTHER_NAMES = ("training", "is_training", "deterministic", "use_running_average", "inference")
_OTHER_SWITCHES = (
    *("is_train", "train_mode", "is_inference", "eval", "is_eval", "evaluate", "evaluation"),
    *("test", "is_test", "testing"),
)


def _train_argument(module: nn.Module, train: bool) -> dict[str, Any]:
    """`train=` for a module that takes it, by this name or among any."""
    parameters = inspect.signature(module.__call__).parameters
    takes = "train" in parameters or any(of.kind is of.VAR_KEYWORD for of in parameters.values())
    return {"train": train} if takes else {}


class RefusedModuleError(ValueError):
    """What a module does that it should not; the message begins with a verb."""


@dataclasses.dataclass(frozen=True)
class TracedModule:
    """What a module does with an image.

    Attributes:
      outputs: number of logits.
      layers: of each mask its name, number of filters, templates and strength.
      sizes: of each mask height and width of its maps.
    """

    outputs: int
    layers: tuple[tuple[str, int, Templates, float], ...]
    sizes: tuple[tuple[int, int], ...]


def traced_module(module: nn.Module, side: int) -> TracedModule:
    """What a module does with an image of a side; nothing is computed.

    Raises:
      RefusedModuleError: where that is not what a network should do.
      Exception: whatever the module raises.
    """
    _check_arguments(module)
    seen: dict[str, tuple[Templates, float]] = {}

    def noted(name: str, mask: TemplateMask, x: jax.Array, call: Any, own: ArrayLike) -> Any:
        strength = 1.0 if is_traced(own) else float(np.asarray(own))
        seen[name] = (_templates(mask), strength * mask.enabled)
        mask.hand_out(x)
        return x

    def forward(images: jax.Array) -> Any:
        with _each_mask(noted):
            logits, variables = module.init_with_output(
                jax.random.key(0), images, **_train_argument(module, False)
            )
        return logits, _named_maps(variables)

    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    program, (logits, maps) = jax.make_jaxpr(forward, return_shape=True)(image)
    if not seen:
        raise RefusedModuleError(
            "calls no TemplateMask; call interp_cnn.layers.TemplateMask()(x) on the maps whose"
            " filters should mean something"
        )
    for name in seen:
        _check_maps(name, getattr(maps.get(name), "shape", None))
    _check_logits(logits, 1, "one image")
    last = _last_operation(program.jaxpr, program.jaxpr.outvars[0])
    if last in _PROBABILITIES:
        raise RefusedModuleError(
            f"returns the result of {_PROBABILITIES[last]}; return the logits before it, as the"
            " losses and predictions take it themselves"
        )
    return TracedModule(
        outputs=logits.shape[1],
        layers=tuple((name, maps[name].shape[-1], *what) for name, what in seen.items()),
        sizes=tuple(maps[name].shape[1:3] for name in seen),
    )


def _templates(mask: TemplateMask) -> Templates:
    if is_traced(mask.beta):
        raise RefusedModuleError(
            "gives a TemplateMask a beta that is computed inside of it; give a number, or a list"
            " or NumPy array with one for each filter"
        )
    beta = np.asarray(mask.beta)
    of_filters: Any = beta.item() if beta.ndim == 0 else tuple(beta.tolist())
    return Templates(mask.norm, of_filters, mask.position)


def _check_arguments(module: nn.Module) -> None:
    parameters = inspect.signature(module.__call__).parameters
    other = [
        name
        for name, of in parameters.items()
        if name in _OTHER_NAMES or (name in _OTHER_SWITCHES and isinstance(of.default, bool))
    ]
    if other and "train" not in parameters:
        raise RefusedModuleError(
            f"takes {other[0]!r}, which nothing sets: dropout and batch statistics would be in"
            " training what they are in prediction; call this argument train, which is True in"
            " training alone"
        )


def _check_logits(logits: Any, images: int, what_for: str, outputs: int | None = None) -> None:
    """Raise a RefusedModuleError for anything else than logits, of so many outputs if given."""
    shape: Any = getattr(logits, "shape", None)
    dtype: Any = getattr(logits, "dtype", None)
    fits = shape is not None and len(shape) == 2 and shape[0] == images and shape[1] > 0
    if fits and jnp.issubdtype(dtype, jnp.floating) and outputs in (None, shape[1]):
        return
    what = type(logits).__name__ if shape is None else f"an array {list(shape)}"
    of = "" if shape is None or jnp.issubdtype(dtype, jnp.floating) else f" of {dtype}"
    raise RefusedModuleError(
        f"returns {what}{of} for {what_for}; return logits [batch, outputs] and nothing else"
    )


# The operations that end what is no logit; a softmax is an exponential over a sum.
_PROBABILITIES = {"logistic": "a sigmoid", "softmax": "a softmax"}
_SAME_VALUES = ("broadcast_in_dim", "convert_element_type", "copy", "reshape", "squeeze")


def _last_operation(program: Any, variable: Any) -> str:
    """The operation of a jaxpr that makes a variable, changes of dtype and shape aside."""
    for equation in program.eqns:
        for place, result in enumerate(equation.outvars):
            if result is not variable:
                continue
            inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
            inner = getattr(inner, "jaxpr", inner)
            if len(getattr(inner, "outvars", ())) == len(equation.outvars):
                return _last_operation(inner, inner.outvars[place])
            name = equation.primitive.name
            if name in _SAME_VALUES:
                return _last_operation(program, equation.invars[0])
            if name == "div" and [_last_operation(program, of) for of in equation.invars] == [
                "exp",
                "reduce_sum",
            ]:
                return "softmax"
            return str(name)
    return ""


def _check_maps(name: str, shape: tuple[int, ...] | None) -> None:
    if shape is None or len(shape) == 5:
        raise RefusedModuleError(
            f"calls the TemplateMask {name!r} inside of nn.scan, nn.vmap or the like, which make"
            " several layers of one module; give each layer a module and a TemplateMask of its own"
        )
    if len(shape) != 4:
        raise RefusedModuleError(
            f"gives the TemplateMask {name!r} an array {list(shape)}; give it maps [batch, height,"
            " width, filters]"
        )
    if shape[1] * shape[2] == 1:
        raise RefusedModuleError(
            f"gives the TemplateMask {name!r} maps of one position, where there is nothing to"
            " tell apart; call it before the pooling, or set a larger config.model.input_size"
        )


def check_training(module: nn.Module, side: int, traced: TracedModule) -> None:
    """Check that a module does in training what it does in prediction; nothing is computed.

    Args:
      module: the module.
      side: side of the input in pixels.
      traced: what it does in prediction.

    Raises:
      RefusedModuleError: for other masks or logits, or collections that do not keep their shapes.
      Exception: whatever the module raises.
    """
    names: list[set[str]] = []

    def noted(name: str, mask: TemplateMask, x: jax.Array, call: Any, own: ArrayLike) -> Any:
        names[-1].add(name)
        mask.hand_out(x)
        return x

    def forward(images: jax.Array) -> tuple[Any, Any, Any]:
        key = jax.random.key(0)
        variables = module.init(key, images, **_train_argument(module, False))
        kept = {name: tree for name, tree in variables.items() if name != FEATURE_MAPS}
        collections = kept.keys() - {"params"}
        # Twice, for nn.jit does not compute again what it knows.
        for _ in range(2):
            names.append(set())
            with _each_mask(noted):
                logits, changed = module.apply(
                    kept,
                    images,
                    rngs={"dropout": key},
                    mutable=[*collections, FEATURE_MAPS],
                    **_train_argument(module, True),
                )
        return logits, *({name: tree[name] for name in collections} for tree in (kept, changed))

    images = jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32)
    logits, before, after = jax.eval_shape(forward, images)
    wanted = {name for name, *_ in traced.layers}
    if names[0] != names[1]:
        raise RefusedModuleError(
            f"calls the TemplateMask {min(names[0] ^ names[1])!r} inside of nn.jit, which would"
            " keep a mask of the other network; leave nn.jit out, the whole network is compiled"
        )
    if names[0] != wanted:
        raise RefusedModuleError(
            f"calls the TemplateMask {min(names[0] ^ wanted)!r} in training or in prediction alone;"
            " call it in both"
        )
    _check_logits(logits, 2, "two images in training", traced.outputs)
    for name, tree in before.items():
        if _shapes(tree) != _shapes(after[name]):
            raise RefusedModuleError(
                f"changes the shapes of its collection {name!r} in training, as sow does by and by;"
                " keep them, or sow into 'intermediates'"
            )


def _shapes(tree: Any) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [leaf.shape for leaf in leaves]


@functools.lru_cache(maxsize=8)
def measured_layers(module: nn.Module, side: int, traced: TracedModule) -> tuple[OwnLayer, ...]:
    """The layers of a module, with what only computing can tell; once for each module.

    Raises:
      RefusedModuleError: for maps with negative values, receptive fields that cannot be measured
        or that the module says in another form.
      Exception: whatever the module raises.
    """

    def maps_of(variables: Any, images: jax.Array) -> dict[str, jax.Array]:
        def handed_out(name: str, mask: TemplateMask, x: Any, call: Any, own: Any) -> Any:
            mask.hand_out(x)
            return x

        with _each_mask(handed_out):
            _, changed = module.apply(
                variables, images, mutable=[FEATURE_MAPS], **_train_argument(module, False)
            )
        return _named_maps(changed)

    def first_variables(images: jax.Array) -> dict[str, Any]:
        return dict(module.init(jax.random.key(0), images, **_train_argument(module, False)))

    # All but kernels, whose initialisers take long to compile.
    @jax.jit
    def others(images: jax.Array) -> dict[str, Any]:
        kept = first_variables(images)
        vectors = jax.tree.map(lambda leaf: leaf if leaf.ndim < 2 else None, kept.get("params", {}))
        return {name: kept[name] for name in kept.keys() - {FEATURE_MAPS}} | {"params": vectors}

    images = np.random.default_rng(0).standard_normal((1, side, side, 3), np.float32)
    shapes = jax.eval_shape(first_variables, images).get("params", {})
    variables = others(images)
    # What a vector is decides about signs, such as the slope of a PReLU.
    variables["params"] = jax.tree.map(
        lambda own, made: made if own is None else own,
        variables["params"],
        made_params(shapes, positive=False),
        is_leaf=lambda leaf: leaf is None,
    )
    lowest = jax.jit(lambda *inputs: jax.tree.map(jnp.min, maps_of(*inputs)))(variables, images)
    for name, value in lowest.items():
        if value < 0:
            raise RefusedModuleError(
                f"gives the TemplateMask {name!r} maps with negative values, such as"
                f" {float(value):.2g}; call it behind a ReLU"
            )
    fields = _own_fields(module, [name for name, *_ in traced.layers])
    unknown = {
        name: size
        for (name, *_), size in zip(traced.layers, traced.sizes, strict=True)
        if name not in fields
    }
    if unknown:
        params = jax.tree_util.tree_map_with_path(
            _of_mean_taking, made_params(shapes, positive=True), variables["params"]
        )
        fields |= _measured(maps_of, first_variables, variables | {"params": params}, unknown, side)
    return tuple(OwnLayer(*layer, fields[layer[0]]) for layer in traced.layers)


def _measured(
    maps_of: MapsOf,
    first_variables: Callable[[jax.Array], dict[str, Any]],
    variables: Mapping[str, Any],
    sizes: Mapping[str, tuple[int, int]],
    side: int,
) -> dict[str, ReceptiveField]:
    """Receptive fields by wider images, or at its own size where a module has no use for such."""
    maps_of = _without_spatial_norms(maps_of)
    # Whatever a module raises that works at its own size.
    with suppress(Exception):
        return fields_by_wider_images(
            _of_any_size(maps_of, first_variables), variables, sizes, side
        )
    try:
        return measured_fields(maps_of, variables, sizes, side)
    except ValueError as error:
        raise RefusedModuleError(
            f"has no receptive fields that can be measured: {error}; give it a method"
            " receptive_fields() that returns them by layer"
        ) from error


def _of_mean_taking(
    path: tuple[Any, ...], made: np.ndarray, first: np.ndarray | jax.Array
) -> np.ndarray:
    """A parameter with which layers take means: a vector is what the module makes it, positive.

    Such are the factors of normalisations and of residual branches, which may begin at zero, and
    thresholds, which at something small close nothing.
    """
    if made.ndim >= 2:
        return made
    if getattr(path[-1], "key", "") == "bias":
        return np.zeros_like(made)
    size = np.abs(np.asarray(first, made.dtype))
    return np.where(size > 0, size, np.full_like(size, 1e-3))


def _without_spatial_norms(maps_of: MapsOf) -> MapsOf:
    """Maps of a module whose normalisations over positions do nothing.

    Through their mean and deviation each position looks at all of the image, evenly, which hides
    where it looks; and with positive maps, what is below the mean would be cut by a ReLU.
    """

    def passing(next_function: Any, args: Any, kwargs: Any, context: Any) -> Any:
        module = context.module
        over_positions = isinstance(module, nn.GroupNorm | nn.InstanceNorm) or (
            isinstance(module, nn.LayerNorm | nn.RMSNorm) and module.reduction_axes != -1
        )
        if over_positions and context.method_name == "__call__":
            return args[0] if args else kwargs["x"]
        return next_function(*args, **kwargs)

    def maps(variables: Any, images: jax.Array) -> Mapping[str, jax.Array]:
        with nn.intercept_methods(passing):
            return maps_of(variables, images)

    return maps


def _of_any_size(maps_of: MapsOf, first_variables: Callable[[jax.Array], dict[str, Any]]) -> MapsOf:
    """Maps of images of any size that a module takes.

    Parameters that have another shape then, as those of a dense layer behind the maps, are zeros.
    """

    def maps(variables: Any, images: jax.Array) -> Mapping[str, jax.Array]:
        shapes = jax.eval_shape(first_variables, images).get("params", {})
        fitting = jax.tree.map(
            lambda own, wanted: own if own.shape == wanted.shape else jnp.zeros_like(wanted),
            variables["params"],
            shapes,
        )
        return maps_of(variables | {"params": fitting}, images)

    return maps


def _own_fields(module: nn.Module, names: Sequence[str]) -> dict[str, ReceptiveField]:
    """The receptive fields that a module says itself, in `receptive_fields`."""
    said = getattr(module, "receptive_fields", {})
    said = said() if callable(said) else said
    whole = isinstance(said, Mapping) and all(
        name in names and isinstance(field, ReceptiveField) for name, field in said.items()
    )
    if not whole:
        raise RefusedModuleError(
            f"says receptive_fields {said!r:.80}; return a dict from the names of its masks"
            f" ({', '.join(map(repr, names))}) to interp_cnn.ReceptiveField"
        )
    return dict(said)
