"""Docker Engines for tests: a real one that leaves nothing behind, one that records it, one that plays it back."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import platform
import re
import shutil
import socket
import socketserver
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import psutil
import pytest

Exchange = dict[str, Any]
"""`method`, `path` with its query, `body`; `status` and `answer`: JSON, as the Engine took and gave it."""

IMAGE = "cloudpulse-test:1"
PREFIX = "cloudpulse-docker-"
_PAUSE = bytes.fromhex("b822000000 0f05 ebf7".replace(" ", ""))
"""x86-64: pause(2), for ever."""


@contextlib.contextmanager
def real() -> Iterator[str]:
    """The path of the socket of a real Engine that runs nothing yet, with the image `IMAGE`; a swarm of its own.

    It lives in namespaces of its own, for mounts, network and processes: with the last process they are gone, and
    neither an interface, a mount nor a firewall rule stays. Skips the test where it can't be started, and says why.
    """
    missing = [program for program in ("dockerd", "containerd", "runc", "unshare") if shutil.which(program) is None]
    if missing or os.geteuid() != 0 or platform.machine() != "x86_64":
        pytest.skip(f"a real Docker Engine needs root, x86-64 and, on PATH: {' '.join(missing) or 'all is there'}")
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    path = folder / "docker.sock"
    options = ["--bridge=none", "--iptables=false", "--storage-driver=vfs", f"--data-root={folder}/data"]
    options += [f"--exec-root={folder}/exec", f"--pidfile={folder}/pid", f"--host=unix://{path}"]
    shell = f"ip link set lo up; exec dockerd {' '.join(options)}"
    argv = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", shell]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
    try:
        _until_it_answers(process, path, folder / "log")
        _prepare(str(path))
        yield str(path)
    finally:
        for first in psutil.Process(process.pid).children():
            first.kill()  # and with the first process of a namespace the kernel ends all others
        process.wait(10)
        _remove(folder)


def ask(
    path: str, method: str, target: str, body: bytes | None = None, kind: str = "application/json"
) -> tuple[int, Any]:
    """One request to the Engine at the socket `path`, as another client makes it: status, and JSON or None."""
    with contextlib.closing(_Connection(path)) as connection:
        connection.request(method, target, body, {"Content-Type": kind} if body is not None else {})
        response = connection.getresponse()
        text = response.read()
        try:
            return response.status, json.loads(text) if text else None
        except ValueError:
            return response.status, text.decode()


@contextlib.contextmanager
def recording(path: str) -> Iterator[tuple[str, list[Exchange]]]:
    """A socket before the Engine at `path`, and all that passes it."""
    seen: list[Exchange] = []
    lock = threading.Lock()

    def answer(method: str, target: str, body: bytes | None) -> tuple[int, Any]:
        status, found = ask(path, method, target, body)
        with lock:
            seen.append(_exchange(method, target, body) | {"status": status, "answer": found})
        return status, found

    with answering(answer) as socket_path:
        yield socket_path, seen


@contextlib.contextmanager
def playing(exchanges: list[Exchange], stopping: threading.Event) -> Iterator[str]:
    """The socket of an Engine that answers as recorded: each request once, and no other; else the test fails.

    A container takes until `stopping` to stop.
    """
    left = list(exchanges)
    unknown: list[Exchange] = []
    lock = threading.Lock()

    def answer(method: str, target: str, body: bytes | None) -> tuple[int, Any]:
        asked = _exchange(method, target, body)
        if target.endswith("/stop"):
            stopping.wait(10)
        with lock:
            for i, exchange in enumerate(left):
                if all(exchange[key] == asked[key] for key in asked):
                    del left[i]
                    return exchange["status"], exchange["answer"]
            unknown.append(asked)
        return 599, {"message": f"not recorded: {asked}"}

    with answering(answer) as path:
        yield path
    assert unknown == []
    assert left == []


@contextlib.contextmanager
def answering(answer: Callable[[str, str, bytes | None], tuple[int, Any]], path: Path | None = None) -> Iterator[str]:
    """The socket (at `path`, else in a folder of its own) of a server that gives `answer(method, target, body)`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            status, found = answer(self.command, self.path, self.rfile.read(length) if length else None)
            body = b"" if found is None else json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Connection", "close")  # or a server that has ended would go on answering
            if status not in (204, 304):
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if status not in (204, 304):
                self.wfile.write(body)

        do_POST = do_DELETE = do_GET  # noqa: N815  the names that http.server calls

        def log_message(self, *_: object) -> None:
            """Quiet."""

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True

    with contextlib.ExitStack() as stack:
        if path is None:  # pytest's own folders are too long for a socket
            path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cloudpulse-engine-"))) / "docker.sock"
        server = Server(str(path), Handler)
        stack.callback(path.unlink)
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield str(path)


def read(path: Path) -> list[Exchange]:
    """A record."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path: Path, exchanges: list[Exchange]) -> None:
    """Keep a record: one line for each exchange, with the Engine in its usual place."""
    text = "".join(json.dumps(exchange) + "\n" for exchange in exchanges)
    path.write_text(re.sub(rf'[^"]*/{PREFIX}[^/"]+', "/var/lib/docker", text))


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self._path)


def _exchange(method: str, target: str, body: bytes | None) -> Exchange:
    return {"method": method, "path": target, "body": json.loads(body) if body else None}


def _until_it_answers(process: subprocess.Popen[bytes], path: Path, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            if ask(str(path), "GET", "/_ping")[0] == 200:
                return
        time.sleep(0.1)
    pytest.skip(f"a real Docker Engine doesn't start here: {log.read_text()[-500:]}")


def _prepare(path: str) -> None:
    elf = (
        b"\x7fELF\x02\x01\x01" + bytes(9)
        + (2).to_bytes(2, "little") + (62).to_bytes(2, "little") + (1).to_bytes(4, "little")
        + (0x400078).to_bytes(8, "little") + (64).to_bytes(8, "little") + bytes(8) + bytes(4)
        + (64).to_bytes(2, "little") + (56).to_bytes(2, "little") + (1).to_bytes(2, "little") + bytes(6)
        + (1).to_bytes(4, "little") + (5).to_bytes(4, "little") + bytes(8) + (0x400000).to_bytes(8, "little") * 2
        + (0x78 + len(_PAUSE)).to_bytes(8, "little") * 2 + (0x1000).to_bytes(8, "little")
        + _PAUSE
    )  # fmt: skip
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("pause")
        entry.size, entry.mode = len(elf), 0o755
        tar.addfile(entry, io.BytesIO(elf))
    repo, tag = IMAGE.split(":")
    target = f"/images/create?fromSrc=-&repo={repo}&tag={tag}&changes=CMD%20%5B%22/pause%22%5D"
    assert ask(path, "POST", target, archive.getvalue(), "application/x-tar")[0] == 200
    swarm = {"ListenAddr": "127.0.0.1:2377", "AdvertiseAddr": "127.0.0.1"}
    status, answer = ask(path, "POST", "/swarm/init", json.dumps(swarm).encode())
    assert status == 200, answer


def _remove(folder: Path) -> None:
    """The processes of a namespace that has lost its first end a moment later, and so do the mounts."""
    deadline = time.monotonic() + 10
    while folder.exists():
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)
        assert time.monotonic() < deadline, f"{folder} can't be removed"
        time.sleep(0.1)
