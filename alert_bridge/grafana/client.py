"""Grafana's HTTP API as far as it is used here.

Sources: https://grafana.com/docs/grafana/latest/developers/http_api/annotations/ and
https://grafana.com/docs/grafana/latest/setup-grafana/set-up-grafana-live/. The former is called legacy since
Grafana 13, and kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from alert_bridge.grafana.settings import GrafanaSettings
from alert_bridge.notifier import DeliveryFailed, Surroundings
from alert_bridge.posting import HttpClient
from cloudpulse.config import Authorization, Secret, secret_text

TAGS_LENGTH = 500
"""Characters of an annotation's tags as JSON: `[annotations] tags_length` of Grafana's own config, its least."""
MOST_FOUND = 1000
NOT_FOUND = 404
"""What PATCH and DELETE answer for an annotation that is gone (`findAnnotationByID` of Grafana's pkg/api/annotations.go
since 8.3; versions before that said 500)."""


_NAMES = {"time_end": "timeEnd", "dashboard": "dashboardUID", "panel": "panelId"}


class Annotation(msgspec.Struct, frozen=True, rename=_NAMES, omit_defaults=True):
    """What is to be drawn: times in Unix milliseconds; without `time_end` a line, else a region.

    With a `dashboard` (its UID), and perhaps a panel's number, it shows there alone; without, wherever it is asked for.
    """

    time: int
    text: str
    tags: tuple[str, ...]
    time_end: int = 0
    dashboard: str = ""
    panel: int = 0


class Drawn(msgspec.Struct, frozen=True, rename=_NAMES):
    """What Grafana has, under its own id; `time_end` is 0 where it says none."""

    id: int
    time: int
    time_end: int = 0
    tags: tuple[str, ...] | None = None


class _Added(msgspec.Struct):
    id: int


class Grafana:
    """One Grafana, one organisation. For several threads. Every method raises DeliveryFailed."""

    def __init__(self, settings: GrafanaSettings, surroundings: Surroundings) -> None:
        self._client = HttpClient(
            settings.url,
            timeout=settings.timeout,
            tls=settings.tls_config,
            authorization=Authorization(credentials=Secret(secret_text(settings.token, settings.token_file))),
            allow_link_local=surroundings.allow_link_local,
            clock=surroundings.clock,
        )
        self._stream = settings.live_stream

    def find(self, *tags: str, begin: int = 0, end: int = 0) -> list[Drawn]:
        """Annotations that have all these tags and overlap these times, at most MOST_FOUND of them."""
        query = [("tags", tag) for tag in tags] + [("limit", str(MOST_FOUND)), ("type", "annotation")]
        if begin and end:
            query += [("from", str(begin)), ("to", str(end))]
        found = self._client.ask(list[Drawn], "GET", "/api/annotations", query=query, keep=1 << 24)
        return [one for one in found if set(tags).issubset(one.tags or ())]

    def add(self, annotation: Annotation) -> int:
        """Draw it; returns its id."""
        return self._client.ask(_Added, "POST", "/api/annotations", json=annotation).id

    def change(self, number: int, **to: int | str | Sequence[str]) -> bool:
        """Set `time`, `timeEnd`, `text` or `tags` of an annotation; False if it isn't there any more."""
        return self._there("PATCH", number, to)

    def remove(self, number: int) -> bool:
        """Delete it; False if it wasn't there any more."""
        return self._there("DELETE", number, None)

    def push(self, lines: Sequence[str]) -> None:
        """Publish lines of the Influx line protocol to who looks at the stream now; nobody else ever sees them."""
        self._client.call("POST", f"/api/live/push/{self._stream}", body="\n".join(lines).encode())

    def _there(self, method: str, number: int, body: object) -> bool:
        try:
            self._client.call(method, f"/api/annotations/{number}", json=body)
        except DeliveryFailed as error:
            if error.status == NOT_FOUND:
                return False
            raise
        return True


def fitting(*tags: str) -> tuple[str, ...]:
    """As many of the tags, in this order, as Grafana keeps; each cut at 100 characters, none empty or twice."""
    kept: list[str] = []
    for tag in dict.fromkeys(" ".join(tag.split())[:100] for tag in tags):
        if tag and len(msgspec.json.encode([*kept, tag])) <= TAGS_LENGTH:
            kept.append(tag)
    return tuple(kept)
