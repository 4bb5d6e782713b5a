"""Hosts of one run hold a connection each to the first: who is gone is noticed at once.

JAX's own notice takes over a minute and ends in a stack trace, and a collective operation in which
a host is missing waits meanwhile. Needs nothing but the standard library.
"""

import json
import os
import secrets
import socket
import sys
import threading
import time
from typing import Any, NoReturn

_CONNECT_TIMEOUT = 20.0  # seconds
_LONGEST = 1 << 16  # bytes of a message
_HEARD = 2.0  # seconds for the others to end after they were told

_ends: list["Server | Client"] = []


def end_process(sentence: str) -> NoReturn:
    """Print a sentence and end at once: JAX's own way out waits for hosts that are gone."""
    print(f"\nerror: {sentence}", file=sys.stderr, flush=True)  # behind a progress bar
    os._exit(1)


def end_all(sentence: str) -> NoReturn:
    """End this process and, with the same sentence, all others."""
    say_goodbye(sentence)
    end_process(sentence)


def watching() -> bool:
    """Whether this process is one of several hosts and has not said goodbye."""
    return bool(_ends)


def say_goodbye(error: str = "") -> None:
    """Tell the others that this process ends, and why if it does so because of an error."""
    while _ends:
        _ends.pop().leave(error)


def _keep_alive(connection: socket.socket) -> None:
    """Notice within half a minute when the other machine or the way there is down."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):  # not on every system
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _send(connection: socket.socket, **message: Any) -> None:
    try:
        connection.sendall(json.dumps(message).encode() + b"\n")
    except OSError:  # gone meanwhile, which its reader notices
        pass


def _lines(connection: socket.socket) -> Any:
    """Messages until the other side is gone."""
    with connection, connection.makefile("rb") as file:
        while True:
            try:
                line = file.readline(_LONGEST)
                if not line.endswith(b"\n"):
                    return
                message = json.loads(line)
            except (OSError, ValueError):
                return
            if isinstance(message, dict):
                yield message


def _gone(host: int, number: int, error: str) -> str:
    if error:
        return f"host {host} of {number} stopped: {error}"
    return (
        f"host {host} of {number} is gone (killed, or its machine or the way there is down);"
        " run the same command on all hosts again: it goes on from the latest checkpoint"
    )


class Server:
    """The first host's side.

    Args:
      hosts: number of hosts.
      name: under which the others reach this one; "" finds out.
    """

    def __init__(self, hosts: int, name: str = ""):
        self._hosts = hosts
        self._token = secrets.token_hex(16)
        self._others: dict[int, socket.socket] = {}
        self._lock = threading.Lock()
        self._leaving = False
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        self._socket = socket.create_server(
            ("", 0), family=family, dualstack_ipv6=both, backlog=hosts
        )
        name = name.strip("[]") or _own_name()
        self.address = json.dumps([name, self._socket.getsockname()[1], self._token])

    def start(self) -> None:
        """Take the others' connections from now on."""
        _ends.append(self)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._listen, args=(connection,), daemon=True).start()

    def _listen(self, connection: socket.socket) -> None:
        _keep_alive(connection)
        lines = _lines(connection)
        first: dict[str, Any] = next(lines, {})
        host = first.get("host")
        if first.get("token") != self._token or not isinstance(host, int):
            connection.close()
            return
        with self._lock:
            self._others[host] = connection
        last: dict[str, Any] = {}
        for last in lines:  # noqa: B007, the last one counts
            pass
        with self._lock:
            self._others.pop(host, None)
            done = self._leaving or last.get("done", False)
            # The first one that goes is the reason; the others go because of it.
            self._leaving = self._leaving or not done
        if not done:
            sentence = _gone(host, self._hosts, str(last.get("error", "")))
            # This process's own threads may also see an end, and must not come first.
            self._tell(sentence, _HEARD / 4)
            end_process(sentence)

    def _send_all(self, **message: Any) -> None:
        with self._lock:
            others = list(self._others.values())
        for connection in others:
            _send(connection, **message)

    def _tell(self, sentence: str, seconds: float) -> None:
        """Say to the others why they end, and let them do so first, for so long."""
        self._send_all(sentence=sentence)
        # JAX aborts those that see this process gone before they have read why.
        until = time.monotonic() + seconds
        while self._others and time.monotonic() < until:
            time.sleep(0.02)

    def leave(self, error: str) -> None:
        """See `say_goodbye`."""
        with self._lock:
            self._leaving = True
        if error:
            self._tell(_gone(0, self._hosts, error), _HEARD)
        else:
            self._send_all(done=True)
        self._socket.close()


class Client:
    """The side of any other host.

    Args:
      host: number of this one.
      hosts: number of hosts.
      address: the address of the server, as it gives it.
    """

    def __init__(self, host: int, hosts: int, address: str):
        self._host, self._hosts = host, hosts
        self._name, self._port, self._token = json.loads(address)
        self._leaving = False
        self._connection: socket.socket | None = None

    def start(self) -> None:
        """Connect; where that is not possible a warning says so, and JAX's own notice must do."""
        _ends.append(self)
        try:
            self._connection = socket.create_connection((self._name, self._port), _CONNECT_TIMEOUT)
        except OSError as error:
            print(
                f"host {self._host} cannot reach {self._name}:{self._port} ({error}): it notices"
                " only after minutes when another host is gone",
                file=sys.stderr,
            )
            return
        self._connection.settimeout(None)
        _keep_alive(self._connection)
        _send(self._connection, host=self._host, token=self._token)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._connection is not None
        last: dict[str, Any] = {}
        for last in _lines(self._connection):
            if last.get("sentence"):
                break
        if not (self._leaving or last.get("done")):
            end_process(str(last.get("sentence") or _gone(0, self._hosts, "")))

    def leave(self, error: str) -> None:
        """See `say_goodbye`."""
        self._leaving = True
        if self._connection is not None:
            _send(self._connection, **({"error": error} if error else {"done": True}))


def _own_name() -> str:
    """An address of this machine that others can reach, as far as it can tell."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; shows the address of the way out
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
