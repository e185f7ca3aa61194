"""Requests that a broken client, a scanner or an attacker could send, for Hypothesis: raw bytes and whole requests.

CLOUDPULSE_FUZZ_CASES says how many of each (`make fuzz`: 10,000); the suite tries a few. What a server answers to any
of them is `answered`: a status that is no 5xx, all of the answer, and the next request served.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
from collections.abc import Iterable, Sequence

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

CASES = int(os.environ.get("CLOUDPULSE_FUZZ_CASES", "30"))

tried = settings(
    max_examples=CASES,
    deadline=None,
    database=None,
    derandomize="CLOUDPULSE_FUZZ_CASES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
"""How each fuzz test is run: always the same few in the suite, others each time with many."""

_ODD_SEGMENTS = ["", ".", "..", "%2e%2e", "%2F", "%252e", "%", "%zz", "%ff", "%0d%0a", "%20", ";", "*", "{}", "é", "~"]
_METHODS = ["GET", "GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "FOO"]
_VALUES = ["", "0", "-1", "1e999", "NaN", "9" * 400, "١", "a,b", "<script>", "%00", "%ff", "' or 1=1", "{", "1h", "∞"]
_HEADERS = [
    ("Accept", "application/openmetrics-text;q=x, */*;q=-1"),
    ("Accept-Encoding", "gzip;q=nan, identity;q=0, *"),
    ("Authorization", "Basic !!!"),
    ("Authorization", "Bearer \xff"),
    ("Content-Encoding", "snappy"),
    ("Content-Type", "multipart/form-data; boundary="),
    ("Content-Type", "application/json; charset=nonsense"),
    ("Cookie", "a=b; =; \xff"),
    ("Expect", "100-continue"),
    ("If-None-Match", '"'),
    ("If-Modified-Since", "yesterday"),
    ("Origin", "null"),
    ("Range", "bytes=0-0,-1,9-"),
    ("Upgrade", "websocket"),
    ("X-Forwarded-For", "; drop"),
    ("X-Prometheus-Scrape-Timeout-Seconds", "-1e400"),
    ("X-Request-Id", "a\tb"),
    ("traceparent", "00-0-0-zz"),
]
_HOSTS = ["x", "", "[::1]:0", "x:99999", "a:b:c", "..", "%00"]
_PIECES = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /api/v1/alerts HTTP/1.1\r\nHost: x\r\n",
    b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET //x HTTP/1.1\r\n",
    b"GET ",
    b"HEAD",
    b" HTTP/1.1\r\n",
    b" HTTP/9.9\r\n",
    b"Host: x\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: \x0bchunked\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: +5\r\n",
    b"Content-Length: 0x5\r\n",
    b"Content-Length: 999999999999\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: close\r\n",
    b" folded\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"-1\r\n",
    b"5;a=b\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01",
    b"%00%ff/..",
    b"A" * 5000,
]

raw = st.lists(st.sampled_from(_PIECES) | st.binary(max_size=20), max_size=12).map(b"".join)
"""What was meant to be HTTP, perhaps."""


def requests(paths: Sequence[str], parameters: Sequence[str]) -> st.SearchStrategy[bytes]:
    """Whole requests for these paths and what is near them, with these parameters and others."""
    word = st.sampled_from(_ODD_SEGMENTS) | st.text(max_size=6)
    near = st.builds(lambda path, more: "/".join([path, *more]), st.sampled_from(paths), st.lists(word, max_size=2))
    path = st.sampled_from(paths) | near | st.lists(word, max_size=4).map(lambda parts: "/" + "/".join(parts))
    value = st.sampled_from(_VALUES) | st.text(max_size=8)
    pair = st.tuples(st.sampled_from([*parameters, "x", ""]), value).map("=".join)
    body = st.sampled_from([b"", b"{}", b"[", b"null", b'{"a":' * 500, b"\xff\xfe"]) | st.binary(max_size=200)
    return st.builds(
        _request,
        st.sampled_from(_METHODS),
        path,
        st.lists(pair, max_size=3).map("&".join),
        st.sampled_from(_HOSTS),
        st.lists(st.sampled_from(_HEADERS), max_size=4),
        body,
        st.booleans(),
    )


def answered(port: int, data: bytes, secure: ssl.SSLContext | None = None) -> list[int]:
    """Send it and its end; the statuses of what is answered, each wholly. Raises AssertionError for a wrong answer."""
    plain = socket.create_connection(("127.0.0.1", port), 20)
    with plain if secure is None else secure.wrap_socket(plain, server_hostname="127.0.0.1") as client:
        try:
            if secure is None:
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
            else:  # TLS has no such end: whatever is still open by then is closed by what no request goes on with
                client.sendall(data + b"\n" * 16)
            return _statuses(client, b"HEAD " in data)
        except (ConnectionError, ssl.SSLError):
            return []  # it was let go, which is its right; that it answers others is asked next


def _request(
    method: str, path: str, query: str, host: str, headers: Iterable[tuple[str, str]], body: bytes, chunked: bool
) -> bytes:
    target = (path + ("?" if query else "") + query).replace(" ", "+").encode()
    target = b"".join(bytes([one]) if 0x20 < one != 0x7F else b"%%%02x" % one for one in target)
    lines = [f"Host: {host}", "Connection: close", *(f"{name}: {value}" for name, value in headers)]
    if chunked and body:
        lines.append("Transfer-Encoding: chunked")
        body = b"%x;x=y\r\n%b\r\n0\r\nX: y\r\n\r\n" % (len(body), body)
    elif body:
        lines.append(f"Content-Length: {len(body)}")
    head = "".join(f"{line}\r\n" for line in lines).encode("latin-1")
    return method.encode() + b" " + target + b" HTTP/1.1\r\n" + head + b"\r\n" + body


def _statuses(client: socket.socket, bare: bool) -> list[int]:
    """Of all answers until the server closes; after a HEAD somewhere only the first."""
    found = []
    with client.makefile("rb") as stream:
        while stream.peek(1):
            if bare and found:
                break
            response = http.client.HTTPResponse(_Stream(stream), method="HEAD" if bare else "GET")
            response.begin()
            body = response.read()
            assert b"Traceback" not in body, body
            assert b'File "' not in body, body
            assert response.headers["X-Content-Type-Options"] == "nosniff" or response.status == 101, response.headers
            assert response.headers["Content-Security-Policy"] or response.status == 101, response.headers
            assert "server" not in response.headers
            found.append(response.status)
            if response.status == 101:
                break
    return found


class _Stream:
    """What HTTPResponse wants to be given, with the stream left open for the next."""

    def __init__(self, stream: object) -> None:
        self._stream = stream

    def makefile(self, _: str) -> _Stream:
        """See socket's."""
        return self

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def close(self) -> None:
        """Leave it open."""

    def flush(self) -> None:
        """Nothing to do."""
