"""What 500 clients that mean no good do to each service: how long /metrics takes to answer meanwhile.

A quarter sends heads byte by byte, a quarter bodies, a quarter reads no answer, a quarter says nothing (to the scaler:
never finishes its handshake). Once with the files that a process may usually open, once with few.

python -m benchmarks.slowloris [SECONDS] [CLIENTS]
"""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import facts
from tests.processes import ROOT, SERVICES, Running, careless, running

BAR_SECONDS = 1.0
FEW_FILES = 256
SLOW_HEAD = b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: "
SLOW_BODY = b"POST /api/v1/alerts HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n"
AGAIN_SECONDS = 1.0
"""Until a client that was let go is there again."""
UNREAD = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 3


class Client:
    """One of the bad ones; comes again when it is let go."""

    def __init__(self, port: int, kind: int, secure: ssl.SSLContext | None) -> None:
        self._port, self._kind, self._secure = port, kind, secure
        self._socket: socket.socket | None = None
        self._sent = 0
        self._again = 0.0

    def drip(self) -> None:
        """Do a little harm without waiting."""
        try:
            if self._socket is not None:
                self._go_on(self._socket)
            elif time.monotonic() > self._again:
                self._socket, self._sent = self._connected(), 0
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError:
            self.close()

    def _go_on(self, connected: socket.socket) -> None:
        if self._kind < 2:
            connected.send((SLOW_HEAD, SLOW_BODY)[self._kind] if not self._sent else b"x")
            self._sent += 1
        elif self._kind == 3 and not connected.recv(1):
            self.close()

    def close(self) -> None:
        """Go."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._again = time.monotonic() + AGAIN_SECONDS

    def _connected(self) -> socket.socket:
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.settimeout(2)
        made.connect(("127.0.0.1", self._port))
        if self._secure is not None and self._kind < 3:
            made = self._secure.wrap_socket(made)
        elif self._secure is not None:
            made.send(b"\x16\x03\x01\x02\x00\x01")  # the start of a ClientHello
        if self._kind == 2:
            made.send(UNREAD)
        made.setblocking(False)
        return made


def _attack(port: int, count: int, secure: bool) -> None:
    """Until killed."""
    clients = [Client(port, i % 4, careless() if secure else None) for i in range(count)]
    print("attacking", flush=True)
    while True:
        for client in clients:
            client.drip()
        time.sleep(0.02)


def _asked(service: Running) -> float:
    """Seconds until the whole answer is there."""
    began = time.perf_counter()
    status, _ = service.get()
    assert status == 200
    return time.perf_counter() - began


def _measure(service: str, place: Path, files: int | None, seconds: float, clients: int) -> float:
    """The slowest answer."""
    with running(service, place, files) as made:
        alone = min(_asked(made) for _ in range(5))
        secure = str(int(made.secure is not None))
        command = [sys.executable, "-m", "benchmarks.slowloris", "attack", str(made.port), str(clients), secure]
        attack = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        try:
            assert attack.stdout is not None
            attack.stdout.readline()
            taken, until = [], time.monotonic() + seconds
            while time.monotonic() < until:
                taken.append(_asked(made))
                time.sleep(0.1)
        finally:
            attack.kill()
            attack.communicate()
    taken.sort()
    print(
        f"{service:12} {'few files' if files else 'files as usual':14} {len(taken):4} scrapes: alone {alone:.3f} s, "
        f"median {taken[len(taken) // 2]:.3f} s, slowest {taken[-1]:.3f} s",
        flush=True,
    )
    return taken[-1]


def main() -> None:
    """See the module."""
    if sys.argv[1:2] == ["attack"]:
        _attack(int(sys.argv[2]), int(sys.argv[3]), bool(int(sys.argv[4])))
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 15.0
    clients = int(sys.argv[2]) if len(sys.argv) > 2 else 500
    print(f"{facts()}; {clients} clients for {seconds:g} s")
    with tempfile.TemporaryDirectory() as place:
        slowest = max(
            _measure(service, Path(place), files, seconds, clients)
            for service in SERVICES
            for files in (None, FEW_FILES)
        )
    if slowest > BAR_SECONDS:
        raise SystemExit(f"the slowest answer took {slowest:.2f} s, more than {BAR_SECONDS:g} s")


if __name__ == "__main__":
    main()
