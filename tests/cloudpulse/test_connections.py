"""How many connections wait, on a server that may open few files: a process of its own."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

FILES = 64
SERVER = f"""
import os, resource, sys, threading
from cloudpulse import logs
from cloudpulse.serving import Face, Health, Server

resource.setrlimit(resource.RLIMIT_NOFILE, ({FILES}, {FILES}))
logs.configure()
server, stop, taken = Server(Face("x", (), lambda: Health(True)), "127.0.0.1:0", threads=2), threading.Event(), []

def obey():
    for line in sys.stdin:
        if line == "take\\n":
            try:
                while True:
                    taken.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                print("taken", flush=True)
        else:
            while taken:
                os.close(taken.pop())
    stop.set()

threading.Thread(target=obey, daemon=True).start()
print(server.port, flush=True)
server.run(stop)
"""


@dataclass
class Process:
    """The server; `say` takes all files that it may open, or lets them go."""

    port: int
    say: Callable[[str], None]
    hear: Callable[[], str]
    stderr: Path

    def alive(self) -> int:
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(client):
            client.request("GET", "/-/healthy")
            return client.getresponse().status

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 20)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    stderr = tmp_path / "stderr"
    with (
        stderr.open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        ) as running,
    ):
        assert running.stdin is not None
        assert running.stdout is not None
        words, lines = running.stdin, running.stdout

        def say(word: str) -> None:
            print(word, file=words, flush=True)

        try:
            yield Process(int(lines.readline()), say, lines.readline, stderr)
        finally:
            words.close()
            try:
                running.wait(20)
            finally:
                running.kill()


def test_clients_that_hold_connections_shut_out_nobody(process: Process) -> None:
    with contextlib.ExitStack() as clients:
        held = [clients.enter_context(process.connect()) for _ in range(2 * FILES)]
        assert process.alive() == 200
        assert held[0].recv(1) == b""  # who waited longest went first
        assert process.alive() == 200
    assert process.alive() == 200
    assert process.stderr.read_text() == ""


def test_a_client_waits_while_there_is_no_file_left_and_that_is_logged_once(process: Process) -> None:
    process.say("take")
    assert process.hear() == "taken\n"
    with process.connect() as client:
        client.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
        deadline = time.monotonic() + 20
        while "no connection can be taken" not in process.stderr.read_text():
            assert time.monotonic() < deadline, "took too long"
            time.sleep(0.01)
        client.settimeout(1)
        with pytest.raises(TimeoutError):
            client.recv(1)
        process.say("release")
        client.settimeout(20)
        assert client.recv(12) == b"HTTP/1.1 200"
    assert process.alive() == 200
    assert len(process.stderr.read_text().splitlines()) == 1
