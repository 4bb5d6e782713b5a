"""Checkpoints with orbax: state, position in the data, configuration."""

import shutil
from typing import Any

import grain
import jax
import orbax.checkpoint as ocp
from etils import epath

from interp_cnn import storage
from interp_cnn.activity import FilterActivity
from interp_cnn.state import TrainState

_GIB = 2**30


class Checkpoints:
    """The checkpoints of one network in a folder.

    Args:
      folder: where they are; it is made with the first one.
      keep: number of latest checkpoints that are kept.
    """

    def __init__(self, folder: epath.Path, *, keep: int = 2):
        self.folder = storage.absolute(folder)
        self._manager = ocp.CheckpointManager(
            self.folder,
            # Saves are synchronous: when one fails, training must not go on as if it had not.
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep, enable_async_checkpointing=False
            ),
        )

    @property
    def latest_step(self) -> int | None:
        """Step of the latest complete checkpoint, or None."""
        return self._manager.latest_step()

    def preempted(self, step: int) -> bool:
        """Whether the cluster has announced that it takes the machine away."""
        return self._manager.reached_preemption(step)

    def check_space(self, state: TrainState) -> None:
        """Raise an OSError unless a checkpoint of this state fits; a bucket has room."""
        if storage.is_remote(self.folder):
            return
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        free = shutil.disk_usage(self.folder).free
        if free < 1.05 * needed:
            raise OSError(
                f"no space left for a checkpoint in {self.folder}: it needs"
                f" {needed / _GIB:.2f} GiB and {free / _GIB:.2f} GiB are free;"
                f" {self.last_good()}; free some space or choose another --workdir, and run the"
                " same command again"
            )

    def save(self, state: TrainState, data: grain.DatasetIterator, config: dict[str, Any]) -> None:
        """Save everything that a resumed run needs.

        Raises:
          OSError: where the disk is full or cannot be written; earlier checkpoints are kept.
        """
        self.check_space(state)
        step = int(state.step)
        if step == self.latest_step:
            return
        try:
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state),
                    data=grain.checkpoint.CheckpointSave(data),
                    config=ocp.args.JsonSave(config),
                ),
            )
        except (OSError, ValueError, RuntimeError) as error:  # tensorstore raises the latter two
            raise OSError(
                f"the checkpoint of step {step} could not be written to {self.folder}"
                f" ({str(error).splitlines()[0]}); {self.last_good()}"
            ) from error

    def restore(self, state: TrainState, data: grain.DatasetIterator | None = None) -> TrainState:
        """The latest state; `state` has its shapes, `data` is put to its position.

        Raises:
          FileNotFoundError: where there is no checkpoint.
          ValueError: where the latest is of another network.
        """
        step = self._step_to_restore()
        items: dict[str, Any] = {
            "state": ocp.args.StandardRestore(jax.tree.map(ocp.utils.to_shape_dtype_struct, state))
        }
        if data is not None:
            items["data"] = grain.checkpoint.CheckpointRestore(data)
        try:
            restored = self._manager.restore(step, args=ocp.args.Composite(**items))
        except (ValueError, KeyError) as error:
            raise ValueError(
                f"the checkpoint of step {step} in {self.folder} does not fit this network"
                f" ({str(error).splitlines()[0]}); use the config it was trained with"
            ) from error
        return restored["state"]

    def restore_for_evaluation(self) -> tuple[int, Any, dict[str, FilterActivity]]:
        """Step, parameters and filters' activity of the latest checkpoint.

        Raises:
          FileNotFoundError: where there is no checkpoint.
        """
        step = self._step_to_restore()
        restored = self._manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore())
        )
        state = restored["state"]
        activity = {name: FilterActivity(**sums) for name, sums in state["activity"].items()}
        return step, state["params"], activity

    def _step_to_restore(self) -> int:
        step = self.latest_step
        if step is None:
            raise FileNotFoundError(f"{self.folder} holds no checkpoint; train the network first")
        return step

    def last_good(self) -> str:
        """Half a sentence on the latest complete checkpoint."""
        step = self.latest_step
        return (
            "there is no checkpoint" if step is None else f"the checkpoint of step {step} is kept"
        )

    def close(self) -> None:
        """Wait for what is being written."""
        self._manager.close()
