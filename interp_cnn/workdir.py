"""The work directory of a run: the names of all files in it, and its configuration.

    config.json                 the configuration
    data.json                   which data the run was begun with
    metrics.json, table.md      the results of the evaluation
    filters.png                 a picture of filters
    report/index.html           the report
    explained/                  pictures of explained predictions
    start/, ordinary/, interpretable/    of the network that all begin from, where there is one,
                                and of each variant:
        checkpoints/            the states that are kept
        metrics.jsonl           the metrics of training
        tensorboard/            the same for TensorBoard
        filters.npz             which part each filter stands for
        filters.csv             the figures of each filter

That of the paper's tables has `tables.md`, `tables.csv`, `tables.json`, `report/` and a work
directory for each run in `runs/`, with its time in `time.json`, or with `log.txt`, what it printed,
where several ran at a time.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import jax
import ml_collections
from etils import epath

from interp_cnn import hosts, storage
from interp_cnn.config import INTERPRETABLE, ORDINARY, first_difference, merge_with_defaults

CONFIG = "config.json"
DATA = "data.json"
RESULTS = "metrics.json"
TABLE = "table.md"
FILTERS_PICTURE = "filters.png"
REPORT = "report"
PAGE = "index.html"
EXPLAINED = "explained"

START = "start"
CHECKPOINTS = "checkpoints"
TRAINING_METRICS = "metrics.jsonl"
EVENTS = "tensorboard"
FILTER_PARTS = "filters.npz"
FILTER_FIGURES = "filters.csv"

RUNS = "runs"
TIME = "time.json"
LOG = "log.txt"
TABLES_MARKDOWN = "tables.md"
TABLES_CSV = "tables.csv"
TABLES_JSON = "tables.json"

_FROZEN_FEATURES = "frozen_features"
_LOCK = ".lock"


def frozen_features_folder(workdir: epath.Path, *, tidy: bool = False) -> Path:
    """The folder on disk for the output of the frozen layers while a run lasts.

    Of several hosts each has its own, on its own disk.

    Args:
      workdir: the work directory of the run, on disk or in a bucket.
      tidy: whether to remove what a run with another number of hosts left; not where another
        process may train.
    """
    name, number = _FROZEN_FEATURES, jax.process_count()
    alone, several = storage.local_scratch(workdir), storage.temporary(workdir)
    ending = f"_of_{number}" if number > 1 else name

    def clear() -> None:
        for folder in (*alone.glob(f"{name}*"), *several.glob(f"{name}*")):
            if not folder.name.endswith(ending):
                shutil.rmtree(folder, ignore_errors=True)

    if tidy:
        hosts.in_turn(clear)
    return alone / name if number == 1 else several / f"{name}_{jax.process_index()}{ending}"


def begun(workdir: epath.Path) -> bool:
    """Whether the training of any network has begun in a directory."""
    networks = (START, ORDINARY, INTERPRETABLE)
    files = (workdir / name / of for name in networks for of in (TRAINING_METRICS, CHECKPOINTS))
    with storage.reaching(workdir):
        return any(file.exists() for file in files)


def claim_workdir(workdir: epath.Path, config: ml_collections.ConfigDict) -> None:
    """Make the work directory of a configuration, or check that it is its own.

    Args:
      workdir: the directory, on disk or in a bucket.
      config: the configuration of the run.

    Raises:
      ValueError: where the directory has a run of another configuration that has begun to train.
      OSError: where it cannot be written.
    """
    file = workdir / CONFIG
    with storage.reaching(file):
        claimed = file.exists()
    if not begun(workdir):
        if claimed and "train" not in _saved_config(file):
            raise ValueError(f"{file} is of another program; choose another --workdir")
    elif not claimed:
        raise ValueError(
            f"{file} is missing, and a network has begun to train there; put it back, or choose"
            " another --workdir, or delete that one"
        )
    else:
        difference = first_difference(_saved_config(file), config.to_dict())
        if difference:
            raise ValueError(
                f"{workdir} belongs to a run of another config ({difference});"
                " choose another --workdir, or delete that one"
            )
    storage.make_folder(workdir)
    storage.write(file, config.to_json_best_effort(indent=2) + "\n")


@contextlib.contextmanager
def alone_in(workdir: epath.Path) -> Iterator[None]:
    """Keep other processes of this machine from training in the same directory.

    Raises:
      ValueError: where one does already.
    """
    # Of a bucket, what other processes would write to is the copy on this machine.
    folder = storage.temporary(workdir) if storage.is_remote(workdir) else workdir
    storage.make_folder(folder)
    file = Path(folder / _LOCK)
    lock = filelock.FileLock(file)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise ValueError(
            f"another process trains in {workdir}; wait for it, or choose another --workdir"
            f" (if there is none, delete {file})"
        ) from None
    except (OSError, NotImplementedError):
        pass  # a disk without locks, or one that cannot be written, which is said elsewhere
    try:
        yield
    finally:
        lock.release()
        if folder != workdir:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
            storage.leave_temporary(workdir)


def training_metrics(text: str) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl`; a run that was killed can leave one that is none."""
    lines = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            metrics = json.loads(line)
            if isinstance(metrics, dict) and isinstance(metrics.get("step"), int):
                lines.append(metrics)
    return lines


def saved_radius(workdir: epath.Path) -> float | None:
    """The radius of the regions that a run in a directory has; None without one."""
    try:
        fields = _saved_config(workdir / CONFIG).get("eval") if begun(workdir) else None
    except FileNotFoundError:  # which `claim_workdir` refuses
        return None
    radius = fields.get("radius") if isinstance(fields, dict) else None
    return radius if isinstance(radius, float) else None


def claim_data(workdir: epath.Path, identity: str) -> None:
    """Note which data a run is made from, or check that they are those that it was begun with.

    Args:
      workdir: the directory, on disk or in a bucket.
      identity: see `Data.identity`; "" needs no note.

    Raises:
      ValueError: where the run was begun with other data.
    """
    if not identity:
        return
    file = storage.as_path(workdir) / DATA
    known = _noted_data(file) if begun(workdir) else None
    # Earlier releases noted no content; one noted a hash of the files.
    if known is None or identity.startswith(f"{known.partition(', files ')[0]}, "):
        storage.write(file, json.dumps({"data": identity}) + "\n")
    elif known != identity:
        raise ValueError(
            f"{workdir} belongs to a run with other data ({known} there, {identity} here);"
            " choose another --workdir, or delete that one"
        )


def _noted_data(file: epath.Path) -> str | None:
    """What a data.json says, None where there is none.

    Raises:
      ValueError: where it is damaged.
    """
    try:
        return str(json.loads(storage.read(file).decode())["data"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is damaged ({error}); delete it to go on") from error


def read_config(workdir: epath.Path) -> ml_collections.ConfigDict:
    """The configuration of a work directory; fields that an older release did not have by default.

    Args:
      workdir: the directory of a training run.

    Raises:
      FileNotFoundError: where it holds no configuration.
      ValueError: where that is damaged, or has a field that is unknown or out of range.
    """
    file = workdir / CONFIG
    try:
        saved = _saved_config(file)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(
            f"{file} is missing; is {workdir} the --workdir of a training run?"
        ) from None
    return merge_with_defaults(saved, source=f"{file}: config")


def read_config_everywhere(workdir: epath.Path) -> ml_collections.ConfigDict:
    """`read_config` by the first of several hosts, for all."""
    text = hosts.from_first(lambda: read_config(workdir).to_json_best_effort())
    return merge_with_defaults(json.loads(text), source=f"{workdir / CONFIG}: config")


def _saved_config(file: epath.Path) -> dict[str, Any]:
    """The content of a config.json.

    Raises:
      FileNotFoundError: where it is missing.
      ValueError: where it is damaged.
    """
    try:
        saved = json.loads(storage.read(file).decode())
        if not isinstance(saved, dict):
            raise ValueError(f"it holds a {type(saved).__name__}")
        if not saved:
            raise ValueError("it holds no field")
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{file} is damaged ({error}); write the config of the run there, or train it again"
            " in another --workdir"
        ) from error
    return saved
