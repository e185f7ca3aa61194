"""The parameters of the reading API: which there are, and how they are read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import get_args

from flask import request
from werkzeug.exceptions import BadRequest

from alert_bridge.history import Period
from alert_bridge.schema import State
from alert_bridge.shapes import Verdict
from alert_bridge.webhook import Status

LIMIT = 100
MOST = 1000
"""Entries on a page: unless told, and at most."""

LARGEST_ID = 2**63 - 1
LARGEST_MOMENT = 1e12
"""Unix seconds; some 30,000 years."""

CHOICES: Mapping[str, tuple[str, ...]] = {
    "status": get_args(Status),
    "state": get_args(State),
    "verdict": get_args(Verdict),
    "current": ("true", "false"),
}
"""Parameters that take these words only."""

PAGING = ("since", "until", "before", "limit")


@dataclass(frozen=True)
class Asked:
    """What a list was asked for."""

    filters: dict[str, str]
    before: int | None
    limit: int
    period: Period


def asked(filters: tuple[str, ...], *, paged: bool = True) -> Asked:
    """The parameters; raises BadRequest for one that is unknown, given twice, or no such thing."""
    known = (*filters, *(PAGING if paged else ()))
    for name, values in request.args.lists():
        if name not in known:
            hint = f"expected {', '.join(known)}" if known else "none is expected"
            raise BadRequest(f'unknown parameter "{name[:50]}": {hint}')
        if len(values) > 1:
            raise BadRequest(f"{name}: given {len(values)} times, expected once")
        if name in CHOICES and values[0] not in CHOICES[name]:
            raise BadRequest(f'{name}: expected {" or ".join(CHOICES[name])}, got "{values[0][:50]}"')
    given = request.args.to_dict()
    limit = _number(given.pop("limit", None), "limit", MOST)
    before = _number(given.pop("before", None), "before", LARGEST_ID)
    period = Period(_moment(given.pop("since", None), "since"), _moment(given.pop("until", None), "until"))
    return Asked(given, before, LIMIT if limit is None else limit, period)


def _number(text: str | None, name: str, most: int) -> int | None:
    if text is None:
        return None
    if len(text) > 19 or not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= most:
        raise BadRequest(f'{name}: expected a whole number from 1 to {most}, got "{text[:50]}"')
    return int(text)


def _moment(text: str | None, name: str) -> float | None:
    """Unix seconds or RFC 3339, as Prometheus' API takes them."""
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            # A `+` that nobody encoded arrives as a space.
            found = datetime.fromisoformat(text.replace(" ", "+"))
            seconds = found.timestamp() if found.tzinfo is not None else math.nan
        except (ValueError, OverflowError):
            seconds = math.nan
    if not abs(seconds) < LARGEST_MOMENT:
        raise BadRequest(f'{name}: expected a time such as 2026-01-02T15:04:05Z or 1767366245, got "{text[:50]}"')
    return seconds
