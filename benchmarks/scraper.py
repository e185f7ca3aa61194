"""A scraper that costs little: one kept connection, as Prometheus has, over a plain socket."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Sequence

TIMEOUT_SECONDS = 60.0
_REQUEST = (
    b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nUser-Agent: benchmark\r\n"
    b"Accept: text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n"
)


class Scraper:
    """One connection. Raises OSError."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connect()

    def scrape(self) -> tuple[float, bytes]:
        """Seconds, and the page."""
        began = time.perf_counter()
        self.ask()
        while (page := self.take()) is None:
            pass
        return time.perf_counter() - began, page

    def ask(self) -> None:
        """Send the request."""
        self._got.clear()
        self.socket.sendall(_REQUEST)

    def take(self) -> bytes | None:
        """Read once: the page if it is whole."""
        more = self.socket.recv(2**18)
        if not more:
            raise ConnectionError("closed before the answer was whole")
        self._got += more
        head, end, body = bytes(self._got).partition(b"\r\n\r\n")
        if not end:
            return None
        lines = head.lower().split(b"\r\n")
        if not lines[0].startswith(b"http/1.1 200"):
            raise SystemExit(f"no page: {lines[0].decode()}")
        length = [int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")]
        if not (len(body) == length[0] if length else body.endswith(b"\r\n0\r\n\r\n")):  # else it comes in chunks
            return None
        if b"connection: close" in lines:
            self._connect()
        return body

    def _connect(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self._port), timeout=TIMEOUT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._got = bytearray()


def together(scrapers: Sequence[Scraper]) -> list[float]:
    """Each scrapes once, all at the same time: the seconds of each."""
    times = []
    with selectors.DefaultSelector() as waiting:
        began = {}
        for scraper in scrapers:
            waiting.register(scraper.socket, selectors.EVENT_READ, scraper)
            began[scraper] = time.perf_counter()
            scraper.ask()
        while waiting.get_map():
            for key, _ in waiting.select(TIMEOUT_SECONDS):
                if key.data.take() is not None:
                    times.append(time.perf_counter() - began[key.data])
                    waiting.unregister(key.fileobj)
    return times
