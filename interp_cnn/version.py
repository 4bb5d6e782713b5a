"""The version of the package."""

from importlib import metadata


def version() -> str:
    """That of the installed package, "0+unknown" where its source is run without installing."""
    try:
        return metadata.version("interp_cnn")
    except metadata.PackageNotFoundError:
        return "0+unknown"
