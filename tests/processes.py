"""Each service as a real process, with as little to do as it takes."""

from __future__ import annotations

import contextlib
import http.client
import resource
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SERVICES = ("exporter", "forecaster", "alert-bridge", "scaler")
ROOT = Path(__file__).parents[1]
START_SECONDS = 60
TOKEN = "sesame-0123456789"
CONFIG = """
prometheus: {{url: 'http://127.0.0.1:1'}}
forecaster: {{data_dir: {place}/forecaster, forecasts: [{{name: up, query: up}}]}}
alert_bridge: {{data_dir: {place}/bridge, receivers: [{{name: log, type: log}}]}}
scaler:
  data_dir: {place}/scaler
  auth: {{tokens: [{{name: hpa, token: {token}}}]}}
  metrics: [{{name: up, api: external, query: up}}]
"""


@dataclass(frozen=True)
class Running:
    """A service that answers; `secure` is a client's context where it speaks TLS."""

    process: subprocess.Popen[bytes]
    port: int
    secure: ssl.SSLContext | None
    log: Path

    def connect(self) -> socket.socket:
        """A client's connection, its handshake done."""
        plain = socket.create_connection(("127.0.0.1", self.port), 20)
        return plain if self.secure is None else self.secure.wrap_socket(plain)

    def get(self, path: str = "/metrics") -> tuple[int, bytes]:
        """Status and body."""
        with self.connect() as connected:
            connected.sendall(b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path.encode())
            answer = http.client.HTTPResponse(connected)
            answer.begin()
            return answer.status, answer.read()


@contextlib.contextmanager
def running(service: str, place: Path, files: int | None = None) -> Iterator[Running]:
    """One of `SERVICES` with its config and data in `place`, and no more open files than that."""

    def limit() -> None:
        if files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    (place / "cloudpulse.yaml").write_text(CONFIG.format(place=place, token=TOKEN))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    command = [sys.executable, "-m", "cloudpulse", service, "--config", str(place / "cloudpulse.yaml")]
    command += ["--web.listen-address", f"127.0.0.1:{port}"]
    with (place / f"{service}.log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, preexec_fn=limit)
    made = Running(process, port, careless() if service == "scaler" else None, place / f"{service}.log")
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(made):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{service} did not start: {made.log.read_text()}")
            time.sleep(0.05)
        yield made
    finally:
        process.kill()
        process.wait(10)


def _answers(one: Running) -> bool:
    try:
        return one.get("/-/healthy")[0] == 200
    except OSError:
        return False


def careless() -> ssl.SSLContext:
    """A client's context that takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
