"""What 500 clients that mean no good do to each service: how long /metrics takes to answer meanwhile.

A quarter sends heads byte by byte, a quarter bodies, a quarter reads no answer, a quarter says nothing (to the scaler:
never finishes its handshake). Once with the files that a process may usually open, once with few.

python -m benchmarks.slowloris [SECONDS] [CLIENTS]
"""

from __future__ import annotations

import contextlib
import http.client
import resource
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.machine import facts

ROOT = Path(__file__).parents[1]
BAR_SECONDS = 1.0
FEW_FILES = 256
START_SECONDS = 60
CONFIG = """
prometheus: {{url: 'http://127.0.0.1:1'}}
forecaster: {{data_dir: {place}/forecaster, forecasts: [{{name: up, query: up}}]}}
alert_bridge: {{data_dir: {place}/bridge, receivers: [{{name: log, type: log}}]}}
scaler:
  data_dir: {place}/scaler
  auth: {{tokens: [{{name: hpa, token: sesame-0123456789}}]}}
  metrics: [{{name: up, api: external, query: up}}]
"""
SERVICES = ("exporter", "forecaster", "alert-bridge", "scaler")
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
    clients = [Client(port, i % 4, _careless() if secure else None) for i in range(count)]
    print("attacking", flush=True)
    while True:
        for client in clients:
            client.drip()
        time.sleep(0.02)


def _careless() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _asked(port: int, secure: bool) -> float:
    """Seconds until the whole answer is there."""
    began = time.perf_counter()
    connection = (
        http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=_careless())
        if secure
        else http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    )
    with contextlib.closing(connection):
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
    return time.perf_counter() - began


@contextlib.contextmanager
def _serving(service: str, port: int, place: Path, files: int | None) -> Iterator[None]:
    def limit() -> None:
        if files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    config = place / "cloudpulse.yaml"
    config.write_text(CONFIG.format(place=place))
    command = [sys.executable, "-m", "cloudpulse", service, "--config", str(config)]
    command += ["--web.listen-address", f"127.0.0.1:{port}"]
    with (place / f"{service}.log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, stderr=log, preexec_fn=limit)
        try:
            deadline = time.monotonic() + START_SECONDS
            while True:
                try:
                    _asked(port, service == "scaler")
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise SystemExit(f"{service} did not start: {Path(log.name).read_text()}") from None
                    time.sleep(0.05)
            yield
        finally:
            process.kill()
            process.wait(10)


def _measure(service: str, place: Path, files: int | None, seconds: float, clients: int) -> float:
    """The slowest answer."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    secure = service == "scaler"
    with _serving(service, port, place, files):
        alone = min(_asked(port, secure) for _ in range(5))
        command = [sys.executable, "-m", "benchmarks.slowloris", "attack", str(port), str(clients), str(int(secure))]
        attack = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        try:
            assert attack.stdout is not None
            attack.stdout.readline()
            taken, until = [], time.monotonic() + seconds
            while time.monotonic() < until:
                taken.append(_asked(port, secure))
                time.sleep(0.1)
        finally:
            attack.kill()
            attack.wait(10)
            if attack.stdout is not None:
                attack.stdout.close()
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
