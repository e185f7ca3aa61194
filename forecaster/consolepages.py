"""The console's files over HTTP: `/console` and what it loads. The data that it shows are other modules' JSON.

Every file is named here; nothing of a request becomes a path. All is read once, when the blueprint is made.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from flask import Blueprint, Response, request
from werkzeug.exceptions import NotFound

FOLDER = Path(__file__).parent / "console"
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
FILES = (
    "alerts.js",
    "api.js",
    "chart.js",
    "console.css",
    "details.js",
    "dom.js",
    "empty.js",
    "icon.svg",
    "layers.js",
    "list.js",
    "live.js",
    "main.js",
    "place.js",
    "promql.js",
    "rows.js",
    "spark.js",
    "story.js",
    "theme.js",
    "words.js",
    "vendor/uPlot.iife.min.js",
    "vendor/uPlot.min.css",
)
"""What the page loads, beside itself."""

GUARDS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""What the browser is told: only what this server gives runs, and labels can't become markup that loads anything."""


@dataclass(frozen=True)
class Page:
    """One file, as it is sent."""

    kind: str
    body: bytes
    packed: bytes  # gzip

    @classmethod
    def read(cls, path: Path) -> Page:
        body = path.read_bytes()
        return cls(f"{KINDS[path.suffix]}; charset=utf-8", body, gzip.compress(body, mtime=0))

    def answer(self) -> Response:
        """The file, packed where the browser takes that; 304 where it already has this very one."""
        packs = request.accept_encodings["gzip"] > 0
        answer = Response(self.packed if packs else self.body, content_type=self.kind)
        if packs:
            answer.content_encoding = "gzip"
        answer.vary.add("Accept-Encoding")
        answer.set_etag(f"{hashlib.sha256(self.body).hexdigest()[:16]}{'-gzip' if packs else ''}")
        # Asked for anew each time: a 304 is quick, and an upgrade must not meet half of the files before it.
        answer.headers["Cache-Control"] = "no-cache"
        answer.headers.update(GUARDS)
        answer.make_conditional(request)
        return answer


def console() -> Blueprint:
    """`GET /console` and `/console/<file>`."""
    pages = Blueprint("console", __name__)
    index = Page.read(FOLDER / "index.html")
    files = {name: Page.read(FOLDER / name) for name in FILES}

    @pages.get("/console")
    def page() -> Response:
        return index.answer()

    @pages.get("/console/")
    def with_slash() -> Response:
        # What the page loads is named relative to /console, so that it may lie below a proxy's prefix.
        return Response(status=308, headers={"Location": "../console"})

    @pages.get("/console/<path:name>")
    def file(name: str) -> Response:
        if name not in files:
            raise NotFound
        return files[name].answer()

    return pages
