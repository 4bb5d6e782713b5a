"""The flag --config: a configuration of the package or a file, and its fields."""

import importlib.machinery
import importlib.util
import inspect
import os
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_collections
from absl import flags

from interp_cnn import configs
from interp_cnn.config import check_config, set_field, with_present_names
from interp_cnn.config.fields import field_of
from interp_cnn.config.kinds import Flag

_OVERRIDE, _NEGATED = "config.", "noconfig."
_KNOWN = ", ".join(configs.NAMES)


class ConfigFlag:
    """The flag --config with its fields --config.FIELD=VALUE.

    Args:
      default: what is taken without the flag; None for nothing.

    Attributes:
      value: the checked configuration, None where none is given.
    """

    def __init__(self, default: str | None):
        self._flag = flags.DEFINE_string(
            "config",
            default,
            f"One of {_KNOWN}, or a Python file with get_config(), FILE.py; either also with"
            " :name=value,...; fields are set by --config.FIELD=VALUE. docs/config.md lists the"
            " fields.",
        )
        self._overrides: list[tuple[str, str]] = []
        self.value: ml_collections.ConfigDict | None = None

    @property
    def default_workdir(self) -> str:
        """runs/NAME for NAME:arguments or FOLDER/NAME.py:arguments, with the arguments.

        Of an argument that is a path its last name.
        """
        file, _, arguments = (self._flag.value or "").partition(":")
        given = [
            "".join((name, separator, Path(value).name))
            for name, separator, value in (
                argument.partition("=") for argument in filter(None, arguments.split(","))
            )
        ]
        return str(Path("runs") / "-".join([Path(file).stem, *given]))

    def take(self, argv: Sequence[str]) -> list[str]:
        """The arguments without --config.FIELD=VALUE, which are kept for `load`.

        Raises:
          ValueError: for an unknown field, or one without a value.
        """
        rest, self._overrides = _split(argv)
        return rest

    def load(self) -> None:
        """Make the configuration and set the fields.

        Raises:
          ValueError: for a file that makes no configuration, an unknown field, or a value that a
            field cannot have.
          FileNotFoundError: where there is no such file.
        """
        if self._flag.value is None:
            if self._overrides:
                raise ValueError(
                    f"--config.{self._overrides[0][0]} needs --config NAME, whose field it sets"
                )
            return
        config = read_named_config(self._flag.value)
        for name, text in self._overrides:
            set_field(config, name, text)
        _with_absolute_paths(config)
        self.value = config


def _with_absolute_paths(config: ml_collections.ConfigDict) -> None:
    """Let the data be found from every folder, when the run is evaluated later."""
    for name in ("data_dir", "manual_dir", "annotations"):
        path = config.data[name]
        if path and ":/" not in path:  # no address
            config.data[name] = os.path.abspath(os.path.expanduser(path))


def read_named_config(text: str) -> ml_collections.ConfigDict:
    """The configuration that a text names, checked.

    Args:
      text: `NAME` of the package or `FILE.py`, either also with `:name=value,...`.

    Raises:
      ValueError: where the file is no Python, fails, or makes no configuration.
      FileNotFoundError: where there is no such file.
    """
    file, colon, arguments = text.partition(":")
    given = (arguments,) if colon else ()
    if file in configs.NAMES:
        config = configs.get_config(file, *given)
    else:
        config = _from_file(file, given)
    check_config(config, source=f"{file}: config")
    return with_present_names(config)


def _from_file(file: str, given: tuple[str, ...]) -> Mapping[str, Any]:
    """What `get_config` of a file returns."""
    if not Path(file).is_file():
        what = "is no file" if Path(file).exists() else "does not exist"
        raise FileNotFoundError(
            f"{file or repr(file)} {what}; give --config a file, or one of {_KNOWN}"
        )
    function = getattr(_module(file), "get_config", None)
    if not callable(function):
        raise ValueError(
            f"{file} has no function get_config; write one that starts from"
            " interp_cnn.config.default_config() and returns it"
        )
    try:
        inspect.signature(function).bind(*given)
    except TypeError as error:
        raise ValueError(
            f"get_config of {file} cannot be called with {len(given)} arguments ({error}); declare"
            " it as get_config(text=None)"
        ) from error
    try:
        config = function(*given)
    except (ValueError, OSError):
        raise  # such as an argument that it does not know, in its own words
    except (Exception, SystemExit) as error:
        raise ValueError(f"get_config of {file} failed ({_reason(error, file)})") from error
    if not isinstance(config, Mapping | ml_collections.ConfigDict):
        raise ValueError(
            f"get_config of {file} must return a configuration, such as"
            f" interp_cnn.config.default_config(), got {type(config).__name__}"
        )
    return config


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
            f" with get_config(), or one of {_KNOWN}"
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
