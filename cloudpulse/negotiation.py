"""What a client wants of `/metrics`: the format by `Accept`, gzip by `Accept-Encoding`, both with q-values.

Sources: RFC 9110 section 12.5 (https://www.rfc-editor.org/rfc/rfc9110#section-12.5) and what Prometheus sends and
expects, https://prometheus.io/docs/instrumenting/content_negotiation/.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache


@dataclass(frozen=True)
class Format:
    """A format of the page, and the media type that says so."""

    media_type: str
    version: str
    escaping: str | None = None
    """How names that aren't legal are written; told to who asked for one. Ours is always `underscores`."""

    @property
    def content_type(self) -> str:
        """The header's value."""
        told = "" if self.escaping is None else f"; escaping={self.escaping}"
        return f"{self.media_type}; version={self.version}; charset=utf-8{told}"

    @property
    def openmetrics(self) -> bool:
        """Whether it is OpenMetrics; the text formats 0.0.4 and 1.0.0 differ only in names that we never write."""
        return self.media_type == "application/openmetrics-text"


TEXT = Format("text/plain", "0.0.4")
TEXT_1_0_0 = Format("text/plain", "1.0.0")
OPENMETRICS = Format("application/openmetrics-text", "1.0.0")
FORMATS = (TEXT, TEXT_1_0_0, OPENMETRICS)
"""What there is; the first where a client has no preference, or none of these."""


@dataclass(frozen=True)
class _Range:
    """One entry of an Accept header, in its order."""

    name: str
    quality: float
    parameters: Mapping[str, str]

    def fits(self, form: Format) -> int:
        """How closely it names the format, from 1 for `*/*` to 4 with its version; 0 when it doesn't."""
        if self.name == "*/*":
            return 1
        if self.name == form.media_type.partition("/")[0] + "/*":
            return 2
        if self.name != form.media_type:
            return 0
        version = self.parameters.get("version")
        return 3 if version is None else 4 if version == form.version else 0


@lru_cache(maxsize=64)
def best_format(accept: str) -> Format:
    """The format that an Accept header prefers.

    The closest range decides on a format's quality. Of equal ones the more closely named wins, then the earlier.
    A client that accepts none gets the default, as from Prometheus' own libraries: better than nothing.
    """
    ranges = [_Range(*entry) for entry in _entries(accept)]
    wishes = [wish for wish in (_wish(form, ranges) for form in FORMATS) if wish is not None and wish.range.quality > 0]
    if not wishes:
        return TEXT
    best = max(wishes, key=lambda wish: (wish.range.quality, wish.closeness, -wish.place))
    tells = best.form.version == "1.0.0" and "escaping" in best.range.parameters
    return replace(best.form, escaping="underscores") if tells else best.form


@dataclass(frozen=True)
class _Wish:
    """The range that decides on a format, how closely it names it, and where in the header it stands."""

    form: Format
    range: _Range
    closeness: int
    place: int


def _wish(form: Format, ranges: Sequence[_Range]) -> _Wish | None:
    wishes = (_Wish(form, one, one.fits(form), place) for place, one in enumerate(ranges))
    fitting = [wish for wish in wishes if wish.closeness]
    return max(fitting, key=lambda wish: (wish.closeness, wish.range.quality, -wish.place), default=None)


@lru_cache(maxsize=64)
def takes_gzip(accept_encoding: str) -> bool:
    """Whether gzip is asked for, and not less than no encoding at all."""
    qualities = {name: quality for name, quality, _ in _entries(accept_encoding)}
    gzip = qualities.get("gzip", qualities.get("x-gzip", qualities.get("*", 0.0)))
    return gzip > 0 and gzip >= qualities.get("identity", 0.0)


def _entries(header: str) -> Iterator[tuple[str, float, Mapping[str, str]]]:
    """Name, quality and other parameters of each entry; one whose quality is no number is passed over."""
    for entry in header.split(","):
        name, *texts = (part.strip().lower() for part in entry.split(";"))
        pairs = (text.partition("=") for text in texts)
        parameters = {key.strip(): value.strip().strip('"') for key, _, value in pairs}
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            continue
        if name and 0 <= quality <= 1:
            yield name, quality, parameters
