"""The page above the reports of the runs: the tables, the runs and how they were made."""

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from etils import epath

from interp_cnn.evaluation.results import Results
from interp_cnn.report.site import environment, writing_to
from interp_cnn.reproduce import layout
from interp_cnn.reproduce.execute import Outcome, Outcomes, folder_of, measured_seconds
from interp_cnn.reproduce.layout import Cells
from interp_cnn.reproduce.plan import Run
from interp_cnn.reproduce.request import Request
from interp_cnn.workdir import PAGE, REPORT, RUNS


class RunLine(NamedTuple):
    """A run in the list.

    Attributes:
      name: the name of the run.
      state: done, or why there is nothing.
      report: link to its own report, relative to the page; "" where there is none.
      minutes: the time that it took, or None where it was interrupted or others ran beside it.
    """

    name: str
    state: str
    report: str
    minutes: float | None


def write_overview(
    tables: Sequence[Cells],
    request: Request,
    planned: Sequence[Run],
    outcomes: Outcomes,
    workdir: epath.Path,
) -> epath.Path:
    """Write `report/index.html` in a work directory; returns its path.

    Raises:
      OSError: where it cannot be written.
    """
    folder = workdir / REPORT
    letters = layout.assign_letters(tables)
    done = [outcome.results for outcome in outcomes.values() if outcome.results is not None]
    page = (
        environment()
        .get_template("overview.html.j2")
        .render(
            title=layout.TITLE,
            about=layout.ABOUT,
            tables=[layout.lay_out(table, measurements, letters) for table, measurements in tables],
            letters=[(letter, text) for text, letter in letters.items()],
            runs=[_line(run, outcomes[run.experiment, run.seed], workdir) for run in planned],
            done=len(done),
            asked=_asked(request),
            made=_made(done),
        )
    )
    with writing_to(folder) as local:
        (local / PAGE).write_text(page, encoding="utf-8")
    return folder / PAGE


def _line(run: Run, outcome: Outcome, workdir: epath.Path) -> RunLine:
    name, seconds = run.name, measured_seconds(run, workdir)
    if outcome.results is None:
        return RunLine(name, outcome.reason, "", None)
    there = (folder_of(run, workdir) / REPORT / PAGE).is_file()
    return RunLine(
        name=name,
        state="done",
        report=f"../{RUNS}/{name}/{REPORT}/{PAGE}" if there else "",
        minutes=None if seconds is None else seconds / 60,
    )


def _asked(request: Request) -> list[tuple[str, str]]:
    """What the command line said, as pairs of a name and a text."""
    return [(name, _text(value)) for name, value in dataclasses.asdict(request).items()]


def _made(results: Sequence[Results]) -> list[tuple[str, str]]:
    """Device, versions and dates of the runs that are done, and when the page was written."""
    experiments = [one.experiment for one in results]
    versions = [
        f"{name} {version}" for one in experiments for name, version in one.versions.items()
    ]
    days = sorted(one.date[:10] for one in experiments)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    found = {
        "devices": [one.device for one in experiments],
        "versions": versions,
        "evaluated": [days[0], days[-1]] if days else [],
        "this page": [now],
    }
    return [(name, ", ".join(dict.fromkeys(texts))) for name, texts in found.items() if texts]


def _text(value: Any) -> str:
    if value is None or value == "" or value == {}:
        return "not set"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={of}" for name, of in value.items())
    return ", ".join(value) if isinstance(value, tuple) else str(value)
