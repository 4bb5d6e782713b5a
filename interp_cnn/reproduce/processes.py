"""Calls of a function at the same time, each in a process of its own."""

import contextlib
import io
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeVar

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")

# JAX takes three quarters of a GPU's memory for a process, unless one of these, of which the second
# is its older name, says another share.
_SHARE = ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION")
_OF_ALL = 0.9  # share of a GPU's memory for all processes together; the rest is for their kernels


def in_processes(
    function: Callable[[_Item], _Answer],
    items: Iterator[_Item],
    jobs: int,
    *,
    log: Callable[[_Item], Path | None],
    ended: Callable[[str], _Answer],
) -> Generator[tuple[_Item, _Answer], None, None]:
    """Call a function for items, so many at a time; an item is taken when its turn comes.

    Each process gets an equal share of a GPU's memory, unless XLA_CLIENT_MEM_FRACTION is set. The
    processes end with this one, however it ends; where it is told to end by SIGTERM, or by an
    exception, they are told too, and waited for. Each imports the main module of this one, which
    must therefore do its work under `if __name__ == "__main__":`.

    Args:
      function: a function of an item; both, and what it returns, can be pickled.
      items: the items.
      jobs: the number of processes at a time.
      log: of an item, the file to which what its process prints is added; None drops it.
      ended: the answer of a process that ended without one, from the reason.

    Yields:
      An item and what the function returned, as they come.

    Raises:
      Exception: whatever the function raised, or a RuntimeError with its words where it cannot be
        pickled.
    """
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    running: dict[Connection, tuple[BaseProcess, _Item]] = {}
    with _sigterm_raises():
        try:
            while True:
                while len(running) < jobs and (item := next(items, None)) is not None:
                    ours, theirs = context.Pipe()
                    arguments = (theirs, function, item, log(item), _OF_ALL / jobs)
                    process: BaseProcess = context.Process(target=_answer, args=arguments)
                    process.start()
                    theirs.close()  # so that the end of the process is seen here
                    running[ours] = process, item
                if not running:
                    return
                for connection in wait(list(running)):
                    assert isinstance(connection, Connection)
                    process, item = running.pop(connection)
                    yield item, _received(connection, process, log(item), ended)
        finally:
            if running:
                print(f"waiting for {len(running)} processes to end ...", file=sys.stderr)
            for process, _ in running.values():
                process.terminate()
            for process, _ in running.values():
                process.join()


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Inside, SIGTERM raises SystemExit, so that what is to be done in the end is done."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit("stopped by SIGTERM; run the same command again to go on")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _received(
    connection: Connection, process: BaseProcess, log: Path | None, ended: Callable[[str], _Answer]
) -> _Answer:
    """The answer of a process that has sent one or has ended."""
    message: tuple[_Answer, BaseException | None] | None = None
    with contextlib.suppress(EOFError, OSError):  # an OSError where it was killed while it sent
        message = connection.recv()
    process.join()
    connection.close()
    if message is not None:
        answer, error = message
        if isinstance(error, SystemExit):
            return ended(str(error))
        if error is not None:
            raise error
        return answer
    reason = f"its process ended with status {process.exitcode}"
    if process.exitcode == -signal.SIGKILL:
        reason += ", as one does that is killed for its memory, of which fewer --jobs take less"
    if log is not None and log.exists():
        reason += f"; {log} has what it printed"
    return ended(reason)


def _answer(
    connection: Connection,
    function: Callable[[_Item], Any],
    item: _Item,
    log: Path | None,
    share: float,
) -> None:
    """What a process does."""
    threading.Thread(target=_end_with_parent, args=(connection,), daemon=True).start()
    if not any(os.environ.get(name) for name in _SHARE):
        os.environ[_SHARE[0]] = f"{share:.3f}"
    try:
        _print_to(log)
        message = pickle.dumps((function(item), None))
    except BaseException as error:
        if isinstance(error, SystemExit):
            print(error)
        else:
            traceback.print_exc()
        message = pickle.dumps((None, _that_can_be_sent(error)))
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    connection.send_bytes(message)


def _print_to(log: Path | None) -> None:
    """Let this process print to a file, or nowhere."""
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
    printed = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (1, 2):
        os.dup2(printed, stream)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a process that is killed leaves all it said


def _that_can_be_sent(error: BaseException) -> BaseException:
    """The error, or one with its words where it would not arrive."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _end_with_parent(connection: Connection) -> None:
    """Nothing is ever sent to a process: it waits here until the parent is gone."""
    try:
        connection.recv()
    except (EOFError, OSError):
        os._exit(1)
