"""Open streams: one thread for all, and nobody in the way of anybody."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from websockets import protocol as sansio
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from cloudpulse import webtls
from cloudpulse.serving import Environ, Server, StartResponse
from cloudpulse.streaming import Patience, StreamEnded, Streams
from cloudpulse.webconfig import TlsServer
from cloudpulse.websocket import WebSocket

from .conftest import Certificates
from .test_websocket import UPGRADE


class _Board:
    """Gives every feed the same messages, as they are written."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.ended: StreamEnded | None = None
        self.feeds: list[_Feed] = []

    def feed(self, _: Environ) -> _Feed:
        self.feeds.append(_Feed(self))
        return self.feeds[-1]


class _Feed:
    def __init__(self, board: _Board) -> None:
        self._board = board
        self.given = 0

    def pull(self) -> str | None:
        if self.given < len(self._board.messages):
            self.given += 1
            return self._board.messages[self.given - 1]
        if self._board.ended is not None:
            raise self._board.ended
        return None


class _Running:
    """A server with a single worker thread, whose `/` answers 200 and everything else is a stream."""

    def __init__(self, patience: Patience, tls: ssl.SSLContext | None, identify: Callable[[Environ], None]) -> None:
        self.board = _Board()
        self.streams = Streams(300, patience)
        self.streams.start()
        stream = WebSocket(self.streams, self.board.feed, identify)

        def app(environ: Environ, start_response: StartResponse) -> Any:
            if environ["PATH_INFO"] != "/":
                return stream(environ, start_response)
            start_response("200 OK", [("Content-Length", "2")])
            return [b"up"]

        self.server = Server(app, "127.0.0.1:0", tls=None if tls is None else lambda: tls, threads=1)

    def connect(self, query: str = "", **options: Any) -> ClientConnection:
        scheme = "wss" if "ssl" in options else "ws"
        return connect(f"{scheme}://127.0.0.1:{self.server.port}/stream{query}", **options)

    def bare(self) -> socket.socket:
        """A client that has shaken hands and does nothing more by itself."""
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", self.server.port))
        client.settimeout(30)
        lines = "".join(f"{name}: {value}\r\n" for name, value in UPGRADE.items())
        client.sendall(f"GET /stream HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.recv(1)
        return client

    def say(self, *messages: str) -> None:
        self.board.messages += messages
        self.streams.wake()


@contextlib.contextmanager
def _running(
    patience: Patience | None = None,
    tls: ssl.SSLContext | None = None,
    identify: Callable[[Environ], None] = lambda _: None,
) -> Iterator[_Running]:
    running, stop = _Running(patience or Patience(), tls, identify), threading.Event()
    thread = threading.Thread(target=running.server.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running.streams.close()
        stop.set()
        thread.join(15)


def _talk(client: ClientConnection) -> None:
    while True:
        client.send("x" * 4000)


def _until_over(streams: Streams, left: int = 0) -> None:
    deadline = time.monotonic() + 30
    while streams.count > left:
        assert time.monotonic() < deadline, "still there"
        time.sleep(0.02)


def test_two_hundred_streams_leave_the_only_worker_thread_free() -> None:
    with _running() as running, contextlib.ExitStack() as clients:
        open_ = [clients.enter_context(running.bare())]  # by now all of the server's own threads run
        threads = threading.active_count()
        open_ += [clients.enter_context(running.bare()) for _ in range(199)]
        assert running.streams.count == 200
        assert threading.active_count() <= threads
        with socket.create_connection(("127.0.0.1", running.server.port), 10) as other:
            other.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert other.recv(100).startswith(b"HTTP/1.1 200")
        running.say("news")
        for client in open_:
            assert client.recv(100) == b"\x81\x04news"  # RFC 6455, 5.2: a whole text of 4 bytes, not masked


def test_tls_streams_carry_more_than_a_record_and_a_long_replay(certificates: Certificates) -> None:
    context = webtls.context(TlsServer(cert_file=certificates.cert, key_file=certificates.key))
    with _running(tls=context) as running:
        messages = ["x" * 100_000, *(str(number) for number in range(5000)), "y" * 300_000]
        running.say(*messages)
        with running.connect(ssl=certificates.context()) as client:
            assert [client.recv(30) for _ in messages] == messages
        _until_over(running.streams)


def test_a_client_that_stops_reading_is_dropped_and_holds_up_nobody() -> None:
    with _running(Patience(stalled=1)) as running, running.bare(), running.connect() as reader:
        for number in range(200):
            running.say(f"{number}:" + "x" * 100_000)
            assert str(reader.recv(30)).startswith(f"{number}:")
        _until_over(running.streams, left=1)
        running.say("still here")
        assert reader.recv(30) == "still here"


def test_what_waits_for_a_slow_client_stays_with_its_feed() -> None:
    with _running() as running, running.bare() as slow, running.connect() as reader:
        message = "x" * 100_000
        running.say(*[message] * 100)
        for _ in range(100):
            assert reader.recv(30) == message
        assert running.board.feeds[0].given < 100
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)  # slow no more
        got = 0
        while got < 100 * (len(message) + 10):  # a header of 2 bytes, 8 of the length
            got += len(slow.recv(2**20))
        assert got == 100 * (len(message) + 10)


def test_of_whom_it_can_not_be_told_whether_he_may_listen_does_not_and_the_others_go_on() -> None:
    identified: list[Environ] = []

    def identify(environ: Environ) -> None:
        identified.append(environ)
        if len(identified) > 4 and environ["QUERY_STRING"] == "odd":  # each is looked at twice when it comes
            raise RuntimeError("a bug")

    with _running(identify=identify) as running, running.connect() as other, running.connect(query="?odd") as odd:
        running.say("first")
        assert (other.recv(30), odd.recv(30)) == ("first", "first")
        running.streams.review()
        with pytest.raises(ConnectionClosed) as closed:
            odd.recv(30)
        running.say("still here")
        assert other.recv(30) == "still here"
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1011


def test_a_client_that_answers_no_ping_is_dropped_and_one_that_does_stays() -> None:
    with _running(Patience(ping=0.5, pong=1)) as running, running.bare() as silent, running.connect() as polite:
        _until_over(running.streams, left=1)
        assert silent.recv(100) == b"\x89\x00"
        running.say("still here")
        assert polite.recv(30) == "still here"


def test_a_message_too_large_ends_the_stream() -> None:
    with _running() as running, running.connect() as client:
        client.send("x" * 5000)
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(30)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


def test_a_client_that_talks_on_and_on_is_told_that_nobody_listens() -> None:
    with _running() as running, running.connect() as client, pytest.raises(ConnectionClosed) as closed:
        _talk(client)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


def test_what_comes_right_behind_the_handshake_is_not_lost() -> None:
    with _running() as running, socket.create_connection(("127.0.0.1", running.server.port), 10) as client:
        lines = "".join(f"{name}: {value}\r\n" for name, value in UPGRADE.items())
        ping = b"\x89\x82\0\0\0\0hi"  # a ping, masked with zeros
        client.sendall(f"GET /stream HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode() + ping)
        got = b""
        while not got.endswith(b"\x8a\x02hi"):
            got += client.recv(1000)


def test_a_feed_that_ends_says_why() -> None:
    with _running() as running, running.connect() as client:
        running.board.ended = StreamEnded("too slow: come back with after=7", 1013)
        running.say("last")
        assert client.recv(30) == "last"
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(30)
        assert closed.value.rcvd == sansio.Close(1013, "too slow: come back with after=7")


def test_a_stop_tells_every_client_and_waits_for_none_that_is_gone_dumb() -> None:
    with _running() as running, running.bare(), running.connect() as client:
        began = time.monotonic()
        running.streams.close()
        assert time.monotonic() - began < 8
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(30)
        assert closed.value.rcvd == sansio.Close(1001, "the server stops")
        assert running.streams.count == 0
        assert not running.streams.admit()
