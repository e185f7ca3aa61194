"""How requests are taken in: slow clients, odd headers, bodies that nobody reads."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from cloudpulse import webtls
from cloudpulse.connection import TAKE_OVER
from cloudpulse.environ import HEADERS
from cloudpulse.limits import PROBED
from cloudpulse.serving import Environ, Face, Health, Server, StartResponse, WsgiApp
from cloudpulse.testing import captured_logs
from cloudpulse.webconfig import TlsServer

from .conftest import Certificates

REQUEST = b"GET /one HTTP/1.1\r\nHost: x\r\n\r\n"


def _echo(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    body = json.dumps([environ["REQUEST_URI"], environ[HEADERS]]).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    if environ["REQUEST_URI"] == "/close":
        headers.append(("Connection", "close"))
    start_response("200 OK", headers)
    return [body]


@contextlib.contextmanager
def _running(tls: ssl.SSLContext | None = None, timeout: float = 10, app: WsgiApp | None = None) -> Iterator[Server]:
    """A server with one worker thread, so that one that is held up shows at once."""
    server = Server(app or _echo, "127.0.0.1:0", tls=None if tls is None else lambda: tls, threads=1)
    server._server.patience = timeout
    stop = threading.Event()
    thread = threading.Thread(target=server.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        stop.set()
        thread.join(15)


def _connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), 15)


def _answer(client: socket.socket) -> tuple[int, bytes]:
    response = http.client.HTTPResponse(client)
    response.begin()
    return response.status, response.read()


def _exchange(server: Server, request: bytes) -> tuple[int, bytes]:
    with _connect(server) as client:
        client.sendall(request)
        return _answer(client)


def test_clients_that_send_nothing_or_half_a_request_hold_up_nobody() -> None:
    with _running() as server, contextlib.ExitStack() as clients:
        for start in (b"", b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "):
            clients.enter_context(_connect(server)).sendall(start)
        begin = time.monotonic()
        assert _exchange(server, REQUEST)[0] == 200
        assert time.monotonic() - begin < 5, "waited for a slow client (each has 10 s)"


def test_tls_clients_that_stop_at_any_point_hold_up_nobody(certificates: Certificates) -> None:
    context = webtls.context(TlsServer(cert_file=certificates.cert, key_file=certificates.key))
    trusting = certificates.context()
    with _running(context) as server, contextlib.ExitStack() as clients:
        clients.enter_context(_connect(server))
        clients.enter_context(_connect(server)).sendall(b"\x16\x03\x01\x02\x00\x01")  # the start of a ClientHello
        for start in (b"", b"GET / HT"):
            slow = trusting.wrap_socket(_connect(server), server_hostname="127.0.0.1")
            clients.enter_context(slow).sendall(start)
        begin = time.monotonic()
        with trusting.wrap_socket(_connect(server), server_hostname="127.0.0.1") as client:
            client.sendall(REQUEST)
            assert _answer(client)[0] == 200
        assert time.monotonic() - begin < 5


def test_a_client_that_drips_is_let_go_in_the_time_of_one_request() -> None:
    with _running(timeout=1) as server, _connect(server) as client:
        client.sendall(b"GET / HTTP/1.1\r\nX: ")
        with pytest.raises(ConnectionError):  # noqa: PT012  the drops before it succeed
            for _ in range(200):
                client.sendall(b"x")
                time.sleep(0.05)


def test_a_request_that_comes_byte_by_byte_is_answered() -> None:
    with _running() as server, _connect(server) as client:
        for i in range(len(REQUEST)):
            client.sendall(REQUEST[i : i + 1])
        assert _answer(client)[0] == 200


def test_pipelined_requests_are_answered_in_turn() -> None:
    with _running() as server, _connect(server) as client, client.makefile("rb") as answers:

        def path() -> str:
            assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
            length = int(http.client.parse_headers(answers)["Content-Length"])
            return str(json.loads(answers.read(length))[0])

        client.sendall(REQUEST + REQUEST.replace(b"one", b"two") + REQUEST[:9])
        assert [path(), path()] == ["/one", "/two"]
        assert _exchange(server, REQUEST)[0] == 200  # what half a third one waits for, waits alone
        client.sendall(REQUEST[9:])
        assert path() == "/one"


def test_headers_reach_the_app_as_they_were_sent() -> None:
    sent = [["Host", "x"], ["X-Group", "a, b"], ["x-group", "ü"], ["X_Group", ""], ["X-%2f.", "1:2"]]
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent)
    with _running() as server:
        status, body = _exchange(server, f"GET / HTTP/1.1\r\n{lines}\r\n".encode("latin-1"))
    assert (status, json.loads(body)[1]) == (200, sent)


@pytest.mark.parametrize(
    "line",
    [
        b"X-Remote-User : admin",
        b"X-Remote-User: a\r\n admin",
        b" X-Remote-User: admin",
        b"X-Remote\tUser: admin",
        b": admin",
        b"admin",
        b"X: a\rX-Remote-User: admin",
        b"Content-Length: 1\r\nContent-Length: 2",
        b"Content-Length: -1",
        b"Content-Length: 3\r\nTransfer-Encoding: chunked",
    ],
)
def test_a_header_that_can_be_read_in_two_ways_is_refused(line: bytes) -> None:
    with _running() as server:
        assert _exchange(server, b"GET / HTTP/1.1\r\nHost: x\r\n" + line + b"\r\n\r\n")[0] == 400


@pytest.mark.parametrize("target", [b"//[", b"//[::1/", b"http://[x]/", b"/\xff//[", b"*", b"a"])
def test_a_target_that_is_no_path_is_refused(target: bytes) -> None:
    with _running() as server:
        assert _exchange(server, b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")[0] in (200, 400)


def test_a_head_without_end_is_refused() -> None:
    with _running() as server, _connect(server) as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 2**20 + b"x" * 2**17)
        with contextlib.suppress(ConnectionError):
            assert _answer(client)[0] == 431
        assert _exchange(server, REQUEST)[0] == 200


def test_an_unread_body_is_never_taken_for_a_request() -> None:
    """Behind a proxy that shares connections, the next caller would get an answer made for a forged header."""
    smuggled = REQUEST.replace(b"one", b"smuggled")
    chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n"
    with _running() as server, _connect(server) as client:
        client.sendall(chunked % (len(smuggled), smuggled))
        assert json.loads(_answer(client)[1])[0] == "/"
        client.sendall(REQUEST)
        assert json.loads(_answer(client)[1])[0] == "/one"


def test_a_body_that_never_comes_is_not_waited_for() -> None:
    face = Face("x", (), lambda: Health(True))
    with _running(app=face) as server, _connect(server) as client:
        client.sendall(b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        assert _answer(client)[0] == 405
        begin = time.monotonic()
        assert _exchange(server, REQUEST.replace(b"/one", b"/-/healthy"))[0] == 200
        assert time.monotonic() - begin < 5


def test_an_app_that_says_close_is_taken_at_its_word() -> None:
    with _running() as server, _connect(server) as client:
        client.sendall(REQUEST.replace(b"/one", b"/close"))
        response = http.client.HTTPResponse(client)
        response.begin()
        assert response.headers["Connection"] == "close"
        response.read()
        with contextlib.suppress(ConnectionError):
            assert client.recv(1000) == b""


@pytest.mark.parametrize("secure", [False, True])
def test_no_answer_waits_for_the_clients_acknowledgement(secure: bool, certificates: Certificates) -> None:
    """Head and body are two writes: with Nagle's algorithm the second waits for a delayed acknowledgement, 40 ms."""
    context = webtls.context(TlsServer(cert_file=certificates.cert, key_file=certificates.key))
    seen: list[int] = []

    def heir(connection: Any, _: bytes) -> None:
        seen.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        connection.close()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        environ[TAKE_OVER](heir)
        return _echo(environ, start_response)

    with _running(context if secure else None, app=app) as server, contextlib.ExitStack() as clients:
        client = clients.enter_context(_connect(server))
        if secure:
            client = clients.enter_context(certificates.context().wrap_socket(client, server_hostname="127.0.0.1"))
        client.sendall(REQUEST)
        assert _answer(client)[0] == 200
        assert client.recv(1000) == b""  # the heir has closed
    assert [bool(one) for one in seen] == [True]


LARGE = b"x" * 2**24
"""More than the system keeps for a client that doesn't read."""


def _large(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/one":
        return _echo(environ, start_response)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [LARGE]


@pytest.mark.parametrize("secure", [False, True])
def test_an_answer_that_nobody_reads_holds_up_nobody_and_waits_whole(secure: bool, certificates: Certificates) -> None:
    context = webtls.context(TlsServer(cert_file=certificates.cert, key_file=certificates.key))
    with _running(context if secure else None, app=_large) as server, contextlib.ExitStack() as clients:

        def connect() -> socket.socket:
            plain = clients.enter_context(_connect(server))
            trusting = certificates.context()
            return clients.enter_context(trusting.wrap_socket(plain, server_hostname="127.0.0.1")) if secure else plain

        slow = [connect() for _ in range(3)]
        for client in slow:
            client.sendall(REQUEST.replace(b"/one", b"/large"))
        quick = connect()
        quick.sendall(REQUEST)
        assert _answer(quick)[0] == 200
        for client in slow:
            assert _answer(client) == (200, LARGE)
        slow[0].sendall(REQUEST)
        assert _answer(slow[0])[0] == 200  # the connection goes on


def test_a_client_that_reads_nothing_is_let_go() -> None:
    with _running(timeout=0.2, app=_large) as server, _connect(server) as client:
        client.sendall(REQUEST.replace(b"/one", b"/large"))
        time.sleep(1.5)
        with client.makefile("rb") as stream, contextlib.suppress(ConnectionError):
            assert len(stream.read()) < len(LARGE)


def test_bodies_that_do_not_come_hold_up_nobody_and_are_told_so() -> None:
    start = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"
    with _running(timeout=1) as server, _connect(server) as slow, _connect(server) as other:
        slow.sendall(start)
        other.sendall(start.replace(b"Content-Length: 9\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n9\r\nhalf"))
        assert _exchange(server, REQUEST)[0] == 200
        assert [_answer(slow)[0], _answer(other)[0]] == [408, 408]


def _length(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    said = environ["CONTENT_LENGTH"]
    read = len(environ["wsgi.input"].read()) if environ["PATH_INFO"] == "/read" else None
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps([said, read, environ.get("HTTP_TRANSFER_ENCODING")]).encode()]


def _post(path: bytes, body: bytes, *, chunked: bool) -> bytes:
    head = b"POST " + path + b" HTTP/1.1\r\nHost: x\r\n"
    if not chunked:
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    return head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize("chunked", [False, True])
def test_an_app_reads_a_body_and_its_length_but_none_that_is_too_large(chunked: bool) -> None:
    small, large = b"x" * 2**16, b"x" * (2**16 + 1)
    with _running(app=_length) as server:
        assert json.loads(_exchange(server, _post(b"/read", small, chunked=chunked))[1]) == [str(2**16), 2**16, None]
        assert json.loads(_exchange(server, _post(b"/", large, chunked=chunked))[1]) == [str(2**16 + 1), None, None]
        assert _exchange(server, _post(b"/read", large, chunked=chunked))[0] == 413


def test_who_waits_to_be_told_to_go_on_is_told() -> None:
    with _running(app=_length) as server, _connect(server) as client, client.makefile("rb") as stream:
        client.sendall(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert stream.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert stream.readline() == b"\r\n"
        client.sendall(b"ab")
        assert stream.readline() == b"HTTP/1.1 200 OK\r\n"
        client.sendall(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\nExpect: 100-continue\r\n\r\n")
        assert b"\r\n\r\n" in stream.readline() + stream.read()
        # What is too large is answered at once.


def _failing(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    match environ["PATH_INFO"]:
        case "/early":
            raise RuntimeError("secret /etc/shadow")
        case "/late":
            start_response("200 OK", [])
            raise RuntimeError("secret /etc/shadow")
        case "/long":
            start_response("200 OK", [("Content-Length", "1")])
            return [b"secret"]
        case "/header":
            start_response("200 OK", [("X", "a\r\nSet-Cookie: b")])
            return []
        case "/never":
            return [b"secret"]
        case "/system":
            raise ConnectionResetError("secret: of another connection")
    return _echo(environ, start_response)


@pytest.mark.parametrize("path", [b"/early", b"/late", b"/long", b"/header", b"/never", b"/system"])
def test_what_fails_says_nothing_of_why(path: bytes) -> None:
    with _running(app=_failing) as server, _connect(server) as client:
        client.sendall(REQUEST.replace(b"/one", path))
        response = http.client.HTTPResponse(client)
        response.begin()
        assert (response.status, response.read()) == (500, b"the server failed; its log says why\n")
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Connection"] == "close"
        assert "Server" not in response.headers
        assert _exchange(server, REQUEST)[0] == 200


def _breaking(_: Environ, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [])
    yield b"begun"
    raise RuntimeError("secret")


def test_what_fails_in_the_middle_ends_the_connection_without_a_second_head() -> None:
    with _running(app=_breaking) as server, _connect(server) as client, client.makefile("rb") as stream:
        client.sendall(REQUEST)
        answer = stream.read()
        assert answer.count(b"HTTP/1.1") == 1
        assert answer.endswith(b"5\r\nbegun\r\n")  # and no last chunk, so that nobody takes it for whole


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET /" + b"x" * 2**16 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 2**16 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 100 + b"\r\n", 431),
        (b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", 505),
    ],
)
def test_the_servers_own_refusals_are_guarded_and_last(data: bytes, status: int) -> None:
    with _running() as server, _connect(server) as client:
        client.sendall(data)
        response = http.client.HTTPResponse(client)
        response.begin()
        assert response.status == status
        for name in ("X-Content-Type-Options", "Content-Security-Policy", "Referrer-Policy"):
            assert response.headers[name]
        assert (response.headers["Connection"], response.headers["Server"]) == ("close", None)
        response.read()
        assert client.recv(1) == b""


def test_a_flood_of_one_address_ends_its_own_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudpulse.limits.MOST_CONNECTIONS", 8)
    with _running() as server, contextlib.ExitStack() as clients:
        kept = clients.enter_context(_connect(server))
        kept.sendall(REQUEST)
        assert _answer(kept)[0] == 200
        flood = [
            clients.enter_context(socket.create_connection(("127.0.0.1", server.port), 15, ("127.0.0.2", 0)))
            for _ in range(20)
        ]
        assert flood[0].recv(1) == b""
        kept.sendall(REQUEST)
        assert _answer(kept)[0] == 200


def test_addresses_take_turns_while_all_threads_are_busy() -> None:
    going, seen = threading.Event(), []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        seen.append(environ["REMOTE_ADDR"])
        going.wait(10)
        return _echo(environ, start_response)

    with _running(app=app) as server, contextlib.ExitStack() as clients:
        for source in ["127.0.0.2"] * 9 + ["127.0.0.1"]:
            address = ("127.0.0.1", server.port)
            client = clients.enter_context(socket.create_connection(address, 15, (source, 0)))
            client.sendall(REQUEST)
        deadline = time.monotonic() + 10
        while server._server.waiting < 9:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        going.set()
        assert _answer(client)[0] == 200
    assert "127.0.0.1" in seen[:3]


def test_a_client_that_sends_without_end_leaves_others_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of a body that was refused is passed over, but not by a thread that all others wait for."""
    monkeypatch.setattr("cloudpulse.limits.LINGER_SECONDS", 1000)
    with _running() as server, _connect(server) as endless:
        endless.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n")
        ended = threading.Event()

        def send() -> None:
            with contextlib.suppress(OSError):
                while not ended.is_set():
                    endless.sendall(b"x" * 2**16)

        sending = threading.Thread(target=send)
        sending.start()
        try:
            assert [_exchange(server, REQUEST)[0] for _ in range(10)] == [200] * 10
            assert sending.is_alive()
        finally:
            ended.set()
            sending.join(10)


@pytest.mark.parametrize("start", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"\0", b" GET", b"\n", b"\xff"])
def test_what_can_not_become_a_request_is_refused_at_its_first_byte(start: bytes) -> None:
    with _running(timeout=1000) as server:
        assert _exchange(server, start)[0] == 400


def test_empty_lines_before_a_request_are_passed_over_however_they_come() -> None:
    with _running() as server, _connect(server) as client:
        for piece in (b"\r", b"\n", b"\r\n" + REQUEST):
            client.sendall(piece)
            time.sleep(0.05)
        assert _answer(client)[0] == 200


@pytest.mark.parametrize("path", sorted(PROBED))
def test_probes_are_answered_while_all_threads_are_busy(path: str) -> None:
    going = threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] not in PROBED:
            assert going.wait(20)
        return _echo(environ, start_response)

    with _running(app=app) as server, _connect(server) as client, _connect(server) as second:
        for one in (client, second):
            one.sendall(REQUEST)
        while server._server.waiting < 1:
            time.sleep(0.01)
        assert _exchange(server, REQUEST.replace(b"/one", path.encode()))[0] == 200
        going.set()
        assert [_answer(client)[0], _answer(second)[0]] == [200, 200]


def test_requests_that_wait_for_a_thread_hold_no_more_memory_than_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudpulse.limits.MOST_HELD", 100_000)
    begun, going = threading.Event(), threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        begun.set()
        going.wait(20)
        return _echo(environ, start_response)

    with _running(app=app) as server, contextlib.ExitStack() as stack, captured_logs() as lines:
        first, second, *others = [stack.enter_context(_connect(server)) for _ in range(5)]
        first.sendall(_post(b"/", b"x" * 60000, chunked=False))
        assert begun.wait(10)
        second.sendall(_post(b"/", b"x" * 60000, chunked=True))
        while server._server.waiting < 1:
            time.sleep(0.01)
        for client in others:
            client.sendall(_post(b"/", b"x" * 60000, chunked=False))
            assert _lost(client)
        going.set()
        assert [_answer(client)[0] for client in (first, second)] == [200, 200]
    assert [line["event"] for line in lines if line["level"] == "error"] == [
        "a request was turned away: those that wait for a thread take all memory they may"
    ]


def _lost(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True


def test_a_thread_outlives_what_would_end_it() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/exit":
            raise SystemExit(3)
        return _echo(environ, start_response)

    with _running(app=app) as server:
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            _exchange(server, REQUEST.replace(b"/one", b"/exit"))
        assert _exchange(server, REQUEST)[0] == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_is_ended_by_its_own_word(version: ssl.TLSVersion, certificates: Certificates) -> None:
    """Without close_notify a client could not tell an answer that is whole from one that somebody cut off."""
    context = webtls.context(TlsServer(cert_file=certificates.cert, key_file=certificates.key))
    trusting = certificates.context()
    trusting.maximum_version = version
    with (
        _running(context) as server,
        trusting.wrap_socket(_connect(server), server_hostname="127.0.0.1", suppress_ragged_eofs=False) as client,
    ):
        client.sendall(REQUEST.replace(b"1.1", b"1.0"))
        said = b""
        while piece := client.recv(1000):
            said += piece
        assert said.startswith(b"HTTP/1.1 200 OK\r\n")


def test_the_client_can_not_begin_tls_anew(certificates: Certificates) -> None:
    """Each handshake costs this side more than the client."""
    command = ["openssl", "s_client", "-connect", "127.0.0.1:{port}", "-tls1_2"]
    context = webtls.context(TlsServer(cert_file=certificates.cert, key_file=certificates.key))
    with _running(context) as server:
        words = [word.format(port=server.port) for word in command]
        done = subprocess.run(words, input=b"R\n", capture_output=True, timeout=20, check=False)
    assert b"RENEGOTIATING" in done.stdout + done.stderr
    assert b"no renegotiation" in done.stderr


def test_a_body_that_fills_many_tls_records_comes_whole(certificates: Certificates) -> None:
    """What TLS has decrypted but nobody read doesn't show at the socket."""
    context = webtls.context(TlsServer(cert_file=certificates.cert, key_file=certificates.key))
    with (
        _running(context, app=_length) as server,
        certificates.context().wrap_socket(_connect(server), server_hostname="127.0.0.1") as client,
    ):
        request = _post(b"/read", b"x" * 2**16, chunked=False)
        client.sendall(request * 3)
        with client.makefile("rb") as answers:
            for _ in range(3):
                assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
                length = int(http.client.parse_headers(answers)["Content-Length"])
                assert json.loads(answers.read(length))[1] == 2**16


class _Pieces:
    """An answer of 1 GB, made while it is sent."""

    def __init__(self) -> None:
        self.made = 0
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(1000):
            self.made += 1
            yield b"x" * 2**20

    def close(self) -> None:
        self.closed.set()


@pytest.mark.parametrize("secure", [False, True])
def test_an_answer_is_made_no_quicker_than_its_client_takes_it_and_let_go_with_it(
    secure: bool, certificates: Certificates
) -> None:
    pieces = _Pieces()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        return pieces

    context = webtls.context(TlsServer(cert_file=certificates.cert, key_file=certificates.key))
    with _running(context if secure else None, app=app, timeout=1000) as server, contextlib.ExitStack() as clients:
        client = clients.enter_context(_connect(server))
        if secure:
            client = clients.enter_context(certificates.context().wrap_socket(client, server_hostname="127.0.0.1"))
        client.sendall(REQUEST)
        assert client.recv(15) == b"HTTP/1.1 200 OK"
        before = -1
        while pieces.made > before:
            before = pieces.made
            time.sleep(0.2)
        assert pieces.made < 50  # what the system's buffers take, and one that waits
        assert not pieces.closed.is_set()
        clients.close()
        assert pieces.closed.wait(20)
        assert pieces.made < 60


@pytest.mark.parametrize(
    ("start", "status", "body", "told"),
    [
        (b"HEAD / HTTP/1.1", "200 OK", b"", b"Content-Length: 5"),
        (b"GET / HTTP/1.1", "200 OK", b"12345", b"Content-Length: 5"),
        (b"GET / HTTP/1.1", "304 Not Modified", b"", b"Content-Length: 5"),
        (b"GET / HTTP/1.1", "204 No Content", b"", b""),
        (b"HEAD /stream HTTP/1.1", "200 OK", b"", b""),
        (b"GET /stream HTTP/1.1", "200 OK", b"5\r\n12345\r\n0\r\n\r\n", b"Transfer-Encoding: chunked"),
        (b"GET /stream HTTP/1.1", "204 No Content", b"", b""),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive", "200 OK", b"12345", b"Connection: keep-alive"),
    ],
)
def test_an_answer_ends_where_it_says_and_the_next_follows(start: bytes, status: str, body: bytes, told: bytes) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/stream":
            start_response(status, [])
            return iter([b"12345"])
        start_response(status, [("Content-Length", "5")])
        return [b"12345"]

    with _running(app=app) as server, _connect(server) as client, client.makefile("rb") as stream:
        client.sendall(start + b"\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        head, _, rest = stream.read().partition(b"\r\n\r\n")
        assert told in head
        assert told or b"Content-Length" not in head
        assert rest.startswith(body + b"HTTP/1.1 "), rest


def test_an_answer_of_unknown_length_ends_with_the_connection_for_http_1_0() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"12345"

    with _running(app=app) as server, _connect(server) as client, client.makefile("rb") as stream:
        client.sendall(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        head, _, body = stream.read().partition(b"\r\n\r\n")
    assert (b"Connection: close" in head, b"chunked" in head, body) == (True, False, b"12345")


def test_what_comes_before_a_malformed_request_is_answered() -> None:
    with _running() as server, _connect(server) as client, client.makefile("rb") as stream:
        client.sendall(REQUEST + b"GET / HTTP/1.1\r\nHost : x\r\n\r\n" + REQUEST)
        said = stream.read()
    assert [said.count(b"HTTP/1.1 " + status) for status in (b"", b"200", b"400")] == [2, 1, 1]
