"""Why a network said so: what each interpretable filter contributed to a logit, summed by part."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray

from interp_cnn.metrics.best import best_of_filters
from interp_cnn.metrics.followed_parts import FOLLOWS_BELOW
from interp_cnn.models import AnyNetwork

Head = Callable[[jax.Array], jax.Array]
Method = Literal["leave_one_out", "gradient"]

NO_PART = "no part"
_FAINT = 0.1  # of the logit: an answer does not rest on less


def _logit(head: Head, maps: jax.Array, output: int) -> jax.Array:
    """One output of what comes behind the maps, [batch]."""
    logits = head(maps)
    if logits.ndim != 2:
        raise ValueError(f"head returns the shape {logits.shape}; it must be [batch, outputs]")
    _check_output(output, logits.shape[1])
    return logits[:, output]


def _check_output(output: int, outputs: int) -> None:
    if not 0 <= output < outputs:  # JAX would take the last one
        raise ValueError(f"output is {output}, the network has {outputs}, counted from 0")


def leave_one_out(
    head: Head, maps: jax.Array, *, output: int = 0, filters_at_once: int = 16
) -> jax.Array:
    """Exact contribution of each filter: the logit minus the logit with its map set to zero.

    Contributions need not add up to the logit: filters interact in what comes behind them.

    Args:
      head: what comes behind the maps in any network: a function of maps [batch, height, width,
        filters] that returns logits [batch, outputs].
      maps: feature maps that the head starts from.
      output: index of the logit.
      filters_at_once: number of filters computed in parallel; memory grows with it times the maps.

    Returns:
      float32 [batch, filters].

    Raises:
      ValueError: for a head that returns another shape, or an output that it does not have.
    """
    filters = jnp.arange(maps.shape[-1])
    logit = _logit(head, maps, output)

    def contribution(left_out: jax.Array) -> jax.Array:
        kept = (filters != left_out)[None, None, None, :]
        return logit - _logit(head, jnp.where(kept, maps, 0), output)

    values = jax.lax.map(contribution, filters, batch_size=filters_at_once)
    return values.astype(jnp.float32).T


def gradient_times_activation(head: Head, maps: jax.Array, *, output: int = 0) -> jax.Array:
    """First-order estimate of `leave_one_out`: `sum_ij x_ij dlogit/dx_ij`, exact for linear heads.

    Args:
      head: what comes behind the maps in any network: a function of maps [batch, height, width,
        filters] that returns logits [batch, outputs].
      maps: feature maps that the head starts from.
      output: index of the logit.

    Returns:
      float32 [batch, filters].

    Raises:
      ValueError: as `leave_one_out`.
    """
    gradient = jax.grad(lambda x: _logit(head, x, output).sum())(maps)
    return jnp.sum((gradient * maps).astype(jnp.float32), axis=(1, 2))


@functools.partial(
    jax.jit, static_argnames=("network", "layer", "output", "method", "filters_at_once")
)
def _contributions(
    variables: Any,
    images: jax.Array,
    *,
    network: AnyNetwork,
    layer: str,
    output: int,
    method: Method,
    filters_at_once: int,
) -> jax.Array:
    # The difference of two logits in bfloat16 may be all rounding.
    exact = network.in_float32()

    def head(maps: jax.Array) -> jax.Array:
        # Nothing below the maps is used, so the compiler leaves the backbone out.
        return exact.apply(variables, images, given_maps={layer: maps})[0]

    _, found = network.apply(variables, images)
    maps = found[layer].astype(jnp.float32)
    if method == "gradient":
        return gradient_times_activation(head, maps, output=output)
    return leave_one_out(head, maps, output=output, filters_at_once=filters_at_once)


def filter_contributions(
    network: AnyNetwork,
    variables: Any,
    images: ArrayLike,
    *,
    layer: str | None = None,
    output: int = 0,
    method: Method = "leave_one_out",
    filters_at_once: int = 16,
) -> jax.Array:
    """What each filter of an interpretable layer contributed to a logit.

    `"leave_one_out"` is exact: the logit minus the logit with the filter's map set to zero.
    The backbone runs once; for each filter only what comes behind the layer is computed again,
    in float32, also where the network computes in bfloat16.
    `"gradient"` is the gradient of the logit times the map, summed over positions: one
    backward pass, and an estimate.

    Args:
      network: network to explain; an ordinary one has contributions too.
      variables: variables of the network, as `network.init` returns them.
      images: images as the network takes them, [batch, height, width, 3].
      layer: name of one of its interpretable layers; None takes the last one.
      output: index of the logit.
      method: `"leave_one_out"` or `"gradient"`.
      filters_at_once: see `leave_one_out`.

    Returns:
      float32 [batch, filters], in units of the logit; positive where the filter speaks for it.

    Raises:
      ValueError: for an unknown layer or method, or an output that the network does not have.
    """
    layer = network.last_layer if layer is None else layer
    if layer not in network.map_filters:
        known = ", ".join(map(repr, network.map_filters))
        raise ValueError(f"layer must be one of {known}, got {layer!r}")
    if method not in ("leave_one_out", "gradient"):
        raise ValueError(f"method must be 'leave_one_out' or 'gradient', got {method!r}")
    _check_output(output, network.num_outputs)
    return _contributions(
        variables,
        jnp.asarray(images),
        network=network,
        layer=layer,
        output=output,
        method=method,
        filters_at_once=filters_at_once,
    )


def part_of_filters(interpretability: ArrayLike, tracking_ratio: ArrayLike) -> NDArray[np.int64]:
    """The part that each filter stands for: `argmax_k P_{f,k}`.

    Where the data have no part regions it is the landmark that the filter follows best,
    `argmin_k R_{f,k}`, if that ratio is below 0.8.

    Args:
      interpretability: P_{f,k}, [filters, parts]; 0 columns where the data have no part regions.
      tracking_ratio: R_{f,k}, [filters, landmarks], used only where there are no part regions.

    Returns:
      Index of a part, or of a landmark, [filters]; -1 for a filter that was never associated with
      any part, or follows no landmark.
    """
    shares = np.asarray(interpretability, np.float64)
    if not shares.shape[1]:
        landmark, ratio = best_of_filters(tracking_ratio, largest=False)
        return np.where(ratio < FOLLOWS_BELOW, landmark, -1)
    part, share = best_of_filters(shares, largest=True)
    return np.where(share > 0, part, -1)


def contributions_by_part(
    contributions: ArrayLike, part_of_filter: ArrayLike, names: Sequence[str]
) -> dict[str, float]:
    """Share of each part in what speaks for a logit.

    Only positive contributions count: a share says how much of what speaks for the answer is the
    part's. What speaks against it (negative contributions) has no share and is left out.

    Args:
      contributions: contributions of the filters on one image, [filters].
      part_of_filter: index of each filter's part in names, -1 for none, [filters], see
        `part_of_filters`.
      names: names of the parts.

    Returns:
      name -> share, largest first, in [0, 1]. They sum to 1, or are all 0 where nothing speaks for
      the logit. `"no part"` stands for filters without a part, where there are any.

    Raises:
      ValueError: shapes that do not fit each other, a contribution that is not finite, a part
        without a name, or names that are not different or `"no part"`.

    >>> contributions_by_part([3.0, 1.0, -2.0], [0, 1, 1], ["head", "torso"])
    {'head': 0.75, 'torso': 0.25}
    """
    values, parts = np.asarray(contributions, np.float64), np.asarray(part_of_filter)
    if values.ndim != 1 or parts.shape != values.shape:
        raise ValueError(
            f"contributions has shape {values.shape} and part_of_filter {parts.shape};"
            " give [filters] both, of one image."
        )
    if not np.isfinite(values).all():
        raise ValueError("contributions holds values that are not finite.")
    if len({*names, NO_PART}) <= len(names):
        raise ValueError(f"names is {list(names)}; give different ones, and none {NO_PART!r}.")
    positive = np.maximum(values, 0)
    total = positive.sum() or 1.0
    if parts.max(initial=-1) >= len(names):
        raise ValueError(f"part_of_filter has {parts.max()}, names has {len(names)}, from 0 on.")
    indices = [*range(len(names)), *([-1] if (parts < 0).any() else [])]
    parts = np.maximum(parts, -1)
    shares = [(positive[parts == index].sum() / total).item() for index in indices]
    labels = [NO_PART if index < 0 else names[index] for index in indices]
    return dict(sorted(zip(labels, shares, strict=True), key=lambda item: -item[1]))


def says_yes(logit: float, *, softmax: bool = False) -> bool:
    """Whether the highest logit is a yes: above 0, or of a softmax whatever its sign."""
    return softmax or logit > 0


def shares_of_answer(
    contributions: ArrayLike,
    part_of_filter: ArrayLike,
    names: Sequence[str],
    *,
    logit: float,
    softmax: bool = False,
) -> dict[str, float]:
    """Share of each part in what speaks for the answer: for a yes, or against the category.

    Args:
      contributions: see `contributions_by_part`.
      part_of_filter: see `contributions_by_part`.
      names: see `contributions_by_part`.
      logit: logit that the contributions belong to, the highest one.
      softmax: see `says_yes`.

    Returns:
      As `contributions_by_part`, of what `speaking_for_answer` returns.
    """
    side = speaking_for_answer(contributions, logit=logit, softmax=softmax)
    return contributions_by_part(side, part_of_filter, names)


def speaking_for_answer(
    contributions: ArrayLike, *, logit: float, softmax: bool = False
) -> NDArray[np.float64]:
    """What each filter says for the answer: for a yes, or against the category.

    Args:
      contributions: see `contributions_by_part`.
      logit: logit that the contributions belong to, the highest one.
      softmax: see `says_yes`.

    Returns:
      Contributions that have the sign of the answer, turned to be above 0, and 0 for the others,
      [filters]; all 0 where they are together less than a tenth of the logit, on which the answer
      does not rest. A logit of a softmax has no such scale: only its distance from the others
      counts.
    """
    values = np.asarray(contributions, np.float64)
    side = np.maximum(values if says_yes(logit, softmax=softmax) else -values, 0)
    faint = not softmax and side.sum() < _FAINT * abs(logit)
    return np.zeros_like(side) if faint else side


def explanation(
    category: str, logit: float, shares: Mapping[str, float], *, softmax: bool = False
) -> str:
    """One sentence: "cat, 98 % head, 2 % torso" or "not cat; against it speaks: 80 % torso".

    Parts below 1 % are left out.

    Args:
      category: name of the category that the logit stands for.
      logit: logit of the category; the network says yes above 0.
      shares: share of each part, see `shares_of_answer`.
      softmax: see `says_yes`.
    """
    named = [
        f"{100 * share:.0f} % {name.replace('_', ' ')}"
        for name, share in shares.items()
        if share >= 0.01
    ]
    if says_yes(logit, softmax=softmax):
        return (
            ", ".join([category, *named])
            if named
            else f"{category}, though hardly any part speaks for it"
        )
    if named:
        return f"not {category}; against it speaks: {', '.join(named)}"
    return f"not {category}; no part speaks against it, but too little for it"


def explanation_by_filters(
    category: str, logit: float, units: Sequence[int], *, softmax: bool = False
) -> str:
    """One sentence where no parts are known: "cat; filters 12 and 40 speak most for it".

    Args:
      category: name of the category that the logit stands for.
      logit: logit of the category; the network says yes above 0.
      units: numbers of the filters that speak most for the answer, strongest first.
      softmax: see `says_yes`.

    >>> explanation_by_filters("cat", -1.5, [3])
    'not cat; filter 3 speaks most against it'
    """
    yes = says_yes(logit, softmax=softmax)
    what, side = (category, "for") if yes else (f"not {category}", "against")
    if not units:
        return f"{what}, though hardly any filter speaks {side} it"
    numbers = [str(unit) for unit in units]
    if len(numbers) == 1:
        return f"{what}; filter {numbers[0]} speaks most {side} it"
    return f"{what}; filters {', '.join(numbers[:-1])} and {numbers[-1]} speak most {side} it"
