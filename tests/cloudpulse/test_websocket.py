"""Who gets a stream: the handshake, with the PyPI package `websockets` as the client and with bare requests."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator
from http import HTTPStatus

import pytest
import requests
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from cloudpulse.serving import Environ
from cloudpulse.streaming import Streams
from cloudpulse.testing import serving
from cloudpulse.websocket import Refused, WebSocket

UPGRADE = {
    "Connection": "keep-alive, Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": base64.b64encode(b"0123456789abcdef").decode(),
    "Sec-WebSocket-Version": "13",
}


class _Greeting:
    """A feed of one message."""

    def __init__(self, text: str) -> None:
        self._texts = [text]

    def pull(self) -> str | None:
        return self._texts.pop() if self._texts else None


def _identify(environ: Environ) -> None:
    if environ["QUERY_STRING"] == "secret" and "k-1" not in environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", ""):
        raise Refused(HTTPStatus.UNAUTHORIZED, "a key is missing", [("WWW-Authenticate", "Bearer")])


def _open(environ: Environ) -> _Greeting:
    if environ["QUERY_STRING"] == "wrong":
        raise Refused(HTTPStatus.BAD_REQUEST, "wrong: unknown")
    return _Greeting("hello")


@contextlib.contextmanager
def _socket(most: int = 10) -> Iterator[str]:
    streams = Streams(most)
    streams.start()
    try:
        with serving(WebSocket(streams, _open, _identify, ["https://Board.example"])) as url:
            yield url
            streams.close()
    finally:
        streams.close()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with _socket() as url:
        yield url


def _ask(url: str, **changes: str | None) -> requests.Response:
    headers = UPGRADE | {name.replace("_", "-"): value for name, value in changes.items()}
    return requests.get(url, headers=headers, timeout=10, stream=True)


def test_a_client_gets_what_its_feed_gives(url: str) -> None:
    with connect(url.replace("http", "ws")) as client:
        assert client.recv(10) == "hello"


def test_a_request_that_is_no_upgrade_is_told_so(url: str) -> None:
    answer = requests.get(url, timeout=10)
    assert (answer.status_code, answer.headers["Upgrade"]) == (426, "websocket")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"Sec_WebSocket_Key": "short"}, 400),
        ({"Sec_WebSocket_Key": None}, 400),
        ({"Sec_WebSocket_Version": "8"}, 400),
        ({"Upgrade": "h2c"}, 426),
        ({"Content_Length": "1"}, 400),
    ],
)
def test_wrong_upgrade_requests_are_refused(url: str, changes: dict[str, str | None], status: int) -> None:
    headers = {**UPGRADE, **{name.replace("_", "-"): value for name, value in changes.items()}}
    answer = requests.get(url, headers=headers, timeout=10, data=b"x" if "Content_Length" in changes else None)
    assert answer.status_code == status


def test_only_get_becomes_a_stream(url: str) -> None:
    assert requests.post(url, headers=UPGRADE, timeout=10).status_code == 405


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://board.example.evil.example", "http://[x"])
def test_pages_of_other_origins_are_refused(url: str, origin: str) -> None:
    assert _ask(url, Origin=origin).status_code == 403


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://board.example", "bridge.example:9812"),  # configured
        ("http://bridge.example:9812", "bridge.example:9812"),
        ("https://bridge.example", "bridge.example"),  # a proxy in front speaks TLS
        ("https://bridge.example", "Bridge.example:443"),
    ],
)
def test_pages_of_its_own_and_of_configured_origins_are_welcome(url: str, origin: str, host: str) -> None:
    with _ask(url, Origin=origin, Host=host) as answer:
        assert answer.status_code == 101


def test_a_page_of_the_same_host_at_another_port_is_refused(url: str) -> None:
    assert _ask(url, Origin="http://bridge.example:3000", Host="bridge.example:9812").status_code == 403


def test_who_is_not_known_gets_no_stream(url: str) -> None:
    answer = _ask(f"{url}?secret")
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


def test_a_key_comes_as_a_subprotocol_and_is_not_told_back(url: str) -> None:
    names = ["cloudpulse.v1", "cloudpulse.key.k-1"]
    with connect(f"{url.replace('http', 'ws')}?secret", subprotocols=names) as client:
        assert client.subprotocol == "cloudpulse.v1"
        assert "k-1" not in str(client.response)


def test_parameters_that_the_feed_does_not_know_are_refused_before_the_upgrade(url: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(f"{url.replace('http', 'ws')}?wrong")
    assert refused.value.response.status_code == 400
    assert refused.value.response.body == b"wrong: unknown\n"


def test_more_than_the_most_get_503_and_a_place_again_when_one_goes() -> None:
    with _socket(most=2) as url, contextlib.ExitStack() as clients:
        first, _ = (clients.enter_context(connect(url.replace("http", "ws"))) for _ in range(2))
        assert _ask(url).status_code == 503
        first.close()
        with connect(url.replace("http", "ws")) as third:
            assert third.recv(10) == "hello"
