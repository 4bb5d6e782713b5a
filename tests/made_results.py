"""A metrics.json written by hand, with figures that tests can follow."""


def made_results(config, *, value=0.1, accuracy=0.9, filters=512, categories=("cat",)):
    def layer(shift):
        return {
            "location_instability": {"value": value + shift, "filters": filters},
            "tracking_ratio": {"value": 2 * value + shift, "filters": filters - 1},
            "part_interpretability": {"value": 3 * value + shift, "filters": filters},
        }

    def network(shift):
        return {
            "step": 10,
            "layers": {"top_conv": layer(shift + 0.01), "new_conv": layer(shift)},
            "accuracy": {"value": accuracy + shift, "images": 80},
        }

    return {
        "networks": {"ordinary": network(0.0), "interpretable": network(0.05)},
        "controls": {"center": 0.07, "random": 0.14, "images": 100},
        "data": {
            "train_images": 200,
            "test_images": 80,
            "test_objects": 40,
            "location_images": 100,
            "location_split": config.eval.images,
            "categories": list(categories),
            "part_regions": "masks",
        },
        "experiment": {"network": config.model.name, "category": config.data.category},
    }
