"""What a request costs the server, `cloudpulse/reception.py`, beside cheroot, where that is installed.

One client asks a process of its own for `/-/healthy`: over one connection, over a new one each time, and both with
TLS (an ECDSA certificate). CPU is the server's.

python -m benchmarks.serving [REQUESTS]
"""

from __future__ import annotations

import http.client
import importlib.util
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from benchmarks.machine import cpu_seconds, facts
from cloudpulse import webtls
from cloudpulse.serving import Face, Health, Server
from cloudpulse.webconfig import TlsServer
from tests.processes import ROOT, careless

THREADS = 16
REQUEST = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n%b\r\n"


def _serve(kind: str, folder: Path | None) -> None:
    """Until killed; the first line says the port."""
    face = Face("x", (), lambda: Health(True))
    if kind == "ours":
        context = None
        if folder is not None:
            context = webtls.context(TlsServer(cert_file=folder / "cert.pem", key_file=folder / "key.pem"))
        server = Server(face, "127.0.0.1:0", tls=None if context is None else lambda: context, threads=THREADS)
        print(server.port, flush=True)
        server.run(threading.Event())
    else:
        adapter = importlib.import_module("cheroot.ssl.builtin").BuiltinSSLAdapter  # no dependency: who compares has it
        cheroot = importlib.import_module("cheroot.wsgi").Server(("127.0.0.1", 0), face, numthreads=THREADS)
        if folder is not None:
            cheroot.ssl_adapter = adapter(str(folder / "cert.pem"), str(folder / "key.pem"))
        cheroot.prepare()
        print(cheroot.bind_addr[1], flush=True)
        cheroot.serve()


def _connected(port: int, secure: ssl.SSLContext | None) -> socket.socket:
    plain = socket.create_connection(("127.0.0.1", port), 20)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return plain if secure is None else secure.wrap_socket(plain)


def _ask(client: socket.socket, request: bytes) -> None:
    client.sendall(request)
    answer = http.client.HTTPResponse(client)
    answer.begin()
    assert answer.status == 200
    assert answer.read()


def _kept(port: int, secure: ssl.SSLContext | None) -> Iterator[None]:
    with _connected(port, secure) as client:
        while True:
            _ask(client, REQUEST % b"")
            yield


def _each(port: int, secure: ssl.SSLContext | None) -> Iterator[None]:
    while True:
        with _connected(port, secure) as client:
            _ask(client, REQUEST % b"Connection: close\r\n")
        yield


def _measure(
    kind: str, folder: Path | None, asking: Callable[[int, ssl.SSLContext | None], Iterator[None]], count: int
) -> tuple[float, float]:
    """Requests a second, and the server's microseconds of CPU for each."""
    command = [sys.executable, "-m", "benchmarks.serving", "serve", kind, *([str(folder)] if folder else [])]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            asked = asking(int(process.stdout.readline()), careless() if folder else None)
            for _ in range(50):
                next(asked)
            server = psutil.Process(process.pid)
            spent, began = cpu_seconds(server), time.perf_counter()
            for _ in range(count):
                next(asked)
            seconds = time.perf_counter() - began
            return count / seconds, (cpu_seconds(server) - spent) / count * 1e6
        finally:
            process.kill()


def _certificate(folder: Path) -> None:
    command = "openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -keyout key.pem -out cert.pem"
    subprocess.run([*command.split(), "-subj", "/CN=x", "-days", "2"], cwd=folder, check=True, capture_output=True)


def main() -> None:
    """See the module."""
    if sys.argv[1:2] == ["serve"]:
        _serve(sys.argv[2], Path(sys.argv[3]) if len(sys.argv) > 3 else None)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    print(f"{facts()}; {count} requests each, {THREADS} threads")
    kinds = ["ours"]
    if importlib.util.find_spec("cheroot") is not None:
        kinds.append("cheroot")
    else:
        print("cheroot isn't installed: nothing to compare with")
    with tempfile.TemporaryDirectory() as place:
        _certificate(Path(place))
        for secure in (None, Path(place)):
            for asking, how in ((_kept, "one connection"), (_each, "a new one each")):
                for kind in kinds:
                    rate, spent = _measure(kind, secure, asking, count)
                    scheme = "https" if secure else "http"
                    print(f"{scheme:6}{how:16}{kind:9}{rate:7.0f} requests/s {spent:7.0f} us of CPU each", flush=True)


if __name__ == "__main__":
    main()
