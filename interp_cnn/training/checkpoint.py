"""Checkpoints with orbax: the state and the configuration of a run.

The position in the data is the number of steps. Arrays are written without their placement on
devices, so a run goes on, and is looked at, on any number of devices and hosts.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from etils import epath

from interp_cnn import hosts, storage
from interp_cnn.losses.categories import FilterActivity
from interp_cnn.training.state import TrainState, first_other_shape, named_leaves

_GIB = 2**30
_SUMS = "checksums"  # the item of a checkpoint with the hashes of its arrays
# In what tensorstore says of a bucket that cannot be reached: its checkpoints may be whole.
_NO_WAY = (
    *("UNAVAILABLE", "DEADLINE_EXCEEDED", "PERMISSION_DENIED", "UNAUTHENTICATED"),
    *("RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL"),
)


class _Manager(ocp.CheckpointManager):
    """A manager that does not ask whether the run is told to stop.

    It would ask on the first host alone, by the number of the checkpoint's step: JAX would take
    that for the host's count of steps (`hosts.StopNotice`), and hosts would stop at different ones.
    """

    def reached_preemption(self, step: int) -> bool:
        """Never."""
        return False


class Checkpoints:
    """The checkpoints of one network in a folder, read and written by the first host alone.

    Args:
      folder: the folder of the checkpoints; it is made.
      keep: number of latest checkpoints that are kept.
      tidy: whether to remove what a save left that was killed; not where another process may save.
    """

    def __init__(self, folder: epath.Path, *, keep: int = 2, tidy: bool = False):
        self.folder = storage.absolute(folder)
        self._known: int | None = None  # step of the latest that was saved or restored
        self._manager: _Manager | None = None
        if not hosts.is_first():
            return
        storage.make_folder(self.folder)
        alone = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0})
        self._manager = _Manager(
            self.folder,
            item_handlers={
                "state": ocp.StandardCheckpointHandler(multiprocessing_options=alone),
                "config": ocp.JsonCheckpointHandler(multiprocessing_options=alone),
                _SUMS: ocp.JsonCheckpointHandler(multiprocessing_options=alone),
            },
            # Saves are synchronous: when one fails, training must not go on as if it had not.
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep,
                enable_async_checkpointing=False,
                create=False,
                cleanup_tmp_directories=tidy,
                multiprocessing_options=alone,
            ),
        )

    @property
    def latest_step(self) -> int | None:
        """Step of the latest complete checkpoint, or None.

        Other hosts than the first know of those that were saved or restored since they started.
        """
        return self._known if self._manager is None else self._manager.latest_step()

    def check_space(self, state: TrainState) -> None:
        """Raise an OSError unless a checkpoint of this state fits; a bucket has room."""
        if self._manager is None or storage.is_remote(self.folder):
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

    def save(self, state: TrainState, config: dict[str, Any]) -> None:
        """Save everything that a resumed run needs.

        Raises:
          OSError: where the disk is full or cannot be written; earlier checkpoints are kept.
        """
        step = int(state.step)
        if self._manager is None:
            self._known = step
            return
        self.check_space(state)
        if step == self.latest_step:
            return
        arrays = jax.tree.map(np.asarray, jax.device_get(state))
        try:
            with storage.reaching(self.folder, writing=True):
                self._manager.save(
                    step,
                    args=ocp.args.Composite(
                        state=ocp.args.StandardSave(arrays),
                        config=ocp.args.JsonSave(config),
                        **{_SUMS: ocp.args.JsonSave(_checksums(arrays))},
                    ),
                )
        except (OSError, ValueError, RuntimeError) as error:  # tensorstore raises the latter two
            raise OSError(
                f"the checkpoint of step {step} could not be written to {self.folder}"
                f" ({_first_line(error)}); {self.last_good()}"
            ) from error

    def restore(self, state: TrainState) -> TrainState | None:
        """The latest state that can be read, on all hosts; None where there is no checkpoint.

        A checkpoint that is damaged is said and set aside, so that its step can be saved again.

        Args:
          state: a state of the same shapes.

        Raises:
          ValueError: where the latest is of another network, or none can be read.
        """
        found = None
        if self._manager is not None and self._manager.all_steps():
            found, damaged = self._latest_readable(lambda step: self._read(step, state))
            for step in damaged:
                (self.folder / str(step)).rename(self._aside(step))
            self._manager.reload()
        if not hosts.broadcast(np.int32(found is not None)):
            return None
        restored = hosts.broadcast(state if found is None else found)
        self._known = int(restored.step)
        return restored

    def restore_for_evaluation(self) -> tuple[int, Any, dict[str, FilterActivity]]:
        """Step, variables and filters' activity of the latest checkpoint that can be read.

        To be called on the first host alone.

        Raises:
          FileNotFoundError: where there is no checkpoint.
          ValueError: where none can be read.
        """
        if self._manager is None or not self._manager.all_steps():
            raise FileNotFoundError(f"{self.folder} holds no checkpoint; train the network first")
        state, _ = self._latest_readable(self._read)
        activity = {name: FilterActivity(**sums) for name, sums in state["activity"].items()}
        # Checkpoints of networks without batch statistics may have no `model_state`.
        variables = {"params": state["params"], **(state.get("model_state") or {})}
        return int(state["step"]), variables, activity

    def _latest_readable(self, read: Callable[[int], Any]) -> tuple[Any, list[int]]:
        """The latest state that can be read, and the steps of later ones that cannot."""
        assert self._manager is not None
        damaged: list[int] = []
        gone = False
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                found = read(step)
            except (_OtherNetworkError, MemoryError):
                raise
            except Exception as error:  # orbax and tensorstore raise all kinds
                if not (self.folder / str(step)).exists():
                    gone = True  # removed by a training that has saved later ones meanwhile
                    continue
                why = _first_line(error)
                if _is_passing(error) or self._cannot_be_opened(step, error):
                    raise OSError(
                        f"the checkpoint of step {step} in {self.folder} cannot be read"
                        f" now ({why}); check disk, network and credentials, and run the same"
                        " command again"
                    ) from error
                hosts.say(f"the checkpoint of step {step} in {self.folder} is damaged ({why})")
                damaged.append(step)
                continue
            if damaged:
                hosts.say(f"the checkpoint before it, of step {step}, is taken instead")
            return found, damaged
        if gone:
            self._manager.reload()
            if self._manager.all_steps():
                return self._latest_readable(read)
        raise ValueError(
            f"no checkpoint in {self.folder} can be read; delete that folder and train again"
        )

    def _cannot_be_opened(self, step: int, error: Exception) -> bool:
        """Whether the files of a checkpoint are out of reach, which tensorstore and orbax hide."""
        if storage.is_remote(self.folder):
            return any(code in str(error) for code in _NO_WAY)
        try:
            for folder, _, names in os.walk(self.folder / str(step), onerror=_raise):
                for name in names:
                    with open(os.path.join(folder, name), "rb"):
                        pass
        except OSError as found:
            return _is_passing(found)
        return False

    def _read(self, step: int, like: TrainState | None = None) -> Any:
        """A state as NumPy arrays: what the file says of devices does not matter.

        Args:
          step: the step of a checkpoint.
          like: a state whose structure the result has; None returns nested dicts.
        """
        assert self._manager is not None
        stored = self._manager.item_metadata(step)["state"].tree
        if like is not None:
            # Those of earlier versions have no `first_peaks`, nor a use for them.
            known = like if stored.get("first_peaks") else like.replace(first_peaks={})
            if difference := first_other_shape(stored, known):
                raise _OtherNetworkError(
                    f"the checkpoint of step {step} in {self.folder} does not fit this network"
                    f" ({difference} here); use the config it was trained with"
                )
        wanted = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), stored)
        verbosity = logging.get_verbosity()
        logging.set_verbosity(logging.FATAL)  # orbax logs the traceback of an error that it raises
        try:
            args = ocp.args.Composite(state=ocp.args.StandardRestore(wanted))
            restored = self._manager.restore(step, args=args)["state"]
            sums = self._sums(step, named_leaves(restored))
        finally:
            logging.set_verbosity(verbosity)
        if sums is not None:
            _check_sums(restored, sums)
        if like is None:
            return restored
        # By name: a structure may have got empty parts since it was written.
        by_name = named_leaves(restored)
        return jax.tree.unflatten(
            jax.tree.structure(like),
            [by_name.get(name, leaf) for name, leaf in named_leaves(like).items()],
        )

    def _sums(self, step: int, names: Iterable[str]) -> Mapping[str, str] | None:
        """The hashes of these arrays of a checkpoint; None where there are none or damaged ones."""
        assert self._manager is not None
        if not (self.folder / str(step) / _SUMS).exists():  # not in those of earlier versions
            return None
        args = ocp.args.Composite(**{_SUMS: ocp.args.JsonRestore()})
        try:
            sums = self._manager.restore(step, args=args)[_SUMS]
        except (ValueError, FileNotFoundError):
            sums = None
        if not isinstance(sums, Mapping) or not set(names) <= sums.keys():
            hosts.say(
                f"the hashes of the checkpoint of step {step} in {self.folder} are damaged: its"
                " arrays are taken unchecked"
            )
            return None
        return sums

    def _aside(self, step: int) -> epath.Path:
        """A name for a damaged checkpoint that is not taken."""
        names = (self.folder / f"damaged-{step}-{number}" for number in range(1, 1_000))
        return next(name for name in names if not name.exists())

    def last_good(self) -> str:
        """Half a sentence on the latest complete checkpoint."""
        step = self.latest_step
        return (
            "there is no checkpoint" if step is None else f"the checkpoint of step {step} is kept"
        )

    def close(self) -> None:
        """Wait for what is being written."""
        if self._manager is not None:
            self._manager.close()


def _checksums(state: Any) -> dict[str, str]:
    """A hash of each array of a state, by its name: storage checks no more than what it packs."""
    return {
        name: hashlib.sha256(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data).hexdigest()
        for name, leaf in named_leaves(state).items()
    }


def _check_sums(state: Any, wanted: Mapping[str, str]) -> None:
    """Raise a ValueError where an array is not the one that was saved."""
    for name, found in _checksums(state).items():
        if found != wanted[name]:
            raise ValueError(f"{name} is not what was saved")


class _OtherNetworkError(ValueError):
    """A checkpoint is whole, but of another network."""


def _raise(error: OSError) -> NoReturn:
    raise error


def _is_passing(error: Exception) -> bool:
    """Whether the system could not read, which says nothing of what is there."""
    missing = isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError)
    return isinstance(error, OSError) and error.errno is not None and not missing


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
