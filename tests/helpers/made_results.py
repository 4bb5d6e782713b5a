"""Results written by hand, with figures that tests can follow."""

from interp_cnn.evaluation.results import VERSION, Results


def made_results(config, *, value=0.1, accuracy=0.9, filters=512, categories=("cat",), old=False):
    """Those of an older release have no part interpretability of the images that fire."""

    def parts(mean):
        return {
            "value": mean,
            "filters": filters,
            "images": 100,
            "radius": 36.0,
            "by_radius": [[36.0, mean]],
        }

    def layer(shift):
        fired = {"part_interpretability_fired": parts(4 * value + shift), "fired_share": 0.3}
        fired = {} if old else fired
        return fired | {
            "location_instability": {
                "value": value + shift,
                "filters": filters,
                "filters_left_out": 0,
                "images_per_value": 100.0,
            },
            "tracking_ratio": {
                "value": 2 * value + shift,
                "filters": filters - 1,
                "below_1": 0.5,
                "below_0.8": 0.25,
            },
            "part_interpretability": parts(3 * value + shift),
            "filters_of_category": {name: filters for name in categories},
            "dead": 0,
            "collapsed": 0,
            "mutual_information": 0.2,
            "receptive_field": {"offset": 8.0, "stride": 16.0, "size": 196.0},
        }

    def network(shift):
        return {
            "step": 10,
            "layers": {"top_conv": layer(shift + 0.01), "new_conv": layer(shift)},
            "accuracy": {"value": accuracy + shift, "images": 80},
        }

    tree = {
        "version": 0 if old else VERSION,
        "networks": {"ordinary": network(0.0), "interpretable": network(0.05)},
        "controls": {"center": 0.07, "random": 0.14, "images": 100},
        "part_controls": None if old else {"center": 0.37, "random": 0.17, "images": 90},
        "data": {
            "train_images": 200,
            "test_images": 80,
            "test_objects": 40,
            "location_images": 100,
            "location_split": config.eval.images,
            "categories": list(categories),
            "part_regions": "masks",
            "parts": ["head", "torso"],
            "landmarks": ["head", "torso"],
        },
        "experiment": {
            "network": config.model.name,
            "category": config.data.category,
            "task": "single",
            "dataset": config.data.name,
            "image_size": 224,
            "date": "2026-11-20T10:00:00+00:00",
            "device": "8 x cpu",
            "versions": {"jax": "0.10.2"},
        },
    }
    return Results.from_json(tree)
