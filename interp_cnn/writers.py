"""Metrics of training: to the terminal, a JSONL file and TensorBoard."""

import json
from collections.abc import Mapping
from pathlib import Path

from tensorboardX import SummaryWriter
from tqdm import tqdm


class MetricWriter:
    """Writes metrics of the steps of one network, and shows its progress.

    Args:
      folder: gets `metrics.jsonl` and the TensorBoard events.
      name: shown in the terminal.
      first_step: number of steps that are done already; what an interrupted run wrote about later
        ones is dropped, for they come again.
      total_steps: length of the run.
    """

    def __init__(self, folder: Path, *, name: str, first_step: int, total_steps: int):
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "metrics.jsonl"
        kept = []
        if self._path.exists():
            for line in self._path.read_text().splitlines():
                # A run that was killed can leave half a line, the last one.
                if line.endswith("}") and json.loads(line)["step"] <= first_step:
                    kept.append(line + "\n")
        self._path.write_text("".join(kept))
        self._events = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step + 1)
        self._bar = tqdm(
            total=total_steps, initial=first_step, desc=name, unit="step", dynamic_ncols=True
        )

    def advance(self) -> None:
        """One step is done."""
        self._bar.update()

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics of a step."""
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")
        for name, value in metrics.items():
            self._events.add_scalar(name, value, step)
        shown = {name: f"{metrics[name]:.3f}" for name in ("loss", "accuracy") if name in metrics}
        self._bar.set_postfix(shown)

    def close(self) -> None:
        """Flush everything."""
        self._bar.close()
        self._events.close()


class NoWriter:
    """What hosts other than the first have in place of a `MetricWriter`."""

    def advance(self) -> None:
        """One step is done."""

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics of a step, which the first host writes."""

    def close(self) -> None:
        """Nothing is open."""
