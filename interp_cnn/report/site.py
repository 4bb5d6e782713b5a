"""What all pages share: the template engine, style and script, a folder that can be written."""

import contextlib
import math
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import jinja2
from etils import epath

from interp_cnn.report.table_figures import DASH, number
from interp_cnn.storage import staged_folder

_ASSETS = ("style.css", "report.js")


@contextlib.contextmanager
def writing_to(folder: epath.Path) -> Iterator[Path]:
    """The folder on disk to write a report to, and the style and script of its pages in it.

    Raises:
      OSError: for any OSError inside, in one sentence why there is no report.
    """
    try:
        with staged_folder(folder) as local:
            _make_folder(local)
            yield local
    except OSError as error:
        raise OSError(
            f"the report cannot be written to {folder} ({error.strerror or error});"
            " choose a directory that can be written"
        ) from error


def _make_folder(folder: Path) -> None:
    """Make the folder of a report, with what its pages load."""
    templates = resources.files("interp_cnn.report") / "templates"
    folder.mkdir(parents=True, exist_ok=True)
    for name in _ASSETS:
        text = (templates / name).read_text(encoding="utf-8")
        (folder / name).write_text(text, encoding="utf-8")


def environment() -> jinja2.Environment:
    """The templates, with all text escaped."""
    result = jinja2.Environment(
        loader=jinja2.PackageLoader("interp_cnn.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    result.filters |= {"figure": number, "percent": _percent, "spaced": _spaced}
    return result


def _percent(value: float | None) -> str:
    return DASH if value is None or math.isnan(value) else f"{100 * value:.0f} %"


def _spaced(name: str) -> str:
    """`new_conv` as people read it."""
    return name.replace("_", " ")
