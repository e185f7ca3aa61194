"""The face and the server, over real connections."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import cast
from wsgiref.validate import validator

import pytest
import requests
from prometheus_client.core import GaugeMetricFamily, Metric

from cloudpulse import trace, webtls
from cloudpulse.errors import AddressUnavailable, ConfigError
from cloudpulse.negotiation import TEXT
from cloudpulse.serving import (
    CLIENT_CERTIFICATE,
    Environ,
    Face,
    Health,
    Link,
    Server,
    StartResponse,
    WsgiApp,
    split_address,
    stop_on_signals,
)
from cloudpulse.testing import captured_logs
from cloudpulse.traced import SHOWN_PATH, Traced
from cloudpulse.webconfig import TlsServer

from .conftest import Certificates


class _Metrics:
    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily("cloudpulse_answer_ratio", "The answer.", 0.42)


@contextlib.contextmanager
def _running(
    app: WsgiApp, tls: Callable[[], ssl.SSLContext] | None = None, listen: str = "127.0.0.1:0"
) -> Iterator[tuple[Server, Callable[[], None]]]:
    """A server in a thread, and what stops it and waits for its end."""
    server = Server(app, listen, tls=tls, threads=4)
    stop = threading.Event()
    thread = threading.Thread(target=server.run, args=(stop,), daemon=True)
    thread.start()

    def end() -> None:
        stop.set()
        thread.join(15)
        assert not thread.is_alive()

    try:
        yield server, end
    finally:
        end()


def _ask(
    server: Server, path: str, method: str = "GET", tls: ssl.SSLContext | None = None
) -> tuple[int, http.client.HTTPMessage, str]:
    connection = (
        http.client.HTTPSConnection("127.0.0.1", server.port, timeout=5, context=tls)
        if tls
        else http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    )
    with contextlib.closing(connection):
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()


class _Service:
    """What stands behind the face; a test changes it."""

    def __init__(self) -> None:
        self.health = Health(True, {"series": 8})
        self.reload_error: ConfigError | None = None
        self.reloads = 0

    def reload(self) -> None:
        if self.reload_error is not None:
            raise self.reload_error
        self.reloads += 1


def _own(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("418 I'm a teapot", [("Content-Type", "text/plain")])
    return [b"own"]


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Server, _Service]]:
    service = _Service()
    links = [Link("/console?a=1&b=2", "Console <live>")]
    face = Face(
        "Te<st>", [_Metrics(), _Metrics()], lambda: service.health, links=links, app=_own, reload=service.reload
    )
    with _running(face) as (server, _):
        yield server, service


@pytest.fixture
def service(served: tuple[Server, _Service]) -> _Service:
    served[1].__init__()  # type: ignore[misc]  # each test begins with a fresh one, behind the same server
    return served[1]


@pytest.fixture
def server(served: tuple[Server, _Service], service: _Service) -> Server:
    return served[0]


def test_the_landing_page_links_to_what_there_is(server: Server, service: _Service) -> None:
    status, headers, page = _ask(server, "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert headers["X-Content-Type-Options"] == "nosniff"
    for path in ("/metrics", "/health", "/console?a=1&amp;b=2"):
        assert f'href="{path}"' in page
    assert "Te&lt;st&gt;" in page
    assert "Console &lt;live&gt;" in page
    assert "<th>series</th><td>8</td>" in page
    assert "Te<st>" not in page


def test_metrics_are_in_the_exposition_format(server: Server) -> None:
    status, headers, page = _ask(server, "/metrics")
    assert (status, headers["Content-Type"]) == (200, TEXT.content_type)
    assert page.count("cloudpulse_answer_ratio 0.42\n") == 2


def test_a_ready_service_says_so(server: Server) -> None:
    assert _ask(server, "/-/ready")[0] == 200
    status, headers, body = _ask(server, "/health")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body) == {"service": "Te<st>", "ready": True, "series": 8}


def test_a_service_that_is_not_ready_answers_503_but_is_healthy(server: Server, service: _Service) -> None:
    service.health = Health(False, {"why": "no data yet"})
    assert _ask(server, "/-/ready")[0] == 503
    status, _, body = _ask(server, "/health")
    assert (status, json.loads(body)["why"]) == (503, "no data yet")
    assert _ask(server, "/-/healthy")[0] == 200
    assert "Not ready" in _ask(server, "/")[2]


def test_other_paths_are_the_services_own(server: Server) -> None:
    assert _ask(server, "/api/v1/x")[::2] == (418, "own")


def test_without_an_app_of_its_own_other_paths_are_404() -> None:
    with _running(Face("Test", [], lambda: Health(True))) as (server, _):
        status, _, body = _ask(server, "/favicon.ico")
        assert (status, body) == (404, "/favicon.ico is not here; see / for what is\n")
        assert _ask(server, "/-/reload", "POST")[0] == 404


@pytest.mark.parametrize("path", ["/", "/metrics", "/health", "/-/ready", "/-/healthy"])
def test_a_shared_path_takes_get_and_head_only(server: Server, path: str) -> None:
    assert _ask(server, path, "POST")[0] == 405
    status, headers, body = _ask(server, path, "HEAD")
    assert (status, body) == (200, "")
    assert int(headers["Content-Length"]) > 0


def test_who_reloaded_is_audited_and_so_is_a_refusal(server: Server, service: _Service) -> None:
    with captured_logs() as lines:
        _ask(server, "/-/reload", "POST")
        service.reload_error = ConfigError("a.b: wrong")
        _ask(server, "/-/reload", "POST")
    told = [(line["from"], line["action"], line["result"], line.get("why")) for line in lines]
    assert told == [
        ("127.0.0.1", "reload config", "reloaded", None),
        ("127.0.0.1", "reload config", "refused", "a.b: wrong"),
    ]


def test_a_reload_by_signal_is_audited_like_any_other() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    outcomes: Iterator[ConfigError | None] = iter((None, ConfigError("a.b: wrong")))
    done = threading.Semaphore(0)

    def reload() -> None:
        try:
            if (error := next(outcomes)) is not None:
                raise error
        finally:
            done.release()

    try:
        stop_on_signals(threading.Event(), reload)
        with captured_logs() as lines:
            for told in (1, 2):
                os.kill(os.getpid(), signal.SIGHUP)
                assert done.acquire(timeout=10)
                deadline = time.monotonic() + 10
                while sum(line["event"] == "audit" for line in lines) < told and time.monotonic() < deadline:
                    time.sleep(0.01)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    audited = [line for line in lines if line["event"] == "audit"]
    assert [(line["who"], line["result"], line.get("why")) for line in audited] == [
        ("signal:SIGHUP", "reloaded", None),
        ("signal:SIGHUP", "refused", "a.b: wrong"),
    ]


@pytest.mark.parametrize(
    "there", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}, {"Origin": "null"}]
)
def test_no_page_of_another_site_reloads_the_config(server: Server, service: _Service, there: dict[str, str]) -> None:
    for headers, status in ((there, 403), ({"Origin": server.url}, 200), ({"Sec-Fetch-Site": "none"}, 200)):
        assert requests.post(f"{server.url}/-/reload", headers=headers, timeout=10).status_code == status
    assert service.reloads == 2


def test_a_reload_is_done_or_refused_with_the_reason(server: Server, service: _Service) -> None:
    assert _ask(server, "/-/reload", "POST")[::2] == (200, "reloaded\n")
    assert _ask(server, "/-/reload")[0] == 405
    assert service.reloads == 1
    service.reload_error = ConfigError("c.yaml: prometheus.url: wrong")
    status, _, body = _ask(server, "/-/reload", "POST")
    assert status == 500
    assert body == "c.yaml: prometheus.url: wrong\nThe config before it goes on.\n"


def test_an_error_in_one_request_is_a_500_and_the_next_is_served() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/bad":
            raise RuntimeError("broken")
        return _own(environ, start_response)

    with _running(app) as (server, _), captured_logs() as lines:
        assert _ask(server, "/bad")[0] == 500
        assert _ask(server, "/good")[0] == 418
    assert "error" in {line["level"] for line in lines}


def test_a_taken_port_is_an_error_that_says_what_to_do() -> None:
    taken = Server(_own, "127.0.0.1:0")
    try:
        with pytest.raises(AddressUnavailable) as caught:
            Server(_own, f"127.0.0.1:{taken.port}")
    finally:
        taken.close()
    assert str(caught.value) == (
        f"127.0.0.1:{taken.port} is taken by another program: stop that, or choose another --web.listen-address"
    )


def test_an_address_of_another_machine_is_an_error() -> None:
    with pytest.raises(AddressUnavailable, match=r"can't listen on 192\.0\.2\.1:0"):
        Server(_own, "192.0.2.1:0")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":9810", ("", 9810)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[::1]:9810", ("::1", 9810)),
        ("host.example:65535", ("host.example", 65535)),
    ],
)
def test_an_address_is_read_as_prometheus_writes_it(text: str, address: tuple[str, int]) -> None:
    assert split_address(text) == address


@pytest.mark.parametrize("text", ["", "9810", "host", "host:", ":http", ":65536", ":-1", "http://host:x"])
def test_a_wrong_address_is_a_config_error(text: str) -> None:
    with pytest.raises(ConfigError, match="expected HOST:PORT such as :9810, got"):
        split_address(text)


def test_a_stop_lets_the_request_under_way_finish_and_frees_the_port() -> None:
    begun, finished = threading.Event(), threading.Event()

    def slow(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        begun.set()
        time.sleep(0.4)
        finished.set()
        return _own(environ, start_response)

    with socket.create_server(("127.0.0.1", 0)) as free:
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    answers: list[str] = []
    with _running(slow, listen=listen) as (server, end):
        request = threading.Thread(target=lambda: answers.append(_ask(server, "/")[2]))
        request.start()
        assert begun.wait(5)
        start = time.perf_counter()
        end()
        assert time.perf_counter() - start < 5
        # The app had returned before the stop did, so that what it uses can be closed now.
        assert finished.is_set()
        request.join(5)
    assert answers == ["own"]
    Server(_own, listen).close()


def test_a_stop_does_not_wait_for_idle_connections() -> None:
    """Prometheus keeps its connection between scrapes."""
    with _running(_own) as (server, end):
        kept = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        kept.request("GET", "/")
        assert kept.getresponse().read() == b"own"
        start = time.perf_counter()
        end()
        assert time.perf_counter() - start < 3
        kept.close()


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_stop_does_not_wait_for_ever_for_clients_that_say_no_more(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch, encrypted: bool
) -> None:
    monkeypatch.setattr("cloudpulse.serving.STOP_SECONDS", 0.5)
    with (
        _running(_own, _tls(certificates) if encrypted else None) as (server, end),
        socket.create_connection(("127.0.0.1", server.port), 5) as client,
    ):
        if not encrypted:
            client.sendall(b"GET / HTTP/1.1\r\nHost:")
        time.sleep(0.2)
        start = time.perf_counter()
        end()
        assert time.perf_counter() - start < 3


def test_sigterm_stops_and_sighup_reloads_in_a_thread() -> None:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    stop, reloaded = threading.Event(), threading.Event()
    try:
        stop_on_signals(stop, reloaded.set)
        os.kill(os.getpid(), signal.SIGHUP)
        assert reloaded.wait(5)
        assert not stop.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(5)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _certificate(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    found = environ.get(CLIENT_CERTIFICATE)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['wsgi.url_scheme']} {found.hex() if found else None}".encode()]


def _tls(files: Certificates, policy: str = "NoClientCert") -> Callable[[], ssl.SSLContext]:
    ca = None if policy == "NoClientCert" else files.ca
    settings = TlsServer(cert_file=files.cert, key_file=files.key, client_ca_file=ca, client_auth_type=policy)
    made = webtls.context(settings)
    return lambda: made


def test_tls_without_client_certificates(certificates: Certificates) -> None:
    with _running(_certificate, _tls(certificates)) as (server, _):
        assert server.url == f"https://127.0.0.1:{server.port}"
        assert _ask(server, "/", tls=certificates.context())[2] == "https None"
        # One that isn't asked for is not sent, and never believed.
        assert _ask(server, "/", tls=certificates.context(certificates.client))[2] == "https None"


def test_a_verified_client_certificate_reaches_the_app(certificates: Certificates) -> None:
    sent = ssl.PEM_cert_to_DER_cert("-----BEGIN CERT" + certificates.client.read_text().split("-----BEGIN CERT")[1])
    with _running(_certificate, _tls(certificates, "VerifyClientCertIfGiven")) as (server, _):
        assert _ask(server, "/", tls=certificates.context())[2] == "https None"
        assert _ask(server, "/", tls=certificates.context(certificates.client))[2] == f"https {sent.hex()}"
        with pytest.raises((ssl.SSLError, ConnectionError)):
            _ask(server, "/", tls=certificates.context(certificates.stranger))


def test_a_client_without_the_required_certificate_is_refused(certificates: Certificates) -> None:
    with _running(_certificate, _tls(certificates, "RequireAndVerifyClientCert")) as (server, _):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            _ask(server, "/", tls=certificates.context())
        assert _ask(server, "/", tls=certificates.context(certificates.client))[0] == 200


def test_silent_and_plain_clients_of_a_tls_port_hold_up_nobody(certificates: Certificates) -> None:
    with _running(_certificate, _tls(certificates)) as (server, _), contextlib.ExitStack() as clients:
        for _ in range(3):
            clients.enter_context(socket.create_connection(("127.0.0.1", server.port), 5))
        plain = clients.enter_context(socket.create_connection(("127.0.0.1", server.port), 5))
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        start = time.perf_counter()
        for _ in range(3):
            assert _ask(server, "/", tls=certificates.context())[0] == 200
        assert time.perf_counter() - start < 3


def test_no_host_is_all_addresses_of_both_kinds_and_an_ipv4_client_is_told_as_one() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [environ["REMOTE_ADDR"].encode()]

    with _running(app, listen=":0") as (server, _):
        for host in ("127.0.0.1", "::1"):
            with contextlib.closing(http.client.HTTPConnection(host, server.port, timeout=15)) as client:
                client.request("GET", "/")
                assert client.getresponse().read() == host.encode()


def test_a_name_is_its_ipv4_address_as_in_go() -> None:
    with _running(_own, listen="localhost:0") as (server, _):
        assert server._server.address[0] == "127.0.0.1"


def test_a_server_is_to_the_letter_what_wsgi_asks_for() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        body = environ["wsgi.input"].readline() + b"".join(environ["wsgi.input"])
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b""
        yield body

    lines = "POST /a?b=c HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nX_Y: z\r\n\r\na\nbcd"
    with (
        _running(cast(WsgiApp, validator(app))) as (server, _),
        socket.create_connection(("127.0.0.1", server.port), 15) as client,
    ):
        client.sendall(lines.encode())
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert (answer.status, answer.read()) == (200, b"a\nbcd")


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/healthy", "/-/ready", "/health", "/-/reload", "/x"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_the_face_is_to_the_letter_what_wsgi_asks_for(path: str, method: str) -> None:
    face = Face("x", [_Metrics()], lambda: Health(True), reload=lambda: None)
    with _running(cast(WsgiApp, validator(face))) as (server, _):
        assert _ask(server, path, method)[0] in (200, 404, 405)


def test_an_answer_to_a_failure_has_the_id_of_its_trace() -> None:
    seen: list[str] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        seen.append(trace.identifier())
        start_response("200 OK", [])
        raise RuntimeError("broken")

    for access_log in (False, True):
        with _running(Traced(app, access_log=access_log)) as (server, _):
            status, headers, _ = _ask(server, "/")
            assert (status, headers.get_all("X-Request-Id")) == (500, [seen.pop()])


def test_an_app_may_change_its_mind_until_its_first_byte() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b""
        raise RuntimeError("broken")

    with _running(app) as (server, _):
        assert _ask(server, "/")[0] == 500


def test_a_failing_path_that_holds_a_secret_is_not_logged() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        environ[SHOWN_PATH] = "/ack/…"
        raise RuntimeError("broken")

    with _running(app) as (server, _), captured_logs() as lines:
        assert _ask(server, "/ack/sesame")[0] == 500
    assert "GET /ack/…" in {line.get("target") for line in lines}
    assert "sesame" not in str(lines)
