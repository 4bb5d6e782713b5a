"""What train.py, eval.py and explain.py share: errors as one sentence, the configuration."""

import functools
import importlib.machinery
import importlib.util
import inspect
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_collections
from absl import app, flags, logging

from interp_cnn.config import check_config, set_field, with_present_names
from interp_cnn.config.fields import field_of
from interp_cnn.config.kinds import Flag
from interp_cnn.hosts import watch

CONFIGS = Path(__file__).resolve().parent.parent / "configs"

_JOIN_TIMEOUT, _WATCH_FIRST = 300.0, 3.0  # seconds

_TRACEBACK = flags.DEFINE_bool("traceback", False, "Show where an error came from.")

_OVERRIDE, _NEGATED = "config.", "noconfig."


class ConfigFlag:
    """The flag --config with its fields --config.FIELD=VALUE.

    Args:
      default: file that is read without the flag; None for none.
    """

    def __init__(self, default: str | None):
        self._flag = flags.DEFINE_string(
            "config",
            default,
            "Python file with get_config(): FILE.py or FILE.py:name=value,...; fields are set by"
            " --config.FIELD=VALUE. docs/config.md lists the fields.",
        )
        self.overrides: list[tuple[str, str]] = []
        self._value: ml_collections.ConfigDict | None = None

    @property
    def file(self) -> str:
        """`FILE.py` or `FILE.py:name=value,...`, as given."""
        return self._flag.value or ""

    @property
    def value(self) -> ml_collections.ConfigDict | None:
        """The checked configuration, None where no file is given."""
        return self._value

    def load(self) -> None:
        """Read the file and set the fields.

        Raises:
          ValueError: for a file that makes no configuration, an unknown field, or a value that a
            field cannot have.
          FileNotFoundError: where there is no such file.
        """
        if self._flag.value is None:
            if self.overrides:
                raise ValueError(
                    f"--config.{self.overrides[0][0]} needs --config FILE.py, whose field it sets"
                )
            return
        config = read_config_file(self.file)
        for name, text in self.overrides:
            set_field(config, name, text)
        self._value = config


_config_flag: ConfigFlag | None = None


def define_config(default: str | None) -> ConfigFlag:
    """Define the flag --config; `run` loads it before the main function."""
    global _config_flag
    _config_flag = ConfigFlag(default)
    return _config_flag


def read_config_file(text: str) -> ml_collections.ConfigDict:
    """What `get_config` of a file returns, checked.

    Args:
      text: `FILE.py` or `FILE.py:name=value,...`.

    Raises:
      ValueError: where the file is no Python, fails, or makes no configuration.
      FileNotFoundError: where there is no such file.
    """
    file, colon, arguments = text.partition(":")
    if not Path(file).is_file():
        what = "is no file" if Path(file).exists() else "does not exist"
        raise FileNotFoundError(
            f"{file or repr(file)} {what}; the project's config files are in {CONFIGS}"
        )
    function = getattr(_module(file), "get_config", None)
    if not callable(function):
        raise ValueError(
            f"{file} has no function get_config; write one that starts from"
            " interp_cnn.config.default_config() and returns it"
        )
    given = (arguments,) if colon else ()
    try:
        inspect.signature(function).bind(*given)
    except TypeError as error:
        raise ValueError(
            f"get_config of {file} cannot be called with {len(given)} arguments ({error}); declare"
            " it as get_config(text=None)"
        ) from error
    try:
        config = function(*given)
    except ValueError:
        raise  # such as an argument that it does not know, in its own words
    except (Exception, SystemExit) as error:
        raise ValueError(f"get_config of {file} failed ({_reason(error, file)})") from error
    if not isinstance(config, Mapping | ml_collections.ConfigDict):
        raise ValueError(
            f"get_config of {file} must return a configuration, such as"
            f" interp_cnn.config.default_config(), got {type(config).__name__}"
        )
    check_config(config, source=f"{file}: config")
    return with_present_names(config)


def _module(file: str) -> ModuleType:
    """A Python file, run."""
    spec = importlib.util.spec_from_loader(
        "config_file", importlib.machinery.SourceFileLoader("config_file", file)
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ValueError(
            f"{file} cannot be run as a Python file ({_reason(error, file)}); --config takes a file"
            f" with get_config(), such as those in {CONFIGS}"
        ) from error
    return module


def _reason(error: BaseException, file: str) -> str:
    """An error in a few words, with its line in the file."""
    if isinstance(error, SyntaxError):
        where = f" in line {error.lineno}" if error.lineno else ""
        return f"{error.msg}{where}"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == file
    ]
    where = f" in line {lines[-1]}" if lines else ""
    return f"{' '.join(f'{type(error).__name__}: {error}'.split())}{where}"


def _split(argv: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """The arguments without --config.FIELD=VALUE, and these as pairs, in their order."""
    rest: list[str] = []
    overrides: list[tuple[str, str]] = []
    arguments = iter(argv)
    for argument in arguments:
        if argument == "--":
            rest += [argument, *arguments]
            break
        bare = argument.removeprefix("-").removeprefix("-")
        name, separator, text = bare.partition("=")
        if bare == argument or not name.startswith((_OVERRIDE, _NEGATED)):
            rest.append(argument)
            continue
        negated = name.startswith(_NEGATED)
        name = name.removeprefix(_NEGATED if negated else _OVERRIDE)
        field = field_of(name)
        if negated and (separator or not isinstance(field.kind, Flag)):
            raise ValueError(f"--noconfig.{name} is unknown; write --config.{name}=VALUE")
        if negated or (not separator and isinstance(field.kind, Flag)):
            text = "false" if negated else "true"
        elif not separator:
            following = next(arguments, None)
            if following is None:
                raise ValueError(f"--config.{name} has no value; write --config.{name}=VALUE")
            text = following
        overrides.append((name, text))
    return rest, overrides


def _parse(argv: list[str]) -> list[str]:
    flags.FLAGS.set_gnu_getopt()  # options may stand behind other arguments
    try:
        overrides: list[tuple[str, str]] = []
        if _config_flag is not None:
            argv = flags.FLAGS.read_flags_from_files(argv, force_gnu=True)
            argv, overrides = _split(argv)
            _config_flag.overrides = overrides
        return flags.FLAGS(argv)
    except (flags.Error, ValueError, OSError) as error:
        sys.exit(f"error: {_sentence(error)}")


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename:  # the system's own words
        return f"{error.filename} cannot be read or written ({error.strerror})"
    return " ".join(str(error).split()) or type(error).__name__


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


def run(main: Callable[[Sequence[str]], Any]) -> None:
    """Run a main function; what a user can set right ends it with one sentence."""
    for name in ("config", "traceback"):
        if name in flags.FLAGS:  # --help lists the flags of the script alone
            flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])

    def guarded(argv: Sequence[str]) -> Any:
        if not flags.FLAGS["verbosity"].present:
            # app.run shows INFO, and orbax has a dozen lines of it for each checkpoint.
            logging.set_verbosity(logging.WARNING)
        try:
            if _config_flag is not None:
                _config_flag.load()
            return main(argv)
        except (ValueError, OSError, FloatingPointError) as error:
            if _TRACEBACK.value:
                raise
            sys.exit(f"error: {_sentence(error)} (--traceback shows where this came from)")

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
