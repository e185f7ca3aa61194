"""The page of `/metrics`, in the format that the client asks for."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from cloudpulse import logs, names
from cloudpulse.errors import BadRequest
from cloudpulse.exposition import Page
from cloudpulse.families import one
from cloudpulse.negotiation import Format, best_format, takes_gzip
from cloudpulse.shared import Shared

if TYPE_CHECKING:
    from cloudpulse.serving import Collects, Environ, StartResponse

GZIP_LEVEL = 1
_ENCODING = "HTTP_ACCEPT_ENCODING"
_GZIP = 31
"""zlib's word for a gzip header and trailer around the largest window."""

log = logs.get(__name__)


class MetricsPage:
    """Writes what its sources have, read anew for each request.

    A source that fails costs what it had not yielded yet, a log line at the begin of a streak, and the page says so.
    `scrape` gives a source that depends on the request, hashable; it raises BadRequest. Requests that get equal ones
    within `shared.FRESH_SECONDS` share one page: forty at once cost little more than one.
    """

    def __init__(
        self,
        sources: Sequence[Collects],
        scrape: Callable[[Environ], Collects] | None = None,
    ) -> None:
        self._sources = sources
        self._scrape = scrape
        self._lock = threading.Lock()
        self._failing: frozenset[tuple[int, str]] = frozenset()
        self._pages: dict[Hashable, Shared[bytes]] = {}

    def __call__(self, environ: Environ, start_response: StartResponse) -> list[bytes]:
        """The page that this GET or HEAD asks for (WSGI)."""
        headers = [("Cache-Control", "no-store"), ("Vary", "Accept, Accept-Encoding")]
        try:
            asked = None if self._scrape is None else self._scrape(environ)
        except BadRequest as error:
            status, kind, body = "400 Bad Request", "text/plain; charset=utf-8", f"{error}\n".encode()
        else:
            form, zipped = best_format(environ.get("HTTP_ACCEPT", "")), takes_gzip(environ.get(_ENCODING, ""))
            status, kind, body = "200 OK", form.content_type, self._body(asked, form, zipped)
            if zipped:
                headers.append(("Content-Encoding", "gzip"))
        start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body))), *headers])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _body(self, asked: Collects | None, form: Format, zipped: bool) -> bytes:
        if asked is None:
            return self._written(self._sources, form, zipped)
        key = asked, form, zipped
        with self._lock:
            self._pages = {known: page for known, page in self._pages.items() if not page.over}
            page = self._pages.get(key)
            if page is None:
                page = self._pages[key] = Shared(partial(self._written, (asked, *self._sources), form, zipped))
        return page()

    def _written(self, sources: Sequence[Collects], form: Format, zipped: bool) -> bytes:
        page = Page(form)
        failing: dict[tuple[int, str], Exception] = {}
        for place, source in enumerate(sources):
            try:
                for family in source.collect():
                    page.add(family)
            except Exception as error:  # noqa: BLE001  whatever one source does, the others are shown
                failing[place, type(source).__name__] = error
        self._note(failing)
        page.add(one(names.METRICS_FAILED, len(failing)))
        body = page.encoded()
        return zlib.compress(body, GZIP_LEVEL, _GZIP) if zipped else body

    def _note(self, failing: Mapping[tuple[int, str], Exception]) -> None:
        """Log when a streak of failures begins or ends."""
        with self._lock:
            before, self._failing = self._failing, frozenset(failing)
        for source in failing.keys() - before:
            error = failing[source]
            log.error("part of the metrics left out", source=source[1], error=str(error), exc_info=error)
        for source in before - failing.keys():
            log.info("all of the metrics shown again", source=source[1])
