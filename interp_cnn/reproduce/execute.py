"""Does the runs that are not done yet; what cannot be done is remembered with its reason."""

import json
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from etils import epath
from tqdm import tqdm

from interp_cnn import commands, storage
from interp_cnn.config import FREE_FIELDS, INTERPRETABLE, ORDINARY, first_difference
from interp_cnn.reproduce.plan import Run
from interp_cnn.reproduce.tables import Experiment
from interp_cnn.workdir import CONFIG, RESULTS, RUNS, TIME, TRAINING_METRICS


class Outcome(NamedTuple):
    """What came of one run: the results as in its metrics.json, or why there are none."""

    results: dict[str, Any] | None
    reason: str = ""


Outcomes = dict[tuple[Experiment, int], Outcome]

NOT_YET = Outcome(None, "not run yet")


def folder_of(run: Run, workdir: epath.Path) -> epath.Path:
    """Work directory of one run."""
    return workdir / RUNS / run.name


def finished(run: Run, workdir: epath.Path) -> dict[str, Any] | None:
    """Results of a run that is done with this configuration, or None."""
    folder = folder_of(run, workdir)
    saved, results = _read(folder / CONFIG), _read(folder / RESULTS)
    if saved is None or results is None:
        return None
    # A run may change the evaluation when it goes on, but then its results are others.
    free = tuple(name for name in FREE_FIELDS if name not in ("networks", "eval."))
    return None if first_difference(saved, run.config.to_dict(), free) else results


def _read(file: epath.Path) -> dict[str, Any] | None:
    """Content of a JSON file; None where it is missing, half written or damaged."""
    try:
        content = json.loads(storage.read(file))
    except (FileNotFoundError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def begun(run: Run, workdir: epath.Path) -> bool:
    """Whether training of a run has begun."""
    files = (
        folder_of(run, workdir) / name / TRAINING_METRICS for name in (ORDINARY, INTERPRETABLE)
    )
    with storage.reaching(workdir):
        return any(file.exists() for file in files)


def check_folders(planned: Sequence[Run], workdir: epath.Path) -> None:
    """Raise a ValueError where a run was begun with another configuration."""
    for run in planned:
        folder = folder_of(run, workdir)
        saved = _read(folder / CONFIG)
        if saved is None or not begun(run, workdir):
            continue
        difference = first_difference(saved, run.config.to_dict())
        if difference:
            raise ValueError(
                f"{folder} belongs to a run of another config ({difference}); choose another"
                " --workdir, or delete that folder"
            )


def execute(
    planned: Sequence[Run],
    workdir: epath.Path,
    after: Callable[[Outcomes], object] = lambda _: None,
) -> Outcomes:
    """Do the runs in order; those that are done are kept, one that was stopped goes on.

    Args:
      planned: the runs, from `plan`.
      workdir: the folder for the work directories of the runs.
      after: a function that is called with all outcomes so far, at the start and after each run
        that is done here.

    Returns:
      The outcome of every run.

    Raises:
      ValueError: where a run was begun with another configuration.
      OSError: where something cannot be written; run the same command again to go on.
    """
    check_folders(planned, workdir)
    outcomes: Outcomes = {}
    for run in planned:
        results = finished(run, workdir)
        outcomes[run.experiment, run.seed] = NOT_YET if results is None else Outcome(results)
    after(outcomes)
    impossible: dict[Experiment, str] = {}
    for number, run in enumerate(planned, 1):
        key = (run.experiment, run.seed)
        if outcomes[key].results is not None:
            continue
        if run.experiment in impossible:  # another seed would find the same
            outcomes[key] = Outcome(None, impossible[run.experiment])
            continue
        tqdm.write(f"run {number} of {len(planned)}: {run.name}")
        try:
            outcomes[key] = Outcome(_train(run, workdir))
        except FloatingPointError as error:
            outcomes[key] = Outcome(None, str(error))
        except (ValueError, FileNotFoundError) as error:
            outcomes[key] = Outcome(None, str(error))
            impossible[run.experiment] = str(error)
        if outcomes[key].reason:
            tqdm.write(f"{run.name} is left empty: {outcomes[key].reason}")
        jax.clear_caches()  # the programs of this run are of no use to the next
        after(outcomes)
    return outcomes


def _train(run: Run, workdir: epath.Path) -> dict[str, Any]:
    folder = folder_of(run, workdir)
    if not begun(run, workdir):
        # Left by a run that had no data or weights; other ones may be given now.
        (folder / CONFIG).unlink(missing_ok=True)
    # It would be taken for the result of this configuration after a stop in between.
    (folder / RESULTS).unlink(missing_ok=True)
    anew = not begun(run, workdir)
    start = time.perf_counter()
    results = commands.train_and_evaluate(run.config, folder)
    if anew:
        seconds = round(time.perf_counter() - start, 1)
        storage.write(folder / TIME, json.dumps({"seconds": seconds}) + "\n")
    return results


def measured_seconds(run: Run, workdir: epath.Path) -> float | None:
    """How long a finished run took that was never interrupted, in seconds; else None."""
    seconds = (_read(folder_of(run, workdir) / TIME) or {}).get("seconds")
    return float(seconds) if isinstance(seconds, int | float) and seconds >= 0 else None
