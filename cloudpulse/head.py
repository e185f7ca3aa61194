"""A request's head: request line and headers, read as RFC 9112 has them.

What two programs could read in two ways is refused, since one of them may be a proxy that decides by it: bare line
ends, folded lines, spaces before a colon, several lengths, a length beside chunks, digits that aren't.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

LONGEST_METHOD = 32
"""Bytes."""


class Refused(Exception):
    """The request can't be taken: the status line's rest, `400 Bad Request`, and why."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class Head:
    """What a request says before its body; text is latin-1, as WSGI has it."""

    method: str
    target: str
    """Path and query as they were sent, without the scheme and host of an absolute one."""
    path: str
    """Decoded but for %2F."""
    query: str
    version: tuple[int, int]
    """(1, 0) or (1, 1)."""
    headers: list[tuple[str, str]]
    """As they were sent, in order."""
    host: str
    length: int | None
    """Bytes of the body; None if it comes in chunks."""
    close: bool
    """Whether the client wants no further request on the connection."""
    expects: bool
    """Whether the client waits for `100 Continue`."""


_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_FIRST = re.compile(_TOKEN)
_LINE = re.compile(rb"(%b{1,%d}) ([^\x00-\x20\x7f]+) HTTP/([0-9])\.([0-9])\r\n" % (_TOKEN, LONGEST_METHOD))
_HEADER = re.compile(rb"(%b+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)\r\n" % _TOKEN)
_HOST = re.compile(rb"[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]*")
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?]+)(.*)")
_SLASH = re.compile(rb"%2[fF]")
_DIGITS = re.compile(rb"[0-9]{1,18}")


def may_begin(data: bytes | bytearray) -> bool:
    """Whether a request can begin so: TLS on a port without it can't, and need not be waited for."""
    return not data or data[:1] == b"\r" or _FIRST.match(data) is not None


def parse(data: bytes, most_headers: int) -> Head:
    """The head that is `data`, the empty line included; raises Refused."""
    line = _LINE.match(data)
    if line is None:
        raise _bad("expected METHOD PATH HTTP/1.1 and CRLF")
    method, target = line[1], line[2]
    if line[3] != b"1":
        raise Refused("505 HTTP Version Not Supported", "this server speaks HTTP/1.1")
    version = (1, 0) if line[4] == b"0" else (1, 1)
    headers = _headers(data, line.end(), most_headers)
    named: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        named.setdefault(name.lower(), []).append(value)
    host = _host(named.get(b"host", []), version)
    if absolute := _ABSOLUTE.fullmatch(target):  # RFC 9112, 3.2.2: its host counts
        host, rest = absolute[1], absolute[2]
        if not _HOST.fullmatch(host):
            raise _bad("the target's host is malformed")
        target = rest if rest.startswith(b"/") else b"/" + rest
    path, _, query = target.partition(b"?")
    length = _length(named, version)
    options = {option.strip().lower() for value in named.get(b"connection", []) for option in value.split(b",")}
    return Head(
        method.decode(),
        target.decode("latin-1"),
        _path(method, path, target),
        query.decode("latin-1"),
        version,
        [(name.decode(), value.decode("latin-1")) for name, value in headers],
        host.decode(),
        length,
        b"close" in options or (version == (1, 0) and b"keep-alive" not in options),
        _expects(named.get(b"expect", []), version),
    )


def _headers(data: bytes, place: int, most: int) -> list[tuple[bytes, bytes]]:
    found: list[tuple[bytes, bytes]] = []
    while header := _HEADER.match(data, place):
        if len(found) == most:
            raise Refused("431 Request Header Fields Too Large", f"more than {most} headers")
        found.append((header[1], header[2].rstrip(b" \t")))
        place = header.end()
    if data[place:] != b"\r\n":
        raise _bad("expected headers as NAME: VALUE and CRLF, not folded")
    return found


def _host(values: list[bytes], version: tuple[int, int]) -> bytes:
    if len(values) > 1 or (not values and version == (1, 1)):
        raise _bad("expected one Host header")
    host = values[0] if values else b""
    if not _HOST.fullmatch(host):
        raise _bad("the Host header is malformed")
    return host


def _path(method: bytes, path: bytes, target: bytes) -> str:
    if target == b"*" and method == b"OPTIONS":
        return "/*"
    if not path.startswith(b"/") or b"#" in target:
        raise _bad("the target is no path")
    if b"%" in path:
        path = b"%2F".join(unquote_to_bytes(part) for part in _SLASH.split(path))
        if b"\0" in path:
            raise _bad("the path holds a NUL")
    return path.decode("latin-1")


def _length(named: dict[bytes, list[bytes]], version: tuple[int, int]) -> int | None:
    """RFC 9112, 6.1 and 6.3."""
    lengths, codings = named.get(b"content-length", []), named.get(b"transfer-encoding", [])
    if codings:
        if lengths or version == (1, 0) or len(codings) > 1:
            raise _bad("how long the body is can't be told")
        if codings[0].lower() != b"chunked":
            raise Refused("501 Not Implemented", "the only transfer coding here is chunked")
        return None
    if len(lengths) > 1 or (lengths and not _DIGITS.fullmatch(lengths[0])):
        raise _bad("expected one Content-Length, a whole number")
    return int(lengths[0]) if lengths else 0


def _expects(values: list[bytes], version: tuple[int, int]) -> bool:
    """RFC 9110, 10.1.1."""
    if not values or version == (1, 0):
        return False
    if [value.lower() for value in values] != [b"100-continue"]:
        raise Refused("417 Expectation Failed", "the only expectation here is 100-continue")
    return True


def _bad(reason: str) -> Refused:
    return Refused("400 Bad Request", reason)
