"""The mutual information score of CSG: what the strength of a filter tells about the category."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from interp_cnn.arguments import as_count, check_real

Float = NDArray[np.float64]


def class_information(
    activations: ArrayLike,
    labels: ArrayLike,
    *,
    classes: Sequence[int] | None = None,
    neighbours: int = 3,
) -> Float:
    """`M_{f,c} = MI(a_f; [label = c])`: what a filter's activation tells about a class, in nats.

    a_f is the mean of the filter's map over its positions. As in "Training Interpretable
    Convolutional Neural Networks by Differentiating Class-Specific Filters" (Liang et al., ECCV
    2020) by the authors' code (`VOCPart/mutualinfo/mutualinfo.py` of github.com/hyliang96/CSGCNN):
    activations are not thresholded, and the mutual information of a real number and a yes or no is
    that of Ross, "Mutual Information between Discrete and Continuous Data Sets" (PLoS ONE 2014), as
    `sklearn.feature_selection.mutual_info_classif` computes it,

        psi(N) + mean_i [psi(k_i) - psi(N_i) - psi(m_i)], at least 0.

    N is the number of images, N_i that of those with image i's answer, d_i the distance of a_i to
    the k-th nearest of these, with k_i = min(neighbours, N_i - 1), and m_i the number of images, i
    among them, that are nearer than d_i. Reading: where d_i is 0, because activations are equal
    (those of a filter that is silent), k_i and m_i are the numbers of images with that very
    activation, of i's answer and of all (i among them); scikit-learn adds noise instead.

    Args:
      activations: a_f, [images, filters], taken as float32.
      labels: class of each image, int [images].
      classes: which classes are asked for; by default those that occur, in rising order.
      neighbours: k of the nearest neighbours.

    Returns:
      float64 [filters, classes], at least 0; NaN where fewer than two images are of the class, or
      fewer than two are not: then one of them has no neighbour.

    Raises:
      ValueError: shapes that do not fit each other, NaN, or neighbours below 1.

    >>> activations = np.array([[0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 13.0]]).T
    >>> class_information(activations, [0, 0, 0, 0, 1, 1, 1, 1], classes=[1]).round(3)
    array([[0.76]])
    """
    as_count("neighbours", neighbours, 1, "give the number of nearest neighbours, at least 1")
    values, answers = np.asarray(activations), np.asarray(labels)
    check_real("activations", values)
    if values.ndim != 2 or not len(values):
        raise ValueError(f"activations has shape {values.shape}; give [images, filters].")
    if answers.shape != (len(values),) or answers.dtype.kind not in "iub":
        raise ValueError(
            f"labels is {answers.dtype} of shape {answers.shape}; give int [images] with"
            f" {len(values)} images."
        )
    values = values.astype(np.float32).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("activations holds NaN or infinite values; give finite ones.")
    wanted = np.unique(answers) if classes is None else np.asarray(classes)
    result = np.full((values.shape[1], len(wanted)), np.nan)
    for column, number in enumerate(wanted):
        yes = answers == number
        if 2 <= yes.sum() <= len(yes) - 2:
            result[:, column] = [_information(a, yes, neighbours) for a in values.T]
    return result


def mutual_information_score(information: ArrayLike) -> float:
    """The score MIS of a layer: the mean over filters of `max_c M_{f,c}`.

    Args:
      information: of `class_information`, [filters, classes], NaN where unknown.

    Returns:
      The score in nats; NaN where nothing is known.

    Raises:
      ValueError: another rank than two.

    >>> mutual_information_score([[0.1, 0.5], [0.3, np.nan]])
    0.4
    """
    found = np.asarray(information, np.float64)
    if found.ndim != 2:
        raise ValueError(f"information has shape {found.shape}; give [filters, classes].")
    known = found[~np.isnan(found).all(axis=1)]
    return float(np.nanmax(known, axis=1).mean()) if known.size else float("nan")


def _information(values: Float, yes: NDArray[np.bool_], neighbours: int) -> float:
    """Mutual information of numbers [images] and a yes or no, in nats."""
    everyone = np.sort(values)
    psi = _digamma(len(values))
    total = 0.0
    for answer in (yes, ~yes):
        own = np.sort(values[answer])
        k = min(neighbours, len(own) - 1)
        distance = _to_neighbour(own, k)
        inside = _nearer(everyone, own, distance)
        same = np.where(distance > 0, k, _equal(own, own))
        inside = np.where(distance > 0, inside, _equal(everyone, own))
        total += (psi[same] - psi[len(own)] - psi[inside]).sum()
    return max(0.0, float(psi[len(values)] + total / len(values)))


def _digamma(most: int) -> Float:
    """psi(n) + Euler's constant of n = 1, ..., most, at index n; the constant cancels out."""
    return np.concatenate([[np.nan, 0.0], np.cumsum(1 / np.arange(1, most))])


def _to_neighbour(own: Float, k: int) -> Float:
    """Distance of each of these sorted numbers to its k-th nearest other one."""
    padded = np.pad(own, k, constant_values=(-np.inf, np.inf))
    # The k nearest lie in one of the windows of k + 1 numbers with it: j of them below it.
    windows = [
        np.maximum(
            own - padded[k - j : k - j + len(own)],
            padded[2 * k - j : 2 * k - j + len(own)] - own,
        )
        for j in range(k + 1)
    ]
    return np.min(windows, axis=0)


def _nearer(everyone: Float, own: Float, distance: Float) -> NDArray[np.int64]:
    """How many of the sorted numbers lie nearer to each of `own` than its distance."""
    # Sums and differences of numbers that were float32 are exact, or all but exact.
    below = np.searchsorted(everyone, own - distance, side="right")
    return np.searchsorted(everyone, own + distance, side="left") - below


def _equal(everyone: Float, own: Float) -> NDArray[np.int64]:
    """How many of the sorted numbers are equal to each of `own`."""
    return np.searchsorted(everyone, own, side="right") - np.searchsorted(everyone, own)
