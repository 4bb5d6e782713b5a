"""Wrong inputs of every command, generated: does each end in one sentence before anything begins?

    python tests/helpers/wrong_inputs.py

Prints the number of sentences and tracebacks, and every input that did not end in a sentence. The
commands run in this process: what a command defines is forgotten after it. Preparing data, training
and timing are replaced by an exception: an input that gets there was not found out.
"""

import argparse
import contextlib
import io
import itertools
import json
import os
import runpy
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
from absl import app, flags
from PIL import Image

from interp_cnn.config import default_config
from interp_cnn.config.fields import FIELDS, Field
from interp_cnn.config.kinds import (
    Arguments,
    Choice,
    Choices,
    Factors,
    Flag,
    NetworkName,
    Number,
    NumberOrNumbers,
    Numbers,
    Text,
)

ROOT = Path(__file__).resolve().parents[2]
SENTENCE, TRACEBACK, UNNOTICED = "sentence", "traceback", "unnoticed"


class Case(NamedTuple):
    """A command line: a script or `-m module`, and its arguments."""

    command: str
    arguments: tuple[str, ...]


class Outcome(NamedTuple):
    """What came of it, and the message."""

    kind: str
    message: str


class Begun(BaseException):
    """The command got to its work."""


# Values


def wrong_values(field: Field) -> Iterator[str]:
    """Texts that a field must refuse."""
    kind = field.kind
    if isinstance(kind, Number):
        yield from ("many", "", "nan", "inf", "-inf", "(1,)", "0x", "1e999")
        if not field.unset:
            yield "none"
        yield from (str(bound) for bound in (kind.above, kind.below) if bound is not None)
        yield from (str(bound - 1) for bound in (kind.least,) if bound is not None)
        yield from (str(bound + 1) for bound in (kind.most,) if bound is not None)
        if kind.whole:
            yield from ("1.5", "true", "9" * 30)
        yield "-1e300"
    elif isinstance(kind, Choice | NetworkName):
        yield from ("foo", "", "1", kind.names[0].upper(), f"{kind.names[0]} ", "none_", "None'")
    elif isinstance(kind, Choices):
        yield from ("", "()", "foo", f"{kind.names[0]},{kind.names[0]}", "1", "((),)", "{}", "none")
    elif isinstance(kind, Numbers):
        yield from ("1", "(1,2)", "(1,2,3,4)", "a,b,c", "(1,2,nan)", "(-1,2,3)", "(1,2,256)")
        yield from ("", "((1,),2,3)", "None", "(True,1,2)", "[" * 500)
    elif isinstance(kind, NumberOrNumbers):
        yield from ("(1,2)", "(1,2,nan)", "((1,2,3),)", "None", "{}", "0", "a", "", "[" * 500)
    elif isinstance(kind, Factors):
        yield from ("5", "('a',)", "(('a',),)", "(('a',-1),)", "(('(',1),)", "((1,2),)", "foo")
        yield "(('a',float('nan')),)"
    elif isinstance(kind, Arguments):
        yield from ("5", "('a',)", "(('a',),)", "((1,2),)", "foo", "(('a',1),('a',2))", "[" * 500)
        yield from ("(('a b',1),)", "(('a',{}),)", "(('a',1e999),)", "(('a',1,2),)")
    elif isinstance(kind, Flag):
        yield from ("2", "perhaps", "none", "-1")
    elif isinstance(kind, Text):
        yield "a\0b"
        if not kind.empty:
            yield ""


def field_cases() -> Iterator[Case]:
    """Every field with every wrong value, and with a wrong name, in one of three commands."""
    embedded = str(ROOT / "configs" / "embedded.py")
    numbers = itertools.count()

    def case(name: str, value: str) -> Case:
        return (
            Case("train.py", (f"--config.{name}={value}",)),
            Case("eval.py", (f"--config={embedded}", f"--config.{name}={value}")),
            Case("reproduce.py", ("--tables=embedded", "--seeds=1", f"--set={name}={value}")),
            Case("train.py", (f"--config.{name}", value)),
        )[next(numbers) % 4]

    for field in FIELDS:
        for value in wrong_values(field):
            yield case(field.name, value)
        yield case(field.name[:-1], "1")
        yield case(f"{field.name}.x", "1")
        yield case(f"x{field.name}", "1")
    for group in ("model", "data", "train", "interpretable", "filter_loss", "checkpoint", "eval"):
        yield case(group, "{}")


# What does not fit together

_TOGETHER = (
    "data.category=dog",
    "data.category=cat+",
    "data.category=+",
    "data.category=cat+cat",
    "data.category=Cat",
    "data.category=cat,bird",
    "data.name=pascal_voc_part data.category=rabbit",
    "data.name=cub_200_2011 data.category=cat",
    "data.name=cub_200_2011 data.category=bird data.negatives=none",
    "data.name=ilsvrc_animal_part data.category=n1234",
    "data.name=ilsvrc_animal_part data.manual_dir=.",
    "data.name=pascal_voc_part data.manual_dir=.",
    "data.name=cub_200_2011 data.category=bird data.manual_dir=.",
    "data.name=folder",
    "data.name=folder data.manual_dir=.",
    "data.name=folder data.manual_dir=nowhere",
    "data.name=tfds",
    "data.name=tfds data.dataset=no_such_set",
    "data.dataset=mnist",
    "data.annotations=parts.csv",
    "data.manual_dir=nowhere",
    "data.manual_dir=.",
    "data.manual_dir=text.txt",
    "data.negatives=none",
    "data.negatives=categories data.category=all",
    "data.negatives=none data.category=all data.negatives_per_positive=1",
    "train.task=softmax",
    "train.task=softmax data.category=all data.negatives=photos",
    "train.task=softmax data.negatives=none",
    "interpretable.start_epoch=8",
    "model.frozen_through=conv9",
    "model.frozen_through=fc6",
    "weights=nowhere.h5",
    "weights=text.txt",
    "weights=.",
    "weights=download",
    "weights=empty.txt",
    "weights=damaged.h5",
    "weights=damaged.mat",
    "weights=damaged.safetensors",
    "weights=text.txt model.width=0.5",
    "weights=text.txt model.name=vgg16",
    "train.rate_factors=(('fc9',1),)",
    "train.batch_size=3",  # of 8 devices
)


def together_cases() -> Iterator[Case]:
    """Fields that are fine alone."""
    for text in _TOGETHER:
        fields = text.split(" ")
        yield Case("train.py", tuple(f"--config.{field}" for field in fields))


# Config files and their arguments

CONFIG_FILES = {
    "text.txt": "hello world\n",
    "empty.txt": "",
    "empty.py": "",
    "failing.py": "import nonsense_x\n",
    "raising.py": "1 / 0\n",
    "leaving.py": "import sys\nsys.exit()\n",
    "no_function.py": "get_config = 3\n",
    "nothing.py": "def get_config():\n    pass\n",
    "number.py": "def get_config(text=None):\n    return 3\n",
    "bare.py": "def get_config(text=None):\n    return {}\n",
    "list.py": "def get_config(text=None):\n    return []\n",
    "needs.py": "def get_config(text, more):\n    return {}\n",
    "broken.py": "def get_config(:\n",
    "key.py": "def get_config(text=None):\n    return {}['a']\n",
    "nested.py": (
        "from interp_cnn.config import default_config\n"
        "def get_config(text=None):\n"
        "    config = default_config().to_dict()\n"
        "    config['train'] = 3\n"
        "    return config\n"
    ),
    "typo.py": (
        "from interp_cnn.config import default_config\n"
        "def get_config(text=None):\n"
        "    config = default_config()\n"
        "    config.train.batchsize = 3\n"
        "    return config\n"
    ),
    "string.py": (
        "from interp_cnn.config import default_config\n"
        "def get_config(text=None):\n"
        "    config = default_config().to_dict()\n"
        "    config['train']['epochs'] = '8'\n"
        "    return config\n"
    ),
}
_ARGUMENTS = (
    *("colour=red", "epochs", "epochs=", "epochs=0", "epochs=-1", "epochs=many", "epochs=1.5"),
    *("seed=-1", "seed=x", "category=wolf", "category=", "task=foo", "negatives=foo", "=", "cat"),
    *("epochs=8,colour=red", "epochs:8", "epochs=3,epochs=0"),
)


def config_file_cases() -> Iterator[Case]:
    """Files that make no configuration, and arguments that a file does not know."""
    for name in [*CONFIG_FILES, "nowhere.py", ".", "", ":", "binary.py", "directory.py"]:
        yield Case("train.py", (f"--config={name}",))
        yield Case("eval.py", ("--config", name, "--workdir=out"))
    for stem in ("embedded", "pascal_voc_part"):
        for text in _ARGUMENTS:
            yield Case("train.py", (f"--config={ROOT}/configs/{stem}.py:{text}",))


# Command lines


def command_cases() -> Iterator[Case]:
    """Flags that are missing, unknown, without a value or contradict each other."""
    for command in ("train.py", "eval.py", "explain.py", "reproduce.py"):
        for arguments in (
            ("--nope",),
            ("--nope=1",),
            ("--workdir",),
            ("too", "many", "words"),
            ("--flagfile=nowhere",),
            ("--verbosity=loud",),
            ("--traceback=perhaps",),
        ):
            yield Case(command, arguments)
    for arguments in (
        ("--config",),
        ("--config.seed",),
        ("--config.",),
        ("--config.=3",),
        ("--noconfig.seed",),
        ("--noconfig.data.skip_damaged=1",),
        ("--config.data.skip_damaged", "stray"),
        ("--config.nothere.x=3",),
        ("--config.train.batchsize=3",),
        ("--workdir=text.txt",),
        ("--workdir=text.txt/run",),
        ("--distributed=perhaps",),
    ):
        yield Case("train.py", arguments)
    for arguments in (
        (),
        ("--workdir=nowhere",),
        ("--workdir=text.txt",),
        ("--occlude=-1", "--workdir=nowhere"),
        ("--occlude=x", "--workdir=nowhere"),
        ("--config.seed=1",),
        ("--config.seed=1", "--workdir=valid"),
        *((f"--workdir={name}",) for name in (*WORKDIRS, "valid")),
    ):
        yield Case("eval.py", arguments)
    for arguments in (
        (),
        ("image.png",),
        ("--workdir=valid",),
        ("image.png", "other.png", "--workdir=valid"),
        *((name, "--workdir=valid") for name in [*IMAGES, "nowhere.png", ".", "text.txt"]),
        *(("image.png", "--workdir=valid", f"--box={box}") for box in BOXES),
        *(("image.png", f"--workdir={name}") for name in (*WORKDIRS, "nowhere", "")),
        ("image.png", "--workdir=valid", "--network=other"),
        ("image.png", "--workdir=valid", "--network="),
        ("", "--workdir=valid"),
    ):
        yield Case("explain.py", arguments)
    for arguments in (
        (),
        ("--tables=3",),
        ("--tables=",),
        ("--tables=1,1x",),
        ("--tables=5", "--nets=resnet"),
        ("--tables=5", "--categories=wolf"),
        ("--tables=5", "--seeds=0"),
        ("--tables=5", "--seeds=x"),
        ("--tables=5", "--nets=vgg16", "--manual_dir=nowhere"),
        ("--tables=5", "--nets=vgg16", "--manual_dir=.", "--dry_run"),
        ("--tables=1,5", "--nets=vgg16", "--manual_dir=text.txt"),
        ("--tables=5", "--nets=vgg_m"),
        ("--tables=5", "--weights=a.h5"),
        ("--tables=5", "--nets=vgg16", "--weights=a.h5"),
        ("--tables=5", "--nets=vgg16", "--weights=text.txt", "--dry_run"),
        ("--tables=5", "--nets=vgg16", "--weights=vgg_m=a.h5"),
        ("--tables=5", "--set=seed=3"),
        ("--tables=5", "--set=train.epochs"),
        ("--tables=5", "--set="),
        ("--tables=embedded", "--set=interpretable.start_epoch=99", "--seeds=1"),
        ("--tables=embedded", "--set=model.frozen_through=conv9", "--dry_run"),
        ("--tables=embedded", "--workdir=text.txt"),
    ):
        yield Case("reproduce.py", arguments)
    for arguments in (
        (),
        ("--name=other",),
        ("--name=embedded_animals", "--category=dog"),
        ("--name=pascal_voc_part", "--manual_dir=nowhere"),
        ("--name=pascal_voc_part", "--manual_dir=."),
        ("--name=cub_200_2011", "--category=bird", "--manual_dir=."),
        ("--name=ilsvrc_animal_part", "--category=", "--manual_dir=."),
        ("--name=ilsvrc_animal_part", "--category=cat", "--manual_dir=text.txt"),
    ):
        yield Case("-m interp_cnn.data", arguments)
    for arguments in (
        (),
        ("convert",),
        ("other", "a", "b"),
        ("convert", "nowhere.h5", "out.safetensors"),
        ("convert", "text.txt", "out.safetensors"),
        ("convert", "empty.txt", "out.safetensors"),
        ("convert", ".", "out.safetensors"),
        *(("convert", f"damaged.{kind}", "out.safetensors") for kind in DAMAGED),
    ):
        yield Case("-m interp_cnn.models.pretrained", arguments)


BOXES = (
    *("1,2", "1,2,3", "1,2,3,4,5", "a,b,c,d", "", "0,0,0,0", "0,0,999,10", "-1,0,10,10"),
    *("10,10,5,5", "nan,0,5,5", "0,0,inf,5", "0,0,5,5e400"),
)
WORKDIRS = {  # name -> content of config.json
    "no_config": None,
    "empty_config": b"",
    "brace_config": b"{}",
    "list_config": b"[]",
    "number_config": b"3",
    "half_config": b'{"seed": ',
    "binary_config": b"\xff\xfe\x00",
    "deep_config": b"[" * 50_000,
    "nan_config": b'{"seed": NaN}',
    "group_config": b'{"train": 3}',
}
DAMAGED = {
    "h5": b"\x89HDF\r\n\x1a\n" + b"\1" * 200,
    "mat": b"MATLAB 5.0 MAT-file" + b"\2" * 200,
    "pth": b"PK\x03\x04" + b"\3" * 200,
    "safetensors": b"\x40\0\0\0\0\0\0\0{" + b"\4" * 200,
    "pickle": b"\x80\x02" + b"\5" * 200,
}
IMAGES = ("cut.png", "cut.jpg", "empty.png", "noise.png", "huge.png", "float.tif", "deep.tif")


def all_cases() -> list[Case]:
    """Every wrong input."""
    cases = [*command_cases(), *config_file_cases(), *together_cases(), *field_cases()]
    return list(dict.fromkeys(cases))


def write_files(folder: Path) -> None:
    """What the cases speak of."""
    for name, text in CONFIG_FILES.items():
        (folder / name).write_text(text)
    (folder / "binary.py").write_bytes(bytes(range(256)))
    (folder / "directory.py").mkdir()
    for kind, content in DAMAGED.items():
        (folder / f"damaged.{kind}").write_bytes(content)
    for name, content in WORKDIRS.items():
        (folder / name).mkdir()
        if content is not None:
            (folder / name / "config.json").write_bytes(content)
    (folder / "valid").mkdir()
    (folder / "valid" / "config.json").write_text(default_config().to_json_best_effort())
    pixels = np.random.default_rng(0).integers(0, 256, (64, 48, 3)).astype(np.uint8)
    for kind in ("png", "jpg"):
        Image.fromarray(pixels).save(folder / f"image.{kind}")
        content = (folder / f"image.{kind}").read_bytes()
        (folder / f"cut.{kind}").write_bytes(content[: len(content) // 2])
    (folder / "empty.png").touch()
    (folder / "noise.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\7" * 500)
    Image.new("1", (20000, 20000)).save(folder / "huge.png")
    Image.fromarray(np.array([[0.5]], np.float32)).save(folder / "float.tif")
    Image.fromarray(np.array([[70000]], np.int32)).save(folder / "deep.tif")


# Running them


@contextlib.contextmanager
def nothing_begins() -> Iterator[None]:
    """What a command does after its checks raises `Begun`."""
    from interp_cnn import commands
    from interp_cnn.data import __main__ as data_main
    from interp_cnn.evaluation import filter_parts
    from interp_cnn.reproduce import estimate, execute

    def begun(*_: object, **__: object) -> None:
        raise Begun

    with contextlib.ExitStack() as stack:
        for module, name in (
            (commands, "prepare"),
            (filter_parts, "prepare"),
            (estimate, "_probe"),
            (execute, "_train"),
        ):
            stack.enter_context(mock.patch.object(module, name, begun))
        stack.enter_context(mock.patch.dict(sys.modules))
        sys.modules.pop(data_main.__name__, None)
        yield


def run(case: Case) -> Outcome:
    """Run a command in this process and this directory."""
    before = set(flags.FLAGS)
    errors = io.StringIO()
    script, _, module = case.command.partition("-m ")
    argv = [str(ROOT / case.command) if script else module, *case.arguments]
    try:
        with (
            mock.patch.object(sys, "argv", argv),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(errors),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            if script:
                runpy.run_path(argv[0], run_name="__main__")
            else:
                runpy.run_module(module, run_name="__main__", alter_sys=True)
        return Outcome(UNNOTICED, "it ended well")
    except SystemExit as exit:
        return _judge(exit.code, errors.getvalue())
    except Begun:
        return Outcome(UNNOTICED, "it began")
    except BaseException as error:
        return Outcome(TRACEBACK, f"{type(error).__name__}: {error}")
    finally:
        flags.FLAGS.unparse_flags()
        for name in set(flags.FLAGS) - before:
            delattr(flags.FLAGS, name)
        for name in before:
            flags.FLAGS[name].unparse()


def _judge(code: object, errors: str) -> Outcome:
    if code == 2 and ": error: " in errors.splitlines()[-1]:  # argparse
        return Outcome(SENTENCE, errors.splitlines()[-1])
    if not isinstance(code, str):
        return Outcome(UNNOTICED, f"exit code {code}: {errors[-200:]}")
    if code.startswith("error: ") and code.count("\n") == 0 and len(code) < 1000:
        return Outcome(SENTENCE, code)
    return Outcome(TRACEBACK, code)


def run_all(cases: Sequence[Case], folder: Path) -> dict[Case, Outcome]:
    """Run cases in a folder that gets their files; a case that writes there was not noticed."""
    write_files(folder)
    app.define_help_flags()  # once; not to be forgotten after the first command
    before = set(folder.rglob("*"))
    outcomes = {}
    previous = Path.cwd()
    os.chdir(folder)
    try:
        with nothing_begins():
            for case in cases:
                outcomes[case] = run(case)
                if written := set(folder.rglob("*")) ^ before:
                    outcomes[case] = Outcome(UNNOTICED, f"it wrote {', '.join(map(str, written))}")
                    before |= written
    finally:
        os.chdir(previous)
    return outcomes


def main() -> None:
    """Run all and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--show", action="store_true", help="print every message")
    options = parser.parse_args()
    import conftest  # noqa: F401  eight CPU devices, as in the suite

    with tempfile.TemporaryDirectory() as folder:
        outcomes = run_all(all_cases(), Path(folder))
    for case, outcome in outcomes.items():
        if options.show or outcome.kind != SENTENCE:
            print(json.dumps([case.command, *case.arguments])[:200])
            print(f"  {outcome.kind}: {outcome.message}")
    counts = Counter(outcome.kind for outcome in outcomes.values())
    print(f"{len(outcomes)} wrong inputs: " + ", ".join(f"{n} {k}" for k, n in counts.items()))
    sys.exit(counts[SENTENCE] != len(outcomes))


if __name__ == "__main__":
    main()
