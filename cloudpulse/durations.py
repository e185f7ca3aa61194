"""Durations in Prometheus' words: `90s`, `14d`, `1h30m`.

Grammar: https://prometheus.io/docs/prometheus/latest/configuration/configuration/#duration
(units ms, s, m, h, d, w, y in falling order, each at most once).
"""

from __future__ import annotations

import re

_SECONDS = {"y": 365 * 86400, "w": 7 * 86400, "d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
_PATTERN = re.compile("".join(rf"(?:(?P<{unit}>[0-9]+){unit})?" for unit in _SECONDS))


class Duration(float):
    """Seconds; shown as they were written, so that a `24h` in the config is `24h` in labels and messages.

    >>> Duration.parse("1h30m")
    Duration('1h30m')
    >>> float(Duration.parse("90s"))
    90.0
    """

    _written: str | None = None

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read `text`; raises ValueError with a message that shows an example."""
        match = _PATTERN.fullmatch(text)
        if not text or match is None:
            if text == "0":
                return cls(0)
            raise ValueError(f'expected a duration such as 1m, got "{text}"')
        made = cls(sum(int(count) * _SECONDS[unit] for unit, count in match.groupdict(default="0").items()))
        made._written = text
        return made

    def __str__(self) -> str:
        return self._written or format_duration(self)

    def __repr__(self) -> str:
        return f"Duration('{self}')"


def format_duration(seconds: float) -> str:
    """Shortest exact text, from weeks down to milliseconds (`0s` for zero); days before weeks, as people write.

    >>> format_duration(5400), format_duration(14 * 86400)
    ('1h30m', '14d')
    """
    left = round(seconds * 1000)
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        size = round(_SECONDS[unit] * 1000)
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
