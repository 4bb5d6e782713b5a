"""Hosts notice at once when another one is gone, without JAX."""

import json
import signal
import socket
import subprocess
import sys
import time

import pytest
from repository import ROOT

from interp_cnn import watch
from interp_cnn.cli import run

SERVER = """
import sys, time
from interp_cnn import watch
server = watch.Server(3, "127.0.0.1")
print(server.address, flush=True)
server.start()
for line in sys.stdin:
    if line.strip() == "done": watch.say_goodbye(); break
    watch.end_all(line.strip())
"""
CLIENT = """
import sys, time
from interp_cnn import watch
client = watch.Client(int(sys.argv[1]), 3, sys.argv[2])
client.start()
print("ready", flush=True)
for line in sys.stdin:
    if line.strip() == "done": watch.say_goodbye(); break
    watch.end_all(line.strip())
"""


def process(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def hosts():
    server = process(SERVER)
    address = server.stdout.readline().strip()
    clients = [process(CLIENT, str(k), address) for k in (1, 2)]
    for client in clients:
        assert client.stdout.readline() == "ready\n"
    time.sleep(0.2)  # both are known to the server
    yield [server, *clients]
    for one in (server, *clients):
        one.kill()
        one.wait()
        close(one)


def ends(host):
    code = host.wait(timeout=60)  # without closing its input, which would end it too
    error = host.stderr.read().strip()
    close(host)
    return code, error


def close(host):
    for pipe in (host.stdin, host.stdout, host.stderr):
        pipe.close()


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_host(hosts, killed):
    hosts[killed].kill()
    for host in hosts:
        if host is not hosts[killed]:
            code, error = ends(host)
            assert code == 1 and error.startswith(f"error: host {killed} of 3 is gone (killed")


@pytest.mark.parametrize("failing", [0, 2])
def test_a_host_that_fails_says_why(hosts, failing):
    hosts[failing].stdin.write("no such folder\n")
    hosts[failing].stdin.flush()
    for number, host in enumerate(hosts):
        code, error = ends(host)
        said = "no such folder" if number == failing else f"host {failing} of 3 stopped: no such"
        assert code == 1 and error.startswith(f"error: {said}"), error


def test_the_first_host_goes_when_the_others_have_heard_why(hosts):
    server, first, second = hosts
    second.send_signal(signal.SIGSTOP)  # it hears nothing yet
    server.stdin.write("no data\n")
    server.stdin.flush()
    before = time.monotonic()
    assert first.wait(timeout=4) == 1
    assert server.poll() is None or time.monotonic() - before > watch._HEARD
    second.send_signal(signal.SIGCONT)
    assert second.wait(timeout=4) == 1 and server.wait(timeout=2) == 1
    assert "host 0 of 3 stopped: no data" in second.stderr.read()


def test_the_watch_is_first():
    # A process whose own step fails because a host is gone leaves it to the watch to say so.
    assert watch._HEARD < run._WATCH_FIRST


def test_a_common_end(hosts):
    for host in (hosts[2], hosts[0], hosts[1]):
        host.stdin.write("done\n")
        host.stdin.flush()
        time.sleep(0.2)
    assert [ends(host) for host in hosts] == [(0, "")] * 3


def test_strangers_are_not_heard(hosts):
    from interp_cnn import watch

    server = process(SERVER)
    _, port, _ = json.loads(server.stdout.readline())
    for message in (b"", b'{"host": 1, "token": "guessed"}\n', b"\xff\n", b"[]\n"):
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(message)
    time.sleep(0.3)
    assert server.poll() is None
    server.stdin.write("done\n")
    server.stdin.flush()
    assert ends(server) == (0, "")
    assert not watch.watching()


def test_a_host_that_cannot_connect_says_so_and_goes_on():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f'["127.0.0.1", {closed.getsockname()[1]}, "token"]'
        client = process(CLIENT, "1", address)
        assert client.stdout.readline() == "ready\n"
    client.stdin.write("done\n")
    client.stdin.flush()
    code, error = ends(client)
    assert code == 0 and error.startswith("host 1 cannot reach 127.0.0.1:")
