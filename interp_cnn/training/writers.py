"""Metrics of training: to the terminal, a JSONL file and TensorBoard."""

import json
import time
from collections.abc import Mapping
from typing import Any

from etils import epath
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar
from tqdm import tqdm

from interp_cnn.storage import Mirror, write
from interp_cnn.workdir import EVENTS, TRAINING_METRICS, training_metrics

_SECONDS = 30.0  # between copies to a bucket, which takes one a second of a file at most


class MetricWriter:
    """Writes metrics of the steps of one network, and shows its progress.

    In a bucket they arrive from time to time, and with `flush` and `close`.

    Args:
      folder: the folder for `metrics.jsonl` and the TensorBoard events.
      name: the name that is shown in the terminal.
      first_step: number of steps that are done already; what an interrupted run wrote about later
        ones is dropped, for they come again.
      total_steps: length of the run.
    """

    def __init__(self, folder: epath.Path, *, name: str, first_step: int, total_steps: int):
        self._mirror = Mirror(folder, fetch=(TRAINING_METRICS,))
        self._path = self._mirror.local / TRAINING_METRICS
        kept = []
        if self._path.exists():
            known = training_metrics(self._path.read_text(errors="replace"))
            kept = [json.dumps(of) + "\n" for of in known if of["step"] <= first_step]
        write(self._path, "".join(kept))
        # The thread of tensorboardX's SummaryWriter dies of a full disk, and is then waited for.
        folder_of_events = self._mirror.local / EVENTS
        folder_of_events.mkdir(parents=True, exist_ok=True)
        self._events = EventsWriter(str(folder_of_events / "events"))
        # TensorBoard drops what an interrupted run wrote about later steps.
        purge = SessionLog(status=SessionLog.START)
        self._event(first_step + 1, session_log=purge)
        self._mirror.send()
        self._sent = time.monotonic()
        self._bar = tqdm(
            total=total_steps, initial=first_step, desc=name, unit="step", dynamic_ncols=True
        )

    def advance(self) -> None:
        """One step is done."""
        self._bar.update()

    def _event(self, step: int, **content: Any) -> None:
        self._events.write_event(Event(step=step, wall_time=time.time(), **content))

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics of a step.

        Raises:
          OSError: where they cannot be written.
        """
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")
        for name, value in metrics.items():
            self._event(step, summary=scalar(name, value))
        shown = {name: f"{metrics[name]:.3f}" for name in ("loss", "accuracy") if name in metrics}
        self._bar.set_postfix(shown)
        if time.monotonic() - self._sent > _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Bring what is written to its place, before a checkpoint says that it is there.

        Raises:
          OSError: where a bucket cannot be written.
        """
        self._events.flush()
        self._mirror.send()
        self._sent = time.monotonic()

    def close(self) -> None:
        """Flush everything.

        Raises:
          OSError: where a bucket cannot be written.
        """
        self._bar.close()
        self._events.close()
        self._mirror.close()


class NoWriter:
    """What hosts other than the first have in place of a `MetricWriter`."""

    def advance(self) -> None:
        """One step is done."""

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics of a step, which the first host writes."""

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""
