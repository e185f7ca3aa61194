"""The answer to one request: what a WSGI app says, as HTTP/1.1, and what is said when it fails.

Nothing of an error reaches the client but that there was one; the log has the rest.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol

from cloudpulse import logs
from cloudpulse.body import BodyTooLarge
from cloudpulse.environ import FAILURE_HEADERS, SHOWN_PATH
from cloudpulse.errors import CloudPulseError
from cloudpulse.head import Head

GUARDS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
)
"""What browsers are told about every answer that says nothing else: nothing of it runs, loads or is framed."""

_STATUS = re.compile(r"[1-5][0-9]{2} [\t\x20-\x7e\x80-\xff]*")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_WITHOUT_BODY = ("1", "204", "304")
_WITHOUT_LENGTH = ("1", "204")  # RFC 9110, 8.6

log = logs.get(__name__)


class Gone(CloudPulseError):
    """The client takes no more of an answer."""


class Out(Protocol):
    """Where an answer goes."""

    def __call__(self, data: bytes, *, more: bool = False) -> None:
        """Send `data`, or keep what can't be sent at once; with `more` to come, wait for room. Raises Gone."""


class Answer:
    """One answer; `keep` says afterwards whether the connection can take another request."""

    def __init__(self, out: Out, head: Head | None, *, keep: bool) -> None:
        self.keep = keep
        self._out = out
        self._old = head is not None and head.version == (1, 0)
        self._bare = head is not None and head.method == "HEAD"
        self._status = ""
        self._headers: list[tuple[str, str]] = []
        self._begun = False
        self._left: int | None = None  # bytes of the length that was said
        self._chunked = False

    def give(self, app: Callable[..., Iterable[bytes]], environ: dict[str, Any]) -> None:
        """Send what `app` answers, or 500."""
        try:
            pieces = app(environ, self.start)
            try:
                self._send(pieces)
            finally:
                if close := getattr(pieces, "close", None):
                    close()
        except Gone as gone:
            log.debug("client gone", target=_shown(environ), reason=str(gone))
            self.keep = False
        except BodyTooLarge as error:
            self.refuse("413 Content Too Large", str(error), environ.get(FAILURE_HEADERS, ()))
        except Exception:
            log.error("request failed", target=_shown(environ), exc_info=True)
            reason = "the server failed; its log says why"
            self.refuse("500 Internal Server Error", reason, environ.get(FAILURE_HEADERS, ()))

    def refuse(self, status: str, reason: str, headers: Iterable[tuple[str, str]] = ()) -> None:
        """A short answer of the server's own, and the last on the connection; nothing if one has begun."""
        self.keep = False
        if self._begun:
            return
        body = f"{reason}\n".encode()
        self._status = status
        self._headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body))), *headers]
        with suppress(Gone):
            self._begin(b"" if self._bare else body, more=False)

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        """PEP 3333's `start_response`."""
        if self._status and exc_info is None:
            raise RuntimeError("start_response was called twice")
        if self._begun:
            raise exc_info[1]
        if not _STATUS.fullmatch(status):
            raise ValueError(f"malformed status {status!r}")
        for name, value in headers:
            if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
                raise ValueError(f"malformed header {name!r}: {value!r}")
        if status.startswith(_WITHOUT_LENGTH):
            headers = [one for one in headers if one[0].lower() != "content-length"]
        self._status, self._headers = status, list(headers)
        self._left = next((int(value) for name, value in headers if name.lower() == "content-length"), None)
        return self.write

    def write(self, piece: bytes) -> None:
        """Send one piece of the body."""
        if not self._begun:
            if self._left is None and not self._empty:
                self._chunked = not self._old
                self.keep &= self._chunked
                self._headers += [("Transfer-Encoding", "chunked")] if self._chunked else []
            self._begin(b"", more=True)
        if self._empty or not piece:  # an empty chunk would be the last
            return
        if self._left is not None:
            self._left -= len(piece)
            if self._left < 0:
                raise ValueError("the body is longer than its Content-Length")
        self._out(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece, more=True)

    @property
    def _empty(self) -> bool:
        return self._bare or self._status.startswith(_WITHOUT_BODY)

    def _send(self, pieces: Iterable[bytes]) -> None:
        if isinstance(pieces, list | tuple) and not self._begun:
            self._whole(pieces[0] if len(pieces) == 1 else b"".join(pieces))
            return
        for piece in pieces:
            if piece:  # PEP 3333: before the first bytes, the app may still change its mind
                self.write(piece)
        if not self._begun:
            self._whole(b"")
        elif self._chunked:
            self._out(b"0\r\n\r\n")
        elif self._left and not self._empty:
            raise ValueError("the body is shorter than its Content-Length")

    def _whole(self, body: bytes) -> None:
        if not self._empty:
            if self._left is None:
                self._headers.append(("Content-Length", str(len(body))))
            elif self._left != len(body):
                raise ValueError(f"the body has {len(body)} bytes, its Content-Length says {self._left}")
        self._begin(b"" if self._empty else body, more=False)

    def _begin(self, body: bytes, *, more: bool) -> None:
        if not self._status:
            raise RuntimeError("start_response was not called")
        names = {name.lower(): value for name, value in self._headers}
        if "close" in names.get("connection", "").lower():
            self.keep = False
        lines = [f"HTTP/1.1 {self._status}"]
        lines += [f"{name}: {value}" for name, value in self._headers]
        if self._status[:3] != "101":
            lines += [f"{name}: {value}" for name, value in GUARDS if name.lower() not in names]
            if "connection" not in names and (self._old or not self.keep):
                lines.append(f"Connection: {'keep-alive' if self.keep else 'close'}")
        if "date" not in names:
            lines.append(f"Date: {_date(int(time.time()))}")
        data = "\r\n".join([*lines, "\r\n"]).encode("latin-1") + body
        self._begun = True
        self._out(data, more=more)


def _shown(environ: dict[str, Any]) -> str:
    path: str = environ.get(SHOWN_PATH) or environ["PATH_INFO"]
    return f"{environ['REQUEST_METHOD']} {path[:300]}"


def _date(now: int) -> str:
    """RFC 9110, 5.6.7; not by strftime, which follows the locale."""
    year, month, day, hour, minute, second, weekday, *_ = time.gmtime(now)
    name = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"][weekday]
    months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    return f"{name}, {day:02} {months[month - 1]} {year} {hour:02}:{minute:02}:{second:02} GMT"
