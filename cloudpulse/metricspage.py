"""The page of `/metrics`, in the format that the client asks for."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from cloudpulse import exposition, logs, names
from cloudpulse.errors import BadRequest
from cloudpulse.families import Family, ForeignFamily, one
from cloudpulse.negotiation import Format, best_format, takes_gzip

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from cloudpulse.serving import Collects, Environ, StartResponse

GZIP_LEVEL = 1
_GZIP = 31
"""zlib's word for a gzip header and trailer around the largest window."""

log = logs.get(__name__)


class MetricsPage:
    """Writes what its sources have, read anew for each request.

    A source that fails costs what it had not yielded yet, a log line at the begin of a streak, and the page says so.
    `scrape` gives families that depend on the request; it raises BadRequest.
    """

    def __init__(
        self,
        sources: Sequence[Collects],
        scrape: Callable[[Environ], Iterable[Family | ForeignFamily | Metric]] | None = None,
    ) -> None:
        self._sources = sources
        self._scrape = scrape
        self._lock = threading.Lock()
        self._failing: frozenset[int] = frozenset()

    def __call__(self, environ: Environ, start_response: StartResponse) -> list[bytes]:
        """The page that this GET or HEAD asks for (WSGI)."""
        headers = [("Cache-Control", "no-store"), ("Vary", "Accept, Accept-Encoding")]
        try:
            asked = [] if self._scrape is None else [self._scrape(environ)]
        except BadRequest as error:
            status, kind, body = "400 Bad Request", "text/plain; charset=utf-8", f"{error}\n".encode()
        else:
            form = best_format(environ.get("HTTP_ACCEPT", ""))
            status, kind, body = "200 OK", form.content_type, exposition.page(self._lines(asked, form), form)
            if takes_gzip(environ.get("HTTP_ACCEPT_ENCODING", "")):
                body = zlib.compress(body, GZIP_LEVEL, _GZIP)
                headers.append(("Content-Encoding", "gzip"))
        start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body))), *headers])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _lines(self, asked: Iterable[Iterable[Family | ForeignFamily | Metric]], form: Format) -> list[str]:
        lines: list[str] = []
        failing: dict[int, Exception] = {}
        for place, families in enumerate((*asked, *map(_collected, self._sources))):
            try:
                for family in families:
                    lines += exposition.lines(family, form)
            except Exception as error:  # noqa: BLE001  whatever one source does, the others are shown
                failing[place] = error
        self._note(failing)
        return lines + exposition.lines(one(names.METRICS_FAILED, len(failing)), form)

    def _note(self, failing: Mapping[int, Exception]) -> None:
        """Log when a streak of failures begins or ends."""
        with self._lock:
            before, self._failing = self._failing, frozenset(failing)
        for source in failing.keys() - before:
            error = failing[source]
            log.error("part of the metrics left out", source=self._title(source), error=str(error), exc_info=error)
        for source in before - failing.keys():
            log.info("all of the metrics shown again", source=self._title(source))

    def _title(self, place: int) -> str:
        first = 0 if self._scrape is None else 1
        return "scrape" if place < first else type(self._sources[place - first]).__name__


def _collected(source: Collects) -> Iterator[Family | ForeignFamily | Metric]:
    yield from source.collect()  # not before its turn, and in the same `try` as all that it yields
