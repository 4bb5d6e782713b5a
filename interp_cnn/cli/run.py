"""What all commands share: their flags, the other hosts, and errors as one sentence."""

import functools
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from absl import app, flags, logging

from interp_cnn import watch
from interp_cnn.cli.config_flag import ConfigFlag

_JOIN_TIMEOUT, _WATCH_FIRST = 300.0, 3.0  # seconds


class Distributed(NamedTuple):
    """The flags of a command that several hosts run together."""

    wanted: flags.FlagHolder[bool | None]
    timeout: flags.FlagHolder[float | None]


def define_distributed() -> Distributed:
    """Define --distributed and --join_timeout, see `join_hosts`."""
    return Distributed(
        flags.DEFINE_bool("distributed", False, "Join the other hosts of this run."),
        flags.DEFINE_float(
            "join_timeout",
            _JOIN_TIMEOUT,
            "Seconds to wait for the other hosts.",
            lower_bound=1.0,
            upper_bound=1e6,
        ),
    )


def join_hosts(distributed: Distributed) -> None:
    """With --distributed join the other hosts of this run; before anything else of JAX."""
    if distributed.wanted.value:
        from interp_cnn import hosts

        hosts.join(distributed.timeout.value or _JOIN_TIMEOUT)


def check_arguments(argv: Sequence[str]) -> None:
    """Raise a ValueError for arguments that are no flags."""
    if len(argv) > 1:
        raise ValueError(f"unexpected argument {argv[1]!r}; options are written --name=value")


def run(
    command: Callable[[Sequence[str]], Any],
    *,
    description: str | None,
    config: ConfigFlag | None = None,
) -> None:
    """Run a command; what a user can set right ends it with one sentence.

    Args:
      command: called with the name of the program and the arguments that are no flags.
      description: what --help shows above the flags.
      config: the flag --config, which is loaded before the command is called.
    """
    with_traceback = flags.DEFINE_bool("traceback", False, "Show where an error came from.")
    _show_in_help(description)

    def guarded(argv: Sequence[str]) -> Any:
        if not flags.FLAGS["verbosity"].present:
            # app.run shows INFO, and orbax has a dozen lines of it for each checkpoint.
            logging.set_verbosity(logging.WARNING)
        try:
            if config is not None:
                config.load()
            return command(argv)
        except KeyboardInterrupt:
            if with_traceback.value:
                raise
            sys.exit("error: interrupted; run the same command again to go on")
        except (ValueError, OSError, FloatingPointError) as error:
            if with_traceback.value:
                raise
            sys.exit(f"error: {_sentence(error)} (--traceback shows where this came from)")

    app.run(
        functools.partial(_among_hosts, guarded), flags_parser=functools.partial(_parse, config)
    )


def _show_in_help(description: str | None) -> None:
    """Let --help show this text and the flags of the command: it looks in the main module."""
    sys.modules["__main__"].__doc__ = description
    for module, defined in flags.FLAGS.flags_by_module_dict().items():
        if module.startswith(__package__):
            for flag in defined:
                flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)


def _parse(config: ConfigFlag | None, argv: list[str]) -> list[str]:
    flags.FLAGS.set_gnu_getopt()  # options may stand behind other arguments
    try:
        if config is not None:
            argv = config.take(flags.FLAGS.read_flags_from_files(argv, force_gnu=True))
        return flags.FLAGS(argv)
    except (flags.Error, ValueError, OSError) as error:
        sys.exit(f"error: {_sentence(error)}")


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename:  # the system's own words
        return f"{error.filename} cannot be read or written ({error.strerror})"
    return " ".join(str(error).split()) or type(error).__name__


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
            # Where another host is gone the watch says so first, and ends this process.
            time.sleep(_WATCH_FIRST)
            traceback.print_exc()
        watch.end_all(str(error).removeprefix("error: ") or type(error).__name__)
    if watch.watching():
        _leave_hosts()
    return result


def _leave_hosts() -> None:
    from interp_cnn import hosts

    hosts.leave()
