"""A Kubernetes API in a thread: the ConfigMap with its watch, reviews, lists of objects; it can hang, die, return."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import trustme

from scaler.selector import parse

CONFIGMAPS = "/api/v1/namespaces/kube-system/configmaps"
NAME = "extension-apiserver-authentication"


def trust(proxy: trustme.CA, client: trustme.CA | None = None, names: tuple[str, ...] = ("front-proxy-client",)) -> Any:
    """The ConfigMap's data, as a kube-apiserver writes it."""
    data = {
        "requestheader-client-ca-file": proxy.cert_pem.bytes().decode(),
        "requestheader-allowed-names": json.dumps(names),
        "requestheader-username-headers": '["X-Remote-User"]',
        "requestheader-uid-headers": '["X-Remote-Uid"]',
        "requestheader-group-headers": '["X-Remote-Group"]',
        "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
    }
    return data | ({"client-ca-file": client.cert_pem.bytes().decode()} if client else {})


@dataclass
class FakeKubernetes:
    """Change the fields as a cluster would change; `asked` keeps the bodies of reviews and the targets of lists."""

    data: dict[str, str]
    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Bearer token -> user, as in a TokenReview's status."""
    permits: Callable[[dict[str, Any]], bool] = lambda spec: False
    """Whether the spec of a SubjectAccessReview is allowed."""
    objects: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    """Path of a list -> name -> labels."""
    forbidden: tuple[str, ...] = ()
    """Paths that the scaler's own account may not ask."""
    oldest: int = 0
    """Versions before it are 410 Gone."""
    asked: list[Any] = field(default_factory=list)
    agents: list[Any] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        self.version = 10
        self.events: list[tuple[int, dict[str, Any]]] = []
        self.changed = threading.Condition()
        self.running = threading.Event()
        self.answering = threading.Event()
        self.answering.set()
        self._open: set[socket.socket] = set()
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        """Listen, on the same port each time."""
        fake = self

        class Handler(_Handler):
            cluster = fake

        class Listener(ThreadingHTTPServer):
            request_queue_size = 128

            def process_request(self, request: Any, client_address: Any) -> None:
                fake._open.add(request)
                super().process_request(request, client_address)

        self._server = Listener(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        self.running.set()
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Die: no new connections, and those there are break off."""
        if self._server is None:
            return
        self.running.clear()
        self.answering.set()
        with self.changed:
            self.changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        for connection in self._open:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self._open.clear()
        self._server = None

    def hang(self) -> None:
        """Take questions and answer none, until `answering` is set."""
        self.answering.clear()

    def rotate(self, data: dict[str, str], kind: str = "MODIFIED") -> None:
        """Change the ConfigMap; who watches is told."""
        with self.changed:
            self.data = data
            self.version += 1
            self.events.append((self.version, {"type": kind, "object": self.configmap()}))
            self.changed.notify_all()

    def configmap(self) -> dict[str, Any]:
        """The object as it is now."""
        metadata = {"name": NAME, "namespace": "kube-system", "resourceVersion": str(self.version)}
        return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": self.data}

    def kubeconfig(self, folder: Path) -> Path:
        """A kubeconfig that leads here."""
        tree = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "fake", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
            "users": [{"name": "scaler", "user": {"token": "the-scalers-own"}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "scaler"}}],
            "current-context": "fake",
        }
        file = folder / "kubeconfig"
        file.write_text(json.dumps(tree))
        return file

    def reviews(self, kind: str) -> list[dict[str, Any]]:
        """The specs of the reviews asked for."""
        return [asked["spec"] for asked in self.asked if isinstance(asked, dict) and asked["kind"] == kind]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster: FakeKubernetes

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        path, query = urlsplit(self.path).path, dict(parse_qsl(urlsplit(self.path).query))
        if not self._awake(path):
            return
        if path == CONFIGMAPS and query.get("fieldSelector") == f"metadata.name={NAME}":
            if query.get("watch") == "true":
                self._watch(int(query["resourceVersion"]), float(query["timeoutSeconds"]))
            else:
                items = [self.cluster.configmap()] if self.cluster.data else []
                self._answer(200, {"metadata": {"resourceVersion": str(self.cluster.version)}, "items": items})
        elif path in self.cluster.objects:
            self.cluster.asked.append(self.path)
            self._list(self.cluster.objects[path], query)
        else:
            self._answer(404, {"kind": "Status", "message": f"no {path}"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._awake(self.path):
            return
        self.cluster.asked.append(body)
        if self.path == "/apis/authentication.k8s.io/v1/tokenreviews":
            user = self.cluster.users.get(body["spec"]["token"])
            status: dict[str, Any] = {"authenticated": True, "user": user} if user else {"error": "no such token"}
        else:
            assert self.path == "/apis/authorization.k8s.io/v1/subjectaccessreviews"
            status = {"allowed": self.cluster.permits(body["spec"])}
        self._answer(201, body | {"status": status})

    def _awake(self, path: str) -> bool:
        self.cluster.answering.wait()
        self.cluster.agents.append((path, self.headers["Authorization"], self.headers["Accept"]))
        if path in self.cluster.forbidden:
            self._answer(403, {"kind": "Status", "message": "forbidden"})
        return self.cluster.running.is_set() and path not in self.cluster.forbidden

    def _list(self, objects: dict[str, dict[str, str]], query: dict[str, str]) -> None:
        assert self.headers["Accept"] == "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
        selector = parse(query["labelSelector"])
        names = sorted(name for name, labels in objects.items() if selector.matches(labels))
        start, limit = int(query.get("continue", "0")), int(query["limit"])
        more = {"continue": str(start + limit)} if len(names) > start + limit else {}
        items = [{"metadata": {"name": name}} for name in names[start : start + limit]]
        self._answer(200, {"kind": "PartialObjectMetadataList", "metadata": more, "items": items})

    def _watch(self, version: int, seconds: float) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if version < self.cluster.oldest:
            self._event({"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}})
        else:
            self._follow(version, time.monotonic() + seconds)
        self.wfile.write(b"0\r\n\r\n")

    def _follow(self, version: int, until: float) -> None:
        bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(version)}}}
        self._event(bookmark)
        while self.cluster.running.is_set() and time.monotonic() < until:
            with self.cluster.changed:
                news = [event for at, event in self.cluster.events if at > version]
                if not news:
                    self.cluster.changed.wait(0.1)
                    continue
                version = self.cluster.version
            for event in news:
                self._event(event)

    def _event(self, event: dict[str, Any]) -> None:
        line = json.dumps(event).encode() + b"\n"
        for half in (line[: len(line) // 2], line[len(line) // 2 :]):  # pieces need not be lines
            self.wfile.write(b"%x\r\n%s\r\n" % (len(half), half))
        self.wfile.flush()

    def _answer(self, code: int, tree: dict[str, Any]) -> None:
        body = json.dumps(tree).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
