"""Does the runs that are not done yet; what cannot be done is remembered with its reason."""

import contextlib
import functools
import json
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from etils import epath
from jax.errors import JaxRuntimeError
from tqdm import tqdm

from interp_cnn import commands, storage
from interp_cnn.config import FREE_FIELDS, first_difference
from interp_cnn.evaluation.results import Results, read_results
from interp_cnn.preflight import check_run
from interp_cnn.reproduce.plan import Run
from interp_cnn.reproduce.processes import in_processes
from interp_cnn.reproduce.tables import Experiment
from interp_cnn.workdir import (
    CONFIG,
    LOG,
    PAGE,
    REPORT,
    RESULTS,
    RUNS,
    TIME,
    begun,
)


class Outcome(NamedTuple):
    """What came of one run: its results, or why there are none.

    Attributes:
      results: the results; None where there are none.
      reason: why there are none.
      of_all_seeds: whether another seed would find the same reason.
    """

    results: Results | None
    reason: str = ""
    of_all_seeds: bool = False


Outcomes = dict[tuple[Experiment, int], Outcome]

NOT_YET = Outcome(None, "not run yet")


def folder_of(run: Run, workdir: epath.Path) -> epath.Path:
    """Work directory of one run."""
    return workdir / RUNS / run.name


def finished(run: Run, workdir: epath.Path) -> Results | None:
    """Results of a run that is done with this configuration, or None."""
    folder = folder_of(run, workdir)
    saved, results = _read(folder / CONFIG), _results(folder / RESULTS)
    # The report is written last; a run that was stopped while it was drawn is evaluated again.
    if saved is None or results is None or not (folder / REPORT / PAGE).exists():
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


def _results(file: epath.Path) -> Results | None:
    """Figures of a run; None where the file is missing or cannot be read."""
    try:
        return read_results(file)
    except (FileNotFoundError, ValueError):
        return None


def check_folders(planned: Sequence[Run], workdir: epath.Path) -> None:
    """Raise a ValueError where a run was begun with another configuration."""
    for run in planned:
        folder = folder_of(run, workdir)
        saved = _read(folder / CONFIG)
        if saved is None or not begun(folder):
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
    *,
    jobs: int = 1,
) -> Outcomes:
    """Do the runs in order; those that are done are kept, one that was stopped goes on.

    A run for which a device has no memory is left empty too, and beside others one whose process is
    killed.

    Args:
      planned: the runs, from `plan`.
      workdir: the folder for the work directories of the runs.
      after: a function that is called with all outcomes so far, at the start and after each run
        that is done here.
      jobs: how many runs there are at a time. More than one are processes of their own, which
        share the devices; what they print is in the log of each run's folder, unless that is in a
        bucket. They import the main module, which must do its work under
        `if __name__ == "__main__":`.

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

    def left() -> Iterator[Run]:
        for number, run in enumerate(planned, 1):
            key = (run.experiment, run.seed)
            if outcomes[key].results is not None:
                continue
            if run.experiment in impossible:
                outcomes[key] = Outcome(None, impossible[run.experiment])
                continue
            tqdm.write(f"run {number} of {len(planned)}: {run.name}")
            yield run

    several = jobs > 1
    attempt = functools.partial(_attempt, workdir=workdir, alone=not several)
    attempts: Generator[tuple[Run, Outcome], None, None]
    if several:
        jobs = min(jobs, sum(outcome.results is None for outcome in outcomes.values()))
        log = functools.partial(_log, workdir=workdir)
        died = functools.partial(Outcome, None)
        attempts = in_processes(attempt, left(), jobs, log=log, ended=died)
    else:
        attempts = ((run, attempt(run)) for run in left())
    with contextlib.closing(attempts):  # ends the processes
        for run, outcome in attempts:
            outcomes[run.experiment, run.seed] = outcome
            if outcome.of_all_seeds:
                impossible[run.experiment] = outcome.reason
            if outcome.reason:
                tqdm.write(f"{run.name} is left empty: {outcome.reason}")
            elif several:
                tqdm.write(f"{run.name} is done")
            after(outcomes)
    return outcomes


def _log(run: Run, workdir: epath.Path) -> Path | None:
    """The file for what a run prints; None in a bucket, where nothing can be added to a file."""
    return None if storage.is_remote(workdir) else Path(folder_of(run, workdir) / LOG)


def _attempt(run: Run, workdir: epath.Path, *, alone: bool) -> Outcome:
    workdir = storage.as_path(workdir)  # in a new process, a bucket's client is set up by that
    try:
        return Outcome(_train(run, workdir, timed=alone))
    except FloatingPointError as error:
        return Outcome(None, str(error))
    except (ValueError, FileNotFoundError) as error:
        # What is wrong in the folder of this run is no fault of the others.
        own = str(folder_of(run, workdir)) in str(error)
        return Outcome(None, str(error), of_all_seeds=not own)
    except RuntimeError as error:
        # Beside others, a device that lacks memory says so in the words of many libraries.
        if not (_lacks_device(error) or (not alone and isinstance(error, JaxRuntimeError))):
            raise
        advice = "" if alone else "; fewer --jobs leave each more memory"
        return Outcome(None, str(error).splitlines()[0] + advice)
    finally:
        jax.clear_caches()  # the programs of this run are of no use to the next


def _lacks_device(error: RuntimeError) -> bool:
    """Whether a device has no memory, or no room for another process at all."""
    return "RESOURCE_EXHAUSTED" in str(error) or str(error).startswith("Unable to initialize")


def _train(run: Run, workdir: epath.Path, *, timed: bool) -> Results:
    folder = folder_of(run, workdir)
    anew = not begun(folder)
    if anew:
        # Left by a run that had no data or weights, perhaps damaged.
        (folder / CONFIG).unlink(missing_ok=True)
    check_run(run.config, read_weights=False)  # nothing is lost where it cannot be done
    # They would be taken for those of this configuration after a stop in between.
    for former in (folder / RESULTS, folder / REPORT / PAGE):
        former.unlink(missing_ok=True)
    start = time.perf_counter()
    results = commands.train_and_evaluate(run.config, folder)
    if anew and timed:  # beside others a run takes longer
        seconds = round(time.perf_counter() - start, 1)
        storage.write(folder / TIME, json.dumps({"seconds": seconds}) + "\n")
    return results


def measured_seconds(run: Run, workdir: epath.Path) -> float | None:
    """Seconds that a finished run took alone and without interruption; else None."""
    seconds = (_read(folder_of(run, workdir) / TIME) or {}).get("seconds")
    return float(seconds) if isinstance(seconds, int | float) and seconds >= 0 else None
