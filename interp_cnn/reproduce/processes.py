"""Calls of a function at the same time, each in a process of its own."""

import contextlib
import multiprocessing
import os
import threading
import traceback
from collections.abc import Callable, Generator, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")

# JAX takes three quarters of a GPU's memory for a process, unless this says another share.
_SHARE = "XLA_PYTHON_CLIENT_MEM_FRACTION"
_OF_ALL = 0.9  # share of a GPU's memory for all processes together; the rest is for their kernels


def in_processes(
    function: Callable[[_Item], _Answer],
    items: Iterator[_Item],
    jobs: int,
    *,
    log: Callable[[_Item], Path | None],
) -> Generator[tuple[_Item, _Answer | ChildProcessError], None, None]:
    """Call a function for items, so many at a time; an item is taken when its turn comes.

    Each process gets an equal share of a GPU's memory, unless XLA_PYTHON_CLIENT_MEM_FRACTION is
    set. The processes end with this one, however it ends.

    Args:
      function: a function of an item; both can be pickled.
      items: the items.
      jobs: the number of processes at a time.
      log: of an item, the file to which what its process prints is added; None drops it.

    Yields:
      An item and what the function returned, as they come; a ChildProcessError as the answer of a
      process that ended without one.

    Raises:
      BaseException: whatever the function raised.
    """
    os.environ.setdefault(_SHARE, f"{_OF_ALL / jobs:.3f}")
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    running: dict[Connection, tuple[BaseProcess, _Item]] = {}
    try:
        while True:
            while len(running) < jobs and (item := next(items, None)) is not None:
                ours, theirs = context.Pipe()
                process: BaseProcess = context.Process(
                    target=_answer, args=(theirs, function, item, log(item))
                )
                process.start()
                theirs.close()  # so that the end of the process is seen here
                running[ours] = process, item
            if not running:
                return
            for connection in wait(list(running)):
                assert isinstance(connection, Connection)
                process, item = running.pop(connection)
                yield item, _received(connection, process, log(item))
    finally:
        for process, _ in running.values():
            process.terminate()
        for process, _ in running.values():
            process.join()


def _received(connection: Connection, process: BaseProcess, log: Path | None) -> Any:
    """The answer of a process that has sent one or has ended."""
    answer = None
    with contextlib.suppress(EOFError, ConnectionResetError):
        answer = connection.recv()
    connection.close()
    process.join()
    if isinstance(answer, BaseException):
        raise answer
    if answer is None:
        where = f"; {log} has what it printed" if log else ""
        return ChildProcessError(
            f"its process ended with status {process.exitcode}, as one does that is killed for its"
            f" memory, of which fewer --jobs take less{where}"
        )
    return answer


def _answer(
    connection: Connection, function: Callable[[_Item], Any], item: _Item, log: Path | None
) -> None:
    """What a process does."""
    threading.Thread(target=_end_with_parent, args=(connection,), daemon=True).start()
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
    printed = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (1, 2):
        os.dup2(printed, stream)
    try:
        answer: Any = function(item)
    except BaseException as error:
        traceback.print_exc()
        answer = error
    connection.send(answer)


def _end_with_parent(connection: Connection) -> None:
    """Nothing is ever sent to a process: it waits here until the parent is gone."""
    try:
        connection.recv()
    except (EOFError, OSError):
        os._exit(1)
