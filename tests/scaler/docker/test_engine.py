"""Ways to an Engine, and what is said when there is none."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from cloudpulse import webtls
from cloudpulse.config import ClientTls
from cloudpulse.serving import CLIENT_CERTIFICATE, Environ, Server, StartResponse
from cloudpulse.testing import serving
from cloudpulse.webconfig import TlsServer
from scaler.docker.config import DockerSettings
from scaler.docker.engine import Engine, EngineRefused, EngineUnavailable
from tests.scaler.docker import engines


class FakeEngine:
    """Says whether it knows the client's certificate."""

    def __init__(self) -> None:
        self.status = "200 OK"

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK" if environ["PATH_INFO"] == "/version" else self.status, [])
        if environ["PATH_INFO"] == "/version":
            return [json.dumps({"ApiVersion": "1.41"}).encode()]
        known = CLIENT_CERTIFICATE in environ
        return [json.dumps({"path": environ["PATH_INFO"], "known": known, "message": "no"}).encode()]


@contextlib.contextmanager
def _over_tls(app: FakeEngine, folder: Path, authority: trustme.CA) -> Iterator[int]:
    own = authority.issue_cert("127.0.0.1")
    (folder / "server.pem").write_bytes(own.private_key_and_cert_chain_pem.bytes())
    authority.cert_pem.write_to_path(folder / "ca.pem")
    shown = TlsServer(
        cert_file=folder / "server.pem",
        key_file=folder / "server.pem",
        client_ca_file=folder / "ca.pem",
        client_auth_type="RequireAndVerifyClientCert",
    )
    server = Server(app, "127.0.0.1:0", tls=lambda: webtls.context(shown), threads=2)
    stop = threading.Event()
    thread = threading.Thread(target=server.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield server.port
    finally:
        stop.set()
        thread.join(10)


def test_an_engine_over_tls_sees_our_certificate_and_we_verify_its_own(
    tmp_path: Path, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the files of the config, whatever requests would find in the environment."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "other.pem"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    ours = authority.issue_cert("scaler.example")
    (tmp_path / "client.pem").write_bytes(ours.private_key_and_cert_chain_pem.bytes())
    files = ClientTls(ca_file=tmp_path / "ca.pem", cert_file=tmp_path / "client.pem", key_file=tmp_path / "client.pem")
    with _over_tls(FakeEngine(), tmp_path, authority) as port:
        engine = Engine(DockerSettings(host=f"tcp://127.0.0.1:{port}", tls=files))
        assert engine.get("/services/web")["known"]
        engine.close()
        trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
        wrong = ClientTls(ca_file=tmp_path / "other.pem", cert_file=files.cert_file, key_file=files.key_file)
        engine = Engine(DockerSettings(host=f"tcp://127.0.0.1:{port}", tls=wrong))
        with pytest.raises(EngineUnavailable, match="certificate verify failed"):
            engine.get("/services/web")
        without = ClientTls(ca_file=tmp_path / "ca.pem", cert_file=tmp_path / "none.pem", key_file=tmp_path / "k.pem")
        with pytest.raises(EngineUnavailable, match="can't be reached"):
            Engine(DockerSettings(host=f"tcp://127.0.0.1:{port}", tls=without)).get("/services/web")


def test_an_engine_that_comes_back_newer_is_asked_in_its_version() -> None:
    """Engine 29 no longer speaks the API of Engine 20."""

    def speaking(version: str) -> Callable[[str, str, bytes | None], tuple[int, Any]]:
        return lambda method, path, body: (200, {"ApiVersion": version, "path": path})

    with engines.answering(speaking("1.41")) as path:
        engine = Engine(DockerSettings(host=f"unix://{path}"))
        assert engine.get("/tasks")["path"] == "/v1.41/tasks"
    with pytest.raises(EngineUnavailable, match="can't be reached"):
        engine.get("/tasks")
    Path(path).parent.mkdir()
    with engines.answering(speaking("1.52"), Path(path)):
        assert engine.get("/tasks")["path"] == "/v1.52/tasks"
        engine.close()
    Path(path).parent.rmdir()


@pytest.mark.parametrize("status", ["404 Not Found", "500 Internal Server Error"])
def test_a_refusal_has_the_engines_own_words(status: str) -> None:
    app = FakeEngine()
    app.status = status
    with serving(app) as url, pytest.raises(EngineRefused, match=f"answers {status[:3]} to /tasks: no") as caught:
        Engine(DockerSettings(host=url.replace("http", "tcp"))).get("/tasks")
    assert caught.value.status == int(status[:3])


@pytest.mark.parametrize("make", [lambda folder: folder / "none.sock", lambda folder: folder])
def test_an_engine_that_is_not_there_is_said(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    with pytest.raises(EngineUnavailable, match="the Docker Engine can't be reached: "):
        Engine(DockerSettings(host=f"unix://{make(tmp_path)}")).get("/tasks")
