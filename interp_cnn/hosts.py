"""Several hosts, one process on each: joining, dividing the work, and learning of each other.

On a single host every function here is the trivial one and nothing is sent.
"""

import io
import itertools
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from tqdm import tqdm

from interp_cnn import watch

# Bytes of all hosts together that are exchanged at once: they pass through each device.
_AT_ONCE = 2**28


def is_first() -> bool:
    """Whether this is the host that writes: process 0."""
    return jax.process_index() == 0


def say(text: str) -> None:
    """Print a line above the progress bars, on the first host alone."""
    if is_first():
        tqdm.write(text)


def bar(*args: Any, **options: Any) -> Any:
    """A progress bar of tqdm, shown on the first host alone."""
    return tqdm(*args, disable=not is_first(), **options)


def join(timeout: float) -> None:
    """Join the other hosts of this run; before anything else of JAX.

    Clusters that JAX knows (TPU pods, Slurm, Open MPI, Kubernetes) need nothing more. Elsewhere
    each host says JAX_COORDINATOR_ADDRESS=HOST:PORT, JAX_NUM_PROCESSES and JAX_PROCESS_ID.
    From here on a host that ends for whatever reason ends the others, each with a sentence.

    Args:
      timeout: seconds to wait for the others; then the process ends with a sentence.

    Raises:
      ValueError: where the hosts cannot be told from the environment.
    """
    names = ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    number, index = (_whole_number(name) for name in names)
    address = os.environ.get("JAX_COORDINATOR_ADDRESS", "")
    if address:
        _check_address(address, listens=index == 0)
    who = f"{number} hosts" if number else "hosts"
    late = (
        f"not all {who} of this run came together within {timeout:g} s"
        + (f" at {address}" if address else "")
        + "; start the same command on every host, and let them reach that address"
    )
    try:
        # JAX ends a process that waited in vain with a stack trace: it is given longer.
        with _deadline(timeout, late):
            jax.distributed.initialize(
                num_processes=number,
                process_id=index,
                initialization_timeout=int(timeout) + 60,
            )
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"--distributed found no cluster ({error}); set JAX_COORDINATOR_ADDRESS=HOST:PORT,"
            f" {names[0]} and {names[1]} on every host"
        ) from error
    if jax.process_count() > 1:
        _check_devices()  # before anything is exchanged
        _watch_each_other(address)
    else:
        _end_on_sigterm()  # which JAX holds back of a single process, too


def _check_devices() -> None:
    """Raise a ValueError where hosts have different numbers of devices: shares would differ."""
    counts = Counter(device.process_index for device in jax.devices())
    if len(set(counts.values())) > 1:
        each = ", ".join(f"host {host} {number}" for host, number in sorted(counts.items()))
        raise ValueError(f"all hosts need the same number of devices, here they have: {each}")


def _check_address(address: str, *, listens: bool) -> None:
    """Raise a ValueError for an address that JAX would crash at: without a port, or taken."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ValueError(
            f"JAX_COORDINATOR_ADDRESS={address!r} must be HOST:PORT with a port of 1 to 65535; set"
            " it on every host"
        )
    if listens:
        try:
            with socket.socket() as one:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                one.bind(("", int(port)))
        except OSError as error:
            raise ValueError(
                f"the port of JAX_COORDINATOR_ADDRESS={address!r} cannot be used"
                f" ({error.strerror}); choose another on every host"
            ) from error


def _whole_number(name: str) -> int | None:
    text = os.environ.get(name)
    if not text:
        return None
    if not text.isdecimal():
        raise ValueError(f"{name}={text!r} must be a whole number, set it on every host")
    return int(text)


@contextmanager
def _deadline(seconds: float, sentence: str) -> Iterator[None]:
    timer = threading.Timer(seconds, watch.end_process, [sentence])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _watch_each_other(address: str) -> None:
    """Connect the hosts, so that each notices at once when another one is gone."""
    index, number = jax.process_index(), jax.process_count()
    if index == 0:
        server = watch.Server(number, address.rpartition(":")[0])
        from_first(lambda: server.address)
        server.start()
    else:
        watch.Client(index, number, from_first(lambda: "")).start()


def check_joined() -> None:
    """Raise a ValueError where this is one of several processes that have not joined."""
    count = jax.process_count()
    if count == 1 and not jax.distributed.is_initialized():
        count = _whole_number("JAX_NUM_PROCESSES") or 1
    if count > 1 and not watch.watching():
        raise ValueError(f"this is one of {count} processes; start each of them with --distributed")


def end_on_sigterm() -> None:
    """Let SIGTERM end the process again: JAX holds it back from `join` on, for the training."""
    if jax.process_count() > 1:
        _end_on_sigterm()


def _end_on_sigterm() -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class StopNotice:
    """Whether one of the hosts was told to stop: all learn of it before the same step.

    JAX passes a SIGTERM or the notice of a preemption on to all hosts, and finds a step that none
    of them has begun. Steps are counted over all networks that a process trains, for that step
    may be one of the next network.
    """

    _calls = itertools.count(1)

    def reached(self) -> bool:
        """To be asked after every step, on all hosts alike."""
        return multihost_utils.reached_preemption_sync_point(next(self._calls))


def wait(name: str) -> None:
    """Wait until all hosts are here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def leave() -> None:
    """Part from the other hosts at the end of a run, when all are there."""
    wait("end")
    watch.say_goodbye()


def share(total: int, *, block: int = 1) -> tuple[int, int]:
    """First and stop of the stretch of images that is this host's share.

    Args:
      total: number of images.
      block: the stretches begin at multiples of it.

    >>> share(100, block=32)
    (0, 100)
    """
    blocks = -(-total // block)
    index, number = jax.process_index(), jax.process_count()
    first, stop = (min(blocks * k // number * block, total) for k in (index, index + 1))
    return first, stop


def gather(tree: Any) -> list[Any]:
    """What each host gives: a list of trees of NumPy arrays, to the bit, in order of the hosts.

    Args:
      tree: a tree of the same structure on all hosts; shapes may differ.
    """
    if jax.process_count() == 1:
        return [jax.tree.map(np.asarray, tree)]
    leaves, structure = jax.tree.flatten(tree)
    return [
        jax.tree.unflatten(structure, _unpacked(data, len(leaves)))
        for data in _gather_bytes(_packed(leaves))
    ]


def others(tree: Any) -> list[Any]:
    """What the other hosts give, see `gather`."""
    if jax.process_count() == 1:
        return []
    return [given for index, given in enumerate(gather(tree)) if index != jax.process_index()]


def joined(tree: Any) -> Any:
    """Arrays of all hosts joined along their first axis, in order of the hosts."""
    return jax.tree.map(lambda *parts: np.concatenate(parts), *gather(tree))


def total(tree: Any) -> Any:
    """Sums over the hosts."""
    return jax.tree.map(lambda *parts: sum(parts[1:], parts[0]), *gather(tree))


def broadcast(tree: Any) -> Any:
    """A tree of arrays as the first host has it; the other hosts give its shapes."""
    if jax.process_count() == 1:
        return tree
    return multihost_utils.broadcast_one_to_all(tree)


def from_first(make: Callable[[], str]) -> str:
    """A text that the first host makes; the others only learn it."""
    if jax.process_count() == 1:
        return make()
    return _gather_texts(make() if is_first() else "")[0]


def same_everywhere(what: str, text: str, compare: Callable[[str, str], str | None]) -> None:
    """Raise a ValueError where hosts differ.

    Args:
      what: the name of what is compared, for the message.
      text: the text of this host.
      compare: says in half a sentence what differs between the first host's text and another's;
        None where the difference does not matter.
    """
    if jax.process_count() == 1:
        return
    texts = _gather_texts(text)
    for number, other in enumerate(texts[1:], 1):
        difference = None if other == texts[0] else compare(texts[0], other)
        if difference:
            raise ValueError(
                f"{what} of host {number} is not that of host 0 ({difference}); give every host the"
                " same"
            )


def in_turn(work: Callable[[], Any]) -> Any:
    """Do something on the first host, and then on the others, that find it done where they share.

    Returns:
      What it returned here.
    """
    result = work() if is_first() else None
    wait("first host is done")
    return result if is_first() else work()


def _packed(leaves: list[Any]) -> np.ndarray:
    file = io.BytesIO()
    np.savez(file, *leaves)
    return np.frombuffer(file.getbuffer(), np.uint8)


def _unpacked(data: np.ndarray, number: int) -> list[np.ndarray]:
    with np.load(io.BytesIO(data.tobytes()), allow_pickle=False) as stored:
        return [stored[f"arr_{k}"] for k in range(number)]


def _gather_texts(text: str) -> list[str]:
    """A text of each host."""
    return [
        data.tobytes().decode() for data in _gather_bytes(np.frombuffer(text.encode(), np.uint8))
    ]


def _gather_bytes(data: np.ndarray) -> list[np.ndarray]:
    """Bytes of each host, of any length; JAX would turn float64 into float32 on the way."""
    halves = np.array([len(data) >> 31, len(data) & (2**31 - 1)], np.int32)
    lengths = [
        (int(high) << 31) + int(low) for high, low in multihost_utils.process_allgather(halves)
    ]
    most, chunk = max(lengths), max(_AT_ONCE // len(lengths), 1)
    everyone = [np.empty(length, np.uint8) for length in lengths]
    for first in range(0, most, chunk):
        padded = np.zeros(min(chunk, most - first), np.uint8)
        piece = data[first : first + chunk]
        padded[: len(piece)] = piece
        for row, given in zip(everyone, multihost_utils.process_allgather(padded), strict=True):
            part = row[first : first + chunk]
            part[:] = given[: len(part)]
    return everyone
