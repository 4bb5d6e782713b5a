from importlib import metadata

from interp_cnn.config import default_config
from interp_cnn.evaluation.evaluator import experiment_record
from interp_cnn.training.build import make_network


def test_a_run_from_the_source_that_is_not_installed_has_its_record(monkeypatch):
    config = default_config()
    config.model.name, config.data.category = "small", "cat"
    network = make_network(config, "ordinary")
    assert experiment_record(config, network).versions["interp_cnn"] == metadata.version(
        "interp_cnn"
    )
    installed = metadata.version

    def missing(name):
        if name == "interp_cnn":
            raise metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(metadata, "version", missing)
    record = experiment_record(config, network)
    assert record.versions["interp_cnn"] == "0+unknown" and record.versions["jax"]
