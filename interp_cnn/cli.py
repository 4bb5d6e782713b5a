"""What train.py, eval.py and explain.py share: errors as one sentence, the default directories."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from absl import app, flags, logging
from ml_collections import config_flags

CONFIGS = Path(__file__).resolve().parent.parent / "configs"

_TRACEBACK = flags.DEFINE_bool("traceback", False, "Show where an error came from.")


def define_config(default: str | None) -> Any:
    """The flag --config with its fields --config.FIELD=VALUE; an unknown field ends the program."""
    try:
        return config_flags.DEFINE_config_file("config", default)
    except AttributeError as error:  # a default is read here, with its fields
        _unknown_field(error)


def _unknown_field(error: AttributeError) -> NoReturn:
    field = str(error).strip("\"'")
    sys.exit(f"error: --config has no field {field!r}; interp_cnn/config.py lists the fields")


def _parse(argv: list[str]) -> list[str]:
    flags.FLAGS.set_gnu_getopt()  # options may stand behind other arguments
    try:
        rest = flags.FLAGS(argv)
    except AttributeError as error:
        _unknown_field(error)
    except flags.Error as error:
        # ml_collections puts the traceback of a config file into its message; the last line counts.
        sys.exit(
            "error: " + str(error).strip().splitlines()[-1].strip().removeprefix("ValueError: ")
        )
    config = flags.FLAGS["config"] if "config" in flags.FLAGS else None
    if config is not None and config.value is not None:
        file, _, _ = config_flags.get_config_filename(config).partition(":")
        if not Path(file).is_file():
            sys.exit(f"error: {file} does not exist; the project's config files are in {CONFIGS}")
    return rest


def check_arguments(argv: Sequence[str]) -> None:
    """Raise a ValueError for arguments that are no flags."""
    if len(argv) > 1:
        raise ValueError(f"unexpected argument {argv[1]!r}; options are written --name=value")


def default_workdir(config_file: str) -> str:
    """runs/NAME of configs/NAME.py:arguments."""
    file, _, arguments = config_file.partition(":")
    name = Path(file).stem
    return str(Path("runs") / "-".join([name, *filter(None, arguments.split(","))]))


def run(main: Callable[[Sequence[str]], None]) -> None:
    """Run a main function; what a user can set right ends it with one sentence."""

    def guarded(argv: Sequence[str]) -> None:
        if not flags.FLAGS["verbosity"].present:
            # app.run shows INFO, and orbax has a dozen lines of it for each checkpoint.
            logging.set_verbosity(logging.WARNING)
        try:
            main(argv)
        except (ValueError, OSError, FloatingPointError) as error:
            if _TRACEBACK.value:
                raise
            text = str(error)
            if isinstance(error, OSError) and error.filename:  # the system's own words
                text = f"{error.filename} cannot be read or written ({error.strerror})"
            sys.exit(f"error: {text} (--traceback shows where this came from)")

    app.run(guarded, flags_parser=_parse)
