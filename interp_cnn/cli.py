"""What train.py, eval.py and explain.py share: errors as one sentence, the default directories."""

import functools
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from absl import app, flags, logging
from ml_collections import config_flags

from interp_cnn import watch

CONFIGS = Path(__file__).resolve().parent.parent / "configs"

_JOIN_TIMEOUT = 300.0  # seconds

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


def define_distributed() -> None:
    """The flags --distributed and --join_timeout, see `join_hosts`."""
    flags.DEFINE_bool("distributed", False, "Join the other hosts of this run.")
    flags.DEFINE_float(
        "join_timeout", _JOIN_TIMEOUT, "Seconds to wait for the other hosts.", lower_bound=1.0
    )


def join_hosts() -> None:
    """With --distributed join the other hosts of this run; before anything else of JAX."""
    if flags.FLAGS.distributed:
        from interp_cnn import hosts

        hosts.join(flags.FLAGS.join_timeout)


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

    app.run(functools.partial(_among_hosts, guarded), flags_parser=_parse)


def _among_hosts(main: Callable[[Sequence[str]], Any], argv: Sequence[str]) -> Any:
    """A main function of one of several hosts: the way in which it ends ends the others too."""
    try:
        result = main(argv)
    except BaseException as error:
        if not watch.watching():
            raise
        if isinstance(error, SystemExit) and not str(error).startswith("error:"):
            _leave_hosts()  # all were stopped at the same step
            raise
        if not isinstance(error, SystemExit):
            traceback.print_exc()
        watch.end_all(str(error).removeprefix("error: ") or type(error).__name__)
    if watch.watching():
        _leave_hosts()
    return result


def _leave_hosts() -> None:
    from interp_cnn import hosts

    hosts.leave()
