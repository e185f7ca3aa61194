"""Which collectors one scrape asks for: node_exporter's `?collect[]=cpu&collect[]=load` and `?exclude[]=disk`.

https://github.com/prometheus/node_exporter#filtering-enabled-collectors
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import parse_qsl

from cloudpulse.errors import BadRequest
from exporter.config import DEFAULTS

_SHOWN_CHARACTERS = 40


def selected(query_string: str, enabled: Collection[str]) -> frozenset[str]:
    """Those of the enabled collectors that the request asks for; all where it doesn't say. Raises BadRequest.

    A name that isn't a collector's, or is one's that is off, is refused: a scrape that quietly lacks what it asks for
    would look like a host that has none of it.
    """
    asked: dict[str, set[str]] = {"collect[]": set(), "exclude[]": set()}
    for key, value in parse_qsl(query_string, keep_blank_values=True):
        if key in asked:
            asked[key].add(value)
    only, without = asked.values()
    if only and without:
        raise BadRequest("collect[] and exclude[] can't be combined: keep one of them")
    for name in sorted(only | without):
        if name not in enabled:
            raise BadRequest(_refusal(name, enabled))
    return frozenset(only or set(enabled) - without)


def _refusal(name: str, enabled: Collection[str]) -> str:
    choices = f"expected one of {', '.join(sorted(enabled))}"
    if name in DEFAULTS:
        return f"the collector {name} is off, {choices} (--collector.{name} turns it on)"
    shown = name if len(name) <= _SHOWN_CHARACTERS else name[:_SHOWN_CHARACTERS] + "…"
    return f'no collector is called "{shown}", {choices}'
