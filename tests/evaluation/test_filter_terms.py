"""Mutual information of filters of several categories, on any number of hosts."""

import itertools

import numpy as np
import pytest

from interp_cnn.evaluation.filter_terms import INFORMATION_IMAGES, TERMS, FilterTerms
from interp_cnn.losses import filter_diagnostics, normalize_scale

FILTERS = np.array([0, 1, 0, 2, 3])  # category of each; the last one has no image


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    labels = rng.choice(3, size=130, p=[0.6, 0.35, 0.05])
    assert [(labels == label).sum() // INFORMATION_IMAGES for label in range(3)] == [2, 1, 0]
    return labels[:, None] == FILTERS, rng.random((130, 4, 4, len(FILTERS)), np.float32)


def terms(members, maps, *, batch, hosts):
    """As the hosts have them, each of a stretch of the images."""
    bounds = np.linspace(0, len(maps), hosts + 1).astype(int)
    kept, first = [], None
    for start, stop in itertools.pairwise(bounds):
        host = FilterTerms(members)
        host.update(start, maps[:0])
        for at in range(start, stop, batch):
            host.update(at, maps[at : min(at + batch, stop)])
        kept.append(host.kept())
        first = first or host
    return first.merged(kept)


def test_blocks_are_of_the_category_of_a_filter(images):
    members, maps = images
    found = terms(members, maps, batch=7, hosts=1)
    for filter in range(4):
        own = maps[members[:, filter]][..., [filter]]
        size = min(len(own), INFORMATION_IMAGES)
        blocks = [own[at : at + size] for at in range(0, len(own) - size + 1, size)]
        expected = [filter_diagnostics(normalize_scale(block)) for block in blocks]
        for name in TERMS:
            mean = np.mean([float(of[name][0]) for of in expected])
            np.testing.assert_allclose(found[name][filter], mean, rtol=1e-4, atol=1e-6)
    assert all(np.isnan(found[name][4]) for name in TERMS)  # no image of its category


@pytest.mark.parametrize(("batch", "hosts"), [(1, 1), (130, 1), (7, 3), (32, 2), (5, 140)])
def test_neither_batches_nor_hosts_matter(images, batch, hosts):
    expected = terms(*images, batch=7, hosts=1)
    found = terms(*images, batch=batch, hosts=hosts)
    for name in TERMS:
        np.testing.assert_array_equal(found[name], expected[name])
