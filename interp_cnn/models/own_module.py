"""From `"package.module:Class"` to a network: what the text names is imported, made and checked."""

import dataclasses
import importlib
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import flax.linen as nn

from interp_cnn.models.own import (
    OwnNetwork,
    RefusedModuleError,
    TracedModule,
    check_training,
    measured_layers,
    traced_module,
)

_INPUT_SIZE = 224
_WRITE = "write --config.model.name=package.module:Class"


def is_own(name: str) -> bool:
    """Whether a name is that of a network of one's own."""
    return ":" in name


def own_network(
    name: str,
    *,
    num_outputs: int | None = None,
    interpretable: bool = True,
    input_size: int | None = None,
    options: Iterable[tuple[str, Any]] = (),
    masks: Sequence[tuple[str, float]] = (),
    last_mask: float = 1.0,
    other_masks: float = 1.0,
    dtype: str = "float32",
) -> OwnNetwork:
    """The network of a linen module that calls `TemplateMask` and returns logits.

    Args:
      name: `"package.module:Class"`; the current directory counts as one of Python's.
      num_outputs: number of logits; a module with an attribute `num_outputs` gets it. None leaves
        it to the module.
      interpretable: whether masks are applied.
      input_size: side of the square input in pixels; None takes the attribute of this name of the
        module, or 224.
      options: further attributes of the module, as pairs of a name and a value.
      masks: pairs of a regular expression of a layer's name and a factor of the strength of its
        mask, in [0, 1]; the first that matches counts.
      last_mask: factor of the last layer's mask where none of these matches.
      other_masks: factor of the other layers' masks where none of these matches.
      dtype: dtype of the computation; a module with an attribute `dtype` gets it.

    Raises:
      ValueError: where there is no such module, or it is no network of this kind; one sentence.
    """
    kind = _imported(name)
    given = {key: _as_tuples(of) for key, of in options}
    attributes = {field.name for field in dataclasses.fields(kind)} - {"parent", "name"}
    if unknown := sorted(given.keys() - attributes):
        raise ValueError(
            f"{name} has no attribute {unknown[0]!r} for config.model.options; it has"
            f" {', '.join(sorted(attributes)) or 'none'}"
        )
    if dtype != "float32":
        if "dtype" not in attributes:
            raise ValueError(
                f"{name} has no attribute dtype for config.model.dtype={dtype!r}; give it one and"
                " hand it on to its layers, or set config.model.dtype='float32'"
            )
        given["dtype"] = dtype
    try:
        # Receptive fields depend neither on the number of outputs nor on the dtype.
        first = given | ({"num_outputs": 1} if "num_outputs" in attributes else {})
        measured = kind(**{key: of for key, of in first.items() if key != "dtype"})
        module = kind(**first).clone(**_outputs_argument(attributes, num_outputs))
        hash(module)
        side = int(input_size or getattr(module, "input_size", None) or _INPUT_SIZE)
        traced = traced_module(module, side)
        _check_outputs(traced, "num_outputs" in attributes, num_outputs)
        check_training(module, side, traced)
        layers = measured_layers(measured, side, traced_module(measured, side))
    except RefusedModuleError as error:
        raise ValueError(f"{name} {error}") from error
    except Exception as error:  # the user's code raises whatever it likes
        raise ValueError(
            f"{name} cannot be made and called with images ({_reason(error)}); its __call__ takes"
            " images [batch, height, width, 3] and may take train"
        ) from error
    return OwnNetwork(
        architecture=name,
        module=module,
        num_outputs=traced.outputs,
        input_size=side,
        layers=layers,
        masks=_factors([layer.name for layer in layers], masks, last_mask, other_masks),
        interpretable=interpretable,
    )


def _as_tuples(value: Any) -> Any:
    """A value without lists, which JSON makes of tuples and a module cannot be hashed with."""
    return tuple(map(_as_tuples, value)) if isinstance(value, list | tuple) else value


def _imported(name: str) -> Any:
    """The class that a text names."""
    place, _, path = name.partition(":")
    if not re.fullmatch(r"\w+(\.\w+)*:\w+", name):
        raise ValueError(f"config.model.name={name!r} names no class of a module; {_WRITE}")
    here = os.getcwd()
    if here not in sys.path:
        # As for a script that lies there, and for what its functions import later.
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(place)
    except Exception as error:
        raise ValueError(
            f"config.model.name={name!r}: the module {place} cannot be imported from {here} or the"
            f" installed packages ({_reason(error)})"
        ) from error
    found = getattr(module, path, None)
    if found is None:
        classes = [
            key for key, of in vars(module).items() if isinstance(of, type) and _is_linen(of)
        ]
        raise ValueError(
            f"config.model.name={name!r}: the module {place} has no {path!r}; its linen modules"
            f" are {', '.join(classes) or 'none'}"
        )
    if isinstance(found, type) and any(_is_of_nnx(base) for base in found.__mro__):
        raise ValueError(
            f"{name} is a module of nnx, and a network has to be one of flax.linen;"
            " docs/own_network.md says what can be done"
        )
    if not (isinstance(found, type) and _is_linen(found)):
        raise ValueError(
            f"{name} is {_what(found)}, and a network has to be a subclass of flax.linen.Module"
        )
    return found


def _is_linen(kind: type) -> bool:
    return issubclass(kind, nn.Module) and kind is not nn.Module


def _is_of_nnx(kind: type) -> bool:
    """Whether a class is one of nnx, which is not imported for that."""
    return kind.__module__.startswith("flax.nnx")


def _what(found: Any) -> str:
    return f"the class {found.__name__}" if isinstance(found, type) else f"a {type(found).__name__}"


def _reason(error: Exception) -> str:
    """An error in a few words: frameworks write long ones."""
    text = " ".join(str(error).split())
    short = text if len(text) <= 200 else f"{text[:200]} ..."
    return f"{type(error).__name__}: {short}" if short else type(error).__name__


def _outputs_argument(attributes: set[str], outputs: int | None) -> dict[str, int]:
    return {"num_outputs": outputs or 1} if "num_outputs" in attributes else {}


def _check_outputs(traced: TracedModule, settable: bool, wanted: int | None) -> None:
    if settable and traced.outputs != (wanted or 1):
        raise RefusedModuleError(
            f"returns {traced.outputs} logits with num_outputs={wanted or 1}; give its last layer"
            " num_outputs outputs"
        )
    if wanted not in (None, traced.outputs):
        raise RefusedModuleError(
            f"returns {traced.outputs} logits for an image, and the data have {wanted} categories;"
            " give it an attribute num_outputs, which is set to their number, or as many outputs"
        )


def _factors(
    names: Sequence[str],
    masks: Sequence[tuple[str, float]],
    last_mask: float,
    other_masks: float,
) -> tuple[float, ...]:
    """Of each layer the factor of its mask."""
    for what, factor in (*masks, ("last_mask", last_mask), ("other_masks", other_masks)):
        if not 0 <= factor <= 1:
            raise ValueError(f"{what!r} has the strength {factor}; give one in [0, 1]")
    for pattern, _ in masks:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(
                f"config.model.masks: {pattern!r} is no regular expression ({error})"
            ) from error
        if not any(re.fullmatch(pattern, name) for name in names):
            raise ValueError(
                f"config.model.masks: {pattern!r} matches no layer; they are"
                f" {', '.join(map(repr, names))}"
            )
    own = (*(other_masks for _ in names[1:]), last_mask)
    return tuple(
        next((factor for pattern, factor in masks if re.fullmatch(pattern, name)), without)
        for name, without in zip(names, own, strict=True)
    )
