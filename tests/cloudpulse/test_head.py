"""What is a request and what isn't, byte by byte: RFC 9112, and the RFC 9110 behind it."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudpulse.body import MOST_EXCESS, Chunked, Sized
from cloudpulse.head import Head, Refused, parse

MOST = 100


def _parsed(target: bytes = b"/", *lines: bytes, method: bytes = b"GET", version: bytes = b"1.1") -> Head:
    start = method + b" " + target + b" HTTP/" + version
    return parse(b"".join(line + b"\r\n" for line in (start, b"Host: x", *lines, b"")), MOST)


def _status(data: bytes) -> str:
    with pytest.raises(Refused) as caught:
        parse(data, MOST)
    return caught.value.status[:3]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "400"),  # no host
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "400"),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "400"),
        (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        (b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        (b"GET /\r\n\r\n", "400"),  # HTTP/0.9
        (b"GET / http/1.1\r\nHost: a\r\n\r\n", "400"),
        (b"GET / HTTP/1.\xd9\xa1\r\nHost: a\r\n\r\n", "400"),  # an Arabic digit
        (b"GET / HTTP/01.1\r\nHost: a\r\n\r\n", "400"),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505"),
        (b"PRI * HTTP/2.0\r\n\r\n", "505"),
        (b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        (b"A" * 33 + b" / HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\nHost: a\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: \x1b[31m\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\xc3\xbc: a\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * MOST + b"\r\n", "431"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\n\r\n", "417"),
    ],
)
def test_a_malformed_head_is_refused(data: bytes, status: str) -> None:
    assert _status(data) == status


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Content-Length: 5\r\nContent-Length: 5",
        b"Content-Length: 5, 5",
        b"Content-Length: +5",
        b"Content-Length: -5",
        b"Content-Length: 0x5",
        b"Content-Length: 5_0",
        b"Content-Length: 5.0",
        b"Content-Length: 5 5",
        b"Content-Length:",
        b"Content-Length: \xd9\xa5",
        b"Content-Length: \xb2",
        b"Content-Length: 9999999999999999999",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding:\x0bchunked",
    ],
)
def test_a_length_that_can_be_read_in_two_ways_is_refused(lines: bytes) -> None:
    assert _status(b"POST / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n\r\n") == "400"


@pytest.mark.parametrize(
    "coding", [b"gzip", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked", b"identity", b"xchunked", b""]
)
def test_another_coding_than_chunked_is_not_implemented(coding: bytes) -> None:
    assert _status(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: " + coding + b"\r\n\r\n") == "501"


def test_chunks_are_no_part_of_http_1_0() -> None:
    assert _status(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n") == "400"


@pytest.mark.parametrize(
    "target",
    [b"a", b"*", b"/a#b", b"http://", b"http:///a", b"http://u@a/", b"ftp://a/", b"x:443", b"/%00", b"/a%00b", b"?a"],
)
def test_a_target_that_is_no_path_is_refused(target: bytes) -> None:
    assert _status(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n") == "400"


@pytest.mark.parametrize(
    ("target", "path", "query", "seen"),
    [
        (b"/a?b?c", "/a", "b?c", "/a?b?c"),
        (b"//a//b", "//a//b", "", "//a//b"),
        (b"//[", "//[", "", "//["),
        (b"/a%2Fb%2f%41", "/a%2Fb%2FA", "", "/a%2Fb%2f%41"),
        (b"/%zz%", "/%zz%", "", "/%zz%"),
        (b"/\xff%ff", "/\xff\xff", "", "/\xff%ff"),
        (b"HTTP://y:1/a?b", "/a", "b", "/a?b"),
        (b"http://y", "/", "", "/"),
        (b"https://y?b", "/", "b", "/?b"),
    ],
)
def test_a_target_is_a_path_and_a_query(target: bytes, path: str, query: str, seen: str) -> None:
    head = _parsed(target)
    assert (head.path, head.query, head.target) == (path, query, seen)
    assert head.host == (
        "x" if target.startswith(b"/") else target.decode()[7:].lstrip("/").partition("/")[0].partition("?")[0]
    )


def test_the_whole_server_can_be_asked_for_its_options() -> None:
    assert _parsed(b"*", method=b"OPTIONS").path == "/*"


@pytest.mark.parametrize(
    ("version", "line", "close"),
    [
        (b"1.1", b"X: y", False),
        (b"1.1", b"Connection: keep-alive, CLOSE", True),
        (b"1.0", b"X: y", True),
        (b"1.0", b"Connection: Keep-Alive", False),
        (b"1.9", b"X: y", False),
    ],
)
def test_the_client_says_whether_the_connection_stays(version: bytes, line: bytes, close: bool) -> None:
    assert _parsed(b"/", line, version=version).close == close


def test_who_waits_to_be_told_to_go_on_is_known() -> None:
    assert _parsed(b"/", b"Expect: 100-Continue").expects
    assert not _parsed(b"/", b"Expect: 100-continue", version=b"1.0").expects


@given(st.binary(max_size=200))
def test_any_bytes_are_a_head_or_refused(data: bytes) -> None:
    with contextlib.suppress(Refused):  # and nothing else
        assert parse(data, MOST).path.startswith("/")


def _fed(body: Chunked | Sized, data: bytes, step: int) -> bytes:
    """What is left over."""
    raw = bytearray()
    for i in range(0, len(data), step):
        raw += data[i : i + step]
        body.take(raw)
    return bytes(raw)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.integers(1, 30), st.binary(max_size=9))
def test_chunks_are_put_together_however_they_come(pieces: list[bytes], step: int, after: bytes) -> None:
    body = Chunked()
    wire = b"".join(b'%X ;a="b"\r\n%b\r\n' % (len(piece), piece) for piece in pieces) + b"000\r\nTrailer: x\r\n\r\n"
    assert _fed(body, wire + after, step) == after
    assert (body.whole, bytes(body.content)) == (True, b"".join(pieces))


def test_a_body_line_by_line_is_no_attack() -> None:
    body, line = Chunked(), b"x" * 40
    _fed(body, (b"28\r\n%b\r\n" % line) * 20_000 + b"0\r\n\r\n", 2**16)
    assert (body.whole, len(body.content)) == (True, 800_000)


@given(st.binary(max_size=60), st.integers(1, 30), st.binary(max_size=9))
def test_a_body_of_known_length_ends_where_it_ends(content: bytes, step: int, after: bytes) -> None:
    body = Sized(len(content))
    assert _fed(body, content + after, step) == after
    assert (body.whole, bytes(body.content)) == (True, content)


@pytest.mark.parametrize(
    "wire",
    [
        b"-1\r\n",
        b"+1\r\na\r\n",
        b"0x1\r\na\r\n",
        b"1_0\r\n",
        b" 1\r\na\r\n",
        b"\r\n",
        b";a\r\n",
        b"g\r\n",
        b"\xd9\xa1\r\n",
        b"1\na\r\n",
        b"1\r\na\nb",
        b"1\r\nab\r\n",
        b"1\r\na\r\n\r\n",
        b"ffffffffffffffff\r\n",
        b"1;a\0\r\n",
        b"1;" + b"a" * 2000,
        b"0\r\nnot a header\r\n",
        b"0\r\n folded: x\r\n",
        b"0\r\nX: y\n",
        b"0\r\n" + b"X: y\r\n" * 2000,
        (b"1;" + b"a" * 1000 + b"\r\nx\r\n") * (MOST_EXCESS // 900),
        b"1\r\nx\r\n" * (MOST_EXCESS // 60),  # each costs 2 microseconds of the thread that all clients share
    ],
)
def test_malformed_chunks_are_refused(wire: bytes) -> None:
    with pytest.raises(Refused, match="malformed"):
        _fed(Chunked(), wire, len(wire))
