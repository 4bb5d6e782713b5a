"""The method works: filters follow parts more closely than those of an ordinary network."""

import pytest
from etils import epath

from interp_cnn import commands, configs
from interp_cnn.models import NEW_CONV, TOP_CONV


@pytest.mark.slow
def test_filters_of_the_embedded_cat_follow_parts(tmp_path):
    results = commands.train_and_evaluate(configs.get_config("embedded"), epath.Path(tmp_path))
    ordinary, interpretable = (
        results.networks[variant] for variant in ("ordinary", "interpretable")
    )
    for layer in (TOP_CONV, NEW_CONV):
        ratios = [
            network.layers[layer].tracking_ratio.value for network in (ordinary, interpretable)
        ]
        assert ratios[1] < 0.8 * ratios[0], layer
    assert interpretable.accuracy.value > ordinary.accuracy.value - 0.02
