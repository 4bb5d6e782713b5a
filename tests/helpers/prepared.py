"""A data set that is prepared from a folder in its published layout."""

import tensorflow_datasets as tfds


def prepared(kind, data_dir, source, config, **kwargs):
    """A builder of this kind that has prepared the files in `source`."""
    builder = kind(config=config, data_dir=data_dir, **kwargs)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=source))
    return builder
