"""Parameters of the API, from text to numbers: https://prometheus.io/docs/prometheus/latest/querying/api/."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from cloudpulse.durations import Duration
from cloudpulse.promql import MAX_POINTS
from forecaster.queryapi.refusals import BadQuery

LONGEST_SECONDS = 30.0
"""A query's time unless `timeout` says less; forecasts have to go on beside it."""
_FARTHEST = 9e12
"""Unix seconds: some 290,000 years, beyond which milliseconds and steps would no longer be exact."""
_RFC3339 = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(\.\d+)?(Z|[+-]\d{2}:\d{2})")


def moment(form: Mapping[str, str], name: str, default: float | None = None) -> int:
    """A time, RFC 3339 or Unix seconds, as Unix milliseconds. Raises BadQuery."""
    text = form.get(name, "")
    if not text:
        if default is None:
            raise _invalid(name, 'cannot parse "" to a valid timestamp')
        return math.floor(default * 1000)
    seconds = _seconds(text)
    if seconds is None or not abs(seconds) < _FARTHEST:
        raise _invalid(name, f'cannot parse "{text}" to a valid timestamp')
    return round(seconds * 1000)


def _seconds(text: str) -> float | None:
    match = _RFC3339.fullmatch(text)
    try:
        if match is None:
            return float(text) if "_" not in text else None
        base = datetime.fromisoformat(match[1] + match[3].replace("Z", "+00:00"))
        return base.astimezone(UTC).timestamp() + float(match[2] or 0)
    except (ValueError, OverflowError):
        return None


def duration(form: Mapping[str, str], name: str, default: float | None = None) -> float:
    """Seconds, as a number or in Prometheus' words. Raises BadQuery."""
    text = form.get(name, "")
    if not text and default is not None:
        return default
    try:
        seconds = float(text) if "_" not in text else math.nan
    except ValueError:
        try:
            seconds = float(Duration.parse(text))
        except ValueError:
            seconds = math.nan
    if not abs(seconds) < _FARTHEST:
        raise _invalid(name, f'cannot parse "{text}" to a valid duration')
    return seconds


def steps(form: Mapping[str, str]) -> tuple[int, int, int]:
    """`start`, `end` and `step` of a range query in milliseconds. Raises BadQuery."""
    start, end = moment(form, "start"), moment(form, "end")
    if end < start:
        raise _invalid("end", "end timestamp must not be before start time")
    step = round(duration(form, "step") * 1000)
    if step <= 0:
        raise _invalid("step", "zero or negative query resolution step widths are not accepted. Try a positive integer")
    if (end - start) // step > MAX_POINTS:
        raise BadQuery(
            f"exceeded maximum resolution of {MAX_POINTS:,} points per timeseries. "
            "Try decreasing the query resolution (?step=XX)"
        )
    return start, end, step


def limit(form: Mapping[str, str]) -> int:
    """How many results at most; 0 is no limit. Raises BadQuery."""
    text = form.get("limit", "") or "0"
    if not text.isascii() or not text.isdecimal():
        raise _invalid("limit", f'expected 0 or more, got "{text}"')
    return int(text)


def timeout(form: Mapping[str, str]) -> float:
    """Seconds that the answer may take. Raises BadQuery."""
    return min(LONGEST_SECONDS, max(0.0, duration(form, "timeout", LONGEST_SECONDS)))


def _invalid(name: str, why: str) -> BadQuery:
    return BadQuery(f'invalid parameter "{name}": {why}')
